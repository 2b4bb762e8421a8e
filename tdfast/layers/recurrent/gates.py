"""The options and weights of the built-in recurrent cells, which a cell and the layer over a sequence of it share."""

import numpy as np

from tdfast import _kernels, activations, constraints, initializers, random, regularizers
from tdfast.engine.layer import Layer
from tdfast.layers.core import positive_int, weight_config

WEIGHTS = ("kernel", "recurrent", "bias")


class GateWeights(Layer):
    """A kernel on the inputs, a recurrent kernel on h and a bias, each with one part a gate.

    A subclass names its kernels with ``cell_kind``, and sets ``gates`` and ``n_states`` as they have them.
    """

    n_states = 1
    cell_kind = _kernels.CELLS["simple_rnn"]
    gates = _kernels.rnn_gates(cell_kind)
    cell_name = None
    """In a layer over a sequence, what stands for its cell in the weights' paths; None in a cell itself."""
    units_name = "units"
    """What the constructor calls its units."""

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
        kernel_constraint=None,
        recurrent_constraint=None,
        bias_constraint=None,
        dropout=0.0,
        recurrent_dropout=0.0,
        seed=None,
        **kwargs,
    ):
        implementation = kwargs.pop("implementation", 2)
        super().__init__(**kwargs)
        if implementation not in (0, 1, 2):     # Keras's ways to the same numbers; here there is one
            raise ValueError(f"Layer '{self.name}': implementation must be 1 or 2, got {implementation!r}.")
        self.units = positive_int(units, self.units_name, self)
        self.activation = activations.get(activation)
        if self.gates > 1:
            self.recurrent_activation = activations.get(recurrent_activation)
        self.use_bias = self._flag(use_bias, "use_bias")
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
        self.kernel = self.recurrent_kernel = self.bias = None

    def _rate(self, value, what):
        value = float(value)
        if not 0 <= value <= 1:
            raise ValueError(f"Layer '{self.name}': {what} must be between 0 and 1, got {value}.")
        return value

    def build(self, input_shape):
        within = f"{self.cell_name}/" if self.cell_name else ""
        kernel, recurrent = self.kernel_shapes(input_shape)
        self.kernel = self.add_weight(
            kernel, self.kernel_initializer, "kernel",
            regularizer=self.kernel_regularizer, constraint=self.kernel_constraint, path=f"{within}kernel",
        )
        self.recurrent_kernel = self.add_weight(
            recurrent, self.recurrent_initializer, "recurrent_kernel",
            regularizer=self.recurrent_regularizer, constraint=self.recurrent_constraint,
            path=f"{within}recurrent_kernel",
        )
        if self.use_bias:
            self.bias = self.add_weight(
                self.bias_shape(self.gates * self.units), self.first_bias, "bias",
                regularizer=self.bias_regularizer, constraint=self.bias_constraint, path=f"{within}bias",
            )

    def kernel_shapes(self, input_shape):
        """The shapes of kernel and recurrent_kernel."""
        width = self.gates * self.units
        return (input_shape[-1], width), (self.units, width)

    def bias_shape(self, width):
        """The shape of the bias, for gates of this width together."""
        return (width,)

    def first_bias(self, shape, dtype):
        """The bias to begin with."""
        return self.bias_initializer(shape, dtype=dtype)

    def size_config(self):
        """The part of the config that says how large the layer is."""
        return {"units": self.units}

    def get_config(self):
        gated = {"recurrent_activation": activations.serialize(self.recurrent_activation)} if self.gates > 1 else {}
        activity = {"activity_regularizer": regularizers.serialize(self.activity_regularizer)} if self.cell_name else {}
        return {
            **super().get_config(),
            **self.size_config(),
            "activation": activations.serialize(self.activation),
            **gated,
            "use_bias": self.use_bias,
            **weight_config(self, WEIGHTS, ("initializer",)),
            **weight_config(self, WEIGHTS, ("regularizer",)),
            **activity,
            **weight_config(self, WEIGHTS, ("constraint",)),
            "dropout": self.dropout,
            "recurrent_dropout": self.recurrent_dropout,
            "seed": self.seed,
        }


def _inserted(config, after, **new):
    """A config with further entries behind that of the name ``after``."""
    out = {}
    for key, value in config.items():
        out[key] = value
        if key == after:
            out.update(new)
    return out


class LSTMWeights(GateWeights):
    """Those of an LSTM: gates i, f, c, o, and the states h and c."""

    n_states = 2
    cell_kind = _kernels.CELLS["lstm"]
    gates = _kernels.rnn_gates(cell_kind)

    def __init__(self, units, activation="tanh", recurrent_activation="sigmoid", use_bias=True,
                 kernel_initializer="glorot_uniform", recurrent_initializer="orthogonal", bias_initializer="zeros",
                 unit_forget_bias=True, **kwargs):
        super().__init__(units, activation, recurrent_activation, use_bias, kernel_initializer,
                         recurrent_initializer, bias_initializer, **kwargs)
        self.unit_forget_bias = self._flag(unit_forget_bias, "unit_forget_bias")

    def first_bias(self, shape, dtype):
        if not self.unit_forget_bias:
            return self.bias_initializer(shape, dtype=dtype)
        H = self.units
        parts = [self.bias_initializer((H,), dtype=dtype), np.ones(H, dtype)]
        return np.concatenate([*parts, self.bias_initializer((2 * H,), dtype=dtype)])

    def get_config(self):
        before = "bias_initializer" if self.cell_name else "use_bias"       # Keras's order
        return _inserted(super().get_config(), before, unit_forget_bias=self.unit_forget_bias)


class GRUWeights(GateWeights):
    """Those of a GRU: gates z, r, h, and the state h."""

    gates = _kernels.rnn_gates(_kernels.CELLS["gru"])

    def __init__(self, units, activation="tanh", recurrent_activation="sigmoid", use_bias=True,
                 kernel_initializer="glorot_uniform", recurrent_initializer="orthogonal", bias_initializer="zeros",
                 *, reset_after=True, **kwargs):
        super().__init__(units, activation, recurrent_activation, use_bias, kernel_initializer,
                         recurrent_initializer, bias_initializer, **kwargs)
        self.reset_after = self._flag(reset_after, "reset_after")

    @property
    def cell_kind(self):
        return _kernels.CELLS["gru" if self.reset_after else "gru_reset_before"]

    def bias_shape(self, width):
        return (2, width) if self.reset_after else (width,)

    def get_config(self):
        return _inserted(super().get_config(), "recurrent_dropout", reset_after=self.reset_after)


class SimpleRNNWeights(GateWeights):
    """Those of a SimpleRNN: no gates, and the state h."""

    def __init__(self, units, activation="tanh", use_bias=True, kernel_initializer="glorot_uniform",
                 recurrent_initializer="orthogonal", bias_initializer="zeros", **kwargs):
        super().__init__(units, activation, None, use_bias, kernel_initializer, recurrent_initializer,
                         bias_initializer, **kwargs)

    def get_config(self):
        config = super().get_config()
        if self.cell_name:
            del config["seed"]      # Keras's layer leaves it out, its cell does not
        return config
