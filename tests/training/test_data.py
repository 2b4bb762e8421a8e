"""What goes into fit, evaluate and predict: arrays of every kind, generators, data sets; what is refused."""

import warnings

import numpy as np
import pytest

from tdfast import Sequential, losses
from tdfast.callbacks import Callback
from tdfast.engine.arrays import as_array
from tdfast.engine.tape import Record
from tdfast.layers import GRU, LSTM, Dense, TimeDistributed
from tdfast.training import adapters
from tdfast.training.batch import Batch
from tdfast.training.epochs import ArrayBatches, EpochIterator, StreamBatches
from tdfast.utils import PyDataset, set_random_seed

N, T, F = 11, 4, 2
rng = np.random.default_rng(0)
X = rng.normal(size=(N, T, F)).astype("float32")
Y = rng.normal(size=(N, T, 1)).astype("float32")


def model(loss="mse", out=1, **options):
    set_random_seed(3)
    made = Sequential([LSTM(3, return_sequences=True, input_shape=(None, F)), TimeDistributed(Dense(out))])
    made.compile("sgd", loss, **options)
    return made


def small(features=2):
    set_random_seed(3)
    made = Sequential([Dense(1, input_shape=(features,))])
    made.compile("sgd", "mse")
    return made


def batches(size=4, n=N, more=()):
    for i in range(0, n, size):
        yield (X[i : i + size], Y[i : i + size], *(a[i : i + size] for a in more))


def endless(size=4):
    while True:
        yield from batches(size)


class Readable:
    """An iterable that begins anew each time, and counts how often it was read."""

    def __init__(self):
        self.read = 0

    def __iter__(self):
        self.read += 1
        return batches()


class Indexed(PyDataset):
    def __init__(self, **kwargs):
        super().__init__(**kwargs)
        self.asked, self.begun, self.ended = [], 0, 0

    def __len__(self):
        return 3

    def __getitem__(self, i):
        self.asked.append(i)
        return X[4 * i : 4 * i + 4], Y[4 * i : 4 * i + 4]

    def on_epoch_begin(self):
        self.begun += 1

    def on_epoch_end(self):
        self.ended += 1


def equal(a, b):
    return all(np.array_equal(p, q) for p, q in zip(a.get_weights(), b.get_weights()))


# ---------------------------------------------------------------- arrays of every kind


@pytest.mark.parametrize("dtype", ["float64", "float32", "float16", "int8", "int64", "uint16", "bool"])
def test_dtypes(dtype):
    x, y = (X * 3).astype(dtype), (Y * 3).astype(dtype)
    a, b = model(), model()
    assert a.fit(x, y, shuffle=False, verbose=0).history == b.fit(
        x.astype("float32"), y.astype("float32"), shuffle=False, verbose=0).history
    assert equal(a, b)


@pytest.mark.parametrize("kind", ["list", "tuple", "fortran", "strided", "read-only", "reversed",
                                  "memoryview"])
def test_layouts(kind):
    make = {
        "list": lambda a: a.tolist(),
        "tuple": lambda a: tuple(map(tuple, a.tolist())),
        "fortran": np.asfortranarray,
        "strided": lambda a: np.repeat(a, 2, axis=1)[:, ::2],
        "read-only": lambda a: np.frombuffer(a.tobytes(), a.dtype).reshape(a.shape),
        "reversed": lambda a: a[::-1].copy()[::-1],
        "memoryview": memoryview,
    }[kind]
    a, b = model(), model()
    a.fit(make(X), make(Y), epochs=2, batch_size=4, shuffle=False, verbose=0)
    b.fit(X, Y, epochs=2, batch_size=4, shuffle=False, verbose=0)
    assert equal(a, b)


def test_arrays_that_fit_are_not_copied():
    class Looks(Dense):
        def forward(self, x, tape, training=False, mask=None):
            seen.append(np.shares_memory(x, X))
            return super().forward(x, tape, training=training, mask=mask)

    seen = []
    made = Sequential([Looks(1)])
    made.compile("sgd", "mse")
    made.fit(X, Y, batch_size=4, shuffle=False, verbose=0)
    made.fit(batches(), verbose=0)
    made.predict(X, verbose=0)
    made.evaluate(X, Y, verbose=0)
    assert all(seen) and len(seen) == 8


def test_torch_tensors():
    torch = pytest.importorskip("torch")
    x, y = torch.tensor(X), torch.tensor(Y)
    assert np.shares_memory(adapters.check_inputs(x, lambda a, who: as_array(a, "float32", who), "fit"),
                            x.numpy())
    a, b = model(), model()
    a.fit(x.requires_grad_(), y, shuffle=False, verbose=0)
    b.fit(X, Y, shuffle=False, verbose=0)
    assert equal(a, b)
    assert np.array_equal(a.predict(x, verbose=0), b.predict(X, verbose=0))
    with pytest.raises(ValueError, match="fit.*Tensor"):
        a.fit(x.to(torch.bfloat16), y, verbose=0)


def test_torch_data_loader():
    torch = pytest.importorskip("torch")
    dataset = torch.utils.data.TensorDataset(torch.tensor(X), torch.tensor(Y))
    loader = torch.utils.data.DataLoader(dataset, batch_size=4)
    a, b = model(), model()
    a.fit(loader, epochs=2, validation_data=loader, verbose=0)
    b.fit(X, Y, epochs=2, batch_size=4, shuffle=False, verbose=0)
    assert equal(a, b)
    assert np.array_equal(a.predict(loader, verbose=0), a.predict(X, verbose=0))
    with pytest.raises(ValueError, match="DataLoader"):
        a.fit(dataset, verbose=0)


def test_pandas():
    pd = pytest.importorskip("pandas")
    values = rng.normal(size=(9, 2)).astype("float32")
    target = values.sum(axis=1)
    frame = pd.DataFrame(values, columns=["a", "b"])
    for x, y in [(frame, pd.Series(target)), (frame, frame[["a"]].assign(a=target)),
                 (frame.astype("float64"), target),
                 (frame.set_index(np.arange(9) * 7), pd.Series(target, index=np.arange(9)[::-1]))]:
        a, b = small(), small()
        a.fit(x, y, batch_size=4, shuffle=False, validation_split=0.3, verbose=0)
        b.fit(values, target, batch_size=4, shuffle=False, validation_split=0.3, verbose=0)
        assert equal(a, b)
    mixed = pd.DataFrame({"f": [1.0, 2.0], "i": [3, 4], "b": [True, False]})
    assert small(3).predict(mixed, verbose=0).shape == (2, 1)
    assert np.array_equal(small(3).predict(mixed, verbose=0),
                          small(3).predict([[1, 3, 1], [2, 4, 0]], verbose=0))
    with pytest.raises(ValueError, match="numbers"):
        small().predict(pd.DataFrame({"a": [1.0], "name": ["x"]}), verbose=0)
    with pytest.raises(ValueError, match=r"\(0, 1\)"):
        small().predict(pd.DataFrame({"a": [1.0], "b": [None]}, dtype="float64"), verbose=0)


def columns_of_lists(rows):
    """The same rows as the columns of lists that libraries of tables have."""
    column = np.empty(len(rows), object)
    column[:] = [np.asarray(row) for row in rows]
    yield column
    yield column[:, None]
    try:
        import pandas as pd

        yield pd.Series(rows)
        yield pd.DataFrame({"x": rows})
    except ImportError:
        pass
    try:
        import polars as pl

        yield pl.Series(rows)
        yield pl.DataFrame({"x": rows})
    except ImportError:
        pass
    try:
        import pyarrow as pa

        yield pa.array(rows)
        yield pa.table({"x": rows})["x"]
    except ImportError:
        pass


def test_columns_of_lists():
    made, rows = small(3), [[1.0, 2.0, 3.0], [4.0, 5.0, 6.0]]
    for column in columns_of_lists(rows):
        assert np.array_equal(made.predict(column, verbose=0), made.predict(np.array(rows), verbose=0))
    for column in columns_of_lists([[1.0, 2.0, 3.0], [4.0]]):
        with pytest.raises(ValueError, match=r"shapes, such as \(1,\) and \(3,\)\. Pad them"):
            made.predict(column, verbose=0)
    words = np.empty(2, object)
    words[:] = [np.array(["a"]), np.array(["b"])]
    with pytest.raises(ValueError, match="numbers, got dtype object"):
        made.predict(words, verbose=0)


def test_a_missing_last_axis_of_one():
    made = Sequential([LSTM(2, input_shape=(T, 1))])
    want = made.predict(X[..., :1], verbose=0)
    assert np.array_equal(made.predict(X[..., 0], verbose=0), want)
    assert np.array_equal(made.predict(X[..., :1, None], verbose=0), want)


@pytest.mark.parametrize("x,words", [
    ([X, X], "one input"),
    ((X, X, X), "one input"),
    ([(X, X), (X, X)], "pass iter(x)"),
    ({"a": X, "b": X}, "'a', 'b'"),
    (None, "NoneType"),
    ("data.csv", "str"),
    (3.0, "single number"),
    (set(), "yields no batch"),
], ids=lambda v: type(v).__name__)
def test_what_is_no_array_is_refused(x, words):
    for call in (lambda: model().fit(x, Y, verbose=0), lambda: model().predict(x, verbose=0)):
        with pytest.raises(ValueError) as caught:
            call()
        assert words in str(caught.value) or "y cannot be given" in str(caught.value)


def test_sparse_matrices_are_refused():
    scipy = pytest.importorskip("scipy.sparse")
    with pytest.raises(ValueError, match="toarray"):
        small().fit(scipy.csr_matrix(np.eye(2)), [1, 2], verbose=0)


def test_several_targets_are_refused():
    with pytest.raises(ValueError, match="one output"):
        model().fit(X, [Y, Y], verbose=0)


def test_targets_and_weights_by_the_name_of_the_output():
    weight = np.arange(1.0, len(X) + 1)
    a, b = model(), model()
    b.set_weights(a.get_weights())
    name = a.layers[-1].name
    want = a.fit(X, Y, sample_weight=weight, shuffle=False, verbose=0).history
    other = b.layers[-1].name
    assert b.fit(X, {other: Y}, sample_weight={other: weight}, shuffle=False, verbose=0).history == want
    for arguments in ({"y": {"a": Y}}, {"y": Y, "sample_weight": {"a": weight}}):
        with pytest.raises(ValueError, match=f"a dict with 'a', but the model's outputs are named .*{name}"):
            a.fit(X, verbose=0, **arguments)
    listed = model()
    listed.set_weights(model().get_weights())
    twin = model()
    twin.set_weights(listed.get_weights())
    assert (listed.fit(X, [Y], sample_weight=[weight], shuffle=False, verbose=0).history
            == twin.fit(X, Y, sample_weight=weight, shuffle=False, verbose=0).history)


# ---------------------------------------------------------------- generators and data sets


STREAMS = {
    "generator": batches,
    "iterator": lambda: iter(list(batches())),
    "iterable": Readable,
    "PyDataset": Indexed,
    "PyDataset with threads": lambda: Indexed(workers=3, max_queue_size=2),
    "PyDataset with processes": lambda: Indexed(use_multiprocessing=True),
    "lists for tuples": lambda: (list(b) for b in batches()),
    "float64": lambda: ((x.astype("float64"), y.tolist()) for x, y in batches()),
}


@pytest.mark.parametrize("make", STREAMS.values(), ids=STREAMS)
def test_a_stream_is_as_good_as_its_arrays(make):
    a, b = model(metrics=["mae"]), model(metrics=["mae"])
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        of_stream = a.fit(make(), shuffle=False, verbose=0, validation_data=make()).history
    of_arrays = b.fit(X, Y, batch_size=4, shuffle=False, verbose=0, validation_data=(X, Y),
                      validation_batch_size=4).history
    assert of_stream == of_arrays and equal(a, b)
    assert a.evaluate(make(), verbose=0) == a.evaluate(X, Y, batch_size=4, verbose=0)
    assert np.array_equal(a.predict(make(), verbose=0), a.predict(X, verbose=0))


@pytest.mark.parametrize("make", [Readable, Indexed, lambda: Indexed(workers=2)])
def test_streams_that_can_be_read_again(make):
    a, b = model(), model()
    a.fit(make(), epochs=3, shuffle=False, verbose=0)
    b.fit(X, Y, batch_size=4, epochs=3, shuffle=False, verbose=0)
    assert equal(a, b)


def test_the_first_batch_is_not_lost():
    """Looking at the first batch builds the model; the batch is trained on all the same."""
    built, unbuilt = model(), Sequential([LSTM(3, return_sequences=True), TimeDistributed(Dense(1))])
    unbuilt.compile("sgd", "mse")
    taken = []

    def counted():
        for i, batch in enumerate(endless()):
            taken.append(i)
            yield batch

    unbuilt.fit(counted(), steps_per_epoch=2, verbose=0)
    assert taken == [0, 1] and unbuilt.optimizer.iterations == 2
    source = counted()
    taken.clear()
    built.fit(source, steps_per_epoch=3, epochs=2, verbose=0)
    assert taken == [0, 1, 2, 3, 4, 5], "no batch is drawn that is not used"
    built.evaluate(source, steps=2, verbose=0)
    assert len(built.predict(source, steps=2, verbose=0)) == 3 + 4
    assert taken == list(range(10))


def test_fewer_batches_than_steps():
    made = model()
    with pytest.warns(UserWarning, match="ran out of data") as warned:
        history = made.fit(batches(), steps_per_epoch=2, epochs=5, verbose=0)
    assert ["1 of 2" in str(w.message)
            for w in warned] == [True, False], "one for the short epoch, one for none at all"
    assert history.epoch == [0, 1] and made.optimizer.iterations == 3
    with pytest.warns(UserWarning, match="ran out of data"):
        history = made.fit(batches(), epochs=3, verbose=0)
    assert history.epoch == [0]
    with pytest.warns(UserWarning, match="ran out of data: 3 of 7"):
        made.evaluate(batches(), steps=7, verbose=0)
    with pytest.warns(UserWarning, match="ran out of data: 3 of 7"):
        assert len(made.predict(batches(), steps=7, verbose=0)) == N
    with pytest.warns(UserWarning, match="ran out of data: 3 of 7"):
        assert len(made.predict(X, batch_size=4, steps=7, verbose=0)) == N
    with pytest.warns(UserWarning, match="ran out of data"):
        history = made.fit(X, Y, validation_data=batches(), epochs=2, verbose=0)
    assert len(history.history["loss"]) == 2 and len(history.history["val_loss"]) == 1


def test_exhausting_exactly_is_no_reason_to_warn():
    made = model()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        made.fit(batches(), steps_per_epoch=3, verbose=0)
        made.fit(Readable(), steps_per_epoch=3, epochs=3, verbose=0)
        made.fit(X, Y, batch_size=4, steps_per_epoch=3, epochs=3, verbose=0)
        made.fit(endless(), steps_per_epoch=5, epochs=2, validation_data=endless(), validation_steps=2,
                 verbose=0)
    assert made.optimizer.iterations == 3 + 9 + 9 + 10


def test_empty_streams():
    for call in (model().fit, model().evaluate, model().predict):
        with pytest.raises(ValueError, match="no batch"):
            call(iter(()), verbose=0)


def test_py_dataset_protocol():
    made, train = model(), Indexed()
    made.fit(train, epochs=3, shuffle=False, verbose=0)
    assert train.asked == [0, 1, 2] * 3 and (train.begun, train.ended) == (3, 3)
    train = Indexed()
    made.fit(train, epochs=4, verbose=0)
    orders = [tuple(train.asked[i : i + 3]) for i in range(0, 12, 3)]
    assert all(sorted(order) == [0, 1, 2] for order in orders) and len(set(orders)) > 1
    held_out = Indexed()
    made.fit(X, Y, validation_data=held_out, epochs=2, verbose=0)
    assert held_out.asked == [0, 1, 2] * 2

    class Duck:
        """Only the two methods, as old code has them."""

        def __len__(self):
            return 3

        def __getitem__(self, i):
            return next(batches(n=4 * i + 4)) if i == 0 else list(batches())[i]

    a, b = model(), model()
    a.fit(Duck(), shuffle=False, verbose=0)
    b.fit(X, Y, batch_size=4, shuffle=False, verbose=0)
    assert equal(a, b)


def test_endless_py_dataset():
    class Endless(PyDataset):
        num_batches = None

        def __getitem__(self, i):
            return X[: 1 + i % 3], Y[: 1 + i % 3]

    made = model()
    made.fit(Endless(), steps_per_epoch=4, epochs=2, verbose=0)
    assert made.optimizer.iterations == 8
    with pytest.raises(TypeError, match="__getitem__"):
        PyDataset()[0]
    with pytest.raises(TypeError, match="num_batches"):
        _ = PyDataset().num_batches


def test_threads_of_a_data_set_pass_errors_on():
    class Broken(Indexed):
        def __getitem__(self, i):
            if i == 1:
                raise OSError("disk")
            return super().__getitem__(i)

    for workers in (1, 3):
        made = model()
        with pytest.raises(OSError, match="disk"):
            made.fit(Broken(workers=workers), shuffle=False, verbose=0)
        made.fit(X, Y, verbose=0)


def test_batches_of_different_lengths_in_time():
    made = model()
    sizes = [(3, 2), (5, 7), (1, 1), (4, 3)]
    made.fit(((np.ones((b, t, F)), np.ones((b, t, 1))) for b, t in sizes), verbose=0)
    assert made.optimizer.iterations == 4
    other = model()
    for b, t in sizes:
        other.train_on_batch(np.ones((b, t, F)), np.ones((b, t, 1)))
    assert equal(made, other)
    last = Sequential([LSTM(3, input_shape=(None, F))])
    assert last.predict((np.ones((b, t, F)) for b, t in sizes), verbose=0).shape == (13, 3)
    with pytest.raises(ValueError, match="predict_on_batch"):
        made.predict((np.ones((b, t, F)) for b, t in sizes), verbose=0)


def test_what_belongs_into_the_batches_is_refused_beside_them():
    for name, value in {"y": Y, "sample_weight": np.ones(N), "lengths": np.ones(N, int)}.items():
        with pytest.raises(ValueError, match=f"{name} cannot"):
            model().fit(batches(), **{name: value}, verbose=0)
        with pytest.raises(ValueError, match=f"{name} cannot"):
            model().evaluate(batches(), **{name: value}, verbose=0)
    with pytest.raises(ValueError, match="lengths cannot"):
        model().predict(batches(), lengths=np.ones(N, int), verbose=0)
    with pytest.raises(ValueError, match="validation_split"):
        model().fit(batches(), validation_split=0.5, verbose=0)


def test_wrong_batches():
    for batch, words in [((X, Y, Y, Y), "4 entries"), ((X,), "needs targets"), (([X, X], Y), "one input"),
                         ((X[:, 0], Y), "expects input"), ((X, Y[:3]), "same number"),
                         ((X, np.ones((N, T, 2))), "shape")]:
        with pytest.raises(ValueError, match=words):
            model().fit(iter([batch]), verbose=0)


def test_an_error_in_the_generator_leaves_model_and_history():
    def broken():
        yield from batches()
        yield from batches()
        raise OSError("cable")

    made = model()
    with pytest.raises(OSError, match="cable"):
        made.fit(broken(), steps_per_epoch=3, epochs=9, verbose=0)
    assert made.history.epoch == [0, 1] and made.optimizer.iterations == 6
    assert np.isfinite(made.fit(X, Y, verbose=0).history["loss"][0])


@pytest.mark.parametrize("hook", ["on_epoch_begin", "on_train_batch_end", "on_epoch_end",
                                  "on_test_batch_end"])
def test_an_error_in_a_callback_leaves_model_and_history(hook):
    class Broken(Callback):
        count = 0

    def fail(self, n, logs=None):
        self.count += 1
        if self.count == 3:
            raise OSError("own mistake")

    setattr(Broken, hook, fail)
    made = model()
    with pytest.raises(OSError, match="own mistake"):
        made.fit(X, Y, batch_size=4, epochs=9, validation_data=(X, Y), verbose=0, callbacks=[Broken()])
    assert len(made.history.epoch) == {"on_epoch_begin": 2, "on_epoch_end": 2}.get(hook, 0)
    assert np.isfinite(made.fit(X, Y, verbose=0).history["loss"][0])


def test_stopping_within_predict_and_evaluate():
    class Stop(Callback):
        def on_predict_batch_end(self, batch, logs=None):
            self.model.stop_predicting = batch == 1

        def on_test_batch_end(self, batch, logs=None):
            self.model.stop_evaluating = batch == 1

    made = model()
    assert len(made.predict(X, batch_size=2, callbacks=Stop(), verbose=0)) == 4
    assert made.evaluate(X, Y, batch_size=2, callbacks=[Stop()], verbose=0) == pytest.approx(
        made.evaluate(X[:4], Y[:4], verbose=0))


# ---------------------------------------------------------------- weights and splits


def test_class_weights_of_labels_and_one_hot_targets():
    want = [[1.0, 5.0, 0.0], [0.0, 1.0, 1.0]]
    labels = np.array([[0, 1, 2], [2, 0, 0]])
    weights = {1: 5.0, 2: 0.0}
    for y, rank in [(labels, 3), (labels[..., None], 3), (np.eye(3)[labels], 3),
                    (labels.astype("float32"), 3)]:
        assert adapters.class_weight_to_sample_weight(weights, y, "float32", rank).tolist() == want
    assert adapters.class_weight_to_sample_weight(weights, labels[0], "float32", 2).tolist() == want[0]
    assert adapters.class_weight_to_sample_weight(weights, np.eye(3)[labels[0]], "float32",
                                                  2).tolist() == want[0]
    with pytest.raises(ValueError, match="dict"):
        adapters.class_weight_to_sample_weight([1, 2], labels, "float32", 3)
    with pytest.raises(ValueError, match="class numbers, but y holds 0.5"):
        adapters.class_weight_to_sample_weight({0: 2}, np.array([1.0, 0.5, 0.25]), "float32", 2)
    for key in ("a", 0.5):
        with pytest.raises(ValueError, match=f"the key {key!r}"):
            adapters.class_weight_to_sample_weight({key: 2}, labels, "float32", 3)


@pytest.mark.parametrize("shape", ["(N,T)", "(N,T,1)"])
def test_class_weight_for_each_step(shape):
    labels = rng.integers(0, 3, (N, T))
    y = labels if shape == "(N,T)" else labels[..., None]
    weights = np.where(labels == 2, 4.0, 1.0)
    a, b = (model(losses.SparseCategoricalCrossentropy(from_logits=True), 3) for _ in range(2))
    a.fit(X, y, class_weight={2: 4}, shuffle=False, verbose=0)
    b.fit(X, y, sample_weight=weights, shuffle=False, verbose=0)
    assert equal(a, b)
    assert a.train_on_batch(X, y, class_weight={2: 4}) == b.train_on_batch(X, y, sample_weight=weights)


def test_class_weight_does_not_weigh_the_validation():
    y = (Y > 0).astype("float32")
    a, b = model("binary_crossentropy"), model("binary_crossentropy")
    split = a.fit(X, y, class_weight={1: 50}, validation_split=0.4, shuffle=False,
                  verbose=0).history["val_loss"]
    at = int(N * 0.6)
    b.fit(X[:at], y[:at], class_weight={1: 50}, shuffle=False, verbose=0)
    assert split[0] == pytest.approx(b.evaluate(X[at:], y[at:], verbose=0))


def test_class_weight_and_sample_weight_together_are_refused():
    for call in (model().fit, model().train_on_batch):
        with pytest.raises(ValueError, match="not both"):
            call(X, Y, sample_weight=np.ones(N), class_weight={0: 1.0})


def test_validation_split_takes_the_weights_along():
    weights = rng.uniform(0, 3, (N, T))
    at = int(N * 0.7)
    made = model()
    history = made.fit(X, Y, sample_weight=weights, validation_split=0.3, verbose=0).history
    assert history["val_loss"][0] == pytest.approx(made.evaluate(X[at:], Y[at:], sample_weight=weights[at:],
                                                                 verbose=0))


@pytest.mark.parametrize("shape", [(N,), (N, 1), (N, T), (N, T, 1)])
def test_weights_of_samples_and_steps(shape):
    weights = rng.uniform(0, 3, shape)
    made = model(weighted_metrics=["mae"], metrics=["mae"])
    error = (made.predict(X, verbose=0) - Y)[..., 0].astype("float64")
    w = np.broadcast_to(weights.reshape(N, -1), (N, T))
    loss, mae, again, weighted = made.evaluate(X, Y, sample_weight=weights, verbose=0)
    assert again == mae                 # as in Keras: two metrics have that name
    assert loss == pytest.approx(np.mean(w * error**2), rel=1e-5)
    assert mae == pytest.approx(np.mean(np.abs(error)), rel=1e-5)
    assert weighted == pytest.approx(np.sum(w * np.abs(error)) / w.sum(), rel=1e-5)


def test_a_weight_counts_as_often_as_its_number():
    """Weights 0, 1, 2 are the same as a data set with those rows left out or doubled, but for the divisor."""
    weights = np.arange(N) % 3
    repeated = np.repeat(np.arange(N), weights)
    a, b = model(), model()
    a.compile("sgd", losses.MeanSquaredError(reduction="sum"))
    b.compile("sgd", losses.MeanSquaredError(reduction="sum"))
    a.train_on_batch(X, Y, sample_weight=weights)
    b.train_on_batch(X[repeated], Y[repeated])
    for p, q in zip(a.get_weights(), b.get_weights()):
        np.testing.assert_allclose(p, q, atol=1e-5)


def test_names_of_metrics_that_would_be_the_same():
    made = model(metrics=["mae", "mae"], weighted_metrics=["mae", "mse"])
    assert list(made.evaluate(X, Y, verbose=0, return_dict=True)) == ["loss", "mae", "mae_1", "weighted_mae",
                                                                      "mse"]


def test_validation_freq():
    for freq, epochs in [(1, 4), (2, 2), (3, 1), ([1, 4], 2), ((2,), 1)]:
        history = model().fit(X, Y, validation_split=0.3, validation_freq=freq, epochs=4, verbose=0).history
        assert len(history["val_loss"]) == epochs
    for bad in (0, -1, "2", 1.5, True):
        with pytest.raises(ValueError, match="validation_freq"):
            model().fit(X, Y, validation_split=0.3, validation_freq=bad, verbose=0)


@pytest.mark.parametrize("bad", [(X,), (X, Y, Y, Y), X, 3, {"x": X}])
def test_wrong_validation_data(bad):
    with pytest.raises(ValueError, match="validation_data"):
        model().fit(X, Y, validation_data=bad, verbose=0)


def test_wrong_numbers_of_steps():
    for name in ("steps_per_epoch", "validation_steps"):
        for bad in (-1, 2.5, "3"):
            with pytest.raises(ValueError, match="steps"):
                model().fit(X, Y, validation_data=(X, Y), verbose=0, **{name: bad})


# ---------------------------------------------------------------- the feed by itself


def rows_of(feed, epochs):
    return [[batch.inputs[0][:, 0, 0].tolist() for batch in feed] for _ in range(epochs)]


def test_steps_go_on_where_the_last_epoch_ended():
    x = np.arange(10.0).reshape(10, 1, 1)
    feed = EpochIterator(ArrayBatches(Batch((x,)), 2, Record(None)), 2)
    assert rows_of(feed, 2) == [[[0, 1], [2, 3]], [[4, 5], [6, 7]]]
    with pytest.warns(UserWarning, match="1 of 2"):
        assert rows_of(feed, 2) == [[[8, 9]], [[0, 1], [2, 3]]]


def test_shuffle_within_batches():
    x = np.arange(10.0).reshape(10, 1, 1)
    set_random_seed(1)
    feed = EpochIterator(ArrayBatches(Batch((x,)), 4, Record(None), shuffle="batch"))
    for epoch in rows_of(feed, 3):
        assert [sorted(rows) for rows in epoch] == [[0, 1, 2, 3], [4, 5, 6, 7], [8, 9]]
    assert len({str(epoch) for epoch in rows_of(feed, 5)}) > 1


def test_a_pass_over_an_iterator_is_never_repeated():
    feed = EpochIterator(StreamBatches(iter([1, 2, 3]), lambda b: b))
    assert feed.steps is None and feed.peek() == 1 and feed.peek() == 1
    assert list(feed) == [1, 2, 3]
    with pytest.warns(UserWarning, match="only once"):
        assert list(feed) == []


def test_a_lengthless_iterable_begins_anew():
    class Three:
        def __iter__(self):
            return iter([1, 2, 3])

    assert [list(feed)
            for feed in [EpochIterator(StreamBatches(Three(), lambda b: b))] * 2] == [[1, 2, 3]] * 2
    feed = EpochIterator(StreamBatches(Three(), lambda b: b), 3)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert [list(feed), list(feed)] == [[1, 2, 3], [1, 2, 3]]


# ---------------------------------------------------------------- same bits


@pytest.mark.parametrize("cell", [LSTM, GRU])
def test_one_seed_gives_the_same_bits_for_any_number_of_threads(cell):
    import tdfast

    x = rng.normal(size=(70, 9, 5)).astype("float32")
    lengths = rng.integers(0, 10, 70)
    before, results = tdfast.get_num_threads(), []
    try:
        for n in (1, 2, 3, 2):
            tdfast.set_num_threads(n)
            set_random_seed(8)
            made = Sequential([cell(13, return_sequences=True, dropout=0.2, recurrent_dropout=0.1), Dense(2)])
            made.compile("adam", "mse", metrics=["mae"])
            history = made.fit(x, x[..., :2], epochs=2, validation_split=0.2, lengths=lengths, verbose=0,
                               sample_weight=np.abs(x[..., 0]))
            results.append((history.history, [w.tobytes() for w in made.get_weights()]))
    finally:
        tdfast.set_num_threads(before)
    assert all(r == results[0] for r in results)
