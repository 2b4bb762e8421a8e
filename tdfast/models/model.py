"""Model: a network that can be trained, measured and saved."""

from __future__ import annotations

import functools
from typing import TYPE_CHECKING, Any, Concatenate, ParamSpec, TypeVar, overload

import numpy as np

from tdfast.engine import registry, tracing
from tdfast.engine.network import Network
from tdfast.training import own_step
from tdfast.training.batch import one_or_list
from tdfast.training.lock import ModelLock
from tdfast.training.prediction import inference_tape
from tdfast.training.trainer import Trainer

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from tdfast.engine.tensor import SymbolicTensor
    from tdfast.engine.types import Array, Config, CustomObjects, DType, Masks, PathLike, Shapes, Tensors
    from tdfast.models.streaming import Streamer


P = ParamSpec("P")
R = TypeVar("R")
Self = TypeVar("Self", bound="Model")


def _passed_on(method: Callable[Concatenate[Trainer, P], R]) -> Callable[Concatenate[Any, P], R]:
    """A method of the `Trainer` as one of the model."""

    @functools.wraps(method)
    def passed(self: Any, *args: P.args, **kwargs: P.kwargs) -> R:
        return method(self._trainer, *args, **kwargs)

    return passed


def _of_trainer(name: str, doc: str, settable: bool = False) -> Any:
    """An attribute of the `Trainer` as one of the model."""

    def get(self: Any) -> Any:
        return getattr(self._trainer, name)

    def assign(self: Any, value: Any) -> None:
        setattr(self._trainer, name, value)

    return property(get, assign if settable else None, doc=doc)


def _derive_from(cls: Any, kind: Any) -> None:
    """Make a user's class that derives from `Model` derive from one of its kinds."""
    if Model in cls.__bases__:
        cls.__bases__ = tuple(kind if base is Model else base for base in cls.__bases__)
        return
    for base in cls.__bases__:
        if issubclass(base, Model):
            _derive_from(base, kind)


class Model(Network):
    """A graph of layers between some inputs and some outputs, which can be trained.

    A class that derives from it has its layers as attributes, made in ``__init__``, and computes in
    ``call(self, inputs, training=None)``: see docs/own.md.

    Args:
        inputs: what the model takes: the symbolic tensor of an `Input`, or a list, a tuple or a dict of them.
        outputs: the symbolic tensors that calls of layers on the inputs gave, in the same way.
        name: made from the class when None.
        trainable: False freezes all layers.

    See https://keras.io/api/models/model/.

    >>> import numpy as np
    >>> from tdfast.layers import LSTM, Concatenate, Dense, Input
    >>> past, static = Input((6, 3)), Input((4,))
    >>> joined = Concatenate()([LSTM(7)(past), static])
    >>> model = Model([past, static], Dense(2)(joined))
    >>> model.predict([np.zeros((5, 6, 3)), np.zeros((5, 4))], verbose=0).shape
    (5, 2)
    """

    passive = frozenset({"history", "stop_training", "stop_evaluating", "stop_predicting"})

    if TYPE_CHECKING:                   # what the three kinds of models have, each in its way
        input_layers: Any

    def __new__(cls: type[Self], *args: Any, **kwargs: Any) -> Self:
        if cls is Model:                # what all models have is of no use by itself
            cls = registry.home("models").Functional
        return super().__new__(cls)

    @overload
    def __init__(self, inputs: Tensors, outputs: Tensors, *, name: str | None = None, trainable: bool = True,
                 **kwargs: Any) -> None: ...

    @overload
    def __init__(self, *, name: str | None = None, trainable: bool = True, dtype: DType = None,
                 **kwargs: Any) -> None: ...

    # The first is what `__new__` makes a Functional of.
    def __init__(self, *args: Any, name: str | None = None, trainable: bool = True, dtype: DType = None,
                 **kwargs: Any) -> None:
        kinds = registry.home("models")
        if not isinstance(self, (kinds.Functional, kinds.Sequential, kinds.Subclassed)):
            kind = kinds.Functional if args or "inputs" in kwargs or "outputs" in kwargs else kinds.Subclassed
            _derive_from(type(self), kind)
            kind.__init__(self, *args, name=name, trainable=trainable, dtype=dtype, **kwargs)
            return
        super().__init__(name=name, trainable=trainable, dtype=dtype, **kwargs)
        self._lock = ModelLock(inference_tape)
        self._trainer = Trainer(self, self._lock)

    @classmethod
    def from_config(cls, config: Config, custom_objects: CustomObjects = None) -> Any:
        """The model that `get_config` of one with inputs and outputs described, with new weights."""
        if cls is Model:
            return registry.home("models").Functional.from_config(config, custom_objects)
        return super().from_config(config)

    @classmethod
    def _computes_in_call(cls) -> None:
        """Nothing: `tdfast.models.subclassed` runs a model's call."""
        kinds = None if cls.__module__.startswith("tdfast.") else registry.home("models")
        if kinds is not None and issubclass(cls, (kinds.Sequential, kinds.Functional)):
            raise TypeError(
                f"class {cls.__name__} has a call, but derives from {cls.__mro__[1].__name__}, which "
                "runs its layers one "
                "after the other. Derive from tdfast.Model, and call the layers in call."
            )

    # ---------------------------------------------------------------- training
    compile = _passed_on(Trainer.compile)
    fit = _passed_on(Trainer.fit)
    evaluate = _passed_on(Trainer.evaluate)
    predict = _passed_on(Trainer.predict)
    train_on_batch = _passed_on(Trainer.train_on_batch)
    test_on_batch = _passed_on(Trainer.test_on_batch)
    predict_on_batch = _passed_on(Trainer.predict_on_batch)
    profile = _passed_on(Trainer.profile)
    reset_metrics = _passed_on(Trainer.reset_metrics)
    compiled_state = _passed_on(Trainer.compiled_state)
    set_compiled_state = _passed_on(Trainer.set_compiled_state)

    optimizer = _of_trainer("optimizer", "That of `compile`, or None.", settable=True)
    loss = _of_trainer("loss", "That of `compile`, or None; a list where there are several outputs.")
    metrics = _of_trainer("metrics", "The loss's running mean, then the metrics.")
    metrics_names = _of_trainer("metrics_names", "The names in the logs.")
    metrics_variables = _of_trainer("metrics_variables", "The variables of the metrics.")
    steps_per_execution = _of_trainer("steps_per_execution", "That of `compile`.")
    compiled = _of_trainer("compiled", "Whether `compile` was called.")
    history = _of_trainer("history", "The `History` of the last `fit`, or None.", settable=True)
    validates = _of_trainer("validates", "Whether the `fit` that is under way measures validation data.")
    stop_training = _of_trainer("stop_training", "True ends `fit` after the epoch.", settable=True)
    stop_evaluating = _of_trainer("stop_evaluating", "True ends `evaluate` after the batch.", settable=True)
    stop_predicting = _of_trainer("stop_predicting", "True ends `predict` after the batch.", settable=True)

    # ---------------------------------------------------------------- steps of a class of one's own
    def train_step(self, data: Any) -> dict[str, Any]:
        """One step of `fit`; a class may override it.

        Args:
            data: (x,), (x, y) or (x, y, sample_weight) of a batch, in the structures that fit was given.

        Returns:
            A dict of the numbers for the logs.

        Such a step takes the gradients from `tdfast.ops.value_and_grad` and gives them to an optimizer: see
        docs/own.md.
        """
        return own_step.train_step(self, data)

    def test_step(self, data: Any) -> dict[str, Any]:
        """One step of `evaluate`; a class may override it. As `train_step`, without learning."""
        return own_step.test_step(self, data)

    def predict_step(self, data: Any) -> Any:
        """One step of `predict`, with data (x,); a class may override it."""
        return self(data[0], training=False)

    def compute_loss(self, x: Any = None, y: Any = None, y_pred: Any = None, sample_weight: Any = None,
                     training: bool = True) -> Any:
        """The number that training makes small: the losses of `compile` and `losses`; a class may "
        "override it."""
        return own_step.compute_loss(self, y, y_pred, sample_weight)

    def compute_metrics(self, x: Any, y: Any, y_pred: Any, sample_weight: Any = None) -> dict[str, Any]:
        """Count a batch in the metrics, and give all numbers by name; a class may override it."""
        return own_step.compute_metrics(self, y, y_pred, sample_weight)

    def get_metrics_result(self) -> dict[str, Any]:
        """The numbers of all metrics by name."""
        return own_step.get_metrics_result(self)

    @property
    def has_call(self) -> bool:
        """Whether the model can be called: its class has a ``call``, or it is made of layers."""
        return True

    def compile_as(self, model: Any) -> None:
        """Compile as another model was, with a new optimizer and copies of its losses and metrics, which
        start anew."""
        self._trainer.compile_as(model._trainer)

    # ---------------------------------------------------------------- as a layer
    def as_inputs(self, x: Any, who: str) -> list[Any]:
        """What a user passed, as a list with an array-like for each input."""
        return [x]

    def converters(self) -> list[Any]:
        """For each input (its name in messages, what makes an array of an array-like)."""
        return [("", self.as_input)]

    @property
    def input_shapes(self) -> list[Any]:
        """The shape of each input that the model was built for, as a list; of None before."""
        return [self.input_shape]

    @property
    def input(self) -> SymbolicTensor:
        """The symbolic tensor of the input, or those of several."""
        return one_or_list(self.graph.inputs)

    @property
    def output(self) -> SymbolicTensor:
        """The symbolic tensor of the output, or those of several."""
        return one_or_list(self.graph.outputs)

    @property
    def inputs(self) -> list[Any]:
        """The symbolic tensors of the inputs, as a list."""
        return list(self.graph.inputs)

    @property
    def outputs(self) -> list[Any]:
        """The symbolic tensors of the outputs, as a list."""
        return list(self.graph.outputs)

    @property
    def output_names(self) -> list[Any]:
        """The name of each output: that of the layer which gives it."""
        return [tensor.node.layer.name for tensor in self.graph.outputs]

    outputs_are_known = True
    """Whether it is known how many outputs there are."""

    has_named_outputs = False
    """Whether the outputs are a dict."""

    @property
    def head_names(self) -> list[str]:
        """The name of each output in losses, metrics and logs."""
        return self.output_names

    def output_shapes(self, input_shape: Shapes) -> list[Any]:
        """The shape of each output, as a list, from that of the input (a list of several)."""
        shapes = [input_shape] if len(self.graph.inputs) == 1 else input_shape
        return self.graph.walk(shapes, lambda node, shape: node.output_shape(shape))

    def __reduce__(self) -> Any:
        with self._lock.reading():
            return super().__reduce__()

    def __call__(self, x: Any, training: bool | None = None, mask: Masks = None,
                 **kwargs: Any) -> Array | list[Array]:
        plain = type(x) is np.ndarray and not training and mask is None and not kwargs and not tracing.level()
        served = self._trainer.served
        made = served.outputs(x, training=training) if plain else None
        if made is None:
            made = self._lock.read_by(super().__call__, x, training=training, mask=mask, **kwargs)
            if plain and x.dtype.kind == "f":
                served.saw(x, np.dtype(self.dtype), training)
        return made

    def get_weights(self) -> list[Array]:
        """Copies of all weights, as a list of arrays; those of one moment, also while another thread
        trains."""
        with self._lock.reading():
            return super().get_weights()

    def set_weights(self, weights: Any) -> None:
        """Overwrite all weights with a list of arrays of the same shapes."""
        with self._lock.writing():
            super().set_weights(weights)

    def reset_states(self) -> None:
        """Let all stateful layers start from zeros again."""
        for layer in self.walk():
            if layer is not self and hasattr(layer, "reset_state"):
                layer.reset_state()

    # ---------------------------------------------------------------- access
    @property
    def layers(self) -> list[Any]:
        """The layers, each once."""
        return list(self.sublayers())

    def get_layer(self, name: str | None = None, index: Any = None) -> Any:
        """A layer by its name or its index."""
        layers = self.layers
        if index is not None:
            return layers[index]
        for layer in layers:
            if layer.name == name:
                return layer
        raise ValueError(
            f"Model '{self.name}' has no layer '{name}'. It has: {[layer.name for layer in layers]}."
        )

    def streamer(self, batch_size: int = 1, allow_nan: bool = False) -> Streamer:
        """A `tdfast.models.streaming.Streamer`, which takes one time step at a time and keeps the state."""
        from tdfast.models.streaming import Streamer

        return Streamer(self, batch_size, allow_nan)

    def summary(self, line_length: int | None = None, positions: Sequence[float] | None = None,
                print_fn: Callable[[str], object] | None = None, expand_nested: bool = False,
                show_trainable: bool = False, layer_range: Sequence[str] | None = None) -> None:
        """Print a table of the layers with their output shapes and numbers of parameters."""
        from tdfast.models.summary import print_summary

        print_summary(self, line_length=line_length, positions=positions, print_fn=print_fn,
                      expand_nested=expand_nested, show_trainable=show_trainable, layer_range=layer_range)

    def _repr_html_(self) -> str:
        from tdfast.models.summary import summary_html

        return summary_html(self)

    # ---------------------------------------------------------------- files
    def save(self, filepath: PathLike, overwrite: bool = True, zipped: bool | None = None) -> None:
        """Write the model with its weights and the optimizer's state to a .keras file (see
        `tdfast.saving.save_model`)."""
        from tdfast.saving import save_model

        with self._lock.reading():
            save_model(self, filepath, overwrite=overwrite, zipped=zipped)

    def save_weights(self, filepath: PathLike, overwrite: bool = True) -> None:
        """Write the weights and the optimizer's state to a .weights.h5 or .weights.npz file (see
        `tdfast.saving.save_weights`)."""
        from tdfast.saving import save_weights

        with self._lock.reading():
            save_weights(self, filepath, overwrite=overwrite)

    def load_weights(self, filepath: PathLike, skip_mismatch: bool = False, by_name: bool = False) -> None:
        """Overwrite the weights with those of a file (see `tdfast.saving.load_weights`)."""
        from tdfast.saving import load_weights

        with self._lock.writing():
            load_weights(self, filepath, skip_mismatch=skip_mismatch, by_name=by_name)

    def to_json(self, **kwargs: Any) -> str:
        """The layers and how the model was compiled, without weights, as JSON that `model_from_json` and
        Keras 3 read.

        Args:
            kwargs: for `json.dumps`, such as ``indent=2``.
        """
        import json

        from tdfast.saving.keras.file import description

        return json.dumps(description(self), **kwargs)
