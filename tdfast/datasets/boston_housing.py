"""Prices of houses in Boston in 1978, by 506 districts. Keras's authors prefer `california_housing`."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tdfast.compat.calling import spelled
from tdfast.datasets import files

if TYPE_CHECKING:
    from tdfast.engine.types import Array

__all__ = ["load_data"]


@spelled
def load_data(path: str = "boston_housing.npz", test_split: float = 0.2,
              seed: int = 113) -> tuple[tuple[Array, Array], tuple[Array, Array]]:
    """Features (n, 13) and the median price in thousands of dollars (n,): `keras.datasets.boston_housing`.

    One of the features counts the Black inhabitants of a district, which is why many no longer use these
    data: take `california_housing`, whose small version is as large.

    Args:
        path: the file's name in the cache.
        test_split: the share of the samples that tests, from 0 to below 1.
        seed: of the draw of these.

    Returns:
        ``(x_train, y_train), (x_test, y_test)``.

    Raises:
        ValueError: for a number that is not a share.

    >>> (x, y), (x_test, y_test) = load_data()          # doctest: +SKIP
    >>> x.shape, x_test.shape                           # doctest: +SKIP
    ((404, 13), (102, 13))
    """
    files.check_split(test_split, "boston_housing.load_data")
    data = files.arrays_of(files.from_google(
        "boston_housing.npz", "f553886a1f8d56431e820c5b82552d9d95cfcb96d1e678153f8839538947dff5", path))
    return files.split(data["x"], data["y"], test_split, seed)
