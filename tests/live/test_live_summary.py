"""Tables of graphs, line by line beside those of Keras."""

import importlib.util
import os

import pytest

os.environ.setdefault("KERAS_BACKEND", "jax")
if not all(importlib.util.find_spec(name) for name in ("keras", "jax")):
    pytest.skip("needs keras and jax: pip install 'tdfast[live]'", allow_module_level=True)
keras = pytest.importorskip("keras")

import tdfast  # noqa: E402


def two_heads(k):
    L = k.layers
    x, y = k.Input((10, 4), name="x"), k.Input((10, 4), name="y")
    shared = L.LSTM(6, return_sequences=True, name="shared")
    joined = L.Concatenate(name="joined")([shared(x), shared(y)])
    ends = [L.Dense(2, name="first")(L.Dense(3, name="d")(joined)), L.GRU(3, name="second")(joined)]
    return k.Model([x, y], ends, name="m")


def states(k):
    x = k.Input((10, 4), name="x")
    y, h, c = k.layers.LSTM(6, return_sequences=True, return_state=True, name="enc")(x)
    return k.Model(x, k.layers.LSTM(6, name="dec")(y, initial_state=[h, c]), name="m")


def within(k):
    L = k.layers
    ix = k.Input((4,), name="ix")
    inner = k.Model(ix, L.Add(name="iadd")([L.Dense(4, name="one")(ix), ix]), name="inner")
    stack = k.Sequential([k.Input((4,)), L.Dense(3, name="q"), L.Dense(4, name="r")], name="stack")
    x, y = k.Input((4,), name="x"), k.Input((4,), name="y")
    return k.Model([x, y], L.Add(name="sum")([inner(x), inner(y), stack(x)]), name="m")


def operations(k):
    x = k.Input((None, 4), name="x")
    return k.Model(x, k.layers.Dense(1, name="o")(k.ops.mean(x * 2.0 + 1.0, axis=1)), name="m")


def called_twice(k):
    x, dense = k.Input((4,), name="x"), k.layers.Dense(4, name="d")
    return k.Model(x, dense(dense(x)), name="m")


def attention(k):
    L = k.layers
    x = k.Input((6, 4), name="x")
    a = L.Add(name="add")([L.MultiHeadAttention(2, 3, name="mha")(x, x), x])
    return k.Model(x, L.GlobalAveragePooling1D(name="gap")(L.LayerNormalization(name="ln")(a)), name="m")


def outputs_on_the_way(k):
    ix = k.Input((4,), name="ix")
    inner = k.Model(ix, [k.layers.Dense(3, name="a")(ix), k.layers.Dense(4, name="b")(ix)], name="inner")
    x = k.Input((4,), name="x")
    p, q = inner(x)
    return k.Model(x, [k.layers.Dense(2, name="z")(p), q], name="m")


@pytest.mark.parametrize("options", [{}, {"expand_nested": True}, {"show_trainable": True},
                                     {"line_length": 80}])
@pytest.mark.parametrize("make", [two_heads, states, within, operations, called_twice, attention,
                                  outputs_on_the_way])
def test_tables_are_those_of_keras(make, options, monkeypatch):
    monkeypatch.setenv("COLUMNS", "200")
    texts = []
    for k in (keras, tdfast):
        k.utils.clear_session()
        out = []
        make(k).summary(print_fn=lambda text, line_break=True, out=out: out.append(text), **options)
        texts.append("".join(out).strip("\n"))
    assert texts[1] == texts[0]
