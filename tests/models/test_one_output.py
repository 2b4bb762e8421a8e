"""A model whose output is a list of one gives an array, as in Keras; `Model.from_config` makes a model of
inputs and outputs; a model's dtype is that of its layers."""

import numpy as np
import pytest

from tdfast import Input, Model, layers, ops


@pytest.mark.parametrize("pack", [list, tuple])
def test_a_list_of_one_output(pack):
    x = Input((3,))
    model = Model([x], pack([layers.Dense(2)(x)]))
    batch = np.ones((4, 3), np.float32)
    model.compile("sgd", ["mse"])
    for outputs in (model(batch), model.predict(batch, verbose=0), model.predict_on_batch(batch)):
        assert isinstance(outputs, np.ndarray) and outputs.shape == (4, 2)
    assert model.output_shape == (None, 2)
    assert isinstance(model.output, pack)


def test_a_dict_of_one_output_stays_one():
    x = Input((3,))
    assert set(Model(x, {"y": layers.Dense(2)(x)}).predict(np.ones((4, 3)), verbose=0)) == {"y"}


def test_from_config_of_model():
    x = Input((3,))
    model = Model(x, layers.Dense(2, name="last")(x), name="small")
    again = Model.from_config(model.get_config())
    assert type(again) is type(model) and again.name == "small"
    assert [layer.name for layer in again.layers] == [layer.name for layer in model.layers]
    again.set_weights(model.get_weights())
    batch = np.ones((4, 3), np.float32)
    np.testing.assert_array_equal(again(batch), model(batch))


def test_the_dtype_of_a_model_is_that_of_its_layers():
    x = Input((4, 3), dtype="float64")
    h = layers.LSTM(3, dtype="float64", return_sequences=True)(x)
    model = Model(x, [layers.Dense(2, dtype="float64")(h), h])
    assert model.dtype == "float64" and Model(x, ops.tanh(x)).dtype == "float64"
    ids = Input((4,), dtype="int32")
    assert Model(ids, layers.Embedding(5, 2)(ids)).dtype == "float32"
    batch = np.random.default_rng(0).normal(size=(5, 4, 3))
    first, second = model.predict(batch, verbose=0)
    assert first.dtype == second.dtype == np.float64
    model.compile("sgd", "mse")
    loss = model.evaluate(batch, [first + 1e-12, second], verbose=0, return_dict=True)["loss"]
    assert loss == pytest.approx(1e-24, rel=1e-3)           # the targets keep their digits
