"""check_layer finds what is wrong with a layer, and lets tdfast's own pass; registered names in files."""

import numpy as np
import pytest

import tdfast
from tdfast import Sequential, activations, layers, saving, utils
from tdfast.layers import Dense, Layer
from tdfast.testing import check_layer


class Scale(Layer):
    """y = scale x: right. Each class below is wrong in one way."""

    def build(self, input_shape):
        self.scale = self.add_weight((input_shape[-1],), "ones", "scale")

    def forward(self, x, tape, training=False, mask=None):
        rec = tape.push(self)
        rec.x = x
        return np.multiply(x, self.scale.value, out=rec.buffer("y", x.shape, x.dtype))

    def backward(self, dy, tape, need_dx=True):
        rec = tape.pop(self)
        np.sum(dy * rec.x, axis=tuple(range(dy.ndim - 1)), out=self.scale.grad)
        return dy * self.scale.value if need_dx else None


class WrongInputGradient(Scale):
    def backward(self, dy, tape, need_dx=True):
        dx = super().backward(dy, tape, need_dx)
        return dx * 1.001 if need_dx else None


class WrongWeightGradient(Scale):
    def backward(self, dy, tape, need_dx=True):
        dx = super().backward(dy, tape, need_dx)
        self.scale.grad[0] *= 2
        return dx


class WrongPartOfAGradient(Scale):
    def backward(self, dy, tape, need_dx=True):
        dx = super().backward(dy, tape, need_dx)
        dx[..., -1, 1] += 0.01
        return dx


class AddsToGradient(Scale):
    def backward(self, dy, tape, need_dx=True):
        before = self.scale.grad.copy()
        dx = super().backward(dy, tape, need_dx)
        self.scale.grad[...] += before
        return dx


class SkipsWeightsOfTheFirst(Scale):
    def backward(self, dy, tape, need_dx=True):
        return super().backward(dy, tape) if need_dx else tape.pop(self) and None


class WritesItsInput(Scale):
    def forward(self, x, tape, training=False, mask=None):
        tape.push(self).x = x.copy()
        x *= self.scale.value
        return x


class WritesItsInputInBackward(Scale):
    def backward(self, dy, tape, need_dx=True):
        dx = super().backward(dy, tape, need_dx)
        tape.records[tape.position].x[...] = 0
        return dx


class KeepsOnItself(Scale):
    def forward(self, x, tape, training=False, mask=None):
        self.x = x
        return super().forward(x, tape, training, mask)

    def backward(self, dy, tape, need_dx=True):
        tape.peek(self).x = self.x
        return super().backward(dy, tape, need_dx)


class CountsItsCalls(Scale):
    calls = 0

    def forward(self, x, tape, training=False, mask=None):
        self.calls += 1
        return super().forward(x, tape, training, mask) + self.calls


class ReadsAnOldBuffer(Scale):
    def forward(self, x, tape, training=False, mask=None):
        y, rec = super().forward(x, tape, training, mask), tape.peek(self)
        old = rec.buffer("old", x.shape, x.dtype)
        if hasattr(rec, "filled"):
            y += old
        rec.filled = True
        old[...] = 1
        return y


class MixesRows(Scale):
    def forward(self, x, tape, training=False, mask=None):
        return super().forward(x, tape, training, mask) + x.sum(axis=0) - x.sum(axis=0)


class ForgetsAnOption(Scale):
    def __init__(self, factor=1.0, **kwargs):
        super().__init__(**kwargs)
        self.factor = factor

    def get_config(self):
        return {**super().get_config(), "factor": self.factor / 2}


class OptionsThatJsonLacks(ForgetsAnOption):
    def get_config(self):
        return {**Layer.get_config(self), "factor": {1.0, 2.0}}


class UnknownOption(Scale):
    def get_config(self):
        return {**super().get_config(), "colour": 1}


class WrongShape(Scale):
    def compute_output_shape(self, input_shape):
        return (*input_shape[:-1], 1)


class WrongDtype(Scale):
    def forward(self, x, tape, training=False, mask=None):
        return super().forward(x, tape, training, mask).astype("float64")


class NoEmptyBatch(Scale):
    def forward(self, x, tape, training=False, mask=None):
        return super().forward(x, tape, training, mask) + 0 * x.max()


class LeavesTheTape(Scale):
    def forward(self, x, tape, training=False, mask=None):
        tape.push(self)
        return super().forward(x, tape, training, mask)


class WrongMask(Scale):
    def compute_mask(self, inputs, mask=None):
        return np.ones(3, bool)


class OneSizeOnly(Scale):
    def backward(self, dy, tape, need_dx=True):
        dx = super().backward(dy, tape, need_dx)
        if dx is not None and dx.shape[1] > 2:
            dx[:, 2:] = 0
        return dx


class WritesItsMask(Scale):
    def forward(self, x, tape, training=False, mask=None):
        if mask is not None:
            mask[:, 0] = False
        return super().forward(x, tape, training, mask)


class ReadsOtherSteps(Scale):
    """In a batch of rows, which no law forbids."""

    def forward(self, x, tape, training=False, mask=None):
        y = super().forward(x, tape, training, mask)
        return y + x.mean(axis=1, keepdims=True) if x.ndim > 2 else y

    def backward(self, dy, tape, need_dx=True):
        dx = super().backward(dy, tape)
        return dx + dy.mean(axis=1, keepdims=True)


class SaysPerStep(ReadsOtherSteps):
    per_step = True


class SaysRowwise(ReadsOtherSteps):
    rowwise = True


class NoGradient(Layer):
    """A gradient of zeros is None, of what does not depend on the input."""

    def forward(self, x, tape, training=False, mask=None):
        tape.push(self)
        return np.zeros_like(x) if np.isfinite(x).all() else x * 0

    def backward(self, dy, tape, need_dx=True):
        tape.pop(self)


def test_right_layers_pass():
    check_layer(NoGradient(), (3,))
    check_layer(ReadsOtherSteps(), (None, 3))
    check_layer(Scale(), (None, 3))
    check_layer(Scale(), (3,))
    check_layer(Scale(), (4, 3), mask=True)
    built = Scale()
    built(np.zeros((2, 3)))
    built.set_weights([[1.0, 2.0, 3.0]])
    check_layer(built, (3,))
    assert np.array_equal(built.get_weights()[0], [1, 2, 3]), "the layer itself is not changed"


@pytest.mark.parametrize("wrong, words", [
    (WrongInputGradient, "gradient of the input against central differences: off by .* at index"),
    (WrongWeightGradient,
     r"gradient of weight 'scale' against central differences: off by .* at index \(0,\)"),
    (WrongPartOfAGradient, r"gradient of the input .* at index \(\d, \d, 1\)"),
    (AddsToGradient, "must overwrite the gradient of 'scale'"),
    (SkipsWeightsOfTheFirst, r"need_dx=False\) must overwrite the gradient of 'scale'"),
    (WritesItsInput, "read-only input fails"), (WritesItsInputInBackward, "read-only input fails"),
    (KeepsOnItself, "must be on the tape"), (CountsItsCalls, "keeps a state|other numbers than"),
    (ReadsAnOldBuffer, "buffer was read before it was filled"), (MixesRows, "batch of their own"),
    (ForgetsAnOption, "differs in factor: 0.125 in place of 0.25"), (OptionsThatJsonLacks, "JSON"),
    (UnknownOption, "from_config cannot read.*colour"), (WrongShape, "compute_output_shape says"),
    (WrongDtype, "dtype is float32"),
    (NoEmptyBatch, "an empty batch fails"), (LeavesTheTape, "pop what forward pushed"),
    (WrongMask, "compute_mask must give"),
    (OneSizeOnly, r"samples of shape \(5, 3\): the gradient of the input"),
    (WritesItsMask, "read-only mask fails"),
    (SaysPerStep, "per_step = True, but the output at a step depends on the other steps"),
    (SaysRowwise, "rowwise = True, but the output at a step depends on the other steps"),
])
def test_wrong_layers_are_found(wrong, words):
    with pytest.raises(AssertionError, match=words):
        check_layer(wrong(), (None, 3), mask=wrong is WritesItsMask)


@pytest.mark.parametrize("layer, shape, options", [
    (Dense(3, activation="gelu"), (None, 4), {}),
    (layers.LSTM(3, return_sequences=True), (None, 2), {"mask": True}),
    (layers.Bidirectional(layers.GRU(2)), (None, 2), {"mask": True}),
    (layers.TimeDistributed(Dense(2)), (None, 3), {}),
    (layers.Conv1D(2, 3, padding="same"), (None, 2), {}),
    (layers.Embedding(5, 2), (None,), {"inputs": lambda rng, shape: rng.integers(5, size=shape)}),
    (layers.BatchNormalization(), (None, 3), {"training": True, "mask": True}),
    (layers.Dropout(0.4), (None, 3), {"training": True}),
    (layers.AlphaDropout(0.4, seed=1), (None, 3), {"training": True}),
    (layers.GroupNormalization(2), (None, 4), {}),
    (layers.PReLU(shared_axes=[1], alpha_initializer="ones"), (None, 3), {}),
    (layers.Softmax(), (None,), {"mask": True}),
    (layers.Normalization(), (None, 3), {}),
    (layers.Flatten(), (2, 3), {}),
], ids=lambda v: getattr(v, "name", ""))
def test_tdfast_s_own_layers_pass(layer, shape, options):
    check_layer(layer, shape, **options)


# ---------------------------------------------------------------- registered names
def test_registered_layers_load_without_custom_objects(tmp_path):
    @saving.register_keras_serializable("test_testing")
    class Registered(Scale):
        pass

    assert saving.get_registered_name(Registered) == "test_testing>Registered"
    assert saving.get_registered_object("test_testing>Registered") is Registered
    assert utils.get_custom_objects()["test_testing>Registered"] is Registered
    model = Sequential([Registered(input_shape=(3,)), Dense(2)])
    model.save(tmp_path / "m.keras")
    again = saving.load_model(tmp_path / "m.keras")
    assert type(again.layers[0]) is Registered
    x = np.ones((2, 3), "float32")
    assert np.array_equal(again(x), model(x))


def test_custom_object_scope(tmp_path):
    Sequential([Scale(input_shape=(3,))]).save(tmp_path / "m.keras")
    with pytest.raises(saving.FileError, match="custom_objects"):
        saving.load_model(tmp_path / "m.keras")
    with saving.custom_object_scope({"Scale": Scale}):
        assert type(saving.load_model(tmp_path / "m.keras").layers[0]) is Scale
    with pytest.raises(saving.FileError):
        saving.load_model(tmp_path / "m.keras")
    assert type(saving.load_model(tmp_path / "m.keras", custom_objects={"Scale": Scale}).layers[0]) is Scale


def test_registered_initializers_losses_and_functions(tmp_path):
    register = saving.register_keras_serializable("test_testing")

    @register
    class Threes(tdfast.Initializer):
        def __call__(self, shape, dtype=None):
            return np.full(shape, 3, dtype)

    cube = register(activations.Function(lambda x: x**3, lambda x: 3 * x**2, "cube"))
    model = Sequential([Dense(2, activation=cube, kernel_initializer=Threes(), input_shape=(3,))])
    model.save(tmp_path / "m.keras")
    again = saving.load_model(tmp_path / "m.keras").layers[0]
    assert again.activation is cube and type(again.kernel_initializer) is Threes
    assert activations.get("test_testing>cube", own=True) is cube
    with pytest.raises(ValueError, match="get_config"):
        register(int)
    with pytest.raises(ValueError, match="register a Function"):
        Dense(2, activation=activations.elu.with_parameters(alpha=0.5)).get_config()


def test_models_with_branches_are_checked():
    x = tdfast.Input((None, 3))
    check_layer(tdfast.Model(x, layers.Multiply()([x, layers.Dense(3, activation="tanh")(x)])), (None, 3))


def test_layers_of_several_inputs_are_refused():
    with pytest.raises(ValueError, match="takes layers of one input.*got .*5, 3"):
        check_layer(layers.Add(), [(5, 3), (5, 3)])
