"""Where scripts look for it, as in `keras.preprocessing`: windows of time series, and `sequence`."""

from tdfast.preprocessing import sequence
from tdfast.windows import timeseries_dataset_from_array

__all__ = ["sequence", "timeseries_dataset_from_array"]
