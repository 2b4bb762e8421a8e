"""Small images of a hundred kinds of things: 50,000 to train and 10,000 to test."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from tdfast.compat.calling import spelled
from tdfast.datasets import cifar

if TYPE_CHECKING:
    from tdfast.engine.types import Array

__all__ = ["load_data"]


@spelled
def load_data(label_mode: str = "fine") -> tuple[tuple[Array, Array], tuple[Array, Array]]:
    """Images (n, 32, 32, 3) of numbers from 0 to 255, uint8, and labels (n, 1): `keras.datasets.cifar100`.

    Args:
        label_mode: 'fine' for labels from 0 to 99, 'coarse' for those of their 20 groups.

    Returns:
        ``(x_train, y_train), (x_test, y_test)``.

    Raises:
        ValueError: for another ``label_mode``.

    >>> (x, y), (x_test, y_test) = load_data("coarse")          # doctest: +SKIP
    >>> x.shape, y.max()                                        # doctest: +SKIP
    ((50000, 32, 32, 3), 19)
    """
    if label_mode not in ("fine", "coarse"):
        raise ValueError(f"cifar100.load_data: label_mode must be 'fine' or 'coarse', got {label_mode!r}.")
    folder = cifar.folder_of("cifar-100-python", "cifar-100-python",
                             "85cd44d02ba6437773c5bbd22e183051d648de2e7d6b014e1ef29b855ba677a7")
    train, test = (cifar.read(os.path.join(folder, part), f"{label_mode}_labels")
                   for part in ("train", "test"))
    return train, test
