"""What is timed: sizes, data, weights and the arithmetic in them."""

from __future__ import annotations

import dataclasses
import itertools
from typing import Any

import numpy as np

HEADS = 4
"""Of the attention block."""


@dataclasses.dataclass(frozen=True)
class Case:
    """One line of the table: one model, one size, one thing done with it.

    Args:
        name: as given on the command line.
        does: 'fit' (one epoch, shuffled), 'predict' (all rows) or 'stream' (one time step, state kept).
        model: 'recurrent' (cell, TimeDistributed(Dense)), 'tddense' (TimeDistributed(Dense) alone, linear,
            mean squared error), 'video' (convolutions over frames, LSTM, Dense), 'attention' (a block of a
            transformer's encoder: self-attention of HEADS heads, a Dense layer of H units and one of I, each
            with a residual sum and LayerNormalization; mean squared error), 'decoder' (an LSTM that encodes,
            one that decodes from its state, attention of the second over the first, Dense on both; the
            decoder reads the same series), 'bidirectional' (``depth`` Bidirectional cells,
            TimeDistributed(Dense)), 'forecast' (``depth`` cells, the last of which gives its last output,
            Dropout after each, Dense; linear, mean squared error) or 'step' (cell, Dense, for streams;
            linear).
        N, B, T, I, H, O: rows, batch size, time steps, inputs, units, outputs.
        cell: 'LSTM' or 'GRU'.
        soft: targets are whole probability vectors, not classes.
        depth: how many cells stand one on the other.
        dropout: the rate of 'forecast'; for the epoch that is compared it is 0.
        models: so many of them learn the same rows, each by itself.
    """

    name: str
    does: str
    model: str
    N: int
    B: int
    T: int
    I: int  # noqa: E741
    H: int
    O: int  # noqa: E741
    cell: str = "LSTM"
    soft: bool = False
    depth: int = 1
    dropout: float = 0.0
    models: int = 1

    @property
    def unit(self) -> Any:
        """What one measured time is the time of."""
        return {"fit": "one epoch", "predict": "all rows", "stream": "one time step"}[self.does]

    @property
    def title(self) -> str:
        """The model and its sizes in one line."""
        if self.model == "video":
            return (f"{self.unit}: N={self.N} B={self.B} T={self.T} frames 32x32x3, "
                    f"2 x (Conv2D, MaxPool), LSTM({self.H}), Dense({self.O})")
        if self.model == "step":
            return f"{self.unit} of one sequence: I={self.I}, {self.cell}({self.H}), Dense({self.O})"
        sizes = f"N={self.N} B={self.B} T={self.T} I={self.I}"
        if self.model == "attention":
            return (f"{self.unit}: {sizes}, MultiHeadAttention({HEADS}), Dense({self.H}), Dense({self.I}), "
                    "2 x (Add, LayerNormalization)")
        if self.model == "decoder":
            return f"{self.unit}: {sizes}, 2 x LSTM({self.H}), Attention, Dense({self.O})"
        if self.model == "forecast":
            each = f"{self.depth} x " if self.depth > 1 else ""
            dropout = f"Dropout({self.dropout}), " if self.dropout else ""
            many = f" of each of {self.models} models" if self.models > 1 else ""
            return f"{self.unit}{many}: {sizes}, {each}{self.cell}({self.H}), {dropout}Dense({self.O})"
        if self.model == "bidirectional":
            return (f"{self.unit}: {sizes}, {self.depth} x Bidirectional({self.cell}({self.H})), "
                    f"TimeDistributed(Dense({self.O}))")
        head = "" if self.model == "tddense" else f"{self.cell}({self.H}), "
        return f"{self.unit}: {sizes}, {head}TimeDistributed(Dense({self.O}))"

    @property
    def layers(self) -> Any:
        """Names of the layers that an implementation must have, besides Dense and TimeDistributed."""
        return {
            "tddense": [],
            "video": ["Conv2D", "MaxPooling2D", "Flatten", "LSTM"],
            "attention": ["MultiHeadAttention", "LayerNormalization", "Add"],
            "decoder": ["LSTM", "Attention", "Concatenate"],
            "bidirectional": [self.cell, "Bidirectional"],
        }.get(self.model, [self.cell])

    @property
    def linear(self) -> bool:
        """Whether it ends without an activation, for a mean squared error."""
        return self.model in ("tddense", "attention", "forecast")


CASES = [
    Case("fit-blog", "fit", "recurrent", N=50, B=32, T=64, I=15, H=32, O=8, soft=True),
    Case("predict-blog", "predict", "recurrent", N=50, B=10, T=64, I=15, H=32, O=8, soft=True),
    Case("fit-small", "fit", "recurrent", N=512, B=32, T=100, I=16, H=64, O=10),
    Case("fit-medium", "fit", "recurrent", N=512, B=64, T=100, I=64, H=128, O=10),
    Case("fit-gru-medium", "fit", "recurrent", N=512, B=64, T=100, I=64, H=128, O=10, cell="GRU"),
    Case("fit-large", "fit", "recurrent", N=256, B=128, T=64, I=256, H=512, O=64),
    Case("fit-xlarge", "fit", "recurrent", N=256, B=128, T=32, I=1024, H=1024, O=64),
    Case("fit-tddense", "fit", "tddense", N=512, B=256, T=128, I=256, H=0, O=256),
    Case("predict-tddense", "predict", "tddense", N=512, B=256, T=128, I=256, H=0, O=256),
    Case("fit-video", "fit", "video", N=64, B=8, T=16, I=1152, H=64, O=10),
    Case("fit-attention", "fit", "attention", N=256, B=32, T=128, I=64, H=128, O=64),
    Case("predict-attention", "predict", "attention", N=256, B=32, T=128, I=64, H=128, O=64),
    Case("fit-decoder", "fit", "decoder", N=256, B=32, T=64, I=32, H=64, O=32),
    Case("fit-bidirectional", "fit", "bidirectional", N=256, B=32, T=100, I=32, H=64, O=10, depth=2),
    Case("fit-lstm50", "fit", "forecast", N=512, B=32, T=60, I=1, H=50, O=1, depth=3, dropout=0.2),
    Case("fit-fleet", "fit", "forecast", N=200, B=32, T=24, I=1, H=16, O=1, models=200),
    Case("predict-medium", "predict", "recurrent", N=512, B=64, T=100, I=64, H=128, O=10),
    Case("predict-large", "predict", "recurrent", N=256, B=128, T=64, I=256, H=512, O=64),
    Case("predict-b1", "predict", "recurrent", N=32, B=1, T=100, I=64, H=128, O=10),
    Case("stream-32", "stream", "step", N=1, B=1, T=64, I=16, H=32, O=4),
    Case("stream-256", "stream", "step", N=1, B=1, T=64, I=16, H=256, O=4),
]
BY_NAME = {case.name: case for case in CASES}


def data(case: Any) -> tuple[Any, ...]:
    """(x, y) of a case, the same in every process: x and y are float32, y as Keras wants it."""
    rng = np.random.default_rng(1)
    if case.model == "video":
        x = rng.standard_normal((case.N, case.T, 32, 32, 3), np.float32)
        rows = (case.N,)
    else:
        x = rng.standard_normal((case.N, case.T, case.I), np.float32)
        rows = (case.N,) if case.model == "forecast" else (case.N, case.T)
    if case.linear:
        return x, rng.standard_normal((*rows, case.O), np.float32)
    if case.soft:
        y = rng.random((*rows, case.O), np.float32)
        return x, y / y.sum(axis=-1, keepdims=True)
    return x, np.eye(case.O, dtype=np.float32)[rng.integers(case.O, size=rows)]


def weights(case: Any) -> Any:
    """The weights in the order and layout of Keras, none of them zero, the same in every process."""
    rng = np.random.default_rng(2)

    def uniform(*shape: Any, fan: Any) -> Any:
        return rng.uniform(-1, 1, shape).astype(np.float32) / np.float32(np.sqrt(fan))

    def recurrent(cell: Any, I: Any, H: Any) -> list[Any]:
        gates = {"LSTM": 4, "GRU": 3}[cell] * H
        bias = (gates,) if cell == "LSTM" else (2, gates)
        return [uniform(I, gates, fan=I), uniform(H, gates, fan=H), uniform(*bias, fan=H)]

    def dense(I: Any, O: Any) -> list[Any]:
        return [uniform(I, O, fan=I), uniform(O, fan=I)]

    def norm(I: Any) -> list[Any]:
        return [1 + uniform(I, fan=I), uniform(I, fan=I)]

    if case.model == "tddense":
        return dense(case.I, case.O)
    if case.model == "attention":
        width, into, back = case.I // HEADS, [], dense(case.I, case.I)
        for _ in range(3):
            kernel, bias = dense(case.I, case.I)
            into += [kernel.reshape(case.I, HEADS, width), bias.reshape(HEADS, width)]
        heads = [*into, back[0].reshape(HEADS, width, case.I), back[1]]
        return [*heads, *norm(case.I), *dense(case.I, case.H), *dense(case.H, case.I), *norm(case.I)]
    if case.model == "decoder":
        each = (recurrent(case.cell, case.I, case.H) for _ in range(2))
        return [*next(each), *next(each), *dense(2 * case.H, case.O)]
    if case.model in ("bidirectional", "forecast"):
        both = 2 if case.model == "bidirectional" else 1
        cells = [recurrent(case.cell, both * case.H if i // both else case.I, case.H)
                 for i in range(both * case.depth)]
        return [*itertools.chain(*cells), *dense(both * case.H, case.O)]
    out = []
    if case.model == "video":
        out = [uniform(3, 3, 3, 16, fan=27), uniform(16, fan=27), uniform(3, 3, 16, 32, fan=144),
               uniform(32, fan=144)]
    return [*out, *recurrent(case.cell, case.I, case.H), *dense(case.H, case.O)]


def operations(case: Any) -> Any:
    """Floating point operations of the products in one unit; the first layer's inputs need no gradient.

    A cell of G gates: rows (I + H) G H 2 forward, the same for the weights' gradients, and rows H G H 2 back
    through time. A dense layer: rows I O 2 forward, the same for its weights, and for its inputs. Attention:
    rows T 2 H 2 forward and twice that backward; scores that are made again are not counted.
    """
    rows = 1 if case.does == "stream" else case.N * case.T
    train = case.does == "fit"

    def product(rows: Any, K: Any, N: Any, first: bool = False) -> Any:
        return 2 * rows * K * N * ((2 if first else 3) if train else 1)

    if case.model == "tddense":
        return product(rows, case.I, case.O, first=True)
    if case.model == "attention":
        scores = product(rows, case.I, 2 * case.T)
        inner = 3 * product(rows, case.I, case.I, first=True) + product(rows, case.I, case.I)
        return inner + scores + product(rows, case.I, case.H) + product(rows, case.H, case.I)
    gates = {"LSTM": 4, "GRU": 3}[case.cell] * case.H
    if case.model == "decoder":
        cell = product(rows, case.I, gates, first=True) + product(rows, case.H, gates)
        return 2 * cell + product(rows, case.H, 2 * case.T) + product(rows, 2 * case.H, case.O)
    if case.model in ("bidirectional", "forecast"):
        both = 2 if case.model == "bidirectional" else 1
        above = (case.depth - 1) * (product(rows, both * case.H, gates) + product(rows, case.H, gates))
        cells = product(rows, case.I, gates, first=True) + product(rows, case.H, gates) + above
        ends = case.N if case.model == "forecast" else rows
        return case.models * (both * cells + product(ends, both * case.H, case.O))
    total = product(rows, case.I, gates, first=case.model != "video") + product(rows, case.H, gates)
    if case.model == "video":
        total += product(rows * 30 * 30, 27, 16, first=True) + product(rows * 13 * 13, 144, 32)
        return total + product(case.N, case.H, case.O)
    return total + product(rows, case.H, case.O)
