"""The metrics beyond means of kernels: float64 formulas by hand, masks and weights, options, compile,
state."""

import itertools
import math

import numpy as np
import pytest

import tdfast
from tdfast import layers, losses, metrics
from tdfast.metrics import confusion

RNG = np.random.default_rng(0)
Y = RNG.integers(0, 2, (30, 5, 3)).astype("float32")
P = RNG.uniform(0.01, 0.99, (30, 5, 3)).astype("float32")
MASK = np.arange(5) < RNG.integers(0, 6, 30)[:, None]
WEIGHT = RNG.uniform(0.2, 2, (30, 5))


def tally(y, p, w, threshold):
    """(TP, FP, TN, FN), one output at a time."""
    out = [0.0, 0.0, 0.0, 0.0]
    for a, b, c in zip(y.ravel(), p.ravel(), w.ravel()):
        yes = b > threshold
        out[(0 if yes else 3) if a else (1 if yes else 2)] += c
    return out


def spread(w):
    return np.broadcast_to(w[..., None], Y.shape)


# ---------------------------------------------------------------- formulas


@pytest.mark.parametrize("threshold", [0.5, 0.2])
def test_counts(threshold):
    want = tally(Y, P, spread(WEIGHT), np.float32(threshold))
    classes = (metrics.TruePositives, metrics.FalsePositives, metrics.TrueNegatives, metrics.FalseNegatives)
    for cls, count in zip(classes, want):
        assert math.isclose(cls(threshold)(Y, P, WEIGHT), count, rel_tol=1e-12)
    tp, fp, tn, fn = want
    assert math.isclose(metrics.Precision(threshold)(Y, P, WEIGHT), tp / (tp + fp), rel_tol=1e-12)
    assert math.isclose(metrics.Recall(threshold)(Y, P, WEIGHT), tp / (tp + fn), rel_tol=1e-12)


def test_thresholds_are_not_reached_by_equality_and_nan_is_never_above():
    p = np.array([0.5, 0.25, np.nan, 1.0, 0.0, 2.0, -1.0], "float32")
    y = np.ones(7)
    assert metrics.TruePositives([0.5, 0.25, 0.0])(y, p).tolist() == [2, 3, 4]
    # even ones clip to 0 .. 1, as in Keras
    assert metrics.TruePositives([0.0, 0.5, 1.0])(y, p).tolist() == [4, 2, 0]


@pytest.mark.parametrize("n", [3, 7, 11, 200, 1000])
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_places_among_even_thresholds_are_exact(n, dtype):
    even = (np.arange(n) / (n - 1)).astype(dtype)
    p = np.concatenate([even, np.nextafter(even, np.asarray(2, dtype)),
                        np.nextafter(even, np.asarray(-1, dtype)), RNG.random(500).astype(dtype)])
    want = (np.clip(p, 0, 1)[:, None] > even).sum(axis=1)
    assert np.array_equal(confusion.exceeded(p, even, True), want)
    assert np.array_equal(confusion.exceeded(np.clip(p, 0, 1), even, False), want)


def test_roc_area_is_the_part_of_pairs_in_order():
    y, p = Y[:, 0, 0], P[:, 0, 0]
    pairs = [(a > b) + 0.5 * (a == b) for a, b in itertools.product(p[y == 1], p[y == 0])]
    assert abs(metrics.AUC(num_thresholds=20_000)(y, p) - np.mean(pairs)) < 1e-9
    low, mid, high = (metrics.AUC(num_thresholds=50, summation_method=s)(y, p)
                      for s in ("minoring", "interpolation", "majoring"))
    assert low < mid < high and math.isclose(2 * mid, low + high)
    logits = np.log(p / (1 - p))
    assert math.isclose(metrics.AUC(from_logits=True)(y, logits), metrics.AUC()(y, p), abs_tol=1e-6)


def test_areas_of_labels():
    y, p = Y[:, 0], P[:, 0]
    each = [metrics.AUC()(y[:, i], p[:, i]) for i in range(3)]
    assert math.isclose(metrics.AUC(multi_label=True)(y, p), np.mean(each))
    assert math.isclose(metrics.AUC(multi_label=True, label_weights=[1, 2, 3])(y, p),
                        np.dot(each, [1, 2, 3]) / 6)
    weights = np.broadcast_to([1.0, 2.0, 3.0], y.shape)
    assert math.isclose(metrics.AUC(label_weights=[1, 2, 3])(y, p), metrics.AUC()(y, p, weights))


def test_perfect_and_useless():
    y = np.array([0, 0, 1, 1])
    for curve in ("ROC", "PR"):
        assert abs(metrics.AUC(curve=curve)(y, y * 0.8 + 0.1) - 1) < 1e-6
    assert metrics.AUC()(y, np.full(4, 0.3)) == 0.5
    assert metrics.Precision()(y, np.zeros(4)) == 0 and metrics.Recall()(np.zeros(4), y) == 0


@pytest.mark.parametrize("average", [None, "micro", "macro", "weighted"])
def test_f_scores(average):
    y, p = Y.reshape(-1, 3), P.reshape(-1, 3)
    sums = np.array([tally(y[:, i], p[:, i], np.ones(len(y)), np.float32(0.4)) for i in range(3)])
    if average == "micro":
        sums = sums.sum(axis=0)[None]
    tp, fp, _, fn = sums.T
    score = 5 * tp / (5 * tp + 4 * fn + fp)
    want = {None: score, "weighted": np.dot(score, tp + fn) / (tp + fn).sum()}.get(average, score.mean())
    np.testing.assert_allclose(metrics.FBetaScore(average, 2.0, 0.4)(Y, P), want, rtol=1e-5)


def test_largest_output_decides_without_a_threshold():
    y = np.eye(3)[[0, 1, 2, 0]]
    p = np.array([[0.6, 0.3, 0.1], [0.2, 0.3, 0.5], [0.1, 0.1, 0.8], [0.0, 0.0, 0.0]])
    np.testing.assert_allclose(metrics.F1Score()(y, p), [2 / 3, 0, 2 / 3], atol=1e-6)


def test_r2():
    y, p, w = 1e4 + RNG.normal(size=(50, 3)), 1e4 + RNG.normal(size=(50, 3)), RNG.uniform(size=50)
    m = metrics.R2Score(class_aggregation=None)
    for part in (slice(0, 7), slice(7, 8), slice(8, 50)):
        m.update_state(y[part], p[part], w[part])
    center = np.average(y, axis=0, weights=w)
    want = 1 - np.average((y - p) ** 2, axis=0, weights=w) / np.average((y - center) ** 2, axis=0, weights=w)
    np.testing.assert_allclose(m.result(), want, rtol=1e-9)
    assert metrics.R2Score()([[1.0], [1.0]], [[1.0], [2.0]]) == 0       # nothing to explain
    with pytest.warns(UserWarning, match="num_regressors=5"):
        assert metrics.R2Score(num_regressors=5)([[1.0], [2.0], [3.0]], [[1.0], [2.0], [2.0]]) == 0.5


@pytest.mark.parametrize("name", ["MeanAbsoluteError", "Sum of them"])
def test_an_object_among_both_kinds_of_metrics_counts_for_each(name):
    class SumOfThem(metrics.Sum):
        def update_state(self, y_true, y_pred, sample_weight=None):
            super().update_state(np.abs(y_pred - y_true)[:, 0], sample_weight)

    m = metrics.MeanAbsoluteError(name="m") if name == "MeanAbsoluteError" else SumOfThem(name="m")
    made = tdfast.Sequential([layers.Input((1,)), layers.Dense(1, kernel_initializer="ones")])
    made.compile("sgd", "mse", metrics=[m, m], weighted_metrics=[m])
    x, weights = np.array([[1.0], [2], [3], [10]]), np.array([1.0, 0, 0, 0])
    for _ in range(2):
        logs = made.evaluate(x, np.zeros((4, 1)), sample_weight=weights, verbose=0, return_dict=True)
        want = {"m": 4.0, "m_1": 4.0, "weighted_m": 1.0} if name == "MeanAbsoluteError" else \
            {"m": 16.0, "m_1": 16.0, "weighted_m": 1.0}
        assert {k: v for k, v in logs.items() if k != "loss"} == want
    assert m.result() == want["m"]


def test_adjusted_r2_counts_samples():
    """By scikit-learn's r2_score of these 12 samples with 3 outputs."""
    rng = np.random.default_rng(5)
    y = rng.normal(size=(12, 3))
    p = y + rng.normal(size=(12, 3)) * 0.3
    r2 = 1 - ((y - p) ** 2).sum(axis=0) / ((y - y.mean(axis=0)) ** 2).sum(axis=0)
    assert np.isclose(metrics.R2Score(num_regressors=2)(y, p), 1 - (1 - r2.mean()) * 11 / 9)
    each = metrics.R2Score(class_aggregation=None, num_regressors=2)
    for part in (slice(0, 5), slice(5, 12)):
        each.update_state(y[part], p[part])
    assert np.allclose(each.result(), 1 - (1 - r2) * 11 / 9)
    # samples of weight 0 are not there
    wild = np.concatenate([p, np.full((4, 3), 99.0)]), np.concatenate([y, np.zeros((4, 3))])
    weight = np.repeat([1.0, 0.0], [12, 4])
    got = metrics.R2Score(num_regressors=2)(wild[1], wild[0], weight)
    assert np.isclose(got, 1 - (1 - r2.mean()) * 11 / 9)
    for n in (11, 12, 40):
        with pytest.warns(UserWarning, match=f"num_regressors={n} is too many for 12 samples"):
            assert np.isclose(metrics.R2Score(num_regressors=n)(y, p), r2.mean())


def test_correlations():
    y, p = RNG.normal(size=(6, 9)), RNG.normal(size=(6, 9))
    r = [np.corrcoef(a, b)[0, 1] for a, b in zip(y, p)]
    assert math.isclose(metrics.PearsonCorrelation()(y, p), np.mean(r))
    c = [2 * np.cov(a, b, ddof=0)[0, 1] / (a.var() + b.var() + (a.mean() - b.mean()) ** 2) for a,
         b in zip(y, p)]
    assert math.isclose(metrics.ConcordanceCorrelation()(y, p), np.mean(c), rel_tol=1e-6)


@pytest.mark.parametrize("cls", [metrics.PearsonCorrelation, metrics.ConcordanceCorrelation])
def test_correlation_over_masked_time(cls):
    m = cls(axis=1)
    mask = MASK | (np.arange(5) < 2)                # at least two steps
    mask[3] = False
    p = np.where(mask[..., None], P, np.nan)
    m.update_state(Y * 1.5 + P, p, mask=mask, sample_weight=WEIGHT[:, 0])
    rows = [i for i in range(30) if mask[i].any()]
    each = [[cls()((Y * 1.5 + P)[i, mask[i], c][None], P[i, mask[i], c][None]) for c in range(3)]
            for i in rows]
    assert math.isclose(m.result(), np.average(np.mean(each, axis=1), weights=WEIGHT[rows, 0]), rel_tol=1e-6)


def test_iou():
    y, p = RNG.integers(0, 4, (20, 3)), RNG.integers(0, 4, (20, 3))
    each = [((y == k) & (p == k)).sum() / ((y == k) | (p == k)).sum() for k in range(4)]
    assert abs(metrics.MeanIoU(4)(y, p) - np.mean(each)) < 1e-6
    assert abs(metrics.IoU(4, [1, 3])(y, p) - (each[1] + each[3]) / 2) < 1e-6
    assert abs(metrics.OneHotIoU(4, [2])(np.eye(4)[y], np.eye(4)[p]) - each[2]) < 1e-6
    assert abs(metrics.MeanIoU(9)(y, p) - np.mean(each)) < 1e-6         # classes that nobody has do not count
    keep = y != 0
    assert abs(metrics.MeanIoU(4, ignore_class=0)(y, p) - metrics.MeanIoU(4)(y[keep], p[keep])) < 1e-12
    half = metrics.MeanIoU(4)
    half.update_state(y, p, np.full(20, 0.5))
    assert half.total_cm.sum() == 30


def test_top_k():
    p = RNG.normal(size=(40, 6))
    y = RNG.integers(0, 6, 40)
    for k in (1, 3, 6, 9):
        want = np.mean([t in np.argsort(-row)[:k] for t, row in zip(y, p)])
        assert (
            metrics.SparseTopKCategoricalAccuracy(k)(y, p)
            == metrics.TopKCategoricalAccuracy(k)(np.eye(6)[y], p)
            == want
        )
    with pytest.raises(ValueError, match="label 6"):
        metrics.SparseTopKCategoricalAccuracy()([6], np.ones((1, 6)))


# ---------------------------------------------------------------- what counts

ALL = {
    "Accuracy": {}, "BinaryAccuracy": {}, "CategoricalAccuracy": {}, "TopKCategoricalAccuracy": {"k": 2},
    "BinaryCrossentropy": {}, "CategoricalCrossentropy": {}, "KLDivergence": {}, "Poisson": {}, "Hinge": {},
    "SquaredHinge": {},
    "CategoricalHinge": {}, "MeanSquaredError": {}, "RootMeanSquaredError": {}, "MeanAbsoluteError": {},
    "MeanAbsolutePercentageError": {}, "MeanSquaredLogarithmicError": {}, "CosineSimilarity": {},
    "LogCoshError": {},
    "R2Score": {"class_aggregation": None}, "TruePositives": {}, "TrueNegatives": {}, "FalsePositives": {},
    "FalseNegatives": {},
    "Precision": {}, "Recall": {"thresholds": [0.2, 0.8]}, "AUC": {}, "PrecisionAtRecall": {"recall": 0.4},
    "RecallAtPrecision": {"precision": 0.4}, "SensitivityAtSpecificity": {"specificity": 0.4},
    "SpecificityAtSensitivity": {"sensitivity": 0.4}, "F1Score": {},
    "FBetaScore": {"beta": 2.0, "threshold": 0.4},
    "BinaryIoU": {}, "OneHotIoU": {"num_classes": 3, "target_class_ids": [1]},
    "OneHotMeanIoU": {"num_classes": 3},
    "ConcordanceCorrelation": {}, "PearsonCorrelation": {},
}


@pytest.mark.parametrize("name", ALL)
def test_valid_steps_alone_count(name):
    """With a mask and weights of any kind, the result is that of the valid steps as samples; NaN elsewhere is
    nothing."""
    y = Y if "Categorical" not in name else np.eye(3, dtype="float32")[RNG.integers(0, 3, (30, 5))]
    p = P + 0.3 * RNG.normal(size=P.shape).astype("float32") if "Correlation" in name else P
    y = y + P if "Correlation" in name else y
    wild = np.where(MASK[..., None], p, np.nan).astype("float32")
    for weight in (None, WEIGHT, WEIGHT[:, 0]):
        m, want = (getattr(metrics, name)(**ALL[name]) for _ in range(2))
        for part in (slice(0, 11), slice(11, 30)):
            m.update_batch(y[part], wild[part], None if weight is None else weight[part], MASK[part])
        steps = None if weight is None else np.broadcast_to(weight.reshape(30, -1), MASK.shape)[MASK]
        want.update_state(y[MASK], p[MASK], steps)
        np.testing.assert_allclose(m.result(), want.result(), rtol=1e-6)
        m.reset_state()
        m.update_state(y[MASK], p[MASK], steps)
        np.testing.assert_allclose(m.result(), want.result(), rtol=1e-12)


@pytest.mark.parametrize("name", ALL)
def test_no_samples_and_state_that_does_not_grow(name):
    m = getattr(metrics, name)(**ALL[name])
    size = None
    for n in (0, 3, 400, 0):
        m.update_state(np.eye(3, dtype="float32")[RNG.integers(0, 3, n)], RNG.random((n, 3), "float32"))
        held = sum(np.size(v) for v in vars(m).values() if isinstance(v, np.ndarray))
        if n:
            assert size in (None, held) and held <= 4 * 200 + 20
            size = held
    assert np.isfinite(m.result()).all()
    assert repr(m) == f"<{name} name={m.name}>"


@pytest.mark.parametrize("name", ALL)
def test_the_state_holds_all_that_counts(name):
    """Another object goes on from it, and it has every attribute that a batch changes."""
    y, p = np.eye(3, dtype="float32")[RNG.integers(0, 3, 40)], RNG.random((40, 3), "float32")
    m, other = (getattr(metrics, name)(**ALL[name]) for _ in range(2))
    before = dict(vars(m))
    m.update_state(y[:25], p[:25])
    assert {n for n, v in vars(m).items() if v is not before[n]} <= set(m.get_state())
    other.update_state(y[::-1], p)
    other.set_state(m.get_state())
    for each in (m, other):
        each.update_state(y[25:], p[25:])
    np.testing.assert_array_equal(m.result(), other.result())


def test_sparse_crossentropy_leaves_the_ignored_class_out():
    y, p = RNG.integers(0, 3, 40), RNG.uniform(0.1, 1, (40, 3))
    m = metrics.SparseCategoricalCrossentropy(ignore_class=1)
    want = -np.log((p / p.sum(axis=1, keepdims=True))[np.arange(40), y])[y != 1].mean()
    assert math.isclose(m(y, p), want, rel_tol=1e-6)


# ---------------------------------------------------------------- options


@pytest.mark.parametrize("make, match", [
    (lambda: metrics.Precision(thresholds=1.5), "from 0 to 1"),
    (lambda: metrics.TruePositives(thresholds=[]), "from 0 to 1"),
    (lambda: metrics.Precision(top_k=0), "top_k"),
    (lambda: metrics.Precision(class_id=7)(Y, P), "class_id=7"),
    (lambda: metrics.Precision()([1, 2], P[0]), "targets must have shape"),
    (lambda: metrics.AUC(curve="PQ"), "curve must be one of"),
    (lambda: metrics.AUC(summation_method="mid"), "summation_method must be one of"),
    (lambda: metrics.AUC(num_thresholds=1), "num_thresholds"),
    (lambda: metrics.AUC(num_labels=3), "multi_label"),
    (lambda: metrics.AUC(multi_label=True, num_labels=4)(Y, P), "num_labels=4"),
    (lambda: metrics.AUC(label_weights=[1, 2])(Y, P), "label_weights"),
    (lambda: metrics.PrecisionAtRecall(1.5), "recall must be"),
    (lambda: metrics.RecallAtPrecision(0.5, num_thresholds=0), "num_thresholds"),
    (lambda: metrics.FBetaScore(beta=2), "beta must be a float"),
    (lambda: metrics.F1Score(threshold=0.0), "threshold"),
    (lambda: metrics.F1Score(average="mean"), "average"),
    (lambda: metrics.R2Score("mean"), "class_aggregation"),
    (lambda: metrics.R2Score(num_regressors=-1), "num_regressors"),
    (lambda: metrics.IoU(2, [2]), "target_class_ids"),
    (lambda: metrics.IoU(2, [0])([1, 0], [1]), "targets for"),
    (lambda: metrics.Mean(dtype="text"), "dtype must be"),
    (lambda: metrics.get("IoU"), "needs arguments"),
    (lambda: metrics.get(3), "cannot be a metric"),
    (lambda: metrics.serialize(metrics.get(lambda y, p: p)), "named function"),
    (lambda: metrics.deserialize({"class_name": "MeanMetricWrapper", "config": {"fn": {"config": "mine"}}}),
     "custom_objects"),
    (lambda: metrics.MeanMetricWrapper(lambda y, p: 1.0).update_state(Y, P, mask=MASK), "masked steps"),
    (lambda: metrics.Metric(name="bare")(1, 2), "override update_state"),
])
def test_what_cannot_be_is_refused(make, match):
    with pytest.raises(ValueError, match=match):
        make()


# ---------------------------------------------------------------- in a model


def model(**options):
    made = tdfast.Sequential([layers.LSTM(3, return_sequences=True, input_shape=(5, 3)),
                              layers.Dense(3, "sigmoid")])
    made.compile("sgd", "mse", **options)
    return made


class Seen(metrics.Metric):
    """A metric in Keras's way, without a word of masks."""

    def __init__(self, **kwargs):
        super().__init__(**kwargs)
        self.seen = self.add_weight(name="seen", initializer="zeros")

    def update_state(self, y_true, y_pred, sample_weight=None):
        self.seen.assign_add(len(y_true) if sample_weight is None else np.sum(sample_weight))

    def result(self):
        return {"seen": self.seen, "twice": 2 * self.seen}


def largest(y_true, y_pred):
    return np.abs(y_true - y_pred).max(axis=-1)


def test_in_a_model():
    made = model(metrics=["f1_score", ["auc", largest], Seen(name="s"), losses.Huber(0.1),
                          losses.mean_squared_error,
                          {"class_name": "Precision", "config": {"name": "precision",
                                                                 "thresholds": [0.4, 0.6]}}],
                 weighted_metrics=[largest, "r2_score"])
    lengths = MASK.sum(axis=1)
    history = made.fit(P, Y, epochs=2, verbose=0, lengths=lengths, sample_weight=WEIGHT).history
    assert {k: np.shape(v) for k,
            v in history.items() if np.ndim(v) > 1} == {"f1_score": (2, 3), "precision": (2, 2)}
    logs = made.evaluate(P, Y, verbose=0, lengths=lengths, sample_weight=WEIGHT, return_dict=True,
                         batch_size=7)
    assert list(logs) == ["loss", "f1_score", "auc", "largest", "seen", "twice", "huber_loss",
                          "mean_squared_error", "precision",
                          "weighted_largest", "r2_score"]
    assert logs["seen"] == MASK.sum() and logs["twice"] == 2 * MASK.sum()
    p = made.predict(P, verbose=0, lengths=lengths)
    rows = largest(Y, p)
    assert math.isclose(logs["largest"], rows[MASK].mean(), rel_tol=1e-6)
    assert math.isclose(logs["weighted_largest"], np.average(rows[MASK], weights=WEIGHT[MASK]), rel_tol=1e-5)
    assert math.isclose(logs["auc"], metrics.AUC()(Y[MASK], p[MASK]), rel_tol=1e-12)
    assert math.isclose(logs["r2_score"], metrics.R2Score()(Y[MASK], p[MASK], WEIGHT[MASK]), rel_tol=1e-6)
    listed = made.evaluate(P, Y, verbose=0, lengths=lengths, sample_weight=WEIGHT, batch_size=7)
    # As in Keras: by the metrics' own names, of which 'largest' is one of two, then by those in the logs.
    names = ["loss", "f1_score", "auc", "largest", "huber_loss", "mean_squared_error", "precision", "largest",
             "r2_score", "seen", "twice", "weighted_largest"]
    assert all(np.array_equal(a, logs[name]) for a, name in zip(listed, names, strict=True))


def test_arrays_are_shown_and_not_watched(capsys):
    made = model(metrics=["f1_score"])
    made.evaluate(P, Y, verbose=2)
    assert "f1_score: 0." in capsys.readouterr().out
    with pytest.raises(ValueError, match="'f1_score', which is 3 numbers"):
        made.fit(P, Y, verbose=0, callbacks=[tdfast.callbacks.EarlyStopping("f1_score", mode="max")])


def test_names_as_keras_numbers_them():
    tdfast.utils.clear_session()
    made = model(metrics=["auc", metrics.AUC(name="auc"), lambda y, p: p], weighted_metrics=["auc", "auc"])
    made.evaluate(P, Y, verbose=0)
    assert made.metrics_names == ["loss", "auc", "auc_1", "lambda", "weighted_auc", "weighted_auc_1"]
    assert [m.name for m in made.metrics] == ["loss", "auc", "auc", "lambda", "auc", "auc"]
    tdfast.utils.clear_session()
    assert [metrics.AUC().name, metrics.AUC().name,
            metrics.BinaryIoU().name] == ["auc", "auc_1", "binary_io_u"]


@pytest.mark.parametrize("spec", [[None], "auc", [object()], [3]])
def test_what_compile_refuses(spec):
    with pytest.raises(ValueError, match="metric"):
        model(metrics=spec)


def test_metrics_made_of_losses():
    for name in ("cosine_similarity", "categorical_hinge", "quantile", "dice", "huber",
                 "binary_focal_crossentropy"):
        metric, loss = metrics.get(name), losses.get(name)
        sign = -1 if name == "cosine_similarity" else 1         # the metric's is the similarity itself
        assert math.isclose(metric(Y[:, 0], P[:, 0]), sign * loss(Y[:, 0], P[:, 0]), rel_tol=1e-6)
        again = metrics.deserialize(metrics.serialize(metric))
        assert again(Y, P) == metrics.get(name)(Y, P) and again.name == metric.name


@pytest.mark.parametrize("name", ALL)
def test_round_trips(name):
    m = getattr(metrics, name)(**ALL[name], name="m")
    again = metrics.deserialize(metrics.serialize(m))
    assert type(again) is type(m) and again.get_config() == m.get_config()
    np.testing.assert_array_equal(again(Y, P), m(Y, P))
    assert metrics.serialize(m)["module"] == "keras.metrics"


def test_functions_in_files():
    saved = metrics.serialize(metrics.get(largest))
    assert saved == {"module": "builtins", "class_name": "function", "config": "largest",
                     "registered_name": "function"}
    assert metrics.deserialize(saved, {"largest": largest}).name == "largest"
    named = metrics.MeanMetricWrapper(metrics.top_k_categorical_accuracy, "top", k=1)
    again = metrics.deserialize(metrics.serialize(named))
    assert again.name == "top" and again.get_config()["k"] == 1 and again(np.eye(3), np.eye(3)) == 1
