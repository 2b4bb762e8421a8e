"""GroupNormalization: each group of features of a sample by its mean and variance."""

import numpy as np

from tdfast.engine import norms
from tdfast.layers.normalization.base import Normalizing


class GroupNormalization(Normalizing):
    """Each group of features of a sample to mean 0 and variance 1, then times gamma plus beta.

    Mean and variance are those of the group's numbers at all places of the sample (all time steps, masked
    ones too, as in Keras). Source: https://keras.io/api/layers/normalization_layers/group_normalization/; Wu
    and He 2018.

    Args:
        groups: how many; the features must divide into them. -1: each feature by itself.
        axis: that of the features.
        epsilon: added to the variance.
        center, scale: whether there are beta and gamma.
        beta_initializer, gamma_initializer: of the weights.
        beta_regularizer, gamma_regularizer, beta_constraint, gamma_constraint: or None.

    Raises:
        ValueError: for groups that the features do not divide into.

    >>> GroupNormalization(2, epsilon=0)([[1.0, 3.0, 10.0, 30.0]]).tolist()
    [[-1.0, 1.0, -1.0, 1.0]]
    """

    def __init__(self, groups=32, axis=-1, epsilon=1e-3, center=True, scale=True, beta_initializer="zeros",
                 gamma_initializer="ones", beta_regularizer=None, gamma_regularizer=None,
                 beta_constraint=None,
                 gamma_constraint=None, **kwargs):
        super().__init__(epsilon, center, scale, beta_initializer, gamma_initializer, beta_regularizer,
                         gamma_regularizer,
                         beta_constraint, gamma_constraint, **kwargs)
        if (
            isinstance(groups, bool)
            or not isinstance(groups, (int, np.integer))
            or (groups < 1 and groups != -1)
        ):
            raise ValueError(
                f"Layer '{self.name}' (GroupNormalization): groups must be a whole number above 0 or -1, got "
                f"{groups!r}."
            )
        self.groups, self.axis = int(groups), int(axis)

    @property
    def reads_masked_steps(self):
        return self.built and len(self.input_shape) > 2

    def sizes_of(self, input_shape):
        """The number of features, in a list."""
        return [input_shape[a] for a in self.axes_in([self.axis], input_shape)]

    def check_input_shape(self, input_shape):
        super().check_input_shape(input_shape)
        features, = self.sizes_of(input_shape)
        if self.groups != -1 and features % self.groups:
            raise ValueError(
                f"Layer '{self.name}' (GroupNormalization): {features} features do not divide into "
                f"groups={self.groups}."
            )

    def build(self, input_shape):
        features, = self.sizes_of(input_shape)
        self.groups = features if self.groups == -1 else self.groups       # as in Keras, once it is built
        self.add_scale_and_center((features,))

    def treats_steps_alone(self, shape):
        return False                # a mean over the whole sample

    def _mean(self, rec, name, x):
        """Each group's mean over the sample, for each of its features: (batch, 1, ..., features)."""
        axis = self.axis % x.ndim
        shape = tuple(n if a in (0, axis) else 1 for a, n in enumerate(x.shape))
        mean = rec.buffer(name, shape, x.dtype)
        np.sum(x, axis=tuple(a for a in range(1, x.ndim) if a != axis), keepdims=True, out=mean)
        groups = mean.reshape(len(x), self.groups, -1) if len(x) else mean.reshape(0, self.groups, 1)
        total = rec.buffer("total", (*groups.shape[:2], 1), x.dtype)
        np.sum(groups, axis=2, keepdims=True, out=total)
        total /= max(x[:1].size // self.groups, 1)
        groups[...] = total
        return mean

    def forward(self, x, tape, training=False, mask=None):
        rec = tape.push(self)
        rec.normal, y = rec.buffer("normal", x.shape, x.dtype), rec.buffer("y", x.shape, x.dtype)
        np.subtract(x, self._mean(rec, "mean", x), out=rec.normal)
        inverse = self._mean(rec, "inverse", np.multiply(rec.normal, rec.normal, out=y))
        rec.inverse = norms.inverse_roots(
            inverse, lambda: self._mean(rec, "wide", np.square(rec.normal, dtype=np.float64)), self.epsilon
        )
        np.multiply(rec.normal, inverse, out=rec.normal)
        return self.scaled(rec.normal, self._beside(x), y)

    def _beside(self, x):
        """The shape in which gamma and beta broadcast to x."""
        return [n if a == self.axis % x.ndim else 1 for a, n in enumerate(x.shape)]

    def backward(self, dy, tape, need_dx=True):
        rec = tape.pop(self)
        dx, work = rec.buffer("dx", dy.shape, dy.dtype), rec.buffer("work", dy.shape, dy.dtype)
        others = tuple(a for a in range(dy.ndim) if a != self.axis % dy.ndim)
        dnormal = self.back_to_scale(dy, rec.normal, others, self._beside(dy), dx)
        if not need_dx:
            return None
        slope = self._mean(rec, "slope", np.multiply(dnormal, rec.normal, out=work))
        np.subtract(dnormal, self._mean(rec, "dmean", dnormal), out=dx)
        np.subtract(dx, np.multiply(rec.normal, slope, out=work), out=dx)
        return np.multiply(dx, rec.inverse, out=dx)

    def get_config(self):
        config = self.config_of({}, {})
        head = {key: config.pop(key) for key in ("name", "trainable", "dtype", "activity_regularizer")
                if key in config}
        return {**head, "groups": self.groups, **config}
