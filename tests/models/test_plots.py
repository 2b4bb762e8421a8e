"""plot_history and plot_model: what the figures hold, that files come out, and what is said without
matplotlib."""

import sys

import numpy as np
import pytest

from tdfast import Input, Model, Sequential, layers, ops, utils

BOTH = pytest.mark.parametrize("draw", ["history", "model"])


@pytest.fixture(scope="module")
def model():
    encoder = Sequential([layers.Dense(4, activation="relu"), layers.Dense(3)], name="encoder")
    model = Sequential([Input((6, 2)), layers.Bidirectional(layers.LSTM(3, return_sequences=True)), encoder,
                        layers.Dropout(0.1), layers.TimeDistributed(layers.Dense(1, activation="tanh"))])
    model.layers[0].trainable = False
    model.compile("adam", "mse", metrics=["mae"])
    return model


@pytest.fixture(scope="module")
def history(model):
    rng = np.random.default_rng(0)
    x, y = rng.normal(size=(12, 6, 2)), rng.normal(size=(12, 6, 1))
    return model.fit(x, y, epochs=6, validation_data=(x, y), validation_freq=2, verbose=0)


def texts(figure):
    return [t.get_text() for axes in figure.axes for t in axes.texts if t.get_text()]


@BOTH
def test_without_matplotlib(draw, model, monkeypatch):
    for name in list(sys.modules):
        if name.split(".")[0] == "matplotlib":
            monkeypatch.setitem(sys.modules, name, None)
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    with pytest.raises(ImportError, match=r"tdfast\[plot\]"):
        utils.plot_history({"loss": [1.0]}) if draw == "history" else utils.plot_model(model)


def test_history(history, tmp_path):
    pytest.importorskip("matplotlib")
    figure = utils.plot_history(history, to_file=tmp_path / "h.png", log=True)
    assert (tmp_path / "h.png").read_bytes()[:4] == b"\x89PNG"
    assert [axes.get_title() for axes in figure.axes] == ["loss", "mae"]
    for axes, name in zip(figure.axes, ("loss", "mae")):
        training, validation = axes.lines[:2]
        np.testing.assert_array_equal(training.get_xdata(), [1, 2, 3, 4, 5, 6])
        np.testing.assert_array_equal(training.get_ydata(), history.history[name])
        np.testing.assert_array_equal(validation.get_xdata(), [2, 4, 6])
        np.testing.assert_array_equal(validation.get_ydata(), history.history[f"val_{name}"])
        assert axes.get_yscale() == "log" and axes.get_xlabel() == "epoch"
    best = 2 * int(np.argmin(history.history["val_loss"])) + 2
    assert any(f"in epoch {best}" in t.get_text() for t in figure.axes[0].get_legend().get_texts())


def test_history_as_a_dict_and_a_choice():
    pytest.importorskip("matplotlib")
    figure = utils.plot_history({"loss": [3.0, float("nan")], "a_b": [1.0, 2.0], "val_only": [1.0]},
                                names=["a_b", "only"])
    assert [axes.get_title() for axes in figure.axes] == ["a b", "only"]
    assert len(utils.plot_history({"loss": [3.0, float("nan")]}).axes) == 1
    assert len(utils.plot_history({f"m{i}": [1.0] for i in range(7)}).axes) == 7


@pytest.mark.parametrize("given, names, words", [
    ({}, None, "one epoch"), ({"loss": []}, None, "one epoch"), ([1, 2], None, "one epoch"),
    ({"loss": [1.0]}, ["mae"], "mae"),
    ({"loss": [1.0]}, [], "loss")], ids=str)
def test_what_is_no_history(given, names, words):
    with pytest.raises(ValueError, match=words):
        utils.plot_history(given, names)


def test_model_titles(model, tmp_path):
    pytest.importorskip("matplotlib")
    for ending, start in (("png", b"\x89PNG"), ("pdf", b"%PDF"), ("svg", b"<?xml")):
        file = tmp_path / f"m.{ending}"
        utils.plot_model(model, file)
        assert file.read_bytes().startswith(start)
    figure = utils.plot_model(model, None)
    assert texts(figure) == ["InputLayer", "Bidirectional of LSTM", "Sequential", "Dropout",
                             "TimeDistributed of Dense"]


def test_model_details(model):
    pytest.importorskip("matplotlib")
    shown = texts(utils.plot_model(model, None, show_shapes=True, show_layer_names=True))
    assert shown[2:5] == [f"{model.layers[0].name} (Bidirectional of LSTM)", "in: (None, 6, 2)",
                          "out: (None, 6, 6)"]
    assert "(None, 6, 2)" in shown
    shown = texts(utils.plot_model(model, None, show_dtype=True, show_layer_activations=True,
                                   show_trainable=True))
    assert shown == [
        "InputLayer", "dtype: float32", "Bidirectional of LSTM", "activation: tanh", "dtype: float32",
        "trainable: no",
        "Sequential", "dtype: float32", "trainable: yes", "Dropout", "dtype: float32", "no weights",
        "TimeDistributed of Dense", "activation: tanh", "dtype: float32", "trainable: yes",
    ]


@pytest.mark.parametrize("rankdir", ["TB", "LR"])
def test_boxes_arrows_and_frames(model, rankdir):
    pytest.importorskip("matplotlib")
    from matplotlib.patches import FancyBboxPatch, Rectangle

    figure = utils.plot_model(model, None, rankdir=rankdir, expand_nested=True, show_shapes=True)
    axes = figure.axes[0]
    bodies = [p for p in axes.patches if type(p) is Rectangle][::2]
    frames = [p for p in axes.patches if type(p) is FancyBboxPatch]
    assert len(bodies) == 6 and len(frames) == 1 and "encoder" in texts(figure)
    arrows = [t for t in axes.texts if getattr(t, "arrow_patch", None) is not None]
    assert len(arrows) == 5
    # One after the other without touching, all within the picture, and the frame around its two layers alone.
    along = (lambda p: (p.get_y(), p.get_y() + p.get_height())) if rankdir == "TB" else (
        lambda p: (p.get_x(), p.get_x() + p.get_width()))
    ends = [along(p) for p in bodies]
    assert all(a[1] < b[0] for a, b in zip(ends, ends[1:]))
    low, high = along(frames[0])
    assert [low < a and b < high for a, b in ends] == [False, False, True, True, False, False]
    assert ends[1][1] < low and high < ends[4][0]
    width, height = figure.get_size_inches()
    assert all(0 < p.get_x() and p.get_x() + p.get_width() < width and 0 < p.get_y()
               and p.get_y() + p.get_height() < height
               for p in bodies + frames)
    # Each text fits into its box.
    figure.canvas.draw()
    for text in axes.texts:
        box = text.get_window_extent().transformed(axes.transData.inverted())
        inside = [p for p in bodies if p.get_x() < text.get_position()[0] < p.get_x() + p.get_width()
                  and p.get_y() < text.get_position()[1] < p.get_y() + p.get_height()]
        if text.get_text() and inside:
            assert inside[0].get_x() <= box.x0 and box.x1 <= inside[0].get_x() + inside[0].get_width(), (
                text.get_text()
            )


def test_wrong_models():
    with pytest.raises(ValueError, match="not built"):
        utils.plot_model(Sequential([layers.Dense(2)]))
    with pytest.raises(ValueError, match="'TB' or 'LR', got 'BT'"):
        utils.plot_model(Sequential([Input((2,)), layers.Dense(2)]), rankdir="BT")


def test_operations_are_drawn_with_their_shapes():
    pytest.importorskip("matplotlib")
    x = Input((5, 4))
    model = Model(x, layers.Dense(1)(ops.mean(x * 2.0, axis=1)))
    texts = [t.get_text() for t in utils.plot_model(model, to_file=None, show_shapes=True).axes[0].texts]
    assert "Multiply" in texts and "Mean" in texts
    assert "in: (None, 5, 4)" in texts and "out: (None, 4)" in texts
    y = Input((5, 4))
    joined = Model([x, y], layers.Add()([x, y]))
    texts = [t.get_text() for t in utils.plot_model(joined, to_file=None, show_shapes=True).axes[0].texts]
    assert "in: [(None, 5, 4), (None, 5, 4)]" in texts


@pytest.mark.parametrize("rankdir", ["TB", "LR"])
def test_models_with_branches_within_models(rankdir):
    pytest.importorskip("matplotlib")
    from matplotlib.patches import FancyBboxPatch, Rectangle

    u, v = Input((7, 4)), Input((7, 4))
    a = layers.Dense(4, name="a")(u)
    b = layers.LSTM(4, return_sequences=True)(layers.Add()([a, v]))
    inner = Model([u, v], [layers.Concatenate()([a, b]), b], name="inner")
    chain = Sequential([layers.Dense(4), layers.Dense(4)], name="chain")
    x, y = Input((7, 4)), Input((7, 4))
    p, q = inner([chain(x), y])
    model = Model([x, y], [layers.Add()([layers.MultiHeadAttention(2, 4)(p, p), p]), ops.mean(q, axis=1)])
    axes = utils.plot_model(model, None, rankdir=rankdir, expand_nested=True).axes[0]
    titles = [text for text in texts(axes.figure) if text not in ("inner", "chain")]
    assert sorted(titles) == sorted(["InputLayer"] * 4 + ["Dense"] * 3 + [
        "LSTM", "Add", "Concatenate", "MultiHeadAttention", "Add", "Mean"])
    bodies = [p for p in axes.patches if type(p) is Rectangle][::2]
    frames = [p for p in axes.patches if type(p) is FancyBboxPatch]
    inside = [sum(f.get_x() < b.get_x() and b.get_x() + b.get_width() < f.get_x() + f.get_width()
                  and f.get_y() < b.get_y() and b.get_y() + b.get_height() < f.get_y() + f.get_height()
                  for b in bodies) for f in frames]
    assert sorted(inside) == [2, 6]
    arrows = [t for t in axes.texts if getattr(t, "arrow_patch", None) is not None]
    assert len(arrows) == 1 + 1 + 2 + 6 + 4     # to the chain and in it, to inner and in it, behind it
    places = [(b.get_x(), b.get_y(), b.get_x() + b.get_width(), b.get_y() + b.get_height()) for b in bodies]
    for i, (left, top, right, bottom) in enumerate(places):
        for x0, y0, x1, y1 in places[:i]:
            assert x1 <= left or right <= x0 or y1 <= top or bottom <= y0
