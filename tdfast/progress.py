"""The progress bar of fit, evaluate and predict, with Keras's text."""

import math
import sys
import time

import numpy as np

from tdfast.callbacks.base import Callback

BAR_WIDTH = 20
INTERVAL = 0.05
"""Seconds between two drawings of the bar."""


class ProgbarLogger(Callback):
    """Prints how far fit, evaluate or predict is: a callback that goes last in the list.

    verbose=1 draws a bar that fills while an epoch runs; where the output is no terminal it prints
    exactly one line an epoch instead. verbose=2 prints a line "Epoch 1/5" and one with the result.
    Each `evaluate` or `predict` counts as one epoch; a validation in `fit` shows nothing of its own.

    Args:
        verbose: 0 (nothing), 1, 2 or 'auto' (1).
        epochs: the last epoch's number.
        steps: batches in an epoch; None: not known before the first epoch ends.

    Attributes:
        live: whether a bar is drawn, so that batches have to be reported.

    Raises:
        ValueError: for another verbose.

    >>> bar = ProgbarLogger(verbose=0)
    >>> bar.needs_batches("train")
    False
    """

    def __init__(self, verbose="auto", epochs=1, steps=None):
        super().__init__()
        self._set(verbose, epochs, steps)
        self._in_fit = False
        self._bar = None
        self._reset()

    def _set(self, verbose, epochs, steps):
        if verbose not in ("auto", 0, 1, 2):
            raise ValueError(f"verbose must be 'auto', 0, 1 or 2, got {verbose!r}.")
        self.verbose = 1 if verbose == "auto" else int(verbose)
        self.epochs = epochs
        self.steps = steps
        self.live = self.verbose == 1 and is_terminal()

    def set_params(self, params):
        super().set_params(params)
        if params:
            self._set(
                params.get("verbose", self.verbose),
                params.get("epochs", self.epochs),
                params.get("steps", self.steps),
            )

    def needs_batches(self, kind):
        # Without a bar, batches are counted only while nobody knows how many there are.
        return self.live or (self.verbose > 0 and self.steps is None)

    def due(self, kind, batch):
        """Count a batch, and say whether the bar is to be drawn again: `CallbackList` asks."""
        if kind == "test" and self._in_fit:
            return False
        self._seen = batch + 1
        return self.live and time.perf_counter() - self._drawn >= INTERVAL

    # ---------------------------------------------------------------- hooks
    def on_abort(self):
        self._in_fit = False
        self.close()

    def on_train_begin(self, logs=None):
        self._in_fit = True

    def on_train_end(self, logs=None):
        self._in_fit = False
        self.close()

    def on_epoch_begin(self, epoch, logs=None):
        self._reset()
        self._epoch = f"Epoch {epoch + 1}/{self.epochs}" if self.epochs > 1 else ""
        if self._epoch and (self.live or self.verbose == 2):
            print(self._epoch, flush=True)

    def on_train_batch_end(self, batch, logs=None):
        self._draw(batch + 1, logs)

    def on_epoch_end(self, epoch, logs=None):
        self._finish(logs)

    def on_test_begin(self, logs=None):
        if not self._in_fit:
            self._reset()

    def on_test_batch_end(self, batch, logs=None):
        if not self._in_fit:
            self._draw(batch + 1, logs)

    def on_test_end(self, logs=None):
        if not self._in_fit:
            self._finish(logs)

    def on_predict_begin(self, logs=None):
        self._reset()

    def on_predict_batch_end(self, batch, logs=None):
        self._draw(batch + 1, None)

    def on_predict_end(self, logs=None):
        self._finish(None)

    # ---------------------------------------------------------------- output
    def _reset(self):
        self.close()
        self._start = time.perf_counter()
        self._drawn = -math.inf
        self._seen = 0
        self._epoch = ""

    def _draw(self, done, logs):
        now = time.perf_counter()
        self._seen = done
        if not self.live or now - self._drawn < INTERVAL:
            return
        self._drawn = now
        per_step = (now - self._start) / max(done, 1)
        if self.steps:
            left = _bold(duration(per_step * max(self.steps - done, 0)))
        else:
            left = _bold(f"{now - self._start:.0f}s")
        self._show(f"{self._progress(done)} {left}{step_time(per_step)}{numbers(logs)}")

    def _finish(self, logs):
        """The last state of an epoch, which stays."""
        if self.verbose == 0:
            return
        if self.steps is None:
            self.steps = self._seen or None
        done = self.steps or self._seen
        seconds = time.perf_counter() - self._start
        rate = step_time(seconds / max(done, 1))
        if self.live:
            self._show(f"{self._progress(done)} {_bold(f'{seconds:.0f}s')}{rate}{numbers(logs)}")
            self.close()
            return
        count = f"{done}/{done} - " if done else ""
        text = f"{count}{seconds:.0f}s -{rate}{numbers(logs, signed=self.verbose == 1)}"
        if self.verbose == 1 and self._epoch:
            text = f"{self._epoch} - {text}"
        print(text, flush=True)

    def _progress(self, done):
        """``12/50 ━━━━━━━━━━━━━━━━━━━━``, in the terminal's bold, green and white."""
        if not self.steps:
            return f"{done:7d}/Unknown"
        full = int(BAR_WIDTH * min(done / self.steps, 1))
        digits = len(str(self.steps))
        green = f"\33[32m{'━' * full}\33[0m" if full else ""
        return f"{_bold(f'{done:{digits}d}/{self.steps}')} {green}\33[37m{'━' * (BAR_WIDTH - full)}\33[0m"

    def _show(self, text):
        if self._bar is None:
            self._bar = _line()
        self._bar.set_description_str(text)

    def close(self):
        """Leave the bar as it stands and go to the next line."""
        if self._bar is not None:
            self._bar.close()
            self._bar = None


def _line():
    """A line of the terminal that is written over, by tqdm."""
    from tqdm import tqdm

    class Line(tqdm):
        # No watching thread: the loop draws often enough, and threads do not survive a fork.
        monitor_interval = 0

    return Line(bar_format="{desc}", file=sys.stdout, mininterval=0, leave=True)


def is_terminal():
    """Whether what is printed can be written over: a terminal or a notebook."""
    return "ipykernel" in sys.modules or bool(getattr(sys.stdout, "isatty", lambda: False)())


def numbers(logs, signed=True):
    """`` - loss: 0.1234 - mae: 5.6000e-04``: four digits, with an exponent from 0.001 down.

    Args:
        logs: dict from names to numbers (or arrays, whose mean is shown), or None.
        signed: False writes all negative numbers with an exponent, as Keras's verbose=2 does.

    >>> numbers({"loss": 1.23456, "mae": 0.00056, "score": -0.5})
    ' - loss: 1.2346 - mae: 5.6000e-04 - score: -0.5000'
    """
    out = ""
    for name, value in (logs or {}).items():
        value = float(np.mean(value))           # of several numbers, as of F1Score for each class, the mean
        size = abs(value) if signed else value
        out += f" - {name}: {value:.4f}" if size > 1e-3 else f" - {name}: {value:.4e}"
    return out


def step_time(seconds):
    """`` 12ms/step``.

    >>> step_time(2.0), step_time(0.0123), step_time(0.00045)
    (' 2s/step', ' 12ms/step', ' 450us/step')
    """
    if seconds >= 1 or seconds == 0:
        return f" {seconds:.0f}s/step"
    if seconds >= 1e-3:
        return f" {seconds * 1e3:.0f}ms/step"
    return f" {seconds * 1e6:.0f}us/step"


def duration(seconds):
    """``7s``, ``1:05`` or ``2:00:09``.

    >>> duration(7.9), duration(65), duration(7209)
    ('7s', '1:05', '2:00:09')
    """
    seconds = int(seconds)
    if seconds > 3600:
        return f"{seconds // 3600}:{seconds % 3600 // 60:02d}:{seconds % 60:02d}"
    if seconds > 60:
        return f"{seconds // 60}:{seconds % 60:02d}"
    return f"{seconds}s"


def _bold(text):
    return f"\33[1m{text}\33[0m"
