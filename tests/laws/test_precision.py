"""Lower precision of products beside NumPy's float64, with operands rounded here and sums that are exact."""

import os
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np
import pytest
import reference
from test_kernels import DENSE, FMA, assert_same_bits_everywhere, dense_passes

import tdfast
from tdfast import _kernels, runtime
from tdfast.engine.tape import Tape
from tdfast.layers import (
    GRU,
    LSTM,
    Attention,
    Conv1D,
    Conv2D,
    Conv2DTranspose,
    ConvLSTM1D,
    Dense,
    EinsumDense,
    MultiHeadAttention,
    SimpleRNN,
    TimeDistributed,
)
from tdfast.models import Sequential
from tdfast.testing import as_tuple, assert_near, forward_backward, random_like

LOWER = ("high", "medium")
# How far sums of float32 may be from those of float64, relative to the sum of |a b|: some roundings of 6e-8.
ROUNDING = 1e-6
# What is lost of a product a b, relative to |a b|: of each operand half a unit of the last of 8 bits, 2^-8;
# with two parts 2^-16 of each, and as much with the product of the low ones, which is left out.
LOST = {"highest": 0, "high": 3 * 2.0**-16, "medium": 2 * 2.0**-8 + 2.0**-16}


@pytest.fixture(autouse=True)
def as_found():
    """Leave precision, instruction set and threads as they were."""
    before = runtime.matmul_precision(), runtime.isa(), runtime.get_num_threads()
    yield
    runtime.set_matmul_precision(before[0])
    runtime.set_isa(before[1])
    runtime.set_num_threads(before[2])


def bf16(x):
    """To the nearest number of 8 bits, ties to the even one, as float64."""
    mantissa, exponent = np.frexp(np.asarray(x, "float64"))
    return np.ldexp(np.round(mantissa * 256) / 256, exponent)       # np.round takes the even one of two


def parts(x, precision):
    """The bfloat16 numbers that stand for x."""
    if precision == "highest":
        return [np.asarray(x, "float64")]
    high = bf16(x)
    return [high] if precision == "medium" else [high, bf16(x - high)]


def lowered(product, a, b, precision):
    """A product of two arrays, made of the parts of its operands."""
    left, right = parts(a, precision), parts(b, precision)
    return sum(product(x, y) for i, x in enumerate(left) for j, y in enumerate(right) if i + j < 2)


class Lowered(np.ndarray):
    """An array whose products have operands in the precision that is set: the formulas of reference.py work
    on it."""

    def __array_ufunc__(self, ufunc, method, *inputs, out=None, **kwargs):
        plain = [np.asarray(x) for x in inputs]
        if ufunc is np.matmul:
            return lowered(np.matmul, *plain, runtime.matmul_precision()).view(Lowered)
        result = getattr(ufunc, method)(*plain, **kwargs)
        return result.view(Lowered) if isinstance(result, np.ndarray) and result.dtype == float else result


def lower(*arrays):
    return [np.array(a, "float64").view(Lowered) for a in arrays]


def test_the_rounding_here_is_that_of_the_bits():
    x = np.random.default_rng(0).normal(size=10000).astype("float32")
    x = np.concatenate([x, np.float32([1 + 2**-8, 1 + 3 * 2**-8, -1 - 2**-8, 0, 1e-30])])     # ties
    bits = x.view(np.uint32)
    want = ((bits + 0x7FFF + (bits >> 16 & 1)) & 0xFFFF0000).astype(np.uint32).view(np.float32)
    assert np.array_equal(bf16(x), want)
    assert np.abs(x - bf16(x)).max() <= np.abs(x).max() * 2.0**-8
    for precision in LOWER:
        assert np.abs(lowered(np.multiply, x, x[::-1], precision) - x.astype("float64") * x[::-1]).max() <= (
            LOST[precision] * np.abs(x * x[::-1]).max()
        )


# ---------------------------------------------------------------- products alone


@pytest.mark.parametrize("isa", runtime.available_isas())
@pytest.mark.parametrize("precision", LOWER)
@pytest.mark.parametrize("size", DENSE, ids=str)
def test_products_have_rounded_operands(size, precision, isa):
    """Forward and the two products of backward are those of the parts, but for float32's sums; and within
    the stated bound of the exact ones."""
    M, K, N = size
    rng = np.random.default_rng(M + K + N)
    arrays = [rng.normal(size=s).astype("float32") for s in ((M, K), (K, N), (N,), (M, N))]
    x, kernel, bias, dy = (a.astype("float64") for a in arrays)
    runtime.set_isa(isa)
    runtime.set_matmul_precision(precision)
    got = dense_passes(*arrays)
    for g, a, b, more in zip(got, (x, dy, x.T), (kernel, kernel.T, dy), (bias, 0, 0)):
        terms = np.abs(a) @ np.abs(b) + np.abs(more)
        assert np.all(np.abs(g - (lowered(np.matmul, a, b, precision) + more)) <= ROUNDING * terms)
        assert np.all(np.abs(g - (a @ b + more)) <= (LOST[precision] + ROUNDING) * terms)
    assert np.allclose(got[3], dy.sum(0), rtol=1e-5, atol=1e-4), "a sum of no products"


def test_lower_precision_is_lower():
    """Each step down loses what it should, and no less: no product is left out."""
    rng = np.random.default_rng(3)
    arrays = [rng.normal(size=s).astype("float32") for s in ((60, 200), (200, 90), (90,), (60, 90))]
    errors = {}
    for precision in _kernels.PRECISIONS:
        runtime.set_matmul_precision(precision)
        got = dense_passes(*arrays)
        x, kernel, bias, dy = (a.astype("float64") for a in arrays)
        want = x @ kernel + bias, dy @ kernel.T, x.T @ dy
        errors[precision] = [np.sqrt(np.mean((g - w) ** 2) / np.mean(w**2)) for g, w in zip(got, want)]
    for highest, high, medium in zip(*(errors[p] for p in _kernels.PRECISIONS)):
        assert highest < 1e-6 < high < 1e-5 < 1e-3 < medium < 4e-3


@pytest.mark.parametrize("precision", LOWER)
@pytest.mark.parametrize("size", DENSE, ids=str)
def test_products_have_the_same_bits_everywhere(size, precision):
    """On every instruction set, the baseline included: products of bfloat16 numbers are exact without a fused
    multiply-add as well."""
    M, K, N = size
    rng = np.random.default_rng(1)
    arrays = [rng.normal(size=s).astype("float32") for s in ((M, K), (K, N), (N,), (M, N))]
    runtime.set_matmul_precision(precision)
    first = None
    for isa in runtime.available_isas():
        runtime.set_isa(isa)
        for threads in (1, 2, 3):
            runtime.set_num_threads(threads)
            got = [a.tobytes() for a in dense_passes(*arrays)]
            first = first or got
            assert got == first, f"{isa} with {threads} threads differs"


@pytest.mark.parametrize("precision", LOWER)
@pytest.mark.parametrize("size", [(50, 9, 15, 32), (13, 5, 300, 70), (5, 3, 3, 330)], ids=str)
@pytest.mark.parametrize("cell, options", [(LSTM, {}), (GRU, {}), (GRU, {"reset_after": False}),
                                           (SimpleRNN, {"activation": "gelu"})], ids=str)
def test_large_recurrent_layers_have_the_same_bits_everywhere(cell, options, size, precision):
    runtime.set_matmul_precision(precision)
    assert_same_bits_everywhere(FMA, cell, options, size)


# ---------------------------------------------------------------- the order of sums


def tdpbf16ps(c, a, b):
    """C + A B of bfloat16 numbers as Intel's pseudocode of the instruction says, operation by operation."""
    f, fma = np.float32, lambda x, y, z: np.float32(np.float64(x) * np.float64(y) + np.float64(z))
    even, odd = np.zeros_like(c), np.zeros_like(c)
    for k in range(0, a.shape[1], 2):
        even = fma(a[:, k, None], b[None, k], even)
        odd = fma(a[:, k + 1, None], b[None, k + 1], odd)
    return f(c + f(even + odd))


@pytest.mark.parametrize("isa", runtime.available_isas())
@pytest.mark.parametrize("K", [1, 7, 32, 33, 100, 1025])
@pytest.mark.parametrize("precision", LOWER)
def test_sums_have_the_order_of_amx(precision, K, isa):
    """Bit by bit: in blocks of 32, the even and the odd terms apart; one after the other for 'high'."""
    rng = np.random.default_rng(K)
    # Numbers near 1, so that an fma rounded twice, as float64 makes it here, is one rounded once.
    x, kernel, bias = (rng.uniform(0.5, 1, s).astype("float32") for s in ((9, K), (K, 21), (21,)))
    layer = Dense(21)
    layer.build((None, K))
    layer.set_weights([kernel, bias])
    runtime.set_isa(isa)
    runtime.set_matmul_precision(precision)
    c = np.repeat(bias[None], 9, axis=0)
    pad = -K % 32
    left = [np.pad(p, ((0, 0), (0, pad))).astype("float32") for p in parts(x, precision)]
    right = [np.pad(p, ((0, pad), (0, 0))).astype("float32") for p in parts(kernel, precision)]
    for k in range(0, K, 32):
        c = tdpbf16ps(c, left[0][:, k : k + 32], right[0][k : k + 32])
        if precision == "high":
            c = tdpbf16ps(c, left[0][:, k : k + 32], right[1][k : k + 32])
            c = tdpbf16ps(c, left[1][:, k : k + 32], right[0][k : k + 32])
    assert np.array_equal(layer(x), c)


# ---------------------------------------------------------------- layers

CELLS = {
    "lstm": (lambda: LSTM(17, return_sequences=True), lambda x, *w: reference.lstm(x, *w)[0]),
    "lstm-relu": (lambda: LSTM(17, activation="relu", return_sequences=True),
                  lambda x, *w: reference.lstm(x, *w, act="relu")[0]),
    "gru": (lambda: GRU(17, return_sequences=True), lambda x, *w: reference.gru(x, *w)[0]),
    "gru-before": (lambda: GRU(17, reset_after=False, return_sequences=True),
                   lambda x, *w: reference.gru(x, *w, reset_after=False)[0]),
    "simple-rnn": (lambda: SimpleRNN(17, return_sequences=True),
                   lambda x, *w: reference.simple_rnn(x, *w)[0]),
}


def prepared(layer, shape, seed=0):
    """The layer with random weights, an input and those weights as float64."""
    rng = np.random.default_rng(seed)
    layer.ensure_built((None, *shape[1:]))
    layer.set_weights([rng.normal(size=w.shape) / max(1, np.sqrt(w.shape[0])) for w in layer.weights])
    return rng.normal(size=shape).astype("float32"), [w.value.astype("float64") for w in layer.weights]


@pytest.mark.parametrize("precision", LOWER)
@pytest.mark.parametrize("name", CELLS)
def test_recurrent_layers_round_the_inputs_and_the_state(name, precision):
    """Step after step: the formula, with the operands of its products rounded."""
    make, formula = CELLS[name]
    layer = make()
    x, weights = prepared(layer, (3, 5, 7))
    runtime.set_matmul_precision(precision)
    assert_near(layer(x), np.asarray(formula(*lower(x, *weights))), 1e-5, name)


LAYERS = {
    "dense": (lambda: Dense(33, activation="tanh"), (20, 40)),
    "einsum-dense": (lambda: EinsumDense("abc,cd->abd", output_shape=(None, 20)), (5, 6, 40)),
    "lstm": (lambda: LSTM(33, return_sequences=True), (7, 9, 20)),
    "gru": (lambda: GRU(33, return_sequences=True), (7, 9, 20)),
    "gru-before": (lambda: GRU(33, reset_after=False), (7, 9, 20)),
    "simple-rnn": (lambda: SimpleRNN(33), (7, 9, 20)),
    "conv1d": (lambda: Conv1D(20, 3, padding="same", dilation_rate=2), (4, 30, 9)),
    "conv2d": (lambda: Conv2D(20, 3, strides=2), (3, 11, 12, 5)),
    "conv2d-groups": (lambda: Conv2D(8, 3, groups=2), (3, 11, 12, 4)),
    "conv2d-transpose": (lambda: Conv2DTranspose(6, 3, strides=2), (3, 5, 6, 20)),
    "conv-lstm": (lambda: ConvLSTM1D(8, 3), (2, 4, 9, 5)),
}


def root_mean_square(x):
    return np.sqrt(np.mean(np.square(x, dtype="float64")))


@pytest.mark.parametrize("name", LAYERS)
def test_outputs_and_gradients_are_near_those_of_float32(name):
    """In every array, 'medium' is off by what 8 bits lose, 'high' by what 16 lose: nothing was left out, and
    nothing is worse."""
    make, shape = LAYERS[name]
    layer = make()
    x, _ = prepared(layer, shape)
    rng = np.random.default_rng(1)
    dys, results = None, {}
    for precision in _kernels.PRECISIONS:
        runtime.set_matmul_precision(precision)
        if dys is None:
            dys = [d.astype("float32") for d in random_like(rng, as_tuple(layer(x)))]
        results[precision] = forward_backward(layer, x, {}, dys)
    for key, want in results["highest"].items():
        if "bias" in key and name not in ("lstm", "gru", "gru-before", "simple-rnn", "dense", "conv-lstm"):
            continue                        # a sum of gradients, which were made without a product
        scale = root_mean_square(want)
        medium, high = (root_mean_square(results[p][key] - want) / scale for p in ("medium", "high"))
        assert 1e-4 < medium < 2e-2, f"{key}: medium is off by {medium:.1e}"
        assert 1e-7 < high < 2e-4, f"{key}: high is off by {high:.1e}"


@pytest.mark.parametrize("make", [lambda: Attention(), lambda: MultiHeadAttention(2, 16)],
                         ids=["attention", "multi-head"])
def test_attention_is_near_that_of_float32(make):
    rng = np.random.default_rng(2)
    q, v = (rng.normal(size=s).astype("float32") for s in ((3, 9, 32), (3, 200, 32)))
    layer = make()
    call = {"value": v} if isinstance(layer, MultiHeadAttention) else {}
    first = q if call else [q, v]
    results = {}
    for precision in _kernels.PRECISIONS:
        runtime.set_matmul_precision(precision)
        results[precision] = np.array(layer(first, **call))
    for precision, (least, most) in {"high": (1e-8, 2e-4), "medium": (1e-4, 2e-2)}.items():
        off = root_mean_square(results[precision] - results["highest"]) / root_mean_square(results["highest"])
        assert least < off < most, f"{precision} is off by {off:.1e}"


@pytest.mark.parametrize("precision", LOWER)
def test_float64_is_never_lowered(precision):
    layer = Dense(8, dtype="float64")
    x, (kernel, bias) = prepared(layer, (4, 50))
    x = x.astype("float64")
    runtime.set_matmul_precision(precision)
    assert_near(layer(x), x @ kernel + bias, 1e-14, precision)


# ---------------------------------------------------------------- models


def small_model():
    tdfast.utils.set_random_seed(4)
    model = Sequential([tdfast.Input((12, 5)), LSTM(16, return_sequences=True),
                        GRU(16, return_sequences=True), TimeDistributed(Dense(3))])
    model.compile("adam", "mse")
    return model


@pytest.mark.parametrize("precision", _kernels.PRECISIONS)
def test_a_batch_a_row_and_a_stream_have_the_same_bits(precision):
    runtime.set_matmul_precision(precision)
    model = small_model()
    x = np.random.default_rng(5).normal(size=(9, 12, 5)).astype("float32")
    whole = model.predict(x, verbose=0)
    alone = np.concatenate([model.predict(x[i : i + 1], verbose=0) for i in range(len(x))])
    assert np.array_equal(whole, alone)
    tape = Tape()
    y = x
    for layer in model.layers:
        y = layer.forward(y, tape, training=True)
    assert np.array_equal(whole, y), "fit's forward"
    streamer = model.streamer()
    steps = np.stack([np.array(streamer.step(x[:1, t])).reshape(3) for t in range(12)])
    assert np.array_equal(whole[0], steps)


def test_a_change_takes_effect_at_the_next_call():
    """In fit, in predict, and back again, with no trace."""
    x = np.random.default_rng(6).normal(size=(9, 12, 5)).astype("float32")
    y = np.zeros((9, 12, 3), "float32")
    model = small_model()
    runtime.set_matmul_precision("highest")
    first = model.predict(x, verbose=0)
    runtime.set_matmul_precision("medium")
    lower_precision = model.predict(x, verbose=0)
    assert not np.array_equal(first, lower_precision)
    runtime.set_matmul_precision("highest")
    assert np.array_equal(first, model.predict(x, verbose=0))
    losses = {}
    for chosen in ("highest", "medium", "highest"):
        runtime.set_matmul_precision(chosen)
        model = small_model()
        loss = model.fit(x, y, epochs=3, batch_size=4, verbose=0).history["loss"]
        assert losses.setdefault(chosen, loss) == loss
    assert losses["highest"] != losses["medium"]
    np.testing.assert_allclose(losses["highest"], losses["medium"], rtol=1e-2)


# ---------------------------------------------------------------- the setting


def test_the_setting():
    assert tdfast.config.float32_matmul_precision() == runtime.matmul_precision()
    for name in _kernels.PRECISIONS:
        tdfast.config.set_float32_matmul_precision(name)
        assert tdfast.config.float32_matmul_precision() == name
        assert runtime.config()["matmul precision"] == name
        assert runtime.config()["products by"] in ("float32", "AMX")
    for bad in ("low", "", None, 16):
        with pytest.raises(ValueError, match="expects 'highest'.* 'high'.* 'medium'"):
            tdfast.config.set_float32_matmul_precision(bad)
    assert tdfast.config.float32_matmul_precision() == "medium", "an error changes nothing"


def test_the_instruction_set_keeps_the_precision():
    runtime.set_matmul_precision("medium")
    runtime.set_isa(runtime.isa())
    assert runtime.matmul_precision() == "medium"


@pytest.mark.parametrize("value, words", [("medium", "medium"), ("", "highest"),
                                          ("fast", "TDFAST_MATMUL_PRECISION expects")])
def test_the_environment_variable(value, words):
    code = "import tdfast; tdfast.layers; print(tdfast.config.float32_matmul_precision())"
    # On the tdfast under test, not on one in the current folder.
    environment = {"TDFAST_MATMUL_PRECISION": value, "PYTHONPATH": str(Path(tdfast.__file__).parents[1])}
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True,
                          env={**os.environ, **environment}, cwd=tempfile.gettempdir())
    assert words in done.stdout + done.stderr
    assert (done.returncode == 0) == (value != "fast")
