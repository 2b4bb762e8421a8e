"""The text of summary(), line by line as Keras prints it."""

import types

import numpy as np
import pytest

from tdfast import Input, Model, ops
from tdfast.layers import Dense
from tdfast.models import summary


class Part:
    """A layer as far as the summary looks at it."""

    def __init__(self, name, shape, params, layers=None, trainable=True):
        self.name, self.output_shape, self.layers, self.trainable = name, shape, layers, trainable
        self.built = shape is not None
        self.weights = [np.zeros(params, "float32")] if params else []

    def count_params(self):
        return sum(w.size for w in self.weights)


class LSTM(Part):
    pass


class TimeDistributed(Part):
    pass


class Sequential(Part):
    pass


def model(layers, optimizer=None):
    trainable = [w for layer in layers for w in layer.weights if layer.trainable]
    others = [w for layer in layers for w in layer.weights if not layer.trainable]
    return types.SimpleNamespace(
        name="sequential", layers=layers, trainable_weights=trainable, non_trainable_weights=others,
        optimizer=optimizer,
    )


def blog(**kwargs):
    return model([LSTM("lstm", (None, 64, 32), 6144),
                  TimeDistributed("time_distributed", (None, 64, 8), 264)], **kwargs)


def text(*args, **kwargs):
    out = []
    summary.print_summary(*args, print_fn=out.append, **kwargs)
    assert len(out) == 1
    return out[0]


def test_table():
    assert text(blog(), line_length=76) == """\
Model: "sequential"
┏━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━┳━━━━━━━━━━━━━━━━━━━━━━━━┳━━━━━━━━━━━━━━━┓
┃ Layer (type)                    ┃ Output Shape           ┃       Param # ┃
┡━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━╇━━━━━━━━━━━━━━━━━━━━━━━━╇━━━━━━━━━━━━━━━┩
│ lstm (LSTM)                     │ (None, 64, 32)         │         6,144 │
├─────────────────────────────────┼────────────────────────┼───────────────┤
│ time_distributed                │ (None, 64, 8)          │           264 │
│ (TimeDistributed)               │                        │               │
└─────────────────────────────────┴────────────────────────┴───────────────┘
 Total params: 6,408 (25.03 KB)
 Trainable params: 6,408 (25.03 KB)
 Non-trainable params: 0 (0.00 B)
"""


def test_narrow_table():
    lines = text(blog(), line_length=45).splitlines()
    assert lines[1:6] == [
        "┏━━━━━━━━━━━━━━━━━━━┳━━━━━━━━━━━━━━┳━━━━━━━━┓",
        "┃                   ┃              ┃  Param ┃",
        "┃ Layer (type)      ┃ Output Shape ┃      # ┃",
        "┡━━━━━━━━━━━━━━━━━━━╇━━━━━━━━━━━━━━╇━━━━━━━━┩",
        "│ lstm (LSTM)       │ (None, 64,   │  6,144 │",
    ]
    with pytest.raises(ValueError, match="too short"):
        text(blog(), line_length=12)


def test_trainable_column():
    frozen = model([LSTM("lstm", (None, 32), 8, trainable=False), LSTM("flat", (None, 32), 0)])
    lines = text(frozen, line_length=76, show_trainable=True).splitlines()
    assert lines[2].endswith("┃    Param # ┃ Trai… ┃")
    assert lines[4].endswith("│          8 │   N   │") and lines[6].endswith("│          0 │   -   │")
    assert lines[-1] == " Non-trainable params: 8 (32.00 B)"


def test_unbuilt_and_states():
    layers = [LSTM("a", None, 0), LSTM("b", [(None, 3), (None, 3)], 0)]
    lines = text(model(layers), line_length=76).splitlines()
    assert lines[4] == "│ a (LSTM)                        │ ?                      │   0 (unbuilt) │"
    assert "[(None, 3), (None, 3)]" in lines[6]


def test_nested():
    inner = Sequential("inner", (None, 3), 5, [LSTM("lstm", (None, 3), 5)])
    assert "└ lstm" not in text(model([inner]))
    assert "│    └ lstm (LSTM)" in text(model([inner]), expand_nested=True)


def test_optimizer():
    slots = [np.array(0), np.array(0.1, "float32"), np.zeros(6408, "float32"), np.zeros(6408, "float32")]
    lines = text(blog(optimizer=types.SimpleNamespace(variables=slots))).splitlines()
    assert lines[-4] == " Total params: 19,226 (75.10 KB)"
    assert lines[-1] == " Optimizer params: 12,818 (50.07 KB)"


def test_layer_range():
    out = text(blog(), layer_range=["time.*", "time.*"])
    assert "TimeDistributed" in out and "(LSTM)" not in out
    with pytest.raises(ValueError, match="lstm, time_distributed"):
        text(blog(), layer_range=["gru", "lstm"])


def test_prints(capsys):
    summary.print_summary(blog(), line_length=76)
    assert capsys.readouterr().out == text(blog(), line_length=76)


def text_of(model):
    out = []
    model.summary(print_fn=out.append, line_length=120)
    return out[0]


def test_a_chain_with_operations_lists_them():
    x = Input((None, 4), name="x")
    model = Model(x, Dense(1, name="o")(ops.mean(x * 2.0, axis=1)), name="m")
    text = text_of(model)
    assert "Connected to" not in text
    for words in ("x (InputLayer)", "(Multiply)", "(Mean)", "o (Dense)"):
        assert words in text


def test_a_chain_with_outputs_on_the_way_is_still_one():
    x = Input((4,), name="x")
    h = Dense(3, name="h")(x)
    assert "Connected to" not in text_of(Model(x, [h, Dense(2, name="o")(h)]))
    assert "Connected to" in text_of(Model(x, [h, Dense(2, name="o")(x)]))
    assert "Connected to" in text_of(Model([x, Input((2,))], h))
    square = Dense(4, name="square")
    assert "square[0][0]" in text_of(Model(x, square(square(x))))
