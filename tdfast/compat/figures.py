"""Figures of matplotlib that need no pyplot, and the colors that all pictures share."""

from __future__ import annotations

import io
from typing import Any

BLUE, ORANGE = "#1f5fa8", "#d9730d"
INK, PAPER, FRAME = "#22303c", "#f7f9fb", "#9aa7b4"
ARROW = "#6b7a89"                   # seen on a light ground and on a dark one


def new_figure(width: float, height: float, who: str) -> Any:
    """A matplotlib `Figure` that no global state knows of, so that nothing has to be closed. At the end of a
    notebook's cell it shows itself."""
    try:
        from matplotlib.backends.backend_agg import FigureCanvasAgg
        from matplotlib.figure import Figure
    except ImportError as error:
        raise ImportError(f"{who} needs matplotlib: pip install 'tdfast[plot]'.") from error

    class Picture(Figure):
        def _repr_png_(self) -> bytes:
            file = io.BytesIO()
            self.savefig(file, format="png")
            return file.getvalue()

        # The copy is a plain Figure: pickle finds no class that a function makes.
        def __reduce__(self) -> tuple[Any, ...]:
            return object.__new__, (Figure,), self.__getstate__()

    figure = Picture(figsize=(width, height))
    FigureCanvasAgg(figure)
    return figure


def check_axes(axes: Any, who: str) -> Any:
    """matplotlib's `Axes`, as users pass them as ``ax``."""
    if not hasattr(axes, "get_figure") or not hasattr(axes, "plot"):
        raise TypeError(
            f"{who}: ax must be matplotlib's Axes, as `figure, ax = plt.subplots()` makes them, got "
            f"{type(axes).__name__}."
        )
    return axes


def one_axes(axes: Any, width: float, height: float, who: str) -> tuple[Any, Any]:
    """(figure, axes) to draw on: a user's, or, for None, those of a new figure."""
    if axes is not None:
        return check_axes(axes, who).get_figure(), axes
    figure = new_figure(width, height, who)
    figure.set_layout_engine("constrained")
    return figure, figure.add_subplot()


def put(figure: Any, to_file: Any, dpi: int) -> Any:
    """The figure, saved where a path is given."""
    if to_file is not None:
        figure.savefig(to_file, dpi=dpi)
    return figure


def plain(axes: Any) -> None:
    """The look of all charts: a faint grid, no frame on the right and above."""
    axes.grid(alpha=0.25)
    axes.spines[["top", "right"]].set_visible(False)
