"""Windows of time series: their counts and contents against plain loops, no copies, no leaks, and what fit
makes of them."""

import numpy as np
import pytest

from tdfast import Sequential, losses, optimizers, preprocessing, utils
from tdfast.engine.arrays import as_view
from tdfast.layers import LSTM, Dense, TimeDistributed
from tdfast.utils.timeseries import WindowBatches, sliding

rng = np.random.default_rng(0)
SERIES = rng.normal(size=(61, 3)).astype("float32")


def forecaster(features=1, out=1, many=False, dtype="float32"):
    utils.set_random_seed(3)
    head = TimeDistributed(Dense(out, dtype=dtype)) if many else Dense(out, dtype=dtype)
    model = Sequential([LSTM(5, return_sequences=many, dtype=dtype), head])
    model.compile(optimizers.SGD(0.1), losses.MeanSquaredError())
    model.build((None, None, features))
    return model


# ---------------------------------------------------------------- timeseries_dataset_from_array


def by_loops(data, targets, length, stride=1, rate=1, start=0, end=None):
    """The windows and targets, one number after the other; None once Keras runs out of targets."""
    data = data[start : len(data) if end is None else end]
    X, Y, i = [], [], 0
    while i + (length - 1) * rate < len(data) and (targets is None or i < len(targets)):
        X.append([data[i + k * rate] for k in range(length)])
        if targets is not None:
            if start + i >= len(targets):
                return None
            Y.append(targets[start + i])
        i += stride
    return np.array(X).reshape(len(X), length, *data.shape[1:]), np.array(Y)


CASES = [
    {"sequence_length": 1},
    {"sequence_length": 10, "sampling_rate": 2, "sequence_stride": 3},
    {"sequence_length": 5, "sequence_stride": 60},
    {"sequence_length": 61},
    {"sequence_length": 62},
    {"sequence_length": 100},
    {"sequence_length": 16, "sampling_rate": 4},
    {"sequence_length": 4, "sampling_rate": 60},
    {"sequence_length": 4, "start_index": 7},
    {"sequence_length": 4, "start_index": 7, "end_index": 40},
    {"sequence_length": 4, "end_index": 33, "sampling_rate": 3, "sequence_stride": 2},
    {"sequence_length": 4, "start_index": 38, "end_index": 40},
    {"sequence_length": 3, "batch_size": 1},
    {"sequence_length": 3, "batch_size": 1000},
]


@pytest.mark.parametrize("options", CASES, ids=str)
@pytest.mark.parametrize("targets", [None, "all", "fewer"])
def test_counts_and_contents(options, targets):
    y = {None: None, "all": np.arange(61), "fewer": np.arange(55)}[targets]
    names = {"sequence_length": "length", "sequence_stride": "stride", "sampling_rate": "rate",
             "start_index": "start",
             "end_index": "end"}
    want = by_loops(SERIES, y, **{names[k]: v for k, v in options.items() if k in names})
    if want is None:
        with pytest.raises(ValueError, match="windows need as many targets"):
            utils.timeseries_dataset_from_array(SERIES, y, **options)
        return
    data = utils.timeseries_dataset_from_array(SERIES, y, **options)
    size = options.get("batch_size", 128)
    assert len(data) == -(-len(want[0]) // size) == len(list(data))
    batches = [batch if y is not None else (batch, np.zeros(0)) for batch in data]
    assert all(len(x) == size for x, _ in batches[:-1])
    X, Y = (np.concatenate([b[k] for b in batches]) if batches else want[k] for k in range(2))
    assert np.array_equal(X, want[0]) and np.array_equal(Y, want[1])
    assert all(np.shares_memory(x, SERIES) for x, _ in batches), "a copy was made"


def test_without_batches():
    data = utils.timeseries_dataset_from_array(SERIES, np.arange(61), 4, batch_size=None)
    items = list(data)
    assert len(data) == len(items) == 58
    assert items[3][0].shape == (4, 3) and items[3][1] == 3


def test_shuffled_passes():
    def passes(seed):
        data = utils.timeseries_dataset_from_array(np.arange(200), np.arange(200), 3, batch_size=16,
                                                   shuffle=True, seed=seed)
        out = []
        for _ in range(2):
            x, y = (np.concatenate(part) for part in zip(*data))
            assert np.array_equal(x[:, 0], y) and np.array_equal(np.sort(y), np.arange(198))
            out.append(y.tolist())
        return out

    first, second = passes(5)
    assert first != second and first != sorted(first)
    assert passes(5) == [first, second] and passes(6)[0] != first
    utils.set_random_seed(1)
    free = passes(None)
    utils.set_random_seed(1)
    assert passes(None) == free


@pytest.mark.parametrize("options, words", [
    ({"sequence_length": 0}, "sequence_length must be a whole number of at least 1"),
    ({"sequence_length": 2.5}, "sequence_length"),
    ({"sampling_rate": 0}, "sampling_rate"),
    ({"sampling_rate": 61}, "sampling_rate must be below the 61 steps"),
    ({"sequence_stride": -1}, "sequence_stride"),
    ({"sequence_stride": 61}, "sequence_stride must be below"),
    ({"start_index": 61}, "start_index"),
    ({"start_index": -1}, "start_index"),
    ({"end_index": 61}, "end_index"),
    ({"end_index": 0}, "end_index"),
    ({"start_index": 5, "end_index": 5}, "end_index=5"),
    ({"batch_size": 0}, "batch_size"),
    ({"seed": "x"}, "seed"),
    ({"data": ["a", "b"]}, "numbers"),
], ids=str)
def test_wrong_arguments(options, words):
    with pytest.raises(ValueError, match=words):
        utils.timeseries_dataset_from_array(**{"data": SERIES, "targets": None, "sequence_length": 3,
                                               **options})


def test_take_and_map():
    data = utils.timeseries_dataset_from_array(SERIES, None, 8, batch_size=10)
    split = data.map(lambda w: (w[:, :7], w[:, 7]))
    assert len(split) == 6 and len(split.take(2)) == 2 and len(data.take(99)) == 6
    for (x, y), window in zip(split.take(2), data):
        assert np.array_equal(x, window[:, :7]) and np.array_equal(y, window[:, 7])
    assert np.array_equal(next(iter(split.map(lambda x, y: y))), SERIES[7:17])
    model = forecaster(3, 3)
    assert len(model.fit(split, epochs=2, verbose=0).history["loss"]) == 2


def test_fit_on_batches_of_windows():
    """fit, validation, evaluate and predict give what they give on the arrays."""
    X = sliding(SERIES, 7)[:40]
    y = SERIES[7:47, :1]
    ours, theirs = forecaster(3), forecaster(3)
    data = utils.timeseries_dataset_from_array(SERIES, SERIES[7:47, :1], 7, batch_size=16)
    a = ours.fit(data, validation_data=data, epochs=3, verbose=0)
    b = theirs.fit(X.copy(), y, batch_size=16, validation_data=(X.copy(), y), epochs=3, verbose=0,
                   shuffle=False)
    assert a.history.keys() == b.history.keys()
    assert all(a.history[k] == pytest.approx(b.history[k], rel=1e-6) for k in a.history)
    assert ours.evaluate(data, verbose=0) == pytest.approx(theirs.evaluate(X, y, batch_size=16, verbose=0),
                                                           rel=1e-6)
    np.testing.assert_array_equal(ours.predict(data, verbose=0), ours.predict(X.copy(), verbose=0))
    inputs = utils.timeseries_dataset_from_array(SERIES[:46], None, 7)
    np.testing.assert_array_equal(ours.predict(inputs, verbose=0), ours.predict(X.copy(), verbose=0))
    assert len(ours.fit(data, epochs=2, steps_per_epoch=1, verbose=0).history["loss"]) == 2


def test_places():
    assert utils.timeseries_dataset_from_array is utils.timeseries_dataset_from_array
    assert preprocessing.sequence.pad_sequences is utils.pad_sequences
    assert isinstance(utils.timeseries_dataset_from_array([1, 2, 3], None, 2), WindowBatches)


# ---------------------------------------------------------------- windows


@pytest.mark.parametrize("horizon, stride, columns", [(1, 1, None), (4, 1, None), (3, 2, None), (1, 3, 2),
                                                      (2, 1, 2), (5, 7, 1)])
@pytest.mark.parametrize("many", [False, True])
def test_windows(horizon, stride, columns, many):
    x = SERIES[:, 0] if columns is None else SERIES
    targets = None if columns is None else SERIES[:, :columns]
    X, Y = utils.windows(x, 6, horizon, many, stride, targets)
    t = x if targets is None else targets
    starts = range(0, len(x) - 6 - horizon + 1, stride)
    assert np.array_equal(X, np.stack([x[i : i + 6].reshape(6, -1) for i in starts]))
    if many:
        want = np.stack([[t[i + k + 1 : i + k + 1 + horizon] for k in range(6)] for i in starts])
    else:
        want = np.stack([t[i + 6 : i + 6 + horizon] for i in starts])
    if columns and horizon == 1:
        want = want.reshape(*want.shape[:-2], columns)
    assert Y.shape == want.shape and np.array_equal(Y, want)
    assert np.shares_memory(X, SERIES) and np.shares_memory(Y, SERIES)
    assert not X.flags.writeable and not Y.flags.writeable


@pytest.mark.parametrize("options, words", [
    ({"lookback": 0}, "lookback"),
    ({"horizon": 0}, "horizon"),
    ({"stride": 0}, "stride"),
    ({"lookback": 60, "horizon": 2}, "need 62 steps, but x has 61"),
    ({"targets": SERIES[:60]}, "x's 61 steps, got 60"),
    ({"x": SERIES[:, :, None]}, r"\(61, 3, 1\)"),
    ({"x": "text"}, "numbers"),
], ids=lambda v: v if isinstance(v, str) else " ".join(v))
def test_windows_names_what_is_wrong(options, words):
    with pytest.raises(ValueError, match=words):
        utils.windows(**{"x": SERIES, "lookback": 4, **options})


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("series_dtype", ["float32", "float64", "int16", "big"])
@pytest.mark.parametrize("shuffle", [False, True, "batch"])
def test_fit_takes_the_views_and_computes_the_same_bits(dtype, series_dtype, shuffle):
    series = np.round(SERIES * 4).astype("i2") if series_dtype == "int16" else SERIES.astype(
        ">f8" if series_dtype == "big" else series_dtype)
    X, Y = utils.windows(series, 7, 2, many_to_many=True, targets=series[:, 1])
    runs = []
    for x, y in ((X, Y), (X.copy(), Y.copy())):
        model = forecaster(3, 2, many=True, dtype=dtype)
        history = model.fit(x, y, epochs=2, batch_size=9, shuffle=shuffle, validation_split=0.3,
                            verbose=0).history
        more = model.fit(x, y, epochs=1, batch_size=9, lengths=np.arange(len(x)) % 8, verbose=0).history
        loss = model.evaluate(x, y, batch_size=9, verbose=0)
        masked = model.predict(x, lengths=np.arange(len(x)) % 8, verbose=0)
        outputs = [model.predict(x, verbose=0), model.predict(x, steps=2, batch_size=4, verbose=0), masked]
        runs.append((history, more, loss, model.train_on_batch(x, y), model.test_on_batch(x, y), outputs))
    assert runs[0][:-1] == runs[1][:-1]
    assert all(np.array_equal(a, b) for a, b in zip(runs[0][-1], runs[1][-1]))


def test_windows_are_not_multiplied_in_memory():
    """What fit and predict take for overlapping windows is a small part of what their copies would be."""
    import tracemalloc

    series = rng.normal(size=20_000)
    X, Y = utils.windows(series, 200)
    model = forecaster()
    model.fit(X[:64], Y[:64], verbose=0)
    tracemalloc.start()
    model.predict(X[:1000], steps=1, verbose=0)
    model.evaluate(X, Y, batch_size=32, steps=2, verbose=0)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < X.size * 4 / 10, f"{peak} bytes, where a float32 copy is {X.size * 4}"


def test_as_view():
    view = np.lib.stride_tricks.sliding_window_view(SERIES[::2, 1], 4)
    halved = as_view(view, lambda a: a.astype("float64") / 2)
    assert np.array_equal(halved, view.astype("float64") / 2) and halved.dtype == "float64"
    backwards = view[:, ::-1]
    assert np.array_equal(as_view(backwards, np.ascontiguousarray), backwards)
    wide = np.broadcast_to(SERIES[:1], (5, 3))
    assert np.array_equal(as_view(wide, lambda a: a * 2), wide * 2)

    def only_small(a):
        if (a > 9).any():
            raise ValueError("too large")
        return a.astype("int64")

    # 99 is in the memory that is spanned, but in no window.
    table = np.array([[1, 99], [2, 99], [3, 99], [4, 99], [5, 99], [6, 99]])
    pairs = np.lib.stride_tricks.sliding_window_view(table[:, 0], 4)
    assert np.array_equal(as_view(pairs, only_small), pairs)
    with pytest.raises(ValueError, match="too large"):
        as_view(np.lib.stride_tricks.sliding_window_view(table[:, 1], 4), only_small)


# ---------------------------------------------------------------- splits


@pytest.mark.parametrize("n, validation, gap, train, held", [
    (10, 0.2, 0, 8, 2), (10, 0.25, 0, 7, 3), (10, 3, 0, 7, 3), (10, 0.3, 4, 3, 3), (2, 1, 0, 1, 1),
    (100, 0.01, 0, 99, 1)])
def test_temporal_split(n, validation, gap, train, held):
    x = np.arange(n)
    (a, ya), (b, yb) = utils.temporal_split(x, x * 2, validation, gap)
    assert a.tolist() == list(range(train)) and b.tolist() == list(range(n - held, n))
    assert np.array_equal(ya, a * 2) and np.array_equal(yb, b * 2) and np.shares_memory(a, x)
    assert b[0] - a[-1] == gap + 1


def test_the_gap_of_the_docstring_parts_overlapping_windows_and_is_the_least():
    steps = np.arange(200)
    for lookback, horizon, stride in [(5, 1, 1), (7, 3, 1), (6, 2, 3), (4, 4, 8), (3, 2, 9)]:
        X, Y = utils.windows(steps, lookback, horizon, stride=stride)
        gap = -(-(lookback + horizon) // stride) - 1
        for less in (0, 1):
            if gap - less < 0:
                continue
            (x, y), (x_val, y_val) = utils.temporal_split(X, Y, 0.3, gap - less)
            last = max(x.max(), y.max())
            assert (last < min(x_val.min(), y_val.min())) == (less == 0)


@pytest.mark.parametrize("options, words", [
    ({"y": np.zeros(9)}, "10 and 9"), ({"validation": 1.0}, "validation"), ({"validation": 0}, "validation"),
    ({"validation": 0.5, "gap": 5}, "none is left"), ({"gap": -1}, "gap"),
    ({"validation": 10}, "none is left")], ids=str)
def test_temporal_split_names_what_is_wrong(options, words):
    with pytest.raises(ValueError, match=words):
        utils.temporal_split(**{"x": np.zeros(10), "y": np.zeros(10), **options})


def test_split_dataset():
    x, y = np.arange(10), np.arange(10) * 2
    (a, ya), (b, yb) = utils.split_dataset((x, y), left_size=0.75)
    assert a.tolist() == list(range(8)) and b.tolist() == [8, 9] and np.array_equal(yb, b * 2)
    a, b = utils.split_dataset([x, y], left_size=2, right_size=3)
    assert isinstance(a, list) and a[0].tolist() == [0, 1] and b[0].tolist() == [7, 8, 9]
    a, b = utils.split_dataset(x, right_size=0.2, shuffle=True, seed=1)
    assert sorted([*a, *b]) == list(range(10)) and len(b) == 2 and a.tolist() != sorted(a)
    assert np.array_equal(utils.split_dataset(x, right_size=0.2, shuffle=True, seed=1)[0], a)
    left, right = utils.split_dataset((SERIES[:, None], SERIES[:, :1]), 0.8)
    assert forecaster(3).fit(*left, validation_data=right, verbose=0).history["val_loss"]


@pytest.mark.parametrize("options, kind", [
    ({}, ValueError), ({"left_size": 0}, ValueError), ({"left_size": 10}, ValueError),
    ({"left_size": 1.0}, ValueError),
    ({"right_size": -0.1}, ValueError), ({"left_size": 0.6, "right_size": 0.6}, ValueError),
    ({"left_size": "1"}, TypeError),
    ({"left_size": 5, "right_size": 6}, ValueError), ({"dataset": "x", "left_size": 1}, TypeError),
    ({"dataset": (np.zeros(3), np.zeros(4)), "left_size": 1}, ValueError), ({"left_size": 0.01}, ValueError)],
    ids=str)
def test_split_dataset_names_what_is_wrong(options, kind):
    with pytest.raises(kind, match="split_dataset"):
        utils.split_dataset(**{"dataset": np.zeros(10), **options})
