"""SpectralNormalization: a layer whose kernel is divided by its largest singular value in training."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING, Any

import numpy as np

from tdfast import initializers
from tdfast.engine.variable import Variable
from tdfast.layers.core import positive_int
from tdfast.layers.wrapper import Wrapper

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tdfast.engine.layer import Layer
    from tdfast.engine.tape import Record, Tape
    from tdfast.engine.types import Array, Arrays, Config, Masks, Shapes

SMALLEST = 1e-7
"""The least norm that a vector is divided by."""


class _Normalized:
    """A kernel in the place of the layer's own for one call: its value, and where its gradient goes."""

    def __init__(self, value: Array, grad: Array) -> None:
        self.value, self.grad = value, grad
        self.shape = value.shape


class SpectralNormalization(Wrapper):
    """A layer whose kernel W is W / sigma in training, where sigma is about W's largest singular value.

    With W as a matrix of all its axes but the last by the last one, and u from call to call::

        v = u W^T / |u W^T|,   u = v W / |v W|        power_iterations times, the gradient stops at both
        sigma = v W u^T

    Miyato et al. 2018. The gradient goes through W / sigma to W. Without ``training`` the layer computes with
    W as it is, and changes nothing. A call with ``training=True`` outside of `fit` and `train_on_batch`
    writes W / sigma to W. So does Keras on JAX (on its other backends, training writes it to W as well). A
    regularizer of the kernel sees W. Source:
    https://keras.io/api/layers/normalization_layers/spectral_normalization/.

    Args:
        layer: a layer with one ``kernel``, such as `Dense`, `EinsumDense`, the convolutions (not the
            separable ones), or with ``embeddings``.
        power_iterations: how often u and v are improved in each call of training.

    Weights: those of the layer, and vector_u of shape (1, last axis of the kernel), which no optimizer
    changes.

    Raises:
        ValueError: if power_iterations is not a whole number of at least 1, or the layer has no such kernel.

    Input, output and mask are those of the layer inside.

    >>> import numpy as np
    >>> from tdfast.initializers import GlorotUniform
    >>> from tdfast.layers import Dense
    >>> layer = SpectralNormalization(Dense(3, kernel_initializer=GlorotUniform(seed=1)), power_iterations=20)
    >>> y = layer(np.ones((2, 4)), training=True)
    >>> float(np.linalg.norm(layer.layer.kernel, 2).round(3))
    1.0
    """

    def __init__(self, layer: Layer, power_iterations: int = 1, **kwargs: Any) -> None:
        super().__init__(layer, **kwargs)
        if layer.several_inputs:
            raise ValueError(
                f"Layer '{self.name}' (SpectralNormalization) cannot wrap '{layer.name}' "
                f"({type(layer).__name__}), which takes several inputs and has no kernel."
            )
        self.power_iterations = positive_int(power_iterations, "power_iterations", self)
        self.supports_masking = layer.supports_masking
        self.kernel: Any = None
        self.vector_u: Any = None

    @property
    def rowwise(self) -> bool:  # type: ignore[override]
        return self.layer.rowwise

    @property
    def per_step(self) -> bool:  # type: ignore[override]
        return self.layer.per_step

    @property
    def batch_coupled(self) -> bool:  # type: ignore[override]
        return self.layer.batch_coupled

    @property
    def makes_mask(self) -> bool:  # type: ignore[override]
        return self.layer.makes_mask

    @property
    def replaces_mask(self) -> bool:  # type: ignore[override]
        return self.layer.replaces_mask

    @property
    def reads_masked_steps(self) -> bool:  # type: ignore[override]
        return self.layer.reads_masked_steps

    @property
    def trainable_weights(self) -> list[Variable]:
        found = super().trainable_weights
        return found if self.layer.trainable else [w for w in found if w is not self.kernel]

    trainable_variables = trainable_weights

    @property
    def learns(self) -> bool:
        return self._trainable and self.layer.learns

    @property
    def _weight_name(self) -> str:
        """What the inner layer calls the weight that is normalized."""
        return "kernel" if hasattr(self.layer, "kernel") else "embeddings"

    def build(self, input_shape: Shapes) -> None:
        super().build(input_shape)
        kernel = getattr(self.layer, self._weight_name, None)
        # A recurrent layer's kernel is its cell's, in Keras too.
        if not isinstance(kernel, Variable) or hasattr(self.layer, "recurrent_kernel"):
            raise ValueError(
                f"Layer '{self.name}' (SpectralNormalization) cannot wrap '{self.layer.name}' "
                f"({type(self.layer).__name__}), which has neither one kernel nor embeddings. It can wrap "
                "Dense, EinsumDense, Conv1D, Conv2D, Conv3D, their transposed and depthwise kin, Embedding."
            )
        self.kernel = kernel
        self._weights.append(kernel)            # Keras has it among the wrapper's own, too
        self.vector_u = self.add_weight((1, kernel.shape[-1]), initializers.TruncatedNormal(stddev=0.02),
                                        "vector_u", trainable=False)

    def compute_output_shape(self, input_shape: Shapes) -> Shapes:
        return self.layer.compute_output_shape(input_shape)

    def compute_mask(self, inputs: Any, mask: Masks = None) -> Masks:
        return self.layer.compute_mask(inputs, mask)

    def treats_steps_alone(self, shape: Any) -> bool:
        return self.layer.treats_steps_alone(shape)

    def output_layer(self) -> Layer:
        plain = type(self) is SpectralNormalization and self.activity_regularizer is None
        return self.layer.output_layer() if plain else self

    def _improve(self, rec: Record) -> None:
        """One call's v and u, sigma and the normalized kernel, on its record; u is the weight's new value."""
        weights = self.kernel.value.reshape(-1, self.kernel.shape[-1])
        u = self.vector_u.value[0]
        for _ in range(self.power_iterations):
            # Not `@`, whose sums depend on the number of threads.
            v = _of_length_one(np.einsum("n,kn->k", u, weights))
            u = _of_length_one(np.einsum("k,kn->n", v, weights))
        rec.v, rec.u = v, u
        rec.sigma = np.einsum("k,k->", v, np.einsum("n,kn->k", u, weights))
        self.vector_u.value[0] = u

    @contextlib.contextmanager
    def _with_kernel(self, kernel: _Normalized) -> Iterator[None]:
        """The inner layer computes with this kernel."""
        setattr(self.layer, self._weight_name, kernel)
        try:
            yield
        finally:
            setattr(self.layer, self._weight_name, self.kernel)

    def forward(self, x: Arrays, tape: Tape, training: bool = False, mask: Masks = None) -> Arrays:
        rec = tape.push(self)
        rec.kernel = None
        if not training or not self.kernel.value.any():
            return self.layer.forward(x, tape, training=training, mask=mask)
        self._improve(rec)
        shape, dtype = self.kernel.shape, self.kernel.value.dtype
        value = rec.buffer("kernel", shape, dtype)
        np.divide(self.kernel.value, rec.sigma, out=value)
        if not tape.keep:
            self.kernel.value[...] = value
            return self.layer.forward(x, tape, training=training, mask=mask)
        rec.kernel = _Normalized(value, rec.buffer("gradient", shape, dtype))
        with self._with_kernel(rec.kernel):
            return self.layer.forward(x, tape, training=training, mask=mask)

    def backward(self, dy: Arrays, tape: Tape, need_dx: bool = True) -> Arrays:
        rec = tape.peek(self)
        if rec.kernel is None:
            dx = self.layer.backward(dy, tape, need_dx)
        else:
            with self._with_kernel(rec.kernel):
                dx = self.layer.backward(dy, tape, need_dx)
            self._write_gradient(rec)
        tape.pop(self)
        return dx

    def _write_gradient(self, rec: Record) -> None:
        """That of W, from G of K = W / sigma: (G - (sum of G K) v^T u) / sigma."""
        dk, grad = rec.kernel.grad, self.kernel.grad
        along = np.einsum("k,k->", dk.reshape(-1), rec.kernel.value.reshape(-1))
        np.multiply(rec.v[:, None], along * rec.u, out=grad.reshape(-1, len(rec.u)))
        np.subtract(dk, grad, out=grad)
        np.divide(grad, rec.sigma, out=grad)

    def get_config(self) -> Config:
        return {**super().get_config(), "power_iterations": self.power_iterations}


def _of_length_one(vector: Array) -> Array:
    """The vector divided by its norm."""
    norm = np.sqrt(np.einsum("k,k->", vector, vector))
    return vector / max(norm, vector.dtype.type(SMALLEST))
