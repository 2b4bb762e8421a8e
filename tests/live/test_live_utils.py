"""utils beside Keras itself: the same arrays, and errors where Keras has errors."""

import os

import numpy as np
import pytest

os.environ.setdefault("KERAS_BACKEND", "jax")
pytest.importorskip(os.environ["KERAS_BACKEND"])
keras = pytest.importorskip("keras")

import tdfast  # noqa: E402

RAGGED = [[1], [2, 3], [4, 5, 6]]
X = np.arange(24.0).reshape(2, 3, 4) - 5


def outcome(function):
    """The array that a function gives, or "error"."""
    try:
        return np.asarray(function())
    except Exception:
        return "error"


def same(name, *args, **kwargs):
    theirs, ours = (outcome(lambda k=k: getattr(k.utils, name)(*args, **kwargs)) for k in (keras, tdfast))
    assert type(theirs) is type(ours), (theirs, ours)
    if not isinstance(theirs, str):
        assert theirs.dtype == ours.dtype and theirs.shape == ours.shape
        np.testing.assert_array_equal(ours, theirs)


@pytest.mark.parametrize("classes", [None, 4, 0])
@pytest.mark.parametrize("labels", [[0, 1, 2], [[0], [1]], [[0, 1], [2, 0]], np.array([1.0, 2.0]), 3,
                                    [True, False], [[[1]]],
                                    np.zeros((2, 1, 1)), [5], ["a"]], ids=repr)
def test_to_categorical(labels, classes):
    same("to_categorical", labels, classes)


@pytest.mark.parametrize("options", [
    {}, {"maxlen": 2}, {"maxlen": 5, "padding": "post"}, {"maxlen": 2, "truncating": "post"}, {"value": 1.5},
    {"value": 1.5, "dtype": "float32"}, {"value": "a", "dtype": object}, {"value": "a"},
    {"dtype": "float32", "maxlen": 4},
    {"padding": "x"}], ids=str)
@pytest.mark.parametrize("sequences", [RAGGED, [[]], [[], [1]], [1, 2], 5, [[[1, 2]], [[3, 4], [5, 6]]],
                                       [[[1, 2]], [[1]]],
                                       [np.array([1.7]), np.array([2])], ((1, 2), (3,))], ids=repr)
def test_pad_sequences(sequences, options):
    if sequences == [[]] and options in ({"padding": "x"}, {"value": "a"}):
        pytest.skip("of no numbers, each looks at one of these options that the other does not")
    same("pad_sequences", sequences, **options)


@pytest.mark.parametrize("axis", [-1, 1, 2, -2])
@pytest.mark.parametrize("order", [1, 2, np.inf])
def test_normalize(axis, order):
    same("normalize", X, axis, order)


@pytest.mark.parametrize("x", [np.array([3.0, 4.0]), np.zeros((2, 2)), np.array([[3, 4]])], ids=repr)
def test_normalize_shapes(x):
    same("normalize", x)


@pytest.mark.parametrize("verbose", [1, 2])
def test_progbar(verbose, capsys, monkeypatch):
    """The last line is Keras's, but for the times."""
    import re

    import tdfast.callbacks.progress

    monkeypatch.setattr(tdfast.callbacks.progress, "is_terminal", lambda: verbose == 1)
    lines = []
    for k in (keras, tdfast):
        bar = k.utils.Progbar(12, verbose=verbose, stateful_metrics=["b"], interval=-1)
        for i in range(12):
            bar.add(1, [("a", 0.5 * i), ("b", -1e-5 * (i + 1))])
        out = capsys.readouterr().out
        frames = [re.sub(r"\d+(:\d+)*(us|ms|s)", "TIME", f).strip("\b \n") for f in out.split("\r")]
        lines.append([f for f in frames if f])
    assert lines[0] == lines[1] and len(lines[0]) == (12 if verbose == 1 else 1)


@pytest.mark.skipif("tensorflow" not in os.environ.get("TDFAST_LIVE", ""),
                    reason="slow: set TDFAST_LIVE=tensorflow")
@pytest.mark.parametrize("start, end", [(None, None), (5, None), (5, 40), (None, 33)])
@pytest.mark.parametrize("targets", [None, 61, 50])
def test_timeseries_dataset_from_array(start, end, targets):
    pytest.importorskip("tensorflow")
    data, y = np.arange(61.0), None if targets is None else np.arange(targets) * 10.0
    for length in (1, 4, 10, 61, 70):
        for stride, rate in [(1, 1), (3, 2), (3, 7)]:
            options = {"sequence_length": length, "sequence_stride": stride, "sampling_rate": rate,
                       "batch_size": 8,
                       "start_index": start, "end_index": end}
            try:
                theirs = list(
                    keras.utils.timeseries_dataset_from_array(data, y, **options).as_numpy_iterator()
                )
            except Exception:
                with pytest.raises(ValueError):
                    tdfast.utils.timeseries_dataset_from_array(data, y, **options)
                continue
            ours = list(tdfast.utils.timeseries_dataset_from_array(data, y, **options))
            assert len(ours) == len(theirs)
            for a, b in zip(ours, theirs):
                for p, q in zip(*((a, b) if y is not None else ((a,), (b,)))):
                    np.testing.assert_array_equal(p, q)
