"""What a user writes: mypy finds no error here, and the types that are asserted.

tests/house/test_typing.py runs it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

import tdfast
from tdfast import callbacks, layers, losses, metrics, models, ops, optimizers
from tdfast.engine.tape import Tape
from tdfast.layers import LSTM, Dense, TimeDistributed

if TYPE_CHECKING:
    from typing import assert_type
else:
    def assert_type(value, kind):
        return value


# ---------------------------------------------------------------- the README's program
x = np.random.random((40, 20, 3))
y = np.cumsum(x.sum(axis=-1, keepdims=True), axis=1) / 10

model = tdfast.Sequential([
    LSTM(16, return_sequences=True, input_shape=(20, 3)),
    TimeDistributed(Dense(1)),
])
model.compile(optimizer="adam", loss="mse")
history = model.fit(x, y, epochs=1, validation_split=0.1, verbose=0)
assert_type(model, models.Sequential)
assert_type(history, callbacks.History)
assert model.predict(x[:2], verbose=0).shape == (2, 20, 1)


# ---------------------------------------------------------------- many small models
fleet = tdfast.fleet.fit(model, {"north": (x, y), ("south", 2): (x, y)}, epochs=1, validation=0.2, seed=0)
assert_type(fleet, tdfast.fleet.Fleet)
assert_type(fleet.seed_of("north"), int)
assert fleet["north"].predict(x[:2], verbose=0).shape == fleet.predict({"north": x[:2]})["north"].shape
assert len(fleet.history["loss"]) == 2 and not fleet.failed


# ---------------------------------------------------------------- a loop of one's own, where the time goes
loop = optimizers.MultiOptimizer(
    optimizers.OptimizerMap(optimizers.SGD(0.1), {".*bias": optimizers.Muon(0.1)}))
loop.apply([np.zeros(w.shape) for w in model.trainable_variables], model.trainable_variables)
weight = model.trainable_variables[0]
weight.assign_sub(0.1 * weight - weight * 0.1)
profile = model.profile(x, y, steps=1)
assert profile.rows[0].share < 1 and profile["rest"].ms is not None


# ---------------------------------------------------------------- one's own layer, loss and callback
class Scale(layers.Layer):
    """y = s x with one weight."""

    def __init__(self, start: float = 1.0, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.start = start

    def build(self, input_shape: tuple[int | None, ...]) -> None:
        self.s = self.add_weight((1,), tdfast.initializers.Constant(self.start), "s")

    def forward(self, x: npt.NDArray[Any], tape: Tape, training: bool = False,
                mask: Any = None) -> npt.NDArray[Any]:
        tape.push(self).x = x
        return x * self.s.value

    def backward(self, dy: npt.NDArray[Any], tape: Tape, need_dx: bool = True) -> npt.NDArray[Any]:
        self.s.grad[...] = np.sum(dy * tape.pop(self).x)
        return dy * self.s.value

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "start": self.start}


class Quartic(losses.Loss):
    """mean (p - y)^4"""

    def call(self, y_true: npt.NDArray[Any], y_pred: npt.NDArray[Any]) -> npt.NDArray[Any]:
        return np.mean((y_pred - y_true) ** 4, axis=-1)

    def gradient(self, y_true: npt.NDArray[Any], y_pred: npt.NDArray[Any]) -> npt.NDArray[Any]:
        return 4 * (y_pred - y_true) ** 3 / y_pred.shape[-1]


class Largest(callbacks.Callback):
    """The largest loss of an epoch."""

    largest = 0.0

    def on_epoch_end(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        self.largest = max(self.largest, (logs or {}).get("loss", 0.0))


scale = Scale(2.0, name="scale")
assert_type(scale.s if scale.built else None, "tdfast.Variable | None")
largest = Largest()
model = tdfast.Sequential([scale, layers.Dense(1, activation="relu", kernel_regularizer="l2")])
model.compile(optimizers.Adam(learning_rate=1e-3, clipnorm=1.0), loss=Quartic(),
              metrics=["mae", metrics.RootMeanSquaredError()])
stop = callbacks.EarlyStopping(monitor="loss", patience=2)
assert_type(model.fit(x, y, batch_size=8, verbose=0, callbacks=[largest, stop]).history["loss"][0], Any)
assert_type(model.get_weights(), "list[npt.NDArray[Any]]")
assert_type(model.count_params(), int)
assert_type(model.summary(print_fn=lambda line: None), None)
assert_type(scale.weights, "list[tdfast.Variable]")
assert_type(scale.s.numpy(), "npt.NDArray[Any]")
assert_type(scale.s.trainable, bool)


# ---------------------------------------------------------------- a graph
past, static = tdfast.Input((6, 3)), tdfast.Input((4,))
joined = layers.Concatenate()([layers.GRU(5)(past), static])
graph = tdfast.Model([past, static], layers.Dense(2)(joined - ops.mean(joined, axis=-1, keepdims=True)))
graph.compile("rmsprop", losses.Huber(delta=0.5))
graph.fit([np.zeros((5, 6, 3)), np.zeros((5, 4))], np.zeros((5, 2)), verbose=0)
assert graph.predict([np.zeros((5, 6, 3)), np.zeros((5, 4))], verbose=0).shape == (5, 2)


# ---------------------------------------------------------------- functions and objects
assert_type(tdfast.activations.relu([-1.0, 2.0]), "npt.NDArray[Any]")
assert_type(tdfast.activations.get("relu").name, Any)
assert_type(losses.Huber().get_config(), "dict[str, Any]")
assert_type(tdfast.get_num_threads(), int)
assert_type(tdfast.version(), str)
assert_type(tdfast.initializers.GlorotUniform(seed=1)((2, 3)), "npt.NDArray[Any]")
assert_type(tdfast.regularizers.L2(0.5)(np.ones(3)), float)
