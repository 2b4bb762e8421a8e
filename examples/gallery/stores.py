"""
A fleet of stores: one model for each of 148 series
===================================================

148 series of monthly retail turnover, one for each trade in each state of Australia,
and each wants a forecast of the year to come. **One global model** learns from all of
them joined; then a **fleet** begins with its weights and fits a model of its own to
each series, all in one call of `tdfast.fleet.fit`. From 24 months a model forecasts the
next twelve, as the logarithm of how they differ from the same months a year before. The
last four years of each series are held out.

The yardstick is "as a year ago".
"""

import csv
import sys
import time
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np

import tdfast
from tdfast.layers import LSTM, Dense, Input
from tdfast.utils import plot_forecast

PAST, AHEAD, HELD_OUT = 24, 12, 48

path = Path(sys.argv[0]).resolve().parents[1] / "data" / "retail.csv"
(_, *names), *rows = csv.reader(path.read_text(encoding="utf8").splitlines())
columns = list(zip(*rows))[1:]
series = {
    name: np.array([float(value) for value in column if value])
    for name, column in zip(names, columns)
}
shortest, longest = min(map(len, series.values())), max(map(len, series.values()))
print(f"{len(series)} series of {shortest} to {longest} months")

# %%
# What a model reads: how each month compares with the mean of the last twelve, and
# where in the year it lies.


def read(values: np.ndarray, ends: np.ndarray) -> np.ndarray:
    """(ends, PAST, 3) of the months before each end."""
    before = ends[:, None] + np.arange(-PAST, 0)
    logs = np.log(values[before])
    turn = 2 * np.pi * (before - len(values)) / 12
    return np.stack(
        [logs - logs[:, -12:].mean(axis=1, keepdims=True), np.sin(turn), np.cos(turn)],
        axis=-1,
    )


def ahead(ends: np.ndarray) -> np.ndarray:
    """The months after each end."""
    return ends[:, None] + np.arange(AHEAD)


data, x_test, ends_test = {}, {}, {}
for name, values in series.items():
    ends = np.arange(PAST, len(values) - HELD_OUT - AHEAD + 1)
    data[name] = (
        read(values, ends),
        np.log(values[ahead(ends)] / values[ahead(ends) - 12]),
    )
    ends_test[name] = np.arange(len(values) - HELD_OUT, len(values) - AHEAD + 1)
    x_test[name] = read(values, ends_test[name])

# %%
# The global model, and the fleet that begins with it: 148 models, trained on the
# threads of this machine.


def network(rate: float) -> tdfast.Sequential:
    """A small LSTM that begins with "as a year ago"."""
    model = tdfast.Sequential(
        [Input((PAST, 3)), LSTM(16), Dense(AHEAD, kernel_initializer="zeros")]
    )
    model.compile(tdfast.optimizers.Adam(rate), "mae")
    return model


tdfast.utils.set_random_seed(1)
start = time.perf_counter()
joined = network(0.003)
x, y = (np.concatenate(parts) for parts in zip(*data.values()))
joined.fit(x, y, batch_size=128, epochs=4, verbose=0)
middle = time.perf_counter()
template = network(0.0003)
template.set_weights(joined.get_weights())
fleet = tdfast.fleet.fit(template, data, epochs=4, batch_size=32, seed=1)
own = fleet.predict(x_test)
end = time.perf_counter()
print(f"the global model took {middle - start:.1f} s, the fleet {end - middle:.1f} s")

# %%
# The forecast is the mean of both. Its error, in percent of a series' turnover.
changes = {
    name: (own[name] + joined.predict(x, verbose=0)) / 2 for name, x in x_test.items()
}


def errors_of(changes: dict[str, np.ndarray]) -> np.ndarray:
    """The mean absolute error of each series in percent."""
    out = []
    for name, values in series.items():
        months = ahead(ends_test[name])
        wrong = np.abs(values[months - 12] * np.exp(changes[name]) - values[months])
        out.append(100 * wrong.mean() / values[months].mean())
    return np.array(out)


ours = errors_of(changes)
naive = errors_of({name: np.zeros((len(x), AHEAD)) for name, x in x_test.items()})
print(
    f"mean error: {ours.mean():.2f} %, as a year ago {naive.mean():.2f} %; better for "
    f"{(ours < naive).mean():.0%} of the series"
)

# %%
# A dot for each series: below the line the fleet is better.
figure, axes = plt.subplots(figsize=(5.5, 5.5), layout="constrained")
axes.loglog(naive, ours, "o", markersize=4, alpha=0.7)
axes.plot([2, 30], [2, 30], color="0.5", linestyle=":")
axes.set(
    xlabel="error of 'as a year ago' in percent",
    ylabel="error of the forecast in percent",
    aspect="equal",
    title="148 series, four years held out",
)
for axis in (axes.xaxis, axes.yaxis):
    axis.set_ticks([2, 5, 10, 20], ["2", "5", "10", "20"])
    axis.set_ticks([], minor=True)
axes.grid(alpha=0.25)
plt.show()

# %%
# The last year of four series, forecast at its beginning.
figure, panels = plt.subplots(2, 2, figsize=(11, 6), layout="constrained")
for axes, name in zip(panels.flat, list(series)[5::37]):
    values = series[name]
    forecast = values[-24:-12] * np.exp(changes[name][-1])
    months = np.arange("2014-01", "2019-01", dtype="datetime64[M]")
    plot_forecast(values[-60:], forecast, start=-12, x=months, ax=axes)
    axes.set_title(name, fontsize=9)
plt.show()

# %%
# The gallery is built only where this holds.
assert ours.mean() < 0.94 * naive.mean() and (ours < naive).mean() > 0.55
