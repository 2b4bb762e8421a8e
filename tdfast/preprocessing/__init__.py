"""Where scripts look for it, as in `keras.preprocessing`: windows of time series, and `sequence`."""

from typing import TYPE_CHECKING

from tdfast.compat import absent
from tdfast.preprocessing import sequence
from tdfast.utils.timeseries import timeseries_dataset_from_array

if not TYPE_CHECKING:             # a checker knows what is not there by itself
    __getattr__ = absent.lookup(__name__)

__all__ = ["sequence", "timeseries_dataset_from_array"]
