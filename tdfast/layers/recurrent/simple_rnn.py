"""SimpleRNN over whole sequences, and its cell."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from tdfast.layers.recurrent.base import GateWeights, Recurrent
from tdfast.layers.recurrent.cells import BuiltInCell

if TYPE_CHECKING:
    from tdfast.engine.types import ActivationSpec, Config, InitializerSpec


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
        use_bias: whether there is a bias.
        kernel_initializer, recurrent_initializer, bias_initializer: of the weights, (features, units),
            (units, units) and (units,).
        kernel_regularizer, recurrent_regularizer, bias_regularizer, activity_regularizer: or None.
        kernel_constraint, recurrent_constraint, bias_constraint: or None.
        dropout, recurrent_dropout: the share of inputs and of h that training drops, with one mask
            for all steps of a sequence.
        seed: of the dropout.
        return_sequences: the output of every step, (batch, time, units), instead of the last alone.
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
