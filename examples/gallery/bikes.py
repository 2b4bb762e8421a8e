"""
Bikes: what is known of tomorrow
================================

A bike-sharing system wants to know at midnight how many bikes will be rented in each
hour of the day that begins. The past three days are known hour by hour, with their
weather; of the day to come the calendar is known: the hour, the weekday, whether people
work. That makes an **encoder-decoder**: an encoder reads the past, its states begin a
decoder, which reads what is known of the future and gives three quantiles of each hour.

The yardstick is "as at this hour a week ago", with the quantiles of its past errors.
"""

import sys
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np

import tdfast
from tdfast import Input, Model
from tdfast.layers import LSTM, Concatenate, Dense
from tdfast.utils import plot_forecast, plot_history, temporal_split, windows

PAST, DAY, WEEK = 72, 24, 168
LEVELS = [0.1, 0.5, 0.9]

data = Path(sys.argv[0]).resolve().parents[1] / "data" / "bikes.csv"
table = np.loadtxt(data, delimiter=",", skiprows=1, dtype=str)
hours, numbers = table[:, 0].astype("datetime64[h]"), table[:, 1:].astype("float64")
rentals, weather = numbers[:, 5], numbers[:, 2:5]

# %%
# The calendar as numbers: the hour on a circle, holidays, working days, Saturdays and
# Sundays.
of_day = (hours - hours.astype("datetime64[D]")).astype(int)
weekday = (hours.astype("datetime64[D]").astype(int) + 3) % 7
turns = 2 * np.pi * of_day[:, None] / 24 * np.array([1, 2, 3])
calendar = np.column_stack(
    [np.sin(turns), np.cos(turns), numbers[:, :2], weekday == 5, weekday == 6]
)
seen = np.column_stack([rentals / 1000, weather, calendar])

# %%
# `windows` cuts what was seen, with the rentals that follow, and the calendar that
# follows. September to December 2012 are held out; a window of theirs begins each day,
# one to learn from every three hours. Of the latter, `temporal_split` keeps the last
# tenth to say when to stop, with a gap before them, so that no hour is in both.
held_out = int(np.flatnonzero(hours == np.datetime64("2012-09-01T00"))[0])


def cut(first: int, last: int, stride: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """The past, the calendar of the day to come, and its rentals in thousands."""
    part = slice(first, last)
    past, day = windows(
        seen[part], PAST, DAY, stride=stride, targets=rentals[part] / 1000
    )
    return (
        past,
        windows(seen[part], PAST, DAY, stride=stride, targets=calendar[part])[1],
        day[..., None],
    )


past, known, y = cut(0, held_out, stride=3)
past_test, known_test, y_test = cut(held_out - PAST, len(hours), stride=DAY)
gap = (PAST + DAY) // 3 - 1
(past, y), (past_val, y_val) = temporal_split(past, y, validation=0.1, gap=gap)
(known, _), (known_val, _) = temporal_split(known, known, validation=0.1, gap=gap)
print(
    f"{len(y)} windows to learn from, {len(y_val)} to say when to stop, "
    f"{len(y_test)} days to judge"
)

# %%
# The states of the encoder begin the decoder. `Quantile` takes the three outputs of
# each hour.
tdfast.utils.set_random_seed(0)
x, z = Input(past.shape[1:]), Input(known.shape[1:])
_, *states = LSTM(32, return_state=True)(x)
decoded = LSTM(32, return_sequences=True)(z, initial_state=states)
model = Model([x, z], Dense(len(LEVELS))(Concatenate()([decoded, z])))
model.compile(tdfast.optimizers.Adam(0.004), tdfast.losses.Quantile(LEVELS))
stop = tdfast.callbacks.EarlyStopping(patience=3, restore_best_weights=True)
history = model.fit(
    [past, known],
    y,
    batch_size=64,
    epochs=20,
    verbose=0,
    callbacks=[stop],
    validation_data=([past_val, known_val], y_val),
)
forecast = 1000 * model.predict([past_test, known_test], verbose=0)
truth = 1000 * y_test[..., 0]

# %%
# The yardstick, and how both did. Of a band from 10 to 90 %, 80 % of the hours would be
# right.
begins = np.arange(held_out, held_out + DAY * len(truth), DAY)
ahead = begins[:, None] + np.arange(DAY)
errors = np.quantile(rentals[WEEK:held_out] - rentals[: held_out - WEEK], LEVELS)
week_ago = rentals[ahead - WEEK][..., None] + errors


def judged(forecast: np.ndarray) -> tuple[float, float, float]:
    """The quantile loss, the mean error of the median, how many hours lie in the band."""
    loss = float(tdfast.losses.Quantile(LEVELS)(truth[..., None], forecast))
    inside = (forecast[..., 0] <= truth) & (truth <= forecast[..., -1])
    return loss, float(np.abs(forecast[..., 1] - truth).mean()), float(inside.mean())


ours, naive = judged(forecast), judged(week_ago)
for name, (loss, error, inside) in {"ours": ours, "as a week ago": naive}.items():
    print(
        f"{name:13s} quantile loss {loss:.1f}, median wrong by {error:.1f}, "
        f"{inside:.0%} of the hours in the band"
    )

# %%
# Ten days from September on, each forecast at its midnight. On workdays people ride to
# work and back, and at weekends in the afternoon.
figure, axes = plt.subplots(figsize=(10, 4.5), layout="constrained")
first = held_out - DAY
for day in range(10):
    plot_forecast(
        rentals[first : begins[10]] if day == 0 else None,
        forecast[day],
        quantiles=LEVELS,
        start=begins[day] - first,
        x=hours[first : begins[10]],
        ax=axes,
    )
axes.set(ylabel="rentals an hour", title="Bikes: each day forecast at its midnight")
axes.tick_params(axis="x", rotation=30)
plt.show()

# %%
# How training went, and which epoch's weights were kept.
figure, axes = plt.subplots(figsize=(6, 3.5), layout="constrained")
plot_history(history, ax=axes)
plt.show()

# %%
# The gallery is built only where this holds.
assert ours[0] < 0.7 * naive[0] and ours[1] < 0.85 * naive[1]
