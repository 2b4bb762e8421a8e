"""Settings of the whole process, as in `keras.config`."""

_floatx = "float32"


def floatx():
    """The default dtype of new layers.

    >>> floatx()
    'float32'
    """
    return _floatx


def set_floatx(value):
    """Make 'float32' or 'float64' the default dtype of new layers."""
    global _floatx
    if value not in ("float32", "float64"):
        raise ValueError(f"set_floatx expects 'float32' or 'float64', got {value!r}.")
    _floatx = value


_check_finite = True


def check_finite():
    """Whether fit, evaluate and predict refuse NaN and infinity in their data."""
    return _check_finite


def set_check_finite(value):
    """False lets NaN and infinity in x and y pass, for models that expect them.

    >>> set_check_finite(True)
    """
    global _check_finite
    _check_finite = bool(value)
