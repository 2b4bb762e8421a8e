"""As in `keras.preprocessing.sequence`: padding. The function is that of `tdfast.utils`."""

from tdfast.utils import pad_sequences

__all__ = ["pad_sequences"]
