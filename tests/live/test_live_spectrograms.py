"""STFTSpectrogram, MelSpectrogram and the initializer of the first beside Keras itself on JAX: values,
gradients, configs, and files both ways."""

import os

import numpy as np
import pytest

os.environ.setdefault("KERAS_BACKEND", "jax")
pytest.importorskip("jax")
pytest.importorskip("scipy")
keras = pytest.importorskip("keras")
if keras.backend.backend() != "jax":
    pytest.skip("needs Keras on JAX", allow_module_level=True)

import tdfast  # noqa: E402
from tdfast.layers.spectrogram import mel_bands  # noqa: E402

# (class, options, the shape of a sample)
CASES = [
    *(("STFTSpectrogram", {"mode": mode, "frame_length": 16, "frame_step": 5}, (80, 2))
      for mode in ("log", "magnitude", "psd", "real", "imag", "angle", "stft")),
    ("STFTSpectrogram", {}, (700, 1)),
    ("STFTSpectrogram", {"frame_length": 12, "fft_length": 20, "window": "hamming", "periodic": True,
                         "scaling": "spectrum", "padding": "same", "mode": "stft", "expand_dims": True},
     (50, 2)),
    ("STFTSpectrogram", {"frame_length": 9, "window": "blackman", "data_format": "channels_first",
                         "scaling": None, "mode": "magnitude"}, (3, 40)),
    ("STFTSpectrogram", {"frame_length": 8, "fft_length": 11, "window": None, "data_format": "channels_first",
                         "expand_dims": True, "mode": "psd"}, (3, 40)),
    ("STFTSpectrogram", {"frame_length": 4, "window": [0.5, 1.0, 2.0, 0.25], "mode": "real"}, (20, 1)),
    ("MelSpectrogram", {}, (4000,)),
    ("MelSpectrogram", {"fft_length": 256, "sequence_stride": 100, "sequence_length": 200,
                        "window": "hamming", "sampling_rate": 8000, "num_mel_bins": 20,
                        "min_freq": 100.0, "max_freq": 3000.0},
     (900,)),
    ("MelSpectrogram", {"fft_length": 255, "sequence_stride": 64, "num_mel_bins": 20, "mag_exp": 1.0,
                        "power_to_db": False}, (901,)),
    ("MelSpectrogram", {"fft_length": 64, "sequence_stride": 64, "num_mel_bins": 8, "window": None,
                        "top_db": 10.0, "ref_power": 3.0, "min_power": 1e-3}, (300,)),
]
IDS = [f"{name} {options}" for name, options, _ in CASES]
each = pytest.mark.parametrize("name, options, shape", CASES, ids=IDS)


def near(got, want, bound=2e-5):
    got, want = np.asarray(got, "float64"), np.asarray(want, "float64")
    assert got.shape == want.shape
    np.testing.assert_allclose(got, want, rtol=0, atol=bound * max(1.0, np.abs(want).max(initial=0)))


def bound_of(name, options):
    """Keras makes the triangles of the mel scale in float32, from differences of large numbers. Logarithms
    and angles of what is almost 0 magnify roundings."""
    if name == "MelSpectrogram":
        return 1e-4
    return 2e-4 if options.get("mode", "log") in ("log", "angle") else 2e-5


@each
def test_values(name, options, shape):
    x = np.random.default_rng(0).normal(size=(3, *shape)).astype("float32")
    ours, theirs = (getattr(k.layers, name)(**options) for k in (tdfast, keras))
    near(ours(x), theirs(x), bound_of(name, options))
    for a, b in zip(ours.weights, theirs.weights, strict=True):
        assert a.path.partition("/")[2] == b.path.partition("/")[2]
        near(a.numpy(), b.value, 1e-6)
    if name == "MelSpectrogram":
        near(ours(x[0]), theirs(x[0]), bound_of(name, options))


@each
def test_gradients(name, options, shape):
    """A step of SGD moves the weights of the layer, and those before it, as in Keras."""
    rng = np.random.default_rng(1)
    models = []
    for k in (tdfast, keras):
        k.utils.clear_session(free_memory=False)
        k.utils.set_random_seed(4)              # where Keras meets a magnitude of 0, its gradient is NaN
        models.append(k.Sequential([k.Input(shape), k.layers.Rescaling(1.0), k.layers.Dense(shape[-1]),
                                    getattr(k.layers, name)(**options)]))
    ours, theirs = models
    start = ours.get_weights()
    start[0] = start[0] + np.eye(len(start[0]), dtype="float32")
    for k, model in ((tdfast, ours), (keras, theirs)):
        model.set_weights(start)
        model.compile(k.optimizers.SGD(1e-4 if "Mel" in name else 0.01), "mse")
    x = rng.normal(size=(3, *shape)).astype("float32")
    want = theirs.predict(x, verbose=0)
    near(ours.predict(x, verbose=0), want, bound_of(name, options))
    y = rng.normal(size=want.shape).astype("float32")
    near(ours.train_on_batch(x, y), theirs.train_on_batch(x, y), bound_of(name, options))
    for a, b, before in zip(ours.weights, theirs.weights, start):
        moved, meant = a.numpy() - before, np.asarray(b.value) - before
        assert np.isfinite(moved).all()
        moved, meant = moved[there := np.isfinite(meant)], meant[there]
        if not there.any():
            pytest.skip("Keras met a magnitude of 0, and all of its gradient is NaN")
        assert np.abs(moved - meant).max() <= 2e-3 * np.abs(meant).max() + 2e-7, a.path


def plain(value):
    if isinstance(value, dict):
        return {k: plain(v) for k, v in value.items() if k != "registered_name"}
    return [plain(v) for v in value] if isinstance(value, (tuple, list)) else value


@each
def test_config(name, options, shape):
    mine, other = (getattr(k.layers, name)(**options).get_config() for k in (tdfast, keras))
    mine["name"] = other["name"] = mine["dtype"] = other["dtype"] = "any"
    assert list(mine) == list(other) and plain(mine) == plain(other)


def test_files_go_both_ways(tmp_path):
    rng = np.random.default_rng(2)
    # Keras cannot read its own file of an array.
    four = np.arange(1.0, 5.0)
    arrays = [("STFTSpectrogram", {"frame_length": 4, "window": four, "mode": "stft"}, (20, 1)),
              ("MelSpectrogram", {"fft_length": 4, "window": four, "num_mel_bins": 2}, (20,))]
    for name, options, shape in [*CASES, *arrays]:
        x = rng.normal(size=(3, *shape)).astype("float32")
        ours, theirs = (k.Sequential([k.Input(shape), getattr(k.layers, name)(**options)])
                        for k in (tdfast, keras))
        weights = [rng.normal(size=w.shape).astype("float32") for w in ours.weights]
        for model, path in ((ours, "ours"), (theirs, "theirs")):
            model.set_weights(weights)
            model.save(tmp_path / f"{path}.keras")
        want = ours.predict(x, verbose=0)
        for load, path in ((keras.models.load_model, "ours"), (tdfast.models.load_model, "theirs"),
                           (tdfast.models.load_model, "ours")):
            got = load(tmp_path / f"{path}.keras").predict(x, verbose=0)
            near(got, want, bound_of(name, options))


@pytest.mark.parametrize("options", [
    {}, {"side": "imag", "window": "hamming", "periodic": True, "scaling": "spectrum"},
    {"window": None}, {"window": "blackman", "scaling": None},
], ids=str)
@pytest.mark.parametrize("shape", [(60, 1, 65), (1, 1, 2), (5, 1, 2)])
def test_initializer(options, shape):
    ours, theirs = (k.initializers.STFT(**options) for k in (tdfast, keras))
    near(ours(shape), theirs(shape), 2e-7)
    assert list(ours.get_config().items()) == list(theirs.get_config().items())
    again = tdfast.initializers.deserialize(keras.initializers.serialize(theirs))
    assert np.array_equal(again(shape), ours(shape))
    assert type(keras.initializers.deserialize(tdfast.initializers.serialize(ours))) is type(theirs)


@pytest.mark.parametrize("arguments", [(128, 1025, 16000, 20.0, 8000.0), (40, 257, 16000, 20.0, 8000.0),
                                       (80, 1025, 8000, 100.0, 4000.0)])
def test_triangles(arguments):
    near(mel_bands(*arguments), keras.layers.MelSpectrogram().linear_to_mel_weight_matrix(*arguments), 4e-5)
