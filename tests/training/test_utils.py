"""utils and random: seeds, names, one-hot labels, dropout's factors; the registry's corners."""

import random as python_random

import numpy as np
import pytest

from tdfast import random, utils
from tdfast.engine import names
from tdfast.engine.registry import Registry


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
            out = utils.pad_sequences(parts, maxlen=4, dtype="float64", padding=padding,
                                      truncating=truncating, value=9)
            assert out.shape == (3, 4, 3) and (out[1] == 9).all()
            assert np.array_equal(out[0, 2:] if padding == "pre" else out[0, :2], parts[0])
            assert (out[0, :2] == 9).all() if padding == "pre" else (out[0, 2:] == 9).all()
            assert np.array_equal(out[2], parts[2][1:] if truncating == "pre" else parts[2][:4])
    assert utils.pad_sequences([]).shape == (0, 0)
    with pytest.warns(UserWarning, match="cut to whole numbers"):
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


# ---------------------------------------------------------------- tdfast.random


DRAWS = [("normal", (), 0, 1), ("normal", (2.0, 3.0), 2, 9), ("uniform", (), 0.5, 1 / 12),
         ("uniform", (-1.0, 3.0), 1, 16 / 12),
         ("truncated_normal", (), 0, 0.7737), ("truncated_normal", (1.0, 2.0), 1, 4 * 0.7737),
         ("randint", (2, 6), 3.5, 1.25),
         ("binomial", (10, 0.3), 3, 2.1), ("beta", (2.0, 3.0), 0.4, 0.04), ("gamma", (3.0,), 3, 3)]


@pytest.mark.parametrize("name, arguments, mean, variance", DRAWS)
def test_draws_have_the_moments_of_their_distribution(name, arguments, mean, variance):
    """Means and variances are those of the textbooks, within five standard errors."""
    draw = getattr(random, name)
    n = 40000
    out = draw((n // 4, 4), *arguments, seed=3)
    assert out.shape == (n // 4, 4) and out.dtype == ("int32" if name == "randint" else "float32")
    assert abs(out.mean() - mean) < 5 * np.sqrt(variance / n)
    # no kurtosis here is above that of gamma
    assert abs(out.var() - variance) < 5 * variance * np.sqrt(8 / n)
    np.testing.assert_array_equal(out, draw((n // 4, 4), *arguments, seed=3))
    seeds = random.SeedGenerator(3)
    assert not np.array_equal(draw((9,), *arguments, seed=seeds), draw((9,), *arguments, seed=seeds))
    utils.set_random_seed(5)
    first = draw((9,), *arguments)
    assert not np.array_equal(first, draw((9,), *arguments))
    utils.set_random_seed(5)
    np.testing.assert_array_equal(first, draw((9,), *arguments))


def test_draws_of_other_kinds():
    assert random.normal(3, dtype="float64").dtype == "float64"
    assert set(random.uniform((99,), 0, 2, "int64", seed=1).tolist()) == {0, 1}
    x = np.arange(12).reshape(4, 3)
    shuffled = random.shuffle(x, axis=1, seed=1)
    assert sorted(shuffled[0]) == [0, 1, 2] and np.array_equal(shuffled - shuffled[:1],
                                                               np.repeat(x[:, :1], 3, axis=1))
    p = np.array([0.7, 0.2, 0.1])
    drawn = random.categorical(np.log([p, p[::-1]]) + 5, 20000, seed=2)
    for row, want in zip(drawn, (p, p[::-1])):
        np.testing.assert_allclose(np.bincount(row, minlength=3) / 20000, want, atol=0.015)
    dropped = random.dropout(np.ones((50, 4, 3), "float32"), 0.25, noise_shape=(None, 1, 3), seed=1)
    assert dropped.dtype == "float32" and set(np.unique(dropped)) == {0, np.float32(4 / 3)}
    np.testing.assert_array_equal(dropped, np.repeat(dropped[:, :1], 4, axis=1))
    # The largest float32 below 1, never 1 itself.
    assert random.uniform((300000,), 0.5, 1.0, seed=1).max() < 1
    for wrong in (lambda: random.normal(3, dtype="int32"), lambda: random.randint(3, 0, 2, "float32"),
                  lambda: random.categorical([0.0], 1), lambda: random.dropout(np.ones(3), 1.0),
                  lambda: random.uniform(3, 2, 1),
                  lambda: random.normal(3, seed="a")):
        with pytest.raises(ValueError):
            wrong()


# ---------------------------------------------------------------- small ones


def test_batches_packed_and_unpacked():
    x, y, w = np.zeros(2), np.ones(2), np.ones(2)
    for batch in [(x,), (x, y), (x, y, w)]:
        given = (*batch, None, None)[:3]
        packed = utils.pack_x_y_sample_weight(*given)
        assert all(a is b for a, b in zip(utils.unpack_x_y_sample_weight(packed), given))
    assert utils.pack_x_y_sample_weight([x]) == ([x],)
    with pytest.raises(ValueError, match="4"):
        utils.unpack_x_y_sample_weight((x, y, w, w))


def test_logging_in_the_place_of_printing(capsys, caplog):
    import tdfast

    model = tdfast.Sequential([tdfast.layers.Dense(1, input_shape=(2,))])
    model.compile("sgd", "mse")
    utils.disable_interactive_logging()
    try:
        with caplog.at_level("INFO", "tdfast"):
            model.fit(np.zeros((4, 2)), np.zeros((4, 1)), epochs=2, verbose=2)
            model.summary()
        assert not tdfast.config.is_interactive_logging_enabled()
    finally:
        utils.enable_interactive_logging()
    assert capsys.readouterr().out == ""
    assert "Epoch 2/2" in caplog.text and "1/1 - 0s" in caplog.text and "Trainable params: 3" in caplog.text
    model.fit(np.zeros((4, 2)), np.zeros((4, 1)), verbose=2)
    assert "1/1 - 0s" in capsys.readouterr().out
