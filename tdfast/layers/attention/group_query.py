"""GroupQueryAttention: several heads of the query share the keys and values of one."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from tdfast.layers.attention.multi_head import Heads
from tdfast.layers.core import positive_int

if TYPE_CHECKING:
    from tdfast.engine.types import Config, ConstraintSpec, InitializerSpec, RegularizerSpec, Seed, Shapes


class GroupQueryAttention(Heads):
    """`MultiHeadAttention` with fewer heads for keys and values, each of which serves several of the query
    (Ainslie et al.).

    Args:
        head_dim: the width of a head.
        num_query_heads: how many heads the query has: a multiple of num_key_value_heads.
        num_key_value_heads: how many keys and values have.
        dropout, use_bias, sliding_window, flash_attention, kernel_initializer, bias_initializer,
            kernel_regularizer, bias_regularizer, activity_regularizer, kernel_constraint, bias_constraint,
            use_gate, seed: as for `MultiHeadAttention`, which it is called like.

    Source: https://keras.io/api/layers/attention_layers/group_query_attention/.

    >>> import numpy as np
    >>> x = np.zeros((5, 9, 8))
    >>> GroupQueryAttention(head_dim=4, num_query_heads=4, num_key_value_heads=2)(x, x).shape
    (5, 9, 8)
    """

    names_in_files = {f"{part}_dense": f"_{part}_dense" for part in ("query", "key", "value", "output")}
    """Where Keras keeps the projections' weights."""

    def __init__(
        self,
        head_dim: int,
        num_query_heads: int,
        num_key_value_heads: int,
        dropout: float = 0.0,
        use_bias: bool = True,
        sliding_window: int | None = None,
        flash_attention: Any = None,
        kernel_initializer: InitializerSpec = "glorot_uniform",
        bias_initializer: InitializerSpec = "zeros",
        kernel_regularizer: RegularizerSpec = None,
        bias_regularizer: RegularizerSpec = None,
        activity_regularizer: RegularizerSpec = None,
        kernel_constraint: ConstraintSpec = None,
        bias_constraint: ConstraintSpec = None,
        use_gate: bool = False,
        seed: Seed = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(
            dropout=dropout, use_bias=use_bias, sliding_window=sliding_window,
            flash_attention=flash_attention, kernel_initializer=kernel_initializer,
            bias_initializer=bias_initializer,
            kernel_regularizer=kernel_regularizer, bias_regularizer=bias_regularizer,
            activity_regularizer=activity_regularizer, kernel_constraint=kernel_constraint,
            bias_constraint=bias_constraint, use_gate=use_gate, seed=seed, **kwargs,
        )
        self.head_dim = positive_int(head_dim, "head_dim", self)
        self.num_query_heads = positive_int(num_query_heads, "num_query_heads", self)
        self.num_key_value_heads = positive_int(num_key_value_heads, "num_key_value_heads", self)
        if self.num_query_heads % self.num_key_value_heads:
            raise ValueError(
                f"Layer '{self.name}' (GroupQueryAttention): num_query_heads must be a multiple of "
                f"num_key_value_heads, got {num_query_heads} and {num_key_value_heads}."
            )
        self.repeats = self.num_query_heads // self.num_key_value_heads

    def check_input_shape(self, input_shape: Shapes) -> None:
        if any(len(shape) != 3 for shape in input_shape):
            raise ValueError(
                f"Layer '{self.name}' (GroupQueryAttention) expects inputs of shape (batch, time, "
                "features), got "
                f"shapes {[tuple(shape) for shape in input_shape]}."
            )
        super().check_input_shape(input_shape)

    def build(self, input_shape: Shapes) -> None:
        shapes = [tuple(shape) for shape in input_shape]
        self.make_parts(
            shapes,
            self.num_query_heads,
            self.num_key_value_heads,
            self.head_dim,
            self.head_dim,
            (shapes[0][-1],),
        )

    def compute_output_shape(self, input_shape: Shapes, return_attention_scores: bool = False) -> Shapes:
        query, value = tuple(input_shape[0]), tuple(input_shape[1])
        shares = (query[0], self.num_query_heads, query[1], value[1])
        return [query, shares] if return_attention_scores else query

    def get_config(self) -> Config:
        return {
            **super().get_config(),
            "head_dim": self.head_dim,
            "num_query_heads": self.num_query_heads,
            "num_key_value_heads": self.num_key_value_heads,
            **self.heads_config(),
        }
