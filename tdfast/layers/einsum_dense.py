"""EinsumDense: a product with weights that an equation describes."""

from __future__ import annotations

import math
import re
from typing import TYPE_CHECKING, Any

import numpy as np

from tdfast import _kernels, activations, constraints, initializers, regularizers
from tdfast.engine.layer import Layer
from tdfast.layers.core import no_quantization, weight_config

if TYPE_CHECKING:
    from collections.abc import Sequence

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
        Shapes,
        Sizes,
    )


class Equation:
    """An equation such as "abc,cde->abde", for inputs of so many axes.

    Attributes:
        x, kernel, y: the letters of each, with letters in the place of an ellipsis.
        inner: how many of the input's last axes are summed over, if the equation is a plain product of
            matrices: the last axes by the first of the weights; else 0.
    """

    def __init__(self, text: str, ndim: int, layer: Layer) -> None:
        found = re.fullmatch(
            r"(\.\.\.)?([a-zA-Z]+)(\.\.\.)?,([a-zA-Z]+)->(\.\.\.)?([a-zA-Z]+)(\.\.\.)?", text.replace(" ", "")
        )
        if (
            not found
            or bool(found[1]) != bool(found[5])
            or bool(found[3]) != bool(found[7])
            or (found[1] and found[3])
        ):
            raise ValueError(
                f"Layer '{layer.name}' (EinsumDense): equation must be as 'ab,bc->ac', '...ab,bc->...ac' or "
                f"'ab...,bc->ac...', got {text!r}."
            )
        x, self.kernel, y = found[2], found[4], found[6]
        hidden = ndim - len(x)
        if hidden < 0 or (hidden and not (found[1] or found[3])):
            raise ValueError(
                f"Layer '{layer.name}' (EinsumDense): the equation {text!r} is of inputs with {len(x)} "
                "axes, got "
                f"{ndim}."
            )
        free = [c for c in "ABCDEFGHIJKLMNOPQRSTUVWXYZ" if c not in text][:hidden]
        more = "".join(free)
        self.left = hidden if found[1] else 0
        self.x, self.y = (more + x, more + y) if found[1] else (x + more, y + more)
        self.own_y = y
        for letter in self.kernel:
            if letter not in self.x + self.y:
                raise ValueError(
                    f"Layer '{layer.name}' (EinsumDense): letter '{letter}' of the weights stands neither "
                    "for an "
                    f"axis of the input nor of the output in {text!r}."
                )
        for letter in self.y:
            if letter not in self.x + self.kernel:
                raise ValueError(
                    f"Layer '{layer.name}' (EinsumDense): letter '{letter}' of the output stands nowhere "
                    "else in "
                    f"{text!r}."
                )
        self.inner = self._inner()

    @property
    def text(self) -> str:
        """The equation for `numpy.einsum`."""
        return f"{self.x},{self.kernel}->{self.y}"

    def _inner(self) -> int:
        for n in range(1, len(self.kernel)):
            if self.x[-n:] == self.kernel[:n] and self.y == self.x[:-n] + self.kernel[n:]:
                return n
        return 0


class EinsumDense(Layer):
    """``y = activation(einsum(equation, x, kernel) + bias)``.

    Args:
        equation: of the input and the weights, such as "abc,cde->abde"; "..." may stand for further axes.
        output_shape: of a sample, without the axes of an ellipsis; None where the size is the input's.
        activation: a name or a function; None: none.
        bias_axes: the letters of the output's axes that a bias is added along; None: no bias.
        kernel_initializer, bias_initializer, kernel_regularizer, bias_regularizer, activity_regularizer,
            kernel_constraint, bias_constraint: as for `Dense`.
        quantization_config: None; anything else is refused.

    Source: https://keras.io/api/layers/core_layers/einsum_dense/.

    >>> import numpy as np
    >>> EinsumDense("abc,cde->abde", (None, 2, 4), bias_axes="de")(np.zeros((5, 6, 3))).shape
    (5, 6, 2, 4)
    """

    def __init__(
        self,
        equation: str | int,
        output_shape: int | Sequence[Any],
        activation: ActivationSpec = None,
        bias_axes: str | None = None,
        kernel_initializer: InitializerSpec = "glorot_uniform",
        bias_initializer: InitializerSpec = "zeros",
        kernel_regularizer: RegularizerSpec = None,
        bias_regularizer: RegularizerSpec = None,
        kernel_constraint: ConstraintSpec = None,
        bias_constraint: ConstraintSpec = None,
        quantization_config: Any = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        no_quantization(quantization_config, self)
        if not isinstance(equation, str):
            raise ValueError(f"Layer '{self.name}' (EinsumDense): equation must be text, got {equation!r}.")
        self.equation, self.bias_axes = equation, bias_axes
        self.partial_output_shape = (output_shape,) if isinstance(output_shape, int) else tuple(output_shape)
        self.activation = activations.get(activation, own=False)
        self.kernel_initializer = initializers.get(kernel_initializer)
        self.bias_initializer = initializers.get(bias_initializer)
        self.kernel_regularizer = regularizers.get(kernel_regularizer)
        self.bias_regularizer = regularizers.get(bias_regularizer)
        self.kernel_constraint = constraints.get(kernel_constraint)
        self.bias_constraint = constraints.get(bias_constraint)
        self.kernel: Any = None
        self.bias: Any = None
        self._equations: dict[int, Equation] = {}

    # ---------------------------------------------------------------- shapes
    def _equation(self, ndim: int) -> Equation:
        """The equation for inputs of so many axes."""
        found = self._equations.get(ndim)
        if found is None:
            found = self._equations[ndim] = Equation(self.equation, ndim, self)
        return found

    def equation_for(self, ndim: int) -> str:
        """The equation for inputs of so many axes, with letters in the place of an ellipsis."""
        return self._equation(ndim).text

    def _sizes(self, input_shape: Shapes) -> tuple[Any, ...]:
        """(the `Equation`, letter -> size)."""
        equation = self._equation(len(input_shape))
        sizes = dict(zip(equation.x, input_shape))
        given = (input_shape[0], *self.partial_output_shape)
        if len(given) != len(equation.own_y) + (1 if equation.left else 0) and len(given) != len(
            equation.own_y
        ):
            raise ValueError(
                f"Layer '{self.name}' (EinsumDense): output_shape={self.partial_output_shape} does not "
                "fit the "
                f"equation {self.equation!r}."
            )
        letters = equation.own_y if not equation.left else equation.own_y[-len(self.partial_output_shape) :]
        wanted = self.partial_output_shape[-len(letters) :] if equation.left else given
        for letter, size in zip(letters, wanted):
            have = sizes.setdefault(letter, size)
            if size is not None and have is not None and have != size:
                raise ValueError(
                    f"Layer '{self.name}' (EinsumDense): axis '{letter}' has the size {have} in the input "
                    "and "
                    f"{size} in output_shape."
                )
            if have is None:
                sizes[letter] = size
        return equation, sizes

    def check_input_shape(self, input_shape: Shapes) -> None:
        equation, sizes = self._sizes(tuple(input_shape))
        if self.built:
            for letter, size in zip(equation.kernel, self.kernel.shape):
                if sizes[letter] not in (None, size):
                    raise ValueError(
                        f"Layer '{self.name}' (EinsumDense) was built with {size} for axis '{letter}' of "
                        f"{self.equation!r}, got input of shape {tuple(input_shape)}."
                    )

    def compute_output_shape(self, input_shape: Shapes) -> Shapes:
        equation, sizes = self._sizes(tuple(input_shape))
        return tuple(sizes[letter] for letter in equation.y)

    def build(self, input_shape: Shapes) -> None:
        equation, sizes = self._sizes(tuple(input_shape))
        shape = tuple(sizes[letter] for letter in equation.kernel)
        if None in shape:
            raise ValueError(
                f"Layer '{self.name}' (EinsumDense): the weights of {self.equation!r} need known sizes, "
                "got input "
                f"of shape {tuple(input_shape)} and output_shape={self.partial_output_shape}."
            )
        into = [i for i, letter in enumerate(equation.kernel) if letter not in equation.y]
        out = [i for i in range(len(shape)) if i not in into]

        def filled(_: Sequence[Any], dtype: DTypeLike | None = None) -> Array:
            """Drawn as for a product of matrices, of all summed axes by all others."""
            flat = math.prod(shape[i] for i in into), math.prod(shape[i] for i in out)
            drawn = self.kernel_initializer(flat, dtype=dtype).reshape([shape[i] for i in (*into, *out)])
            return np.transpose(drawn, np.argsort([*into, *out]))

        self.kernel = self.add_weight(
            shape, filled, "kernel", regularizer=self.kernel_regularizer, constraint=self.kernel_constraint
        )
        if self.bias_axes is not None:
            unknown = [c for c in self.bias_axes if c not in equation.own_y]
            if unknown:
                raise ValueError(
                    f"Layer '{self.name}' (EinsumDense): bias_axes={self.bias_axes!r} has '{unknown[0]}', "
                    "which is "
                    f"no axis of the output in {self.equation!r}."
                )
            first = min(equation.y.index(c) for c in self.bias_axes)
            bias = tuple(sizes[c] if c in self.bias_axes else 1 for c in equation.y[first:])
            self.bias = self.add_weight(
                bias,
                self.bias_initializer,
                "bias",
                regularizer=self.bias_regularizer,
                constraint=self.bias_constraint,
            )

    # ---------------------------------------------------------------- passes
    def forward(self, x: Arrays, tape: Tape, training: bool = False, mask: Masks = None) -> Arrays:
        rec = tape.push(self)
        equation, kernel = self._equation(x.ndim), self.kernel.value
        rec.equation, rec.x, n = equation, x, equation.inner
        rec.whole = bool(n) and (self.bias is None or self.bias.shape == kernel.shape[n:])
        if rec.whole and self.activation.kind is not None:
            return self._product(rec, x, kernel, n, tape, self.activation)
        if n:
            z = self._product(rec, x, kernel, n, tape, activations.linear)
        else:
            z = rec.buffer("y", self.compute_output_shape(x.shape), x.dtype)
            np.einsum(equation.text, x, kernel, out=z)
        if self.bias is not None and not rec.whole:
            z += self.bias.value
        rec.z = rec.y = z
        if self.activation is not activations.linear:
            rec.y = rec.buffer("f", z.shape, x.dtype)
            self.activation.forward(z, rec.y)
        return rec.y

    def _product(self, rec: Record, x: Arrays, kernel: Array, n: int, tape: Tape, act: Any) -> Array:
        """The rows by the kernel of `Dense`, with the bias if there is one number of it for each column."""
        M, K, N = math.prod(x.shape[:-n]), math.prod(x.shape[-n:]), math.prod(kernel.shape[n:])
        packed, ready = rec.packed_weights(tape, kernel, (_kernels.dense_pack_size(K, N),), x.dtype)
        if not ready:
            _kernels.dense_pack(K, N, kernel, packed)
        rec.y = rec.buffer("y", (*x.shape[:-n], *kernel.shape[n:]), x.dtype)
        rec.z = rec.buffer("z", rec.y.shape, x.dtype) if act.needs_input else None
        bias = self.bias.value if self.bias is not None and rec.whole else None
        _kernels.dense_forward(act=act.kind, M=M, K=K, N=N, x=x, packed=packed, bias=bias, z=rec.z, y=rec.y)
        return rec.y

    def backward(self, dy: Arrays, tape: Tape, need_dx: bool = True) -> Arrays:
        rec = tape.pop(self)
        equation, x, kernel, n = rec.equation, rec.x, self.kernel, rec.equation.inner
        act = self.activation
        if not rec.whole or act.kind is None:
            if act is not activations.linear:
                act.backward(rec.z, rec.y, dy, dy)
            act, rec.z = activations.linear, None
        if self.bias is not None and not rec.whole:
            self.bias.grad[...] = _summed(dy, self.bias.shape)
        if not n:
            kernel.grad[...] = np.einsum(f"{equation.x},{equation.y}->{equation.kernel}", x, dy)
            return (
                np.einsum(f"{equation.y},{equation.kernel}->{equation.x}", dy, kernel.value, order="C")
                if need_dx
                else None
            )
        dx = rec.buffer("dx", x.shape, dy.dtype) if need_dx else None
        dbias = self.bias.grad if self.bias is not None and rec.whole else None
        _product_backward(rec, act, n, x, kernel.value, rec.z, rec.y, dy, dx, kernel.grad, dbias)
        return dx

    def get_config(self) -> Config:
        return {
            **super().get_config(),
            "output_shape": self.partial_output_shape,
            "equation": self.equation,
            "activation": activations.serialize(self.activation),
            "bias_axes": self.bias_axes,
            **weight_config(self, ("kernel", "bias")),
            "activity_regularizer": regularizers.serialize(self.activity_regularizer),
            "quantization_config": None,
        }


def _product_backward(rec: Record, act: Any, n: int, x: Arrays, kernel: Array, z: Any, y: Array, dy: Arrays,
                      dx: Any, dkernel: Array, dbias: Any) -> None:
    M, K, N = math.prod(x.shape[:-n]), math.prod(x.shape[-n:]), math.prod(kernel.shape[n:])
    scratch = rec.buffer("scratch", (_kernels.dense_scratch_size(K, N),), dy.dtype)
    _kernels.dense_backward(
        act=act.kind, M=M, K=K, N=N, x=x, kernel=kernel, z=z, y=y, dy=dy, dz=dy, dx=dx,
        dkernel=dkernel, dbias=dbias, scratch=scratch,
    )


def product_backward(rec: Record, x: Arrays, kernel: Array, dy: Arrays, dx: Any, dkernel: Array) -> None:
    """The gradients of ``y = x @ kernel`` into dx (None: not wanted) and dkernel; dy may be overwritten."""
    _product_backward(rec, activations.linear, 1, x, kernel, None, dy, dy, dx, dkernel, None)


def _summed(dy: Arrays, shape: Sizes) -> Array:
    """dy summed over the axes that a bias of this shape is repeated along."""
    more = dy.ndim - len(shape)
    repeated = (*range(more), *(more + i for i, n in enumerate(shape) if n == 1))
    return dy.sum(axis=repeated, keepdims=True).reshape(shape) if repeated else dy
