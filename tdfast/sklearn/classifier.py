"""Sequences to classes, as an estimator of scikit-learn."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from tdfast import activations
from tdfast.sklearn.arrays import valid_steps
from tdfast.sklearn.estimator import SequenceEstimator, check_outputs
from tdfast.sklearn.installed import base_class

if TYPE_CHECKING:
    from sklearn.base import ClassifierMixin

    from tdfast.engine.types import Array, Data
else:
    ClassifierMixin = base_class("ClassifierMixin")


class SequenceClassifier(ClassifierMixin, SequenceEstimator):
    """Recurrent layers, or a model of your own, that learn the classes of sequences or of their time steps.

    X is as in `SequenceRegressor`. y has labels of any kind: (samples,), or with ``return_sequences=True``
    one for each time step, (samples, time). The parameters are those of `SequenceRegressor` without scale_y
    and quantiles. What differs:

    Args:
        model: it ends with one unit for each class, softmax or logits; for two classes also with one unit,
            sigmoid or a logit. ``n_outputs`` of a function is the number of classes. A loss of labels and one
            of one-hot targets get what they take.
        loss: None is 'sparse_categorical_crossentropy'.
        validation_fraction: for early stopping, of each class the last samples.

    Attributes:
        classes_: the labels in order.
        model_, history_, n_iter_, n_features_in_, feature_names_in_: as of `SequenceRegressor`.

    >>> from tdfast.sklearn import SequenceClassifier
    >>> x = np.random.default_rng(0).normal(size=(60, 6, 1))
    >>> y = np.where(x.sum(axis=(1, 2)) > 0, "up", "down")
    >>> classifier = SequenceClassifier(cell="gru", units=8, learning_rate=0.02, epochs=30, random_state=0)
    >>> classifier.fit(x, y).score(x, y) > 0.9
    True
    >>> classifier.classes_.tolist(), classifier.predict_proba(x[:3]).shape
    (['down', 'up'], (3, 2))
    """

    classes_: Array

    def fit(self, X: Data, y: Any, sample_weight: Any = None, lengths: Any = None) -> SequenceClassifier:
        """Train on sequences and their labels.

        Args:
            X: sequences, see `SequenceRegressor`.
            y: labels, see the class.
            sample_weight: a weight for each sample, or for each of its time steps where y has these.
            lengths: for sequences padded on the right: the valid steps of each, (samples,).

        Raises:
            ValueError: for parameters and data that do not fit.
        """
        anew = not self._goes_on()
        if anew:
            self.__dict__.pop("classes_", None)
        return self._all_epochs(X, y, sample_weight, lengths, anew)

    def partial_fit(self, X: Data, y: Any, classes: Any = None, sample_weight: Any = None,
                    lengths: Any = None) -> SequenceClassifier:
        """Train for one epoch, from the weights that are there.

        Args:
            X, y, sample_weight, lengths: as in `fit`.
            classes: all labels that there will be, in the first call.

        Raises:
            ValueError: in a first call without classes, or for others than before.
        """
        if not hasattr(self, "model_"):
            if classes is None:
                raise ValueError("classes must be passed on the first call to partial_fit.")
            self.classes_ = np.unique(np.asarray(classes))
        elif classes is not None and not np.array_equal(np.unique(np.asarray(classes)), self.classes_):
            raise ValueError(
                f"classes={classes!r} is not the same as on the last call to partial_fit, which was "
                f"{self.classes_.tolist()}."
            )
        return self._one_epoch(X, y, sample_weight, lengths)

    def predict_proba(self, X: Data, lengths: Any = None) -> Array:
        """The probability of each class, in the order of ``classes_``: (samples[, time], classes).

        Args:
            X, lengths: as in `fit`.
        """
        out, loss = self._outputs(X, lengths), self.model_.loss
        logits = bool(getattr(loss, "from_logits", False))
        if out.shape[-1] > 1:
            return activations.softmax(out) if logits else out
        out = activations.sigmoid(out) if logits else out
        return np.concatenate([1 - out, out], axis=-1)

    def predict(self, X: Data, lengths: Any = None) -> Array:
        """The most probable label of each sample, or of each time step.

        Args:
            X, lengths: as in `fit`.
        """
        shares = self.predict_proba(X, lengths)
        return self.classes_[shares.argmax(axis=-1)]

    def score(self, X: Data, y: Any, sample_weight: Any = None, lengths: Any = None) -> float:
        """The share of right labels; of labels per step, over all steps that are no padding.

        Args:
            X, y, sample_weight, lengths: as in `fit`.
        """
        found = self.predict(X, lengths=lengths)
        right = found == np.asarray(y).reshape(found.shape)
        weight = None if sample_weight is None else np.asarray(sample_weight, np.float64)
        if self._per_step:
            valid = valid_steps(lengths, right.shape)
            weight = valid if weight is None else valid * weight.reshape(len(right), -1)
        return float(np.average(right, weights=weight))

    # ---------------------------------------------------------------- what training asks for
    def _activation(self) -> Any:
        return "softmax"

    def _loss_spec(self) -> Any:
        return "sparse_categorical_crossentropy" if self.loss is None else self.loss

    def _targets(self, y: Any, x: Array, anew: bool) -> Array:
        """The numbers of the classes."""
        from sklearn.utils.multiclass import check_classification_targets
        from sklearn.utils.validation import check_array, check_consistent_length, column_or_1d

        if self.return_sequences and np.asarray(y).ndim == 2:
            y = check_array(y, dtype=None, input_name="y", estimator=self)
            check_classification_targets(y.ravel())
        else:
            y = check_array(y, ensure_2d=False, dtype=None, input_name="y", estimator=self)
            if y.ndim == 2 and y.shape[1] > 1:
                raise ValueError(
                    f"SequenceClassifier: y must have one label a sample, got the shape {y.shape}. For a "
                    "label at each time step give return_sequences=True; of one-hot targets give "
                    "y.argmax(axis=1)."
                )
            y = column_or_1d(y, warn=True)
            check_classification_targets(y)
        check_consistent_length(x, y)
        found, numbers = np.unique(y, return_inverse=True)
        if not hasattr(self, "classes_"):
            self.classes_ = found
            if len(found) < 2:
                raise ValueError(
                    f"SequenceClassifier needs two classes or more, but y has one class: {found[0]!r}."
                )
            return numbers.reshape(y.shape)
        unknown = np.setdiff1d(found, self.classes_)
        if len(unknown):
            raise ValueError(
                f"y has the labels {unknown.tolist()}, which are not among the classes "
                f"{self.classes_.tolist()}."
            )
        return np.searchsorted(self.classes_, y)

    def _width(self, y: Array) -> int:
        return len(self.classes_)

    def _measure(self, y: Array, weight: Any, lengths: Any) -> None:
        """Check the model against the classes."""
        many = len(self.classes_)
        wanted = [many, 1] if many == 2 else [many]
        check_outputs(self.model_, wanted, f"there are {many} classes", "SequenceClassifier")

    def _aims(self, y: Array) -> Array:
        """Labels, one-hot, or one number for two classes: what the model's loss takes."""
        width, dtype = self.model_.output_shape[-1], self.model_.dtype
        if width == 1:
            return y[..., None].astype(dtype)
        if getattr(self.model_.loss, "sparse", False):
            return y.astype(np.int32)
        return np.eye(width, dtype=dtype)[y]

    def _apart(self, y: Array) -> Array:
        """The rows that early stopping measures: of each class the last ones."""
        if y.ndim > 1:
            return np.arange(int(len(y) * (1 - self.validation_fraction)), len(y))
        rows = [np.flatnonzero(y == label) for label in range(len(self.classes_))]
        return np.sort(np.concatenate([a[len(a) - int(len(a) * self.validation_fraction):] for a in rows]))
