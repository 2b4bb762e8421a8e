"""The progress bar of fit, evaluate and predict, with Keras's text."""

from __future__ import annotations

import math
import re
import sys
import time
from typing import TYPE_CHECKING, Any

import numpy as np

from tdfast.callbacks.base import Callback
from tdfast.engine.console import columns, is_terminal, say

if TYPE_CHECKING:
    from tdfast.engine.types import Logs, Verbose

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

    writes = True

    def __init__(self, verbose: Verbose = "auto", epochs: int = 1, steps: Any = None) -> None:
        super().__init__()
        self._set(verbose, epochs, steps)
        self._in_fit = False
        self._bar: Any = None
        self._reset()

    def _set(self, verbose: Verbose, epochs: int, steps: int | None) -> None:
        if verbose not in ("auto", 0, 1, 2):
            raise ValueError(f"verbose must be 'auto', 0, 1 or 2, got {verbose!r}.")
        self.verbose = 1 if verbose == "auto" else int(verbose)
        self.epochs = epochs
        self.steps = steps
        self.live = self.verbose == 1 and is_terminal()

    def set_params(self, params: dict[str, Any]) -> None:
        super().set_params(params)
        if params:
            self._set(
                params.get("verbose", self.verbose),
                params.get("epochs", self.epochs),
                params.get("steps", self.steps),
            )

    def needs_batches(self, kind: str) -> bool:
        # Without a bar, batches are counted only while nobody knows how many there are.
        return self.live or (self.verbose > 0 and self.steps is None)

    def due(self, kind: str, batch: int) -> bool:
        """Count a batch, and say whether the bar is to be drawn again: `CallbackList` asks."""
        if kind == "test" and self._in_fit:
            return False
        self._seen = self._done(batch)
        return self.live and time.perf_counter() - self._drawn >= INTERVAL

    def _done(self, batch: int) -> int:
        """How many batches are done after this one: a group that ends an epoch may not be whole."""
        return min(batch + 1, self.steps or batch + 1)

    # ---------------------------------------------------------------- hooks
    def on_abort(self) -> None:
        self._in_fit = False
        self.close()

    def on_train_begin(self, logs: Logs | None = None) -> None:
        self._in_fit = True

    def on_train_end(self, logs: Logs | None = None) -> None:
        self._in_fit = False
        self.close()

    def on_epoch_begin(self, epoch: int, logs: Logs | None = None) -> None:
        self._reset()
        self._epoch = f"Epoch {epoch + 1}/{self.epochs}" if self.epochs > 1 else ""
        if self._epoch and (self.live or self.verbose == 2):
            say(self._epoch)

    def on_train_batch_end(self, batch: int, logs: Logs | None = None) -> None:
        self._draw(self._done(batch), logs)

    def on_epoch_end(self, epoch: int, logs: Logs | None = None) -> None:
        self._finish(logs)

    def on_test_begin(self, logs: Logs | None = None) -> None:
        if not self._in_fit:
            self._reset()

    def on_test_batch_end(self, batch: int, logs: Logs | None = None) -> None:
        if not self._in_fit:
            self._draw(self._done(batch), logs)

    def on_test_end(self, logs: Logs | None = None) -> None:
        if not self._in_fit:
            self._finish(logs)

    def on_predict_begin(self, logs: Logs | None = None) -> None:
        self._reset()

    def on_predict_batch_end(self, batch: int, logs: Logs | None = None) -> None:
        self._draw(self._done(batch), None)

    def on_predict_end(self, logs: Logs | None = None) -> None:
        self._finish(None)

    # ---------------------------------------------------------------- output
    def _reset(self) -> None:
        self.close()
        self._start = time.perf_counter()
        self._drawn = -math.inf
        self._seen = 0
        self._epoch = ""

    def _draw(self, done: int, logs: Logs | None) -> None:
        now = time.perf_counter()
        self._seen = done
        if not self.live or now - self._drawn < INTERVAL:
            return
        self._drawn = now
        per_step = (now - self._start) / max(done, 1)
        left = duration(per_step * max(self.steps - done, 0)) if self.steps else f"{now - self._start:.0f}s"
        if self._bar is None:
            self._bar = _line()
        self._bar.set_description_str(running(done, self.steps, left, step_time(per_step), logs, columns()))

    def _finish(self, logs: Logs | None) -> None:
        """The last state of an epoch, which stays."""
        if self.verbose == 0:
            return
        if self.steps is None:
            self.steps = self._seen or None
        done = self.steps or self._seen
        seconds = time.perf_counter() - self._start
        rate = step_time(seconds / max(done, 1))
        if self.live:
            self.close(leave=False)
            say(f"{progress(done, self.steps)} {_bold(f'{seconds:.0f}s')}{rate}{numbers(logs)}")
            return
        count = f"{done}/{done} - " if done else ""
        text = f"{count}{seconds:.0f}s -{rate}{numbers(logs, signed=self.verbose == 1)}"
        if self.verbose == 1 and self._epoch:
            text = f"{self._epoch} - {text}"
        say(text)

    def close(self, leave: bool = True) -> None:
        """Leave the bar as it stands and go to the next line; or take it away."""
        if self._bar is not None:
            self._bar.leave = leave
            self._bar.close()
            self._bar = None


def progress(done: int, steps: int | None, width: int = BAR_WIDTH) -> str:
    """``12/50 ━━━━━━━━━━━━━━━━━━━━``, in the terminal's bold, green and white."""
    if not steps:
        return f"{done:7d}/Unknown"
    count = _bold(f"{done:{len(str(steps))}d}/{steps}")
    if width < 1:
        return count
    full = int(width * min(done / steps, 1))
    green = f"\33[32m{'━' * full}\33[0m" if full else ""
    return f"{count} {green}\33[37m{'━' * (width - full)}\33[0m"


def running(done: int, steps: int | None, left: str, rate: Any, logs: Logs | None, room: int | None = None,
            width: int = BAR_WIDTH) -> str:
    """The line while batches come, within ``room`` characters, so that the next one can be written over it.

    Where it is too long, the bar shrinks first. Then metrics go, the last one first, then the times, and the
    losses at the end.

    Args:
        done, steps: batches, and how many there will be (None: not known).
        left, rate: the times to show, as text.
        logs: dict from names to numbers, or None.
        room: None: as long as it gets.
        width: of the bar at most.

    >>> for room in (55, 40, 26):
    ...     print(plain(running(2, 5, "3s", " 1s/step", {"loss": 0.5, "mae": 0.25}, room)))
    2/5 ━━━━━━━━━━━ 3s 1s/step - loss: 0.5000 - mae: 0.2500
    2/5 ━━━━━━━━━━ 3s 1s/step - loss: 0.5000
    2/5 ━━━━ 3s - loss: 0.5000
    """
    parts: dict[Any, str] = {"left": f" {_bold(left)}", "rate": rate}
    parts.update((("log", name), numbers({name: value})) for name, value in (logs or {}).items())
    if room is None:
        return progress(done, steps, width) + "".join(parts.values())
    losses = [("log", name) for name in ("val_loss", "loss")]
    for key in [*(k for k in [*parts][:1:-1] if k not in losses), "rate", "left", *losses, None]:
        free = room - len(plain(progress(done, steps, 0))) - sum(len(plain(text)) for text in parts.values())
        if free >= 0:
            break
        parts.pop(key, None)
    return progress(done, steps, min(width, free - 1)) + "".join(parts.values())


def plain(text: str) -> str:
    """``text`` without the codes for colours.

    >>> plain(progress(1, 2, 4))
    '1/2 ━━━━'
    """
    return re.sub(r"\x1b\[\d*m", "", text)


class Progbar:
    """A progress bar for a loop of your own, as `keras.utils.Progbar`.

    In a terminal or a notebook it is drawn again as it grows; elsewhere one line is printed at the end.

    Args:
        target: how many steps there will be; None: not known.
        width: of the bar, in characters.
        verbose: 0 is silent, 1 draws the bar, 2 prints a line at the end.
        interval: seconds between two drawings at least.
        stateful_metrics: names whose values are shown as they are; all others are averaged over the steps.
        stateless_metrics: names whose values are averaged; all others are shown as they are. Not with the
            former.
        unit_name: what a step is called.

    >>> bar = Progbar(2, verbose=2)
    >>> bar.add(1, [("loss", 0.5)])
    >>> bar.add(1, [("loss", 0.25)])                    # doctest: +ELLIPSIS
    2/2 - 0s - .../step - loss: 0.2500
    """

    def __init__(self, target: Any, width: int = BAR_WIDTH, verbose: Verbose = 1, interval: Any = INTERVAL,
                 stateful_metrics: Any = None, stateless_metrics: Any = None,
                 unit_name: str = "step") -> None:
        if stateful_metrics is not None and stateless_metrics is not None:
            raise ValueError("Progbar: give stateful_metrics or stateless_metrics, not both.")
        if verbose not in (0, 1, 2):
            raise ValueError(f"Progbar: verbose must be 0, 1 or 2, got {verbose!r}.")
        self.target, self.width, self.verbose, self.interval, self.unit_name = (
            target,
            width,
            verbose,
            interval,
            unit_name,
        )
        self._stateful = None if stateful_metrics is None else set(stateful_metrics)
        self._stateless = None if stateless_metrics is None else set(stateless_metrics)
        self._sums: dict[Any, Any] = {}
        self._seen = 0
        self._drawn = -math.inf
        self._length = 0
        self._start = time.perf_counter()

    def update(self, current: Any, values: Any = None, finalize: Any = None) -> None:
        """Go to step ``current``.

        Args:
            current: the steps done.
            values: a list of (name, value); the last update's are shown as they are given, as in Keras.
            finalize: whether this is the end; None: when ``current`` reaches the target.
        """
        if finalize is None:
            finalize = self.target is not None and current >= self.target
        steps = max(current - self._seen, 1)
        for name, value in values or []:
            averaged = (
                name in self._stateless if self._stateless is not None else name not in (self._stateful or ())
            )
            total, count = self._sums.get(name, (0.0, 0)) if averaged and not finalize else (0.0, 0)
            weight = steps if averaged and not finalize else 1
            self._sums[name] = (total + float(value) * weight, count + weight)
        self._seen = current
        now = time.perf_counter()
        live = self.verbose == 1 and is_terminal()
        if self.verbose and (finalize or (live and now - self._drawn >= self.interval)):
            self._drawn = now
            self._show(current, now - self._start, finalize, live)

    def add(self, n: Any, values: Any = None) -> Any:
        """Go ``n`` steps further."""
        self.update(self._seen + n, values)

    def _show(self, current: Any, seconds: Any, finalize: Any, live: Any) -> None:
        means = {name: total / count for name, (total, count) in self._sums.items()}
        each = seconds / max(current, 1)
        if not live:
            count = (
                f"{current:{len(str(self.target))}d}/{self.target}" if self.target else f"{current}/Unknown"
            )
            text = f"{count} - {seconds:.0f}s -{step_time(each, self.unit_name)}"
            text += numbers(means, signed=self.verbose == 1)
            say(text)
            return
        left = duration(each * (self.target - current)) if self.target and not finalize else f"{seconds:.0f}s"
        room = None if finalize else columns()
        text = running(current, self.target, left, step_time(each, self.unit_name), means, room, self.width)
        length = len(plain(text))
        sys.stdout.write("\r" + text + " " * (self._length - length) + "\n" * finalize)
        sys.stdout.flush()
        self._length = length


def _line() -> Any:
    """A line of the terminal that is written over, by tqdm."""
    from tqdm import tqdm

    class Line(tqdm):
        # No watching thread: the loop draws often enough, and threads do not survive a fork.
        monitor_interval = 0

    # Its width is seen to above: tqdm would cut the line to that of the terminal as it was at first.
    return Line(bar_format="{desc}", file=sys.stdout, mininterval=0, leave=True, ncols=sys.maxsize)


def numbers(logs: Logs | None, signed: bool = True) -> str:
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


def step_time(seconds: float, unit: str = "step") -> str:
    """`` 12ms/step``.

    >>> step_time(2.0), step_time(0.0123), step_time(0.00045)
    (' 2s/step', ' 12ms/step', ' 450us/step')
    """
    if seconds >= 1 or seconds == 0:
        return f" {seconds:.0f}s/{unit}"
    if seconds >= 1e-3:
        return f" {seconds * 1e3:.0f}ms/{unit}"
    return f" {seconds * 1e6:.0f}us/{unit}"


def duration(seconds: float) -> str:
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


def _bold(text: str) -> str:
    return f"\33[1m{text}\33[0m"
