"""The arguments that every optimizer takes by name, for type checkers and editors alone."""

from __future__ import annotations

from typing import TypedDict


class Options(TypedDict, total=False):
    """Those of `Optimizer`, but for the learning rate and the weight decay."""

    clipnorm: float | None
    clipvalue: float | None
    global_clipnorm: float | None
    use_ema: bool
    ema_momentum: float
    ema_overwrite_frequency: int | None
    loss_scale_factor: float | None
    gradient_accumulation_steps: int | None
    name: str | None
    decay: float | None


class DecayOptions(Options, total=False):
    """Those of optimizers whose weight decay has no default of its own."""

    weight_decay: float | None
