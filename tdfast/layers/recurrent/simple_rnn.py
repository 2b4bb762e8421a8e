"""SimpleRNN over whole sequences, and its cell."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from tdfast.layers.recurrent.base import GateWeights, Recurrent
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


class SimpleRNNWeights(GateWeights):
    """Those of a SimpleRNN: no gates, and the state h."""

    def __init__(self, units: int, activation: ActivationSpec = "tanh", use_bias: bool = True,
                 kernel_initializer: InitializerSpec = "glorot_uniform",
                 recurrent_initializer: InitializerSpec = "orthogonal",
                 bias_initializer: InitializerSpec = "zeros", **kwargs: Any) -> None:
        super().__init__(units, activation, None, use_bias, kernel_initializer, recurrent_initializer,
                         bias_initializer, **kwargs)

    def get_config(self) -> Config:
        config = super().get_config()
        if self.cell_name:
            del config["seed"]      # Keras's layer leaves it out, its cell does not
        return config


class SimpleRNN(SimpleRNNWeights, Recurrent):
    """A recurrent network whose state is its output, over a whole sequence.

    With a = activation, W the kernel, U the recurrent kernel::

        h_t = a(x_t W + h_{t-1} U + b)

    Elman 1990. Names and defaults are those of
    https://keras.io/api/layers/recurrent_layers/simple_rnn/.

    Args:
        units: size of h.
        activation: of the state.
        use_bias: whether there is a bias; True by default.
        kernel_initializer, recurrent_initializer, bias_initializer: of the weights, (features, units),
            (units, units) and (units,).
        kernel_regularizer, recurrent_regularizer, bias_regularizer, activity_regularizer: None by default.
        kernel_constraint, recurrent_constraint, bias_constraint: None by default.
        dropout, recurrent_dropout: the share of inputs and of h that training drops, 0 by default, with one
            mask for all steps of a sequence.
        seed: of the dropout; None, the default: from `tdfast.random`.
        return_sequences: the output of every step, (batch, time, units), instead of the last alone;
            False by default, as are the five that follow.
        return_state: return [output, h].
        go_backwards: start at the last step; outputs come in the order they were made.
        stateful: begin each batch with the state that the one before left.
        unroll: accepted and without effect.
        zero_output_for_mask: a masked step's output is 0 instead of the output before it.

    Call: ``layer(x, initial_state=None, training=False, mask=None)`` with x of shape (batch, time,
    features), initial_state h of shape (batch, units), and mask (batch, time), False where a step is to
    be skipped.

    >>> import numpy as np
    >>> layer = SimpleRNN(32, return_sequences=True)
    >>> layer(np.zeros((50, 64, 15))).shape
    (50, 64, 32)
    >>> [w.shape for w in layer.weights]
    [(15, 32), (32, 32), (32,)]
    """

    cell_name = "simple_rnn_cell"

    def __init__(
        self,
        units: int,
        activation: ActivationSpec = "tanh",
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
        return_sequences: bool = False,
        return_state: bool = False,
        go_backwards: bool = False,
        stateful: bool = False,
        unroll: bool = False,
        seed: Seed = None,
        *,
        zero_output_for_mask: bool = False,
        **kwargs: Any,
    ) -> None:
        super().__init__(
            units, activation, use_bias, kernel_initializer, recurrent_initializer, bias_initializer,
            kernel_regularizer=kernel_regularizer, recurrent_regularizer=recurrent_regularizer,
            bias_regularizer=bias_regularizer, activity_regularizer=activity_regularizer,
            kernel_constraint=kernel_constraint, recurrent_constraint=recurrent_constraint,
            bias_constraint=bias_constraint, dropout=dropout, recurrent_dropout=recurrent_dropout,
            return_sequences=return_sequences, return_state=return_state, go_backwards=go_backwards,
            stateful=stateful, unroll=unroll, seed=seed, zero_output_for_mask=zero_output_for_mask,
            **kwargs,
        )


class SimpleRNNCell(BuiltInCell, SimpleRNNWeights):
    """One step of a `SimpleRNN`: ``h, [h] = cell(x, [h])``.

    Formula, weights and defaults are those of `SimpleRNN`; see also
    https://keras.io/api/layers/recurrent_layers/simple_rnn_cell/.

    Args:
        units: size of h.
        activation, use_bias, kernel_initializer, recurrent_initializer, bias_initializer, kernel_regularizer,
            recurrent_regularizer, bias_regularizer, kernel_constraint, recurrent_constraint,
            bias_constraint, seed: as in `SimpleRNN`.
        dropout, recurrent_dropout: as in `LSTMCell`.

    >>> import numpy as np
    >>> cell = SimpleRNNCell(4)
    >>> cell(np.zeros((2, 3)), cell.get_initial_state(2))[0].shape
    (2, 4)
    """

    over_time = SimpleRNN

    def __init__(
        self,
        units: int,
        activation: ActivationSpec = "tanh",
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
        seed: Seed = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(
            units, activation, use_bias, kernel_initializer, recurrent_initializer, bias_initializer,
            kernel_regularizer=kernel_regularizer, recurrent_regularizer=recurrent_regularizer,
            bias_regularizer=bias_regularizer, kernel_constraint=kernel_constraint,
            recurrent_constraint=recurrent_constraint, bias_constraint=bias_constraint, dropout=dropout,
            recurrent_dropout=recurrent_dropout, seed=seed, **kwargs,
        )
