"""BatchNormalization: each feature by its mean and variance over the batch."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import numpy as np

from tdfast import initializers
from tdfast.engine.together import sum_of_parts
from tdfast.layers.normalization.base import Normalizing

if TYPE_CHECKING:
    from collections.abc import Sequence

    from tdfast.engine.tape import Tape
    from tdfast.engine.types import (
        Array,
        Arrays,
        Config,
        ConstraintSpec,
        InitializerSpec,
        Masks,
        RegularizerSpec,
        Shapes,
        Sizes,
    )

MASK_EPSILON = 1e-7          # what Keras adds to the number of valid steps, lest it be 0


class BatchNormalization(Normalizing):
    """Each feature to mean 0 and variance 1 over the batch, then times gamma plus beta::

        y = (x - mean) / sqrt(variance + epsilon) gamma + beta

    In training, mean and variance are those of the batch over all axes but ``axis`` (a mask's valid steps
    only), and the moving ones follow: moving = momentum moving + (1 - momentum) batch. Otherwise, or with
    ``trainable=False``, the moving ones are used. Inside `TimeDistributed`, training takes each time step by
    itself, as in Keras 3. Ioffe and Szegedy 2015; names and defaults are those of
    https://keras.io/api/layers/normalization_layers/batch_normalization/. Where several processes train
    together, the batch is all of theirs.

    Args:
        axis: that of the features.
        momentum: how slowly the moving statistics follow, from 0 to 1.
        epsilon: added to the variance.
        center, scale: whether there are beta and gamma.
        beta_initializer, gamma_initializer, moving_mean_initializer, moving_variance_initializer: of the
        weights.
        beta_regularizer, gamma_regularizer, beta_constraint, gamma_constraint: or None.
        renorm, renorm_clipping, renorm_momentum: accepted as long as the first is False.
        synchronized: accepted: a batch's statistics are always those of all processes, see
            `tdfast.distribution`.

    Call: ``layer(x, training=False, mask=None)`` with x of shape (batch, ..., features); the output has its
        shape.

    >>> import numpy as np
    >>> layer = BatchNormalization()
    >>> layer(np.array([[1.0], [3.0]]), training=True).round(2).tolist()
    [[-1.0], [1.0]]
    >>> [w.name for w in layer.weights]
    ['gamma', 'beta', 'moving_mean', 'moving_variance']
    """

    batch_coupled = True

    def __init__(
        self,
        axis: int = -1,
        momentum: float = 0.99,
        epsilon: float = 0.001,
        center: bool = True,
        scale: Any = True,
        beta_initializer: InitializerSpec = "zeros",
        gamma_initializer: InitializerSpec = "ones",
        moving_mean_initializer: InitializerSpec = "zeros",
        moving_variance_initializer: InitializerSpec = "ones",
        beta_regularizer: RegularizerSpec = None,
        gamma_regularizer: RegularizerSpec = None,
        beta_constraint: ConstraintSpec = None,
        gamma_constraint: ConstraintSpec = None,
        renorm: Any = False,
        renorm_clipping: Any = None,
        renorm_momentum: float = 0.99,
        synchronized: Any = False,
        **kwargs: Any,
    ) -> None:
        super().__init__(epsilon, center, scale, beta_initializer, gamma_initializer, beta_regularizer,
                         gamma_regularizer,
                         beta_constraint, gamma_constraint, **kwargs)
        self.synchronized = self._flag(synchronized, "synchronized")
        if self._flag(renorm, "renorm"):
            raise ValueError(f"Layer '{self.name}': renorm=True is not supported; leave it out.")
        self.axis, self.momentum, self.renorm_momentum = int(axis), float(momentum), renorm_momentum
        if not 0 <= self.momentum <= 1:
            raise ValueError(f"Layer '{self.name}': momentum must be between 0 and 1, got {momentum}.")
        self.moving_mean_initializer = initializers.get(moving_mean_initializer)
        self.moving_variance_initializer = initializers.get(moving_variance_initializer)

    def sizes_of(self, input_shape: Shapes) -> list[Any]:
        """The number of features, in a list."""
        return [input_shape[a] for a in self.axes_in([self.axis], input_shape)]

    def build(self, input_shape: Shapes) -> None:
        shape = tuple(self.sizes_of(input_shape))
        self.add_scale_and_center(shape)
        self.moving_mean = self.add_weight(shape, self.moving_mean_initializer, "moving_mean",
                                           trainable=False)
        self.moving_variance = self.add_weight(shape, self.moving_variance_initializer, "moving_variance",
                                               trainable=False)

    def _axes(self, shape: Sizes) -> tuple[Any, ...]:
        """(the axes to average over, the shape of gamma against x)."""
        axis = self.axis % len(shape)
        return tuple(a for a in range(len(shape))
                     if a != axis), tuple(n if a == axis else 1 for a, n in enumerate(shape))

    def forward(self, x: Array, tape: Tape, training: bool = False, mask: Masks = None) -> Arrays:
        rec = tape.push(self)
        others, shape = self._axes(x.shape)
        normal, y = rec.buffer("normal", x.shape, x.dtype), rec.buffer("y", x.shape, x.dtype)
        rec.batch = training and self.trainable and x.size > 0
        if rec.batch:
            rec.counts, rec.total = self._counts(x, mask, others)
            mean = sum_of_parts(np.sum(x, axis=others, where=rec.counts)) / rec.total
            np.subtract(x, mean.reshape(shape), out=normal)
            squares = np.sum(np.multiply(normal, normal, out=y), axis=others, where=rec.counts)
            variance = sum_of_parts(squares) / rec.total
            if np.isfinite(mean).all() and np.isfinite(variance).all():     # else the step will be refused
                for moving, value in ((self.moving_mean.value, mean), (self.moving_variance.value, variance)):
                    moving *= self.momentum
                    moving += value * (1 - self.momentum)
        else:
            variance = self.moving_variance.value
            np.subtract(x, self.moving_mean.value.reshape(shape), out=normal)
        rec.inverse = (1 / np.sqrt(variance + self.epsilon)).astype(x.dtype).reshape(shape)
        rec.normal = np.multiply(normal, rec.inverse, out=normal)
        return self.scaled(normal, shape, y)

    def _counts(self, x: Array, mask: Masks, others: Sequence[Any]) -> tuple[Any, ...]:
        """Which numbers count in the statistics (True: all), and how many do for each feature."""
        if mask is None:
            return True, sum_of_parts(math.prod(x.shape[a] for a in others))
        counts = mask.reshape(mask.shape + (1,) * (x.ndim - mask.ndim))
        number = np.sum(np.broadcast_to(counts, x.shape), axis=others, dtype=x.dtype)
        return counts, sum_of_parts(number) + x.dtype.type(MASK_EPSILON)

    def backward(self, dy: Array, tape: Tape, need_dx: bool = True) -> Arrays:
        rec = tape.pop(self)
        others, shape = self._axes(dy.shape)
        dx, work = rec.buffer("dx", dy.shape, dy.dtype), rec.buffer("work", dy.shape, dy.dtype)
        dnormal = self.back_to_scale(dy, rec.normal, others, shape, dx)
        if not need_dx:
            return None
        if rec.batch:
            # normal = (x - mean) inverse, with mean and variance = sums of x and (x - mean)^2, where they
            # count, / total
            total = rec.total.reshape(shape) if np.ndim(rec.total) else rec.total
            slopes = np.sum(np.multiply(dnormal, rec.normal, out=work), axis=others, keepdims=True)
            slope = sum_of_parts(slopes) / total
            mean = sum_of_parts(np.sum(dnormal, axis=others, keepdims=True)) / total
            through = np.multiply(rec.normal, slope, out=work)
            through += mean
            if rec.counts is not True:
                normals = np.sum(rec.normal, axis=others, keepdims=True, where=rec.counts)
                left_over = sum_of_parts(normals) / total
                through -= slope * left_over
                through *= rec.counts
            np.subtract(dnormal, through, out=dx)
        return np.multiply(dx, rec.inverse, out=dx)

    def get_config(self) -> Config:
        return {
            **self.config_of({"momentum": self.momentum}, {}, ("moving_mean", "moving_variance")),
            "synchronized": self.synchronized,
            "renorm": False,
            "renorm_clipping": None,
            "renorm_momentum": self.renorm_momentum,
        }
