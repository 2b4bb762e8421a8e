"""LSTM over whole sequences, and its cell."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from tdfast import _kernels
from tdfast.layers.recurrent.base import GateWeights, Recurrent, inserted
from tdfast.layers.recurrent.cells import BuiltInCell

if TYPE_CHECKING:
    from numpy.typing import DTypeLike

    from tdfast.engine.types import (
        ActivationSpec,
        Array,
        Config,
        ConstraintSpec,
        InitializerSpec,
        RegularizerSpec,
        Seed,
        Sizes,
    )


class LSTMWeights(GateWeights):
    """Those of an LSTM: gates i, f, c, o, and the states h and c."""

    n_states = 2
    cell_kind = _kernels.CELLS["lstm"]
    gates = _kernels.rnn_gates(cell_kind)

    def __init__(
        self,
        units: int,
        activation: ActivationSpec = "tanh",
        recurrent_activation: ActivationSpec = "sigmoid",
        use_bias: bool = True,
        kernel_initializer: InitializerSpec = "glorot_uniform",
        recurrent_initializer: InitializerSpec = "orthogonal",
        bias_initializer: InitializerSpec = "zeros",
        unit_forget_bias: bool = True,
        **kwargs: Any,
    ) -> None:
        super().__init__(units, activation, recurrent_activation, use_bias, kernel_initializer,
                         recurrent_initializer, bias_initializer, **kwargs)
        self.unit_forget_bias = self._flag(unit_forget_bias, "unit_forget_bias")

    def first_bias(self, shape: Sizes, dtype: DTypeLike) -> Array:
        if not self.unit_forget_bias:
            return self.bias_initializer(shape, dtype=dtype)
        H = self.units
        parts = [self.bias_initializer((H,), dtype=dtype), np.ones(H, dtype)]
        return np.concatenate([*parts, self.bias_initializer((2 * H,), dtype=dtype)])

    def get_config(self) -> Config:
        before = "bias_initializer" if self.cell_name else "use_bias"       # Keras's order
        return inserted(super().get_config(), before, unit_forget_bias=self.unit_forget_bias)


class LSTM(LSTMWeights, Recurrent):
    """Long short-term memory over a whole sequence.

    With s = recurrent_activation and a = activation, W the kernel, U the recurrent kernel::

        i, f, g, o = s(z_i), s(z_f), a(z_c), s(z_o)      z = x_t W + h_{t-1} U + b
        c_t = f c_{t-1} + i g
        h_t = o a(c_t)

    Hochreiter and Schmidhuber 1997, with the forget gate of Gers et al. 2000. Names, gate order
    (i, f, c, o) and defaults are those of https://keras.io/api/layers/recurrent_layers/lstm/.

    Args:
        units: size of h and c.
        activation, recurrent_activation: of the cell and of the gates. 'tanh' and 'sigmoid', the
            defaults, run fused with the products; all others are correct but slower.
        use_bias: whether there is a bias; True by default.
        kernel_initializer, recurrent_initializer, bias_initializer: of the weights, (features,
            4 units), (units, 4 units) and (4 units,).
        unit_forget_bias: start the forget gate's bias at 1; True by default.
        kernel_regularizer, recurrent_regularizer, bias_regularizer, activity_regularizer: None by default.
        kernel_constraint, recurrent_constraint, bias_constraint: None by default.
        dropout, recurrent_dropout: the share of inputs and of h that training drops, 0 by default, with one
            mask for all steps of a sequence.
        seed: of the dropout; None, the default: from `tdfast.random`.
        return_sequences: the output of every step, (batch, time, units), instead of the last alone;
            False by default, as are the five that follow.
        return_state: return [output, h, c].
        go_backwards: start at the last step; outputs come in the order they were made.
        stateful: begin each batch with the states that the one before left.
        unroll: accepted and without effect.
        zero_output_for_mask: a masked step's output is 0 instead of the output before it.
        use_cudnn: 'auto' or False; True is a ValueError.

    Call: ``layer(x, initial_state=None, training=False, mask=None)`` with x of shape (batch, time,
    features), initial_state [h, c] of shape (batch, units) each, and mask (batch, time), False where a
    step is to be skipped.

    >>> import numpy as np
    >>> layer = LSTM(32, return_sequences=True)
    >>> layer(np.zeros((50, 64, 15))).shape
    (50, 64, 32)
    >>> [w.shape for w in layer.weights]
    [(15, 128), (32, 128), (128,)]
    """

    cell_name = "lstm_cell"

    def __init__(
        self,
        units: int,
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
        unroll: bool = False,
        use_cudnn: bool | str = "auto",
        *,
        zero_output_for_mask: bool = False,
        **kwargs: Any,
    ) -> None:
        super().__init__(
            units, activation, recurrent_activation, use_bias, kernel_initializer, recurrent_initializer,
            bias_initializer, unit_forget_bias=unit_forget_bias, kernel_regularizer=kernel_regularizer,
            recurrent_regularizer=recurrent_regularizer, bias_regularizer=bias_regularizer,
            activity_regularizer=activity_regularizer, kernel_constraint=kernel_constraint,
            recurrent_constraint=recurrent_constraint, bias_constraint=bias_constraint, dropout=dropout,
            recurrent_dropout=recurrent_dropout, seed=seed, return_sequences=return_sequences,
            return_state=return_state, go_backwards=go_backwards, stateful=stateful, unroll=unroll,
            use_cudnn=use_cudnn, zero_output_for_mask=zero_output_for_mask, **kwargs,
        )


class LSTMCell(BuiltInCell, LSTMWeights):
    """One step of an `LSTM`: ``h, [h, c] = cell(x, [h, c])``.

    Formula, weights and defaults are those of `LSTM`; see also
    https://keras.io/api/layers/recurrent_layers/lstm_cell/.

    Args:
        units: size of h and c.
        activation, recurrent_activation, use_bias, kernel_initializer, recurrent_initializer,
            bias_initializer, unit_forget_bias, kernel_regularizer, recurrent_regularizer, bias_regularizer,
            kernel_constraint, recurrent_constraint, bias_constraint, seed: as in `LSTM`.
        dropout, recurrent_dropout: the share of inputs and of h that training drops: in an `RNN` with one
            mask for a sequence, in a call of the cell alone with a new one each time.

    >>> import numpy as np
    >>> cell = LSTMCell(4)
    >>> y, states = cell(np.zeros((2, 3)), cell.get_initial_state(2))
    >>> y.shape, [s.shape for s in states]
    ((2, 4), [(2, 4), (2, 4)])
    """

    over_time = LSTM

    def __init__(
        self,
        units: int,
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
        kernel_constraint: ConstraintSpec = None,
        recurrent_constraint: ConstraintSpec = None,
        bias_constraint: ConstraintSpec = None,
        dropout: float = 0.0,
        recurrent_dropout: float = 0.0,
        seed: Seed = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(
            units, activation, recurrent_activation, use_bias, kernel_initializer, recurrent_initializer,
            bias_initializer, unit_forget_bias=unit_forget_bias, kernel_regularizer=kernel_regularizer,
            recurrent_regularizer=recurrent_regularizer, bias_regularizer=bias_regularizer,
            kernel_constraint=kernel_constraint, recurrent_constraint=recurrent_constraint,
            bias_constraint=bias_constraint, dropout=dropout, recurrent_dropout=recurrent_dropout,
            seed=seed, **kwargs,
        )
