"""tf.data's methods on what `timeseries_dataset_from_array` returns, by what tf.data's documents say of
each."""

import itertools
import pickle
import warnings

import numpy as np
import pytest

import tdfast
from tdfast import Sequential, layers, optimizers, utils
from tdfast.utils.batches import ENDLESS, UNKNOWN

X = np.arange(22.0, dtype="float32")[:, None]


def dataset(n=20, batch_size=4, **options):
    """(batch_size, 3, 1) windows and targets; ``n`` windows."""
    return utils.timeseries_dataset_from_array(X[: n + 2], X[: n + 2, 0] * 10, 3, batch_size=batch_size,
                                               **options)


def firsts(batches):
    """The first number of each batch's first window."""
    return [float(x.reshape(-1)[0]) for x, _ in batches]


IN_ORDER = [0.0, 4.0, 8.0, 12.0, 16.0]


@pytest.mark.parametrize("make, want", [
    (lambda d: d.take(2), IN_ORDER[:2]), (lambda d: d.take(-1), IN_ORDER),
    (lambda d: d.skip(2), IN_ORDER[2:]),
    (lambda d: d.skip(9), []), (lambda d: d.repeat(2), IN_ORDER * 2), (lambda d: d.prefetch(1), IN_ORDER),
    (lambda d: d.cache(), IN_ORDER), (lambda d: d.concatenate(d.take(1)), IN_ORDER + [0.0]),
    (lambda d: d.skip(1).take(2).repeat(2).cache().prefetch(), [4.0, 8.0] * 2),
    (lambda d: d.shuffle(1), IN_ORDER),
    (lambda d: d.apply(lambda these: these.take(1)), [0.0]), (lambda d: d.repeat().take(7),
                                                              [*IN_ORDER, 0.0, 4.0]),
])
def test_in_order(make, want):
    made = make(dataset())
    for _ in range(2):                          # a pass can be made again
        assert firsts(made) == want
    assert len(made) == made.cardinality() == made.cardinality().numpy() == len(want)


def test_map_filter_zip_enumerate():
    made = dataset().map(lambda x, y: (x + 1, y), num_parallel_calls=3)
    assert firsts(made) == [x + 1 for x in IN_ORDER] and len(made) == 5
    even = dataset().filter(lambda x, y: x[0, 0, 0] % 8 == 0)
    assert firsts(even) == [0.0, 8.0, 16.0] and even.cardinality() == UNKNOWN
    with pytest.raises(TypeError, match="not known"):
        len(even)
    assert [(firsts([a])[0], firsts([b])[0]) for a,
            b in dataset().zip(dataset().skip(3))] == [(0.0, 12.0), (4.0, 16.0)]
    assert [i for i, _ in dataset().enumerate(5)] == [5, 6, 7, 8, 9]
    assert len(dataset().zip(dataset().skip(3))) == 2
    alone = utils.timeseries_dataset_from_array(X, None, 3, batch_size=4)
    assert [float(x[0, 0, 0])
            for x in alone.map(lambda x: x * 2).filter(lambda x: x[0, 0, 0] > 20)] == [24.0, 32.0]


def test_batch_and_unbatch():
    rows = dataset().unbatch()
    assert [float(x[0, 0]) for x, _ in rows] == list(range(20)) and rows.cardinality() == UNKNOWN
    again = rows.batch(6)
    assert [x.shape for x, _ in again] == [(6, 3, 1)] * 3 + [(2, 3, 1)] and again.cardinality() == UNKNOWN
    for (x, y), start in zip(again, range(0, 20, 6)):
        assert np.array_equal(x[:, 0, 0],
                              np.arange(start, min(start + 6, 20))) and np.array_equal(y, x[:, 0, 0] * 10)
    single = dataset(batch_size=None)
    for drop, sizes in ((False, [8, 8, 4]), (True, [8, 8])):
        made = single.batch(8, drop_remainder=drop)
        assert [len(x) for x, _ in made] == sizes and len(made) == len(sizes)


def test_shuffle_draws_from_the_next_ones():
    """Element i comes at the earliest size - 1 places before its own; with all in the buffer, all orders
    come."""
    for size in (2, 3, 100):
        seen = set()
        made = dataset().shuffle(size, seed=3)
        for _ in range(400):
            order = [IN_ORDER.index(x) for x in firsts(made)]
            assert sorted(order) == [0, 1, 2, 3, 4] and all(i < place + size for place, i in enumerate(order))
            seen.add(tuple(order))
        assert len(seen) == {2: 2**4, 3: 3**3 * 2, 100: 120}[size] or size == 100 and len(seen) > 110


def test_shuffle_repeats_by_its_seed():
    passes = [[firsts(made) for _ in range(3)] for made in (dataset().shuffle(9, seed=1),
                                                            dataset().shuffle(9, seed=1))]
    assert passes[0] == passes[1] and passes[0][0] != passes[0][1]
    for seed in (None, 5):
        made = dataset().shuffle(9, seed=seed, reshuffle_each_iteration=False)
        assert firsts(made) == firsts(made) == firsts(made.take(5))
    runs = []
    for _ in range(2):
        utils.set_random_seed(7)
        runs.append(firsts(dataset().shuffle(9)))
    assert runs[0] == runs[1]


def test_cache_keeps_the_first_whole_pass():
    calls = []
    made = dataset().map(lambda x, y: calls.append(1) or (x, y)).cache()
    assert len(list(made.take(2))) == 2 and len(calls) == 2
    assert firsts(made) == IN_ORDER and len(calls) == 7         # the first pass did not go through
    assert firsts(made) == IN_ORDER and len(calls) == 7
    with pytest.raises(ValueError, match="in memory"):
        dataset().cache("a_file")


@pytest.mark.parametrize("make, shapes", [
    (lambda d: d, [(None, 3, 1), (None,)]), (lambda d: d.shuffle(3).repeat().take(3).prefetch(1),
                                             [(None, 3, 1), (None,)]),
    (lambda d: d.unbatch(), [(3, 1), ()]), (lambda d: d.unbatch().batch(2), [(None, 3, 1), (None,)]),
    (lambda d: d.map(lambda x, y: (x[:, :2], x[:, 2])), [(None, 2, 1), (None, 1)]),
])
def test_element_spec(make, shapes):
    made = make(dataset(shuffle=True))
    utils.set_random_seed(3)
    spec = made.element_spec
    assert [s.shape for s in spec] == shapes and all(s.dtype == np.float32 for s in spec)
    drawn = tdfast.random.generator().random()
    utils.set_random_seed(3)
    assert drawn == tdfast.random.generator().random(), "element_spec took random numbers"
    assert utils.timeseries_dataset_from_array(X, None, 3).map(lambda x: x[:, 0]).element_spec.shape == (
        None,
        1,
    )


def test_endless_batches():
    made = dataset().repeat()
    assert made.cardinality() == ENDLESS and len(list(itertools.islice(made, 12))) == 12
    with pytest.raises(TypeError, match="never end"):
        len(made)
    model = compiled()
    for call in (model.fit, model.evaluate, model.predict):
        with pytest.raises(ValueError, match="never end.*number of steps"):
            call(made, verbose=0)
    history = model.fit(made, steps_per_epoch=7, epochs=2, verbose=0, validation_data=made,
                        validation_steps=2)
    assert len(history.history["val_loss"]) == 2


def compiled():
    model = Sequential([layers.Flatten(input_shape=(3, 1)), layers.Dense(1, kernel_initializer="ones")])
    model.compile(optimizers.SGD(1e-4), "mse")
    return model


def test_training_sees_the_same_numbers():
    """As from arrays of the windows themselves."""
    want = compiled().fit(*utils.windows(X[:22, 0], 3)[:1], X[:19, 0] * 10, batch_size=4, shuffle=False,
                          epochs=2, verbose=0).history
    data = dataset(n=19)
    for made in (data, data.prefetch(1), data.cache().prefetch(-1), data.unbatch().batch(4), data.shuffle(1)):
        assert compiled().fit(made, epochs=2, verbose=0).history == want
    assert compiled().predict(data.map(lambda x, y: x), verbose=0).shape == (19, 1)


def test_pickled():
    made = dataset().skip(1).shuffle(2, seed=1).repeat(2)
    assert firsts(pickle.loads(pickle.dumps(made))) == firsts(made)


@pytest.mark.parametrize("call, words", [
    (lambda d: d.shuffle(0), "shuffle: buffer_size .* at least 1, got 0"),
    (lambda d: d.batch(2.5), "batch: batch_size"),
    (lambda d: d.skip(-1), "skip: count"), (lambda d: d.take("all"), "take: count"),
    (lambda d: d.repeat(-2), "repeat: count"),
])
def test_refused(call, words):
    with pytest.raises(ValueError, match=words):
        call(dataset())


# ---------------------------------------------------------------- what scripts write beside them


@pytest.mark.parametrize("call", [
    lambda m, d: m.fit(d, batch_size=8, verbose=0), lambda m, d: m.evaluate(d, batch_size=8, verbose=0),
    lambda m, d: m.predict(d, batch_size=8, verbose=0),
])
def test_a_batch_size_beside_batches_is_told_to_do_nothing(call):
    with pytest.warns(
        UserWarning, match="WindowBatches, which yields batches; they stay as they are, whatever batch_size=8"
    ):
        with_it = call(compiled(), dataset())
    model = compiled()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        without = {8: None, 4: dataset()}[4]
        got = model.fit(without, batch_size=4, verbose=0)           # that of the batches
    if hasattr(with_it, "history"):
        assert with_it.history == got.history
    with pytest.raises(ValueError, match="batch_size must be a whole number"):
        compiled().fit(dataset(), batch_size=0, verbose=0)


@pytest.mark.parametrize("weights", [[1.0], 1.0, 1, "by name", (1,)])
def test_loss_weights_of_one(weights):
    model, plain = compiled(), compiled()
    if weights == "by name":
        weights = {model.layers[-1].name: 1.0}
    model.compile(optimizers.SGD(1e-4), "mse", loss_weights=weights)
    assert model.fit(dataset(), verbose=0).history == plain.fit(dataset(), verbose=0).history


def test_a_loss_for_an_unknown_output_is_refused():
    model = compiled()
    name = model.layers[-1].name
    for arguments in ({"loss": {"other": "mse"}}, {"loss": "mse", "loss_weights": {"other": 1.0}},
                      {"loss": "mse", "metrics": {"other": "mae"}}):
        with pytest.raises(ValueError, match=f"'other', but the model's outputs are named .*{name}"):
            model.compile("sgd", **arguments)


def test_loss_weights_multiply_the_loss_and_its_gradient():
    weighted, plain = compiled(), compiled()
    weighted.compile(optimizers.SGD(1e-4), "mse", loss_weights=[4.0], metrics=["mae"])
    plain.compile(optimizers.SGD(4e-4), "mse", metrics=["mae"])
    got, want = (m.fit(dataset(), verbose=0).history for m in (weighted, plain))
    assert got["loss"] == pytest.approx([4 * value for value in want["loss"]], rel=1e-6)
    assert got["mae"] == pytest.approx(want["mae"], rel=1e-6)
    for a, b in zip(weighted.get_weights(), plain.get_weights()):
        np.testing.assert_allclose(a, b, rtol=1e-6)


@pytest.mark.parametrize("weights, words", [(["2"], "must hold numbers"), (True, "must hold numbers"),
                                            ([1.0, 2.0], "loss_weights has 2 entries")])
def test_other_loss_weights_are_refused(weights, words):
    with pytest.raises(ValueError, match=words):
        compiled().compile("sgd", "mse", loss_weights=weights)


@pytest.mark.parametrize("name", ["SGD", "Adam", "RMSprop", "Adagrad"])
def test_decay_warns_and_goes_on(name):
    with pytest.warns(UserWarning,
                      match=f"{name}: decay does nothing, as in Keras 3.*InverseTimeDecay") as caught:
        optimizer = getattr(optimizers, name)(0.25, decay=1e-6)
    assert caught[0].filename == __file__
    assert optimizer.get_config() == {**getattr(optimizers, name)(0.25).get_config(), "name": optimizer.name}
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        getattr(optimizers, name)(0.25, decay=0.0)


def test_a_layer_with_input_shape_and_batch_size():
    layer = layers.LSTM(20, input_shape=(1, 1), batch_size=1)
    model = Sequential([layer, layers.Dense(1)])
    assert layer.batch_shape == (1, 1, 1) and model.batch_shape == (1, 1, 1) and model.output_shape[-1] == 1
    stateful = Sequential([layers.LSTM(2, input_shape=(3, 1), batch_size=4, stateful=True), layers.Dense(1)])
    assert stateful.predict(np.ones((4, 3, 1)), batch_size=4, verbose=0).shape == (4, 1)
    for options in ({}, {"batch_shape": (2, 3, 1)}):
        with pytest.raises(ValueError, match="batch_size=4 is the first number of its batch_shape"):
            layers.LSTM(2, batch_size=4, **options)
