"""Loops of one's own: apply on gradients, optimizers and schedules written for Keras, several optimizers."""

import copy
import pickle

import numpy as np
import pytest

import tdfast
from tdfast import layers, ops, optimizers
from tdfast.engine.variable import Parameters, Variable

SGD = optimizers.SGD()
RNG = np.random.default_rng(0)
VALUES = [RNG.normal(size=(4, 3)), RNG.normal(size=3), RNG.normal(size=(3, 2))]
GRADIENTS = [[RNG.normal(size=v.shape) for v in VALUES] for _ in range(5)]
EACH = ["SGD", "Adam", "AdamW", "RMSprop", "Adagrad", "Adadelta", "Adamax", "Nadam", "Ftrl", "Lion", "Lamb",
        "ScheduleFreeAdamW", "Adafactor", "Muon"]


def variables(dtype="float64"):
    return [Variable(np.asarray(v, dtype), f"w{i}", f"layer/w{i}") for i, v in enumerate(VALUES)]


class Momentum(optimizers.Optimizer):
    """SGD with momentum as in Keras's guide."""

    def __init__(self, learning_rate=0.01, momentum=0.9, **kwargs):
        super().__init__(learning_rate=learning_rate, **kwargs)
        self.momentum = momentum

    def build(self, variables):
        super().build(variables)
        self.momentums = []
        for variable in variables:
            self.momentums.append(self.add_variable_from_reference(reference_variable=variable,
                                                                   name="momentum"))

    def update_step(self, gradient, variable, learning_rate):
        learning_rate = ops.cast(learning_rate, variable.dtype)
        gradient = ops.cast(gradient, variable.dtype)
        m = self.momentums[self._get_variable_index(variable)]
        self.assign(m, ops.subtract(ops.multiply(m, ops.cast(self.momentum, variable.dtype)),
                                    ops.multiply(gradient, learning_rate)))
        self.assign_add(variable, m)

    def get_config(self):
        return {**super().get_config(), "momentum": self.momentum}


class Counting(optimizers.Optimizer):
    """One with a variable of no weight's, and Keras's guard."""

    def build(self, variables):
        if self.built:
            return
        super().build(variables)
        self.sum = self.add_variable((), name="sum")
        self.firsts, self.seconds = self.add_optimizer_variables(variables, ["a", "b"], ["zeros", "ones"])

    def update_step(self, gradient, variable, learning_rate):
        self.sum.assign_add(1.0)
        self.assign_sub(variable, learning_rate * gradient)


def in_a_row(optimizer, how, dtype="float64"):
    vs = variables(dtype)
    if how == "grad":
        Parameters(vs)
        optimizer.build(vs)
    for gs in GRADIENTS:
        if how == "grad":
            for v, g in zip(vs, gs):
                v.grad = g
            optimizer.apply()
        elif how == "apply":
            optimizer.apply([np.asarray(g, dtype) for g in gs], vs)
        else:
            optimizer.apply_gradients(zip(gs, vs))
    return [v.numpy() for v in vs]


@pytest.mark.parametrize("more", [{}, {"clipnorm": 0.5, "weight_decay": 0.1},
                                  {"use_ema": True, "global_clipnorm": 1, "gradient_accumulation_steps": 2}])
@pytest.mark.parametrize("name", EACH)
def test_every_way_to_make_a_step(name, more):
    want = in_a_row(getattr(optimizers, name)(0.1, **more), "grad")
    for how in ("apply", "gradients"):
        for a, b in zip(in_a_row(getattr(optimizers, name)(0.1, **more), how), want):
            assert (a == b).all()


@pytest.mark.parametrize("more", [{}, {"clipnorm": 0.5, "weight_decay": 0.1}, {"clipvalue": 0.2},
                                  {"use_ema": True, "global_clipnorm": 1, "gradient_accumulation_steps": 2}])
def test_an_optimizer_written_for_keras(more):
    for a, b in zip(in_a_row(Momentum(0.1, **more), "apply"),
                    in_a_row(optimizers.SGD(0.1, 0.9, **more), "apply")):
        np.testing.assert_allclose(a, b, rtol=0, atol=1e-14)


@pytest.mark.parametrize("name", EACH)
def test_update_step_of_a_subclass_can_call_the_class(name):
    base = getattr(optimizers, name)

    class Halved(base):
        def update_step(self, gradient, variable, learning_rate):
            super().update_step(gradient * 0.5, variable, learning_rate)

    got = in_a_row(Halved(0.1), "apply")
    vs, optimizer = variables(), base(0.1)
    for gs in GRADIENTS:
        optimizer.apply([0.5 * g for g in gs], vs)
    for a, v in zip(got, vs):
        np.testing.assert_allclose(a, v.numpy(), rtol=0, atol=1e-13)


def test_some_of_the_variables_and_none():
    vs, optimizer = variables(), optimizers.Adam(0.1)
    optimizer.build(vs)
    before = [v.numpy() for v in vs]
    optimizer.apply([GRADIENTS[0][1]], [vs[1]])
    assert [(v.numpy() == b).all() for v, b in zip(vs, before)] == [True, False, True]
    with pytest.warns(UserWarning, match="no gradient for layer/w0, layer/w1"):
        optimizer.apply([None, None, GRADIENTS[0][2]])
    assert [(v.numpy() == b).all() for v, b in zip(vs, before)] == [True, False, False]
    assert optimizer.iterations == 2
    optimizer.apply([])
    assert optimizer.iterations == 2 and optimizer.apply_gradients(zip(GRADIENTS[0], vs)) == 3


def test_many_subsets_are_not_kept():
    vs = [Variable(np.ones(1), path=f"w{i}") for i in range(6)]
    optimizer = optimizers.SGD(0.5)
    optimizer.build(vs)
    for k in range(1, 64):
        some = [v for i, v in enumerate(vs) if k >> i & 1]
        optimizer.apply([np.ones(1)] * len(some), some)
    assert len(optimizer._parts) < 40 and [float(v.numpy()[0]) for v in vs] == [1 - 16.0] * 6


def test_loss_scale():
    vs, optimizer = variables(), optimizers.SGD(1.0, loss_scale_factor=8.0)
    assert optimizer.scale_loss(3.0) == 24
    optimizer.apply([8 * g for g in GRADIENTS[0]], vs)
    for v, value, g in zip(vs, VALUES, GRADIENTS[0]):
        np.testing.assert_allclose(v.numpy(), value - g, rtol=0, atol=1e-15)


@pytest.mark.parametrize("call, error, message", [
    (lambda o, vs: optimizers.SGD().apply(GRADIENTS[0]), ValueError, "has no variables yet: call build"),
    (lambda o, vs: o.apply(GRADIENTS[0][:2]), ValueError, "got 2 gradients and 3 variables"),
    (lambda o, vs: o.apply([GRADIENTS[0][1]], [vs[0]]), ValueError,
     r"'layer/w0' must have its shape \(4, 3\), got \(3,\)"),
    (lambda o, vs: o.apply([np.ones(3)], [Variable(np.ones(3), path="other")]), ValueError,
     "was built for other variables than .*other"),
    (lambda o, vs: o.apply([None] * 3), ValueError, "no variable has a gradient"),
    (lambda o, vs: o.apply(None, vs), ValueError, "give the gradients"),
    (lambda o, vs: optimizers.SGD().build([np.ones(3)]), TypeError, "list of weights, .* got a ndarray"),
    (lambda o, vs: optimizers.SGD().set_weights([]), ValueError, "no variables yet"),
    (lambda o, vs: o.set_weights([1]), ValueError, "has 5 variables, got 1"),
    (lambda o, vs: optimizers.Optimizer(0.1).apply(GRADIENTS[0], vs), TypeError, "must override update"),
    (lambda o, vs: o.add_optimizer_variables(vs, ["a", "b"], ["zeros"]), ValueError, "got 1 and 2"),
])
def test_mistakes(call, error, message):
    vs, optimizer = variables(), optimizers.SGD(0.1, momentum=0.5)
    optimizer.build(vs)
    with pytest.raises(error, match=message):
        call(optimizer, vs)
    assert all((v.numpy() == value).all() for v, value in zip(vs, VALUES))


def test_numbers_of_an_optimizer():
    vs, optimizer = variables("float32"), optimizers.Adam(0.1, name="adam")
    optimizer.apply(GRADIENTS[0], vs)
    assert optimizer.iterations == 1 and optimizer.iterations.numpy() == optimizer.iterations.value == 1
    optimizer.iterations.assign(7)
    assert optimizer.steps == 7 and optimizer.variables[0].numpy() == 7
    optimizer.variables[1].assign(0.25)
    assert optimizer.learning_rate == 0.25 and optimizer.variables[1].path == "adam/learning_rate"
    optimizer.variables[1].assign(np.float32(0.25))
    optimizer.learning_rate = 0.1
    optimizer.variables[1].assign(np.float32(0.1))
    assert optimizer.learning_rate == 0.1               # and not the float32 next to it
    twin = optimizers.Adam(0.3)
    twin.build(variables("float32"))
    twin.set_weights([v.numpy() for v in optimizer.variables])
    assert all((a.numpy() == b.numpy()).all() for a, b in zip(twin.variables, optimizer.variables))
    assert type(pickle.loads(pickle.dumps(optimizer.iterations))) is int


def test_variables_compute():
    v = Variable(np.array([[1.0, -2.0], [3.0, 4.0]], "float32"), path="a/kernel")
    w = v.numpy()
    for got, want in [(v + 1, w + 1), (1 - v, 1 - w), (v * v, w * w), (w / v, w / w), (2 / v, 2 / w),
                      (v // 2, w // 2), (v % 2, w % 2), (v**2, w**2), (v @ w, w @ w), (w @ v, w @ w),
                      (-v, -w), (abs(v), abs(w)), (v > 0, w > 0), (v <= 1, w <= 1)]:
        assert type(got) is np.ndarray and got.dtype == want.dtype and (got == want).all()
    v.assign_add(np.ones(2))
    v.assign_sub(1.0)
    assert (v.numpy() == w).all()
    with pytest.raises(ValueError, match=r"'a/kernel' has shape \(2, 2\) and cannot be .* \(3, 2, 2\)"):
        v.assign_add(np.ones((3, 1, 1)))
    assert float(Variable(np.array(0.5))) == 0.5 and int(Variable(np.array(3))) == 3


def data(seed=0):
    rng = np.random.default_rng(seed)
    return rng.normal(size=(32, 5, 3)).astype("f"), rng.normal(size=(32, 2)).astype("f")


def model_with(optimizer, seed=1):
    tdfast.utils.set_random_seed(seed)
    model = tdfast.Sequential([layers.GRU(4, input_shape=(5, 3), name="gru"), layers.Dense(2, name="out")])
    model.compile(optimizer, "mse")
    return model


def test_weights_that_a_model_has_moved():
    """The loop's optimizer follows them, with what it knows of each."""
    x, y = data()
    model, twin = model_with("sgd"), model_with("sgd")
    loop, whole = optimizers.Adam(0.01), optimizers.Adam(0.01)
    gradients = [[np.full(w.shape, 0.1 * k, "f") for w in model.trainable_variables] for k in (1, 2, 3)]
    for k, gs in enumerate(gradients):
        loop.apply(gs, model.trainable_variables)
        whole.apply(gs, twin.trainable_variables)
        if k == 0:
            held = model.get_weights()
            model.fit(x, y, epochs=1, verbose=0)       # puts them into vectors of its own
            model.set_weights(held)
    for a, b in zip(model.get_weights(), twin.get_weights()):
        assert (a == b).all()


def several(learning_rate=0.01):
    return optimizers.MultiOptimizer(optimizers.OptimizerMap(
        optimizers.SGD(learning_rate, momentum=0.5),
        {".*gru/.*": optimizers.Adam(learning_rate, clipnorm=1.0)}))


@pytest.mark.parametrize("make", [lambda: Momentum(0.05), lambda: Counting(0.05),
                                  lambda: optimizers.Muon(0.02), lambda: optimizers.ScheduleFreeAdamW(0.01),
                                  lambda: optimizers.Adafactor(0.05, use_ema=True), several])
def test_fit_copies_and_freezing(make):
    x, y = data()
    model = model_with(make())
    before = model.evaluate(x, y, verbose=0)
    model.fit(x, y, epochs=3, verbose=0)
    assert model.evaluate(x, y, verbose=0) < before
    for twin in (copy.deepcopy(model), pickle.loads(pickle.dumps(model))):
        held = [v.numpy() for v in twin.optimizer.variables]
        assert all((a == v.numpy()).all() for a, v in zip(held, model.optimizer.variables))
        state = model.get_weights(), [v.numpy() for v in model.optimizer.variables]
        twin.train_on_batch(x, y)
        copied = copy.deepcopy(model)
        copied.train_on_batch(x, y)
        assert all((a == b).all() for a, b in zip(twin.get_weights(), copied.get_weights()))
        assert all((a == v.numpy()).all() for a, v in zip(state[1], model.optimizer.variables))
    held = {v.path: v.numpy() for v in model.optimizer.variables}
    model.get_layer("gru").trainable = False
    still = model.get_layer("gru").get_weights()
    model.compile(model.optimizer, "mse")
    model.fit(x[:8], y[:8], epochs=1, verbose=0)
    assert all((a == b).all() for a, b in zip(still, model.get_layer("gru").get_weights()))
    left = {v.path for v in model.optimizer.variables}
    assert left <= set(held) and not any("gru" in path for path in left)


def test_what_is_kept_goes_on_when_a_layer_is_frozen():
    x, y = data()
    model = model_with(Momentum(0.05))
    model.fit(x, y, verbose=0)
    held = {v.path: v.numpy() for v in model.optimizer.variables}
    model.get_layer("gru").trainable = False
    model._trainer.ready_to_train()
    for v in model.optimizer.variables:
        assert (v.numpy() == held[v.path]).all()


def test_a_schedule_and_a_function_of_ones_own():
    class Halving(optimizers.schedules.LearningRateSchedule):
        def __call__(self, step):
            return ops.cast(0.5, "float32") / (ops.cast(step, "float32") + 1)

        def get_config(self):
            return {}

    x, y = data()
    want = model_with("sgd")
    for k in range(3):
        want.optimizer.learning_rate = 0.5 / (k + 1)
        want.train_on_batch(x, y)
    model = model_with(optimizers.SGD(Halving()))
    model.fit(x, y, epochs=3, batch_size=32, shuffle=False, verbose=0)
    for a, b in zip(model.get_weights(), want.get_weights()):
        np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-6)
    seen = []
    model = model_with(optimizers.SGD(lambda: seen.append(1) or 0.5))
    model.fit(x, y, epochs=2, batch_size=32, verbose=0)
    assert len(seen) == 2


# ---------------------------------------------------------------- several optimizers


def test_several_optimizers_are_each_alone():
    x, y = data()
    model = model_with(several())
    model.fit(x, y, epochs=2, verbose=0, shuffle=False)
    inner = model.optimizer.optimizers
    assert [type(o).__name__ for o in inner] == ["Adam", "SGD"]
    assert [len(o.trainable_variables) for o in inner] == [3, 2]
    assert model.optimizer.iterations == inner[0].iterations == inner[1].iterations == 2
    assert not hasattr(model.optimizer, "learning_rate")
    with pytest.raises(AttributeError, match=r"cannot be set: set that of one of optimizer\.optimizers"):
        model.optimizer.learning_rate = 0.1
    vs = variables()
    both = optimizers.MultiOptimizer(optimizers.OptimizerMap(optimizers.SGD(0.1),
                                                             {"layer/w1": optimizers.Adam(0.1)}))
    alone = variables()
    sgd, adam = optimizers.SGD(0.1), optimizers.Adam(0.1)
    for gs in GRADIENTS:
        both.apply(gs, vs)
        sgd.apply([gs[0], gs[2]], [alone[0], alone[2]])
        adam.apply([gs[1]], [alone[1]])
    assert all((a.numpy() == b.numpy()).all() for a, b in zip(vs, alone))
    assert [v.name for v in both.variables] == [
        "iteration", "learning_rate", *(v.name for v in [*adam.variables, *sgd.variables])]


def test_a_function_chooses_once():
    def choose(variable):
        return optimizers.Adam(0.01) if "kernel" in variable.path else shared

    shared = optimizers.SGD(0.01)
    x, y = data()
    model = model_with(optimizers.MultiOptimizer(choose))
    model.fit(x, y, verbose=0)
    assert len(model.optimizer.optimizers) == 4          # three kernels
    model.get_layer("out").trainable = False
    model.compile(model.optimizer, "mse")
    model.fit(x, y, verbose=0)
    assert len(model.optimizer.optimizers) == 4
    assert [o.iterations for o in model.optimizer.optimizers] == [2, 2, 2, 1]


@pytest.mark.parametrize("call, error, message", [
    (lambda: optimizers.OptimizerMap(3), TypeError, "default_optimizer must be an optimizer, got 3"),
    (lambda: optimizers.OptimizerMap(optimizers.SGD(), [1]), TypeError, "must be a dict"),
    (lambda: optimizers.OptimizerMap(optimizers.SGD(), {"a": several()}), ValueError,
     "must be one optimizer"),
    (lambda: optimizers.OptimizerMap(optimizers.SGD(), {3: optimizers.SGD()}), ValueError, "got 3"),
    (lambda: optimizers.OptimizerMap(optimizers.SGD(), {"a.*": SGD, ".*b": SGD})["ab"], ValueError,
     r"match 'ab': a\.\*, \.\*b"),
    (lambda: optimizers.MultiOptimizer(optimizers.SGD()), TypeError, "needs an OptimizerMap, or a function"),
    (lambda: optimizers.MultiOptimizer(lambda v: 3).apply(GRADIENTS[0], variables()), ValueError,
     "'layer/w0' got 3"),
    (lambda: several().apply(), ValueError, "no variables yet"),
    (lambda: optimizers.OptimizerMap(optimizers.SGD(), {"a(": optimizers.SGD()}), ValueError,
     r"must be a regular expression, got 'a\('"),
    (lambda: optimizers.Muon(exclude_layers=["*"]), ValueError, "must be a regular expression, got"),
    (lambda: optimizers.Muon(ns_steps=-1), ValueError, "ns_steps must be a whole number"),
    (lambda: optimizers.Muon(exclude_layers="out"), ValueError, "must be a list of names, got 'out'"),
])
def test_mistakes_with_several(call, error, message):
    with pytest.raises(error, match=message):
        call()


def test_config_of_several():
    again = optimizers.deserialize(optimizers.serialize(several()))
    assert again.get_config() | {"name": ""} == several().get_config() | {"name": ""} or (
        [o.get_config()["learning_rate"] for o in again.optimizers] == [0.01, 0.01])
    entries = again.get_config()["optimizer_map"]["config"]["optimizer_map"]
    assert list(entries) == [".*gru/.*"] and entries[".*gru/.*"]["config"]["clipnorm"] == 1.0
    mapping = optimizers.OptimizerMap(optimizers.SGD(), {"a": optimizers.Adam()})
    assert len(mapping) == 1 and list(mapping) == ["a"]
    del mapping["a"]
    assert type(mapping["a"]) is optimizers.SGD


@pytest.mark.parametrize("make", [lambda: optimizers.Muon(0.02, exclude_layers=["out"]), several,
                                  lambda: optimizers.Adafactor(0.05), lambda: Momentum(0.03),
                                  lambda: optimizers.ScheduleFreeAdamW(0.01, use_ema=True)])
def test_resume_and_files(make, tmp_path):
    """As if nothing had happened: from a backup to the bit, and from a file."""
    x, y = data()

    class Stop(tdfast.callbacks.Callback):
        def on_epoch_end(self, epoch, logs=None):
            if epoch == 1:
                raise KeyboardInterrupt

    def fit(model, *callbacks):
        backup = tdfast.callbacks.BackupAndRestore(tmp_path / "backup")
        model.fit(x, y, epochs=4, batch_size=8, verbose=0, callbacks=[backup, *callbacks])

    whole = model_with(make())
    whole.fit(x, y, epochs=4, batch_size=8, verbose=0)
    with pytest.raises(KeyboardInterrupt):
        fit(model_with(make()), Stop())
    again = model_with(make(), seed=7)
    fit(again)
    assert all((a == b).all() for a, b in zip(again.get_weights(), whole.get_weights()))
    pairs = zip(again.optimizer.variables, whole.optimizer.variables)
    assert all((a.numpy() == b.numpy()).all() for a, b in pairs)
    pytest.importorskip("h5py")
    whole.save(tmp_path / "a.keras")
    loaded = tdfast.saving.load_model(tmp_path / "a.keras", custom_objects={"Momentum": Momentum})
    for model in (whole, loaded):
        model.fit(x, y, epochs=1, batch_size=8, shuffle=False, verbose=0)
    assert all((a == b).all() for a, b in zip(loaded.get_weights(), whole.get_weights()))
