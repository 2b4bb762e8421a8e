"""What a masked epoch costs beside the same epoch with all steps: tdfast alone, in one process, turn by
turn."""

from __future__ import annotations

import time
from typing import Any

import numpy as np

import tdfast
from tdfast.layers import Dense, Input, Masking, TimeDistributed

N, B, T, I, H, O = 512, 64, 100, 32, 64, 10
EPOCHS = 4
CELLS = ("LSTM", "GRU", "SimpleRNN")
KINDS = ("right", "left", "interior", "lengths")


def shares(threads: Any, quick: bool = False) -> Any:
    """{'LSTM right': share of the padded epoch's time, ...} with a quarter of valid steps, the best of each
    by turns.

    A cell of 64 units and TimeDistributed(Dense(10)) on 512 sequences of 100 steps, batches of 64, adam and
    mse; padding right, left or in between behind a Masking layer, or right with ``lengths=``. The lengths are
    random, from 0 to 50.
    """
    tdfast.set_num_threads(threads)
    rng = np.random.default_rng(0)
    x, y = rng.standard_normal((N, T, I), np.float32), rng.standard_normal((N, T, O), np.float32)
    lengths = rng.integers(0, T // 2 + 1, N)
    right = np.arange(T) < lengths[:, None]
    masks = {"right": right, "left": right[:, ::-1], "interior": rng.permuted(right, axis=1)}
    found = {}
    for cell in CELLS:
        padded = _model(cell)
        for kind in KINDS:
            masked = _model(cell, masking=kind in masks)
            x_masked = x * masks[kind][..., None] if kind in masks else x
            given = {} if kind in masks else {"lengths": lengths}
            best = [np.inf, np.inf]
            for _ in range(2 if quick else 12):
                for i, (model, inputs, more) in enumerate([(padded, x, {}), (masked, x_masked, given)]):
                    start = time.perf_counter()
                    model.fit(inputs, y, batch_size=B, epochs=1 if quick else EPOCHS, verbose=0, **more)
                    best[i] = min(best[i], time.perf_counter() - start)
            found[f"{cell} {kind}"] = best[1] / best[0]
    return found


def _model(cell: Any, masking: bool = False) -> Any:
    model = tdfast.Sequential([
        Input((T, I)), *([Masking()] if masking else []), getattr(tdfast.layers,
                                                                  cell)(H, return_sequences=True),
        TimeDistributed(Dense(O)),
    ])
    model.compile("adam", "mse")
    return model
