"""Models whose class computes in call: as a graph and in Python, alone and beside others, in files."""

import copy
import pickle

import numpy as np
import pytest

import tdfast
from tdfast import Input, Model, Sequential, layers, ops
from tdfast.saving import register_keras_serializable

RNG = np.random.default_rng(8)
X = RNG.normal(size=(13, 5)).astype("float32")
Y = RNG.normal(size=(13, 3)).astype("float32")
STEPS = RNG.normal(size=(9, 7, 4)).astype("float32")


@register_keras_serializable("tests", "SubclassedResidual")
class Residual(Model):
    def __init__(self, units=6, blocks=2, **kwargs):
        super().__init__(**kwargs)
        self.units, self.count = units, blocks
        self.first = layers.Dense(units, activation="tanh")
        self.blocks = [layers.Dense(units, activation="relu") for _ in range(blocks)]
        self.heads = {"last": layers.Dense(3)}

    def call(self, x, training=None):
        x = self.first(x)
        for block in self.blocks:
            x = x + block(x)
        return self.heads["last"](ops.tanh(x))

    def get_config(self):
        return {**super().get_config(), "units": self.units, "blocks": self.count}


class Recurrent(Model):
    def __init__(self):
        super().__init__()
        self.rnn, self.last = layers.GRU(5, return_sequences=True), layers.Dense(2)

    def call(self, x):
        return self.last(self.rnn(x)[:, -1])


class Asking(Model):
    """It asks whether it is training, so it runs in Python."""

    def __init__(self):
        super().__init__()
        self.dense, self.last = layers.Dense(4), layers.Dense(3)

    def call(self, x, training=None):
        x = self.dense(x)
        if training:
            x = 2 * x
        return self.last(x)


class TwoHeads(Model):
    def __init__(self):
        super().__init__()
        self.a, self.b = layers.Dense(3), layers.Dense(2)

    def call(self, inputs):
        both = ops.concatenate([inputs["left"], inputs["right"]], axis=-1)
        return {"wide": self.a(both), "narrow": self.b(ops.tanh(both))}


def fitted(model, x, y, **options):
    model.compile("adam", "mse", metrics=["mae"], **options)
    logs = model.fit(x, y, batch_size=4, epochs=3, shuffle=False, verbose=0).history
    return logs, model.predict(x, verbose=0), model.evaluate(x, y, verbose=0)


def same_weights(a, b):
    assert len(a.get_weights()) == len(b.get_weights())
    for one, other in zip(a.get_weights(), b.get_weights()):
        np.testing.assert_array_equal(one, other)


@pytest.mark.parametrize("make, x, y", [(Residual, X, Y), (Recurrent, STEPS, Y[:9, :2])])
def test_a_graph_and_python_give_the_same_numbers(make, x, y):
    graph, python = make(), make()
    graph(x[:1])
    python.compile("adam", "mse", run_eagerly=True)
    python(x[:1])
    python.set_weights(graph.get_weights())
    found = [fitted(graph, x, y), fitted(python, x, y, run_eagerly=True)]
    assert graph.runs_in_python is None and "run_eagerly" in python.runs_in_python
    for name in found[0][0]:
        np.testing.assert_allclose(found[0][0][name], found[1][0][name], rtol=1e-4)
    np.testing.assert_allclose(found[0][1], found[1][1], rtol=1e-3, atol=1e-5)
    np.testing.assert_allclose(found[0][2], found[1][2], rtol=1e-4)
    assert found[0][0]["loss"][-1] < found[0][0]["loss"][0]


def test_the_training_flag():
    model = Asking()
    quiet, loud = model(X), model(X, training=True)
    w = model.get_weights()
    np.testing.assert_allclose(quiet, (X @ w[0] + w[1]) @ w[2] + w[3], rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(loud, 2 * (X @ w[0] + w[1]) @ w[2] + w[3], rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(model.predict(X, verbose=0), quiet, rtol=1e-5, atol=1e-6)
    assert "training" in model.runs_in_python


def test_batches_of_several_sizes_and_single_samples():
    for model in (Residual(), Asking()):
        whole = model.predict(X, verbose=0)
        for size in (1, 4, 13, 50):
            np.testing.assert_allclose(
                model.predict(X, batch_size=size, verbose=0), whole, rtol=1e-5, atol=1e-6
            )
        np.testing.assert_allclose(model.predict_on_batch(X[:1]), whole[:1], rtol=1e-5, atol=1e-6)


def test_another_length_than_it_was_built_with():
    model = Recurrent()
    model(STEPS)
    before = model.get_weights()
    assert model(STEPS[:, :3]).shape == (9, 2)
    assert model.predict(RNG.normal(size=(2, 11, 4)), verbose=0).shape == (2, 2)
    same = Sequential([Input((None, 4)), layers.GRU(5), layers.Dense(2)])
    same.set_weights(before)
    np.testing.assert_allclose(model(STEPS[:, :3]), same(STEPS[:, :3]), rtol=1e-5, atol=1e-6)


def test_build_by_shape_and_summary(capsys):
    model = Residual()
    assert not model.built
    model.build((None, 5))
    assert model.built and model.count_params() == 5 * 6 + 6 + 2 * 42 + 21
    assert [layer.name for layer in model.layers] == [
        model.first.name,
        *(b.name for b in model.blocks),
        model.heads["last"].name,
    ]
    model.summary()
    text = capsys.readouterr().out
    assert "141" in text and model.first.name in text and model.blocks[1].name in text
    assert model.compute_output_shape((None, 5)) == (None, 3) and model.output_shape == (None, 3)
    assert len({w.path for w in model.weights}) == len(model.weights) == 8


def test_files_of_models_and_weights(tmp_path):
    model = Residual(4, 3)
    model.compile("adam", "mse")
    model.fit(X, Y, epochs=1, verbose=0)
    want = model.predict(X, verbose=0)
    model.save(tmp_path / "m.keras")
    again = tdfast.models.load_model(tmp_path / "m.keras")
    assert type(again) is Residual and again.count == 3
    same_weights(again, model)
    np.testing.assert_array_equal(again.predict(X, verbose=0), want)
    again.fit(X, Y, epochs=1, verbose=0)
    model.fit(X, Y, epochs=1, verbose=0)
    np.testing.assert_allclose(again.predict(X, verbose=0), model.predict(X, verbose=0), rtol=1e-3, atol=1e-4)
    model.save_weights(tmp_path / "w.weights.h5")
    other = Residual(4, 3)
    other(X)
    other.load_weights(tmp_path / "w.weights.h5")
    same_weights(other, model)


def test_a_file_with_custom_objects(tmp_path):
    model = Asking()
    want = model(X)
    model.save(tmp_path / "a.keras")
    again = tdfast.models.load_model(tmp_path / "a.keras", custom_objects={"Asking": Asking})
    np.testing.assert_array_equal(again(X), want)
    with pytest.raises(ValueError, match="Asking"):
        tdfast.models.load_model(tmp_path / "a.keras")


def test_dicts_in_and_out_with_losses_by_name():
    x = {"left": X[:, :2], "right": X[:, 2:]}
    y = {"wide": Y, "narrow": Y[:, :2]}
    model = TwoHeads()
    model.compile("sgd", {"wide": "mse", "narrow": "mae"}, loss_weights={"wide": 0.5, "narrow": 2.0})
    found = model(x)
    assert sorted(found) == ["narrow", "wide"] and found["wide"].shape == (13, 3)
    want = 0.5 * np.mean((found["wide"] - Y) ** 2) + 2.0 * np.mean(np.abs(found["narrow"] - Y[:, :2]))
    logs = model.evaluate(x, y, verbose=0, return_dict=True)
    np.testing.assert_allclose(logs["loss"], want, rtol=1e-5)
    history = model.fit(x, y, epochs=3, verbose=0).history
    assert {"loss", "wide_loss", "narrow_loss"} <= set(history) and history["loss"][-1] < history["loss"][0]
    out = model.predict(x, verbose=0)
    np.testing.assert_allclose(out["narrow"], model(x)["narrow"], rtol=1e-5, atol=1e-6)


def test_lists_in_and_out():
    class Both(Model):
        def __init__(self):
            super().__init__()
            self.dense = layers.Dense(3)

        def call(self, inputs):
            a, b = inputs
            return [self.dense(a) + self.dense(b), self.dense(a * b)]

    model = Both()
    first, second = model([X, X + 1])
    w, b = model.get_weights()
    np.testing.assert_allclose(first, (2 * X + 1) @ w + 2 * b, rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(second, (X * (X + 1)) @ w + b, rtol=1e-4, atol=1e-5)
    model.compile("sgd", ["mse", "mse"])
    assert np.isfinite(model.fit([X, X + 1], [Y, Y], verbose=0).history["loss"][0])


@pytest.mark.parametrize("make", [Residual, Asking])
def test_within_a_functional_model_and_the_reverse(make):
    inner = make()
    x = Input((5,))
    outer = Model(x, layers.Dense(2)(inner(x)))
    np.testing.assert_allclose(outer.predict(X, verbose=0), outer.layers[-1](inner(X)), rtol=1e-5, atol=1e-6)
    before = [w.copy() for w in inner.get_weights()]
    outer.compile("sgd", "mse")
    outer.fit(X, Y[:, :2], verbose=0)
    assert all(np.any(a != b) for a, b in zip(before[::2], inner.get_weights()[::2]))

    class Around(Model):
        def __init__(self):
            super().__init__()
            self.inner, self.own = outer, make()

        def call(self, x):
            return self.inner(x) + ops.sum(self.own(x), axis=-1, keepdims=True)

    around = Around()
    np.testing.assert_allclose(
        around(X), outer(X) + around.own(X).sum(-1, keepdims=True), rtol=1e-5, atol=1e-5
    )
    assert len(around.trainable_weights) == len(outer.trainable_weights) + len(inner.trainable_weights)
    around.compile("sgd", "mse")
    logs = around.fit(X, Y[:, :2], epochs=4, verbose=0).history["loss"]
    assert logs[-1] < logs[0]


def test_copies():
    for make in (Residual, Asking):
        model = make()
        want = model(X)
        for twin in (copy.deepcopy(model), pickle.loads(pickle.dumps(model))):
            np.testing.assert_array_equal(twin(X), want)
            twin.set_weights([w + 1 for w in twin.get_weights()])
            np.testing.assert_array_equal(model(X), want)
        with pytest.raises(ValueError, match="Sequential or functional"):
            tdfast.models.clone_model(model)


def test_frozen_parts_do_not_learn():
    model = Residual()
    model.first.trainable = False
    model.compile("sgd", "mse")
    model(X)
    before = model.first.get_weights()
    last = model.heads["last"].get_weights()[0]
    model.fit(X, Y, verbose=0)
    np.testing.assert_array_equal(model.first.get_weights()[0], before[0])
    assert np.any(model.heads["last"].get_weights()[0] != last)


def test_further_arguments_of_call():
    class Scaled(Model):
        def __init__(self):
            super().__init__()
            self.dense = layers.Dense(3)

        def call(self, x, scale=1.0):
            return scale * self.dense(x)

    model = Scaled()
    plain = model(X)
    np.testing.assert_allclose(model(X, scale=3.0), 3 * plain, rtol=1e-6)


def test_weights_of_its_own():
    class Tilted(Model):
        def __init__(self):
            super().__init__()
            self.dense = layers.Dense(3)
            self.tilt = self.add_weight(shape=(3,), initializer="ones", name="tilt")

        def call(self, x):
            return self.dense(x) * self.tilt

    model = Tilted()
    model.compile("sgd", "mse")
    model.fit(X, Y, verbose=0)
    assert len(model.trainable_weights) == 3 and np.any(np.asarray(model.tilt) != 1)


def test_without_call_predict_says_what_is_missing():
    class Empty(Model):
        def __init__(self):
            super().__init__()
            self.dense = layers.Dense(3)

    with pytest.raises(TypeError, match=r"Empty.*has no call\(self, inputs\)"):
        Empty().predict(X, verbose=0)
