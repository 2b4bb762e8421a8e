"""What metrics share: names, state, how a training step hands over its batch, targets beside outputs as
rows."""

from __future__ import annotations

import functools
import inspect
import math
from typing import TYPE_CHECKING, Any

import numpy as np

from tdfast import config
from tdfast.compat import absent
from tdfast.engine import arguments, calls
from tdfast.engine.names import snake_case, unique_name
from tdfast.engine.registry import Registry
from tdfast.engine.variable import Variable
from tdfast.losses.base import NEW, as_outputs, fit_target, row_weights, spread

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import DTypeLike

    from tdfast.engine.tape import Record
    from tdfast.engine.types import Config, DType, InitializerSpec, Masks, Numbers, Sizes

REGISTRY = Registry("metric", "metrics", "keras.metrics")
DTYPES = ("float16", "bfloat16", "float32", "float64", "int8", "int16", "int32", "int64", "uint8")


class State(np.ndarray):
    """A metric's number or array: a float64 NumPy array with Keras's `assign`, `assign_add` and
    `assign_sub`."""

    def assign(self, value: Any) -> None:
        """Overwrite."""
        self[...] = value

    def assign_add(self, value: Any) -> None:
        """Add."""
        np.add(self, value, out=self)

    def assign_sub(self, value: Any) -> None:
        """Subtract."""
        np.subtract(self, value, out=self)


def _on_numbers(update: Callable[..., Any]) -> Callable[..., Any]:
    """An ``update_state`` that may be called on values whose steps are recorded: it counts their numbers."""

    @functools.wraps(update)
    def wrapped(self: Any, *args: Any, **kwargs: Any) -> Any:
        return update(self, *map(calls.plain, args), **{k: calls.plain(v) for k, v in kwargs.items()})

    return wrapped


@absent.members("metrics")
class Metric:
    """A number over many batches: `update_state`, `result` and `reset_state`.

    For a metric of your own, make its state with `add_variable` and write ``update_state(y_true, y_pred,
    sample_weight=None)`` and ``result()``, which gives a number, an array or a dict of them. Where the model
    has a mask, it is part of sample_weight, 0 where a step does not count; an update_state with an argument
    ``mask`` gets both apart.

    A resumed training (see `BackupAndRestore`) puts its variables back, and those of its attributes that are
    numbers, arrays or metrics. Where that is too much or too little, override `get_state` and `set_state`.

    Args:
        dtype: accepted, as in Keras; the state is float64.
        name: made from the class when None: 'auc', then 'auc_1'.

    Source: https://keras.io/api/metrics/base_metric/

    >>> class Largest(Metric):
    ...     def __init__(self, **kwargs):
    ...         super().__init__(**kwargs)
    ...         self.largest = self.add_variable((), "zeros")
    ...     def update_state(self, y_true, y_pred, sample_weight=None):
    ...         self.largest.assign(np.maximum(self.largest, np.abs(y_pred - y_true).max()))
    ...     def result(self):
    ...         return float(self.largest)
    >>> Largest(name="largest")(np.zeros(2), np.array([1.0, -3.0]))
    3.0
    """

    state_names: tuple[Any, ...] = ()
    """The attributes that hold the state of a metric of tdfast's."""

    direction: Any = None            # 'up' or 'down': what is better
    can_be_prepared = False
    """Whether `update_batch`, without weights and a mask, is calls of a kernel whose sum `add` takes."""

    default_dtype: Any = None        # None: floatx

    def __init__(self, dtype: DType = None, name: str | None = None) -> None:
        self.name = name or unique_name(snake_case(type(self).__name__))
        self.dtype = _dtype_name(dtype or self.default_dtype or config.floatx(), self.name)

    def _flag(self, value: Any, name: str) -> bool:
        """``value``, of the argument ``name``, as a bool; a ValueError for a word such as "False"."""
        return arguments.flag(value, name, type(self).__name__)

    @property
    def variables(self) -> list[Any]:
        """The arrays that `add_variable` made; of a metric of tdfast's, copies of what it has counted.

        >>> from tdfast.metrics import Mean
        >>> mean = Mean()
        >>> mean.update_state([1.0, 3.0])
        >>> [float(part) for part in mean.variables]
        [4.0, 2.0]
        """
        own = self.__dict__.setdefault("_variables", [])
        if own or not type(self).__module__.startswith("tdfast."):
            return own
        counted = [getattr(self, name, None) for name in self.state_names]
        return [np.array(part, np.float64) for part in counted if isinstance(part, (int, float, np.ndarray))]

    def add_variable(self, shape: Sizes, initializer: InitializerSpec = "zeros",
                     dtype: DTypeLike | None = None, name: str | None = None) -> Any:
        """A float64 `State`, which `reset_state` sets to 0. ``dtype`` and ``name`` describe it in Keras
        only."""
        from tdfast import initializers

        state = np.zeros(shape, np.float64).view(State)
        state.assign(initializers.get(initializer)(state.shape))
        self.variables.append(state)
        return state

    def add_weight(self, shape: Sizes = (), initializer: InitializerSpec = "zeros",
                   dtype: DTypeLike | None = None, name: str | None = None) -> Any:
        """`add_variable` with a shape of () by default."""
        return self.add_variable(shape, "zeros" if initializer is None else initializer, dtype, name)

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        if "update_state" in vars(cls):
            setattr(cls, "update_state", _on_numbers(vars(cls)["update_state"]))    # noqa: B010

    def reset_state(self) -> None:
        """Start again."""
        for state in self.variables:
            state.assign(0)

    def get_state(self) -> Any:
        """What has been counted, for a resumed training: a dict from names to numbers, arrays, and lists and
        dicts of these."""
        if type(self).__module__.startswith("tdfast."):
            return {name: getattr(self, name) for name in self.state_names}
        state = counted_in(self)
        return {**state, "variables": list(self.variables)} if self.variables else state

    def set_state(self, state: Any) -> None:
        """Take over what `get_state` gave."""
        state = dict(state)
        for mine, saved in zip(self.variables, state.pop("variables", ())):
            mine.assign(saved)
        count_on(self, state)

    def update_state(self, *args: Any, **kwargs: Any) -> Any:
        """Count a batch."""
        raise ValueError(
            f"Metric '{self.name}' ({type(self).__name__}) counts nothing: override update_state(y_true, "
            "y_pred)."
        )

    def result(self) -> Any:
        """The number, array or dict of all batches since `reset_state`."""
        raise ValueError(f"Metric '{self.name}' ({type(self).__name__}) has no result: override result().")

    def update_batch(self, y_true: Any, y_pred: Any, sample_weight: Any = None, mask: Masks = None,
                     workspace: Record | None = None) -> None:
        """Count a batch of training: `update_state` with those of the arguments that it takes."""
        given, extras = {}, _extras(type(self).update_state)
        if "workspace" in extras:
            given["workspace"] = workspace
        if "mask" in extras:
            given["mask"] = mask
        elif mask is not None:
            sample_weight = row_weights(sample_weight, mask, np.shape(mask), np.float64, "sum")
        if sample_weight is not None:
            given["sample_weight"] = sample_weight
        self.update_state(y_true, y_pred, **given)

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        self.update_state(*args, **kwargs)
        return self.result()

    def get_config(self) -> Config:
        """The arguments of the constructor."""
        return {"name": self.name, "dtype": self.dtype}

    @classmethod
    def from_config(cls, config: Config) -> Any:
        """The metric that `get_config` described."""
        return cls(**config)

    def __repr__(self) -> str:
        return f"<{type(self).__name__} name={self.name}>"


@functools.lru_cache(maxsize=256)
def _extras(update_state: Callable[..., Any]) -> set[Any]:
    return {"mask", "workspace"} & set(inspect.signature(update_state).parameters)


def _dtype_name(dtype: Any, who: str) -> Any:
    name = {"int": "int32",
            "float": config.floatx()}.get(dtype, getattr(dtype, "name", dtype)) if _hashable(dtype) else dtype
    if name not in DTYPES:
        raise ValueError(f"{who}: dtype must be None or one of {', '.join(DTYPES)}, got {dtype!r}.")
    return name


def _hashable(value: Any) -> bool:
    return getattr(value, "__hash__", None) is not None


# ---------------------------------------------------------------- the state of a metric of somebody's own


def counted_in(metric: Any) -> Any:
    """Those of its attributes that are numbers, arrays or metrics, by name, as what `count_on` takes.

    >>> class Seen:
    ...     def update_state(self, y_true, y_pred, sample_weight=None):
    ...         self.rows = self.rows + len(y_true)
    >>> first, second = Seen(), Seen()
    >>> first.rows = 3
    >>> counted_in(first)
    {'rows': 3}
    >>> count_on(second, counted_in(first))
    >>> second.rows
    3
    """
    variables: Any = getattr(metric, "variables", ())
    out: dict[str, Any] = {}
    for name, value in vars(metric).items():
        if isinstance(value, Variable):
            out[name] = value.value
        elif isinstance(value, (int, float, np.ndarray, np.generic)):
            if not any(value is state for state in variables):
                out[name] = value
        elif isinstance(value, Metric):
            out[name] = value.get_state()
        elif hasattr(value, "update_state"):
            out[name] = counted_in(value)
    return out


def count_on(metric: Any, state: Any) -> None:
    """Give a metric the attributes that `counted_in` found; variables stay the objects that they are."""
    for name, value in state.items():
        mine = getattr(metric, name, None)
        if isinstance(mine, Variable):
            mine.value[...] = value
        elif isinstance(mine, State) and mine.shape == np.shape(value):
            mine.assign(value)
        elif isinstance(mine, Metric):
            mine.set_state(value)
        elif isinstance(value, dict):
            count_on(mine, value)
        else:
            setattr(metric, name, value)


# ---------------------------------------------------------------- pieces


def matched_rows(y_true: Numbers, y_pred: Numbers, sample_weight: Numbers | None, who: str) -> Any:
    """(targets, outputs, weights or None), each (M, C): all axes but the last are rows; rows of weight 0 are
    left out."""
    p = as_outputs(y_pred)
    if p.ndim < 2:
        p = p.reshape(-1, 1)
    t = fit_target(y_true, p, False, NEW, who)
    shape, flat = p.shape, (math.prod(p.shape[:-1]), p.shape[-1])
    t, p = t.reshape(flat), p.reshape(flat)
    if sample_weight is None:
        return t, p, None
    w = spread(np.asarray(sample_weight, np.float64), shape, f"{who}: sample_weight").reshape(flat)
    keep = w.any(axis=1)
    return (t, p, w) if keep.all() else (t[keep], p[keep], w[keep])


def ratio(a: Any, b: Any) -> Any:
    """a / b, and 0 where b is 0."""
    a, b = np.broadcast_arrays(np.asarray(a, np.float64), b)
    return np.divide(a, b, out=np.zeros(a.shape), where=b != 0)


def plain(value: Any) -> Any:
    """A float for a single number, an array of its own for several."""
    return float(value) if np.ndim(value) == 0 else np.array(value)
