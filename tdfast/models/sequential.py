"""Sequential: a stack of layers."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from tdfast.compat import absent
from tdfast.compat.calling import spell
from tdfast.engine import registry
from tdfast.engine.graph import Graph, Node
from tdfast.engine.layer import Layer
from tdfast.engine.serialization import deserialize_layer, serialize_layer
from tdfast.engine.tensor import SymbolicTensor
from tdfast.layers.core import InputLayer
from tdfast.layers.shaping import Flatten, Permute, Reshape
from tdfast.models.model import Model

if TYPE_CHECKING:
    from collections.abc import Sequence

    from tdfast.engine.types import Array, Config, CustomObjects, DType, Shapes, Sizes

__all__ = ["Sequential"]


@absent.members("models")
class Sequential(Model):
    """A stack of layers, each with one input and one output.

    Args:
        layers: a list of layers to add. Where the first is an `Input`, or knows its ``input_shape``,
            the weights are made at once; otherwise on the first array, or by ``build(input_shape)``.
        name: made from the class when None.
        trainable: False freezes all layers.

    See https://keras.io/api/models/sequential/.

    >>> import numpy as np
    >>> from tdfast.layers import LSTM, Dense, TimeDistributed
    >>> model = Sequential([LSTM(32, input_shape=(64, 15), return_sequences=True), TimeDistributed(Dense(8))])
    >>> model(np.zeros((50, 64, 15))).shape
    (50, 64, 8)
    >>> model.count_params()
    6408
    """

    def __init__(self, layers: Sequence[Layer | SymbolicTensor] | None = None, trainable: bool = True,
                 name: str | None = None, dtype: DType = None, **kwargs: Any) -> None:
        super().__init__(name=name, trainable=trainable, dtype=dtype, **kwargs)
        self._stack: list[Any] = []
        self._graph: Any = None
        self._fitting: set[Any] = set()       # the shapes of samples that all layers were seen to take
        self._input: Any = None
        if isinstance(layers, Layer):
            raise ValueError(
                f"Sequential expects a list of layers, such as [LSTM(8), Dense(1)], got {layers!r}: put it "
                "into [ ]."
            )
        for layer in layers or []:
            self.add(layer, rebuild=False)
        self._build_if_known()

    # ---------------------------------------------------------------- the stack
    @property
    def layers(self) -> list[Any]:
        """The layers, without the `Input`."""
        return list(self._stack)

    def sublayers(self) -> list[Any]:
        return self._stack

    @property
    def graph(self) -> Graph:
        """The layers' calls as a `tdfast.engine.graph.Graph`: a chain."""
        if self._graph is None:
            self._graph = self._called() if self.built else Graph.chain(self._stack)
        return self._graph

    def _called(self) -> Graph:
        """The chain of calls on the input's tensor, those of before where they are the same."""
        first = last = self._input.output
        for layer in self._stack:
            node = next((node for node in layer._nodes if node.inputs == (last,) and not node.options), None)
            if node is None:
                node = Node(layer, [last])
                shape = layer.compute_output_shape(last.shape)
                node.outputs[0].shape, node.outputs[0].dtype = shape, layer.output_dtypes(node, 1)[0]
                if not isinstance(shape, list):     # of a layer with several outputs there is no next one
                    layer._nodes.append(node)       # last: what ends this before leaves no half of a call
            (last,) = node.outputs
        return Graph([first], [last])

    def _changed(self) -> None:
        self._graph = None
        self._fitting.clear()

    def add(self, layer: Any, rebuild: bool = True) -> None:
        """Put a layer on top of the stack."""
        if isinstance(layer, SymbolicTensor) and layer.node is not None:
            layer = layer.node.layer            # of Input(...)
        if not isinstance(layer, Layer):
            raise ValueError(
                f"Sequential.add expects a layer, such as Dense(8), got {layer!r} ({type(layer).__name__})."
                + registry.layer_hint(layer)
            )
        if isinstance(layer, InputLayer):
            if self._stack or self._input is not None:
                raise ValueError(
                    f"Model '{self.name}' already has an input or layers: Input must come first."
                )
            self._input = layer
            return
        if any(layer is other or layer.name == other.name for other in self._stack):
            raise ValueError(
                f"Model '{self.name}' already has a layer named '{layer.name}'. Layers' names must differ: "
                "pass another name=, or make a new layer."
            )
        if self._stack and getattr(self._stack[-1], "return_state", False):
            raise ValueError(
                f"Layer '{self._stack[-1].name}' returns its states as well (return_state=True), so nothing "
                "can "
                "follow it in a Sequential model: every layer must have one output."
            )
        if getattr(layer, "merge_mode", "") is None:
            raise ValueError(
                f"Layer '{layer.name}' gives two outputs (merge_mode=None), but every layer of a Sequential "
                "model must "
                "have one. Use merge_mode='concat', 'sum', 'ave' or 'mul', or call the layer by itself."
            )
        if not self._stack and self._input is None and layer.batch_shape is not None:
            self._input = InputLayer(batch_shape=layer.batch_shape, dtype=layer.dtype_of_input)
        before = self.graph
        self._stack.append(layer)
        self._changed()
        if self.built:
            try:
                self.build_inner(layer, before.walk([self.input_shape], _shape_after)[0])
            except Exception:
                self._stack.pop()
                self._changed()
                raise
        elif rebuild:
            self._build_if_known()

    def pop(self, rebuild: bool = True) -> Layer | None:
        """Take the last layer off, and return it."""
        if not self._stack:
            raise ValueError(f"Model '{self.name}' has no layers to pop.")
        layer = self._stack.pop()
        self._changed()
        if not self._stack:
            self.built = False
        return layer

    def _build_if_known(self) -> None:
        if self._stack and not self.built and self._input is not None:
            self.ensure_built(self._input.batch_shape)

    # ---------------------------------------------------------------- as a layer
    @property  # type: ignore[override]
    def dtype(self) -> str | None:
        """That of the first layer."""
        return self._stack[0].dtype if getattr(self, "_stack", None) else self._dtype

    @dtype.setter
    def dtype(self, value: Any) -> None:
        self._dtype = value

    @property
    def batch_shape(self) -> tuple[int | None, ...] | None:
        """The input's shape, batch first, when the model was told it; else None."""
        return self._batch_shape if self._input is None else self._input.batch_shape

    @batch_shape.setter
    def batch_shape(self, value: Any) -> None:
        self._batch_shape = value
        self._input = None if value is None else InputLayer(batch_shape=value)

    @property
    def inputs(self) -> list[SymbolicTensor]:
        """The symbolic tensor of the input in a list, empty while its shape is unknown."""
        return [] if self._input is None else [self._input.output]

    @property
    def input_layers(self) -> list[Layer]:
        """The `InputLayer` in a list, empty while the input's shape is unknown."""
        return [] if self._input is None else [self._input]

    def build(self, input_shape: Shapes = None) -> None:
        """Make the weights of all layers, for inputs of this shape (batch first, None for any size)."""
        if input_shape is None:
            if self._input is None:
                raise ValueError(f"Model '{self.name}': build needs input_shape, such as (None, 64, 15).")
            input_shape = self._input.batch_shape
        if not self._stack:
            raise ValueError(f"Model '{self.name}' has no layers: add one first.")
        input_shape = tuple(input_shape)
        if self._stack[0].computes_in_call and self._input is not None:
            self._stack[0]._input_dtype = self._input.dtype

        def build(node: Any, shape: Sizes) -> tuple[int | None, ...]:
            self.build_inner(node.layer, shape)
            return node.layer.compute_output_shape(shape)

        self.graph.walk([input_shape], build)
        if self._input is None:
            dtype = self._stack[0].dtype_of_input
            self._input = InputLayer(batch_shape=(None, *input_shape[1:]), dtype=dtype)
        self.input_shape = input_shape
        self.built = True
        self._graph = None

    def check_input_shape(self, input_shape: Shapes) -> None:
        """Raise a ValueError that names the layer which cannot take this shape.

        Any axis may differ from what the model was built for, the number of time steps above all, unless a
        layer minds.
        """
        if not self.built:
            return
        got, want = tuple(input_shape), self.input_shape
        if got[1:] in self._fitting:
            self._stack[0].check_input_shape(got)       # it may mind the size of the batch
            return
        if len(got) != len(want):
            hint = " For one sample give x[None]." if _fits(got, want[1:]) else ""
            raise ValueError(
                f"Model '{self.name}' expects input of shape {want}, got {got}. The first axis is the batch; "
                f"layer '{self._stack[0].name}' ({type(self._stack[0]).__name__}) comes first.{hint}"
            )

        def check(node: Any, shape: Sizes) -> tuple[int | None, ...]:
            try:
                node.layer.check_input_shape(shape)
                return node.layer.compute_output_shape(shape)
            except ValueError as error:
                raise ValueError(
                    f"Model '{self.name}' was built for input of shape {want}, and cannot take {got}. {error}"
                    + (self._fixes_steps(node.layer) if len(want) > 2 and got[1] != want[1] else "")
                ) from None

        self.graph.walk([got], check)
        if len(self._fitting) > 1000:
            self._fitting.clear()
        self._fitting.add(got[1:])

    def _fixes_steps(self, layer: Any) -> str:
        """Advice where a layer before this one makes features of the time steps."""
        before = self._stack[: self._stack.index(layer)]
        fixing = next((f for f in before if isinstance(f, (Flatten, Permute, Reshape))), None)
        if fixing is None:
            return ""
        return (
            f" Layer '{fixing.name}' ({type(fixing).__name__}) makes features of the time steps, so their "
            "number is fixed. To "
            "take any number use a layer such as GlobalAveragePooling1D in its place."
        )

    def as_input(self, x: Any, who: str | None = None) -> Array:
        return self._stack[0].as_input(x, who) if self._stack else super().as_input(x, who)

    @property
    def output_names(self) -> list[Any]:
        """The name of the last layer, in a list."""
        return [layer.name for layer in self._stack[-1:] or [self]]

    # ---------------------------------------------------------------- config
    def get_config(self) -> Config:
        layers = ([] if self._input is None else [self._input]) + self._stack
        config = {"name": self.name, "trainable": self.trainable, "dtype": self.dtype,
                  "layers": [serialize_layer(layer) for layer in layers]}
        if self.built:
            config["build_input_shape"] = self.input_shape
        return config

    @classmethod
    def from_config(cls, config: Config, custom_objects: CustomObjects = None) -> Any:
        """The model that `get_config` described, with new weights."""
        layers = [deserialize_layer(layer, custom_objects=custom_objects) for layer in config["layers"]]
        model = cls(layers, name=config.get("name"), trainable=config.get("trainable", True))
        if config.get("build_input_shape") and not model.built:
            model.build(config["build_input_shape"])
        return model


spell(Sequential, "add", "build", "compile", "evaluate", "fit", "get_layer", "load_weights", "pop", "predict",
      "predict_on_batch", "save", "save_weights", "set_weights", "streamer", "summary", "test_on_batch",
      "to_json", "train_on_batch")


def _shape_after(node: Any, shape: Sizes) -> Any:
    return node.layer.compute_output_shape(shape)


def _fits(got: Sequence[Any], want: Sequence[Any]) -> bool:
    """Whether a shape is another one, in which None is any size."""
    return len(got) == len(want) and all(a is None or b is None or a == b for a, b in zip(got, want))
