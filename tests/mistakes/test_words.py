"""Arguments that mean something else than their user thinks: refused in words, or taken as they say."""

import inspect
import warnings

import numpy as np
import pytest

import tdfast
from tdfast import callbacks, layers, optimizers, saving
from tdfast.utils import pad_sequences

X, Y = np.ones((4, 3, 2), "f"), np.ones((4, 3, 1), "f")


# ------------------------------------------------------------------------------------------ pad_sequences
@pytest.mark.parametrize("value", ["pad", None])
def test_a_word_is_no_number_to_fill_up_with(value):
    with pytest.raises(ValueError, match=f"value={value!r}.*int32.*object"):
        pad_sequences([[1], [2, 3]], value=value)
    found = pad_sequences([["a"], ["b", "c"]], value="pad", dtype=object)
    assert found.tolist() == [["pad", "a"], ["b", "c"]]
    with pytest.raises(ValueError, match="the sequences.*object"):
        pad_sequences([["a"], ["b", "c"]])


def test_numbers_that_whole_numbers_do_not_hold():
    with pytest.warns(UserWarning, match="the sequences will be cut.*float32") as caught:
        assert pad_sequences([[1.5], [2.0, 3.0]]).tolist() == [[0, 1], [2, 3]]
    assert caught[0].filename == __file__
    with pytest.warns(UserWarning, match="value=0.5 will be cut"):
        pad_sequences([[1]], value=0.5)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert pad_sequences([[1.0], [2.0, 3.0]], value=-1.0).tolist() == [[-1, 1], [2, 3]]
        assert pad_sequences([[1.5], [2.0, 3.0]], dtype="float32").tolist() == [[0, 1.5], [2, 3]]
        assert pad_sequences([[True], []]).tolist() == [[1], [0]]
    for bad, dtype in ((np.nan, "int32"), (np.inf, "int64"), (2**31, "int32"), (-1, "uint8"), (300, "uint8")):
        with pytest.raises(ValueError, match=f"{dtype}, which holds whole numbers"):
            pad_sequences([[1], [1, bad]], dtype=dtype)


# ------------------------------------------------------------------------------------------ optimizers
NAMES = "SGD Adam AdamW RMSprop Adagrad Adadelta Adamax Nadam Ftrl Lion Lamb".split()
OPTIMIZERS = [getattr(optimizers, name) for name in NAMES]
OPTIONAL = (
    "weight_decay clipnorm clipvalue global_clipnorm ema_overwrite_frequency loss_scale_factor "
    "gradient_accumulation_steps"
).split()


@pytest.mark.parametrize("cls", OPTIMIZERS)
def test_an_optimizers_numbers_are_numbers(cls):
    parameters = inspect.signature(cls).parameters
    given = {name: p.default for name, p in parameters.items() if p.kind is not p.VAR_KEYWORD}
    given |= {"use_ema": False, "ema_momentum": 0.99}
    for name, default in given.items():
        more = [0.5, 2] if isinstance(default, bool) else [True] if name == "weight_decay" else [None, True]
        for bad in ("False", "0.1", [0.1], {}, *more):
            with pytest.raises(ValueError, match=name):
                cls(**{name: bad})
    for name in OPTIONAL:
        for bad in ("1", [1], True):
            with pytest.raises(ValueError, match=name):
                optimizers.SGD(**{name: bad})
    made = cls(np.float32(0.5), use_ema=np.True_, ema_momentum=np.array(0.5))
    assert made.learning_rate == 0.5 and made.use_ema is True and made.ema_momentum == 0.5


SCHEDULES = "ExponentialDecay InverseTimeDecay PolynomialDecay CosineDecay CosineDecayRestarts".split()


@pytest.mark.parametrize("name", SCHEDULES)
def test_a_schedules_numbers_are_numbers(name):
    cls = getattr(optimizers.schedules, name)
    parameters = inspect.signature(cls).parameters
    given = {key: 0.5 for key, p in parameters.items() if p.default is p.empty}
    for key, p in parameters.items():
        empty = [] if p.default is None or isinstance(p.default, bool) else [None]
        for bad in ("0.1", "False", [0.1], *empty) if key != "name" else ():
            with pytest.raises(ValueError, match=f"{key} must be"):
                cls(**{**given, key: bad})
    assert isinstance(cls(**given)(3), float)


PIECES = [(None, [1]), ([1], None), ("a", "ab"), ([None], [1, 2]), ([1], [1, "2"])]


@pytest.mark.parametrize("boundaries, values", PIECES)
def test_a_piecewise_schedules_numbers_are_numbers(boundaries, values):
    with pytest.raises(ValueError, match="boundaries|values"):
        optimizers.schedules.PiecewiseConstantDecay(boundaries, values)


# --------------------------------------------------------------------------------- True and False as words
def flags_of(cls):
    return [name for name, p in inspect.signature(cls).parameters.items() if isinstance(p.default, bool)]


MADE_OF = {
    **dict.fromkeys(("units", "filters", "kernel_size", "pool_size", "output_dim", "output_size", "n"), 2),
    **{"input_dim": 3, "target_shape": (2,), "rate": 0.1, "stddev": 0.1, "scale": 2.0, "dims": (1,)},
    **{"axes": 1, "num_bins": 3},
    **{"equation": "ab,bc->ac", "output_shape": 2},
    **dict.fromkeys(("num_heads", "key_dim", "head_dim", "num_query_heads", "num_key_value_heads"), 2),
    "activation": "relu", "function": lambda: abs,
    **{"cell": lambda: layers.GRUCell(2), "layer": lambda: layers.LSTM(2)},
}


def made(cls, **more):
    wanted = [name for name, p in inspect.signature(cls).parameters.items()
              if p.default is p.empty and p.kind is p.POSITIONAL_OR_KEYWORD]
    given = {name: MADE_OF[name]() if callable(MADE_OF[name]) else MADE_OF[name] for name in wanted}
    given |= {"CategoryEncoding": {"num_tokens": 3}, "Discretization": {"num_bins": 3}}.get(cls.__name__, {})
    return cls(**{**given, **more})


LAYERS = [cls for cls in (getattr(layers, name) for name in sorted(layers.__all__))
          if inspect.isclass(cls) and issubclass(cls, layers.Layer)
          and cls not in (layers.Layer, layers.Cell, layers.InputLayer, layers.StackedRNNCells)]


@pytest.mark.parametrize("cls", LAYERS)
@pytest.mark.parametrize("bad", ["False", "True", "", 2, [False]])
def test_words_are_no_booleans(cls, bad):
    for name in {"trainable", *flags_of(cls)}:
        with pytest.raises(ValueError, match=f"{name} must be True or False, got"):
            made(cls, **{name: bad})
    for good in (0, False, None, np.False_):
        assert made(cls, trainable=good).trainable is False
    layer = made(cls)
    with pytest.raises(ValueError, match="trainable must be"):
        layer.trainable = bad
    assert layer.trainable is True


def test_words_are_no_booleans_of_models_and_weights():
    with pytest.raises(ValueError, match="'m' .*trainable.*'False'"):
        tdfast.Sequential([layers.Dense(1)], trainable="False", name="m")
    model = tdfast.Sequential([layers.Dense(1, input_shape=(2,))])
    with pytest.raises(ValueError, match="trainable"):
        model.trainable = "False"
    with pytest.raises(ValueError, match="kernel'.*trainable"):
        model.layers[0].kernel.trainable = "False"
    assert len(model.trainable_weights) == 2
    with pytest.raises(ValueError, match="trainable.*'False'"):
        config = model.get_config()
        config["layers"][-1]["config"]["trainable"] = "False"
        tdfast.Sequential.from_config(config)


# ------------------------------------------------------------------------------------------ states
def stateful(name):
    return {
        "LSTM": lambda: layers.LSTM(2, stateful=True), "GRU": lambda: layers.GRU(2, stateful=True),
        "RNN": lambda: layers.RNN([layers.LSTMCell(2), layers.GRUCell(3)], stateful=True),
        "Bidirectional": lambda: layers.Bidirectional(layers.LSTM(2, stateful=True)),
        "ConvLSTM1D": lambda: layers.ConvLSTM1D(2, 2, stateful=True),
    }[name]()


@pytest.mark.parametrize("name", ["LSTM", "GRU", "RNN", "Bidirectional", "ConvLSTM1D"])
def test_reset_states_takes_states(name):
    """Keras 2's form."""
    layer = stateful(name)
    x = np.random.default_rng(0).normal(size=(3, 4, 5, 2) if name == "ConvLSTM1D" else (3, 4, 2)).astype("f")
    model = tdfast.Sequential([tdfast.Input(batch_shape=(3, *x.shape[1:])), layer])
    begun = model.predict(x, verbose=0)
    states = layer.states
    then = model.predict(x, verbose=0)
    assert not np.array_equal(begun, then)
    layer.reset_states(states)
    np.testing.assert_array_equal(model.predict(x, verbose=0), then)
    layer.reset_states()
    np.testing.assert_array_equal(model.predict(x, verbose=0), begun)
    kept = layer.states
    fewer = states[:-1] if len(states) > 1 else [states[0][:, :1]]
    for bad in ([], [x], [np.zeros((3, 9))] * len(states), 3, fewer):
        with pytest.raises(ValueError, match="reset_states"):
            layer.reset_states(bad)
    for a, b in zip(kept, layer.states):
        np.testing.assert_array_equal(a, b)


def test_reset_states_of_a_layer_without_states():
    layer = layers.LSTM(2)
    layer(X)
    with pytest.raises(ValueError, match="stateful=True"):
        layer.reset_states([np.zeros((4, 2))] * 2)
    with pytest.raises(ValueError, match="reset_states"):
        layers.LSTM(2, stateful=True).reset_states([np.zeros((4, 2))] * 2)
    layer.reset_states()


@pytest.mark.parametrize("name", ["LSTM", "RNN", "Bidirectional", "ConvLSTM1D"])
def test_the_first_batch_of_a_stateful_layer_is_of_the_size_that_it_was_told(name):
    x = np.ones((3, 4, 5, 2) if name == "ConvLSTM1D" else (3, 4, 2), "f")
    layer = stateful(name)
    model = tdfast.Sequential([tdfast.Input(batch_shape=x.shape), layer])
    with pytest.raises(ValueError, match="batches of 3 rows.*this batch has 2"):
        model.predict(x[:2], verbose=0)
    with pytest.raises(ValueError, match="batches of 3 rows.*this batch has 2"):
        layer(x[:2])
    assert layer.states is None
    model.predict(x, verbose=0)


NEEDED = {"num_classes": 3, "target_class_ids": [0], "fn": tdfast.losses.mean_squared_error}


def test_words_are_no_booleans_of_losses_and_metrics():
    made = 0
    for module in (tdfast.losses, tdfast.metrics):
        for name in module.__all__:
            cls = getattr(module, name)
            for option in flags_of(cls) if inspect.isclass(cls) else ():
                made += 1
                needs = [n for n in NEEDED if n in inspect.signature(cls).parameters]
                with pytest.raises(ValueError, match=f"{option} must be True or False, got 'False'"):
                    cls(**{n: NEEDED[n] for n in needs}, **{option: "False"})
    assert made >= 10


def test_words_are_no_booleans_of_calls(tmp_path):
    model = tdfast.Sequential([layers.Dense(1, input_shape=(3, 2))])
    model.compile("sgd", "mse")
    weights = model.get_weights()
    model.save(tmp_path / "m.keras")
    model.save_weights(tmp_path / "m.weights.h5")
    calls = {
        "shuffle": lambda v: model.fit(X, Y, shuffle=v, verbose=0),
        "overwrite": lambda v: model.save(tmp_path / "m.keras", overwrite=v),
        "compile": lambda v: saving.load_model(tmp_path / "m.keras", compile=v),
        "skip_mismatch": lambda v: model.load_weights(tmp_path / "m.weights.h5", skip_mismatch=v),
        "by_name": lambda v: model.load_weights(tmp_path / "m.weights.h5", by_name=v),
    }
    for name, call in calls.items():
        with pytest.raises(ValueError, match=f"{name} must be True or False, got 'False'"):
            call("False")
    for call in (model.evaluate, model.train_on_batch, model.test_on_batch):
        with pytest.raises(ValueError, match="return_dict must be True or False"):
            call(X, Y, return_dict="False")
    with pytest.raises(ValueError, match="overwrite"):
        model.save_weights(tmp_path / "m.weights.h5", overwrite="False")
    np.testing.assert_array_equal(model.get_weights()[0], weights[0])
    model.fit(X, Y, shuffle="batch", verbose=0)


# --------------------------------------------------------------------------- masks, callbacks, state dicts
WITH_MASKS = [
    layers.TimeDistributed(layers.Dense(1)), layers.TimeDistributed(layers.BatchNormalization()),
    layers.LSTM(2), layers.BatchNormalization(), tdfast.Sequential([layers.TimeDistributed(layers.Dense(1))]),
]


@pytest.mark.parametrize("layer", WITH_MASKS, ids=lambda layer: type(layer).__name__)
def test_a_mask_of_samples_is_no_mask_of_steps(layer):
    with pytest.raises(ValueError, match=r"mask.*\(4, 3\), got shape \(4,\)"):
        layer(X, mask=np.ones(4, bool), training=True)
    layer(X, mask=np.ones((4, 3), bool), training=True)


HOOKS = ["on_train_begin", "on_epoch_begin", "on_epoch_end", "on_train_batch_end", "on_test_end"]


@pytest.mark.parametrize("hook", HOOKS)
def test_compile_in_a_callback_is_refused(hook):
    model = tdfast.Sequential([layers.Dense(1, input_shape=(3, 2))])
    model.compile("sgd", "mse")
    optimizer = model.optimizer
    caller = callbacks.Callback()
    setattr(caller, hook, lambda *args, **kwargs: model.compile("adam", "mae"))
    with pytest.raises(RuntimeError, match="compile: fit of model.*is under way.*learning_rate"):
        model.fit(X, Y, epochs=2, verbose=0, validation_data=(X, Y), callbacks=[caller])
    assert model.optimizer is optimizer
    model.compile("adam", "mae")
    assert len(model.fit(X, Y, epochs=2, verbose=0).history["loss"]) == 2


def test_a_checkpoint_around_a_state_dict():
    dense = layers.Dense(1)
    dense.build((None, 2))
    state = {"weight": np.array([[1.0, 2.0]]), "bias": np.array([3.0])}
    for key in ("state_dict", "model"):
        with pytest.raises(ValueError, match=rf"checkpoint\['{key}'\]"):
            around = {"epoch": 3, "optimizer": {"state": {}, "param_groups": []}, key: state}
            saving.load_torch_state_dict(dense, around)
    with pytest.raises(ValueError, match="got list"):
        saving.load_torch_state_dict(dense, [state])
    saving.load_torch_state_dict(dense, state)
    assert float(dense([[1.0, 1.0]])[0, 0]) == 6
