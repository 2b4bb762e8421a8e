"""Layers that bring their input to mean 0 and variance 1: LayerNormalization and BatchNormalization."""

import math

import numpy as np

from tdfast import constraints, initializers, regularizers
from tdfast.engine import norms
from tdfast.engine.layer import Layer
from tdfast.layers.core import weight_config

PARTS = ("beta", "gamma")
MASK_EPSILON = 1e-7          # what Keras adds to the number of valid steps, lest it be 0


class Normalizing(Layer):
    """What the normalizing layers share: a factor gamma and a term beta, and their configuration."""

    def __init__(self, epsilon, center, scale, beta_initializer, gamma_initializer, beta_regularizer,
                 gamma_regularizer,
                 beta_constraint, gamma_constraint, **kwargs):
        super().__init__(**kwargs)
        if isinstance(epsilon, bool) or not epsilon >= 0:
            raise ValueError(f"Layer '{self.name}': epsilon must be a number of at least 0, got {epsilon!r}.")
        self.epsilon = epsilon
        self.center, self.scale = self._flag(center, "center"), self._flag(scale, "scale")
        self.beta_initializer = initializers.get(beta_initializer)
        self.gamma_initializer = initializers.get(gamma_initializer)
        self.beta_regularizer = regularizers.get(beta_regularizer)
        self.gamma_regularizer = regularizers.get(gamma_regularizer)
        self.beta_constraint = constraints.get(beta_constraint)
        self.gamma_constraint = constraints.get(gamma_constraint)
        self.gamma = self.beta = None

    def add_scale_and_center(self, shape):
        """Make gamma and beta, where there are such."""
        if self.scale:
            self.gamma = self.add_weight(shape, self.gamma_initializer, "gamma",
                                         regularizer=self.gamma_regularizer, constraint=self.gamma_constraint)
        if self.center:
            self.beta = self.add_weight(shape, self.beta_initializer, "beta",
                                        regularizer=self.beta_regularizer, constraint=self.beta_constraint)

    def axes_in(self, axes, input_shape):
        """``axes`` counted from 0, refused where the input has none or does not say their size."""
        n = len(input_shape)
        if any(not -n <= a < n or a % n == 0 for a in axes):
            raise ValueError(
                f"Layer '{self.name}' ({type(self).__name__}): axis={list(axes)} does not fit input of shape "
                f"{tuple(input_shape)}. An axis must be one of the input's, and not the batch."
            )
        axes = sorted(a % n for a in axes)
        if any(input_shape[a] is None for a in axes):
            raise ValueError(
                f"Layer '{self.name}' ({type(self).__name__}) needs to know the size of axis {axes} of its "
                "input, got "
                f"shape {tuple(input_shape)}."
            )
        return axes

    def check_input_shape(self, input_shape):
        if self.built and self.sizes_of(input_shape) != self.sizes_of(self.input_shape):
            raise ValueError(
                f"Layer '{self.name}' ({type(self).__name__}) was built for input of shape "
                f"{self.input_shape}, got "
                f"{tuple(input_shape)}."
            )

    def treats_steps_alone(self, shape):
        axes = self.axis if isinstance(self.axis, list) else [self.axis]
        return 1 not in self.axes_in(axes, shape)

    def scaled(self, normal, shape, y):
        """normal gamma + beta into ``y``, gamma and beta having ``shape``."""
        if self.scale:
            normal = np.multiply(normal, self.gamma.value.reshape(shape), out=y)
        if self.center:
            normal = np.add(normal, self.beta.value.reshape(shape), out=y)
        if normal is not y:
            y[...] = normal
        return y

    def back_to_scale(self, dy, normal, axes, shape, work):
        """Undoes `scaled`: writes the gradients of gamma and beta, returns that of ``normal`` in ``work``."""
        if self.center:
            np.add.reduce(dy, axis=axes, out=self.beta.grad)
        if not self.scale:
            work[...] = dy
            return work
        np.add.reduce(np.multiply(dy, normal, out=work), axis=axes, out=self.gamma.grad)
        return np.multiply(dy, self.gamma.value.reshape(shape), out=work)

    def config_of(self, before, between, moving=()):
        """The config in Keras's order: ``before`` epsilon, and ``between`` scale and the initializers."""
        return {
            **Layer.get_config(self),
            "axis": self.axis,
            **before,
            "epsilon": self.epsilon,
            "center": self.center,
            "scale": self.scale,
            **between,
            **weight_config(self, (*PARTS, *moving), ("initializer",)),
            **weight_config(self, PARTS, ("regularizer",)),
            **weight_config(self, PARTS, ("constraint",)),
        }


class LayerNormalization(Normalizing):
    """Each sample (and each step) to mean 0 and variance 1 over its features, then times gamma plus beta::

        y = (x - mean) / sqrt(variance + epsilon) gamma + beta

    Mean and variance are those of the sample's own numbers along ``axis``, so neither the batch nor a mask
    matters; the mask goes on. Ba, Kiros and Hinton 2016; names and defaults are those of
    https://keras.io/api/layers/normalization_layers/layer_normalization/.

    Args:
        axis: the axis or axes to normalize; gamma and beta have their sizes.
        epsilon: added to the variance.
        center, scale: whether there are beta and gamma.
        beta_initializer, gamma_initializer: of the weights.
        beta_regularizer, gamma_regularizer, beta_constraint, gamma_constraint: or None.
        rms_scaling: True is a ValueError: use `RMSNormalization`.

    Call: ``layer(x, mask=None)`` with x of shape (batch, ..., features); the output has its shape.

    >>> import numpy as np
    >>> LayerNormalization()(np.array([[1.0, 3.0]])).round(2).tolist()
    [[-1.0, 1.0]]
    """

    def __init__(self, axis=-1, epsilon=0.001, center=True, scale=True, beta_initializer="zeros",
                 gamma_initializer="ones",
                 beta_regularizer=None, gamma_regularizer=None, beta_constraint=None, gamma_constraint=None,
                 rms_scaling=False, **kwargs):
        super().__init__(epsilon, center, scale, beta_initializer, gamma_initializer, beta_regularizer,
                         gamma_regularizer, beta_constraint, gamma_constraint, **kwargs)
        if self._flag(rms_scaling, "rms_scaling"):
            raise ValueError(
                f"Layer '{self.name}': rms_scaling=True is not supported; Keras has deprecated it."
            )
        self.axis = [int(a) for a in axis] if isinstance(axis, (list, tuple)) else [int(axis)]

    def sizes_of(self, input_shape):
        """The sizes of the axes that are normalized."""
        return [input_shape[a] for a in self.axes_in(self.axis, input_shape)]

    def build(self, input_shape):
        self.add_scale_and_center(tuple(self.sizes_of(input_shape)))

    def _axes(self, shape):
        """(axes to normalize, the others, the shape of gamma against x)."""
        axes = self.axes_in(self.axis, shape)
        others = tuple(a for a in range(len(shape)) if a not in axes)
        return tuple(axes), others, tuple(n if a in axes else 1 for a, n in enumerate(shape))

    @property
    def per_step(self):
        return self.axis in ([-1], [2])

    def forward(self, x, tape, training=False, mask=None):
        rec = tape.push(self)
        axes, _, shape = self._axes(x.shape)
        normal, y = rec.buffer("normal", x.shape, x.dtype), rec.buffer("y", x.shape, x.dtype)
        few = tuple(1 if a in axes else n for a, n in enumerate(x.shape))
        mean, inverse = rec.buffer("mean", few, x.dtype), rec.buffer("inverse", few, x.dtype)
        np.mean(x, axis=axes, keepdims=True, out=mean)
        np.subtract(x, mean, out=normal)
        np.sum(np.multiply(normal, normal, out=y), axis=axes, keepdims=True, out=inverse)
        count = max(x.size // max(inverse.size, 1), 1)
        inverse /= count
        norms.inverse_roots(inverse, lambda: norms.squares(normal, axes) / count, self.epsilon)
        np.multiply(normal, inverse, out=normal)
        rec.normal, rec.inverse = normal, inverse
        return self.scaled(normal, shape, y)

    def backward(self, dy, tape, need_dx=True):
        rec = tape.pop(self)
        axes, others, shape = self._axes(dy.shape)
        dx, work = rec.buffer("dx", dy.shape, dy.dtype), rec.buffer("work", dy.shape, dy.dtype)
        dnormal = self.back_to_scale(dy, rec.normal, others, shape, dx)
        if not need_dx:
            return None
        mean, slope = (rec.buffer(name, rec.inverse.shape, dy.dtype) for name in ("dmean", "slope"))
        np.mean(dnormal, axis=axes, keepdims=True, out=mean)
        np.mean(np.multiply(dnormal, rec.normal, out=work), axis=axes, keepdims=True, out=slope)
        np.subtract(dnormal, mean, out=dx)
        np.subtract(dx, np.multiply(rec.normal, slope, out=work), out=dx)
        return np.multiply(dx, rec.inverse, out=dx)

    def get_config(self):
        return self.config_of({}, {"rms_scaling": False})


class BatchNormalization(Normalizing):
    """Each feature to mean 0 and variance 1 over the batch, then times gamma plus beta::

        y = (x - mean) / sqrt(variance + epsilon) gamma + beta

    In training, mean and variance are those of the batch over all axes but ``axis`` (a mask's valid steps
    only), and the moving ones follow: moving = momentum moving + (1 - momentum) batch. Otherwise, or with
    ``trainable=False``, the moving ones are used. Inside `TimeDistributed`, training takes each time step by
    itself, as in Keras 3. Ioffe and Szegedy 2015; names and defaults are those of
    https://keras.io/api/layers/normalization_layers/batch_normalization/.

    Args:
        axis: that of the features.
        momentum: how slowly the moving statistics follow, from 0 to 1.
        epsilon: added to the variance.
        center, scale: whether there are beta and gamma.
        beta_initializer, gamma_initializer, moving_mean_initializer, moving_variance_initializer: of the
        weights.
        beta_regularizer, gamma_regularizer, beta_constraint, gamma_constraint: or None.
        renorm, renorm_clipping, renorm_momentum, synchronized: accepted as long as both switches are False.

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

    def __init__(self, axis=-1, momentum=0.99, epsilon=0.001, center=True, scale=True,
                 beta_initializer="zeros",
                 gamma_initializer="ones", moving_mean_initializer="zeros",
                 moving_variance_initializer="ones",
                 beta_regularizer=None, gamma_regularizer=None, beta_constraint=None, gamma_constraint=None,
                 renorm=False, renorm_clipping=None, renorm_momentum=0.99, synchronized=False, **kwargs):
        super().__init__(epsilon, center, scale, beta_initializer, gamma_initializer, beta_regularizer,
                         gamma_regularizer,
                         beta_constraint, gamma_constraint, **kwargs)
        synchronized, renorm = self._flag(synchronized, "synchronized"), self._flag(renorm, "renorm")
        if synchronized or renorm:
            option = "synchronized" if synchronized else "renorm"
            raise ValueError(f"Layer '{self.name}': {option}=True is not supported; leave it out.")
        self.axis, self.momentum, self.renorm_momentum = int(axis), float(momentum), renorm_momentum
        if not 0 <= self.momentum <= 1:
            raise ValueError(f"Layer '{self.name}': momentum must be between 0 and 1, got {momentum}.")
        self.moving_mean_initializer = initializers.get(moving_mean_initializer)
        self.moving_variance_initializer = initializers.get(moving_variance_initializer)

    def sizes_of(self, input_shape):
        """The number of features, in a list."""
        return [input_shape[a] for a in self.axes_in([self.axis], input_shape)]

    def build(self, input_shape):
        shape = tuple(self.sizes_of(input_shape))
        self.add_scale_and_center(shape)
        self.moving_mean = self.add_weight(shape, self.moving_mean_initializer, "moving_mean",
                                           trainable=False)
        self.moving_variance = self.add_weight(shape, self.moving_variance_initializer, "moving_variance",
                                               trainable=False)

    def _axes(self, shape):
        """(the axes to average over, the shape of gamma against x)."""
        axis = self.axis % len(shape)
        return tuple(a for a in range(len(shape))
                     if a != axis), tuple(n if a == axis else 1 for a, n in enumerate(shape))

    def forward(self, x, tape, training=False, mask=None):
        rec = tape.push(self)
        others, shape = self._axes(x.shape)
        normal, y = rec.buffer("normal", x.shape, x.dtype), rec.buffer("y", x.shape, x.dtype)
        rec.batch = training and self.trainable and x.size > 0
        if rec.batch:
            rec.counts, rec.total = self._counts(x, mask, others)
            mean = np.sum(x, axis=others, where=rec.counts) / rec.total
            np.subtract(x, mean.reshape(shape), out=normal)
            variance = np.sum(np.multiply(normal, normal, out=y), axis=others, where=rec.counts) / rec.total
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

    def _counts(self, x, mask, others):
        """Which numbers count in the statistics (True: all), and how many do for each feature."""
        if mask is None:
            return True, math.prod(x.shape[a] for a in others)
        counts = mask.reshape(mask.shape + (1,) * (x.ndim - mask.ndim))
        return counts, np.sum(np.broadcast_to(counts, x.shape), axis=others,
                              dtype=x.dtype) + x.dtype.type(MASK_EPSILON)

    def backward(self, dy, tape, need_dx=True):
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
            slope = np.sum(np.multiply(dnormal, rec.normal, out=work), axis=others, keepdims=True) / total
            mean = np.sum(dnormal, axis=others, keepdims=True) / total
            through = np.multiply(rec.normal, slope, out=work)
            through += mean
            if rec.counts is not True:
                left_over = np.sum(rec.normal, axis=others, keepdims=True, where=rec.counts) / total
                through -= slope * left_over
                through *= rec.counts
            np.subtract(dnormal, through, out=dx)
        return np.multiply(dx, rec.inverse, out=dx)

    def get_config(self):
        return {
            **self.config_of({"momentum": self.momentum}, {}, ("moving_mean", "moving_variance")),
            "synchronized": False,
            "renorm": False,
            "renorm_clipping": None,
            "renorm_momentum": self.renorm_momentum,
        }
