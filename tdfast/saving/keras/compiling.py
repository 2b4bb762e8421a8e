"""How a model was compiled, to and from Keras's dicts."""

from __future__ import annotations

import re
import warnings
from typing import TYPE_CHECKING, Any

from tdfast.compat.calling import level_of_the_caller
from tdfast.errors import FileError
from tdfast.saving.keras.legacy_weights import has_idle_momentum
from tdfast.saving.keras.places import assign_optimizer, optimizer_misfit, optimizer_paths, read_optimizer

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from tdfast.engine.registry import Registry
    from tdfast.engine.types import Config, CustomObjects
    from tdfast.optimizers.base import Optimizer

# What changes no result here.
TVERSKY_MENDED = (3, 16)
_SPEED_OPTIONS = {"run_eagerly", "steps_per_execution", "jit_compile", "auto_scale_loss"}


def compile_as(model: Any, config: Config, custom_objects: CustomObjects, name: str, store: Any = None,
               old: bool = False, version: str | None = None) -> None:
    """Compile a model as a file says.

    Args:
        model: a `tdfast.Sequential`.
        config: Keras's compile_config.
        custom_objects: dict of further names.
        name: of the file, for messages.
        store: the arrays of a .keras file, from which the optimizer gets its state; None leaves that out.
        old: whether Keras 2 wrote them, whose optimizers may have another state: then a warning says so.
        version: of the Keras that wrote the config; None: that of the format which tdfast writes.

    Raises:
        FileError: naming the loss, the metric, the optimizer or the option at fault.
    """
    from tdfast import losses, metrics, optimizers

    if not isinstance(config, dict):
        raise FileError(f"The compile_config in '{name}' must be a dict, got {config!r}.")
    again = "Load with compile=False and call compile() with something else."
    at_once = config.get("steps_per_execution")
    config = {k: v for k, v in config.items() if k not in _SPEED_OPTIONS}
    if tuple(map(int, re.findall(r"[0-9]{1,4}", str(version))[:2])) < TVERSKY_MENDED:
        config = exchange_tversky(config)
    legacy = store is not None and old and "legacy" in str(_module_of(config.get("optimizer")))
    try:
        arguments: dict[str, Any] = {}
        if config.get("optimizer") is not None:
            arguments["optimizer"] = _optimizer(optimizers.REGISTRY, config["optimizer"], custom_objects)
        names = model.head_names
        if config.get("loss") is not None:
            arguments["loss"] = _by_output(config["loss"], names, lambda loss: losses.REGISTRY.deserialize(
                loss, custom_objects, "the loss of compile"))
        for key in ("metrics", "weighted_metrics"):
            if config.get(key):
                arguments[key] = _metrics_by_output(config[key], names, lambda spec, key=key: _metric(
                    metrics, spec, custom_objects, key))
        arguments["loss_weights"] = config.get("loss_weights") or None
        for key in sorted(set(config) - {"optimizer", "loss", "loss_weights", "metrics", "weighted_metrics"}):
            if config[key] not in (None, [], {}):
                raise FileError(f"The option {key}={config[key]!r} of compile does not exist in tdfast.")
        model.compile(**arguments, steps_per_execution=at_once or 1)
        if legacy:
            warnings.warn(
                f"'{name}' has no state of its optimizer, which starts afresh: tf.keras stored none of its "
                "legacy optimizers in .keras files.",
                stacklevel=level_of_the_caller(),
            )
        if store is not None:
            _load_optimizer(model, store, old, config.get("optimizer") is not None)
    except Exception as error:
        raise FileError(f"'{name}' cannot be compiled as it was: {error} {again}") from error


def _module_of(spec: Any) -> Any:
    return spec.get("module") if isinstance(spec, dict) else None


def _optimizer(registry: Registry, spec: Any, custom_objects: CustomObjects) -> Optimizer:
    if isinstance(spec, dict) and isinstance(spec.get("config"), dict):
        for key, value in spec["config"].items():
            if (isinstance(value, list) and not all(isinstance(entry, str) for entry in value)) or (
                    isinstance(value, dict) and key not in ("learning_rate", "optimizer_map")):
                raise FileError(
                    f"The option {key} of the optimizer must be a number or a name, got {value!r:.80}."
                )
    return registry.deserialize(spec, custom_objects, "the optimizer of compile")


def _metric(metrics: Any, spec: Any, custom_objects: Any, key: Any) -> Any:
    who = f"an entry of the {key} of compile"
    if isinstance(spec, str):
        if not metrics.follows_the_loss(spec) and spec not in custom_objects:
            metrics.REGISTRY.deserialize(spec, custom_objects, who)
        return custom_objects.get(spec, spec)
    return metrics.REGISTRY.deserialize(spec, custom_objects, who)


def _is_dict_by_name(value: Any) -> bool:
    return isinstance(value, dict) and "class_name" not in value


def _by_output(value: Any, names: Sequence[Any], read: Callable[..., Any]) -> Any:
    """What Keras wrote of one output's loss, or of several outputs' in a list or in a dict by their names."""
    if _is_dict_by_name(value):
        return {name: None if part is None else read(part) for name, part in value.items()}
    if isinstance(value, list):
        if len(value) != len(names):
            raise FileError(
                f"The loss of compile is a list of {len(value)}, but the model has {len(names)} output(s)."
            )
        return [None if part is None else read(part) for part in value]
    return read(value)


def _metrics_by_output(value: Any, names: Sequence[Any], read: Callable[..., Any]) -> Any:
    """Keras writes a list for one output, or a list of lists or a dict of lists by the outputs' names."""
    if _is_dict_by_name(value):
        if len(names) == 1 and len(value) != 1:
            raise FileError(
                f"The metrics of compile are of {len(value)} outputs, but the model has one."
            )
        return {name: _read_metrics(part, read) for name, part in value.items()}
    if not isinstance(value, list):
        raise FileError(f"The metrics of compile must be a list, got {value!r}.")
    if len(names) > 1:
        return [_read_metrics(part, read) for part in value]
    if isinstance(value[0], list):
        if len(value) != 1:
            raise FileError(
                f"The list of metrics of compile is a list of {len(value)}, but the model has one output."
            )
        (value,) = value
    return _read_metrics(value, read)


def _read_metrics(value: Any, read: Callable[..., Any]) -> list[Any]:
    return [read(spec) for spec in (value if isinstance(value, list) else [value]) if spec is not None]


def _load_optimizer(model: Any, store: Any, old: bool, named: bool) -> None:
    """The optimizer's state; the file has only its first two numbers if it had not stepped yet."""
    paths, optimizer = optimizer_paths(store), model.optimizer
    if not paths or optimizer is None:
        return
    if not named:  # as in a .keras file of a model that Keras has saved as .h5 before
        warnings.warn(
            f"'{store.name}' does not say which optimizer its state is of: '{optimizer.name}' starts afresh.",
            stacklevel=level_of_the_caller(),
        )
        return
    if model.built and len(paths) > len(optimizer.variables) - old:
        model._trainer.ready_to_train()
    if old and "learning_rate" in (v.name for v in optimizer.variables):
        paths.insert(1, None)           # which Keras 2 did not store
    expected = len(optimizer.variables)
    if old and has_idle_momentum(optimizer) and len(paths) == expected + len(optimizer.trainable_variables):
        del paths[expected:]
    text = optimizer_misfit(optimizer, store, paths)
    if not text:
        assign_optimizer(optimizer, read_optimizer(optimizer, store, paths))
    elif old:
        warnings.warn(f"The optimizer starts afresh: {text}", stacklevel=level_of_the_caller())
    else:
        raise FileError(text)


def exchange_tversky(config: Any) -> Any:
    """A config in which alpha and beta of every Tversky loss have changed places.

    Before 3.16, Keras has alpha cost false negatives and beta false positives. In the paper, in Keras 3.16
    and in `tdfast.losses.Tversky` it is the other way round. A file means what its version of Keras means.
    """
    if isinstance(config, list):
        return [exchange_tversky(value) for value in config]
    if not isinstance(config, dict):
        return config
    inner = config.get("config")
    if (config.get("class_name") == "Tversky" and config.get("registered_name") in (None, "Tversky")
            and isinstance(inner, dict)):
        exchanged = {"alpha": inner.get("beta", 0.5), "beta": inner.get("alpha", 0.5)}
        return {**config, "config": {**inner, **exchanged}}
    return {key: exchange_tversky(value) for key, value in config.items()}


def compile_config(model: Any) -> dict[str, Any]:
    """Keras 3.15's description of how a model was compiled; empty if it was not."""
    from tdfast import losses, metrics, optimizers

    if not model.compiled:
        return {}
    heads = model._trainer.objective.heads
    weights = [head.weight for head in heads]
    return {
        "optimizer": optimizers.serialize(model.optimizer),
        "loss": exchange_tversky(_one_or_list([
            None if head.loss is None else losses.serialize(head.loss) for head in heads])),
        "loss_weights": None if all(weight == 1 for weight in weights) else weights,
        "metrics": exchange_tversky(_specs_of(heads, False, metrics)),
        "weighted_metrics": exchange_tversky(_specs_of(heads, True, metrics)),
        "run_eagerly": False,
        "steps_per_execution": model._trainer.steps_per_execution,
        "jit_compile": False,
    }


def _one_or_list(values: Any) -> dict[str, Any] | list[Any]:
    return values[0] if len(values) == 1 else values


def _specs_of(heads: Sequence[Any], weighted: bool, metrics: Any) -> Any:
    """The metrics of one output, or a list of several outputs'; None where there are none."""
    found = [[metrics.serialize(spec) for spec, counts in head.specs if counts == weighted] for head in heads]
    return _one_or_list(found) if any(found) else None
