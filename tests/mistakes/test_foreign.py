"""What looks like TensorFlow's or PyTorch's, and symbolic inputs: no such package is needed here."""

import numpy as np
import pytest

from tdfast import Sequential, activations, layers, losses, metrics, optimizers
from tdfast.compat import foreign
from tdfast.layers import GRU, LSTM, Dense


def function_of(module, name):
    def function(x): ...

    function.__module__, function.__name__ = module, name
    return function


@pytest.mark.parametrize("module, name, ours", [
    ("tensorflow.python.ops.gen_nn_ops", "relu", "relu"), ("tensorflow.python.ops.nn_ops", "softmax_v2",
                                                           "softmax"),
    ("tensorflow.python.ops.math_ops", "tanh", "tanh"), ("tensorflow.python.ops.nn_impl", "swish", "silu"),
    ("tensorflow.python.ops.nn_ops", "leaky_relu", "leaky_relu"),
    ("tf_keras.src.activations", "gelu", "gelu"),
    ("tf_keras.src.activations", "relu", "relu"),
])
def test_activations_of_tensorflow_are_taken_by_name(module, name, ours):
    function = function_of(module, name)
    assert activations.get(function) is getattr(activations, ours)
    assert Dense(2, activation=function).get_config()["activation"] == ours
    assert LSTM(2, activation=function_of("tensorflow.python.ops.math_ops",
                                          "sigmoid")).get_config()["activation"] == "sigmoid"


@pytest.mark.parametrize("module, name", [
    ("tf_keras.src.activations", "hard_sigmoid"), ("tensorflow.python.ops.nn_ops", "crelu"),
    ("torch.nn.functional", "relu"),
    ("jax._src.nn.functions", "gelu"), ("keras.src.ops.nn", "gelu"),
])
def test_activations_that_mean_another_thing_are_refused(module, name):
    with pytest.raises(
        ValueError,
        match=f"function {name} .*{module}.* is of (Keras|TensorFlow|PyTorch|JAX).*Known activations",
    ):
        Dense(2, activation=function_of(module, name))


def object_of(module, name, base=object):
    return type(name, (base,), {"__module__": module})()


@pytest.mark.parametrize("get, module, name, words", [
    (losses.get, "torch.nn.modules.loss", "MSELoss", "is of PyTorch.*Did you mean 'mean_squared_error'"),
    (losses.get, "torch.nn.modules.loss", "CrossEntropyLoss",
     "Did you mean 'sparse_categorical_crossentropy'"),
    (optimizers.get, "torch.optim.adam", "Adam", "is of PyTorch.*tdfast.optimizers.*Did you mean 'adam'"),
    (metrics.get, "flax.nnx.training.metrics", "Accuracy", "is of Flax.*Did you mean 'accuracy'"),
    (optimizers.get, "tensorflow.python.training.adam", "AdamOptimizer",
     "is of TensorFlow.*Did you mean 'adam"),
])
def test_objects_are_named_as_what_they_are(get, module, name, words):
    with pytest.raises(ValueError, match=words):
        get(object_of(module, name))


def test_what_keras_describes_by_name_and_config_is_taken():
    def huber(config, **attributes):
        return type("Huber", (), {"__module__": "keras.src.losses.losses", "get_config": lambda self: config,
                                  **attributes})()

    assert losses.get(huber({"delta": 2.5, "name": "mine"})).delta == 2.5
    assert losses.get(huber({}, _fn_kwargs={"delta": 0.5})).delta == 0.5  # which Keras's config forgets
    adam = type("Adam", (), {"__module__": "keras.src.optimizers.adam", "built": False,
                             "get_config": lambda self: {"learning_rate": 0.25}})()
    assert optimizers.get(adam).learning_rate == 0.25


def test_a_class_derived_from_one_of_theirs_is_theirs():
    theirs = type(object_of("keras.src.losses.loss", "Loss"))
    mine = type("Mine", (theirs,), {"__module__": "my_code"})()
    assert foreign.package_of(mine) == "Keras" and foreign.package_of(type(mine)) == "Keras"
    with pytest.raises(ValueError, match="object Mine .my_code. is of Keras"):
        losses.get(mine)


@pytest.mark.parametrize("module, name, words", [
    ("torch.nn.modules.linear", "Linear", "layer of PyTorch: write tdfast.layers.Dense"),
    ("keras.src.layers.core.dense", "Dense", "layer of Keras: write tdfast.layers.Dense"),
    ("keras.src.layers.preprocessing.image_preprocessing.random_crop", "RandomCrop",
     "is of Keras: give layers of tdfast.layers"),
    ("keras.src.models.sequential", "Sequential", "model of Keras: save it, and load the file"),
    ("keras.src.backend.common.keras_tensor", "KerasTensor", "symbolic tensor of Keras: write tdfast.Input"),
])
def test_layers(module, name, words):
    theirs = object_of(module, name)
    for call in (lambda: Sequential([theirs]), lambda: layers.TimeDistributed(theirs),
                 lambda: layers.Bidirectional(theirs)):
        with pytest.raises(ValueError, match=words):
            call()


def test_a_cell():
    with pytest.raises(ValueError, match="of Keras: write tdfast.layers.LSTMCell"):
        layers.RNN(object_of("keras.src.layers.rnn.lstm", "LSTMCell"))


@pytest.mark.parametrize("layer", [Dense(2), GRU(2), Sequential([Dense(2)]), layers.Embedding(3, 2)])
def test_a_symbolic_tensor_of_another_package(layer):
    with pytest.raises(ValueError, match=r"KerasTensor, .*symbolic tensor of Keras.*tdfast.Input"):
        layer(object_of("keras.src.backend.common.keras_tensor", "KerasTensor"))


def test_what_is_ones_own_is_no_others():
    assert (
        foreign.package_of(np.float32(1))
        is foreign.package_of(len)
        is foreign.package_of(Dense)
        is foreign.package_of(None)
        is None
    )
    assert metrics.get(lambda y_true, y_pred: y_pred.max(axis=-1)).name == "lambda"


# ---------------------------------------------------------------- layers written for Keras


class Twice(layers.Layer):
    """As a layer of one's own looks in Keras."""

    def __init__(self, units=4, **kwargs):
        super().__init__(**kwargs)
        self.units = units

    def build(self, input_shape):
        self.kernel = self.add_weight((input_shape[-1], self.units))

    def call(self, inputs, training=False):
        return inputs @ self.kernel


class Louder(Dense):
    def call(self, x):
        return 2 * super().call(x)


class Step(layers.Cell):
    state_size = 2

    def call(self, inputs, states, training=False):
        return inputs + states[0][:, :1], states


@pytest.mark.parametrize("make", [
    lambda: Sequential([Twice()]), lambda: Sequential([Dense(2, input_shape=(3,)), Twice()]),
    lambda: Sequential([Louder(2)]),
    lambda: layers.TimeDistributed(Twice()), lambda: layers.RNN(Step()),
    lambda: layers.RNN(layers.StackedRNNCells([layers.GRUCell(3), Step()])),
])
def test_a_layer_with_call_runs_as_in_keras(make):
    layer = make()
    steps = (3,) if isinstance(layer, (layers.TimeDistributed, layers.RNN)) else ()
    x = np.ones((2, *steps, 3), "float32")
    assert np.isfinite(layer(x)).all()


def test_a_sequential_with_a_call_is_refused():
    with pytest.raises(TypeError, match="class Stack has a call, but derives from Sequential.*tdfast.Model"):
        class Stack(Sequential):
            def call(self, x):
                return x


def test_a_layer_with_call_and_forward_is_one_of_ours():
    class Both(Twice):
        def forward(self, x, tape, training=False, mask=None):
            tape.push(self)
            return x @ self.kernel.value

        def backward(self, dy, tape, need_dx=True):
            tape.pop(self)
            return dy @ self.kernel.value.T

        def compute_output_shape(self, input_shape):
            return (*input_shape[:-1], self.units)

    class Mine(Dense):
        call = None

    x = np.ones((2, 3), "float32")
    model = Sequential([Both(5), Mine(2)])
    assert model(x).shape == (2, 2) and np.array_equal(model.layers[0](x), model.layers[0].call(x))
