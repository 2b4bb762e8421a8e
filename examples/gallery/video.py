"""
Video: which digit drifts, and where to
=======================================

Handwritten digits drift through a small, noisy picture: eight frames of 16 x 16 points.
What digit is it, and into which of eight directions does it go? ``TimeDistributed``
applies the same convolutions to **each frame**, and an LSTM reads what they saw:
**many-to-one**, with two answers.

The yardstick is the same network with one frame alone, that in the middle: it cannot
tell the direction, and in the noise not always the digit.
"""

import sys
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np

import tdfast
from tdfast import Input, Model
from tdfast.layers import LSTM, Conv2D, Dense, Flatten, MaxPooling2D, TimeDistributed
from tdfast.utils import plot_confusion

FRAMES, SIDE, INK = 8, 16, 9
WAYS = [(0, 1), (1, 1), (1, 0), (1, -1), (0, -1), (-1, -1), (-1, 0), (-1, 1)]
NAMES = ["right", "down right", "down", "down left", "left", "up left", "up", "up right"]

data = Path(sys.argv[0]).resolve().parents[1] / "data" / "pen.csv"
table = np.loadtxt(data, delimiter=",", skiprows=1)
digits, strokes = table[:, 0].astype(int), table[:, 1:].reshape(-1, 8, 2) / 100

# %%
# The digits come as the ways of a pen, eight points each. Drawn with a thick pen they
# are pictures of 9 x 9 points.


def drawn(points: np.ndarray) -> np.ndarray:
    """(n, INK, INK) pictures of the lines through (n, 8, 2) points."""
    along = np.linspace(0, 7, 43)
    k = np.minimum(along.astype(int), 6)
    part = (along - k)[:, None]
    line = (points[:, k] * (1 - part) + points[:, k + 1] * part) * (INK - 2) + 0.5
    rows, columns = np.mgrid[:INK, :INK]
    apart = (columns - line[..., 0, None, None]) ** 2 + (
        INK - 1 - rows - line[..., 1, None, None]
    ) ** 2
    return np.exp(-2 * apart).max(axis=1)


def videos(
    pictures: np.ndarray, rng: np.random.Generator
) -> tuple[np.ndarray, np.ndarray]:
    """A video of each picture, (n, FRAMES, SIDE, SIDE, 1), and its direction's number."""
    way = rng.integers(0, len(WAYS), size=len(pictures))
    out = rng.normal(0, 0.45, size=(len(pictures), FRAMES, SIDE, SIDE, 1))
    for k, (picture, step) in enumerate(zip(pictures, np.array(WAYS)[way])):
        middle = rng.integers(3, SIDE - INK - 2, size=2)
        for frame in range(FRAMES):
            row, column = middle + step * (frame - FRAMES // 2) * 3 // 4
            out[k, frame, row : row + INK, column : column + INK, 0] += picture
    return out.astype("float32"), way


rng = np.random.default_rng(0)
chosen = rng.choice(7494, 4000, replace=False)
unseen = 7494 + rng.choice(3498, 1000, replace=False)
x, way = videos(drawn(strokes[chosen]), rng)
x_test, way_test = videos(drawn(strokes[unseen]), rng)
digit, digit_test = digits[chosen], digits[unseen]

figure, panels = plt.subplots(3, FRAMES, figsize=(9, 3.8), layout="constrained")
for k, row in enumerate(panels):
    for axes, frame in zip(row, x_test[k]):
        axes.imshow(frame[..., 0], cmap="Blues", vmin=-0.5, vmax=1.5)
        axes.set(xticks=[], yticks=[])
    row[0].set_ylabel(f"{digit_test[k]}, {NAMES[way_test[k]]}")
plt.show()

# %%
# Two outputs, each with its loss.


def network(frames: int) -> Model:
    """Convolutions for each frame, an LSTM over the frames, two answers."""
    inputs = Input((frames, SIDE, SIDE, 1))
    seen = TimeDistributed(Conv2D(12, 3, activation="relu"), name="edges")(inputs)
    seen = TimeDistributed(MaxPooling2D(2), name="smaller")(seen)
    seen = TimeDistributed(Conv2D(16, 3, activation="relu"), name="shapes")(seen)
    seen = TimeDistributed(Flatten(), name="flat")(seen)
    seen = TimeDistributed(Dense(64, activation="relu"), name="frame")(seen)
    read = LSTM(64, name="over_time")(seen)
    model = Model(
        inputs,
        {
            "digit": Dense(10, activation="softmax", name="digit")(read),
            "way": Dense(len(WAYS), activation="softmax", name="way")(read),
        },
        name="video",
    )
    model.compile(tdfast.optimizers.Adam(0.003), "sparse_categorical_crossentropy")
    return model


tdfast.utils.set_random_seed(0)
middle = slice(FRAMES // 2, FRAMES // 2 + 1)
model, still = network(FRAMES), network(1)
model.fit(x, {"digit": digit, "way": way}, batch_size=32, epochs=8, verbose=0)
still.fit(x[:, middle], {"digit": digit, "way": way}, batch_size=32, epochs=8, verbose=0)

guess = {name: p.argmax(axis=-1) for name, p in model.predict(x_test, verbose=0).items()}
plain = {
    name: p.argmax(axis=-1)
    for name, p in still.predict(x_test[:, middle], verbose=0).items()
}
truth = {"digit": digit_test, "way": way_test}
ours, one = (
    {name: (found[name] == truth[name]).mean() for name in truth}
    for found in (guess, plain)
)
for name in truth:
    print(
        f"{name:5s} right: {ours[name]:.1%}, from the middle frame alone {one[name]:.1%}"
    )

# %%
# What is taken for what.
figure, (left, right) = plt.subplots(1, 2, figsize=(11, 5), layout="constrained")
plot_confusion(digit_test, guess["digit"], ax=left)
plot_confusion(way_test, guess["way"], labels=NAMES, ax=right)
plt.show()

# %%
# Where the time of a training step goes: ``model.profile`` measures it layer by layer
# and leaves the model as it was.
figure, axes = plt.subplots(figsize=(9, 5.5), layout="constrained")
model.profile(x, {"digit": digit, "way": way}, batch_size=32).plot(ax=axes)
plt.show()

# %%
# The gallery is built only where this holds.
assert ours["way"] > 0.9 and ours["digit"] > one["digit"] + 0.03
