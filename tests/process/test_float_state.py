"""Numbers at the ends of their range, and the floating-point mode of the process, which is the caller's."""

import ctypes
import ctypes.util
import importlib
import platform
import subprocess
import sys
import tempfile
import warnings
from pathlib import Path

import numpy as np
import pytest
from laws import on_isa, on_threads
from test_runtime import python

import tdfast
from tdfast import runtime
from tdfast.layers import GRU, LSTM, Conv1D, Dense, Embedding, SimpleRNN, TimeDistributed
from tdfast.testing import as_tuple, forward_backward, random_like

LAWS = Path(__file__).resolve().parents[1] / "laws"
CASES = [case for path in sorted(LAWS.glob("test_layers*.py"))
         for case in importlib.import_module(path.stem).CASES if not case.ids and not case.laws]
assert len(CASES) > 150

INF, NAN = float("inf"), float("nan")
VALUES = {
    "denormal": (1e-40, -3e-45, 1e-39, 0.0, -0.0),
    "tiny": (1e-30, -1e-38, 1e-20, 0.0),
    "huge": (1e15, -1e15, 1e12, 1.0, -1e-20),
    "largest": (3e38, -3e38, 1e30, 1.0),
    "infinite": (INF, 1.0, -1.0, 0.5),
    "minus infinite": (-INF, 1.0, -1.0, 0.5),
    "both infinite": (INF, -INF, 1.0, 0.0),
    "nan": (NAN, 1.0, -1.0, 0.5),
}


def extreme(case, kind, dtype):
    """The case's inputs with such values strewn in, one row of them left as it was."""
    x, call = case.inputs(dtype=dtype)
    rng = np.random.default_rng(len(case.name))
    where = rng.random(x.shape) < (1.0 if kind in ("denormal", "tiny") else 0.3)
    where[0] = False
    x[where] = rng.choice(VALUES[kind], size=int(where.sum()))
    return x, call


# At infinity these activations have their limit, where the formula says 0 times infinity; UnitNormalization
# has Keras's smallest length; a mask keeps a step out that the formula multiplies by 0.
UNDEFINED = ("hard_shrink", "sparsemax")        # their formulas do not say what becomes of NaN and infinities
LIMITS = {"silu", "gelu", "hard_silu", "mish", "softsign", "squareplus", "ReLU"}


def has_limits(case, layer):
    return case.mask or not LIMITS.isdisjoint([*str(case).split(),
                                               getattr(getattr(layer, "activation", None), "name", "")])


@pytest.mark.parametrize("case", CASES, ids=str)
def test_any_value_goes_through_every_layer(case):
    """No crash, no warning, no other row touched; and the float64 build has NaN and infinity where the
    formula has them."""
    for dtype in ("float32", "float64"):
        layer = case.layer(dtype)
        clean, call = case.inputs(dtype=dtype)
        want = [y.copy() for y in as_tuple(layer(clean, **call))]
        for kind in VALUES:
            x, call = extreme(case, kind, dtype)
            with warnings.catch_warnings():
                warnings.simplefilter("error")
                got = as_tuple(layer(x, **call))
            for g, w in zip(got, want):
                assert np.array_equal(g[0], w[0]), f"{kind}: another row was touched"
            with np.errstate(all="ignore"):
                for key, value in forward_backward(layer, x, call, random_like(case.rng(), got)).items():
                    if key in ("dx", "dx0"):
                        assert np.isfinite(value[0]).all(), f"{kind}: another row's gradient was touched"
                if kind == "largest" or (str(case).endswith(UNDEFINED)
                                         and not np.isfinite(VALUES[kind]).all()):
                    continue
                formula = as_tuple(case.reference(x.astype("float64"),
                                                  [w.value.astype("float64") for w in layer.weights],
                                                  4, **call))
            # Where a sum overflows depends on its order; and see LIMITS. What counts as 0 has no angle.
            if not (str(case).startswith(("UnitNormalization", "STFTSpectrogram angle"))
                    and kind in ("denormal", "tiny")):
                for g, w in zip(got, formula):
                    compare(g, w, dtype, f"{kind}, {dtype}", has_limits(case, layer))


def compare(got, want, dtype, what, limits):
    if dtype == "float64":
        invented, lost = np.isnan(got) & ~np.isnan(want), np.isnan(want) & ~np.isnan(got)
        assert not invented.any(), f"{what}: NaN where the formula has none"
        assert limits or not lost.any(), f"{what}: no NaN where the formula has one"
        real = ~np.isnan(want)
        assert np.array_equal(np.isinf(got[real]),
                              np.isinf(want[real])), f"{what}: infinity elsewhere than in the formula"
    finite = np.isfinite(want) & np.isfinite(got)
    scale = max(1e-3, np.abs(want[finite]).max(initial=0))
    error = np.abs(got[finite] - want[finite]).max(initial=0)
    assert error <= scale * (1e-4 if dtype == "float32"
                             else 1e-9), f"{what}: off by {error:.2e} of {scale:.2e}"


LAYERS = {
    "LSTM": lambda: LSTM(8, return_sequences=True),
    "LayerNormalization": tdfast.layers.LayerNormalization,
    "BatchNormalization": tdfast.layers.BatchNormalization,
    "GroupNormalization": lambda: tdfast.layers.GroupNormalization(2),
    "UnitNormalization": tdfast.layers.UnitNormalization,
    "ELU": lambda: tdfast.layers.ELU(0.5),
    "PReLU": tdfast.layers.PReLU,
    "GaussianNoise": lambda: tdfast.layers.GaussianNoise(0.1),
    "ActivityRegularization": lambda: tdfast.layers.ActivityRegularization(0.1, 0.1),
    "Dense": lambda: Dense(8, activation="exponential", kernel_regularizer="l2"),
}


@pytest.mark.parametrize("loss", ["mse", "mape", "msle", "log_cosh", "poisson", "cosine_similarity",
                                  "binary_crossentropy"])
@pytest.mark.parametrize("name", LAYERS)
def test_training_is_quiet(name, loss):
    """Whatever the numbers: the loss says it, not a warning; and the weights stay those of the last good
    step."""
    m = tdfast.Sequential([tdfast.layers.Input((4, 6)), LAYERS[name](), Dense(3)])
    m.compile(tdfast.optimizers.SGD(0.0), loss, metrics=["mae"])
    rng = np.random.default_rng(0)
    tdfast.config.set_check_finite(False)
    try:
        for kind, values in VALUES.items():
            x = rng.choice(values, size=(5, 4, 6)).astype("float32")
            y = rng.random((5, 4, 3)).astype("float32")
            before = m.get_weights()
            with warnings.catch_warnings():
                warnings.simplefilter("error")
                m.evaluate(x, y, verbose=0)
                m.predict(x, verbose=0)
                m(x)
                try:
                    m.train_on_batch(x, y)
                except FloatingPointError as error:
                    assert "The weights are those of the step before" in str(error), kind
            if name == "BatchNormalization":
                m.set_weights(before)           # its statistics have seen the numbers
            trainable = len(m.trainable_weights)
            assert trainable and all(np.isfinite(w).all() for w in m.get_weights())
    finally:
        tdfast.config.set_check_finite(True)


# ---------------------------------------------------------------- denormals


@pytest.mark.parametrize("cell", [LSTM, GRU, SimpleRNN])
def test_denormal_inputs_are_zeros_in_single_precision(cell):
    """On every instruction set, for any threads, and bit for bit; so are denormal weights."""
    layer = cell(33, return_sequences=True)
    layer.build((None, 7, 9))
    rng = np.random.default_rng(0)
    layer.set_weights([rng.normal(size=w.shape) / 4 for w in layer.weights])
    x = rng.normal(size=(13, 7, 9)).astype("float32")
    x[rng.random(x.shape) < 0.5] = 1e-40
    zeros = np.where(np.abs(x) < 1e-38, np.float32(0), x)
    for isa in runtime.available_isas():
        for threads in (1, 2):
            with on_isa(isa), on_threads(threads):
                assert np.array_equal(layer(x), layer(zeros)), (isa, threads)


def flushes():
    """Whether NumPy's arithmetic takes denormals as 0 in this thread at present."""
    return not (np.full(8, 1e-30, "float32") * np.float32(1e-10)).any()


@pytest.mark.skipif(platform.machine().lower() not in ("x86_64", "amd64", "aarch64", "arm64"),
                    reason="no such mode is known there")
def test_layers_in_numpy_take_denormals_as_zeros():
    """Wherever a model or a layer runs, and nowhere else: on many processors a denormal takes a hundred times
    as long."""
    seen = []

    class Spy(tdfast.layers.Layer):
        rowwise = True

        def forward(self, x, tape, training=False, mask=None):
            tape.push(self)
            seen.append(flushes())
            return x * 1

        def backward(self, dy, tape, need_dx=True):
            tape.pop(self)
            seen.append(flushes())
            return dy

    spy = Spy()
    m = tdfast.Sequential([Dense(2, input_shape=(3, 2)), spy])
    m.compile("sgd", "mse")
    x = np.ones((4, 3, 2), "float32")
    calls = {
        "fit": lambda: m.fit(x, x, verbose=0, validation_data=(x, x)),
        "fit, padded": lambda: m.fit(x, x, verbose=0, lengths=[1, 2, 3, 3]),
        "evaluate": lambda: m.evaluate(x, x, verbose=0),
        "predict": lambda: m.predict(x, verbose=0),
        "predict, padded": lambda: m.predict(x, verbose=0, lengths=[1, 2, 3, 3]),
        "predict batches": lambda: m.predict(iter([x, x]), verbose=0),
        "train_on_batch": lambda: m.train_on_batch(x, x),
        "test_on_batch": lambda: m.test_on_batch(x, x),
        "streamer": lambda: m.streamer(4).step(x[:, 0]),
        "a model's call": lambda: m(x),
        "a layer's call": lambda: spy(x),
    }
    for name, call in calls.items():
        seen.clear()
        call()
        assert seen and all(seen), name
        assert not flushes(), f"{name}: the mode stayed behind"


# ---------------------------------------------------------------- the caller's mode


class Environment(ctypes.Structure):
    """fenv_t of glibc on x86-64."""

    _fields_ = [("x87", ctypes.c_uint32 * 7), ("mxcsr", ctypes.c_uint32)]


x86 = pytest.mark.skipif(
    platform.machine().lower() not in ("x86_64", "amd64") or not sys.platform.startswith("linux"),
    reason="reads glibc's fenv_t of x86-64",
)
FLAGS, INEXACT = 0x3F, 0x20         # of MXCSR: what has happened so far
MODES = {"usual": 0x1F80, "upward": 0x5F80, "toward zero": 0x7F80, "flush to zero": 0x9FC0,
         "flags raised": 0x1FA5}


class Mode:
    """The floating-point mode of this thread, for a block."""

    def __init__(self, mxcsr):
        self.wanted, self.libm = mxcsr, ctypes.CDLL(ctypes.util.find_library("m"))

    def __enter__(self):
        self.before = Environment()
        self.libm.fegetenv(ctypes.byref(self.before))
        new = Environment.from_buffer_copy(self.before)
        new.mxcsr = self.wanted
        self.libm.fesetenv(ctypes.byref(new))
        return self

    def now(self):
        env = Environment()
        self.libm.fegetenv(ctypes.byref(env))
        return env.mxcsr

    def __exit__(self, *error):
        self.libm.fesetenv(ctypes.byref(self.before))


def kernels(dtype):
    """Calls of every kernel, none of which computes anything in Python."""
    k, rng = tdfast._kernels, np.random.default_rng(0)

    def a(*shape):
        return rng.normal(size=shape).astype(dtype)

    x, y = a(40, 32), a(40, 32)
    x[0, :3] = (NAN, INF, 1e30)
    kernel, packed = a(32, 32), a(k.dense_pack_size(32, 32))
    scratch, dkernel, dx = a(k.dense_scratch_size(32, 32)), a(32, 32), a(40, 32)
    rnn_packed = a(k.rnn_pack_size(k.CELLS["lstm"], 4, 8))
    lstm, acts = (k.CELLS["lstm"], (4, 10, 4, 8)), (1, 2)
    tape, work, infer = (a(n) for n in k.rnn_sizes(*lstm, acts))
    rnn_x, rnn_y, weights, recurrent = x.reshape(-1)[:160], a(320), a(4, 32), a(8, 32)
    dweights, drecurrent, drnn_x = a(4, 32), a(8, 32), a(160)
    sizes = k.ConvSizes(groups=1, N=2, H=1, W=20, C=4, F=8, kh=1, kw=3, sh=1, sw=1, dh=1, dw=1,
                        top=0, left=1, Hp=1, Wp=22, Ho=1, Wo=20)
    pool = k.PoolSizes(N=2, H=1, W=20, C=4, kh=1, kw=2, sh=1, sw=2, top=0, left=0, Ho=1, Wo=10)
    conv_packed, conv_infer, conv_scratch = a(sizes.pack_size), a(sizes.forward_size), a(sizes.backward_size)
    conv_kernel, conv_y, dconv = a(1, 3, 4, 8), a(320), a(1, 3, 4, 8)
    conv_spread, sums_scratch, row = a(sizes.transpose_size), a(k.sums_scratch_size(32)), a(32)
    ids, table = rng.integers(0, 9, 40).astype("int32"), a(9, 32)
    rows, result = a(40), np.zeros(2)
    slots = (abs(a(40, 32)), abs(a(40, 32)))
    stream = k.Stream()
    stream.dense(act=1, M=40, K=32, N=32, x=x, packed=packed, y=y)
    mask = np.zeros(40, bool)
    return {
        "act": lambda: k.act_forward(1, 40, 32, x, y),
        "act back": lambda: k.act_backward(1, 40, 32, y=y, dy=x, dx=dx),
        "dense pack": lambda: k.dense_pack(32, 32, kernel, packed),
        "dense": lambda: k.dense_forward(act=1, M=40, K=32, N=32, x=x, packed=packed, y=y),
        "dense back": lambda: k.dense_backward(act=1, M=40, K=32, N=32, x=x, kernel=kernel, y=y, dy=y, dz=y,
                                               dx=dx,
                                               dkernel=dkernel, scratch=scratch),
        "rnn pack": lambda: k.rnn_pack(k.CELLS["lstm"], 4, 8, kernel=weights, recurrent=recurrent,
                                       packed=rnn_packed),
        "rnn": lambda: k.rnn_forward(*lstm, acts=acts, sequences=True, x=rnn_x, packed=rnn_packed,
                                     scratch=infer, y=rnn_y),
        "rnn with tape": lambda: k.rnn_forward(*lstm, acts=acts, sequences=True, x=rnn_x, packed=rnn_packed,
                                               tape=tape,
                                               scratch=work, y=rnn_y),
        "rnn back": lambda: k.rnn_backward(*lstm, acts=acts, sequences=True, kernel=weights,
                                           recurrent=recurrent, tape=tape,
                                           scratch=work, dy=rnn_y, dx=drnn_x, dkernel=dweights,
                                           drecurrent=drecurrent),
        "conv pack": lambda: k.conv_pack(sizes, conv_kernel, conv_packed),
        "conv": lambda: k.conv_forward(sizes, act=1, x=rnn_x, packed=conv_packed, y=conv_y,
                                       scratch=conv_infer),
        "conv back": lambda: k.conv_backward(sizes, act=1, x=rnn_x, kernel=conv_kernel, y=conv_y, dy=conv_y,
                                             dx=drnn_x,
                                             dkernel=dconv, scratch=conv_scratch),
        "conv transposed": lambda: k.conv_transpose(sizes, act=1, x=conv_y, kernel=conv_kernel, y=drnn_x,
                                                    scratch=conv_spread),
        "sums": lambda: k.column_sums(40, 32, x, sums_scratch, row),
        "pool": lambda: k.pool_forward(pool, mean=True, x=rnn_x, y=conv_y),
        "pool back": lambda: k.pool_backward(pool, mean=True, dy=conv_y,
                                             dx=drnn_x),
        "embed": lambda: k.embed_forward(ids, table, y),
        "embed back": lambda: k.embed_backward(ids, x, table),
        "masking": lambda: k.masking_forward(0.0, 40, 32, x, mask, y),
        "loss": lambda: k.loss(loss=0, M=40, N=32, target=x, p=y, epsilon=1e-7, rows=rows, dp=dx,
                               result=result),
        "optimizer": lambda: k.optim_step(k.RULES["adam"], dx, y, slots, (1e-3, 0.9, 0.999, 1e-7)),
        "norm": lambda: k.sum_squares(x, result),
        "scale": lambda: k.scale(y, 2.0),
        "stream": lambda: stream.step(x, y),
        "refused": lambda: pytest.raises(ValueError, k.act_forward, 1, 2**50, 2**50, x, y),
    }


@x86
@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("mode", MODES)
def test_every_kernel_leaves_the_mode_and_the_flags(dtype, mode):
    with on_threads(2):
        for name, call in kernels(dtype).items():
            call()
            with Mode(MODES[mode]) as fenv:
                call()
                now = fenv.now()
            assert now & ~FLAGS == MODES[mode] & ~FLAGS, f"{name}: MXCSR was {MODES[mode]:#x}, is {now:#x}"
            # whose message Python computes; how many threads to use is a division, inexact
            if name != "refused":
                assert now & ~INEXACT == MODES[mode] & ~INEXACT, (
                    f"{name}: MXCSR was {MODES[mode]:#x}, is {now:#x}"
                )


@x86
@pytest.mark.parametrize("isa", runtime.available_isas())
def test_results_do_not_depend_on_the_callers_mode(isa):
    x = np.random.default_rng(0).normal(size=(64, 20, 32)).astype("float32")
    for layer in (LSTM(64), GRU(64), Dense(64, activation="tanh"), Conv1D(64, 3),
                  TimeDistributed(Dense(8, activation="softmax"))):
        with on_isa(isa), on_threads(2):
            want = layer(x)
            for name, mode in MODES.items():
                with Mode(mode):
                    assert np.array_equal(layer(x), want), f"{layer.name}, {name}"


@x86
@pytest.mark.parametrize("mode", ["upward", "flush to zero"])
def test_models_leave_the_mode(mode):
    """Through fit, evaluate, predict, save and what raises."""
    m = tdfast.Sequential([Embedding(9, 8, input_shape=(6,)), LSTM(16, return_sequences=True),
                           TimeDistributed(Dense(2))])
    m.compile("adam", "mse")
    x, y = np.random.default_rng(0).integers(0, 9, (40, 6)), np.ones((40, 6, 2), "float32")

    class Stop(tdfast.callbacks.Callback):
        def on_train_batch_end(self, batch, logs=None):
            raise KeyboardInterrupt

    def fails(kind, call, *args, **kwargs):
        with pytest.raises(kind):
            call(*args, **kwargs)

    calls = {
        "fit": lambda: m.fit(x, y, verbose=0),
        "evaluate": lambda: m.evaluate(x, y, verbose=0),
        "predict": lambda: m.predict(x, verbose=0),
        "ids out of range": lambda: fails(ValueError, m.predict, x + 99, verbose=0),
        "a loss of NaN": lambda: fails(FloatingPointError, m.fit, x, y * 1e30, verbose=0),
        "a callback": lambda: fails(KeyboardInterrupt, m.fit, x, y, verbose=0, callbacks=[Stop()]),
    }
    for name, call in calls.items():
        with Mode(MODES[mode]) as fenv:
            call()
            now = fenv.now()
        assert now & ~FLAGS == MODES[mode] & ~FLAGS, name


@x86
def test_traps_of_the_caller_do_not_spring():
    """A process that lets invalid operations raise SIGFPE is not killed by what kernels compute in
    passing."""
    code = f"""
import sys; sys.path[:] = {sys.path!r}
import ctypes, tdfast
import test_float_state as t
calls = [*t.kernels("float32").items(), *t.kernels("float64").items()]
for name, call in calls:
    call()
    if name != "refused":
        with t.Mode(0x1f80 & ~0x0680):          # invalid, division by zero and overflow trap
            call()
print("alive")
"""
    done = python(code, OMP_NUM_THREADS="2")
    assert done.stdout.strip() == "alive", f"{done.returncode}: {done.stderr}"


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="asks glibc for errno's place")
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_kernels_leave_errno(dtype):
    place = ctypes.PyDLL(None).__errno_location
    place.restype = ctypes.POINTER(ctypes.c_int)
    errno = place()
    with on_threads(2):
        for name, call in kernels(dtype).items():
            if name == "refused":
                continue
            errno[0] = 77
            call()
            assert errno[0] == 77, name


def test_denormals_that_python_made_stay():
    """The mode is the thread's: nothing that tdfast started leaves it changed for Python's own arithmetic."""
    with tempfile.TemporaryDirectory():
        done = subprocess.run(
            [
                sys.executable,
                "-c",
                "import sys; sys.path.insert(0, sys.argv[1]); import tdfast, numpy as np;"
                "tdfast.layers.LSTM(64)(np.ones((64, 9, 32))); print(np.float32(1e-30) * np.float32(1e-10) > "
                "0, 5e-324 / 1 > 0)",
                str(Path(tdfast.__file__).resolve().parent.parent),
            ],
            capture_output=True,
            text=True,
            timeout=60,
        )
    assert done.stdout.split() == ["True", "True"], done.stderr
