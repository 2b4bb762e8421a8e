"""Recurrent layers over whole sequences: LSTM, GRU and SimpleRNN."""

import numpy as np

from tdfast import _kernels, activations, constraints, initializers, random, regularizers
from tdfast.arrays import as_array
from tdfast.layers.base import Layer
from tdfast.layers.core import positive_int, weight_config
from tdfast.layers.masked import MaskedRows


class Recurrent(Layer):
    """What the recurrent layers share: options, shapes, states, dropout, passes and configuration.

    A subclass sets ``cell``, ``n_states`` and ``gates``, and names its kernel with ``cell_kind``.
    """

    cell = "simple_rnn_cell"
    n_states = 1
    gates = 1
    cell_kind = _kernels.SIMPLE_RNN

    def __init__(
        self,
        units,
        activation,
        recurrent_activation,
        use_bias,
        kernel_initializer,
        recurrent_initializer,
        bias_initializer,
        kernel_regularizer=None,
        recurrent_regularizer=None,
        bias_regularizer=None,
        activity_regularizer=None,
        kernel_constraint=None,
        recurrent_constraint=None,
        bias_constraint=None,
        dropout=0.0,
        recurrent_dropout=0.0,
        seed=None,
        return_sequences=False,
        return_state=False,
        go_backwards=False,
        stateful=False,
        unroll=False,
        zero_output_for_mask=False,
        **kwargs,
    ):
        implementation = kwargs.pop("implementation", 2)
        if self.gates > 1:
            use_cudnn = kwargs.pop("use_cudnn", "auto")
        super().__init__(activity_regularizer=activity_regularizer, **kwargs)
        if self.gates > 1 and use_cudnn is True:
            raise ValueError(f"Layer '{self.name}': use_cudnn=True is not possible, tdfast computes on the CPU.")
        if implementation not in (0, 1, 2):     # Keras's ways to the same numbers; here there is one
            raise ValueError(f"Layer '{self.name}': implementation must be 1 or 2, got {implementation!r}.")
        self.units = positive_int(units, "units", self)
        self.activation = activations.get(activation)
        if self.gates > 1:
            self.recurrent_activation = activations.get(recurrent_activation)
        self.use_bias = bool(use_bias)
        self.kernel_initializer = initializers.get(kernel_initializer)
        self.recurrent_initializer = initializers.get(recurrent_initializer)
        self.bias_initializer = initializers.get(bias_initializer)
        self.kernel_regularizer = regularizers.get(kernel_regularizer)
        self.recurrent_regularizer = regularizers.get(recurrent_regularizer)
        self.bias_regularizer = regularizers.get(bias_regularizer)
        self.kernel_constraint = constraints.get(kernel_constraint)
        self.recurrent_constraint = constraints.get(recurrent_constraint)
        self.bias_constraint = constraints.get(bias_constraint)
        self.dropout = self._rate(dropout, "dropout")
        self.recurrent_dropout = self._rate(recurrent_dropout, "recurrent_dropout")
        self.seed = seed
        self.seed_generator = random.SeedGenerator(seed)
        self.return_sequences = bool(return_sequences)
        self.return_state = bool(return_state)
        self.go_backwards = bool(go_backwards)
        self.stateful = bool(stateful)
        self.unroll = bool(unroll)
        self.zero_output_for_mask = bool(zero_output_for_mask)
        self.states = None
        """With stateful: what the last call left, one array (batch, units) a state."""
        self.kernel = self.recurrent_kernel = self.bias = None

    def _rate(self, value, what):
        value = float(value)
        if not 0 <= value <= 1:
            raise ValueError(f"Layer '{self.name}': {what} must be between 0 and 1, got {value}.")
        return value

    # ---------------------------------------------------------------- shapes and weights
    def check_input_shape(self, input_shape):
        if len(input_shape) != 3 or input_shape[-1] is None:
            raise ValueError(
                f"Layer '{self.name}' ({type(self).__name__}) expects input of shape (batch, time, features), "
                f"got {tuple(input_shape)}."
                + (" Add the time axis: x[:, :, None] for one feature a step." if len(input_shape) == 2 else "")
            )
        if self.built and input_shape[-1] != self.kernel.shape[0]:
            raise ValueError(
                f"Layer '{self.name}' ({type(self).__name__}) was built for {self.kernel.shape[0]} features a step, "
                f"but got input of shape {tuple(input_shape)}."
            )
        if input_shape[1] == 0:
            raise ValueError(f"Layer '{self.name}' ({type(self).__name__}) needs at least one time step, got none.")

    def build(self, input_shape):
        cell, width = self.cell, self.gates * self.units
        self.kernel = self.add_weight(
            (input_shape[-1], width), self.kernel_initializer, "kernel",
            regularizer=self.kernel_regularizer, constraint=self.kernel_constraint, path=f"{cell}/kernel",
        )
        self.recurrent_kernel = self.add_weight(
            (self.units, width), self.recurrent_initializer, "recurrent_kernel",
            regularizer=self.recurrent_regularizer, constraint=self.recurrent_constraint,
            path=f"{cell}/recurrent_kernel",
        )
        if self.use_bias:
            self.bias = self.add_weight(
                self.bias_shape(width), self.first_bias, "bias",
                regularizer=self.bias_regularizer, constraint=self.bias_constraint, path=f"{cell}/bias",
            )

    def bias_shape(self, width):
        return (width,)

    def first_bias(self, shape, dtype):
        """The bias to begin with."""
        return self.bias_initializer(shape, dtype=dtype)

    def compute_output_shape(self, input_shape):
        batch, time = input_shape[:2]
        y = (batch, time, self.units) if self.return_sequences else (batch, self.units)
        return [y] + [(batch, self.units)] * self.n_states if self.return_state else y

    def compute_mask(self, inputs, mask=None):
        mask = mask if self.return_sequences else None
        return [mask] + [None] * self.n_states if self.return_state else mask

    # ---------------------------------------------------------------- states
    def reset_state(self):
        """With stateful: the next call starts from zeros."""
        self.states = None

    reset_states = reset_state

    def __call__(self, x, initial_state=None, training=False, mask=None):
        return super().__call__(x, training=training, mask=mask, initial_state=initial_state)

    def first_states(self, initial_state, batch, dtype):
        """The states to begin with, or as many None (zeros)."""
        if initial_state is None:
            if self.states is None:
                return [None] * self.n_states
            if self.states[0].shape[0] != batch:
                raise ValueError(
                    f"Layer '{self.name}' is stateful: its state is of a batch of {self.states[0].shape[0]}, but "
                    f"this batch has {batch} rows. Use one batch_size that divides the number of samples, or call "
                    "reset_states() first."
                )
            return self.states
        given = list(initial_state) if isinstance(initial_state, (list, tuple)) else [initial_state]
        want = (batch, self.units)
        if len(given) != self.n_states or any(np.shape(s) != want for s in given):
            raise ValueError(
                f"Layer '{self.name}' ({type(self).__name__}): initial_state must be {self.n_states} array(s) of "
                f"shape {want}, got {len(given)} of shape {[np.shape(s) for s in given]}."
            )
        return [as_array(s, dtype, f"initial_state of layer '{self.name}'") for s in given]

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
    def activation_kinds(self):
        return self.activation.kind, self.recurrent_activation.kind if self.gates > 1 else 0

    def forward(self, x, tape, training=False, mask=None, initial_state=None):
        rec = tape.push(self)
        cell, (act, rec_act) = self.cell_kind, self.activation_kinds()
        H, dtype = self.units, x.dtype
        B, T, I = x.shape
        sequences = self.return_sequences
        given = initial_state is not None
        states = self.first_states(initial_state, B, dtype) if given or self.stateful else [None] * self.n_states
        if training and self.dropout:
            x = self.drop_inputs(x, rec)
        factors = self.recurrent_factors(rec, B, dtype) if training and self.recurrent_dropout else None
        rows = MaskedRows(mask, self.go_backwards)
        x, factors = rows.sort(rec, "x", x), rows.sort(rec, "recurrent_drop", factors)
        states = [rows.sort(rec, f"state {i}", s) for i, s in enumerate(states)]

        packed = rec.buffer("packed", (_kernels.rnn_pack_size(cell, I, H),), dtype)
        if not rec.is_packed(tape):
            bias = self.bias.value if self.use_bias else None
            _kernels.rnn_pack(cell, I, H, self.kernel.value, self.recurrent_kernel.value, bias, packed)
        tape_size, scratch_size, infer_size = _kernels.rnn_sizes(cell, B, T, I, H, act, rec_act)
        memory = None
        if tape.keep:
            memory = rec.buffer("tape", (tape_size,), dtype)
            scratch = rec.buffer("scratch", (scratch_size,), dtype)
            rec.memory, rec.masked, rec.factors, rec.given, rec.shape = memory, rows, factors, given, x.shape
            rec.dropped = training and self.dropout > 0
        else:
            scratch = rec.buffer("scratch", (infer_size,), dtype)
        y = rows.buffer(rec, "y", (B, T, H) if sequences else (B, H), dtype)
        keep = self.return_state or self.stateful
        last = [np.empty((B, H), dtype) if keep else None for _ in range(self.n_states)]
        _kernels.rnn_forward(
            cell, act, rec_act, sequences, self.go_backwards, self.zero_output_for_mask, B, T, I, H,
            x, rows.mask, *self.h_and_c(states), factors, packed, memory, scratch, y, *self.h_and_c(last),
        )
        y, last = rows.unsort(rec, "y", y), [rows.unsort(None, "", s) for s in last]
        if self.stateful:
            self.states = last
        return [y, *last] if self.return_state else y

    def backward(self, dy, tape, need_dx=True):
        """As `Layer.backward`; with return_state, dy is [dy, dh] (LSTM: [dy, dh, dc]), and with an initial_state
        the result is (dx, dh0) (LSTM: (dx, dh0, dc0))."""
        rec = tape.pop(self)
        cell, (act, rec_act) = self.cell_kind, self.activation_kinds()
        (B, T, I), rows = rec.shape, rec.masked
        H, dtype = self.units, rec.memory.dtype
        last = [None] * self.n_states
        if self.return_state:
            dy, *last = dy
        dy, last = rows.sort(rec, "dy", dy), [rows.sort(rec, f"dlast {i}", s) for i, s in enumerate(last)]
        dx = rows.buffer(rec, "dx", rec.shape, dtype) if need_dx else None
        first = [np.empty((B, H), dtype) if rec.given else None for _ in range(self.n_states)]
        scratch = rec.buffer("scratch", (_kernels.rnn_sizes(cell, B, T, I, H, act, rec_act)[1],), dtype)
        _kernels.rnn_backward(
            cell, act, rec_act, self.return_sequences, self.go_backwards, self.zero_output_for_mask, B, T, I, H,
            rows.mask, rows.valid, rec.factors, self.kernel.value, self.recurrent_kernel.value, rec.memory, scratch,
            dy, *self.h_and_c(last), dx, self.kernel.grad, self.recurrent_kernel.grad,
            self.bias.grad if self.use_bias else None, *self.h_and_c(first),
        )
        dx, first = rows.unsort(rec, "dx", dx), [rows.unsort(None, "", s) for s in first]
        if need_dx and rec.dropped:
            np.multiply(dx, rec.input_drop, out=dx)
        return (dx, *first) if rec.given else dx

    def h_and_c(self, states):
        """The states of any cell as the kernels take them."""
        return states if self.n_states == 2 else (states[0], None)

    def add_to_stream(self, stream, x):
        if self.go_backwards or self.return_state:
            option = "go_backwards" if self.go_backwards else "return_state"
            raise ValueError(f"Layer '{self.name}' has {option}=True, so the model cannot be streamed.")
        (B, I), H = x.shape, self.units
        cell, (act, rec_act) = self.cell_kind, self.activation_kinds()
        packed = stream.array((_kernels.rnn_pack_size(cell, I, H),))
        bias = self.bias.value if self.use_bias else None
        _kernels.rnn_pack(cell, I, H, self.kernel.value, self.recurrent_kernel.value, bias, packed)
        states = stream.add_states((B, H), self.n_states)
        scratch = stream.array((_kernels.rnn_sizes(cell, B, 1, I, H, act, rec_act)[2],))
        y = stream.array((B, H))
        stream.kernels.rnn(cell, act, rec_act, B, I, H, x, packed, *self.h_and_c(states), scratch, y)
        return y

    def get_config(self):
        weights = ("kernel", "recurrent", "bias")
        gated = {"recurrent_activation": activations.serialize(self.recurrent_activation)} if self.gates > 1 else {}
        return {
            **super().get_config(),
            "return_sequences": self.return_sequences,
            "return_state": self.return_state,
            "go_backwards": self.go_backwards,
            "stateful": self.stateful,
            "unroll": self.unroll,
            "zero_output_for_mask": self.zero_output_for_mask,
            "units": self.units,
            "activation": activations.serialize(self.activation),
            **gated,
            "use_bias": self.use_bias,
            **weight_config(self, weights, ("initializer",)),
            **weight_config(self, weights, ("regularizer",)),
            "activity_regularizer": regularizers.serialize(self.activity_regularizer),
            **weight_config(self, weights, ("constraint",)),
            "dropout": self.dropout,
            "recurrent_dropout": self.recurrent_dropout,
            "seed": self.seed,
        }


class LSTM(Recurrent):
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

    cell = "lstm_cell"
    n_states = 2
    gates = 4
    cell_kind = _kernels.LSTM

    def __init__(self, units, activation="tanh", recurrent_activation="sigmoid", use_bias=True,
                 kernel_initializer="glorot_uniform", recurrent_initializer="orthogonal", bias_initializer="zeros",
                 unit_forget_bias=True, **kwargs):
        super().__init__(units, activation, recurrent_activation, use_bias, kernel_initializer,
                         recurrent_initializer, bias_initializer, **kwargs)
        self.unit_forget_bias = bool(unit_forget_bias)

    def first_bias(self, shape, dtype):
        if not self.unit_forget_bias:
            return self.bias_initializer(shape, dtype=dtype)
        H = self.units
        parts = [self.bias_initializer((H,), dtype=dtype), np.ones(H, dtype)]
        return np.concatenate([*parts, self.bias_initializer((2 * H,), dtype=dtype)])

    def get_config(self):
        return {**super().get_config(), "unit_forget_bias": self.unit_forget_bias}


class GRU(Recurrent):
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

    cell = "gru_cell"
    gates = 3

    def __init__(self, units, activation="tanh", recurrent_activation="sigmoid", use_bias=True,
                 kernel_initializer="glorot_uniform", recurrent_initializer="orthogonal", bias_initializer="zeros",
                 *, reset_after=True, **kwargs):
        super().__init__(units, activation, recurrent_activation, use_bias, kernel_initializer,
                         recurrent_initializer, bias_initializer, **kwargs)
        self.reset_after = bool(reset_after)

    @property
    def cell_kind(self):
        return _kernels.GRU if self.reset_after else _kernels.GRU_RESET_BEFORE

    def bias_shape(self, width):
        return (2, width) if self.reset_after else (width,)

    def get_config(self):
        return {**super().get_config(), "reset_after": self.reset_after}


class SimpleRNN(Recurrent):
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

    def __init__(self, units, activation="tanh", use_bias=True, kernel_initializer="glorot_uniform",
                 recurrent_initializer="orthogonal", bias_initializer="zeros", **kwargs):
        super().__init__(units, activation, None, use_bias, kernel_initializer, recurrent_initializer,
                         bias_initializer, **kwargs)
