"""The estimators within scikit-learn: searches, pipelines, splits, stacks, routed arguments; the same in each
backend of joblib."""

import numpy as np
import pytest

sklearn = pytest.importorskip("sklearn")
joblib = pytest.importorskip("joblib")

from sklearn.base import clone  # noqa: E402 -- after the skip
from sklearn.compose import TransformedTargetRegressor  # noqa: E402
from sklearn.ensemble import StackingRegressor  # noqa: E402
from sklearn.experimental import enable_halving_search_cv  # noqa: E402, F401
from sklearn.linear_model import Ridge  # noqa: E402
from sklearn.model_selection import (  # noqa: E402
    GridSearchCV,
    HalvingRandomSearchCV,
    TimeSeriesSplit,
    cross_val_predict,
    cross_val_score,
)
from sklearn.pipeline import make_pipeline  # noqa: E402
from sklearn.preprocessing import FunctionTransformer  # noqa: E402
from test_sequences import LABELS, QUICK, RUNNING, Y, build, same  # noqa: E402
from test_sequences import X as SERIES  # noqa: E402

import tdfast  # noqa: E402
from tdfast.sklearn import SequenceClassifier, SequenceRegressor, SeriesScaler  # noqa: E402
from tdfast.wrappers import SKLearnClassifier, SKLearnRegressor, SKLearnTransformer  # noqa: E402

X = 5 * SERIES + 20


@pytest.mark.parametrize("estimator, grid", [
    (SequenceRegressor(build, epochs=3, random_state=0), {"model__units": [2, 6], "epochs": [1, 8]}),
    (SequenceRegressor(**QUICK), {"cell": ["gru", "rnn"], "units": [3, 9]}),
], ids=["function", "cells"])
def test_grids_give_the_same_scores_in_every_backend(estimator, grid):
    found = []
    for backend, jobs in (("loky", 2), ("threading", 2), ("threading", 1)):
        with joblib.parallel_config(backend=backend):
            search = GridSearchCV(estimator, grid, cv=TimeSeriesSplit(2), n_jobs=jobs).fit(SERIES, Y)
        found.append(search.cv_results_["mean_test_score"])
    assert np.isfinite(found[0]).all() and len(set(found[0])) == 4
    assert np.array_equal(found[0], found[1]) and np.array_equal(found[0], found[2])
    assert search.best_estimator_.predict(SERIES).shape == Y.shape


def test_dask_gives_the_scores_of_one_process():
    distributed = pytest.importorskip("distributed")
    grid = {"model__units": [2, 6]}
    search = GridSearchCV(SequenceRegressor(build, epochs=3, random_state=0), grid, cv=TimeSeriesSplit(2))
    alone = search.fit(SERIES, Y).cv_results_["mean_test_score"]
    with distributed.Client(n_workers=2, threads_per_worker=1, dashboard_address=None):
        with joblib.parallel_config(backend="dask"):
            spread = clone(search).fit(SERIES, Y).cv_results_["mean_test_score"]
    assert np.array_equal(alone, spread)


def test_halving_searches_by_epochs():
    search = HalvingRandomSearchCV(
        SequenceRegressor(**QUICK), {"units": [2, 4, 8], "cell": ["gru", "lstm"]}, resource="epochs",
        max_resources=8, min_resources=2, factor=2, cv=2, random_state=0)
    assert search.fit(SERIES, Y).best_estimator_.n_iter_ == 8


def test_pipelines_scale_series():
    pipeline = make_pipeline(SeriesScaler(), SequenceRegressor(**QUICK))
    scores = cross_val_score(pipeline, X, Y, cv=TimeSeriesSplit(3))
    assert np.isfinite(scores).all() and len(scores) == 3
    by_hand = SequenceRegressor(**QUICK).fit(SeriesScaler().fit_transform(X), Y)
    assert same(pipeline.fit(X, Y)[-1], by_hand)
    assert clone(pipeline).set_params(sequenceregressor__units=3).fit(X, Y)[-1].model_.layers[0].units == 3
    target = TransformedTargetRegressor(pipeline, func=np.log, inverse_func=np.exp)
    assert (target.fit(X, np.exp(Y)).predict(X) > 0).all()


def test_stacks():
    last = make_pipeline(FunctionTransformer(lambda x: x[:, -1]), Ridge())
    stack = StackingRegressor([("series", SequenceRegressor(**QUICK)), ("last", last)], cv=3)
    assert stack.fit(SERIES, Y).score(SERIES, Y) > 0.95


def test_predictions_of_folds_and_probabilities():
    shares = cross_val_predict(SequenceClassifier(**QUICK), SERIES, LABELS, cv=3, method="predict_proba")
    assert shares.shape == (48, 2)
    scores = cross_val_score(SequenceClassifier(**{**QUICK, "epochs": 40}), SERIES, LABELS, cv=3,
                             scoring="roc_auc")
    assert scores.min() > 0.8
    steps = cross_val_score(SequenceRegressor(return_sequences=True, **QUICK), SERIES, RUNNING, cv=2)
    assert np.isfinite(steps).all()


def test_weights_and_lengths_are_routed():
    lengths, weight = np.arange(48) % 5 + 2, np.linspace(0.1, 2, 48)
    with sklearn.config_context(enable_metadata_routing=True):
        regressor = (SequenceRegressor(**QUICK).set_fit_request(sample_weight=True, lengths=True)
                     .set_score_request(sample_weight=True, lengths=True).set_predict_request(lengths=True))
        pipeline = make_pipeline(SeriesScaler().set_fit_request(lengths=True), regressor)
        if hasattr(pipeline, "set_score_request"):
            pytest.skip("pipelines of scikit-learn before 1.9 do not route weights to score")
        search = GridSearchCV(pipeline, {"sequenceregressor__units": [3, 6]}, cv=2)
        search.fit(X, Y, sample_weight=weight, lengths=lengths)
        found = search.best_estimator_
    scaler = SeriesScaler().fit(X, lengths=lengths)
    by_hand = SequenceRegressor(**{**QUICK, "units": search.best_params_["sequenceregressor__units"]})
    by_hand.fit(scaler.transform(X), Y, sample_weight=weight, lengths=lengths)
    assert same(found[-1], by_hand)
    first, second = np.arange(24), np.arange(24, 48)
    scores = []
    for train, test in ((second, first), (first, second)):
        scaler = SeriesScaler().fit(X[train], lengths=lengths[train])
        one = SequenceRegressor(**QUICK).fit(scaler.transform(X[train]), Y[train], weight[train],
                                             lengths[train])
        scores.append(one.score(scaler.transform(X[test]), Y[test], weight[test], lengths[test]))
    assert np.isclose(search.cv_results_["mean_test_score"][1], np.mean(scores))


# ---------------------------------------------------------------- the wrappers of Keras's names


def dynamic(X, y, loss="mse", units=(4,)):
    """As in Keras's documentation of its wrappers."""
    end = inputs = tdfast.Input(X.shape[1:])
    for size in units:
        end = tdfast.layers.LSTM(size, return_sequences=size != units[-1])(end)
    activation = "softmax" if "crossentropy" in loss else None
    model = tdfast.Model(inputs, tdfast.layers.Dense(y.shape[1], activation=activation)(end))
    model.compile("adam", loss)
    return model


def test_wrappers_take_series_and_survive_clones():
    regressor = SKLearnRegressor(dynamic, model_kwargs={"units": (4, 3)}, fit_kwargs={"epochs": 3})
    twin = clone(regressor)
    assert twin.fit_kwargs == {"epochs": 3} and twin.model_kwargs == {"units": (4, 3)}
    assert twin.epoch_ == 0 and twin.fit(SERIES, Y).epoch_ == 3
    assert len(twin.history_.history["loss"]) == 3 and twin.predict(SERIES).shape == (48,)
    assert len(twin.fit(SERIES, Y, epochs=1).history_.history["loss"]) == 1
    assert np.isfinite(cross_val_score(regressor, SERIES, Y, cv=2)).all()
    search = GridSearchCV(regressor, {"model_kwargs": [{"units": (2,)}, {"units": (5,)}]}, cv=2)
    assert search.fit(SERIES, Y).best_estimator_.predict(SERIES).shape == (48,)
    with sklearn.config_context(enable_metadata_routing=True):
        routed = clone(regressor).set_fit_request(sample_weight=True)
        assert routed.get_metadata_routing().fit.requests["sample_weight"] is True


def test_wrappers_clone_the_model_but_for_a_warm_start():
    model = tdfast.Sequential([tdfast.Input((6, 2)), tdfast.layers.LSTM(4), tdfast.layers.Dense(1)])
    with pytest.raises(RuntimeError, match="must be compiled"):
        SKLearnRegressor(model).fit(SERIES, Y)
    model.compile("adam", "mse")
    before = model.get_weights()
    found = SKLearnRegressor(model).fit(SERIES, Y)
    assert found.model_ is not model and all(map(np.array_equal, before, model.get_weights()))
    warm = SKLearnRegressor(model, warm_start=True).fit(SERIES, Y)
    assert warm.model_ is model and not all(map(np.array_equal, before, model.get_weights()))
    steps = int(model.optimizer.iterations)
    assert int(warm.fit(SERIES, Y).model_.optimizer.iterations) == 2 * steps
    made = SKLearnRegressor(dynamic, warm_start=True).fit(SERIES, Y).model_
    assert SKLearnRegressor(dynamic).fit(SERIES, Y).fit(SERIES, Y).model_.optimizer.iterations == steps
    again = SKLearnRegressor(dynamic, warm_start=True).fit(SERIES, Y)
    assert again.model_ is not made and again.fit(SERIES, Y).model_.optimizer.iterations == 2 * steps
    with pytest.raises(TypeError, match="a function of X, y and model_kwargs"):
        SKLearnRegressor("model").fit(SERIES, Y)


@pytest.mark.parametrize("loss", ["categorical_crossentropy", "sparse_categorical_crossentropy"])
def test_the_wrapped_classifier_gives_each_loss_what_it_takes(loss):
    found = SKLearnClassifier(dynamic, model_kwargs={"loss": loss},
                              fit_kwargs={"epochs": 60, "batch_size": 8})
    assert found.fit(SERIES, LABELS).score(SERIES, LABELS) > 0.8
    assert found.decision_function(SERIES).shape == (48, 2)
    with pytest.raises(ValueError, match="only one class"):
        found.fit(SERIES, np.ones(48))


def test_the_wrapped_transformer_makes_features():
    model = tdfast.Sequential([tdfast.Input((6, 2)), tdfast.layers.LSTM(3)])
    model.compile("adam", "mse")
    pipeline = make_pipeline(SKLearnTransformer(model), Ridge())
    target = np.stack([Y, Y, Y], axis=1)
    assert pipeline.fit(SERIES, target).predict(SERIES).shape == (48, 3)
