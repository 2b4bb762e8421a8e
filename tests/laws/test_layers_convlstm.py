"""ConvLSTM1D, ConvLSTM2D and ConvLSTM3D: their rows for the laws, and what is special to them."""

import laws
import numpy as np
import pytest
import reference
from laws import Case

from tdfast import Sequential
from tdfast.layers import ConvLSTM1D, ConvLSTM2D, ConvLSTM3D, GlobalAveragePooling1D, Input, TimeDistributed


def conv_lstm_case(name, kernel_size, frame, mask=False, bounded=True, **options):
    cls = {2: ConvLSTM1D, 3: ConvLSTM2D, 4: ConvLSTM3D}[len(frame)]
    keys = {"activation": "act", "recurrent_activation": "rec_act", "padding": "padding",
            "strides": "strides",
            "dilation_rate": "dilation", "go_backwards": "reverse"}
    meaning = {key: options[option] for option, key in keys.items() if option in options}

    def formula(x, w, size, mask=None):
        y, h, c = reference.conv_lstm(x, *w, mask=mask, **meaning)
        y = y if options.get("return_sequences") else y[:, -1]
        return (y, h, c) if options.get("return_state") else y

    return Case(f"{cls.__name__} {name}", lambda size, dtype: cls(size, kernel_size, dtype=dtype, **options),
                ("T", *frame),
                formula, mask=mask, sizes=(1, 3, 9), bounded=bounded)


CASES = [
    conv_lstm_case("last", 3, (5, 2)),
    conv_lstm_case("strides backwards", 2, (5, 3), strides=(2,), go_backwards=True, return_sequences=True,
                   use_bias=False),
    conv_lstm_case("mask state", 3, (4, 2), mask=True, padding="same", return_state=True,
                   return_sequences=True),
    conv_lstm_case("last", (3, 2), (4, 3, 2), padding="same", dilation_rate=(1, 2)),
    conv_lstm_case("mask backwards", 2, (3, 3, 1), mask=True, go_backwards=True, activation="softsign",
                   recurrent_activation="hard_sigmoid"),
    conv_lstm_case("last", 2, (2, 3, 2, 2), strides=(1, 2, 1), padding="same"),
    conv_lstm_case("mask state", (1, 2, 2), (2, 3, 3, 1), mask=True, dilation_rate=(1, 2, 1),
                   return_state=True, return_sequences=True),
]


@pytest.mark.parametrize("law,case", laws.checks(CASES))
def test_law(law, case):
    law(case)


def test_dropout_is_one_mask_for_a_sequence():
    x = np.ones((3, 6, 5, 2), "float32")
    layer = ConvLSTM1D(3, 3, dropout=0.5, recurrent_dropout=0.5, seed=1, padding="same")
    assert not np.array_equal(layer(x, training=True), layer(x, training=True))
    assert np.array_equal(layer(x), layer(x))
    forget = ConvLSTM1D(3, 3, dropout=1.0, padding="same", seed=1)
    forget(x)
    assert np.array_equal(forget(x, training=True), forget(0 * x))


def test_gradient_through_dropout():
    x = np.random.default_rng(0).normal(size=(2, 3, 4, 2))

    def step():
        layer = ConvLSTM1D(2, 3, dropout=0.4, recurrent_dropout=0.4, seed=1, padding="same", dtype="float64")
        layer.build((None, 3, 4, 2))
        rng = np.random.default_rng(1)
        layer.set_weights([rng.normal(size=w.shape) for w in layer.weights])
        out = laws.forward_backward(layer, x, {"training": True}, [np.ones((2, 4, 2))])
        return out

    laws.assert_near(step()["dx"], laws.differences(lambda: step()["y0"].sum(), x), 1e-7, "dx")


def test_stateful_and_stacked():
    x = np.random.default_rng(0).normal(size=(2, 6, 5, 4, 1)).astype("float32")
    layer = ConvLSTM2D(2, 3, stateful=True)
    layer(x[:, :3])
    second = layer(x[:, 3:])
    layer.reset_states()
    np.testing.assert_allclose(layer(x), second, atol=1e-6)
    model = Sequential([Input((6, 5, 4, 1)), ConvLSTM2D(3, 2, return_sequences=True), ConvLSTM2D(2, 2)])
    model.compile("adam", "mse")
    assert np.isfinite(model.fit(x, np.zeros((2, 3, 2, 2)), verbose=0).history["loss"]).all()
    assert TimeDistributed(ConvLSTM1D(2, 3))(x).shape == (2, 6, 2, 2)


@pytest.mark.parametrize(
    "make, words",
    [
        (lambda: ConvLSTM2D(2, 3, data_format="channels_first"), "channels_first"),
        (lambda: ConvLSTM1D(2, 3, padding="causal"), "padding must be one of"),
        (lambda: ConvLSTM2D(2, 3, strides=2, dilation_rate=2), "cannot both be above 1"),
        (lambda: ConvLSTM2D(2, 3)(np.ones((2, 3, 5, 5))), "(batch, time, height, width, channels)"),
        (lambda: ConvLSTM1D(2, 3)(np.ones((2, 3, 2, 5))), "does not fit"),
        (lambda: ConvLSTM1D(2, 3)(np.ones((2, 3, 4, 5)), initial_state=[np.ones((2, 2))] * 2),
         "initial_state must be"),
        (lambda: Sequential([Input((3, 4, 2)), ConvLSTM1D(2, 3), GlobalAveragePooling1D()]).streamer(),
         "streamed"),
    ],
)
def test_refuses(make, words):
    with pytest.raises(ValueError) as caught:
        make()
    assert words in str(caught.value)
