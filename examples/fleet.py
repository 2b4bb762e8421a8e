"""Forecast 148 series of retail turnover a year ahead: one small model for each, by `tdfast.fleet`.

Run it with ``python fleet.py``. Each series is the monthly turnover of a trade in a state of Australia. From
the last 24 months a model forecasts the 12 that follow, as the logarithm of how they differ from the same
months a year before. The last four years of each series are held out.

Compared are "as a year ago", a model for each series alone, one global model that learns from all series
joined, a fleet that begins with the weights of the global model, and the mean of the last two. A few hundred
months are little for a model of its own: it is better than a year ago, and the global one is better still. A
fleet that begins with that one is as good, and the mean of both a little better. Longer series, or such as
are less alike, may give another order: measure it.

    --engine joblib    train in processes instead of threads; the numbers are the same
"""

import argparse
import csv
import time
from pathlib import Path

import numpy as np

import tdfast
from tdfast.layers import LSTM, Dense, Input

PAST, AHEAD, HELD_OUT, UNITS = 24, 12, 48, 16

DATA = Path(__file__).parent / "data" / "retail.csv"


def load():
    """Dict from 'state: trade' to its turnovers, the last of December 2018; some begin later than others."""
    with open(DATA, encoding="utf8", newline="") as file:
        (_, *names), *rows = csv.reader(file)
    columns = list(zip(*rows))[1:]
    return {name: np.array([float(value) for value in column if value])
            for name, column in zip(names, columns)}


def past_of(series, ends):
    """(ends, PAST, 3): the level of the months before each end, and their place in the year."""
    before = ends[:, None] + np.arange(-PAST, 0)
    logs = np.log(series[before])
    turn = 2 * np.pi * (before - len(series)) / 12
    return np.stack([logs - logs[:, -12:].mean(1, keepdims=True), np.sin(turn), np.cos(turn)], axis=-1)


def windows(series):
    """The past and what is to be learned of it, of each month of training that a year of training follows."""
    ends = np.arange(PAST, len(series) - HELD_OUT - AHEAD + 1)
    ahead = ends[:, None] + np.arange(AHEAD)
    return past_of(series, ends), np.log(series[ahead] / series[ahead - 12])


def network(rate, dropout=0.0):
    """A small LSTM; it begins with "as a year ago"."""
    model = tdfast.Sequential([Input((PAST, 3)), LSTM(UNITS, dropout=dropout, recurrent_dropout=dropout),
                               Dense(AHEAD, kernel_initializer="zeros")])
    model.compile(tdfast.optimizers.Adam(rate), "mae")
    return model


def main(arguments=None):
    """Train and print the errors. Returns them by name, an array of all series for each."""
    parser = argparse.ArgumentParser(description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--engine", choices=["joblib"])
    engine = parser.parse_args(arguments).engine
    tdfast.utils.set_random_seed(1)

    series = load()
    data = {name: windows(values) for name, values in series.items()}
    ends = {name: np.arange(len(values) - HELD_OUT, len(values) - AHEAD + 1)
            for name, values in series.items()}
    x = {name: past_of(values, ends[name]) for name, values in series.items()}

    def errors_of(changes):
        """The mean absolute error of each series, in percent of its mean turnover."""
        out = []
        for name, values in series.items():
            ahead = ends[name][:, None] + np.arange(AHEAD)
            forecast = values[ahead - 12] * np.exp(changes[name])
            out.append(100 * np.abs(forecast - values[ahead]).mean() / values[ahead].mean())
        return np.array(out)

    def timed(what, call):
        start = time.perf_counter()
        made = call()
        print(f"{what}: trained in {time.perf_counter() - start:.1f} s")
        return made

    months = sorted(map(len, series.values()))
    print(f"{len(months)} series of {months[0]} to {months[-1]} months")
    alone = timed("a model for each series", lambda: tdfast.fleet.fit(
        network(0.003, dropout=0.3), data, epochs=15, batch_size=32, seed=1, engine=engine))

    joined = network(0.003)
    both = [np.concatenate(parts) for parts in zip(*data.values())]
    timed("one global model", lambda: joined.fit(*both, batch_size=128, epochs=5, verbose=0))

    template = network(0.0003)
    template.set_weights(joined.get_weights())
    tuned = timed("a fleet that begins with it", lambda: tdfast.fleet.fit(
        template, data, epochs=5, batch_size=32, seed=1, engine=engine))

    everywhere = {name: joined.predict(past, verbose=0) for name, past in x.items()}
    own = tuned.predict(x)
    changes = {
        "as a year ago": dict.fromkeys(series, 0.0),
        "a model for each series": alone.predict(x),
        "one global model": everywhere,
        "a fleet that begins with it": own,
        "the mean of these two": {name: (own[name] + everywhere[name]) / 2 for name in series},
    }
    errors = {name: errors_of(found) for name, found in changes.items()}
    print("\nmean absolute error of the last four years, in percent of a series' turnover:")
    print(f"{'':30s} mean  median  better than the global model for")
    for name, found in errors.items():
        better = "" if name == "one global model" else f"{(found < errors['one global model']).mean():10.0%}"
        print(f"  {name:28s} {found.mean():5.2f} {np.median(found):6.2f} {better}")
    return errors


if __name__ == "__main__":
    main()
