"""GroupNormalization: each group of features of a sample by its mean and variance."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from tdfast.engine import norms
from tdfast.layers.normalization.base import Normalizing

if TYPE_CHECKING:
    from tdfast.engine.tape import Record, Tape
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

    def __init__(
        self,
        groups: int = 32,
        axis: int = -1,
        epsilon: float = 1e-3,
        center: bool = True,
        scale: Any = True,
        beta_initializer: InitializerSpec = "zeros",
        gamma_initializer: InitializerSpec = "ones",
        beta_regularizer: RegularizerSpec = None,
        gamma_regularizer: RegularizerSpec = None,
        beta_constraint: ConstraintSpec = None,
        gamma_constraint: ConstraintSpec = None,
        **kwargs: Any,
    ) -> None:
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
    def reads_masked_steps(self) -> bool:  # type: ignore[override]
        return self.built and len(self.input_shape) > 2

    def sizes_of(self, input_shape: Shapes) -> list[Any]:
        """The number of features, in a list."""
        return [input_shape[a] for a in self.axes_in([self.axis], input_shape)]

    def check_input_shape(self, input_shape: Shapes) -> None:
        super().check_input_shape(input_shape)
        features, = self.sizes_of(input_shape)
        if self.groups != -1 and features % self.groups:
            raise ValueError(
                f"Layer '{self.name}' (GroupNormalization): {features} features do not divide into "
                f"groups={self.groups}."
            )

    def build(self, input_shape: Shapes) -> None:
        features, = self.sizes_of(input_shape)
        self.groups = features if self.groups == -1 else self.groups       # as in Keras, once it is built
        self.add_scale_and_center((features,))

    def treats_steps_alone(self, shape: Sizes) -> bool:
        return False                # a mean over the whole sample

    def _mean(self, rec: Record, name: str, x: Array) -> Array:
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

    def forward(self, x: Array, tape: Tape, training: bool = False, mask: Masks = None) -> Arrays:
        rec = tape.push(self)
        rec.normal, y = rec.buffer("normal", x.shape, x.dtype), rec.buffer("y", x.shape, x.dtype)
        np.subtract(x, self._mean(rec, "mean", x), out=rec.normal)
        inverse = self._mean(rec, "inverse", np.multiply(rec.normal, rec.normal, out=y))
        rec.inverse = norms.inverse_roots(
            inverse, lambda: self._mean(rec, "wide", np.square(rec.normal, dtype=np.float64)), self.epsilon
        )
        np.multiply(rec.normal, inverse, out=rec.normal)
        return self.scaled(rec.normal, self._beside(x), y)

    def _beside(self, x: Array) -> list[Any]:
        """The shape in which gamma and beta broadcast to x."""
        return [n if a == self.axis % x.ndim else 1 for a, n in enumerate(x.shape)]

    def backward(self, dy: Array, tape: Tape, need_dx: bool = True) -> Arrays:
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

    def get_config(self) -> Config:
        config = self.config_of({}, {})
        names = ("name", "trainable", "dtype", "activity_regularizer")
        head: dict[str, Any] = {key: config.pop(key) for key in names if key in config}
        return {**head, "groups": self.groups, **config}
