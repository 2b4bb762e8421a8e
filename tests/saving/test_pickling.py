"""A pickled and a deep-copied model is the model: it goes on training with the same bits, in any process, by
itself."""

import ast
import copy
import io
import multiprocessing
import pickle
import pickletools
import time
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

import tdfast
from tdfast import callbacks, constraints, initializers, layers, losses, metrics, optimizers, regularizers
from tdfast.utils import set_random_seed

rng = np.random.default_rng(0)
X = rng.normal(size=(20, 6, 3)).astype("float32")
Y = X.sum((1, 2))[:, None] * 0.1
OPTIMIZERS = {
    "SGD": {}, "Adam": {"amsgrad": True, "clipnorm": 1.0}, "Lion": {"gradient_accumulation_steps": 3},
    "RMSprop": {"use_ema": True, "centered": True, "momentum": 0.5}, "AdamW": {}, "Ftrl": {}, "Nadam": {},
}


class Doubling(layers.Layer):
    """A layer of the user's own."""

    def __init__(self, factor=2, activation=None, **kwargs):
        super().__init__(**kwargs)
        self.factor, self.activation = factor, tdfast.activations.get(activation, own=True)

    def build(self, input_shape):
        self.shift = self.add_weight((input_shape[-1],), "zeros", name="shift")

    def forward(self, x, tape, training=False, mask=None):
        tape.push(self)
        return x * np.dtype(self.dtype).type(self.factor) + self.shift.value

    def backward(self, dy, tape, need_dx=True):
        tape.pop(self)
        self.shift.grad[...] = dy.reshape(-1, dy.shape[-1]).sum(0)
        return dy * self.factor

    def get_config(self):
        return {**super().get_config(), "factor": self.factor,
                "activation": tdfast.activations.serialize(self.activation)}


class Cubic(losses.Loss):
    """A loss without a get_config."""

    def call(self, y_true, y_pred):
        return np.mean(np.abs(y_pred - y_true) ** 3, axis=-1)

    def gradient(self, y_true, y_pred):
        e = y_pred - y_true
        return 3 * e * np.abs(e) / e.shape[-1]


class Largest(metrics.Metric):
    def __init__(self, **kwargs):
        super().__init__(**kwargs)
        self.largest = self.add_variable(())

    def update_state(self, y_true, y_pred, sample_weight=None):
        self.largest.assign(np.maximum(self.largest, np.abs(y_pred - y_true).max()))

    def result(self):
        return float(self.largest)


class SignDescent(optimizers.Optimizer):
    slot_names = ("momentum",)

    def __init__(self, learning_rate=0.01, pull=0.5, **kwargs):
        super().__init__(learning_rate, **kwargs)
        self.pull = pull

    def update(self, w, grad, slots):
        slots["momentum"] *= self.pull
        slots["momentum"] += np.sign(grad)
        w -= self.learning_rate * slots["momentum"]


def cube(x):
    return x**3


def slope_of_cube(x):
    return 3 * x**2


def worst(y_true, y_pred):
    return np.abs(y_true - y_pred).max(axis=-1)


def rate():
    return 0.02


def model_of(optimizer="adam", loss="mse", measured=("mae",), more=()):
    set_random_seed(7)
    model = tdfast.Sequential([
        tdfast.Input((6, 3)), layers.LSTM(4, dropout=0.2, recurrent_dropout=0.1, return_sequences=True),
        layers.Bidirectional(layers.GRU(3, dropout=0.2)), layers.BatchNormalization(), *more,
        layers.Dropout(0.3),
        layers.Dense(1, kernel_regularizer="l2", kernel_constraint="max_norm"),
    ])
    model.compile(optimizer, loss, metrics=list(measured))
    return model


def own_model():
    own = tdfast.activations.Function(cube, slope_of_cube)
    return model_of(SignDescent(), Cubic(), [worst, Largest(), "mae"],
                    [Doubling(3, activation=own), layers.Dense(2, activation=own,
                                                               kernel_initializer=initial)])


def initial(shape, dtype=None):
    return np.full(shape, 0.1, dtype)


def goes_on(model):
    """Everything that further training gives."""
    set_random_seed(3)
    history = model.fit(X, Y, batch_size=8, epochs=2, verbose=0).history
    state = [np.asarray(a).tobytes() for a in model.optimizer.variables]
    return history, [w.tobytes() for w in model.get_weights()], state, model.predict(X, verbose=0).tobytes()


def in_another_process(data):
    return goes_on(pickle.loads(data))


def trained(model):
    model.fit(X, Y, batch_size=8, epochs=2, verbose=0)
    return model


@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
def test_every_protocol(protocol):
    model = trained(model_of())
    twin = pickle.loads(pickle.dumps(model, protocol))
    assert goes_on(twin) == goes_on(model)


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_a_deep_copy_goes_on_with_the_same_bits(name):
    model = trained(model_of(getattr(optimizers, name)(0.01, **OPTIMIZERS[name])))
    twin = copy.deepcopy(model)
    assert twin.optimizer.iterations == model.optimizer.iterations > 0
    want = goes_on(model)
    assert goes_on(twin) == want                        # what the first did has not touched the second
    assert goes_on(copy.deepcopy(twin)) == goes_on(model)


@pytest.mark.parametrize("make", [model_of, own_model])
def test_another_process_goes_on_with_the_same_bits(make):
    model = trained(make())
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        there = pool.apply(in_another_process, (pickle.dumps(model),))
    assert there == goes_on(model)


def test_a_copy_is_compiled_measured_and_counted_as_the_model():
    model = trained(own_model())
    model.evaluate(X, Y, verbose=0)
    for twin in (copy.deepcopy(model), pickle.loads(pickle.dumps(model))):
        assert twin.metrics_names == model.metrics_names and len(twin.metrics) == 4
        assert [m.result() for m in twin.metrics] == [m.result() for m in model.metrics]
        assert not {id(m) for m in twin.metrics} & {id(m) for m in model.metrics}
        assert twin.evaluate(X, Y, verbose=0) == model.evaluate(X, Y, verbose=0)
        assert (
            type(twin.layers[3]) is Doubling
            and twin.layers[3].factor == 3
            and twin.layers[3].activation.value is cube
        )


def test_copying_draws_no_random_numbers():
    model = trained(model_of())
    set_random_seed(1)
    want = tdfast.random.generator().integers(10**9)
    set_random_seed(1)
    copy.deepcopy(model)
    assert tdfast.random.generator().integers(10**9) == want


def test_lambdas_and_local_classes_can_be_copied_but_not_pickled():
    class Local(Doubling):
        pass

    model = trained(model_of(measured=[lambda y, p: np.abs(y - p).max(axis=-1)], more=[Local()]))
    assert goes_on(copy.deepcopy(model)) == goes_on(model)
    with pytest.raises((AttributeError, pickle.PicklingError), match="Local|lambda"):
        pickle.dumps(model)


def test_a_registered_class_is_found_by_its_name():
    @tdfast.saving.register_keras_serializable("test_pickling")
    class Hidden(Doubling):
        pass

    model = model_of(more=[Hidden()])
    twin = pickle.loads(pickle.dumps(model))
    assert type(twin.layers[3]) is Hidden


def test_classes_of_one_name_stay_apart():
    def make(factor):
        class Twin(Doubling):
            def get_config(self):
                return {**super().get_config(), "factor": factor}
        return Twin

    first, second = make(1), make(2)
    twin = copy.deepcopy(tdfast.Sequential([tdfast.Input((3,)), first(1), second(2), layers.Dense(2),
                                            DenseOfMine(2)]))
    assert [type(layer) for layer in twin.layers] == [first, second, layers.Dense, DenseOfMine]


class DenseOfMine(layers.Dense):
    pass


DenseOfMine.__name__ = "Dense"


def test_a_layer_that_its_config_does_not_describe_is_named():
    class Bad(Doubling):
        def __init__(self, needed, **kwargs):
            super().__init__(**kwargs)

    with pytest.raises(tdfast.saving.FileError, match="'odd'.*needed"):
        copy.deepcopy(tdfast.Sequential([tdfast.Input((3,)), Bad(1, name="odd")]))

    class Worse(Doubling):
        def get_config(self):
            return {**super().get_config(), "factor": object()}

    with pytest.raises(ValueError, match="factor.*object"):
        copy.deepcopy(Worse())


def test_a_pickle_names_nothing_but_the_loader_and_the_compiled_objects():
    def names(model):
        found, strings = set(), []
        for opcode, arg, _ in pickletools.genops(pickle.dumps(model, 4)):
            if opcode.name in ("SHORT_BINUNICODE", "BINUNICODE"):
                strings.append(arg)
            elif opcode.name == "STACK_GLOBAL":
                found.add(".".join(strings[-2:]))
        return found

    model = tdfast.Sequential([tdfast.Input((6, 3)), layers.LSTM(4), layers.Dense(2)])
    assert names(model) == {"tdfast.engine.pickling.restored"}
    assert names(tdfast.Sequential([tdfast.Input((3,)),
                                    Doubling()])) == {"tdfast.engine.pickling.restored",
                                                      f"{__name__}.Doubling"}


def test_unbuilt_uncompiled_and_frozen():
    model = tdfast.Sequential([layers.LSTM(3), layers.Dense(2)])
    twin = copy.deepcopy(model)
    assert not twin.built and not twin.compiled and twin.get_config() == model.get_config()
    model.compile("adam", "mse", metrics=["accuracy"])
    twin = copy.deepcopy(model)
    assert twin.compiled and not twin.built and not twin.optimizer.built
    model.build((None, 4, 3))
    model.layers[0].trainable = False
    model.layers[1].kernel.trainable = False            # a single weight
    twin = copy.deepcopy(model)
    assert [w.path for w in twin.trainable_weights] == [model.layers[1].bias.path]
    for v, w in zip(twin.weights, model.weights, strict=True):
        assert v.path == w.path and np.array_equal(v, w)


def test_stateful_layers_keep_their_states():
    model = tdfast.Sequential([tdfast.Input(batch_shape=(4, 5, 3)),
                               layers.Bidirectional(layers.GRU(2, stateful=True)),
                               layers.RepeatVector(3), layers.LSTM(3, stateful=True, return_sequences=True),
                               layers.RNN([layers.LSTMCell(3), layers.GRUCell(2)], stateful=True)])
    fresh = copy.deepcopy(model)
    x = X[:4, :5]
    first = model.predict(x, verbose=0)
    twin = pickle.loads(pickle.dumps(model))
    again = model.predict(x, verbose=0)
    assert not np.array_equal(first, again)
    np.testing.assert_array_equal(twin.predict(x, verbose=0), again)
    np.testing.assert_array_equal(fresh.predict(x, verbose=0), first)


def test_a_copy_made_in_a_callback():
    kept = []

    class Keep(callbacks.Callback):
        def on_epoch_end(self, epoch, logs=None):
            kept.append((copy.deepcopy(self.model), self.model.get_weights()))

    model_of().fit(X, Y, epochs=3, verbose=0, callbacks=[Keep()])
    for twin, weights in kept:
        assert all(np.array_equal(a, b) for a, b in zip(twin.get_weights(), weights))
        goes_on(twin)


def test_a_damaged_pickle_is_refused():
    function, (data, objects, compiled) = model_of().__reduce__()
    flipped = bytearray(data)
    flipped[-5] ^= 1
    for bad in (data[: len(data) // 2], data[:-1], data + b"!", bytes(flipped), b"", b"junk" * 99):
        with pytest.raises(tdfast.saving.FileError, match="the pickle"):
            function(bad, objects, compiled)


def test_pickles_and_files_are_read_by_many_threads(tmp_path, monkeypatch):
    """NumPy reads .npy files by `ast`, which fails in CPython 3.11 where several threads are in it: pickles
    do without, and files go one after the other."""
    model = model_of()
    data, path = pickle.dumps(model), tmp_path / "of.weights.npz"
    model.save_weights(path)
    inside, at_once, parse = [], [], ast.parse

    def counted(*arguments, **options):
        inside.append(1)
        at_once.append(len(inside))
        time.sleep(0.01)
        try:
            return parse(*arguments, **options)
        finally:
            inside.pop()

    monkeypatch.setattr(ast, "parse", counted)
    with ThreadPoolExecutor(4) as pool:
        twins = list(pool.map(pickle.loads, [data] * 8))
        assert not at_once
        list(pool.map(lambda twin: twin.load_weights(path), twins))
    assert at_once and max(at_once) == 1
    for twin in twins:
        assert all(np.array_equal(a, b) for a, b in zip(twin.get_weights(), model.get_weights(), strict=True))


def test_history_and_callbacks_pickle():
    history = model_of().fit(X, Y, epochs=2, verbose=0, callbacks=[callbacks.EarlyStopping("loss")])
    twin = pickle.loads(pickle.dumps(history))
    assert twin.history == history.history and twin.epoch == history.epoch
    assert goes_on(twin.model) == goes_on(history.model)


# ---------------------------------------------------------------- optimizers


def test_an_optimizer_of_its_own():
    new = copy.deepcopy(optimizers.Adam(optimizers.schedules.CosineDecay(0.1, 10), clipnorm=1.0))
    assert new.get_config()["clipnorm"] == 1.0 and not new.built
    model = trained(model_of(optimizers.AdamW(0.01)))
    model.optimizer.exclude_from_weight_decay([model.layers[0].kernel], ["bias"])
    twin = pickle.loads(pickle.dumps(model.optimizer))
    assert twin.iterations == model.optimizer.iterations
    same = copy.deepcopy(model)
    same.compile(twin, "mse", metrics=["mae"])
    assert goes_on(same) == goes_on(model)              # the state went to the variables of the same shapes
    other = copy.deepcopy(model.optimizer)
    small = tdfast.Sequential([tdfast.Input((3,)), layers.Dense(1)])
    small.compile(other, "mse")
    with pytest.raises(ValueError,
                       match="a copy of one that has trained variables of the shapes.*from_config"):
        small.fit(X[:, 0], Y, verbose=0)
    assert optimizers.AdamW.from_config(other.get_config()).iterations == 0


@pytest.mark.parametrize("change", [
    lambda model: setattr(model.layers[0], "trainable", False),
    lambda model: model.add(layers.Dense(1)),
    lambda model: model.pop(),
], ids=["freeze", "add", "pop"])
@pytest.mark.parametrize("copied", [copy.deepcopy, lambda model: pickle.loads(pickle.dumps(model))],
                         ids=["deepcopy", "pickle"])
def test_a_change_after_training_is_copied(change, copied):
    """The optimizer keeps what it has of the variables that were trained, as in the model itself."""
    model = tdfast.Sequential([tdfast.Input((6, 3)), layers.LSTM(4), layers.Dense(1), layers.Dense(1)])
    model.compile("adam", "mse")
    model.fit(X, Y, epochs=2, verbose=0)
    change(model)
    twin = copied(copied(model))
    results = [(one.fit(X, Y, epochs=2, seed=3, verbose=0).history, [w.tobytes() for w in one.get_weights()],
                [np.asarray(v).tobytes() for v in one.optimizer.variables]) for one in (model, twin)]
    assert results[0] == results[1]


def test_exclusions_from_weight_decay_are_copied():
    model = model_of(optimizers.AdamW(0.01, weight_decay=0.5))
    model.optimizer.exclude_from_weight_decay(var_names=["bias"])
    assert goes_on(copy.deepcopy(model)) == goes_on(model)
    model.optimizer.exclude_from_weight_decay([model.layers[0].kernel])
    twin = copy.deepcopy(copy.deepcopy(model))
    assert goes_on(twin) == goes_on(model)
    unbuilt = optimizers.AdamW()
    unbuilt.exclude_from_weight_decay([model.layers[0].kernel])
    with pytest.raises(ValueError, match="exclude_from_weight_decay"):
        copy.deepcopy(unbuilt)


def test_a_function_as_learning_rate():
    model = trained(model_of(optimizers.SGD(rate)))
    assert goes_on(pickle.loads(pickle.dumps(model))) == goes_on(model)


# ---------------------------------------------------------------- what layers and compile take


def of_module(module, base):
    needs = {"Constant": (), "Orthogonal": (), "OrthogonalRegularizer": (), "MeanMetricWrapper": (worst,),
             "IoU": (2, [0]),
             "OneHotIoU": (2, [0]), "MeanIoU": (2,), "OneHotMeanIoU": (2,),
             "SensitivityAtSpecificity": (0.5,),
             "SpecificityAtSensitivity": (0.5,), "PrecisionAtRecall": (0.5,), "RecallAtPrecision": (0.5,),
             "LossMetric": (losses.Huber(),), "_OfFunction": (cube,)}
    found = {c for c in (getattr(module, name) for name in dir(module)) if isinstance(c, type)
             and issubclass(c, base)}
    return [c(*needs.get(c.__name__, ())) for c in sorted(found - {base}, key=lambda c: c.__name__)]


@pytest.mark.parametrize("thing", [
    *of_module(losses, losses.Loss), losses.custom(cube, slope_of_cube),
    *of_module(regularizers, regularizers.Regularizer),
    *of_module(constraints, constraints.Constraint), tdfast.activations.relu,
    tdfast.activations.elu.with_parameters(alpha=0.5),
    optimizers.schedules.PolynomialDecay(0.1, 5), initializers.get(np.ones((2, 3))),
], ids=lambda thing: getattr(thing, "name", type(thing).__name__))
def test_small_things(thing):
    for twin in (copy.deepcopy(thing), *(pickle.loads(pickle.dumps(thing, p)) for p in range(2, 6))):
        assert type(twin) is type(thing)
        if hasattr(thing, "get_config") and not isinstance(thing, type(losses.custom(cube, cube))):
            assert twin.get_config() == thing.get_config()
    if callable(twin) and not isinstance(thing, (losses.Loss, initializers.Initializer,
                                                 optimizers.schedules.LearningRateSchedule)):
        x = np.linspace(-1, 1, 6, dtype="float32").reshape(2, 3)
        np.testing.assert_array_equal(twin(x), thing(x))


@pytest.mark.parametrize("metric", of_module(metrics, metrics.Metric), ids=lambda m: type(m).__name__)
def test_metrics_with_their_sums(metric):
    y = np.array([[0, 1], [1, 0], [0, 1], [1, 0]])
    p = np.array([[0.1, 0.9], [0.2, 0.8], [0.7, 0.3], [0.6, 0.4]])
    if "Sparse" in type(metric).__name__:
        y = y.argmax(-1)
    elif type(metric).__name__ in ("MeanIoU", "IoU"):
        p = p.round()
    arguments = (p,) if type(metric).__name__ in ("Mean", "Sum") else (y, p)
    metric.update_state(*arguments)
    for twin in (copy.deepcopy(metric), pickle.loads(pickle.dumps(metric))):
        assert np.array_equal(twin.result(), metric.result(), equal_nan=True)
        twin.update_state(*arguments)
        twin.reset_state()
        assert not all(np.array_equal(a, b) for a, b in zip(twin.variables,
                                                            metric.variables)) or not metric.variables
    metric.reset_state()


def test_a_variable_and_the_layers_of_a_trained_model():
    model = trained(model_of())
    variable = copy.deepcopy(model.layers[0].kernel)
    assert np.array_equal(variable, model.layers[0].kernel) and variable.owner is None
    for layer in model.layers:
        twin = copy.deepcopy(layer)
        assert all(v.owner is None for v in twin.weights)
        for v, w in zip(twin.weights, layer.weights, strict=True):
            assert np.array_equal(v, w)


def test_a_file_of_a_pickle():
    file = io.BytesIO()
    model = trained(model_of())
    pickle.dump({"model": model, "again": model}, file)
    file.seek(0)
    both = pickle.load(file)
    assert both["model"] is both["again"] and goes_on(both["model"]) == goes_on(model)
