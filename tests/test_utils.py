"""utils and random: seeds, names, one-hot labels, dropout's factors; the registry's corners."""

import random as python_random

import numpy as np
import pytest

from tdfast import names, random, utils
from tdfast.registry import Registry


def draw():
    return python_random.random(), float(np.random.rand()), float(random.generator().random())


def test_set_random_seed():
    utils.set_random_seed(5)
    first = draw()
    assert draw() != first
    utils.set_random_seed(np.int64(5))
    assert draw() == first
    utils.set_random_seed(6)
    assert draw() != first
    for bad in (1.5, "1", None, -1, 2**32, True):
        with pytest.raises(ValueError, match="set_random_seed"):
            utils.set_random_seed(bad)


def test_clear_session():
    utils.clear_session()
    first = [names.unique_name("layer"), names.unique_name("layer")]
    utils.clear_session()
    assert [names.unique_name("layer"), names.unique_name("layer")] == first == ["layer", "layer_1"]


def test_to_categorical():
    np.testing.assert_array_equal(utils.to_categorical([0, 2, 1]), np.eye(3)[[0, 2, 1]])
    assert utils.to_categorical(np.zeros((4, 5, 1), int), 3).shape == (4, 5, 3)
    assert utils.to_categorical(np.zeros((4, 5), "float32"), 3).shape == (4, 5, 3)
    assert utils.to_categorical(2, 4).tolist() == [0, 0, 1, 0]
    assert utils.to_categorical(np.zeros((0,), int), 3).shape == (0, 3)
    for bad, classes in [([0, 3], 3), ([-1, 0], None), ([0.5], None), (["a"], None), (np.zeros(0), None)]:
        with pytest.raises(ValueError, match="to_categorical"):
            utils.to_categorical(bad, classes)


def test_seed_generator():
    a, b = random.SeedGenerator(7), random.SeedGenerator(7)
    assert [a.next() for _ in range(3)] == [b.next() for _ in range(3)]
    b.state[...] = [7, 0]
    assert b.next() == (7, 0)
    assert random.SeedGenerator(2**40 + 3).state[0] == 3
    utils.set_random_seed(1)
    first = random.SeedGenerator().next()
    utils.set_random_seed(1)
    assert random.SeedGenerator().next() == first
    with pytest.raises(ValueError, match="seed"):
        random.SeedGenerator("7")


@pytest.mark.parametrize("rate", [0.0, 0.1, 0.5, 0.999, 1.0])
def test_dropout_factors(rate):
    out = random.dropout_factors(np.empty((301, 333), "float32"), rate, 3)
    kept = 0 if rate == 1 else 1 / (1 - rate)
    assert set(np.unique(out)) <= {np.float32(0), np.float32(kept)}
    assert (out == 0).mean() == pytest.approx(rate, abs=0.01)
    # The pattern is the same in both dtypes.
    double = random.dropout_factors(np.empty((301, 333), "float64"), rate, 3)
    np.testing.assert_array_equal(out == 0, double == 0)


def test_registry():
    things = Registry("thing", "things", "keras.things")

    @things.register
    class BigThing:
        pass

    @things.register("s")
    def small():
        return 1

    assert isinstance(things.get("big_thing"), BigThing) and things.get("s") is small
    assert things.names() == ["big_thing", "small"]
    assert things.serialize(small) == "small" and things.get("small") is small
    assert things.get({"module": "builtins", "class_name": "function", "config": "small"}) is small
    assert things.get("own", {"own": small}) is small
    with pytest.raises(ValueError, match="Unknown thing 'big'.*big_thing, small"):
        things.get("big")
    with pytest.raises(ValueError, match="class_name"):
        things.get({"config": {}})
    with pytest.raises(ValueError, match="by name"):
        things.serialize(lambda: 0)


# ---------------------------------------------------------------- padding and unit length


def test_pad_sequences_of_vectors_keeps_each_where_it_belongs():
    rng = np.random.default_rng(0)
    parts = [rng.normal(size=(n, 3)) for n in (2, 0, 5)]
    for padding in ("pre", "post"):
        for truncating in ("pre", "post"):
            out = utils.pad_sequences(parts, maxlen=4, dtype="float64", padding=padding, truncating=truncating, value=9)
            assert out.shape == (3, 4, 3) and (out[1] == 9).all()
            assert np.array_equal(out[0, 2:] if padding == "pre" else out[0, :2], parts[0])
            assert (out[0, :2] == 9).all() if padding == "pre" else (out[0, 2:] == 9).all()
            assert np.array_equal(out[2], parts[2][1:] if truncating == "pre" else parts[2][:4])
    assert utils.pad_sequences([]).shape == (0, 0)
    assert utils.pad_sequences([[1.9]]).dtype == "int32"


def test_pad_sequences_names_what_is_wrong():
    with pytest.raises(ValueError, match="'pre' or 'post', got 'left'"):
        utils.pad_sequences([[1]], padding="left")
    with pytest.raises(ValueError, match="list of sequences"):
        utils.pad_sequences([1, 2])
    with pytest.raises(ValueError, match="one shape"):
        utils.pad_sequences([[[1, 2]], [[1, 2, 3]]])


def test_normalize():
    x = np.random.default_rng(0).normal(size=(3, 4, 5))
    for axis in (-1, 1):
        for order in (1, 2):
            assert np.allclose(np.linalg.norm(utils.normalize(x, axis, order), order, axis), 1)


# ---------------------------------------------------------------- the progress bar of one's own loop


def test_progbar_prints_one_line_where_the_output_is_no_terminal(capsys):
    for verbose, lines in ((0, 0), (1, 1), (2, 1)):
        bar = utils.Progbar(3, verbose=verbose, stateless_metrics=["a"], unit_name="file")
        bar.add(2, [("a", 1.0), ("b", 1.0)])
        bar.update(3, [("b", -0.5)])
        out = capsys.readouterr().out
        assert out.count("\n") == lines
        if lines:
            assert out.startswith("3/3 - 0s - ") and "/file - a: 1.0000 - b: -0.5" in out or verbose == 2


def test_progbar_averages_over_the_steps(capsys):
    bar = utils.Progbar(None, verbose=1)
    bar.add(3, [("a", 1.0)])
    bar.add(1, [("a", 5.0)])
    bar.update(4, finalize=True)
    assert "4/Unknown" in (out := capsys.readouterr().out) and " - a: 2.0000" in out


def test_progbar_refuses():
    with pytest.raises(ValueError, match="not both"):
        utils.Progbar(3, stateful_metrics=[], stateless_metrics=[])
    with pytest.raises(ValueError, match="0, 1 or 2"):
        utils.Progbar(3, verbose="loud")
