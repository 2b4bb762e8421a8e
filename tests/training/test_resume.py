"""A training that was killed and run again ends with the same bits as one that never was."""

import json
import os
import random
import signal
import subprocess
import sys

import numpy as np
import pytest

import tdfast
from tdfast import callbacks, layers, optimizers
from tdfast.callbacks import BackupAndRestore, Callback
from tdfast.saving.state import read_state, write_state
from tdfast.utils import PyDataset, set_random_seed

N, T, F = 22, 6, 3
rng = np.random.default_rng(0)
X = rng.normal(size=(N, T, F)).astype("float32")
Y = X.sum((1, 2), keepdims=False)[:, None] * 0.1
LENGTHS = rng.integers(1, T + 1, N)


class Killed(Exception):
    """Stands for a kill: fit ends in the middle, and everything in memory is thrown away."""


class Kill(Callback):
    """Ends everything at the n-th batch of all epochs, counted from 1."""

    def __init__(self, at, act):
        super().__init__()
        self.at, self.act, self.seen = at, act, 0

    def on_train_batch_end(self, batch, logs=None):
        self.seen += 1
        if self.seen == self.at:
            self.act()


class Counting(Callback):
    """Somebody's own callback with numbers of its own."""

    state_names = ("losses", "array")

    def __init__(self):
        super().__init__()
        self.losses, self.array = [], np.zeros(2)

    def on_train_batch_end(self, batch, logs=None):
        self.losses.append(logs["loss"])
        self.array += [1, logs["loss"]]


class Data(PyDataset):
    """Batches by number, with NumPy's and Python's global random numbers in them."""

    def __len__(self):
        return 5

    def __getitem__(self, i):
        noise = np.random.normal(size=(4, T, F)) * 0.1 + random.random() * 0.01
        return X[4 * i : 4 * i + 4] + noise, Y[4 * i : 4 * i + 4]


def endless():
    while True:
        for i in range(5):
            yield X[4 * i : 4 * i + 4], Y[4 * i : 4 * i + 4]


def plain(**options):
    model = tdfast.Sequential([
        tdfast.Input((T, F)), layers.LSTM(4, dropout=0.2, recurrent_dropout=0.1), layers.Dropout(0.3),
        layers.BatchNormalization(), layers.Dense(1),
    ])
    model.compile(**{"optimizer": optimizers.Adam(0.01), "loss": "mse", "metrics": ["mae"], **options})
    return model


def masked(**options):
    model = tdfast.Sequential([tdfast.Input((T, F)), layers.Bidirectional(layers.GRU(3, dropout=0.3)),
                               layers.Dense(1)])
    model.compile(**{"optimizer": "rmsprop", "loss": "mse", **options})
    return model


def stateful(**options):
    model = tdfast.Sequential([tdfast.Input(batch_shape=(4, T, F)), layers.LSTM(3, stateful=True),
                               layers.Dense(1)])
    model.compile(**{"optimizer": "nadam", "loss": "mse", **options})
    return model


def stateful_both(**options):
    model = tdfast.Sequential([
        tdfast.Input(batch_shape=(4, T, F)),
        layers.Bidirectional(layers.LSTM(3, stateful=True, return_sequences=True)),
        layers.RNN(layers.GRUCell(2), stateful=True), layers.Dense(1),
    ])
    model.compile(**{"optimizer": "adam", "loss": "mse", **options})
    return model


def measured(**options):
    """Random layers of all kinds, and metrics with arrays for sums."""
    set_random_seed(3)
    model = tdfast.Sequential([
        tdfast.Input((T, F)), layers.GaussianNoise(0.1), layers.SpatialDropout1D(0.2),
        layers.RNN([layers.LSTMCell(3, dropout=0.2, recurrent_dropout=0.1), layers.GRUCell(3, dropout=0.1)],
                   return_sequences=True),
        layers.TimeDistributed(tdfast.Sequential([layers.Dense(3), layers.AlphaDropout(0.1)])), layers.GRU(3),
        layers.Dense(1, "sigmoid"),
    ])
    own = [tdfast.metrics.AUC(num_thresholds=20, name="auc"), tdfast.metrics.Precision(name="p"),
           tdfast.metrics.R2Score(name="r2"), "accuracy"]
    model.compile(**{"optimizer": "adamax", "loss": "binary_crossentropy", "metrics": own,
                     "weighted_metrics": ["mae"], **options})
    return model


def schedule(epoch, rate):
    return rate * 0.9                   # called twice for one epoch, it would tell


CASES = {
    "arrays": (plain, lambda: {"x": X, "y": Y, "batch_size": 4, "validation_split": 0.2}),
    "batch shuffle": (plain, lambda: {"x": X, "y": Y, "batch_size": 4, "shuffle": "batch"}),
    "steps": (plain, lambda: {"x": X, "y": Y, "batch_size": 4, "steps_per_epoch": 3}),
    "lengths": (masked, lambda: {"x": X, "y": Y, "batch_size": 4, "lengths": LENGTHS}),
    "stateful": (stateful, lambda: {"x": X[:20], "y": Y[:20], "batch_size": 4, "shuffle": False}),
    "stateful both ways": (stateful_both, lambda: {"x": X[:20], "y": Y[:20], "batch_size": 4,
                                                   "shuffle": False}),
    "metrics, cells": (measured, lambda: {"x": X, "y": Y > 0, "batch_size": 4,
                                          "class_weight": {0: 1.0, 1: 2.0},
                                          "validation_data": (X[:9], Y[:9] > 0, np.arange(9.0))}),
    "dataset": (plain, lambda: {"x": Data()}),
    "list-like": (plain, lambda: {"x": Batches()}),
    "generator": (plain, lambda: {"x": endless(), "steps_per_epoch": 5, "validation_data": endless(),
                                  "validation_steps": 3}),
    "average, accumulate": (
        lambda: plain(optimizer=optimizers.SGD(0.05, momentum=0.9, use_ema=True, ema_overwrite_frequency=4,
                                               gradient_accumulation_steps=3)),
        lambda: {"x": X, "y": Y, "batch_size": 4}),
    "schedule": (
        lambda: plain(optimizer=optimizers.Lion(optimizers.schedules.CosineDecay(0.01, 15),
                                                weight_decay=0.01)),
        lambda: {"x": X, "y": Y, "batch_size": 4, "rates": False}),
}


class Batches:
    """An iterable that can be read again, in the same order."""

    def __iter__(self):
        return iter([(X[:8], Y[:8]), (X[8:12], Y[8:12]), (X[12:], Y[12:])])


def train(case, folder, save_freq, kill_at=None, act=None, epochs=5):
    """What a script does, the same each time it is run: (weights, history, the callbacks' numbers)."""
    set_random_seed(7)
    make, arguments = CASES[case]
    model, arguments = make(), arguments()
    watched = "val_loss" if {"validation_split", "validation_data"} & set(arguments) else "loss"
    own = [
        Counting(),
        callbacks.CSVLogger(folder / "log.csv"),
        callbacks.EarlyStopping(watched, patience=3, restore_best_weights=True),
        callbacks.ModelCheckpoint(str(folder / "best.keras"), watched, save_best_only=True),
        callbacks.TensorBoard(folder / "tb", update_freq=2),
    ]
    if arguments.pop("rates", True):
        own += [callbacks.LearningRateScheduler(schedule),
                callbacks.ReduceLROnPlateau(watched, patience=1, min_delta=0.1)]
    if model.optimizer.use_ema:
        own.append(callbacks.SwapEMAWeights(swap_on_epoch=True))
    if save_freq:
        # wherever it stands, it acts last
        own.insert(0, BackupAndRestore(folder / "backup", save_freq=save_freq))
    if kill_at:
        own.append(Kill(kill_at, act))
    history = model.fit(epochs=epochs, verbose=0, callbacks=own, **arguments)
    stop = next(c for c in own if isinstance(c, callbacks.EarlyStopping))
    counts = next(c for c in own if isinstance(c, Counting))
    numbers = {"history": history.history, "epoch": history.epoch, "steps": model.optimizer.steps,
               "wait": stop.wait,
               "best": stop.best, "losses": counts.losses, "sums": counts.array.tolist(),
               "rate": float(model.optimizer.learning_rate),
               "next": tdfast.random.generator().integers(10**9).item(),
               "csv": (folder / "log.csv").read_text()}
    return [*model.get_weights(), *(np.asarray(a) for a in model.optimizer.variables)], numbers


def kill():
    raise Killed


def same(first, second):
    assert first[1] == second[1]
    for a, b in zip(first[0], second[0], strict=True):
        assert a.tobytes() == b.tobytes()


@pytest.mark.parametrize("save_freq", ["epoch", 1, 3])
@pytest.mark.parametrize("case", CASES)
def test_killed_and_resumed_is_never_interrupted(case, save_freq, tmp_path):
    folders = [tmp_path / name for name in "abc"]
    for folder in folders:
        folder.mkdir()
    whole = train(case, folders[0], None)
    same(train(case, folders[1], save_freq), whole)
    # Two kills, of the first run and of the one that was resumed, before all batches are done.
    half = len(whole[1]["losses"]) // 2
    for at in random.Random(f"{case} {save_freq}").sample(range(1, half), 2):
        with pytest.raises(Killed):
            train(case, folders[2], save_freq, at, kill)
    same(train(case, folders[2], save_freq), whole)
    assert not (folders[2] / "backup").exists()


@pytest.mark.parametrize("save_freq, at", [("epoch", 9), (1, 7), (2, 15)])
def test_a_real_kill_at_a_random_step(save_freq, at, tmp_path):
    for name in "ab":
        (tmp_path / name).mkdir()
    code = ("import sys, pathlib, os, signal; sys.path.insert(0, sys.argv[1]); import test_resume as t\n"
            "t.train('arrays', pathlib.Path(sys.argv[2]), eval(sys.argv[3]), int(sys.argv[4]),"
            " lambda: os.kill(os.getpid(), signal.SIGKILL))")
    done = subprocess.run([sys.executable, "-c", code, os.path.dirname(__file__), tmp_path / "b",
                           repr(save_freq), str(at)],
                          env={**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))},
                          capture_output=True, cwd=tmp_path)
    assert done.returncode == -signal.SIGKILL, done.stderr.decode()
    same(train("arrays", tmp_path / "b", save_freq), train("arrays", tmp_path / "a", None))


@pytest.mark.skipif(not hasattr(signal, "SIGKILL"), reason="no SIGKILL on this system")
def test_kills_at_random_moments(tmp_path):
    """By the clock, wherever the training is: in a kernel, in a callback or in the middle of a file."""
    for name in "ab":
        (tmp_path / name).mkdir()
    code = ("import sys, pathlib; sys.path.insert(0, sys.argv[1]); import test_resume as t\n"
            "print('ready', flush=True)\n"
            "t.train('arrays', pathlib.Path(sys.argv[2]), 1)")
    moments, killed = random.Random(5), 0
    for _ in range(6 * int(os.environ.get("TDFAST_FUZZ", "1"))):
        with subprocess.Popen([sys.executable, "-c", code, os.path.dirname(__file__), tmp_path / "b"],
                              cwd=tmp_path,
                              env={**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))},
                              stdout=subprocess.PIPE, stderr=subprocess.PIPE) as child:
            assert child.stdout.readline() == b"ready\n", child.stderr.read().decode()
            try:
                child.wait(moments.uniform(0.0, 0.06))
            except subprocess.TimeoutExpired:
                child.kill()
            error = child.communicate()[1]
        assert child.returncode in (0, -signal.SIGKILL), error.decode()
        killed += child.returncode != 0
    assert killed
    same(train("arrays", tmp_path / "b", 1), train("arrays", tmp_path / "a", None))


@pytest.mark.parametrize("call", ["fsync", "replace"])
def test_a_kill_while_the_backup_is_written(call, tmp_path):
    for name in "ab":
        (tmp_path / name).mkdir()
    code = ("import sys, pathlib, os, signal; sys.path.insert(0, sys.argv[1]); import test_resume as t\n"
            "call, count = getattr(os, sys.argv[3]), [0]\n"
            "def kill(*args):\n"
            "    count[0] += 1\n"
            "    return call(*args) if count[0] < 17 else os.kill(os.getpid(), signal.SIGKILL)\n"
            "setattr(os, sys.argv[3], kill)\n"
            "t.train('arrays', pathlib.Path(sys.argv[2]), 1)")
    done = subprocess.run([sys.executable, "-c", code, os.path.dirname(__file__), tmp_path / "b", call],
                          env={**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))},
                          capture_output=True,
                          cwd=tmp_path)
    assert done.returncode == -signal.SIGKILL, done.stderr.decode()
    assert len(os.listdir(tmp_path / "b" / "backup")) == 2      # one half written
    same(train("arrays", tmp_path / "b", 1), train("arrays", tmp_path / "a", None))
    assert not (tmp_path / "b" / "backup").exists()


class Variables(tdfast.metrics.Metric):
    """Somebody's own metric in Keras's way."""

    def __init__(self, **options):
        super().__init__(**options)
        self.total = self.add_weight(name="total")
        self.more = [self.add_variable((2,), "zeros")]

    def update_state(self, y_true, y_pred, sample_weight=None):
        self.total.assign_add(np.abs(y_pred).sum())
        self.more[0].assign_add([1, len(y_true)])

    def result(self):
        return {"total": float(self.total), "rows": float(self.more[0][1])}


class Plain(tdfast.metrics.Metric):
    """One whose state are numbers and another metric."""

    def __init__(self, **options):
        super().__init__(**options)
        self.within = Variables()
        self.reset_state()

    def reset_state(self):
        self.rows, self.sums = 0, np.zeros(2)
        self.within.reset_state()

    def update_state(self, y_true, y_pred, sample_weight=None):
        self.rows += len(y_true)
        self.sums = self.sums + [y_pred.sum(), 1]
        self.within.update_state(y_true, y_pred)

    def result(self):
        return {"rows": self.rows, "sum": self.sums[0], **self.within.result()}


class Longest(tdfast.metrics.Mean):
    """One of tdfast's with a number more."""

    longest = 0

    def update_state(self, y_true, y_pred, sample_weight=None):
        super().update_state(y_pred)
        self.longest = max(self.longest, len(y_true))

    def result(self):
        return super().result() + self.longest


def of_each_kind():
    ours = [tdfast.metrics.AUC(num_thresholds=5, name="auc"), tdfast.metrics.CosineSimilarity(name="cosine")]
    return plain(metrics=[Variables(name="v"), Plain(name="p"), Longest(name="l"), "mae", *ours])


def numbers_and_arrays(metric):
    """What backups of earlier versions have of a metric."""
    out = {}
    for name, value in vars(metric).items():
        if isinstance(value, (int, float, np.ndarray, np.generic)):
            out[name] = value
        elif hasattr(value, "update_state"):
            out[name] = numbers_and_arrays(value)
    return out


@pytest.mark.parametrize("earlier", [False, True])
def test_metrics_of_ones_own_go_on_in_the_middle_of_an_epoch(earlier, tmp_path, monkeypatch):
    def run(*more):
        set_random_seed(1)
        return of_each_kind().fit(X, Y > 0, batch_size=4, epochs=2, verbose=0, callbacks=list(more)).history

    if earlier:             # they had no variables that are no attributes
        for cls in (tdfast.metrics.Metric, Variables, Plain, Longest):
            monkeypatch.setattr(cls, "get_state", numbers_and_arrays)
        monkeypatch.setattr(Variables, "result", lambda self: {"total": float(self.total)})
    want = run()
    with pytest.raises(Killed):
        run(BackupAndRestore(tmp_path / "b", save_freq=1), Kill(3, kill))
    assert run(BackupAndRestore(tmp_path / "b", save_freq=1)) == want


def test_a_stop_that_was_saved_stays_one(tmp_path):
    """Killed between the epoch that ends training and its end: nothing is trained any more."""
    class Stop(Callback):
        def on_epoch_end(self, epoch, logs=None):
            self.model.stop_training = epoch == 1

        def on_train_end(self, logs=None):
            ends.append(logs)

    ends = []
    first = plain()
    backup = BackupAndRestore(tmp_path / "b", delete_checkpoint=False)
    want = first.fit(X, Y, epochs=9, verbose=0, callbacks=[Stop(), backup]).history
    second = plain()
    assert second.fit(X, Y, epochs=9, verbose=0, callbacks=[Stop(), backup]).history == want
    assert ends[0] == ends[1] and len(want["loss"]) == 2
    assert all(np.array_equal(a, b) for a, b in zip(first.get_weights(), second.get_weights()))


def test_a_stop_in_the_middle_of_an_epoch_stays_one(tmp_path):
    """Killed between the batch that asked to stop and the epoch's end: the rest of the epoch is left out."""
    class Stop(Callback):
        def __init__(self, act):
            super().__init__()
            self.act = act

        def on_train_batch_end(self, batch, logs=None):
            self.model.stop_training = batch == 2

        def on_test_begin(self, logs=None):
            self.act()

    def run(act, *more):
        set_random_seed(1)
        model = plain()
        history = model.fit(X, Y, batch_size=4, epochs=9, verbose=0, callbacks=[Stop(act), *more],
                            validation_data=(X, Y))
        return history.history, model.optimizer.steps, [w.tobytes() for w in model.get_weights()]

    backup = BackupAndRestore(tmp_path / "b", save_freq=1)
    with pytest.raises(Killed):
        run(kill, backup)
    assert run(lambda: None, backup) == run(lambda: None)


def test_a_kept_backup_goes_on_with_more_epochs(tmp_path):
    backup = BackupAndRestore(tmp_path, delete_checkpoint=False)
    model = plain()
    model.fit(X, Y, epochs=2, verbose=0, callbacks=[backup])
    assert plain().fit(X, Y, epochs=3, verbose=0, callbacks=[backup]).epoch == [0, 1, 2]


def test_other_files_in_the_folder_stay(tmp_path):
    (tmp_path / "mine").write_text("x")
    plain().fit(X, Y, epochs=1, verbose=0, callbacks=[BackupAndRestore(tmp_path)])
    assert os.listdir(tmp_path) == ["mine"]


def stopped(folder, **options):
    """A backup after an epoch of a training that broke off then."""
    with pytest.raises(Killed):
        plain().fit(X, Y, epochs=3, batch_size=4, verbose=0,
                    callbacks=[BackupAndRestore(folder, **options), Kill(7 if not options else 14, kill)])


@pytest.mark.parametrize("make, arguments, what", [
    (lambda: masked(), {}, "the weights"),
    (lambda: plain(optimizer="sgd"), {}, "the state of optimizer"),
    (plain, {"x": X[:9], "y": Y[:9]}, "the training data"),
    (plain, {"batch_size": 5}, "the training data"),
])
def test_a_backup_of_another_training_is_refused(make, arguments, what, tmp_path):
    stopped(tmp_path)
    model = make()
    model.build((None, T, F))
    before = model.get_weights()
    with pytest.raises(ValueError, match=f"another training: {what}"):
        model.fit(**{"x": X, "y": Y, "batch_size": 4, "epochs": 3, "verbose": 0,
                     "callbacks": [BackupAndRestore(tmp_path)],
                     **arguments})
    assert all(np.array_equal(a, b) for a, b in zip(before, model.get_weights()))


@pytest.mark.parametrize("damage", [lambda data: data[: len(data) // 2], lambda data: b"",
                                    lambda data: b"junk" * 50])
def test_a_damaged_backup(damage, tmp_path):
    stopped(tmp_path, double_checkpoint=True)
    path = tmp_path / "latest.backup"
    path.write_bytes(damage(path.read_bytes()))
    history = plain().fit(X, Y, epochs=3, batch_size=4, verbose=0,
                          callbacks=[BackupAndRestore(tmp_path, double_checkpoint=True,
                                                      delete_checkpoint=False)])
    assert history.epoch == [0, 1, 2]       # from the one before
    for file in tmp_path.iterdir():
        file.write_bytes(damage(file.read_bytes()))
    with pytest.raises(tdfast.saving.FileError, match="from the beginning"):
        plain().fit(X, Y, verbose=0, callbacks=[BackupAndRestore(tmp_path)])


@pytest.mark.parametrize("call", ["write", "fsync", "replace"])
def test_a_full_disk_leaves_the_last_backup_and_the_model(call, tmp_path, monkeypatch):
    stopped(tmp_path)
    path = tmp_path / "latest.backup"
    good = path.read_bytes()

    def full(*args, **options):
        raise OSError(28, "No space left on device")

    if call == "write":
        monkeypatch.setattr(np.lib.format, "write_array", full)
    else:
        monkeypatch.setattr(os, call, full)
    model = plain()
    with pytest.raises(OSError, match="No space"):
        model.fit(X, Y, epochs=3, batch_size=4, verbose=0, callbacks=[BackupAndRestore(tmp_path)])
    monkeypatch.undo()
    assert path.read_bytes() == good and os.listdir(tmp_path) == ["latest.backup"]
    assert len(model.history.history["loss"]) == 2
    model.fit(X, Y, verbose=0)


def test_arguments():
    with pytest.raises(ValueError, match="backup_dir is empty"):
        BackupAndRestore("")
    for freq in (0, -1, False, "batch", 1.5):
        with pytest.raises(ValueError, match="save_freq must be"):
            BackupAndRestore("a", save_freq=freq)


# ---------------------------------------------------------------- the file


def test_state_file_round_trip(tmp_path):
    state = {"a": [1, 2.5, None, True, "ü", float("inf")], "b": {"c": np.float32(0.1),
                                                                 "d": np.zeros((0, 3), "uint8")},
             "e": np.arange(6.0).reshape(2, 3).T, "f": np.array(5)}
    write_state(tmp_path / "s", state)
    back = read_state(tmp_path / "s")
    assert back["a"] == state["a"] and json.dumps(back["a"][1]) == "2.5"
    assert type(back["b"]["c"]) is np.float32 and back["b"]["c"] == state["b"]["c"]
    for a, b in ((back["b"]["d"], state["b"]["d"]), (back["e"], state["e"]), (back["f"], state["f"])):
        assert a.dtype == b.dtype and np.array_equal(a, b) and a.shape == b.shape and a.flags.writeable


@pytest.mark.parametrize("bad", [{"a": object()}, {1: 2}, {"a": np.array(["x"])}, {"a": np.array([None])},
                                 {"__array__": 0}, {"a": [{"b": lambda: 0}]},
                                 {"a": np.zeros(1, np.longdouble)},
                                 {"a": [np.zeros(1)] * 10**4}])
def test_state_file_refuses_what_is_not_plain(bad, tmp_path):
    with pytest.raises(ValueError, match="state"):
        write_state(tmp_path / "s", bad)
    assert not os.listdir(tmp_path)


def test_a_callbacks_bad_state_is_named(tmp_path):
    class Bad(Callback):
        def get_state(self):
            return {"mine": open}

    with pytest.raises(ValueError, match="'Bad 1'.*'mine'"):
        plain().fit(X, Y, verbose=0, callbacks=[Bad(), BackupAndRestore(tmp_path)])
