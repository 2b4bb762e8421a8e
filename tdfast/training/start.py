"""Start: what a model is before a fit, to be put back before the next one."""

from __future__ import annotations

import copy
from typing import TYPE_CHECKING, Any

import numpy as np

from tdfast.engine.pickling import seeds_of, stateful_of
from tdfast.engine.structure import flatten

if TYPE_CHECKING:
    from tdfast.engine.types import Array, Data
    from tdfast.training.trainer import Trainer


class Start:
    """The weights, the optimizer's state, the random state and the states of layers of a compiled model.

    They are put back in place, so that the programs of its steps stay as they are.

    Args:
        trainer: the model's `tdfast.training.trainer.Trainer`.

    Attributes:
        values: the flat vector in which the weights live.
    """

    def __init__(self, trainer: Trainer) -> None:
        trainer.ready_to_train()
        self._trainer, parameters = trainer, trainer.parameters
        self.values, self._grads = parameters.values, parameters.grads
        layers, optimizer = list(trainer.model.walk()), trainer.optimizer
        self._optimizers = [(one, one.steps, one._learning_rate, one.averages_in_place)
                            for one in (optimizer, *optimizer.inner)]
        arrays = [slot for one, *_ in self._optimizers for slot in one.slots.values()]
        arrays += [v.value for v in optimizer.variables] + [seed.state for seed in seeds_of(layers)]
        self._arrays = [(array, array.copy()) for array in arrays]
        self._states = [(layer, copy.deepcopy(layer.states)) for layer in stateful_of(layers)]
        self._heads = [head for head in trainer.objective.heads if head.metrics is None and any(
            isinstance(spec, str) for spec, _ in head.specs)]
        self._shapes: Any = None

    def put_back(self, values: Array) -> None:
        """Make the model what it was, but for its weights: these are ``values``."""
        with self._trainer.lock.writing():
            self.values[...] = values
        self._grads[...] = 0
        for array, held in self._arrays:
            array[...] = held
        for one, steps, rate, in_place in self._optimizers:
            one.steps, one._learning_rate, one.averages_in_place = steps, rate, in_place
        for layer, states in self._states:
            layer.states = copy.deepcopy(states)
        self._trainer.history = None

    def expect(self, y: Data) -> None:
        """The next targets are these: metrics that were given by names fit their shapes."""
        if not self._heads:
            return
        shapes = [np.shape(part)[1:] for part in flatten(y)]
        if shapes != self._shapes:
            self._shapes = shapes
            for head in self._heads:
                head.metrics = None
            self._trainer.forget_steps()
