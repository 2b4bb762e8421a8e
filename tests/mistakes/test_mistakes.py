"""Likely mistakes in what a training is given: each is refused or warned of, with the mend."""

import warnings

import numpy as np
import pytest

import tdfast
from tdfast import Sequential, losses, metrics, optimizers
from tdfast.layers import Activation, Dense, Input, Softmax


def classifier(loss="sparse_categorical_crossentropy", units=3, activation="softmax", **options):
    model = Sequential([Input((2,)), Dense(units, activation)])
    model.compile("sgd", loss, **options)
    return model


X = np.random.default_rng(0).normal(size=(6, 2))

# ---------------------------------------------------------------- labels


@pytest.mark.parametrize("bad", [1.5, 0.999])
def test_labels_that_are_no_whole_numbers_are_refused(bad):
    y = np.array([0, 1, 2, bad, 0, 1])
    model = classifier()
    for call in (lambda: model.fit(X, y), lambda: model.evaluate(X, y), lambda: model.train_on_batch(X, y),
                 lambda: model.fit(iter([(X, y)])),
                 lambda: losses.SparseCategoricalCrossentropy()(y, np.ones((6, 3))),
                 lambda: metrics.SparseCategoricalAccuracy()(y, np.ones((6, 3)))):
        with pytest.raises(ValueError, match=rf"whole numbers.*at index \(3,\) there is {bad}"):
            call()


def test_labels_as_floats_and_too_large_ones():
    with pytest.raises(ValueError, match="whole numbers.*4294967297"):
        losses.SparseCategoricalCrossentropy()(np.array([2**32 + 1]), np.ones((1, 3)))
    assert np.isclose(losses.SparseCategoricalCrossentropy()(np.array([2.0]), np.ones((1, 3))), np.log(3))
    assert np.isfinite(classifier().train_on_batch(X, np.array([0.0, 1, 2, 0, 1, 2])))


@pytest.mark.parametrize("loss", ["binary_crossentropy", "crossentropy", "binary_focal_crossentropy",
                                  losses.BinaryCrossentropy(from_logits=True)])
def test_binary_labels_beyond_0_and_1_warn(loss):
    for y in (np.array([1, 2] * 3), np.array([-1.0, 1.0] * 3), np.array([0, 255] * 3)):
        model = classifier(loss, 1, "sigmoid")
        for call in (model.fit, model.evaluate):
            with pytest.warns(UserWarning, match=f"from {y.min():g} to {y.max():g}, but .*from 0 to 1"):
                call(X, y, verbose=0)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        classifier(loss, 1, "sigmoid").fit(X, np.array([0, 1, 0.5, 0, 1, 1]), verbose=0)
        classifier("mse", 1, "linear").fit(X, np.arange(6), verbose=0)
        if loss == "crossentropy":
            classifier(loss).fit(X, np.array([0, 1, 2] * 2), verbose=0)


def test_softmax_of_one_number_warns():
    for stack in ([Dense(1, "softmax")], [Dense(1), Activation("softmax")], [Dense(1), Softmax()],
                  [Dense(1, "log_softmax")]):
        with pytest.warns(UserWarning, match="over a single number is always the same.*'sigmoid'"):
            Sequential([Input((4,)), *stack])
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        Sequential([Input((4,)), Dense(2, "softmax"), Activation("softmax"), Softmax()])
        Sequential([Input((4, 1)), Softmax(axis=1)])
        Sequential([Input((4,)), Dense(1, "sigmoid"), Activation("relu")])


# ---------------------------------------------------------------- weights


@pytest.mark.parametrize("weight", [np.nan, np.inf, None, "2", [1.0]])
def test_class_weights_must_be_numbers(weight):
    with pytest.raises(ValueError, match=r"class_weight\[1\] must be a finite number"):
        classifier().fit(X, [0, 1, 2] * 2, class_weight={0: 1, 1: weight})
    classifier().fit(X, [0, 1, 2] * 2, class_weight={0: 1, 1: np.float32(2), 2: np.int64(0)}, verbose=0)


def test_sample_weights_must_be_finite():
    for weight in (np.nan, np.inf):
        with pytest.raises(ValueError, match=r"fit: sample_weight holds 1 value.*at index \(2,\)"):
            classifier().fit(X, [0, 1, 2] * 2, sample_weight=np.array([1, 1, weight, 1, 1, 1]))


# ---------------------------------------------------------------- optimizers


@pytest.mark.parametrize("bad", [-0.1, -1, np.nan, np.float32(-1e-9)])
def test_learning_rates_are_not_negative(bad):
    for make in (lambda: optimizers.SGD(bad), lambda: setattr(optimizers.Adam(), "learning_rate", bad),
                 lambda: optimizers.Adam().learning_rate.assign(bad)):
        with pytest.raises(ValueError, match="learning_rate must be 0 or more"):
            make()


def test_schedules_do_not_turn_the_way_round():
    assert optimizers.SGD(0.0).learning_rate == 0
    model = classifier()
    before = model.get_weights()
    for rate in (lambda: -0.5, optimizers.schedules.PiecewiseConstantDecay([1], [-0.5, 0.1])):
        model.compile(optimizers.SGD(rate), "sparse_categorical_crossentropy")
        with pytest.raises(ValueError, match="learning_rate must be 0 or more, but .* gives -0.5"):
            model.fit(X, [0, 1, 2] * 2, verbose=0)
    assert all((a == b).all() for a, b in zip(before, model.get_weights()))
    with pytest.raises(ValueError, match="learning_rate must be 0 or more"):
        model.compile("sgd", "sparse_categorical_crossentropy")
        model.fit(X, [0, 1, 2] * 2, verbose=0,
                  callbacks=[tdfast.callbacks.LearningRateScheduler(lambda epoch, rate: -rate)])


def test_old_names_of_the_learning_rate_are_refused():
    for optimizer in (optimizers.SGD(), optimizers.Adam(), optimizers.Lamb()):
        with pytest.raises(AttributeError, match="no attribute 'lr': set learning_rate"):
            optimizer.lr = 0.5
        with pytest.raises(AttributeError, match="InverseTimeDecay"):
            optimizer.decay = 1e-3
        assert not hasattr(optimizer, "lr") and not hasattr(optimizer, "decay")

    class Own(optimizers.Optimizer):
        def __init__(self):
            super().__init__(0.1)
            self.lr, self.decay = 2.0, 3.0

    assert Own().lr == 2


# ---------------------------------------------------------------- metrics


def test_an_error_in_a_metric_says_which():
    class Strange(Exception):
        def __init__(self, one, two):
            super().__init__(one, two)

    def nth_root(y_true, y_pred):
        raise KeyError("the root")

    def strange(y_true, y_pred):
        raise Strange(1, 2)

    class Late(metrics.Metric):
        def update_state(self, y_true, y_pred, sample_weight=None):
            pass

        def result(self):
            return 1 / 0

    for metric, kind, text in ((nth_root, KeyError, r"Metric 'nth_root' \(MeanMetricWrapper\): 'the root'"),
                               (strange, RuntimeError, "Metric 'strange'"),
                               (Late(name="late"), ZeroDivisionError, r"'late' \(Late\): division by zero")):
        model = classifier(metrics=["accuracy", metric])
        for call in (model.train_on_batch, model.test_on_batch, model.fit):
            with pytest.raises(kind, match=text) as caught:
                call(X, np.array([0, 1, 2] * 2))
            assert caught.value.__cause__ is not None

    def mine(y_true, y_pred):
        raise ValueError("mine: y is wrong")

    with pytest.raises(ValueError, match="^mine: y is wrong$"):         # which tells it already
        classifier(metrics=[mine]).evaluate(X, np.array([0, 1, 2] * 2), verbose=0)


# ---------------------------------------------------------------- names


def test_lists_of_names_hold_no_word_that_was_taken_apart():
    modules = (optimizers, metrics, losses, tdfast.initializers, tdfast.constraints, tdfast.activations)
    everywhere = " ".join(" ".join(module.REGISTRY.names()) for module in modules)
    for word in ("adam_w", "rm_sprop", "io_u"):
        assert word not in everywhere
    for module, wrong, right in ((optimizers, "rm_spro", "rmsprop"), (optimizers, "adm_w", "adamw"),
                                 (metrics, "mean_iou", "MeanIoU"), (metrics, "binary_iou", "BinaryIoU")):
        with pytest.raises(ValueError, match=f"Did you mean '{right}'") as caught:
            module.get(wrong)
        assert not any(word in str(caught.value) for word in ("adam_w", "rm_sprop", "io_u"))
    for module in modules:
        for name in module.REGISTRY.names():
            assert module.REGISTRY.has(name)
    assert type(optimizers.get("rm_sprop")) is type(optimizers.get("RMSprop")) is optimizers.RMSprop
    assert metrics.REGISTRY.find("io_u") is metrics.IoU         # as in Keras, though nobody is told
