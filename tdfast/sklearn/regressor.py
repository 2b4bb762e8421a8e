"""Sequences to numbers, as an estimator of scikit-learn."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from tdfast import losses
from tdfast.losses.base import BuiltIn
from tdfast.sklearn.arrays import valid_steps, weighted_moments
from tdfast.sklearn.estimator import SequenceEstimator, check_outputs, ends_linear
from tdfast.sklearn.installed import base_class

if TYPE_CHECKING:
    from collections.abc import Sequence

    from sklearn.base import RegressorMixin

    from tdfast.engine.types import Array, CallbacksSpec, Data, LossSpec, OptimizerSpec, Verbose
else:
    RegressorMixin = base_class("RegressorMixin")


# Losses that ask only how far outputs and targets are apart, in whatever unit.
OF_DISTANCES = (losses.MeanSquaredError, losses.MeanAbsoluteError, losses.Huber, losses.LogCosh,
                losses.Quantile)


class SequenceRegressor(RegressorMixin, SequenceEstimator):
    """Recurrent layers, or a model of your own, that learn numbers from sequences.

    X is (samples, time, feature), or rows of which each is a window, with `n_features` numbers for each time
    step. y is (samples,); (samples, targets), such as the next hours; or has a target for each time step:
    (samples, time) with ``return_sequences=True``, or (samples, time, targets).

    Args:
        model: None builds one from the next six parameters. A `tdfast.Sequential`, or a `tdfast.Model` of a
            graph, is cloned for each fit. Or a function ``f(input_shape, n_outputs, ...)`` that returns a
            model; its further keywords are parameters by the name ``model__NAME``, in `set_params` and in
            searches too. A model that is compiled keeps its optimizer and its loss.
        cell: 'lstm' (default), 'gru' or 'rnn'.
        units: of each recurrent layer, default 32.
        layers: how many of them, default 1.
        bidirectional: whether they read in both directions, default False.
        dropout, recurrent_dropout: of these layers, default 0.
        return_sequences: whether y has a target for each time step, default False.
        loss: a name, a `tdfast.losses.Loss` or a function; None is 'mse', or the quantiles' loss.
        optimizer: a name or a `tdfast.optimizers.Optimizer`, default 'adam'.
        learning_rate: None leaves the optimizer's.
        epochs: at most so many, default 100.
        batch_size: default 32.
        shuffle: a new order of the samples in each epoch, default True.
        early_stopping: whether to end when the loss of samples kept apart has not become smaller for some
            epochs, with the weights of the best one. Default False.
        validation_fraction: the samples kept apart for it: the last ones. Default 0.1.
        n_iter_no_change: how many epochs it waits, default 10.
        warm_start: whether `fit` continues with the weights of the last one, default False.
        n_features: the features of a time step, for X of two axes. Default 1. None hands rows to the model
            as they are, such as the numbers of words to one that begins with an Embedding.
        layout: 'time-feature' (default): X is (samples, time, feature), or rows have all features of one time
            step side by side. 'feature-time': X is (samples, feature, time), as in sktime and aeon, or rows
            have all time steps of one feature side by side, as darts makes them.
        newest_first: whether the time steps come from the newest to the oldest, as in the rows of skforecast
            and mlforecast. Default False.
        scale_y: whether the model learns targets less their mean, by their standard deviation, default True.
            Predictions are in y's unit in any case.
        quantiles: levels such as (0.1, 0.5, 0.9) to learn instead of the mean: `predict` gives the one
            nearest to 0.5, `predict_quantiles` all of them.
        callbacks: a list of `tdfast.callbacks.Callback`.
        random_state: a whole number decides all that a fit draws, in threads too, and leaves other random
            numbers as they are. None draws a seed from tdfast's generator. A ``numpy.random.RandomState``
            gives a seed.
        n_threads: the threads of a fit or a prediction; None leaves them as they are. No number depends on
            it.
        verbose: as of `tdfast.Model.fit`, default 0.
        **model__keywords: ``model__NAME``, the keywords of the function ``model``.

    Attributes:
        model_: the trained model.
        history_: a dict of lists, one number an epoch.
        n_iter_: the epochs so far.
        n_outputs_: the targets.
        n_features_in_, feature_names_in_: the features of X, or its columns if it has two axes.

    >>> from tdfast.sklearn import SequenceRegressor
    >>> x = np.random.default_rng(0).normal(size=(64, 5, 2))
    >>> y = x[:, -1].sum(axis=1)
    >>> regressor = SequenceRegressor(units=8, learning_rate=0.02, epochs=40, random_state=0).fit(x, y)
    >>> regressor.score(x, y) > 0.9
    True
    >>> regressor.predict(x[:3]).shape
    (3,)
    """

    n_outputs_: int

    def __init__(
        self, model: Any = None, *, cell: str = "lstm", units: int = 32, layers: int = 1,
        bidirectional: bool = False, dropout: float = 0.0, recurrent_dropout: float = 0.0,
        return_sequences: bool = False, loss: LossSpec = None, optimizer: OptimizerSpec = "adam",
        learning_rate: Any = None, epochs: int = 100, batch_size: int = 32, shuffle: bool = True,
        early_stopping: bool = False, validation_fraction: float = 0.1, n_iter_no_change: int = 10,
        warm_start: bool = False, n_features: int | None = 1, layout: str = "time-feature",
        newest_first: bool = False, scale_y: bool = True, quantiles: Sequence[float] | None = None,
        callbacks: CallbacksSpec = None, random_state: Any = None, n_threads: int | None = None,
        verbose: Verbose = 0, **model__keywords: Any,
    ) -> None:
        super().__init__(
            model, cell=cell, units=units, layers=layers, bidirectional=bidirectional, dropout=dropout,
            recurrent_dropout=recurrent_dropout, return_sequences=return_sequences, loss=loss,
            optimizer=optimizer, learning_rate=learning_rate, epochs=epochs, batch_size=batch_size,
            shuffle=shuffle, early_stopping=early_stopping, validation_fraction=validation_fraction,
            n_iter_no_change=n_iter_no_change, warm_start=warm_start, n_features=n_features, layout=layout,
            newest_first=newest_first, callbacks=callbacks, random_state=random_state, n_threads=n_threads,
            verbose=verbose, **model__keywords,
        )
        self.scale_y = scale_y
        self.quantiles = quantiles

    def fit(self, X: Data, y: Any, sample_weight: Any = None, lengths: Any = None) -> SequenceRegressor:
        """Train on sequences and their targets.

        Args:
            X: sequences, see the class.
            y: numbers, see the class.
            sample_weight: a weight for each sample, or for each of its time steps where y has these.
            lengths: for sequences padded on the right: the valid steps of each, (samples,).

        Raises:
            ValueError: for parameters and data that do not fit.
        """
        return self._all_epochs(X, y, sample_weight, lengths, not self._goes_on())

    def partial_fit(self, X: Data, y: Any, sample_weight: Any = None,
                    lengths: Any = None) -> SequenceRegressor:
        """Train for one epoch, from the weights that are there. Targets are scaled as in the first call.

        Args:
            X, y, sample_weight, lengths: as in `fit`.
        """
        return self._one_epoch(X, y, sample_weight, lengths)

    def predict(self, X: Data, lengths: Any = None) -> Array:
        """The targets of X, of y's shape: with quantiles, that whose level is nearest to 0.5.

        Args:
            X: sequences as in `fit`; arrays of three axes may have another number of time steps.
            lengths: as in `fit`.
        """
        out = self._levels_of(X, lengths)
        middle = int(np.argmin(np.abs(np.asarray(self._levels) - 0.5)))
        return self._like_y(out[..., middle])

    def predict_quantiles(self, X: Data, lengths: Any = None) -> Array:
        """The quantiles, of y's shape with one more axis for the levels, in the order of ``quantiles``.

        Each level is learned by itself; where they cross, the numbers are put in order.

        Raises:
            ValueError: for a regressor without quantiles.
        """
        if self.quantiles is None:
            raise ValueError(
                "predict_quantiles: give SequenceRegressor levels such as quantiles=(0.1, 0.5, 0.9)."
            )
        out = self._levels_of(X, lengths)
        return np.stack([self._like_y(out[..., i]) for i in range(out.shape[-1])], axis=-1)

    def score(self, X: Data, y: Any, sample_weight: Any = None, lengths: Any = None) -> float:
        """R2, the mean over the targets; of targets per step, over all steps that are no padding.

        Args:
            X, y, sample_weight, lengths: as in `fit`.
        """
        from sklearn.metrics import r2_score

        found, y = self.predict(X, lengths=lengths), np.asarray(y)
        if self._per_step:
            valid = valid_steps(lengths, y.shape)
            if sample_weight is not None:
                weight = np.asarray(sample_weight)
                weight = weight if weight.ndim == 2 else weight[:, None]
                sample_weight = np.broadcast_to(weight, valid.shape)[valid]
            found, y = found[valid], y[valid]
        return float(r2_score(y, found, sample_weight=sample_weight))

    # ---------------------------------------------------------------- what training asks for
    def _activation(self) -> Any:
        return None

    def _loss_spec(self) -> Any:
        if self.quantiles is None:
            return "mse" if self.loss is None else self.loss
        if self.loss not in (None, "quantile", "pinball"):
            raise ValueError(f"SequenceRegressor: quantiles have their own loss, so loss must be None, got "
                             f"{self.loss!r}.")
        return losses.Quantile(list(self.quantiles), reduction="mean_with_sample_weight")

    def _targets(self, y: Any, x: Array, anew: bool) -> Array:
        from sklearn.utils.validation import check_array, check_consistent_length

        dtype = getattr(y, "dtype", None)
        y = check_array(y, ensure_2d=False, allow_nd=True, dtype=np.float64, input_name="y", estimator=self)
        check_consistent_length(x, y)
        if y.ndim not in (1, 2, 3):
            raise ValueError(
                f"SequenceRegressor: y must be (samples,), (samples, targets), (samples, time) or (samples, "
                f"time, targets), got the shape {y.shape}."
            )
        if anew:
            self._y_axes = y.ndim
            self._y_dtype = np.dtype(dtype if dtype in (np.dtype("float32"), np.dtype("float16")) else float)
        elif y.ndim != self._y_axes:
            raise ValueError(
                f"SequenceRegressor was fitted on y of {self._y_axes} axes, but got y of the shape {y.shape}."
            )
        return y

    def _targets_of(self, y: Array) -> int:
        """How many targets there are, of a sample or of a step."""
        return 1 if y.ndim == 1 or (y.ndim == 2 and self._per_step) else int(y.shape[-1])

    def _width(self, y: Array) -> int:
        levels = np.atleast_1d([0.5] if self.quantiles is None else self.quantiles).ravel()
        if not levels.size or not ((levels > 0) & (levels < 1)).all():
            raise ValueError(
                f"SequenceRegressor: quantiles must be levels between 0 and 1, such as (0.1, 0.5, 0.9), got "
                f"{self.quantiles!r}."
            )
        self._levels = [float(level) for level in levels]
        return self._targets_of(y) * len(self._levels)

    def _measure(self, y: Array, weight: Any, lengths: Any) -> None:
        """Check the model against the targets, and find the targets' mean and spread."""
        self.n_outputs_ = self._targets_of(y)
        many, loss = len(self._levels), self.model_.loss
        what = f"y has {self.n_outputs_} target(s){' a step' if self._per_step else ''}"
        if many > 1:
            what += f" of {many} quantiles"
        check_outputs(self.model_, [self.n_outputs_ * many], what, "SequenceRegressor")
        self._check_loss(loss)
        mean, spread = np.zeros(self.n_outputs_), np.ones(self.n_outputs_)
        if self.scale_y:
            self._check_scaled(loss)
            y = y.reshape(*y.shape[:2 if self._per_step else 1], self.n_outputs_)
            if self._per_step:
                rows = np.ones(y.shape[:2]) if weight is None else weight.reshape(len(y), -1)
                weight = rows * valid_steps(lengths, y.shape)
            mean, spread = weighted_moments(y, weight)
        self._y_mean, self._y_spread = mean[:, None], spread[:, None]

    def _check_loss(self, loss: Any) -> None:
        if self.quantiles is None:
            return
        learned = np.ravel(loss.quantiles).tolist() if isinstance(loss, losses.Quantile) else None
        if learned != self._levels:
            raise ValueError(
                f"SequenceRegressor: with quantiles={self.quantiles!r} the model must be compiled with "
                f"tdfast.losses.Quantile({self._levels}), or not be compiled; it has {loss!r}."
            )

    def _check_scaled(self, loss: Any) -> None:
        """Raise a ValueError where targets with mean 0 cannot be learned."""
        if isinstance(loss, BuiltIn) and not isinstance(loss, OF_DISTANCES):
            raise ValueError(
                f"SequenceRegressor: the loss '{loss.name}' needs the targets as they are: give "
                "scale_y=False."
            )
        activation = ends_linear(self.model_)
        if activation is not None:
            raise ValueError(
                f"SequenceRegressor: the model ends with the activation '{activation}', which cannot give all"
                " of the targets once they have mean 0 and standard deviation 1: give scale_y=False, or "
                "end it without."
            )

    def _aims(self, y: Array) -> Array:
        """The targets as the model learns them."""
        if self._targets_of(y) != self.n_outputs_:
            raise ValueError(
                f"SequenceRegressor was fitted on {self.n_outputs_} target(s), but got y of the shape "
                f"{y.shape}."
            )
        y = y.reshape(*y.shape[:2 if self._per_step else 1], self.n_outputs_)
        return ((y - self._y_mean[:, 0]) / self._y_spread[:, 0]).astype(self.model_.dtype)

    def _apart(self, y: Array) -> Array:
        """The rows that early stopping measures: the last ones, as of `fit`'s validation_split."""
        return np.arange(int(len(y) * (1 - self.validation_fraction)), len(y))

    # ---------------------------------------------------------------- what the model's outputs are
    def _levels_of(self, x: Any, lengths: Any) -> Array:
        """(samples[, time], targets, levels), in y's unit."""
        out = self._outputs(x, lengths)
        out = out.astype(np.float64).reshape(*out.shape[:-1], self.n_outputs_, len(self._levels))
        out = out * self._y_spread + self._y_mean
        return np.sort(out, axis=-1)[..., np.argsort(np.argsort(self._levels))]

    def _like_y(self, out: Array) -> Array:
        """(samples[, time], targets) in y's number of axes and dtype."""
        axes = 2 + self._per_step
        return (out[..., 0] if self._y_axes < axes else out).astype(self._y_dtype)

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.target_tags.multi_output = True
        return tags
