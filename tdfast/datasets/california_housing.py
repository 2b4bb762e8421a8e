"""Prices of houses in California in 1990, by 20,640 districts."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tdfast.compat.calling import spelled
from tdfast.datasets import files

if TYPE_CHECKING:
    from tdfast.engine.types import Array

__all__ = ["load_data"]


@spelled
def load_data(version: str = "large", path: str = "california_housing.npz", test_split: float = 0.2,
              seed: int = 113) -> tuple[tuple[Array, Array], tuple[Array, Array]]:
    """Features (n, 8) and the median price in dollars (n,), float32: `keras.datasets.california_housing`.

    The features of a district are the median income, the age of the houses, the rooms and the bedrooms of a
    household, the inhabitants, the members of a household, latitude and longitude.

    Args:
        version: 'large' for all districts, 'small' for the first 600.
        path: the file's name in the cache.
        test_split: the share of the samples that tests, from 0 to below 1.
        seed: of the draw of these.

    Returns:
        ``(x_train, y_train), (x_test, y_test)``.

    Raises:
        ValueError: for another version, or a number that is not a share.

    >>> (x, y), (x_test, y_test) = load_data("small")           # doctest: +SKIP
    >>> x.shape, x_test.shape                                   # doctest: +SKIP
    ((480, 8), (120, 8))
    """
    who = "california_housing.load_data"
    files.check_split(test_split, who)
    if version not in ("small", "large"):
        raise ValueError(f"{who}: version must be 'small' or 'large', got {version!r}.")
    data = files.arrays_of(files.from_google(
        "california_housing.npz", "1a2e3a52e0398de6463aebe6f4a8da34fb21fbb6b934cf88c3425e766f2a1a6f", path))
    end = 600 if version == "small" else None
    return files.split(data["x"][:end], data["y"][:end], test_split, seed)
