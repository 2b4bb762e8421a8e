"""Callbacks beside Keras's own: the same hooks with the same logs, and the same things done at the same
epochs.

Keras runs on the backend that KERAS_BACKEND names, JAX otherwise; without Keras these tests are skipped.
"""

import inspect
import os
import warnings

import numpy as np
import pytest

import tdfast

os.environ.setdefault("KERAS_BACKEND", "jax")
pytest.importorskip(os.environ["KERAS_BACKEND"])
keras = pytest.importorskip("keras")

BOTH = (keras, tdfast)
rng = np.random.default_rng(0)
X = rng.normal(size=(11, 3)).astype("float32")
Y = rng.normal(size=(11, 1)).astype("float32")
HOOKS = [f"on_{kind}_{when}" for kind in ("train", "epoch", "test", "predict", "train_batch", "test_batch",
                                          "predict_batch", "batch") for when in ("begin", "end")]


def model(k, **optimizer):
    made = k.Sequential([k.Input((3,)), k.layers.Dense(1, kernel_initializer="ones")])
    # Eagerly: to compile takes Keras longer than these few steps.
    made.compile(k.optimizers.SGD(**{"learning_rate": 0.125, **optimizer}), "mse", metrics=["mae"],
                 run_eagerly=True)
    return made


@pytest.mark.parametrize("name, options", [
    ("EarlyStopping", {"patience": 1, "monitor": "loss", "min_delta": 1.0, "restore_best_weights": True}),
    ("ReduceLROnPlateau", {"patience": 1, "monitor": "loss", "min_delta": 1.0}),
    ("LearningRateScheduler", {"schedule": lambda epoch, rate: rate / 2}),
    ("CSVLogger", {"filename": "log.csv"}),
    ("ModelCheckpoint", {"filepath": "best.keras", "monitor": "loss", "save_best_only": True}),
    ("TerminateOnNaN", {}),
])
def test_keras_callbacks_do_in_tdfast_what_its_own_do(name, options, tmp_path, monkeypatch):
    found = []
    for k in BOTH:
        (tmp_path / k.__name__).mkdir()
        monkeypatch.chdir(tmp_path / k.__name__)
        made = model(tdfast)
        history = made.fit(X, Y, batch_size=4, epochs=6, verbose=0, shuffle=False, validation_data=(X, Y),
                           callbacks=[getattr(k.callbacks, name)(**options)]).history
        files = {path.name: path.read_bytes() if path.suffix == ".csv" else b"" for path in
                 (tmp_path / k.__name__).iterdir()}
        found.append((history["loss"], float(made.optimizer.learning_rate), files,
                      [w.tobytes() for w in made.get_weights()]))
    assert found[0] == found[1]
    assert name not in ("ReduceLROnPlateau", "LearningRateScheduler") or found[0][1] < 0.1


def recorder(k, seen):
    """A callback that notes every hook with its number and the names in its logs, in their order."""
    def note(name):
        def hook(self, *args, logs=None):
            if args and not isinstance(args[-1], int):
                logs, args = args[-1], args[:-1]
            seen.append((name, *args, list(logs or {})))
            original = getattr(k.callbacks.Callback, name)
            if name.startswith("on_train_batch"):
                original(self, *args, logs=logs)
        return hook

    return type("Recorder", (k.callbacks.Callback,), {name: note(name) for name in HOOKS})()


def fit(k, make_callbacks, quiet=True, data=(X, Y), **options):
    """(history, model, the callbacks) of one training."""
    made, optimizer = None, options.pop("optimizer", {})
    made = model(k, **optimizer)
    own = make_callbacks(k)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        history = made.fit(*data, **{"batch_size": 4, "epochs": 5, "verbose": 0, "shuffle": False,
                                     "callbacks": own,
                                     **options})
    return history, made, own


def both(make_callbacks, **options):
    """Train in Keras and in tdfast; histories and weights must agree."""
    results = [fit(k, make_callbacks, **options) for k in BOTH]
    (theirs, their_model, _), (ours, our_model, _) = results
    assert ours.epoch == theirs.epoch
    assert list(ours.history) == list(theirs.history), "names in their order"
    for name in theirs.history:
        np.testing.assert_allclose(ours.history[name], theirs.history[name], rtol=2e-5, atol=2e-6,
                                   err_msg=name)
    for a, b in zip(their_model.get_weights(), our_model.get_weights()):
        np.testing.assert_allclose(b, a, rtol=2e-5, atol=2e-6)
    return results


def logs(k, values, name="val_loss"):
    """A callback that puts given numbers among the logs, for those that come after it."""
    def on_epoch_end(self, epoch, logs=None):
        logs[name] = values[epoch]

    return type("Logs", (k.callbacks.Callback,), {"on_epoch_end": on_epoch_end})()


# ---------------------------------------------------------------- signatures


@pytest.mark.parametrize("name", ["BackupAndRestore", "CSVLogger", "CallbackList", "EarlyStopping",
                                  "LearningRateScheduler",
                                  "ModelCheckpoint", "ReduceLROnPlateau", "SwapEMAWeights", "TensorBoard",
                                  "TerminateOnNaN",
                                  "History", "ProgbarLogger"])
def test_arguments_and_defaults(name):
    theirs, ours = [[(p.name, p.default)
                     for p in inspect.signature(getattr(k.callbacks, name)).parameters.values()
                     if p.name != "kwargs"] for k in BOTH]
    assert ours[: len(theirs)] == theirs
    assert name == "ProgbarLogger" or ours == theirs


# ---------------------------------------------------------------- hooks


@pytest.mark.parametrize("options", [
    {},
    {"validation_data": (X[:6], Y[:6])},
    {"validation_split": 0.3, "validation_freq": 2},
    {"steps_per_epoch": 2, "epochs": 1},
    {"initial_epoch": 3},
    {"initial_epoch": 5},
])
def test_hooks_of_fit(options):
    seen = {k: [] for k in BOTH}
    for k in BOTH:
        fit(k, lambda k: [recorder(k, seen[k])], **{"epochs": 3, **options})
    assert seen[tdfast] == seen[keras]


def test_hooks_of_evaluate_and_predict():
    seen = {k: [] for k in BOTH}
    for k in BOTH:
        made = model(k)
        made.evaluate(X, Y, batch_size=4, verbose=0, callbacks=[recorder(k, seen[k])])
        made.predict(X, batch_size=4, verbose=0, callbacks=[recorder(k, seen[k])])
        made.predict(X, batch_size=4, verbose=0, steps=2, callbacks=[recorder(k, seen[k])])
    assert seen[tdfast] == seen[keras]


@pytest.mark.parametrize("hook, flag", [
    ("on_train_batch_end", "stop_training"), ("on_epoch_end", "stop_training"),
    ("on_epoch_begin", "stop_training"),
    ("on_test_batch_end", "stop_evaluating"),
])
def test_hooks_after_a_stop(hook, flag):
    seen = {k: [] for k in BOTH}
    for k in BOTH:
        def stop(self, n, logs=None):
            setattr(self.model, flag, n == 1)

        def make(k):
            return [type("Stop", (k.callbacks.Callback,), {hook: stop})(), recorder(k, seen[k])]

        fit(k, make, validation_data=(X, Y))
    assert seen[tdfast] == seen[keras]


def test_order_in_the_list():
    orders = []
    for k in BOTH:
        calls = k.callbacks.CallbackList([k.callbacks.Callback()], add_history=True, add_progbar=True,
                                         model=model(k),
                                         verbose=0, epochs=1, steps=1)
        orders.append([type(c).__name__ for c in calls.callbacks])
    assert orders[0] == orders[1]


# ---------------------------------------------------------------- what they do


SEQUENCES = {
    "down": [5, 4, 3, 2, 1, 0.5, 0.25, 0.125],
    "up": [1, 2, 3, 4, 5, 6, 7, 8],
    "valley": [5, 3, 2, 2.5, 2.25, 1.5, 3, 4],
    "flat": [2.0] * 8,
    "slow": [2, 1.95, 1.9, 1.85, 1.8, 1.75, 1.7, 1.65],
    "nan": [4, 2, 3, 3.5, np.nan, 1, 3, 3],         # a first NaN cannot be beaten in Keras
}


@pytest.mark.parametrize("values", SEQUENCES.values(), ids=SEQUENCES)
@pytest.mark.parametrize("options", [
    {}, {"patience": 2}, {"patience": 2, "min_delta": 0.1}, {"patience": 1, "min_delta": -0.1},
    {"mode": "max", "patience": 1},
    {"baseline": 2.0, "patience": 2}, {"start_from_epoch": 3},
    {"patience": 2, "baseline": 0.1, "restore_best_weights": True},
    {"patience": 9, "restore_best_weights": True}, {"patience": 1, "restore_best_weights": True,
                                                    "start_from_epoch": 2},
], ids=str)
def test_early_stopping(options, values, capsys):
    results = both(lambda k: [logs(k, values), k.callbacks.EarlyStopping(verbose=1, **options)], epochs=8)
    theirs, ours = (r[2][1] for r in results)
    for name in ("stopped_epoch", "wait", "best_epoch"):
        assert getattr(ours, name) == getattr(theirs, name)
    printed = capsys.readouterr().out.splitlines()
    assert printed[: len(printed) // 2] == printed[len(printed) // 2 :]


@pytest.mark.parametrize("values", SEQUENCES.values(), ids=SEQUENCES)
@pytest.mark.parametrize("options", [
    {"patience": 1, "factor": 0.5}, {"patience": 2, "factor": 0.5, "cooldown": 1},
    {"patience": 1, "min_delta": 0.1},
    {"patience": 1, "factor": 0.5, "min_lr": 0.05, "mode": "max"},
    {"patience": 0, "factor": 0.25, "cooldown": 2},
], ids=str)
def test_reduce_on_plateau(options, values):
    (_, _, theirs), (_, _, ours) = both(lambda k: [logs(k, values), k.callbacks.ReduceLROnPlateau(**options)],
                                        epochs=8)
    assert (ours[1].wait, ours[1].cooldown_counter) == (theirs[1].wait, theirs[1].cooldown_counter)


@pytest.mark.parametrize("schedule", [lambda epoch, rate: rate * 0.5, lambda epoch: 0.25 / (epoch + 1)])
def test_learning_rate_scheduler(schedule, capsys):
    both(lambda k: [k.callbacks.LearningRateScheduler(schedule, verbose=1)])
    printed = capsys.readouterr().out
    assert printed[: len(printed) // 2] == printed[len(printed) // 2 :]


@pytest.mark.parametrize("options", [
    {}, {"save_best_only": True}, {"save_best_only": True, "initial_value_threshold": 2.5}, {"save_freq": 2},
    {"save_best_only": True, "mode": "max", "monitor": "loss"},
], ids=str)
def test_model_checkpoint(options, tmp_path, capsys):
    by_batch = "save_freq" in options
    name = "{epoch:02d}-{batch}-{loss:.3f}.keras" if by_batch else "{epoch:02d}-{val_loss:.2f}.keras"

    def make(k):
        folder = tmp_path / k.__name__
        return [logs(k, SEQUENCES["valley"]),
                k.callbacks.ModelCheckpoint(folder / name, verbose=1, **options)]

    both(make)
    names = [sorted(os.listdir(tmp_path / k.__name__)) for k in BOTH]
    assert names[0] == names[1] and names[0]
    printed = capsys.readouterr().out.replace("keras/", "tdfast/").split("tdfast/")
    text = "tdfast/".join(printed)
    assert text[: len(text) // 2] == text[len(text) // 2 :]


def test_csv_logger(tmp_path):
    def make(k):
        return [k.callbacks.CSVLogger(tmp_path / f"{k.__name__}.csv", append=True, separator=";")]

    # Without validation in the first training Keras, too, would have columns for it.
    for options in ({"validation_data": (X, Y)}, {}, {"validation_data": (X, Y), "validation_freq": 2}):
        both(make, **options)
        theirs, ours = ([line.split(";")
                         for line in (tmp_path / f"{k.__name__}.csv").read_bytes().decode().split("\r\n")]
                        for k in BOTH)
        assert len(ours) == len(theirs)
        for a, b in zip(theirs, ours):
            for p, q in zip(a, b, strict=True):
                assert p == q or abs(float(p) - float(q)) <= 1e-5 * abs(float(p))


@pytest.mark.parametrize("swap_on_epoch", [False, True])
def test_swap_ema_weights(swap_on_epoch):
    optimizer = {"use_ema": True, "ema_momentum": 0.75}
    both(lambda k: [k.callbacks.SwapEMAWeights(swap_on_epoch=swap_on_epoch)], optimizer=optimizer,
         validation_data=(X, Y))


@pytest.mark.parametrize("raise_error", [False, True])
def test_terminate_on_nan(raise_error, capsys):
    """Keras updates the weights with NaN before it looks; here they stay. Everything else is the same."""
    y, seen, histories = Y.copy(), {k: [] for k in BOTH}, []
    y[6] = np.nan
    before = tdfast.config.check_finite()
    tdfast.config.set_check_finite(False)
    try:
        for k in BOTH:
            def make(k):
                return [recorder(k, seen[k]), k.callbacks.TerminateOnNaN(raise_error=raise_error)]

            if raise_error:
                with pytest.raises(RuntimeError, match="batch 1"):
                    fit(k, make, data=(X, y))
            else:
                history = fit(k, make, data=(X, y), validation_data=(X, Y))[0]
                histories.append((list(history.history), history.epoch,
                                  np.isnan(history.history["loss"]).tolist()))
    finally:
        tdfast.config.set_check_finite(before)
    assert seen[tdfast] == seen[keras]
    if not raise_error:
        assert histories[0] == histories[1]
        printed = capsys.readouterr().out.splitlines()
        assert printed == ["Batch 1: Invalid loss, terminating training"] * 2


def test_learning_rate_of_a_script():
    for k in BOTH:
        made = model(k)
        assert float(made.optimizer.learning_rate) == 0.125
        made.optimizer.learning_rate.assign(0.5)
        assert float(made.optimizer.learning_rate) == float(made.optimizer.learning_rate.numpy()) == 0.5
        made.optimizer.learning_rate = made.optimizer.learning_rate * 0.5
        assert float(made.optimizer.learning_rate) == 0.25


@pytest.mark.parametrize("freq", ["epoch", "batch", 2])
def test_tensorboard_has_the_same_curves(freq, tmp_path):
    tf = pytest.importorskip("tensorflow")
    pytest.importorskip("tensorboard")          # with which Keras writes
    event_pb2 = pytest.importorskip("tensorflow.core.util.event_pb2")
    fit(keras, lambda k: [k.callbacks.TensorBoard(tmp_path / k.__name__, update_freq=freq)],
        validation_data=(X, Y))
    fit(tdfast, lambda k: [k.callbacks.TensorBoard(tmp_path / k.__name__, update_freq=freq)],
        validation_data=(X, Y))

    def curves(folder):
        out = {}
        for path in sorted(folder.rglob("events*")):
            for record in tf.data.TFRecordDataset(str(path)):
                event = event_pb2.Event.FromString(record.numpy())
                for v in event.summary.value:
                    if v.tag != "keras":
                        number = (
                            v.simple_value
                            if v.WhichOneof("value") == "simple_value"
                            else float(tf.make_ndarray(v.tensor))
                        )
                        out[path.parent.name, v.tag, event.step] = number
        return out

    theirs, ours = (curves(tmp_path / k.__name__) for k in BOTH)
    # With a number, Keras leaves out those epochs that end between two records.
    assert theirs.keys() <= ours.keys() if freq == 2 else ours.keys() == theirs.keys()
    for key in theirs:
        assert abs(ours[key] - theirs[key]) <= 1e-5 * max(abs(theirs[key]), 1)


@pytest.mark.parametrize("at_once", [1, 2, 3, 5])
def test_steps_per_execution(at_once):
    """The numbers of the batches that callbacks are told of, and the logs."""
    found = []
    for k in BOTH:
        seen = []

        class Recorder(k.callbacks.Callback):
            pass

        for kind in ("train", "test", "predict"):
            for when in ("begin", "end"):
                def hook(self, batch, logs=None, kind=kind, when=when, seen=seen):
                    logs = {name: np.asarray(value) for name, value in (logs or {}).items()}
                    seen.append((kind, when, batch, logs))

                setattr(Recorder, f"on_{kind}_batch_{when}", hook)
        made = k.Sequential([k.Input((3,)), k.layers.Dense(1, kernel_initializer="ones")])
        made.compile(k.optimizers.SGD(0.125), "mse", metrics=["mae"], steps_per_execution=at_once)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            data = {"batch_size": 2, "verbose": 0, "callbacks": [Recorder()]}
            made.fit(X, Y, epochs=2, shuffle=False, **data)
            made.evaluate(X, Y, **data)
            made.predict(X, **data)
        found.append(seen)
    assert [call[:3] for call in found[0]] == [call[:3] for call in found[1]]
    for theirs, ours in zip(*found):
        assert list(theirs[3]) == list(ours[3])
        for name, value in theirs[3].items():
            np.testing.assert_allclose(ours[3][name], value, rtol=1e-5, atol=1e-6, err_msg=str(theirs[:3]))
