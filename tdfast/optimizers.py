"""Optimizers, as in `keras.optimizers`: one step on the flat parameter vector of a model.

An optimizer of your own overrides ``slot_names`` and ``update``.
"""

import math

import numpy as np

from tdfast import _kernels, runtime
from tdfast.names import snake_case, unique_name
from tdfast.registry import Registry

REGISTRY = Registry("optimizer", "optimizers", "keras.optimizers")


class Optimizer:
    """What all optimizers share: learning rate, clipping, weight decay, averages and slots.

    Args:
        learning_rate: a float.
        weight_decay: w is first reduced by ``learning_rate weight_decay w``; None for none.
        clipnorm: the largest norm of one variable's gradient.
        clipvalue: the largest size of a gradient's element.
        global_clipnorm: the largest norm of all gradients together. At most one of the three.
        use_ema: keep moving averages of the weights, ``a = ema_momentum a + (1 - ema_momentum) w``,
            which `finalize_variable_values` puts in the weights' place at the end of training.
        ema_overwrite_frequency: put them there every so many steps as well.
        loss_scale_factor: a factor on the loss that the gradients are divided by again. float32
            needs none, so it is kept in the config and changes nothing.
        gradient_accumulation_steps: update only every so many steps, with the mean gradient.
        name: made from the class when None.

    Raises:
        ValueError: for arguments that Keras refuses.
    """

    slot_names = ()

    def __init__(self, learning_rate, weight_decay=None, clipnorm=None, clipvalue=None, global_clipnorm=None,
                 use_ema=False, ema_momentum=0.99, ema_overwrite_frequency=None, loss_scale_factor=None,
                 gradient_accumulation_steps=None, name=None, **unknown):
        if unknown:
            raise ValueError(f"{type(self).__name__} does not know the argument(s) {', '.join(sorted(unknown))}.")
        self.learning_rate = learning_rate
        if sum(c is not None for c in (clipnorm, clipvalue, global_clipnorm)) > 1:
            raise ValueError(
                "Only one of clipnorm, clipvalue and global_clipnorm can be set, got "
                f"clipnorm={clipnorm}, clipvalue={clipvalue}, global_clipnorm={global_clipnorm}."
            )
        if gradient_accumulation_steps is not None and gradient_accumulation_steps < 2:
            raise ValueError(
                f"gradient_accumulation_steps must be a whole number of at least 2, got {gradient_accumulation_steps}."
            )
        if use_ema and not 0 <= ema_momentum <= 1:
            raise ValueError(f"ema_momentum must be between 0 and 1, got {ema_momentum}.")
        self.name = name or unique_name(snake_case(type(self).__name__))
        self.weight_decay = weight_decay
        self.clipnorm, self.clipvalue, self.global_clipnorm = clipnorm, clipvalue, global_clipnorm
        self.use_ema, self.ema_momentum = use_ema, ema_momentum
        self.ema_overwrite_frequency = ema_overwrite_frequency
        self.loss_scale_factor = loss_scale_factor
        self.gradient_accumulation_steps = gradient_accumulation_steps
        self.steps = 0
        self.built = False
        self.slots = {}

    # ---------------------------------------------------------------- state
    @property
    def learning_rate(self):
        return self._learning_rate

    @learning_rate.setter
    def learning_rate(self, value):
        if isinstance(value, (str, bytes, bool)) or np.ndim(value) or not np.isreal(value):
            raise ValueError(f"learning_rate must be a number, got {value!r}.")
        self._learning_rate = float(value)

    @property
    def iterations(self):
        """How many updates there were."""
        return self.steps // (self.gradient_accumulation_steps or 1)

    @iterations.setter
    def iterations(self, value):
        self.steps = int(value) * (self.gradient_accumulation_steps or 1)

    def build(self, parameters, trainable_variables):
        """Make the slots (flat, like ``parameters.values``) and remember which pieces to update."""
        self.parameters = parameters
        self.trainable_variables = list(trainable_variables)
        place = {id(v): where for v, where in zip(parameters.variables, parameters.slices)}
        self._places = [place[id(v)] for v in self.trainable_variables]
        self._constrained = [v for v in self.trainable_variables if v.constraint is not None]
        names = list(self.slot_names)
        if self.use_ema:
            names.append("average")
        if self.gradient_accumulation_steps:
            names.append("gradient_accumulator")
        old = self.slots if self.built else {}
        self.slots = {}
        for name in names:
            slot = old.get(name)
            if slot is None or slot.shape != parameters.values.shape or slot.dtype != parameters.values.dtype:
                slot = runtime.aligned(parameters.values.shape, parameters.values.dtype)
                slot[...] = 0
            self.slots[name] = slot
        self._pieces = []
        for start, stop in parameters.segments(self.trainable_variables):
            here = slice(start, stop)
            slots = {name: slot[here] for name, slot in self.slots.items()}
            self._pieces.append((parameters.values[here], parameters.grads[here], slots))
        self._variable_grads = [parameters.grads[where] for where in self._places]
        self._partial = np.empty(parameters.values.size // 4096 + 1, np.float64)
        self.built = True

    @property
    def variables(self):
        """(name, array) of the whole state, in the order in which Keras saves it."""
        out = [("iteration", np.asarray(self.steps)), ("learning_rate", np.asarray(self.learning_rate, np.float32))]
        if not self.built:
            return out
        groups = [("average",)] * self.use_ema
        groups += [("gradient_accumulator",)] * bool(self.gradient_accumulation_steps)
        groups += self.slot_groups()
        for names in groups:
            for v, where in zip(self.trainable_variables, self._places):
                path = v.path.replace("/", "_")
                out += [(f"{path}_{name}", self.slots[name][where].reshape(v.shape)) for name in names]
        return out

    def slot_groups(self):
        """The slots in Keras's order: those of one group alternate for each variable."""
        return [tuple(self.slot_names)] if self.slot_names else []

    # ---------------------------------------------------------------- the step
    def apply(self):
        """One step from ``parameters.grads``, then the constraints. Clipping may change the gradients."""
        if not self.built:
            raise ValueError(f"Optimizer '{self.name}' has no variables yet: call build first.")
        every = self.gradient_accumulation_steps
        if every is None:
            self._update()
        elif (self.steps + 1) % every:
            for _, grad, slots in self._pieces:
                slots["gradient_accumulator"] += grad
        else:
            for _, grad, slots in self._pieces:
                grad += slots["gradient_accumulator"]
                grad /= every
                slots["gradient_accumulator"][...] = 0
            self._update()
        if self.use_ema:
            self._average()
        for v in self._constrained:
            v.value[...] = v.constraint(v.value)
        self.steps += 1

    def _update(self):
        factor = 1.0
        if self.clipnorm:
            for grad in self._variable_grads:
                norm = math.sqrt(_kernels.sum_squares(grad, self._partial))
                if not norm <= self.clipnorm:
                    _kernels.scale(grad, self.clipnorm / norm)
        elif self.global_clipnorm:
            total = sum(_kernels.sum_squares(grad, self._partial) for grad in self._variable_grads)
            norm = math.sqrt(total)
            if not norm <= self.global_clipnorm:
                # an infinite or undefined norm makes the step undefined, as in Keras
                factor = self.global_clipnorm / norm if norm < math.inf else math.nan
        decay = self.learning_rate * self.weight_decay if self.weight_decay else 0.0
        for w, grad, slots in self._pieces:
            self.update(w, grad, slots, decay, self.clipvalue or 0.0, factor)

    def update(self, w, grad, slots, decay, clip, factor):
        """Change the flat piece ``w`` by its gradient ``clip(factor grad)``; slots by name."""
        raise TypeError(f"{type(self).__name__} must override update(w, grad, slots, decay, clip, factor).")

    def _average(self):
        momentum = self.ema_momentum if self.iterations else 0.0
        for w, _, slots in self._pieces:
            slots["average"] *= momentum
            slots["average"] += (1 - momentum) * w
        if self.ema_overwrite_frequency and (self.iterations + 1) % self.ema_overwrite_frequency == 0:
            self.finalize_variable_values()

    def finalize_variable_values(self):
        """With use_ema: put the averages in the weights' place. `fit` calls it at its end."""
        if self.use_ema and self.built:
            for w, _, slots in self._pieces:
                w[...] = slots["average"]

    # ---------------------------------------------------------------- config
    def get_config(self):
        keys = ("name", "learning_rate", "weight_decay", "clipnorm", "global_clipnorm", "clipvalue", "use_ema",
                "ema_momentum", "ema_overwrite_frequency", "loss_scale_factor", "gradient_accumulation_steps")
        return {key: getattr(self, key) for key in keys}

    @classmethod
    def from_config(cls, config):
        """The optimizer that `get_config` described."""
        return cls(**config)

    def __repr__(self):
        return f"<{type(self).__name__} name={self.name}, learning_rate={self.learning_rate:g}>"


@REGISTRY.register("sgd")
class SGD(Optimizer):
    """Gradient descent: ``w -= lr g``, or with momentum ``m = momentum m - lr g; w += m``.

    Args:
        learning_rate: default 0.01.
        momentum: from 0 to 1.
        nesterov: ``w += momentum m - lr g`` instead of ``w += m``.
        **kwargs: those of `Optimizer`.

    See https://keras.io/api/optimizers/sgd/.

    >>> SGD(0.1, momentum=0.9).get_config()["momentum"]
    0.9
    """

    def __init__(self, learning_rate=0.01, momentum=0.0, nesterov=False, **kwargs):
        super().__init__(learning_rate, **kwargs)
        if not 0 <= momentum <= 1:
            raise ValueError(f"momentum must be a number from 0 to 1, got {momentum!r}.")
        self.momentum, self.nesterov = float(momentum), bool(nesterov)

    @property
    def slot_names(self):
        return ("momentum",) if self.momentum else ()

    def update(self, w, grad, slots, decay, clip, factor):
        _kernels.sgd_step(w, grad, slots.get("momentum"), self.learning_rate, self.momentum, self.nesterov,
                          decay, clip, factor)

    def get_config(self):
        return {**super().get_config(), "momentum": self.momentum, "nesterov": self.nesterov}


@REGISTRY.register("adam")
class Adam(Optimizer):
    """Adam (Kingma and Ba, 2014), step t, as Keras computes it::

        m += (1 - beta_1) (g - m);  v += (1 - beta_2) (g^2 - v)
        w -= lr sqrt(1 - beta_2^t) / (1 - beta_1^t) m / (sqrt(v) + epsilon)

    Args:
        learning_rate: default 0.001.
        beta_1, beta_2: decay of the two moments.
        epsilon: default 1e-7.
        amsgrad: divide by the largest v so far.
        **kwargs: those of `Optimizer`.

    See https://keras.io/api/optimizers/adam/ and https://arxiv.org/abs/1412.6980.

    >>> Adam().learning_rate
    0.001
    """

    def __init__(self, learning_rate=0.001, beta_1=0.9, beta_2=0.999, epsilon=1e-7, amsgrad=False, **kwargs):
        super().__init__(learning_rate, **kwargs)
        self.beta_1, self.beta_2, self.epsilon, self.amsgrad = beta_1, beta_2, epsilon, bool(amsgrad)

    @property
    def slot_names(self):
        return ("momentum", "velocity", "velocity_hat") if self.amsgrad else ("momentum", "velocity")

    def slot_groups(self):
        return [("momentum", "velocity"), ("velocity_hat",)] if self.amsgrad else [("momentum", "velocity")]

    def update(self, w, grad, slots, decay, clip, factor):
        t = self.iterations + 1
        power_1, power_2 = self.beta_1**t, self.beta_2**t
        if w.dtype == np.float32:
            # Keras takes the powers in the weights' precision, which shows in the first steps
            f = np.float32
            power_1, power_2 = float(f(float(f(self.beta_1)) ** t)), float(f(float(f(self.beta_2)) ** t))
        rate = self.learning_rate * math.sqrt(1 - power_2) / (1 - power_1)
        _kernels.adam_step(w, grad, slots["momentum"], slots["velocity"], slots.get("velocity_hat"), rate,
                           1 - self.beta_1, 1 - self.beta_2, self.epsilon, decay, clip, factor)

    def get_config(self):
        return {**super().get_config(), "beta_1": self.beta_1, "beta_2": self.beta_2, "epsilon": self.epsilon,
                "amsgrad": self.amsgrad}


@REGISTRY.register("adamw")
class AdamW(Adam):
    """`Adam` with decoupled weight decay (Loshchilov and Hutter, 2017), 0.004 by default.

    >>> AdamW().weight_decay
    0.004
    """

    def __init__(self, learning_rate=0.001, weight_decay=0.004, beta_1=0.9, beta_2=0.999, epsilon=1e-7,
                 amsgrad=False, **kwargs):
        if weight_decay is None:
            raise ValueError("AdamW needs a weight_decay, got None. Use Adam for none.")
        super().__init__(learning_rate, beta_1, beta_2, epsilon, amsgrad, weight_decay=weight_decay, **kwargs)


def get(identifier):
    """The optimizer that a name, a class, an object or Keras's dict means.

    Raises:
        ValueError: for an unknown name, listing the known ones.

    >>> get("adam").beta_1
    0.9
    """
    if isinstance(identifier, str) and identifier.lower() in REGISTRY.names():
        identifier = identifier.lower()
    found = REGISTRY.get(identifier)
    if found is not None and not isinstance(found, Optimizer):
        raise ValueError(f"Expected an optimizer (a name or an Optimizer), got {identifier!r}.")
    return found


def serialize(optimizer):
    """Keras's dict for an optimizer."""
    return REGISTRY.serialize(optimizer)


def deserialize(config, custom_objects=None):
    """The optimizer of a serialized dict."""
    return REGISTRY.deserialize(config, custom_objects)
