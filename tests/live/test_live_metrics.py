"""Metrics beside Keras: results over batches and weights, configs, names, training with masks, and .keras
files."""

import os
import warnings

import numpy as np
import pytest

os.environ.setdefault("KERAS_BACKEND", "jax")
pytest.importorskip("jax")
keras = pytest.importorskip("keras")
if keras.backend.backend() != "jax":
    pytest.skip("needs Keras on JAX", allow_module_level=True)

import tdfast  # noqa: E402
from tdfast import metrics, saving  # noqa: E402

warnings.filterwarnings("ignore", module="keras")

# (class, arguments, kind of data); "each" takes weights for each output as well.
CASES = [
    ("Accuracy", {}, "labels_pair"),
    ("BinaryAccuracy", {}, "bits each"),
    ("BinaryAccuracy", {"threshold": 0.3}, "bits each"),
    ("CategoricalAccuracy", {}, "onehot"),
    ("SparseCategoricalAccuracy", {}, "labels"),
    ("TopKCategoricalAccuracy", {"k": 2}, "onehot"),
    ("TopKCategoricalAccuracy", {}, "onehot"),
    ("SparseTopKCategoricalAccuracy", {"k": 3}, "labels"),
    ("SparseTopKCategoricalAccuracy", {"k": 2, "from_sorted_ids": True}, "sorted"),
    ("BinaryCrossentropy", {}, "bits"),
    ("BinaryCrossentropy", {"from_logits": True, "label_smoothing": 0.1}, "bits logits"),
    ("CategoricalCrossentropy", {"label_smoothing": 0.2}, "onehot"),
    ("CategoricalCrossentropy", {"from_logits": True}, "onehot logits"),
    ("SparseCategoricalCrossentropy", {}, "labels"),
    ("SparseCategoricalCrossentropy", {"from_logits": True}, "labels logits"),
    ("KLDivergence", {}, "bits"),
    ("Poisson", {}, "bits"),
    ("Hinge", {}, "bits"),
    ("SquaredHinge", {}, "bits logits"),
    ("CategoricalHinge", {}, "onehot"),
    ("MeanSquaredError", {}, "any"),
    ("RootMeanSquaredError", {}, "any each"),
    ("MeanAbsoluteError", {}, "any"),
    ("MeanAbsolutePercentageError", {}, "any"),
    ("MeanSquaredLogarithmicError", {}, "any"),
    ("CosineSimilarity", {}, "any"),
    ("LogCoshError", {}, "any"),
    ("PearsonCorrelation", {}, "any"),
    ("ConcordanceCorrelation", {}, "any"),
    # not adjusted: Keras counts values there, not samples
    *[("R2Score", {"class_aggregation": a}, "any each")
      for a in (None, "uniform_average", "variance_weighted_average")],
    *[(name, {"thresholds": t}, "bits each") for name in ("TruePositives", "TrueNegatives", "FalsePositives",
                                                          "FalseNegatives")
      for t in (None, 0.3, [0.8, 0.2, 0.5], [0.0, 0.5, 1.0])],
    *[(name, kwargs, "bits each") for name in ("Precision", "Recall")
      for kwargs in ({}, {"thresholds": 0.7}, {"thresholds": [0.6, 0.4]},
                     {"thresholds": [0, 0.25, 0.5, 0.75, 1.0]},
                     {"class_id": 1}, {"top_k": 2}, {"top_k": 3, "class_id": 2},
                     {"top_k": 2, "thresholds": 0.6})],
    *[("AUC", {"curve": c, "summation_method": s, "num_thresholds": n}, "bits each")
      for c in ("ROC", "PR", "PRGAIN") for s in ("interpolation", "minoring", "majoring") for n in (200, 7)],
    ("AUC", {"thresholds": [0.2, 0.9, 0.6]}, "bits each"),
    ("AUC", {"thresholds": [0.25, 0.5, 0.75]}, "bits each"),
    ("AUC", {"from_logits": True}, "bits logits each"),
    ("AUC", {"curve": "pr", "summation_method": "Majoring", "label_weights": [0.5, 1.0, 2.0, 0.0]},
     "bits each"),
    *[("AUC", {"multi_label": True, "curve": c, **kwargs}, "bits") for c in ("ROC", "PR")
      for kwargs in ({}, {"num_labels": 4}, {"label_weights": [0.5, 1.0, 2.0, 0.0]},
                     {"thresholds": [0.3, 0.4]})],
    ("AUC", {"thresholds": [0.3, 0.4]}, "bits logits"),
    ("AUC", {"num_thresholds": 11}, "bits logits"),
    *[(name, {key: value, **kwargs}, "bits each")
      for name, key in [("SensitivityAtSpecificity", "specificity"),
                        ("SpecificityAtSensitivity", "sensitivity"),
                        ("PrecisionAtRecall", "recall"), ("RecallAtPrecision", "precision")]
      for value in (0.4, 0.6) for kwargs in ({}, {"num_thresholds": 1},
                                             {"num_thresholds": 30, "class_id": 2})],
    *[("F1Score", {"average": a, "threshold": t}, kind) for a in (None, "micro", "macro", "weighted")
      for t, kind in [(None, "onehot"), (0.5, "bits")]],
    ("FBetaScore", {"beta": 2.0, "average": "macro"}, "onehot"),
    ("FBetaScore", {"beta": 0.5, "threshold": 0.3}, "bits"),
    ("IoU", {"num_classes": 5, "target_class_ids": [0, 3]}, "labels_pair"),
    ("IoU", {"num_classes": 3, "target_class_ids": [1], "ignore_class": 0}, "labels_pair"),
    ("IoU", {"num_classes": 4, "target_class_ids": [1, 2], "sparse_y_pred": False, "dtype": "float32"},
     "labels"),
    ("BinaryIoU", {}, "bits"),
    ("BinaryIoU", {"threshold": 0.3, "target_class_ids": [1], "dtype": "float32"}, "bits"),
    ("MeanIoU", {"num_classes": 6}, "labels_pair"),
    ("OneHotIoU", {"num_classes": 4, "target_class_ids": [0, 2]}, "onehot"),
    ("OneHotMeanIoU", {"num_classes": 4, "ignore_class": 1}, "onehot"),
]
ids = [f"{n}-{'-'.join(map(str, k.values()))}-{d}" for n, k, d in CASES]


def draw(kind, rng, n):
    """(targets, outputs) in float32, (n, 4)."""
    shape = (n, 4)
    p = rng.normal(size=shape) * 2 if "any" in kind or "logits" in kind else rng.uniform(0.02, 0.98, shape)
    y = rng.integers(0, 4, n)
    if "any" in kind:
        y = p + rng.normal(size=shape)
    elif "bits" in kind:
        y = rng.integers(0, 2, shape).astype("float32")
    elif kind == "labels_pair":
        return rng.integers(0, 4, n), rng.integers(0, 4, n)
    elif kind == "sorted":
        p = np.argsort(p, axis=-1)
    elif "onehot" in kind:
        y = np.eye(4)[y]
    return y.astype("int32" if y.dtype.kind == "i" else "float32"), p.astype("float32")


def weights_for(name, kwargs, kind, rng, n):
    """Weights that Keras takes as well."""
    whole = name in ("IoU", "MeanIoU", "BinaryIoU", "OneHotIoU", "OneHotMeanIoU") and "dtype" not in kwargs
    one = rng.integers(1, 4, n).astype("int32") if whole else rng.uniform(0.1, 2, n).astype("float32")
    if name == "BinaryIoU":
        return [None]                       # Keras flattens the outputs but not the weights
    return [None, one] + ([rng.uniform(0.1, 2, (n, 4)).astype("float32")] if "each" in kind
                          and kwargs.get("class_id") is None else [])


@pytest.mark.parametrize("name, kwargs, kind", CASES, ids=ids)
def test_results(name, kwargs, kind):
    rng = np.random.default_rng(len(ids) + len(str(kwargs)))
    for k in range(3):
        theirs, ours = getattr(keras.metrics, name)(**kwargs), getattr(metrics, name)(**kwargs)
        for n in (9, 9, 5):                 # few sizes: JAX compiles for each
            y, p = draw(kind, rng, n)
            options = weights_for(name, kwargs, kind, rng, n)
            weight = options[k % len(options)]
            theirs.update_state(y, p, sample_weight=weight)
            ours.update_state(y, p, sample_weight=weight)
            want, got = np.asarray(theirs.result()), ours.result()
            assert np.shape(got) == want.shape and (isinstance(got, np.ndarray) if want.shape
                                                    else type(got) is float)
            np.testing.assert_allclose(got, want, rtol=2e-5, atol=2e-5)     # Keras sums in float32
        ours.reset_state()
        theirs.reset_state()
        y, p = draw(kind, rng, 5)
        theirs.update_state(y, p)
        ours.update_state(y, p)
        np.testing.assert_allclose(ours.result(), np.asarray(theirs.result()), rtol=2e-5, atol=2e-6)


@pytest.mark.parametrize("name, kwargs, kind", CASES, ids=ids)
def test_configs_and_names(name, kwargs, kind):
    tdfast.utils.clear_session()
    keras.utils.clear_session(free_memory=False)
    for _ in range(2):                      # the second of a class may get a number
        theirs, ours = getattr(keras.metrics, name)(**kwargs), getattr(metrics, name)(**kwargs)
        assert ours.name == theirs.name
        want, got = theirs.get_config(), ours.get_config()
        weights = want.pop("label_weights", None), got.pop("label_weights", None)
        assert got == want
        if weights[0] is not None:
            assert np.allclose(weights[0], weights[1])
            return                          # Keras cannot read its own, an array
    y, p = draw(kind, np.random.default_rng(0), 9)
    again = keras.metrics.deserialize(metrics.serialize(ours))
    assert np.allclose(np.asarray(again(y, p)), ours(y, p), rtol=2e-5, atol=2e-6)
    back = metrics.deserialize(keras.metrics.serialize(theirs))
    assert type(back) is type(ours) and np.array_equal(back(y, p), ours.result())


def test_all_of_keras_is_there():
    for name in dir(keras.metrics):
        if not name.startswith("_"):
            assert hasattr(metrics, name), name
            assert isinstance(getattr(keras.metrics, name), type) == isinstance(getattr(metrics, name), type)


def test_registered_names():
    from keras.src.metrics import ALL_OBJECTS_DICT

    for name, cls in ALL_OBJECTS_DICT.items():
        if cls.__name__ not in ("Metric", "MeanMetricWrapper"):
            assert metrics.REGISTRY.find(name).__name__ == cls.__name__


@pytest.mark.parametrize("name, kind", [
    ("binary_accuracy", "bits"), ("categorical_accuracy", "onehot"),
    ("sparse_categorical_accuracy", "labels"),
    ("top_k_categorical_accuracy", "onehot"), ("sparse_top_k_categorical_accuracy", "labels"),
    ("pearson_correlation", "any"), ("concordance_correlation", "any"), ("mean_squared_error", "any"),
    ("categorical_hinge", "onehot"), ("kl_divergence", "bits"), ("binary_focal_crossentropy", "bits"),
])
def test_functions(name, kind):
    y, p = draw(kind, np.random.default_rng(0), 9)
    more = {"k": 2} if "top_k" in name else {}
    want = np.asarray(getattr(keras.metrics, name)(y, p, **more))
    np.testing.assert_allclose(getattr(metrics, name)(y, p, **more), want, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("cls", ["Mean", "Sum"])
def test_means_and_sums_of_values(cls):
    rng = np.random.default_rng(0)
    theirs, ours = getattr(keras.metrics, cls)(), getattr(metrics, cls)()
    assert ours.get_config() == theirs.get_config()
    for values, weight in [((5,), None), ((), None), ((3, 4), None), ((3, 4), (3,)), ((2, 7), (2, 7)),
                           ((4,), (4,)), ((6, 2, 3), (6, 2))]:
        values, weight = rng.normal(size=values), None if weight is None else rng.uniform(size=weight)
        theirs.update_state(values, sample_weight=weight)
        ours.update_state(values, sample_weight=weight)
        assert abs(ours.result() - float(theirs.result())) < 1e-5


# ---------------------------------------------------------------- training


def worst(y_true, y_pred):
    return abs(y_true - y_pred).max(-1)


def average(y_true, y_pred):
    return abs(y_true - y_pred).mean()


def pair(out, build, **options):
    """A model of each with the same weights, compiled the same."""
    made = []
    for lib in (keras, tdfast):
        model = build(lib)
        model.compile(lib.optimizers.SGD(0.1), **{k: v(lib) if callable(v) else v for k,
                                                  v in options.items()})
        made.append(model)
    made[1].set_weights(made[0].get_weights())
    return made


def dense(lib):
    return lib.Sequential([lib.layers.Input((3,)), lib.layers.Dense(4, activation="sigmoid")])


def test_compile_fit_evaluate():
    rng = np.random.default_rng(0)
    x, y, w = rng.normal(size=(40, 3)), rng.integers(0, 2, (40, 4)).astype("float32"), rng.uniform(0.5, 2, 40)
    theirs, ours = pair(
        4, dense, loss="mse",
        metrics=lambda lib: ["AUC", [lib.metrics.F1Score(), "accuracy"], lib.metrics.Precision, worst,
                             average, "precision",
                             lib.metrics.AUC(name="auc"), lib.metrics.AUC(name="auc"), "Accuracy", "bce",
                             lib.losses.mean_absolute_error],
        weighted_metrics=lambda lib: ["AUC", "AUC", lib.metrics.Recall(thresholds=[0.4, 0.5]), worst,
                                      "r2_score", "root_mean_squared_error"],
    )
    want = theirs.fit(x, y, epochs=2, batch_size=8, shuffle=False, sample_weight=w, verbose=0,
                      validation_split=0.25).history
    got = ours.fit(x, y, epochs=2, batch_size=8, shuffle=False, sample_weight=w, verbose=0,
                   validation_split=0.25).history
    assert list(got) == list(want)
    for name in want:
        np.testing.assert_allclose(np.array(got[name]), np.array(want[name]), rtol=1e-4, atol=1e-5,
                                   err_msg=name)
    want, got = (m.evaluate(x, y, sample_weight=w, verbose=0, return_dict=True) for m in (theirs, ours))
    assert set(got) == set(want)
    for name in want:
        np.testing.assert_allclose(got[name], np.asarray(want[name]), rtol=1e-4, atol=1e-5, err_msg=name)
    for call in ("train_on_batch", "test_on_batch"):
        want, got = (getattr(m, call)(x, y, sample_weight=w, return_dict=True) for m in (theirs, ours))
        for name in want:
            np.testing.assert_allclose(got[name], np.asarray(want[name]), rtol=1e-4, atol=1e-4, err_msg=name)
    for call in ("train_on_batch", "test_on_batch", "evaluate"):
        more = {"verbose": 0} if call == "evaluate" else {}
        want, got = (getattr(m, call)(x, y, sample_weight=w, **more) for m in (theirs, ours))
        assert len(got) == len(want)
        for ours_now, theirs_now in zip(got, want):
            np.testing.assert_allclose(ours_now, np.asarray(theirs_now), rtol=1e-4, atol=1e-4)


def test_masks_in_evaluate():
    """Means use the mask in Keras too; the rest is compared with Keras on the valid steps alone."""
    rng = np.random.default_rng(1)
    ids = np.where(np.arange(7) < rng.integers(1, 8, 30)[:, None], rng.integers(1, 9, (30, 7)), 0)
    y = rng.integers(0, 2, (30, 7, 3)).astype("float32")

    def build(lib):
        return lib.Sequential([lib.layers.Input((7,)), lib.layers.Embedding(9, 5, mask_zero=True),
                               lib.layers.LSTM(4, return_sequences=True),
                               lib.layers.Dense(3, activation="sigmoid")])

    means = ["binary_accuracy", "mse", "bce", "categorical_accuracy", "cosine_similarity", "hinge", worst]
    others = ["AUC", "precision", "recall", "true_positives", "r2_score", "f1_score", "rmse"]
    theirs, ours = pair(3, build, loss="mse", metrics=means)
    want = theirs.evaluate(ids, y, verbose=0, return_dict=True)
    ours.compile("sgd", "mse", metrics=means + others)
    got = ours.evaluate(ids, y, verbose=0, return_dict=True, batch_size=8)
    for m in means:
        name = m if isinstance(m, str) else m.__name__
        assert abs(got[name] - want[name]) < 1e-5, name
    valid = ids != 0
    p = theirs.predict(ids, verbose=0)
    for name in others:
        metric = keras.metrics.get("root_mean_squared_error" if name == "rmse" else name)
        np.testing.assert_allclose(got[name], np.asarray(metric(y[valid], p[valid])), rtol=1e-4, atol=1e-5,
                                   err_msg=name)


@pytest.mark.parametrize("direction", ["from Keras", "to Keras"])
def test_files(tmp_path, direction):
    rng = np.random.default_rng(2)
    x, y = rng.normal(size=(20, 3)).astype("float32"), rng.integers(0, 2, (20, 4)).astype("float32")
    theirs, ours = pair(
        4, dense, loss="mse",
        metrics=lambda lib: [lib.metrics.AUC(curve="PR", thresholds=[0.2, 0.7]), "accuracy",
                             lib.metrics.F1Score(threshold=0.4),
                             lib.metrics.MeanMetricWrapper(lib.losses.huber, name="h", delta=0.2),
                             "binary_crossentropy",
                             lib.metrics.PrecisionAtRecall(0.3), worst],
        weighted_metrics=lambda lib: [lib.metrics.BinaryIoU(threshold=0.4), lib.metrics.R2Score(None)],
    )
    path, mine = str(tmp_path / "m.keras"), {"worst": worst}
    if direction == "from Keras":
        theirs.evaluate(x, y, verbose=0)
        theirs.save(path)
        first, second = theirs, saving.load_model(path, custom_objects=mine)
    else:
        ours.save(path)
        first, second = ours, keras.models.load_model(path, custom_objects=mine)
        again = saving.load_model(path, custom_objects=mine)
        for a, b in zip(again.evaluate(x, y, verbose=0), ours.evaluate(x, y, verbose=0)):
            assert np.array_equal(a, b)
    a, b = (m.evaluate(x, y, verbose=0, return_dict=True) for m in (first, second))
    assert set(a) == set(b)
    for name in a:
        np.testing.assert_allclose(np.asarray(a[name]), np.asarray(b[name]), rtol=1e-4, atol=1e-5,
                                   err_msg=name)


