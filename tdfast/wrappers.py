"""The wrappers of `keras.wrappers`: a model as an estimator of scikit-learn, with Keras's arguments.

They need the package scikit-learn: ``pip install 'tdfast[sklearn]'``. `tdfast.sklearn` has estimators for
sequences with parameters of their own.
"""

from __future__ import annotations

import copy
from typing import TYPE_CHECKING, Any

import numpy as np

from tdfast import config
from tdfast.compat import absent
from tdfast.models import Functional, Model, Sequential, clone_model
from tdfast.sklearn.estimator import Checked
from tdfast.sklearn.installed import base_class

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from sklearn.base import ClassifierMixin, RegressorMixin, TransformerMixin

    from tdfast.engine.types import Array, Data
else:
    RegressorMixin = base_class("RegressorMixin")
    ClassifierMixin = base_class("ClassifierMixin")
    TransformerMixin = base_class("TransformerMixin")


class _Wrapper(Checked):
    """What the three wrappers share."""

    model_: Any
    history_: Any

    def __init__(self, model: Model | Callable[..., Any], warm_start: bool = False,
                 model_kwargs: Mapping[str, Any] | None = None,
                 fit_kwargs: Mapping[str, Any] | None = None) -> None:
        self.model = model
        self.warm_start = warm_start
        self.model_kwargs = model_kwargs
        self.fit_kwargs = fit_kwargs

    def fit(self, X: Data, y: Any, sample_weight: Any = None, lengths: Any = None, **kwargs: Any) -> Any:
        """Train the model.

        Args:
            X: inputs, (samples, features), (samples, time, features) or with more axes.
            y: targets or labels.
            sample_weight, lengths: as of `tdfast.Model.fit`.
            **kwargs: further arguments of it, which go before those of fit_kwargs.

        Raises:
            ValueError: for data that do not fit, and for a model that is not compiled.
        """
        x = self._checked_x(X, True, np.dtype(config.floatx()))
        y = self._targets(y, len(x))
        given = {"sample_weight": self._weights(sample_weight, x), "lengths": lengths}
        options = {"verbose": 0, **(self.fit_kwargs or {}), **kwargs,
                   **{name: value for name, value in given.items() if value is not None}}
        model = self._model_for(x, y)
        self.history_ = model.fit(x, self._aims(y, model), **options)
        self.model_ = model
        return self

    @staticmethod
    def _weights(sample_weight: Any, x: Array) -> Any:
        """One for each sample, or for each step of each."""
        if sample_weight is None or np.asarray(sample_weight).ndim > 1:
            return sample_weight
        from sklearn.utils.validation import _check_sample_weight

        return _check_sample_weight(sample_weight, x, dtype=x.dtype)

    @property
    def epoch_(self) -> int:
        """The epochs of the last fit; 0 before it."""
        return len(self.history_.epoch) if hasattr(self, "history_") else 0

    def _model_for(self, x: Array, y: Array) -> Any:
        model, who = self.model, type(self).__name__
        if self.warm_start and hasattr(self, "model_"):
            return self.model_
        if isinstance(model, Model):
            if not self.warm_start:
                again = clone_model if isinstance(model, (Sequential, Functional)) else copy.deepcopy
                model = again(model)
        elif callable(model):
            model = model(X=x, y=y, **(self.model_kwargs or {}))
        if not isinstance(model, Model):
            raise TypeError(
                f"{who}: model must be a tdfast model, or a function of X, y and model_kwargs that returns "
                f"one, got {model!r}."
            )
        if not model.compiled or model.loss is None:
            raise RuntimeError(
                f"{who}: the model must be compiled, with a loss and an optimizer: model.compile('adam', "
                "'mse')."
            )
        if not model.built:
            model.build((None, *x.shape[1:]))
        return model

    def _outputs(self, x: Any, lengths: Any = None) -> Array:
        self._check_fitted()
        x = self._checked_x(x, False, np.dtype(self.model_.dtype))
        return self.model_.predict(x, verbose=0, lengths=lengths)

    def _targets(self, y: Any, n: int) -> Array:
        """Numbers; those of one axis become a column, as in Keras."""
        from sklearn.utils.validation import check_array

        if y is None:
            raise ValueError(f"{type(self).__name__} requires y to be passed, but the target y is None.")
        y = check_array(y, ensure_2d=False, allow_nd=True, input_name="y", estimator=self)
        self._check_number(y, n)
        self._y_axes, self._y_dtype = y.ndim, y.dtype if y.dtype.kind == "f" else np.dtype(float)
        return y[:, None] if y.ndim == 1 else y

    def _check_number(self, y: Array, n: int) -> None:
        if len(y) != n:
            raise ValueError(
                f"Found input variables with inconsistent numbers of samples: {[n, len(y)]}."
            )

    def _aims(self, y: Array, model: Any) -> Array:
        """What the model's loss takes."""
        return y

    def __sklearn_is_fitted__(self) -> bool:
        return hasattr(self, "model_")

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.non_deterministic = True
        return tags


class SKLearnRegressor(RegressorMixin, _Wrapper):
    """A model as a regressor of scikit-learn, with Keras's arguments. X may have any number of axes.

    Source: https://keras.io/api/utils/sklearn_wrappers/. Unlike Keras's, a copy by scikit-learn's ``clone``
    keeps fit_kwargs, and fitting is silent unless fit_kwargs say otherwise.

    Args:
        model: a compiled model, which is cloned for each fit, or a function ``f(X, y, ...)`` that returns
            one.
        warm_start: True trains the model itself, and continues with its weights in the next fit.
        model_kwargs: a dict of further arguments of the function.
        fit_kwargs: a dict of arguments of `tdfast.Model.fit`.

    Attributes:
        model_: the trained model.
        history_: the `History` of its fit.

    >>> import tdfast
    >>> def build(X, y, units=4):
    ...     model = tdfast.Sequential([tdfast.Input(X.shape[1:]), tdfast.layers.LSTM(units),
    ...                                tdfast.layers.Dense(y.shape[1])])
    ...     model.compile("adam", "mse")
    ...     return model
    >>> x = np.random.default_rng(0).normal(size=(32, 5, 2))
    >>> regressor = SKLearnRegressor(build, model_kwargs={"units": 8}, fit_kwargs={"epochs": 2})
    >>> regressor.fit(x, x[:, -1, 0]).predict(x).shape
    (32,)
    """

    def predict(self, X: Data, lengths: Any = None) -> Array:
        """The outputs for X, with y's number of axes and float type.

        Args:
            X, lengths: as in `fit`.
        """
        out = self._outputs(X, lengths).astype(self._y_dtype, copy=False)
        return out[:, 0] if self._y_axes == 1 and out.ndim == 2 and out.shape[1] == 1 else out

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.target_tags.multi_output = True
        tags.regressor_tags.poor_score = True
        return tags


class SKLearnClassifier(ClassifierMixin, _Wrapper):
    """A model as a classifier of scikit-learn, with Keras's arguments. X may have any number of axes.

    A function ``model`` gets y one-hot, as in Keras. The loss gets the targets it needs, one-hot or labels.
    Source: https://keras.io/api/utils/sklearn_wrappers/.

    Args:
        model, warm_start, model_kwargs, fit_kwargs: as of `SKLearnRegressor`.

    Attributes:
        classes_: the labels in order.
        model_, history_: as of `SKLearnRegressor`.

    >>> import tdfast
    >>> def build(X, y):
    ...     model = tdfast.Sequential([tdfast.Input(X.shape[1:]), tdfast.layers.GRU(4),
    ...                                tdfast.layers.Dense(y.shape[1], activation="softmax")])
    ...     model.compile("adam", "categorical_crossentropy")
    ...     return model
    >>> x = np.random.default_rng(0).normal(size=(32, 5, 2))
    >>> y = np.where(x[:, -1, 0] > 0, "up", "down")
    >>> SKLearnClassifier(build).fit(x, y, epochs=2).classes_.tolist()
    ['down', 'up']
    """

    classes_: Array

    def predict(self, X: Data, lengths: Any = None) -> Array:
        """The label with the largest output.

        Args:
            X, lengths: as in `fit`.
        """
        out = self._outputs(X, lengths)
        if out.shape[-1] == 1:
            edge = 0.0 if getattr(self.model_.loss, "from_logits", False) else 0.5
            return self.classes_[(out[..., 0] > edge).astype(int)]
        return self.classes_[out.argmax(axis=-1)]

    def decision_function(self, X: Data) -> Array:
        """The model's outputs."""
        return self._outputs(X)

    def _targets(self, y: Any, n: int) -> Array:
        from sklearn.utils.multiclass import check_classification_targets, type_of_target
        from sklearn.utils.validation import check_array, column_or_1d

        if y is None:
            raise ValueError("SKLearnClassifier requires y to be passed, but the target y is None.")
        y = check_array(y, ensure_2d=False, dtype=None, input_name="y", estimator=self)
        check_classification_targets(y)
        kind = type_of_target(y, input_name="y", raise_unknown=True)
        if kind not in ("binary", "multiclass"):
            raise ValueError(f"Only binary and multiclass target types are supported. Target type: {kind}")
        y = column_or_1d(y, warn=True)
        self._check_number(y, n)
        self.classes_, numbers = np.unique(y, return_inverse=True)
        if len(self.classes_) == 1:
            raise ValueError("Classifier can't train when only one class is present.")
        return np.eye(len(self.classes_), dtype=config.floatx())[numbers]

    def _aims(self, y: Array, model: Any) -> Array:
        width = model.output_shape[-1]
        if getattr(model.loss, "sparse", False):
            return y.argmax(axis=1).astype(np.int32)
        return y[:, 1:] if width == 1 and y.shape[1] == 2 else y

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.classifier_tags.poor_score = True
        return tags


class SKLearnTransformer(TransformerMixin, _Wrapper):
    """A model as a transformer of scikit-learn, with Keras's arguments: its output is the transformed X.

    Source: https://keras.io/api/utils/sklearn_wrappers/.

    Args:
        model, warm_start, model_kwargs, fit_kwargs: as of `SKLearnRegressor`.

    Attributes:
        model_, history_: as of `SKLearnRegressor`.

    >>> import tdfast
    >>> model = tdfast.Sequential([tdfast.Input((5, 2)), tdfast.layers.LSTM(3)])
    >>> model.compile("adam", "mse")
    >>> x = np.random.default_rng(0).normal(size=(32, 5, 2))
    >>> SKLearnTransformer(model).fit(x, np.zeros((32, 3))).transform(x).shape
    (32, 3)
    """

    def transform(self, X: Data) -> Array:
        """The model's outputs for X."""
        return self._outputs(X)

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.target_tags.multi_output = True
        tags.transformer_tags.preserves_dtype = []
        return tags


if not TYPE_CHECKING:             # a checker knows what is not there by itself
    __getattr__ = absent.lookup(__name__)

__all__ = ["SKLearnClassifier", "SKLearnRegressor", "SKLearnTransformer"]
