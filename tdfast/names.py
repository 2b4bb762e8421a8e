"""Names in Keras's way: LSTM -> 'lstm', then 'lstm_1'; TimeDistributed -> 'time_distributed'."""

import re

_counts = {}


def snake_case(name):
    """``TimeDistributed`` -> ``time_distributed``; ``LSTM`` -> ``lstm``; ``Conv2D`` -> ``conv2d``.

    >>> snake_case("TimeDistributed"), snake_case("Conv2D"), snake_case("GlobalMaxPooling1D")
    ('time_distributed', 'conv2d', 'global_max_pooling1d')
    """
    name = re.sub(r"\W+", "", name)
    name = re.sub(r"(.)([A-Z][a-z]+)", r"\1_\2", name)
    return re.sub(r"([a-z])([A-Z])", r"\1_\2", name).lower()


def unique_name(prefix):
    """``prefix`` the first time, then ``prefix_1``, ``prefix_2``, ..."""
    n = _counts.get(prefix, 0)
    _counts[prefix] = n + 1
    return prefix if n == 0 else f"{prefix}_{n}"


def reset():
    """Count from the beginning again (``tdfast.utils.clear_session``)."""
    _counts.clear()
