"""GRU over whole sequences, and its cell."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from tdfast import _kernels
from tdfast.layers.recurrent.base import GateWeights, Recurrent, inserted
from tdfast.layers.recurrent.cells import BuiltInCell

if TYPE_CHECKING:
    from tdfast.engine.types import (
        ActivationSpec,
        Config,
        ConstraintSpec,
        InitializerSpec,
        RegularizerSpec,
        Seed,
    )


class GRUWeights(GateWeights):
    """Those of a GRU: gates z, r, h, and the state h."""

    gates = _kernels.rnn_gates(_kernels.CELLS["gru"])

    def __init__(
        self,
        units: int,
        activation: ActivationSpec = "tanh",
        recurrent_activation: ActivationSpec = "sigmoid",
        use_bias: bool = True,
        kernel_initializer: InitializerSpec = "glorot_uniform",
        recurrent_initializer: InitializerSpec = "orthogonal",
        bias_initializer: InitializerSpec = "zeros",
        *,
        reset_after: bool = True,
        **kwargs: Any,
    ) -> None:
        super().__init__(units, activation, recurrent_activation, use_bias, kernel_initializer,
                         recurrent_initializer, bias_initializer, **kwargs)
        self.reset_after = self._flag(reset_after, "reset_after")

    @property
    def cell_kind(self) -> int:  # type: ignore[override]
        return _kernels.CELLS["gru" if self.reset_after else "gru_reset_before"]

    def bias_shape(self, width: int) -> tuple[int, ...]:
        return (2, width) if self.reset_after else (width,)

    def get_config(self) -> Config:
        return inserted(super().get_config(), "recurrent_dropout", reset_after=self.reset_after)


class GRU(GRUWeights, Recurrent):  # type: ignore[override]
    """Gated recurrent unit over a whole sequence.

    With s = recurrent_activation and a = activation, W the kernel, U the recurrent kernel, each of three
    parts, and two rows of bias, b of the inputs and d of the state::

        z, r = s(x_t W_z + b_z + h_{t-1} U_z + d_z), s(x_t W_r + b_r + h_{t-1} U_r + d_r)
        c = a(x_t W_h + b_h + r (h_{t-1} U_h + d_h))       reset_after=True
        c = a(x_t W_h + b_h + (r h_{t-1}) U_h)             reset_after=False: then one row of bias
        h_t = z h_{t-1} + (1 - z) c

    Cho et al. 2014. Names, gate order (z, r, h) and defaults are those of
    https://keras.io/api/layers/recurrent_layers/gru/.

    Args:
        units: size of h.
        activation, recurrent_activation: of the candidate c and of the gates. 'tanh' and 'sigmoid', the
            defaults, run fused with the products when reset_after; all others are correct but slower.
        use_bias: whether there is a bias; True by default.
        kernel_initializer, recurrent_initializer, bias_initializer: of the weights, (features,
            3 units), (units, 3 units) and (2, 3 units), or (3 units,) without reset_after.
        kernel_regularizer, recurrent_regularizer, bias_regularizer, activity_regularizer: None by default.
        kernel_constraint, recurrent_constraint, bias_constraint: None by default.
        dropout, recurrent_dropout: the share of inputs and of h that training drops, 0 by default, with one
            mask for all gates and all steps of a sequence. What is dropped of h is missing in the products
            with U alone: h_t still takes all of h_{t-1}.
        seed: of the dropout; None, the default: from `tdfast.random`.
        return_sequences: the output of every step, (batch, time, units), instead of the last alone;
            False by default, as are the five that follow.
        return_state: return [output, h].
        go_backwards: start at the last step; outputs come in the order they were made.
        stateful: begin each batch with the state that the one before left.
        unroll: accepted and without effect.
        zero_output_for_mask: a masked step's output is 0 instead of the output before it.
        reset_after: apply the reset gate after the recurrent product, as cuDNN does, or before it; True by
            default.
        use_cudnn: 'auto' or False; True is a ValueError.

    Call: ``layer(x, initial_state=None, training=False, mask=None)`` with x of shape (batch, time,
    features), initial_state h of shape (batch, units), and mask (batch, time), False where a step is to
    be skipped.

    >>> import numpy as np
    >>> layer = GRU(32, return_sequences=True)
    >>> layer(np.zeros((50, 64, 15))).shape
    (50, 64, 32)
    >>> [w.shape for w in layer.weights]
    [(15, 96), (32, 96), (2, 96)]
    """

    cell_name = "gru_cell"

    def __init__(
        self,
        units: int,
        activation: ActivationSpec = "tanh",
        recurrent_activation: ActivationSpec = "sigmoid",
        use_bias: bool = True,
        kernel_initializer: InitializerSpec = "glorot_uniform",
        recurrent_initializer: InitializerSpec = "orthogonal",
        bias_initializer: InitializerSpec = "zeros",
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
        reset_after: bool = True,
        use_cudnn: bool | str = "auto",
        *,
        zero_output_for_mask: bool = False,
        **kwargs: Any,
    ) -> None:
        super().__init__(
            units, activation, recurrent_activation, use_bias, kernel_initializer, recurrent_initializer,
            bias_initializer, kernel_regularizer=kernel_regularizer,
            recurrent_regularizer=recurrent_regularizer, bias_regularizer=bias_regularizer,
            activity_regularizer=activity_regularizer, kernel_constraint=kernel_constraint,
            recurrent_constraint=recurrent_constraint, bias_constraint=bias_constraint, dropout=dropout,
            recurrent_dropout=recurrent_dropout, seed=seed, return_sequences=return_sequences,
            return_state=return_state, go_backwards=go_backwards, stateful=stateful, unroll=unroll,
            reset_after=reset_after, use_cudnn=use_cudnn, zero_output_for_mask=zero_output_for_mask,
            **kwargs,
        )


class GRUCell(BuiltInCell, GRUWeights):
    """One step of a `GRU`: ``h, [h] = cell(x, [h])``.

    Formula, weights and defaults are those of `GRU`; see also
    https://keras.io/api/layers/recurrent_layers/gru_cell/.

    Args:
        units: size of h.
        activation, recurrent_activation, use_bias, kernel_initializer, recurrent_initializer,
            bias_initializer, kernel_regularizer, recurrent_regularizer, bias_regularizer, kernel_constraint,
            recurrent_constraint, bias_constraint, reset_after, seed: as in `GRU`.
        dropout, recurrent_dropout: as in `LSTMCell`.

    >>> import numpy as np
    >>> cell = GRUCell(4)
    >>> cell(np.zeros((2, 3)), cell.get_initial_state(2))[0].shape
    (2, 4)
    """

    over_time = GRU

    def __init__(
        self,
        units: int,
        activation: ActivationSpec = "tanh",
        recurrent_activation: ActivationSpec = "sigmoid",
        use_bias: bool = True,
        kernel_initializer: InitializerSpec = "glorot_uniform",
        recurrent_initializer: InitializerSpec = "orthogonal",
        bias_initializer: InitializerSpec = "zeros",
        kernel_regularizer: RegularizerSpec = None,
        recurrent_regularizer: RegularizerSpec = None,
        bias_regularizer: RegularizerSpec = None,
        kernel_constraint: ConstraintSpec = None,
        recurrent_constraint: ConstraintSpec = None,
        bias_constraint: ConstraintSpec = None,
        dropout: float = 0.0,
        recurrent_dropout: float = 0.0,
        reset_after: bool = True,
        seed: Seed = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(
            units, activation, recurrent_activation, use_bias, kernel_initializer, recurrent_initializer,
            bias_initializer, kernel_regularizer=kernel_regularizer,
            recurrent_regularizer=recurrent_regularizer, bias_regularizer=bias_regularizer,
            kernel_constraint=kernel_constraint, recurrent_constraint=recurrent_constraint,
            bias_constraint=bias_constraint, dropout=dropout, recurrent_dropout=recurrent_dropout,
            reset_after=reset_after, seed=seed, **kwargs,
        )
