"""The progress bar on a terminal of its own: what stays on the screen, column by column."""

import contextlib
import os
import re
import struct
import threading

import pytest

pty = pytest.importorskip("pty", reason="there are no such terminals")
import fcntl  # noqa: E402
import termios  # noqa: E402

from test_callbacks import without_times  # noqa: E402

from tdfast.callbacks import CallbackList, progress  # noqa: E402
from tdfast.utils import Progbar  # noqa: E402


class Screen:
    """A terminal of so many columns: what is written to its ``file`` appears in ``rows``."""

    def __init__(self, width):
        self.width, self.text = width, b""
        self.end, other = pty.openpty()
        fcntl.ioctl(other, termios.TIOCSWINSZ, struct.pack("HHHH", 24, width, 0, 0))
        self.file = open(other, "w", encoding="utf8")
        self.reader = threading.Thread(target=self.read, daemon=True)
        self.reader.start()

    def read(self):
        with contextlib.suppress(OSError):          # the other end was closed
            while True:
                self.text += os.read(self.end, 4096)

    def rows(self):
        self.file.close()
        self.reader.join()
        os.close(self.end)
        rows, y, x = [""], 0, 0
        for char in re.sub(r"\x1b\[\d*m", "", self.text.decode("utf8")):
            if char in "\r\n":
                y, x = y + (char == "\n"), 0
            else:
                y, x = (y, x) if x < self.width else (y + 1, 0)
                row = rows[y] if y < len(rows) else ""
                rows[y:y + 1] = [row[:x].ljust(x) + char + row[x + 1:]]
                x += 1
            rows += [""] * (y + 1 - len(rows))
        return rows


def draw(monkeypatch, width, steps, count):
    """(the rows, each text of the bar while it ran) of an epoch with ``count`` metrics and validation."""
    screen, drawn = Screen(width), []
    monkeypatch.setattr(progress, "INTERVAL", -1)
    monkeypatch.setattr(progress, "running", lambda *a, f=progress.running,
                        **k: drawn.append(f(*a, **k)) or drawn[-1])
    monkeypatch.setattr("sys.stdout", screen.file)
    logs = {"loss": 0.5, **{name: 12.25 for name in METRICS[:count]}}
    calls = CallbackList([progress.ProgbarLogger(1)], verbose=1, epochs=2, steps=steps)
    calls.on_train_begin()
    calls.on_epoch_begin(0)
    for batch in range(120):
        calls.on_train_batch_end(batch, logs)
    calls.on_epoch_end(0, {**logs, **{f"val_{name}": value for name, value in logs.items()}})
    calls.on_train_end()
    monkeypatch.undo()
    return screen.rows(), [progress.plain(text) for text in drawn]


METRICS = ["mean_absolute_error", "mean_absolute_percentage_error", "mean_squared_error",
           "pearson_correlation", "r2_score",
           "root_mean_squared_error"]


@pytest.mark.parametrize("steps", [120, None])
@pytest.mark.parametrize("count", [1, 6])
@pytest.mark.parametrize("width", [40, 80, 200])
def test_the_line_fits_while_it_runs_and_is_whole_at_the_end(monkeypatch, width, count, steps):
    rows, drawn = draw(monkeypatch, width, steps, count)
    metrics = "".join(f" - {name}: 12.2500" for name in METRICS[:count])
    val = "".join(f" - val_{name}: 12.2500" for name in METRICS[:count])
    end = f"120/120 {'━' * 20} Ns T/step - loss: 0.5000{metrics} - val_loss: 0.5000{val}"
    assert rows[0].rstrip() == "Epoch 1/2" and without_times("".join(rows[1:])).rstrip() == end
    assert len(drawn) >= 120 and max(map(len, drawn)) < width
    assert len(rows) == 2 + -(-len("".join(rows[1:])) // width), (
        "the line while it ran was longer than the terminal"
    )
    for text in drawn:
        assert " - loss: 0.5000" in text
        if not text.endswith(metrics):
            assert "━" not in text or steps and len(text) == width - 1, "the bar goes before a metric does"
            missing = METRICS[text.count(" - ") - 1]
            assert len(text.replace("━", "").rstrip()) + len(f" - {missing}: 12.2500") >= width, (
                "there was room for a metric"
            )


def test_what_goes_first():
    logs = {"loss": 0.5, "mae": 1.0, "mse": 2.0, "val_loss": 0.25}
    lengths = []
    for room in range(100, 0, -1):
        text = progress.plain(progress.running(3, 10, "4s", " 5ms/step", logs, room))
        assert len(text) <= max(room, len(" 3/10"))
        lengths.append([text.count("━")] + [word in text for word in ("mse", "mae", "step", "4s", "val_loss",
                                                                      " loss")])
    assert lengths[0] == [20, True, True, True, True, True, True] and lengths[-1] == [0] + [False] * 6
    for before, after in zip(lengths, lengths[1:]):
        assert after[1:] <= before[1:], "what went comes back"
        missing = [not there for there in after[1:]]
        assert missing == sorted(missing, reverse=True), "the order of leaving"


@pytest.mark.parametrize("width", [40, 200])
def test_the_bar_of_a_loop_fits_too(monkeypatch, width):
    screen = Screen(width)
    monkeypatch.setattr("sys.stdout", screen.file)
    bar = Progbar(12, interval=-1)
    for _ in range(12):
        bar.add(1, [(name, 12.25) for name in ["loss", *METRICS]])
    monkeypatch.undo()
    text = "".join(screen.rows())
    end = f"12/12 {'━' * 20} Ns T/step - loss: 12.2500" + "".join(f" - {name}: 12.2500" for name in METRICS)
    assert without_times(text).rstrip() == end
