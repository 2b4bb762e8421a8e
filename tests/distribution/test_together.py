"""fit, evaluate and predict by several processes, which are threads here: see test_mpi.py for real ones."""

import contextlib

import models
import numpy as np
import pytest

import tdfast
from tdfast import distribution, layers, losses, random
from tdfast.callbacks import BackupAndRestore, Callback, CSVLogger, EarlyStopping, ModelCheckpoint
from tdfast.distribution import DataParallel, current, in_process
from tdfast.layers import GRU, LSTM, BatchNormalization, Dense, Dropout, Embedding, Input, TimeDistributed

RNG = np.random.default_rng(0)
X, Y = RNG.normal(size=(50, 6, 3)), RNG.normal(size=(50, 2))


def run(size, function):
    """What a function of the rank returns in each of so many processes."""
    def process(engine):
        with random.scope(5), current.within(None, engine):
            return function(engine.rank)

    return in_process.run(size, process)


def twins(size, make):
    """So many equal models."""
    out = []
    for _ in range(size):
        with random.scope(0):
            out.append(make())
    return out


def small(*more, dtype="float64"):
    return tdfast.Sequential([Input((6, 3), dtype=dtype), GRU(4, dtype=dtype), *more, Dense(2, dtype=dtype)])


def fitted(size, make=small, loss="mse", shards=8, x=X, y=Y, compile_options=None, parts=False, seed=1,
           **options):
    """(weights, history) of a fit in each process; shards=None: of a plain fit."""
    made = twins(size, make)

    def process(rank):
        model = made[rank]
        model.compile(tdfast.optimizers.Adam(0.01), loss, **(compile_options or {}))
        where = DataParallel(shards=shards, auto_shard_dataset=not parts).scope() if shards else (
            contextlib.nullcontext())
        mine = options | {name: value[rank] for name, value in options.items() if isinstance(value, list)}
        with where:
            history = model.fit(x[rank] if isinstance(x, list) else x, y[rank] if isinstance(y, list) else y,
                                verbose=0, seed=seed, **{"batch_size": 16, "epochs": 2, **mine}).history
        return [w.numpy() for w in model.weights], history

    results = run(size, process)
    for weights, history in results[1:]:
        assert_same(weights, results[0][0])
        assert history == results[0][1]
    return results[0]


def assert_same(got, want):
    assert [w.tobytes() for w in got] == [w.tobytes() for w in want]


def assert_near_a_plain_fit(bound=1e-10, **options):
    """Three processes give what a plain fit does, but for the order of sums."""
    weights, history = fitted(3, **options)
    assert_same(fitted(1, **options)[0], weights)
    plain, logs = fitted(1, shards=None, **options)
    for got, want in zip(weights, plain):
        np.testing.assert_allclose(got, want, rtol=bound, atol=bound)
    assert history.keys() == logs.keys()
    for name in logs:
        np.testing.assert_allclose(history[name], logs[name], rtol=bound, atol=bound, err_msg=name)


# ---------------------------------------------------------------- the same bits


@pytest.mark.parametrize("name", models.MODELS)
def test_the_same_bits_for_any_number_of_processes(name):
    def process(rank):
        return models.together(name)

    (digest, history), = run(1, process)
    assert np.isfinite(history["loss"]).all() and history["loss"][-1] < history["loss"][0]
    for size in (2, 3, 5, 8):
        assert [found for found, _ in run(size, process)] == [digest] * size, size


def test_other_shards_give_other_bits():
    assert fitted(1, shards=4)[0][0].tobytes() != fitted(1, shards=8)[0][0].tobytes()


def test_a_plain_fit_is_what_it_was():
    plain = fitted(1, shards=None)
    fitted(2)
    assert_same(fitted(1, shards=None)[0], plain[0])


@pytest.mark.parametrize("size", [1, 3])
def test_a_model_goes_from_one_kind_of_fit_to_the_other(size):
    """Each fit is of the distribution of its time, whatever the one before was."""
    def process(rank, kinds):
        with random.scope(0):
            model, seen = small(), []
        model.compile("sgd", "mse")
        for shards in kinds:
            with DataParallel(shards=shards).scope() if shards else contextlib.nullcontext():
                model.fit(X, Y, batch_size=16, verbose=0, seed=1)
            seen.append([w.tobytes() for w in model.get_weights()])
        return seen

    order = [None, 8, None, 4, 8]
    runs = run(size, lambda rank: process(rank, order))
    assert runs[1:] == runs[:-1]
    weights = None
    for shards, found in zip(order, runs[0]):       # each once more, as the first fit of a new model
        with random.scope(0):
            fresh = small()
        if weights is not None:
            fresh.set_weights([np.frombuffer(b).reshape(w.shape) for b, w in zip(weights, fresh.weights)])
        fresh.compile("sgd", "mse")
        with DataParallel(shards=shards).scope() if shards else contextlib.nullcontext():
            fresh.fit(X, Y, batch_size=16, verbose=0, seed=1)
        assert [w.tobytes() for w in fresh.get_weights()] == found, shards
        weights = found


# ---------------------------------------------------------------- the numbers of a plain fit


@pytest.mark.parametrize("loss", [
    "mse", "mae", losses.Huber(), losses.CosineSimilarity(), losses.LogCosh(reduction="sum"),
    losses.MeanSquaredError(reduction="mean_with_sample_weight"),
    lambda y, p: np.mean((y - p) ** 4, axis=-1)],
    ids=["mse", "mae", "huber", "cosine", "sum", "by weight", "own"])
@pytest.mark.parametrize("weighted", [False, True])
def test_losses(loss, weighted):
    weight = np.random.default_rng(3).random(50) if weighted else None
    assert_near_a_plain_fit(loss=loss, sample_weight=weight,
                            compile_options={"metrics": ["mae"], "weighted_metrics": ["mse"]})


def test_a_loss_of_pairs_sees_the_whole_batch():
    labels = np.arange(50) % 3

    def make():
        return small(layers.UnitNormalization(dtype="float64"))

    assert_near_a_plain_fit(make=make, loss=losses.Circle(gamma=2.0), y=labels)


def test_labels_class_weights_and_metrics():
    labels = np.arange(50) % 2
    assert_near_a_plain_fit(loss=losses.SparseCategoricalCrossentropy(from_logits=True), y=labels,
                            class_weight={0: 1.0, 1: 3.0}, compile_options={"metrics": ["accuracy"]})


@pytest.mark.parametrize("shuffle", [True, False, "batch"])
def test_lengths_validation_and_shuffling(shuffle):
    def make():
        return tdfast.Sequential([Input((6, 3), dtype="float64"), LSTM(4, return_sequences=True,
                                                                       dtype="float64"),
                                  TimeDistributed(Dense(2, dtype="float64"))])

    rng = np.random.default_rng(2)
    assert_near_a_plain_fit(make=make, y=rng.normal(size=(50, 6, 2)), lengths=rng.integers(0, 7, 50),
                            validation_split=0.3, shuffle=shuffle)


def test_penalties():
    def make():
        return tdfast.Sequential([
            Input((6, 3), dtype="float64"),
            TimeDistributed(Dense(3, activity_regularizer="l2", dtype="float64")),
            GRU(4, kernel_regularizer="l1", activity_regularizer="l1", dtype="float64"),
            Dense(2, dtype="float64")])

    assert_near_a_plain_fit(make=make, validation_split=0.2)


@pytest.mark.parametrize("time_distributed", [False, True])
def test_batch_statistics_are_those_of_the_whole_batch(time_distributed):
    def make():
        norm = BatchNormalization(dtype="float64", momentum=0.5)
        return tdfast.Sequential([
            Input((6, 3), dtype="float64"), TimeDistributed(norm) if time_distributed else norm,
            Dense(3, activation="relu", dtype="float64"), LSTM(4, dtype="float64"),
            BatchNormalization(dtype="float64"), Dense(2, dtype="float64")])

    assert_near_a_plain_fit(make=make, bound=1e-8, validation_split=0.2)


def test_batch_statistics_of_masked_steps():
    def make():
        return tdfast.Sequential([
            Input((6,)), Embedding(9, 3, mask_zero=True, dtype="float64"),
            BatchNormalization(dtype="float64"), GRU(4, dtype="float64"), Dense(2, dtype="float64")])

    ids = np.random.default_rng(4).integers(0, 9, (50, 6))
    assert_near_a_plain_fit(make=make, x=ids, bound=1e-8)


def test_a_layer_that_improves_a_weight_of_its_own():
    def make():
        return tdfast.Sequential([Input((6, 3), dtype="float64"), LSTM(4, dtype="float64"),
                                  layers.SpectralNormalization(Dense(2, dtype="float64"), dtype="float64")])

    assert_near_a_plain_fit(make=make)
    assert_near_a_plain_fit(make=lambda: tdfast.Sequential([
        Input((6, 3), dtype="float64"), *make().layers, BatchNormalization(dtype="float64")]), bound=1e-8)


def test_models_and_layers_with_a_call_of_their_own():
    class Block(layers.Layer):
        def __init__(self, **kwargs):
            super().__init__(**kwargs)
            self.norm, self.dense = BatchNormalization(dtype="float64"), Dense(3, dtype="float64")

        def call(self, x, training=False):
            return tdfast.ops.tanh(self.dense(self.norm(x, training=training)))

    class Own(tdfast.Model):
        def __init__(self, **kwargs):
            super().__init__(dtype="float64", **kwargs)
            self.block, self.last = Block(dtype="float64"), Dense(2, dtype="float64")

        def call(self, x, training=False):
            y = self.block(x, training=training)
            return self.last(tdfast.ops.mean(y, axis=1) if len(x) else y[:, 0])

    def built():
        model = Own()
        model(np.zeros((1, 6, 3)))
        return model

    assert_near_a_plain_fit(make=lambda: small(Block(dtype="float64")), bound=1e-8)
    weights = []
    for size, shards in ((1, None), (1, 8), (3, 8)):
        made = twins(size, built)

        def process(rank, made=made, shards=shards):
            made[rank].compile("sgd", "mse")
            with DataParallel(shards=shards).scope() if shards else contextlib.nullcontext():
                made[rank].fit(X, Y, batch_size=16, epochs=2, verbose=0)
            return made[rank].get_weights()

        weights.append(run(size, process)[-1])
    assert_same(weights[1], weights[2])
    for got, want in zip(weights[1], weights[0]):
        np.testing.assert_allclose(got, want, rtol=1e-8, atol=1e-8)


def test_frozen_layers_stay():
    def make():
        model = small()
        model.layers[0].trainable = False
        return model

    weights, _ = fitted(3, make=make, epochs=5)
    with random.scope(0):
        before = make().get_weights()
    assert_same(weights[:3], before[:3])
    assert weights[3].tobytes() != before[3].tobytes()


def test_dropout_differs_between_shards_and_steps():
    seen = []

    class Seen(layers.Layer):
        def call(self, x):
            seen.append(tdfast.ops.convert_to_numpy(x) == 0)
            return x

    model = tdfast.Sequential([Input((40,)), Dropout(0.5), Seen(), Dense(1)])
    model.compile("sgd", "mse")
    with DataParallel(shards=4).scope():
        model.fit(np.ones((16, 40)), np.ones((16, 1)), batch_size=8, epochs=2, verbose=0)
    passes = seen[-16:]             # those before made the model
    assert len({rows.tobytes() for rows in passes}) == 16
    assert 0.4 < np.mean(passes) < 0.6


# ---------------------------------------------------------------- evaluate, predict, single batches


def test_evaluate_and_predict_have_the_bits_of_one_process():
    made = twins(3, small)
    weight = np.random.default_rng(3).random(50)
    lengths = np.random.default_rng(3).integers(1, 7, 50)

    def process(rank, shared):
        model = made[rank]
        model.compile("sgd", "mse", metrics=["mae"])
        with DataParallel(shards=5).scope() if shared else contextlib.nullcontext():
            return (model.evaluate(X, Y, batch_size=16, sample_weight=weight, verbose=0),
                    model.evaluate(X, Y, batch_size=16, steps=2, verbose=0),
                    model.predict(X, verbose=0).tobytes(),
                    model.predict(X[:5], verbose=0).tobytes(),
                    model.predict(X, verbose=0, lengths=lengths).tobytes(),
                    model.predict(X, steps=2, verbose=0).tobytes(),
                    model.predict(iter([X[:9], X[9:30]]), verbose=0).tobytes())

    alone = process(0, False)
    assert run(3, lambda rank: process(rank, True)) == [alone] * 3


def test_single_batches():
    made = twins(3, small)

    def process(rank):
        model = made[rank]
        model.compile("adam", "mse", metrics=["mae"])
        with DataParallel(shards=4).scope():
            out = [model.train_on_batch(X[:9], Y[:9]), model.test_on_batch(X[:9], Y[:9]),
                   model.train_on_batch(X[:2], Y[:2])]
        return out, [w.tobytes() for w in model.get_weights()]

    results = run(3, process)
    assert results[1:] == results[:-1]
    model = twins(1, small)[0]
    model.compile("adam", "mse", metrics=["mae"])
    np.testing.assert_allclose(results[0][0][0], model.train_on_batch(X[:9], Y[:9]), rtol=1e-12)


def test_batches_that_something_yields():
    batches = [(X[i : i + 10], Y[i : i + 10]) for i in range(0, 50, 10)]

    class Data(tdfast.utils.PyDataset):
        def __len__(self):
            return 5

        def __getitem__(self, i):
            return batches[i]

    want, _ = fitted(1, batch_size=10, shuffle=False, epochs=1)
    for size in (1, 3):
        for given in (iter, lambda b: Data()):
            made = twins(size, small)

            def process(rank, made=made, given=given):
                made[rank].compile(tdfast.optimizers.Adam(0.01), "mse")
                with DataParallel().scope():
                    made[rank].fit(given(batches), verbose=0, shuffle=False)
                return made[rank].get_weights()

            for weights in run(size, process):
                assert_same(weights, want)


# ---------------------------------------------------------------- data in parts


@pytest.mark.parametrize("ends", [(17, 34), (5, 40), (2, 4)])
def test_parts_of_unequal_length_count_by_their_rows(ends):
    x, y = np.split(X, ends), np.split(Y, ends)
    weights = np.split(np.random.default_rng(3).random(50), ends)
    for weight in (None, weights):
        options = {"batch_size": 50, "epochs": 4, "compile_options": {"metrics": ["mae"]}}
        got, history = fitted(3, x=x, y=y, parts=True, sample_weight=weight,
                              validation_data=[(a, b) for a, b in zip(x, y)], **options)
        want, logs = fitted(1, shards=None, sample_weight=None if weight is None else np.concatenate(weight),
                            validation_data=(X, Y), **options)
        for a, b in zip(got, want):
            np.testing.assert_allclose(a, b, rtol=1e-9, atol=1e-9)
        for name in logs:
            np.testing.assert_allclose(history[name], logs[name], rtol=1e-9, err_msg=name)


@pytest.mark.parametrize("shuffle", [True, False, "batch"])
def test_every_row_of_each_part_comes_once_an_epoch(shuffle):
    seen = [[] for _ in range(3)]
    counts = (13, 20, 31)
    data = [np.arange(n, dtype=float)[:, None] + 100 * rank for rank, n in enumerate(counts)]
    made = twins(3, lambda: tdfast.Sequential([Input((1,)), Dense(1)]))

    def process(rank):
        model = made[rank]
        model.compile("sgd", losses.custom(
            lambda y, p: 0 * p[:, 0], lambda y, p: (seen[rank].append(y[:, 0].copy()), np.zeros_like(p))[1]))
        with DataParallel(auto_shard_dataset=False).scope():
            model.fit(data[rank] / 100, data[rank], batch_size=16, epochs=2, verbose=0, shuffle=shuffle)

    run(3, process)
    everything = sorted(np.concatenate(data)[:, 0])
    for batches in seen:
        assert len(batches) == 8                    # ceil(64 / 16) in each of two epochs
        assert all(14 <= len(batch) <= 18 for batch in batches)
        assert sorted(np.concatenate(batches[:4])) == everything == sorted(np.concatenate(batches[4:]))


def test_evaluate_measures_all_parts():
    parts, made = np.split(X, (10, 15)), twins(3, small)
    targets = np.split(Y, (10, 15))

    def process(rank):
        made[rank].compile("sgd", "mse", metrics=["mae"])
        with DataParallel(auto_shard_dataset=False).scope():
            return (made[rank].evaluate(parts[rank], targets[rank], batch_size=50, verbose=0),
                    made[rank].predict(parts[rank], verbose=0))

    results = run(3, process)
    want = made[0].evaluate(X, Y, batch_size=50, verbose=0)
    for (measured, outputs), part in zip(results, parts):
        np.testing.assert_allclose(measured, want, rtol=1e-12)
        assert len(outputs) == len(part)


def test_lengths_of_parts():
    lengths = [np.array([1, 2] * 5), np.array([6, 3, 4] * 5)]
    x, y = [X[:10], X[10:25]], [Y[:10], Y[10:25]]
    weights, _ = fitted(2, x=x, y=y, parts=True, lengths=lengths, batch_size=25)
    want, _ = fitted(1, x=X[:25], y=Y[:25], lengths=np.concatenate(lengths), batch_size=25, shards=None)
    for a, b in zip(weights, want):
        np.testing.assert_allclose(a, b, rtol=1e-9, atol=1e-9)


# ---------------------------------------------------------------- callbacks


def test_a_stop_in_one_process_stops_all():
    class Stops(Callback):
        def __init__(self, hook):
            super().__init__()
            setattr(self, hook, lambda epoch, logs=None: setattr(self.model, "stop_training", epoch == 1))

    for hook, epochs in (("on_epoch_end", 2), ("on_train_batch_end", 1)):
        made = twins(3, small)

        def process(rank, made=made, hook=hook):
            model = made[rank]
            model.compile("sgd", "mse")
            with DataParallel().scope():
                history = model.fit(X, Y, batch_size=16, epochs=5, verbose=0, seed=1,
                                    callbacks=[Stops(hook)] if rank == 1 else [])
            return history.history, [w.tobytes() for w in model.get_weights()]

        results = run(3, process)
        assert results[1:] == results[:-1]
        assert len(results[0][0]["loss"]) == epochs


def test_early_stopping_and_rates_agree():
    made = twins(3, small)

    def process(rank):
        made[rank].compile(tdfast.optimizers.Adam(0.05), "mse")
        callbacks = [EarlyStopping("val_loss", patience=2, restore_best_weights=True),
                     tdfast.callbacks.ReduceLROnPlateau("loss", patience=1)]
        with DataParallel().scope():
            history = made[rank].fit(X, Y, batch_size=16, epochs=40, verbose=0, validation_split=0.3, seed=1,
                                     callbacks=callbacks)
        return history.history, [w.tobytes() for w in made[rank].get_weights()]

    results = run(3, process)
    assert results[1:] == results[:-1] and len(results[0][0]["loss"]) < 40


def test_one_process_writes(tmp_path):
    made = twins(3, small)

    def process(rank):
        made[rank].compile("sgd", "mse")
        folder = tmp_path / str(rank)
        checkpoint = ModelCheckpoint(folder / "best.keras", "loss", save_best_only=True)
        folder.mkdir()
        with DataParallel().scope():
            made[rank].fit(X, Y, verbose=0, epochs=2, callbacks=[
                CSVLogger(folder / "log.csv"), checkpoint, BackupAndRestore(folder / "backup")])
        return sorted(path.name for path in folder.iterdir()), checkpoint.best

    (wrote, best), *others = run(3, process)
    assert wrote == ["best.keras", "log.csv"]
    assert others == [([], best)] * 2


@pytest.mark.parametrize("save_freq", ["epoch", 3])
def test_a_killed_training_goes_on_with_another_number_of_processes(tmp_path, save_freq):
    class Dies(Callback):
        runs_last = True

        def on_train_batch_end(self, batch, logs=None):
            if batch == 1 and self.model._trainer.run.epoch == 2:
                raise SystemError("killed")

    def make():
        return small(Dropout(0.4, seed=3, dtype="float64"))

    def training(size, folder, *more):
        return fitted(size, make=make, epochs=4, seed=None, validation_split=0.2,
                      callbacks=[[BackupAndRestore(folder, save_freq), EarlyStopping("loss", patience=9),
                                  *more] for _ in range(size)])

    want = training(1, tmp_path / "whole")
    for first, then in ((3, 1), (1, 4), (2, 5)):
        folder = tmp_path / f"{first} {then}"
        with pytest.raises(SystemError, match="killed"):
            training(first, folder, Dies())
        weights, history = training(then, folder)
        assert_same(weights, want[0])
        assert history == want[1]


def test_a_backup_of_other_shards_is_refused(tmp_path):
    class Dies(Callback):
        def on_epoch_end(self, epoch, logs=None):
            raise SystemError("killed")

    with pytest.raises(SystemError):
        fitted(1, callbacks=(BackupAndRestore(tmp_path), Dies()), shards=4)
    fitted(1, callbacks=(BackupAndRestore(tmp_path, delete_checkpoint=False),), shards=4)
    with pytest.raises(ValueError, match="the shards of DataParallel do not agree, 4 there and 8 here"):
        fitted(1, callbacks=(BackupAndRestore(tmp_path),), shards=8)


def test_ctrl_c_in_one_process_ends_all_after_the_same_step():
    made = twins(3, small)

    class Presses(Callback):
        def on_train_batch_end(self, batch, logs=None):
            if batch == 1:
                self.model._trainer.interrupt()

    def process(rank):
        made[rank].compile("sgd", "mse")
        with DataParallel().scope(), pytest.raises(KeyboardInterrupt):
            made[rank].fit(X, Y, batch_size=10, epochs=3, verbose=0, callbacks=[Presses()] * (rank == 2))
        return made[rank].optimizer.steps, [w.tobytes() for w in made[rank].get_weights()]

    results = run(3, process)
    assert results[1:] == results[:-1] and results[0][0] == 2
    alone = twins(1, small)[0]
    alone.compile("sgd", "mse")
    alone.set_weights(made[0].get_weights())
    assert np.isfinite(alone.evaluate(X, Y, verbose=0))


# ---------------------------------------------------------------- mistakes


def failing(size, function):
    """The error that a function of the rank raises in all processes."""
    errors = []

    def process(rank):
        with pytest.raises((ValueError, RuntimeError)) as info:
            function(rank)
        errors.append(str(info.value))

    run(size, process)
    assert len(errors) == size
    return errors[0]


def fit_as(made, parts=False, **given):
    """A function of the rank that fits with what is given for each rank."""
    def function(rank):
        options = {"x": X, "y": Y, "batch_size": 16, "verbose": 0, "seed": 1}
        options |= {name: value[rank] for name, value in given.items()}
        made[rank].compile("sgd", "mse")
        with DataParallel(auto_shard_dataset=not parts).scope():
            made[rank].fit(**options)

    return function


def test_processes_with_other_data_are_named():
    made = twins(3, small)
    text = failing(3, fit_as(made, x=[X, X, X + 1], shuffle=[False] * 3))
    assert text.startswith("fit: process 2 has other data in this batch than process 0.")
    text = failing(3, fit_as(made, x=[X, X[:40], X], y=[Y, Y[:40], Y]))
    assert "the data (samples, batch size, steps) of process" in text
    text = failing(3, fit_as(made, epochs=[1, 1, 2]))
    assert "the number of epochs of process" in text


def test_processes_with_other_models_are_named():
    made = [*twins(2, small), twins(1, lambda: small(Dense(2, dtype="float64")))[0]]
    assert "the layers of process" in failing(3, fit_as(made))


def test_a_process_with_fewer_batches_is_named():
    batches = [(X[:16], Y[:16])] * 3
    made = twins(2, small)
    given = [iter(batches), iter(batches[:2])]
    text = failing(2, fit_as(made, x=given, y=[None, None], batch_size=[None, None]))
    assert "process 0 has a batch for fit, but process 1 has no more data for fit" in text


def test_other_calls_are_named():
    made = twins(2, small)

    def function(rank):
        made[rank].compile("sgd", "mse")
        with DataParallel().scope():
            if rank:
                made[rank].predict(X, verbose=0)
            else:
                made[rank].evaluate(X, Y, verbose=0)

    text = failing(2, function)
    assert "process 0 has a batch for " in text and "but process 1 has a batch for " in text
    assert ("for another call" in text) and "All processes must make the same calls" in text


def test_a_process_that_drifts_is_named():
    class Drifts(Callback):
        def on_epoch_end(self, epoch, logs=None):
            self.model.layers[-1].bias.assign_add(1e-12)

    made = twins(3, small)
    text = failing(3, fit_as(made, callbacks=[[], [], [Drifts()]]))
    assert text.startswith("fit: after this epoch process 2 has other weights")


def test_parts_that_do_not_fit_are_named():
    made = twins(2, small)
    text = failing(2, fit_as(made, True, x=[X[:2], X], y=[Y[:2], Y], batch_size=[4, 4]))
    assert "batch_size=4 is less than the 8 shards" in text
    text = failing(2, fit_as(made, True, x=[X[:2], X], y=[Y[:2], Y], batch_size=[8, 8]))
    assert "process 0 has no row in this batch" in text and "[0, " in text
    sequences = [tdfast.Sequential([Input((None, 3), dtype="float64"), GRU(4, dtype="float64"),
                                    Dense(2, dtype="float64")]) for _ in range(2)]
    text = failing(2, fit_as(sequences, True, x=[X, X[:, :3]]))
    assert "arrays of other shapes or dtypes" in text


def test_too_few_shards_or_rows():
    with pytest.raises(ValueError, match="2 shards cannot keep 3 processes at work"):
        run(3, lambda rank: DataParallel(shards=2))
    with pytest.raises(ValueError, match=r"batch_size=4 is less than the 8 shards"):
        fitted(1, batch_size=4)
    fitted(3, batch_size=4, shards=8, x=X[:3], y=Y[:3])     # there is no more than that


def test_what_cannot_be_cut_into_shards_is_named():
    class Own(tdfast.Model):
        def __init__(self):
            super().__init__()
            self.dense = Dense(2)

        def call(self, x):
            return self.dense(x)

        def train_step(self, data):
            return {"loss": 0.0}

    class Adds(layers.Layer):
        def call(self, x):
            self.add_loss(tdfast.ops.sum(x))
            return x

    stateful = tdfast.Sequential([Input(batch_shape=(10, 6, 3)), LSTM(2, stateful=True), Dense(2)])
    sound = tdfast.Sequential([Input((500,)), layers.MelSpectrogram(fft_length=128, num_mel_bins=8),
                               layers.Flatten(), Dense(2)])
    adds = tdfast.Sequential([Input((3,)), Adds(), Dense(2)])
    cases = [(Own(), X[:, 0], "train_step"), (stateful, X, "'lstm.*is stateful"),
             (sound, RNG.normal(size=(50, 500)), "MelSpectrogram.*all rows of a batch"),
             (adds, X[:, 0], "Adds.*calls add_loss")]
    for model, x, text in cases:
        model.compile("sgd", "mse")
        with DataParallel().scope(), pytest.raises(ValueError, match=text):
            model.fit(x, Y, batch_size=10, verbose=0)


def test_a_loss_that_is_no_number_ends_all():
    made = twins(3, small)
    x = X.copy()
    x[-1] = np.inf

    def function(rank):
        made[rank].compile("sgd", "mse")
        with DataParallel().scope(), pytest.raises(FloatingPointError, match="inputs hold NaN or infinity"):
            made[rank].fit(x, Y, batch_size=50, verbose=0, seed=1)
        return [w.tobytes() for w in made[rank].get_weights()]

    before = tdfast.config.check_finite()
    tdfast.config.set_check_finite(False)
    try:
        results = run(3, function)
    finally:
        tdfast.config.set_check_finite(before)
    assert results[1:] == results[:-1]


def test_names_of_keras():
    assert distribution.list_devices("cpu") == ["cpu:0"] and distribution.get_device_count() == 1
    with pytest.raises(ValueError, match="CPUs"):
        distribution.list_devices("gpu")
    for name in ("ModelParallel", "DeviceMesh", "LayoutMap"):
        for code, error in ((f"from tdfast.distribution import {name}", ImportError),
                            (f"import tdfast\ntdfast.distribution.{name}", AttributeError)):
            with pytest.raises(error, match="one model cut over several processes"):
                exec(code, {})
    for arguments in ({"device_mesh": object()}, {"devices": ["gpu:0"]}, {"shards": 0}, {"shards": True},
                      {"auto_shard_dataset": "no"}):
        with pytest.raises(ValueError, match="DataParallel: "):
            DataParallel(**arguments)
    with pytest.raises(ValueError, match="set_distribution expects"):
        distribution.set_distribution("data_parallel")
    with pytest.raises(ValueError, match="engine must be"):
        distribution.initialize(engine="horovod")
    with pytest.raises(ValueError, match="num_processes is 4, but this process was started alone"):
        current._found(None, None, 4, None)
    shared = DataParallel(devices=["cpu:0"])
    assert shared.num_model_replicas == 1 and shared.data_shard_id == 0 and shared.shards == 8
    with shared.scope():
        assert distribution.distribution() is shared
    assert distribution.distribution() is None
