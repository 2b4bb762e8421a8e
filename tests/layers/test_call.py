"""Layers whose class computes in call: their derivatives, shapes, masks, losses, copies and files."""

import copy
import pickle
import threading
import warnings

import numpy as np
import pytest

import tdfast
from tdfast import Input, Model, Sequential, layers, ops
from tdfast.saving import register_keras_serializable
from tdfast.testing import assert_near, check_layer, differences

RNG = np.random.default_rng(10)
X = RNG.normal(size=(4, 5))
STEPS = RNG.normal(size=(3, 7, 4))


@register_keras_serializable("tests", "CallScaled")
class Scaled(layers.Layer):
    """A dense map with weights of its own, and a product."""

    def __init__(self, units=3, **kwargs):
        super().__init__(**kwargs)
        self.units, self.batch_coupled = units, True  # products of matrices have other bits in other batches

    def build(self, input_shape):
        self.kernel = self.add_weight(shape=(input_shape[-1], self.units), name="kernel")
        self.bias = self.add_weight(shape=(self.units,), initializer="zeros", name="bias")

    def call(self, inputs):
        z = ops.matmul(inputs, self.kernel) + self.bias
        return z * ops.sigmoid(z)

    def get_config(self):
        return {**super().get_config(), "units": self.units}


@register_keras_serializable("tests", "CallPooled")
class Pooled(layers.Layer):
    """Attention over the steps, with a layer inside."""

    def __init__(self, units=3, **kwargs):
        super().__init__(**kwargs)
        self.units, self.supports_masking = units, True
        self.inner = layers.Dense(units, activation="tanh", dtype=self.dtype)

    def build(self, input_shape):
        self.v = self.add_weight(shape=(self.units, 1), name="v")

    def call(self, x, mask=None):
        scores = ops.matmul(self.inner(x), self.v)
        if mask is not None:
            scores = scores - 1e3 * (1.0 - ops.cast(mask, self.dtype)[:, :, None])
        return ops.sum(ops.softmax(scores, axis=1) * x, axis=1)

    def compute_mask(self, inputs, mask=None):
        return None

    def get_config(self):
        return {**super().get_config(), "units": self.units}


@register_keras_serializable("tests", "CallStacked")
class Stacked(layers.Layer):
    """Layers in a list and in a dict, and one that is called twice."""

    def __init__(self, units=3, **kwargs):
        super().__init__(**kwargs)
        self.units = units
        self.blocks = [layers.Dense(units, activation="tanh", dtype=self.dtype) for _ in range(2)]
        self.more = {"a": layers.Dense(units, dtype=self.dtype)}

    def call(self, x):
        x = self.more["a"](x)
        for block in self.blocks:
            x = x + block(block(x))
        return x

    def get_config(self):
        return {**super().get_config(), "units": self.units}


@register_keras_serializable("tests", "CallSquares")
class Squares(layers.Layer):
    def call(self, x):
        self.add_loss(0.3 * ops.mean(ops.square(x)))
        return 2 * x


@register_keras_serializable("tests", "CallCell")
class Cell(layers.Layer):
    def __init__(self, units=3, **kwargs):
        super().__init__(**kwargs)
        self.units = self.state_size = units

    def build(self, input_shape):
        self.kernel = self.add_weight(shape=(input_shape[-1], self.units), name="kernel")
        self.recurrent = self.add_weight(shape=(self.units, self.units), name="recurrent")

    def call(self, inputs, states):
        parts = zip((inputs, states[0]), (self.kernel, self.recurrent))
        h = ops.tanh(sum(ops.sum(x[:, :, None] * w, axis=1) for x, w in parts))
        return h, [h]

    def get_config(self):
        return {**super().get_config(), "units": self.units}


class Cut(layers.Layer):
    """It supports no mask, takes the mean over the steps, and counts how many there were."""

    def call(self, x):
        return ops.mean(x, axis=1)


# ---------------------------------------------------------------- derivatives


@pytest.mark.parametrize(
    "layer, shape",
    [
        (Scaled(3), (5,)),
        (Scaled(3), (None, 4)),
        (Scaled(1), (1, 1)),
        (Pooled(3), (None, 4)),
        (Stacked(4), (5,)),
        (Stacked(3), (None, 2)),
        (Pooled(2), (1, 3)),
    ],
)
def test_what_tdfast_asks_of_a_layer(layer, shape):
    check_layer(layer, shape)


def test_a_mask_as_an_argument():
    check_layer(Pooled(3), (6, 4), mask=True)


def test_a_bidirectional_of_a_cell_and_a_layer_for_each_step():
    check_layer(layers.Bidirectional(layers.RNN(Cell(3), return_sequences=True)), (5, 4))


def test_stacked_cells_and_a_layer_for_each_step():
    model = Sequential(
        [
            Input((3, 4), dtype="float64"),
            layers.TimeDistributed(Stacked(3, dtype="float64"), dtype="float64"),
            layers.RNN([Cell(3, dtype="float64"), Cell(2, dtype="float64")], dtype="float64"),
        ]
    )
    gradients_are_right(model, STEPS[:, :3].copy(), RNG.normal(size=(3, 2)))
    whole = model.layers[0](STEPS[:, :3])
    np.testing.assert_allclose(whole[:, 1], model.layers[0].layer(STEPS[:, 1]), rtol=1e-6)


def gradients_are_right(model, x, y, bound=1e-6):
    """Those that training follows, against differences of the loss, for weights in float64."""

    def loss():
        return float(np.asarray(model.evaluate(x, y, verbose=0)))

    rate = 1e-3
    model.compile(tdfast.optimizers.SGD(rate), "mse")
    wanted = [differences(loss, w.value) for w in model.trainable_weights]
    before = model.get_weights()
    held = [w.value.copy() for w in model.trainable_weights]
    model.train_on_batch(x, y)
    for w, was, want in zip(model.trainable_weights, held, wanted):
        assert_near((was - w.value) / rate, want, bound, w.path)
    model.set_weights(before)


class Joined(layers.Layer):
    """Several inputs by place and by name, several outputs."""

    def build(self, query_shape, value_shape):
        self.w = self.add_weight(shape=(query_shape[-1], value_shape[-1]), name="w")

    def call(self, query, value):
        scores = ops.einsum("bi,ij,bj->b", query, self.w, value)
        return {"score": scores[:, None] * query, "value": value * ops.tanh(scores)[:, None]}


def test_tensors_by_name_and_a_dict_of_outputs():
    a, b = Input((5,), dtype="float64"), Input((2,), dtype="float64")
    made = Joined(dtype="float64")(a, value=b)
    assert sorted(made) == ["score", "value"] and made["value"].shape == (None, 2)
    out = layers.Dense(3, dtype="float64")(
        layers.Concatenate(dtype="float64")([made["score"], made["value"]])
    )
    model = Model([a, b], out)
    gradients_are_right(model, [X, X[:, :2].copy()], RNG.normal(size=(4, 3)))


def test_lists_in_and_out():
    class Mixed(layers.Layer):
        def call(self, inputs):
            a, b = inputs
            return [a * b, ops.concatenate([a, ops.exp(b)], axis=-1)]

    a, b = Input((5,), dtype="float64"), Input((5,), dtype="float64")
    hidden = layers.Dense(5, dtype="float64")(a)
    first, second = Mixed(dtype="float64")([hidden, b])
    model = Model(
        [a, b], layers.Dense(2, dtype="float64")(layers.Concatenate(dtype="float64")([first, second]))
    )
    assert first.shape == (None, 5) and second.shape == (None, 10)
    gradients_are_right(model, [X, X[::-1].copy()], RNG.normal(size=(4, 2)))
    one, two = Mixed()([X, X])
    np.testing.assert_allclose(one, X * X, rtol=1e-5)
    assert two.shape == (4, 10)


def test_an_output_that_nobody_uses():
    class Two(layers.Layer):
        def build(self, shape):
            self.a, self.b = (self.add_weight(shape=(shape[-1],), name=n, initializer="ones") for n in "ab")

        def call(self, x):
            return x * self.a, x * self.b

    x = Input((5,))
    model = Model(x, Two()(x)[0])
    model.compile("sgd", "mse")
    model.fit(X, X * 2, verbose=0)
    changed = [bool(np.any(w != 1)) for w in model.get_weights()]
    assert changed == [True, False]


# ---------------------------------------------------------------- shapes


def test_steps_of_any_number():
    x = Input((None, 4))
    y = Pooled(3)(x)
    z = Scaled(2)(x)
    assert y.shape == (None, 4) and z.shape == (None, None, 2)
    model = Model(x, [y, z])
    for steps in (1, 2, 7):
        first, second = model.predict(STEPS[:, :steps], verbose=0)
        assert first.shape == (3, 4) and second.shape == (3, steps, 2)
    np.testing.assert_allclose(model.predict(STEPS[:, :1], verbose=0)[0], STEPS[:, 0], rtol=1e-5)


def test_whole_numbers():
    class Looked(layers.Layer):
        def build(self, shape):
            self.table = self.add_weight(shape=(9, 3), name="table")

        def call(self, ids):
            assert ids.dtype.kind == "i"
            return ops.take(self.table, ids, axis=0)

    ids = RNG.integers(0, 9, size=(4, 6))
    model = Sequential([Input((6,), dtype="int32"), Looked(), layers.Flatten(), layers.Dense(2)])
    model.compile("sgd", "mse")
    before = model.get_weights()[0]
    np.testing.assert_allclose(model.layers[0](ids), before[ids], rtol=1e-6)
    model.fit(ids, X[:, :2], verbose=0)
    moved = np.any(model.get_weights()[0] != before, axis=1)
    assert moved.tolist() == [i in ids for i in range(9)]


# ---------------------------------------------------------------- masks


def test_a_mask_goes_in_and_on():
    class Seen(layers.Layer):
        def __init__(self):
            super().__init__()
            self.supports_masking, self.seen = True, []

        def call(self, x, mask=None):
            self.seen.append(None if mask is None else np.array(mask))
            return 2 * x

    seen = Seen()
    x = STEPS.astype("float32").copy()
    x[0, 4:] = 0
    model = Sequential([Input((7, 4)), layers.Masking(), seen, layers.LSTM(3)])
    model.predict(x, verbose=0)
    assert seen.seen[-1].tolist() == np.any(x != 0, axis=-1).tolist()
    same = Sequential([Input((7, 4)), layers.Masking(), layers.Activation(lambda x: 2 * x), layers.LSTM(3)])
    same.set_weights(model.get_weights())
    np.testing.assert_allclose(model.predict(x, verbose=0), same.predict(x, verbose=0), rtol=1e-5, atol=1e-6)


def test_compute_mask():
    class Halved(layers.Layer):
        def __init__(self):
            super().__init__()
            self.supports_masking = True

        def call(self, x):
            return x[:, ::2]

        def compute_mask(self, inputs, mask=None):
            return None if mask is None else mask[:, ::2]

    x = STEPS.astype("float32").copy()
    x[0, 4:] = 0
    model = Sequential([Input((7, 4)), layers.Masking(), Halved(), layers.LSTM(3)])
    direct = Sequential([Input((4, 4)), layers.Masking(), layers.LSTM(3)])
    direct.set_weights(model.get_weights())
    np.testing.assert_allclose(
        model.predict(x, verbose=0), direct.predict(x[:, ::2].copy(), verbose=0), rtol=1e-5, atol=1e-6
    )


def test_a_mask_made_inside():
    class Read(layers.Layer):
        def __init__(self):
            super().__init__()
            self.embedding, self.rnn = layers.Embedding(9, 4, mask_zero=True), layers.GRU(3)

        def call(self, ids):
            return self.rnn(self.embedding(ids))

    ids = np.array([[3, 4, 0, 0], [1, 2, 8, 0]])
    layer = Read()
    got = layer(ids)
    short = layer(ids[:1, :2])
    np.testing.assert_allclose(got[0], short[0], rtol=1e-5, atol=1e-6)
    model = Sequential([Input((4,), dtype="int32"), layer])
    np.testing.assert_allclose(model.predict(ids, verbose=0), got, rtol=1e-5, atol=1e-6)


def test_a_mask_that_ends_is_told():
    x = STEPS.astype("float32").copy()
    x[0, 4:] = 0
    model = Sequential([Input((7, 4)), layers.Masking(), Cut()])
    with pytest.warns(UserWarning, match="does not support masking|cannot carry a mask"):
        model.predict(x, verbose=0)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        Sequential([Input((7, 4)), Cut()]).predict(x, verbose=0)


# ---------------------------------------------------------------- training, losses


def test_the_training_flag_goes_to_inner_layers():
    class Dropped(layers.Layer):
        def __init__(self):
            super().__init__()
            self.dropout, self.flags = layers.Dropout(0.5), []

        def call(self, x, training=False):
            self.flags.append(training)
            return self.dropout(x)

    layer = Dropped()
    ones = np.ones((40, 5), "float32")
    assert np.array_equal(layer(ones), ones)
    assert set(np.unique(layer(ones, training=True))) == {0.0, 2.0}
    model = Sequential([Input((5,)), layer, layers.Dense(1)])
    model.compile("sgd", "mse")
    layer.flags.clear()
    model.fit(ones, np.zeros(40), batch_size=40, verbose=0)
    assert layer.flags[-1] is True
    model.predict(ones, verbose=0)
    assert layer.flags[-1] is False
    assert np.array_equal(layer(ones), ones)


def test_add_loss():
    layer = Squares()
    layer(X)
    np.testing.assert_allclose(float(np.asarray(layer.losses[0])), 0.3 * np.mean(X**2), rtol=1e-5)
    model = Sequential(
        [Input((5,), dtype="float64"), layers.Dense(3, dtype="float64"), Squares(dtype="float64")]
    )
    y = RNG.normal(size=(4, 3))
    model.compile("sgd", "mse")
    w, b = model.get_weights()
    hidden = X @ w + b
    want = np.mean((2 * hidden - y) ** 2) + 0.3 * np.mean(hidden**2)
    np.testing.assert_allclose(model.evaluate(X, y, verbose=0), want, rtol=1e-6)
    np.testing.assert_allclose(model.fit(X, y, batch_size=4, verbose=0).history["loss"], [want], rtol=1e-6)
    model.set_weights([w, b])
    gradients_are_right(model, X, y)


def test_add_loss_inside_other_layers():
    class Around(layers.Layer):
        def __init__(self, **kwargs):
            super().__init__(**kwargs)
            self.dense = layers.Dense(3, kernel_regularizer="l2", dtype=self.dtype)
            self.net = (
                Sequential([Input((3,)), Squares(dtype=self.dtype)], name="net")
                if self.dtype == "float32"
                else Sequential([Input((3,), dtype="float64"), Squares(dtype="float64")], name="net")
            )

        def call(self, x):
            return self.net(self.dense(x))

    model = Sequential([Input((5,), dtype="float64"), Around(dtype="float64")])
    y = RNG.normal(size=(4, 3))
    model.compile("sgd", "mse")
    w, b = model.get_weights()
    hidden = X @ w + b
    want = np.mean((2 * hidden - y) ** 2) + 0.3 * np.mean(hidden**2) + 0.01 * np.sum(w**2)
    np.testing.assert_allclose(model.evaluate(X, y, verbose=0), want, rtol=1e-6)
    gradients_are_right(model, X, y)


def test_super_call():
    class Tilted(layers.Dense):
        def build(self, input_shape):
            super().build(input_shape)
            self.tilt = self.add_weight(shape=(self.units,), name="tilt")

        def call(self, inputs):
            return self.tilt * super().call(inputs)

    model = Sequential([Input((5,), dtype="float64"), Tilted(3, activation="tanh", dtype="float64")])
    w, b, tilt = model.get_weights()
    np.testing.assert_allclose(model.predict(X, verbose=0), tilt * np.tanh(X @ w + b), rtol=1e-6)
    gradients_are_right(model, X, RNG.normal(size=(4, 3)))


def test_a_wrapper():
    class Twice(layers.Wrapper):
        def call(self, inputs):
            return self.layer(inputs) * self.layer(2 * inputs)

    inner = layers.Dense(3, dtype="float64")
    model = Sequential([Input((5,), dtype="float64"), Twice(inner, dtype="float64")])
    w, b = model.get_weights()
    np.testing.assert_allclose(model.predict(X, verbose=0), (X @ w + b) * (2 * X @ w + b), rtol=1e-6)
    gradients_are_right(model, X, RNG.normal(size=(4, 3)), bound=1e-5)


def test_a_layer_shared_by_two_calls_in_a_graph():
    shared = Scaled(5, dtype="float64")
    x = Input((5,), dtype="float64")
    model = Model(x, shared(shared(x)))
    assert len(model.weights) == 2
    gradients_are_right(model, X, RNG.normal(size=(4, 5)))


def test_frozen_weights():
    layer = Stacked(3)
    model = Sequential([Input((5,)), layer])
    layer.blocks[0].trainable = False
    model.compile("sgd", "mse")
    held, free = layer.blocks[0].get_weights(), layer.blocks[1].get_weights()
    assert len(model.trainable_weights) == 4
    model.fit(X, X[:, :3], verbose=0)
    assert np.array_equal(held[0], layer.blocks[0].get_weights()[0])
    assert np.any(free[0] != layer.blocks[1].get_weights()[0])


# ---------------------------------------------------------------- copies and files


def everything():
    return Sequential(
        [
            Input((7, 4)),
            Scaled(4),
            layers.TimeDistributed(Stacked(3)),
            layers.Bidirectional(layers.RNN(Cell(2), return_sequences=True)),
            Squares(),
            Pooled(3),
            layers.Dense(2),
        ]
    )


def test_copies():
    model = everything()
    model.compile("adam", "mse")
    model.fit(STEPS, np.zeros((3, 2)), verbose=0)
    want = model.predict(STEPS, verbose=0)
    clone = tdfast.models.clone_model(model)
    clone.set_weights(model.get_weights())
    for twin in (copy.deepcopy(model), pickle.loads(pickle.dumps(model)), clone):
        np.testing.assert_array_equal(twin.predict(STEPS, verbose=0), want)
        twin.set_weights([w + 1 for w in twin.get_weights()])
        np.testing.assert_array_equal(model.predict(STEPS, verbose=0), want)


def test_files(tmp_path):
    model = everything()
    model.compile("adam", "mse")
    model.fit(STEPS, np.zeros((3, 2)), verbose=0)
    want = model.predict(STEPS, verbose=0)
    model.save(tmp_path / "m.keras")
    again = tdfast.models.load_model(tmp_path / "m.keras")
    np.testing.assert_array_equal(again.predict(STEPS, verbose=0), want)
    model.save_weights(tmp_path / "w.weights.h5")
    other = everything()
    other.load_weights(tmp_path / "w.weights.h5")
    np.testing.assert_array_equal(other.predict(STEPS, verbose=0), want)


def test_files_with_custom_objects(tmp_path):
    class Plain(layers.Layer):
        def __init__(self, units):
            super().__init__()
            self.dense = layers.Dense(units)

        def call(self, x):
            return ops.relu(self.dense(x))

        def get_config(self):
            return {"units": self.dense.units}

    model = Sequential([Input((5,)), Plain(3)])
    model.save(tmp_path / "m.keras")
    again = tdfast.models.load_model(tmp_path / "m.keras", custom_objects={"Plain": Plain})
    np.testing.assert_array_equal(again.predict(X, verbose=0), model.predict(X, verbose=0))
    with pytest.raises(ValueError, match="Plain"):
        tdfast.models.load_model(tmp_path / "m.keras")


# ---------------------------------------------------------------- threads


def test_the_same_bits_for_one_and_two_threads():
    model = everything()
    weights, x = model.get_weights(), RNG.normal(size=(33, 7, 4))
    found, before = [], tdfast.get_num_threads()
    try:
        for threads in (1, 2):
            tdfast.set_num_threads(threads)
            model.set_weights(weights)
            model.compile("sgd", "mse")
            model.fit(x, np.ones((33, 2)), epochs=2, shuffle=False, verbose=0)
            found.append([*model.get_weights(), model.predict(x, verbose=0)])
    finally:
        tdfast.set_num_threads(before)
    for a, b in zip(*found):
        np.testing.assert_array_equal(a, b)


def test_two_threads_predict_at_once():
    model = everything()
    inputs = [RNG.normal(size=(9, 7, 4)) for _ in range(2)]
    want = [model.predict(x, verbose=0) for x in inputs]
    wrong = []

    def work(k):
        for _ in range(20):
            if not np.array_equal(model.predict(inputs[k], verbose=0), want[k]):
                wrong.append(k)

    threads = [threading.Thread(target=work, args=(k,)) for k in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not wrong
