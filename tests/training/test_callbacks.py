"""Callbacks and the progress bar, on a model that only stands in for one."""

import io
import re

import numpy as np
import pytest

from tdfast.callbacks import Callback, CallbackList, EarlyStopping, History, LambdaCallback, progress
from tdfast.callbacks.base import HOOKS


class FakeModel:
    def __init__(self):
        self.stop_training = False
        self.weights = 0
        self.metrics = []

    def get_weights(self):
        return self.weights

    def set_weights(self, weights):
        self.weights = weights


def run(callback, values, name="loss"):
    """The epochs an `EarlyStopping` lets happen, as (number of them, weights at the end)."""
    model = FakeModel()
    callback.set_model(model)
    callback.on_train_begin()
    for epoch, value in enumerate(values):
        model.weights = epoch
        callback.on_epoch_end(epoch, {name: value})
        if model.stop_training:
            break
    callback.on_train_end()
    return epoch + 1, model.weights


@pytest.mark.parametrize("arguments, values, epochs", [
    ({}, [3, 2, 1, 1, 0], 4),
    ({"patience": 2}, [3, 2, 2, 2, 0], 4),
    ({"patience": 2}, [3, 2, 2, 1, 0], 5),
    ({"min_delta": 0.5}, [3, 2, 1.8, 1, 0], 3),
    ({"mode": "max"}, [1, 2, 3, 2, 9], 4),
    ({"baseline": 1.0, "patience": 2}, [3, 2, 1.5, 0, 0], 5),
    ({"baseline": 1.0, "patience": 2}, [3, 3, 3, 3, 3], 2),
    ({"start_from_epoch": 3}, [1, 2, 3, 4, 5], 5),
    ({}, [float("nan"), 1, 0, 0], 4),
    ({}, [1, float("nan"), 0, 0], 2),
    ({"patience": 2}, [float("nan"), float("nan"), 3, 2, float("nan"), 1, 1, 1], 8),
    ({"patience": 2}, [float("nan")] * 5, 3),
    ({"mode": "max"}, [float("nan"), 1, 2, float("nan"), 3], 4),
])
def test_early_stopping(arguments, values, epochs):
    assert run(EarlyStopping(monitor="loss", **arguments), values)[0] == epochs


def test_early_stopping_restores(capsys):
    stop = EarlyStopping(monitor="loss", patience=2, restore_best_weights=True, verbose=1)
    assert run(stop, [3, 1, 2, 2, 0]) == (4, 1)
    out = capsys.readouterr().out
    assert "Epoch 4: early stopping\n" in out
    assert "Restoring model weights from the end of the best epoch: 2." in out
    assert run(stop, [3, 2, 1]) == (3, 2)  # the same object again
    assert run(stop, [float("nan"), 3, 4, float("nan"), 5]) == (4, 1)
    assert run(stop, [float("nan")] * 4) == (3, 0)


@pytest.mark.parametrize("name, better", [
    ("val_accuracy", "max"), ("acc", "max"), ("loss", "min"), ("val_mse", "min"),
    ("mean_absolute_error", "min"),
    ("sparse_categorical_crossentropy", "min"), ("top_k_categorical_accuracy", "max"), ("auc", "max"),
])
def test_auto_mode(name, better):
    values = [1, 2, 3] if better == "max" else [3, 2, 1]
    assert run(EarlyStopping(monitor=name), values, name)[0] == 3
    assert run(EarlyStopping(monitor=name), values[::-1], name)[0] == 2


def test_monitor_errors():
    with pytest.raises(ValueError, match="mode='min'"):
        run(EarlyStopping(monitor="distance"), [1, 2], "distance")
    with pytest.warns(UserWarning, match="'val_loss'.*loss"):
        assert run(EarlyStopping(), [1, 2], "loss")[0] == 2
    with pytest.warns(UserWarning, match="mode 'mid'"):
        assert EarlyStopping(mode="mid").mode == "auto"


def test_history_holds_plain_floats():
    model = FakeModel()
    calls = CallbackList(None, add_history=True, model=model, epochs=2)
    calls.on_train_begin()
    calls.on_epoch_end(0, {"loss": np.float32(0.5), "acc": np.array(0.25)})
    calls.on_epoch_end(1, {"loss": 0.25, "acc": 1})
    assert model.history is calls.history
    assert calls.history.history == {"acc": [0.25, 1.0], "loss": [0.5, 0.25]}
    assert all(type(v) is float for values in calls.history.history.values() for v in values)
    assert calls.history.epoch == [0, 1] and calls.history.params == {"epochs": 2}


def test_list():
    own = History()
    calls = CallbackList([own, [LambdaCallback(), (Callback(),)]], add_history=True)
    assert calls.history is own and len(calls.callbacks) == 3
    assert CallbackList(None).callbacks == []
    with pytest.raises(ValueError, match="add \\(\\)"):
        CallbackList([EarlyStopping])
    with pytest.raises(ValueError, match="Callback"):
        CallbackList([3])


def test_batches_cost_nothing_unless_asked_for():
    def never():
        raise AssertionError("no one needs these logs")

    quiet = CallbackList([EarlyStopping(), LambdaCallback(on_epoch_end=print)])
    assert not (quiet.has_batch_hooks or quiet.has_test_batch_hooks or quiet.has_predict_batch_hooks)
    quiet.on_train_batch_end(0, never)

    seen = []

    class Old(Callback):
        def on_batch_end(self, batch, logs=None):
            seen.append((batch, logs))

    for one in (Old(), LambdaCallback(on_train_batch_end=lambda batch, logs: seen.append((batch, logs)))):
        calls = CallbackList([one])
        assert calls.has_batch_hooks and not calls.has_test_batch_hooks
        calls.on_train_batch_end(3, lambda: {"loss": np.float32(1)})
        assert seen.pop() == (3, {"loss": 1.0})


def test_every_hook_reaches_every_callback():
    class Recorder(Callback):
        pass

    seen = []
    for name in HOOKS:
        setattr(Recorder, name, lambda self, *args, name=name, **kwargs: seen.append(name))
    calls = CallbackList([Recorder()])
    for name in HOOKS:
        if name in ("on_batch_begin", "on_batch_end"):
            continue
        getattr(calls, name)(*([0] if "batch" in name or "epoch" in name else []), {})
        assert seen.pop() == name and not seen


def test_lambda_callback_errors():
    with pytest.raises(ValueError, match="on_epoch_stop.*on_epoch_end"):
        LambdaCallback(on_epoch_stop=print)
    with pytest.raises(ValueError, match="function"):
        LambdaCallback(on_epoch_end=3)


# --------------------------------------------------------------------------------------------- output
class Terminal(io.StringIO):
    def isatty(self):
        return True


def output(monkeypatch, verbose, epochs=2, steps=3, terminal=False, logs=None):
    stream = Terminal() if terminal else io.StringIO()
    monkeypatch.setattr("sys.stdout", stream)
    calls = CallbackList([progress.ProgbarLogger(verbose)], verbose=verbose, epochs=epochs, steps=steps)
    calls.on_train_begin()
    for epoch in range(epochs):
        calls.on_epoch_begin(epoch)
        for batch in range(3):
            calls.on_train_batch_end(batch, logs or {"loss": 0.5})
        calls.on_test_begin()
        calls.on_test_batch_end(9, {"loss": 0.5})
        calls.on_test_end({"loss": 0.5})
        calls.on_epoch_end(epoch, {**(logs or {"loss": 0.5}), "val_loss": 0.00025})
    calls.on_train_end()
    monkeypatch.undo()
    return without_times(stream.getvalue())


def without_times(text):
    text = re.sub(r"\x1b\[\d*[mA]", "", text)  # the terminal's colours
    return re.sub(r"\d+(us|ms|s)/step", "T/step", re.sub(r"\b\d+s\b", "Ns", text))


LINE = "3/3 - Ns - T/step - loss: 0.5000 - val_loss: 2.5000e-04\n"


@pytest.mark.parametrize("steps", [3, None])
def test_lines(monkeypatch, steps):
    expected = "Epoch 1/2\n" + LINE + "Epoch 2/2\n" + LINE
    assert output(monkeypatch, 2, steps=steps) == expected
    assert output(monkeypatch, 2, steps=steps, terminal=True) == expected
    assert output(monkeypatch, 2, epochs=1, steps=steps) == LINE
    # Without a terminal, the bar is one line an epoch.
    for verbose in (1, "auto"):
        assert output(monkeypatch, verbose, steps=steps) == "Epoch 1/2 - " + LINE + "Epoch 2/2 - " + LINE
    assert output(monkeypatch, 0, steps=steps) == output(monkeypatch, 0, terminal=True) == ""


@pytest.mark.parametrize("steps", [3, None])
def test_bar(monkeypatch, steps):
    out = output(monkeypatch, 1, steps=steps, terminal=True)
    shown = [line.split("\r")[-1].rstrip() for line in out.split("\n")]
    bar = "3/3 " + "━" * 20 + " Ns T/step - loss: 0.5000 - val_loss: 2.5000e-04"
    assert shown == ["Epoch 1/2", bar, "Epoch 2/2", bar, ""]


def test_bar_of_evaluate_and_predict(monkeypatch):
    expected_lines = {"test": "2/2 - Ns - T/step - loss: 0.5000\n", "predict": "2/2 - Ns - T/step\n"}
    for kind, expected in expected_lines.items():
        stream = io.StringIO()
        monkeypatch.setattr("sys.stdout", stream)
        calls = CallbackList([progress.ProgbarLogger(2)], verbose=2, epochs=1, steps=2)
        getattr(calls, f"on_{kind}_begin")()
        for batch in range(2):
            getattr(calls, f"on_{kind}_batch_end")(batch, {"loss": 0.5})
        getattr(calls, f"on_{kind}_end")({"loss": 0.5})
        monkeypatch.undo()
        assert without_times(stream.getvalue()) == expected


def test_verbose_is_checked():
    with pytest.raises(ValueError, match="verbose.*'loud'"):
        progress.ProgbarLogger("loud")
