"""Clothes of ten kinds, in the shape of mnist: 60,000 images to train and 10,000 to test."""

from __future__ import annotations

import gzip
import os
from typing import TYPE_CHECKING

import numpy as np

from tdfast.compat.calling import spelled
from tdfast.datasets import files

if TYPE_CHECKING:
    from tdfast.engine.types import Array

__all__ = ["load_data"]


@spelled
def load_data() -> tuple[tuple[Array, Array], tuple[Array, Array]]:
    """Images (n, 28, 28) of uint8 and labels (n,) of uint8: `keras.datasets.fashion_mnist`.

    The labels are 0 T-shirt or top, 1 trouser, 2 pullover, 3 dress, 4 coat, 5 sandal, 6 shirt, 7 sneaker,
    8 bag and 9 ankle boot. The arrays cannot be written to, as in Keras.

    Returns:
        ``(x_train, y_train), (x_test, y_test)``.

    >>> (x, y), (x_test, y_test) = load_data()          # doctest: +SKIP
    >>> x.shape, y.shape                                # doctest: +SKIP
    ((60000, 28, 28), (60000,))
    """
    # Keras's folder, which is within the folder "datasets" of the cache.
    folder = os.path.join("datasets", "fashion-mnist")
    parts = []
    for part in ("train", "t10k"):
        labels, images = (files.from_google(f"{part}-{name}-ubyte.gz", None, cache_subdir=folder)
                          for name in ("labels-idx1", "images-idx3"))
        y = _bytes_of(labels, 8)
        parts.append((_bytes_of(images, 16).reshape(len(y), 28, 28), y))
    return parts[0], parts[1]


def _bytes_of(path: str, offset: int) -> Array:
    with gzip.open(path, "rb") as file:
        return np.frombuffer(file.read(), np.uint8, offset=offset)
