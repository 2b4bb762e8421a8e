"""Random sequence models for the tests of exports: stacks of layers with random options and random
weights."""

import numpy as np

import tdfast
from tdfast.layers import (
    GRU,
    LSTM,
    Activation,
    BatchNormalization,
    Bidirectional,
    Conv1D,
    Conv1DTranspose,
    Dense,
    DepthwiseConv1D,
    Dropout,
    GlobalAveragePooling1D,
    GlobalMaxPooling1D,
    Input,
    LayerNormalization,
    MaxPooling1D,
    SeparableConv1D,
    SimpleRNN,
    TimeDistributed,
    UpSampling1D,
    ZeroPadding1D,
)

ELEMENTWISE = [name for name in tdfast._kernels.ACTIVATIONS if not tdfast.activations.get(name).is_row]
ROWS = ["softmax", "log_softmax", "sparsemax"]
# Bounded slopes: a chain of exponentials says nothing of an export.
CALM = ["linear", "tanh", "sigmoid", "relu", "softsign", "hard_sigmoid", "elu", "leaky_relu", "softplus"]


def classes_in(table):
    """The classes of all layers, inner ones too, in a table name -> (layers, shape)."""
    todo = [layer for layers, _ in table.values() for layer in layers]
    found = set()
    while todo:
        layer = todo.pop()
        found.add(type(layer))
        todo += layer.sublayers()
    return found


def model_of(layers, shape, seed=0, dtype="float32"):
    """A model with weights of random signs, of a size that keeps the numbers near 1."""
    model = tdfast.Sequential([Input(shape, dtype=dtype), *layers])
    rng = np.random.default_rng(seed)

    def weight(w):
        if "variance" in w.name or "gamma" in w.name:
            return rng.uniform(0.5, 1.5, w.shape)
        return rng.normal(size=w.shape) / np.sqrt(max(1, np.prod(w.shape[:-1])))

    model.set_weights([weight(w) for w in model.weights])
    return model


def inputs(shape, batch=3, steps=6, seed=1, dtype="float32"):
    """Random inputs; an open size is ``steps``."""
    return np.random.default_rng(seed).normal(size=(batch, *(n or steps for n in shape))).astype(dtype)


def close(got, want, bound=1e-5):
    """Whether two arrays have one shape and differ by at most ``bound``, relative to what is above 1."""
    got, want = np.asarray(got), np.asarray(want)
    assert got.shape == want.shape, (got.shape, want.shape)
    assert np.isfinite(want).all()
    np.testing.assert_allclose(got, want, rtol=bound, atol=bound)


def without_effect():
    """Layers that do nothing but in training, for sequences."""
    names = "AlphaDropout Dropout GaussianDropout GaussianNoise SpatialDropout1D"
    return [*(getattr(tdfast.layers, name)(0.5) for name in names.split()),
            tdfast.layers.ActivityRegularization(0.1),
            tdfast.layers.Identity()]


def parametric():
    """Layers whose activations have parameters, unusual and usual ones."""
    relu, leaky, elu, acts = (
        tdfast.layers.ReLU,
        tdfast.layers.LeakyReLU,
        tdfast.layers.ELU,
        tdfast.activations,
    )
    own = [acts.celu.with_parameters(alpha=2.0), acts.hard_shrink.with_parameters(threshold=1.0),
           acts.soft_shrink.with_parameters(threshold=0.25),
           acts.squareplus.with_parameters(b=1), acts.relu.with_parameters(max_value=-0.5)]
    return [relu(), relu(1.0), relu(1.0, 0.25, 0.5), relu(negative_slope=0.1), leaky(), leaky(0.2), elu(),
            elu(0.5),
            *(Activation(f) for f in own), Dense(3, activation=acts.elu.with_parameters(alpha=0.1))]


def with_own_tanh(name):
    """A Dense layer with an activation that is called "tanh" but is not the library's."""
    layer = Dense(2, name=name)
    layer.activation = tdfast.activations.Activation("tanh", tdfast.activations.relu.kind)
    return layer


# ---------------------------------------------------------------- random stacks
def recurrent(pick, sequences, cells=(LSTM, GRU, SimpleRNN)):
    """A recurrent layer; ``pick(values)`` chooses one of several."""
    cell = pick(cells)
    options = {"use_bias": pick([True, True, False]), "activation": pick(["tanh", "tanh", *CALM])}
    if cell is not SimpleRNN:
        options["recurrent_activation"] = pick(["sigmoid", "sigmoid", "hard_sigmoid"])
    if cell is GRU:
        options["reset_after"] = pick([True, False])
    return cell(pick([1, 3, 8, 17]), return_sequences=sequences, **options)


def vector_layer(pick):
    """A layer for (batch, features), or for each step of a sequence."""
    return pick([
        lambda: Dense(pick([1, 2, 9]), activation=pick([*CALM, "softmax"]), use_bias=pick([True, False])),
        lambda: Activation(pick(ELEMENTWISE + ROWS)),
        lambda: Dropout(0.5),
        lambda: BatchNormalization(scale=pick([True, False]), center=pick([True, False])),
        lambda: LayerNormalization(scale=pick([True, False]), center=pick([True, False]),
                                   epsilon=pick([1e-3, 0.1])),
    ])()


def step_layer(pick):
    """A layer that works at each time step by itself."""
    inner = pick([vector_layer,
                  lambda pick: tdfast.Sequential([vector_layer(pick), vector_layer(pick)])])(pick)
    return pick([inner, TimeDistributed(inner)])


def streaming_stack(pick):
    """Layers that work one time step at a time, then perhaps some on the last output."""
    layers = [pick([lambda pick: recurrent(pick, True), step_layer])(pick) for _ in range(pick([0, 1, 2, 3]))]
    if pick([True, False]):
        return [*layers, recurrent(pick, True)]
    layers.append(pick([lambda: recurrent(pick, False), GlobalAveragePooling1D, GlobalMaxPooling1D])())
    return layers + [vector_layer(pick) for _ in range(pick([0, 1, 2]))]


def any_stack(pick):
    """`streaming_stack` behind layers that look at several steps, or at the sequence from its end."""
    def wide():
        return pick([
            lambda: Conv1D(pick([2, 4]), pick([1, 2, 3]), padding=pick(["same", "causal"]),
                           dilation_rate=pick([1, 2]),
                           activation=pick(CALM)),
            lambda: MaxPooling1D(2, padding="same"),
            lambda: SeparableConv1D(pick([1, 4]), pick([2, 3]), padding=pick(["same", "causal"]),
                                    depth_multiplier=pick([1, 2])),
            lambda: DepthwiseConv1D(pick([1, 3]), padding="same", activation=pick(CALM)),
            lambda: Conv1DTranspose(pick([1, 4]), pick([2, 3]), strides=pick([1, 2]),
                                    padding=pick(["same", "valid"])),
            lambda: ZeroPadding1D(pick([(2, 0), (1, 1)])),
            lambda: UpSampling1D(2),
            lambda: Bidirectional(recurrent(pick, True), merge_mode=pick(["concat", "sum", "ave", "mul"])),
        ])()

    return [wide() for _ in range(pick([0, 1, 2]))] + streaming_stack(pick)
