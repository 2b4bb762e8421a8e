"""A last sigmoid or softmax before its crossentropy: training takes the logits."""

import numpy as np
import pytest

import tdfast
from tdfast import Sequential, layers, losses, optimizers
from tdfast.layers import Activation, Dense, Input, Softmax, TimeDistributed
from tdfast.training.logits import of as logits_of


def constant(values):
    """An initializer of these numbers."""

    class These(tdfast.initializers.Initializer):
        def __call__(self, shape, dtype=None):
            return np.broadcast_to(np.asarray(values, dtype or "float32"), shape).copy()

    return These()


def dense(bias, activation=None, **options):
    """A Dense layer that gives these logits for zeros."""
    return Dense(len(bias), activation, bias_initializer=constant(bias), **options)


ENDS = {
    "Dense": lambda bias, f: [dense(bias, f)],
    "Activation": lambda bias, f: [dense(bias), Activation(f)],
    "nested": lambda bias, f: [Sequential([dense(bias, f)])],
    "TimeDistributed": lambda bias, f: [TimeDistributed(dense(bias, f))],
    "TimeDistributed nested": lambda bias, f: [TimeDistributed(Sequential([dense(bias), Activation(f)]))],
}
SOFTMAX_ENDS = {**ENDS, "Softmax": lambda bias, f: [dense(bias), Softmax()]}


def model_of(ends, bias, activation, loss, dtype="float32", metrics=()):
    """(the model with SGD(1), its input of zeros), with one step of time where TimeDistributed wants one."""
    shape = (1, 1) if isinstance(ends(bias, activation)[0], TimeDistributed) else (1,)
    tdfast.config.set_floatx(dtype)
    try:
        model = Sequential([Input(shape), *ends(bias, activation)])
    finally:
        tdfast.config.set_floatx("float32")
    model.compile(optimizers.SGD(1.0), loss, metrics=list(metrics))
    return model, np.zeros((1, *shape))


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("loss", ["bce", "crossentropy", losses.BinaryFocalCrossentropy(gamma=0)])
@pytest.mark.parametrize("end", ENDS)
def test_a_confident_sigmoid_learns(end, loss, dtype):
    for z in (-20, -2000, 1e6):
        model, x = model_of(ENDS[end], [z], "sigmoid", loss, dtype, ["binary_accuracy"])
        y = np.full((*x.shape[:-1], 1), z < 0)
        want = [abs(z) + np.log1p(np.exp(-abs(z))), 0]
        assert np.allclose(model.evaluate(x, y, verbose=0), want, rtol=1e-14 if dtype == "float64" else 1e-7)
        assert np.allclose(model.train_on_batch(x, y), want, rtol=1e-14 if dtype == "float64" else 1e-7)
        assert np.allclose(model.get_weights()[1], z - np.sign(z), rtol=1e-9 if dtype == "float64" else 1e-6)
        assert model.predict(x).item() in (0, 1) or z == -20


SOFTMAX_LOSSES = [
    ("sparse_categorical_crossentropy", True), ("crossentropy", True), ("categorical_crossentropy", False),
    ("crossentropy", False), (losses.CategoricalFocalCrossentropy(alpha=1.0, gamma=0), False),
    (losses.SparseCategoricalCrossentropy(ignore_class=7), True),
]


@pytest.mark.parametrize("loss, sparse", SOFTMAX_LOSSES)
@pytest.mark.parametrize("end", SOFTMAX_ENDS)
def test_a_confident_softmax_learns(end, loss, sparse):
    for z in ([0, -17, 0], [0, -30, -1], [50, 0, 20], [-1e4, 0, 1e4]):
        model, x = model_of(SOFTMAX_ENDS[end], z, "softmax", loss, metrics=["accuracy"])
        y = np.ones(x.shape[:-1], int) if sparse else np.broadcast_to([0.0, 1, 0], (*x.shape[:-1], 3))
        z = np.array(z, np.float64)
        p = np.exp(z - z.max()) / np.exp(z - z.max()).sum()
        want = np.log(np.exp(z - z.max()).sum()) + z.max() - z[1]
        assert np.allclose(model.train_on_batch(x, y), [want, 0], rtol=1e-6)
        exact = 2e-3 if z[2] > 99 else 2e-6             # as far as the bias is
        assert np.allclose(model.get_weights()[1] - np.float32(z), [0, 1, 0] - p, rtol=1e-5, atol=exact)


# ---------------------------------------------------------------- the same as from_logits=True, bit for bit

RNG = np.random.default_rng(0)
X = RNG.normal(size=(12, 5, 3)).astype(np.float32)
X[:6, 3:] = 0
LABELS, BITS = RNG.integers(0, 4, (12, 5)), RNG.integers(0, 2, (12, 5, 4)).astype(np.float32)
ONE_HOT = np.eye(4)[LABELS]
CASES = {
    "bce": ("sigmoid", losses.BinaryCrossentropy, {}, BITS),
    "bce smooth": ("sigmoid", losses.BinaryCrossentropy, {"label_smoothing": 0.2}, BITS),
    "bce axis": ("sigmoid", losses.BinaryCrossentropy, {"axis": 1}, BITS),
    "bce sum": ("sigmoid", losses.BinaryCrossentropy, {"reduction": "sum"}, BITS),
    "cce": ("softmax", losses.CategoricalCrossentropy, {}, ONE_HOT),
    "cce smooth": ("softmax", losses.CategoricalCrossentropy, {"label_smoothing": 0.1}, ONE_HOT),
    "sparse": ("softmax", losses.SparseCategoricalCrossentropy, {}, LABELS),
    "sparse ignoring": ("softmax", losses.SparseCategoricalCrossentropy, {"ignore_class": 2}, LABELS),
    "focal": ("sigmoid", losses.BinaryFocalCrossentropy, {"apply_class_balancing": True}, BITS),
    "categorical focal": ("softmax", losses.CategoricalFocalCrossentropy, {"label_smoothing": 0.1}, ONE_HOT),
}


def twin(activation, loss, front):
    tdfast.utils.set_random_seed(3)
    model = Sequential([Input((5, 3)), *front(), TimeDistributed(Dense(4, activation))])
    model.compile(optimizers.Adam(0.01), loss)
    return model


FRONTS = {
    "no mask": lambda: [layers.LSTM(4, return_sequences=True)],
    "packed": lambda: [layers.Masking(), layers.GRU(4, return_sequences=True), Dense(4, "tanh")],
    "masked": lambda: [layers.Masking(), layers.Bidirectional(layers.LSTM(2, return_sequences=True))],
    "a penalty inside": lambda: [Dense(4, "tanh", activity_regularizer="l2")],
}


# A loss along the time axis has no weights for single steps.
EACH = [(case, front, weighted) for case in CASES for front in FRONTS for weighted in (False, True)
        if case != "bce axis" or (not weighted and front not in ("masked", "packed"))]


@pytest.mark.parametrize("case, front, weighted", EACH)
def test_same_as_from_logits(case, front, weighted):
    activation, loss, options, y = CASES[case]
    weights = RNG.uniform(0, 2, (12, 5)) if weighted else None
    results = []
    for ending, more in ((activation, {}), (None, {"from_logits": True})):
        model = twin(ending, loss(**options, **more), FRONTS[front])
        history = model.fit(X, y, sample_weight=weights, epochs=2, batch_size=5, verbose=0, shuffle=False)
        value = model.evaluate(X, y, sample_weight=weights, batch_size=7, verbose=0)
        results.append((history.history["loss"], value, model.get_weights()))
    assert results[0][:2] == results[1][:2]
    assert all((a == b).all() for a, b in zip(results[0][2], results[1][2]))


def test_class_weights():
    y = LABELS[:, 0]
    results = []
    for activation, logits in (("softmax", False), (None, True)):
        tdfast.utils.set_random_seed(3)
        model = Sequential([Input((5, 3)), layers.GRU(4), Dense(4, activation)])
        model.compile("adam", losses.SparseCategoricalCrossentropy(logits))
        model.fit(X, y, class_weight={0: 1, 1: 3, 2: 0.5, 3: 0}, epochs=2, verbose=0, shuffle=False)
        results.append(model.get_weights())
    assert all((a == b).all() for a, b in zip(*results))


# ---------------------------------------------------------------- everything else sees probabilities


@pytest.mark.parametrize("end", ["softmax", "sigmoid", "Softmax"])
def test_metrics_and_predictions_are_those_of_probabilities(end):
    last = [Dense(4), Softmax()] if end == "Softmax" else [Dense(4, end)]
    model = Sequential([Input((5, 3)), *last])
    loss = "binary_crossentropy" if end == "sigmoid" else "categorical_crossentropy"
    y = BITS if end == "sigmoid" else np.eye(4)[LABELS]
    names = ["mae", "accuracy", "AUC", "categorical_crossentropy", tdfast.metrics.Precision(name="precision")]
    model.compile(optimizers.SGD(0.0), loss, metrics=names)
    before = model.predict(X)
    assert (before == model(X)).all() and before.min() >= 0 and before.max() <= 1
    logs = model.evaluate(X, y, verbose=0, return_dict=True)
    assert np.isclose(logs["mae"], np.abs(before - y).mean(), rtol=1e-6)
    assert np.isclose(logs["loss"], losses.get(loss)(y, before), rtol=1e-6)
    for metric, name in zip(model.metrics[1:], model.metrics_names[1:]):
        metric.reset_state()
        metric.update_state(y, before)
        assert np.isclose(float(metric.result()), logs[name], rtol=1e-6), name

    class Beside(tdfast.callbacks.Callback):
        def on_train_batch_end(self, batch, logs=None):
            assert (model.predict(X, verbose=0) == before).all()
            assert (model.predict_on_batch(X) == before).all()

    history = model.fit(X, y, verbose=0, validation_data=(X, y), callbacks=[Beside()], batch_size=4).history
    for name, value in logs.items():
        assert np.isclose(history[f"val_{name}"][0], value, rtol=1e-5), name
        assert np.isclose(history[name][0], value, rtol=1e-5), name
    assert (model.predict(X) == before).all()


@pytest.mark.parametrize("labels", [LABELS, np.eye(4)[LABELS]], ids=["labels", "one-hot"])
def test_the_accuracy_is_that_of_predictions(labels):
    """Alone among the metrics it goes by the logits, of which the largest is the same."""
    model = Sequential([Input((5, 3)), Dense(4, "softmax")])
    sparse = "sparse_" if labels.ndim == 2 else ""
    model.compile(optimizers.SGD(0.0), f"{sparse}categorical_crossentropy", metrics=["accuracy"])
    right = (model.predict(X).argmax(axis=-1) == LABELS).mean()
    for _ in range(2):
        assert np.isclose(model.evaluate(X, labels, batch_size=5, verbose=0)[1], right)
        assert np.isclose(model.fit(X, labels, verbose=0).history["accuracy"][0], right)


class MyDense(Dense):
    pass


class MyModel(Sequential):
    def forward(self, *args, **kwargs):
        return super().forward(*args, **kwargs)


class MyLoss(losses.BinaryCrossentropy):
    pass


def taken_from(stack, loss, model=Sequential):
    built = model([Input((4, 2)), *stack])
    inner = [layer for top in built.layers for layer in (top, *top.sublayers())]
    (layer,), (shape,) = built.output_layers(), built.output_shapes(built.input_shape)
    return layer and logits_of(layer, inner, losses.get(loss), shape)


def test_where_nothing_is_left_out():
    """Wherever the outputs are something else than that activation's, the loss is of the outputs."""
    for stack, loss in [
        ([Dense(2, "sigmoid")], "mse"), ([Dense(2, "sigmoid")], "categorical_crossentropy"),
        ([Dense(2, "softmax")], "binary_crossentropy"), ([Dense(2, "relu")], "binary_crossentropy"),
        ([Dense(2, "sigmoid", activity_regularizer="l1")], "bce"), ([MyDense(2, "sigmoid")], "bce"),
        ([TimeDistributed(Dense(2, "sigmoid"), activity_regularizer="l1")], "bce"),
        ([Dense(2, "sigmoid"), layers.Dropout(0.5)], "bce"), ([layers.GRU(2, activation="sigmoid")], "bce"),
        ([Dense(2, "sigmoid")], losses.BinaryCrossentropy(from_logits=True)),
        ([Dense(2, "sigmoid")], MyLoss()),
        ([Dense(2), Softmax(axis=1)], "categorical_crossentropy"), ([Dense(1, "softmax")], "crossentropy"),
        ([Dense(2, "softmax")], losses.CategoricalCrossentropy(axis=1)),
        ([Dense(2, "sigmoid")], "crossentropy"),
        ([Dense(2), Softmax(axis=[1, 2])], "categorical_crossentropy"),
        ([Dense(1, "softmax")], "categorical_crossentropy"),
    ]:
        assert taken_from(stack, loss) is None, (stack, loss)
    assert taken_from([Dense(2, "sigmoid")], "bce", MyModel) is None
    shared = Dense(2, "sigmoid")
    assert taken_from([shared, Sequential([shared])], "bce") is None
    for stack, loss in [([Dense(2), Softmax(axis=1)], losses.CategoricalCrossentropy(axis=1)),
                        ([Dense(2), Softmax(axis=2)], losses.CategoricalCrossentropy()),
                        ([Dense(2), Softmax(axis=1)], losses.CategoricalFocalCrossentropy(axis=-2))]:
        assert taken_from(stack, loss).layer is stack[1]


def test_softmax_along_time_learns():
    """A softmax over the steps, and a crossentropy over them: logits of [0, -30, 0] with the target 1."""
    z = np.array([0, -30.0, 0]).reshape(1, 3, 1)
    model = Sequential([Input((3, 1)), Dense(1, kernel_initializer="ones"), Softmax(axis=1)])
    model.compile(optimizers.SGD(1.0), losses.CategoricalCrossentropy(axis=1))
    loss = model.train_on_batch(z, np.array([0.0, 1, 0]).reshape(1, 3, 1))
    assert np.isclose(loss, 30 + np.log(2), rtol=1e-6)
    assert np.isclose(model.get_weights()[0].item(), 1 - 30, rtol=1e-5)        # sum of (p - y) z


@pytest.mark.parametrize("activation", ["sigmoid", "softmax"])
def test_an_activity_regularizer_of_the_last_layer_sees_probabilities(activation):
    model = Sequential([Input((3,)), Dense(4, activation, activity_regularizer=tdfast.regularizers.L1(0.5))])
    loss = "bce" if activation == "sigmoid" else "categorical_crossentropy"
    model.compile(optimizers.SGD(0.0), loss)
    x, y = X[:, 0], np.eye(4)[LABELS[:, 0]]
    p = model.predict(x)
    want = losses.get(loss)(y, p) + 0.5 * p.sum() / len(p)
    assert np.isclose(model.evaluate(x, y, verbose=0), want) and np.isclose(model.train_on_batch(x, y), want)


def test_an_infinite_logit_of_another_class_counts_nothing():
    """A layer may rule a class out with -inf: its probability is 0, and the loss is that of the others."""

    class RuledOut(layers.Layer):
        def forward(self, x, tape, training=False, mask=None):
            tape.push(self)
            y = x.copy()
            y[:, 0] = -np.inf
            return y

        def backward(self, dy, tape, need_dx=True):
            tape.pop(self)
            return dy * np.array([0, 1, 1, 1], dy.dtype)

    x, labels = X[:, 0], LABELS[:, 0] % 3 + 1
    for y in (labels, np.eye(4)[labels]):
        loss = "sparse_categorical_crossentropy" if y.ndim == 1 else "categorical_crossentropy"
        model = Sequential([Input((3,)), Dense(4), RuledOut(), Activation("softmax")])
        model.compile("sgd", loss)
        z = (x @ model.get_weights()[0]).astype(np.float64)[:, 1:]
        want = np.mean(np.log(np.exp(z).sum(axis=1)) - z[np.arange(12), labels - 1])
        assert np.isclose(model.evaluate(x, y, verbose=0), want, rtol=1e-6)
        model.fit(x, y, epochs=3, verbose=0)
        assert all(np.isfinite(w).all() for w in model.get_weights())
