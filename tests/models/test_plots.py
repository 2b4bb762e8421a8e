"""plot_history, plot_model, the other charts of utils and the profile's: what the figures hold, that files
come out, and what is said without matplotlib."""

import sys

import numpy as np
import pytest

from tdfast import Input, Model, Sequential, layers, ops, utils

# Each chart, ready to be drawn but for the arguments that all take.
DRAWN = {
    "history": lambda **how: utils.plot_history({"loss": [1.0, 0.5]}, **how),
    "forecast": lambda **how: utils.plot_forecast([1.0, 2.0], [3.0], **how),
    "confusion": lambda **how: utils.plot_confusion([0, 1], [1, 1], **how),
    "attention": lambda **how: utils.plot_attention(np.eye(3), **how),
    "profile": lambda **how: profiled().plot(**how),
}
CHARTS = pytest.mark.parametrize("draw", DRAWN)


def profiled(compiled=True):
    model = Sequential([Input((5, 2)), layers.LSTM(3, name="lstm"), layers.Dense(1, name="out")])
    if compiled:
        model.compile("adam", "mse")
    return model.profile(np.zeros((8, 5, 2)), np.zeros((8, 1)) if compiled else None, steps=1)


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


@pytest.mark.parametrize("draw", [*DRAWN, "model"])
def test_without_matplotlib(draw, model, monkeypatch):
    call = DRAWN.get(draw, lambda: utils.plot_model(model))
    for name in list(sys.modules):
        if name.split(".")[0] == "matplotlib":
            monkeypatch.setitem(sys.modules, name, None)
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    with pytest.raises(ImportError, match=r"tdfast\[plot\]"):
        call()


@CHARTS
def test_charts_show_themselves_and_are_saved(draw, tmp_path):
    pytest.importorskip("matplotlib")
    for ending, start in (("png", b"\x89PNG"), ("pdf", b"%PDF"), ("svg", b"<?xml")):
        file = tmp_path / f"chart.{ending}"
        figure = DRAWN[draw](to_file=file)
        assert file.read_bytes().startswith(start)
    assert figure._repr_png_().startswith(b"\x89PNG")


@CHARTS
def test_charts_are_drawn_where_the_user_says(draw):
    matplotlib = pytest.importorskip("matplotlib")
    figure = matplotlib.figure.Figure()
    left, right = figure.subplots(1, 2)
    assert DRAWN[draw](ax=right) is figure
    assert right.has_data() and not left.has_data()
    with pytest.raises(TypeError, match="ax must be matplotlib's Axes.*got Figure"):
        DRAWN[draw](ax=figure)


@CHARTS
def test_charts_follow_the_style(draw):
    matplotlib = pytest.importorskip("matplotlib")
    with matplotlib.rc_context({"axes.facecolor": "#123456", "xtick.color": "white"}):
        axes = DRAWN[draw]().axes[0]
    assert axes.get_facecolor() == matplotlib.colors.to_rgba("#123456")
    assert axes.get_xticklabels()[0].get_color() == "white"


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


def test_history_on_axes():
    matplotlib = pytest.importorskip("matplotlib")
    axes = matplotlib.figure.Figure().subplots(1, 2)
    utils.plot_history({"loss": [1.0, 0.5], "mae": [2.0, 1.0]}, ax=axes)
    assert [one.get_title() for one in axes] == ["loss", "mae"]
    assert [one.get_xlabel() for one in axes] == ["epoch", "epoch"]
    with pytest.raises(ValueError, match="for each of loss, mae, got 1"):
        utils.plot_history({"loss": [1.0], "mae": [2.0]}, ax=axes[0])


# ---------------------------------------------------------------- forecast


def lines_of(axes):
    return {line.get_label(): (line.get_xdata().tolist(), line.get_ydata().tolist()) for line in axes.lines}


@pytest.mark.parametrize("start, steps", [(None, [4, 5]), (2, [2, 3]), (-1, [3, 4]), (4, [4, 5]),
                                          (-4, [0, 1])])
def test_a_forecast_begins_where_it_should(start, steps):
    pytest.importorskip("matplotlib")
    axes = utils.plot_forecast([1.0, 2.0, np.nan, 4.0], [[5.0], [6.0]], start=start).axes[0]
    assert lines_of(axes)["forecast"] == (steps, [5.0, 6.0])
    assert lines_of(axes)["observed"][0] == [0, 1, 2, 3]


def test_bands_lie_between_the_quantiles_that_belong_together():
    """Of levels in any order, the outer band from the lowest to the highest; the middle one is the line."""
    pytest.importorskip("matplotlib")
    forecast = np.array([[5.0, 1.0, 3.0, 4.0, 2.0], [9.0, 1.0, 5.0, 7.0, 3.0]])
    axes = utils.plot_forecast([0.0], forecast, quantiles=[0.95, 0.05, 0.5, 0.8, 0.2]).axes[0]
    assert [text.get_text() for text in axes.get_legend().get_texts()] == [
        "observed", "forecast, 5 to 95 %", "forecast, 20 to 80 %", "forecast"]
    assert lines_of(axes)["forecast"] == ([1, 2], [3.0, 5.0])
    for band, low, high in zip(axes.collections, ([1.0, 1.0], [2.0, 3.0]), ([5.0, 9.0], [4.0, 7.0])):
        points = band.get_paths()[0].vertices
        for x, below, above in zip((1, 2), low, high):
            at = points[points[:, 0] == x, 1]
            assert at.min() == below and at.max() == above
    even = utils.plot_forecast([0.0], forecast[:, :2], quantiles=[0.9, 0.1]).axes[0]
    assert len(even.collections) == 1 and list(lines_of(even)) == ["observed"]


def test_forecasts_on_one_axes_and_over_dates():
    matplotlib = pytest.importorskip("matplotlib")
    axes = matplotlib.figure.Figure().subplots()
    days = np.arange("2024-01-01", "2024-01-06", dtype="datetime64[D]")
    utils.plot_forecast([1.0, 2.0, 3.0], [4.0, 5.0], x=days, label="ours", ax=axes)
    utils.plot_forecast(None, [3.0, 3.0], x=days, start=3, label="persistence", color="red", ax=axes)
    found = {line.get_label(): line for line in axes.lines}
    assert list(found) == ["observed", "ours", "persistence"] and found["persistence"].get_color() == "red"
    for line in ("ours", "persistence"):
        assert (found[line].get_xdata() == days[3:]).all()
    utils.plot_forecast(None, [[1.0, 2.0]], quantiles=[0.1, 0.9], x=days, start=0, label="ours", ax=axes)
    utils.plot_forecast(None, [[1.0, 2.0]], quantiles=[0.1, 0.9], x=days, start=1, label="ours", ax=axes)
    assert [text.get_text() for text in axes.get_legend().get_texts()] == [
        "observed", "ours", "persistence", "ours, 10 to 90 %"]


@pytest.mark.parametrize("how, words", [
    ({"forecast": np.ones((3, 2))}, r"say the levels of its 2 columns as quantiles"),
    ({"forecast": np.ones((3, 2)), "quantiles": [0.1, 0.5, 0.9]}, r"\(steps, 3\), got \(3, 2\)"),
    ({"forecast": np.ones((3, 2)), "quantiles": [0, 1]}, r"between 0 and 1, got \[0, 1\]"),
    ({"forecast": np.ones((1, 3, 2)), "quantiles": [0.1, 0.9]}, "one sample and one feature"),
    ({"forecast": []}, "one step at least"), ({"observed": np.ones((4, 2))}, r"observed must be one series"),
    ({"start": 5}, "from -4 to 4, for 4 steps were observed; got 5"), ({"start": -5}, "got -5"),
    ({"observed": None, "start": -1}, "nothing observed to count from; got -1"),
    ({"x": [1, 2, 3]}, "each of the 7 steps")], ids=str)
def test_what_is_no_forecast(how, words):
    with pytest.raises(ValueError, match=f"(?s)plot_forecast: .*{words}"):
        utils.plot_forecast(**{"observed": np.ones(4), "forecast": np.ones(3), **how})


# ---------------------------------------------------------------- confusion


def test_confusions_are_those_of_scikit_learn():
    pytest.importorskip("matplotlib")
    metrics = pytest.importorskip("sklearn.metrics")
    rng = np.random.default_rng(0)
    true, p = rng.integers(0, 4, size=(20, 5)), rng.random((20, 5, 4))
    guess = p.argmax(axis=-1)
    figure = utils.plot_confusion(true, p)
    expected = metrics.confusion_matrix(true.ravel(), guess.ravel())
    assert texts(figure) == [str(n) for n in expected.ravel()]
    shares = metrics.confusion_matrix(true.ravel(), guess.ravel(), normalize="true")
    np.testing.assert_allclose(figure.axes[0].images[0].get_array(), shares)
    one_hot = np.eye(4)[true]
    assert texts(utils.plot_confusion(one_hot, guess, normalize=True)) == [f"{v:.2f}" for v in shares.ravel()]
    names = np.array(["north", "east", "south", "west"])
    axes = utils.plot_confusion(names[true], names[guess], labels=names).axes[0]
    assert [t.get_text() for t in axes.texts] == [str(n) for n in expected.ravel()]
    assert [t.get_text() for t in axes.get_yticklabels()] == names.tolist()


def test_classes_that_never_occur_and_many_of_them():
    pytest.importorskip("matplotlib")
    axes = utils.plot_confusion([0.0, 2.0], [[0.0], [2.0]], labels="abc").axes[0]
    assert texts(axes.figure) == ["1", "0", "0", "0", "0", "0", "0", "0", "1"]
    assert [t.get_text() for t in axes.get_xticklabels()] == ["a", "b", "c"]
    axes = utils.plot_confusion([True, False], [True, True]).axes[0]
    assert [t.get_text() for t in axes.get_xticklabels()] == ["0", "1"]
    many = utils.plot_confusion(np.arange(70), np.arange(70)).axes[0]
    assert not many.texts and len(many.get_xticklabels()) <= 30


@pytest.mark.parametrize("true, guess, how, words", [
    ([0, 1], [0], {}, "got 2 and 1"), ([], [], {}, "one at least"),
    ([0, 1], [[0.2], [0.7]], {}, r"y_pred has one probability a sample, 0.2 first.*p > 0.5"),
    ([0, 5], [0, 1], {"labels": "abc"}, "labels has the classes 0 to 2; the class 5"),
    (["a", "b"], ["a", "c"], {"labels": ["a", "b"]}, "labels has a, b; the class 'c'"),
    (["a"], [1], {}, "both be whole numbers, or both names")], ids=str)
def test_what_is_no_confusion(true, guess, how, words):
    with pytest.raises(ValueError, match=f"plot_confusion: .*{words}"):
        utils.plot_confusion(true, guess, **how)


# ---------------------------------------------------------------- attention


def test_attention_of_one_head():
    pytest.importorskip("matplotlib")
    weights = np.random.default_rng(0).dirichlet(np.ones(3), size=2)
    axes = utils.plot_attention(weights, queries="no", keys=["how", "are", "you"]).axes[0]
    np.testing.assert_array_equal(axes.images[0].get_array(), weights)
    assert [t.get_text() for t in axes.get_yticklabels()] == ["n", "o"]
    assert [t.get_text() for t in axes.get_xticklabels()] == ["how", "are", "you"]


def test_attention_of_a_layer_with_heads():
    pytest.importorskip("matplotlib")
    x = np.random.default_rng(0).normal(size=(2, 4, 8)).astype("float32")
    _, scores = layers.MultiHeadAttention(3, 5)(x, x, return_attention_scores=True)
    figure = utils.plot_attention(scores[1])
    panels = [axes for axes in figure.axes if axes.images]
    assert [axes.get_title() for axes in panels] == ["head 1", "head 2", "head 3"]
    for axes, weights in zip(panels, np.asarray(scores[1])):
        np.testing.assert_allclose(axes.images[0].get_array(), weights)


@pytest.mark.parametrize("shape, how, words", [
    ((2, 3, 4, 5), {}, r"got the shape \(2, 3, 4, 5\). Take one: scores\[0\]"), ((0, 3), {}, "of one sample"),
    ((2, 3), {"queries": "abc"}, "scores have 2 queries, but 3 names"),
    ((2, 3), {"keys": "ab"}, "scores have 3 keys, but 2 names were given. Of padded"),
    ((2, 3, 3), {"ax": 1}, "ax takes one head, and scores have 2")], ids=str)
def test_what_is_no_attention(shape, how, words):
    with pytest.raises(ValueError, match=f"plot_attention: .*{words}"):
        utils.plot_attention(np.ones(shape), **how)


# ---------------------------------------------------------------- profile


def test_a_profile_as_bars():
    pytest.importorskip("matplotlib")
    profile = profiled()
    axes = profile.plot().axes[0]
    assert [t.get_text() for t in axes.get_yticklabels()][:3] == [
        "lstm (LSTM)", "out (Dense)", "loss (MeanSquaredError)"]
    forward, backward, other = axes.containers
    ends = [bar.get_x() + bar.get_width() for bar in backward]
    for k, row in enumerate(profile.rows):
        whole = max(ends[k], other[k].get_width())
        assert whole == pytest.approx(row.ms) and texts(axes.figure)[k] == f"{row.share:.1%}"
    assert forward[0].get_width() == profile["lstm"].forward_ms and "training step of 8" in axes.get_xlabel()
    low, high = axes.get_ylim()
    assert low > high                                   # the first layer above


def test_a_profile_of_predictions():
    pytest.importorskip("matplotlib")
    profile = profiled(compiled=False)
    axes = profile.plot().axes[0]
    assert len(axes.containers) == 1 and "a prediction of 8 samples" in axes.get_xlabel()
    assert [bar.get_width() for bar in axes.containers[0]] == [row.predict_ms for row in profile.rows]


# ---------------------------------------------------------------- model


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
