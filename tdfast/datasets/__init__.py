"""The data sets of `keras.datasets`: the same files, splits and orders, as NumPy arrays.

Each is downloaded once, by `tdfast.utils.get_file`, into the folder that Keras uses too.
"""

import importlib
from typing import TYPE_CHECKING, Any

from tdfast.compat import absent

_MODULES = ("boston_housing", "california_housing", "cifar10", "cifar100", "fashion_mnist", "imdb", "mnist",
            "reuters")

if TYPE_CHECKING:                 # what `__getattr__` imports
    from tdfast.datasets import (
        boston_housing,
        california_housing,
        cifar10,
        cifar100,
        fashion_mnist,
        imdb,
        mnist,
        reuters,
    )
else:

    def __getattr__(name: str) -> Any:
        """Modules are imported when they are first used."""
        if name in _MODULES:
            return importlib.import_module(f"tdfast.datasets.{name}")
        return absent.lookup(__name__)(name)


__all__ = ["boston_housing", "california_housing", "cifar10", "cifar100", "fashion_mnist", "imdb", "mnist",
           "reuters"]


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
