"""Forecast the monthly sunspot number three years ahead: many-to-many on a real series.

Run it with ``python sunspots.py``. The model reads eleven years (one solar cycle) of monthly numbers
and forecasts, at every month it has read, the next 36 months. It learns from 1749 to 1959; the years
1960 to 1983 are held out. The yardstick is persistence: "it stays as it is now".

    --epochs N     how long to train (default 40)
    --png FILE     where the picture goes when matplotlib is installed (default sunspots.png)
"""

import argparse
import time
from pathlib import Path

import numpy as np

import tdfast

WINDOW = 132        # months read: about one solar cycle
AHEAD = 36          # months forecast
HELD_OUT = "1960-01"

DATA = Path(__file__).parent / "data" / "sunspots.csv"


def load():
    """The months ('1749-01', ...) and their sunspot numbers."""
    months, numbers = np.loadtxt(DATA, delimiter=",", skiprows=1, dtype=str, unpack=True)
    return months, numbers.astype("float64")


def windows(series, first, last, stride=1):
    """Windows whose last month read is first, first + stride, ... before last.

    Returns:
        x: (windows, WINDOW, 1), the numbers read.
        y: (windows, WINDOW, AHEAD), at each step the months that follow it.
    """
    steps = np.arange(first, last, stride)[:, None] + np.arange(1 - WINDOW, 1)
    return series[steps][..., None], series[steps[..., None] + np.arange(1, AHEAD + 1)]


def rmse(error):
    """The root of the mean squared error, in sunspots."""
    return float(np.sqrt(np.mean(error**2)))


def plot(path, months, series, start, prediction):
    """Every third year's forecast over the truth; returns False without matplotlib."""
    try:
        import matplotlib
    except ImportError:
        return False
    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    year = np.array([int(m[:4]) + (int(m[5:]) - 1) / 12 for m in months])
    figure, axes = plt.subplots(figsize=(11, 4.5))
    shown = slice(start - 2 * AHEAD, None)
    axes.plot(year[shown], series[shown], color="0.6", linewidth=1, label="observed, monthly")
    for i in range(0, len(prediction), AHEAD):
        now = start + i
        label = {"label": f"forecast, {AHEAD} months from each dot"} if i == 0 else {}
        axes.plot(year[now : now + AHEAD], prediction[i], color="C3", linewidth=2, **label)
        axes.plot(year[now - 1], series[now - 1], "o", color="C3", markersize=5)
    axes.axvline(year[start], color="0.3", linestyle=":", label="held out from here on")
    axes.set(xlabel="year", ylabel="sunspot number", title="Sunspots: forecasts of months never trained on")
    axes.legend(loc="upper center")
    axes.grid(alpha=0.3)
    figure.tight_layout()
    figure.savefig(path, dpi=110)
    return True


def main(arguments=None):
    """Train, print the errors, draw. Returns the errors of the forecast and of persistence."""
    parser = argparse.ArgumentParser(description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--epochs", type=int, default=40)
    parser.add_argument("--png", default="sunspots.png")
    options = parser.parse_args(arguments)

    months, series = load()
    start = int(np.flatnonzero(months == HELD_OUT)[0])
    mean, spread = series[:start].mean(), series[:start].std()
    scaled = (series - mean) / spread

    # Nothing that training sees, as input or as target, lies in the held-out years. (The options were chosen
    # by the error on 1930 to 1959, likewise held out of training then.)
    x, y = windows(scaled, WINDOW - 1, start - AHEAD, stride=4)
    x_test, y_test = windows(scaled, start - 1, len(series) - AHEAD)

    tdfast.utils.set_random_seed(0)
    model = tdfast.Sequential([
        tdfast.layers.LSTM(32, return_sequences=True, input_shape=(WINDOW, 1)),
        tdfast.layers.TimeDistributed(tdfast.layers.Dense(AHEAD)),
    ])
    model.compile(optimizer=tdfast.optimizers.Adam(learning_rate=0.002), loss="mse")

    begin = time.perf_counter()
    model.fit(x, y, batch_size=32, epochs=options.epochs, verbose=0)
    seconds = time.perf_counter() - begin
    print(f"trained on {len(x)} windows of {WINDOW} months before {HELD_OUT}: "
          f"{options.epochs} epochs in {seconds:.1f} s")

    # At the last step of a window the model has read all of it: that is the forecast to judge.
    prediction = model.predict(x_test, verbose=0)[:, -1] * spread + mean
    truth = y_test[:, -1] * spread + mean
    persistence = np.repeat(x_test[:, -1] * spread + mean, AHEAD, axis=1)

    print(f"held out: {len(truth)} forecasts of {AHEAD} months each, {HELD_OUT} to {months[-1]}")
    print("root mean squared error, in sunspots:")
    print("  months ahead   tdfast   persistence")
    for n in (1, 6, 12, 24, 36):
        k = n - 1
        print(f"  {n:12d}   {rmse(prediction[:, k] - truth[:, k]):6.1f}   "
              f"{rmse(persistence[:, k] - truth[:, k]):11.1f}")
    ours, naive = rmse(prediction - truth), rmse(persistence - truth)
    print(f"  {'all':>12s}   {ours:6.1f}   {naive:11.1f}   ({100 * (1 - ours / naive):.0f} % lower)")

    if plot(options.png, months, series, start, prediction):
        print(f"picture: {options.png}")
    else:
        print("picture: none, since matplotlib is not installed (pip install matplotlib)")
    return ours, naive


if __name__ == "__main__":
    main()
