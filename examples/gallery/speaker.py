"""
Who speaks? A detector that is served frame by frame
====================================================

Nine men said two vowels, one after the other. A recording is a short sequence of
frames, each with twelve numbers that describe the sound of a moment. The model says
after **every** frame who it is: **many-to-many**, with recordings of different lengths.
Once it is trained, ``model.streamer()`` serves it as the frames come in, one time step
at a time, and keeps the state.

The yardstick is a linear model of each frame alone, that adds up what the frames so far
say.
"""

import sys
import time
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np

import tdfast
from tdfast.layers import GRU, Dense, Dropout, GaussianNoise, Input, TimeDistributed
from tdfast.utils import pad_sequences

data = Path(sys.argv[0]).resolve().parents[1] / "data" / "vowels.csv"
table = np.loadtxt(data, delimiter=",", skiprows=1)
begins = np.flatnonzero(np.diff(table[:, 0], prepend=-1))
speaker, learned = table[begins, 1].astype(int) - 1, begins[270]
sound = (table[:, 2:] - table[:learned, 2:].mean(axis=0)) / table[:learned, 2:].std(
    axis=0
)
recordings = np.split(sound, begins[1:])
lengths = np.array(list(map(len, recordings)))
frames = pad_sequences(recordings, padding="post", dtype="float32")
train, test = slice(0, 270), slice(270, None)
print(
    f"{len(recordings)} recordings of {lengths.min()} to {lengths.max()} frames, "
    "270 to learn from"
)

# %%
# The speaker is the target of every frame. Zeros fill up the shorter recordings; with
# ``lengths`` they count for nothing. 270 recordings are few, so noise and dropout keep
# the model from learning them by heart.
target = np.repeat(speaker[:, None], frames.shape[1], axis=1)


tdfast.utils.set_random_seed(1)
model = tdfast.Sequential(
    [
        Input((None, 12)),
        GaussianNoise(0.5),
        TimeDistributed(Dense(64, activation="relu")),
        Dropout(0.3),
        GRU(64, return_sequences=True),
        Dropout(0.5),
        TimeDistributed(Dense(9, activation="softmax")),
    ]
)
alone = tdfast.Sequential(
    [Input((None, 12)), TimeDistributed(Dense(9, activation="softmax"))]
)
for one in (model, alone):
    one.compile(tdfast.optimizers.Adam(0.005), "sparse_categorical_crossentropy")
    one.fit(
        frames[train],
        target[train],
        lengths=lengths[train],
        batch_size=16,
        epochs=80,
        verbose=0,
    )

# %%
# How many of the other 370 recordings are named rightly after so many frames.
ends = np.minimum(np.arange(frames.shape[1]), lengths[test, None] - 1)


def right(scores: np.ndarray) -> np.ndarray:
    """The share of recordings with the right name, after 1, 2, ... of their frames."""
    guess = np.take_along_axis(scores, ends[..., None], axis=1).argmax(axis=-1)
    return (guess == speaker[test, None]).mean(axis=0)


ours = right(model.predict(frames[test], verbose=0))
linear = right(np.cumsum(np.log(alone.predict(frames[test], verbose=0) + 1e-6), axis=1))
for k in (1, 3, 10, 29):
    print(f"right after {k:2d} frames: {ours[k - 1]:.1%}, linear {linear[k - 1]:.1%}")

# %%
# Now the frames come one by one. A streamer takes one time step, and gives what
# ``predict`` gives for it, to the bit.
stream = model.streamer(batch_size=1)
steps = np.concatenate(
    [frames[270 + k, :length] for k, length in enumerate(lengths[test][:100])]
)
stream.step(steps[:1])
start = time.perf_counter()
for frame in steps:
    stream.step(frame[None])
micros = 1e6 * (time.perf_counter() - start) / len(steps)
print(f"{micros:.0f} microseconds a frame")

# %%
# A recording as the model hears it: after each frame, how likely each speaker is. The
# first recording of the test whose speaker is taken for another one at first.
guesses = model.predict(frames[test], verbose=0).argmax(axis=-1)
late = 270 + int(
    np.flatnonzero((guesses[:, 0] != speaker[test]) & (guesses[:, 5] == speaker[test]))[0]
)
stream.reset()
whole = frames[late : late + 1, : lengths[late]]
heard = np.concatenate([stream.step(frame[None]) for frame in whole[0]])
assert (heard == model.predict(whole, verbose=0)[0]).all()

figure, (above, below) = plt.subplots(2, 1, figsize=(9, 7), layout="constrained")
image = above.imshow(heard.T, cmap="Blues", vmin=0, vmax=1, aspect="auto", origin="lower")
above.set(
    xlabel="frame",
    ylabel="speaker",
    yticks=range(9),
    yticklabels=range(1, 10),
    title=f"Speaker {speaker[late] + 1}, heard in {micros:.0f} microseconds a frame",
)
figure.colorbar(image, ax=above, label="probability")
below.plot(np.arange(1, 16), ours[:15], marker="o", label="ours")
below.plot(
    np.arange(1, 16),
    linear[:15],
    marker="o",
    color="0.6",
    label="each frame alone, added up",
)
below.set(
    xlabel="frames heard",
    ylabel="recordings named rightly",
    title="The longer it listens",
)
below.grid(alpha=0.25)
below.legend(frameon=False)
plt.show()

# %%
# The gallery is built only where this holds.
assert ours[-1] > 0.93 and ours[2] > linear[2] + 0.03
