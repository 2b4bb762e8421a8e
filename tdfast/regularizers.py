"""Regularizers: penalties on weights that training adds to the loss.

They follow https://keras.io/api/layers/regularizers/.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import numpy as np

from tdfast.engine.registry import Registry

if TYPE_CHECKING:
    from collections.abc import Callable

    from tdfast.engine.types import Array, Config, CustomObjects, RegularizerSpec

REGISTRY = Registry("regularizer", "regularizers", "keras.regularizers")


def get(identifier: RegularizerSpec) -> Any:
    """The regularizer that a name, a class or a dict means; None for None.

    "l1_l2" by its name alone is ``L1L2(l1=0.01, l2=0.01)``, as in Keras 2: with the defaults of the class it
    would do nothing.

    Raises:
        ValueError: for an unknown name, listing the known ones, or an object that cannot be called.

    >>> get("l2").get_config()
    {'l2': 0.01}
    >>> get("l1_l2")
    L1L2(l1=0.01, l2=0.01)
    """
    found = REGISTRY.get(identifier)
    if type(found) is L1L2 and isinstance(identifier, (str, type)):
        found = L1L2(l1=0.01, l2=0.01)
    if found is None or hasattr(found, "gradient"):
        return found
    if not callable(found):
        raise ValueError(
            f"{found!r} cannot be a regularizer: it needs __call__(value), the penalty of a weight."
        )
    return _OfFunction(found)


def serialize(regularizer: RegularizerSpec) -> Any:
    """Keras's dict for a regularizer.

    >>> serialize(L1(0.5))["config"]
    {'l1': 0.5}
    """
    return REGISTRY.serialize(regularizer.function if isinstance(regularizer, _OfFunction) else regularizer)


def deserialize(config: Config | str | None, custom_objects: CustomObjects = None) -> Any:
    """The regularizer that `serialize` described.

    >>> deserialize(serialize(L1(0.5)))
    L1(l1=0.5)
    """
    return REGISTRY.deserialize(config, custom_objects)


def __getattr__(name: str) -> type:
    # regularizers.l2 is regularizers.L2, as in Keras.
    try:
        return REGISTRY.find(name)
    except ValueError:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}") from None


def __dir__() -> list[Any]:
    return sorted({*globals(), *REGISTRY.spellings()})


class Regularizer:
    """The base class: override ``__call__`` and, if there are arguments, `get_config`.

    The penalty, one number, is added to the loss, and its gradient to the weight's. A plain function of the
    weight is a regularizer too. (`gradient` may be overridden with the derivative in NumPy.)

    >>> class Cubes(Regularizer):
    ...     def __call__(self, value):
    ...         return np.sum(np.abs(value) ** 3)
    >>> float(Cubes()(np.array([1.0, -2.0]))), Cubes().gradient(np.array([1.0, -2.0])).tolist()
    (9.0, [3.0, -12.0])
    """

    def __call__(self, value: Array) -> float:
        """The penalty of a weight, a float."""
        raise TypeError(f"{type(self).__name__} must override __call__(value).")

    def gradient(self, value: Any) -> Any:
        """The derivative of the penalty, an array of the weight's shape and dtype."""
        return slope_of(self, value)

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


def slope_of(penalty: Callable[..., Any], value: Any) -> Any:
    """The derivative of a penalty by a weight.

    >>> slope_of(lambda w: (w * w).sum(), np.array([1.0, 3.0])).tolist()
    [2.0, 6.0]
    """
    from tdfast.engine import derivatives

    found, back = derivatives.pullback(penalty, np.asarray(value))
    if not isinstance(found, derivatives.Traced) or found.shape:
        raise TypeError(
            f"Regularizer {getattr(penalty, '__name__', penalty)}: it must return one number that is "
            "computed from "
            f"the weight with tdfast.ops, NumPy's functions or operators, got {found!r:.60}."
        )
    return back(np.ones((), found.dtype))[0]


class _OfFunction(Regularizer):
    """A plain function of a weight as a regularizer.

    >>> _OfFunction(lambda w: 0.1 * np.sum(np.abs(w))).gradient(np.array([2.0, -2.0])).tolist()
    [0.1, -0.1]
    """

    def __init__(self, function: Callable[..., Any]) -> None:
        self.function = function

    def __call__(self, value: Any) -> Any:
        return self.function(value)

    def gradient(self, value: Any) -> Any:
        return slope_of(self.function, value)

    def __repr__(self) -> str:
        return f"_OfFunction({getattr(self.function, '__name__', self.function)})"


@REGISTRY.register("l1_l2")
class L1L2(Regularizer):
    """penalty = l1 sum(|w|) + l2 sum(w^2).

    Args:
        l1, l2: not negative, default 0; both are 0.01 where a layer is given the name "l1_l2" alone.

    >>> L1L2(l1=0.5, l2=0.25)(np.array([1.0, -2.0]))
    2.75
    """

    def __init__(self, l1: float = 0.0, l2: float = 0.0) -> None:
        self.l1 = _factor(0.0 if l1 is None else l1, "l1")
        self.l2 = _factor(0.0 if l2 is None else l2, "l2")

    def __call__(self, value: Any) -> float:
        value = np.asarray(value)
        # Summed in float64: the penalty of a large float32 weight keeps its digits.
        penalty = 0.0
        if self.l1:
            penalty += self.l1 * float(np.sum(np.abs(value), dtype=np.float64))
        if self.l2:
            penalty += self.l2 * float(np.sum(np.square(value), dtype=np.float64))
        return penalty

    def gradient(self, value: Any) -> Any:
        value = np.asarray(value)
        out = (2 * self.l2) * value
        if self.l1:
            out += self.l1 * np.sign(value)
        return out

    def get_config(self) -> Config:
        return {"l1": self.l1, "l2": self.l2}


@REGISTRY.register
class L1(L1L2):
    """penalty = l1 sum(|w|); the derivative at 0 is taken as 0.

    Args:
        l1: not negative, default 0.01.

    >>> L1(0.5)(np.array([1.0, -2.0]))
    1.5
    """

    def __init__(self, l1: float = 0.01) -> None:
        super().__init__(l1=0.01 if l1 is None else l1)

    def get_config(self) -> Config:
        return {"l1": self.l1}


@REGISTRY.register
class L2(L1L2):
    """penalty = l2 sum(w^2).

    Args:
        l2: not negative, default 0.01.

    >>> L2(0.5)(np.array([1.0, -2.0]))
    2.5
    """

    def __init__(self, l2: float = 0.01) -> None:
        super().__init__(l2=0.01 if l2 is None else l2)

    def get_config(self) -> Config:
        return {"l2": self.l2}


@REGISTRY.register
class OrthogonalRegularizer(Regularizer):
    """penalty = factor times the mean of |cosine| over all pairs of rows (or columns) of a matrix.

    Args:
        factor: not negative, default 0.01.
        mode: 'rows' (default) or 'columns'.

    Raises:
        ValueError: for another mode, or a weight that is not a matrix.

    >>> OrthogonalRegularizer(1.0)(np.array([[1.0, 0.0], [3.0, 4.0]]))
    0.6
    """

    EPSILON = 1e-7
    """Rows shorter than this are not scaled to length 1 but divided by it."""

    def __init__(self, factor: float = 0.01, mode: str = "rows") -> None:
        self.factor = _factor(factor, "factor")
        if mode not in ("rows", "columns"):
            raise ValueError(f"OrthogonalRegularizer: mode must be 'rows' or 'columns', got {mode!r}.")
        self.mode = mode

    def __call__(self, value: Any) -> float:
        _, _, cosines = self._cosines(value)
        return float(self._weight(len(cosines)) * np.sum(np.abs(cosines)))

    def gradient(self, value: Any) -> Any:
        unit, length, cosines = self._cosines(value)
        # Each pair stands in the matrix twice, hence 2. The direction along a row changes only its
        # length, which the scaling takes out again.
        dunit = 2 * self._weight(len(cosines)) * np.sign(cosines) @ unit
        along = np.sum(dunit * unit, axis=1, keepdims=True) * (length > self.EPSILON)
        dvalue = (dunit - along * unit) / np.maximum(length, self.EPSILON)
        dvalue = dvalue if self.mode == "rows" else dvalue.T
        return np.ascontiguousarray(dvalue, np.asarray(value).dtype)

    def _cosines(self, value: Any) -> tuple[Any, ...]:
        """The rows scaled to length 1, their lengths, and their products, 0 for a row with itself."""
        rows = np.asarray(value, np.float64)
        if rows.ndim != 2:
            raise ValueError(f"OrthogonalRegularizer needs a weight of 2 axes, got shape {rows.shape}.")
        rows = rows if self.mode == "rows" else rows.T
        length = np.sqrt(np.sum(np.square(rows), axis=1, keepdims=True))
        unit = rows / np.maximum(length, self.EPSILON)
        cosines = unit @ unit.T
        np.fill_diagonal(cosines, 0)
        return unit, length, cosines

    def _weight(self, n: int) -> float:
        """factor / (2 pairs): the sum over the matrix counts each pair twice. One row has no pair."""
        return self.factor / (n * (n - 1)) if n > 1 else 0.0

    def get_config(self) -> Config:
        return {"factor": self.factor, "mode": self.mode}


def _factor(value: Any, name: str) -> float:
    number = isinstance(value, (int, float, np.number)) and not isinstance(value, bool)
    if not number or not 0 <= value < math.inf:
        raise ValueError(f"A regularizer's {name} must be a number of at least 0, got {value!r}.")
    return float(value)
