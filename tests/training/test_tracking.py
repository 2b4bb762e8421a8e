"""OptunaPruning: what it tells a trial, and how it ends a fit."""

import importlib
import importlib.util
import sys
import types

import numpy as np
import pytest

import tdfast
from tdfast.callbacks import OptunaPruning
from tdfast.layers import LSTM, Dense, Input

X = np.random.default_rng(0).normal(size=(24, 5, 2)).astype("float32")
Y = X.sum((1, 2))


class Pruned(Exception):
    """What optuna.TrialPruned is."""


class Trial:
    def __init__(self, ends_at=99):
        self.ends_at, self.told = ends_at, []

    def report(self, value, step):
        assert type(value) is float
        self.told.append((step, value))

    def should_prune(self):
        return self.told[-1][0] == self.ends_at


@pytest.fixture
def optuna(monkeypatch):
    """A module of that name: the real one need not be there."""
    module = types.ModuleType("optuna")
    module.TrialPruned = Pruned
    monkeypatch.setitem(sys.modules, "optuna", module)


def fitted(trial, monitor="val_loss", **options):
    model = tdfast.Sequential([Input((5, 2)), LSTM(3), Dense(1)])
    model.compile("adam", "mse")
    return model, lambda: model.fit(X, Y, epochs=5, verbose=0, callbacks=[OptunaPruning(trial, monitor)],
                                    **options)


def test_it_tells_each_epoch():
    trial = Trial()
    model, fit = fitted(trial, validation_split=0.25)
    fit()
    assert trial.told == list(enumerate(model.history.history["val_loss"]))


def test_it_ends_the_fit(optuna):
    trial = Trial(ends_at=2)
    model, fit = fitted(trial, "loss")
    with pytest.raises(Pruned, match="loss was .* after epoch 3"):
        fit()
    assert [step for step, _ in trial.told] == [0, 1, 2]
    assert len(model.history.history["loss"]) >= 2 and model.optimizer.iterations == 3
    assert np.isfinite(model.predict(X, verbose=0)).all()
    model.fit(X, Y, epochs=1, verbose=0)


def test_a_number_that_is_not_there():
    with pytest.raises(ValueError, match="watches 'val_loss'.*: loss. Give fit validation_data"):
        fitted(Trial())[1]()
    with pytest.raises(ValueError, match="watches 'mae'.*: loss.$"):
        fitted(Trial(), "mae")[1]()


def test_what_is_no_trial():
    with pytest.raises(ValueError, match="the trial that Optuna gave the objective, got a str"):
        OptunaPruning("val_loss")


def test_with_optuna_itself():
    optuna = pytest.importorskip("optuna")
    optuna.logging.set_verbosity(optuna.logging.ERROR)

    def objective(trial):
        rate = [0.05, 0.05, 1e-6][trial.number]
        with tdfast.random.scope(0):
            model = tdfast.Sequential([Input((5, 2)), LSTM(3), Dense(1)])
            model.compile(tdfast.optimizers.Adam(rate), "mse")
            fit = model.fit(X, Y, epochs=5, verbose=0, callbacks=[OptunaPruning(trial, "loss")])
        return fit.history["loss"][-1]

    study = optuna.create_study(pruner=optuna.pruners.MedianPruner(n_startup_trials=2, n_warmup_steps=1))
    study.optimize(objective, n_trials=3)
    assert [trial.state.name for trial in study.trials] == ["COMPLETE", "COMPLETE", "PRUNED"]
    assert 1 < len(study.trials[2].intermediate_values) < 5


def test_tensorboard_itself_reads_what_is_written(tmp_path):
    reader = pytest.importorskip("tensorboard.backend.event_processing.event_accumulator")
    model, _ = fitted(None)
    model.fit(X, Y, epochs=3, validation_split=0.25, verbose=0,
              callbacks=[tdfast.callbacks.TensorBoard(tmp_path)])
    for run, name in (("train", "loss"), ("validation", "val_loss")):
        events = reader.EventAccumulator(str(tmp_path / run))
        events.Reload()
        told = events.Scalars("epoch_loss")
        assert [event.step for event in told] == [0, 1, 2]
        assert [event.value for event in told] == pytest.approx(model.history.history[name], rel=1e-6)
        assert ("epoch_learning_rate" in events.Tags()["scalars"]) == (run == "train")


def test_what_mlflow_and_wandb_cannot_do(tmp_path, monkeypatch):
    """As docs/tracking.md says; what they can do is run there."""
    monkeypatch.chdir(tmp_path)
    mlflow = pytest.importorskip("mlflow")
    mlflow.set_tracking_uri("sqlite:///runs.db")
    mlflow.autolog(silent=True)
    with mlflow.start_run() as run:
        fitted(None)[0].fit(X, Y, epochs=1, verbose=0)
    assert mlflow.get_run(run.info.run_id).data.metrics == {}
    pytest.importorskip("wandb")
    if importlib.util.find_spec("tensorflow"):
        pytest.skip("TensorFlow is here")
    with pytest.raises(ImportError, match="tensorflow"):
        importlib.import_module("wandb.integration.keras")
