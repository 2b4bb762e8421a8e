"""Handwritten digits: 60,000 images to train and 10,000 to test."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tdfast.compat.calling import spelled
from tdfast.datasets import files

if TYPE_CHECKING:
    from tdfast.engine.types import Array

__all__ = ["load_data"]


@spelled
def load_data(path: str = "mnist.npz") -> tuple[tuple[Array, Array], tuple[Array, Array]]:
    """Images (n, 28, 28) of numbers from 0 to 255 and the digits (n,), both uint8: `keras.datasets.mnist`.

    Row by row, an image is a sequence of 28 steps of 28 features.

    Args:
        path: the file's name in the cache.

    Returns:
        ``(x_train, y_train), (x_test, y_test)``.

    >>> (x, y), (x_test, y_test) = load_data()          # doctest: +SKIP
    >>> x.shape, y.shape                                # doctest: +SKIP
    ((60000, 28, 28), (60000,))
    """
    data = files.arrays_of(files.from_google(
        "mnist.npz", "731c5ac602752760c8e48fbffcf8c3b850d9dc2a2aedcf2cc48468fc17b673d1", path))
    return (data["x_train"], data["y_train"]), (data["x_test"], data["y_test"])
