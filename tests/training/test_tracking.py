"""OptunaPruning: what it tells a trial, and how it ends a fit."""

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
        model = tdfast.Sequential([Input((5, 2)), LSTM(3), Dense(1)])
        model.compile(tdfast.optimizers.Adam(rate), "mse")
        with tdfast.random.scope(0):
            fit = model.fit(X, Y, epochs=5, verbose=0, callbacks=[OptunaPruning(trial, "loss")])
        return fit.history["loss"][-1]

    study = optuna.create_study(pruner=optuna.pruners.MedianPruner(n_startup_trials=2, n_warmup_steps=1))
    study.optimize(objective, n_trials=3)
    assert [trial.state.name for trial in study.trials] == ["COMPLETE", "COMPLETE", "PRUNED"]
    assert 1 < len(study.trials[2].intermediate_values) < 5
