"""Metrics: means over batches, weights and masks, the accuracies' rules, and what names mean."""

import numpy as np
import pytest
import reference
from laws import FMA_ISAS

from tdfast import losses, metrics, runtime


@pytest.fixture(autouse=True)
def restore_machine():
    isa, threads = runtime.isa(), runtime.get_num_threads()
    yield
    runtime.set_isa(isa)
    runtime.set_num_threads(threads)


def numbers(shape, seed=0):
    return np.random.default_rng(seed).random(shape).astype("float32")


def test_mean():
    m = metrics.Mean()
    assert m.result() == 0 and m.name == "mean"
    m.update_state([1.0, 2.0])
    m.update_state(6.0)
    assert m.result() == 3
    m.reset_state()
    m.update_state(np.ones((3, 2)) * [[1], [2], [3]], sample_weight=[1.0, 0.0, 1.0])
    assert m.result() == 2


@pytest.mark.parametrize("n", [1, 2, 7, 16, 17, 64, 65, 300])
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_accuracies(n, dtype):
    p = numbers((40, 3, n), n).astype(dtype)
    labels = np.random.default_rng(n).integers(0, n, (40, 3))
    labels[:20] = p[:20].argmax(axis=-1)
    right = p.argmax(axis=-1) == labels
    assert metrics.SparseCategoricalAccuracy()(labels, p) == right.mean()
    assert metrics.SparseCategoricalAccuracy()(labels[..., None], p) == right.mean()
    assert metrics.CategoricalAccuracy()(np.eye(n)[labels], p) == right.mean()
    bits = np.random.default_rng(n).integers(0, 2, p.shape)
    assert np.isclose(metrics.BinaryAccuracy(threshold=0.3)(bits, p), ((p > 0.3) == bits).mean(), rtol=1e-6)


def test_ties_and_nan():
    """The first of equal outputs is the largest; a row with NaN has no largest, and is no hit."""
    p = np.array([[1, 3, 3], [3, 3, 3], [np.nan, 3, 3], [1, np.nan, 5], [-np.inf, -np.inf, -np.inf]],
                 "float32")
    for pad in (0, 100):                                # short rows and long ones
        wide = np.concatenate([p, np.full((5, pad), -np.inf, "float32")], axis=1)
        values = metrics.SparseCategoricalAccuracy.function.call(np.array([1, 0, 0, 1, 0]), wide)
        assert values.tolist() == [1, 1, 0, 0, 1]
        onehot = np.eye(3 + pad)[[1, 0, 0, 1, 0]]
        assert metrics.CategoricalAccuracy.function.call(onehot, wide).tolist() == [1, 1, 0, 0, 1]
        assert metrics.sparse_categorical_accuracy([1, 0, 0, 1, 0], wide).tolist() == [1, 1, 0, 0, 1]
        assert metrics.categorical_accuracy(onehot, wide).tolist() == [1, 1, 0, 0, 1]
    inf = np.full((1, 100), -1, "float32")
    inf[0, [40, 60]] = np.inf
    assert metrics.SparseCategoricalAccuracy()([40], inf) == 1


@pytest.mark.parametrize("n", [3, 100])
def test_nan_is_never_a_hit(n):
    p = np.full((4, n), np.nan, "float32")
    p[2:, 1:] = -1
    assert np.isclose(metrics.BinaryAccuracy()(np.zeros((4, n)), p), (n - 1) / n / 2)
    assert np.isclose(metrics.binary_accuracy(np.zeros((4, n)), p).mean(), (n - 1) / n / 2)
    assert metrics.Accuracy()(np.zeros((4, n)), p) == 0
    for labels in ([0] * 4, [1, 2, 0, 0], [n - 1, 0, 0, 0]):
        assert metrics.SparseCategoricalAccuracy()(labels, p) == 0
        assert metrics.CategoricalAccuracy()(np.eye(n)[labels], p) == 0
        for k in (1, 3, n, n + 5):
            assert metrics.SparseTopKCategoricalAccuracy(k=k)(labels, p) == 0
            assert metrics.TopKCategoricalAccuracy(k=k)(np.eye(n)[labels], p) == 0
    # a NaN beside the label's number may be larger, or not: it counts as larger
    row = np.array([[np.nan, 5.0, 4.0, 1.0]])
    assert [metrics.SparseTopKCategoricalAccuracy(k=k)([1], row) for k in (1, 2, 3)] == [0, 1, 1]
    assert [metrics.SparseTopKCategoricalAccuracy(k=k)([2], row) for k in (1, 2, 3)] == [0, 0, 1]


def test_threshold_is_not_reached_by_equality():
    assert metrics.BinaryAccuracy()([[0], [1]], np.array([[0.5], [0.5]])) == 0.5


@pytest.mark.parametrize("cls, formula", [
    (metrics.MeanSquaredError, reference.mean_squared_error),
    (metrics.MeanAbsoluteError, reference.mean_absolute_error),
])
def test_regression(cls, formula):
    y, p = numbers((9, 4, 3)), numbers((9, 4, 3), 1)
    m = cls()
    m.update_state(y[:4], p[:4])
    m.update_state(y[4:], p[4:])
    assert np.isclose(m.result(), formula(y.astype("float64"), p).mean(), rtol=1e-6)
    root = metrics.RootMeanSquaredError()
    assert np.isclose(root(y, p), np.sqrt(reference.mean_squared_error(y, p).mean()), rtol=1e-6)


def test_weights_and_masks():
    y, p = numbers((5, 4, 3)), numbers((5, 4, 3), 1)
    rows = reference.mean_squared_error(y.astype("float64"), p)
    for weight in [np.arange(5.0), np.arange(5.0)[:, None], numbers((5, 4)), numbers((5, 4, 1))]:
        full = np.broadcast_to(weight.reshape(weight.shape[0], -1), (5, 4))
        want = (rows * full).sum() / full.sum()
        assert np.isclose(metrics.MeanSquaredError()(y, p, sample_weight=weight), want, rtol=1e-6)
        mask = numbers((5, 4), 7) < 0.5
        want = (rows * full * mask).sum() / (full * mask).sum()
        assert np.isclose(metrics.MeanSquaredError()(y, p, sample_weight=weight, mask=mask), want, rtol=1e-6)
    assert metrics.MeanSquaredError()(y, p, mask=np.zeros((5, 4), bool)) == 0
    with pytest.raises(ValueError, match="sample_weight has shape"):
        metrics.MeanSquaredError()(y, p, sample_weight=np.ones(3))


def test_no_samples():
    assert metrics.CategoricalAccuracy()(np.zeros((0, 3)), np.zeros((0, 3), "float32")) == 0


def test_bits_do_not_depend_on_isa_or_threads():
    p, labels = numbers((3000, 9)), np.random.default_rng(1).integers(0, 9, 3000)
    seen = set()
    for isa in runtime.available_isas():
        runtime.set_isa(isa)
        for threads in (1, 2):
            runtime.set_num_threads(threads)
            result = (metrics.SparseCategoricalAccuracy()(labels, p), metrics.MeanSquaredError()(p * 0, p))
            if isa in FMA_ISAS:
                seen.add(result)
    assert len(seen) <= 1


@pytest.mark.parametrize("true_shape, pred_shape, accuracy, crossentropy", [
    ((8, 1), (8, 1), metrics.BinaryAccuracy, losses.BinaryCrossentropy),
    ((8,), (8, 1), metrics.BinaryAccuracy, losses.BinaryCrossentropy),
    ((8,), (8, 5), metrics.SparseCategoricalAccuracy, losses.SparseCategoricalCrossentropy),
    ((8, 1), (8, 5), metrics.SparseCategoricalAccuracy, losses.SparseCategoricalCrossentropy),
    ((8, 5), (8, 5), metrics.CategoricalAccuracy, losses.CategoricalCrossentropy),
    ((8, 3), (8, 3, 5), metrics.SparseCategoricalAccuracy, losses.SparseCategoricalCrossentropy),
    ((8, 3, 5), (8, 3, 5), metrics.CategoricalAccuracy, losses.CategoricalCrossentropy),
    ((8, 3, 1), (8, 3, 1), metrics.BinaryAccuracy, losses.BinaryCrossentropy),
])
def test_what_accuracy_means(true_shape, pred_shape, accuracy, crossentropy):
    loss = losses.get("mse")
    for name in ("accuracy", "acc"):
        found = metrics.for_loss(name, loss, true_shape, pred_shape)
        assert type(found) is accuracy and found.name == name
    for name in ("crossentropy", "ce"):
        found = metrics.for_loss(name, loss, true_shape, pred_shape)
        assert type(found.function) is crossentropy and found.name == name
    assert metrics.for_loss("mae", loss, true_shape, pred_shape).name == "mae"


def test_get_and_config():
    assert metrics.get("mae").name == "mean_absolute_error" and metrics.get(None) is None
    assert metrics.get(losses.Huber(2.0)).function.delta == 2
    y, p = numbers((6, 4)), numbers((6, 4), 1)
    assert np.isclose(metrics.get("huber")(y, p), losses.Huber()(y, p), rtol=1e-7)
    for metric in [metrics.BinaryAccuracy("b", threshold=0.7), metrics.Mean("m"),
                   metrics.RootMeanSquaredError(),
                   metrics.CategoricalAccuracy(), metrics.SparseCategoricalAccuracy(name="s")]:
        saved = metrics.serialize(metric)
        assert saved["module"] == "keras.metrics" and saved["class_name"] == type(metric).__name__
        again = metrics.deserialize(saved)
        assert type(again) is type(metric) and again.get_config() == metric.get_config()
    with pytest.raises(ValueError, match="Unknown metric 'binary_acuracy'.*Did you mean"):
        metrics.get("binary_acuracy")
    with pytest.raises(ValueError, match="out of range"):
        metrics.LossMetric(losses.SparseCategoricalCrossentropy())([7], np.ones((1, 3), "float32"))
