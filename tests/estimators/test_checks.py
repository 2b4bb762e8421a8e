"""scikit-learn's own checks of estimators, all of them, on those of tdfast."""

import pytest

checks = pytest.importorskip("sklearn.utils.estimator_checks")

from sklearn.base import clone  # noqa: E402 -- after the skip

import tdfast  # noqa: E402
from tdfast.sklearn import SequenceClassifier, SequenceRegressor, SeriesScaler  # noqa: E402
from tdfast.wrappers import SKLearnClassifier, SKLearnRegressor, SKLearnTransformer  # noqa: E402

SEED = {"random_state": 0}
QUICK = {"units": 8, "learning_rate": 0.02, "epochs": 40, **SEED}


def build(X, y, loss):
    """A small model for rows of any kind, as a user of Keras's wrappers writes it."""
    tdfast.utils.set_random_seed(0)
    end = "softmax" if loss == "categorical_crossentropy" else None
    model = tdfast.Sequential([tdfast.Input(X.shape[1:]), tdfast.layers.Dense(8, activation="relu"),
                               tdfast.layers.Dense(y.shape[1], activation=end)])
    model.compile("adam", tdfast.losses.get(loss))
    model.loss.reduction = "mean_with_sample_weight"
    return model


def wrapped(cls, loss):
    """seed: the same fit again, which some checks want."""
    return cls(build, model_kwargs={"loss": loss}, fit_kwargs={"epochs": 5, "batch_size": 1000, "seed": 1})


ESTIMATORS = [
    SequenceRegressor(**QUICK), SequenceClassifier(**QUICK), SeriesScaler(),
    wrapped(SKLearnRegressor, "mse"), wrapped(SKLearnClassifier, "categorical_crossentropy"),
    wrapped(SKLearnTransformer, "mse"),
]


WEIGHTS = "check_sample_weight_equivalence_on_dense_data"
FLOAT32 = "it wants 7 digits of float32 sums in another order: test_weights_are_repetitions has it in float64"
AS_KERAS = "decision_function gives the model's outputs as they are, two for two classes, as Keras's does"
REASONS = {
    SequenceRegressor: {WEIGHTS: FLOAT32}, SequenceClassifier: {WEIGHTS: FLOAT32}, SeriesScaler: {},
    SKLearnRegressor: {WEIGHTS: FLOAT32}, SKLearnTransformer: {WEIGHTS: FLOAT32},
    SKLearnClassifier: {"check_classifiers_classes": AS_KERAS, "check_classifiers_train": AS_KERAS},
}


def failing(estimator):
    """The checks that cannot pass, and why."""
    return REASONS[type(estimator)]


@checks.parametrize_with_checks(ESTIMATORS, expected_failed_checks=failing)
def test_scikit_learns_checks(estimator, check):
    check(estimator)


@pytest.mark.parametrize("estimator", [e for e in ESTIMATORS if not isinstance(e, SeriesScaler)],
                         ids=lambda e: type(e).__name__)
def test_weights_are_repetitions(estimator):
    """In float64 and with one batch, as scikit-learn runs it for its own networks."""
    before = tdfast.config.floatx()
    tdfast.config.set_floatx("float64")
    try:
        estimator = clone(estimator)
        if isinstance(estimator, (SequenceRegressor, SequenceClassifier)):
            estimator.set_params(batch_size=1000, shuffle=False)
        getattr(checks, WEIGHTS)(type(estimator).__name__, estimator)
    finally:
        tdfast.config.set_floatx(before)
