"""As in `keras.preprocessing.sequence`: padding. The function is that of `tdfast.utils`."""

from typing import TYPE_CHECKING

from tdfast.compat import absent
from tdfast.utils import pad_sequences

if not TYPE_CHECKING:             # a checker knows what is not there by itself
    __getattr__ = absent.lookup(__name__)

__all__ = ["pad_sequences"]
