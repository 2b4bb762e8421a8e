"""Learning rates that change with the step, as in `keras.optimizers.schedules`.

A schedule goes in the place of an optimizer's learning_rate. The step counts every batch from 0, those that
only accumulate gradients included.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

from tdfast.engine import arguments
from tdfast.engine.registry import Registry

if TYPE_CHECKING:
    from collections.abc import Sequence

    from tdfast.engine.types import Config, CustomObjects

REGISTRY = Registry("schedule", "schedules", "keras.optimizers.schedules")


class LearningRateSchedule:
    """The base class: override ``__call__(step)``, and `get_config` to save models with it.

    >>> class Halving(LearningRateSchedule):
    ...     def __call__(self, step):
    ...         return 0.1 / 2**step
    >>> Halving()(2)
    0.025
    """

    def __call__(self, step: Any) -> Any:
        """The learning rate, a float, of step 0, 1, 2, ..."""
        raise TypeError(f"{type(self).__name__} must override __call__(step).")

    def get_config(self) -> Config:
        """The arguments of the constructor."""
        raise TypeError(f"{type(self).__name__} must override get_config() to be saved.")

    @classmethod
    def from_config(cls, config: Config) -> Any:
        """The schedule that `get_config` described."""
        return cls(**config)


class _Named(LearningRateSchedule):
    """A schedule whose config is the attributes of these names."""

    keys: tuple[Any, ...] = ()

    def get_config(self) -> Config:
        return {key: getattr(self, key) for key in self.keys}

    def _check(self, positive: str, flag: str | None = None, optional: str | None = None) -> None:
        """Refuse arguments that are no numbers.

        Args:
            positive: the one that must be over 0.
            flag: the one that is True or False.
            optional: the one that may be None.
        """
        who = type(self).__name__
        for key, value in list(vars(self).items()):
            if key == flag:
                setattr(self, key, arguments.flag(value, key, who))
            elif key != "name":
                setattr(self, key, arguments.number(value, key, who, optional=key == optional))
        if not getattr(self, positive) > 0:
            raise ValueError(f"{who}: {positive} must be over 0, got {getattr(self, positive)}.")


@REGISTRY.register
class ExponentialDecay(_Named):
    """``initial_learning_rate decay_rate^(step / decay_steps)``.

    Args:
        initial_learning_rate: that of step 0.
        decay_steps: how many steps one factor takes; over 0.
        decay_rate: the factor.
        staircase: round ``step / decay_steps`` down.
        name: kept in the config.

    Raises:
        ValueError: for decay_steps not over 0.

    See https://keras.io/api/optimizers/learning_rate_schedules/exponential_decay/.

    >>> ExponentialDecay(0.1, decay_steps=10, decay_rate=0.5)(20)
    0.025
    """

    keys: tuple[str, ...] = ("initial_learning_rate", "decay_steps", "decay_rate", "staircase", "name")

    def __init__(self, initial_learning_rate: float, decay_steps: int, decay_rate: float,
                 staircase: bool = False, name: str = "ExponentialDecay") -> None:
        self.initial_learning_rate, self.decay_steps, self.decay_rate = (
            initial_learning_rate,
            decay_steps,
            decay_rate,
        )
        self.staircase, self.name = staircase, name
        self._check("decay_steps", flag="staircase")

    def _passed(self, step: Any) -> float:
        passed = int(step) / self.decay_steps
        return math.floor(passed) if self.staircase else passed

    def __call__(self, step: Any) -> float:
        return self.initial_learning_rate * self.decay_rate ** self._passed(step)


@REGISTRY.register
class InverseTimeDecay(ExponentialDecay):
    """``initial_learning_rate / (1 + decay_rate step / decay_steps)``.

    Args:
        initial_learning_rate: that of step 0.
        decay_steps: over 0.
        decay_rate: how strong the decay is.
        staircase: round ``step / decay_steps`` down.
        name: kept in the config.

    Raises:
        ValueError: for decay_steps not over 0.

    See https://keras.io/api/optimizers/learning_rate_schedules/inverse_time_decay/.

    >>> InverseTimeDecay(0.1, decay_steps=1, decay_rate=1.0)(3)
    0.025
    """

    def __init__(self, initial_learning_rate: float, decay_steps: int, decay_rate: float,
                 staircase: bool = False, name: str = "InverseTimeDecay") -> None:
        super().__init__(initial_learning_rate, decay_steps, decay_rate, staircase, name)

    def __call__(self, step: Any) -> float:
        return self.initial_learning_rate / (1 + self.decay_rate * self._passed(step))


@REGISTRY.register
class PiecewiseConstantDecay(_Named):
    """``values[i]`` for the first i with ``step <= boundaries[i]``, the last value after them all.

    Args:
        boundaries: steps, rising.
        values: one more than boundaries.
        name: kept in the config.

    Raises:
        ValueError: if the lengths do not fit.

    See https://keras.io/api/optimizers/learning_rate_schedules/piecewise_constant_decay/.

    >>> rate = PiecewiseConstantDecay([10, 20], [0.1, 0.01, 0.001])
    >>> rate(10), rate(11), rate(21)
    (0.1, 0.01, 0.001)
    """

    keys: tuple[str, ...] = ("boundaries", "values", "name")

    def __init__(self, boundaries: Sequence[float], values: Any, name: str = "PiecewiseConstant") -> None:
        for key, given in (("boundaries", boundaries), ("values", values)):
            if isinstance(given, (str, dict)) or not hasattr(given, "__len__"):
                raise ValueError(
                    f"PiecewiseConstantDecay: {key} must be a list of numbers, got {given!r:.80}."
                )
            for value in given:
                arguments.number(value, f"each of the {key}", "PiecewiseConstantDecay")
        if len(boundaries) != len(values) - 1:
            raise ValueError(
                "PiecewiseConstantDecay: there must be one value more than boundaries, got "
                f"{len(boundaries)} "
                f"boundaries and {len(values)} values."
            )
        self.boundaries, self.values, self.name = list(boundaries), list(values), name

    def __call__(self, step: Any) -> float:
        for boundary, value in zip(self.boundaries, self.values):
            if step <= boundary:
                return value
        return self.values[-1]


@REGISTRY.register
class PolynomialDecay(_Named):
    """``(initial_learning_rate - end_learning_rate) (1 - step / decay_steps)^power + end_learning_rate``.

    Args:
        initial_learning_rate: that of step 0.
        decay_steps: when end_learning_rate is reached, where it stays; over 0.
        end_learning_rate: default 0.0001.
        power: default 1, a straight line.
        cycle: instead of staying, stretch decay_steps to its next multiple.
        name: kept in the config.

    Raises:
        ValueError: for decay_steps not over 0.

    See https://keras.io/api/optimizers/learning_rate_schedules/polynomial_decay/.

    >>> PolynomialDecay(0.1, decay_steps=4, end_learning_rate=0.0)(3)
    0.025
    """

    keys = ("initial_learning_rate", "decay_steps", "end_learning_rate", "power", "cycle", "name")

    def __init__(self, initial_learning_rate: float, decay_steps: int, end_learning_rate: float = 0.0001,
                 power: float = 1.0, cycle: bool = False, name: str = "PolynomialDecay") -> None:
        self.initial_learning_rate, self.decay_steps = initial_learning_rate, decay_steps
        self.end_learning_rate, self.power, self.cycle, self.name = end_learning_rate, power, cycle, name
        self._check("decay_steps", flag="cycle")

    def __call__(self, step: Any) -> float:
        steps = self.decay_steps
        if self.cycle:
            steps *= max(math.ceil(step / steps), 1)
        rest = 1 - min(int(step), steps) / steps
        return (
            self.initial_learning_rate - self.end_learning_rate
        ) * rest**self.power + self.end_learning_rate


def _cosine(fraction: float) -> float:
    """From 1 down to 0 as the fraction goes from 0 to 1."""
    return 0.5 * (1 + math.cos(math.pi * fraction))


@REGISTRY.register
class CosineDecay(_Named):
    """A straight line up to the warm-up's target, then half a cosine wave down to alpha of it::

        step < warmup_steps:  initial_learning_rate + (warmup_target - initial_learning_rate) s,
                              s = step / warmup_steps
        later:                warmup_target ((1 - alpha) (1 + cos(pi s / decay_steps)) / 2 + alpha),
                              s = min(step - warmup_steps, decay_steps)

    Args:
        initial_learning_rate: that of step 0.
        decay_steps: steps of the wave; over 0.
        alpha: the fraction to end at, default 0.
        name: kept in the config.
        warmup_target: None: no warm-up, and the wave begins at initial_learning_rate in step 0.
        warmup_steps: default 0.

    Raises:
        ValueError: for decay_steps not over 0.

    See https://keras.io/api/optimizers/learning_rate_schedules/cosine_decay/ and
    https://arxiv.org/abs/1608.03983.

    >>> rate = CosineDecay(0.0, decay_steps=10, warmup_target=0.1, warmup_steps=4)
    >>> rate(2), rate(4), round(rate(9), 3), rate(14)
    (0.05, 0.1, 0.05, 0.0)
    """

    keys = ("initial_learning_rate", "decay_steps", "alpha", "name", "warmup_target", "warmup_steps")

    def __init__(self, initial_learning_rate: float, decay_steps: int, alpha: float = 0.0,
                 name: str = "CosineDecay", warmup_target: float | None = None,
                 warmup_steps: int = 0) -> None:
        self.initial_learning_rate, self.decay_steps = initial_learning_rate, decay_steps
        self.alpha, self.name = alpha, name
        self.warmup_target, self.warmup_steps = warmup_target, warmup_steps
        self._check("decay_steps", optional="warmup_target")

    def __call__(self, step: Any) -> float:
        step, start = int(step), self.initial_learning_rate
        if self.warmup_target is not None:
            if step < self.warmup_steps:
                return start + (self.warmup_target - start) * step / self.warmup_steps
            step, start = step - self.warmup_steps, self.warmup_target
        return start * (
            (1 - self.alpha) * _cosine(min(step, self.decay_steps) / self.decay_steps) + self.alpha
        )


@REGISTRY.register
class CosineDecayRestarts(_Named):
    """Half cosine waves one after another, wave i being first_decay_steps t_mul^i long and m_mul^i high::

        initial_learning_rate ((1 - alpha) m_mul^i (1 + cos(pi fraction)) / 2 + alpha)

    Args:
        initial_learning_rate: that of step 0.
        first_decay_steps: steps of the first wave; over 0.
        t_mul: how much longer each wave is, default 2.
        m_mul: how much higher each wave is, default 1.
        alpha: the fraction of initial_learning_rate that waves end at, default 0.
        name: kept in the config.

    Raises:
        ValueError: for first_decay_steps not over 0.

    See https://keras.io/api/optimizers/learning_rate_schedules/cosine_decay_restarts/ and
    https://arxiv.org/abs/1608.03983.

    >>> rate = CosineDecayRestarts(0.1, first_decay_steps=10, m_mul=0.5)
    >>> rate(0), round(rate(5), 3), rate(10)
    (0.1, 0.05, 0.05)
    """

    keys: tuple[str, ...] = ("initial_learning_rate", "first_decay_steps", "t_mul", "m_mul", "alpha", "name")

    def __init__(self, initial_learning_rate: float, first_decay_steps: int, t_mul: float = 2.0,
                 m_mul: float = 1.0, alpha: float = 0.0, name: str = "SGDRDecay") -> None:
        self.initial_learning_rate, self.first_decay_steps = initial_learning_rate, first_decay_steps
        self.t_mul, self.m_mul, self.alpha, self.name = t_mul, m_mul, alpha, name
        self._check("first_decay_steps")

    def __call__(self, step: Any) -> float:
        fraction, wave, length = int(step) / self.first_decay_steps, 0, 1.0
        if self.t_mul == 1:
            wave = math.floor(fraction)
            fraction -= wave
        else:
            # wave w starts after 1 + t_mul + ... + t_mul^(w - 1) first waves; a hair more, or rounding would
            # put the first step of a wave at the end of the one before
            wave = math.floor(math.log(1 - fraction * (1 - self.t_mul)) / math.log(self.t_mul) + 1e-9)
            length = self.t_mul**wave
            fraction = (fraction - (1 - length) / (1 - self.t_mul)) / length
        wave_now = self.m_mul**wave * _cosine(fraction)
        return self.initial_learning_rate * ((1 - self.alpha) * wave_now + self.alpha)


def serialize(learning_rate_schedule: Any) -> Any:
    """Keras's dict for a schedule, or for a function by its name.

    Raises:
        ValueError: for a function without a name.
        TypeError: for a schedule without get_config.

    >>> serialize(ExponentialDecay(0.1, 10, 0.5))["config"]["decay_steps"]
    10
    """
    if isinstance(learning_rate_schedule, LearningRateSchedule):
        return REGISTRY.serialize(learning_rate_schedule)
    name = REGISTRY.serialize(learning_rate_schedule)
    return {"module": "builtins", "class_name": "function", "config": name, "registered_name": "function"}


def deserialize(config: Config | str | None, custom_objects: CustomObjects = None) -> Any:
    """The schedule, or the function of custom_objects, that `serialize` described.

    >>> deserialize(serialize(ExponentialDecay(0.1, 10, 0.5))).decay_rate
    0.5
    """
    return REGISTRY.deserialize(config, custom_objects)


def get(identifier: Any) -> Any:
    """The schedule that a name, a class, an object or Keras's dict means.

    Raises:
        ValueError: for an unknown name, listing the known ones.

    >>> get(serialize(ExponentialDecay(0.1, 10, 0.5))).decay_steps
    10
    """
    return REGISTRY.get(identifier)
