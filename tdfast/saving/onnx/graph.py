"""The graph that is being written: nodes, constants, inputs and outputs under names that differ."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from tdfast.saving.exporting import changed

if TYPE_CHECKING:

    pass

OPSETS = range(17, 23)
"""Which versions of ONNX's operators can be written."""

LIMIT = 2**31 - 2**20
"""Bytes of weights that one file holds: protobuf ends at 2 GiB."""


class Graph:
    """Nodes and constants in the order in which they were added.

    Args:
        dtype: of all numbers: 'float32' or 'float64'.
        opset: one of `OPSETS`.
        states: whether recurrent layers make their states inputs and outputs.
    """

    def __init__(self, dtype: Any, opset: Any, states: Any) -> None:
        self.dtype, self.opset, self.states = np.dtype(dtype), opset, states
        self.path: tuple[str, ...] = ()
        self._nodes: list[Any] = []
        self._constants: dict[Any, Any] = {}
        self._inputs: list[Any] = []
        self._outputs: list[Any] = []
        self._small: dict[Any, Any] = {}
        self._taken: dict[Any, Any] = {}
        self._weights: dict[Any, Any] = {}
        self._calls: dict[Any, Any] = {}

    # ---------------------------------------------------------------- names
    def inside(self, layer: Any) -> Any:
        """A block in which names begin with the layer's."""
        return changed(self, path=(*self.path, layer.name))

    def name(self, what: str) -> Any:
        """A name that nothing else has: the layer's path, and what it is."""
        name = "/".join((*self.path, what))
        n = self._taken[name] = self._taken.get(name, 0) + 1
        return name if n == 1 else self.name(f"{what}_{n}")

    # ---------------------------------------------------------------- values
    def constant(self, value: Any, name: str = "constant") -> Any:
        """The name of a constant array; one of few numbers is stored once."""
        value = np.ascontiguousarray(value) if np.ndim(value) else np.asarray(value)
        key = (value.dtype.str, value.shape, value.tobytes()) if value.size <= 16 else None
        found = self._small.get(key)
        if found is None:
            found = self.name(name)
            self._constants[found] = value
            if key is not None:
                self._small[key] = found
        return found

    def number(self, value: Any) -> Any:
        """A constant of the graph's dtype."""
        return self.constant(np.asarray(value, self.dtype))

    def integers(self, *values: Any) -> Any:
        """A constant vector of whole numbers, such as a shape."""
        return self.constant(np.array(values, np.int64))

    def weight(self, name: str, value: Any) -> Any:
        """A constant in the graph's dtype, under a name of its own; one for all calls of a layer."""
        value = np.ascontiguousarray(value, self.dtype)
        known = self._weights.setdefault((*self.path, name), [])
        for found in known:
            if np.array_equal(self._constants[found], value):
                return found
        known.append(self.name(name))
        self._constants[known[-1]] = value
        return known[-1]

    def public_name(self, layer: Any) -> Any:
        """A layer's name with those of the models and wrappers around it; of its second call, "<name>_2"."""
        path = self.path if self.path[-1] == layer.name else (*self.path, layer.name)
        name = "/".join(path)
        n = self._calls[name] = self._calls.get(name, 0) + 1
        return name if n == 1 else f"{name}_{n}"

    def input(self, name: str, dtype: Any, shape: Any, default: Any = None) -> Any:
        """An input of the graph, which may be left out where there is a default."""
        name = self._outer(name)
        self._inputs.append((name, np.dtype(dtype), shape))
        if default is not None:
            self._constants[name] = default
        return name

    def output(self, name: str, value: Any, dtype: Any, shape: Any, first: bool = False) -> Any:
        """Make a value an output of the graph, the last or the first of them."""
        name = self._outer(name)
        self._nodes.append(("Identity", (value,), (name,), name, {}))
        self._outputs.insert(0 if first else len(self._outputs), (name, np.dtype(dtype), shape))

    def _outer(self, name: str) -> Any:
        if name in self._taken:
            raise ValueError(f"Two inputs or outputs of the graph would be called '{name}': rename a layer.")
        self._taken[name] = 1
        return name

    # ---------------------------------------------------------------- nodes
    def node(self, kind: Any, *inputs: Any, outputs: Any = None, **attributes: Any) -> Any:
        """Add a node; its output's name, or a list of names.

        Args:
            kind: ONNX's operator.
            inputs: names, "" for an optional one that is not there.
            outputs: None for one; else booleans: which of the outputs are wanted. The others are "".
        """
        label = self.name(kind)
        made = [label] if outputs is None else [f"{label}:{i}" if wanted else "" for i,
                                                wanted in enumerate(outputs)]
        self._nodes.append((kind, inputs, made, label, attributes))
        return label if outputs is None else made

    def reduce(self, kind: Any, x: Any, axes: Any, keepdims: bool = True) -> Any:
        """ReduceSum, ReduceMean, ...: the axes are an attribute in older versions, an input in newer ones."""
        if kind == "ReduceSum" or self.opset >= 18:
            return self.node(kind, x, self.integers(*axes), keepdims=int(keepdims))
        return self.node(kind, x, axes=list(axes), keepdims=int(keepdims))

    def cast(self, x: Any, dtype: Any) -> Any:
        """x in another dtype."""
        return self.node("Cast", x, to=np.dtype(dtype))

    def add_axis(self, x: Any, axis: int) -> Any:
        """x with an axis of size 1 more."""
        return self.node("Unsqueeze", x, self.integers(axis))

    def sizes(self, x: Any, start: Any, end: Any = None) -> Any:
        """The sizes of x's axes from ``start`` to before ``end``, as a vector."""
        return self.node("Shape", x, start=start, **({} if end is None else {"end": end}))

    def reversed(self, x: Any, axis: int) -> Any:
        """x with one axis turned round."""
        ints = self.integers
        return self.node("Slice", x, ints(-1), ints(np.iinfo(np.int64).min), ints(axis), ints(-1))

    # ---------------------------------------------------------------- the whole
    def to_model(self, name: str, producer_version: Any) -> Any:
        """The onnx.ModelProto, checked."""
        try:
            import onnx
            from onnx import helper, numpy_helper
        except ImportError as error:
            raise ImportError("export_onnx needs the package onnx: pip install 'tdfast[onnx]'") from error

        size = sum(value.nbytes for value in self._constants.values())
        if size > LIMIT:
            raise ValueError(
                f"export_onnx: the weights take {size} bytes, but one ONNX file holds {LIMIT} at most."
            )

        def number_of(dtype: Any) -> Any:
            return helper.np_dtype_to_tensor_dtype(dtype)

        def infos(values: Any) -> list[Any]:
            return [helper.make_tensor_value_info(n, number_of(dtype), shape) for n, dtype, shape in values]

        def node(kind: Any, inputs: Any, outputs: Any, label: str, attributes: Any) -> Any:
            attributes = {k: number_of(v) if isinstance(v, np.dtype) else v for k, v in attributes.items()}
            return helper.make_node(kind, inputs, outputs, name=label, **attributes)

        graph = helper.make_graph(
            [node(*made) for made in self._nodes], name, infos(self._inputs), infos(self._outputs),
            [numpy_helper.from_array(value, n) for n, value in self._constants.items()],
        )
        opsets = [helper.make_opsetid("", self.opset)]
        model = helper.make_model(
            graph, opset_imports=opsets, ir_version=helper.find_min_ir_version_for(opsets),
            producer_name="tdfast", producer_version=producer_version,
        )
        onnx.checker.check_model(model, full_check=True)
        return model
