"""Random graphs beside Keras on JAX: branches, merges, operators, shared layers, models in models, masks,
states and several outputs.

A case is a list of steps. Each calls something on tensors that are there already and adds what it gives.
The steps run once in tdfast and once in Keras, Keras gets the weights of tdfast, and what
`test_live_models.check` compares of a chain is compared here for every output: predictions, the logs of
evaluate with their names, the gradients, and the weights after two steps of the optimizer.
"""

import warnings

import numpy as np
import pytest
from test_live_models import (
    BATCH,
    COMMON,
    HERE,
    LOSSES,
    METRICS,
    NEAR_STEP,
    OPTIMIZERS,
    RATES,
    bounded,
    cell_options,
    keras,
    make,
    near,
)

pytest.importorskip("hypothesis")

from hypothesis import assume, given, note  # noqa: E402
from hypothesis import strategies as st  # noqa: E402

import tdfast  # noqa: E402

# ---------------------------------------------------------------- steps

KEPT_APART = ("Masking", "Dropout", "ActivityRegularization")
"""Layers that are not called again: of the last, Keras counts the penalties otherwise on each backend."""

OPERATORS = {
    "x + y": (2, lambda k, x, y: x + y),
    "x - y": (2, lambda k, x, y: x - y),
    "x * y": (2, lambda k, x, y: x * y),
    "maximum": (2, lambda k, x, y: k.ops.maximum(x, y)),
    "stack": (2, lambda k, x, y: k.ops.mean(k.ops.stack([x, y], axis=1), axis=1)),
    "where": (2, lambda k, x, y: k.ops.where(x > y, x, 0.5 * y)),
    "1 - x": (1, lambda k, x: 1.0 - x),
    "-x": (1, lambda k, x: -x),
    "x / 2": (1, lambda k, x: x / 2.0),
    "tanh": (1, lambda k, x: k.ops.tanh(x)),
    "square": (1, lambda k, x: k.ops.square(x)),
    "softmax": (1, lambda k, x: k.ops.softmax(x, axis=-1)),
    "x - mean": (1, lambda k, x: x - k.ops.mean(x, axis=-1, keepdims=True)),
    "sqrt": (1, lambda k, x: k.ops.sqrt(k.ops.abs(x) + 0.5)),
    "last step": (1, lambda k, x: x[:, -1]),
    "every other feature": (1, lambda k, x: x[..., ::2]),
    "flip": (1, lambda k, x: k.ops.flip(x, axis=1)),
    "sum": (1, lambda k, x: k.ops.sum(x, axis=1)),
    "expand": (1, lambda k, x: k.ops.expand_dims(x, 1)),
}
MERGES = ("Add", "Subtract", "Multiply", "Average", "Maximum", "Minimum")


def model_of(k, inner):
    """A small model for a place in another: (kind, shape of its input, a Dense, a shape to be kept)."""
    kind, shape, width = inner
    dense = {"kernel_initializer": "zeros", "activation": "tanh"}
    if kind == "sequential":
        return k.Sequential(
            [k.Input(shape), k.layers.Dense(width, **dense), k.layers.Dense(2, kernel_initializer="zeros")]
        )
    x = k.Input(shape)
    y = k.layers.Dense(width, **dense)(x)
    return k.Model(x, k.layers.Concatenate()([x, y * 0.5]))


def run(k, step, tensors, made):
    """The tensors that a step gives, as a list; ``made`` has the layers by their keys, for those called
    again."""
    kind, what, sources = step[:3]
    values = [tensors[s] for s in sources]
    if kind == "input":
        return [k.Input(what)]
    if kind == "operator":
        return [OPERATORS[what][1](k, *values)]
    key, options = step[3], dict(step[4]) if len(step) > 4 else {}
    if key not in made:
        made[key] = model_of(k, what) if kind == "nested" else make(k.layers, what)
    layer = made[key]
    if kind == "states":  # the encoder's states begin the decoder
        y, *states = layer(values[0])
        return [
            y,
            made.setdefault((key, "decoder"), make(k.layers, step[5]))(values[1], initial_state=states),
        ]
    if kind == "heads":
        return [layer(*values, **options)]
    out = layer(values if kind == "merge" else values[0], **options)
    return list(out) if isinstance(out, (list, tuple)) else [out]


class Builder:
    """Draws steps, and tries each in tdfast to learn its shapes.

    Attributes:
        steps: those that were taken.
        tensors: what they gave.
        masked: whether each of these has a mask.
    """

    def __init__(self, pick):
        self.pick, self.steps, self.tensors, self.masked, self.made = pick, [], [], [], {}

    def shape(self, i):
        return tuple(self.tensors[i].shape[1:])

    def add(self, *step, masked=False):
        made = run(tdfast, step, self.tensors, self.made)
        self.steps.append(step)
        self.tensors += made
        self.masked += [masked] * len(made)
        return len(self.tensors) - 1

    def begin(self, T, F):
        """An input of T steps, perhaps masked."""
        i = self.add("input", (T, F), [])
        if self.pick(False, False, True):
            return self.add("layer", ("Masking", {"mask_value": 0.0}), [i], len(self.steps), masked=True)
        return i

    def grow(self):
        """One step more, of a random kind."""
        getattr(
            self,
            "add_"
            + self.pick(
                "layer",
                "layer",
                "layer",
                "again",
                "merge",
                "merge",
                "operator",
                "operator",
                "attention",
                "states",
                "nested",
            ),
        )()

    def drawn(self):
        return self.pick(*range(len(self.tensors)))

    def add_layer(self):
        i = self.drawn()
        fitting = [
            row
            for row in HERE
            if len(self.shape(i)) in row.ranks
            and (row.mask or not self.masked[i])
            and row.name not in ("Masking", "Embedding", "TimeDistributed", "BatchNormalization")
            and not row.name.startswith(("Global", "ConvLSTM"))
        ]
        row = self.pick(*fitting)
        options = row.options(self.pick, self.shape(i))
        if options is None or min(self.shape(i)) < 1:
            return
        options.pop("activity_regularizer", None)  # backends of Keras disagree where a layer is called twice
        inner = options.get("layer", (0, {}))[1]
        kept = self.masked[i] and options.get("return_sequences", inner.get("return_sequences", True))
        self.add("layer", (row.name, options), [i], len(self.steps), masked=kept)

    def add_again(self):
        """A layer that was called already, on another tensor of the same shape."""
        found = [
            (step, i)
            for step in self.steps
            if step[0] in ("layer", "nested") and step[1][0] not in KEPT_APART
            for i in range(len(self.tensors))
            if i not in step[2]
            and self.shape(i) == self.shape(step[2][0])
            and self.masked[i] == self.masked[step[2][0]]
        ]
        if found:
            step, i = self.pick(*found)
            after = self.steps.index(step)
            masked = self.masked[sum(2 if s[0] == "states" else 1 for s in self.steps[:after])]
            self.add(step[0], step[1], [i], step[3], masked=masked)

    def pairs(self, fit):
        n = range(len(self.tensors))
        return [(i, j) for i in n for j in n if i != j and fit(self.shape(i), self.shape(j))]

    def add_merge(self):
        kind = self.pick("same", "same", "features", "steps", "dot")
        if kind == "same":
            found, spec = self.pairs(lambda a, b: a == b), (self.pick(*MERGES), {})
        elif kind == "features":
            found, spec = self.pairs(lambda a, b: a[:-1] == b[:-1]), ("Concatenate", {})
        elif kind == "steps":
            found = self.pairs(lambda a, b: len(a) == len(b) == 2 and a[1] == b[1])
            spec = ("Concatenate", {"axis": 1})
        else:
            found = self.pairs(lambda a, b: len(a) == len(b) == 2 and a[1] == b[1])
            spec = ("Dot", {"axes": 2, "normalize": self.pick(False, True)})
        if found:
            i, j = self.pick(*found)
            if kind == "dot":
                masked = False
            elif spec[0] == "Concatenate" and kind == "features" and self.masked[i] != self.masked[j]:
                masked = True
            else:
                masked = self.masked[i] or self.masked[j]
            self.add("merge", spec, [i, j], len(self.steps), masked=masked)

    def add_operator(self):
        name = self.pick(*OPERATORS)
        if OPERATORS[name][0] == 2:
            found = self.pairs(lambda a, b: a == b)
            if found:
                self.add("operator", name, list(self.pick(*found)))
            return
        i = self.drawn()
        rank = len(self.shape(i))
        if name in ("last step", "flip", "sum") and rank < 2 or name == "expand" and rank > 2:
            return
        if name == "softmax" and self.shape(i)[-1] == 1:
            return
        self.add("operator", name, [i])

    def add_attention(self):
        found = self.pairs(lambda a, b: len(a) == len(b) == 2 and a[1] == b[1])
        if not found:
            return
        i, j = self.pick(*found)
        name = self.pick("Attention", "AdditiveAttention", "MultiHeadAttention", "GroupQueryAttention")
        causal = {"use_causal_mask": True} if self.pick(False, True) else {}
        if name in ("Attention", "AdditiveAttention"):
            options = {"use_scale": self.pick(True, False)}
            self.add("merge", (name, options), [i, j], len(self.steps), causal, masked=self.masked[i])
        elif not (self.masked[i] or self.masked[j]):  # Keras strips them within these: docs/keras.md
            width = self.pick(2, 3)
            options = (
                {"num_heads": self.pick(1, 2), "key_dim": width, "use_bias": self.pick(True, False)}
                if name == "MultiHeadAttention"
                else {"head_dim": width, "num_query_heads": 2, "num_key_value_heads": self.pick(1, 2)}
            )
            self.add("heads", (name, options), [i, j], len(self.steps), causal)

    def add_states(self):
        """An encoder whose states begin a decoder."""
        found = self.pairs(lambda a, b: len(a) == len(b) == 2)
        found = [(i, j) for i, j in found if not self.masked[j]]
        if not found:
            return
        i, j = self.pick(*found)
        name = self.pick("LSTM", "GRU", "SimpleRNN")
        options = {**cell_options(name, self.pick), "return_sequences": self.pick(True, False)}
        before = len(self.steps)
        made = run(
            tdfast, ("layer", (name, {**options, "return_state": True}), [i], before), self.tensors, {}
        )
        assert len(made) == (3 if name == "LSTM" else 2)
        self.add(
            "states",
            (name, {**options, "return_state": True}),
            [i, j],
            before,
            {},
            (name, {**options, "return_sequences": True}),
        )
        self.masked[-2] = self.masked[i] and options["return_sequences"]

    def add_nested(self):
        i = self.drawn()
        what = (self.pick("sequential", "functional"), self.shape(i), self.pick(3, 2))
        self.add("nested", what, [i], len(self.steps), masked=self.masked[i])


@st.composite
def graphs(draw, optimizer=None):
    """A graph with its outputs, losses and an optimizer, as plain values."""
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))

    def pick(*values):
        return values[rng.integers(len(values))]

    tdfast.utils.clear_session()
    builder = Builder(pick)
    T, F = pick(5, 4, 3, 1), pick(3, 2)
    for _ in range(pick(1, 2, 2, 3)):
        builder.begin(T, F)
    for _ in range(pick(4, 6, 8, 10)):
        builder.grow()
    count = len(builder.tensors)
    outputs = []
    for n in range(pick(1, 1, 2, 3)):
        i = pick(*range(count // 2, count))
        loss, options, activation, targets = pick(*LOSSES)
        units = pick(1, 2) if targets in ("bits", "signs") else 3
        head = ("Dense", {"units": units, "activation": activation or "linear", "name": f"out{n}"})
        outputs.append(
            (builder.add("layer", head, [i], f"out{n}", masked=builder.masked[i]), (loss, options), targets)
        )
    return {
        "steps": builder.steps,
        "outputs": outputs,
        "named": pick(False, True),
        "optimizer": with_choices(pick, optimizer or pick(*OPTIMIZERS)),
        "weights": pick("samples", None, None),
        "loss_weights": pick(None, [0.3, 1.5, 0.7]),
        "batch_size": pick(3, BATCH),
        "seed": pick(*range(50)),
    }


def with_choices(pick, optimizer):
    name, choices = optimizer
    return name, {
        **pick(*COMMON),
        "learning_rate": pick(*RATES),
        **{option: pick(*values) for option, values in choices.items()},
    }


# ---------------------------------------------------------------- both


def build(k, case):
    tensors, made = [], {}
    for step in case["steps"]:
        tensors += run(k, step, tensors, made)
    ends = [tensors[i] for i, _, _ in case["outputs"]]
    names = [f"out{n}" for n in range(len(ends))]
    return k.Model(firsts(case, tensors), dict(zip(names, ends)) if case["named"] else ends)


def inputs_of(case):
    return [step for step in case["steps"] if step[0] == "input"]


def firsts(case, tensors):
    """The input tensors."""
    out, at = [], 0
    for step in case["steps"]:
        if step[0] == "input":
            out.append(tensors[at])
        at += 2 if step[0] == "states" else 1
    return out


def weights_for(model, seed):
    rng = np.random.default_rng(seed + 1000)
    values = []
    for w in model.weights:
        value = rng.normal(size=w.shape) / np.sqrt(max(1, int(np.prod(w.shape[:-1]))))
        values.append(np.abs(value) + 0.2 if "variance" in w.name else value)
    return values


def data_of(case, shapes):
    """(inputs, targets, sample weights) as lists."""
    rng = np.random.default_rng(case["seed"])
    x = []
    for step in inputs_of(case):
        shape = (BATCH, *step[1])
        values = rng.normal(size=shape).astype("float32")
        values[np.arange(shape[1]) >= rng.integers(1, shape[1] + 1, BATCH)[:, None]] = 0
        x.append(values)
    y, weights = [], []
    for (_, _, targets), shape in zip(case["outputs"], shapes):
        out = (BATCH, *shape[1:])
        classes = rng.integers(0, out[-1], out[:-1])
        made = {
            "numbers": lambda out: rng.normal(size=out),
            "positive": lambda out: rng.uniform(0.2, 2, out),
            "signs": lambda out: rng.choice([-1.0, 1.0], out),
            "bits": lambda out: rng.integers(0, 2, out).astype(float),
            "onehot": lambda out, classes=classes: np.eye(out[-1])[classes],
            "labels": lambda out, classes=classes: classes,
        }[targets](out)
        y.append(made.astype("float32") if made.dtype.kind == "f" else made)
        weights.append(
            rng.uniform(0.2, 2, (BATCH,) if len(out) == 2 else (BATCH, *(1,) * (len(out) - 2))).astype(
                "float32"
            )
        )
    return x, y, weights if case["weights"] else None


def check(case):
    note(repr(case))
    tdfast.utils.clear_session()
    keras.utils.clear_session(free_memory=False)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        ours, theirs = build(tdfast, case), build(keras, case)
        assert [w.path for w in ours.weights] == [w.path for w in theirs.weights]
        assert [w.shape for w in ours.weights] == [tuple(w.shape) for w in theirs.weights]
        names = [f"out{n}" for n in range(len(case["outputs"]))]
        x, y, weight = data_of(case, [tuple(tensor.shape) for tensor in theirs.outputs])

        def packed(values):
            if values is None or not case["named"]:
                return values[0] if values and len(values) == 1 else values
            return dict(zip(names, values))

        y, weight = packed(y), packed(weight)
        start = weights_for(ours, case["seed"])
        metrics = packed([METRICS[targets][:1] for _, _, targets in case["outputs"]])
        loss_weights = case["loss_weights"] and packed(case["loss_weights"][: len(names)])
        options = {"loss_weights": loss_weights, "metrics": metrics}

        def compile_both(optimizer, arguments, **options):
            for k, model in ((tdfast, ours), (keras, theirs)):
                model.set_weights(start)
                rate = arguments["learning_rate"]
                if isinstance(rate, tuple):
                    rate = getattr(k.optimizers.schedules, rate[0])(**rate[1])
                losses = packed([getattr(k.losses, name)(**more) for _, (name, more), _ in case["outputs"]])
                model.compile(
                    getattr(k.optimizers, optimizer)(**{**arguments, "learning_rate": rate}),
                    losses,
                    **options,
                )

        def same_logs(a, b, what, bound=2e-5):
            assert sorted(a) == sorted(b), what  # JAX sorts a dict
            for name in a:  # in training Keras on JAX loses the masks on the way to the metrics
                if what == "evaluate" or name.endswith("loss"):
                    near(a[name], b[name], f"{what}: {name}", bound)

        compile_both("SGD", {"learning_rate": 1.0}, **options)
        got, want = ours.predict(x, verbose=0), theirs.predict(x, verbose=0)
        assert type(got) is type(want)
        if isinstance(want, np.ndarray):
            got, want = [got], [want]
        for name in want if case["named"] else range(len(want)):
            near(got[name], want[name], f"predictions {name}")
        same_logs(
            *(
                m.evaluate(
                    x, y, sample_weight=weight, batch_size=case["batch_size"], verbose=0, return_dict=True
                )
                for m in (ours, theirs)
            ),
            "evaluate",
        )
        same_logs(
            *(m.train_on_batch(x, y, sample_weight=weight, return_dict=True) for m in (ours, theirs)), "step"
        )
        flat = set()            # where every number has the slope 0, such as an attention's key/bias
        for before, a, b in zip(start, ours.weights, theirs.weights):
            if np.abs(np.asarray(b.value) - before).max(initial=0) < 1e-5:
                flat.add(a.path)
            near(a.numpy() - before, np.asarray(b.value) - before, f"gradient of {a.path}", NEAR_STEP)
        compile_both(*case["optimizer"], **options)
        for step in range(2):
            same_logs(
                *(m.train_on_batch(x, y, sample_weight=weight, return_dict=True) for m in (ours, theirs)),
                f"step {step}",
                NEAR_STEP,
            )
        for a, b in zip(ours.weights, theirs.weights):
            if case["optimizer"][0] == "Lamb" and a.path in flat:
                continue        # Lamb makes a whole step of what rounding leaves there
            near(a.numpy(), b.value, f"{a.path} after two steps", NEAR_STEP)


@bounded(12)
@given(graphs())
def test_graphs(case):
    check(case)


@bounded(40)
@given(graphs())
def test_central_differences(case):
    """The gradients through whole graphs in float64: of the loss along a random direction."""
    assume("SpectralNormalization" not in repr(case))       # its weights in training are not those in a test
    note(repr(case))
    tdfast.utils.clear_session()
    tdfast.config.set_floatx("float64")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            model = build(tdfast, case)
            x, y, weight = data_of(case, [tensor.shape for tensor in model.outputs])
            names = [f"out{n}" for n in range(len(y))]
            losses = [getattr(tdfast.losses, name)(**more) for _, (name, more), _ in case["outputs"]]
            if case["named"]:
                y, losses = dict(zip(names, y)), dict(zip(names, losses))
            model.compile(tdfast.optimizers.SGD(1e-30), losses)
            start = weights_for(model, case["seed"])
            model.set_weights(start)
            model.train_on_batch(x, y)
            rng = np.random.default_rng(case["seed"] + 2000)
            directions = [rng.normal(size=w.shape) for w in model.trainable_weights]
            slope = sum(float((w.grad * d).sum()) for w, d in zip(model.trainable_weights, directions))
            model.set_weights(start)  # the constraints had their say
            values = [w.numpy().copy() for w in model.trainable_weights]
            ends = []
            for step in (1e-6, -1e-6):
                for w, value, d in zip(model.trainable_weights, values, directions):
                    w.assign(value + step * d)
                got = model.test_on_batch(x, y)
                ends.append(got[0] if isinstance(got, list) else got)
            want = (ends[0] - ends[1]) / 2e-6
            assert slope == pytest.approx(want, rel=1e-5, abs=1e-6 * max(1.0, abs(ends[0])))
    finally:
        tdfast.config.set_floatx("float32")


@pytest.mark.parametrize("optimizer", OPTIMIZERS, ids=lambda optimizer: optimizer[0])
def test_optimizers(optimizer):
    """One step of each optimizer, and another, on graphs."""

    @bounded(1)
    @given(graphs(optimizer))
    def run(case):
        check(case)

    run()
