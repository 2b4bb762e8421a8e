"""What text costs: TextVectorization's adapt and call on 100 MB, in tdfast and in Keras on TensorFlow."""

from __future__ import annotations

import importlib
import time
from typing import Any

import numpy as np

MEGABYTES = 100
MAX_TOKENS = 20_000
WORDS = 200
"""In each text."""


def documents(megabytes: int) -> list[str]:
    """Texts of English letters, capitals and punctuation, their words as frequent as in a language (Zipf)."""
    rng = np.random.default_rng(0)
    letters = np.array(list("abcdefghijklmnopqrstuvwxyz"))
    known = ["".join(rng.choice(letters, n)) for n in rng.integers(2, 10, 50_000)]
    forms = known + [word.capitalize() for word in known] + [word + "," for word in known]
    share = 1 / np.arange(1, len(known) + 1)
    out, size = [], 0
    while size < megabytes * 10**6:
        ids = rng.choice(len(known), (500, WORDS), p=share / share.sum())
        ids += len(known) * rng.choice(3, ids.shape, p=[0.8, 0.1, 0.1])
        for row in ids.tolist():
            out.append(" ".join([forms[i] for i in row]) + ".")
            size += len(out[-1])
    return out


def seconds(module: str, quick: bool = False) -> dict[str, Any]:
    """{'adapt': seconds, 'call': seconds, 'sum': of all numbers}, the best of three by turns.

    Args:
        module: 'keras' or 'tdfast'.
        quick: one turn on 1 MB.
    """
    library = importlib.import_module(module)
    texts = documents(1 if quick else MEGABYTES)
    best, total = {"adapt": float("inf"), "call": float("inf")}, 0
    for _ in range(1 if quick else 3):
        layer = library.layers.TextVectorization(max_tokens=MAX_TOKENS)
        start = time.perf_counter()
        layer.adapt(texts)
        learned = time.perf_counter()
        numbers = layer(texts)
        done = time.perf_counter()
        best["adapt"], best["call"] = min(best["adapt"], learned - start), min(best["call"], done - learned)
        total = int(np.asarray(numbers).sum())
    return {**best, "sum": total}
