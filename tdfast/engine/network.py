"""Network: a layer that holds a graph of layers."""

from tdfast.engine.layer import Layer
from tdfast.engine.tape import Tape


class Network(Layer):
    """What a graph of layers does as a layer: shapes, masks, forward and backward. Models are networks.

    A class of this kind has ``graph``, a `tdfast.engine.graph.Graph`, and ``sublayers``.
    """

    @property
    def rowwise(self):
        return all(layer.rowwise for layer in self.sublayers())

    @property
    def batch_coupled(self):
        return any(layer.batch_coupled for layer in self.sublayers())

    @property
    def reads_masked_steps(self):
        return any(layer.reads_masked_steps for layer in self.sublayers())

    def compute_output_shape(self, input_shape):
        return self.graph.walk([input_shape], lambda node, shape: node.layer.compute_output_shape(shape))[0]

    def compute_mask(self, inputs, mask=None):
        """The mask of the output; the layers run for it, since some make it from their own input."""
        x, tape = self.as_input(inputs), Tape(keep=False)
        self.ensure_built((None, *x.shape[1:]), x.shape)
        self.forward(x, tape, mask=mask)
        return tape.records[0].mask

    def passed_mask(self, x, mask, record):
        return record.mask

    def forward(self, x, tape, training=False, mask=None, packing=None):
        """As `Layer.forward`; ``packing`` as in `Graph.forward`, whose ``packed`` the record then has."""
        rec = tape.push(self)
        (y,), (rec.mask,) = self.graph.forward([x], [mask], rec, tape, training, packing)
        return y

    def backward(self, dy, tape, need_dx=True):
        return self.graph.backward([dy], tape.pop(self), need_dx)[0]

    def activity_penalty(self, tape):
        """The sum of the activity regularizers' penalties of the last forward pass."""
        return sum(rec.activity_penalty() for rec in tape.records_from())

    def output_layer(self):
        plain = type(self).forward is Network.forward and self.activity_regularizer is None
        return self.graph.nodes[-1].layer.output_layer() if plain and self.graph.nodes else self

    def add_to_stream(self, stream, x):
        return self.graph.walk([x], lambda node, x: node.layer.add_to_stream(stream, x))[0]
