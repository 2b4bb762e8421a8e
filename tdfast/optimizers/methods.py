"""The optimizers: arguments, slots and the numbers of each one's rule, whose arithmetic is in src_c/optim.c.

Formulas are for one weight w with gradient g (clipped) at update t = 1, 2, ...; lr is the learning rate.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import numpy as np

from tdfast import _kernels
from tdfast.engine.registry import Registry
from tdfast.engine.variable import Variable
from tdfast.optimizers.base import Optimizer

if TYPE_CHECKING:
    from collections.abc import Sequence

    from typing_extensions import Unpack

    from tdfast.engine.types import Array, Config, Rate
    from tdfast.optimizers.options import DecayOptions, Options

REGISTRY = Registry("optimizer", "optimizers", "keras.optimizers")


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

    rule = "sgd"
    slot_names: tuple[str, ...] = ("momentum",)

    def __init__(self, learning_rate: Rate = 0.01, momentum: float = 0.0, nesterov: bool = False,
                 **kwargs: Unpack[DecayOptions]) -> None:
        super().__init__(learning_rate, **kwargs)
        self.take_numbers(momentum=momentum)
        if not 0 <= momentum <= 1:
            raise ValueError(f"momentum must be a number from 0 to 1, got {momentum!r}.")
        self.momentum, self.nesterov = float(momentum), self._flag(nesterov, "nesterov")

    def slot_groups(self) -> list[Any]:
        return [("momentum",)] if self.momentum else []

    def numbers(self, rate: float) -> tuple[Any, ...]:
        return rate, self.momentum, self.nesterov

    def get_config(self) -> Config:
        return {**super().get_config(), "momentum": self.momentum, "nesterov": self.nesterov}


class _TwoMoments(Optimizer):
    """What Adam and its relatives share: two betas and epsilon."""

    beta_1: Any
    beta_2: Any
    epsilon: Any

    def __init__(self, learning_rate: Rate = 0.001, beta_1: float = 0.9, beta_2: float = 0.999,
                 epsilon: float = 1e-7, **kwargs: Unpack[DecayOptions]) -> None:
        super().__init__(learning_rate, **kwargs)
        self.take_numbers(beta_1=beta_1, beta_2=beta_2, epsilon=epsilon)

    def corrections(self) -> list[Any]:
        """``1 - beta_1^t`` and ``1 - beta_2^t``."""
        t = self._updates + 1
        return [1 - self.rounded(self.rounded(beta) ** t) for beta in (self.beta_1, self.beta_2)]

    def get_config(self) -> Config:
        return {**super().get_config(), "beta_1": self.beta_1, "beta_2": self.beta_2, "epsilon": self.epsilon}


@REGISTRY.register("adam")
class Adam(_TwoMoments):
    """Adam (Kingma and Ba, 2014), as Keras computes it::

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

    beta_1: Any
    beta_2: Any
    epsilon: Any

    rule = "adam"
    slot_names: tuple[str, ...] = ("momentum", "velocity", "velocity_hat")

    def __init__(self, learning_rate: Rate = 0.001, beta_1: float = 0.9, beta_2: float = 0.999,
                 epsilon: float = 1e-7, amsgrad: bool = False, **kwargs: Unpack[DecayOptions]) -> None:
        super().__init__(learning_rate, beta_1, beta_2, epsilon, **kwargs)
        self.amsgrad = self._flag(amsgrad, "amsgrad")

    def slot_groups(self) -> list[Any]:
        return [("momentum", "velocity")] + [("velocity_hat",)] * self.amsgrad

    def numbers(self, rate: float) -> tuple[Any, ...]:
        first, second = self.corrections()
        return rate * math.sqrt(second) / first, 1 - self.beta_1, 1 - self.beta_2, self.epsilon

    def get_config(self) -> Config:
        return {**super().get_config(), "amsgrad": self.amsgrad}


@REGISTRY.register("adamw")
class AdamW(Adam):
    """`Adam` with decoupled weight decay (Loshchilov and Hutter, 2017), 0.004 by default.

    See https://keras.io/api/optimizers/adamw/ and https://arxiv.org/abs/1711.05101.

    >>> AdamW().weight_decay
    0.004
    """

    def __init__(self, learning_rate: Rate = 0.001, weight_decay: float = 0.004, beta_1: float = 0.9,
                 beta_2: float = 0.999, epsilon: float = 1e-7, amsgrad: bool = False,
                 **kwargs: Unpack[Options]) -> None:
        if weight_decay is None:
            raise ValueError("AdamW needs a weight_decay, got None. Use Adam for none.")
        super().__init__(learning_rate, beta_1, beta_2, epsilon, amsgrad, weight_decay=weight_decay, **kwargs)


@REGISTRY.register("rmsprop")
class RMSprop(Optimizer):
    """Steps divided by the root of the gradient's mean square (Hinton, 2012)::

        v = rho v + (1 - rho) g^2;  d = lr g / sqrt(v + epsilon)
        w -= d, or with momentum  m = momentum m + d;  w -= m

    Args:
        learning_rate: default 0.001.
        rho: decay of the mean square, default 0.9.
        momentum: default 0, none.
        epsilon: default 1e-7.
        centered: divide by the root of the variance, ``v - c^2`` with the mean gradient
            ``c = rho c + (1 - rho) g``, instead.
        **kwargs: those of `Optimizer`.

    See https://keras.io/api/optimizers/rmsprop/.

    >>> RMSprop(momentum=0.5).momentum
    0.5
    """

    epsilon: Any
    momentum: Any
    rho: Any

    rule = "rmsprop"
    slot_names: tuple[str, ...] = ("velocity", "momentum", "average_gradient")

    def __init__(self, learning_rate: Rate = 0.001, rho: float = 0.9, momentum: float = 0.0,
                 epsilon: float = 1e-7, centered: bool = False, **kwargs: Unpack[DecayOptions]) -> None:
        super().__init__(learning_rate, **kwargs)
        self.take_numbers(rho=rho, momentum=momentum, epsilon=epsilon)
        self.centered = self._flag(centered, "centered")

    def slot_groups(self) -> Any:
        return [("velocity",)] + [("momentum",
                                   )] * (self.momentum > 0) + [("average_gradient",)] * self.centered

    def numbers(self, rate: float) -> tuple[Any, ...]:
        return rate, self.rho, 1 - self.rho, self.momentum, self.epsilon

    def get_config(self) -> Config:
        return {**super().get_config(), "rho": self.rho, "momentum": self.momentum, "epsilon": self.epsilon,
                "centered": self.centered}


@REGISTRY.register("adagrad")
class Adagrad(Optimizer):
    """Steps divided by the root of the sum of all squares: ``v += g^2;  w -= lr g / sqrt(v + epsilon)``.

    Args:
        learning_rate: default 0.001.
        initial_accumulator_value: v at the beginning, default 0.1.
        epsilon: default 1e-7.
        **kwargs: those of `Optimizer`.

    See https://keras.io/api/optimizers/adagrad/ and Duchi et al., 2011.

    >>> Adagrad().initial_accumulator_value
    0.1
    """

    epsilon: Any
    initial_accumulator_value: Any

    rule = "adagrad"
    slot_names: tuple[str, ...] = ("accumulator",)

    def __init__(self, learning_rate: Rate = 0.001, initial_accumulator_value: float = 0.1,
                 epsilon: float = 1e-7, **kwargs: Unpack[DecayOptions]) -> None:
        super().__init__(learning_rate, **kwargs)
        self.take_numbers(initial_accumulator_value=initial_accumulator_value, epsilon=epsilon)

    def initial_value(self, slot_name: Any) -> Any:
        return self.initial_accumulator_value if slot_name == "accumulator" else 0.0

    def numbers(self, rate: float) -> tuple[Any, ...]:
        return rate, self.epsilon

    def get_config(self) -> Config:
        return {**super().get_config(), "initial_accumulator_value": self.initial_accumulator_value,
                "epsilon": self.epsilon}


@REGISTRY.register("adadelta")
class Adadelta(Optimizer):
    """Steps as large as those before them (Zeiler, 2012)::

        v = rho v + (1 - rho) g^2;  d = g sqrt(u + epsilon) / sqrt(v + epsilon)
        u = rho u + (1 - rho) d^2;  w -= lr d

    Args:
        learning_rate: default 0.001; the paper has 1.
        rho: decay of the two means, default 0.95.
        epsilon: default 1e-7.
        **kwargs: those of `Optimizer`.

    See https://keras.io/api/optimizers/adadelta/ and https://arxiv.org/abs/1212.5701.

    >>> Adadelta(1.0).rho
    0.95
    """

    epsilon: Any
    rho: Any

    rule = "adadelta"
    slot_names: tuple[str, ...] = ("accumulated_grad", "accumulated_delta_var")

    def __init__(self, learning_rate: Rate = 0.001, rho: float = 0.95, epsilon: float = 1e-7,
                 **kwargs: Unpack[DecayOptions]) -> None:
        super().__init__(learning_rate, **kwargs)
        self.take_numbers(rho=rho, epsilon=epsilon)

    def numbers(self, rate: float) -> tuple[Any, ...]:
        return rate, self.rho, 1 - self.rho, self.epsilon

    def get_config(self) -> Config:
        return {**super().get_config(), "rho": self.rho, "epsilon": self.epsilon}


@REGISTRY.register("adamax")
class Adamax(_TwoMoments):
    """`Adam` with the largest gradient in the place of the root of the mean square::

        m += (1 - beta_1) (g - m);  u = max(beta_2 u, |g|);  w -= lr / (1 - beta_1^t) m / (u + epsilon)

    Args:
        learning_rate: default 0.001.
        beta_1, beta_2: decay of m and u.
        epsilon: default 1e-7.
        **kwargs: those of `Optimizer`.

    See https://keras.io/api/optimizers/adamax/ and https://arxiv.org/abs/1412.6980.

    >>> Adamax().beta_2
    0.999
    """

    beta_1: Any
    beta_2: Any
    epsilon: Any

    rule = "adamax"
    slot_names: tuple[str, ...] = ("momentum", "norm")

    def numbers(self, rate: float) -> tuple[Any, ...]:
        return rate / self.corrections()[0], 1 - self.beta_1, self.beta_2, self.epsilon


@REGISTRY.register("nadam")
class Nadam(_TwoMoments):
    """`Adam` with Nesterov's momentum (Dozat, 2016), whose factor u grows with t::

        u_t = beta_1 (1 - 0.96^t / 2);  P_t = u_1 ... u_t;  m and v as in Adam
        w -= lr (u_(t+1) m / (1 - P_(t+1)) + (1 - u_t) g / (1 - P_t)) / (sqrt(v / (1 - beta_2^t)) + epsilon)

    Args:
        learning_rate: default 0.001.
        beta_1, beta_2: decay of the two moments.
        epsilon: default 1e-7.
        **kwargs: those of `Optimizer`.

    See https://keras.io/api/optimizers/nadam/ and https://openreview.net/forum?id=OM0jvwB8jIp57ZJjtNEZ.

    >>> Nadam().learning_rate
    0.001
    """

    beta_1: Any
    beta_2: Any
    epsilon: Any

    rule = "nadam"
    repeats_numbers = False             # they go on with those of the step before
    slot_names: tuple[str, ...] = ("momentum", "velocity")

    def build(self, variables: Any) -> None:
        super().build(variables)
        if not hasattr(self, "u_product"):
            self.u_product = np.ones((), self.parameters.values.dtype)

    @property
    def variables(self) -> Any:
        own = [Variable.of(self.u_product, "u_product", f"{self.name}/u_product")] if self.built else []
        return super().variables + own

    def numbers(self, rate: float) -> tuple[Any, ...]:
        t = self._updates + 1
        beta_1, beta_2 = self.rounded(self.beta_1), self.rounded(self.beta_2)
        now, following = (beta_1 * (1 - 0.5 * 0.96**n) for n in (t, t + 1))
        self.u_product *= now
        product = float(self.u_product)
        return (rate * following / (1 - product * following), rate * (1 - now) / (1 - product),
                1 - beta_1, 1 - beta_2, self.corrections()[1], self.epsilon)

    def numbers_of_steps(self, n: int) -> Array:
        before = self.u_product.copy()
        try:
            return super().numbers_of_steps(n)
        finally:
            self.u_product[...] = before

    def count_steps(self, n: int) -> None:
        for _ in range(n):
            self.numbers(0.0)           # for u_product
            self.steps += 1


@REGISTRY.register("ftrl")
class Ftrl(Optimizer):
    """Follow the regularized leader (McMahan et al., 2013), with p = -learning_rate_power::

        z += g + 2 shrinkage w - ((n + g^2)^p - n^p) / lr w;  n += g^2
        w = (clip(z, -l1, l1) - z) / (n^p / lr + 2 l2 + beta / lr)

    Args:
        learning_rate: default 0.001.
        learning_rate_power: 0 or less, default -0.5.
        initial_accumulator_value: n at the beginning, 0 or more, default 0.1.
        l1_regularization_strength, l2_regularization_strength: l1 and l2, 0 or more, default 0.
        l2_shrinkage_regularization_strength: shrinkage, 0 or more, default 0.
        beta: default 0.
        **kwargs: those of `Optimizer`.

    Raises:
        ValueError: for a number out of its range.

    See https://keras.io/api/optimizers/ftrl/ and https://research.google/pubs/pub41159/.

    >>> Ftrl(l1_regularization_strength=0.01).initial_accumulator_value
    0.1
    """

    beta: Any
    initial_accumulator_value: Any
    l1_regularization_strength: Any
    l2_regularization_strength: Any
    l2_shrinkage_regularization_strength: Any
    learning_rate_power: Any

    rule = "ftrl"
    slot_names: tuple[str, ...] = ("accumulator", "linear")

    def __init__(self, learning_rate: Rate = 0.001, learning_rate_power: float = -0.5,
                 initial_accumulator_value: float = 0.1, l1_regularization_strength: float = 0.0,
                 l2_regularization_strength: float = 0.0, l2_shrinkage_regularization_strength: float = 0.0,
                 beta: float = 0.0, **kwargs: Unpack[DecayOptions]) -> None:
        super().__init__(learning_rate, **kwargs)
        self.take_numbers(
            learning_rate_power=learning_rate_power, initial_accumulator_value=initial_accumulator_value,
            l1_regularization_strength=l1_regularization_strength,
            l2_regularization_strength=l2_regularization_strength,
            l2_shrinkage_regularization_strength=l2_shrinkage_regularization_strength, beta=beta,
        )
        if learning_rate_power > 0:
            raise ValueError(f"learning_rate_power must be 0 or less, got {learning_rate_power}.")
        for key in ("initial_accumulator_value", "l1_regularization_strength", "l2_regularization_strength",
                    "l2_shrinkage_regularization_strength"):
            if getattr(self, key) < 0:
                raise ValueError(f"{key} must be 0 or more, got {getattr(self, key)}.")

    def initial_value(self, slot_name: Any) -> Any:
        return self.initial_accumulator_value if slot_name == "accumulator" else 0.0

    def numbers(self, rate: float) -> tuple[Any, ...]:
        l2 = 2 * self.l2_regularization_strength + (self.beta / rate if self.beta else 0.0)
        return (rate, -self.learning_rate_power, self.l1_regularization_strength, l2,
                2 * self.l2_shrinkage_regularization_strength)

    def get_config(self) -> Config:
        keys = ("learning_rate_power", "initial_accumulator_value", "l1_regularization_strength",
                "l2_regularization_strength", "l2_shrinkage_regularization_strength", "beta")
        return {**super().get_config(), **{key: getattr(self, key) for key in keys}}


@REGISTRY.register("lion")
class Lion(Optimizer):
    """Steps of one size (Chen et al., 2023)::

        w -= lr sign(beta_1 m + (1 - beta_1) g);  m = beta_2 m + (1 - beta_2) g

    Args:
        learning_rate: default 0.001; the paper advises a tenth to a third of Adam's.
        beta_1: over 0, default 0.9.
        beta_2: default 0.99.
        **kwargs: those of `Optimizer`.

    See https://keras.io/api/optimizers/lion/ and https://arxiv.org/abs/2302.06675.

    >>> Lion().beta_2
    0.99
    """

    beta_1: Any
    beta_2: Any

    rule = "lion"
    slot_names: tuple[str, ...] = ("momentum",)

    def __init__(self, learning_rate: Rate = 0.001, beta_1: float = 0.9, beta_2: float = 0.99,
                 **kwargs: Unpack[DecayOptions]) -> None:
        super().__init__(learning_rate, **kwargs)
        self.take_numbers(beta_1=beta_1, beta_2=beta_2)
        if not 0 < beta_1 <= 1:
            raise ValueError(f"beta_1 must be over 0 and at most 1, got {beta_1}.")

    def numbers(self, rate: float) -> tuple[Any, ...]:
        beta_1, beta_2 = self.rounded(self.beta_1), self.rounded(self.beta_2)
        return rate, beta_1, 1 - beta_1, beta_2, 1 - beta_2

    def get_config(self) -> Config:
        return {**super().get_config(), "beta_1": self.beta_1, "beta_2": self.beta_2}


@REGISTRY.register("schedulefreeadamw")
class ScheduleFreeAdamW(_TwoMoments):
    """`AdamW` without a schedule (Defazio et al., 2024): the weights lie between the point z that steps and
    the mean x of all such points::

        v += (1 - beta_2) (g^2 - v)
        z -= lr min(t / warmup_steps, 1) g / (sqrt(v / (1 - beta_2^t)) + epsilon)
        x += (z - x) / t;  w = (1 - beta_1) z + beta_1 x

    Args:
        learning_rate: default 0.0025.
        beta_1: how near w is to x, default 0.9; it may be 0, which gives NaN in Keras.
        beta_2: decay of the second moment.
        epsilon: default 1e-8.
        warmup_steps: over how many updates the rate grows; 0 for none.
        **kwargs: those of `Optimizer`.

    z is the slot "momentum". Keras trains and evaluates at w as well.

    See https://keras.io/api/optimizers/ and https://arxiv.org/abs/2405.15682.

    >>> ScheduleFreeAdamW(warmup_steps=100).learning_rate
    0.0025
    """

    beta_1: Any
    beta_2: Any
    epsilon: Any
    warmup_steps: Any

    rule = "schedule_free"
    slot_names: tuple[str, ...] = ("momentum", "velocity")

    def __init__(self, learning_rate: Rate = 0.0025, beta_1: float = 0.9, beta_2: float = 0.999,
                 epsilon: float = 1e-8, warmup_steps: int = 0, **kwargs: Unpack[DecayOptions]) -> None:
        super().__init__(learning_rate, beta_1, beta_2, epsilon, **kwargs)
        self.take_numbers(warmup_steps=warmup_steps)

    def initial_values(self, slot_name: str, parameters: Any) -> Any:
        return parameters.values if slot_name == "momentum" else 0.0

    def numbers(self, rate: float) -> tuple[Any, ...]:
        t = self._updates + 1
        if self.warmup_steps > 0:
            rate *= min(t / self.warmup_steps, 1.0)
        root, beta_1, kept = math.sqrt(self.corrections()[1]), self.rounded(self.beta_1), 1 - 1 / t
        return (rate * root, 1 - self.beta_2, self.epsilon * root, kept, kept * (1 - beta_1),
                1 - kept * beta_1)

    def get_config(self) -> Config:
        return {**super().get_config(), "warmup_steps": self.warmup_steps}


@REGISTRY.register("lamb")
class Lamb(_TwoMoments):
    """`Adam` with a step as long, for each variable, as its weights (You et al., 2019)::

        u = m / (1 - beta_1^t) / (sqrt(v / (1 - beta_2^t)) + epsilon), m and v as in Adam
        w -= lr |w| / |u| u, or lr u if one of the norms is 0

    Args:
        learning_rate: default 0.001.
        beta_1, beta_2: decay of the two moments.
        epsilon: default 1e-7.
        **kwargs: those of `Optimizer`.

    See https://keras.io/api/optimizers/lamb/ and https://arxiv.org/abs/1904.00962.

    >>> Lamb().epsilon
    1e-07
    """

    beta_1: Any
    beta_2: Any
    epsilon: Any

    rule = "lamb"
    slot_names: tuple[str, ...] = ("momentum", "velocity", "step")
    per_variable = True

    def slot_groups(self) -> list[Any]:
        return [("momentum", "velocity")]

    def numbers(self, rate: float) -> tuple[Any, ...]:
        return 1 - self.beta_1, 1 - self.beta_2, *self.corrections(), self.epsilon, rate

    def _update_piece(self, w: Array, grad: Array, slots: dict[str, Any], numbers: Sequence[Any],
                      *options: Any) -> None:
        """The rule writes the step over the gradient; its length decides how far to go along it."""
        super()._update_piece(w, grad, {**slots, "step": grad}, numbers, *options)
        size, length = self.norm(w), self.norm(grad)
        ratio = size / length if size > 0 and length > 0 else 1.0
        _kernels.optim_step(_kernels.RULES["sgd"], w, grad, (), (numbers[-1] * ratio,))
