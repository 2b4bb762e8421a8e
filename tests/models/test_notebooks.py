"""What models, histories and pictures show at the end of a notebook's cell."""

import pickle
import re
from xml.etree import ElementTree

import numpy as np
import pytest

from tdfast import Input, Model, Sequential, layers, utils
from tdfast.callbacks import History
from tdfast.utils.curves import history_html


def parsed(text):
    """HTML as a tree: an error where a tag is not closed or a name not escaped."""
    return ElementTree.fromstring(f"<div>{text.replace('<br>', '<br/>')}</div>")


def cells(text):
    return [["".join(cell.itertext()) for cell in row] for row in parsed(text).iter("tr")]


def printed(model):
    """The cells of the text of a summary."""
    lines = []
    model.summary(print_fn=lines.append, line_length=160)
    return [[cell.strip() for cell in re.split("[│┃]", line)[1:-1]]
            for line in lines[0].splitlines() if line[0] in "│┃"]


def graph():
    x = Input((4,), name="x<y")
    return Model(x, layers.Add()([layers.Dense(2)(x), layers.Dense(2)(x)]))


@pytest.mark.parametrize("make", [
    lambda: Sequential([layers.LSTM(8, input_shape=(20, 3)), layers.Dense(1)]),
    lambda: Sequential([layers.Dense(2)]),
    graph,
], ids=["stack", "unbuilt", "graph"])
def test_a_model_shows_what_its_summary_says(make):
    model = make()
    text = model._repr_html_()
    assert cells(text) == printed(model)
    assert f"Total params: {model.count_params() if model.built else 0:,}" in text and model.name in text


def test_a_history_shows_its_curves():
    model = Sequential([layers.Dense(1)])
    model.compile("sgd", "mse", metrics=["mae"])
    x, y = np.ones((8, 2)), np.zeros((8, 1))
    history = model.fit(x, y, epochs=6, validation_data=(x, y), validation_freq=2, verbose=0)
    tree = parsed(history._repr_html_())
    assert "6 epochs" in tree.find("p").text
    charts = list(tree.iter("svg"))
    assert [b.text for b in tree.iter("b")] == ["loss", "mae"] and len(charts) == 2
    training, validation = ([tuple(map(float, place.split(","))) for place in line.get("points").split()]
                            for line in charts[0].iter("polyline"))
    assert len(training) == 6 and len(validation) == 3
    assert [x for x, _ in validation] == [x for x, _ in training][1::2]
    values = history.history["loss"] + history.history["val_loss"]
    heights = [y for _, y in training + validation]
    assert np.argmax(values) == np.argmin(heights) and np.argmin(values) == np.argmax(heights)
    assert f"training {history.history['loss'][-1]:.4g}" in "".join(tree.itertext())


def test_the_loss_comes_first():
    history = {"accuracy": [0.5, 0.6], "loss": [1.0, 0.9], "val_accuracy": [0.4, 0.5], "val_loss": [1.1, 1.0]}
    assert [b.text for b in parsed(history_html(history)).iter("b")] == ["loss", "accuracy"]
    pytest.importorskip("matplotlib")
    assert [axes.get_title() for axes in utils.plot_history(history).axes] == ["loss", "accuracy"]


def test_pictures_follow_the_style():
    """Titles must be seen on a dark ground."""
    matplotlib = pytest.importorskip("matplotlib")
    with matplotlib.rc_context({"text.color": "white", "axes.titlecolor": "auto"}):
        title = utils.plot_history({"loss": [1.0, 0.5]}).axes[0].title
    assert title.get_color() == "white"


@pytest.mark.parametrize("history, lines", [
    ({"loss": [0.5]}, 1), ({"loss": [0.5, float("nan"), 0.1]}, 1), ({"loss": [float("nan")]}, 1),
    ({"loss": [2.0, 2.0], "val_a<b": [1.0, 3.0]}, 2),
])
def test_histories_of_any_numbers(history, lines):
    found = [line.get("points") for line in parsed(history_html(history)).iter("polyline")]
    assert len(found) == lines and not any("nan" in points for points in found)


def test_a_history_without_epochs():
    assert "without epochs" in History()._repr_html_() and "without epochs" in history_html({"loss": []})


def test_pictures_show_themselves():
    pytest.importorskip("matplotlib")
    for figure in (utils.plot_history({"loss": [1.0, 0.5]}), utils.plot_model(graph(), to_file=None)):
        assert figure._repr_png_().startswith(b"\x89PNG")
        assert len(pickle.loads(pickle.dumps(figure)).axes) == len(figure.axes)
