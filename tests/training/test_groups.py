"""steps_per_execution: callbacks are told of several batches at once, and no number changes."""

import copy
import pickle

import numpy as np
import pytest

import tdfast
from tdfast import callbacks, layers


class Told(callbacks.Callback):
    """Every call with its batch and the names in its logs."""

    def __init__(self):
        super().__init__()
        self.calls = []

    def _tell(self, *call):
        self.calls.append(call)

    def on_train_batch_begin(self, batch, logs=None):
        self._tell("train begin", batch)

    def on_train_batch_end(self, batch, logs=None):
        self._tell("train end", batch, sorted(logs), round(logs["loss"], 4))

    def on_test_batch_begin(self, batch, logs=None):
        self._tell("test begin", batch)

    def on_test_batch_end(self, batch, logs=None):
        self._tell("test end", batch, sorted(logs), round(logs["loss"], 4))

    def on_predict_batch_begin(self, batch, logs=None):
        self._tell("predict begin", batch)

    def on_predict_batch_end(self, batch, logs=None):
        self._tell("predict end", batch, np.round(np.asarray(logs["outputs"]), 4).tolist())


X = np.random.default_rng(0).normal(size=(20, 3)).astype("f")
Y = X[:, :1] ** 2


def model_with(at_once):
    tdfast.utils.set_random_seed(0)
    model = tdfast.Sequential([layers.Dense(4, activation="tanh", input_shape=(3,)), layers.Dense(1)])
    model.compile("sgd", "mse", metrics=["mae"], steps_per_execution=at_once)
    return model


def numbers(calls, which):
    return [call[1] for call in calls if call[0] == which]


@pytest.mark.parametrize("at_once, begins, ends", [
    (1, [0, 1, 2, 3, 4], [0, 1, 2, 3, 4]), ("auto", [0, 1, 2, 3, 4], [0, 1, 2, 3, 4]),
    (2, [0, 2, 4], [1, 3, 5]), (3, [0, 3], [2, 5]), (5, [0], [4]), (7, [0], [6]),
])
def test_which_batches_callbacks_see(at_once, begins, ends):
    plain, model, told = model_with(1), model_with(at_once), Told()
    want = plain.fit(X, Y, batch_size=4, epochs=2, shuffle=False, verbose=0).history
    got = model.fit(X, Y, batch_size=4, epochs=2, shuffle=False, verbose=0, callbacks=[told]).history
    assert got == want
    assert numbers(told.calls, "train begin") == begins * 2 and numbers(told.calls, "train end") == ends * 2
    told.calls.clear()
    assert model.evaluate(X, Y, batch_size=4, verbose=0, callbacks=[told]) == plain.evaluate(X, Y, verbose=0,
                                                                                         batch_size=4)
    assert numbers(told.calls, "test begin") == begins and numbers(told.calls, "test end") == ends
    told.calls.clear()
    y = model.predict(X, batch_size=4, verbose=0, callbacks=[told])
    assert (y == plain.predict(X, verbose=0)).all()
    assert numbers(told.calls, "predict begin") == begins and numbers(told.calls, "predict end") == ends
    seen = np.concatenate([call[2] for call in told.calls if call[0] == "predict end"])
    np.testing.assert_allclose(seen, y, atol=1e-4)


def test_it_stays_with_copies_and_files(tmp_path):
    model = model_with(3)
    assert model.steps_per_execution == 3
    for twin in (copy.deepcopy(model), pickle.loads(pickle.dumps(model)), tdfast.models.clone_model(model)):
        assert twin.steps_per_execution == 3
    model.save(tmp_path / "a.keras")
    assert tdfast.saving.load_model(tmp_path / "a.keras").steps_per_execution == 3
    for wrong in (1.5, "fast", True, -1):
        with pytest.raises(ValueError, match="steps_per_execution must be a whole number"):
            model.compile("sgd", "mse", steps_per_execution=wrong)


def test_stopping_and_saving_every_so_many_batches(tmp_path):
    model, told = model_with(2), Told()

    class Stop(callbacks.Callback):
        def on_train_batch_end(self, batch, logs=None):
            self.model.stop_training = batch >= 3

    saver = callbacks.ModelCheckpoint(tmp_path / "{batch}.weights.h5", save_freq=4, save_weights_only=True)
    if pytest.importorskip("h5py"):
        model.fit(X, Y, batch_size=2, epochs=2, verbose=0, callbacks=[told, saver, Stop()])
    assert numbers(told.calls, "train end") == [1, 3]
    assert [path.name for path in tmp_path.iterdir()] == ["4.weights.h5"]


def test_a_bar_never_shows_more_than_there_is(capsys):
    model_with(4).fit(X, Y, batch_size=4, verbose=2)
    assert "5/5" in capsys.readouterr().out


def test_resume_within_an_epoch(tmp_path):
    class Fail(callbacks.Callback):
        def on_train_batch_end(self, batch, logs=None):
            if batch == 3:
                raise KeyboardInterrupt

    def fit(model, *more):
        backup = callbacks.BackupAndRestore(tmp_path, save_freq=2)
        model.fit(X, Y, batch_size=4, epochs=2, verbose=0, callbacks=[backup, *more])

    whole = model_with(2)
    whole.fit(X, Y, batch_size=4, epochs=2, verbose=0)
    with pytest.raises(KeyboardInterrupt):
        fit(model_with(2), Fail())
    again = model_with(2)
    fit(again)
    assert all((a == b).all() for a, b in zip(again.get_weights(), whole.get_weights()))


def test_metrics_variables():
    model = model_with(1)
    assert model.metrics_variables == [v for metric in model.metrics for v in metric.variables]
    assert model.variables == model.trainable_variables + model.non_trainable_variables


@pytest.mark.parametrize("layer", [layers.Dropout(0.5), layers.ReLU(), layers.Softmax(),
                                   layers.MaxPooling1D(),
                                   layers.GlobalAveragePooling1D(), layers.Activation("relu"),
                                   layers.Reshape((6,)), layers.Masking(), layers.Identity(),
                                   layers.UnitNormalization(), layers.GaussianNoise(0.1)])
def test_layers_without_weights_are_built_at_once(layer):
    """As in Keras; and what they check of the first shape, they check still."""
    assert layer.built and layer.input_shape is None and layer.count_params() == 0
    with pytest.raises(ValueError, match="output_shape: layer"):
        print(layer.output_shape)
    assert type(layer).from_config(layer.get_config()).built
    twin = copy.deepcopy(layer)
    twin(np.ones((2, 3, 2), "f"))
    assert twin.input_shape == (None, 3, 2) and copy.deepcopy(twin).input_shape == (None, 3, 2)

    class Mine(type(layer)):
        def build(self, input_shape):
            self.seen = input_shape

    mine = Mine.from_config(layer.get_config())
    assert not mine.built
    mine(np.ones((2, 3, 2), "f"))
    assert mine.built and mine.seen == (None, 3, 2)


def test_summary_of_layers_that_have_seen_no_shape():
    out = []
    tdfast.Sequential([layers.Dense(2), layers.ReLU(name="relu")]).summary(print_fn=out.append)
    line = next(line for line in "\n".join(out).splitlines() if "relu (ReLU)" in line)
    assert [cell.strip() for cell in line.split("│")][2:4] == ["?", "0"]


@pytest.mark.parametrize("layer", [layers.Dense(2), layers.Flatten(), layers.Permute((2, 1)), layers.Add(),
                                   layers.BatchNormalization(), layers.PReLU(),
                                   layers.AdaptiveMaxPooling1D(2)])
def test_others_are_built_by_a_shape(layer):
    assert not layer.built
