"""Small images of ten kinds of things: 50,000 to train and 10,000 to test."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import numpy as np

from tdfast.compat.calling import spelled
from tdfast.datasets import cifar

if TYPE_CHECKING:
    from tdfast.engine.types import Array

__all__ = ["load_data"]


@spelled
def load_data() -> tuple[tuple[Array, Array], tuple[Array, Array]]:
    """Images (n, 32, 32, 3) of numbers from 0 to 255 and labels (n, 1), both uint8: `keras.datasets.cifar10`.

    The labels are 0 airplane, 1 automobile, 2 bird, 3 cat, 4 deer, 5 dog, 6 frog, 7 horse, 8 ship and
    9 truck.

    Returns:
        ``(x_train, y_train), (x_test, y_test)``.

    >>> (x, y), (x_test, y_test) = load_data()          # doctest: +SKIP
    >>> x.shape, y.shape                                # doctest: +SKIP
    ((50000, 32, 32, 3), (50000, 1))
    """
    folder = cifar.folder_of("cifar-10-python", "cifar-10-batches-py",
                             "6d958be074577803d12ecdefd02955f39262c83c16fe9348329d7fe0b5c001ce")
    parts = [cifar.read(os.path.join(folder, f"data_batch_{i}")) for i in range(1, 6)]
    x, y = (np.concatenate(arrays) for arrays in zip(*parts))
    x_test, y_test = cifar.read(os.path.join(folder, "test_batch"))
    return (x, y.astype("uint8")), (x_test, y_test.astype("uint8"))
