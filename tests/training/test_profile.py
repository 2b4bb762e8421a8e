"""model.profile: what it measures, how it is told, and that nothing is another afterwards."""

import random

import numpy as np
import pytest

import tdfast
from tdfast import callbacks, layers, losses, optimizers
from tdfast.training.profile import runs_in


class Mine(layers.Layer):
    """A layer of one's own."""

    def forward(self, x, tape, training=False, mask=None):
        tape.push(self).x = x
        return np.tanh(x)

    def backward(self, dy, tape, need_dx=True):
        return dy * (1 - np.tanh(tape.pop(self).x) ** 2)


RNG = np.random.default_rng(0)
X, Y = RNG.normal(size=(40, 6, 3)).astype("f"), RNG.normal(size=(40, 2)).astype("f")


def sequential():
    return tdfast.Sequential([
        layers.Input((6, 3)), layers.LSTM(4, return_sequences=True, name="lstm"), layers.BatchNormalization(),
        layers.Dropout(0.3, name="drop"), Mine(name="mine"), layers.GRU(3, name="gru"),
        layers.Dense(2, name="out"),
    ])


def nested():
    inner = tdfast.Sequential([layers.Input((6, 3)), layers.GRU(4, return_sequences=True, name="gru"),
                               layers.Dropout(0.2, name="drop")], name="inner")
    x = layers.Input((6, 3))
    shared = layers.Dense(4, name="shared")
    h = inner(x)
    h = shared(shared(h)) + h
    h = layers.TimeDistributed(Mine(), name="each")(h)
    return tdfast.Model(x, layers.Dense(2, name="out")(layers.GlobalAveragePooling1D(name="pool")(h)))


def compiled(make=sequential, optimizer=None):
    tdfast.utils.set_random_seed(3)
    model = make()
    model.compile(optimizer or optimizers.Adam(0.01), "mse", metrics=["mae"])
    return model


def everything(model):
    optimizer = model.optimizer
    return (
        [w.numpy().tobytes() for w in model.weights],
        [v.numpy().tobytes() for v in optimizer.variables], optimizer.built, optimizer.steps,
        sorted(vars(optimizer)),
        [metric.get_state() for metric in model.metrics], model.metrics_names,
        str(tdfast.random.generator().bit_generator.state), np.random.get_state()[1].tobytes(),
        random.getstate(),
        [seed.state.tobytes() for layer in model.walk() for seed in vars(layer).values()
         if isinstance(seed, tdfast.random.SeedGenerator)],
        [sorted(vars(layer)) for layer in model.walk()],
    )


def test_rows_of_a_sequential_model():
    profile = compiled().profile(X, Y, batch_size=8, steps=3)
    assert [(row.name, row.kind) for row in profile.rows if row.kind != "BatchNormalization"] == [
        ("lstm", "LSTM"), ("drop", "Dropout"), ("mine", "Mine"), ("gru", "GRU"), ("out", "Dense"),
        ("loss", "MeanSquaredError"), ("metrics", "MeanAbsoluteError"), ("optimizer", "Adam"), ("data", ""),
        ("rest", "")]
    assert profile["lstm"].output_shape == (None, 6, 4) and profile["gru"].output_shape == (None, 3)
    assert profile.steps == 3 and profile.samples == 8 and not profile.note
    for row in profile.rows:
        assert 0 <= row.share <= 1 and row.ms >= 0 and row.calls in (1, None)
        if row.forward_ms is not None:
            assert row.ms == pytest.approx(row.forward_ms + row.backward_ms) and row.predict_ms >= 0
    assert sum(row.share for row in profile.rows) == pytest.approx(1)
    assert sum(row.ms for row in profile.rows) == pytest.approx(profile.step_ms)
    assert [row.name for row in profile.rows if row.runs_in == "Python (yours)"] == ["mine"]
    assert profile["lstm"].runs_in == profile["optimizer"].runs_in == "kernel"


def test_rows_of_a_graph():
    """Layers within a model have its name; a layer that is called twice has one row."""
    profile = compiled(nested).profile(X, Y, steps=2)
    names = [row.name for row in profile.rows]
    assert {"inner/gru", "inner/drop", "shared", "each", "pool", "out"} < set(names) and "inner" not in names
    assert profile["shared"].calls == 2 and profile["out"].calls == 1
    assert profile["each"].runs_in == "Python (yours)" and profile["shared"].runs_in == "kernel"
    assert next(row for row in profile.rows if row.kind == "Add").runs_in == "NumPy"


def test_the_table():
    profile = compiled().profile(X, Y, batch_size=8, steps=1)
    head, titles, rule, *lines = str(profile).splitlines()
    assert head.startswith("Model 'sequential") and "training step" in head and "8 samples" in head
    assert titles.split("  ")[0] == "name" and set(rule) == {"-"} and len(lines) == len(profile.rows)
    assert [line.split()[0] for line in lines] == [row.name for row in profile.rows]
    assert "Python (yours)" in lines[3] and all(len(line) <= len(rule) for line in lines)
    told = profile.to_dict()
    assert told["step_ms"] == profile.step_ms and told["rows"][0]["kind"] == "LSTM"
    assert "'kind': 'LSTM'" in repr(profile.rows[0])
    with pytest.raises(KeyError, match="no row 'lst'; it has lstm"):
        profile["lst"]


@pytest.mark.parametrize("trained", [False, True])
@pytest.mark.parametrize("make", [sequential, nested])
@pytest.mark.parametrize("optimizer", [
    lambda: optimizers.Nadam(0.01, use_ema=True), lambda: optimizers.Muon(0.01),
    lambda: optimizers.MultiOptimizer(optimizers.OptimizerMap(
        optimizers.SGD(0.1), {".*gru/.*": optimizers.Adam(gradient_accumulation_steps=2)}))])
def test_all_is_as_it_was(make, optimizer, trained):
    model, twin = compiled(make, optimizer()), None
    if trained:
        model.fit(X, Y, epochs=1, verbose=0)
    before = everything(model)
    model.profile(X, Y, steps=2)
    assert everything(model) == before
    tdfast.utils.set_random_seed(5)
    history = model.fit(X, Y, epochs=2, verbose=0).history
    twin = compiled(make, optimizer())
    if trained:
        twin.fit(X, Y, epochs=1, verbose=0)
    tdfast.utils.set_random_seed(5)
    assert twin.fit(X, Y, epochs=2, verbose=0).history == history
    assert all((a == b).all() for a, b in zip(model.get_weights(), twin.get_weights()))


def test_within_a_fit():
    class Look(callbacks.Callback):
        def on_epoch_end(self, epoch, logs=None):
            self.model.profile(X, Y, steps=1)

        def on_train_batch_end(self, batch, logs=None):
            if batch == 1:
                self.model.profile(X[:8], Y[:8], batch_size=4, steps=1)

    plain, looked = compiled(), compiled()
    tdfast.utils.set_random_seed(1)
    want = plain.fit(X, Y, batch_size=8, epochs=3, verbose=0).history
    tdfast.utils.set_random_seed(1)
    assert looked.fit(X, Y, batch_size=8, epochs=3, verbose=0, callbacks=[Look()]).history == want
    assert all((a == b).all() for a, b in zip(plain.get_weights(), looked.get_weights()))


def test_states_of_layers_stay():
    model = tdfast.Sequential([layers.Input(batch_shape=(4, 6, 3)),
                               layers.LSTM(2, stateful=True, name="lstm")])
    model.compile("sgd", "mse")
    model.fit(X[:8], Y[:8], batch_size=4, verbose=0, shuffle=False)
    before = [np.array(state) for state in model.get_layer("lstm").states]
    model.profile(X[:8], Y[:8], batch_size=4, steps=2)
    assert all((a == b).all() for a, b in zip(before, model.get_layer("lstm").states))


def test_a_model_that_is_not_compiled():
    model = sequential()
    profile = model.profile(X, steps=2)
    assert profile.step_ms is None and "not compiled" in profile.note and "not compiled" in str(profile)
    assert profile["lstm"].ms is profile["lstm"].forward_ms is None and profile["lstm"].predict_ms > 0
    assert [row.name for row in profile.rows][-2:] == ["out", "rest"]
    assert sum(row.share for row in profile.rows) == pytest.approx(1)
    model.compile("sgd")
    assert "no loss" in model.profile(X, steps=1).note


def test_a_model_with_a_step_of_its_own():
    class Own(tdfast.Model):
        def __init__(self):
            super().__init__()
            self.gru, self.out = layers.GRU(4), layers.Dense(1)
            self.seen = tdfast.metrics.Mean(name="loss")

        def call(self, x, training=False):
            return self.out(self.gru(x))

        def train_step(self, data):
            x, y = data

            def loss_of():
                return tdfast.ops.mean(tdfast.ops.square(self(x, training=True) - y))

            loss, gradients = tdfast.ops.value_and_grad(loss_of, self.trainable_variables)()
            self.optimizer.apply(gradients, self.trainable_variables)
            self.seen.update_state(loss)
            return {"loss": self.seen.result()}

    model = Own()
    model.compile("adam")
    model.fit(X, Y[:, :1], verbose=0)
    before = everything(model), model.seen.get_state()
    profile = model.profile(X, Y[:, :1], batch_size=8, steps=2)
    assert (everything(model), model.seen.get_state()) == before
    assert [row.kind for row in profile.rows][:2] == ["GRU", "Dense"] and profile.rows[0].backward_ms > 0
    assert profile["rest"].runs_in == "Python (yours)" and profile["optimizer"].calls == 1
    assert sum(row.share for row in profile.rows) == pytest.approx(1)


def test_several_outputs_and_streams():
    x = layers.Input((6, 3))
    h = layers.GRU(3)(x)
    model = tdfast.Model(x, [layers.Dense(2, name="a")(h), layers.Dense(1, name="b")(h)])
    model.compile("sgd", ["mse", losses.Huber()], metrics=[["mae"], ["mse"]])
    batches = [(X[:4], [Y[:4], Y[:4, :1]])] * 8
    profile = model.profile(iter(batches), steps=3)
    assert profile["loss"].kind == "MeanSquaredError, Huber" and profile.samples == 4
    with pytest.raises(ValueError, match="ended too early: it takes 8 batches with steps=3"):
        model.profile(iter(batches[:5]), steps=3)
    assert "forward" not in vars(model.layers[1])


@pytest.mark.parametrize("arguments, message", [
    ({"steps": 0}, "steps must be at least 1"), ({"steps": 1.5}, "profile: steps must be a whole number"),
    ({"y": Y[:3]}, "profile"), ({"y": None}, "profile"),
])
def test_mistakes(arguments, message):
    with pytest.raises(ValueError, match=message):
        compiled().profile(**{"x": X, "y": Y, **arguments})


def test_errors_leave_all_as_it_was():
    class Broken(Mine):
        def backward(self, dy, tape, need_dx=True):
            raise RuntimeError("broken")

    model = compiled(lambda: tdfast.Sequential([layers.Input((6, 3)), layers.GRU(2), Broken(name="broken")]))
    before = everything(model)
    with pytest.raises(RuntimeError, match="broken"):
        model.profile(X, Y, steps=1)
    assert everything(model) == before


def test_where_code_runs():
    def of_ones_own(y_true, y_pred):
        return np.mean((y_true - y_pred) ** 2, axis=-1)

    class Plain(optimizers.Optimizer):
        def update_step(self, gradient, variable, learning_rate):
            self.assign_sub(variable, learning_rate * gradient)

    model = sequential()
    model.compile(Plain(0.1), "mse", metrics=[of_ones_own])
    profile = model.profile(X, Y, steps=1)
    assert profile["optimizer"].runs_in == profile["metrics"].runs_in == "Python (yours)"
    assert profile["loss"].runs_in == "kernel"
    assert runs_in(layers.Bidirectional(layers.LSTM(2))) == "kernel"
    assert runs_in(layers.Flatten()) == "NumPy"
    square = tdfast.activations.Function(lambda x: x * x, lambda x: 2 * x)
    for layer in (layers.Dense(2, activation=square), layers.Activation(square),
                  layers.TimeDistributed(layers.Dense(2, activation=square))):
        assert runs_in(layer) == "Python (yours)"
