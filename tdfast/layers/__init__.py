"""All layers by name."""

import importlib
from typing import TYPE_CHECKING

from tdfast.compat import absent
from tdfast.engine import pickling as _pickling  # noqa: F401 -- teaches layers to be copied
from tdfast.engine.layer import Layer
from tdfast.engine.serialization import deserialize_layer as deserialize
from tdfast.engine.serialization import serialize_layer as serialize
from tdfast.layers.activation import ELU, Activation, LeakyReLU, PReLU, ReLU, Softmax
from tdfast.layers.attention import (
    AdditiveAttention,
    Attention,
    GroupQueryAttention,
    MultiHeadAttention,
)
from tdfast.layers.convolution.conv import Conv1D, Conv2D, Conv3D, Convolution1D, Convolution2D, Convolution3D
from tdfast.layers.convolution.depthwise import (
    DepthwiseConv1D,
    DepthwiseConv2D,
    SeparableConv1D,
    SeparableConv2D,
    SeparableConvolution1D,
    SeparableConvolution2D,
)
from tdfast.layers.convolution.pooling import (
    AdaptiveAveragePooling1D,
    AdaptiveAveragePooling2D,
    AdaptiveAveragePooling3D,
    AdaptiveMaxPooling1D,
    AdaptiveMaxPooling2D,
    AdaptiveMaxPooling3D,
    AveragePooling1D,
    AveragePooling2D,
    AveragePooling3D,
    AvgPool1D,
    AvgPool2D,
    AvgPool3D,
    GlobalAveragePooling1D,
    GlobalAveragePooling2D,
    GlobalAveragePooling3D,
    GlobalAvgPool1D,
    GlobalAvgPool2D,
    GlobalAvgPool3D,
    GlobalMaxPool1D,
    GlobalMaxPool2D,
    GlobalMaxPool3D,
    GlobalMaxPooling1D,
    GlobalMaxPooling2D,
    GlobalMaxPooling3D,
    MaxPool1D,
    MaxPool2D,
    MaxPool3D,
    MaxPooling1D,
    MaxPooling2D,
    MaxPooling3D,
)
from tdfast.layers.convolution.resizing import (
    Cropping1D,
    Cropping2D,
    Cropping3D,
    UpSampling1D,
    UpSampling2D,
    UpSampling3D,
    ZeroPadding1D,
    ZeroPadding2D,
    ZeroPadding3D,
)
from tdfast.layers.convolution.transpose import (
    Conv1DTranspose,
    Conv2DTranspose,
    Conv3DTranspose,
    Convolution1DTranspose,
    Convolution2DTranspose,
    Convolution3DTranspose,
)
from tdfast.layers.core import Dense, Identity, Input, InputLayer
from tdfast.layers.einsum_dense import EinsumDense
from tdfast.layers.embedding import Embedding
from tdfast.layers.function import Lambda
from tdfast.layers.masking import Masking
from tdfast.layers.merging import (
    Add,
    Average,
    Concatenate,
    Dot,
    Maximum,
    Minimum,
    Multiply,
    Subtract,
    add,
    average,
    concatenate,
    dot,
    maximum,
    minimum,
    multiply,
    subtract,
)
from tdfast.layers.normalization.batch_normalization import BatchNormalization
from tdfast.layers.normalization.group_normalization import GroupNormalization
from tdfast.layers.normalization.layer_normalization import LayerNormalization
from tdfast.layers.normalization.rms_normalization import RMSNormalization
from tdfast.layers.normalization.spectral_normalization import SpectralNormalization
from tdfast.layers.normalization.unit_normalization import UnitNormalization
from tdfast.layers.recurrent.bidirectional import Bidirectional
from tdfast.layers.recurrent.cells import Cell, StackedRNNCells
from tdfast.layers.recurrent.conv_lstm import ConvLSTM1D, ConvLSTM2D, ConvLSTM3D
from tdfast.layers.recurrent.gru import GRU, GRUCell
from tdfast.layers.recurrent.lstm import LSTM, LSTMCell
from tdfast.layers.recurrent.rnn import RNN
from tdfast.layers.recurrent.simple_rnn import SimpleRNN, SimpleRNNCell
from tdfast.layers.regularization import (
    ActivityRegularization,
    AlphaDropout,
    Dropout,
    GaussianDropout,
    GaussianNoise,
    SpatialDropout1D,
    SpatialDropout2D,
    SpatialDropout3D,
)
from tdfast.layers.rescaling import Normalization, Rescaling
from tdfast.layers.shaping import Flatten, Permute, RepeatVector, Reshape
from tdfast.layers.time_distributed import TimeDistributed
from tdfast.layers.wrapper import Wrapper

if TYPE_CHECKING:                       # what `__getattr__` imports
    from tdfast.layers.preprocessing import (
        CategoryEncoding,
        Discretization,
        HashedCrossing,
        Hashing,
        IntegerLookup,
        StringLookup,
        TextVectorization,
    )
    from tdfast.layers.spectrogram import MelSpectrogram, STFTSpectrogram

_LATER = {
    "CategoryEncoding": "preprocessing",
    "Discretization": "preprocessing",
    "HashedCrossing": "preprocessing",
    "Hashing": "preprocessing",
    "IntegerLookup": "preprocessing",
    "StringLookup": "preprocessing",
    "TextVectorization": "preprocessing",
    "MelSpectrogram": "spectrogram",
    "STFTSpectrogram": "spectrogram",
}
"""Layers whose modules are imported when they are first used: most models do without."""


def __dir__() -> list[str]:
    return sorted({*globals(), *_LATER})


if not TYPE_CHECKING:             # a checker knows what is not there by itself

    def __getattr__(name: str) -> object:
        if name in _LATER:
            found = getattr(importlib.import_module(f"tdfast.layers.{_LATER[name]}"), name)
            globals()[name] = found
            return found
        return absent.lookup(__name__)(name)

__all__ = [
    "Activation",
    "ActivityRegularization",
    "AdaptiveAveragePooling1D",
    "AdaptiveAveragePooling2D",
    "AdaptiveAveragePooling3D",
    "AdaptiveMaxPooling1D",
    "AdaptiveMaxPooling2D",
    "AdaptiveMaxPooling3D",
    "Add",
    "AdditiveAttention",
    "AlphaDropout",
    "Attention",
    "Average",
    "AveragePooling1D",
    "AveragePooling2D",
    "AveragePooling3D",
    "AvgPool1D",
    "AvgPool2D",
    "AvgPool3D",
    "BatchNormalization",
    "Bidirectional",
    "CategoryEncoding",
    "Cell",
    "Concatenate",
    "Conv1D",
    "Conv1DTranspose",
    "Conv2D",
    "Conv2DTranspose",
    "Conv3D",
    "Conv3DTranspose",
    "ConvLSTM1D",
    "ConvLSTM2D",
    "ConvLSTM3D",
    "Convolution1D",
    "Convolution1DTranspose",
    "Convolution2D",
    "Convolution2DTranspose",
    "Convolution3D",
    "Convolution3DTranspose",
    "Cropping1D",
    "Cropping2D",
    "Cropping3D",
    "Dense",
    "DepthwiseConv1D",
    "DepthwiseConv2D",
    "Discretization",
    "Dot",
    "Dropout",
    "ELU",
    "EinsumDense",
    "Embedding",
    "Flatten",
    "GRU",
    "GRUCell",
    "GaussianDropout",
    "GaussianNoise",
    "GlobalAveragePooling1D",
    "GlobalAveragePooling2D",
    "GlobalAveragePooling3D",
    "GlobalAvgPool1D",
    "GlobalAvgPool2D",
    "GlobalAvgPool3D",
    "GlobalMaxPool1D",
    "GlobalMaxPool2D",
    "GlobalMaxPool3D",
    "GlobalMaxPooling1D",
    "GlobalMaxPooling2D",
    "GlobalMaxPooling3D",
    "GroupNormalization",
    "GroupQueryAttention",
    "HashedCrossing",
    "Hashing",
    "Identity",
    "Input",
    "InputLayer",
    "IntegerLookup",
    "LSTM",
    "LSTMCell",
    "Lambda",
    "Layer",
    "LayerNormalization",
    "LeakyReLU",
    "Masking",
    "MaxPool1D",
    "MaxPool2D",
    "MaxPool3D",
    "MaxPooling1D",
    "MaxPooling2D",
    "MaxPooling3D",
    "Maximum",
    "MelSpectrogram",
    "Minimum",
    "MultiHeadAttention",
    "Multiply",
    "Normalization",
    "PReLU",
    "Permute",
    "RMSNormalization",
    "RNN",
    "ReLU",
    "RepeatVector",
    "Rescaling",
    "Reshape",
    "STFTSpectrogram",
    "SeparableConv1D",
    "SeparableConv2D",
    "SeparableConvolution1D",
    "SeparableConvolution2D",
    "SimpleRNN",
    "SimpleRNNCell",
    "Softmax",
    "SpatialDropout1D",
    "SpatialDropout2D",
    "SpatialDropout3D",
    "SpectralNormalization",
    "StackedRNNCells",
    "StringLookup",
    "Subtract",
    "TextVectorization",
    "TimeDistributed",
    "UnitNormalization",
    "UpSampling1D",
    "UpSampling2D",
    "UpSampling3D",
    "Wrapper",
    "ZeroPadding1D",
    "ZeroPadding2D",
    "ZeroPadding3D",
    "add",
    "average",
    "concatenate",
    "deserialize",
    "dot",
    "maximum",
    "minimum",
    "multiply",
    "serialize",
    "subtract",
]
