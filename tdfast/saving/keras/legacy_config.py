"""Keras 2's descriptions of models in Keras 3's words."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from tdfast.errors import FileError

if TYPE_CHECKING:
    from tdfast.engine.types import Config

# The keys of a config under which there is another layer, or a list of them.
_INNER = ("layer", "backward_layer", "cell", "cells", "layers", "activation", "recurrent_activation")
MAX_DEPTH = 64
_COSINES = ("cosine_similarity", "cosine_proximity")


def is_old(spec: Any) -> bool:
    """Whether a model's dict is Keras 2's: it says so, or names no module as Keras 3 does."""
    if not isinstance(spec, dict):
        return False
    version = spec.get("keras_version")
    return str(version)[:1] in "12" if version is not None else "module" not in spec


def modern_layer(spec: Any, depth: int = 0) -> Any:
    """Keras 3's dict for a layer, or a model, from Keras 2's; what is no dict of a layer stays as it is."""
    if depth > MAX_DEPTH:
        raise FileError(f"The layers are nested more than {MAX_DEPTH} deep.")
    if not isinstance(spec, dict) or not isinstance(spec.get("class_name"), str):
        return spec
    name, config = spec["class_name"], spec.get("config")
    if name == "Sequential" and isinstance(config, list):       # until Keras 2.2.2
        config = {"name": "sequential", "layers": config}
    if not isinstance(config, dict):
        return spec
    config = dict(config)
    for key in _INNER:
        inner = config.get(key)
        if isinstance(inner, list):
            config[key] = [modern_layer(item, depth + 1) for item in inner]
        elif isinstance(inner, dict):
            config[key] = modern_layer(inner, depth + 1)
    for key, value in config.items():
        if key.endswith("_initializer"):
            config[key] = _modern_initializer(value)
    _CHANGES.get(name, lambda config: None)(config)
    out = {"module": "keras.layers", **spec, "config": config}
    for old in ("keras.engine", "keras.layers.", "tensorflow.python.keras", "keras.src"):
        if isinstance(out["module"], str) and out["module"].startswith(old):
            out["module"] = "keras.layers"
    return out


def _input(config: Config) -> None:
    if "batch_input_shape" in config:
        config["batch_shape"] = config.pop("batch_input_shape")


def _leaky(config: Config) -> None:
    if "alpha" in config:
        config["negative_slope"] = config.pop("alpha")


def _embedding(config: Config) -> None:
    config.pop("input_length", None)        # the length of its input, which its weights do not need


def _one_axis(config: Config) -> None:
    axis = config.get("axis")
    if isinstance(axis, list) and len(axis) == 1:
        config["axis"] = axis[0]


def _gru(config: Config) -> None:
    config.setdefault("reset_after", False)         # which Keras before 2.1.3 did not have


def _one_group(config: Config) -> None:
    if config.get("groups") == 1:
        config.pop("groups")


def _without_kernel(config: Config) -> None:
    """Keras 2 wrote the options of a convolution's kernel for layers that have none of that name."""
    _one_group(config)
    for option in ("initializer", "regularizer", "constraint"):
        config.pop(f"kernel_{option}", None)


_CHANGES = {
    **dict.fromkeys(("Conv1DTranspose", "Conv2DTranspose", "Conv3DTranspose"), _one_group),
    **dict.fromkeys(("DepthwiseConv1D", "DepthwiseConv2D", "SeparableConv1D", "SeparableConv2D"),
                    _without_kernel),
    "BatchNormalization": _one_axis, "BatchNormalizationV1": _one_axis, "LayerNormalization": _one_axis,
    "Embedding": _embedding, "GRU": _gru, "GRUCell": _gru, "InputLayer": _input, "LeakyReLU": _leaky,
}


def _modern_initializer(spec: Any) -> Any:
    """Keras 2's normal distribution of VarianceScaling was truncated, as Keras 3's "truncated_normal" is.

    Its second versions of initializers were known as GlorotUniformV2 and the like too.
    """
    if isinstance(spec, str):
        return spec.removesuffix("V2")
    if isinstance(spec, dict) and isinstance(spec.get("class_name"), str):
        spec = {**spec, "class_name": spec["class_name"].removesuffix("V2")}
    if (
        isinstance(spec, dict)
        and spec.get("class_name") == "VarianceScaling"
        and isinstance(spec.get("config"), dict)
    ):
        if spec["config"].get("distribution") == "normal":
            return {**spec, "config": {**spec["config"], "distribution": "truncated_normal"}}
    return spec


def modern_compile(config: Config) -> Any:
    """Keras 3's compile_config from the training_config of a legacy file, or from Keras 2's
    compile_config."""
    if not isinstance(config, dict):
        raise FileError(f"How the model was compiled must be described by a dict, got {config!r:.80}.")
    out = {key: value for key, value in config.items() if key not in ("optimizer_config",
                                                                      "sample_weight_mode")}
    out["optimizer"] = _modern_optimizer(config.get("optimizer_config", config.get("optimizer")))
    loss = out.get("loss")
    if isinstance(loss, dict) and "class_name" not in loss and len(loss) == 1:
        loss = next(iter(loss.values()))            # by the name of the one output
    out["loss"] = _modern_loss(loss)
    for key in ("metrics", "weighted_metrics"):
        out[key] = _modern_metric(out.get(key))
    return out


def _modern_metric(spec: Any) -> Any:
    """A metric, or a list or dict of them, in Keras 3's words.

    The function "cosine_similarity" of Keras 2's metrics was 1 for one direction; Keras 3's is the loss, -1.
    """
    if isinstance(spec, list):
        return [_modern_metric(item) for item in spec]
    if not isinstance(spec, dict):
        return spec
    if "class_name" not in spec:
        return {key: _modern_metric(item) for key, item in spec.items()}
    config: Any = spec.get("config")
    wraps = spec["class_name"] == "MeanMetricWrapper" and isinstance(config, dict)
    if wraps and config.get("fn") in _COSINES:
        config = {key: value for key, value in config.items() if key != "fn"}
        return {"class_name": "CosineSimilarity", "config": config}
    return spec


def _modern_loss(spec: Any) -> Any:
    if not isinstance(spec, dict) or not isinstance(spec.get("config"), dict):
        return spec
    config = dict(spec["config"])
    function = config.pop("fn", None)
    if spec.get("class_name") == "LossFunctionWrapper" and isinstance(function, str):
        return function
    if config.get("reduction") == "auto":
        config["reduction"] = "sum_over_batch_size"
    return {**spec, "config": config}


def _modern_optimizer(spec: Any) -> Any:
    if not isinstance(spec, dict) or not isinstance(spec.get("config"),
                                                    dict) or not isinstance(spec.get("class_name"), str):
        return spec
    name, config = spec["class_name"].removeprefix("Custom>"), dict(spec["config"])
    if "lr" in config:
        config["learning_rate"] = config.pop("lr")
    if config.get("epsilon", 0) is None:
        config["epsilon"] = 1e-7
    config.pop("schedule_decay", None)
    decay = config.pop("decay", 0)
    # where it is no decay of the learning rate, but a constant of the method
    if decay and name != "Nadam":
        if not all(isinstance(n, (int, float)) for n in (decay, config.get("learning_rate"))):
            raise FileError(
                f"The decay of the learning rate of optimizer {name} must be a number, got {decay!r:.80}."
            )
        config["learning_rate"] = {"module": "keras.optimizers.schedules", "class_name": "InverseTimeDecay",
                                   "config": {
            "initial_learning_rate": config["learning_rate"], "decay_steps": 1, "decay_rate": decay}}
    out = {"class_name": name, "config": config}
    if spec.get("module") == "keras.optimizers.legacy":
        out["module"] = spec["module"]
    return out
