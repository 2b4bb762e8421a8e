"""How training went, as HTML with small drawings, for notebooks; without matplotlib."""

from __future__ import annotations

import html
import math
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Sequence

WIDTH, HEIGHT, EDGE = 240, 110, 6
COLORS = {"training": "#1f77b4", "validation": "#d9730d"}


def history_html(history: dict[str, Any]) -> str:
    """A drawing for the loss and one for each metric, with the last values of training and validation.

    Args:
        history: name -> values, one an epoch; those of the validation begin with 'val_'. Fewer of these than
            epochs are taken to lie evenly.

    >>> text = history_html({"loss": [1.0, 0.5], "val_loss": [1.1, 0.7]})
    >>> text.count("<svg"), text.count("<polyline")
    (1, 2)
    """
    found = dict.fromkeys(name.removeprefix("val_") for name, values in history.items() if len(values))
    names = sorted(found, key=lambda name: name != "loss")
    if not names:
        return "<p>A history without epochs.</p>"
    epochs = max(len(values) for values in history.values())
    charts = [_chart(name, history.get(name, ()), history.get(f"val_{name}", ()), epochs) for name in names]
    return f"<p>History of {epochs} epoch{'s' if epochs > 1 else ''}</p><div>{''.join(charts)}</div>"


def _chart(name: str, training: Sequence[float], validation: Sequence[float], epochs: int) -> str:
    """One name's drawing."""
    lines = {"training": _points(training, epochs), "validation": _points(validation, epochs)}
    finite = [y for points in lines.values() for _, y in points]
    low, high = (min(finite), max(finite)) if finite else (0.0, 1.0)
    drawn, last = [], []
    for (kind, points), values in zip(lines.items(), (training, validation)):
        if len(values):
            places = " ".join(f"{_x(x, epochs):.1f},{_y(y, low, high):.1f}" for x, y in points)
            drawn.append(f'<polyline points="{places}" fill="none" stroke="{COLORS[kind]}" stroke-width="2" '
                         'stroke-linejoin="round"/>')
            last.append(f'<span style="color:{COLORS[kind]}">{kind} {values[-1]:.4g}</span>')
    return (f'<div style="display:inline-block;margin:0 1em 1em 0"><b>{html.escape(name)}</b><br>'
            f'<svg width="{WIDTH}" height="{HEIGHT}" role="img" aria-label="{html.escape(name)} by epoch">'
            f'<rect width="{WIDTH}" height="{HEIGHT}" fill="none" stroke="currentColor" opacity="0.2"/>'
            f'{"".join(drawn)}</svg><br><small>{", ".join(last)}</small></div>')


def _points(values: Sequence[float], epochs: int) -> list[tuple[int, float]]:
    """(epoch, value) of the finite ones."""
    every = max(1, epochs // len(values)) if len(values) else 1
    return [(every * (i + 1), value) for i, value in enumerate(values) if math.isfinite(value)]


def _x(epoch: int, epochs: int) -> float:
    return EDGE + (WIDTH - 2 * EDGE) * (epoch - 1) / max(epochs - 1, 1)


def _y(value: float, low: float, high: float) -> float:
    share = (value - low) / (high - low) if high > low else 0.5
    return HEIGHT - EDGE - (HEIGHT - 2 * EDGE) * share
