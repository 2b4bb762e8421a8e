"""Where scripts look for it, as in `keras.preprocessing`: windows of time series, texts of folders,
`sequence` and `text`."""

from typing import TYPE_CHECKING

from tdfast.compat import absent
from tdfast.preprocessing import sequence, text
from tdfast.utils.text_folders import text_dataset_from_directory
from tdfast.utils.timeseries import timeseries_dataset_from_array

if not TYPE_CHECKING:             # a checker knows what is not there by itself
    __getattr__ = absent.lookup(__name__)

__all__ = ["sequence", "text", "text_dataset_from_directory", "timeseries_dataset_from_array"]
