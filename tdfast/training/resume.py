"""Run: a fit that is under way, and everything that it needs to go on exactly where it was."""

from __future__ import annotations

import random as python_random
from typing import TYPE_CHECKING, Any

import numpy as np

from tdfast import random
from tdfast.engine.pickling import seeds_of, stateful_of
from tdfast.training.batch import one_or_list

if TYPE_CHECKING:
    from collections.abc import Sequence

    from tdfast.training.epochs import EpochIterator


class Run:
    """Where a `fit` is. `state` gives all of it as plain values and arrays, `restore` puts it back.

    Args:
        model: the model, built and compiled, its optimizer ready.
        layers: the model and all layers in it.
        calls: its `CallbackList`.
        train, test: the `tdfast.training.epochs.EpochIterator` of the training and of the validation (or
            None).
        epoch: the first epoch.
        shards: how many parts each batch is cut into, see `tdfast.distribution.DataParallel`; None: none.

    Attributes:
        epoch, batch: the next to come.
        logs: those of the last epoch.
        over: whether there is nothing left to do.
        interrupts: the `tdfast.training.interrupts.Interrupts` of the fit, once it has begun.
    """

    def __init__(self, model: Any, layers: Sequence[Any], calls: Any, train: EpochIterator,
                 test: EpochIterator | None, epoch: int, shards: int | None = None) -> None:
        self.model, self.calls, self.train, self.test = model, calls, train, test
        self.shards = shards
        self.epoch = epoch
        self.batch = 0
        self.logs: dict[Any, Any] = {}
        self.over = False
        self.interrupts: Any = None
        self._seeds, self._stateful = seeds_of(layers), stateful_of(layers)

    def seed(self) -> None:
        """Have the random layers begin anew, by numbers that are drawn now. One with a seed of its own begins
        with that."""
        for seed in self._seeds:
            seed.restart(random.make_default_seed())

    # ---------------------------------------------------------------- out
    def state(self) -> dict[str, Any]:
        """Everything, as a dict for `tdfast.saving.state.write_state`; its arrays are views."""
        model = self.model
        return {
            "epoch": self.epoch,
            "batch": self.batch,
            "shards": self.shards,
            "logs": self.logs,
            "stop": bool(model.stop_training),
            **self.model_state(),
            "random": random_states(),
            "states": [layer.states for layer in self._stateful],
            "metrics": [metric.get_state() for metric in model.metrics],
            "train": self.train.state(),
            "test": self.test and self.test.state(),
            "callbacks": self.calls.get_state(),
        }

    def model_state(self) -> dict[str, Any]:
        """The weights, the optimizer and the random layers alone."""
        optimizer = self.model.optimizer
        return {
            "weights": [w.value for w in self.model.weights],
            "optimizer": [v.value for v in optimizer.variables],
            **_of_optimizer(optimizer),
            "optimizers": [_of_optimizer(inner) for inner in optimizer.inner],
            "seeds": [seed.state for seed in self._seeds],
        }

    # ---------------------------------------------------------------- in
    def restore(self, state: Any) -> None:
        """Put back what `state` gave, for a model, data and callbacks that were made in the same way.

        Raises:
            ValueError: if the model or the data are others; then nothing has changed.
        """
        model = self.model
        self._check(state)
        self.restore_model(state)
        for layer, saved in zip(self._stateful, state["states"]):
            layer.states = saved
        self._restore_metrics(state["metrics"])
        self.train.restore(state["train"], state["batch"])
        if self.test and state["test"]:
            self.test.restore(state["test"], 0)
        self.calls.set_state(state["callbacks"])
        self.epoch, self.batch, self.logs = state["epoch"], state["batch"], state["logs"]
        model.stop_training = state["stop"]
        self.over = state["stop"] and not self.batch
        restore_random(state["random"])

    def restore_model(self, state: Any) -> None:
        """Put back what `model_state` gave."""
        optimizer = self.model.optimizer
        for w, array in zip(self.model.weights, state["weights"]):
            w.value[...] = array
        for v, saved in zip(optimizer.variables, state["optimizer"]):
            v.assign(saved)
        for one, saved in zip([optimizer, *optimizer.inner], [state, *state.get("optimizers", ())]):
            one.steps, one.averages_in_place = saved["steps"], saved["averages_in_place"]
            if saved["learning_rate"] is not None:
                one._set_rate(saved["learning_rate"])
        for seed, saved in zip(self._seeds, state["seeds"]):
            seed.state[...] = saved

    def _check(self, state: Any) -> None:
        """Refuse what is not of this training."""
        optimizer = self.model.optimizer
        pairs = {
            "the weights": ([w.shape for w in self.model.weights], [a.shape for a in state["weights"]]),
            f"the state of optimizer '{optimizer.name}'": (
                [v.shape for v in optimizer.variables], [np.shape(a) for a in state["optimizer"]]),
            "the random layers": (len(self._seeds), len(state["seeds"])),
            "the stateful layers": (len(self._stateful), len(state["states"])),
            "the training data": (self.train.size, state["train"]["size"]),
            "the shards of DataParallel": (self.shards, state.get("shards")),
        }
        for what, (here, saved) in pairs.items():
            if here != saved:
                raise ValueError(
                    f"The backup is of another training: {what} do not agree, {saved} there and {here} here. "
                    "Make model "
                    "and data as they were, or delete the backup to train from the beginning."
                )

    def _restore_metrics(self, saved: Any) -> None:
        model = self.model
        if len(saved) > len(model.metrics):     # names become objects when shapes are known
            batch = self.train.peek()
            shapes = model.output_shapes(one_or_list([x.shape for x in batch.inputs]))
            for head, y, shape in zip(model._trainer.objective.heads, batch.targets, shapes):
                if y is not None:
                    head.make_metrics(y.shape, shape)
        for metric, counted in zip(model.metrics, saved):
            metric.set_state(counted)


def _of_optimizer(optimizer: Any) -> dict[str, Any]:
    """The numbers of an optimizer, more exactly than its variables have them."""
    rate = optimizer._learning_rate
    return {"steps": optimizer.steps, "learning_rate": None if callable(rate) else float(rate),
            "averages_in_place": optimizer.averages_in_place}


def random_states() -> dict[str, Any]:
    """The states of tdfast's, NumPy's and Python's random numbers."""
    version, numbers, gauss = python_random.getstate()
    return {
        "tdfast": random.generator().bit_generator.state,
        "numpy": np.random.get_state(legacy=False),
        "python": [version, np.array(numbers, np.int64), gauss],
    }


def restore_random(saved: Any) -> None:
    """Put back what `random_states` gave."""
    random.generator().bit_generator.state = saved["tdfast"]
    np.random.set_state(saved["numpy"])
    version, numbers, gauss = saved["python"]
    python_random.setstate((version, tuple(numbers.tolist()), gauss))
