"""Callbacks in real trainings: what they do to rates, files and the model, and what a fault leaves behind."""

import csv
import math
import os
import signal
import struct

import numpy as np
import pytest
from test_faults import CtrlC

import tdfast
from tdfast import callbacks, layers, optimizers
from tdfast.callbacks import Callback
from tdfast.engine.layer import Layer

rng = np.random.default_rng(0)
X = rng.normal(size=(20, 5, 2)).astype("float32")
Y = X.sum((1, 2))[:, None] * 0.1


def model(optimizer="sgd", **options):
    made = tdfast.Sequential([tdfast.Input((5, 2)), layers.LSTM(3), layers.Dense(1)])
    made.compile(**{"optimizer": optimizer, "loss": "mse", "metrics": ["mae"], **options})
    return made


def fit(made, *calls, **options):
    return made.fit(X, Y, **{"epochs": 4, "batch_size": 5, "verbose": 0, "callbacks": list(calls), **options})


class Logs(Callback):
    """Overwrites what the model measured, so that other callbacks see given numbers."""

    def __init__(self, values, name="val_loss"):
        super().__init__()
        self.values, self.name = values, name

    def on_epoch_end(self, epoch, logs=None):
        logs[self.name] = self.values[epoch]


# ---------------------------------------------------------------- learning rates


def test_learning_rate_can_be_assigned_as_in_keras():
    made = model(optimizers.SGD(0.5))
    rate = made.optimizer.learning_rate
    assert rate == 0.5 and isinstance(rate, float) and float(rate.numpy()) == 0.5 and rate.value == 0.5
    rate.assign(0.25)
    assert made.optimizer.learning_rate == 0.25 and repr(made.optimizer.learning_rate) == "0.25"
    with pytest.raises(ValueError, match="learning_rate"):
        rate.assign("fast")
    scheduled = optimizers.SGD(optimizers.schedules.ExponentialDecay(0.1, 10, 0.5))
    with pytest.raises(TypeError, match="ExponentialDecay"):
        scheduled.learning_rate.assign(1.0)


@pytest.mark.parametrize("schedule, rates", [
    (lambda epoch, rate: rate / 2, [0.05, 0.025, 0.0125, 0.00625]),
    (lambda epoch: 0.5 ** (epoch + 1), [0.5, 0.25, 0.125, 0.0625]),
    (lambda epoch, rate: np.float32(0.25), [0.25] * 4),
])
def test_learning_rate_scheduler(schedule, rates, capsys):
    history = fit(model(optimizers.SGD(0.1)), callbacks.LearningRateScheduler(schedule, verbose=1))
    assert history.history["learning_rate"] == rates
    assert f"\nEpoch 2: LearningRateScheduler setting learning rate to {rates[1]}." in capsys.readouterr().out


def test_learning_rate_scheduler_errors():
    with pytest.raises(ValueError, match="must return a number.*'a'"):
        fit(model(), callbacks.LearningRateScheduler(lambda epoch, rate: "a"))
    with pytest.raises(ValueError, match="function"):
        callbacks.LearningRateScheduler(0.1)
    with pytest.raises(TypeError, match="own mistake"):     # is not taken for a function of one argument
        def schedule(epoch, rate):
            raise TypeError("own mistake")
        fit(model(), callbacks.LearningRateScheduler(schedule))
    scheduled = optimizers.SGD(optimizers.schedules.ExponentialDecay(0.1, 10, 0.5))
    with pytest.raises(TypeError, match="ExponentialDecay"):
        fit(model(scheduled), callbacks.LearningRateScheduler(lambda epoch: 0.1))


@pytest.mark.parametrize("arguments, values, rates", [
    # the rate that an epoch was trained with
    ({"patience": 2}, [3, 2, 2, 2, 2, 2, 2], [1, 1, 1, 1, 0.5, 0.5, 0.25]),
    ({"patience": 1, "cooldown": 2}, [2, 2, 2, 2, 2, 2, 2], [1, 1, 0.5, 0.5, 0.25, 0.25, 0.125]),
    ({"patience": 1, "min_lr": 0.4}, [2, 2, 2, 2, 2, 2], [1, 1, 0.5, 0.4, 0.4, 0.4]),
    ({"patience": 1, "min_delta": 1}, [5, 4.5, 3, 2.5], [1, 1, 0.5, 0.5]),
    ({"patience": 1, "mode": "max"}, [1, 2, 2, 3], [1, 1, 1, 0.5]),
    ({"patience": 1}, [math.nan, 1, 2, 1], [1, 1, 1, 0.5]),
    ({"patience": 1}, [math.nan, math.nan, 3, 2], [1, 1, 0.5, 0.5]),
    ({"patience": 1, "mode": "max"}, [math.nan, 1, math.nan, 2], [1, 1, 1, 0.5]),
])
def test_reduce_on_plateau(arguments, values, rates, capsys):
    plateau = callbacks.ReduceLROnPlateau(factor=0.5, verbose=1, **arguments)
    history = fit(model(optimizers.SGD(1.0)), Logs(values), plateau, epochs=len(values))
    assert history.history["learning_rate"] == rates
    assert "ReduceLROnPlateau reducing learning rate to 0.5." in capsys.readouterr().out


def test_reduce_on_plateau_errors():
    with pytest.raises(ValueError, match="below 1"):
        callbacks.ReduceLROnPlateau(factor=1.0)
    with pytest.warns(UserWarning, match="'val_loss'.*loss, mae, learning_rate"):
        fit(model(), callbacks.ReduceLROnPlateau(), epochs=1)
    with pytest.raises(ValueError, match="mode='min'"):
        fit(model(), callbacks.ReduceLROnPlateau(monitor="distance"))


# ---------------------------------------------------------------- NaN


def spoiled(**options):
    """A model whose loss is NaN in the third batch, and what it had learned until then."""
    y = Y.copy()
    y[12] = np.nan
    before = tdfast.config.check_finite()
    tdfast.config.set_check_finite(False)
    made, hooks = model(**options), []
    record = callbacks.LambdaCallback(
        on_train_batch_end=lambda batch, logs: hooks.append((batch, logs, made.get_weights())),
        on_train_end=lambda logs: hooks.append("end"))
    return made, y, record, hooks, before


@pytest.mark.parametrize("stop", [None, callbacks.TerminateOnNaN(),
                                  callbacks.TerminateOnNaN(raise_error=True)])
def test_nan(stop, capsys):
    made, y, record, hooks, before = spoiled()
    try:
        def run():
            return made.fit(X, y, batch_size=5, epochs=3, shuffle=False, verbose=0,
                            callbacks=[record] + [stop] * (stop is not None))
        if stop is None:
            with pytest.raises(FloatingPointError, match="epoch 1, batch 3"):
                run()
        elif stop.raise_error:
            with pytest.raises(RuntimeError, match="batch 2"):
                run()
        else:
            history = run()
            assert capsys.readouterr().out == "Batch 2: Invalid loss, terminating training\n"
            assert [sorted(history.history), history.epoch] == [["loss", "mae"], [0]]
            assert math.isnan(history.history["loss"][0]) and hooks[-1] == "end" and made.stop_training
    finally:
        tdfast.config.set_check_finite(before)
    # The weights are those of the last good step.
    assert all(np.array_equal(a, b) for a, b in zip(made.get_weights(), hooks[1][2]))
    assert made.optimizer.iterations == 2
    assert np.isfinite(fit(made).history["loss"]).all()


# ---------------------------------------------------------------- averages


def test_swap_ema_weights_measures_the_averages():
    def make():
        tdfast.utils.set_random_seed(0)
        return model(optimizers.SGD(0.1, use_ema=True, ema_momentum=0.8))

    seen = []
    peek = callbacks.LambdaCallback(on_test_begin=lambda logs: seen.append(made.get_weights()),
                                    on_test_end=lambda logs: seen.append(made.get_weights()),
                                    on_epoch_end=lambda epoch, logs: seen.append(made.get_weights()))
    expected = make()
    fit(expected, epochs=1, shuffle=False)              # ends with the averages in place
    for whole in (False, True):
        made, seen[:] = make(), []
        swap = callbacks.SwapEMAWeights(swap_on_epoch=whole)
        fit(made, swap, peek, epochs=1, shuffle=False, validation_data=(X, Y))
        averages = expected.get_weights()
        for at, w in enumerate(seen):                   # begin, end of the test; end of the epoch
            equal = all(np.array_equal(a, b) for a, b in zip(w, averages))
            assert equal == (at == 0 or (whole and at == 2))
        assert all(np.array_equal(a, b) for a, b in zip(made.get_weights(), averages))
    with pytest.raises(ValueError, match="use_ema=True"):
        model().evaluate(X, Y, verbose=0, callbacks=[callbacks.SwapEMAWeights()])


@pytest.mark.parametrize("swap_on_epoch", [False, True])
@pytest.mark.parametrize("stop", ["callback", "error", "ends"])
def test_swapped_weights_find_back(swap_on_epoch, stop):
    """However fit ends, the averages end in the weights' place, and training goes on from there."""
    made = model(optimizers.SGD(0.1, use_ema=True))
    averages = []

    class End(Callback):
        def on_epoch_begin(self, epoch, logs=None):
            averages.clear()

        def on_test_batch_end(self, batch, logs=None):
            averages[:] = made.get_weights()
            if stop == "error":
                raise KeyboardInterrupt

        def on_epoch_end(self, epoch, logs=None):
            made.stop_training = stop == "callback"

    def run():
        fit(made, callbacks.SwapEMAWeights(swap_on_epoch), End(), validation_data=(X, Y))

    if stop == "error":
        with pytest.raises(KeyboardInterrupt):
            run()
    else:
        run()
    assert not made.optimizer.averages_in_place
    assert all(np.array_equal(a, b) for a, b in zip(made.get_weights(), averages))
    fit(made)


def test_an_interrupted_evaluate_puts_the_weights_back():
    made = model(optimizers.SGD(0.1, use_ema=True))
    made.train_on_batch(X, Y)
    made.train_on_batch(X, Y)
    before = made.get_weights()
    for call in (lambda *c: made.evaluate(X, Y, verbose=0, callbacks=c),
                 lambda *c: made.predict(X, verbose=0, callbacks=c)):
        def fail(*args, **logs):
            raise OSError
        with pytest.raises(OSError):
            call(callbacks.SwapEMAWeights(), callbacks.LambdaCallback(on_test_batch_end=fail,
                                                                      on_predict_batch_end=fail))
        assert all(np.array_equal(a, b) for a, b in zip(made.get_weights(), before))


# ---------------------------------------------------------------- files


def test_model_checkpoint_names_and_best(tmp_path, capsys):
    path = str(tmp_path / "new" / "{epoch:02d}-{val_loss:.2f}.keras")
    made = model()
    weights = []
    note = callbacks.LambdaCallback(on_epoch_end=lambda epoch, logs: weights.append(made.get_weights()))
    fit(made, note, Logs([0.5, 0.7, 0.25, 0.25]),
        callbacks.ModelCheckpoint(path, save_best_only=True, verbose=1, initial_value_threshold=0.6))
    assert sorted(os.listdir(tmp_path / "new")) == ["01-0.50.keras", "03-0.25.keras"]
    loaded = tdfast.saving.load_model(tmp_path / "new" / "03-0.25.keras")
    assert all(np.array_equal(a, b) for a, b in zip(loaded.get_weights(), weights[2]))
    assert loaded.optimizer.iterations == 12
    out = capsys.readouterr().out
    for text in ("Epoch 1: val_loss improved from 0.60000 to 0.50000, saving model to",
                 "Epoch 1: finished saving model to",
                 "Epoch 2: val_loss did not improve from 0.50000\n"):
        assert "\n" + text in out


@pytest.mark.parametrize("freq, names", [
    ("epoch", ["1.keras", "2.keras"]),
    (3, ["1-3.keras", "2-2.keras"]),
    (100, []),
])
def test_model_checkpoint_save_freq(freq, names, tmp_path):
    path = tmp_path / ("{epoch}.keras" if freq == "epoch" else "{epoch}-{batch}.keras")
    fit(model(), callbacks.ModelCheckpoint(path, save_freq=freq), epochs=2)
    assert sorted(os.listdir(tmp_path)) == names


def test_model_checkpoint_weights_only(tmp_path):
    path, made = str(tmp_path / "a.weights.npz"), model()
    checkpoint = callbacks.ModelCheckpoint(path, save_weights_only=True)
    if not hasattr(made, "save_weights"):
        with pytest.raises(ValueError, match="save_weights"):
            fit(made, checkpoint)
        return
    fit(made, checkpoint)
    other = model()
    other.load_weights(path)
    assert all(np.array_equal(a, b) for a, b in zip(made.get_weights(), other.get_weights()))


@pytest.mark.parametrize("arguments, match", [
    ({"filepath": "a.ckpt"}, "'.keras'"),
    ({"filepath": "a.keras", "save_weights_only": True}, "'.weights.h5'"),
    ({"filepath": "a.keras", "save_freq": "batch"}, "save_freq"),
    ({"filepath": "a.keras", "save_freq": 0}, "save_freq"),
])
def test_model_checkpoint_refuses(arguments, match):
    with pytest.raises(ValueError, match=match):
        callbacks.ModelCheckpoint(**arguments)


def test_model_checkpoint_faults(tmp_path, monkeypatch):
    made = model()
    with pytest.raises(KeyError, match="val_loss.*loss, mae"):
        fit(made, callbacks.ModelCheckpoint(tmp_path / "{val_loss}.keras"))
    (tmp_path / "d.keras").mkdir()
    with pytest.raises(IsADirectoryError, match="directory"):
        fit(made, callbacks.ModelCheckpoint(tmp_path / "d.keras"))
    with pytest.warns(UserWarning, match="'val_loss'.*saving anyway"):
        fit(made, callbacks.ModelCheckpoint(tmp_path / "a.keras", save_best_only=True), epochs=1)
    good = (tmp_path / "a.keras").read_bytes()

    def full(*args):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="No space"):
        fit(made, callbacks.ModelCheckpoint(tmp_path / "a.keras"))
    monkeypatch.undo()
    assert (tmp_path / "a.keras").read_bytes() == good and sorted(os.listdir(tmp_path)) == [
        "a.keras",
        "d.keras",
    ]
    assert made.history is not None and np.isfinite(fit(made).history["loss"]).all()


def rows(path, sep=","):
    with open(path, newline="") as file:
        return list(csv.DictReader(file, delimiter=sep))


def test_csv_logger(tmp_path):
    path, made = tmp_path / "log.csv", model()
    history = fit(made, callbacks.CSVLogger(path, separator=";"), epochs=3, validation_data=(X, Y),
                  validation_freq=2)
    got = rows(path, ";")
    assert list(got[0]) == ["epoch", "loss", "mae", "val_loss", "val_mae"]
    assert [float(r["loss"]) for r in got] == history.history["loss"]
    assert [r["val_loss"] == "NA" for r in got] == [True, False, True]
    fit(made, callbacks.CSVLogger(path, separator=";", append=True), initial_epoch=3, epochs=5)
    assert [r["epoch"] for r in rows(path, ";")] == list("01234")
    fit(made, callbacks.CSVLogger(path), epochs=1)
    assert len(rows(path)) == 1
    assert path.read_text().splitlines()[0] == "epoch,loss,mae"         # nothing validates


def test_csv_logger_appends_in_the_columns_of_the_file(tmp_path):
    path, made = tmp_path / "log.csv", model()
    fit(made, callbacks.CSVLogger(path), epochs=2, validation_data=(X, Y))
    history = fit(made, callbacks.CSVLogger(path, append=True), epochs=3, initial_epoch=2)
    got = rows(path)
    assert [r["epoch"] for r in got] == list("012") and got[-1]["val_loss"] == "NA"
    assert float(got[-1]["mae"]) == history.history["mae"][0]
    text = "mae,epoch,loss\n" * 2
    for there, more in ((path.read_text(), {"metrics": ["mse"]}), ("loss;mae;epoch\n1;2;3\n", {}), (text, {}),
                        ("0,1,2\n", {}), ("\n", {})):
        path.write_text(there)
        made.compile("sgd", "mse", metrics=more.get("metrics", ["mae"]))
        log = callbacks.CSVLogger(path, append=True)
        with pytest.raises(ValueError, match="log.csv' has the columns .*cannot be appended"):
            fit(made, log, epochs=3)
        assert path.read_text() == there and log.csv_file is None
    fit(made, callbacks.CSVLogger(path), epochs=1)
    with pytest.raises(ValueError, match="val_loss"):
        fit(made, callbacks.CSVLogger(path, append=True), epochs=1, validation_data=(X, Y))


def test_a_checkpoint_of_another_model_starts_anew(tmp_path):
    best = callbacks.ModelCheckpoint(tmp_path / "best.keras", monitor="loss", save_best_only=True)
    first, second = model(), model()
    fit(first, Logs([0.25], "loss"), best, epochs=1)
    fit(second, Logs([3.0, 2.0, 2.5], "loss"), best, epochs=3)
    assert best.best == 2.0
    saved = tdfast.saving.load_model(tmp_path / "best.keras").get_weights()
    assert not np.array_equal(saved[0], first.get_weights()[0])
    fit(second, Logs([2.25], "loss"), best, epochs=1)           # the same model goes on
    assert best.best == 2.0
    count = callbacks.ModelCheckpoint(tmp_path / "{epoch}-{batch}.keras", save_freq=3)
    for made in (model(), model()):
        fit(made, count, epochs=1)
    limited = callbacks.ModelCheckpoint(tmp_path / "limited.keras", "loss", save_best_only=True,
                                        initial_value_threshold=1.0)
    for made in (first, second):
        fit(made, Logs([2.0], "loss"), limited, epochs=1)
        assert limited.best == 1.0
        fit(made, Logs([0.5], "loss"), limited, epochs=1)
        assert limited.best == 0.5


def test_csv_logger_survives_interruption(tmp_path):
    """Each line is in the file when its epoch has ended, and the file is closed when fit breaks off."""
    path, seen = tmp_path / "log.csv", []

    class Break(Callback):
        def on_epoch_begin(self, epoch, logs=None):
            seen.append(len(rows(path)))
            if epoch == 2:
                raise KeyboardInterrupt

    log = callbacks.CSVLogger(path)
    with pytest.raises(KeyboardInterrupt):
        fit(model(), log, Break())
    assert seen == [0, 1, 2] and log.csv_file is None and len(rows(path)) == 2


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="no /dev/full here")
def test_csv_logger_on_a_full_disk():
    """The error is the disk's, what other callbacks hold is put back, and the model can be used."""
    made = model(optimizers.SGD(0.1, use_ema=True))
    with pytest.raises(OSError, match="No space"), pytest.warns(UserWarning, match="CSVLogger.on_abort"):
        fit(made, callbacks.SwapEMAWeights(swap_on_epoch=True), callbacks.CSVLogger("/dev/full"))
    assert not made.optimizer.averages_in_place and made._trainer.run is None
    assert np.isfinite(fit(made).history["loss"]).all()


def test_a_callback_may_fit(tmp_path):
    """The training within leaves alone where the outer one is."""
    class Again(Callback):
        def on_epoch_begin(self, epoch, logs=None):
            made.fit(X, Y, verbose=0)

    made = model()
    assert fit(made, Again(), callbacks.BackupAndRestore(tmp_path / "b", save_freq=1)).epoch == [0, 1, 2, 3]
    assert made._trainer.run is None


def test_csv_logger_takes_several_values_and_text(tmp_path):
    path = tmp_path / "log.csv"
    add = callbacks.LambdaCallback(on_epoch_end=lambda epoch, logs: logs.update(a=[1, 2], b="x,y"))
    fit(model(), add, callbacks.CSVLogger(path), epochs=1)
    assert rows(path)[0]["a"] == '"[1, 2]"' and rows(path)[0]["b"] == "x,y"


def events(folder):
    """(step, tag, value) of the scalars in all files of a folder, by the format's description; and all
    tags."""
    scalars, tags = [], []

    def varint(data, i):
        n = shift = 0
        while True:
            n |= (data[i] & 0x7F) << shift
            shift, i = shift + 7, i + 1
            if not data[i - 1] & 0x80:
                return n, i

    def message(data):
        i = 0
        while i < len(data):
            key, i = varint(data, i)
            kind = key & 7
            if kind == 0:
                value, i = varint(data, i)
            else:
                size = {1: 8, 5: 4}.get(kind)
                if size is None:
                    size, i = varint(data, i)
                value, i = data[i : i + size], i + size
            yield key >> 3, value

    for name in sorted(os.listdir(folder)):
        data = (folder / name).read_bytes()
        while data:
            (n,) = struct.unpack("<Q", data[:8])
            event, data = dict(message(data[12 : 12 + n])), data[16 + n :]
            if 5 in event:
                value = dict(message(dict(message(event[5]))[1]))
                tags.append(value[1].decode())
                if 2 in value:
                    scalars.append((event.get(2, 0), value[1].decode(), struct.unpack("<f", value[2])[0]))
    return scalars, tags


def test_tensorboard(tmp_path):
    made = model()
    board = callbacks.TensorBoard(tmp_path, histogram_freq=2, update_freq=3, write_steps_per_second=True)
    history = fit(made, board, epochs=3, validation_data=(X, Y)).history
    scalars, tags = events(tmp_path / "train")
    assert "keras" in tags and tags.count(f"{made.weights[0].path}/histogram") == 2
    for name, values in (("loss", history["loss"]), ("mae", history["mae"]), ("learning_rate", [0.01] * 3)):
        got = [(step, value) for step, tag, value in scalars if tag == f"epoch_{name}"]
        np.testing.assert_allclose(got, list(enumerate(values)), rtol=1e-6)
    assert [step for step, tag, _ in scalars if tag == "batch_loss"] == [3, 6, 9, 12]
    assert {"batch_steps_per_second", "epoch_steps_per_second"} <= set(tags)
    scalars, _ = events(tmp_path / "validation")
    for tag, steps in (("epoch_loss", range(3)), ("evaluation_loss_vs_iterations", (4, 8, 12))):
        got = [(step, value) for step, t, value in scalars if t == tag]
        np.testing.assert_allclose(got, list(zip(steps, history["val_loss"])), rtol=1e-6)


def test_tensorboard_arguments(tmp_path):
    for option in ("write_images", "profile_batch", "embeddings_freq", "embeddings_metadata"):
        with pytest.raises(ValueError, match=f"{option}=1 is not offered"):
            callbacks.TensorBoard(tmp_path, **{option: 1})
    with pytest.raises(ValueError, match="update_freq"):
        callbacks.TensorBoard(tmp_path, update_freq="step")
    fit(model(), callbacks.TensorBoard(tmp_path, write_graph=False), epochs=1)
    assert set(events(tmp_path / "train")[1]) == {"epoch_loss", "epoch_mae", "epoch_learning_rate"}


# ---------------------------------------------------------------- order and faults


def test_order_of_the_list():
    own = callbacks.ProgbarLogger()
    backup = callbacks.BackupAndRestore("unused")
    calls = callbacks.CallbackList([backup, own, Callback()], add_history=True, add_progbar=True)
    assert [type(c).__name__ for c in calls.callbacks] == ["ProgbarLogger", "Callback", "History",
                                                           "BackupAndRestore"]
    calls = callbacks.CallbackList([Callback()], add_history=True, add_progbar=True, verbose=0)
    assert [type(c).__name__ for c in calls.callbacks] == ["Callback", "History", "ProgbarLogger"]


class Mine(Layer):
    """A user's layer, the identity, that fails when told to."""

    fail_forward = fail_backward = -1

    def forward(self, x, tape, training=False, mask=None):
        tape.push(self)
        self.fail_forward -= 1
        if self.fail_forward == 0:
            raise ValueError("mine, forward")
        return x

    def backward(self, dy, tape, need_dx=True):
        tape.pop(self)
        self.fail_backward -= 1
        if self.fail_backward == 0:
            raise ValueError("mine, backward")
        return dy


@pytest.mark.parametrize("which", ["forward", "backward"])
def test_a_layer_that_fails_leaves_the_last_step(which):
    """A step is whole or not begun: afterwards the model trains like one that was spared the fault."""
    def make():
        tdfast.utils.set_random_seed(1)
        made = tdfast.Sequential([tdfast.Input((5, 2)), layers.LSTM(3, return_sequences=True), Mine(),
                                  layers.LSTM(2),
                                  layers.Dense(1)])
        made.compile("adam", "mse")
        return made

    broken, spared = make(), make()
    setattr(broken.layers[1], f"fail_{which}", 7)
    with pytest.raises(ValueError, match=f"mine, {which}"):
        fit(broken, shuffle=False)
    assert broken.history.epoch == [0] and broken.optimizer.iterations == 6
    fit(spared, shuffle=False, epochs=1)
    fit(spared, shuffle=False, epochs=1, steps_per_epoch=2)
    for made in (broken, spared):
        fit(made, shuffle=False)
    assert all(np.array_equal(a, b) for a, b in zip(broken.get_weights(), spared.get_weights()))


@pytest.mark.parametrize("hook", ["on_train_begin", "on_train_batch_begin", "on_epoch_end", "on_test_begin",
                                  "on_test_batch_end", "on_train_end"])
def test_a_callback_that_fails_leaves_model_and_history(hook):
    ended = []
    log = callbacks.LambdaCallback(on_train_end=lambda logs: ended.append(logs))

    def fail(*args, **logs):
        raise RuntimeError("mine")

    made = model()
    with pytest.raises(RuntimeError, match="mine"):
        fit(made, log, callbacks.LambdaCallback(**{hook: fail}), validation_data=(X, Y))
    assert made.history is not None and made._trainer.run is None
    assert bool(ended) == (hook == "on_train_end")
    assert fit(made).epoch == [0, 1, 2, 3]


def test_ctrl_c_at_random_moments():
    """Real signals, wherever they arrive: weights are those after some whole number of steps, and history
    stays."""

    def make():
        tdfast.utils.set_random_seed(3)
        return model("adam")

    steps, made = {}, make()
    steps[0] = made.get_weights()
    note = callbacks.LambdaCallback(on_train_batch_end=lambda batch, logs: steps.setdefault(
        made.optimizer.iterations, made.get_weights()))
    fit(made, note, epochs=30, shuffle=False, validation_data=(X, Y))
    for moment in np.random.default_rng(5).uniform(0, 0.03, 25):
        made = make()
        before = signal.getsignal(signal.SIGINT)
        CtrlC(moment).run(lambda made=made: fit(made, epochs=10**9, shuffle=False, validation_data=(X, Y)))
        assert signal.getsignal(signal.SIGINT) is before
        done = made.optimizer.iterations
        if done in steps:                           # slower than the record: only the rest can be told
            assert all(np.array_equal(a, b) for a, b in zip(made.get_weights(), steps[done]))
        history = made.history
        assert (history is None or abs(len(history.epoch) - done // 4) <= 1)
        assert (
            np.isfinite(fit(made, epochs=1).history["loss"][0])
            and np.isfinite(made.predict(X, verbose=0)).all()
        )


def test_ctrl_c_at_random_moments_of_predict():
    made = model()
    x = np.tile(X, (500, 1, 1))
    want = made.predict(x, verbose=0)
    for moment in np.random.default_rng(6).uniform(0, 0.02, 15):
        CtrlC(moment).run(lambda: made.predict(x, verbose=0))
        assert np.array_equal(made.predict(x, verbose=0), want)
