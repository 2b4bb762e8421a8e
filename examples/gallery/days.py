"""
Strange days, found by an autoencoder
=====================================

On which working days do people rent bikes as if they did not work? Nobody labels such
days. An **LSTM autoencoder** learns what usual ones are: an encoder makes three numbers
of a day's 24 hours, and a decoder makes the day again of those. It learns from the
working days of one year. What it then cannot make again is strange.

Public holidays, which it never saw, say how good that is. The yardsticks are how far a
day's total, and how far its hours are from those of the mean working day.
"""

import sys
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np

import tdfast
from tdfast.layers import LSTM, Dense, Input, RepeatVector, TimeDistributed
from tdfast.utils import plot_forecast

data = Path(sys.argv[0]).resolve().parents[1] / "data" / "bikes.csv"
table = np.loadtxt(data, delimiter=",", skiprows=1, dtype=str)
dates = table[::24, 0].astype("datetime64[D]")
rentals = table[:, 6].astype("float64").reshape(-1, 24)
holiday, working = (table[::24, k] == "1" for k in (1, 2))

# %%
# More bikes are rented in summer, and in the second year. Divided by the mean of the
# last four weeks, days are alike over both years.
level = np.array([rentals[max(0, k - 27) : k + 1].mean() for k in range(len(rentals))])
days = rentals / level[:, None] / 3
learned = working & (dates < np.datetime64("2012-01-01"))
later = working & ~learned
print(
    f"{learned.sum()} working days to learn from, {later.sum()} later ones, "
    f"{holiday.sum()} holidays"
)

# %%
# **Many-to-one**, then **one-to-many**: `RepeatVector` hands the three numbers to each
# hour of the decoder.
tdfast.utils.set_random_seed(0)
model = tdfast.Sequential(
    [
        Input((24, 1)),
        LSTM(3),
        RepeatVector(24),
        LSTM(32, return_sequences=True),
        TimeDistributed(Dense(1)),
    ]
)
model.compile(tdfast.optimizers.Adam(0.01), "mse")
model.fit(
    days[learned][..., None],
    days[learned][..., None],
    batch_size=16,
    epochs=60,
    verbose=0,
)
again = model.predict(days[..., None], verbose=0)[..., 0]
score = ((again - days) ** 2).mean(axis=1)

# %%
# How often is a holiday stranger than a working day of 2012? That is the area under the
# ROC curve: 50 % is chance.


def found(score: np.ndarray) -> float:
    """Of all pairs of a holiday and a working day, how often the former scores higher."""
    return float((score[holiday][:, None] > score[later]).mean())


usual = days[learned].mean(axis=0)
ours, hours = found(score), found(((days - usual) ** 2).mean(axis=1))
total = found(np.abs(days.sum(axis=1) - usual.sum()))
print(
    f"holidays found: {ours:.1%}; by the hours of the mean day {hours:.1%}; "
    f"by the day's total {total:.1%}"
)

# %%
# The strangest working days of 2012. The calendar calls them working days, but most of
# them lie beside a holiday.
strange = np.flatnonzero(later)[np.argsort(-score[later])[:6]]
for k in strange:
    day, total_of_day = dates[k].item(), rentals[k].sum()
    print(f"{day:%A, %d %B %Y}: {total_of_day:.0f} rentals, error {score[k]:.4f}")

# %%
# First a usual day and what the model makes of it, then three strange ones: the model
# puts the way to work and back where there was none.
typical = np.flatnonzero(later)[np.argsort(score[later])[later.sum() // 2]]
figure, panels = plt.subplots(2, 2, figsize=(10, 6), layout="constrained", sharex=True)
for axes, k in zip(panels.flat, [typical, *strange[:3]]):
    plot_forecast(
        rentals[k], 3 * level[k] * again[k], start=0, label="made again", ax=axes
    )
    axes.set_title(f"{dates[k].item():%A, %d %B %Y}", fontsize=10)
for axes in panels[1]:
    axes.set_xlabel("hour")
for axes in panels[:, 0]:
    axes.set_ylabel("rentals")
plt.show()

# %%
# All days. The line is the error that one working day to learn from in a hundred
# exceeds.
limit = np.quantile(score[learned], 0.99)
figure, axes = plt.subplots(figsize=(10, 4), layout="constrained")
for name, which, color in (
    ("working days", working, "0.7"),
    ("weekends", ~working & ~holiday, "C0"),
    ("holidays", holiday, "C3"),
):
    axes.scatter(dates[which], score[which], s=12, color=color, label=name)
axes.axhline(limit, color="0.3", linestyle=":")
axes.set(ylabel="error of what was made again", yscale="log", title="Days of two years")
axes.legend(frameon=False, ncols=3)
axes.grid(alpha=0.25)
plt.show()

# %%
# The gallery is built only where this holds.
assert ours > 0.92 and ours > hours + 0.02
