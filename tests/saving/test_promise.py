"""docs/files.md promises that later versions read what earlier ones wrote: here is one of each,
tests/files/v<version>/.

``python tests/saving/test_promise.py`` writes those of a new version; the folders of earlier ones stay as
they are.
"""

from pathlib import Path

import numpy as np
import pytest

import tdfast

ROOT = Path(__file__).resolve().parents[1] / "files"
FOLDERS = sorted(ROOT.glob("v*"))
NEAR = 1e-5


def recorded(folder):
    with np.load(folder / "recorded.npz") as data:
        return dict(data)


def near(got, want):
    np.testing.assert_allclose(got, want, rtol=NEAR, atol=NEAR)


@pytest.fixture(params=FOLDERS, ids=lambda folder: folder.name)
def folder(request):
    return request.param


def test_this_version_has_its_files():
    assert f"v{tdfast.__version__}" in [folder.name for folder in FOLDERS]


def test_models_predict_and_train_on(folder):
    pytest.importorskip("h5py")
    data = recorded(folder)
    model = tdfast.models.load_model(folder / "model.keras")
    near(model.predict(data["x"], verbose=0), data["predictions"])
    near(model.evaluate(data["x"], data["y"], verbose=0), data["evaluation"])
    losses = [model.train_on_batch(data["x"], data["y"], return_dict=True)["loss"] for _ in data["losses"]]
    near(losses, data["losses"])


@pytest.mark.parametrize("name", ["model.weights.h5", "model.weights.npz"])
def test_weights_and_the_optimizer_go_on(folder, name):
    pytest.importorskip("h5py")
    data = recorded(folder)
    model = tdfast.models.load_model(folder / "model.keras")
    model.train_on_batch(data["x"], data["y"])
    model.set_weights([np.zeros_like(w) for w in model.get_weights()])
    model.load_weights(folder / name)
    near(model.predict(data["x"], verbose=0), data["predictions"])
    near([model.train_on_batch(data["x"], data["y"], return_dict=True)["loss"] for _ in data["losses"]],
         data["losses"])


def example():
    """A compiled model of many layers, its input and its targets."""
    from tdfast import layers as L

    tdfast.utils.set_random_seed(3)
    inner = tdfast.Sequential([L.Input((4,)), L.Dense(4, activation="relu"), L.LayerNormalization()],
                              name="inner")
    model = tdfast.Sequential([
        L.Input((6, 3)), L.Masking(0.0),
        L.Bidirectional(L.LSTM(3, return_sequences=True, kernel_regularizer="l2"), merge_mode="sum"),
        L.GRU(4, return_sequences=True, recurrent_activation="hard_sigmoid"), L.TimeDistributed(inner),
        L.RNN([L.LSTMCell(3), L.GRUCell(4)], return_sequences=True), L.BatchNormalization(), L.SimpleRNN(3),
        L.RepeatVector(4),
        L.Conv1D(3, 2, padding="causal", activation="gelu"), L.GlobalAveragePooling1D(), L.Dropout(0.0),
        L.Dense(2, activation="softmax", kernel_constraint="max_norm"),
    ])
    rate = tdfast.optimizers.schedules.CosineDecay(0.02, 50)
    model.compile(tdfast.optimizers.AdamW(rate, weight_decay=0.01, clipnorm=1.0, amsgrad=True),
                  tdfast.losses.CategoricalCrossentropy(label_smoothing=0.1), metrics=["accuracy", "mae"])
    rng = np.random.default_rng(0)
    x = rng.normal(size=(8, 6, 3)).astype("f")
    x[2, 4:] = x[5, 1:] = 0
    return model, x, np.eye(2, dtype="f")[rng.integers(0, 2, 8)]


def write(folder):
    """The files of this version."""
    folder.mkdir()
    model, x, y = example()
    for _ in range(3):
        model.train_on_batch(x, y)
    model.save(folder / "model.keras")
    model.save_weights(folder / "model.weights.h5")
    model.save_weights(folder / "model.weights.npz")
    data = {"x": x, "y": y, "predictions": model.predict(x, verbose=0),
            "evaluation": np.array(model.evaluate(x, y, verbose=0))}
    data["losses"] = np.array([model.train_on_batch(x, y, return_dict=True)["loss"] for _ in range(3)])
    np.savez(folder / "recorded.npz", **data)


if __name__ == "__main__":
    write(ROOT / f"v{tdfast.__version__}")
