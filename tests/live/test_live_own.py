"""Users' own code, written once for Keras: with keras and with tdfast it gives the same losses, steps and
predictions."""

import numpy as np
import pytest

keras = pytest.importorskip("keras")
pytest.importorskip("jax")
if keras.backend.backend() != "jax":
    pytest.skip("Keras runs on another backend", allow_module_level=True)

import tdfast  # noqa: E402 -- after the skips

RNG = np.random.default_rng(11)
X = RNG.normal(size=(24, 6)).astype("float32")
Y = RNG.normal(size=(24, 3)).astype("float32")
STEPS = RNG.normal(size=(20, 7, 4)).astype("float32")
STEPS[:8, 5:] = 0


# ---------------------------------------------------------------- losses and metrics as functions


def rmse(K):
    ops = K.ops
    return lambda y_true, y_pred: ops.sqrt(ops.mean(ops.square(y_pred - y_true), axis=-1))


def rmse_of_the_batch(K):
    ops = K.ops
    return lambda y_true, y_pred: ops.sqrt(ops.mean(ops.square(y_pred - y_true)))


def weighted_bce(K):
    ops = K.ops

    def loss(y_true, y_pred):
        weight = 1.0 + 3.0 * y_true
        p = ops.clip(y_pred, 1e-6, 1 - 1e-6)
        return ops.mean(-weight * (y_true * ops.log(p) + (1 - y_true) * ops.log(1 - p)), axis=-1)
    return loss


def focal(K):
    ops = K.ops

    def loss(y_true, y_pred):
        p = ops.clip(y_pred, 1e-6, 1 - 1e-6)
        right = ops.where(ops.equal(y_true, 1.0), p, 1 - p)
        return -ops.mean(0.25 * (1 - right) ** 2.0 * ops.log(right), axis=-1)
    return loss


def dice(K):
    ops = K.ops

    def loss(y_true, y_pred):
        both = ops.sum(y_true * y_pred, axis=-1)
        return 1 - (2 * both + 1.0) / (ops.sum(y_true, axis=-1) + ops.sum(y_pred, axis=-1) + 1.0)
    return loss


def quantile(K):
    ops = K.ops

    def loss(y_true, y_pred):
        e = y_true - y_pred
        return ops.mean(ops.maximum(0.9 * e, (0.9 - 1) * e), axis=-1)
    return loss


def huber_like(K):
    ops = K.ops

    def loss(y_true, y_pred):
        e = ops.abs(y_true - y_pred)
        return ops.mean(ops.where(e < 1.0, 0.5 * ops.square(e), e - 0.5), axis=-1)
    return loss


def cosine(K):
    ops = K.ops

    def loss(y_true, y_pred):
        a, b = ops.normalize(y_true, axis=-1), ops.normalize(y_pred, axis=-1)
        return 1 - ops.sum(a * b, axis=-1)
    return loss


def kl(K):
    ops = K.ops

    def loss(y_true, y_pred):
        t, p = ops.softmax(y_true, axis=-1), ops.softmax(y_pred, axis=-1)
        return ops.sum(t * (ops.log(t + 1e-7) - ops.log(p + 1e-7)), axis=-1)
    return loss


def masked_mse(K):
    ops = K.ops

    def loss(y_true, y_pred):
        there = ops.cast(ops.not_equal(y_true, 0.0), "float32")
        return ops.sum(there * ops.square(y_true - y_pred)) / ops.maximum(ops.sum(there), 1.0)
    return loss


def correlation(K):
    ops = K.ops

    def loss(y_true, y_pred):
        a = y_true - ops.mean(y_true, axis=0, keepdims=True)
        b = y_pred - ops.mean(y_pred, axis=0, keepdims=True)
        r = ops.sum(a * b, axis=0) / (ops.sqrt(ops.sum(a * a, axis=0) * ops.sum(b * b, axis=0)) + 1e-6)
        return 1 - ops.mean(r)
    return loss


def mixed(K):
    def loss(y_true, y_pred):
        squares, sizes = K.losses.mean_squared_error, K.losses.mean_absolute_error
        return squares(y_true, y_pred) + 0.3 * sizes(y_true, y_pred)
    return loss


def f1(K):
    ops = K.ops

    def metric(y_true, y_pred):
        hits = ops.round(ops.clip(y_pred, 0, 1))
        both = ops.sum(y_true * hits)
        precision = both / (ops.sum(hits) + 1e-7)
        recall = both / (ops.sum(y_true) + 1e-7)
        return 2 * precision * recall / (precision + recall + 1e-7)
    return metric


def r2(K):
    ops = K.ops

    def metric(y_true, y_pred):
        rest = ops.sum(ops.square(y_true - y_pred))
        return 1 - rest / (ops.sum(ops.square(y_true - ops.mean(y_true))) + 1e-7)
    return metric


def of_class(K):
    class Cubic(K.losses.Loss):
        def __init__(self, power=3.0, **kwargs):
            super().__init__(**kwargs)
            self.power = power

        def call(self, y_true, y_pred):
            return K.ops.mean(K.ops.abs(y_pred - y_true) ** self.power, axis=-1)
    return Cubic(reduction="sum")


BITS = {weighted_bce, focal, dice, f1}


def trained(K, model, x, y, weights, loss, metrics=(), **options):
    """The logs of two epochs, the weights after them, and predictions."""
    model.set_weights(weights)
    model.compile(K.optimizers.SGD(0.05), loss, metrics=list(metrics))
    logs = model.fit(x, y, batch_size=8, epochs=2, shuffle=False, verbose=0, **options).history
    return logs, model.get_weights(), model.predict(x, verbose=0)


def named(make, K):
    """A metric by the name of the function that makes it."""
    made = make(K)
    if not isinstance(made, K.metrics.Metric):
        made.__name__ = make.__name__
    return made


def beside(build, x, y, loss, metrics=(), tol=2e-5, **options):
    """Both libraries' results are equal."""
    models = [build(K) for K in (keras, tdfast)]
    shapes = [w.shape for w in models[0].get_weights()]
    assert [w.shape for w in models[1].get_weights()] == shapes
    weights = [RNG.normal(size=shape).astype("float32") * 0.4 for shape in shapes]
    found = [trained(K, m, x, y, weights, loss(K), [named(f, K) for f in metrics], **options)
             for K, m in zip((keras, tdfast), models)]
    (logs, after, outputs), (ours, ours_after, ours_outputs) = found
    assert set(logs) == set(ours)
    for name in logs:
        np.testing.assert_allclose(ours[name], logs[name], rtol=tol, atol=tol, err_msg=name)
    for a, b in zip(ours_after, after):
        np.testing.assert_allclose(a, b, rtol=20 * tol, atol=tol)
    np.testing.assert_allclose(ours_outputs, outputs, rtol=20 * tol, atol=5 * tol)


def dense(K, last="linear"):
    ops = K.ops
    return K.Sequential([
        K.Input((6,)),
        K.layers.Dense(5, activation=lambda x: x * ops.sigmoid(1.5 * x),
                       kernel_regularizer=lambda w: 0.01 * ops.sum(ops.abs(w))),
        K.layers.Dense(3, activation=last),
    ])


@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("loss", [rmse, rmse_of_the_batch, weighted_bce, focal, dice, quantile, huber_like,
                                  cosine, kl, masked_mse, correlation, mixed, of_class])
def test_losses(loss, weighted):
    y = (Y > 0).astype("float32") if loss in BITS else Y
    last = "sigmoid" if loss in BITS else "linear"
    options = {"sample_weight": np.linspace(0.5, 1.5, len(X))} if weighted else {}
    beside(lambda K: dense(K, last), X, y, loss, [rmse], **options)


@pytest.mark.parametrize("metric", [f1, r2, rmse, correlation, cosine])
def test_metrics(metric):
    y = (Y > 0).astype("float32") if metric in BITS else Y
    beside(lambda K: dense(K, "sigmoid" if metric in BITS else "linear"), X, y, rmse, [metric])


def test_a_loss_of_steps_with_a_mask():
    def build(K):
        return K.Sequential([K.Input((7, 4)), K.layers.Masking(), K.layers.LSTM(5, return_sequences=True),
                             K.layers.Dense(2)])
    beside(build, STEPS, RNG.normal(size=(20, 7, 2)).astype("float32"), rmse)


def test_a_metric_of_a_class():
    def metric(K):
        class Spread(K.metrics.Metric):
            def __init__(self, name="spread", **kwargs):
                super().__init__(name=name, **kwargs)
                self.total = self.add_weight(name="total", initializer="zeros")
                self.count = self.add_variable(shape=(), name="count", initializer="zeros")

            def update_state(self, y_true, y_pred, sample_weight=None):
                self.total.assign(self.total + K.ops.sum(K.ops.abs(y_true - y_pred)))
                self.count.assign_add(K.ops.cast(K.ops.shape(y_pred)[0], "float32"))

            def result(self):
                return self.total / self.count

            def reset_state(self):
                self.total.assign(0.0)
                self.count.assign(0.0)
        return Spread()
    beside(dense, X, Y, rmse, [metric])


# ---------------------------------------------------------------- layers, cells, models


def attention(K):
    ops, layers = K.ops, K.layers

    class Attention(layers.Layer):
        def __init__(self, units, **kwargs):
            super().__init__(**kwargs)
            self.units = units
            self.supports_masking = True
            self.projection = layers.Dense(units, activation="tanh")

        def build(self, input_shape):
            self.projection.build(input_shape)
            self.v = self.add_weight(shape=(self.units, 1), initializer="glorot_uniform", name="v")

        def call(self, x, mask=None, training=None):
            scores = ops.matmul(self.projection(x), self.v)
            if mask is not None:
                scores = scores - 1e9 * (1.0 - ops.cast(ops.expand_dims(mask, -1), "float32"))
            return ops.sum(ops.softmax(scores, axis=1) * x, axis=1)

        def compute_mask(self, inputs, mask=None):
            return None

    return K.Sequential([K.Input((7, 4)), K.layers.Masking(), layers.LSTM(5, return_sequences=True),
                         Attention(3), layers.Dense(2)])


def crf_like(K):
    """Scores of all paths through the steps, added up in logarithms step by step."""
    ops, layers = K.ops, K.layers

    class Paths(layers.Layer):
        def build(self, input_shape):
            n = input_shape[-1]
            self.transitions = self.add_weight(shape=(n, n), initializer="glorot_uniform", name="transitions")

        def call(self, x):
            score = x[:, 0]
            for t in range(1, x.shape[1]):
                score = ops.logsumexp(score[:, :, None] + self.transitions[None], axis=1) + x[:, t]
            return score - ops.logsumexp(score, axis=-1, keepdims=True)

    return K.Sequential([K.Input((7, 4)), layers.GRU(5, return_sequences=True), layers.Dense(2), Paths()])


def peephole(K):
    ops, layers = K.ops, K.layers

    @K.saving.register_keras_serializable("own", name=f"Peephole{K.__name__}")
    class Peephole(layers.Layer):
        def __init__(self, units, **kwargs):
            super().__init__(**kwargs)
            self.units, self.state_size, self.output_size = units, [units, units], units

        def build(self, input_shape):
            n = self.units
            self.kernel = self.add_weight(shape=(input_shape[-1], 4 * n), name="kernel")
            self.recurrent = self.add_weight(shape=(n, 4 * n), name="recurrent")
            self.peeps = self.add_weight(shape=(3, n), name="peeps")

        def call(self, inputs, states, training=False):
            h, c = states
            z = ops.matmul(inputs, self.kernel) + ops.matmul(h, self.recurrent)
            i, f, g, o = ops.split(z, 4, axis=-1)
            i, f = ops.sigmoid(i + self.peeps[0] * c), ops.sigmoid(f + self.peeps[1] * c)
            c = f * c + i * ops.tanh(g)
            h = ops.sigmoid(o + self.peeps[2] * c) * ops.tanh(c)
            return h, [h, c]

        def get_config(self):
            return {**super().get_config(), "units": self.units}

    return K.Sequential([
        K.Input((7, 4)), layers.Masking(),
        layers.Bidirectional(layers.RNN(Peephole(4), return_sequences=True)),
        layers.RNN([Peephole(3), layers.GRUCell(4)]), layers.Lambda(lambda x: x * 2 + ops.mean(x)),
        layers.Dense(2)])


def variational(K):
    """An autoencoder with add_loss; its noise is of the input, so that both libraries have the same."""
    ops, layers = K.ops, K.layers

    class Sampling(layers.Layer):
        def call(self, inputs):
            mean, log_var, noise = inputs
            apart = 1 + log_var - ops.square(mean) - ops.exp(log_var)
            self.add_loss(-0.05 * ops.mean(ops.sum(apart, axis=-1)))
            return mean + ops.exp(0.5 * log_var) * noise

    x = K.Input((6,))
    hidden = layers.Dense(5, activation="relu")(x)
    z = Sampling()([layers.Dense(2)(hidden), layers.Dense(2)(hidden), x[:, :2]])
    return K.Model(x, layers.Dense(3)(z))


def residual(K):
    ops, layers = K.ops, K.layers

    class Residual(K.Model):
        def __init__(self, units, blocks):
            super().__init__()
            self.first = layers.Dense(units)
            self.blocks = [layers.Dense(units, activation="relu") for _ in range(blocks)]
            self.norms = [layers.LayerNormalization() for _ in range(blocks)]
            self.last = layers.Dense(3)

        def call(self, x, training=None):
            x = self.first(x)
            for block, norm in zip(self.blocks, self.norms):
                x = x + block(norm(x))
            return self.last(ops.tanh(x))

    model = Residual(5, 2)
    model(X[:1])
    return model


def asks_for_training(K):
    class Asks(K.Model):
        def __init__(self):
            super().__init__()
            self.dense, self.last = K.layers.Dense(4), K.layers.Dense(3)

        def call(self, x, training=None):
            x = self.dense(x)
            if training:
                x = x * 1.5
            return self.last(x)

    model = Asks()
    model(X[:1])
    return model


def of_super(K):
    class Scaled(K.layers.Dense):
        def build(self, input_shape):
            super().build(input_shape)
            self.scale = self.add_weight(shape=(self.units,), initializer="ones", name="scale")

        def call(self, inputs):
            return self.scale * super().call(inputs)

    return K.Sequential([K.Input((6,)), Scaled(4, activation="relu"), K.layers.Dense(3)])


def own_variables(K):
    """Weights that are Variables among the attributes, and add_weight with Keras's keywords."""
    def soft(x):
        return x * K.ops.sigmoid(2.0 * x)

    class Scaled(K.layers.Layer):
        def __init__(self, units, activation=None, **kwargs):
            super().__init__(**kwargs)
            self.activation = K.activations.get(activation)
            self.scale = K.Variable(np.full(units, 1.5, "float32"), name="scale")
            self.fixed = K.Variable(np.ones(units, "float32"), trainable=False)
            self.inner = K.Sequential([K.layers.Dense(units, activation="tanh"), K.layers.Dense(units)])

        def build(self, input_shape):
            self.shift = self.add_weight(shape=(input_shape[-1],), initializer=None, dtype="float32")
            self.times = self.add_weight(initializer="ones", autocast=True, aggregation="none", name="times")

        def call(self, x):
            return self.activation(self.inner(x + self.shift) * self.scale * self.fixed * self.times)

    return K.Sequential([K.Input((6,)), Scaled(4, soft), K.layers.Dense(3)])


def tracked_loss(K):
    class Tracked(K.Model):
        def __init__(self, *args, **kwargs):
            super().__init__(*args, **kwargs)
            self.tracker = K.metrics.Mean(name="loss")

        def compute_loss(self, x=None, y=None, y_pred=None, sample_weight=None, training=True):
            loss = K.ops.mean(K.ops.square(y_pred - y)) + sum(self.losses)
            self.tracker.update_state(loss)
            return loss

        @property
        def metrics(self):
            return [self.tracker]

    x = K.Input((6,))
    return Tracked(x, K.layers.Dense(3, kernel_regularizer="l2")(x))


def wrapper(K):
    class Twice(K.layers.Wrapper):
        def call(self, inputs):
            return self.layer(inputs) + self.layer(2 * inputs)

        def compute_output_shape(self, input_shape):
            return self.layer.compute_output_shape(input_shape)

    return K.Sequential([K.Input((6,)), Twice(K.layers.Dense(4, activation="tanh")), K.layers.Dense(3)])


@pytest.mark.parametrize("build", [attention, crf_like, peephole])
def test_layers_and_cells_of_steps(build):
    y = RNG.normal(size=(len(STEPS), 2)).astype("float32")
    beside(build, STEPS, y, rmse, tol=5e-5)


@pytest.mark.parametrize("build", [variational, residual, asks_for_training, of_super, own_variables,
                                   wrapper])
def test_layers_and_models(build):
    beside(build, X, Y, lambda K: "mse", [rmse], tol=5e-5)


def test_compute_loss_that_tells_a_metric():
    beside(tracked_loss, X, Y, lambda K: "mse", tol=5e-5)


def test_a_graph_where_that_works_and_python_where_it_does_not():
    assert residual(tdfast).runs_in_python is None
    assert "training" in asks_for_training(tdfast).runs_in_python


def anchored(K, activation, several):
    """A layer that adds a loss, alone or beside an output with a loss of its own."""
    class Anchored(K.layers.Layer):
        def __init__(self, **kwargs):
            super().__init__(**kwargs)
            self.dense = K.layers.Dense(3)

        def call(self, x):
            y = self.dense(x)
            self.add_loss(0.1 * K.ops.sum(K.ops.square(y - 1.0)))
            return y

    x = K.Input((6,))
    hidden = getattr(K.activations, activation)(K.layers.Dense(5)(x))
    outputs = {"a": Anchored(name="a")(hidden)}
    if several:
        outputs["b"] = K.layers.Dense(3, name="b")(hidden)
    return K.Model(x, outputs)


@pytest.mark.parametrize("activation, several", [("tanh", False), ("relu", True)])
def test_add_loss_without_a_loss_of_that_output(activation, several):
    found = []
    for K in (keras, tdfast):
        model = anchored(K, activation, several)
        rng = np.random.default_rng(5)
        model.set_weights([rng.normal(size=w.shape) * 0.4 for w in model.get_weights()])
        model.compile(K.optimizers.SGD(0.05), {"b": "mse"} if several else None)
        logs = model.fit(X, {"b": Y} if several else None, batch_size=8, epochs=2, shuffle=False, verbose=0)
        found.append((logs.history["loss"], model.get_weights()))
    np.testing.assert_allclose(found[1][0], found[0][0], rtol=2e-5)
    for a, b in zip(found[1][1], found[0][1]):
        np.testing.assert_allclose(a, b, rtol=1e-3, atol=2e-5)


def test_a_model_without_any_loss_is_refused():
    layers = tdfast.layers
    model = tdfast.Sequential([tdfast.Input((6,)), layers.Lambda(lambda x: 2 * x), layers.Dense(3)])
    model.compile("sgd")
    with pytest.raises(ValueError, match="nothing to make small"):
        model.fit(X, Y, verbose=0)
