"""Models as scikit-learn and joblib use them: cloned, searched over, stored and sent to other processes."""

import copy

import numpy as np
import pytest
from test_pickling import X, Y, goes_on, model_of, own_model, trained

from tdfast.utils import set_random_seed

base = pytest.importorskip("sklearn.base")
joblib = pytest.importorskip("joblib")


class Regressor(base.RegressorMixin, base.BaseEstimator):
    """An estimator with a model as one of its parameters."""

    def __init__(self, model=None, epochs=1):
        self.model, self.epochs = model, epochs

    def fit(self, x, y):
        self.fitted_ = base.clone(self.model, safe=False)
        set_random_seed(0)
        self.fitted_.fit(x, y, epochs=self.epochs, verbose=0)
        return self

    def predict(self, x):
        return self.fitted_.predict(x, verbose=0)

    def score(self, x, y):
        return -float(np.mean((self.predict(x) - y) ** 2))


@pytest.mark.parametrize("jobs", [1, 2])
def test_scikit_learn_clones_and_searches(jobs):
    from sklearn.model_selection import GridSearchCV

    estimator = Regressor(model_of())
    before = estimator.model.get_weights()
    twin = base.clone(estimator)
    assert twin.model is not estimator.model and goes_on(twin.model) == goes_on(
        copy.deepcopy(estimator.model)
    )
    search = GridSearchCV(estimator, {"epochs": [1, 30]}, cv=2, n_jobs=jobs).fit(X, Y)
    assert search.best_params_ == {"epochs": 30}
    assert all(np.array_equal(a, b) for a, b in zip(before, estimator.model.get_weights()))


def test_joblib_stores_and_spreads(tmp_path):
    model = trained(own_model())
    joblib.dump(model, tmp_path / "m.joblib", compress=3)
    want = goes_on(copy.deepcopy(model))
    assert goes_on(joblib.load(tmp_path / "m.joblib")) == want
    assert joblib.Parallel(2)(joblib.delayed(goes_on)(model) for _ in range(2)) == [want, want]
