"""Files of users' own classes whose weights are in stacks, Variables or made in __init__."""

import numpy as np
import pytest

import tdfast
from tdfast import layers


class Coder(tdfast.Model):
    def __init__(self, **kwargs):
        super().__init__(**kwargs)
        self.encoder = tdfast.Sequential([layers.Dense(4, activation="tanh"), layers.Dense(2)])

    def call(self, x):
        return self.encoder(x)


class Block(layers.Layer):
    def __init__(self, activation="tanh", **kwargs):
        super().__init__(**kwargs)
        self.activation = tdfast.activations.get(activation)
        self.inner = tdfast.Sequential([layers.Dense(5), layers.Dense(5)])
        self.scale = tdfast.Variable(np.full(5, 1.5, "float32"), name="scale")
        self.shift = self.add_weight(shape=(5,), initializer="zeros")

    def call(self, x):
        return self.activation(self.inner(x) * self.scale + self.shift)

    def get_config(self):
        return {**super().get_config(), "activation": tdfast.activations.serialize(self.activation)}


def soft(x):
    return x * tdfast.ops.sigmoid(x)


def with_block(activation):
    return tdfast.Sequential([tdfast.Input((5,)), Block(activation), layers.Dense(2)])


@pytest.mark.parametrize("make", [Coder, lambda: with_block("tanh"), lambda: with_block(soft)])
def test_a_file_has_all_weights(make, tmp_path):
    x = np.random.default_rng(1).normal(size=(3, 5)).astype("float32")
    model = make()
    model(x)
    model.set_weights([w + 0.25 for w in model.get_weights()])
    model.save(tmp_path / "model.keras")
    own = {"Coder": Coder, "Block": Block, "soft": soft}
    loaded = tdfast.models.load_model(tmp_path / "model.keras", custom_objects=own)
    np.testing.assert_array_equal(loaded.predict(x, verbose=0), model.predict(x, verbose=0))


def test_a_variable_is_a_weight_once():
    block = Block()
    block(np.ones((2, 5)))
    assert [w.name for w in block.weights][:2] == ["scale", "variable"]
    assert len(block.weights) == 6
    assert block.scale.path == f"{block.name}/scale"


def test_summary_before_the_model_is_built():
    lines = []
    Coder().summary(print_fn=lines.append)
    assert "Sequential" in lines[0]
