"""ConvLSTM1D, ConvLSTM2D and ConvLSTM3D: LSTMs over sequences of signals, images and volumes, with
convolutions for their products."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from tdfast import _kernels, activations, random
from tdfast.activations import rows_of
from tdfast.layers.convolution import shapes
from tdfast.layers.convolution.conv import Convolving, convolve, convolve_back, kernel_sizes
from tdfast.layers.recurrent.cells import Cell
from tdfast.layers.recurrent.loops import CellLoop, Delegating, valid_only
from tdfast.layers.recurrent.lstm import LSTMWeights

if TYPE_CHECKING:
    from collections.abc import Sequence

    from tdfast.engine.tape import Record, Tape
    from tdfast.engine.types import (
        ActivationSpec,
        Array,
        Arrays,
        ConstraintSpec,
        InitializerSpec,
        Masks,
        RegularizerSpec,
        Seed,
        Shapes,
        Size,
    )


class _Step(Cell):
    """One step of a ConvLSTM whose inputs are already convolved: x is z = x_t * W + b, of four parts."""

    def __init__(self, layer: Any) -> None:
        super().__init__(name=layer.name, dtype=layer.dtype)
        self._layer = layer
        self._weights = [layer.recurrent_kernel]        # whose gradients the loop adds up
        self.state_size = [layer.filters] * 2

    def step_shapes(self, x_shape: Sequence[Any]) -> tuple[Any, ...]:
        shape = (*x_shape[:-1], self._layer.filters)
        return shape, [shape, shape]

    def initial_states(self, x_shape: Sequence[Any]) -> list[Any]:
        return [0, 0]

    def per_sequence(self, x: Arrays, tape: Tape, rec: Record, training: bool) -> dict[str, Any]:
        layer, shape = self._layer, (x.shape[0], *x.shape[2:-1], self._layer.filters)
        sizes = kernel_sizes(shape, layer.kernel_size, 4 * layer.filters, padding="same",
                             strides=(1,) * layer.rank, dilation=(1,) * layer.rank)
        kernel = layer.recurrent_kernel.value
        packed, ready = rec.packed_weights(tape, kernel, (sizes.pack_size,), x.dtype)
        if not ready:
            _kernels.conv_pack(sizes, kernel, packed)
        factors = None
        if training and layer.recurrent_dropout:
            factors = rec.buffer("recurrent_drop", shape, x.dtype)
            random.dropout_factors(factors, layer.recurrent_dropout, layer.seed_generator)
        return {"work": rec, "sizes": sizes, "packed": packed, "factors": factors}

    def _acts(self) -> tuple[Any, ...]:
        """The activation of each gate, in the order i, f, c, o."""
        gate, cell = self._layer.recurrent_activation, self._layer.activation
        return gate, gate, cell, gate

    def forward(self, z: Array, states: Any, tape: Tape, training: bool = False, work: Any = None,  # type: ignore[override]
                sizes: Any = None, packed: Any = None, factors: Any = None) -> Arrays:
        rec = tape.push(self)
        (h, c), dtype, shape = states, z.dtype, states[0].shape
        F = shape[-1]
        if factors is not None:
            h = np.multiply(h, factors, out=rec.buffer("h", shape, dtype))
        zh = work.buffer("zh", z.shape, dtype)
        scratch = work.buffer("scratch", (sizes.forward_size,), dtype)
        _kernels.conv_forward(sizes, act=activations.linear.kind, x=h, packed=packed, y=zh, scratch=scratch)
        zh += z
        before, gates = (rec.buffer(name, (4, *shape), dtype) for name in ("z", "gates"))
        for n, act in enumerate(self._acts()):
            before[n] = zh[..., n * F : (n + 1) * F]
            _kernels.act_forward(act.kind, *rows_of(c), before[n], gates[n])
        i, f, g, o = gates
        new_h, new_c, ac, part = (rec.buffer(name, shape, dtype) for name in ("new h", "new c", "ac", "part"))
        np.multiply(f, c, out=new_c)
        new_c += np.multiply(i, g, out=part)
        _kernels.act_forward(self._layer.activation.kind, *rows_of(c), new_c, ac)
        np.multiply(o, ac, out=new_h)
        if tape.keep:
            rec.h, rec.c, rec.work, rec.sizes, rec.factors, rec.zh = h, c, work, sizes, factors, zh
        return new_h, [new_h, new_c]

    def backward(self, dy: Arrays, dstates: Any, tape: Tape, need_dx: bool = True) -> Arrays:  # type: ignore[override]
        rec = tape.pop(self)
        (dh, dc), dtype, shape, layer, work = dstates, dy.dtype, dy.shape, self._layer, rec.work
        before, gates = (rec.buffer(name, (4, *shape), dtype) for name in ("z", "gates"))
        new_c, ac, part = (rec.buffer(name, shape, dtype) for name in ("new c", "ac", "part"))
        F, (i, f, g, o) = shape[-1], gates
        dh += dy
        dgates, dz = work.buffer("dgates", (4, *shape), dtype), work.buffer("dz", (*shape[:-1], 4 * F), dtype)
        np.multiply(dh, ac, out=dgates[3])                                          # h = o a(c)
        np.multiply(dh, o, out=part)
        _kernels.act_backward(layer.activation.kind, *rows_of(dc), x=new_c, y=ac, dy=part, dx=dh)
        dc += dh
        np.multiply(dc, g, out=dgates[0])                                           # c = f c + i g
        np.multiply(dc, rec.c, out=dgates[1])
        np.multiply(dc, i, out=dgates[2])
        dc *= f
        for n, act in enumerate(self._acts()):
            _kernels.act_backward(act.kind, *rows_of(dc), x=before[n], y=gates[n], dy=dgates[n], dx=part)
            dz[..., n * F : (n + 1) * F] = part
        spent = work.buffer("zh", dz.shape, dtype)      # the kernel writes over what it is given
        spent[...] = dz
        scratch = work.buffer("scratch back", (rec.sizes.backward_size,), dtype)
        _kernels.conv_backward(
            rec.sizes, act=activations.linear.kind, x=rec.h, kernel=layer.recurrent_kernel.value, dy=spent,
            dx=dh,
            dkernel=layer.recurrent_kernel.grad, scratch=scratch,
        )
        if rec.factors is not None:
            dh *= rec.factors
        return dz, [dh, dc]


class _ConvLSTM(LSTMWeights, Convolving, Delegating):
    """ConvLSTM1D, ConvLSTM2D and ConvLSTM3D."""

    cell_name = "conv_lstm_cell"
    units_name = "filters"
    supports_masking = True

    def __init__(
        self,
        filters: int,
        kernel_size: Size,
        strides: Size = 1,
        padding: str = "valid",
        data_format: str | None = None,
        dilation_rate: Size = 1,
        activation: ActivationSpec = "tanh",
        recurrent_activation: ActivationSpec = "sigmoid",
        use_bias: bool = True,
        kernel_initializer: InitializerSpec = "glorot_uniform",
        recurrent_initializer: InitializerSpec = "orthogonal",
        bias_initializer: InitializerSpec = "zeros",
        unit_forget_bias: bool = True,
        kernel_regularizer: RegularizerSpec = None,
        recurrent_regularizer: RegularizerSpec = None,
        bias_regularizer: RegularizerSpec = None,
        activity_regularizer: RegularizerSpec = None,
        kernel_constraint: ConstraintSpec = None,
        recurrent_constraint: ConstraintSpec = None,
        bias_constraint: ConstraintSpec = None,
        dropout: float = 0.0,
        recurrent_dropout: float = 0.0,
        seed: Seed = None,
        return_sequences: bool = False,
        return_state: bool = False,
        go_backwards: bool = False,
        stateful: bool = False,
        *,
        zero_output_for_mask: bool = False,
        **kwargs: Any,
    ) -> None:
        super().__init__(
            filters, activation, recurrent_activation, use_bias, kernel_initializer, recurrent_initializer,
            bias_initializer, unit_forget_bias=unit_forget_bias, kernel_regularizer=kernel_regularizer,
            recurrent_regularizer=recurrent_regularizer, bias_regularizer=bias_regularizer,
            activity_regularizer=activity_regularizer, kernel_constraint=kernel_constraint,
            recurrent_constraint=recurrent_constraint, bias_constraint=bias_constraint, dropout=dropout,
            recurrent_dropout=recurrent_dropout, seed=seed, return_sequences=return_sequences,
            return_state=return_state, go_backwards=go_backwards, stateful=stateful,
            zero_output_for_mask=zero_output_for_mask, **kwargs,
        )
        self.filters = self.units
        self._set_windows(kernel_size, strides, padding, data_format, dilation_rate, ("valid", "same"))
        self._refuse_strides_with_dilation()

    def check_input_shape(self, input_shape: Shapes) -> None:
        if len(input_shape) != self.rank + 3 or input_shape[-1] is None:
            axes = ", ".join(("batch", "time", *shapes.AXES[self.rank], "channels"))
            hint = " If the axis of channels is missing, add it: x[..., None]."
            raise ValueError(
                f"Layer '{self.name}' ({type(self).__name__}) expects input of shape ({axes}), got "
                f"{tuple(input_shape)}." + hint * (len(input_shape) == self.rank + 2)
            )
        if input_shape[1] == 0:
            raise ValueError(
                f"Layer '{self.name}' ({type(self).__name__}) needs at least one time step, got none."
            )
        Convolving.check_input_shape(self, (input_shape[0], *input_shape[2:]))

    def kernel_shapes(self, input_shape: Shapes) -> tuple[Any, ...]:
        return (*self.kernel_size, input_shape[-1],
                4 * self.filters), (*self.kernel_size, self.filters, 4 * self.filters)

    def build(self, input_shape: Shapes) -> None:
        super().build(input_shape)
        self._runners = [CellLoop(_Step(self), name=self.name)]

    def _frame(self, input_shape: Shapes) -> tuple[int | None, ...]:
        """The shape of a state."""
        return Convolving.compute_output_shape(self, (input_shape[0], *input_shape[2:]))

    def compute_output_shape(self, input_shape: Shapes) -> Shapes:
        state = self._frame(input_shape)
        y = (state[0], input_shape[1], *state[1:]) if self.return_sequences else state
        return [y, state, state] if self.return_state else y

    def state_shapes(self, input_shape: Shapes) -> list[Any]:
        return [self._frame(input_shape)] * 2

    def compute_mask(self, inputs: Any, mask: Masks = None) -> Masks:
        return Delegating.compute_mask(self, inputs, mask)

    def forward(self, x: Arrays, tape: Tape, training: bool = False, mask: Masks = None,
                initial_state: Any = None) -> Arrays:
        rec = tape.push(self)
        B, T = x.shape[:2]
        x = valid_only(x, mask, rec)
        rec.drop = None
        if training and self.dropout:
            rec.drop = rec.buffer("drop", (B, 1, *x.shape[2:]), x.dtype)
            random.dropout_factors(rec.drop, self.dropout, self.seed_generator)
            x = np.multiply(x, rec.drop, out=rec.buffer("dropped", x.shape, x.dtype))
        frames = x.reshape(B * T, *x.shape[2:])
        z = convolve(rec, tape, frames, self.kernel.value, self._sizes(frames.shape, 4 * self.filters),
                     self.bias.value if self.use_bias else None)
        return self.run(z.reshape(B, T, *z.shape[1:]), tape, rec, training, mask, initial_state)

    def backward(self, dy: Arrays, tape: Tape, need_dx: bool = True) -> Arrays:
        """As `Loop.backward` of `LSTM`: with return_state, dy is [dy, dh, dc], and with an initial_state the
        result is (dx, dh0, dc0)."""
        rec = tape.peek(self)
        dz, first = self.run_back(dy, tape, rec, True)
        tape.pop(self)
        dx = convolve_back(rec, dz.reshape(rec.y.shape), self.kernel, need_dx, self.bias)
        if need_dx:
            dx = dx.reshape(*dz.shape[:2], *dx.shape[1:])
            if rec.drop is not None:
                dx *= rec.drop
        return (dx, *first) if rec.given else dx

    def size_config(self) -> dict[str, Any]:
        return {"filters": self.filters, **self._windows_config()}


class ConvLSTM1D(_ConvLSTM):
    """An LSTM over sequences of signals, with convolutions over their axis; see `ConvLSTM2D`.

    Source: https://keras.io/api/layers/recurrent_layers/conv_lstm1d/.

    Arguments, errors and call are those of `ConvLSTM2D`, with one number where that has two.

    Input (batch, time, steps, channels), output (batch, new steps, filters), with return_sequences
    (batch, time, new steps, filters).

    >>> import numpy as np
    >>> ConvLSTM1D(8, 3, padding="same")(np.zeros((4, 10, 16, 2))).shape
    (4, 16, 8)
    """

    rank = 1


class ConvLSTM2D(_ConvLSTM):
    """An LSTM over sequences of images: its products with weights are convolutions (*), its states are
    images.

    With s = recurrent_activation and a = activation::

        i, f, g, o = s(z_i), s(z_f), a(z_c), s(z_o)      z = x_t * W + h_{t-1} * U + b
        c_t = f c_{t-1} + i g
        h_t = o a(c_t)

    Shi et al. 2015, without peepholes. x_t * W has the padding, strides and dilation asked for; h * U has
    padding 'same' and strides of 1. Source: https://keras.io/api/layers/recurrent_layers/conv_lstm2d/.

    Args:
        filters: channels of h and c.
        kernel_size: height and width of the windows of both convolutions; one number for both.
        strides, padding, data_format, dilation_rate: of the input's convolution, as in `Conv2D`.
        activation, recurrent_activation: of the cell and of the gates.
        use_bias: whether there is a bias; True by default.
        kernel_initializer, recurrent_initializer, bias_initializer: of the weights, (*kernel_size, channels,
            4 filters), (*kernel_size, filters, 4 filters) and (4 filters,).
        unit_forget_bias: start the forget gate's bias at 1; True by default.
        kernel_regularizer, recurrent_regularizer, bias_regularizer, activity_regularizer: None by default.
        kernel_constraint, recurrent_constraint, bias_constraint: None by default.
        dropout, recurrent_dropout: the share of inputs and of h that training drops, with one mask for all
            gates and all steps of a sequence.
        seed: of the dropout; None, the default: from `tdfast.random`.
        return_sequences, return_state, go_backwards, stateful, unroll, zero_output_for_mask: as in `LSTM`.

    Raises:
        ValueError: as `Conv2D`, or for an input of another rank.

    Call: ``layer(x, initial_state=None, training=False, mask=None)`` with x of shape (batch, time, height,
    width, channels), initial_state [h, c] of the output's shape each, and mask (batch, time).

    >>> import numpy as np
    >>> ConvLSTM2D(8, 3, return_sequences=True)(np.zeros((2, 5, 9, 9, 1))).shape
    (2, 5, 7, 7, 8)
    """

    rank = 2


class ConvLSTM3D(_ConvLSTM):
    """An LSTM over sequences of volumes, with convolutions over their three axes; see `ConvLSTM2D`.

    Source: https://keras.io/api/layers/recurrent_layers/conv_lstm3d/.

    Arguments, errors and call are those of `ConvLSTM2D`, with three numbers where that has two.

    Input (batch, time, depth, height, width, channels), output (batch, new depth, new height, new width,
    filters), with return_sequences (batch, time, new depth, new height, new width, filters).

    >>> import numpy as np
    >>> ConvLSTM3D(8, 3, padding="same")(np.zeros((2, 3, 4, 5, 5, 1))).shape
    (2, 4, 5, 5, 8)
    """

    rank = 3
