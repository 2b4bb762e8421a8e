"""Forecast bicycle rentals an hour ahead with scikit-learn: a search over models, then a band for each hour.

Run it with ``python search.py``; it needs scikit-learn, ``pip install 'tdfast[sklearn]'``. Models read a day
of rentals, weather and calendar, hour by hour, and forecast the next hour; its own weather counts as known.
`GridSearchCV` chooses among recurrent ones by forecasts of later months, in two processes. The chosen one
then learns the quantiles 10, 50 and 90 % of January 2011 to August 2012, and is judged by September to
December 2012, beside persistence ("as an hour, or a week, ago") and scikit-learn's ridge regression, which
reads the same hours as one row. So do its boosted trees, which err as little as the chosen model does and
take longer than all the rest.

    --epochs N     how long to train at last (default 8)
    --trees        boosted trees as well
"""

import argparse
import time
from pathlib import Path

import numpy as np
from sklearn.ensemble import HistGradientBoostingRegressor
from sklearn.linear_model import RidgeCV
from sklearn.model_selection import GridSearchCV, TimeSeriesSplit
from sklearn.pipeline import make_pipeline

from tdfast.sklearn import SequenceRegressor, SeriesScaler

WINDOW, WEEK = 24, 168
HELD_OUT = "2012-09-01T00"

DATA = Path(__file__).parent / "data" / "bikes.csv"


def load():
    """(hours as 'YYYY-MM-DDTHH', rentals, what is known of each hour in it: (hours, 7))."""
    table = np.loadtxt(DATA, delimiter=",", skiprows=1, dtype=str)
    when, numbers = table[:, 0].astype("datetime64[h]"), table[:, 1:].astype("float64")
    turn = 2 * np.pi * (when - when.astype("datetime64[D]")).astype(int) / 24
    return table[:, 0], numbers[:, 5], np.column_stack([np.sin(turn), np.cos(turn), numbers[:, :5]])


def windows(rentals, known):
    """The hours before each hour, beside what is known of the hour after each: (hours, WINDOW, 8)."""
    steps = np.arange(WEEK, len(rentals))[:, None] + np.arange(-WINDOW, 0)
    return np.concatenate([rentals[steps][..., None], known[steps + 1]], axis=-1)


def mae(error):
    """The mean absolute error, in rentals."""
    return float(np.abs(error).mean())


def main(arguments=None):
    """Search, train, print. Returns the errors by name, and the share of hours within the band."""
    parser = argparse.ArgumentParser(description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--epochs", type=int, default=8)
    parser.add_argument("--trees", action="store_true")
    options = parser.parse_args(arguments)

    hours, rentals, known = load()
    x, y, when = windows(rentals, known), rentals[WEEK:], hours[WEEK:]
    past, held_out = when < HELD_OUT, when >= HELD_OUT

    begin = time.perf_counter()
    network = SequenceRegressor(loss="mae", learning_rate=0.004, epochs=6, random_state=0)
    search = GridSearchCV(make_pipeline(SeriesScaler(), network), {
        "sequenceregressor__cell": ["lstm", "gru"],
        "sequenceregressor__units": [16, 32],
    }, cv=TimeSeriesSplit(2), scoring="neg_mean_absolute_error", n_jobs=2)
    search.fit(x[past][::3], y[past][::3])
    print(f"searched in {time.perf_counter() - begin:.1f} s; mean absolute errors of later months:")
    for tried, score in zip(search.cv_results_["params"], search.cv_results_["mean_test_score"]):
        print(f"  {tried['sequenceregressor__cell']:4s} of {tried['sequenceregressor__units']} units"
              f"   {-score:5.1f}")

    best = search.best_estimator_.set_params(
        sequenceregressor__loss=None, sequenceregressor__quantiles=(0.1, 0.5, 0.9),
        sequenceregressor__epochs=options.epochs)
    rows = x.reshape(len(x), -1)
    forecasts = {
        "as an hour ago": x[held_out, -1, 0],
        "as a week ago": rentals[:-WEEK][held_out],
        "ridge regression": RidgeCV(np.logspace(-2, 4, 7)).fit(rows[past], y[past]).predict(rows[held_out]),
        "tdfast": best.fit(x[past], y[past]).predict(x[held_out]),
    }
    if options.trees:
        trees = HistGradientBoostingRegressor(random_state=0).fit(rows[past], y[past])
        forecasts["boosted trees"] = trees.predict(rows[held_out])
    errors = {name: mae(found - y[held_out]) for name, found in forecasts.items()}
    print(f"held out: {held_out.sum()} hours from {HELD_OUT} on")
    for name, error in errors.items():
        print(f"  {name:17s} {error:5.1f}")
    low, _, high = best[-1].predict_quantiles(best[:-1].transform(x[held_out])).T
    within = float(np.mean((low <= y[held_out]) & (y[held_out] <= high)))
    print(f"within the band from 10 to 90 %: {100 * within:.0f} % of the hours")
    return errors, within


if __name__ == "__main__":
    main()
