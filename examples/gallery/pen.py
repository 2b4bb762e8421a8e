"""
Which digit does the pen write?
===============================

A tablet records where a pen is while it writes a digit: eight points of two
coordinates, in the order of time. A sequence in, one of ten classes out: that is
**many-to-one**. A convolution sees three points at a time, a bidirectional LSTM reads
the way of the pen from both ends, and its last outputs go to a softmax. The writers of
the test wrote none of the digits to learn from.

The yardstick is the nearest neighbor: the digit whose eight points are closest to the
new ones.
"""

import sys
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np

import tdfast
from tdfast.layers import LSTM, Bidirectional, Conv1D, Dense, Dropout, Input
from tdfast.utils import plot_confusion

data = Path(sys.argv[0]).resolve().parents[1] / "data" / "pen.csv"
table = np.loadtxt(data, delimiter=",", skiprows=1)
digits, strokes = table[:, 0].astype(int), table[:, 1:].reshape(-1, 8, 2) / 50 - 1
x, y, x_test, y_test = strokes[:7494], digits[:7494], strokes[7494:], digits[7494:]
print(f"{len(x)} digits of 30 writers to learn from, {len(x_test)} of 14 others to judge")

# %%
# Each pen leans and stretches its digits in its own way. Turning and stretching what 30
# writers wrote a little makes more of such ways.
tdfast.utils.set_random_seed(0)
rng = np.random.default_rng(0)
changes = np.eye(2) + rng.normal(0, 0.2, size=(2, len(x), 2, 2))
many = np.concatenate([x, *(x @ change for change in changes)])

model = tdfast.Sequential(
    [
        Input((8, 2)),
        Conv1D(32, 3, padding="same", activation="relu"),
        Bidirectional(LSTM(48)),
        Dropout(0.3),
        Dense(10, activation="softmax"),
    ]
)
rate = tdfast.optimizers.schedules.CosineDecay(0.005, decay_steps=6 * len(many) // 64)
model.compile(tdfast.optimizers.Adam(rate), "sparse_categorical_crossentropy")
model.fit(many, np.tile(y, 3), batch_size=64, epochs=6, verbose=0)

# %%
# How many are right, and how many of the yardstick's.
guess = model.predict(x_test, verbose=0).argmax(axis=-1)
flat, flat_test = x.reshape(len(x), -1), x_test.reshape(len(x_test), -1)
distances = (flat**2).sum(axis=1) - 2 * flat_test @ flat.T
neighbor = y[distances.argmin(axis=1)]
ours, nearest = (guess == y_test).mean(), (neighbor == y_test).mean()
print(
    f"right: {ours:.1%}, the nearest neighbor {nearest:.1%}, the most frequent digit "
    f"{np.bincount(y_test).max() / len(y_test):.1%}"
)

# %%
# Which digits are taken for which: a row for each digit that was meant.
figure, axes = plt.subplots(figsize=(6.5, 6), layout="constrained")
plot_confusion(y_test, guess, ax=axes)
axes.set_title("Digits that were meant and read")
plt.show()

# %%
# Some that were misread, from the pale begin of the pen's way to its dark end. Few
# people would read all of them.
wrong = np.flatnonzero(guess != y_test)[:10]
figure, panels = plt.subplots(2, 5, figsize=(9, 4), layout="constrained")
for axes, k in zip(panels.flat, wrong):
    axes.plot(*x_test[k].T, color="0.7", zorder=0)
    axes.scatter(*x_test[k].T, c=range(8), cmap="Blues", vmin=-2, edgecolor="0.3", s=30)
    axes.set(
        title=f"meant {y_test[k]}, read {guess[k]}",
        xticks=[],
        yticks=[],
        aspect="equal",
        xlim=(-1.2, 1.2),
        ylim=(-1.2, 1.2),
    )
plt.show()

# %%
# The gallery is built only where this holds.
assert ours > 0.98 and 1 - ours < 0.75 * (1 - nearest)
