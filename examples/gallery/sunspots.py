"""
Sunspots, with a fan of quantiles
=================================

How many sunspots will there be in each of the next 36 months, and how sure is that? The
model reads eleven years of monthly numbers, about one solar cycle, and gives five
quantiles of each month to come: **many-to-one**, with 36 x 5 outputs. It learns from
1749 to 1959; the years from 1960 on are held out.

The yardstick is persistence, "it stays as it is now", with the quantiles of its own
past errors around it.
"""

import sys
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np

import tdfast
from tdfast.layers import LSTM, Dense, Input
from tdfast.utils import plot_forecast, windows

LOOKBACK, HORIZON = 132, 36
LEVELS = [0.05, 0.25, 0.5, 0.75, 0.95]

data = Path(sys.argv[0]).resolve().parents[1] / "data" / "sunspots.csv"
table = np.loadtxt(data, delimiter=",", skiprows=1, dtype=str)
months, spots = table[:, 0].astype("datetime64[M]"), table[:, 1].astype("float64")
held_out = int(np.flatnonzero(months == np.datetime64("1960-01"))[0])

# %%
# `windows` cuts a series into what the model reads and what follows, as views: nothing
# is copied. Large numbers vary more than small ones, their roots do not; and quantiles
# stay quantiles under a root.
roots = np.sqrt(spots)
mean, spread = roots[:held_out].mean(), roots[:held_out].std()
series = (roots - mean) / spread
x, y = windows(series[:held_out], LOOKBACK, HORIZON, stride=3)
x_test, y_test = windows(series[held_out - LOOKBACK :], LOOKBACK, HORIZON)
print(f"{len(x)} windows to learn from, {len(x_test)} forecasts to judge")

# %%
# With a list of quantiles, `Quantile` takes targets of 36 months and 36 x 5 outputs,
# the five of a month side by side.
tdfast.utils.set_random_seed(0)
model = tdfast.Sequential([Input((LOOKBACK, 1)), LSTM(32), Dense(HORIZON * len(LEVELS))])
model.compile(tdfast.optimizers.Adam(0.003), tdfast.losses.Quantile(LEVELS))
model.fit(x, y, batch_size=32, epochs=25, verbose=0)


def in_spots(values: np.ndarray) -> np.ndarray:
    """From what the model sees back to sunspot numbers."""
    return np.maximum(values * spread + mean, 0) ** 2


fans = in_spots(model.predict(x_test, verbose=0)).reshape(-1, HORIZON, len(LEVELS))
truth = in_spots(y_test)

# %%
# The yardstick: the last number read, and around it how far the numbers went away from
# there in the years before 1960.
past, ahead = windows(spots[:held_out], LOOKBACK, HORIZON)
errors = np.quantile(ahead - past[:, -1], LEVELS, axis=0).T
now = spots[held_out - 1 : len(spots) - HORIZON]
persistence = np.maximum(now[:, None, None] + errors, 0)


def pinball(forecast: np.ndarray) -> float:
    """The mean quantile loss, in sunspots: the less, the better."""
    return float(tdfast.losses.Quantile(LEVELS)(truth, forecast.reshape(len(truth), -1)))


ours, naive = pinball(fans), pinball(persistence)
inside = ((fans[..., 0] <= truth) & (truth <= fans[..., -1])).mean()
print(
    f"quantile loss: {ours:.2f}, of persistence {naive:.2f} ({1 - ours / naive:.0%} less)"
)
print(f"{inside:.0%} of the months lie between the 5 % and the 95 % quantile")

# %%
# A fan every three years, from what was known at its left end.
figure, axes = plt.subplots(figsize=(10, 4.5), layout="constrained")
first = held_out - 48
for origin in range(0, len(fans), HORIZON):
    plot_forecast(
        spots[first:] if origin == 0 else None,
        fans[origin],
        quantiles=LEVELS,
        start=held_out - first + origin,
        x=months[first:],
        ax=axes,
    )
axes.set(
    ylabel="sunspot number",
    title="Three years of sunspots, forecast from the eleven before",
)
plt.show()

# %%
# The gallery is built only where this holds.
assert ours < 0.8 * naive and 0.7 < inside < 0.98
