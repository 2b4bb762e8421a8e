"""The engine's graph: several inputs, outputs and readers, layers that are called again, masks, steps left
out."""

import numpy as np
import pytest
from laws import random_like

import tdfast
from tdfast.engine.arithmetic import kernel_arithmetic
from tdfast.engine.graph import Graph, Node
from tdfast.engine.tape import Tape
from tdfast.engine.tensor import SymbolicTensor
from tdfast.layers import GRU, LSTM, Activation, Dense, Layer, Masking, TimeDistributed
from tdfast.testing import assert_near, differences


class Add(Layer):
    """x + y, whose backward gives the same array to both."""

    def forward(self, x, tape, training=False, mask=None):
        tape.push(self)
        return x[0] + x[1]

    def backward(self, dy, tape, need_dx=True):
        tape.pop(self)
        return [dy, dy]

    def compute_output_shape(self, input_shape):
        return input_shape[0]

    def compute_mask(self, inputs, mask=None):
        return mask[0]


def call(layer, *tensors, outputs=1):
    made = Node(layer, tensors, outputs).outputs
    return made[0] if outputs == 1 else made


def residual():
    """Two branches that meet, one layer called three times, one output that is read again."""
    options = {"dtype": "float64", "activation": "tanh"}
    shared, side = TimeDistributed(Dense(4, **options), dtype="float64"), Dense(4, **options)
    state = GRU(4, dtype="float64", return_sequences=True, return_state=True)
    x = SymbolicTensor(name="x")
    first = call(shared, x)
    second = call(shared, call(Add(dtype="float64"), first, call(side, first)))
    sequence, last = call(state, second, outputs=2)
    out = call(shared, call(Add(dtype="float64"), sequence, sequence))
    layers = [shared, side, state]
    for layer in layers:
        layer.build((None, 5, 4))
    return Graph([x], [out, last, first]), layers


def test_every_gradient_of_a_graph_by_differences():
    graph, layers = residual()
    rng = np.random.default_rng(0)
    x = rng.normal(size=(3, 5, 4))
    tape = Tape()
    holder = layers[0]

    def outputs():
        tape.rewind()
        with kernel_arithmetic():
            made, _ = graph.forward([x], [None], tape.push(holder), tape)
        return [y.copy() for y in made]

    dys = random_like(rng, outputs())

    def value():
        return sum((y * dy).sum() for y, dy in zip(outputs(), dys))

    outputs()
    (dx,) = graph.backward([dy.copy() for dy in dys], tape.records[0])
    got = {"x": dx.copy(), **{w.path: w.grad.copy() for layer in layers for w in layer.weights}}
    assert_near(got["x"], differences(value, x), 1e-6, "x")
    for layer in layers:
        for weight in layer.weights:
            assert_near(got[weight.path], differences(value, weight.value), 1e-6, weight.path)


def test_nodes_run_after_what_they_depend_on_whatever_their_order():
    graph, (shared, side, state) = residual()
    names = [node.layer.name for node in graph.nodes]
    assert names.count(shared.name) == 3 and names.index(side.name) > names.index(shared.name)
    place = {node: i for i, node in enumerate(graph.nodes)}
    assert all(place[source.node] < place[node] for node in graph.nodes for source in node.inputs
               if source.node)
    shapes = graph.walk([(2, 5, 4)], lambda node, shape: node.layer.compute_output_shape(shape))
    assert shapes == [(2, 5, 4), (2, 4), (2, 5, 4)]


def test_a_tensor_from_elsewhere_is_refused():
    x, other = SymbolicTensor(name="x"), SymbolicTensor(name="other")
    with pytest.raises(ValueError, match="other.*not among the inputs"):
        Graph([x], [call(Add(), x, other)])


@pytest.mark.parametrize("version", [None, "weights as they are"])
def test_a_layer_packs_its_weights_once_a_pass(version, monkeypatch):
    """Also where it is called again, in a graph within and on other shapes; anew when they have changed."""
    packed = []
    pack = tdfast._kernels.dense_pack
    counted = lambda *args: packed.append(1) or pack(*args)  # noqa: E731
    monkeypatch.setattr(tdfast._kernels, "dense_pack", counted)
    x = tdfast.Input((5, 4))
    shared = Dense(4)
    inner = tdfast.Sequential([tdfast.Input((5, 4)), shared])
    model = tdfast.Model(x, Dense(2)(shared(inner(shared(x))[:, 1:])))
    data, tape = np.random.default_rng(0).normal(size=(3, 5, 4)).astype("float32"), Tape(version=version)
    for count in (2, 4):
        tape.rewind()
        y = model.forward(data, tape).copy()
        assert len(packed) == (count if version is None else 2)
    shared.kernel.value[...] *= 2
    tape.rewind()
    tape.version = None if version is None else "others"
    assert not np.array_equal(model.forward(data, tape), y)
    assert len(packed) == (6 if version is None else 4)


def test_a_mask_is_a_value_of_its_tensor():
    """One branch makes a mask, the other has none."""
    x = SymbolicTensor()
    masked = call(Masking(), x)
    graph = Graph([x], [call(Dense(2), masked), call(Dense(2), x), call(LSTM(2), masked)])
    values = np.ones((2, 3, 2), "float32")
    values[0, 1] = 0
    tape = Tape(keep=False)
    for node in graph.nodes:
        node.layer.ensure_built((None, 3, 2))
    _, masks = graph.forward([values], [None], tape.push(graph.nodes[0].layer), tape)
    np.testing.assert_array_equal(masks[0], [[True, False, True], [True] * 3])
    assert masks[1] is None and masks[2] is None


def test_one_mask_of_a_layer_with_several_outputs_is_that_of_the_first():
    class Halves(Layer):
        def compute_output_shape(self, input_shape):
            return [tuple(input_shape), tuple(input_shape)]

        def forward(self, x, tape, training=False, mask=None):
            tape.push(self)
            return [x / 2, x / 2]

    x, layer = SymbolicTensor(), Halves()
    node = Node(layer, [x], 2)
    graph, tape = Graph([x], node.outputs), Tape(keep=False)
    mask = np.array([[True, False]])
    _, masks = graph.forward([np.ones((1, 2, 3), "float32")], [mask], tape.push(layer), tape)
    assert masks[0] is mask and masks[1] is None


def test_layers_below_the_lowest_weights_that_learn_get_no_gradient():
    seen = []

    class Spy(Layer):
        def forward(self, x, tape, training=False, mask=None):
            tape.push(self)
            return x * 1

        def backward(self, dy, tape, need_dx=True):
            tape.pop(self)
            seen.append((self.name, need_dx))
            return dy

    model = tdfast.Sequential([tdfast.Input((3,)), Spy(name="low"), Dense(2), Spy(name="middle"),
                               Dense(2, trainable=False),
                               Spy(name="high")])
    model.compile("sgd", "mse")
    model.train_on_batch(np.ones((2, 3)), np.ones((2, 2)))
    assert seen == [("high", True), ("middle", True)]
    model.layers[1].trainable = False
    model.layers[3].trainable = True
    model.compile("sgd", "mse")
    seen.clear()
    model.train_on_batch(np.ones((2, 3)), np.ones((2, 2)))
    assert seen == [("high", True)]


class Steps(Layer):
    """Notes the shapes that it sees in training."""

    def __init__(self, **kwargs):
        super().__init__(**kwargs)
        self.seen = []

    def forward(self, x, tape, training=False, mask=None):
        tape.push(self)
        self.seen.append(x.shape)
        return x * 2

    def backward(self, dy, tape, need_dx=True):
        tape.pop(self)
        return dy * 2


class PerStep(Steps):
    per_step = True


class Deriving(PerStep):
    """Another forward than its base's: what that says of itself does not hold."""

    def forward(self, x, tape, training=False, mask=None):
        return super().forward(x, tape, training, mask)


@pytest.mark.parametrize("kind, shape", [(Steps, (3, 6, 4)), (PerStep, (1, 9, 4)), (Deriving, (3, 6, 4))])
def test_a_layer_that_treats_each_step_alone_sees_the_valid_steps(kind, shape):
    layer = kind()
    model = tdfast.Sequential([tdfast.Input((6, 2)), GRU(4, return_sequences=True), layer, Activation("tanh"),
                               Dense(2)])
    twin = tdfast.Sequential([tdfast.Input((6, 2)), GRU(4, return_sequences=True), Steps(),
                              Activation("tanh"), Dense(2)])
    twin.set_weights(model.get_weights())
    x, y = np.random.default_rng(0).normal(size=(2, 3, 6, 2)).astype("float32")
    for m in (model, twin):
        m.compile("adam", "mse")
        m.fit(x, y, verbose=0, lengths=[6, 1, 2], shuffle=False)
    assert layer.seen[0] == shape
    for a, b in zip(model.get_weights(), twin.get_weights()):
        np.testing.assert_allclose(a, b, atol=1e-6)


def test_a_gradient_may_be_added_to_and_set():
    """Into the memory that the optimizer passes over."""
    model = tdfast.Sequential([tdfast.Input((3,)), Dense(2)])
    model.compile("sgd", "mse")
    model.train_on_batch(np.ones((4, 3)), np.ones((4, 2)))
    kernel = model.layers[0].kernel
    memory, before = kernel.grad, kernel.grad.copy()
    kernel.grad += 1.0
    assert kernel.grad is memory
    np.testing.assert_array_equal(memory, before + 1)
    kernel.grad = np.zeros((3, 2))
    assert kernel.grad is memory and not memory.any()
