"""Network: a layer that holds a graph of layers."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from tdfast.engine.layer import Layer
from tdfast.engine.tape import Tape

if TYPE_CHECKING:
    from tdfast.engine.tape import Record
    from tdfast.engine.types import Arrays, Masks, Shapes


class Network(Layer):
    """What a graph of layers does as a layer: shapes, masks, forward and backward. Models are networks.

    A class of this kind has ``graph``, a `tdfast.engine.graph.Graph`, and ``sublayers``.
    """

    graph: Any

    has_layers_as_attributes = False
    """Whether its layers are attributes that its class has set, under whose names files have their "
    "weights."""

    @property
    def rowwise(self) -> bool:  # type: ignore[override]
        return all(layer.rowwise for layer in self.sublayers())

    @property
    def batch_coupled(self) -> bool:  # type: ignore[override]
        return any(layer.batch_coupled for layer in self.sublayers())

    @property
    def reads_masked_steps(self) -> bool:  # type: ignore[override]
        return any(layer.reads_masked_steps for layer in self.sublayers())

    def can_be_prepared(self, training: bool) -> bool:
        return type(self).forward is Network.forward    # its graph sees to each layer

    def check_dtypes(self, tensors: Any) -> None:
        """Its layers do."""

    def mode(self, training: bool | None) -> Any:
        return training                 # None: each call within as it was told

    def compute_output_shape(self, input_shape: Shapes) -> Shapes:
        return self.graph.walk([input_shape], lambda node, shape: node.output_shape(shape))[0]

    def compute_mask(self, inputs: Any, mask: Masks = None) -> Masks:
        """The mask of the output; the layers run for it, since some make it from their own input."""
        x, tape = self.as_input(inputs), Tape(keep=False)
        if not self.built:
            self.ensure_built((None, *x.shape[1:]), x.shape)
        self.forward(x, tape, mask=mask)
        return tape.records[0].mask

    def passed_mask(self, x: Any, mask: Masks, record: Record) -> Masks:
        return record.mask

    def forward(self, x: Any, tape: Tape, training: bool = False, mask: Masks = None,
                packing: int | None = None) -> Arrays:
        """As `Layer.forward`; ``packing`` as in `Graph.forward`, whose ``packed`` the record then has."""
        graph, rec = self.graph, tape.push(self)
        if len(graph.inputs) == 1:
            x, mask = [x], [mask]
        ys, masks = graph.forward(x, mask or [None] * len(x), rec, tape, training, packing)
        if len(ys) == 1:
            (rec.mask,) = masks
            return ys[0]
        rec.mask = masks
        return ys

    def backward(self, dy: Arrays, tape: Tape, need_dx: bool = True) -> Arrays:
        graph = self.graph
        dx = graph.backward([dy] if len(graph.outputs) == 1 else dy, tape.pop(self), need_dx)
        return dx[0] if len(dx) == 1 else dx

    def activity_penalty(self, tape: Tape) -> Any:
        """The sum of the activity regularizers' penalties of the last forward pass."""
        return sum(rec.activity_penalty() for rec in tape.records_from())

    def output_layers(self) -> list[Any]:
        """For each output the layer whose output, as it is, is that one; None where there is none."""
        places = range(len(self.graph.outputs))
        if type(self).forward is not Network.forward or self.activity_regularizer is not None:
            return [None for _ in places]
        return [self.graph.output_layer(place) for place in places]

    def output_layer(self) -> Layer:
        layers = self.output_layers()
        return (layers[0] if len(layers) == 1 else None) or self
