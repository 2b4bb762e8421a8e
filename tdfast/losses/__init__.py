"""Losses, as in `keras.losses`: a number to make small, and its gradient.

``regression``, ``classification``, ``batch`` and ``ctc`` hold the losses, ``base`` what they share. A hot
loss is a case in src_c/loss.c and a small class; the others are two methods in NumPy, as a user's own are
(`Loss`, `custom`).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from tdfast.compat import absent
from tdfast.losses.base import REGISTRY, Loss, _OfFunction, custom
from tdfast.losses.batch import Circle, Dice, Tversky, circle, dice, tversky
from tdfast.losses.classification import (
    BinaryCrossentropy,
    BinaryFocalCrossentropy,
    CategoricalCrossentropy,
    CategoricalFocalCrossentropy,
    CategoricalGeneralizedCrossEntropy,
    CategoricalHinge,
    Crossentropy,
    Hinge,
    KLDivergence,
    SparseCategoricalCrossentropy,
    SquaredHinge,
    binary_crossentropy,
    binary_focal_crossentropy,
    categorical_crossentropy,
    categorical_focal_crossentropy,
    categorical_generalized_cross_entropy,
    categorical_hinge,
    hinge,
    kl_divergence,
    sparse_categorical_crossentropy,
    squared_hinge,
)
from tdfast.losses.ctc import CTC, ctc
from tdfast.losses.regression import (
    CosineSimilarity,
    Huber,
    LogCosh,
    MeanAbsoluteError,
    MeanAbsolutePercentageError,
    MeanSquaredError,
    MeanSquaredLogarithmicError,
    Poisson,
    Quantile,
    cosine_similarity,
    huber,
    log_cosh,
    mean_absolute_error,
    mean_absolute_percentage_error,
    mean_squared_error,
    mean_squared_logarithmic_error,
    pinball,
    poisson,
)

if TYPE_CHECKING:
    from tdfast.engine.types import Config, CustomObjects, LossSpec

mse = MSE = mean_squared_error
mae = MAE = mean_absolute_error
mape = MAPE = mean_absolute_percentage_error
msle = MSLE = mean_squared_logarithmic_error
bce = BCE = binary_crossentropy
kld = KLD = kl_divergence
_CLASS_OF = {
    mean_squared_error: MeanSquaredError, mean_absolute_error: MeanAbsoluteError, huber: Huber,
    log_cosh: LogCosh,
    mean_absolute_percentage_error: MeanAbsolutePercentageError, poisson: Poisson, pinball: Quantile,
    mean_squared_logarithmic_error: MeanSquaredLogarithmicError, cosine_similarity: CosineSimilarity,
    categorical_crossentropy: CategoricalCrossentropy, binary_crossentropy: BinaryCrossentropy,
    sparse_categorical_crossentropy: SparseCategoricalCrossentropy, kl_divergence: KLDivergence,
    binary_focal_crossentropy: BinaryFocalCrossentropy,
    categorical_focal_crossentropy: CategoricalFocalCrossentropy,
    categorical_generalized_cross_entropy: CategoricalGeneralizedCrossEntropy, hinge: Hinge,
    squared_hinge: SquaredHinge, categorical_hinge: CategoricalHinge, dice: Dice, tversky: Tversky,
    circle: Circle, ctc: CTC,
}


def get(identifier: LossSpec) -> Any:
    """The `Loss` that a name, a class, an object, one of this module's functions or Keras's dict means.

    A plain function of (y_true, y_pred) becomes a `Loss`, whose derivative is found.

    Raises:
        ValueError: for an unknown name.

    >>> get("mse").name
    'mean_squared_error'
    >>> import numpy as np
    >>> def rmse(y_true, y_pred):
    ...     return np.sqrt(np.mean((y_pred - y_true) ** 2))
    >>> get(rmse).name
    'rmse'
    """
    found = REGISTRY.get(_class_of(identifier))
    if found is not None and not isinstance(found, Loss):
        return _OfFunction(found)
    return found


def _class_of(loss: Any) -> Any:
    """The class for one of this module's functions; anything else as it is."""
    try:
        return _CLASS_OF.get(loss, loss)
    except TypeError:                   # not hashable: a dict
        return loss


def serialize(loss: Any) -> Any:
    """Keras's dict for a loss; a bare name stays one.

    >>> serialize(Huber(0.5))["class_name"]
    'Huber'
    """
    return REGISTRY.serialize(loss.function if isinstance(loss, _OfFunction) else _class_of(loss))


def deserialize(name: Config | str | None, custom_objects: CustomObjects = None) -> Any:
    """The loss of a serialized dict or name.

    Raises:
        ValueError: for an unknown one.

    >>> deserialize(serialize(Huber(0.5))).delta
    0.5
    """
    return get(REGISTRY.deserialize(name, custom_objects))


if not TYPE_CHECKING:             # a checker knows what is not there by itself
    __getattr__ = absent.lookup(__name__)

__all__ = [                             # noqa: F822, PLE0604 -- made from the table above
    "BCE", "KLD", "MAE", "MAPE", "MSE", "MSLE", "bce", "kld", "mae", "mape", "mse", "msle",
    "Crossentropy", "Loss", "custom", "deserialize", "get", "serialize",
]
__all__ += [f.__name__ for f in _CLASS_OF] + [c.__name__ for c in _CLASS_OF.values()]
