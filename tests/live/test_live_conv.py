"""Convolutions, pooling, padding, cropping and upsampling beside Keras on JAX: random options for each class.

A case is a layer between an input that a Dense layer has mixed, whose gradient says what the layer's dx is,
and the loss. What must agree: whether the options are legal, config and shapes; predictions; all weights
after one step of SGD with regularizers and constraints; and what either library reads of the other's files.
"""

import importlib.util
import os
import warnings
import zlib

import numpy as np
import pytest

# Compiling is nearly all of the time here, and what is compiled runs twice.
os.environ.setdefault("XLA_FLAGS", "--xla_backend_optimization_level=0")
os.environ.setdefault("KERAS_BACKEND", "jax")
if not all(importlib.util.find_spec(name) for name in ("keras", "jax")):
    pytest.skip("needs keras and jax: pip install 'tdfast[live]'", allow_module_level=True)
keras = pytest.importorskip("keras")
if keras.backend.backend() != "jax":
    pytest.skip("needs Keras on JAX", allow_module_level=True)

import tdfast  # noqa: E402

NEAR, NEAR_STEP = 2e-5, 1e-4
SEEDS = range(4)


def near(got, want, what, bound=NEAR):
    got, want = np.asarray(got, "float64"), np.asarray(want, "float64")
    assert got.shape == want.shape, what
    np.testing.assert_allclose(got, want, rtol=0, atol=bound * max(1.0, np.abs(want).max(initial=0)),
                               err_msg=what)


# ---------------------------------------------------------------- random options


def each(pick, rank, *values):
    """One of the values for all axes, or one for each."""
    return pick(pick(*values), tuple(pick(*values) for _ in range(rank)))


def activity(pick, names):
    out = {"activation": pick(None, "tanh", "relu", "gelu", "softmax"), "use_bias": pick(True, True, False),
           "activity_regularizer": pick(None, None, "l2")}
    for name in names:
        out[f"{name}_regularizer"] = pick(None, "l1", "l2")
        out[f"{name}_constraint"] = pick(None, None, "max_norm", "non_neg")
        out[f"{name}_initializer"] = pick("zeros", "he_normal")
    return out


def windows(pick, rank, paddings=("valid", "same")):
    return {"kernel_size": each(pick, rank, 3, 2, 1, 4), "strides": each(pick, rank, 1, 1, 2, 3),
            "padding": pick(*paddings),
            "dilation_rate": each(pick, rank, 1, 1, 1, 2), "data_format": pick(None, "channels_last")}


def conv(pick, rank, channels):
    groups = pick(*(g for g in (1, 2, 3, 4) if channels % g == 0))
    return {"filters": groups * pick(1, 2, 5), "groups": groups, **activity(pick, ("kernel", "bias")),
            **windows(pick, rank, ("valid", "same", *["causal"] * (rank == 1)))}


def depthwise(pick, rank, channels):
    return {"depth_multiplier": pick(1, 2, 3), **activity(pick, ("depthwise", "bias")), **windows(pick, rank)}


def separable(pick, rank, channels):
    return {"filters": pick(1, 3, 6), "depth_multiplier": pick(1, 2),
            **activity(pick, ("depthwise", "pointwise", "bias")),
            **windows(pick, rank)}


def transposed(pick, rank, channels):
    return {"filters": pick(1, 2, 5), "output_padding": pick(None, None, each(pick, rank, 0, 1)),
            **activity(pick, ("kernel", "bias")), **windows(pick, rank)}


def pooling(pick, rank, channels):
    return {"pool_size": each(pick, rank, 2, 3, 1), "strides": pick(None, each(pick, rank, 1, 2, 3)),
            "padding": pick("valid", "same"), "data_format": pick(None, "channels_last")}


def of_all(pick, rank, channels):
    return {"keepdims": pick(False, True), "data_format": pick(None, "channels_last")}


def borders(name):
    def options(pick, rank, channels):
        def pair():
            return pick(pick(0, 1, 2), (pick(0, 1), pick(0, 2)))
        return {name: pair() if rank == 1 else pick(pick(0, 1), tuple(pair() for _ in range(rank)))}
    return options


def larger(pick, rank, channels):
    if rank == 1:
        return {"size": pick(1, 2, 3)}
    size = {"size": each(pick, rank, 1, 2, 3)}
    return {**size, "interpolation": pick("nearest", "bilinear")} if rank == 2 else size


def adaptive(pick, rank, channels):
    return {"output_size": each(pick, rank, 1, 2, 3, 4), "data_format": pick(None, "channels_last")}


KINDS = {"Conv{}D": conv, "DepthwiseConv{}D": depthwise, "SeparableConv{}D": separable,
         "Conv{}DTranspose": transposed,
         "MaxPooling{}D": pooling, "AveragePooling{}D": pooling, "GlobalMaxPooling{}D": of_all,
         "GlobalAveragePooling{}D": of_all,
         "AdaptiveMaxPooling{}D": adaptive, "AdaptiveAveragePooling{}D": adaptive,
         "ZeroPadding{}D": borders("padding"), "Cropping{}D": borders("cropping"), "UpSampling{}D": larger}
CLASSES = {kind.format(rank): (rank, options) for kind, options in KINDS.items()
           for rank in (1, 2, 3) if hasattr(keras.layers, kind.format(rank))}
each_class = pytest.mark.parametrize("name", CLASSES)


def drawn(name, seed):
    """(random options, the shape of a sample)."""
    rng = np.random.default_rng([zlib.crc32(name.encode()), seed])

    def pick(*values):
        return values[rng.integers(len(values))]

    rank, options = CLASSES[name]
    shape = (*(pick(5, 6, 7, 3, 1) for _ in range(rank)), pick(4, 3, 1, 6))
    return options(pick, rank, shape[-1]), shape


def legal(name, first=0):
    """Options that are legal for their shape, with which seed and shape."""
    for seed in range(first, first + 100):
        options, shape = drawn(name, seed)
        try:
            getattr(tdfast.layers, name)(**options).compute_output_shape((2, *shape))
        except ValueError:
            continue
        return options, shape
    raise AssertionError(f"no legal options for {name}")


def pair(name, options, shape):
    """The same model in both libraries with the same random weights; x and y."""
    tdfast.utils.clear_session()
    keras.utils.clear_session(free_memory=False)
    ours, theirs = (k.Sequential([k.Input(shape), k.layers.Dense(shape[-1]),
                                  getattr(k.layers, name)(**options)]) for k in (tdfast, keras))
    assert [(w.path, w.shape) for w in ours.weights] == [(w.path, tuple(w.shape)) for w in theirs.weights]
    assert ours.output_shape == theirs.output_shape
    rng = np.random.default_rng(len(shape))
    weights = [rng.normal(size=w.shape) / np.sqrt(max(1, np.prod(w.shape[:-1]))) for w in ours.weights]
    for model in (ours, theirs):
        model.set_weights(weights)
    return (
        ours,
        theirs,
        rng.normal(size=(3, *shape)).astype("float32"),
        rng.normal(size=(3, *ours.output_shape[1:])).astype("float32"),
    )


# ---------------------------------------------------------------- the tests


@pytest.mark.parametrize("seed", SEEDS)
@each_class
def test_values_and_gradients(name, seed):
    options, shape = legal(name, 1000 * seed)
    ours, theirs, x, y = pair(name, options, shape)
    ours.compile(tdfast.optimizers.SGD(0.5), "mse")
    # Compiled without optimization, the slope of the maximum of an image with one channel is infinite.
    theirs.compile(keras.optimizers.SGD(0.5), "mse", jit_compile=not name.startswith("GlobalMax"))
    what = f"{options} {shape}"
    near(ours.predict(x, verbose=0), theirs.predict(x, verbose=0), what)
    near(ours.train_on_batch(x, y), theirs.train_on_batch(x, y), what)
    for a, b in zip(ours.weights, theirs.weights):
        near(a.numpy(), b.value, f"{a.path} after a step, {what}", NEAR_STEP)


def plain(value):
    if isinstance(value, dict):
        return {k: plain(v) for k, v in value.items() if k != "registered_name"}
    if isinstance(value, float):
        return round(value, 6)                          # Keras has the numbers of regularizers in float32
    return [plain(v) for v in value] if isinstance(value, (tuple, list)) else value


@each_class
def test_configs_and_what_is_legal(name):
    """Of 40 draws: both libraries take the options and the shape, with one config and one output shape, or
    neither does."""
    taken = refused = 0
    for seed in range(40):
        options, shape = drawn(name, seed)
        try:
            mine = getattr(tdfast.layers, name)(name="any", **options)
            mine.build((None, *shape))
            out = mine.compute_output_shape((2, *shape))
        except ValueError:
            refused += 1
            # Keras pools where no window fits, and gives nothing; and transposes to nothing.
            if "Pooling" not in name and not name.endswith("Transpose"):
                with pytest.raises(ValueError):
                    other = getattr(keras.layers, name)(**options)
                    other.build((None, *shape))
                    other.compute_output_shape((2, *shape))
            continue
        taken += 1
        other = getattr(keras.layers, name)(name="any", **options)
        other.build((None, *shape))
        assert out == tuple(other.compute_output_shape((2, *shape)))
        a, b = mine.get_config(), other.get_config()
        a["dtype"] = b["dtype"] = "any"
        assert list(a) == list(b)
        assert plain(a) == plain(b)
    assert taken > 5, refused


@each_class
def test_defaults(name):
    needed = {"filters": 2,
              "kernel_size": 3} if "Conv" in name else {"pool_size": 2} if name.startswith("Average") else {}
    if name.startswith("Adaptive"):
        needed = {"output_size": 3}
    if name.startswith("Depthwise"):
        del needed["filters"]
    a, b = (getattr(k.layers, name)(name="any", **needed).get_config() for k in (tdfast, keras))
    a["dtype"] = b["dtype"] = "any"
    assert plain(a) == plain(b)


@each_class
def test_files_go_both_ways(name, tmp_path):
    options, shape = legal(name, 5)
    ours, theirs, x, _ = pair(name, options, shape)
    want = ours.predict(x, verbose=0)
    ours.save(tmp_path / "ours.keras")
    theirs.save(tmp_path / "theirs.keras")
    near(keras.models.load_model(tmp_path / "ours.keras")(x), want, "Keras of our file")
    near(tdfast.saving.load_model(tmp_path / "theirs.keras").predict(x, verbose=0), want,
         "we of Keras's file")
    near(tdfast.saving.load_model(tmp_path / "ours.keras").predict(x, verbose=0), want, "we of our file")


@pytest.mark.parametrize("name", ["Conv2D", "DepthwiseConv2D", "SeparableConv1D", "Conv2DTranspose",
                                  "MaxPooling1D", "UpSampling2D", "Conv3D", "AveragePooling3D",
                                  "AdaptiveMaxPooling2D"])
def test_inside_time_distributed(name):
    options, shape = legal(name, 9)
    models = [k.Sequential([k.Input((4, *shape)),
                            k.layers.TimeDistributed(getattr(k.layers, name)(**options))])
                            for k in (tdfast, keras)]
    rng = np.random.default_rng(0)
    weights = [rng.normal(size=w.shape) * 0.3 for w in models[0].weights]
    x = rng.normal(size=(2, 4, *shape)).astype("float32")
    for model in models:
        model.set_weights(weights)
    near(*(model.predict(x, verbose=0) for model in models), str(options))


@pytest.mark.parametrize("name", ["DepthwiseConv1D", "SeparableConv1D"])
def test_causal_is_zeros_before(name):
    """Keras has 'causal' for Conv1D alone: here it is what its ZeroPadding1D before 'valid' windows is."""
    options = {"kernel_size": 3, "dilation_rate": 2, **({"filters": 4} if name[0] == "S" else {})}
    with pytest.raises(ValueError, match="causal"):
        getattr(keras.layers, name)(padding="causal", **options)
    ours = tdfast.Sequential([tdfast.Input((7, 3)), getattr(tdfast.layers,
                                                            name)(padding="causal", **options)])
    theirs = keras.Sequential([keras.Input((7, 3)), keras.layers.ZeroPadding1D((4, 0)),
                               getattr(keras.layers, name)(**options)])
    theirs.set_weights(ours.get_weights())
    x = np.random.default_rng(0).normal(size=(2, 7, 3)).astype("float32")
    near(ours.predict(x, verbose=0), theirs.predict(x, verbose=0), name)


def test_masked_means():
    x = np.random.default_rng(0).normal(size=(3, 5, 4)).astype("float32")
    mask = np.arange(5) < np.array([5, 2, 1])[:, None]
    for keepdims in (False, True):
        near(*(k.layers.GlobalAveragePooling1D(keepdims=keepdims)(x, mask=mask) for k in (tdfast, keras)),
             "mean")


@pytest.mark.parametrize("layer", ["ZeroPadding1D", "Cropping1D", "UpSampling1D", "Conv1D"])
def test_keras_drops_a_mask_with_a_warning(layer):
    """What docs/keras.md says of Keras, and so of what differs."""
    arguments = {"filters": 2, "kernel_size": 2} if layer == "Conv1D" else {}
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        keras.Sequential([keras.Input((5, 3)), keras.layers.Masking(),
                          getattr(keras.layers, layer)(**arguments)])
    assert any("does not support mask" in str(w.message) for w in caught)


@pytest.mark.parametrize("recipe", [
    lambda L: L.Conv1D(0, 3), lambda L: L.Conv1D(3, 0), lambda L: L.Conv2D(3, (2, 2, 2)),
    lambda L: L.Conv2D(3, 2, strides=2, dilation_rate=2),
    lambda L: L.Conv2D(3, 2, groups=2), lambda L: L.Conv2D(2, 2, padding="causal"),
    lambda L: L.DepthwiseConv2D(3, depth_multiplier=0),
    lambda L: L.DepthwiseConv2D(3, padding="causal"), lambda L: L.SeparableConv1D(0, 3),
    lambda L: L.SeparableConv2D(3, 3, depth_multiplier=-1),
    lambda L: L.Conv1DTranspose(2, 3, padding="causal"),
    lambda L: L.Conv1DTranspose(2, 3, strides=2, output_padding=2),
    lambda L: L.Conv2DTranspose(2, 3, strides=(1, 3), output_padding=(1, 2)),
    lambda L: L.Conv2DTranspose(2, 3, strides=2, dilation_rate=2),
    lambda L: L.MaxPooling1D(0), lambda L: L.ZeroPadding1D(-1), lambda L: L.ZeroPadding1D((1, 2, 3)),
    lambda L: L.ZeroPadding2D((1, 2, 3)), lambda L: L.Cropping1D((1, -1)), lambda L: L.Cropping2D(-1),
    lambda L: L.Cropping1D(3)(np.ones((1, 5, 2))),
    lambda L: L.Cropping2D((3, 0))(np.ones((1, 5, 4, 2))), lambda L: L.UpSampling1D(0),
    lambda L: L.UpSampling1D(1.5), lambda L: L.UpSampling2D((1, 0)),
    lambda L: L.Conv1D(2, 3)(np.ones((2, 3))), lambda L: L.ZeroPadding1D()(np.ones((2, 3))),
    lambda L: L.Conv1D(2, 6)(np.ones((1, 5, 2))),
    lambda L: L.DepthwiseConv1D(6)(np.ones((1, 5, 2))),
    lambda L: L.SeparableConv2D(2, 3, dilation_rate=3)(np.ones((1, 5, 5, 2))),
])
def test_what_keras_refuses_is_refused(recipe):
    for L in (keras.layers, tdfast.layers):
        with pytest.raises((ValueError, TypeError)):
            recipe(L)


@pytest.mark.parametrize("kind", ["Conv{}D", "Conv{}DTranspose", "SeparableConv{}D"])
@pytest.mark.parametrize("rank", [1, 2])
def test_names_that_mean_the_same(kind, rank):
    name = kind.format(rank)
    other = name.replace("Conv", "Convolution")
    assert getattr(tdfast.layers, name) is getattr(tdfast.layers, other)
    assert getattr(keras.layers, name) is getattr(keras.layers, other)
