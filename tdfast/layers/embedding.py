"""Embedding: vectors for whole numbers."""

from __future__ import annotations

import warnings
from typing import TYPE_CHECKING, Any

import numpy as np

from tdfast import _kernels, constraints, initializers, regularizers
from tdfast.engine.arrays import as_ids, as_mask, join_masks
from tdfast.engine.layer import Layer
from tdfast.layers.core import no_quantization, positive_int, weight_config

if TYPE_CHECKING:
    from tdfast.engine.tape import Record, Tape
    from tdfast.engine.types import (
        Array,
        Arrays,
        Config,
        ConstraintSpec,
        InitializerSpec,
        Masks,
        RegularizerSpec,
        Shapes,
    )


class Embedding(Layer):
    """A learned vector for each whole number: ``y = embeddings[x]``.

    Source: https://keras.io/api/layers/core_layers/embedding/.

    Args:
        input_dim: how many numbers there are; ids are from 0 to input_dim - 1.
        output_dim: the length of a vector.
        embeddings_initializer: of the weight, (input_dim, output_dim).
        embeddings_regularizer, activity_regularizer: penalties, or None.
        embeddings_constraint: a projection after each update, or None.
        mask_zero: id 0 is padding: the layers behind leave out its steps. Words are then numbered from 1.
        weights: the first values, an array of shape (input_dim, output_dim), or a list of it.
        quantization_config: None, as in Keras's configs; tdfast has no quantized weights.

    Input (batch, ...) of whole numbers, in integers of any dtype or floats; output (batch, ..., output_dim).

    Raises:
        ValueError: for an id out of range or not whole, naming it and its place.

    >>> Embedding(3, 2, weights=[[0.0, 0.0], [1.0, 2.0], [3.0, 4.0]])([[1, 2]]).tolist()
    [[[1.0, 2.0], [3.0, 4.0]]]
    """

    def __init__(
        self,
        input_dim: int,
        output_dim: int,
        embeddings_initializer: InitializerSpec = "uniform",
        embeddings_regularizer: RegularizerSpec = None,
        embeddings_constraint: ConstraintSpec = None,
        mask_zero: Any = False,
        weights: Any = None,
        activity_regularizer: RegularizerSpec = None,
        quantization_config: Any = None,
        **kwargs: Any,
    ) -> None:
        if kwargs.pop("input_length", None) is not None:
            warnings.warn("Embedding: input_length does nothing, any length will do; leave it out.",
                          stacklevel=2)
        super().__init__(activity_regularizer=activity_regularizer, **kwargs)
        no_quantization(quantization_config, self)
        self.input_dim = positive_int(input_dim, "input_dim", self)
        self.output_dim = positive_int(output_dim, "output_dim", self)
        if self.input_dim >= 2**31:
            raise ValueError(
                f"Layer '{self.name}' (Embedding): input_dim must be below 2**31, got {input_dim}."
            )
        self.embeddings_initializer = initializers.get(embeddings_initializer)
        self.embeddings_regularizer = regularizers.get(embeddings_regularizer)
        self.embeddings_constraint = constraints.get(embeddings_constraint)
        self.mask_zero = self.supports_masking = self.makes_mask = self._flag(mask_zero, "mask_zero")
        self.embeddings: Any = None
        if weights is not None:
            self.build()
            self.set_weights(weights if isinstance(weights, list) and len(weights) == 1 else [weights])

    def build(self, input_shape: Shapes = None) -> None:
        if self.built:
            return
        self.embeddings = self.add_weight(
            (self.input_dim, self.output_dim), self.embeddings_initializer, "embeddings",
            regularizer=self.embeddings_regularizer, constraint=self.embeddings_constraint,
        )

    def compute_output_shape(self, input_shape: Shapes) -> Shapes:
        return (*input_shape, self.output_dim)

    def as_input(self, x: Arrays, who: str | None = None) -> Array:
        me = f"ayer '{self.name}' (Embedding)"
        return as_ids(x, self.input_dim, f"{who}, l{me}" if who else f"L{me}")

    def compute_mask(self, inputs: Any, mask: Masks = None) -> Masks:
        if self.mask_zero:
            return join_masks(as_mask(np.not_equal(inputs, 0), np.asarray(inputs), self.name), mask)
        return super().compute_mask(inputs, mask)

    def passed_mask(self, x: Arrays, mask: Masks, record: Record) -> Masks:
        return record.mask if self.mask_zero else self.compute_mask(x, mask)

    def forward(self, x: Arrays, tape: Tape, training: bool = False, mask: Masks = None) -> Arrays:
        rec = tape.push(self)
        # Behind another layer the ids come as that layer's floats.
        ids = x if x.dtype == np.int32 else self.as_input(x)
        y = rec.buffer("y", (*x.shape, self.output_dim), np.dtype(self.dtype))
        bad = _kernels.embed_forward(ids, self.embeddings.value, y)
        if bad >= 0:
            self.as_input(ids)      # raises, and says which
        if self.mask_zero:
            rec.mask = join_masks(np.not_equal(ids, 0, out=rec.buffer("mask", ids.shape, np.dtype(bool))),
                                  mask)
        if tape.keep:
            rec.ids = ids
        return y

    def backward(self, dy: Arrays, tape: Tape, need_dx: bool = True) -> Arrays:
        rec = tape.pop(self)
        _kernels.embed_backward(rec.ids, dy, self.embeddings.grad)
        if not need_dx:
            return None
        dx = rec.buffer("dx", rec.ids.shape, dy.dtype)
        dx[...] = 0         # whole numbers have no derivative
        return dx

    def get_config(self) -> Config:
        return {
            **super().get_config(),
            "input_dim": self.input_dim,
            "output_dim": self.output_dim,
            **weight_config(self, ("embeddings",), ("initializer", "regularizer")),
            "activity_regularizer": regularizers.serialize(self.activity_regularizer),
            **weight_config(self, ("embeddings",), ("constraint",)),
            "mask_zero": self.mask_zero,
            "quantization_config": None,
        }
