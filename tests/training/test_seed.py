"""fit(seed=) and random.scope: a fit comes again, whatever runs beside it."""

import threading

import numpy as np
import pytest

import tdfast
from tdfast import random
from tdfast.layers import GRU, LSTM, Dense, Dropout, GaussianNoise

RNG = np.random.default_rng(0)
X = RNG.normal(size=(40, 5, 3)).astype("float32")
Y = RNG.random((40, 1)).astype("float32")


def model(seed=None):
    with random.scope(0):
        made = tdfast.Sequential([LSTM(4, return_sequences=True, recurrent_dropout=0.2, dropout=0.1),
                                  Dropout(0.5, seed=seed), GaussianNoise(0.1), GRU(3), Dense(1)])
    made.compile("adam", "mse")
    return made


def fit(made, seed=7, **options):
    history = made.fit(X, Y, batch_size=16, epochs=3, verbose=0, seed=seed, **options)
    return history.history, [w.tobytes() for w in made.get_weights()]


def test_a_fit_comes_again():
    first = fit(model())
    tdfast.utils.set_random_seed(3)
    random.generator().random(5)
    assert fit(model()) == first
    assert fit(model(), seed=8) != first


def test_each_thing_that_is_drawn_follows_the_seed():
    """The order of the samples, and what dropout draws, which an own seed decides."""
    def twins(*layers):
        made = [tdfast.Sequential([tdfast.Input((5, 3)), *one()]) for one in layers]
        for one in made:
            one.set_weights([np.full(w.shape, 0.1) for w in one.weights])
            one.compile("sgd", "mse")
        return [fit(one) for one in made]

    order = twins(*[lambda: [GRU(3), Dense(1)]] * 2)
    assert order[0] == order[1]
    drops = twins(*[lambda: [GRU(3), Dropout(0.5), Dense(1)]] * 2)
    assert drops[0] == drops[1] != order[0]
    own = [lambda: [GRU(3), Dropout(0.5, seed=1), Dense(1)], lambda: [GRU(3), Dropout(0.5, seed=2), Dense(1)]]
    fixed = twins(*own, own[0])
    assert fixed[0] == fixed[2] != fixed[1]


def test_a_fit_begins_anew():
    """It draws what an earlier one with the seed drew, also where a layer has a seed of its own."""
    made = model(seed=11)
    fit(made)
    start = made.get_weights()
    results = []
    for _ in range(2):
        made.set_weights(start)
        made.compile("adam", "mse")
        results.append(fit(made))
    assert results[0] == results[1]


def test_the_process_generator_is_left_alone():
    def drawn():
        return random.generator().bit_generator.state["state"]["state"].tolist()

    made = model()
    before = drawn()
    fit(made)
    assert drawn() == before
    fit(made, seed=None)
    assert drawn() != before


def test_fits_in_threads_come_again():
    alone = [fit(model(), seed=seed) for seed in range(6)]
    found, barrier = {}, threading.Barrier(6)

    def work(seed):
        barrier.wait()
        found[seed] = fit(model(), seed=seed)

    threads = [threading.Thread(target=work, args=(seed,)) for seed in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert [found[seed] for seed in range(6)] == alone


def test_an_interrupted_fit_goes_on_with_its_seed(tmp_path):
    class Stop(tdfast.callbacks.Callback):
        def on_epoch_begin(self, epoch, logs=None):
            if epoch == 2:
                raise KeyboardInterrupt

    wanted = fit(model())
    backup = [tdfast.callbacks.BackupAndRestore(tmp_path / "backup")]
    with pytest.raises(KeyboardInterrupt):
        fit(model(), callbacks=[*backup, Stop()])
    assert fit(model(), callbacks=backup) == wanted


def test_scopes():
    tdfast.utils.set_random_seed(2)
    wanted = [random.generator().random() for _ in range(2)]
    tdfast.utils.set_random_seed(2)
    drawn = [random.generator().random()]
    with random.scope(7):
        outer = [random.generator().random()]
        with pytest.raises(ZeroDivisionError), random.scope(8) as inner:
            assert inner is random.generator()
            other = inner.random()
            raise ZeroDivisionError
        outer.append(random.generator().random())
    drawn.append(random.generator().random())
    with random.scope(np.int64(7)):
        assert outer == [random.generator().random() for _ in range(2)]
    assert drawn == wanted and other not in outer
    with random.scope(7):
        a, b = Dense(2), Dropout(0.5)
    with random.scope(7):
        c, d = Dense(2), Dropout(0.5)
    for layer in (a, b, c, d):
        layer.build((None, 3))
    assert np.array_equal(a.kernel, c.kernel)
    assert np.array_equal(b(np.ones((4, 9)), training=True), d(np.ones((4, 9)), training=True))


@pytest.mark.parametrize("bad", [-1, 1.5, "7", True, [7]])
def test_bad_seeds(bad):
    made = model()
    with pytest.raises(ValueError, match="seed must be a whole number"):
        fit(made, seed=bad)
    with pytest.raises(ValueError, match="seed must be a whole number"), random.scope(bad):
        pass
    assert not made.built
