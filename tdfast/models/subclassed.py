"""Subclassed: a model whose class has its layers as attributes and, mostly, computes in ``call``."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from tdfast.engine import calls, tracing
from tdfast.engine.graph import Graph
from tdfast.engine.layer import Layer
from tdfast.engine.structure import flatten, mapped, packed_as
from tdfast.engine.tensor import SymbolicTensor, is_symbolic
from tdfast.layers.core import InputLayer
from tdfast.models.model import Model
from tdfast.training.batch import one_or_list

if TYPE_CHECKING:
    from tdfast.engine.types import Array, Config, Shapes


class Subclassed(Model):
    """What a class that derives from `Model` becomes: see docs/own.md.

    Its ``call`` runs once on symbolic tensors. Where that works, the model is the graph of these calls, as
    fast
    as one made by ``Model(inputs, outputs)``. Where it does not (call asks for numbers, for whether it is
    training, or uses weights of its own), call runs in each step, in Python, and its derivative is recorded.

    Args:
        name, trainable, dtype: as in `Model`.

    Attributes:
        runs_in_python: why the model is no graph; None if it is one, or is not built.

    >>> from tdfast.layers import Dense
    >>> class Residual(Model):
    ...     def __init__(self):
    ...         super().__init__()
    ...         self.dense = Dense(3)
    ...     def call(self, inputs):
    ...         return inputs + self.dense(inputs)
    >>> model = Residual()
    >>> model(np.zeros((2, 3))).shape, model.runs_in_python
    ((2, 3), None)
    """

    def __init__(self, name: str | None = None, trainable: bool = True, dtype: Any = None,
                 **kwargs: Any) -> None:
        super().__init__(name=name, trainable=trainable, dtype=dtype, **kwargs)
        self._graph: Any = None
        self._input_layers: list[Any] = []
        self._input_structure: Any = None
        self._output_structure: Any = None
        self.runs_in_python: str | None = None

    has_layers_as_attributes = True
    __setattr__ = calls.set_attribute

    # ---------------------------------------------------------------- the layers
    def sublayers(self) -> list[Any]:
        return calls.layers_in(self)

    @property
    def graph(self) -> Graph:
        """The calls of layers as a `tdfast.engine.graph.Graph`."""
        if self._graph is None:
            raise ValueError(
                f"Model '{self.name}' ({type(self).__name__}) is not built yet: call it on a batch, or "
                "build((None, ...)) with the shape of its input."
            )
        return self._graph

    def call(self, inputs: Any, *, training: bool | None = None, mask: Any = None, **kwargs: Any) -> Any:
        raise TypeError(
            f"Model '{self.name}' ({type(self).__name__}) has no call(self, inputs), which says what it "
            "computes."
        )

    @property
    def has_call(self) -> bool:
        return type(self).call is not Subclassed.call

    # ---------------------------------------------------------------- building
    def build(self, input_shape: Any = None) -> None:
        """Make the weights and the graph for inputs of this shape, batch first; of several inputs a list or a
        dict of shapes."""
        if self._graph is not None or input_shape is None:
            return
        shapes = calls.as_tuples(input_shape)
        if self._input_structure is None:
            several = isinstance(shapes, (dict, list)) or (shapes and isinstance(shapes[0], (tuple, list)))
            self._input_structure = _leaves_of_shapes(shapes) if several else None
        flat = [shapes] if not _is_nested(shapes) else _flat_shapes(shapes)
        self._make([(None, *shape[1:]) for shape in flat], [self.dtype] * len(flat))

    def _make(self, shapes: list[Any], dtypes: list[str]) -> None:
        with self.building():
            if self._graph is not None:
                return
            self._input_layers = [InputLayer(batch_shape=shape, dtype=dtype)
                                  for shape, dtype in zip(shapes, dtypes)]
            tensors = [layer.output for layer in self._input_layers]
            given = self._packed(tensors)
            try:
                y = self._traced(given)
            except Exception as reason:                 # the call in Python raises what is wrong in itself
                self.runs_in_python = f"{reason}"
                y = ModelCall(self)(given)
            self._output_structure = None if isinstance(y, SymbolicTensor) else mapped(lambda _: None, y)
            self._graph = Graph(tensors, flatten(y), strict=False)
            self.input_shape = one_or_list([tensor.shape for tensor in tensors])
            self.built = True
            self._trainer.know_outputs()
            for layer in self.sublayers():
                for variable in layer.weights:
                    if not variable.path.startswith(f"{self.name}/"):
                        variable.path = f"{self.name}/{variable.path}"

    def _traced(self, given: Any) -> Any:
        """What call gives for symbolic tensors."""
        if self.runs_eagerly:
            raise calls.NeedsValues("compile was told to run_eagerly")
        names, _, needed = calls.parameters(type(self).call)
        kwargs: dict[str, Any] = {"training": calls.Mode()} if "training" in names else {}
        if "mask" in names:
            raise calls.NeedsValues("its call takes a mask")
        with tracing.graph_being_made():
            y = self.call(given, **kwargs)
        leaves = flatten(y)
        if not leaves or not all(isinstance(leaf, SymbolicTensor) for leaf in leaves):
            raise calls.NeedsValues("its call gives something else than what layers and ops give")
        Graph(flatten(given), leaves)                   # refuses what does not depend on the inputs
        return y

    @property
    def runs_eagerly(self) -> bool:
        """Whether `compile` was told run_eagerly=True."""
        return self._trainer.run_eagerly

    def _packed(self, parts: list[Any]) -> Any:
        return parts[0] if self._input_structure is None else packed_as(self._input_structure, parts)

    def ensure_built(self, input_shape: Any, seen: Any = None) -> None:
        if self._graph is None:
            build = type(self).build
            if build is not Subclassed.build:
                self.build(calls.as_tuples(input_shape))
            several = input_shape and isinstance(input_shape[0], (tuple, list))
            shapes = list(input_shape) if several else [input_shape]
            dtypes = getattr(self, "_dtypes_seen", None) or [self.dtype] * len(shapes)
            self._make([(None, *shape[1:]) for shape in shapes], dtypes)

    def check_input_shape(self, input_shape: Shapes) -> None:
        """Raise a ValueError that names the layer which cannot take this shape."""
        if self._graph is None or self.runs_in_python is not None:
            return
        shapes = list(input_shape) if isinstance(input_shape[0], (tuple, list)) else [input_shape]

        def check(node: Any, shape: Any) -> Any:
            node.layer.check_input_shape(shape)
            return node.output_shape(shape)

        self._graph.walk([tuple(shape) for shape in shapes], check)

    # ---------------------------------------------------------------- what goes in and out
    @property
    def several_inputs(self) -> bool:  # type: ignore[override]
        """Whether it takes more than one."""
        return len(self._input_layers) > 1

    @property
    def shape_to_build(self) -> Any:
        """What `build` takes to make this model again, or None."""
        if self._graph is None:
            return None
        return self._packed([list(layer.batch_shape) for layer in self._input_layers])

    @property
    def input_layers(self) -> list[Any]:
        """The `InputLayer` of each input, once the model is built."""
        return self._input_layers

    @property
    def input_names(self) -> list[Any]:
        """The keys of a dict of inputs, or numbers."""
        structure = self._input_structure
        if isinstance(structure, dict):
            return sorted(structure)
        return [f"input_{i}" for i in range(len(self._input_layers) or 1)]

    @property
    def input_shapes(self) -> list[Any]:
        if self._graph is None:
            return [None] * (1 if self._input_structure is None else len(flatten(self._input_structure)))
        return [layer.batch_shape for layer in self._input_layers]

    def as_inputs(self, x: Any, who: str) -> list[Array]:
        parts, structure = _parts_of(x)
        if self._graph is None:
            self._input_structure = structure
            self._dtypes_seen = [_dtype_of(part, self.dtype) for part in parts]
        elif len(parts) != len(self._input_layers):
            raise ValueError(
                f"{who}: model '{self.name}' takes {len(self._input_layers)} input(s), got {len(parts)}."
            )
        return parts

    def converters(self) -> list[Any]:
        names = self.input_names
        count = len(names)
        return [(f", input '{name}'" if count > 1 else "", _Converter(self)) for name in names]

    def as_input(self, x: Any, who: str | None = None) -> Any:
        parts = self.as_inputs(x, who or f"Model '{self.name}'")
        return one_or_list([calls.as_arrays(self, part) for part in parts])

    @property
    def outputs_are_known(self) -> bool:  # type: ignore[override]
        """Whether it is known how many outputs there are."""
        return self._graph is not None

    @property
    def has_named_outputs(self) -> bool:  # type: ignore[override]
        """Whether the outputs are a dict, with nothing nested in it."""
        structure = self._output_structure
        return isinstance(structure, dict) and len(structure) == len(flatten(structure))

    @property
    def output_names(self) -> list[Any]:
        if self.has_named_outputs:
            return sorted(self._output_structure)
        return [f"output_{i}" for i in range(1 if self._graph is None else len(self._graph.outputs))]

    def pack_outputs(self, outputs: Any) -> Any:
        structure = self._output_structure
        return outputs if structure is None else packed_as(structure, flatten(outputs))

    def output_dtypes(self, node: Any, number: Any) -> list[Any]:
        return [tensor.dtype for tensor in self.graph.outputs]

    def compute_output_shape(self, input_shape: Any) -> Any:
        several = isinstance(input_shape[0], (tuple, list))
        if self._graph is None:
            self.ensure_built(input_shape)
        return one_or_list(self.output_shapes(list(input_shape) if several else input_shape))

    def output_shapes(self, input_shape: Any) -> list[Any]:
        shapes = list(input_shape) if isinstance(input_shape[0], (tuple, list)) else [input_shape]
        return self.graph.walk(list(map(tuple, shapes)), lambda node, shape: node.output_shape(shape))

    def check_dtypes(self, tensors: Any) -> None:
        """Its layers do."""

    def __call__(self, x: Any = None, *args: Any, training: bool | None = None, mask: Any = None,
                 **kwargs: Any) -> Any:
        if args or kwargs or x is None:
            return self._called(x, args, {**kwargs, "training": training, "mask": mask})
        if is_symbolic(x):
            if self._graph is None:
                parts = flatten(x)
                self._input_structure = None if isinstance(x, SymbolicTensor) else mapped(lambda _: None, x)
                self._make([part.shape for part in parts], [part.dtype for part in parts])
            return super().__call__(x, training=training, mask=mask)
        frame = tracing.innermost()
        if frame is not None and (self._graph is None or self.runs_in_python is not None):
            return self._inline(frame, x, training, mask)
        made = super().__call__(x, training=training, mask=mask)
        return self.pack_outputs(made)

    def _called(self, x: Any, args: Any, kwargs: dict[str, Any]) -> Any:
        """A call with further arguments, which no graph has: in Python."""
        body = ModelCall(self)
        given = {name: value for name, value in kwargs.items() if value is not None}
        return body(x, *args, **given)

    def _inline(self, frame: tracing.Frame, x: Any, training: Any, mask: Any) -> Any:
        """A call within a user's code, whose steps are recorded one by one."""
        x = calls.as_arrays(self, x)
        if self._graph is None:
            self.as_input(mapped(calls.plain, x))
            shapes = [tuple(part.shape) for part in flatten(x)]
            self.ensure_built(one_or_list(shapes))
        return calls.run(self, frame, (x,), {"training": training, "mask": mask})

    def bind(self, x: Any, training: bool | None = None, mask: Any = None, **kwargs: Any) -> Any:
        return super().bind(flatten(x), training=training, mask=mask, **kwargs)

    # ---------------------------------------------------------------- config
    def get_config(self) -> Config:
        """The name; a class whose ``__init__`` takes arguments overrides it, and adds them."""
        return {"name": self.name, "trainable": self.trainable}


class _Converter:
    """Makes an array of what a user gives for an input."""

    def __init__(self, model: Model) -> None:
        self.model = model

    def __call__(self, x: Any, who: str | None = None) -> Any:
        return calls.as_arrays(self.model, np.asarray(x))


class ModelCall(Layer):
    """The call of a model that is no graph, as a layer with the model's weights."""

    supports_masking = True

    def __init__(self, model: Any) -> None:
        super().__init__(name=model.name, dtype=model.dtype)
        self.model = model
        self.batch_coupled = True               # nobody can tell
        self.__dict__["_weights"] = model._weights

    @property
    def called_function(self) -> Any:
        """The method that runs, for its arguments."""
        return type(self.model).call

    def call(self, *args: Any, **kwargs: Any) -> Any:
        return self.model.call(*args, **kwargs)

    def build(self, input_shape: Shapes = None) -> None:
        """The model does."""

    def sublayers(self) -> list[Any]:
        return self.model.sublayers()

    @property
    def trainable(self) -> bool:
        return self.model.trainable

    @trainable.setter
    def trainable(self, value: bool) -> None:
        """The model says it."""

    @property
    def _trainable(self) -> bool:
        return self.model._trainable

    @_trainable.setter
    def _trainable(self, value: bool) -> None:
        """The model says it."""

    def compute_mask(self, inputs: Any, mask: Any = None) -> Any:
        return None


def _is_nested(shapes: Any) -> bool:
    return isinstance(shapes, (dict, list)) or bool(shapes) and isinstance(shapes[0], (tuple, list))


def _leaves_of_shapes(shapes: Any) -> Any:
    if isinstance(shapes, dict):
        return {key: _leaves_of_shapes(part) for key, part in shapes.items()}
    if _is_nested(shapes):
        return [_leaves_of_shapes(part) for part in shapes]
    return None


def _flat_shapes(shapes: Any) -> list[Any]:
    if isinstance(shapes, dict):
        return [shape for key in sorted(shapes) for shape in _flat_shapes(shapes[key])]
    if not _is_nested(shapes):
        return [tuple(shapes)]
    return [shape for part in shapes for shape in _flat_shapes(part)]


def _parts_of(x: Any) -> tuple[list[Any], Any]:
    """(the arrays of a structure, the structure with None for each; None for one array)."""
    if isinstance(x, dict):
        return flatten(x), mapped(lambda _: None, x)
    if isinstance(x, (list, tuple)) and len(x) and all(map(_is_input, x)):
        return flatten(x), mapped(lambda _: None, x)
    return [x], None


def _is_input(part: Any) -> bool:
    return getattr(part, "ndim", 0) > 0 or isinstance(part, (list, tuple, dict)) and _holds_arrays(part)


def _holds_arrays(x: Any) -> bool:
    return any(getattr(part, "ndim", 0) > 0 for part in flatten(x))


def _dtype_of(part: Any, dtype: str) -> str:
    kind = np.asarray(calls.plain(part)).dtype
    return "string" if kind.kind in "USO" else dtype if kind.kind == "f" else kind.name
