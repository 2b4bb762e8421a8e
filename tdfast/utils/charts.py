"""Charts with matplotlib: how training went, forecasts, confusions, attention, where time goes."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import numpy as np

from tdfast.compat.calling import spelled
from tdfast.compat.figures import (
    ARROW,
    BLUE,
    FRAME,
    INK,
    ORANGE,
    check_axes,
    new_figure,
    one_axes,
    plain,
    put,
)

if TYPE_CHECKING:
    from collections.abc import Sequence

    from tdfast.engine.types import Array, Logs
    from tdfast.training.profile import Profile

# ---------------------------------------------------------------- history


@spelled
def plot_history(history: Any, names: Any = None, to_file: Any = None, log: bool = False,
                 dpi: int = 120, ax: Any = None) -> Any:
    """How the loss and each metric went, epoch by epoch: a panel for each, with the validation beside the
    training.

    The loss comes first. In its panel the best epoch is marked, of the validation if there is one. A history
    does not tell which epochs were validated: with validation_freq they are taken to lie evenly. Colors of
    texts and grounds are those of matplotlib's style.

    Args:
        history: the `History` that `fit` returns, or its dict of lists.
        names: which to draw, without 'val_', such as ["loss"]; None: all.
        to_file: where the picture goes, a path that ends in .png, .pdf or .svg; None: nowhere.
        log: True draws the values on a logarithmic scale.
        dpi: dots per inch.
        ax: matplotlib's Axes to draw on, or a list of them, one for each of the names; None: a new figure.

    Returns:
        The matplotlib `Figure`.

    Raises:
        ImportError: without matplotlib; ValueError: for a history without epochs, a name that it lacks, or
            another number of Axes than of names; TypeError: for an ``ax`` that is something else.

    >>> figure = plot_history({"loss": [1.0, 0.5], "val_loss": [1.1, 0.7]})
    """
    logs = getattr(history, "history", history)
    if not isinstance(logs, dict) or not any(len(values) for values in logs.values()):
        raise ValueError(
            "plot_history expects the History that fit returned, or its dict, with one epoch at least."
        )
    known = sorted(dict.fromkeys(name.removeprefix("val_") for name in logs), key=lambda name: name != "loss")
    names = known if names is None else [names] if isinstance(names, str) else list(names)
    unknown = [name for name in names if name not in known]
    if unknown or not names:
        raise ValueError(f"plot_history: the history has {', '.join(known)}, but names is {names}.")
    epochs = [epoch + 1 for epoch in getattr(history, "epoch", [])]
    panels = _panels(len(names)) if ax is None else _given(ax, names)
    for axes, name in zip(panels, names):
        _panel(axes, name, logs, epochs, log)
    columns = min(len(names), 3)
    for axes in panels[-columns:] if ax is None else panels:
        axes.set_xlabel("epoch")
    figure = panels[0].get_figure()
    if ax is None:
        figure.tight_layout()
    return put(figure, to_file, dpi)


def _panels(count: int) -> list[Any]:
    """The Axes of a new figure, in rows of at most three."""
    columns = min(count, 3)
    rows = -(-count // columns)
    figure = new_figure(max(4.2 * columns, 6.0), 3.4 * rows + 0.2, "plot_history")
    return [figure.add_subplot(rows, columns, i + 1) for i in range(count)]


def _given(ax: Any, names: Sequence[str]) -> list[Any]:
    """A user's Axes, one for each name."""
    panels = [check_axes(one, "plot_history") for one in np.ravel(np.array(ax, dtype=object))]
    if len(panels) != len(names):
        raise ValueError(
            f"plot_history: ax must be one of matplotlib's Axes for each of {', '.join(names)}, got "
            f"{len(panels)}. Say which to draw, as by names='loss'."
        )
    return panels


def _panel(axes: Any, name: str, logs: Logs, epochs: Any, log: Any) -> None:
    for key, color, label in ((name, BLUE, "training"), (f"val_{name}", ORANGE, "validation")):
        values = list(logs.get(key, []))
        if values:
            every = max(1, len(epochs) // len(values)) if epochs else 1
            where = (epochs or range(1, len(values) + 1))[every - 1 :: every][: len(values)]
            axes.plot(where, values, color=color, label=label, linewidth=1.8,
                      marker="o" if len(values) < 25 else None,
                      markersize=3.5)
            last = (where, values)
    if name == "loss" and all(map(math.isfinite, last[1])):
        best = min(range(len(last[1])), key=last[1].__getitem__)
        axes.axvline(last[0][best], color=FRAME, linestyle=":", linewidth=1.2, zorder=0,
                     label=f"best: {last[1][best]:.4g} in epoch {last[0][best]}")
    axes.set_title(name.replace("_", " "), fontsize=11)
    axes.xaxis.get_major_locator().set_params(integer=True)
    if log:
        axes.set_yscale("log")
    plain(axes)
    axes.legend(fontsize=8.5, frameon=False)


# ---------------------------------------------------------------- forecast


@spelled
def plot_forecast(observed: Any, forecast: Any, quantiles: Sequence[float] | None = None,
                  start: int | None = None, x: Any = None, label: str = "forecast", color: Any = BLUE,
                  ax: Any = None, to_file: Any = None, dpi: int = 120) -> Any:
    """A forecast over the observed series, with bands between its quantiles.

    Of a list of quantiles, the lowest and the highest make the widest band, the next ones a narrower band
    within it; with an odd number the middle one is the line. Further forecasts go onto the same ``ax`` with
    ``observed=None``: of the same model, or of another with a label and a color of its own.

    Args:
        observed: (n,) the series, NaN where a value is missing; None: only the forecast is drawn.
        forecast: (h,) the forecast of h steps, or (h, Q) with Q quantiles, as a model gives them that was
            trained with `Quantile`.
        quantiles: the Q levels of the forecast's columns, such as [0.1, 0.5, 0.9]; None: there is one column.
        start: the step of ``observed`` that the forecast begins at; negative: from its end, as of indices, so
            that ``-h`` lays the forecast over the last h steps. None: the forecast follows ``observed``.
        x: where the steps stand, such as dates, from the first observed one to the last of either; None:
            their numbers from 0.
        label: the forecast's name in the legend, where each name stands once.
        color: of the forecast, any that matplotlib knows.
        ax: matplotlib's Axes to draw on; None: a new figure.
        to_file: where the picture goes, a path that ends in .png, .pdf or .svg; None: nowhere.
        dpi: dots per inch.

    Returns:
        The matplotlib `Figure`.

    Raises:
        ImportError: without matplotlib; ValueError: for shapes, quantiles or a start that do not fit;
            TypeError: for an ``ax`` that is something else.

    >>> forecast = [[5.0, 6.0, 9.0], [6.0, 8.0, 14.0]]
    >>> figure = plot_forecast([1.0, 2.0, 4.0], forecast, quantiles=[0.1, 0.5, 0.9])
    >>> [text.get_text() for text in figure.axes[0].get_legend().get_texts()]
    ['observed', 'forecast, 10 to 90 %', 'forecast']
    """
    past = None if observed is None else _column(observed, "observed")
    values, levels = _by_level(forecast, quantiles)
    seen = 0 if past is None else len(past)
    begin = _begin(start, seen, past is None)
    steps = _places(x, max(seen, begin + len(values)))
    figure, axes = one_axes(ax, 9.0, 3.8, "plot_forecast")
    told = set(axes.get_legend_handles_labels()[1])        # each label stands in the legend once
    if past is not None:
        axes.plot(steps[:seen], past, color=ARROW, linewidth=1.4, label="observed")
    ahead = steps[begin : begin + len(values)]
    for k in range(len(levels) // 2):
        band = f"{label}, {100 * levels[k]:g} to {100 * levels[-1 - k]:g} %"
        axes.fill_between(ahead, values[:, k], values[:, -1 - k], color=color, alpha=0.22, linewidth=0,
                          label=None if band in told else band)
    if len(levels) % 2:
        axes.plot(ahead, values[:, len(levels) // 2], color=color, linewidth=1.8,
                  label=None if label in told else label, marker="o" if len(values) == 1 else None)
    plain(axes)
    axes.legend(fontsize=8.5, frameon=False)
    return put(figure, to_file, dpi)


def _begin(start: int | None, seen: int, alone: bool) -> int:
    """The step at which a forecast begins, after so many observed ones."""
    begin = seen if start is None else start + seen * (start < 0)
    if begin < 0 or (begin > seen and not alone):
        most = "0 or more, for there is nothing observed to count from" if alone else (
            f"from {-seen} to {seen}, for {seen} steps were observed")
        raise ValueError(f"plot_forecast: start must be {most}; got {start}.")
    return begin


def _column(values: Any, name: str) -> Array:
    """(n,) of a series that may have a last axis of 1."""
    series = np.asarray(values, "float64")
    series = series[:, 0] if series.ndim == 2 and series.shape[1] == 1 else series
    if series.ndim != 1 or not len(series):
        raise ValueError(f"plot_forecast: {name} must be one series, (steps,), with one step at least, got "
                         f"the shape {series.shape}. Draw one sample and one feature at a time.")
    return series


def _by_level(forecast: Any, quantiles: Sequence[float] | None) -> tuple[Array, list[float]]:
    """(steps, Q) by rising levels, and the levels; one level stands for a forecast without quantiles."""
    if quantiles is None:
        values = np.asarray(forecast, "float64")
        if values.ndim == 2 and values.shape[1] > 1:
            raise ValueError(f"plot_forecast: forecast has the shape {values.shape}: say the levels of its "
                             f"{values.shape[1]} columns as quantiles=[...], or draw one column.")
        return _column(forecast, "forecast")[:, None], [0.5]
    levels, values = np.array(quantiles, "float64", ndmin=1), np.asarray(forecast, "float64")
    if levels.ndim != 1 or not levels.size or not ((levels > 0) & (levels < 1)).all():
        raise ValueError(f"plot_forecast: quantiles must be numbers between 0 and 1, got {quantiles!r}.")
    if values.ndim != 2 or values.shape[1] != len(levels) or not len(values):
        raise ValueError(f"plot_forecast: with {len(levels)} quantiles forecast must have the shape (steps, "
                         f"{len(levels)}), got {values.shape}. Draw one sample and one feature at a time.")
    order = np.argsort(levels)
    return values[:, order], levels[order].tolist()


def _places(x: Any, count: int) -> Any:
    """Where each of so many steps stands."""
    if x is None:
        return np.arange(count)
    places = np.asarray(x)
    if places.ndim != 1 or len(places) < count:
        raise ValueError(f"plot_forecast: x must name each of the {count} steps, observed and forecast, got "
                         f"the shape {places.shape}.")
    return places


# ---------------------------------------------------------------- confusion


@spelled
def plot_confusion(y_true: Any, y_pred: Any, labels: Any = None, normalize: bool = False, ax: Any = None,
                   to_file: Any = None, dpi: int = 120) -> Any:
    """Which classes a model takes for which: a row for each true class, a column for each predicted one.

    Args:
        y_true: the true classes as whole numbers or names, of any shape; or their one-hot vectors or
            probabilities as floats, (..., C), of which the largest counts.
        y_pred: what the model says, in either form, such as the (N, C) of `predict`.
        labels: the names of the classes 0, 1, ...; for classes that are names, which to show, and their
            order. None: those that occur, sorted.
        normalize: True shows shares of each true class, so that a row's sum is 1; False: numbers.
        ax: matplotlib's Axes to draw on; None: a new figure.
        to_file: where the picture goes, a path that ends in .png, .pdf or .svg; None: nowhere.
        dpi: dots per inch.

    Returns:
        The matplotlib `Figure`.

    Raises:
        ImportError: without matplotlib; ValueError: for two different numbers of samples, a class that
            ``labels`` lacks, or floats that are neither classes nor probabilities; TypeError: for an ``ax``
            that is something else.

    >>> figure = plot_confusion([0, 1, 1], [[0.9, 0.1], [0.6, 0.4], [0.2, 0.8]], labels=["walks", "runs"])
    >>> [text.get_text() for text in figure.axes[0].texts]
    ['1', '0', '1', '1']
    """
    true, guess = _classes(y_true, "y_true"), _classes(y_pred, "y_pred")
    if len(true) != len(guess) or not len(true):
        raise ValueError(f"plot_confusion: y_true and y_pred must have as many classes, one at least, got "
                         f"{len(true)} and {len(guess)}. One-hot vectors must be floats, (..., C).")
    if (true.dtype.kind in "iu") != (guess.dtype.kind in "iu"):
        raise ValueError("plot_confusion: y_true and y_pred must both be whole numbers, or both names, got "
                         f"{true[0]!r} and {guess[0]!r}.")
    names, classes = _named(np.unique(np.concatenate([true, guess])), labels)
    counts = np.zeros((len(names), len(names)))
    place = {value: k for k, value in enumerate(classes)}
    np.add.at(counts, ([place[v] for v in true.tolist()], [place[v] for v in guess.tolist()]), 1)
    shares = counts / np.maximum(counts.sum(axis=1, keepdims=True), 1)
    side = 2.2 + 0.55 * min(len(names), 20)
    figure, axes = one_axes(ax, side + 0.6, side, "plot_confusion")
    axes.imshow(shares, cmap="Blues", vmin=0, vmax=1)
    if len(names) <= 20:
        _numbers(axes, shares, [[f"{v:.2f}" for v in row] for row in shares] if normalize else
                 [[f"{v:.0f}" for v in row] for row in counts])
    every = range(0, len(names), -(-len(names) // 30))
    axes.set_xticks(every, [names[k] for k in every], rotation=45, ha="right", rotation_mode="anchor")
    axes.set_yticks(every, [names[k] for k in every])
    axes.set(xlabel="predicted", ylabel="true")
    return put(figure, to_file, dpi)


def _numbers(axes: Any, shares: Array, texts: Sequence[Sequence[str]]) -> None:
    """A number on each field, light on the dark ones."""
    size = 10 if len(shares) <= 10 else 7
    for i, row in enumerate(texts):
        for k, text in enumerate(row):
            axes.text(k, i, text, ha="center", va="center", fontsize=size,
                      color="white" if shares[i, k] > 0.55 else INK)


def _classes(values: Any, name: str) -> Array:
    """A flat array of classes: whole numbers or names; of probabilities those of the largest."""
    found = np.asarray(values)
    if found.dtype.kind == "f":
        if found.ndim > 1 and found.shape[-1] > 1:
            found = found.argmax(axis=-1)
        elif (found == np.floor(found)).all():
            found = found.astype("int64")
        else:
            raise ValueError(f"plot_confusion: {name} has one probability a sample, {found.ravel()[0]:g} "
                             "first. Make classes of them, as by (p > 0.5).astype(int).")
    elif found.dtype.kind == "b":
        found = found.astype("int64")
    return found.ravel()


def _named(found: Array, labels: Any) -> tuple[list[str], list[Any]]:
    """The names to show and the classes that they stand for."""
    if labels is None:
        return [str(value) for value in found.tolist()], found.tolist()
    names = [str(label) for label in labels]
    classes = list(range(len(names))) if found.dtype.kind in "iu" else list(labels)
    unknown = [value for value in found.tolist() if value not in classes]
    if unknown:
        known = f"the classes 0 to {len(names) - 1}" if found.dtype.kind in "iu" else ", ".join(names)
        raise ValueError(f"plot_confusion: labels has {known}; the class {unknown[0]!r} is not among them.")
    return names, classes


# ---------------------------------------------------------------- attention


@spelled
def plot_attention(scores: Any, queries: Any = None, keys: Any = None, ax: Any = None, to_file: Any = None,
                   dpi: int = 120) -> Any:
    """What each step of a decoder looked at: a row for each query, a column for each key.

    Args:
        scores: the weights of one sample, (queries, keys), as `Attention` and `AdditiveAttention` give them
            with ``return_attention_scores=True``; or (heads, queries, keys), as of `MultiHeadAttention`: a
            panel for each head.
        queries: a name for each row, such as the words or the letters that were written; None: numbers.
        keys: a name for each column, such as those that were read; None: numbers.
        ax: matplotlib's Axes to draw on, for one head; None: a new figure.
        to_file: where the picture goes, a path that ends in .png, .pdf or .svg; None: nowhere.
        dpi: dots per inch.

    Returns:
        The matplotlib `Figure`.

    Raises:
        ImportError: without matplotlib; ValueError: for another shape, or another number of names;
            TypeError: for an ``ax`` that is something else.

    >>> figure = plot_attention([[0.9, 0.1, 0.0], [0.0, 0.2, 0.8]], queries="ab", keys=["x", "y", "z"])
    >>> [text.get_text() for text in figure.axes[0].get_xticklabels()]
    ['x', 'y', 'z']
    """
    maps = np.asarray(scores, "float64")
    maps = maps[None] if maps.ndim == 2 else maps
    if maps.ndim != 3 or 0 in maps.shape:
        raise ValueError(f"plot_attention: scores must be those of one sample, (queries, keys) or (heads, "
                         f"queries, keys), got the shape {np.shape(scores)}. Take one: scores[0].")
    if ax is not None and len(maps) > 1:
        raise ValueError(f"plot_attention: ax takes one head, and scores have {len(maps)}: pass scores[k] or "
                         "scores.mean(axis=0), or no ax.")
    named = [_names(given, size, name) for given, size, name in
             ((queries, maps.shape[1], "queries"), (keys, maps.shape[2], "keys"))]
    width, height = (min(12.0, 1.2 + 0.26 * max(size, 8)) for size in maps.shape[:0:-1])
    if len(maps) == 1:
        figure, axes = one_axes(ax, width + 0.8, height, "plot_attention")
        panels = [axes]
    else:
        columns = min(len(maps), 4)
        rows = -(-len(maps) // columns)
        figure = new_figure(min(16.0, columns * width), min(16.0, rows * height), "plot_attention")
        figure.set_layout_engine("constrained")
        panels = [figure.add_subplot(rows, columns, k + 1, title=f"head {k + 1}") for k in range(len(maps))]
    for axes, weights in zip(panels, maps):
        image = axes.imshow(weights, cmap="Blues", vmin=0, vmax=maps.max(), aspect="auto")
        for axis, names in zip((axes.yaxis, axes.xaxis), named):
            if names is not None:
                axis.set_ticks(range(len(names)), names)
    if named[1] is not None and max(map(len, named[1])) > 2:
        for axes in panels:
            axes.tick_params(axis="x", rotation=90)
    figure.colorbar(image, ax=panels, label="weight", shrink=0.8)
    return put(figure, to_file, dpi)


def _names(given: Any, size: int, name: str) -> list[str] | None:
    """One name for each row or column."""
    if given is None:
        return None
    names = [str(one) for one in given]
    if len(names) != size:
        raise ValueError(f"plot_attention: scores have {size} {name}, but {len(names)} names were given. Of "
                         "padded steps, cut the scores, as by scores[:rows, :columns].")
    return names


# ---------------------------------------------------------------- profile


def plot_profile(profile: Profile, ax: Any, to_file: Any, dpi: int) -> Any:
    """The rows of a `Profile` as bars: forward and backward of each layer, then the other parts."""
    trained = profile.step_ms is not None
    parts = [(row.forward_ms, row.backward_ms, row.ms) if trained else (row.predict_ms, None, row.predict_ms)
             for row in profile.rows]
    forward = [first if first is not None else 0.0 for first, _, _ in parts]
    backward = [second if second is not None else 0.0 for _, second, _ in parts]
    other = [(whole or 0.0) if first is None else 0.0 for first, _, whole in parts]
    figure, axes = one_axes(ax, 8.0, 1.1 + 0.3 * len(parts), "Profile.plot")
    places = range(len(parts))
    axes.barh(places, forward, color=BLUE, label="forward")
    if trained:
        axes.barh(places, backward, left=forward, color=ORANGE, label="backward")
        axes.barh(places, other, color=FRAME, label="other parts")
    for k, row in enumerate(profile.rows):
        axes.annotate(f"{row.share:.1%}", (forward[k] + backward[k] + other[k], k), xytext=(4, 0),
                      textcoords="offset points", va="center", fontsize=8.5)
    kinds = [", ".join(dict.fromkeys(row.kind.split(", "))) for row in profile.rows]
    axes.set_yticks(places, [f"{row.name} ({kind})" if kind else row.name
                             for row, kind in zip(profile.rows, kinds)])
    axes.set_ylim(len(parts) - 0.4, -0.6)               # the first layer above
    axes.margins(x=0.1)
    whole = profile.step_ms if profile.step_ms is not None else profile.predict_ms
    what = "training step" if trained else "prediction"
    axes.set(title=profile.name,
             xlabel=f"milliseconds; a {what} of {profile.samples:.0f} samples takes {whole:.3g}")
    plain(axes)
    axes.grid(False, axis="y")
    axes.legend(fontsize=8.5, frameon=False)
    return put(figure, to_file, dpi)
