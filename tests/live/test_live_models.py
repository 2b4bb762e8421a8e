"""Random models beside Keras on JAX: predictions, losses, metrics, gradients and steps of every optimizer.

A case is a `Sequential` of rows of ROWS, a loss of LOSSES that fits its output, an optimizer of OPTIMIZERS,
masks and sample weights. Keras gets the weights of tdfast; both compute in float32. What must agree, and how
nearly:

- predictions, the loss and the metrics of evaluate: 2e-5, relative to the largest number;
- the gradients, as one step of SGD with learning rate 1 leaves them in the weights: 1e-4, relative to the
  largest gradient of the layer or 1, since Keras on JAX sums in another order;
- the weights after two steps of the optimizer, whose epsilon is 0.01 so that rounding is not made large by
  dividing
  by gradients that ought to be 0: 1e-4.

A new layer is one row: what it takes, its options, and whether it takes masks. Rows of layers that tdfast has
not are left out. The cases are the same in every run.
"""

import importlib.util
import inspect
import os
import warnings
import zlib

import numpy as np
import pytest

# Compiling is nearly all of the time here, and what is compiled runs twice.
os.environ.setdefault("XLA_FLAGS", "--xla_backend_optimization_level=0")
os.environ.setdefault("KERAS_BACKEND", "jax")
if not all(importlib.util.find_spec(name) for name in ("keras", "jax", "hypothesis")):
    pytest.skip("needs keras, jax and hypothesis: pip install 'tdfast[live]'", allow_module_level=True)
keras = pytest.importorskip("keras")
if keras.backend.backend() != "jax":
    pytest.skip("needs Keras on JAX", allow_module_level=True)

from hypothesis import HealthCheck, Phase, given, note, settings  # noqa: E402
from hypothesis import strategies as st  # noqa: E402

import tdfast  # noqa: E402

BATCH = 4
NEAR, NEAR_STEP = 2e-5, 1e-4

# ---------------------------------------------------------------- layers


class Row:
    """A layer's place in the table.

    Args:
        name: its class.
        rank: how many axes a sample has that it takes: a number, or several.
        options: function(pick, shape) -> its arguments; ``pick(*values)`` draws one, ``shape`` is a sample's.
            An inner layer is a pair (class name, arguments). None says that the shape does not suit it.
        mask: whether it takes a mask.
        needs: further classes that must be there.
    """

    def __init__(self, name, rank, options=lambda pick, shape: {}, mask=True, needs=()):
        self.name, self.options, self.mask, self.needs = name, options, mask, (name, *needs)
        self.ranks = rank if isinstance(rank, tuple) else (rank,)


ANY = (1, 2, 3, 4)


def cell(pick, **more):
    return {"units": pick(3, 2, 1), "use_bias": pick(True, True, False),
            "activation": pick("tanh", "softsign", "relu"), **more}


def cell_options(name, pick):
    """Arguments that a cell and its layer share."""
    more = (
        {}
        if name.startswith("SimpleRNN")
        else {"recurrent_activation": pick("sigmoid", "hard_sigmoid", "tanh")}
    )
    if name.startswith("GRU"):
        more["reset_after"] = pick(True, False)
    if name.startswith("LSTM"):
        more["unit_forget_bias"] = pick(True, False)
    return cell(pick, **more)


def recurrent(name):
    def options(pick, shape):
        return {**cell_options(name, pick), "return_sequences": pick(True, False),
                "go_backwards": pick(False, False, True),
                "recurrent_regularizer": pick(None, None, "l2"),
                "kernel_constraint": pick(None, None, "max_norm"),
                # Keras's SimpleRNN takes one and does not use it.
                "activity_regularizer": pick(None, None, "l2") if name != "SimpleRNN" else None}
    return options


def bidirectional(pick, shape):
    name = pick("LSTM", "GRU", "SimpleRNN")
    inner = {**recurrent(name)(pick, shape), "go_backwards": False, "activity_regularizer": None}
    return {"layer": (name, inner), "merge_mode": pick("concat", "sum", "mul", "ave")}


def rnn_of_cells(pick, shape):
    names = [pick("LSTMCell", "GRUCell", "SimpleRNNCell") for _ in range(pick(1, 2))]
    cells = [(name, cell_options(name, pick)) for name in names]
    one = cells[0] if len(cells) == 1 else ("StackedRNNCells", {"cells": cells})
    return {"cell": one, "return_sequences": pick(True, False), "go_backwards": pick(False, True)}


def window(pick, shape, causal=False):
    """kernel_size, padding, strides and dilation_rate for the axes but the last."""
    size = pick(*range(1, min(shape[:-1]) + 1)[2::-1])
    padding = pick("valid", "same", *["causal"] * causal)
    out = {"kernel_size": size, "padding": padding}
    if pick(False, True):
        out["strides"] = pick(1, 2)
    elif (size - 1) * 2 < min(shape[:-1]):
        out["dilation_rate"] = pick(1, 2)
    return out


def convolution(causal):
    def options(pick, shape):
        groups = pick(*(g for g in (1, 2, 3) if shape[-1] % g == 0))
        return {"filters": groups * pick(2, 1), "groups": groups, "activation": pick(None, "tanh", "relu"),
                "use_bias": pick(True, False), "kernel_regularizer": pick(None, "l1"),
                **window(pick, shape, causal)}
    return options


def depthwise(separable):
    def options(pick, shape):
        out = {"depth_multiplier": pick(2, 1), "activation": pick(None, "tanh"),
               "use_bias": pick(True, False),
               **window(pick, shape)}
        return {**out, "filters": pick(2, 1)} if separable else out
    return options


def transposed(pick, shape):
    return {"filters": pick(2, 1), "kernel_size": pick(3, 2, 1), "strides": pick(1, 2, 3),
            "padding": pick("valid", "same"),
            "activation": pick(None, "tanh"), "use_bias": pick(True, False)}


def conv_lstm(pick, shape):
    return {"filters": pick(2, 1), "kernel_size": pick(2, 1), "padding": pick("valid", "same"),
            "use_bias": pick(True, False),
            "return_sequences": pick(True, False),
            "go_backwards": pick(False, True)} if min(shape[1:-1]) > 1 else None


def pooling(pick, shape):
    size = pick(*range(1, min(shape[:-1]) + 1)[2::-1])
    return {"pool_size": size, "padding": pick("valid", "same"), "strides": pick(None, 1, 2)}


def around(pick, shape):
    """Padding: a number, or two for each axis but the time and the channels."""
    return {"padding": pick(1, 2)}


def cut(pick, shape):
    return {"cropping": 1} if min(shape[:-1]) > 2 else None


def reshape(pick, shape):
    return {"target_shape": pick((-1, shape[-1]), tuple(reversed(shape)), (int(np.prod(shape)),))}


def permute(pick, shape):
    return {"dims": pick(*([(2, 1)] if len(shape) == 2 else [(2, 1, 3), (3, 1, 2)]))}


def distributed(pick, shape):
    inner = pick(*(row for row in ROWS if len(shape) - 1 in row.ranks
                   and row.name not in ("TimeDistributed", "Masking")
                   and here(row)))
    options = inner.options(pick, shape[1:])
    return None if options is None else {"layer": (inner.name, options)}


ROWS = [
    *(Row(name, 2, recurrent(name)) for name in ("LSTM", "GRU", "SimpleRNN")),
    Row("Bidirectional", 2, bidirectional),
    Row("RNN", 2, rnn_of_cells, needs=("LSTMCell", "StackedRNNCells")),
    Row("TimeDistributed", (2, 3), distributed, mask=False),
    Row("Dense", ANY, lambda pick, shape: {
        "units": pick(3, 2, 1), "activation": pick(None, "relu", "tanh", "gelu", "softplus", "selu"),
        "use_bias": pick(True, False), "kernel_regularizer": pick(None, "l2"),
        "kernel_constraint": pick(None, "unit_norm"),
        "activity_regularizer": pick(None, "l1")}),
    Row("SpectralNormalization", (2, 3), lambda pick, shape: {
        "layer": ("Dense", {"units": pick(3, 2), "activation": pick(None, "tanh")}),
        "power_iterations": pick(1, 2)}, mask=False),
    Row("Activation", ANY, lambda pick,
        shape: {"activation": pick("softmax", "elu", "swish", "exponential", "leaky_relu")}),
    Row("Conv1D", 2, convolution(causal=True), mask=False),
    Row("Conv2D", 3, convolution(causal=False), mask=False),
    Row("Conv3D", 4, convolution(causal=False), mask=False),
    *(Row(f"DepthwiseConv{n}D", n + 1, depthwise(separable=False), mask=False) for n in (1, 2)),
    *(Row(f"SeparableConv{n}D", n + 1, depthwise(separable=True), mask=False) for n in (1, 2)),
    *(Row(f"Conv{n}DTranspose", n + 1, transposed, mask=False) for n in (1, 2, 3)),
    Row("ConvLSTM1D", 3, conv_lstm, mask=False),
    Row("ConvLSTM2D", 4, conv_lstm, mask=False),
    Row("ConvLSTM3D", 5, conv_lstm, mask=False),
    *(Row(f"{kind}Pooling{n}D", n + 1, pooling, mask=False) for kind in ("Max", "Average")
      for n in (1, 2, 3)),
    *(Row(f"Adaptive{kind}Pooling{n}D", n + 1, lambda pick, shape: {"output_size": pick(1, 2)}, mask=False)
      for kind in ("Max", "Average") for n in (1, 2, 3)),
    *(Row(f"Global{kind}Pooling{n}D", n + 1, lambda pick, shape: {"keepdims": pick(False, True)}, mask=False)
      for kind in ("Max", "Average") for n in (1, 2, 3)),
    *(Row(f"ZeroPadding{n}D", n + 1, around, mask=False) for n in (1, 2, 3)),
    *(Row(f"Cropping{n}D", n + 1, cut, mask=False) for n in (1, 2, 3)),
    *(Row(f"UpSampling{n}D", n + 1, lambda pick, shape: {"size": 2}, mask=False) for n in (1, 2, 3)),
    Row("BatchNormalization", ANY, lambda pick, shape: {
        "center": pick(True, False), "scale": pick(True, False), "epsilon": 0.1,
        "momentum": pick(0.99, 0.5)}),
    Row("LayerNormalization", ANY, lambda pick, shape: {"center": pick(True, False),
                                                        "scale": pick(True, False), "epsilon": 0.1}),
    Row("Masking", (2, 3), lambda pick, shape: {"mask_value": 0.0}),
    Row("Embedding", 1, lambda pick, shape: {"input_dim": 6, "output_dim": pick(3, 1),
                                             "mask_zero": pick(True, False)}),
    Row("Dropout", ANY, lambda pick, shape: {"rate": 0.0}),
    Row("SpatialDropout1D", 2, lambda pick, shape: {"rate": 0.0}),
    Row("SpatialDropout2D", 3, lambda pick, shape: {"rate": 0.0}, mask=False),
    Row("GaussianDropout", ANY, lambda pick, shape: {"rate": 0.0}),
    Row("GaussianNoise", ANY, lambda pick, shape: {"stddev": 0.0}),
    Row("ActivityRegularization", ANY, lambda pick, shape: {"l1": pick(0.0, 0.1), "l2": pick(0.0, 0.1)}),
    Row("ReLU", ANY, lambda pick, shape: {"max_value": pick(None, 1.5), "negative_slope": pick(0.0, 0.2),
                                          "threshold": pick(0.0, 0.3)}),
    Row("LeakyReLU", ANY, lambda pick, shape: {"negative_slope": pick(0.1, 0.3)}),
    Row("PReLU", (1, 2, 3), lambda pick, shape: {"shared_axes": pick(None, [1])}),
    Row("ELU", ANY, lambda pick, shape: {"alpha": pick(1.0, 0.5)}),
    Row("Softmax", ANY, mask=False),
    Row("Rescaling", ANY, lambda pick, shape: {"scale": pick(0.5, 2.0), "offset": pick(0.0, -0.3)}),
    Row("Flatten", ANY, mask=False),
    Row("Reshape", (2, 3), reshape, mask=False),
    Row("Permute", (2, 3), permute, mask=False),
    Row("RepeatVector", 1, lambda pick, shape: {"n": pick(1, 3)}, mask=False),
    Row("STFTSpectrogram", 2, lambda pick, shape: {
        "mode": pick("stft", "real", "imag"), "frame_length": pick(*range(1, shape[0] + 1)[2::-1]),
        "frame_step": 1, "padding": pick("valid", "same"), "expand_dims": pick(False, True)}, mask=False),
]


def here(row):
    """Whether tdfast has the layer."""
    return all(hasattr(tdfast.layers, name) for name in row.needs)


HERE = [row for row in ROWS if here(row)]


def make(layers, spec):
    """The layer that (class name, arguments) stands for. All weights start as zeros, for they are
    replaced."""
    if isinstance(spec, list):
        return [make(layers, each) for each in spec]
    if not (isinstance(spec, tuple) and len(spec) == 2 and isinstance(spec[1], dict)):
        return spec
    cls = getattr(layers, spec[0])
    names = [name for name in inspect.signature(getattr(keras.layers, spec[0]).__init__).parameters
             if name.endswith("_initializer")]
    return cls(**{name: "zeros" for name in names}, **{name: make(layers, value) for name,
                                                       value in spec[1].items()})


# ---------------------------------------------------------------- losses and optimizers

# (class, options, the activation of the last Dense or None for the outputs as they are, what the targets are)
LOSSES = [
    ("MeanSquaredError", {}, None, "numbers"),
    ("MeanAbsoluteError", {}, None, "numbers"),
    ("Huber", {"delta": 0.7}, None, "numbers"),
    ("LogCosh", {}, None, "numbers"),
    ("CosineSimilarity", {}, "linear", "numbers"),
    ("MeanSquaredLogarithmicError", {}, "softplus", "positive"),
    ("Poisson", {}, "softplus", "positive"),
    ("MeanAbsolutePercentageError", {}, None, "positive"),
    ("SquaredHinge", {}, "tanh", "signs"),
    ("Hinge", {}, "tanh", "signs"),
    ("CategoricalHinge", {}, "softmax", "onehot"),
    ("CategoricalGeneralizedCrossEntropy", {"q": 0.7}, "softmax", "labels"),
    ("BinaryCrossentropy", {"label_smoothing": 0.1}, "sigmoid", "bits"),
    ("BinaryCrossentropy", {"from_logits": True}, "linear", "bits"),
    ("BinaryFocalCrossentropy", {"gamma": 1.5}, "sigmoid", "bits"),
    ("CategoricalCrossentropy", {}, "softmax", "onehot"),
    ("CategoricalCrossentropy", {"from_logits": True, "label_smoothing": 0.1}, "linear", "onehot"),
    ("CategoricalFocalCrossentropy", {}, "softmax", "onehot"),
    ("SparseCategoricalCrossentropy", {}, "softmax", "labels"),
    ("SparseCategoricalCrossentropy", {"from_logits": True}, "linear", "labels"),
    ("KLDivergence", {}, "softmax", "onehot"),
]
METRICS = {"numbers": ["mae", "mse", "LogCoshError"], "positive": ["mse"], "signs": ["mae"],
           "bits": ["accuracy", "mse"],
           "onehot": ["accuracy"], "labels": ["accuracy"]}

OPTIMIZERS = [
    ("SGD", {"momentum": [0.0, 0.9], "nesterov": [False, True]}),
    ("RMSprop", {"rho": [0.9, 0.5], "momentum": [0.0, 0.5], "epsilon": [0.01]}),
    ("Adam", {"amsgrad": [False, True], "epsilon": [0.01], "beta_1": [0.9, 0.5]}),
    ("AdamW", {"weight_decay": [0.004, 0.1], "epsilon": [0.01]}),
    ("Adamax", {"epsilon": [0.01]}),
    ("Nadam", {"epsilon": [0.01]}),
    ("Adagrad", {"epsilon": [0.01], "initial_accumulator_value": [0.1, 0.5]}),
    ("Adadelta", {"epsilon": [0.01], "rho": [0.95, 0.6]}),
    ("Ftrl", {"learning_rate_power": [-0.5], "l1_regularization_strength": [0.0],
              "initial_accumulator_value": [0.1]}),
    ("Lamb", {"epsilon": [0.01]}),
# Lion goes by the sign of gradients alone, which rounding decides where they are 0
]
RATES = [0.01, 0.1, ("ExponentialDecay", {"initial_learning_rate": 0.1, "decay_steps": 1, "decay_rate": 0.5})]
COMMON = [{}, {"clipnorm": 0.3}, {"clipvalue": 0.05}, {"global_clipnorm": 0.3},
          {"use_ema": True, "ema_momentum": 0.7},
          {"gradient_accumulation_steps": 2}, {"weight_decay": 0.05}]


# ---------------------------------------------------------------- cases


@st.composite
def cases(draw, row=None, rows=3):
    """A model with up to so many layers, ``row`` among them, its data, loss and optimizer, as plain
    values."""
    # A seed rather than a draw for each choice: hypothesis likes the first values best, and here all are as
    # good.
    rng = np.random.default_rng([draw(st.integers(0, 2**32 - 1)),
                                 zlib.crc32(row.name.encode()) if row else 0])

    def pick(*values):
        return values[rng.integers(len(values))]

    rank = pick(*row.ranks) if row else pick(2, 2, 2, 1, 3)
    T, F = pick(5, 4, 3, 1), pick(3, 2, 1)
    shape = {1: (T if row and row.name == "Embedding" else F,), 2: (T, F), 3: (pick(4, 3), pick(3, 2), F),
             4: (pick(3, 2), 3, 2, F), 5: (2, 2, 3, 2, F)}[rank]
    ids = bool(row and row.name == "Embedding") or (row is None and rank == 1 and pick(False, True))
    first, layers, masked = shape, [], False

    def add(chosen, options=None):
        nonlocal shape, masked
        options = chosen.options(pick, shape) if options is None else options
        if options is None or (masked and not chosen.mask):
            return False
        if masked and chosen.name == "BatchNormalization" and (len(shape) != 2 or shape == (1, 1)):
            return False                                    # Keras itself fails there
        spec = (chosen.name, options)
        shape = tuple(int(n) for n in make(tdfast.layers, spec).compute_output_shape((BATCH, *shape))[1:])
        if chosen.name == "Masking" or options.get("mask_zero"):
            masked = True
        elif not options.get("return_sequences",
                             options.get("layer", (0, {}))[1].get("return_sequences", True)):
            masked = False
        layers.append(spec)
        return True

    table = {r.name: r for r in HERE}
    if ids:
        add(table["Embedding"])
    elif rank in (2, 3) and (
            (row.name == "Masking" or (row.mask and pick(False, True))) if row else pick(False, True)):
        add(table["Masking"])
    if row is None:
        for _ in range(pick(*range(rows, 0, -1))):
            fitting = [r for r in HERE
                       for _ in range(1 + 3 * r.name.endswith(("LSTM", "GRU", "RNN", "Bidirectional")))
                       if len(shape) in r.ranks and (r.mask or not masked)
                       and r.name not in ("Masking", "Embedding")]
            if fitting:
                add(pick(*fitting))
    else:
        if row.name not in ("Embedding", "Masking") and not any(add(row) for _ in range(3)):
            return None
        fitting = [r for r in HERE if len(shape) in r.ranks and r.mask
                   and r.name not in ("Masking", "Embedding")]
        if fitting:                                         # nothing but ConvLSTM3D takes five axes
            add(pick(*fitting))
    if len(shape) > 3 and masked:
        return None
    loss, options, activation, targets = pick(*LOSSES)
    if activation is not None:
        head = ("Dense", {"units": pick(1, 2) if targets in ("bits", "signs") else 3,
                          "activation": activation})
        if len(shape) == 2 and not masked and pick(False, True):
            head = ("TimeDistributed", {"layer": head})
        add(table[head[0]], head[1])
    optimizer, choices = pick(*OPTIMIZERS)
    return {
        "input": first, "ids": ids, "layers": layers, "output": shape, "loss": (loss, options),
        "targets": targets,
        "optimizer": (optimizer, {**pick(*COMMON), "learning_rate": pick(*RATES),
                                  **{name: pick(*values) for name, values in choices.items()}}),
        "weights": pick("samples", "steps", None), "batch_size": pick(3, BATCH),
        "padding": pick("right", "left", "any"),
        "seed": pick(*range(50)),
    }


def data_of(case):
    """(x, y, sample_weight) of a case."""
    rng = np.random.default_rng(case["seed"])
    shape = (BATCH, *case["input"])
    x = rng.integers(0, 6, shape) if case["ids"] else rng.normal(size=shape).astype("float32")
    if case["layers"] and case["layers"][0][0] in ("Masking", "Embedding"):
        steps, lengths = np.arange(shape[1]), rng.integers(0, shape[1] + 1, BATCH)[:, None]
        invalid = {"right": steps >= lengths, "left": steps < lengths,
                   "any": rng.random(shape[:2]) < 0.4}[case["padding"]]
        x[invalid] = 0
    out = (BATCH, *case["output"])
    classes = rng.integers(0, out[-1], out[:-1])
    y = {"numbers": lambda: rng.normal(size=out), "positive": lambda: rng.uniform(0.2, 2, out),
         "signs": lambda: rng.choice([-1.0, 1.0], out), "bits": lambda: rng.integers(0, 2, out).astype(float),
         "onehot": lambda: np.eye(out[-1])[classes], "labels": lambda: classes}[case["targets"]]()
    y = y.astype("float32") if y.dtype.kind == "f" else y
    # For a loss per step, Keras wants (N, 1) or (N, T); of two axes less it has only one value for each
    # sample.
    of_samples = (BATCH,) if len(out) == 2 else (BATCH, *(1,) * (len(out) - 2))
    weight = {None: None, "samples": rng.uniform(0.2, 2, of_samples),
              "steps": rng.uniform(0.2, 2, out[:-1])}[case["weights"]]
    return x, y, None if weight is None else weight.astype("float32")


def build(k, case):
    inputs = k.Input(case["input"], dtype="int32") if case["ids"] else k.Input(case["input"])
    return k.Sequential([inputs, *(make(k.layers, spec) for spec in case["layers"])])


def copied(case):
    """The model in tdfast and in Keras, with one set of random weights."""
    tdfast.utils.clear_session()
    keras.utils.clear_session(free_memory=False)
    ours, theirs = build(tdfast, case), build(keras, case)
    assert [w.path for w in ours.weights] == [w.path for w in theirs.weights]
    assert [w.shape for w in ours.weights] == [tuple(w.shape) for w in theirs.weights]
    rng = np.random.default_rng(case["seed"] + 1000)
    values = []
    for w in ours.weights:
        value = (
            rng.normal(size=w.shape) / np.sqrt(max(1, int(np.prod(w.shape[:-1]))))
            if np.issubdtype(w.dtype, np.floating)
            else w.value
        )
        values.append(np.abs(value) + 0.2 if "variance" in w.name else value)
    ours.set_weights(values)
    theirs.set_weights(values)
    return ours, theirs, values


def near(got, want, what, bound=NEAR):
    got, want = np.asarray(got, "float64"), np.asarray(want, "float64")
    assert got.shape == want.shape, what
    scale = max(1.0, float(np.abs(want).max(initial=0)))
    np.testing.assert_allclose(got, want, rtol=0, atol=bound * scale, err_msg=what)


def compile_both(case, ours, theirs, optimizer, **options):
    name, arguments = optimizer
    for k, model in ((tdfast, ours), (keras, theirs)):
        loss, loss_options = case["loss"]
        rate = arguments["learning_rate"]
        if isinstance(rate, tuple):
            rate = getattr(k.optimizers.schedules, rate[0])(**rate[1])
        model.compile(getattr(k.optimizers, name)(**{**arguments, "learning_rate": rate}),
                      getattr(k.losses, loss)(**loss_options), **options)


def check(case):
    """Everything that the module's first lines promise, of one case."""
    note(repr(case))
    x, y, weight = data_of(case)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        ours, theirs, start = copied(case)
        metrics = METRICS[case["targets"]]
        plain, weighted = (metrics, None) if weight is None else (None, metrics)
        compile_both(case, ours, theirs, ("SGD", {"learning_rate": 1.0}), metrics=plain,
                     weighted_metrics=weighted)
        near(ours.predict(x, verbose=0), theirs.predict(x, verbose=0), "predictions")
        near(*(m.evaluate(x, y, sample_weight=weight, batch_size=case["batch_size"], verbose=0)
               for m in (ours, theirs)), "evaluate")
        losses = [m.train_on_batch(x, y, sample_weight=weight, return_dict=True)["loss"]
                  for m in (ours, theirs)]
        near(*losses, "loss")
        for before, a, b in zip(start, ours.weights, theirs.weights):
            near(a.numpy() - before, np.asarray(b.value) - before, f"gradient of {a.path}", NEAR_STEP)
        ours.set_weights(start)
        theirs.set_weights(start)
        compile_both(case, ours, theirs, case["optimizer"])
        for step in range(2):
            near(*(m.train_on_batch(x, y, sample_weight=weight, return_dict=True)["loss"]
                   for m in (ours, theirs)),
                 f"loss of step {step}", NEAR_STEP)
        for a, b in zip(ours.weights, theirs.weights):
            near(a.numpy(), b.value, f"{a.path} after two steps", NEAR_STEP)


def bounded(examples):
    # What fails is reported as it is: to make it smaller takes minutes.
    return settings(max_examples=examples, derandomize=True, deadline=None, database=None,
                    phases=[Phase.generate],
                    suppress_health_check=list(HealthCheck))


@pytest.mark.parametrize("row", HERE, ids=lambda row: row.name)
def test_layer(row):
    """Each layer with random options, between others."""
    @bounded(2)
    @given(cases(row))
    def run(case):
        if case is not None:
            check(case)

    run()


@bounded(20)
@given(cases())
def test_models(case):
    if case is not None:
        check(case)
