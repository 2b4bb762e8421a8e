"""All layers by name."""

from tdfast.layers.activation import Activation
from tdfast.layers.base import Layer
from tdfast.layers.conv import Conv1D, Conv2D, Convolution1D, Convolution2D
from tdfast.layers.core import Dense, Input, InputLayer
from tdfast.layers.pooling import (
    AveragePooling1D,
    AveragePooling2D,
    AvgPool1D,
    AvgPool2D,
    GlobalAveragePooling1D,
    GlobalAveragePooling2D,
    GlobalAvgPool1D,
    GlobalAvgPool2D,
    GlobalMaxPool1D,
    GlobalMaxPool2D,
    GlobalMaxPooling1D,
    GlobalMaxPooling2D,
    MaxPool1D,
    MaxPool2D,
    MaxPooling1D,
    MaxPooling2D,
)
from tdfast.layers.regularization import Dropout
from tdfast.layers.rnn import GRU, LSTM, SimpleRNN
from tdfast.layers.shaping import Flatten, Permute, RepeatVector, Reshape
from tdfast.layers.wrappers import TimeDistributed

__all__ = [
    "Activation",
    "Conv2D",
    "GlobalMaxPool1D",
    "Convolution1D",
    "MaxPooling1D",
    "GlobalAvgPool2D",
    "Input",
    "GRU",
    "RepeatVector",
    "MaxPooling2D",
    "GlobalMaxPooling2D",
    "MaxPool2D",
    "MaxPool1D",
    "Dense",
    "Dropout",
    "AveragePooling1D",
    "GlobalMaxPooling1D",
    "Conv1D",
    "GlobalAveragePooling1D",
    "Flatten",
    "Reshape",
    "Layer",
    "GlobalAveragePooling2D",
    "GlobalAvgPool1D",
    "GlobalMaxPool2D",
    "SimpleRNN",
    "AvgPool2D",
    "Permute",
    "TimeDistributed",
    "InputLayer",
    "AvgPool1D",
    "AveragePooling2D",
    "LSTM",
    "Convolution2D",
]
