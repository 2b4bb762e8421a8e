"""Classes with a train_step, test_step, predict_step, compute_loss or compute_metrics of their own."""

import numpy as np
import pytest

from tdfast import Input, Model, Sequential, callbacks, layers, losses, metrics, ops, optimizers

RNG = np.random.default_rng(9)
X = RNG.normal(size=(21, 5)).astype("float32")
Y = RNG.normal(size=(21, 3)).astype("float32")


def parts():
    x = Input((5,))
    return x, layers.Dense(3)(layers.Dense(6, activation="tanh")(x))


class ByHand(Model):
    """The steps that fit takes, written out."""

    def train_step(self, data):
        x, y = data[:2]
        weight = data[2] if len(data) > 2 else None

        def loss_of():
            y_pred = self(x, training=True)
            return self.compute_loss(x=x, y=y, y_pred=y_pred, sample_weight=weight), y_pred

        variables = self.trainable_variables
        (loss, y_pred), gradients = ops.value_and_grad(loss_of, variables, has_aux=True)()
        self.optimizer.apply(gradients, variables)
        for metric in self.metrics:
            if metric.name == "loss":
                metric.update_state(loss)
            else:
                metric.update_state(y, y_pred, sample_weight=weight)
        return {m.name: m.result() for m in self.metrics}


class OfSuper(Model):
    def train_step(self, data):
        return super().train_step(data)

    def test_step(self, data):
        return super().test_step(data)


class OwnLoss(Model):
    def compute_loss(self, x=None, y=None, y_pred=None, sample_weight=None, training=True):
        return ops.mean(ops.square(y - y_pred))


def alike(cls, weights=None, **compiled):
    model = cls(*parts())
    if weights is not None:
        model.set_weights(weights)
    model.compile("adam", **{"loss": "mse", "metrics": ["mae"], **compiled})
    return model


@pytest.mark.parametrize("cls", [OfSuper, OwnLoss])
@pytest.mark.parametrize("size", [7, 8])
def test_equal_steps_give_what_fit_gives(cls, size):
    plain = alike(Model)
    own = alike(cls, plain.get_weights())
    options = dict(batch_size=size, epochs=3, shuffle=False, verbose=0, validation_data=(X[:5], Y[:5]))
    want, got = (m.fit(X, Y, **options).history for m in (plain, own))
    assert list(want) == list(got) == ["loss", "mae", "val_loss", "val_mae"]
    for name in want:
        np.testing.assert_allclose(got[name], want[name], rtol=1e-4, err_msg=name)
    for a, b in zip(own.get_weights(), plain.get_weights()):
        np.testing.assert_allclose(a, b, rtol=1e-3, atol=1e-5)
    np.testing.assert_allclose(own.predict(X, verbose=0), plain.predict(X, verbose=0), rtol=1e-3, atol=1e-5)
    np.testing.assert_allclose(own.evaluate(X, Y, verbose=0), plain.evaluate(X, Y, verbose=0), rtol=1e-3)


def test_a_step_by_hand():
    plain = alike(Model)
    own = alike(ByHand, plain.get_weights())
    options = dict(batch_size=7, epochs=2, shuffle=False, verbose=0)
    want, got = (m.fit(X, Y, **options).history for m in (plain, own))
    np.testing.assert_allclose(got["loss"], want["loss"], rtol=1e-4)
    for a, b in zip(own.get_weights(), plain.get_weights()):
        np.testing.assert_allclose(a, b, rtol=1e-3, atol=1e-5)


def test_weights_of_samples_and_of_classes():
    plain = alike(Model)
    own = alike(OfSuper, plain.get_weights())
    weight = RNG.uniform(0.5, 2, size=21)
    options = dict(batch_size=7, epochs=2, shuffle=False, verbose=0, sample_weight=weight)
    want, got = (m.fit(X, Y, **options).history for m in (plain, own))
    for name in want:
        np.testing.assert_allclose(got[name], want[name], rtol=1e-4, err_msg=name)


class Tracked(Model):
    """A metric of its own, logged under another name."""

    def __init__(self, *args, **kwargs):
        super().__init__(*args, **kwargs)
        self.mine = metrics.Mean(name="mine")
        self.seen = []

    @property
    def metrics(self):
        return [self.mine]

    def train_step(self, data):
        x, y = data
        self.seen.append(len(x))
        self.mine.update_state(ops.mean(ops.square(self(x, training=True) - y)))
        return {"squares": self.mine.result(), "rows": len(x)}

    def test_step(self, data):
        x, y = data
        self.mine.update_state(7.0)
        return {"seven": self.mine.result()}


def test_metrics_begin_anew_each_epoch_and_callbacks_see_the_logs():
    model = Tracked(*parts())
    model.compile("sgd", "mse")
    epochs, batches = [], []
    watch = callbacks.LambdaCallback(
        on_epoch_end=lambda epoch, logs: epochs.append(dict(logs)),
        on_train_batch_end=lambda batch, logs: batches.append(dict(logs)),
    )
    history = model.fit(
        X,
        Y,
        batch_size=8,
        epochs=2,
        verbose=0,
        callbacks=[watch],
        shuffle=False,
        validation_data=(X[:4], Y[:4]),
    ).history
    want = np.mean([np.mean((model(X[i : i + 8]) - Y[i : i + 8]) ** 2) for i in (0, 8, 16)])
    np.testing.assert_allclose(history["squares"], [want, want], rtol=1e-4)
    assert history["rows"] == [5.0, 5.0] and history["val_seven"] == [7.0, 7.0]
    assert set(epochs[0]) == {"squares", "rows", "val_seven"} and len(batches) == 6
    assert batches[0]["rows"] == 8 and model.seen == [8, 8, 5] * 2
    assert model.evaluate(X, Y, verbose=0, return_dict=True) == {"seven": 7.0}


def test_early_stopping_by_a_name_of_its_own():
    model = Tracked(*parts())
    model.compile("sgd", "mse")
    stop = callbacks.EarlyStopping("squares", mode="min", patience=1)
    assert len(model.fit(X, Y, epochs=9, verbose=0, callbacks=[stop], shuffle=False).history["squares"]) <= 3


def test_a_predict_step():
    class Doubled(Model):
        def predict_step(self, data):
            return 2 * super().predict_step(data)

    model = Doubled(*parts())
    np.testing.assert_allclose(model.predict(X, batch_size=4, verbose=0), 2 * model(X), rtol=1e-5, atol=1e-6)


def test_compute_metrics():
    class Counted(Model):
        def compute_metrics(self, x, y, y_pred, sample_weight=None):
            logs = super().compute_metrics(x, y, y_pred, sample_weight)
            return {**logs, "top": float(np.max(y_pred))}

    model = alike(Counted)
    logs = model.fit(X, Y, batch_size=7, epochs=1, verbose=0).history
    assert list(logs) == ["loss", "mae", "top"]
    np.testing.assert_allclose(
        model.evaluate(X, Y, verbose=0, return_dict=True)["top"], model(X).max(), rtol=1e-5
    )


class Gan(Model):
    """Two networks against each other, each with an optimizer."""

    def __init__(self):
        super().__init__()
        self.generator = Sequential([Input((4,)), layers.Dense(6, activation="tanh"), layers.Dense(5)])
        self.judge = Sequential([Input((5,)), layers.Dense(6, activation="relu"), layers.Dense(1)])

    def compile(self, g_optimizer, d_optimizer, loss_fn):
        super().compile()
        self.g_optimizer, self.d_optimizer, self.loss_fn = g_optimizer, d_optimizer, loss_fn

    def train_step(self, real):
        if isinstance(real, tuple):
            real = real[0]
        rows = ops.shape(real)[0]
        noise = RNG.normal(size=(rows, 4)).astype("float32")
        labels = ops.concatenate([ops.ones((rows, 1)), ops.zeros((rows, 1))], axis=0)

        def judged():
            both = ops.concatenate([self.generator(noise), real], axis=0)
            return self.loss_fn(labels, self.judge(both))

        d_loss, gradients = ops.value_and_grad(judged, self.judge.trainable_weights)()
        self.d_optimizer.apply(gradients, self.judge.trainable_weights)

        def fooled():
            return self.loss_fn(ops.zeros((rows, 1)), self.judge(self.generator(noise)))

        g_loss, gradients = ops.value_and_grad(fooled, self.generator.trainable_weights)()
        self.g_optimizer.apply(gradients, self.generator.trainable_weights)
        return {"d_loss": d_loss, "g_loss": g_loss}


def test_several_optimizers():
    model = Gan()
    before = model.generator.get_weights() + model.judge.get_weights()
    model.compile(optimizers.Adam(0.01), optimizers.SGD(0.1), losses.BinaryCrossentropy(from_logits=True))
    logs = model.fit(X, batch_size=7, epochs=2, verbose=0).history
    assert list(logs) == ["d_loss", "g_loss"] and np.isfinite(logs["g_loss"]).all()
    after = model.generator.get_weights() + model.judge.get_weights()
    assert all(np.any(a != b) for a, b in zip(before, after))
    assert model.g_optimizer.iterations == model.d_optimizer.iterations == 6


def test_dicts_and_generators():
    seen = []

    class Noting(Model):
        def __init__(self):
            super().__init__()
            self.dense = layers.Dense(3)

        def call(self, inputs):
            return self.dense(inputs["a"]) * inputs["b"]

        def train_step(self, data):
            x, y = data
            seen.append((sorted(x), x["a"].shape, y.shape))
            return super().train_step(data)

    x = {"a": X, "b": np.ones((21, 1), "float32")}
    model = Noting()
    model.compile("sgd", "mse")
    model.fit(x, Y, batch_size=20, verbose=0, shuffle=False)
    assert seen == [(["a", "b"], (20, 5), (20, 3)), (["a", "b"], (1, 5), (1, 3))]

    def batches():
        while True:
            yield {"a": X[:4], "b": np.ones((4, 1), "float32")}, Y[:4]

    seen.clear()
    model.fit(batches(), steps_per_epoch=3, epochs=2, verbose=0)
    assert len(seen) == 6 and seen[0][1] == (4, 5)


def test_losses_of_layers_count():
    class Added(layers.Layer):
        def call(self, x):
            self.add_loss(0.1 * ops.sum(ops.square(x)))
            return x

    def make(cls):
        x = Input((5,))
        return cls(x, layers.Dense(3)(Added()(layers.Dense(4, kernel_regularizer="l2")(x))))

    plain, own = make(Model), make(OfSuper)
    own.set_weights(plain.get_weights())
    for model in (plain, own):
        model.compile("sgd", "mse")
    want, got = (
        m.fit(X, Y, batch_size=7, epochs=2, shuffle=False, verbose=0).history["loss"] for m in (plain, own)
    )
    np.testing.assert_allclose(got, want, rtol=1e-4)
    for a, b in zip(own.get_weights(), plain.get_weights()):
        np.testing.assert_allclose(a, b, rtol=1e-3, atol=1e-5)


def test_train_on_batch():
    plain = alike(Model)
    own = alike(OfSuper, plain.get_weights())
    want, got = (m.train_on_batch(X, Y, return_dict=True) for m in (plain, own))
    assert set(want) == set(got)
    np.testing.assert_allclose(got["loss"], want["loss"], rtol=1e-5)
    want, got = (m.test_on_batch(X, Y, return_dict=True) for m in (plain, own))
    np.testing.assert_allclose(got["loss"], want["loss"], rtol=1e-4)


def test_backup_and_restore(tmp_path):
    plain = alike(OfSuper)
    weights = plain.get_weights()
    options = dict(batch_size=7, verbose=0, shuffle=False)
    want = plain.fit(X, Y, epochs=4, **options).history["loss"]

    class Killed(Exception):
        pass

    def kill(epoch, logs):
        if epoch == 2:
            raise Killed

    first = alike(OfSuper, weights)
    backup = tmp_path / "backup"
    with pytest.raises(Killed):
        first.fit(
            X,
            Y,
            epochs=4,
            callbacks=[callbacks.BackupAndRestore(backup), callbacks.LambdaCallback(on_epoch_begin=kill)],
            **options,
        )
    second = alike(OfSuper, weights)
    got = second.fit(X, Y, epochs=4, callbacks=[callbacks.BackupAndRestore(backup)], **options).history[
        "loss"
    ]
    np.testing.assert_allclose(got[-2:], want[-2:], rtol=1e-5)
    for a, b in zip(second.get_weights(), plain.get_weights()):
        np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-7)
