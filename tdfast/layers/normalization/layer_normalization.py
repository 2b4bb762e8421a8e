"""LayerNormalization: each sample by its own mean and variance."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import numpy as np

from tdfast import _kernels
from tdfast.engine import norms
from tdfast.layers.normalization.base import Normalizing

if TYPE_CHECKING:
    from tdfast.engine.tape import Record, Tape
    from tdfast.engine.types import (
        Array,
        Arrays,
        Axes,
        Config,
        ConstraintSpec,
        InitializerSpec,
        Masks,
        RegularizerSpec,
        Shapes,
        Sizes,
    )


class LayerNormalization(Normalizing):
    """Each sample (and each step) to mean 0 and variance 1 over its features, then times gamma plus beta::

        y = (x - mean) / sqrt(variance + epsilon) gamma + beta

    Mean and variance are those of the sample's own numbers along ``axis``, so neither the batch nor a mask
    matters; the mask is handed on. Ba, Kiros and Hinton 2016; names and defaults are those of
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

    def __init__(
        self,
        axis: Axes = -1,
        epsilon: float = 0.001,
        center: bool = True,
        scale: Any = True,
        beta_initializer: InitializerSpec = "zeros",
        gamma_initializer: InitializerSpec = "ones",
        beta_regularizer: RegularizerSpec = None,
        gamma_regularizer: RegularizerSpec = None,
        beta_constraint: ConstraintSpec = None,
        gamma_constraint: ConstraintSpec = None,
        rms_scaling: Any = False,
        **kwargs: Any,
    ) -> None:
        super().__init__(epsilon, center, scale, beta_initializer, gamma_initializer, beta_regularizer,
                         gamma_regularizer, beta_constraint, gamma_constraint, **kwargs)
        if self._flag(rms_scaling, "rms_scaling"):
            raise ValueError(
                f"Layer '{self.name}': rms_scaling=True is not supported; Keras has deprecated it."
            )
        self.axis = [int(a) for a in axis] if isinstance(axis, (list, tuple)) else [int(axis)]  # type: ignore[arg-type]

    def sizes_of(self, input_shape: Shapes) -> list[Any]:
        """The sizes of the axes that are normalized."""
        return [input_shape[a] for a in self.axes_in(self.axis, input_shape)]

    def build(self, input_shape: Shapes) -> None:
        self.add_scale_and_center(tuple(self.sizes_of(input_shape)))

    def _axes(self, shape: Sizes) -> tuple[Any, ...]:
        """(axes to normalize, the others, the shape of gamma against x)."""
        axes = self.axes_in(self.axis, shape)
        others = tuple(a for a in range(len(shape)) if a not in axes)
        return tuple(axes), others, tuple(n if a in axes else 1 for a, n in enumerate(shape))

    @property
    def per_step(self) -> bool:  # type: ignore[override]
        return self.axis in ([-1], [2])

    def can_be_prepared(self, training: bool) -> bool:
        return self.axis == [-1]            # a kernel, whatever the number of axes

    def forward(self, x: Array, tape: Tape, training: bool = False, mask: Masks = None) -> Arrays:
        rec = tape.push(self)
        axes, _, shape = self._axes(x.shape)
        rec.trailing = axes == tuple(range(x.ndim - len(axes), x.ndim))
        if rec.trailing:
            return self._forward_rows(rec, x, len(axes), tape.keep)
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

    def backward(self, dy: Array, tape: Tape, need_dx: bool = True) -> Arrays:
        rec = tape.pop(self)
        if rec.trailing:
            return self._backward_rows(rec, dy, need_dx)
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

    def _forward_rows(self, rec: Record, x: Array, n: int, keep: bool) -> Array:
        """Where it normalizes over the last n axes: in a kernel."""
        rec.M, rec.N = math.prod(x.shape[:-n]), math.prod(x.shape[-n:])
        rec.normal = rec.buffer("normal", x.shape, x.dtype) if keep else None
        rec.inverse = rec.buffer("inverse", (rec.M,), x.dtype) if keep else None
        y = rec.buffer("y", x.shape, x.dtype)
        gamma, beta = self.gamma.value if self.scale else None, self.beta.value if self.center else None
        _kernels.layer_norm_forward(rec.M, rec.N, self.epsilon, x=x, gamma=gamma, beta=beta,
                                    normal=rec.normal, inverse=rec.inverse, y=y)
        return y

    def _backward_rows(self, rec: Record, dy: Array, need_dx: bool) -> Any:
        dx = rec.buffer("dx", dy.shape, dy.dtype) if need_dx else None
        _kernels.layer_norm_backward(
            rec.M, rec.N, gamma=self.gamma.value if self.scale else None, normal=rec.normal,
            inverse=rec.inverse, dy=dy, dx=dx, dgamma=self.gamma.grad if self.scale else None,
            dbeta=self.beta.grad if self.center else None,
            scratch=rec.buffer("scratch", (_kernels.layer_norm_scratch_size(rec.N),), dy.dtype),
        )
        return dx

    def get_config(self) -> Config:
        return self.config_of({}, {"rms_scaling": False})
