"""Recurrent layers over whole sequences: LSTM, GRU and SimpleRNN."""

import numpy as np

from tdfast import _kernels, random
from tdfast.layers.recurrent.gates import GRUWeights, LSTMWeights, SimpleRNNWeights
from tdfast.layers.recurrent.loops import NO_TIME_AXIS, Loop
from tdfast.layers.recurrent.packed import PackedSteps


class Recurrent(Loop):
    """What the recurrent layers share over their weights (see `GateWeights`): shapes, states, dropout and passes."""

    def __init__(self, **kwargs):
        use_cudnn = kwargs.pop("use_cudnn", "auto") if self.gates > 1 else "auto"
        super().__init__(**kwargs)
        if use_cudnn is True:
            raise ValueError(f"Layer '{self.name}': use_cudnn=True is not possible, tdfast computes on the CPU.")

    # ---------------------------------------------------------------- shapes
    def check_input_shape(self, input_shape):
        if len(input_shape) != 3 or input_shape[-1] is None:
            raise ValueError(
                f"Layer '{self.name}' ({type(self).__name__}) expects input of shape (batch, time, features), "
                f"got {tuple(input_shape)}."
                + (NO_TIME_AXIS if len(input_shape) == 2 else "")
            )
        if self.built and input_shape[-1] != self.kernel.shape[0]:
            raise ValueError(
                f"Layer '{self.name}' ({type(self).__name__}) was built for {self.kernel.shape[0]} features a step, "
                f"but got input of shape {tuple(input_shape)}."
            )
        if input_shape[1] == 0:
            raise ValueError(f"Layer '{self.name}' ({type(self).__name__}) needs at least one time step, got none.")

    def compute_output_shape(self, input_shape):
        batch, time = input_shape[:2]
        y = (batch, time, self.units) if self.return_sequences else (batch, self.units)
        return [y] + [(batch, self.units)] * self.n_states if self.return_state else y

    def state_shapes(self, input_shape):
        return [(input_shape[0], self.units)] * self.n_states

    # ---------------------------------------------------------------- dropout
    def drop_inputs(self, x, rec):
        """x times one random mask for a sequence, the same at every step (Gal & Ghahramani 2016)."""
        B, _, I = x.shape
        rec.input_drop = rec.buffer("input_drop", (B, 1, I), x.dtype)
        random.dropout_factors(rec.input_drop, self.dropout, self.seed_generator)
        return np.multiply(x, rec.input_drop, out=rec.buffer("dropped", x.shape, x.dtype))

    def recurrent_factors(self, rec, batch, dtype):
        """The factors on h before the recurrent product: one random mask for a sequence."""
        factors = rec.buffer("recurrent_drop", (batch, self.units), dtype)
        return random.dropout_factors(factors, self.recurrent_dropout, self.seed_generator)

    # ---------------------------------------------------------------- passes
    @property
    def can_be_packed(self):
        """Whether the mask that comes in is that of the outputs, which `forward` can then give of valid steps alone."""
        return self.return_sequences and not self.go_backwards and not self.return_state

    def activation_kinds(self):
        """The numbers of the two activations, as kernels know them."""
        return self.activation.kind, self.recurrent_activation.kind if self.gates > 1 else 0

    def forward(self, x, tape, training=False, mask=None, initial_state=None, packed=False):
        """As `Layer.forward`. With ``packed`` and a mask that leaves steps out the output is (1, steps, units), of the
        others alone, in the order of the record's ``valid``, and so is dy in `backward`: see `tdfast.training.packing`."""
        rec = tape.push(self)
        cell, acts = self.cell_kind, self.activation_kinds()
        sizes = B, T, I, H = *x.shape, self.units
        dtype = x.dtype
        sequences = self.return_sequences
        given = initial_state is not None
        states = self.first_states(initial_state, x.shape, dtype) if given or self.stateful else [None] * self.n_states
        if training and self.dropout:
            x = self.drop_inputs(x, rec)
        factors = self.recurrent_factors(rec, B, dtype) if training and self.recurrent_dropout else None
        rec.valid = valid = PackedSteps(mask, self.go_backwards)
        rec.packed = packed and valid.lists is not None

        weights = rec.buffer("packed", (_kernels.rnn_pack_size(cell, I, H),), dtype)
        if not rec.is_packed(tape):
            bias = self.bias.value if self.use_bias else None
            _kernels.rnn_pack(cell, I, H, kernel=self.kernel.value, recurrent=self.recurrent_kernel.value,
                              bias=bias, packed=weights)
        tape_size, scratch_size, infer_size = _kernels.rnn_sizes(cell, sizes, acts)
        memory = None
        if tape.keep:
            memory = rec.buffer("tape", (tape_size,), dtype)
            scratch = rec.buffer("scratch", (scratch_size,), dtype)
            rec.memory, rec.factors, rec.given, rec.shape = memory, factors, given, x.shape
            rec.dropped = training and self.dropout > 0
        else:
            scratch = rec.buffer("scratch", (infer_size,), dtype)
        y = rec.buffer("y", (1, len(valid), H) if rec.packed else (B, T, H) if sequences else (B, H), dtype)
        keep = self.return_state or self.stateful
        last = [np.empty((B, H), dtype) if keep else None for _ in range(self.n_states)]
        _kernels.rnn_forward(
            cell, sizes, acts=acts, sequences=sequences, reverse=self.go_backwards,
            mask_zero_output=self.zero_output_for_mask, x=x, steps=valid.lists, compact=rec.packed,
            first=self.h_and_c(states), rec_drop=factors, packed=weights, tape=memory, scratch=scratch, y=y,
            last=self.h_and_c(last),
        )
        if self.stateful:
            self.states = last
        return [y, *last] if self.return_state else y

    def backward(self, dy, tape, need_dx=True):
        """As `Layer.backward`; with return_state, dy is [dy, dh] (LSTM: [dy, dh, dc]), and with an initial_state
        the result is (dx, dh0) (LSTM: (dx, dh0, dc0))."""
        rec = tape.pop(self)
        cell, acts, dtype = self.cell_kind, self.activation_kinds(), rec.memory.dtype
        sizes = B, _, _, H = *rec.shape, self.units
        last = [None] * self.n_states
        if self.return_state:
            dy, *last = dy
        dx = rec.buffer("dx", rec.shape, dtype) if need_dx else None
        first = [np.empty((B, H), dtype) if rec.given else None for _ in range(self.n_states)]
        scratch = rec.buffer("scratch", (_kernels.rnn_sizes(cell, sizes, acts)[1],), dtype)
        _kernels.rnn_backward(
            cell, sizes, acts=acts, sequences=self.return_sequences, reverse=self.go_backwards,
            mask_zero_output=self.zero_output_for_mask, steps=rec.valid.lists, compact=rec.packed,
            rec_drop=rec.factors, kernel=self.kernel.value, recurrent=self.recurrent_kernel.value, tape=rec.memory,
            scratch=scratch, dy=dy, dlast=self.h_and_c(last), dx=dx, dkernel=self.kernel.grad,
            drecurrent=self.recurrent_kernel.grad, dbias=self.bias.grad if self.use_bias else None,
            dfirst=self.h_and_c(first),
        )
        if need_dx and rec.dropped:
            np.multiply(dx, rec.input_drop, out=dx)
        return (dx, *first) if rec.given else dx

    def h_and_c(self, states):
        """The states of any cell as the kernels take them."""
        return tuple(states) if self.n_states == 2 else (states[0], None)

    def add_to_stream(self, stream, x):
        if self.go_backwards or self.return_state:
            option = "go_backwards" if self.go_backwards else "return_state"
            raise ValueError(f"Layer '{self.name}' has {option}=True, so the model cannot be streamed.")
        (B, I), H = x.shape, self.units
        cell, sizes, acts = self.cell_kind, (B, 1, I, H), self.activation_kinds()
        packed = stream.array((_kernels.rnn_pack_size(cell, I, H),))
        bias = self.bias.value if self.use_bias else None
        _kernels.rnn_pack(cell, I, H, kernel=self.kernel.value, recurrent=self.recurrent_kernel.value, bias=bias,
                          packed=packed)
        states = stream.add_states((B, H), self.n_states)
        scratch = stream.array((_kernels.rnn_sizes(cell, sizes, acts)[2],))
        y = stream.array((B, H))
        h, c = self.h_and_c(states)
        stream.kernels.rnn(cell, sizes, acts=acts, x=x, packed=packed, h=h, c=c, scratch=scratch, y=y)
        return y


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
        use_bias: whether there is a bias.
        kernel_initializer, recurrent_initializer, bias_initializer: of the weights, (features,
            4 units), (units, 4 units) and (4 units,).
        unit_forget_bias: start the forget gate's bias at 1.
        kernel_regularizer, recurrent_regularizer, bias_regularizer, activity_regularizer: or None.
        kernel_constraint, recurrent_constraint, bias_constraint: or None.
        dropout, recurrent_dropout: the share of inputs and of h that training drops, with one mask
            for all steps of a sequence.
        seed: of the dropout.
        return_sequences: the output of every step, (batch, time, units), instead of the last alone.
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


class GRU(GRUWeights, Recurrent):
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
        use_bias: whether there is a bias.
        kernel_initializer, recurrent_initializer, bias_initializer: of the weights, (features,
            3 units), (units, 3 units) and (2, 3 units), or (3 units,) without reset_after.
        kernel_regularizer, recurrent_regularizer, bias_regularizer, activity_regularizer: or None.
        kernel_constraint, recurrent_constraint, bias_constraint: or None.
        dropout, recurrent_dropout: the share of inputs and of h that training drops, with one mask
            for all gates and all steps of a sequence. What is dropped of h is missing in the products with
            U alone: h_t still takes all of h_{t-1}.
        seed: of the dropout.
        return_sequences: the output of every step, (batch, time, units), instead of the last alone.
        return_state: return [output, h].
        go_backwards: start at the last step; outputs come in the order they were made.
        stateful: begin each batch with the state that the one before left.
        unroll: accepted and without effect.
        zero_output_for_mask: a masked step's output is 0 instead of the output before it.
        reset_after: apply the reset gate after the recurrent product, as cuDNN does, or before it.
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
