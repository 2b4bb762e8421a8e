"""What the normalizing layers share: gamma and beta, and the lengths along an axis."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from tdfast import constraints, initializers, regularizers
from tdfast.engine import norms
from tdfast.engine.layer import Layer
from tdfast.layers.core import weight_config

if TYPE_CHECKING:
    from collections.abc import Sequence

    from tdfast.engine.tape import Record
    from tdfast.engine.types import (
        Array,
        Axes,
        ConstraintSpec,
        InitializerSpec,
        RegularizerSpec,
        Shapes,
        Sizes,
    )

PARTS = ("beta", "gamma")


class Normalizing(Layer):
    """What the normalizing layers share: a factor gamma and a term beta, and their configuration."""

    axis: Any
    sizes_of: Any

    def __init__(self, epsilon: float, center: bool, scale: Any, beta_initializer: InitializerSpec,
                 gamma_initializer: InitializerSpec, beta_regularizer: RegularizerSpec,
                 gamma_regularizer: RegularizerSpec, beta_constraint: ConstraintSpec,
                 gamma_constraint: ConstraintSpec, **kwargs: Any) -> None:
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
        self.gamma: Any = None
        self.beta: Any = None

    def add_scale_and_center(self, shape: Sizes) -> None:
        """Make gamma and beta, where there are such."""
        if self.scale:
            self.gamma = self.add_weight(shape, self.gamma_initializer, "gamma",
                                         regularizer=self.gamma_regularizer, constraint=self.gamma_constraint)
        if self.center:
            self.beta = self.add_weight(shape, self.beta_initializer, "beta",
                                        regularizer=self.beta_regularizer, constraint=self.beta_constraint)

    def axes_in(self, axes: Any, input_shape: Shapes) -> list[int]:
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

    def check_input_shape(self, input_shape: Shapes) -> None:
        if self.built and self.sizes_of(input_shape) != self.sizes_of(self.input_shape):
            raise ValueError(
                f"Layer '{self.name}' ({type(self).__name__}) was built for input of shape "
                f"{self.input_shape}, got "
                f"{tuple(input_shape)}."
            )

    def treats_steps_alone(self, shape: Sizes) -> bool:
        axes = self.axis if isinstance(self.axis, list) else [self.axis]
        return 1 not in self.axes_in(axes, shape)

    def scaled(self, normal: Array, shape: Sizes, y: Array) -> Array:
        """normal gamma + beta into ``y``, gamma and beta having ``shape``."""
        if self.scale:
            normal = np.multiply(normal, self.gamma.value.reshape(shape), out=y)
        if self.center:
            normal = np.add(normal, self.beta.value.reshape(shape), out=y)
        if normal is not y:
            y[...] = normal
        return y

    def back_to_scale(self, dy: Array, normal: Array, axes: Any, shape: Sizes, work: Array) -> Array:
        """Undoes `scaled`: writes the gradients of gamma and beta, returns that of ``normal`` in ``work``."""
        if self.center:
            np.add.reduce(dy, axis=axes, out=self.beta.grad)
        if not self.scale:
            work[...] = dy
            return work
        np.add.reduce(np.multiply(dy, normal, out=work), axis=axes, out=self.gamma.grad)
        return np.multiply(dy, self.gamma.value.reshape(shape), out=work)

    def config_of(self, before: dict[str, Any], between: dict[str, Any],
                  moving: Sequence[Any] = ()) -> dict[str, Any]:
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


class Length(Layer):
    """What UnitNormalization and RMSNormalization share: ``n = x / length``, with the length of x along some
    axes."""

    inverse_length: Any

    def __init__(self, axis: Axes, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        axes = axis if isinstance(axis, (list, tuple)) else [axis]
        if not axes or not all(isinstance(a, (int, np.integer)) and not isinstance(a, bool) for a in axes):
            raise TypeError(
                f"Layer '{self.name}' ({type(self).__name__}): axis must be a whole number or a list of "
                f"them, got {axis!r}."
            )
        self.axis: Any = list(axis) if isinstance(axis, (list, tuple)) else axis

    def axes(self, shape: Sizes) -> tuple[Any, ...]:
        """The axes from 0, in order; refused where the input has none, or it is the batch's."""
        n, axes = len(shape), self.axis if isinstance(self.axis, list) else [self.axis]
        if any(not -n <= a < n or a % n == 0 for a in axes):
            raise ValueError(
                f"Layer '{self.name}' ({type(self).__name__}): axis={self.axis} does not fit input of shape "
                f"{tuple(shape)}. "
                "An axis must be one of the input's, and not the batch."
            )
        return tuple(sorted({a % n for a in axes}))

    def check_input_shape(self, input_shape: Shapes) -> None:
        self.axes(input_shape)

    @property
    def reads_masked_steps(self) -> bool:  # type: ignore[override]
        shape = self.input_shape
        return shape is not None and 1 in self.axes(shape) and len(shape) > 2

    def treats_steps_alone(self, shape: Sizes) -> bool:
        return 1 not in self.axes(shape)

    def normalize(self, rec: Record, x: Array) -> Array:
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

    def back(self, rec: Record, dn: Array) -> Array:
        """The gradient of x from that of n: (dn - n sum(dn n) weight) / length, in dn's memory."""
        work = np.multiply(dn, rec.normal, out=rec.buffer("work", dn.shape, dn.dtype))
        along = np.sum(work, axis=rec.axes, keepdims=True,
                       out=rec.buffer("along", rec.inverse.shape, dn.dtype))
        along *= rec.weight
        np.subtract(dn, np.multiply(rec.normal, along, out=work), out=dn)
        return np.multiply(dn, rec.inverse, out=dn)
