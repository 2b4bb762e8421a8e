"""TimeDistributed: a layer for every time step."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from tdfast.layers.wrapper import Wrapper

if TYPE_CHECKING:
    from tdfast.engine.layer import Layer
    from tdfast.engine.tape import Record, Tape
    from tdfast.engine.types import Array, Arrays, Masks, Shapes


class TimeDistributed(Wrapper):
    """The wrapped layer applied to every time step, with the same weights: ``y[:, t] = layer(x[:, t])``.

    Time is folded into the batch, (B, T, ...) -> (B T, ...), so there is no loop: `Dense` becomes one
    matrix product over all steps. Only a layer whose result depends on its whole batch
    (`Layer.batch_coupled`) is called once per step. See
    https://keras.io/api/layers/recurrent_layers/time_distributed/.

    Args:
        layer: any layer with one input and one output, a `Sequential` or another TimeDistributed.

    Input (batch, time, ...), where ... is what the wrapped layer takes; the output likewise.

    >>> import numpy as np
    >>> from tdfast.layers import Dense
    >>> TimeDistributed(Dense(8))(np.zeros((50, 64, 32))).shape
    (50, 64, 8)
    """

    def __init__(self, layer: Layer, **kwargs: Any) -> None:
        super().__init__(layer, **kwargs)
        if getattr(layer, "return_state", False):
            raise ValueError(
                f"TimeDistributed cannot wrap layer '{layer.name}': with return_state it has several outputs."
            )
        if getattr(layer, "stateful", False):
            raise ValueError(
                f"TimeDistributed cannot wrap layer '{layer.name}': a stateful layer needs a fixed batch."
            )
        self.supports_masking = True

    @property
    def per_step(self) -> bool:  # type: ignore[override]
        return not self.batch_coupled

    @property
    def batch_coupled(self) -> bool:  # type: ignore[override]
        return self.layer.batch_coupled

    def check_input_shape(self, input_shape: Shapes) -> None:
        if len(input_shape) < 3:
            raise ValueError(
                f"Layer '{self.name}' (TimeDistributed) expects input of at least 3 dimensions, (batch, "
                "time, ...), "
                f"got {tuple(input_shape)}. A recurrent layer before it needs return_sequences=True."
            )
        if self.built:
            self.layer.check_input_shape((None, *input_shape[2:]))

    def build(self, input_shape: Shapes) -> None:
        self.build_inner(self.layer, (None, *input_shape[2:]))

    def compute_mask(self, inputs: Any, mask: Masks = None) -> Masks:
        if self.layer.makes_mask:
            raise TypeError(
                f"Layer '{self.name}' (TimeDistributed) hands on the mask of the time steps, and so the mask "
                "that "
                f"'{self.layer.name}' ({type(self.layer).__name__}) makes within each step would be lost. "
                "Wrap a "
                "Sequential of it and the layers that use its mask."
            )
        return super().compute_mask(inputs, mask)

    def compute_output_shape(self, input_shape: Shapes) -> Shapes:
        inner = self.layer.compute_output_shape((input_shape[0], *input_shape[2:]))
        return (inner[0], input_shape[1], *inner[1:])

    def can_be_prepared(self, training: bool) -> bool:
        return not self.layer.batch_coupled and self.layer.can_be_prepared(training)

    def forward(self, x: Arrays, tape: Tape, training: bool = False, mask: Masks = None) -> Arrays:
        rec = tape.push(self)
        B, T = x.shape[:2]
        inner_mask = None if mask is None or mask.ndim < 3 else mask.reshape(B * T, *mask.shape[2:])
        rec.shape = x.shape
        rec.stepped = training and self.layer.batch_coupled
        if rec.stepped:
            return self._forward_steps(x, tape, rec, mask)
        start = tape.position
        y = self.layer.forward(x.reshape(B * T, *x.shape[2:]), tape, training=training, mask=inner_mask)
        for inner in tape.records_from(start):
            inner.rows //= max(T, 1)    # a penalty inside is averaged over the batch, not over its steps
        return y.reshape(B, T, *y.shape[1:])

    def backward(self, dy: Arrays, tape: Tape, need_dx: bool = True) -> Arrays:
        if self.layer.batch_coupled and tape.peek(self).stepped:
            return self._backward_steps(dy, tape, need_dx)
        dx = self.layer.backward(dy.reshape(-1, *dy.shape[2:]), tape, need_dx)
        rec = tape.pop(self)
        return dx.reshape(rec.shape) if need_dx and dx is not None else None

    def _forward_steps(self, x: Arrays, tape: Tape, rec: Record, mask: Masks) -> Array:
        """One call a step, for a layer that looks at its whole batch."""
        steps = []
        for t in range(x.shape[1]):
            xt = np.ascontiguousarray(x[:, t])
            step_mask = None if mask is None else np.ascontiguousarray(mask[:, t])
            steps.append(self.layer.forward(xt, tape, training=True, mask=step_mask))
        return np.stack(steps, axis=1, out=rec.buffer("y", (len(x), len(steps), *steps[0].shape[1:]),
                                                      x.dtype))

    def _backward_steps(self, dy: Arrays, tape: Tape, need_dx: bool) -> Any:
        variables = self.layer.weights
        sums = [np.zeros_like(v.value) for v in variables]
        dx: list[Any] = [None] * dy.shape[1]
        for t in reversed(range(dy.shape[1])):
            dx[t] = self.layer.backward(np.ascontiguousarray(dy[:, t]), tape, need_dx)
            for total, v in zip(sums, variables):
                total += v.grad
        for total, v in zip(sums, variables):
            v.grad[...] = total
        tape.pop(self)
        return np.stack(dx, axis=1) if need_dx else None

    def output_layer(self) -> Layer:
        plain = type(self) is TimeDistributed and self.activity_regularizer is None
        return self.layer.output_layer() if plain else self


def stateful_in(layer: Layer) -> Any:
    """The first layer, this one or inside it, that keeps its states from batch to batch, or None."""
    if getattr(layer, "stateful", False):
        return layer
    return next(filter(None, map(stateful_in, layer.sublayers())), None)
