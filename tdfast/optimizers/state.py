"""What an optimizer shows of its numbers: the learning rate and the count of updates, as values and as
variables."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from tdfast.engine.variable import Variable

if TYPE_CHECKING:
    from tdfast.engine.types import Array, Numbers


class LearningRate(float):
    """A learning rate: a float that also takes ``assign``, as scripts for Keras write it.

    >>> from tdfast.optimizers import SGD
    >>> optimizer = SGD(0.1)
    >>> optimizer.learning_rate.assign(0.05)
    >>> optimizer.learning_rate
    0.05
    """

    optimizer: Any

    __slots__ = ("optimizer",)

    def assign(self, value: Any) -> None:
        """Give the optimizer another learning rate."""
        self.optimizer.learning_rate = value

    def numpy(self) -> Any:
        """The number, as float32 in Keras's variable."""
        return np.float32(self)

    value = property(float, doc="The number.")

    def __reduce__(self) -> Any:
        return float, (float(self),)


class Iterations(int):
    """How many updates there were: an int that also takes ``assign``, as scripts for Keras write it.

    >>> from tdfast.optimizers import SGD
    >>> optimizer = SGD(0.1)
    >>> optimizer.iterations.assign(5)
    >>> optimizer.iterations + 1, optimizer.iterations.numpy()
    (6, 5)
    """

    optimizer: Any

    def assign(self, value: Any) -> None:
        """Let the optimizer go on counting from here."""
        self.optimizer.iterations = value

    def numpy(self) -> int:
        """The number."""
        return int(self)

    value = property(int, doc="The number.")

    def __reduce__(self) -> Any:
        return int, (int(self),)


class _Number(Variable):
    """A number of an optimizer's, seen as one of its variables."""

    __slots__ = ("_optimizer",)

    def __init__(self, optimizer: Any, name: str) -> None:
        self._optimizer = optimizer
        self._grad = self.regularizer = self.constraint = self.owner = None
        self.name, self.path = name, f"{optimizer.name}/{name}"
        self._trainable = self.made_trainable = False

    def numpy(self) -> Array:
        return np.array(self.value)

    def __reduce__(self) -> Any:
        return Variable, (np.array(self.value), self.name, self.path, False)


class StepCount(_Number):
    """The number of steps, those that only accumulate gradients included: Keras's ``iteration``."""

    def __init__(self, optimizer: Any) -> None:
        super().__init__(optimizer, "iteration")

    @property
    def value(self) -> Array:           # type: ignore[override]
        """The number, as an array of no axes."""
        return np.asarray(self._optimizer.steps)

    def assign(self, value: Numbers) -> None:
        """Let the optimizer go on counting from here."""
        self._optimizer.steps = int(self.fitting(value))


class Rate(_Number):
    """The learning rate of an optimizer without a schedule."""

    def __init__(self, optimizer: Any) -> None:
        super().__init__(optimizer, "learning_rate")

    @property
    def value(self) -> Array:           # type: ignore[override]
        """The number, as an array of no axes, in float32."""
        return np.asarray(self._optimizer._learning_rate, np.float32)

    def assign(self, value: Numbers) -> None:
        """Give the optimizer another learning rate; one that is the same in float32 changes nothing."""
        value = self.fitting(value)
        if self.value != np.float32(value):
            self._optimizer._set_rate(float(value))
