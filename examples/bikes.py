"""Forecast the rentals of a bike-sharing system for a day ahead: an encoder-decoder with known future inputs.

Run it with ``python bikes.py``. At the end of a day the model reads three days of rentals, weather and
calendar, hour by hour, and forecasts the 24 hours that follow. An encoder reads the past; its states begin a
decoder, which reads what is known of the future: the calendar. The decoder looks back at the encoder's steps
by attention. It learns from January 2011 to August 2012; September to December 2012 are held out.

The yardsticks are persistence ("as at this hour a day, or a week, ago") and a plain LSTM of the same width,
which reads the same past but knows nothing of the day to come.

    --epochs N     how long to train (default 15)
    --png FILE     where the picture goes when matplotlib is installed (default bikes.png)
"""

import argparse
import time
from pathlib import Path

import numpy as np

import tdfast
from tdfast import Input, Model
from tdfast.layers import LSTM, Attention, Concatenate, Dense

PAST, AHEAD, WEEK = 72, 24, 168
HELD_OUT = "2012-09-01T00"
UNITS = 32

DATA = Path(__file__).parent / "data" / "bikes.csv"


def load():
    """(hours as 'YYYY-MM-DDTHH', rentals, what the calendar says of each hour, the weather)."""
    table = np.loadtxt(DATA, delimiter=",", skiprows=1, dtype=str)
    hours, numbers = table[:, 0], table[:, 1:].astype("float64")
    when = hours.astype("datetime64[h]")
    of_day = (when - when.astype("datetime64[D]")).astype(int)
    weekday = (when.astype("datetime64[D]").astype(int) + 3) % 7
    turns = 2 * np.pi * of_day[:, None] / 24 * np.array([1, 2, 3])
    calendar = np.column_stack([np.sin(turns), np.cos(turns), numbers[:, :2], weekday == 5, weekday == 6])
    return hours, numbers[:, 5], calendar, numbers[:, 2:5]


def windows(starts, rentals, calendar, weather, scale):
    """Of each start the past and the calendar of the day that begins there, and its rentals."""
    past, ahead = starts[:, None] + np.arange(-PAST, 0), starts[:, None] + np.arange(AHEAD)
    seen = np.concatenate([rentals[past][..., None] / scale, weather[past], calendar[past]], axis=-1)
    return {"past": seen, "known": calendar[ahead]}, rentals[ahead][..., None] / scale


def encoder_decoder(past, known):
    """States from an encoder to a decoder, and attention back."""
    x, z = Input((PAST, past), name="past"), Input((AHEAD, known), name="known")
    memory, *states = LSTM(UNITS, return_sequences=True, return_state=True)(x)
    decoded = LSTM(UNITS, return_sequences=True)(z, initial_state=states)
    context = Attention()([decoded, memory])
    return Model([x, z], Dense(1)(Concatenate()([decoded, context, z])), name="encoder_decoder")


def plain_lstm(past):
    """The past alone: an LSTM's last output gives the whole day."""
    x = Input((PAST, past), name="past")
    return Model(x, Dense(AHEAD)(LSTM(UNITS)(x))[..., None], name="plain_lstm")


def mae(error):
    """The mean absolute error, in rentals an hour."""
    return float(np.abs(error).mean())


def plot(path, hours, truth, forecasts):
    """A week of forecasts over the truth; returns False without matplotlib."""
    try:
        import matplotlib
    except ImportError:
        return False
    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    figure, axes = plt.subplots(figsize=(11, 4.5))
    when = hours.astype("datetime64[h]")
    axes.plot(when, truth, color="0.6", linewidth=4, label="observed")
    for (name, values), color in zip(forecasts.items(), ("C3", "C0")):
        axes.plot(when, values, color=color, linewidth=1.5, label=name)
    axes.set(ylabel="rentals an hour", title="Bikes: each day forecast at midnight, of days never trained on")
    axes.set_ylim(top=1.2 * truth.max())
    axes.legend(loc="upper center", ncol=3)
    axes.grid(alpha=0.3)
    figure.autofmt_xdate()
    figure.tight_layout()
    figure.savefig(path, dpi=110)
    return True


def main(arguments=None):
    """Train, print the errors, draw. Returns the errors by name."""
    parser = argparse.ArgumentParser(description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--epochs", type=int, default=15)
    parser.add_argument("--png", default="bikes.png")
    options = parser.parse_args(arguments)
    tdfast.utils.set_random_seed(1)

    hours, rentals, calendar, weather = load()
    held_out = int(np.flatnonzero(hours == HELD_OUT)[0])
    scale = rentals[:held_out].max()
    # Training days begin at any fourth hour; the days of the test begin at midnight.
    x, y = windows(np.arange(WEEK, held_out - AHEAD + 1, 4), rentals, calendar, weather, scale)
    test = np.arange(held_out, len(rentals) - AHEAD + 1, 24)
    x_test, y_test = windows(test, rentals, calendar, weather, scale)
    truth = y_test[..., 0] * scale

    past, known = x["past"].shape[-1], x["known"].shape[-1]
    models = {"encoder-decoder, knows the calendar": encoder_decoder(past, known),
              "plain LSTM": plain_lstm(past)}
    ahead = test[:, None] + np.arange(AHEAD)
    errors = {"as a day ago": mae(rentals[ahead - 24] - truth),
              "as a week ago": mae(rentals[ahead - WEEK] - truth)}
    forecasts = {}
    for name, model in models.items():
        inputs = [layer.name for layer in model.input_layers]
        model.compile(optimizer=tdfast.optimizers.Adam(0.003), loss="mae")
        start = time.perf_counter()
        model.fit({key: x[key] for key in inputs}, y, batch_size=64, epochs=options.epochs, verbose=2)
        print(f"{name}: trained in {time.perf_counter() - start:.1f} s")
        forecasts[name] = model.predict({key: x_test[key] for key in inputs}, verbose=0)[..., 0] * scale
        errors[name] = mae(forecasts[name] - truth)

    print(f"\n{len(test)} days from {HELD_OUT[:10]}, mean absolute error in rentals an hour:")
    for name, error in errors.items():
        print(f"  {name:36s} {error:6.1f}")
    week = slice(0, 7)
    drawn = plot(options.png, hours[ahead[week]].ravel(), truth[week].ravel(),
                 {name: values[week].ravel() for name, values in forecasts.items()})
    print(f"picture: {options.png}" if drawn else "picture: matplotlib is not installed")
    return errors


if __name__ == "__main__":
    main()
