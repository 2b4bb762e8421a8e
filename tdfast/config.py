"""Settings of the whole process, as in `keras.config`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from tdfast import runtime
from tdfast.compat import absent

_floatx = "float32"

if not TYPE_CHECKING:             # a checker knows what is not there by itself
    __getattr__ = absent.lookup(__name__)


def floatx() -> str:
    """The default dtype of new layers.

    >>> floatx()
    'float32'
    """
    return _floatx


def set_floatx(value: str) -> None:
    """Make 'float32' or 'float64' the default dtype of new layers.

    Raises:
        ValueError: for another dtype.

    >>> set_floatx("float32")
    """
    global _floatx
    if value not in ("float32", "float64"):
        raise ValueError(f"set_floatx expects 'float32' or 'float64', got {value!r}.")
    _floatx = value


_check_finite = True


def check_finite() -> bool:
    """Whether fit, evaluate and predict refuse NaN and infinity in their data.

    >>> check_finite()
    True
    """
    return _check_finite


def set_check_finite(value: Any) -> None:
    """False lets NaN and infinity in x and y pass, for models that expect them.

    >>> set_check_finite(True)
    """
    global _check_finite
    _check_finite = bool(value)


def float32_matmul_precision() -> str:
    """The precision of float32's matrix products: 'highest', 'high' or 'medium'.

    >>> float32_matmul_precision()
    'highest'
    """
    return runtime.matmul_precision()


def set_float32_matmul_precision(precision: str) -> None:
    """Choose how exact the products of matrices in float32 layers are, as PyTorch's function of this name.

    A number x of a product is rounded to hi = bf16(x) and, in 'high', lo = bf16(x - hi):
    ``a b = hi(a) hi(b) [+ hi(a) lo(b) + lo(a) hi(b)]``. Sums are float32. It holds for recurrent layers,
    Dense, attention and convolutions, forward and backward, from the next call on, in this process: files and
    backups do not keep it. The environment variable TDFAST_MATMUL_PRECISION chooses from the start.
    docs/precision.md has bounds for the errors, and what stays float32.

    Args:
        precision: 'highest' (float32, the default), 'high' (two bfloat16 numbers in the place of one of
            float32) or 'medium' (one).

    Raises:
        ValueError: for another name.

    Source: https://docs.pytorch.org/docs/stable/generated/torch.set_float32_matmul_precision.html.

    >>> set_float32_matmul_precision("medium")
    >>> float32_matmul_precision()
    'medium'
    >>> set_float32_matmul_precision("highest")
    """
    runtime.set_matmul_precision(precision, "set_float32_matmul_precision")


_interactive = True


def enable_interactive_logging() -> None:
    """Print progress, summaries and callbacks' lines on the standard output: the default.

    >>> enable_interactive_logging()
    """
    global _interactive
    _interactive = True


def disable_interactive_logging() -> None:
    """Send progress, summaries and callbacks' lines to Python's logging instead, as level INFO of the logger
    'tdfast'.

    >>> disable_interactive_logging()
    >>> is_interactive_logging_enabled()
    False
    >>> enable_interactive_logging()
    """
    global _interactive
    _interactive = False


def is_interactive_logging_enabled() -> bool:
    """Whether lines are printed (True) or logged (False).

    >>> is_interactive_logging_enabled()
    True
    """
    return _interactive


def backend() -> str:
    """The name of what computes.

    >>> backend()
    'tdfast'
    """
    return "tdfast"
