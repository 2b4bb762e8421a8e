"""What users pass, as the arrays that layers and kernels take."""

import numpy as np


def as_array(x, dtype, who):
    """Any array-like as a C-contiguous NumPy array of ``dtype``, refused clearly if it holds no numbers.

    NumPy's protocols are used, so a torch, JAX or TensorFlow tensor on the CPU, or a pandas frame, is
    copied only where its dtype or its memory order needs it.
    """
    x = as_numbers(x, who)
    return np.ascontiguousarray(x, dtype=dtype) if x.ndim else x.astype(dtype)


def as_numbers(x, who):
    """Any array-like as a NumPy array of numbers or booleans, of whatever dtype it has."""
    if hasattr(x, "detach") and hasattr(x, "numpy"):
        x = x.detach()                      # torch refuses to hand over a tensor that wants a gradient
    try:
        array = np.asarray(x)
    except (ValueError, TypeError, RuntimeError) as error:
        raise ValueError(f"{who} expects an array of numbers, but {type(x).__name__} does not become one: {error}") from error
    if array.dtype == object and hasattr(x, "to_numpy"):
        array = _numbers_of_frame(x, array)
    if array.dtype.kind not in "fiub":
        raise ValueError(
            f"{who} expects an array of numbers, got dtype {array.dtype}. "
            + ("Sequences of different lengths must be padded to one length first (tdfast.utils.pad_sequences)."
               if array.dtype == object else "Convert it to numbers first, for example with .astype('float32').")
        )
    return array


def _numbers_of_frame(x, array):
    """A pandas frame whose columns are all numbers, each of a dtype of its own; else ``array``."""
    kinds = [getattr(dtype, "kind", "O") for dtype in np.ravel(np.asarray(x.dtypes, object))]
    return x.to_numpy(dtype=np.float64) if all(kind in "fiub" for kind in kinds) else array


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
