"""Constraints: what a weight is projected onto after each step.

They follow https://keras.io/api/layers/constraints/.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from tdfast.engine import norms
from tdfast.engine.registry import Registry

if TYPE_CHECKING:
    from tdfast.engine.types import Array, Config, ConstraintSpec, CustomObjects

REGISTRY = Registry("constraint", "constraints", "keras.constraints")

EPSILON = 1e-7
"""Added to a norm before dividing by it, as in Keras."""


def get(identifier: ConstraintSpec) -> Any:
    """The constraint that a name, a class, a dict or a function means; None for None.

    Raises:
        ValueError: for an unknown name, listing the known ones.

    >>> get("max_norm").get_config()
    {'max_value': 2, 'axis': 0}
    """
    return REGISTRY.get(identifier)


def serialize(constraint: ConstraintSpec) -> Any:
    """Keras's dict for a constraint.

    >>> serialize(UnitNorm())["config"]
    {'axis': 0}
    """
    return REGISTRY.serialize(constraint)


def deserialize(config: Config | str | None, custom_objects: CustomObjects = None) -> Any:
    """The constraint that `serialize` described.

    >>> deserialize(serialize(MaxNorm(2)))
    MaxNorm(max_value=2, axis=0)
    """
    return REGISTRY.deserialize(config, custom_objects)


def __getattr__(name: str) -> type:
    # constraints.max_norm is constraints.MaxNorm, as in Keras.
    try:
        return REGISTRY.find(name)
    except ValueError:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}") from None


def __dir__() -> list[Any]:
    return sorted({*globals(), *REGISTRY.spellings()})


class Constraint:
    """The base class: override ``__call__`` and, if there are arguments, `get_config`.

    It is called on a weight after each step of the optimizer, and gives what the weight is then.

    >>> class Rounded(Constraint):
    ...     def __call__(self, value):
    ...         return np.round(value, 1)
    >>> Rounded()(np.array([0.11, 0.19])).tolist()
    [0.1, 0.2]
    """

    def __call__(self, value: Any) -> Array:
        """The projected weight, an array of the same shape; ``value`` is not written."""
        return value

    def get_config(self) -> Config:
        """The arguments of the constructor."""
        return {}

    @classmethod
    def from_config(cls, config: Config) -> Any:
        """A new one with the arguments that `get_config` gave."""
        return cls(**config)

    def __repr__(self) -> str:
        arguments = ", ".join(f"{k}={v!r}" for k, v in self.get_config().items())
        return f"{type(self).__name__}({arguments})"


@REGISTRY.register("maxnorm")
class MaxNorm(Constraint):
    """w min(norm, max_value) / norm: norms along ``axis`` of at most max_value.

    Args:
        max_value: the largest norm, default 2.
        axis: the axis, or several, along which norms are taken. 0, the default, gives one norm for
            each unit of a Dense kernel.

    >>> MaxNorm(1.0)(np.array([[3.0], [4.0]])).round(4).tolist()
    [[0.6], [0.8]]
    """

    def __init__(self, max_value: float = 2, axis: int = 0) -> None:
        self.max_value, self.axis = max_value, axis

    def __call__(self, value: Any) -> Array:
        value, norm = _with_norm(value, self.axis)
        return _scaled(value, np.clip(norm, 0, self.max_value) / (norm + EPSILON))

    def get_config(self) -> Config:
        return {"max_value": self.max_value, "axis": self.axis}


@REGISTRY.register("nonneg")
class NonNeg(Constraint):
    """max(w, 0).

    >>> NonNeg()(np.array([-1.0, 2.0])).tolist()
    [0.0, 2.0]
    """

    def __call__(self, value: Any) -> Array:
        return np.maximum(np.asarray(value), 0)


@REGISTRY.register("unitnorm")
class UnitNorm(Constraint):
    """w / norm: norms along ``axis`` of 1.

    Args:
        axis: see `MaxNorm`.

    >>> UnitNorm()(np.array([[3.0], [4.0]])).round(4).tolist()
    [[0.6], [0.8]]
    """

    def __init__(self, axis: int = 0) -> None:
        self.axis = axis

    def __call__(self, value: Any) -> Array:
        value, norm = _with_norm(value, self.axis)
        return _scaled(value, 1 / (norm + EPSILON))

    def get_config(self) -> Config:
        return {"axis": self.axis}


@REGISTRY.register
class MinMaxNorm(Constraint):
    """w (rate clip(norm, min_value, max_value) + (1 - rate) norm) / norm.

    Args:
        min_value, max_value: the bounds of the norm, default 0 and 1.
        rate: 1, the default, projects at once; smaller rates move the norm by that part at each step.
        axis: see `MaxNorm`.

    >>> MinMaxNorm(0.0, 1.0, rate=0.5)(np.array([[3.0], [4.0]])).round(4).tolist()
    [[1.8], [2.4]]
    """

    def __init__(self, min_value: float = 0.0, max_value: float = 1.0, rate: float = 1.0,
                 axis: int = 0) -> None:
        self.min_value, self.max_value, self.rate, self.axis = min_value, max_value, rate, axis

    def __call__(self, value: Any) -> Array:
        value, norm = _with_norm(value, self.axis)
        wanted = self.rate * np.clip(norm, self.min_value, self.max_value) + (1 - self.rate) * norm
        return _scaled(value, wanted / (norm + EPSILON))

    def get_config(self) -> Config:
        return {
            "min_value": self.min_value,
            "max_value": self.max_value,
            "rate": self.rate,
            "axis": self.axis,
        }


def _with_norm(value: Any, axis: int) -> tuple[Any, ...]:
    """(the weight as an array, its norms in float64, where the squares of float32 do not overflow)."""
    value = np.asarray(value)
    value = value if value.dtype.kind == "f" else value.astype(np.float64)
    return value, np.sqrt(norms.squares(value, tuple(axis) if isinstance(axis, (list, tuple)) else axis))


def _scaled(value: Any, factor: float) -> Array:
    """The weight times factors in float64, in its own dtype."""
    return (value * factor).astype(value.dtype)
