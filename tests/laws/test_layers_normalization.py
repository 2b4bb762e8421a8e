"""LayerNormalization and BatchNormalization: the laws, and what Keras says of them."""

import numpy as np
import pytest
import reference
from laws import LAWS, Case, batch_is_its_rows, checks, saturation_and_nan

from tdfast import Sequential
from tdfast.engine.tape import Tape
from tdfast.layers import BatchNormalization, Dense, LayerNormalization, Masking, TimeDistributed

COUPLED = tuple(law for law in LAWS if law not in (batch_is_its_rows, saturation_and_nan))


def moving(x, weights, size, mask=None, training=False):
    return reference.batch_normalization(x, *weights, training=training, mask=mask)


CASES = [
    Case("LayerNormalization", lambda size, dtype: LayerNormalization(dtype=dtype), ("T", 7),
         lambda x, weights, size: reference.layer_normalization(x, *weights)),
    Case("LayerNormalization of two axes", lambda size,
         dtype: LayerNormalization(axis=[1, -1], epsilon=0.1, dtype=dtype), (3, 5),
         lambda x, weights, size: reference.layer_normalization(x, *weights, axes=(-2, -1), epsilon=0.1)),
    Case("LayerNormalization alone", lambda size,
         dtype: LayerNormalization(center=False, scale=False, dtype=dtype), (6,),
         lambda x, weights, size: reference.layer_normalization(x, np.ones(6), np.zeros(6))),
    Case("BatchNormalization", lambda size, dtype: BatchNormalization(dtype=dtype), ("T", 5), moving,
         positive=("moving_variance",)),
    Case("BatchNormalization in training", lambda size, dtype: BatchNormalization(dtype=dtype), ("T", 5),
         moving,
         positive=("moving_variance",), training=True, laws=COUPLED, spread=3),
    Case("BatchNormalization in training, masked", lambda size, dtype: BatchNormalization(dtype=dtype),
         ("T", 5), moving,
         positive=("moving_variance",), training=True, mask=True, laws=COUPLED, spread=3),
    Case("TimeDistributed BatchNormalization", lambda size,
         dtype: TimeDistributed(BatchNormalization(dtype=dtype), dtype=dtype),
         ("T", 5), moving, positive=("moving_variance",)),
]


@pytest.mark.parametrize("law, case", checks(CASES))
def test_law(law, case):
    law(case)


def test_moving_statistics_follow_the_batches():
    layer = BatchNormalization(momentum=0.75)
    x = np.random.default_rng(0).normal(2, 3, size=(50, 4)).astype("float32")
    layer(x, training=True)
    assert np.allclose(layer.moving_mean.value, 0.25 * x.mean(0), atol=1e-6)
    assert np.allclose(layer.moving_variance.value, 0.75 + 0.25 * x.var(0), atol=1e-5)
    before = layer.get_weights()
    layer(x)
    layer.trainable = False
    layer(x, training=True)
    for a, b in zip(before, layer.get_weights()):
        assert np.array_equal(a, b)


def test_inside_time_distributed_training_takes_each_step_by_itself():
    x = np.random.default_rng(0).normal(size=(9, 3, 4)).astype("float32") * [[[1], [5], [9]]]
    y = TimeDistributed(BatchNormalization(epsilon=0))(x, training=True)
    assert np.allclose(y.mean(0), 0, atol=1e-6) and np.allclose(y.std(0), 1, atol=1e-5)


def test_masked_steps_do_not_count():
    x = np.random.default_rng(0).normal(size=(4, 6, 3)).astype("float32")
    x[:, 4:] = 0
    model = Sequential([Masking(), BatchNormalization(momentum=0), TimeDistributed(Dense(1))])
    model.compile(optimizer="sgd", loss="mse")
    model.fit(x, np.zeros((4, 6, 1)), batch_size=4, epochs=1, verbose=0)
    assert np.allclose(model.layers[1].moving_mean.value, x[:, :4].mean((0, 1)), atol=1e-5)


@pytest.mark.parametrize("layer", [LayerNormalization(axis=3), BatchNormalization(axis=0)])
def test_an_axis_that_is_not_there_is_named(layer):
    with pytest.raises(ValueError, match=f"'{layer.name}'.*axis"):
        layer(np.zeros((2, 3)))


def test_options_without_effect_are_refused():
    with pytest.raises(ValueError, match="not supported"):
        BatchNormalization(renorm=True)
    assert BatchNormalization(synchronized=True).get_config()["synchronized"] is True
    with pytest.raises(ValueError, match="rms_scaling"):
        LayerNormalization(rms_scaling=True)


def test_each_channel_counts_its_own_valid_numbers():
    rng = np.random.default_rng(0)
    x, mask = rng.normal(size=(4, 3, 5)), rng.random((4, 3)) < 0.6
    layer = BatchNormalization(axis=1, momentum=0, dtype="float64")
    layer(x, training=True, mask=mask)
    for t in range(3):
        assert np.allclose(layer.moving_mean.value[t], x[mask[:, t], t].mean() if mask[:, t].any() else 0,
                           atol=1e-6)


def test_nan_at_a_masked_step_stays_out_of_the_statistics():
    x = np.random.default_rng(0).normal(size=(4, 6, 3))
    mask = np.arange(6) < np.array([[6], [4], [2], [5]])
    layer = BatchNormalization(momentum=0, dtype="float64")
    layer(np.where(mask[..., None], x, np.nan), training=True, mask=mask)
    assert np.allclose(layer.moving_mean.value, x[mask].mean(0), atol=1e-6)
    assert np.allclose(layer.moving_variance.value, x[mask].var(0), atol=1e-6)


def test_statistics_that_are_not_finite_are_not_kept():
    layer = BatchNormalization()
    layer(np.ones((3, 2)), training=True)
    before = layer.get_weights()
    layer(np.full((3, 2), np.nan), training=True)
    for a, b in zip(before, layer.get_weights()):
        assert np.array_equal(a, b)


def test_configs_have_keras_s_order():
    config = list(BatchNormalization().get_config())
    assert config[3:9] == ["axis", "momentum", "epsilon", "center", "scale", "beta_initializer"]
    assert config[-4:] == ["synchronized", "renorm", "renorm_clipping", "renorm_momentum"]
    assert list(LayerNormalization().get_config())[3:8] == ["axis", "epsilon", "center", "scale",
                                                            "rms_scaling"]


def test_batch_normalization_computes_in_float32(monkeypatch):
    """Its means too: one array of float64 among them sends every product through NumPy's casting buffers."""
    seen, multiply = set(), np.multiply

    def noted(*arrays, **options):
        seen.update(a.dtype for a in arrays if isinstance(a, np.ndarray))
        return multiply(*arrays, **options)

    model = Sequential([BatchNormalization(input_shape=(3, 2)), BatchNormalization()])
    model.compile("sgd", "mse")
    x = np.random.default_rng(0).normal(size=(4, 3, 2)).astype("float32")
    monkeypatch.setattr(np, "multiply", noted)
    model.train_on_batch(x, x)
    assert seen == {np.dtype("float32")}


def test_layer_normalization_in_time_distributed():
    """The record of a call has names that the engine uses: the layer's own must be others."""
    x = np.random.default_rng(0).normal(size=(3, 5, 4))
    layer, inner = LayerNormalization(dtype="float64"), LayerNormalization(dtype="float64")
    wrapped = TimeDistributed(inner)
    dy, results = np.random.default_rng(1).normal(size=x.shape), []
    for one in (layer, wrapped):
        one.ensure_built((None, 5, 4))
        tape = Tape()
        one.forward(x, tape)
        results.append(one.backward(dy.copy(), tape).copy())
    np.testing.assert_array_equal(results[0], results[1])
