"""Dense and Input."""

from __future__ import annotations

import math
import sys
import warnings
from typing import TYPE_CHECKING, Any

import numpy as np

from tdfast import _kernels, activations, constraints, initializers, regularizers
from tdfast.engine.arrays import as_array, as_contiguous, as_numbers
from tdfast.engine.graph import Node
from tdfast.engine.layer import Layer, standardize_dtype
from tdfast.engine.strings import as_strings
from tdfast.engine.tensor import SymbolicTensor

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import DTypeLike

    from tdfast.engine.tape import Tape
    from tdfast.engine.types import (
        ActivationSpec,
        Array,
        Arrays,
        Config,
        ConstraintSpec,
        DType,
        InitializerSpec,
        Masks,
        RegularizerSpec,
        Shape,
        Shapes,
    )


class Identity(Layer):
    """Returns its input.

    Source: https://keras.io/api/layers/core_layers/identity/.

    >>> Identity()([[1.0, 2.0]]).tolist()
    [[1.0, 2.0]]
    """

    built_at_once = True

    rowwise = True

    def can_be_prepared(self, training: bool) -> bool:
        return True

    def forward(self, x: Arrays, tape: Tape, training: bool = False, mask: Masks = None) -> Arrays:
        tape.push(self)
        return x

    def backward(self, dy: Arrays, tape: Tape, need_dx: bool = True) -> Arrays:
        tape.pop(self)
        return dy if need_dx else None


class Dense(Layer):
    """A fully connected layer on the last axis: ``y = activation(x kernel + bias)``.

    All axes before the last are rows of one matrix product, so on (batch, time, features) it is the
    same as `TimeDistributed` around it, and as fast. See https://keras.io/api/layers/core_layers/dense/.

    Args:
        units: features of the output, at least 1.
        activation: a name or object of `tdfast.activations`, also a `Function` of your own; None is linear.
        use_bias: whether there is a bias.
        kernel_initializer, bias_initializer: of the weights, (features, units) and (units,).
        kernel_regularizer, bias_regularizer, activity_regularizer: penalties, or None.
        kernel_constraint, bias_constraint: projections after each update, or None.
        quantization_config: None, as in Keras's configs; tdfast has no quantized weights.

    Input (batch, ..., features), output (batch, ..., units).

    >>> import numpy as np
    >>> Dense(8)(np.zeros((50, 64, 32))).shape
    (50, 64, 8)
    """

    rowwise = True

    per_step = True

    def __init__(
        self,
        units: int,
        activation: ActivationSpec = None,
        use_bias: bool = True,
        kernel_initializer: InitializerSpec = "glorot_uniform",
        bias_initializer: InitializerSpec = "zeros",
        kernel_regularizer: RegularizerSpec = None,
        bias_regularizer: RegularizerSpec = None,
        activity_regularizer: RegularizerSpec = None,
        kernel_constraint: ConstraintSpec = None,
        bias_constraint: ConstraintSpec = None,
        quantization_config: Any = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(activity_regularizer=activity_regularizer, **kwargs)
        no_quantization(quantization_config, self)
        self.units = positive_int(units, "units", self)
        self.activation = activations.get(activation, own=True)
        self.use_bias = self._flag(use_bias, "use_bias")
        self.kernel_initializer = initializers.get(kernel_initializer)
        self.bias_initializer = initializers.get(bias_initializer)
        self.kernel_regularizer = regularizers.get(kernel_regularizer)
        self.bias_regularizer = regularizers.get(bias_regularizer)
        self.kernel_constraint = constraints.get(kernel_constraint)
        self.bias_constraint = constraints.get(bias_constraint)
        self.kernel: Any = None
        self.bias: Any = None

    def check_input_shape(self, input_shape: Shapes) -> None:
        if len(input_shape) < 2 or input_shape[-1] is None:
            raise ValueError(
                f"Layer '{self.name}' (Dense) expects input of shape (batch, ..., features), got "
                f"{tuple(input_shape)}."
            )
        if self.built and input_shape[-1] != self.kernel.shape[0]:
            raise ValueError(
                f"Layer '{self.name}' (Dense) was built for {self.kernel.shape[0]} features in the last "
                "axis, "
                f"but got input of shape {tuple(input_shape)}."
            )

    def build(self, input_shape: Shapes) -> None:
        warn_of_constant(self, self.activation, self.units)
        self.kernel = self.add_weight(
            (input_shape[-1], self.units), self.kernel_initializer, "kernel",
            regularizer=self.kernel_regularizer, constraint=self.kernel_constraint,
        )
        if self.use_bias:
            self.bias = self.add_weight(
                (self.units,), self.bias_initializer, "bias",
                regularizer=self.bias_regularizer, constraint=self.bias_constraint,
            )

    def compute_output_shape(self, input_shape: Shapes) -> Shapes:
        return (*input_shape[:-1], self.units)

    def can_be_prepared(self, training: bool) -> bool:
        return self.kernel_activation is self.activation

    def forward(self, x: Arrays, tape: Tape, training: bool = False, mask: Masks = None) -> Arrays:
        rec = tape.push(self)
        kernel = self.kernel.value
        K, N = kernel.shape
        rec.bare = self in tape.bare
        dtype, act = x.dtype, activations.linear if rec.bare else self.kernel_activation
        M = math.prod(x.shape[:-1])
        packed, ready = rec.packed_weights(tape, kernel, (_kernels.dense_pack_size(K, N),), dtype)
        if not ready:
            _kernels.dense_pack(K, N, kernel, packed)
        y = rec.buffer("y", (*x.shape[:-1], N), dtype)
        z = rec.buffer("z", y.shape, dtype) if act.needs_input else None
        bias = self.bias.value if self.use_bias else None
        _kernels.dense_forward(act=act.kind, M=M, K=K, N=N, x=x, packed=packed, bias=bias, z=z, y=y)
        if tape.keep:
            rec.x, rec.z, rec.y = x, z, y
        if act is not self.activation and not rec.bare:
            rec.f = rec.buffer("f", y.shape, dtype)
            self.activation.forward(y, rec.f)
            return rec.f
        return y

    @property
    def kernel_activation(self) -> Any:
        """What the kernel computes: nothing, where the activation is one in NumPy."""
        return activations.linear if self.activation.kind is None else self.activation

    def backward(self, dy: Arrays, tape: Tape, need_dx: bool = True) -> Arrays:
        rec = tape.pop(self)
        x, dtype, kernel = rec.x, dy.dtype, self.kernel
        act = activations.linear if rec.bare else self.kernel_activation
        if act is not self.activation and not rec.bare:
            self.activation.backward(rec.y, rec.f, dy, dy)
        K, N = kernel.value.shape
        dx = rec.buffer("dx", x.shape, dtype) if need_dx else None
        scratch = rec.buffer("scratch", (_kernels.dense_scratch_size(K, N),), dtype)
        _kernels.dense_backward(
            act=act.kind, M=math.prod(x.shape[:-1]), K=K, N=N, x=x, kernel=kernel.value, z=rec.z, y=rec.y,
            dy=dy, dz=dy,
            dx=dx, dkernel=kernel.grad, dbias=self.bias.grad if self.use_bias else None, scratch=scratch,
        )
        return dx

    def get_config(self) -> Config:
        return {
            **super().get_config(),
            "units": self.units,
            "activation": activations.serialize(self.activation),
            "use_bias": self.use_bias,
            **weight_config(self, ("kernel", "bias")),
            "quantization_config": None,
        }


class InputLayer(Layer):
    """The shape of a model's input; it computes nothing.

    Args:
        shape: of one sample, None where any size will do.
        batch_size: the batch's size, if it is fixed.
        dtype: of the arrays that come in: also an integer one, for an `Embedding`, or 'string', for a
            `TextVectorization`. Layers take any number, whatever stands here.
        batch_shape: both at once.

    >>> InputLayer((64, 15)).batch_shape
    (None, 64, 15)
    """

    def __init__(self, shape: Shape | None = None, batch_size: int | None = None, dtype: DType = None,
                 batch_shape: Shape | None = None, name: str | None = None, **kwargs: Any) -> None:
        input_shape = kwargs.pop("input_shape", None)
        shape = input_shape if shape is None else shape
        for option, neutral in (("sparse", False), ("ragged", False), ("optional", False)):
            if kwargs.pop(option, neutral) not in (neutral, None):
                raise ValueError(f"Input does not support {option}=True: tdfast takes dense NumPy arrays.")
        if (shape is None) == (batch_shape is None):
            raise ValueError("Input needs either shape=(...) of one sample or batch_shape=(None, ...).")
        if batch_shape is None:
            batch_shape = (batch_size, *((shape,) if isinstance(shape, int) else shape))
        super().__init__(name=name or None, batch_shape=batch_shape, **kwargs)
        self.dtype = self._input_dtype(dtype)
        self.built = True
        node = Node(self, ())
        node.outputs = (SymbolicTensor(node, 0, self.batch_shape, self.dtype, self.name),)
        self._nodes.append(node)

    def _input_dtype(self, dtype: Any) -> str:
        """The name of a float dtype that layers know, or of a whole-number one; 'string' for text."""
        if dtype is str or (isinstance(dtype, str) and dtype in ("string", "str")):
            return "string"
        try:
            if dtype is not None and np.dtype(dtype).kind in "iub":
                return np.dtype(dtype).name
        except TypeError:
            pass
        try:
            return standardize_dtype(dtype)
        except ValueError:
            raise ValueError(
                f"Input: dtype must be float32, float64, one of whole numbers or 'string', got {dtype!r}."
            ) from None

    def as_input(self, x: Arrays, who: str | None = None) -> Array:
        """Whole numbers stay what they are where they fit; layers of floats are given floats."""
        who = who or f"Layer '{self.name}' (InputLayer)"
        if self.dtype == "string":
            return as_strings(x, who)
        if self.dtype in ("float32", "float64"):
            return as_array(x, self.dtype, who)
        return as_contiguous(as_numbers(x, who), self.dtype)

    def forward(self, x: Arrays, tape: Tape, training: bool = False, mask: Masks = None) -> Arrays:
        tape.push(self)
        return x

    def backward(self, dy: Arrays, tape: Tape, need_dx: bool = True) -> Arrays:
        tape.pop(self)
        return dy

    def get_config(self) -> Config:
        return {"batch_shape": self.batch_shape, "dtype": self.dtype, "sparse": False, "ragged": False,
                "name": self.name, "optional": False}


def Input(shape: Shape | None = None, batch_size: int | None = None, dtype: DTypeLike | None = None,
          batch_shape: Shape | None = None, name: str | None = None, **kwargs: Any) -> Any:
    """The symbolic tensor that a graph of layers begins with; also the first entry of a `Sequential`.

    Args:
        shape, batch_size, dtype, batch_shape, name: as `InputLayer` takes them.

    Returns:
        A `tdfast.engine.tensor.SymbolicTensor`: layers can be called on it, and `Model` takes it.

    Source: https://keras.io/api/layers/core_layers/input/.

    >>> Input((64, 15)).shape
    (None, 64, 15)
    """
    return InputLayer(shape=shape, batch_size=batch_size, dtype=dtype, batch_shape=batch_shape, name=name,
                      **kwargs).output


def no_quantization(config: Config, layer: Layer) -> None:
    """Refuse a quantization_config that is not None."""
    if config is not None:
        raise ValueError(
            f"Layer '{layer.name}' ({type(layer).__name__}): quantization_config={config!r:.80} is not "
            "supported: tdfast has "
            "weights in float32 and float64 only. Leave it out."
        )


def warn_of_constant(layer: Layer, activation: Any, size: int | None) -> None:
    """Warn where an activation shares 1 out among a single number, whose share is always the same."""
    if activation.is_row and size == 1:
        warnings.warn(
            f"Layer '{layer.name}' ({type(layer).__name__}): {activation.name} over a single number is "
            "always the same, so nothing is learnt. For two classes take 'sigmoid', or two units.",
            stacklevel=4,
        )


def positive_int(value: Any, what: str, layer: Layer) -> int:
    """``value`` as an int from 1 to the largest size of an array, or a ValueError that names the layer."""
    whole = hasattr(value, "__index__") and not isinstance(value, bool)
    if not whole or not 1 <= int(value) <= sys.maxsize:
        large = whole and int(value) > 0
        raise ValueError(
            f"Layer '{layer.name}' ({type(layer).__name__}): {what} must be a whole number "
            f"{f'from 1 to {sys.maxsize}' if large else 'of at least 1'}, got {value!r}."
        )
    return int(value)


def weight_config(layer: Layer, names: Sequence[Any],
                  kinds: Sequence[Any] = ("initializer", "regularizer", "constraint")) -> dict[str, Any]:
    """The configuration of each weight's initializer, regularizer and constraint."""
    modules = {"initializer": initializers, "regularizer": regularizers, "constraint": constraints}
    return {
        f"{name}_{kind}": modules[kind].serialize(getattr(layer, f"{name}_{kind}")) for kind in kinds
        for name in names
    }
