"""fit, evaluate and predict beside Keras itself, with copied weights: the same epochs, to rounding.

Keras runs on the backend that KERAS_BACKEND names, torch or JAX otherwise; without Keras these tests are
skipped.
"""

import importlib.util
import os
import warnings

import numpy as np
import pytest

import tdfast

# Torch has nothing to compile, so small models are quick with it.
os.environ.setdefault("KERAS_BACKEND", "torch" if importlib.util.find_spec("torch") else "jax")
pytest.importorskip(os.environ["KERAS_BACKEND"])
keras = pytest.importorskip("keras")

N, T, F, C = 11, 5, 2, 3
rng = np.random.default_rng(0)
X = rng.normal(size=(N, T, F)).astype("float32")
Y = rng.normal(size=(N, T, 1)).astype("float32")
LABELS = rng.integers(0, C, N)
STEP_LABELS = rng.integers(0, C, (N, T))
WEIGHTS = rng.uniform(0, 3, N).astype("float32")
STEP_WEIGHTS = rng.uniform(0, 3, (N, T)).astype("float32")


def many_to_many(k, out=1, activation=None, **compiled):
    model = k.Sequential([k.Input((T, F)), k.layers.LSTM(4, return_sequences=True),
                          k.layers.TimeDistributed(k.layers.Dense(out, activation=activation))])
    model.compile(**{"optimizer": k.optimizers.SGD(0.1), "loss": "mse", **compiled})
    return model


def many_to_one(k, out=1, activation=None, **compiled):
    model = k.Sequential([k.Input((T, F)), k.layers.LSTM(4), k.layers.Dense(out, activation=activation)])
    model.compile(**{"optimizer": k.optimizers.SGD(0.1), "loss": "mse", **compiled})
    return model


def pair(make, **options):
    """The model in Keras and in tdfast, with the same weights."""
    theirs = make(keras, **{n: v(keras) if callable(v) else v for n, v in options.items()})
    ours = make(tdfast, **{n: v(tdfast) if callable(v) else v for n, v in options.items()})
    ours.set_weights(theirs.get_weights())
    return theirs, ours


def same(theirs, ours, tol=2e-5):
    assert sorted(theirs) == sorted(ours)
    for name in theirs:
        np.testing.assert_allclose(ours[name], theirs[name], rtol=tol, atol=tol, err_msg=name)


def both_fit(make, arguments, model=None, tol=2e-5):
    """Fit both on ``arguments()``; histories and weights must agree."""
    theirs, ours = pair(make, **(model or {}))
    histories = []
    for m in (theirs, ours):
        x, y, options = arguments()
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            h = m.fit(x, y, verbose=0, shuffle=False, **{"epochs": 3, **options})
        assert h.epoch == list(range(options.get("epochs", 3)))
        histories.append(h.history)
    same(*histories, tol)
    for a, b in zip(theirs.get_weights(), ours.get_weights()):
        np.testing.assert_allclose(b, a, rtol=tol, atol=tol)


METRICS = {"metrics": ["mae", "mse"], "weighted_metrics": ["mae", "mse"]}
VALIDATION = (X[:7] * 0.5, Y[:7])


@pytest.mark.parametrize("options", [
    {},
    {"batch_size": 4},
    {"batch_size": 4, "epochs": 1},
    {"batch_size": 4, "validation_data": VALIDATION},
    {"batch_size": 4, "validation_data": (*VALIDATION, WEIGHTS[:7, None])},
    {"batch_size": 4, "validation_data": VALIDATION, "validation_batch_size": 3},
    {"batch_size": 4, "validation_data": VALIDATION, "validation_steps": 1},
    {"batch_size": 4, "validation_data": VALIDATION, "validation_freq": 2},
    {"batch_size": 4, "validation_data": VALIDATION, "validation_freq": [1, 3]},
    {"batch_size": 4, "validation_split": 0.3},
    {"batch_size": 4, "validation_split": 0.3, "sample_weight": STEP_WEIGHTS},
    {"batch_size": 4, "sample_weight": WEIGHTS[:, None]},
    {"batch_size": 4, "sample_weight": STEP_WEIGHTS},
    {"batch_size": 4, "sample_weight": STEP_WEIGHTS[..., None]},
    {"batch_size": 4, "steps_per_epoch": 2},
    {"batch_size": 2, "steps_per_epoch": 4, "epochs": 5},
    {"batch_size": 4, "steps_per_epoch": 9},
    {"steps_per_epoch": 3},
    {"batch_size": 4, "initial_epoch": 0},
], ids=lambda o: " ".join(o) or "none")
def test_fit_on_arrays(options):
    both_fit(many_to_many, lambda: (X, Y, options), METRICS)


@pytest.mark.parametrize("wrap", [lambda y: [y], lambda y: (y,), lambda y: y[:, :, 0]],
                         ids=["list", "tuple", "axis missing"])
def test_targets_as_keras_takes_them(wrap):
    both_fit(many_to_many, lambda: (X, wrap(Y), {"batch_size": 4}))


@pytest.mark.parametrize("weight", [None, WEIGHTS])
def test_fit_one_output_a_sample(weight):
    options = {"batch_size": 4, "validation_split": 0.2}
    if weight is not None:
        options["sample_weight"] = weight
    both_fit(many_to_one, lambda: (X, Y[:, 0], options), METRICS)


CLASS_WEIGHT = {0: 0.5, 2: 3.0}


@pytest.mark.parametrize("targets,loss", [
    (LABELS, "sparse_categorical_crossentropy"),
    (LABELS[:, None], "sparse_categorical_crossentropy"),
    (np.eye(C)[LABELS], "categorical_crossentropy"),
], ids=["labels", "column", "one-hot"])
def test_class_weight(targets, loss):
    options = {"batch_size": 4, "class_weight": CLASS_WEIGHT, "validation_split": 0.3}
    model = {"out": C, "activation": "softmax", "loss": loss, "metrics": ["accuracy"],
             "weighted_metrics": ["accuracy"]}
    both_fit(many_to_one, lambda: (X, targets, options), model)


def test_class_weight_of_two_classes():
    model = {"activation": "sigmoid", "loss": "binary_crossentropy"}
    both_fit(many_to_one, lambda: (X, (LABELS > 0).astype(float), {"class_weight": {0: 1, 1: 4.5}}), model)


@pytest.mark.parametrize("one_hot", [False, True])
def test_class_weight_for_each_step_is_that_sample_weight(one_hot):
    """Keras takes no class_weight for targets of each step, so here it gets the weights we make of them."""
    targets = np.eye(C)[STEP_LABELS] if one_hot else STEP_LABELS
    weights = np.select([STEP_LABELS == 0, STEP_LABELS == 2], [0.5, 3.0], 1.0)
    theirs, ours = pair(many_to_many, out=C, activation="softmax", weighted_metrics=["accuracy"],
                        loss="categorical_crossentropy" if one_hot else "sparse_categorical_crossentropy")
    a = theirs.fit(X, targets, sample_weight=weights, batch_size=4, shuffle=False, epochs=2,
                   verbose=0).history
    b = ours.fit(X, targets, class_weight=CLASS_WEIGHT, batch_size=4, shuffle=False, epochs=2,
                 verbose=0).history
    same(a, b)


# ---------------------------------------------------------------- what yields batches


def generator(sizes=(4, 3, 4), weights=None, endless=False):
    while True:
        at = 0
        for size in sizes:
            rows = slice(at, at + size)
            at += size
            yield (X[rows], Y[rows]) if weights is None else (X[rows], Y[rows], weights[rows])
        if not endless:
            return


def in_keras_and_here(base):
    class Batches(base):
        def __init__(self, size=4, weights=None, **kwargs):
            super().__init__(**kwargs)
            self.size, self.weights, self.begun, self.ended = size, weights, 0, 0

        def __len__(self):
            return -(-N // self.size)

        def __getitem__(self, i):
            rows = slice(i * self.size, (i + 1) * self.size)
            more = () if self.weights is None else (self.weights[rows],)
            return (X[rows], Y[rows], *more)

        def on_epoch_end(self):
            self.ended += 1

    return Batches


@pytest.mark.parametrize("weights", [None, STEP_WEIGHTS], ids=["plain", "weights"])
@pytest.mark.parametrize("options", [{"epochs": 1}, {"epochs": 3, "steps_per_epoch": 2},
                                     {"epochs": 2, "steps_per_epoch": 5, "validation_data": VALIDATION}],
                         ids=["once", "endless", "validation"])
def test_fit_on_a_generator(options, weights):
    endless = "steps_per_epoch" in options
    both_fit(many_to_many, lambda: (generator(weights=weights, endless=endless), None, options), METRICS)


def test_validation_generator():
    options = {"batch_size": 4, "epochs": 1, "validation_steps": 2}
    both_fit(many_to_many, lambda: (X, Y, {**options, "validation_data": generator(endless=True)}), METRICS)


@pytest.mark.parametrize("options", [{}, {"steps_per_epoch": 2}, {"class_weight": {0: 2.0}}],
                         ids=["all", "steps", "class"])
def test_fit_on_a_py_dataset(options):
    theirs, ours = pair(many_to_one)

    def arguments(base):
        data = in_keras_and_here(base)()
        get = type(data).__getitem__
        type(data).__getitem__ = lambda self, i: (get(self, i)[0], np.round(get(self, i)[1][:, 0]))
        return data

    a = theirs.fit(arguments(keras.utils.PyDataset), epochs=3, shuffle=False, verbose=0, **options).history
    b = ours.fit(arguments(tdfast.utils.PyDataset), epochs=3, shuffle=False, verbose=0, **options).history
    same(a, b)
    # A Keras data set works as it is.
    data = arguments(keras.utils.PyDataset)
    assert np.isfinite(ours.fit(data, epochs=2, verbose=0,
                                **options).history["loss"]).all() and data.ended == 2


def test_fit_on_a_data_loader():
    torch = pytest.importorskip("torch")
    loader = torch.utils.data.DataLoader(torch.utils.data.TensorDataset(torch.tensor(X), torch.tensor(Y)),
                                         batch_size=4)
    both_fit(many_to_many, lambda: (loader, None, {"validation_data": loader}), METRICS)


def test_evaluate_and_predict():
    theirs, ours = pair(many_to_many, **METRICS)
    for x, y, options in [
        (X, Y, {"batch_size": 4}),
        (X, Y, {"batch_size": 4, "steps": 2}),
        (X, Y, {"steps": 3}),
        (X, Y, {"batch_size": 4, "sample_weight": STEP_WEIGHTS}),
        (lambda: generator(weights=STEP_WEIGHTS), None, {}),
        (lambda: generator(endless=True), None, {"steps": 4}),
    ]:
        results = [m.evaluate(x() if callable(x) else x, y, verbose=0, return_dict=True, **options)
                   for m in (theirs, ours)]
        same(*results)
    for inputs, options in [
        (X, {"batch_size": 4}),
        (X, {"batch_size": 4, "steps": 2}),
        (X, {"steps": 2}),
        (lambda: ((x,) for x, _ in generator()), {}),
        (lambda: generator(endless=True), {"steps": 4}),
    ]:
        results = [m.predict(inputs() if callable(inputs) else inputs, verbose=0, **options)
                   for m in (theirs, ours)]
        np.testing.assert_allclose(results[1], results[0], atol=1e-6)


def test_single_batches():
    theirs, ours = pair(many_to_one, **METRICS)
    for weight in (None, WEIGHTS[:4], WEIGHTS[4:8]):
        for method in ("train_on_batch", "test_on_batch"):
            results = [getattr(m, method)(X[:4], Y[:4, 0], sample_weight=weight, return_dict=True)
                       for m in (theirs, ours)]
            same(*results)
    results = [m.train_on_batch(X[:4], np.round(Y[:4, 0]), class_weight={0: 2.0, 1: 0.5}, return_dict=True)
               for m in (theirs, ours)]
    same(*results)
    np.testing.assert_allclose(*(m.test_on_batch(X, Y[:, 0]) for m in (ours, theirs)), rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(ours.predict_on_batch(X), theirs.predict_on_batch(X), atol=1e-6)


def test_lengths_are_keras_masks():
    """Keras has no lengths: its Masking layer, on inputs whose padding it can tell, says the same."""
    lengths = rng.integers(0, T + 1, N)
    x = np.where(np.arange(T)[:, None] < lengths[:, None, None], X, np.float32(-9))
    theirs = keras.Sequential([keras.Input((T, F)), keras.layers.Masking(-9.0),
                               keras.layers.LSTM(4, return_sequences=True), keras.layers.Dense(1)])
    # On torch, Keras's loss multiplies the weights by the mask in place, before its weighted metrics see
    # them.
    weighted = [] if keras.backend.backend() == "torch" else ["mse"]
    theirs.compile(keras.optimizers.SGD(0.1), "mse", metrics=["mae"], weighted_metrics=weighted)
    ours = tdfast.Sequential([tdfast.Input((T, F)), tdfast.layers.LSTM(4, return_sequences=True),
                              tdfast.layers.Dense(1)])
    ours.compile(tdfast.optimizers.SGD(0.1), "mse", metrics=["mae"], weighted_metrics=weighted)
    ours.set_weights(theirs.get_weights())
    np.testing.assert_allclose(ours.predict(x, lengths=lengths, verbose=0), theirs.predict(x, verbose=0),
                               atol=1e-6)
    for weight in (None, STEP_WEIGHTS):
        results = [theirs.evaluate(x, Y, sample_weight=weight, batch_size=4, verbose=0, return_dict=True),
                   ours.evaluate(x, Y, sample_weight=weight, batch_size=4, verbose=0, return_dict=True,
                                 lengths=lengths)]
        same(*results)
        a = theirs.fit(x, Y, sample_weight=weight, batch_size=4, epochs=2, shuffle=False, verbose=0).history
        b = ours.fit(x, Y, sample_weight=weight, batch_size=4, epochs=2, shuffle=False, verbose=0,
                     lengths=lengths).history
        if keras.backend.backend() == "jax":
            # There Keras's metrics in fit, though not those in evaluate, count the masked steps as well.
            a, b = {"loss": a["loss"]}, {"loss": b["loss"]}
        same(a, b)


@pytest.mark.parametrize("x,built", [(X[..., 0], (T, 1)), (X[..., :1, None], (T, 1))],
                         ids=["axis missing", "axis too many"])
def test_a_last_axis_of_one_may_be_missing(x, built):
    def make(k):
        return k.Sequential([k.Input(built), k.layers.LSTM(3)])

    theirs, ours = pair(make)
    np.testing.assert_allclose(ours.predict(x, verbose=0), theirs.predict(x, verbose=0), atol=1e-6)


# ---------------------------------------------------------------- printed lines


@pytest.mark.parametrize("verbose", [2])
def test_lines_of_a_generator_fit(verbose, capsys):
    """Steps are not known before the first epoch's end; the lines are Keras's but for the times."""
    import re

    if keras.backend.backend() == "jax":
        pytest.skip("there Keras counts one batch too few of a generator")
    theirs, ours = pair(many_to_many)
    texts = []
    for m in (theirs, ours):
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            m.fit(generator(), verbose=verbose)
            m.fit(generator(endless=True), steps_per_epoch=2, epochs=2, verbose=verbose)
            m.evaluate(generator(), verbose=verbose)
            m.predict(((x,) for x, _ in generator()), verbose=verbose)
        out = capsys.readouterr().out
        texts.append(re.sub(r"\d+(us|ms|s)(?=/step| )", "TIME", out))
    assert texts[0] == texts[1]
