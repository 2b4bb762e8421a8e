"""Layers that make numbers of text and of columns of tables."""

from tdfast.layers.preprocessing.category_encoding import CategoryEncoding
from tdfast.layers.preprocessing.discretization import Discretization
from tdfast.layers.preprocessing.hashing import HashedCrossing, Hashing
from tdfast.layers.preprocessing.integer_lookup import IntegerLookup
from tdfast.layers.preprocessing.string_lookup import StringLookup
from tdfast.layers.preprocessing.text_vectorization import TextVectorization

__all__ = [
    "CategoryEncoding",
    "Discretization",
    "HashedCrossing",
    "Hashing",
    "IntegerLookup",
    "StringLookup",
    "TextVectorization",
]
