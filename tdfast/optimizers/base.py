"""What all optimizers share: state, clipping, weight decay, averages, and the order of a step."""

from __future__ import annotations

import math
import re
import warnings
from typing import TYPE_CHECKING, Any

import numpy as np

from tdfast import _kernels, runtime
from tdfast.compat import absent
from tdfast.compat.calling import level_of_the_caller
from tdfast.engine import arguments, norms
from tdfast.engine.arithmetic import kernel_arithmetic
from tdfast.engine.names import snake_case, unique_name, unknown_arguments
from tdfast.engine.variable import Parameters, Variable
from tdfast.optimizers import schedules
from tdfast.optimizers.own_variables import OwnVariables
from tdfast.optimizers.state import Iterations, LearningRate, Rate, StepCount

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from tdfast.engine.types import Array, Config, CustomObjects
    from tdfast.engine.types import Rate as RateSpec


SMALL = 2.0**-100
OLD_NAMES = {"lr": "learning_rate", "decay": "learning_rate to a schedules.InverseTimeDecay, or weight_decay"}
_OF_THE_BUILD = {"parameters", "trainable_variables", "_index", "_places", "_partial", "_whole", "_parts",
                 "_numbers"}
_OF_A_STEP = {"steps", "_learning_rate", "averages_in_place", "_numbers"}
REMEMBERED = 256
"""Steps whose numbers an optimizer keeps: many fits of one kind make the same first ones."""


_NONE: dict[Any, Any] = {}


class _Part:
    """Variables that one step changes.

    Args:
        optimizer: whose variables they are.
        variables: some of them, or all.

    Attributes:
        grads: the flat gradient of each.
        pieces: the pieces of the flat vectors that one call updates: (w, grad, slots, whether it decays).
        constrained: those with a constraint.
    """

    def __init__(self, optimizer: Any, variables: Sequence[Any]) -> None:
        self.variables = list(variables)
        self.grads = [v.grad.reshape(-1) for v in self.variables]
        self.constrained = [v for v in self.variables if v.constraint is not None]
        self.pieces = optimizer.cut(self.variables)


@absent.members("optimizers")
class Optimizer(OwnVariables):
    """The base class: learning rate, clipping, weight decay, averages and slots.

    A slot is an array as large as the weights that an optimizer keeps, such as a momentum. An optimizer of
    your own gives ``slot_names`` and overrides ``update(w, grad, slots)``, in NumPy; there,
    ``self.learning_rate`` is this step's and ``self.iterations`` counts the updates before it. Or it is
    written as for Keras: ``build(variables)`` adds what it keeps (`add_variable_from_reference`), and
    ``update_step(gradient, variable, learning_rate)`` changes one variable.

    `fit` makes the steps. A loop of your own makes them by ``apply(grads, variables)``; or, after it has
    set ``weight.grad``, by ``apply()``.

    Args:
        learning_rate: a float, a `tdfast.optimizers.schedules.LearningRateSchedule`, or a function without
            arguments that returns a float.
        weight_decay: w is first reduced by ``learning_rate weight_decay w``; None for none.
        clipnorm: the largest norm of one variable's gradient.
        clipvalue: the largest size of a gradient's element.
        global_clipnorm: the largest norm of all gradients together. At most one of the three.
        use_ema: keep moving averages of the weights, ``a = ema_momentum a + (1 - ema_momentum) w``,
            which `finalize_variable_values` puts in the weights' place at the end of training.
        ema_overwrite_frequency: put them there every so many updates as well.
        loss_scale_factor: what ``apply(grads)`` divides by, for a loop of your own that trains
            ``scale_loss(loss)``. float32 needs none, and `fit` leaves both out.
        gradient_accumulation_steps: update only every so many steps, with the mean gradient. A schedule
            still counts every step, as in Keras.
        name: made from the class when None.

    Raises:
        ValueError: for arguments that Keras refuses.

    See https://keras.io/api/optimizers/.

    >>> class SignDescent(Optimizer):
    ...     def update(self, w, grad, slots):
    ...         w -= self.learning_rate * np.sign(grad)
    >>> SignDescent(0.01).learning_rate
    0.01
    >>> weight = Variable(np.ones(2, "float32"))
    >>> SignDescent(0.25).apply([np.array([3.0, -0.5])], [weight])
    >>> weight.numpy()
    array([0.75, 1.25], dtype=float32)
    """

    clipnorm: Any
    clipvalue: Any
    ema_momentum: Any
    ema_overwrite_frequency: Any
    global_clipnorm: Any
    loss_scale_factor: Any
    gradient_accumulation_steps: int | None
    weight_decay: Any

    rule: Any = None
    """The kernel's rule (see src_c/optim.c); None: `update` does the work."""

    slot_names: tuple[Any, ...] = ()
    """All slots there can be, in the rule's order."""

    parameters: Any
    trainable_variables: list[Variable]

    @property
    def repeats_numbers(self) -> bool:
        """Whether `numbers` says the same each time for the same step, rate and attributes."""
        return type(self).__module__ == "tdfast.optimizers.methods"

    per_variable = False
    """Whether the step needs each variable on its own instead of the whole flat vector."""

    def __init__(
        self,
        learning_rate: RateSpec,
        weight_decay: float | None = None,
        clipnorm: float | None = None,
        clipvalue: float | None = None,
        global_clipnorm: float | None = None,
        use_ema: bool = False,
        ema_momentum: float = 0.99,
        ema_overwrite_frequency: int | None = None,
        loss_scale_factor: float | None = None,
        gradient_accumulation_steps: int | None = None,
        name: str | None = None,
        **unknown: Any,
    ) -> None:
        if unknown.pop("decay", None):
            warnings.warn(
                f"{type(self).__name__}: decay does nothing, as in Keras 3. A rate that falls is a schedule: "
                "learning_rate=tdfast.optimizers.schedules.InverseTimeDecay(rate, decay_steps=1, "
                "decay_rate=decay).",
                stacklevel=level_of_the_caller(),
            )
        if unknown:
            raise ValueError(unknown_arguments(type(self), unknown))
        super().__init__()
        self._learning_rate = 0.0
        self._set_rate(learning_rate)
        self.name = name or unique_name(snake_case(type(self).__name__))
        self.take_numbers(
            optional=True, weight_decay=weight_decay, clipnorm=clipnorm, clipvalue=clipvalue,
            global_clipnorm=global_clipnorm, ema_overwrite_frequency=ema_overwrite_frequency,
            loss_scale_factor=loss_scale_factor, gradient_accumulation_steps=gradient_accumulation_steps,
        )
        self.take_numbers(ema_momentum=ema_momentum)
        self.use_ema = use_ema = self._flag(use_ema, "use_ema")
        if sum(c is not None for c in (clipnorm, clipvalue, global_clipnorm)) > 1:
            raise ValueError(
                "Only one of clipnorm, clipvalue and global_clipnorm can be set, got "
                f"clipnorm={clipnorm}, clipvalue={clipvalue}, global_clipnorm={global_clipnorm}."
            )
        if gradient_accumulation_steps and not gradient_accumulation_steps >= 2:
            raise ValueError(
                "gradient_accumulation_steps must be a whole number of at least 2, got "
                f"{gradient_accumulation_steps}."
            )
        if use_ema and not 0 <= ema_momentum <= 1:
            raise ValueError(f"ema_momentum must be between 0 and 1, got {ema_momentum}.")
        if use_ema and ema_overwrite_frequency and not (
                isinstance(ema_overwrite_frequency, int) and ema_overwrite_frequency >= 1):
            raise ValueError(
                "ema_overwrite_frequency must be a whole number of at least 1, or None, got "
                f"{ema_overwrite_frequency}."
            )
        self.steps = 0
        self.built = False
        self.averages_in_place = False
        self.slots: dict[Any, Any] = {}
        self._given: Any = None          # where the variables of the build that runs live
        self._excluded: Any = ()         # variables without weight decay, and the pattern of their names
        self._excluded_names: Any = None
        self._kept: Any = None           # a copy's state, until it is built
        self._remembered: dict[Any, Any] = {}       # (steps, rate) -> a row of `numbers_of_steps`

    @property
    def inner(self) -> list[Any]:
        """The optimizers within this one: none, but for a `MultiOptimizer`.

        Keras's callbacks take one that has the attribute ``optimizers`` for a MultiOptimizer.
        """
        return []

    # ---------------------------------------------------------------- arguments
    def take_numbers(self, optional: bool = False, **given: Any) -> None:
        """Keep arguments that must be numbers, or None where they are optional, as attributes."""
        for name, value in given.items():
            setattr(self, name, arguments.number(value, name, type(self).__name__, optional))

    def _flag(self, value: Any, name: str) -> bool:
        """``value``, of the argument ``name``, as a bool."""
        return arguments.flag(value, name, type(self).__name__)

    # ---------------------------------------------------------------- state
    @property
    def learning_rate(self) -> Any:
        """This step's learning rate, a float with ``assign``. A number can be assigned, or a schedule."""
        rate = LearningRate(self._rate())
        rate.optimizer = self
        return rate

    @learning_rate.setter
    def learning_rate(self, value: Any) -> None:
        self._set_rate(value)

    def _set_rate(self, value: Any) -> None:
        if callable(value):
            self._learning_rate = value
            return
        real = hasattr(value, "__float__") and not np.ndim(value) and np.isreal(value)
        if not real or isinstance(value, bool):
            raise ValueError(
                f"learning_rate must be a number, a LearningRateSchedule or a function, got {value!r}."
            )
        if not value >= 0:
            raise ValueError(
                f"learning_rate must be 0 or more, got {value!r}: a step goes against the gradient by itself."
            )
        if callable(self._learning_rate):
            raise TypeError(
                f"The learning rate of optimizer '{self.name}' follows {_kind(self._learning_rate)}, so a "
                "number cannot "
                "be assigned. Make the optimizer with a number for that."
            )
        self._learning_rate = float(value)

    def __setattr__(self, name: str, value: Any) -> None:
        # Keras 2's names: to set one would change nothing. A class of one's own may have such an attribute.
        if name in OLD_NAMES and type(self).__module__ == "tdfast.optimizers.methods":
            raise AttributeError(f"{type(self).__name__} has no attribute '{name}': set {OLD_NAMES[name]}.")
        super().__setattr__(name, value)
        if name not in _OF_A_STEP:
            vars(self).get("_remembered", _NONE).clear()        # the numbers may be others now

    def _rate(self) -> float:
        rate = self._learning_rate
        if not callable(rate):
            return rate
        value = float(rate(self.steps) if isinstance(rate, schedules.LearningRateSchedule) else rate())
        if value < 0:
            raise ValueError(f"learning_rate must be 0 or more, but {_kind(rate)} gives {value}.")
        return value

    @property
    def _updates(self) -> int:
        """`iterations` as a plain number."""
        return self.steps // (self.gradient_accumulation_steps or 1)

    @property
    def iterations(self) -> Any:
        """How many updates there were, an int with ``assign``."""
        count = Iterations(self._updates)
        count.optimizer = self
        return count

    @iterations.setter
    def iterations(self, value: Any) -> None:
        self.steps = int(value) * (self.gradient_accumulation_steps or 1)

    def prepare(self, parameters: Parameters | None, variables: Sequence[Any]) -> None:
        """Build, or build again for other variables or for the same at other places.

        Args:
            parameters: where the variables live; None: to be found out, see `build`.
            variables: those that change. What is kept of variables that were there before stays.
        """
        self._given, self.built = parameters, False
        try:
            self.build(list(variables))
        finally:
            self._given, self._own_before, self._kept_own = None, {}, []

    def build(self, variables: Sequence[Any]) -> None:
        """Make the slots for some variables. `fit`, and the first ``apply(grads, variables)``, call it.

        Args:
            variables: those to change, such as ``model.trainable_variables``. They move into one flat
                vector, unless they share one already, as those of a model in training do.

        Raises:
            TypeError: for an object that is not a variable.
        """
        variables = list(variables)
        parameters = self._home_of(variables)
        place = {id(v): where for v, where in zip(parameters.variables, parameters.slices)}
        before = getattr(self, "parameters", None)
        names = [name for group in self.slot_groups() for name in group]
        names += ["average"] * bool(self.use_ema) + ["gradient_accumulator"] * bool(
            self.gradient_accumulation_steps
        )
        slots: dict[str, Any] = {}
        for name in names:
            slots[name] = slot = runtime.aligned(parameters.values.shape, parameters.values.dtype)
            slot[...] = self.initial_values(name, parameters)
            old: Any = self.slots.get(name)
            for v, where in zip(before.variables, before.slices) if old is not None and before else ():
                if id(v) in place:
                    slot[place[id(v)]] = old[where]
        same = [id(v) for v in variables] == [id(v) for v in getattr(self, "trainable_variables", ())]
        self._begin_own(same)
        self.built = False          # until all of what follows is there
        self.slots, self.parameters = slots, parameters
        self.trainable_variables = variables
        self._index = {id(v): i for i, v in enumerate(variables)}
        self._places = [place[id(v)] for v in variables]
        self._partial = np.empty(parameters.values.size // 4096 + 1, np.float64)
        if self._kept is not None:
            self._take_kept()
        self._make_parts()
        self.built = True

    def _home_of(self, variables: Sequence[Any]) -> Parameters:
        """Where these variables live: they are moved together if they do not yet."""
        if self._given is not None:
            return self._given
        for v in variables:
            if not isinstance(v, Variable):
                raise TypeError(
                    f"Optimizer '{self.name}' must be built for a list of weights, such as "
                    f"model.trainable_variables, got a {type(v).__name__} in it."
                )
        owners = {id(v.owner): v.owner for v in variables}
        owner = next(iter(owners.values()), None)
        return owner if len(owners) == 1 and owner is not None else Parameters(variables)

    def _make_parts(self) -> None:
        self._parts: dict[Any, Any] = {}
        self._whole = self._part(self.trainable_variables)

    def _part(self, variables: Sequence[Any]) -> _Part:
        """These variables as what one step changes."""
        key = tuple(map(id, variables))
        if key not in self._parts:
            if len(self._parts) > 2 * len(self.trainable_variables) + 16:      # other ones in each step
                self._parts.clear()
            self._parts[key] = _Part(self, variables)
        return self._parts[key]

    def cut(self, variables: Sequence[Any]) -> list[Any]:
        """The pieces of the flat vectors in which these variables are: (w, grad, slots, whether it
        decays)."""
        kept_ids = {id(v) for v in variables if self._not_decayed(v)}
        groups: list[Any] = []
        for decays in (True, False):
            chosen = [v for v in variables if (id(v) not in kept_ids) is decays]
            groups += [([v], decays) for v in chosen] if self.per_variable else [(chosen, decays)]
        pieces = []
        for group, decays in groups:
            for start, stop in self.parameters.segments(group):
                here = slice(start, stop)
                slots = {name: slot[here] for name, slot in self.slots.items()}
                pieces.append((self.parameters.values[here], self.parameters.grads[here], slots, decays))
        return pieces

    def exclude_from_weight_decay(self, var_list: Any = None, var_names: Any = None) -> None:
        """Leave variables out of `weight_decay`; a second call replaces the first.

        Args:
            var_list: variables, such as ``[layer.bias]``.
            var_names: regular expressions; a variable whose name (``"bias"``) one of them matches is left
                out.
        """
        self._excluded = tuple(var_list or ())
        self._excluded_names = "|".join(sorted(set(var_names))) if var_names else None
        if self.built:
            self._make_parts()

    def _not_decayed(self, variable: Variable) -> bool:
        names = self._excluded_names
        return any(v is variable for v in self._excluded) or (names is not None
                                                              and re.search(names, variable.name) is not None)

    def slot_groups(self) -> list[Any]:
        """The slots in use in the order in which Keras saves them: those of one group alternate for each
        variable."""
        return [tuple(self.slot_names)] if self.slot_names else []

    def initial_value(self, slot_name: str) -> float:
        """What a new slot is filled with."""
        return 0.0

    def initial_values(self, slot_name: str, parameters: Parameters) -> Any:
        """What a new slot for these parameters is filled with: a number, or an array as long."""
        return self.initial_value(slot_name)

    @property
    def variables(self) -> list[Any]:
        """The whole state as variables, in the order in which Keras saves it: the count of steps, the
        learning rate, and the averages of each variable."""
        out: list[Any] = [StepCount(self)]
        if not callable(self._learning_rate):
            out.append(Rate(self))
        if not self.built:
            return out
        groups = [("average",)] * bool(self.use_ema)
        groups += [("gradient_accumulator",)] * bool(self.gradient_accumulation_steps)
        for names in groups + self.slot_groups():
            for v, where in zip(self.trainable_variables, self._places):
                for slot in names:
                    name = f"{v.path.replace('/', '_')}_{slot}"
                    out.append(Variable.of(self.slots[slot][where].reshape(v.shape), name,
                                           f"{self.name}/{name}"))
        return out + [variable for _, variable in self._own]

    def set_weights(self, weights: Sequence[Any]) -> None:
        """Overwrite the state with arrays in the order of `variables`.

        Raises:
            ValueError: before `build`, or for another number or shape of arrays.
        """
        if not self.built:
            raise ValueError(f"set_weights: optimizer '{self.name}' has no variables yet: call build first.")
        variables, weights = self.variables, list(weights)
        if len(weights) != len(variables):
            raise ValueError(
                f"set_weights: optimizer '{self.name}' has {len(variables)} variables, got {len(weights)} "
                "arrays."
            )
        for variable, weight in zip(variables, weights):
            variable.fitting(weight)
        for variable, weight in zip(variables, weights):
            variable.assign(weight)

    # ---------------------------------------------------------------- the step
    def apply(self, grads: Iterable[Any] | None = None,
              trainable_variables: Iterable[Any] | None = None) -> None:
        """One step, then the constraints.

        Args:
            grads: a gradient for each variable, of its shape. None for one of them leaves its variable out;
                None for all takes the ``grad`` of each variable, which may change.
            trainable_variables: those that the gradients are of, some of the variables that the optimizer
                was built for, or the ones to build it for; None: all of them.

        Raises:
            ValueError: before `build`, for a variable that is not known, or for gradients that do not fit.
        """
        if grads is None and trainable_variables is None:
            if not self.built:
                raise ValueError(f"Optimizer '{self.name}' has no variables yet: call build first.")
            self._step(self._whole)
            return
        if grads is None:
            raise ValueError("apply: give the gradients of trainable_variables, or neither.")
        found = self._pairs(list(grads), trainable_variables)
        if found:
            part = self._part([v for v, _ in found])
            scale = self.loss_scale_factor
            for v, g in found:
                v.grad[...] = g if scale is None else np.asarray(g) / scale
            with kernel_arithmetic():
                self._step(part)

    def apply_gradients(self, grads_and_vars: Iterable[Any]) -> int:
        """`apply` on pairs (gradient, variable), as ``zip(grads, model.trainable_variables)`` gives them.

        Returns:
            The number of steps so far.
        """
        pairs = list(grads_and_vars)
        self.apply([g for g, _ in pairs], [v for _, v in pairs])
        return self.steps

    def _pairs(self, grads: list[Any], variables: Iterable[Any] | None) -> list[Any]:
        """(variable, gradient) of those that have one."""
        if not grads:
            return []
        if variables is None:
            if not self.built:
                raise ValueError(
                    f"Optimizer '{self.name}' has no variables yet: call build(model.trainable_variables) "
                    "first, or apply(grads, model.trainable_variables)."
                )
            variables = self.trainable_variables
        variables = list(variables)
        if not self.built:
            self.prepare(None, variables)
        if len(grads) != len(variables):
            raise ValueError(
                f"apply: there must be a gradient for each variable, got {len(grads)} gradients and "
                f"{len(variables)} variables."
            )
        for v in variables:
            if id(v) not in self._index:
                raise ValueError(
                    f"apply: optimizer '{self.name}' was built for other variables than {v!r:.80}. Make a "
                    "new optimizer for them."
                )
        missing = [v.path for v, g in zip(variables, grads) if g is None]
        if len(missing) == len(grads):
            raise ValueError("apply: no variable has a gradient.")
        if missing:
            warnings.warn(f"apply: no gradient for {', '.join(missing)}, which stay as they are.",
                          stacklevel=level_of_the_caller())
        if any(v.owner is not self.parameters for v in self.trainable_variables):
            self.prepare(None, self.trainable_variables)        # another model has moved them
        found = [(v, g) for v, g in zip(variables, grads) if g is not None]
        for v, g in found:
            if np.shape(g) != v.shape:
                raise ValueError(
                    f"apply: the gradient of '{v.path}' must have its shape {v.shape}, got {np.shape(g)}."
                )
        return found

    def _step(self, part: _Part) -> None:
        every = self.gradient_accumulation_steps
        if not every:
            self._update(part)
        elif (self.steps + 1) % every:
            for _, grad, slots, _ in part.pieces:
                slots["gradient_accumulator"] += grad
        else:
            for _, grad, slots, _ in part.pieces:
                grad += slots["gradient_accumulator"]
                grad /= every
                slots["gradient_accumulator"][...] = 0
            self._update(part)
        if self.use_ema:
            self._average()
        for v in part.constrained:
            v.value[...] = v.constraint(v.value)
        self.steps += 1

    def _update(self, part: _Part) -> None:
        factor, clip = 1.0, 0.0
        if self.clipnorm and self.clipnorm > 0:
            for grad in part.grads:
                norm = self.norm(grad)
                if not norm <= self.clipnorm:
                    _kernels.scale(grad, _near_one([grad], self.clipnorm / norm))
        elif self.global_clipnorm and self.global_clipnorm > 0:
            norm = math.hypot(*map(self.norm, part.grads))
            if not norm <= self.global_clipnorm:
                # an infinite or undefined norm makes the step undefined, as in Keras
                factor = self.global_clipnorm / norm if norm < math.inf else math.nan
                factor = _near_one(part.grads, factor)
        elif self.clipvalue and self.clipvalue > 0:
            clip = self.clipvalue
        rate = self._rate()
        numbers = self.numbers(rate) if self.rule else None
        if type(self).update_step is not Optimizer.update_step:
            self._numbers = rate, numbers
            self._update_by_variable(part, rate, clip, factor)
            return
        decay = rate * self.weight_decay if self.weight_decay else 0.0
        for w, grad, slots, decays in part.pieces:
            self._update_piece(w, grad, slots, numbers, decay if decays else 0.0, clip, factor)

    def _update_by_variable(self, part: _Part, rate: float, clip: float, factor: float) -> None:
        """The update of a class that has an `update_step`."""
        for v, grad in zip(part.variables, part.grads):
            _shrink(grad, clip, factor)
            decay = self.decay_of(v)
            if decay:
                v.value[...] -= rate * decay * v.value
        for v in part.variables:
            self.update_step(v.grad, v, rate)

    def decay_of(self, variable: Variable) -> float | None:
        """The weight decay of one variable."""
        return None if self._not_decayed(variable) else self.weight_decay

    def update_step(self, gradient: Any, variable: Any, learning_rate: Any) -> None:
        """Change one variable by its gradient: clipped, and the variable decayed, already.

        Args:
            gradient: an array of the variable's shape.
            variable: the weight, to be changed with `assign`, `assign_add` or `assign_sub`.
            learning_rate: this step's, a float.
        """
        (w, grad, slots, _), = self._part([variable]).pieces
        if grad is not gradient:
            variable.grad[...] = gradient
        rate, numbers = self._numbers
        if self.rule and learning_rate != rate:
            numbers = self.numbers(float(learning_rate))
        self._update_piece(w, grad, slots, numbers, 0.0, 0.0, 1.0)

    def _update_piece(self, w: Array, grad: Array, slots: dict[str, Any], numbers: Any,
                      decay: float, clip: float, factor: float) -> None:
        if self.rule:
            _kernels.optim_step(_kernels.RULES[self.rule], w, grad, tuple(map(slots.get, self.slot_names)),
                                numbers,
                                decay=decay, clip=clip, grad_scale=factor)
            return
        _shrink(grad, clip, factor)
        if decay:
            w -= decay * w
        self.update(w, grad, slots)

    def numbers(self, rate: float) -> Any:
        """The numbers of the kernel's `rule` for this update, with the learning rate ``rate``."""
        raise TypeError(f"{type(self).__name__} has the rule {self.rule!r} and must override numbers(rate).")

    def update(self, w: Any, grad: Any, slots: Any) -> Any:
        """Change the flat piece ``w`` by its gradient: clipped, and ``w`` decayed, already.

        Args:
            w, grad: arrays (n,) of one piece of all weights; change ``w`` in place.
            slots: dict from `slot_names` to arrays (n,), zeros at first; change them in place.
        """
        raise TypeError(
            f"{type(self).__name__} must override update(w, grad, slots), or "
            "update_step(gradient, variable, learning_rate)."
        )

    @property
    def runs_in_kernels(self) -> bool:
        """Whether a step is a kernel's call for each piece, with `numbers_of_steps`, and nothing else."""
        methods = ("apply", "bad_gradient", "_step", "_update", "_update_piece", "update_step")
        own = [name for name in methods if getattr(type(self), name) is not getattr(Optimizer, name)]
        if own or not self.rule:
            return False
        more = (self.global_clipnorm, self.gradient_accumulation_steps, self.use_ema,
                self._whole.constrained)
        rate = self._learning_rate
        return not any(more) and (not callable(rate) or isinstance(rate, schedules.LearningRateSchedule))

    def pieces_of_steps(self) -> list[tuple[int, Array, Array, tuple[Any, ...], bool]]:
        """(rule, w, grad, slots, whether it decays) of each piece that a step updates."""
        return [(_kernels.RULES[self.rule], w, grad, tuple(map(slots.get, self.slot_names)), decays)
                for w, grad, slots, decays in self._whole.pieces]

    def limits_of_steps(self) -> tuple[float, float]:
        """(`clipvalue`, `clipnorm`) as they act, one of them at most; 0 where there is no limit."""
        if self.clipnorm and self.clipnorm > 0:
            return 0.0, float(self.clipnorm)
        return float(self.clipvalue or 0), 0.0

    def numbers_of_steps(self, n: int) -> Array:
        """For each of the next n steps the numbers of its rule, zeros, and what the weights decay by:
        (n, `_kernels.NUMBERS` + 1). Fewer where one cannot be had."""
        start, rows = self.steps, []
        decay = self.weight_decay or 0.0
        known = self._remembered if self.repeats_numbers else {}
        try:
            for _ in range(n):
                rate = self._rate()
                row = known.get((self.steps, rate))
                if row is None:
                    numbers = self.numbers(rate)
                    row = (*numbers, *[0.0] * (_kernels.NUMBERS - len(numbers)), rate * decay)
                    if len(known) < REMEMBERED:
                        known[self.steps, rate] = row
                rows.append(row)
                self.steps += 1
        except Exception:
            if not rows:            # the step itself raises the same
                return np.empty((0, _kernels.NUMBERS + 1))
        finally:
            self.steps = start
        return np.array(rows, np.float64)

    def count_steps(self, n: int) -> None:
        """The first n of the steps whose numbers `numbers_of_steps` gave have been made."""
        self.steps += n

    def sum_squares(self, array: Array) -> float:
        """The sum of an array's squares, in one fixed order."""
        return _kernels.sum_squares(array, self._partial)

    def norm(self, array: Array) -> float:
        """The root of that sum, also where the sum itself is too large or too small for the array's dtype."""
        return norms.length(array, self.sum_squares(array))

    @property
    def clips(self) -> bool:
        """Whether gradients are clipped in any way."""
        return any(limit and limit > 0 for limit in (self.clipnorm, self.clipvalue, self.global_clipnorm))

    def bad_gradient(self) -> Any:
        """The first trainable variable with a gradient from which no step can be made, or None.

        NaN is such a gradient; so is infinity, unless clipvalue cuts it off.
        """
        for _, grad, _, _ in self._whole.pieces:
            if not math.isfinite(self.sum_squares(grad)):
                return self._of_bad_gradient()
        return None

    def _of_bad_gradient(self) -> Any:
        """The first variable whose own gradient is bad: a sum over all may overflow where none is."""
        clips = self.clipvalue and self.clipvalue > 0
        for v, grad in zip(self.trainable_variables, self._whole.grads):
            if np.isnan(grad).any() or not (clips or np.isfinite(grad).all()):
                return v
        return None

    def rounded(self, number: float) -> float:
        """The number in the weights' precision: Keras computes powers of beta in it, which shows in the first
        steps."""
        return number if self.parameters.values.itemsize == 8 else _kernels.as_float32(number)

    def _average(self) -> None:
        momentum = self.ema_momentum if self._updates else 0.0
        for w, _, slots, _ in self._whole.pieces:
            _kernels.optim_step(_kernels.RULES["average"], slots["average"], w, (), (momentum, 1 - momentum))
        if self.ema_overwrite_frequency and (self._updates + 1) % self.ema_overwrite_frequency == 0:
            self._put_averages()

    def _put_averages(self) -> None:
        for w, _, slots, _ in self._whole.pieces:
            if self.averages_in_place:
                slots["average"][...] = w
            else:
                w[...] = slots["average"]
        self.averages_in_place = False

    def swap_averages(self) -> None:
        """With use_ema: exchange the weights and their averages; a second call puts them back."""
        for w, _, slots, _ in self._whole.pieces:
            held = w.copy()
            w[...] = slots["average"]
            slots["average"][...] = held
        self.averages_in_place = not self.averages_in_place

    def scale_loss(self, loss: Any) -> Any:
        """The loss times ``loss_scale_factor``, by which ``apply(grads)`` divides."""
        return loss if self.loss_scale_factor is None else loss * self.loss_scale_factor

    def finalize_variable_values(self, var_list: Any = None) -> None:
        """With use_ema: put the averages in the weights' place. `fit` calls it at its end."""
        # Before the first step there are no averages yet.
        if self.use_ema and self.built and self.steps:
            self._put_averages()

    # ---------------------------------------------------------------- copies
    def __getstate__(self) -> dict[str, Any]:
        # The slots lie beside the variables that they belong to; a copy gets its own when it is built.
        state = {name: value for name, value in vars(self).items() if name not in _OF_THE_BUILD}
        if self.built:
            variables = self.trainable_variables
            state["_kept"] = {
                "shapes": [v.shape for v in variables],
                "slots": {name: [slot[where].copy() for where in self._places] for name,
                          slot in self.slots.items()},
                "own": [v.numpy() for _, v in self._own],
                "excluded": [i for i, v in enumerate(variables) if any(v is w for w in self._excluded)],
            }
        elif self._excluded and self._kept is None:
            raise ValueError(
                f"Optimizer '{self.name}' cannot be copied before it is built: "
                "exclude_from_weight_decay(var_list=...) gave it "
                "variables, which the copy would not have. Train a step first, or give var_names."
            )
        return {**state, "built": False, "slots": {}, "_own": [], "_own_before": {}, "_excluded": (),
                "_remembered": {}}

    def __setstate__(self, state: Any) -> None:
        vars(self).update(state)

    @property
    def has_kept_state(self) -> bool:
        """Whether this is a copy whose state waits for its variables."""
        return self._kept is not None

    def _take_kept(self) -> None:
        """Fill the new slots with the state of the optimizer that this is a copy of."""
        kept, shapes = self._kept, [v.shape for v in self.trainable_variables]
        if shapes != kept["shapes"]:
            raise ValueError(
                f"Optimizer '{self.name}' is a copy of one that has trained variables of the shapes "
                f"{kept['shapes']}, but is "
                f"to train {shapes}. Make a new one: "
                f"{type(self).__name__}.from_config(optimizer.get_config())."
            )
        for name, arrays in kept["slots"].items():
            for where, array in zip(self._places, arrays):
                self.slots[name][where] = array
        self._excluded = tuple(self.trainable_variables[i] for i in kept["excluded"])
        self._kept_own = list(kept["own"])
        self._kept = None

    # ---------------------------------------------------------------- config
    def get_config(self) -> Config:
        """The arguments of the constructor, a schedule in its serialized form."""
        rate = self._learning_rate
        config = {"name": self.name, "learning_rate": schedules.serialize(rate) if callable(rate) else rate}
        keys = ("weight_decay", "clipnorm", "global_clipnorm", "clipvalue", "use_ema", "ema_momentum",
                "ema_overwrite_frequency", "loss_scale_factor", "gradient_accumulation_steps")
        return config | {key: getattr(self, key) for key in keys}

    @classmethod
    def from_config(cls, config: Config, custom_objects: CustomObjects = None) -> Any:
        """The optimizer that `get_config` described."""
        if isinstance(config.get("learning_rate"), dict):
            rate = schedules.REGISTRY.deserialize(config["learning_rate"], custom_objects,
                                                  "the learning_rate of the optimizer")
            config = {**config, "learning_rate": rate}
        return cls(**config)

    def __repr__(self) -> str:
        rate = self._learning_rate
        text = _kind(rate) if callable(rate) else f"{rate:g}"
        return f"<{type(self).__name__} name={self.name}, learning_rate={text}>"


def _shrink(grad: Array, clip: float, factor: float) -> None:
    """Scale a gradient, and clip its elements."""
    if factor != 1:
        grad *= factor
    if clip:
        np.clip(grad, -clip, clip, out=grad)


def _near_one(grads: Sequence[Any], factor: float) -> float:
    """What is left of a factor after as much of it was multiplied in that the rest is a normal float32."""
    if 0 < factor < SMALL:
        for grad in grads:
            _kernels.scale(grad, SMALL)
        factor /= SMALL
    return factor


def _kind(rate: float) -> str:
    return type(rate).__name__ if isinstance(rate, schedules.LearningRateSchedule) else "a function"
