"""The kernels at sizes that cross every block of gemm.h and tile.h, and vmath.h over its whole range."""

import laws
import numpy as np
import pytest

from tdfast import _kernels, activations, runtime
from tdfast.engine.tape import Tape
from tdfast.layers import GRU, LSTM, Dense, SimpleRNN

FMA = [isa for isa in runtime.available_isas() if isa != "baseline"]

# rows, inputs, units: around the tile (6 rows, 16 columns), the panel (64), the chunk (256 rows), the
# depth (1024) and the widths from which rows are packed (320 and 640).
DENSE = [(1, 1, 1), (7, 5, 3), (6, 16, 64), (97, 65, 130), (13, 1025, 33), (257, 321, 17), (513, 40, 641),
         (300, 700, 65), (0, 4, 4)]


@pytest.fixture(autouse=True)
def as_found():
    """Leave instruction set and threads as they were."""
    isa, threads = runtime.isa(), runtime.get_num_threads()
    yield
    runtime.set_isa(isa)
    runtime.set_num_threads(threads)


def dense_passes(x, kernel, bias, dy, act="linear"):
    layer = Dense(kernel.shape[1], activation=act, dtype=x.dtype)
    layer.build((None, kernel.shape[0]))
    layer.set_weights([kernel, bias])
    tape = Tape()
    y = layer.forward(x, tape).copy()
    dx = layer.backward(dy.copy(), tape).copy()
    return [y, dx, layer.kernel.grad.copy(), layer.bias.grad.copy()]


@pytest.mark.parametrize("size", DENSE, ids=str)
def test_products_equal_float64(size):
    M, K, N = size
    rng = np.random.default_rng(M + K + N)
    x, kernel, bias, dy = (rng.normal(size=s) for s in ((M, K), (K, N), (N,), (M, N)))
    want = [x @ kernel + bias, dy @ kernel.T, x.T @ dy, dy.sum(0)]
    for dtype, bound in (("float32", 3e-6 * laws.LOOSER), ("float64", 1e-13)):
        got = dense_passes(*(a.astype(dtype) for a in (x, kernel, bias, dy)))
        for g, w, terms in zip(got, want, (K, N, M, M)):
            assert g.shape == w.shape
            if g.size:
                assert np.abs(g - w).max() <= bound * max(1, terms) ** 0.5 * 5


@pytest.mark.parametrize("size", DENSE, ids=str)
def test_products_have_the_same_bits_everywhere(size):
    M, K, N = size
    rng = np.random.default_rng(1)
    arrays = [rng.normal(size=s).astype("float32") for s in ((M, K), (K, N), (N,), (M, N))]
    first = None
    for isa in FMA:
        runtime.set_isa(isa)
        for threads in (1, 2, 3):
            runtime.set_num_threads(threads)
            got = [a.tobytes() for a in dense_passes(*arrays, act="tanh")]
            first = first or got
            assert got == first, f"{isa} with {threads} threads differs"


def recurrent_passes(cell, B, T, I, H, **options):
    rng = np.random.default_rng(B + T + I + H)
    layer = cell(H, return_sequences=True, **options)
    layer.build((None, T, I))
    layer.set_weights([rng.normal(size=w.shape) / w.shape[0] ** 0.5 for w in layer.weights])
    x = rng.normal(size=(B, T, I)).astype("float32")
    dy = rng.normal(size=(B, T, H)).astype("float32")
    tape = Tape()
    y = layer.forward(x, tape).copy()
    dx = layer.backward(dy, tape).copy()
    return [a.tobytes() for a in (y, dx, *(w.grad for w in layer.weights))]


@pytest.mark.parametrize("size", [(50, 9, 15, 32), (13, 5, 300, 70), (5, 3, 3, 330), (64, 20, 17, 129)],
                         ids=str)
@pytest.mark.parametrize(
    "cell, options", [(LSTM, {}), (GRU, {}), (GRU, {"reset_after": False}), (SimpleRNN, {}),
                      (SimpleRNN, {"activation": "gelu"})],
    ids=str,
)
def test_large_recurrent_layers_have_the_same_bits_everywhere(cell, options, size):
    assert_same_bits_everywhere(FMA, cell, options, size)


def assert_same_bits_everywhere(isas, cell, options, size):
    """On each of these instruction sets, for 1 to 3 threads."""
    first = None
    for isa in isas:
        runtime.set_isa(isa)
        for threads in (1, 2, 3):
            runtime.set_num_threads(threads)
            got = recurrent_passes(cell, *size, **options)
            first = first or got
            assert got == first, f"{isa} with {threads} threads differs"


# ---------------------------------------------------------------- vmath.h

BITS = np.arange(0, 2**32, 2**32 // 400_009, dtype=np.uint64).astype(np.uint32)
SAMPLE = np.concatenate([BITS.view(np.float32), np.linspace(-100, 100, 200_001, dtype=np.float32),
                         np.float32([0.0, -0.0, np.inf, -np.inf, 88.7, 88.8, -87.3, -87.4, 1e-30, -1e-30])])


def ulps(got, want):
    """The error in units of the last place of the exact result, where that is a normal float32."""
    normal = np.isfinite(want) & (np.abs(want) > 1.2e-38) & (np.abs(want) < 3.4e38)
    unit = np.spacing(np.abs(want[normal]).astype(np.float32)).astype(np.float64)
    return (np.abs(got[normal] - want[normal]) / unit).max()


@pytest.mark.parametrize("isa", runtime.available_isas())
@pytest.mark.parametrize(
    "name, exact, bound",
    [
        ("tanh", np.tanh, 1.95),
        ("sigmoid", lambda x: np.where(x < 0, np.exp(np.minimum(x, 0)), 1) / (1 + np.exp(-np.abs(x))), 2.5),
        ("exponential", np.exp, 1.02),
    ],
    ids=["tanh", "sigmoid", "exp"],
)
def test_vmath_against_float64(isa, name, exact, bound):
    """Within the bounds that vmath.h states, and monotonic."""
    runtime.set_isa(isa)
    x = SAMPLE[~np.isnan(SAMPLE)]
    got = activations.get(name)(x).astype(np.float64)
    with np.errstate(all="ignore"):
        want = exact(x.astype(np.float64))
    assert not np.isnan(got).any()
    assert ulps(got, want) <= bound
    order = np.argsort(x, kind="stable")
    if name != "exponential":
        assert got.min() >= (-1 if name == "tanh" else 0) and got.max() <= 1
    ascending = np.minimum(got[order], 3.5e38)
    assert np.all(np.diff(ascending) >= 0), "monotonic"
    assert np.isnan(activations.get(name)(np.float32([np.nan, -np.nan]))).all()


def test_kernels_refuse_arrays_that_do_not_fit():
    x = np.zeros((4, 3), "float32")
    y = np.zeros((4, 3), "float32")
    linear = activations.get("linear").kind
    with pytest.raises(ValueError, match="needs 20 elements"):
        _kernels.act_forward(linear, 4, 5, x, y)
    with pytest.raises(ValueError, match="dtype"):
        _kernels.act_forward(linear, 4, 3, x, y.astype("float64"))
    with pytest.raises(ValueError, match="contiguous"):
        _kernels.act_forward(linear, 3, 4, np.asfortranarray(np.zeros((3, 4), "float32")), y)
    with pytest.raises(ValueError, match="activation"):
        _kernels.act_forward(999, 4, 3, x, y)
    y.flags.writeable = False
    with pytest.raises(ValueError, match="writeable"):
        _kernels.act_forward(linear, 4, 3, x, y)
    with pytest.raises(ValueError, match="float32 or float64"):
        _kernels.act_forward(linear, 4, 3, x.astype("int32"), y)


# ---------------------------------------------------------------- noise


@pytest.mark.parametrize("n", [0, 1, 2, 7, 64, 4097])
@pytest.mark.parametrize("seed,count", [(0, 0), (1, 5), (2**32 - 1, 2**32 - 1), (123456789, 2**31)])
@pytest.mark.parametrize("rate", [0.0, 0.3, 0.999])
def test_dropout_draws_from_numpys_generator(n, seed, count, rate):
    """SFC64(SeedSequence([seed, count])), word by word; the count goes on."""
    words = np.random.SFC64([seed, count]).random_raw((n + 1) // 2).astype("<u8").view("<u4")[:n]
    threshold = min(round(rate * 2**32), 2**32 - 1)
    for dtype in ("float32", "float64"):
        state, factors = np.array([seed, count], np.uint32), np.full(n, 7, dtype)
        _kernels.dropout(state, threshold, 1 / (1 - rate), factors)
        assert np.array_equal(factors, np.where(words < threshold, 0, 1 / (1 - rate)).astype(dtype))
        assert state.tolist() == [seed, (count + 1) % 2**32]


@pytest.mark.parametrize("shape", [(1, 1, 1), (3, 1, 5), (4, 7, 8), (9, 3, 33), (0, 3, 2), (2, 3, 0)])
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_multiply(shape, dtype):
    rng = np.random.default_rng(sum(shape))
    x = rng.normal(size=shape).astype(dtype)
    factors = rng.normal(size=(shape[0], shape[2])).astype(dtype)
    y = np.empty_like(x)
    _kernels.multiply(*shape, x, factors, y)
    assert np.array_equal(y, x * factors[:, None])
    _kernels.multiply(*shape, x, factors, x)            # in place
    assert np.array_equal(x, y)


def test_noise_is_refused_where_it_does_not_fit():
    x = np.ones((2, 3, 4), np.float32)
    for factors, y in ((x[:, 0, :3], x), (x[:, 0], np.ones(23, np.float32)), (x[:, 0].astype(float), x)):
        with pytest.raises(ValueError):
            _kernels.multiply(2, 3, 4, x, np.ascontiguousarray(factors), y)
    for sizes in ((-2, -3, 4), (2, -3, -4), (2**62, 4, 4), (2**40, 2**40, 1)):
        with pytest.raises(ValueError):
            _kernels.multiply(*sizes, x, x[:, 0].copy(), x)
    with pytest.raises(ValueError):
        _kernels.dropout(np.zeros(1, np.uint32), 5, 1.0, x)
    with pytest.raises(ValueError):
        _kernels.dropout(np.zeros(2, np.uint64), 5, 1.0, x)


VIEWS = {
    "whole": lambda a: a,
    "turned": lambda a: a[:, ::-1],
    "features": lambda a: a[..., 2:-1],
    "one feature": lambda a: a[..., 3:4],
    "steps": lambda a: a[:, 1:-2],
    "one row": lambda a: a[1:2],
    "none": lambda a: a[:0],
}
BLENDS = {"copy": lambda y, x: x, "add": np.add, "multiply": np.multiply}


@pytest.mark.parametrize("rule", BLENDS)
@pytest.mark.parametrize("view", VIEWS)
@pytest.mark.parametrize("shape", [(3, 5, 8), (2, 70, 67), (4, 6, 5000), (1, 4, 4)], ids=str)
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_blend(rule, view, shape, dtype):
    """NumPy's numbers, of parts of arrays on either side and of both; nothing else is written."""
    rng = np.random.default_rng(0)
    whole = rng.normal(size=shape).astype(dtype)
    part = VIEWS[view](whole)
    other = rng.normal(size=part.shape).astype(dtype)
    for isa in (*runtime.available_isas(),):
        for threads in (1, 2):
            runtime.set_isa(isa)
            runtime.set_num_threads(threads)
            for y, x in ((whole.copy(), other), (np.zeros_like(whole) + 2, part)):
                want = y.copy()
                VIEWS[view](want)[...] = BLENDS[rule](VIEWS[view](want), x)
                assert _kernels.blend(rule, VIEWS[view](y), x)
                assert np.array_equal(y, want)
    y = other.copy()
    assert _kernels.blend(rule, y, y) and np.array_equal(y, BLENDS[rule](other, other))


def test_blend_refuses_what_does_not_fit():
    y, x = np.zeros((2, 3, 4, 5), "float32"), np.ones((2, 3, 4, 5), "float32")
    four = y[:, ::-1, 1:3, :4]                          # axes that do not go on from each other
    assert not _kernels.blend("add", four, np.ones(four.shape, "float32")) and not y.any()
    assert not _kernels.blend("add", y, np.broadcast_to(x[..., :1], y.shape)) and not y.any()
    locked = y.copy()
    locked.flags.writeable = False
    for bad in ((y, x[..., :4]), (y, x.astype("float64")), (y, x.astype(">f4")), (locked, x)):
        with pytest.raises(ValueError):
            _kernels.blend("copy", *bad)
    with pytest.raises(ValueError, match="'copy', 'add', 'multiply'"):
        _kernels.blend("subtract", y, x)
    assert not y.any()
