"""All layers by name."""

from tdfast.layers.activation import Activation
from tdfast.layers.base import Layer
from tdfast.layers.core import Dense, Input, InputLayer
from tdfast.layers.embedding import Embedding
from tdfast.layers.masking import Masking
from tdfast.layers.regularization import Dropout
from tdfast.layers.rnn import GRU, LSTM, SimpleRNN
from tdfast.layers.shaping import Flatten, Permute, RepeatVector, Reshape
from tdfast.layers.wrappers import TimeDistributed

__all__ = [
    "GRU",
    "LSTM",
    "Activation",
    "Dense",
    "Dropout",
    "Embedding",
    "Flatten",
    "Input",
    "InputLayer",
    "Layer",
    "Masking",
    "Permute",
    "RepeatVector",
    "Reshape",
    "SimpleRNN",
    "TimeDistributed",
]
