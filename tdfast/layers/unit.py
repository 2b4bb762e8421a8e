"""Layers that bring the numbers along an axis to length 1, or groups of features to variance 1."""

import numpy as np

from tdfast.engine import norms
from tdfast.engine.layer import Layer
from tdfast.layers.normalization import Normalizing


class _Length(Layer):
    """What UnitNormalization and RMSNormalization share: ``n = x / length``, with the length of x along some
    axes."""

    def __init__(self, axis, **kwargs):
        super().__init__(**kwargs)
        axes = axis if isinstance(axis, (list, tuple)) else [axis]
        if not axes or not all(isinstance(a, (int, np.integer)) and not isinstance(a, bool) for a in axes):
            raise TypeError(
                f"Layer '{self.name}' ({type(self).__name__}): axis must be a whole number or a list of "
                f"them, got {axis!r}."
            )
        self.axis = list(axis) if isinstance(axis, (list, tuple)) else axis

    def axes(self, shape):
        """The axes from 0, in order; refused where the input has none, or it is the batch's."""
        n, axes = len(shape), self.axis if isinstance(self.axis, list) else [self.axis]
        if any(not -n <= a < n or a % n == 0 for a in axes):
            raise ValueError(
                f"Layer '{self.name}' ({type(self).__name__}): axis={self.axis} does not fit input of shape "
                f"{tuple(shape)}. "
                "An axis must be one of the input's, and not the batch."
            )
        return tuple(sorted({a % n for a in axes}))

    def check_input_shape(self, input_shape):
        self.axes(input_shape)

    @property
    def reads_masked_steps(self):
        return self.built and 1 in self.axes(self.input_shape) and len(self.input_shape) > 2

    def treats_steps_alone(self, shape):
        return 1 not in self.axes(shape)

    def normalize(self, rec, x):
        """n, and on the record what `back` needs."""
        rec.axes = self.axes(x.shape)
        rec.normal = rec.buffer("normal", x.shape, x.dtype)
        few = tuple(1 if a in rec.axes else n for a, n in enumerate(x.shape))
        inverse = rec.buffer("inverse", few, x.dtype)
        np.sum(np.multiply(x, x, out=rec.normal), axis=rec.axes, keepdims=True, out=inverse)
        rec.weight = self.inverse_length(inverse, x, rec.axes, max(x.size // max(inverse.size, 1), 1))
        rec.inverse = inverse
        np.multiply(x, inverse, out=rec.normal)
        # 1 / length is 0 then, though n is a number like any other
        denormal = inverse < np.finfo(x.dtype).tiny
        if denormal.any():
            exact = np.divide(x, np.sqrt(norms.squares(x, rec.axes)))
            np.copyto(rec.normal, exact, where=denormal, casting="same_kind")
        return rec.normal

    def back(self, rec, dn):
        """The gradient of x from that of n: (dn - n sum(dn n) weight) / length, in dn's memory."""
        work = np.multiply(dn, rec.normal, out=rec.buffer("work", dn.shape, dn.dtype))
        along = np.sum(work, axis=rec.axes, keepdims=True,
                       out=rec.buffer("along", rec.inverse.shape, dn.dtype))
        along *= rec.weight
        np.subtract(dn, np.multiply(rec.normal, along, out=work), out=dn)
        return np.multiply(dn, rec.inverse, out=dn)


class UnitNormalization(_Length):
    """Each row along ``axis`` to length 1: ``y = x / max(sqrt(sum(x^2)), 1e-12)``.

    Source: https://keras.io/api/layers/normalization_layers/unit_normalization/.

    Args:
        axis: the axis, or a list of several.

    >>> UnitNormalization(dtype="float64")([[3.0, 4.0]]).round(3).tolist()
    [[0.6, 0.8]]
    """

    LEAST = 1e-12

    def __init__(self, axis=-1, **kwargs):
        super().__init__(axis, **kwargs)

    def inverse_length(self, squares, x, axes, n):
        """1 / length in the place of the sum of squares; returns the weight of `back`, 0 where the length was
        not x's."""
        norms.inverse_roots(squares, lambda: norms.squares(x, axes))
        np.minimum(squares, squares.dtype.type(1 / self.LEAST), out=squares)
        return (squares < squares.dtype.type(1 / self.LEAST)).astype(squares.dtype)

    def forward(self, x, tape, training=False, mask=None):
        return self.normalize(tape.push(self), x)

    def backward(self, dy, tape, need_dx=True):
        rec = tape.pop(self)
        return self.back(rec, dy) if need_dx else None

    def get_config(self):
        return {**super().get_config(), "axis": self.axis}


class RMSNormalization(_Length):
    """Each row along ``axis`` by its root mean square: ``y = x / sqrt(mean(x^2) + epsilon) scale``.

    Source: https://keras.io/api/layers/normalization_layers/rms_normalization/; Zhang and Sennrich 2019.

    Args:
        axis: the axis, or a list of several; scale has their sizes.
        epsilon: added to the mean.

    >>> RMSNormalization(dtype="float64")([[3.0, 3.0]]).round(3).tolist()
    [[1.0, 1.0]]
    """

    def __init__(self, axis=-1, epsilon=1e-6, **kwargs):
        super().__init__(axis, **kwargs)
        if isinstance(epsilon, bool) or not epsilon >= 0:
            raise ValueError(
                f"Layer '{self.name}' (RMSNormalization): epsilon must be a number of at least 0, got "
                f"{epsilon!r}."
            )
        self.epsilon, self.scale = epsilon, None

    def check_input_shape(self, input_shape):
        sizes = tuple(input_shape[a] for a in self.axes(input_shape))
        if None in sizes or (self.built and sizes != self.scale.shape):
            raise ValueError(
                f"Layer '{self.name}' (RMSNormalization) needs a known size of axis {self.axis}"
                + (f", {self.scale.shape}," if self.built
                   else "") + f" got input of shape {tuple(input_shape)}."
            )

    def build(self, input_shape):
        self.scale = self.add_weight(tuple(input_shape[a] for a in self.axes(input_shape)), "ones", "scale")
        # as in Keras, once it is built
        self.axis = sorted(self.axis) if isinstance(self.axis, list) else [self.axis]

    def inverse_length(self, squares, x, axes, n):
        """1 / length in the place of the sum of squares; returns the weight of `back`."""
        squares /= n
        norms.inverse_roots(squares, lambda: norms.squares(x, axes) / n, self.epsilon)
        return 1 / n

    def _scale(self, axes, shape):
        return self.scale.value.reshape([n if a in axes else 1 for a, n in enumerate(shape)])

    def forward(self, x, tape, training=False, mask=None):
        rec = tape.push(self)
        normal = self.normalize(rec, x)
        return np.multiply(normal, self._scale(rec.axes, x.shape), out=rec.buffer("y", x.shape, x.dtype))

    def backward(self, dy, tape, need_dx=True):
        rec = tape.pop(self)
        work = np.multiply(dy, rec.normal, out=rec.buffer("work", dy.shape, dy.dtype))
        np.sum(work, axis=tuple(a for a in range(dy.ndim) if a not in rec.axes), out=self.scale.grad)
        if not need_dx:
            return None
        return self.back(rec, np.multiply(dy, self._scale(rec.axes, dy.shape), out=dy))

    def get_config(self):
        return {**super().get_config(), "axis": self.axis, "epsilon": self.epsilon}


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
