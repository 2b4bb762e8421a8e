"""How often a callback writes a file: at each epoch's end, or every so many batches."""

from __future__ import annotations

from typing import Any


class Frequency:
    """Counts batches over all epochs.

    Args:
        value: 'epoch', or a whole number of batches of at least 1.
        what: the argument, for the error.

    Raises:
        ValueError: for anything else.

    >>> every = Frequency(2, "ModelCheckpoint: save_freq")
    >>> [every.batch_is_due() for _ in range(4)]
    [False, True, False, True]
    """

    def __init__(self, value: Any, what: str) -> None:
        whole = hasattr(value, "__index__") and not isinstance(value, bool)
        if value != "epoch" and not (whole and int(value) >= 1):
            raise ValueError(
                f"{what} must be 'epoch' or a whole number of batches of at least 1, got {value!r}."
            )
        self.batches = None if value == "epoch" else int(value)
        self.seen = 0

    def batch_is_due(self, count: int = 1) -> bool:
        """Count a batch, or several of which the callback is told at once, and say whether it is time."""
        self.seen += count
        if self.batches is None or self.seen < self.batches:
            return False
        self.seen = 0
        return True
