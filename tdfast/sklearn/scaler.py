"""Features of sequences with mean 0 and standard deviation 1."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from tdfast.sklearn.arrays import as_sequences, check_layout, valid_steps, weighted_moments
from tdfast.sklearn.estimator import Checked, steps_told
from tdfast.sklearn.installed import base_class

if TYPE_CHECKING:
    from sklearn.base import OneToOneFeatureMixin, TransformerMixin

    from tdfast.engine.types import Array, Data
else:
    TransformerMixin = base_class("TransformerMixin")
    OneToOneFeatureMixin = base_class("OneToOneFeatureMixin")


class SeriesScaler(OneToOneFeatureMixin, TransformerMixin, Checked):
    """Each feature less its mean, by its standard deviation, both over all samples and all time steps.

    scikit-learn's `StandardScaler` takes no arrays of three axes, and would scale each column of a window by
    itself. A constant feature is only centred. Shapes stay as they are, float32 and float64 too.

    Args:
        with_mean: whether the mean is taken away, default True.
        with_std: whether to divide by the standard deviation, default True.
        n_features: of each time step, for X of two axes, whose rows are windows; default 1.
        layout: the order of the columns or axes, see `SequenceRegressor`.

    Attributes:
        mean_, scale_: one number a feature.
        n_features_in_: the features, or the columns of X of two axes. feature_names_in_: those of a frame.

    >>> from tdfast.sklearn import SeriesScaler
    >>> x = np.array([[[1.0, 10.0], [2.0, 10.0]], [[3.0, 10.0], [2.0, 10.0]]])      # (2, 2, 2)
    >>> scaler = SeriesScaler().fit(x)
    >>> scaler.mean_.tolist()
    [2.0, 10.0]
    >>> bool(np.allclose(scaler.inverse_transform(scaler.transform(x)), x))
    True
    """

    def __init__(self, *, with_mean: bool = True, with_std: bool = True, n_features: int = 1,
                 layout: str = "time-feature") -> None:
        self.with_mean = with_mean
        self.with_std = with_std
        self.n_features = n_features
        self.layout = layout

    def fit(self, X: Data, y: Any = None, lengths: Any = None) -> SeriesScaler:
        """Measure the features.

        Args:
            X: (samples, time, feature), or rows.
            y: nothing, as in all transformers.
            lengths: of sequences padded on the right, (samples,); padding does not count.
        """
        check_layout(self.n_features, self.layout, type(self).__name__)
        x = self._checked_x(X, reset=True, dtypes=[np.float64, np.float32], most=3)
        x = as_sequences(x, self.n_features, self.layout, type(self).__name__)
        lengths = steps_told(lengths, x.shape, type(self).__name__)
        weight = None if lengths is None else valid_steps(lengths, x.shape).astype(np.float64)
        mean, spread = weighted_moments(x, weight)
        self.mean_ = mean if self.with_mean else np.zeros_like(mean)
        self.scale_ = spread if self.with_std else np.ones_like(spread)
        return self

    def transform(self, X: Data) -> Array:
        """(X - mean_) / scale_, of X's shape."""
        x, mean, scale = self._ready(X)
        return (x - mean) / scale

    def inverse_transform(self, X: Data) -> Array:
        """X scale_ + mean_: what `transform` was given."""
        x, mean, scale = self._ready(X)
        return x * scale + mean

    def _ready(self, X: Data) -> tuple[Array, Array, Array]:
        """X, and the means and spreads to be broadcast over it."""
        self._check_fitted()
        x = self._checked_x(X, reset=False, dtypes=[np.float64, np.float32], most=3)
        numbers = self.mean_.astype(x.dtype), self.scale_.astype(x.dtype)
        first = self.layout == "time-feature"
        if x.ndim == 3:
            mean, scale = numbers if first else (a[:, None] for a in numbers)
        else:
            steps = x.shape[1] // len(self.mean_)
            mean, scale = (np.tile(a, steps) if first else np.repeat(a, steps) for a in numbers)
        return x, mean, scale

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.transformer_tags.preserves_dtype = ["float64", "float32"]
        return tags
