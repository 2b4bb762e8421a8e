"""Activations as layers of their own: any of them by name, and those with parameters or weights."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import numpy as np

from tdfast import activations, constraints, initializers, regularizers
from tdfast.engine.layer import Layer
from tdfast.layers.core import warn_of_constant, weight_config

if TYPE_CHECKING:
    from collections.abc import Sequence

    from tdfast.engine.tape import Record, Tape
    from tdfast.engine.types import (
        ActivationSpec,
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


class Activating(Layer):
    """What the layers below share: ``y = f(x)``, with f their attribute ``activation``."""

    built_at_once = True

    activation: Any

    rowwise = True

    per_step = True

    def can_be_prepared(self, training: bool) -> bool:
        return getattr(self.activation, "kind", None) is not None

    def forward(self, x: Arrays, tape: Tape, training: bool = False, mask: Masks = None) -> Arrays:
        rec = tape.push(self)
        rec.bare = self in tape.bare
        if rec.bare:
            return x
        y = rec.buffer("y", x.shape, x.dtype)
        self.activation.forward(x, y)
        if tape.keep:
            rec.x = x if self.activation.needs_input else None
            rec.y = y
        return y

    def backward(self, dy: Arrays, tape: Tape, need_dx: bool = True) -> Arrays:
        rec = tape.pop(self)
        if rec.bare or not need_dx:
            return dy if need_dx else None
        dx = rec.buffer("dx", dy.shape, dy.dtype)
        self.activation.backward(rec.x, rec.y, dy, dx)
        return dx

    def at_least_0(self, value: Any, name: str) -> float:
        """``value`` as a number of at least 0; else a ValueError that names the layer."""
        if isinstance(value, (bool, str)) or value is None or not value >= 0:
            raise ValueError(
                f"Layer '{self.name}' ({type(self).__name__}): {name} must be a number of at least 0, got "
                f"{value!r}."
            )
        return value


class Activation(Activating):
    """``y = f(x)``, with x of any shape.

    Args:
        activation: a name or object of `tdfast.activations`, also a `Function` of your own; softmax acts on
            the last axis.

    See https://keras.io/api/layers/core_layers/activation/.

    >>> Activation("relu")([[-1.0, 2.0]]).tolist()
    [[0.0, 2.0]]
    """

    built_at_once = True

    def __init__(self, activation: ActivationSpec, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.activation = activations.get(activation, own=True)

    def build(self, input_shape: Shapes) -> None:
        warn_of_constant(self, self.activation, input_shape[-1])

    def get_config(self) -> Config:
        return {**super().get_config(), "activation": activations.serialize(self.activation)}


class ReLU(Activating):
    """The rectifier with bounds of its own::

        y = min(x, max_value) where x > threshold, else negative_slope (x - threshold)

    Source: https://keras.io/api/layers/activation_layers/relu/.

    Args:
        max_value: the largest output; None: no bound.
        negative_slope: of the part below the threshold.
        threshold: where that part begins.

    Raises:
        ValueError: for a negative number, or None for the last two.

    >>> ReLU(max_value=2.0, negative_slope=0.5)([[-1.0, 1.0, 3.0]]).tolist()
    [[-0.5, 1.0, 2.0]]
    """

    def __init__(self, max_value: float | None = None, negative_slope: float = 0.0, threshold: float = 0.0,
                 **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.max_value = None if max_value is None else self.at_least_0(max_value, "max_value")
        self.negative_slope = self.at_least_0(negative_slope, "negative_slope")
        self.threshold = self.at_least_0(threshold, "threshold")
        self.activation = activations.relu.with_parameters(**self._parameters())

    def _parameters(self) -> dict[str, Any]:
        return {"max_value": self.max_value, "negative_slope": self.negative_slope,
                "threshold": self.threshold}

    def get_config(self) -> Config:
        return {**super().get_config(), **self._parameters()}


class LeakyReLU(Activating):
    """``y = x`` where x >= 0, else ``negative_slope x``.

    Source: https://keras.io/api/layers/activation_layers/leaky_relu/.

    Args:
        negative_slope: at least 0. The activation "leaky_relu" has 0.2 there.

    >>> LeakyReLU(0.5)([[-1.0, 1.0]]).tolist()
    [[-0.5, 1.0]]
    """

    def __init__(self, negative_slope: float = 0.3, **kwargs: Any) -> None:
        negative_slope = kwargs.pop("alpha", negative_slope)        # its name before Keras 3
        super().__init__(**kwargs)
        self.negative_slope = self.at_least_0(negative_slope, "negative_slope")
        self.activation = activations.leaky_relu.with_parameters(negative_slope=negative_slope)

    def get_config(self) -> Config:
        return {**super().get_config(), "negative_slope": self.negative_slope}


class ELU(Activating):
    """``y = x`` where x > 0, else ``alpha (e^x - 1)``.

    Source: https://keras.io/api/layers/activation_layers/elu/; Clevert et al. 2015.

    Args:
        alpha: what y tends to, with the opposite sign, for negative x.

    >>> ELU(0.5)([[-1e9, 1.0]]).tolist()
    [[-0.5, 1.0]]
    """

    def __init__(self, alpha: float = 1.0, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        if isinstance(alpha, bool) or not isinstance(alpha, (int, float, np.number)):
            raise ValueError(f"Layer '{self.name}' (ELU): alpha must be a number, got {alpha!r}.")
        self.alpha = alpha
        self.activation = activations.elu.with_parameters(alpha=alpha)

    def get_config(self) -> Config:
        config = super().get_config()
        return {"name": config.pop("name"), "alpha": self.alpha, **config}


class PReLU(Layer):
    """``y = x`` where x > 0, else ``alpha x``, with a learned alpha for each feature.

    Source: https://keras.io/api/layers/activation_layers/prelu/; He et al. 2015.

    Args:
        alpha_initializer: of the weight, whose shape is that of a sample.
        alpha_regularizer, alpha_constraint: or None.
        shared_axes: axes (the first after the batch is 1) along which alpha is one and the same; ``[1]`` for
            sequences of any length.

    >>> PReLU(alpha_initializer="ones")([[-1.0, 1.0]]).tolist()
    [[-1.0, 1.0]]
    """

    def __init__(self, alpha_initializer: InitializerSpec = "Zeros",
                 alpha_regularizer: RegularizerSpec = None, alpha_constraint: ConstraintSpec = None,
                 shared_axes: Sequence[Any] | None = None, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.alpha_initializer = initializers.get(alpha_initializer)
        self.alpha_regularizer = regularizers.get(alpha_regularizer)
        self.alpha_constraint = constraints.get(alpha_constraint)
        if shared_axes is not None:
            shared_axes = list(shared_axes) if isinstance(shared_axes, (list, tuple)) else [shared_axes]
        self.shared_axes = shared_axes
        self.alpha: Any = None

    def check_input_shape(self, input_shape: Shapes) -> None:
        shape, n = tuple(input_shape), len(input_shape)
        shared = self.shared_axes or []
        if any(isinstance(a, bool) or not isinstance(a, (int, np.integer)) or not 1 <= a < n for a in shared):
            raise ValueError(
                f"Layer '{self.name}' (PReLU): shared_axes={shared} are not axes from 1 of input of shape "
                f"{shape}."
            )
        wanted = self.alpha.shape if self.built else shape[1:]
        if len(wanted) != n - 1 or any(w != size for i, (w, size) in enumerate(zip(wanted, shape[1:]), 1)
                                       if i not in shared):
            raise ValueError(
                f"Layer '{self.name}' (PReLU) was built for samples of shape {wanted}, got input of shape "
                f"{shape}."
            )
        if any(size is None for i, size in enumerate(shape[1:], 1) if i not in shared):
            raise ValueError(
                f"Layer '{self.name}' (PReLU) has a weight for each number of a sample, but its shape "
                f"{shape[1:]} is open. Name "
                "the axes of any size in shared_axes."
            )

    def treats_steps_alone(self, shape: Sizes) -> bool:
        return self.alpha.shape[0] == 1

    def build(self, input_shape: Shapes) -> None:
        shape = tuple(1 if i in (self.shared_axes or ()) else n for i, n in enumerate(input_shape[1:], 1))
        self.alpha = self.add_weight(shape, self.alpha_initializer, "alpha",
                                     regularizer=self.alpha_regularizer,
                                     constraint=self.alpha_constraint)

    def forward(self, x: Arrays, tape: Tape, training: bool = False, mask: Masks = None) -> Arrays:
        rec = tape.push(self)
        y = rec.buffer("y", x.shape, x.dtype)
        rec.x, rec.below = x, np.less_equal(x, 0, out=rec.buffer("below", x.shape, np.dtype(bool)))
        np.copyto(y, x)
        return np.multiply(x, self.alpha.value, out=y, where=rec.below)

    def backward(self, dy: Arrays, tape: Tape, need_dx: bool = True) -> Arrays:
        rec = tape.pop(self)
        work = rec.buffer("work", dy.shape, dy.dtype)
        work[...] = 0
        np.multiply(dy, rec.x, out=work, where=rec.below)
        shared = tuple(self.shared_axes or ())
        np.sum(work, axis=(0, *shared), keepdims=True, out=self.alpha.grad[None])
        if not need_dx:
            return None
        return np.multiply(dy, self.alpha.value, out=dy, where=rec.below)

    def get_config(self) -> Config:
        return {**super().get_config(), **weight_config(self, ("alpha",)), "shared_axes": self.shared_axes}


class Softmax(Layer):
    """Each row along ``axis`` as probabilities: ``y = e^x / sum(e^x)``.

    Source: https://keras.io/api/layers/activation_layers/softmax/.

    Args:
        axis: the axis, or several that make one row together.

    A mask must fit the input as in a NumPy operation: where it is False the result is 0, and the others share
    the whole. In a model that is the mask of the steps with an input (batch, time); an input (batch, time,
    features) with such a mask is refused.

    >>> Softmax()([[0.0, 0.0]], mask=[[True, False]]).tolist()
    [[1.0, 0.0]]
    """

    built_at_once = True

    def __init__(self, axis: int = -1, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        axes = axis if isinstance(axis, (list, tuple)) else [axis]
        if not axes or not all(isinstance(a, (int, np.integer)) and not isinstance(a, bool) for a in axes):
            raise ValueError(
                f"Layer '{self.name}' (Softmax): axis must be a whole number or several, got {axis!r}."
            )
        self.axis = list(axis) if isinstance(axis, (list, tuple)) else axis

    def __call__(self, x: Arrays, training: bool = False, mask: Masks = None, **kwargs: Any) -> Any:  # type: ignore[override]
        if mask is not None:
            x, mask = self.as_input(x), np.asarray(mask)
            try:
                mask = np.broadcast_to(mask if mask.dtype == bool else mask > 0.5, x.shape)
            except ValueError:
                self._check_mask(mask, x)
        return super().__call__(x, training=training, mask=mask, **kwargs)

    def _check_mask(self, mask: Masks, x: Arrays) -> None:
        if mask is not None and mask.shape != x.shape:
            raise ValueError(
                f"Layer '{self.name}' (Softmax): a mask must fit the input of shape {x.shape}, got shape "
                f"{mask.shape}. To "
                'hand a mask of time steps on, use Activation("softmax").'
            )

    def build(self, input_shape: Shapes) -> None:
        sizes = [input_shape[a] for a in self._axes(len(input_shape))]
        warn_of_constant(self, activations.softmax, None if None in sizes else math.prod(sizes))

    @property
    def reads_masked_steps(self) -> Any:  # type: ignore[override]
        shape = self.input_shape
        return shape is not None and len(shape) > 2 and 1 in self._axes(len(shape))

    def treats_steps_alone(self, shape: Sizes) -> bool:
        return 1 not in self._axes(len(shape))

    def check_input_shape(self, input_shape: Shapes) -> None:
        self._axes(len(input_shape), tuple(input_shape))

    def _axes(self, n: int, shape: Sizes | None = None) -> list[Any]:
        """The axes from 0, in order."""
        axes = self.axis if isinstance(self.axis, list) else [self.axis]
        if any(not -n <= a < n or a % n == 0 for a in axes):
            raise ValueError(
                f"Layer '{self.name}' (Softmax): axis={self.axis} does not fit input of shape {shape}. An "
                "axis must be one of "
                "the input's, and not the batch."
            )
        return sorted({a % n for a in axes})

    def forward(self, x: Arrays, tape: Tape, training: bool = False, mask: Masks = None) -> Arrays:
        rec = tape.push(self)
        self._check_mask(mask, x)
        rec.bare = self in tape.bare
        if rec.bare:
            return x
        rows, rec.moved = self._rows(rec, "x", x)
        if mask is not None:
            kept = self._rows(rec, "mask", mask)[0]
            left_out = np.logical_not(kept, out=rec.buffer("left out", kept.shape, np.dtype(bool)))
            given, rows = rows, rec.buffer("masked x", rows.shape, x.dtype)
            rows[...] = given
            np.copyto(rows, -1e9, where=left_out)       # as in Keras; a row of nothing else must not overflow
        y = rec.buffer("rows of y", rows.shape, x.dtype)
        activations.softmax.forward(rows, y)
        if mask is not None:
            np.copyto(y, 0, where=left_out)
        rec.y = y
        return self._back(rec, "y", y, x.shape)

    def backward(self, dy: Arrays, tape: Tape, need_dx: bool = True) -> Arrays:
        rec = tape.pop(self)
        if rec.bare or not need_dx:
            return dy if need_dx else None
        rows, _ = self._rows(rec, "dy", dy)
        dx = rec.buffer("rows of dx", rows.shape, dy.dtype)
        activations.softmax.backward(None, rec.y, rows, dx)
        return self._back(rec, "dx", dx, dy.shape)

    def _rows(self, rec: Record, name: str, x: Arrays) -> tuple[Any, ...]:
        """x with its axes at the end, as one; and the shape in between."""
        axes = self._axes(x.ndim)
        others = [a for a in range(x.ndim) if a not in axes]
        moved = x.transpose(others + axes)
        out = moved
        if others + axes != list(range(x.ndim)):
            out = rec.buffer(f"moved {name}", moved.shape, x.dtype)
            out[...] = moved
        n = len(others)
        return out.reshape(math.prod(moved.shape[:n]), math.prod(moved.shape[n:])), moved.shape

    def _back(self, rec: Record, name: str, rows: Array, shape: Sizes) -> Array:
        """Undoes `_rows`."""
        n = len(shape)
        axes = self._axes(n)
        order = [a for a in range(n) if a not in axes] + axes
        if order == list(range(n)):
            return rows.reshape(shape)
        out = rec.buffer(f"back {name}", shape, rows.dtype)
        out[...] = rows.reshape(rec.moved).transpose(np.argsort(order))
        return out

    def get_config(self) -> Config:
        return {**super().get_config(), "axis": self.axis}
