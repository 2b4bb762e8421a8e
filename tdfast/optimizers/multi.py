"""MultiOptimizer: several optimizers, each for some of the weights."""

from __future__ import annotations

import re
from collections.abc import MutableMapping
from typing import TYPE_CHECKING, Any

from tdfast.engine.registry import Registry
from tdfast.engine.serialization import deserialize_keras_object, serialize_keras_object
from tdfast.optimizers.base import Optimizer
from tdfast.optimizers.methods import REGISTRY
from tdfast.optimizers.muon import check_pattern

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence

    from tdfast.engine.types import Config, CustomObjects
    from tdfast.engine.variable import Variable

MAPS = Registry("optimizer map", "optimizer maps", "keras.optimizers")


@MAPS.register
class OptimizerMap(MutableMapping[str, Any]):
    """Which optimizer is for which weights: a mapping from paths, or regular expressions of whole paths.

    Args:
        default_optimizer: for the weights of no entry.
        optimizer_map: a dict of entries, ``{"encoder/.*": Adam()}``.

    Raises:
        TypeError: for an object that is not an optimizer, or not a dict.

    A path is that of the weight, ``variable.path``: "sequential/lstm/lstm_cell/kernel" where the model was
    begun by an `Input`, and without the model's name else, as in Keras. ``".*lstm/.*"`` matches both.

    See https://keras.io/api/optimizers/.

    >>> from tdfast.optimizers import SGD, Adam
    >>> optimizers = OptimizerMap(SGD(), {"encoder/.*": Adam()})
    >>> [type(optimizers[path]).__name__ for path in ("encoder/kernel", "decoder/kernel")]
    ['Adam', 'SGD']
    """

    def __init__(self, default_optimizer: Any, optimizer_map: dict[str, Any] | None = None) -> None:
        if not isinstance(default_optimizer, Optimizer):
            raise TypeError(f"default_optimizer must be an optimizer, got {default_optimizer!r}.")
        if optimizer_map is not None and not isinstance(optimizer_map, dict):
            raise TypeError(f"optimizer_map must be a dict, got {optimizer_map!r}.")
        self.default_optimizer = default_optimizer
        self._entries: dict[str, Any] = {}
        for key, optimizer in (optimizer_map or {}).items():
            self[key] = optimizer

    def __getitem__(self, key: str) -> Any:
        """The optimizer of the entry with this key, or of the one that matches it; else the default.

        Raises:
            ValueError: where several entries match.
        """
        if key in self._entries:
            return self._entries[key]
        matching = [pattern for pattern in self._entries if re.fullmatch(pattern, key)]
        if len(matching) > 1:
            raise ValueError(f"Several entries of the OptimizerMap match '{key}': {', '.join(matching)}.")
        return self._entries[matching[0]] if matching else self.default_optimizer

    def __setitem__(self, key: str, optimizer: Any) -> None:
        if not isinstance(key, str):
            raise ValueError(f"A key of an OptimizerMap must be a path or a regular expression, got {key!r}.")
        if key in self._entries:
            raise ValueError(f"'{key}' is in the OptimizerMap already.")
        if not isinstance(optimizer, Optimizer) or isinstance(optimizer, MultiOptimizer):
            raise ValueError(f"'{key}' of an OptimizerMap must be one optimizer, got {optimizer!r}.")
        check_pattern(key, "A key of an OptimizerMap")
        self._entries[key] = optimizer

    def __delitem__(self, key: str) -> None:
        del self._entries[key]

    def __len__(self) -> int:
        return len(self._entries)

    def __iter__(self) -> Iterator[str]:
        return iter(self._entries)

    def __call__(self, variable: Variable) -> Any:
        """The optimizer of a weight, by its path."""
        return self[variable.path]

    def get_config(self) -> Config:
        """The arguments of the constructor, serialized."""
        return {"default_optimizer": serialize_keras_object(self.default_optimizer),
                "optimizer_map": serialize_keras_object(self._entries)}

    @classmethod
    def from_config(cls, config: Config, custom_objects: CustomObjects = None) -> Any:
        """The map that `get_config` described."""
        default, entries = config["default_optimizer"], config.get("optimizer_map") or {}
        if not isinstance(entries, dict):
            raise ValueError(f"The optimizer_map of an OptimizerMap must be a dict, got {entries!r:.80}.")
        return cls(REGISTRY.deserialize(default, custom_objects),
                   {key: REGISTRY.deserialize(value, custom_objects) for key, value in entries.items()})


@REGISTRY.register("multioptimizer")
class MultiOptimizer(Optimizer):
    """Several optimizers, each for some of the weights.

    Args:
        optimizer_map: an `OptimizerMap`, or a function that gives the optimizer of a variable.
        loss_scale_factor: that of all of them.
        name: made from the class when None.

    Each has a learning rate, a clipping and a decay of its own: ``optimizer.optimizers`` lists them. The
    whole has no ``learning_rate``, so that callbacks that set one refuse it.

    See https://keras.io/api/optimizers/.

    >>> from tdfast.optimizers import SGD, Adam
    >>> optimizer = MultiOptimizer(OptimizerMap(SGD(0.1), {".*lstm/.*": Adam(0.001)}))
    >>> [type(inner).__name__ for inner in optimizer.optimizers]
    ['Adam', 'SGD']
    """

    def __init__(self, optimizer_map: OptimizerMap | Callable[[Any], Any], loss_scale_factor: Any = None,
                 name: str | None = None) -> None:
        if not callable(optimizer_map):
            raise TypeError(
                "MultiOptimizer needs an OptimizerMap, or a function that gives the optimizer of a variable, "
                f"got {optimizer_map!r}."
            )
        super().__init__(0.0, loss_scale_factor=loss_scale_factor, name=name)
        self._map = optimizer_map
        self._inner: list[Any] = []
        self._chosen: dict[int, Any] = {}               # the id of a variable -> its optimizer
        if isinstance(optimizer_map, OptimizerMap):
            for optimizer in (*optimizer_map.values(), optimizer_map.default_optimizer):
                self._add_inner(optimizer)

    def _add_inner(self, optimizer: Any) -> None:
        if not any(optimizer is inner for inner in self._inner):
            optimizer.loss_scale_factor = self.loss_scale_factor
            self._inner.append(optimizer)

    @property
    def inner(self) -> list[Any]:
        """The optimizers within it."""
        return list(self._inner)

    @property
    def optimizers(self) -> list[Any]:
        """The optimizers within it."""
        return self.inner

    @property
    def learning_rate(self) -> Any:
        """Not there: each of `optimizers` has its own."""
        raise AttributeError(
            f"Optimizer '{self.name}' (MultiOptimizer) has no learning_rate: each of its optimizers has one, "
            "see optimizer.optimizers."
        )

    @learning_rate.setter
    def learning_rate(self, value: Any) -> None:
        raise AttributeError(
            f"The learning_rate of optimizer '{self.name}' (MultiOptimizer) cannot be set: set that of one "
            "of optimizer.optimizers."
        )

    # ---------------------------------------------------------------- state
    def build(self, variables: Sequence[Any]) -> None:
        places = self._kept and self._kept["chosen"]
        super().build(variables)
        if places is not None:
            self._chosen = {id(v): self._inner[i] for v, i in zip(self.trainable_variables, places)}
        self._chosen = {id(v): self._chosen.get(id(v)) or self._choose(v) for v in self.trainable_variables}
        for inner in self._inner:
            mine = self._of(inner)
            if mine or inner.built:
                inner.prepare(self.parameters, mine)

    def _choose(self, variable: Variable) -> Any:
        optimizer = self._map(variable)
        if not isinstance(optimizer, Optimizer) or isinstance(optimizer, MultiOptimizer):
            raise ValueError(
                f"MultiOptimizer needs one optimizer for each variable, but '{variable.path}' got "
                f"{optimizer!r}."
            )
        self._add_inner(optimizer)
        return optimizer

    def _of(self, inner: Any) -> list[Any]:
        """The variables of one of the optimizers."""
        return [v for v in self.trainable_variables if self._chosen[id(v)] is inner]

    @property
    def variables(self) -> list[Any]:
        """The own count of steps and learning rate, then those of each optimizer with what it keeps."""
        return super().variables + [v for inner in self._inner for v in inner.variables]

    def exclude_from_weight_decay(self, var_list: Any = None, var_names: Any = None) -> None:
        """Leave variables out of the weight decay of all of the optimizers."""
        for inner in self._inner:
            inner.exclude_from_weight_decay(var_list, var_names)

    # ---------------------------------------------------------------- the step
    def apply(self, grads: Iterable[Any] | None = None,
              trainable_variables: Iterable[Any] | None = None) -> None:
        """One step of each of the optimizers; see `Optimizer.apply`."""
        if grads is None and trainable_variables is None:
            if not self.built:
                raise ValueError(f"Optimizer '{self.name}' has no variables yet: call build first.")
            for inner in self._inner:
                if inner.built and inner.trainable_variables:
                    inner.apply()
            self.steps += 1
            return
        if grads is None:
            raise ValueError("apply: give the gradients of trainable_variables, or neither.")
        found = self._pairs(list(grads), trainable_variables)
        for inner in self._inner:
            mine = [(g, v) for v, g in found if self._chosen[id(v)] is inner]
            if mine:
                inner.apply_gradients(mine)
        self.steps += bool(found)

    def bad_gradient(self) -> Any:
        """The first variable with a gradient from which no step can be made, or None."""
        found = (inner.bad_gradient() for inner in self._inner if inner.built)
        return next((v for v in found if v is not None), None)

    @property
    def clips(self) -> bool:
        """Whether any of the optimizers clips gradients."""
        return any(inner.clips for inner in self._inner)

    def finalize_variable_values(self, var_list: Any = None) -> None:
        """Put the averages of those that keep some in the weights' place."""
        for inner in self._inner:
            inner.finalize_variable_values()

    # ---------------------------------------------------------------- copies and config
    def __getstate__(self) -> dict[str, Any]:
        state = super().__getstate__()
        if self.built:
            order = {id(inner): i for i, inner in enumerate(self._inner)}
            state["_kept"]["chosen"] = [order[id(self._chosen[id(v)])] for v in self.trainable_variables]
        return {**state, "_chosen": {}}

    def get_config(self) -> Config:
        """The arguments of the constructor, serialized."""
        rule = self._map
        described = MAPS.serialize(rule) if isinstance(rule, OptimizerMap) else serialize_keras_object(rule)
        return {"optimizer_map": described, "loss_scale_factor": self.loss_scale_factor, "name": self.name}

    @classmethod
    def from_config(cls, config: Config, custom_objects: CustomObjects = None) -> Any:
        """The optimizer that `get_config` described."""
        spec = config["optimizer_map"]
        if isinstance(spec, dict) and spec.get("class_name") == "OptimizerMap":
            made = MAPS.deserialize(spec, custom_objects)
        else:
            made = deserialize_keras_object(spec, custom_objects)
        return cls(**{**config, "optimizer_map": made})

    def __repr__(self) -> str:
        return f"<MultiOptimizer name={self.name}, optimizers={self._inner}>"
