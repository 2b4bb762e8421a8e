"""Mistakes in users' own layers, losses, models and steps: each error says who, what, and the mend."""

import numpy as np
import pytest

import tdfast
from tdfast import Input, Model, Sequential, layers, ops

RNG = np.random.default_rng(12)
X = RNG.normal(size=(6, 4)).astype("float32")
Y = RNG.normal(size=(6, 2)).astype("float32")


def layer_of(function, name="Mistaken"):
    """An object of a layer class whose call is a function of one array."""
    cls = type(name, (layers.Layer,), {"call": lambda self, inputs: function(inputs)})
    return cls()


def model_of(function, name="Mistaken"):
    """A model whose gradients go through such a layer."""
    model = Sequential([Input((4,)), layers.Dense(2), layer_of(function, name)])
    model.compile("sgd", "mse")
    return model


def fit(function):
    model_of(function).fit(X, Y, verbose=0)


def with_loss(loss, y=Y):
    model = Sequential([Input((4,)), layers.Dense(2)])
    model.compile("sgd", loss)
    model.fit(X, y, verbose=0)


# ---------------------------------------------------------------- what call gives


@pytest.mark.parametrize("value, said", [
    (None, "None"), ("text", "'text'"), (object(), "object"), (len, "len"),
])
def test_call_returns_what_is_no_array(value, said):
    with pytest.raises(TypeError, match=f"Mistaken.*call must return an array.*got .*{said}"):
        layer_of(lambda x: value)(X)
    with pytest.raises(TypeError, match="Mistaken.*call must return an array"):
        model_of(lambda x: value)


def test_call_returns_a_framework_s_tensor():
    torch = pytest.importorskip("torch")
    with pytest.raises(TypeError, match="Mistaken.*torch Tensor.*tdfast.ops"):
        layer_of(lambda x: torch.ones(6, 2))(X)


@pytest.mark.parametrize("function, said", [
    (lambda x: np.asarray(x) * 2, r"np\.asarray.*would lose the derivative.*convert_to_numpy"),
    (lambda x: x * float(ops.sum(x)), r"float\(x\) would lose the derivative"),
    (lambda x: x * ops.sum(x).item(), r"x\.item\(\) would lose the derivative"),
    (lambda x: x * np.sum(x.tolist()), r"x\.tolist\(\) would lose the derivative"),
    (lambda x: np.add(x, 1, out=np.zeros_like(X[:, :2])), r"np\.add\(\.\.\., out=\.\.\.\).*leave out= away"),
])
def test_what_loses_the_derivative(function, said):
    model = Sequential([Input((4,)), layers.Dense(2)])
    with pytest.raises(TypeError, match=said):
        ops.value_and_grad(lambda: ops.sum(function(model(X))), model.trainable_variables)()


def test_writing_into_an_array():
    def function(x):
        x[:, 0] = 1.0
        return x

    with pytest.raises((TypeError, ValueError), match=r"where\(condition|slice_update|read-only"):
        fit(function)
    with pytest.raises(TypeError, match=r"x\[\.\.\.\] = value writes.*tdfast\.ops\.where"):
        ops.grad(lambda x: ops.sum(function(x)))(X)


def test_a_function_of_numpy_s_without_a_derivative():
    with pytest.raises(TypeError, match="np.interp.*has no derivative.*tdfast.ops"):
        ops.grad(lambda x: ops.sum(np.interp(x, [0.0, 1.0], [1.0, 2.0])))(X[0])


# ---------------------------------------------------------------- losses


@pytest.mark.parametrize("loss", [
    lambda t, p: ops.mean(ops.cast(ops.argmax(p, axis=-1), "float32")),
    lambda t, p: ops.mean(t, axis=-1), lambda t, p: 3.0,
], ids=["argmax", "targets", "number"])
def test_a_loss_without_y_pred(loss):
    with pytest.raises((TypeError, ValueError), match="(?s)lambda.*y_pred|y_pred.*lambda"):
        with_loss(loss)


@pytest.mark.parametrize("loss, said", [
    (lambda t, p: None, "None"), (lambda t, p: "a", "str"),
])
def test_a_loss_that_gives_no_number(loss, said):
    with pytest.raises((TypeError, ValueError), match=f"(?s)lambda.*{said}"):
        with_loss(loss)


def test_a_loss_whose_values_cannot_be_weighted():
    def total(y_true, y_pred):
        return ops.sum(ops.square(y_true - y_pred), axis=0)[:1] * ops.ones((5,))

    model = Sequential([Input((4,)), layers.Dense(2)])
    model.compile("sgd", total)
    with pytest.raises(ValueError, match=r"sample_weight has shape \(6,\).*\(5,\)"):
        model.fit(X, Y, sample_weight=np.ones(6), verbose=0)


def test_a_loss_of_a_function_that_fails_names_itself():
    def broken(y_true, y_pred):
        return ops.matmul(y_pred, ops.ones((7, 7)))

    with pytest.raises(ValueError):
        with_loss(broken)


# ---------------------------------------------------------------- calls


def test_an_argument_that_call_does_not_know():
    x = Input((4,))
    with pytest.raises(TypeError, match="Mistaken.*'scale'.*takes inputs"):
        layer_of(lambda x: x)(x, scale=2)


def test_a_sequential_with_a_call():
    with pytest.raises(TypeError, match="class Own has a call, but derives from Sequential.*tdfast.Model"):
        class Own(Sequential):
            def call(self, inputs):
                return 2 * super().call(inputs)


class WrongCell(layers.Layer):
    def __init__(self, gives, **kwargs):
        super().__init__(**kwargs)
        self.state_size, self.gives = 3, gives

    def call(self, inputs, states):
        return self.gives(inputs, states)


@pytest.mark.parametrize("gives, error, said", [
    (lambda x, s: x, TypeError, r"must return \(output, states\)"),
    (lambda x, s: None, TypeError, "call must return"),
    (lambda x, s: (x, [s[0], s[0]]), ValueError, "1 states, but call returned 2"),
    (lambda x, s: (s[0], [ops.concatenate([s[0], s[0]], axis=-1)]), ValueError, "state"),
])
def test_a_cell_s_call_gives_wrong_things(gives, error, said):
    with pytest.raises(error, match=f"WrongCell.*{said}"):
        layers.RNN(WrongCell(gives))(RNG.normal(size=(2, 5, 4)))


def test_a_cell_without_a_state_size():
    with pytest.raises(ValueError, match="state_size"):
        layers.RNN(layer_of(lambda x: x))


# ---------------------------------------------------------------- derivatives


def test_a_derivative_of_a_derivative_through_a_compiled_layer():
    layer = layers.LSTM(3, name="steps")
    x = RNG.normal(size=(2, 4, 3)).astype("float32")
    layer(x)
    with pytest.raises(TypeError, match="'steps'.*LSTM.*first derivative alone.*tdfast.ops"):
        ops.grad(lambda a: ops.sum(ops.grad(lambda b: ops.sum(layer(b)))(a)))(x)


def test_gradient_tape_is_explained():
    with pytest.raises((AttributeError, ImportError), match="value_and_grad"):
        _ = tdfast.GradientTape


def test_a_gradient_of_an_array():
    def squares(x):
        return x * x

    with pytest.raises(TypeError, match="squares returned an array of shape.*mean or the sum"):
        ops.grad(squares)(X)


# ---------------------------------------------------------------- models and steps


@pytest.mark.parametrize("given", [None, 3.0, [1.0]])
def test_a_train_step_that_gives_no_dict(given):
    class Own(Model):
        def train_step(self, data):
            return given

    x = Input((4,))
    model = Own(x, layers.Dense(2)(x))
    model.compile("sgd", "mse")
    with pytest.raises(TypeError, match="Own.*train_step must return a dict"):
        model.fit(X, Y, verbose=0)


@pytest.mark.parametrize("what", ["predict", "fit", "call"])
def test_a_model_without_a_call(what):
    class Own(Model):
        def __init__(self):
            super().__init__()
            self.dense = layers.Dense(2)

    model = Own()
    model.compile("sgd", "mse")
    with pytest.raises(TypeError, match=r"Own.*has no call\(self, inputs\)"):
        {"predict": lambda: model.predict(X, verbose=0), "fit": lambda: model.fit(X, Y, verbose=0),
         "call": lambda: model(X)}[what]()


def test_layers_before_super_init():
    class Own(layers.Layer):
        def __init__(self):
            self.dense = layers.Dense(2)

        def call(self, x):
            return self.dense(x)

    with pytest.raises((RuntimeError, AttributeError, TypeError, ValueError), match=r"super\(\)\.__init__"):
        Own()(X)


def test_an_error_in_call_tells_where():
    class Own(Model):
        def call(self, x):
            return ops.matmul(x, ops.ones((7, 7)))

    with pytest.raises(ValueError):
        Own()(X)


def test_a_lambda_in_a_file_needs_its_function(tmp_path):
    model = Sequential([Input((4,)), layers.Lambda(lambda x: 2 * x, name="twice")])
    model.save(tmp_path / "m.keras")
    with pytest.raises(ValueError, match="'twice' is a Lambda.*program code.*custom_objects"):
        tdfast.models.load_model(tmp_path / "m.keras")
    again = tdfast.models.load_model(tmp_path / "m.keras", custom_objects={"twice": lambda x: 2 * x})
    np.testing.assert_allclose(again.predict(X, verbose=0), 2 * X)


def test_a_lambda_of_no_function():
    with pytest.raises(TypeError, match="Lambda.*needs a function.*got 3"):
        layers.Lambda(3)
