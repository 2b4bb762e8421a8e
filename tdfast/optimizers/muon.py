"""Muon: momentum whose matrices are made orthogonal."""

from __future__ import annotations

import math
import re
from typing import TYPE_CHECKING, Any

import numpy as np

from tdfast import _kernels, runtime
from tdfast.optimizers.base import Optimizer
from tdfast.optimizers.methods import REGISTRY

if TYPE_CHECKING:
    from collections.abc import Sequence

    from typing_extensions import Unpack

    from tdfast.engine.types import Array, Config, Rate
    from tdfast.engine.variable import Variable
    from tdfast.optimizers.options import Options


@REGISTRY.register("muon")
class Muon(Optimizer):
    """Steps along the nearest orthogonal matrix to the momentum, for matrices (Jordan, 2024); `AdamW` for all
    other weights::

        m = momentum m + g;  u = g + momentum m with nesterov, else m
        X = u / (|u| + 1e-7), then ns_steps times  X = a X + (b X X' + c (X X')^2) X
        w -= lr X rms_rate sqrt(max(rows, columns))

    Vectors, embeddings and the weights of ``exclude_layers`` take Adam's steps, at ``adam_lr_ratio lr``.
    Kernels of convolutions, of three axes and more, do so too. The last layer should be excluded.

    Args:
        learning_rate: default 0.001.
        adam_beta_1, adam_beta_2, epsilon: of Adam.
        adam_weight_decay: the decay of the weights with Adam's steps, default 0.004; None for none.
        weight_decay: the decay of the others, default 0.004; None for none.
        exclude_layers: regular expressions; weights in whose path one of them is found take Adam's steps.
        exclude_embeddings: whether those with "embedding" in their path do so.
        muon_a, muon_b, muon_c: a, b and c.
        adam_lr_ratio: default 1.
        momentum: default 0.95.
        ns_steps: default 5.
        nesterov: default True.
        rms_rate: makes a step as long as one of Adam's, default 0.2; None leaves both factors out.
        **kwargs: those of `Optimizer`.

    See https://keras.io/api/optimizers/muon/, https://github.com/KellerJordan/Muon and
    https://arxiv.org/abs/2502.16982.

    >>> Muon(exclude_layers=["output"]).ns_steps
    5
    """

    adam_beta_1: Any
    adam_beta_2: Any
    adam_lr_ratio: Any
    adam_weight_decay: Any
    epsilon: Any
    momentum: Any
    muon_a: Any
    muon_b: Any
    muon_c: Any
    rms_rate: Any

    def __init__(self, learning_rate: Rate = 0.001, adam_beta_1: float = 0.9, adam_beta_2: float = 0.999,
                 adam_weight_decay: float | None = 0.004, epsilon: float = 1e-7,
                 weight_decay: float | None = 0.004, exclude_layers: Sequence[str] | None = None,
                 exclude_embeddings: bool = True, muon_a: float = 3.4445, muon_b: float = -4.7750,
                 muon_c: float = 2.0315, adam_lr_ratio: float = 1, momentum: float = 0.95, ns_steps: int = 5,
                 nesterov: bool = True, rms_rate: float | None = 0.2, **kwargs: Unpack[Options]) -> None:
        super().__init__(learning_rate, weight_decay=weight_decay, **kwargs)
        self.take_numbers(adam_beta_1=adam_beta_1, adam_beta_2=adam_beta_2, epsilon=epsilon, muon_a=muon_a,
                          muon_b=muon_b, muon_c=muon_c, adam_lr_ratio=adam_lr_ratio, momentum=momentum)
        self.take_numbers(optional=True, adam_weight_decay=adam_weight_decay, rms_rate=rms_rate)
        if isinstance(ns_steps, bool) or not hasattr(ns_steps, "__index__") or ns_steps < 0:
            raise ValueError(f"Muon: ns_steps must be a whole number of at least 0, got {ns_steps!r}.")
        if isinstance(exclude_layers, str):
            raise ValueError(f"Muon: exclude_layers must be a list of names, got {exclude_layers!r}.")
        self.ns_steps, self.exclude_layers = int(ns_steps), list(exclude_layers or ())
        for name in self.exclude_layers:
            check_pattern(name, "Muon: an entry of exclude_layers")
        self.nesterov = self._flag(nesterov, "nesterov")
        self.exclude_embeddings = self._flag(exclude_embeddings, "exclude_embeddings")

    def build(self, variables: Sequence[Any]) -> None:
        super().build(variables)
        self._momentums: list[Any] = []
        self._velocities: list[Any] = []
        for v in self.trainable_variables:
            self._momentums.append(self.add_for(v, v.shape, "momentum"))
            self._velocities.append(self.add_for(v, v.shape, "velocity") if self._takes_adam(v) else None)

    def _takes_adam(self, variable: Variable) -> bool:
        path = variable.path
        return (variable.ndim != 2 or (self.exclude_embeddings and "embedding" in path.lower())
                or any(re.search(name, path) for name in self.exclude_layers))

    def decay_of(self, variable: Variable) -> float | None:
        if self._not_decayed(variable):
            return None
        return self.adam_weight_decay if self._takes_adam(variable) else self.weight_decay

    def update_step(self, gradient: Any, variable: Any, learning_rate: Any) -> None:
        i = self._get_variable_index(variable)
        m, velocity = self._momentums[i].value, self._velocities[i]
        if velocity is not None:
            self._adam(gradient, variable, learning_rate * self.adam_lr_ratio, m, velocity.value)
            return
        momentum = m.dtype.type(self.momentum)
        m *= momentum
        m += gradient
        step = self._orthogonal(gradient + momentum * m if self.nesterov else m)
        if self.rms_rate is not None:
            learning_rate *= math.sqrt(max(m.shape)) * self.rms_rate
        variable.value[...] -= m.dtype.type(learning_rate) * step

    def _adam(self, gradient: Array, variable: Variable, rate: float, m: Array, velocity: Array) -> None:
        t = self._updates + 1
        first, second = (1 - self.rounded(self.rounded(beta) ** t)
                         for beta in (self.adam_beta_1, self.adam_beta_2))
        w, g, m, v = (array.reshape(-1) for array in (variable.value, gradient, m, velocity))
        _kernels.optim_step(
            _kernels.RULES["adam"], w, g, (m, v, None),
            (rate * math.sqrt(second) / first, 1 - self.adam_beta_1, 1 - self.adam_beta_2, self.epsilon),
        )

    def _orthogonal(self, x: Array) -> Array:
        """Nearly the orthogonal factor of a matrix, by the iteration of Newton and Schulz."""
        is_tall = x.shape[0] > x.shape[1]
        x = np.ascontiguousarray(x.T if is_tall else x)
        a, b, c = (x.dtype.type(number) for number in (self.muon_a, self.muon_b, self.muon_c))
        x = x / x.dtype.type(self.norm(x.reshape(-1)) + 1e-7)
        for _ in range(self.ns_steps):
            square = _product(x, np.ascontiguousarray(x.T))
            x = a * x + _product(b * square + c * _product(square, square), x)
        return x.T if is_tall else x

    def get_config(self) -> Config:
        keys = ("adam_beta_1", "adam_beta_2", "epsilon", "exclude_layers", "muon_a", "muon_b", "muon_c",
                "adam_lr_ratio", "momentum", "ns_steps", "nesterov", "exclude_embeddings",
                "adam_weight_decay", "rms_rate")
        return {**super().get_config(), **{key: getattr(self, key) for key in keys}}


def check_pattern(pattern: Any, what: str) -> None:
    """Raise a ValueError for what is no regular expression."""
    try:
        re.compile(pattern)
    except (re.error, TypeError) as error:
        raise ValueError(f"{what} must be a regular expression, got {pattern!r}: {error}.") from error


def _product(a: Array, b: Array) -> Array:
    """The product of two matrices, of the same bits for any number of threads."""
    (M, K), N = a.shape, b.shape[1]
    packed = runtime.aligned((_kernels.dense_pack_size(K, N),), a.dtype)
    y = runtime.aligned((M, N), a.dtype)
    _kernels.dense_pack(K, N, b, packed)
    _kernels.dense_forward(act=_kernels.ACTIVATIONS["linear"], M=M, K=K, N=N, x=a, packed=packed, y=y)
    return y
