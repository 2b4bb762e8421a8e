"""What LSTM, GRU and SimpleRNN share: the weights of their gates, and a whole sequence by one kernel."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from tdfast import _kernels, activations, constraints, initializers, random, regularizers
from tdfast.engine.arrays import multiply
from tdfast.engine.layer import Layer
from tdfast.layers.core import positive_int, weight_config
from tdfast.layers.recurrent.loops import Loop, about_axes
from tdfast.layers.recurrent.packed import PackedSteps

if TYPE_CHECKING:
    from numpy.typing import DTypeLike

    from tdfast.engine.tape import Record, Tape
    from tdfast.engine.types import (
        ActivationSpec,
        Array,
        Arrays,
        Config,
        ConstraintSpec,
        InitializerSpec,
        Masks,
        RegularizerSpec,
        Seed,
        Shapes,
        Sizes,
    )
    from tdfast.random import SeedGenerator

WEIGHTS = ("kernel", "recurrent", "bias")
NO_STATES: Any = (None, None)


class GateWeights(Layer):
    """A kernel on the inputs, a recurrent kernel on h and a bias, each with one part a gate.

    A subclass names its kernels with ``cell_kind``, and sets ``gates`` and ``n_states`` as they have them.
    """

    n_states = 1
    cell_kind = _kernels.CELLS["simple_rnn"]
    gates = _kernels.rnn_gates(cell_kind)
    cell_name: Any = None
    """In a layer over a sequence, what stands for its cell in the weights' paths; None in a cell itself."""
    units_name = "units"
    """What the constructor calls its units."""

    def __init__(
        self,
        units: int,
        activation: ActivationSpec,
        recurrent_activation: ActivationSpec,
        use_bias: bool,
        kernel_initializer: InitializerSpec,
        recurrent_initializer: InitializerSpec,
        bias_initializer: InitializerSpec,
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
        implementation = kwargs.pop("implementation", 2)
        super().__init__(**kwargs)
        if implementation not in (0, 1, 2):     # Keras's ways to the same numbers; here there is one
            raise ValueError(f"Layer '{self.name}': implementation must be 1 or 2, got {implementation!r}.")
        self.units = positive_int(units, self.units_name, self)
        self.activation = activations.get(activation, own=False)
        if self.gates > 1:
            self.recurrent_activation = activations.get(recurrent_activation, own=False)
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
        self.kernel: Any = None
        self.recurrent_kernel: Any = None
        self.bias: Any = None

    def _rate(self, value: Any, what: str) -> float:
        value = float(value)
        if not 0 <= value <= 1:
            raise ValueError(f"Layer '{self.name}': {what} must be between 0 and 1, got {value}.")
        return value

    def build(self, input_shape: Shapes) -> None:
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

    def kernel_shapes(self, input_shape: Shapes) -> tuple[Any, ...]:
        """The shapes of kernel and recurrent_kernel."""
        width = self.gates * self.units
        return (input_shape[-1], width), (self.units, width)

    def bias_shape(self, width: int) -> tuple[Any, ...]:
        """The shape of the bias, for gates of this width together."""
        return (width,)

    def first_bias(self, shape: Sizes, dtype: DTypeLike) -> Array:
        """The bias to begin with."""
        return self.bias_initializer(shape, dtype=dtype)

    def size_config(self) -> dict[str, Any]:
        """The part of the config that says how large the layer is."""
        return {"units": self.units}

    def get_config(self) -> Config:
        gated = (
            {"recurrent_activation": activations.serialize(self.recurrent_activation)}
            if self.gates > 1
            else {}
        )
        activity = (
            {"activity_regularizer": regularizers.serialize(self.activity_regularizer)}
            if self.cell_name
            else {}
        )
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


def inserted(config: Config, after: str, **new: Any) -> dict[str, Any]:
    """A config with further entries behind that of the name ``after``."""
    out = {}
    for key, value in config.items():
        out[key] = value
        if key == after:
            out.update(new)
    return out


class Recurrent(Loop):
    """What the recurrent layers share over their weights (see `GateWeights`): shapes, states, dropout and
    passes."""

    if TYPE_CHECKING:                   # what `GateWeights` has
        activation: Any
        bias: Any
        cell_kind: int
        dropout: float
        gates: int
        kernel: Any
        recurrent_activation: Any
        recurrent_dropout: float
        recurrent_kernel: Any
        seed_generator: SeedGenerator
        units: int
        use_bias: bool

    def __init__(self, **kwargs: Any) -> None:
        use_cudnn = kwargs.pop("use_cudnn", "auto") if self.gates > 1 else "auto"
        super().__init__(**kwargs)
        if use_cudnn is True:
            raise ValueError(
                f"Layer '{self.name}': use_cudnn=True is not possible, tdfast computes on the CPU."
            )

    # ---------------------------------------------------------------- shapes
    def check_input_shape(self, input_shape: Shapes) -> None:
        if len(input_shape) != 3 or input_shape[-1] is None:
            raise ValueError(
                f"Layer '{self.name}' ({type(self).__name__}) expects input of shape (batch, time, "
                "features), "
                f"got {tuple(input_shape)}." + about_axes(input_shape)
            )
        if self.built and input_shape[-1] != self.kernel.shape[0]:
            raise ValueError(
                f"Layer '{self.name}' ({type(self).__name__}) was built for {self.kernel.shape[0]} features "
                "a step, "
                f"but got input of shape {tuple(input_shape)}."
            )
        if input_shape[1] == 0:
            raise ValueError(
                f"Layer '{self.name}' ({type(self).__name__}) needs at least one time step, got none."
            )

    def compute_output_shape(self, input_shape: Shapes) -> Shapes:
        batch, time = input_shape[:2]
        y = (batch, time, self.units) if self.return_sequences else (batch, self.units)
        return [y] + [(batch, self.units)] * self.n_states if self.return_state else y

    def state_shapes(self, input_shape: Shapes) -> list[Any]:
        return [(input_shape[0], self.units)] * self.n_states

    # ---------------------------------------------------------------- dropout
    def drop_inputs(self, x: Arrays, rec: Record) -> Any:
        """x times one random mask for a sequence, the same at every step (Gal & Ghahramani 2016)."""
        B, _, I = x.shape
        rec.input_drop = rec.buffer("input_drop", (B, 1, I), x.dtype)
        random.dropout_factors(rec.input_drop, self.dropout, self.seed_generator)
        return multiply(x, rec.input_drop, rec.buffer("dropped", x.shape, x.dtype))

    def recurrent_factors(self, rec: Record, batch: Any, dtype: DTypeLike) -> Any:
        """The factors on h before the recurrent product: one random mask for a sequence."""
        factors = rec.buffer("recurrent_drop", (batch, self.units), dtype)
        return random.dropout_factors(factors, self.recurrent_dropout, self.seed_generator)

    # ---------------------------------------------------------------- passes
    @property
    def can_be_packed(self) -> bool:
        """Whether the mask that comes in is that of the outputs, which `forward` can then give of valid steps
        alone."""
        return self.return_sequences and not self.go_backwards and not self.return_state

    def can_be_prepared(self, training: bool) -> bool:
        return not (self.stateful or self.return_state)

    def activation_kinds(self) -> tuple[Any, ...]:
        """The numbers of the two activations, as kernels know them."""
        return self.activation.kind, self.recurrent_activation.kind if self.gates > 1 else 0

    def forward(self, x: Arrays, tape: Tape, training: bool = False, mask: Masks = None,
                initial_state: Any = None, packed: bool = False) -> Arrays:
        """As `Layer.forward`. With ``packed`` and a mask that leaves steps out the output is (1, steps,
        units), of the others alone, in the order of the record's ``valid``, and so is dy in `backward`: see
        `tdfast.training.packing`."""
        rec = tape.push(self)
        cell, acts = self.cell_kind, self.activation_kinds()
        sizes = (*x.shape, self.units)
        B, T, I, H = sizes
        dtype = x.dtype
        sequences = self.return_sequences
        given = initial_state is not None
        states = NO_STATES
        if given or self.stateful:
            states = self.h_and_c(self.first_states(initial_state, x.shape, dtype))
        if training and self.dropout:
            x = self.drop_inputs(x, rec)
        factors = self.recurrent_factors(rec, B, dtype) if training and self.recurrent_dropout else None
        rec.valid = valid = PackedSteps(mask, self.go_backwards)
        rec.packed = packed and valid.lists is not None

        size = _kernels.rnn_pack_size(cell, I, H)
        weights, ready = rec.packed_weights(tape, self.kernel.value, (size,), dtype)
        if not ready:
            bias = self.bias.value if self.use_bias else None
            _kernels.rnn_pack(cell, I, H, kernel=self.kernel.value, recurrent=self.recurrent_kernel.value,
                              bias=bias, packed=weights)
        tape_size, scratch_size, infer_size = _kernels.rnn_sizes(cell, sizes, acts)
        memory = None
        if tape.keep:
            memory = rec.buffer("tape", (tape_size,), dtype)
            scratch = rec.buffer("scratch", (scratch_size,), dtype)
            rec.memory, rec.scratch, rec.factors = memory, scratch, factors
            rec.given, rec.shape = given, x.shape
            rec.dropped = training and self.dropout > 0
        else:
            scratch = rec.buffer("scratch", (infer_size,), dtype)
        y = rec.buffer("y", (1, len(valid), H) if rec.packed else (B, T, H) if sequences else (B, H), dtype)
        last = NO_STATES
        if self.return_state or self.stateful:
            last = [np.empty((B, H), dtype) for _ in range(self.n_states)]
        _kernels.rnn_forward(
            cell, sizes, acts=acts, sequences=sequences, reverse=self.go_backwards,
            mask_zero_output=self.zero_output_for_mask, x=x, steps=valid.lists, packed_steps=rec.packed,
            first=states, rec_drop=factors, packed=weights, tape=memory, scratch=scratch, y=y,
            last=self.h_and_c(last),
        )
        if self.stateful:
            self.states = last
        return [y, *last] if self.return_state else y

    def backward(self, dy: Arrays, tape: Tape, need_dx: bool = True) -> Arrays:
        """As `Layer.backward`; with return_state, dy is [dy, dh] (LSTM: [dy, dh, dc]), and with an
        initial_state the result is (dx, dh0) (LSTM: (dx, dh0, dc0))."""
        rec = tape.pop(self)
        dtype, sizes = rec.memory.dtype, (*rec.shape, self.units)
        last = first = NO_STATES
        if self.return_state:
            dy, *last = dy
        dx: Any = rec.buffer("dx", rec.shape, dtype) if need_dx else None
        if rec.given:
            first = [np.empty((sizes[0], self.units), dtype) for _ in range(self.n_states)]
        _kernels.rnn_backward(
            self.cell_kind, sizes, acts=self.activation_kinds(), sequences=self.return_sequences,
            reverse=self.go_backwards, mask_zero_output=self.zero_output_for_mask, steps=rec.valid.lists,
            packed_steps=rec.packed, rec_drop=rec.factors, kernel=self.kernel.value,
            recurrent=self.recurrent_kernel.value, tape=rec.memory, scratch=rec.scratch, dy=dy,
            dlast=self.h_and_c(last), dx=dx, dkernel=self.kernel.grad, drecurrent=self.recurrent_kernel.grad,
            dbias=self.bias.grad if self.use_bias else None, dfirst=self.h_and_c(first),
        )
        if need_dx and rec.dropped:
            multiply(dx, rec.input_drop, dx)
        return (dx, *first) if rec.given else dx

    def h_and_c(self, states: Any) -> tuple[Any, ...]:
        """The states of any cell as the kernels take them."""
        return tuple(states) if self.n_states == 2 else (states[0], None)
