"""What an optimizer of one's own keeps: variables that it adds in `build`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from tdfast.engine import registry
from tdfast.engine.variable import Parameters, Variable

if TYPE_CHECKING:
    from collections.abc import Sequence

    from tdfast.engine.types import DType, InitializerSpec, Numbers, Shape


class OwnVariables:
    """The part of `Optimizer` that adds variables, and assigns to them as optimizers written for Keras do.

    One that belongs to a weight goes on with it when the optimizer is built again for others.
    """

    name: str
    parameters: Parameters
    _index: dict[int, int]

    def __init__(self) -> None:
        self._own: list[Any] = []                # (what it belongs to, variable)
        self._own_before: dict[Any, Any] = {}    # those of the build before, while one runs
        self._kept_own: list[Any] = []           # their arrays, of a copy

    def _begin_own(self, same: bool) -> None:
        """Before a build: what is there is for the variables that will be made, all of it if the weights are
        the same."""
        self._own_before = {key: v for key, v in self._own if same or key[0] is not None}
        self._own = []

    def add_variable(self, shape: Shape, initializer: InitializerSpec = "zeros", dtype: DType = None,
                     aggregation: str = "none", layout: Any = None, name: str | None = None) -> Variable:
        """A variable to keep something in, for an optimizer of your own to call in `build`.

        Args:
            shape: its shape.
            initializer: of its first value, as in layers.
            dtype: that of the weights when None.
            aggregation, layout: accepted, without effect.
            name: for files' and your own sake.
        """
        count = sum(key[0] is None for key, _ in self._own)
        return self._add((None, count), shape, initializer, dtype, name or "variable")

    def add_variable_from_reference(self, reference_variable: Variable, name: str | None = None,
                                    initializer: InitializerSpec = "zeros") -> Variable:
        """A variable of the shape of a weight, to keep something of it in; it goes on with the weight when
        the optimizer is built again for others.

        Args:
            reference_variable: the weight.
            name: what is kept, "momentum".
            initializer: of its first value.
        """
        return self.add_for(reference_variable, reference_variable.shape, name or "var", initializer)

    def add_optimizer_variables(self, trainable_variables: Sequence[Any], name: str | Sequence[str],
                                initializer: Any = "zeros") -> Any:
        """A list of variables, one for each weight; with several names a tuple of such lists.

        Args:
            trainable_variables: the weights.
            name: what is kept of each, or a list.
            initializer: of the first value, or a list.
        """
        names = [name] if isinstance(name, str) else list(name)
        starts = list(initializer) if isinstance(initializer, (list, tuple)) else [initializer] * len(names)
        if len(starts) != len(names):
            raise ValueError(
                f"add_optimizer_variables needs as many initializers as names, got {len(starts)} and "
                f"{len(names)}."
            )
        lists: tuple[list[Any], ...] = tuple([] for _ in names)
        for v in trainable_variables:
            for out, one, start in zip(lists, names, starts):
                out.append(self.add_variable_from_reference(v, one, start))
        return lists[0] if isinstance(name, str) else lists

    def add_for(self, variable: Variable, shape: Shape, what: str,
                initializer: InitializerSpec = "zeros") -> Variable:
        """A variable of any shape that keeps something of a weight."""
        name = f"{variable.path.replace('/', '_')}_{what}"
        return self._add((id(variable), what), shape, initializer, variable.dtype, name)

    def _add(self, key: Any, shape: Shape, initializer: Any, dtype: Any, name: str) -> Variable:
        shape = tuple(shape)
        dtype = dtype or self.parameters.values.dtype.name
        start = registry.home("initializers").get(initializer)
        variable = Variable(np.asarray(start(shape, dtype)), name=name, path=f"{self.name}/{name}",
                            trainable=False)
        before = self._own_before.get(key)
        if before is not None and before.shape == shape:
            variable.assign(before)
        if self._kept_own:
            variable.assign(self._kept_own.pop(0))
        self._own.append((key, variable))
        return variable

    def _get_variable_index(self, variable: Variable) -> int:
        """The place of a weight among those that the optimizer was built for."""
        return self._index[id(variable)]

    def assign(self, variable: Variable, value: Numbers) -> None:
        """Overwrite a variable, as optimizers written for Keras do."""
        variable.assign(value)

    def assign_add(self, variable: Variable, value: Numbers) -> None:
        """Add to a variable."""
        variable.assign_add(value)

    def assign_sub(self, variable: Variable, value: Numbers) -> None:
        """Subtract from a variable."""
        variable.assign_sub(value)
