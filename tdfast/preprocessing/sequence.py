"""As in `keras.preprocessing.sequence`: padding. The function is that of `tdfast.utils`."""

from tdfast.compat import absent
from tdfast.utils import pad_sequences

__getattr__ = absent.lookup(__name__)

__all__ = ["pad_sequences"]
