"""What users pass, as the arrays that layers and kernels take."""

import numpy as np


def as_array(x, dtype, who):
    """Any array-like as a C-contiguous NumPy array of ``dtype``, refused clearly if it holds no numbers."""
    x = np.asarray(x)
    if x.dtype.kind not in "fiub":
        raise ValueError(
            f"{who} expects an array of numbers, got dtype {x.dtype}. "
            + ("Sequences of different lengths must be padded to one length first." if x.dtype == object
               else "Convert it to numbers first, for example with .astype('float32').")
        )
    return np.ascontiguousarray(x, dtype=dtype) if x.ndim else x.astype(dtype)


def as_mask(mask, x, who):
    """A mask as contiguous booleans of shape (batch, time), or None."""
    if mask is None:
        return None
    mask = np.ascontiguousarray(mask, dtype=bool)
    if mask.ndim < 1 or mask.shape != x.shape[: mask.ndim]:
        raise ValueError(
            f"Layer '{who}': a mask must have the input's first dimensions, {x.shape[:2]}, got shape {mask.shape}."
        )
    return mask
