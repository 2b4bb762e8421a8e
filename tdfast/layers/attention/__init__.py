"""Attention: what a query takes from values whose keys are like it."""

from tdfast.layers.attention.group_query import GroupQueryAttention
from tdfast.layers.attention.multi_head import MultiHeadAttention
from tdfast.layers.attention.scored import AdditiveAttention, Attention

__all__ = ["AdditiveAttention", "Attention", "GroupQueryAttention", "MultiHeadAttention"]
