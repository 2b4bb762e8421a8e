"""Masks from end to end: the numbers of training are those of sequences cut by hand, and no layer loses a
mask silently."""

import warnings

import numpy as np
import pytest

from tdfast import Sequential, layers
from tdfast.engine.layer import Layer
from tdfast.layers import (
    GRU,
    LSTM,
    RNN,
    Activation,
    Bidirectional,
    Dense,
    Dropout,
    Input,
    LayerNormalization,
    LSTMCell,
    Masking,
    SimpleRNN,
    TimeDistributed,
)
from tdfast.optimizers import SGD

N, T, F, C = 7, 9, 3, 4
D = {"dtype": "float64"}

STACKS = {
    "LSTM": lambda: [LSTM(5, return_sequences=True, **D)],
    "GRU": lambda: [GRU(5, return_sequences=True, **D)],
    "GRU before": lambda: [GRU(5, return_sequences=True, reset_after=False, **D)],
    "SimpleRNN": lambda: [SimpleRNN(5, return_sequences=True, **D)],
    "other activations": lambda: [LSTM(5, activation="softsign", return_sequences=True, **D)],
    "zero outputs": lambda: [LSTM(5, return_sequences=True, zero_output_for_mask=True, **D)],
    "Bidirectional": lambda: [Bidirectional(GRU(4, return_sequences=True, **D), **D)],
    "two directions in two": lambda: [Bidirectional(LSTM(4, return_sequences=True, **D), "sum", **D),
                                      GRU(3, return_sequences=True, **D)],
    "stacked": lambda: [LSTM(5, return_sequences=True, **D), GRU(3, return_sequences=True, **D)],
    "of cells": lambda: [RNN(LSTMCell(5, **D), return_sequences=True, **D)],
    "layers behind": lambda: [LSTM(5, return_sequences=True, **D), LayerNormalization(**D), Dropout(0.0, **D),
                              Activation("relu", **D)],
    "Dense first": lambda: [Dense(4, activation="tanh", **D), GRU(5, return_sequences=True, **D)],
    "nested": lambda: [Sequential([LSTM(5, return_sequences=True, **D)])],
    "no recurrence": lambda: [],
}
PADDINGS = ("right", "left", "interior")
each_stack = pytest.mark.parametrize("stack", STACKS)
each_padding = pytest.mark.parametrize("padding", PADDINGS)


def padded(padding, seed=0):
    """(x, mask) with a row of no valid step, one of a single one and one without padding."""
    rng = np.random.default_rng(seed)
    lengths = rng.integers(1, T, N)
    lengths[[1, 3, 4]] = 0, 1, T
    mask = np.arange(T) < lengths[:, None]
    mask = (
        mask[:, ::-1] if padding == "left" else rng.permuted(mask, axis=1) if padding == "interior" else mask
    )
    x = rng.normal(size=(N, T, F))
    x[~mask] = 0
    return x, mask


def pair(stack, loss, end):
    """The same model with Masking in front and without it."""
    made = [Sequential([Input((T, F)), Masking(**D), *STACKS[stack](),
                        TimeDistributed(Dense(C, activation=end, **D))]),
            Sequential([Input((None, F)), *STACKS[stack](), TimeDistributed(Dense(C, activation=end, **D))])]
    made[1].set_weights(made[0].get_weights())
    metrics = ["mae", "mse"] if loss == "mse" else ["accuracy"]
    for model in made:
        model.compile(SGD(1.0), loss, metrics=metrics, weighted_metrics=metrics)
    return made


def targets(loss, seed=1):
    rng = np.random.default_rng(seed)
    return rng.normal(size=(N, T, C)) if loss == "mse" else rng.integers(0, C, (N, T))


def cut_by_hand(model, x, y, mask, weight):
    """(loss, metrics, metrics with weights, gradients) of the valid steps, each row by itself and without
    padding."""
    start = [w.copy() for w in model.get_weights()]
    n, total_weight = mask.sum(), np.broadcast_to(weight, mask.shape)[mask].sum()
    names = model.metrics_names
    sums, gradients = None, [0.0] * len(start)
    for i in np.flatnonzero(mask.any(axis=1)):
        model.set_weights(start)
        rows = mask[i].sum()
        w = np.broadcast_to(weight, mask.shape)[i : i + 1, mask[i]]
        got = model.train_on_batch(x[i : i + 1, mask[i]], y[i : i + 1, mask[i]], sample_weight=w,
                                   return_dict=True)
        names = list(got)
        share = [w.sum() / total_weight if k > len(names) // 2 else rows / n for k in range(len(names))]
        values = np.array([v * s for v, s in zip(got.values(), share)])
        sums = values if sums is None else sums + values
        gradients = [g + (a - b) * rows / n for g, a, b in zip(gradients, start, model.get_weights())]
    return dict(zip(names, sums)), gradients


def close(got, want):
    assert set(got) == set(want)
    for name in want:
        assert got[name] == pytest.approx(want[name], rel=1e-6), name


@each_stack
@each_padding
@pytest.mark.parametrize("loss, end", [("mse", None), ("sparse_categorical_crossentropy", "softmax")])
@pytest.mark.parametrize("weighted", [None, "samples", "steps"])
def test_loss_metrics_and_gradients_are_those_of_sequences_cut_by_hand(stack, padding, loss, end, weighted):
    x, mask = padded(padding)
    y = targets(loss)
    rng = np.random.default_rng(2)
    weight = {None: np.ones((N, 1)), "samples": rng.uniform(0.5, 2, (N, 1)),
              "steps": rng.uniform(0.5, 2, (N, T))}[weighted]
    masked, plain = pair(stack, loss, end)
    want, gradients = cut_by_hand(plain, x, y, mask, weight)
    given = {None: None, "samples": weight[:, 0], "steps": weight}[weighted]
    before = masked.get_weights()
    close(masked.evaluate(x, y, sample_weight=given, verbose=0, return_dict=True), want)
    close(masked.train_on_batch(x, y, sample_weight=given, return_dict=True), want)
    for a, b, g in zip(before, masked.get_weights(), gradients):
        np.testing.assert_allclose(a - b, g, atol=1e-7)
    if padding == "right":
        _, plain = pair(stack, loss, end)
        plain.set_weights(before)
        lengths = mask.sum(axis=1)
        close(plain.evaluate(x, y, sample_weight=given, lengths=lengths, verbose=0, return_dict=True), want)
        history = plain.fit(x, y, sample_weight=given, lengths=lengths, batch_size=N, shuffle=False,
                            verbose=0).history
        close({k: v[0] for k, v in history.items()}, want)
        for a, b, g in zip(before, plain.get_weights(), gradients):
            np.testing.assert_allclose(a - b, g, atol=1e-7)


@each_padding
def test_a_batch_of_padding_alone_trains_on(padding):
    """Its loss is 0 and no weight moves; the batches around it count as ever."""
    x, mask = padded(padding)
    x[: N - 2] = 0
    masked, plain = pair("LSTM", "mse", None)
    before = masked.get_weights()
    assert masked.train_on_batch(x[: N - 2], targets("mse")[: N - 2])[0] == 0
    assert all(np.array_equal(a, b) for a, b in zip(before, masked.get_weights()))
    assert masked.evaluate(x, targets("mse"), batch_size=2, verbose=0)[1] == pytest.approx(
        cut_by_hand(plain, x, targets("mse"), mask & (np.arange(N) > N - 3)[:, None],
                    np.ones((N, 1)))[0]["mae"])


@pytest.mark.parametrize("loss", ["dice", "mse"])
@pytest.mark.parametrize("metric", ["cosine_similarity", lambda y, p: np.abs(y - p).max(axis=-1)],
                         ids=["cosine", "own"])
def test_losses_and_metrics_that_see_the_whole_batch_get_it(loss, metric):
    """With them nothing is left out before the loss: the same outputs, targets and mask as ever."""
    seen = []

    def own(y, p):
        seen.append((y.shape, p.shape))
        return np.abs(y - p).max(axis=-1)

    x, mask = padded("right")
    model = Sequential([Masking(), LSTM(5, return_sequences=True), Dense(C)])
    model.compile("sgd", loss, metrics=[metric, own])
    got = model.evaluate(x, targets("mse"), verbose=0, return_dict=True)
    assert set(seen) == {((N, T, C), (N, T, C))}
    p = model.predict(x, verbose=0)
    assert got["own"] == pytest.approx(np.abs(targets("mse") - p).max(axis=-1)[mask].mean(), rel=1e-5)


def test_many_rows_give_the_same_bits_for_any_number_of_threads():
    """Among them rows without a step, whose place on the tape other rows have."""
    import tdfast

    rng = np.random.default_rng(0)
    x = rng.normal(size=(190, 11, 5)).astype("float32")
    x[np.arange(11) >= rng.integers(-4, 12, 190)[:, None]] = 0
    before, results = tdfast.get_num_threads(), []
    try:
        for threads in (1, 2, 3, 5):
            tdfast.set_num_threads(threads)
            tdfast.utils.set_random_seed(4)
            model = Sequential([Masking(),
                                *(cell(13, return_sequences=True) for cell in (LSTM, GRU, SimpleRNN)),
                                Dense(2)])
            model.compile("adam", "mse")
            model.fit(x, x[..., :2], epochs=2, batch_size=95, verbose=0)
            results.append((model.predict(x, verbose=0).tobytes(),
                            [w.tobytes() for w in model.get_weights()]))
    finally:
        tdfast.set_num_threads(before)
    assert all(one == results[0] for one in results)


# ---------------------------------------------------------------- no layer loses a mask silently

SEQUENCE, IMAGES, FRAMES, IDS = (T, 4), (T, 6, 4), (T, 6, 6, 2), (T,)
ARGUMENTS = {
    "EinsumDense": ("abc,cd->abd", (None, 3)),
    "Activation": ("tanh",), "ActivityRegularization": (0.1,), "AlphaDropout": (0.2,), "Dense": (3,),
    "Dropout": (0.2,),
    "GaussianDropout": (0.2,), "GaussianNoise": (0.2,), "GRU": (3,), "LSTM": (3,), "SimpleRNN": (3,),
    "Permute": ((2, 1),),
    "Reshape": ((-1,),), "Rescaling": (2.0,), "GroupNormalization": (2,), "RepeatVector": (3,),
}
ENDS = {"LSTM", "GRU", "SimpleRNN", "RNN", "Bidirectional", "ConvLSTM1D", "ConvLSTM2D", "ConvLSTM3D",
        "GlobalAveragePooling1D"}
"""Layers that use the mask up: what they give has no time axis any more."""


def every_layer():
    """(name, layer, shape of a sample) of each class of tdfast.layers, once."""
    seen = set()
    for name in layers.__all__:
        cls = getattr(layers, name)
        if (
            not isinstance(cls, type)
            or not issubclass(cls, Layer)
            or cls.several_inputs
            or cls in seen
            or issubclass(cls, layers.Cell)
        ):
            continue
        seen.add(cls)
        name = cls.__name__
        if name in ("Layer", "InputLayer", "Wrapper"):
            continue
        if ".preprocessing." in cls.__module__:         # see test_text_layers.py
            continue
        if name == "Embedding":
            yield name, cls(5, 3), IDS
            yield name + " mask_zero", cls(5, 3, mask_zero=True), IDS
        elif name == "RNN":
            yield name, cls(LSTMCell(3)), SEQUENCE
            yield name + " sequences", cls(LSTMCell(3), return_sequences=True), SEQUENCE
        elif name == "Bidirectional":
            yield name, cls(LSTM(3)), SEQUENCE
            yield name + " sequences", cls(LSTM(3, return_sequences=True)), SEQUENCE
        elif name == "SpectralNormalization":
            yield name, cls(Dense(3)), SEQUENCE
        elif name == "TimeDistributed":
            yield name, cls(Dense(3)), SEQUENCE
            yield name + " recurrent", cls(LSTM(3)), IMAGES
        elif "ConvLSTM" in name:
            yield name, cls(2, 2), IMAGES if "1D" in name else FRAMES if "2D" in name else (T, 6, 6, 4, 2)
        elif "Conv" in name:
            shape = SEQUENCE if "1D" in name else IMAGES if "2D" in name else FRAMES
            yield name, cls(2) if "Depthwise" in name else cls(2, 2), shape
        elif "Spatial" in name:
            yield name, cls(0.2), SEQUENCE if "1D" in name else IMAGES if "2D" in name else FRAMES
        elif "Pool" in name or name.startswith(("Cropping", "UpSampling", "ZeroPadding")):
            yield (
                name,
                cls(2) if name.startswith(("Max", "Average", "Adaptive")) else cls(),
                SEQUENCE if "1D" in name else IMAGES if "2D" in name else FRAMES,
            )
        elif name == "RepeatVector":
            yield name, cls(3), (4,)
        elif name == "MelSpectrogram":
            yield name, cls(8, 2), (20,)
        elif name == "STFTSpectrogram":
            yield name, cls(frame_length=4), SEQUENCE
        else:
            yield name, cls(*ARGUMENTS.get(name, ())), SEQUENCE
            if name in ("LSTM", "GRU", "SimpleRNN"):
                yield name + " sequences", cls(3, return_sequences=True), SEQUENCE


@pytest.mark.parametrize("name, layer, shape", [pytest.param(*case, id=case[0]) for case in every_layer()])
def test_every_layer_carries_uses_or_refuses_a_mask(name, layer, shape):
    rng = np.random.default_rng(0)
    mask = np.ones((2, *shape[:1]), bool)
    mask[0, -4:] = mask[1, :3] = False
    x = rng.integers(0, 5, (2, *shape)) if shape == IDS else rng.normal(size=(2, *shape)).astype("float32")
    other = x.copy()
    other[~mask] = 1 if shape == IDS else 7.0
    model = Sequential([Input(shape, dtype="int32" if shape == IDS else None), layer])
    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("always")
        try:
            y, z, after = model(x, mask=mask), model(other, mask=mask), model.compute_mask(x, mask)
        except (TypeError, ValueError) as error:
            assert f"'{layer.name}'" in str(error) and "mask" in str(error)
            with pytest.raises((TypeError, ValueError), match=f"'{layer.name}'"):
                layer(x, mask=mask)
            return
    told = any(f"'{layer.name}'" in str(w.message) and "mask" in str(w.message) for w in said)
    if after is None:
        assert told or name in ENDS
        assert told or np.array_equal(y, z), "the masked steps must not count"
        return
    assert not told and after.shape == y.shape[:2]
    if layer.makes_mask:
        made = layer.compute_mask(x)
        assert np.array_equal(after, made if layer.replaces_mask else made & mask)
        return
    if y.shape[1] == shape[0]:
        assert np.array_equal(after, mask)
        if not layer.reads_masked_steps:
            assert np.array_equal(y[mask], z[mask])
    else:
        assert 0 < after.sum() < after.size
