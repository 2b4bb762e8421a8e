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
from tdfast.engine.names import snake_case, unique_name, unknown_arguments
from tdfast.optimizers import schedules

if TYPE_CHECKING:
    from collections.abc import Sequence

    from tdfast.engine.types import Array, Config, CustomObjects, Rate
    from tdfast.engine.variable import Parameters, Variable


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


SMALL = 2.0**-100
OLD_NAMES = {"lr": "learning_rate", "decay": "learning_rate to a schedules.InverseTimeDecay, or weight_decay"}
_OF_THE_BUILD = {"parameters", "trainable_variables", "_places", "_constrained", "_variable_grads",
                 "_partial", "_pieces"}


@absent.members("optimizers")
class Optimizer:
    """The base class: learning rate, clipping, weight decay, averages and slots.

    A slot is an array as large as the weights that an optimizer keeps, such as a momentum. An optimizer of
    your own gives ``slot_names`` and overrides ``update(w, grad, slots)``, in NumPy; there,
    ``self.learning_rate`` is this step's and ``self.iterations`` counts the updates before it.

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
        loss_scale_factor: a factor on the loss that the gradients are divided by again. float32
            needs none, so it is kept in the config and changes nothing.
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
    """

    clipnorm: Any
    clipvalue: Any
    ema_momentum: Any
    ema_overwrite_frequency: Any
    global_clipnorm: Any
    gradient_accumulation_steps: int | None
    weight_decay: Any

    rule: Any = None
    """The kernel's rule (see src_c/optim.c); None: `update` does the work."""

    slot_names: tuple[Any, ...] = ()
    """All slots there can be, in the rule's order."""

    parameters: Any
    trainable_variables: list[Variable]

    per_variable = False
    """Whether the step needs each variable on its own instead of the whole flat vector."""

    def __init__(
        self,
        learning_rate: Rate,
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
        self._learning_rate = 0.0
        self.learning_rate = learning_rate
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
        self._excluded: Any = ()         # variables without weight decay, and the pattern of their names
        self._excluded_names: Any = None
        self._kept: Any = None           # a copy's state, until it is built

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

    def _rate(self) -> float:
        rate = self._learning_rate
        if not callable(rate):
            return rate
        value = float(rate(self.steps) if isinstance(rate, schedules.LearningRateSchedule) else rate())
        if value < 0:
            raise ValueError(f"learning_rate must be 0 or more, but {_kind(rate)} gives {value}.")
        return value

    @property
    def iterations(self) -> int:
        """How many updates there were."""
        return self.steps // (self.gradient_accumulation_steps or 1)

    @iterations.setter
    def iterations(self, value: Any) -> None:
        self.steps = int(value) * (self.gradient_accumulation_steps or 1)

    def build(self, parameters: Parameters, trainable_variables: Sequence[Any]) -> None:
        """Make the slots (flat, like ``parameters.values``) and remember which pieces to update.

        Args:
            parameters: the `tdfast.engine.variable.Parameters` of the model.
            trainable_variables: those of its variables that change. Slots of variables that were there in
                an earlier call keep their contents.
        """
        place = {id(v): where for v, where in zip(parameters.variables, parameters.slices)}
        names = [name for group in self.slot_groups() for name in group]
        names += ["average"] * bool(self.use_ema) + ["gradient_accumulator"] * bool(
            self.gradient_accumulation_steps
        )
        slots: dict[str, Any] = {}
        for name in names:
            slots[name] = slot = runtime.aligned(parameters.values.shape, parameters.values.dtype)
            slot[...] = self.initial_value(name)
            old: Any = self.slots.get(name)
            for v, where in zip(self.parameters.variables, self.parameters.slices) if old is not None else ():
                if id(v) in place:
                    slot[place[id(v)]] = old[where]
        self.built = False          # until all of what follows is there
        self.slots, self.parameters = slots, parameters
        self.trainable_variables = list(trainable_variables)
        self._places = [place[id(v)] for v in self.trainable_variables]
        self._constrained = [v for v in self.trainable_variables if v.constraint is not None]
        self._variable_grads = [parameters.grads[where] for where in self._places]
        self._partial = np.empty(parameters.values.size // 4096 + 1, np.float64)
        if self._kept is not None:
            self._take_kept()
        self._cut()
        self.built = True

    def _cut(self) -> None:
        """The pieces of the flat vectors that one call updates: (w, grad, slots, whether it decays)."""
        kept = [v for v in self.trainable_variables if self._not_decayed(v)]
        kept_ids = {id(v) for v in kept}
        decayed = [v for v in self.trainable_variables if id(v) not in kept_ids]
        self._pieces = []
        for variables, decays in ((decayed, True), (kept, False)):
            groups = [[v] for v in variables] if self.per_variable else [variables]
            for start, stop in (ends for group in groups for ends in self.parameters.segments(group)):
                here = slice(start, stop)
                slots = {name: slot[here] for name, slot in self.slots.items()}
                self._pieces.append((self.parameters.values[here], self.parameters.grads[here], slots,
                                     decays))

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
            self._cut()

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

    @property
    def variables(self) -> list[Any]:
        """(name, array) of the whole state, in the order in which Keras saves it."""
        out = [("iteration", np.asarray(self.steps))]
        if not callable(self._learning_rate):
            out.append(("learning_rate", np.asarray(self._learning_rate, np.float32)))
        if not self.built:
            return out
        groups = [("average",)] * bool(self.use_ema)
        groups += [("gradient_accumulator",)] * bool(self.gradient_accumulation_steps)
        for names in groups + self.slot_groups():
            for v, where in zip(self.trainable_variables, self._places):
                path = v.path.replace("/", "_")
                out += [(f"{path}_{name}", self.slots[name][where].reshape(v.shape)) for name in names]
        return out

    # ---------------------------------------------------------------- the step
    def apply(self) -> None:
        """One step from ``parameters.grads``, then the constraints. The gradients may change."""
        if not self.built:
            raise ValueError(f"Optimizer '{self.name}' has no variables yet: call build first.")
        every = self.gradient_accumulation_steps
        if not every:
            self._update()
        elif (self.steps + 1) % every:
            for _, grad, slots, _ in self._pieces:
                slots["gradient_accumulator"] += grad
        else:
            for _, grad, slots, _ in self._pieces:
                grad += slots["gradient_accumulator"]
                grad /= every
                slots["gradient_accumulator"][...] = 0
            self._update()
        if self.use_ema:
            self._average()
        for v in self._constrained:
            v.value[...] = v.constraint(v.value)
        self.steps += 1

    def _update(self) -> None:
        factor, clip = 1.0, 0.0
        if self.clipnorm and self.clipnorm > 0:
            for grad in self._variable_grads:
                norm = self.norm(grad)
                if not norm <= self.clipnorm:
                    _kernels.scale(grad, _near_one([grad], self.clipnorm / norm))
        elif self.global_clipnorm and self.global_clipnorm > 0:
            norm = math.hypot(*map(self.norm, self._variable_grads))
            if not norm <= self.global_clipnorm:
                # an infinite or undefined norm makes the step undefined, as in Keras
                factor = self.global_clipnorm / norm if norm < math.inf else math.nan
                factor = _near_one(self._variable_grads, factor)
        elif self.clipvalue and self.clipvalue > 0:
            clip = self.clipvalue
        rate = self._rate()
        decay = rate * self.weight_decay if self.weight_decay else 0.0
        numbers = self.numbers(rate) if self.rule else None
        for w, grad, slots, decays in self._pieces:
            self._update_piece(w, grad, slots, numbers, decay if decays else 0.0, clip, factor)

    def _update_piece(self, w: Array, grad: Array, slots: dict[str, Any], numbers: Any,
                      decay: float, clip: float, factor: float) -> None:
        if self.rule:
            _kernels.optim_step(_kernels.RULES[self.rule], w, grad, tuple(map(slots.get, self.slot_names)),
                                numbers,
                                decay=decay, clip=clip, grad_scale=factor)
            return
        if factor != 1:
            grad *= factor
        if clip:
            np.clip(grad, -clip, clip, out=grad)
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
        raise TypeError(f"{type(self).__name__} must override update(w, grad, slots).")

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
        for _, grad, _, _ in self._pieces:
            if not math.isfinite(self.sum_squares(grad)):
                return self._of_bad_gradient()
        return None

    def _of_bad_gradient(self) -> Any:
        """The first variable whose own gradient is bad: a sum over all may overflow where none is."""
        clips = self.clipvalue and self.clipvalue > 0
        for v, grad in zip(self.trainable_variables, self._variable_grads):
            if np.isnan(grad).any() or not (clips or np.isfinite(grad).all()):
                return v
        return None

    def rounded(self, number: float) -> float:
        """The number in the weights' precision: Keras computes powers of beta in it, which shows in the first
        steps."""
        return float(self.parameters.values.dtype.type(number))

    def _average(self) -> None:
        momentum = self.ema_momentum if self.iterations else 0.0
        for w, _, slots, _ in self._pieces:
            _kernels.optim_step(_kernels.RULES["average"], slots["average"], w, (), (momentum, 1 - momentum))
        if self.ema_overwrite_frequency and (self.iterations + 1) % self.ema_overwrite_frequency == 0:
            self._put_averages()

    def _put_averages(self) -> None:
        for w, _, slots, _ in self._pieces:
            if self.averages_in_place:
                slots["average"][...] = w
            else:
                w[...] = slots["average"]
        self.averages_in_place = False

    def swap_averages(self) -> None:
        """With use_ema: exchange the weights and their averages; a second call puts them back."""
        for w, _, slots, _ in self._pieces:
            held = w.copy()
            w[...] = slots["average"]
            slots["average"][...] = held
        self.averages_in_place = not self.averages_in_place

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
                "excluded": [i for i, v in enumerate(variables) if any(v is w for w in self._excluded)],
            }
        elif self._excluded and self._kept is None:
            raise ValueError(
                f"Optimizer '{self.name}' cannot be copied before it is built: "
                "exclude_from_weight_decay(var_list=...) gave it "
                "variables, which the copy would not have. Train a step first, or give var_names."
            )
        return {**state, "built": False, "slots": {}, "_excluded": ()}

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


def _near_one(grads: Sequence[Any], factor: float) -> float:
    """What is left of a factor after as much of it was multiplied in that the rest is a normal float32."""
    if 0 < factor < SMALL:
        for grad in grads:
            _kernels.scale(grad, SMALL)
        factor /= SMALL
    return factor


def _kind(rate: float) -> str:
    return type(rate).__name__ if isinstance(rate, schedules.LearningRateSchedule) else "a function"
