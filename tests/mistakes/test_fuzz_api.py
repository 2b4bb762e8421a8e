"""Hostile input: arrays of every form, sizes that overflow, memory that cannot be had. No crash and no wrong
answer.

A crash of the interpreter would end the test run, so every test here is also one against crashes. The fuzz is
seeded; TDFAST_FUZZ=n makes it n times as long. Where hypothesis is installed, it looks for more.
"""

import os
import warnings

import numpy as np
import pytest
from test_runtime import python

import tdfast
from tdfast import _kernels, layers, runtime
from tdfast.layers import (
    GRU,
    LSTM,
    BatchNormalization,
    Bidirectional,
    Conv1D,
    Dense,
    Dropout,
    Embedding,
    GlobalMaxPooling1D,
    LayerNormalization,
    Masking,
    MaxPooling1D,
    SimpleRNN,
    TimeDistributed,
)

TIMES = int(os.environ.get("TDFAST_FUZZ", "1"))
REFUSED = (ValueError, TypeError, MemoryError, OverflowError)
"""What bad input may raise."""


# ---------------------------------------------------------------- forms of an array


def overlapping(a, rng):
    """Views of one memory that lie over one another."""
    if a.ndim < 2 or a.shape[0] < 2:
        return a
    flat = np.concatenate([a[0].ravel(), a[1:].reshape(len(a) - 1, -1)[:, -1]]) if a[0].size else a.ravel()
    step = flat.itemsize
    inner = [step * int(np.prod(a.shape[i + 1:])) for i in range(1, a.ndim)]
    return np.lib.stride_tricks.as_strided(flat, a.shape, (step, *inner), writeable=False)


def unaligned(a, rng):
    memory = np.empty(a.nbytes + 1, np.uint8)
    view = memory[1:].view(a.dtype).reshape(a.shape)
    view[...] = a
    return view


def read_only(a, rng):
    a = a.copy()
    a.flags.writeable = False
    return a


def spread(a, rng):
    """Every other element of something wider, on each axis."""
    wide = np.zeros([2 * n for n in a.shape], a.dtype)
    where = tuple(slice(None, None, 2) for _ in a.shape)
    wide[where] = a
    return wide[where]


FORMS = {
    "as it is": lambda a, rng: a,
    "read-only": read_only,
    "Fortran order": lambda a, rng: np.asfortranarray(a),
    "negative strides": lambda a, rng: a[tuple(slice(None, None, -1) for _ in a.shape)],
    "reversed in time": lambda a, rng: np.ascontiguousarray(a[::-1])[::-1],
    "strided": spread,
    "overlapping": overlapping,
    "stride 0": lambda a, rng: np.broadcast_to(a[:1], a.shape),
    "other byte order": lambda a, rng: a.astype(a.dtype.newbyteorder()),
    "unaligned": unaligned,
    "transposed": lambda a, rng: np.ascontiguousarray(a.T).T,
    "a list": lambda a, rng: a.tolist(),
    "a subclass": lambda a, rng: np.ma.masked_array(a),
    "a memoryview": lambda a, rng: memoryview(np.ascontiguousarray(a)),
    "float64": lambda a, rng: a.astype("float64"),
    "float16": lambda a, rng: np.clip(a, -100, 100).astype("float16"),
    "longdouble": lambda a, rng: a.astype("longdouble"),
    "int64": lambda a, rng: (a * 10).astype("int64"),
    "int8": lambda a, rng: (a * 10).astype("int8"),
    "bool": lambda a, rng: a > 0,
}


def same_values(form):
    """The contiguous copy that a form must be worth."""
    return np.array(form if isinstance(form, (list, memoryview)) else np.asarray(form),
                    order="C").astype("float32")


def models():
    """Models with the input's features; together they have every kernel."""
    made = [
        ([LSTM(5, return_sequences=True), Dropout(0.2), TimeDistributed(Dense(3, activation="softmax"))],
         (6, 3)),
        ([Masking(), GRU(4, return_sequences=True), SimpleRNN(3)], (6, 3)),
        ([Conv1D(4, 3, padding="same", activation="gelu"), MaxPooling1D(2), Bidirectional(LSTM(3))], (6, 3)),
        ([BatchNormalization(), Dense(4, activation="elu"), LayerNormalization(), GlobalMaxPooling1D(),
          Dense(2)], (6, 3)),
        ([layers.DepthwiseConv1D(2), layers.Conv1DTranspose(4, 3, 2, activation="silu"),
          layers.UpSampling1D(2),
          layers.SeparableConv1D(3, 2, padding="same"), layers.Cropping1D(1), layers.ZeroPadding1D(1),
          GRU(2)], (6, 3)),
        ([Dense(7), Dense(1, activation="sigmoid")], (4,)),
        ([TimeDistributed(tdfast.Sequential([layers.Conv2D(2, 2), layers.Flatten()])), GRU(3)], (3, 4, 4, 2)),
    ]
    rng = np.random.default_rng(0)
    for stack, shape in made:
        m = tdfast.Sequential([layers.Input(shape), *stack])
        m.set_weights([abs(rng.normal(size=w.shape)) / 2 + 0.1 for w in m.weights])
        m.compile(tdfast.optimizers.SGD(0.01), "mse")
        yield m, shape


MODELS = list(models())


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("number", range(len(MODELS)))
def test_every_form_is_worth_its_contiguous_copy(number, form):
    """In predict, call, evaluate, train_on_batch and fit: bit for bit, and the input is not written to."""
    m, shape = MODELS[number]
    rng = np.random.default_rng(number)
    x = FORMS[form](rng.normal(size=(5, *shape)).astype("float32"), rng)
    y = FORMS[form](rng.normal(size=(5, *m.compute_output_shape((5, *shape))[1:])).astype("float32"), rng)
    weight = FORMS[form](rng.random(5).astype("float32") + 0.5, rng)
    plain = [same_values(a) for a in (x, y, weight)]
    start = m.get_weights()

    def results(x, y, weight):
        m.set_weights(start)
        for layer in m.layers:
            if getattr(layer, "seed_generator", None):
                layer.seed_generator.state[1] = 0
        tdfast.utils.set_random_seed(3)         # the batches' order
        yield m.predict(x, verbose=0)
        yield m(x)
        yield m.evaluate(x, y, sample_weight=weight, verbose=0)
        yield m.train_on_batch(x, y, sample_weight=weight)
        yield m.test_on_batch(x, y)
        m.fit(x, y, sample_weight=weight, batch_size=2, epochs=2, verbose=0)
        yield from m.get_weights()

    for got, want in zip(list(results(x, y, weight)), list(results(*plain))):
        assert np.array_equal(got, want), form
    for given, copy in zip((x, y, weight), plain):
        assert np.array_equal(same_values(given), copy), f"{form}: the input was written to"
    m.set_weights(start)


def test_ids_of_every_form():
    m = tdfast.Sequential([Embedding(9, 4, mask_zero=True, input_shape=(6,)), LSTM(3),
                           Dense(9, activation="softmax")])
    m.compile("sgd", "sparse_categorical_crossentropy")
    rng = np.random.default_rng(0)
    ids = rng.integers(0, 9, (5, 6))
    labels = rng.integers(0, 9, 5)
    for dtype in ("int8", "uint8", "int32", "int64", "uint64", ">i4", ">i8", "float32", "float64", ">f4",
                  "float16"):
        for form in ("as it is", "read-only", "Fortran order", "negative strides", "strided", "unaligned",
                     "stride 0"):
            x, y = (FORMS[form](a.astype(dtype), rng) for a in (ids, labels))
            plain_x, plain_y = (np.array(a, order="C").astype("int64") for a in (x, y))
            assert np.array_equal(m.predict(x, verbose=0), m.predict(plain_x, verbose=0)), (dtype, form)
            assert m.evaluate(x, y, verbose=0) == m.evaluate(plain_x, plain_y, verbose=0), (dtype, form)


@pytest.mark.parametrize("bad", [
    np.array([["a", "b"]] * 4), np.array([[b"a"]] * 4), np.array([[1j, 2.0]] * 4),
    np.array([[None, 1.0]] * 4, object),
    np.array([[object()]]), np.zeros((4, 2), "datetime64[s]"), np.zeros((4, 2), [("a", "f4")]),
    [[1.0], [1.0, 2.0]],
    {"a": 1}, "text", b"bytes", object(), 5, 5.0, np.float32(1), np.array(3.0), [], [[]], (),
    np.zeros((0, 4)), np.zeros((4, 0)),
    np.zeros((4, 3)), np.zeros((4, 4, 1, 1)), np.zeros((1,) * 30), lambda: 0, np.zeros, type, {1, 2},
    range(0), NotImplemented,
], ids=lambda a: str(a)[:20].replace("\n", " "))
def test_what_holds_no_fitting_numbers_is_refused(bad):
    m, shape = MODELS[4]
    good = np.ones((4, *shape))
    before = m.get_weights()
    for call in (lambda: m.predict(bad, verbose=0), lambda: m(bad),
                 lambda: m.fit(bad, good[:, :1], verbose=0),
                 lambda: m.fit(good, bad, verbose=0), lambda: m.evaluate(bad, good[:, :1], verbose=0),
                 lambda: m.train_on_batch(bad, good[:, :1]),
                 lambda: m.fit(good, good[:, :1], sample_weight=bad, verbose=0),
                 lambda: m.set_weights(bad), lambda: m.predict(good, batch_size=bad, verbose=0)):
        try:
            result = call()
        except REFUSED as error:
            assert str(error), "an error must say something"
        except AttributeError:
            pytest.fail("an error from within")
        else:
            assert not isinstance(result, np.ndarray) or np.isfinite(result).all()
            m.set_weights(before)
    assert all(np.array_equal(a, b) for a, b in zip(m.get_weights(),
                                                    before)), "refused, and yet something changed"


# ---------------------------------------------------------------- a seeded fuzz


def random_array(rng):
    """Some array: of any shape, dtype, order, and perhaps of no numbers."""
    shape = tuple(int(n) for n in rng.choice([0, 1, 2, 3, 5, 6, 17], size=rng.integers(0, 5)))
    dtype = rng.choice(["f4", "f8", ">f4", ">f8", "f2", "i1", "u1", "i4", "i8", "u8", ">i4", "?", "c8", "O",
                        "U3", "M8[s]", "g"])
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        a = np.asarray(rng.normal(size=shape) * rng.choice([1.0, 1e-40, 1e30, 100.0]), "f4")
        a = a.astype("i8").astype(dtype) if dtype in ("M8[s]", "U3") else a.astype(dtype)
    if a.size and a.dtype.kind == "f" and rng.random() < 0.2:
        a.reshape(-1)[rng.integers(a.size)] = rng.choice([np.nan, np.inf, -np.inf])
    name = rng.choice(list(FORMS))
    if a.ndim and a.dtype.kind in "fiub" and name not in ("int64", "int8", "float16"):
        return FORMS[name](a, rng)
    return a


def random_call(rng, m, shape):
    """A call with arguments of which some may fit."""
    def x():
        if rng.random() < 0.5:
            return FORMS[rng.choice(list(FORMS))](rng.normal(size=(int(rng.integers(1, 8)),
                                                                   *shape)).astype("f4"), rng)
        return random_array(rng)

    def number():
        return [None, 0, 1, 2, 3, -1, 2**31, 2**63, 2**70, 1.5, True, "2", np.int64(3),
                np.nan][rng.integers(14)]

    def y():
        return (
            rng.normal(size=(int(rng.integers(1, 8)), *m.compute_output_shape((1, *shape))[1:]))
            if rng.random() < 0.5
            else random_array(rng)
        )

    def keep(options):
        return {k: v() for k, v in options.items() if rng.random() < 0.15}

    fit = {"batch_size": number, "sample_weight": x, "lengths": x, "class_weight": lambda: {number(): 1.0},
           "epochs": number,
           "validation_split": lambda: rng.choice([0.0, 0.5, 1.0, -1.0, np.nan]),
           "validation_data": lambda: (x(), y()),
           "initial_epoch": number, "steps_per_epoch": number, "shuffle": lambda: rng.choice([True, False])}
    calls = [
        lambda: m.predict(x(), verbose=0, **keep({"batch_size": number, "steps": number, "lengths": x})),
        lambda: m(x(), **keep({"mask": x, "training": lambda: True})),
        lambda: m.evaluate(x(), y(), verbose=0,
                           **keep({"batch_size": number, "sample_weight": x, "lengths": x, "steps": number})),
        lambda: m.train_on_batch(x(), y(),
                                 **keep({"sample_weight": x, "class_weight": lambda: {0: number()}})),
        lambda: m.fit(x(), y(), verbose=0, **{k: min(v, 3) if k == "epochs" and isinstance(v, int) else v
                                              for k, v in keep(fit).items()}),
        lambda: m.predict(iter([x(), x()]), verbose=0),
        lambda: m.fit(((x(), y()) for _ in range(2)), verbose=0),
        lambda: m.set_weights([x() for _ in m.weights]),
        lambda: m.layers[0](x()),
        lambda: m.layers[-1](x(), **keep({"mask": x, "initial_state": lambda: [x(), x()]})),
    ]
    return calls[rng.integers(len(calls))]


@pytest.mark.parametrize("number", range(len(MODELS)))
def test_seeded_fuzz(number):
    """Whatever is given, a clear error or a result comes back, and the model works as before."""
    m, shape = MODELS[number]
    start, rng = m.get_weights(), np.random.default_rng(number)
    x = rng.normal(size=(4, *shape)).astype("float32")
    want = m.predict(x, verbose=0)
    worked = 0
    for trial in range(120 * TIMES):
        trial_rng = np.random.default_rng((number, trial))
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            try:
                random_call(trial_rng, m, shape)()
                worked += 1
            except (*REFUSED, FloatingPointError) as error:
                assert str(error), f"trial {trial}: an empty error"
            except Exception as error:
                pytest.fail(f"model {number}, trial {trial}: {type(error).__name__} from within: {error}")
        if trial % 20 == 19:
            m.set_weights(start)
            assert np.array_equal(m.predict(x, verbose=0), want), f"after trial {trial}"
    assert worked > 5 * TIMES
    m.set_weights(start)


def test_fuzz_with_hypothesis():
    hypothesis = pytest.importorskip("hypothesis")
    from hypothesis import strategies as st

    @hypothesis.settings(max_examples=60 * TIMES, deadline=None, database=None, derandomize=True,
                         suppress_health_check=list(hypothesis.HealthCheck))
    @hypothesis.given(st.integers(0, len(MODELS) - 1), st.sampled_from(sorted(FORMS)),
                      st.integers(0, 2**32 - 1), st.data())
    def explore(number, form, seed, data):
        m, shape = MODELS[number]
        rng = np.random.default_rng(seed)
        shape = tuple(data.draw(st.sampled_from([n, n, n, n, 0, 1, n + 1])) for n in shape)
        batch = data.draw(st.integers(0, 7))
        values = data.draw(st.sampled_from([1.0, 0.0, 1e-40, 1e30, np.nan, np.inf]))
        with np.errstate(all="ignore"), warnings.catch_warnings():
            warnings.simplefilter("ignore")
            x = FORMS[form](rng.normal(size=(batch, *shape)).astype("float32") * np.float32(values), rng)
            try:
                got = m.predict(x, verbose=0)
            except REFUSED:
                return
        assert np.array_equal(got, m.predict(same_values(x), verbose=0), equal_nan=True)

    explore()


# ---------------------------------------------------------------- the border itself

CONV = "groups N H W C F kh kw sh sw dh dw top left Hp Wp Ho Wo D kd sd dd front Dp Do".split()
POOL = "N H W C kh kw sh sw top left Ho Wo D kd sd front Do".split()
CONV_SIZES = "pack_size forward_size backward_size transpose_size".split()
HUGE = [2**31, 2**32, 2**40, 2**61, 2**62, 2**63 - 1, -1, -2**31, -2**63]


def test_kernels_refuse_sizes_that_overflow():
    """Sizes whose product wraps to a small number must not pass for it."""
    k, rng = _kernels, np.random.default_rng(0)
    x = np.ones(64, "float32")
    u8, i4, d = np.ones(64, bool), np.zeros(64, "int32"), np.zeros(64)

    def calls(s):
        def conv(function):
            return lambda *arrays, **named: function(k.ConvSizes(**{name: s() for name in CONV}), *arrays,
                                                     **named)

        def pool(function):
            return lambda **named: function(k.PoolSizes(**{name: s() for name in POOL}), **named)

        def rnn(cell):
            return cell, (s(), s(), s(), s())

        yield k.act_forward, (1, s(), s(), x, x), {}
        yield k.act_backward, (1, s(), s()), dict(y=x, dy=x, dx=x)
        yield k.dense_pack_size, (s(), s()), {}
        yield k.dense_scratch_size, (s(), s()), {}
        yield k.dense_pack, (s(), s(), x, x), {}
        yield k.dense_forward, (), dict(act=0, M=s(), K=s(), N=s(), x=x, packed=x, y=x)
        yield k.dense_backward, (), dict(act=0, M=s(), K=s(), N=s(), x=x, kernel=x, y=x, dy=x, dz=x,
                                         dkernel=x, scratch=x)
        yield conv(lambda sizes: tuple(getattr(sizes, name) for name in CONV_SIZES)), (), {}
        yield conv(k.conv_pack), (x, x), {}
        yield conv(k.conv_forward), (), dict(act=0, x=x, packed=x, y=x, scratch=x)
        yield conv(k.conv_backward), (), dict(act=0, x=x, kernel=x, y=x, dy=x, dkernel=x, scratch=x)
        yield conv(k.conv_transpose), (), dict(act=0, x=x, kernel=x, y=x, scratch=x)
        yield k.sums_scratch_size, (s(),), {}
        yield k.column_sums, (s(), s(), x, x, x), {}
        yield pool(k.pool_forward), (), dict(mean=True, x=x, y=x)
        yield pool(k.pool_backward), (), dict(mean=True, dy=x, dx=x)
        for cell in k.CELLS.values():
            yield k.rnn_sizes, (*rnn(cell), (1, 2)), {}
            yield k.rnn_pack_size, (cell, s(), s()), {}
            yield k.rnn_pack, (cell, s(), s()), dict(kernel=x, recurrent=x, packed=x)
            yield k.rnn_forward, rnn(cell), dict(acts=(1, 2), sequences=True, x=x, packed=x, scratch=x, y=x)
            yield k.rnn_backward, rnn(cell), dict(acts=(1, 2), sequences=True, kernel=x, recurrent=x, tape=x,
                                                  scratch=x, dy=x,
                                           dkernel=x, drecurrent=x)
        yield k.masking_forward, (0.0, s(), s(), x, u8, x), {}
        yield k.masking_backward, (s(), s(), u8, x), {}
        yield k.loss, (), dict(loss=0, M=s(), N=s(), target=x, p=x, epsilon=1e-7, rows=x, result=d)
        yield k.loss, (), dict(loss=15, M=s(), N=s(), labels=i4, p=x, epsilon=1e-7, rows=x, result=d)
        yield k.Stream().act, (1, s(), s(), x, x), {}
        yield k.Stream().dense, (), dict(act=1, M=s(), K=s(), N=s(), x=x, packed=x, y=x)
        yield k.Stream().rnn, (k.CELLS["lstm"], (s(), 1, s(),
                                                 s())), dict(acts=(1, 2), x=x, packed=x, h=x, c=x, scratch=x,
                                                             y=x)

    usual = [1, 1, 2, 3, 4, 8]
    passed = 0
    for _ in range(400 * TIMES):
        def size():
            return int(rng.choice(HUGE)) if rng.random() < 0.4 else int(rng.choice(usual))

        for function, arguments, named in calls(size):
            try:
                result = function(*arguments, **named)
            except (ValueError, OverflowError):
                continue
            passed += 1
            for n in result if isinstance(result, tuple) else [result] if isinstance(result, int) else []:
                assert 0 <= n < 2**62, (function, arguments, named, n)
    assert passed > 100


def test_sizes_are_what_big_integers_say():
    """Just below the bound the sizes are exact: nothing wrapped on the way."""
    k = _kernels
    assert k.dense_pack_size(2**40, 2**9) == 2**49
    assert k.rnn_pack_size(k.CELLS["lstm"], 2**20, 2**20) == 4 * (1 + 2**21) * 2**20
    for name in ("dense_pack_size", "dense_scratch_size"):
        for sizes in ((2**40, 2**10), (2**41, 1), (2**32, 2**32), (2**63 - 1, 1), (-1, 1)):
            with pytest.raises(ValueError, match="sizes out of range"):
                getattr(k, name)(*sizes)
    with pytest.raises(OverflowError):
        k.dense_pack_size(2**63, 1)
    with runtime_threads(10**9):
        assert runtime.get_num_threads() <= 1024


class runtime_threads:
    def __init__(self, n):
        self.n = n

    def __enter__(self):
        self.before = runtime.get_num_threads()
        runtime.set_num_threads(self.n)

    def __exit__(self, *error):
        runtime.set_num_threads(self.before)


@pytest.mark.parametrize("which, bad", [
    ("dtype", lambda a: a.astype("float64")), ("int", lambda a: a.astype("int32")),
    ("byte order", lambda a: a.astype(">f4")),
    ("strides", lambda a: np.repeat(a, 2)[::2]), ("short", lambda a: a[:-1]),
    ("unaligned", lambda a: unaligned(a, None)),
    ("empty", lambda a: a[:0]), ("a list", lambda a: a.tolist()), ("none", lambda a: None),
    ("0-d", lambda a: a.reshape(-1)[0]),
])
def test_kernels_refuse_arrays_that_do_not_fit(which, bad):
    """Each argument of each kernel in turn; the others stay good."""
    k = _kernels
    a = lambda n=4096: np.ones(n, "float32")        # noqa: E731
    sizes = k.ConvSizes(**dict(zip(CONV, (1, 2, 1, 20, 4, 8, 1, 3, 1, 1, 1, 1, 0, 1, 1, 22, 1, 20))))
    sizes_of_pool = k.PoolSizes(**dict(zip(POOL, (2, 1, 20, 4, 1, 2, 1, 2, 0, 0, 1, 10))))
    lstm, acts = (k.CELLS["lstm"], (4, 10, 4, 8)), (1, 2)
    tape, work, infer = k.rnn_sizes(*lstm, acts)
    rnn_pack = k.rnn_pack_size(k.CELLS["lstm"], 4, 8)
    pack, conv_infer, conv_work = sizes.pack_size, sizes.forward_size, sizes.backward_size
    mask, ids = np.ones(40, bool), np.zeros(40, "int32")
    steps = np.arange(4), np.arange(0, 41, 10), np.tile(np.arange(10), 4), np.append(np.arange(0, 41, 4), 40)
    good = [
        (k.act_forward, (1, 40, 32, a(1280), a(1280)), {}),
        (k.act_backward, (k_of("gelu"), 40, 32), dict(x=a(1280), y=a(1280), dy=a(1280), dx=a(1280))),
        (k.dense_pack, (32, 32, a(1024), a(k.dense_pack_size(32, 32))), {}),
        (k.dense_forward, (), dict(act=1, M=40, K=32, N=32, x=a(1280), packed=a(k.dense_pack_size(32, 32)),
                                   bias=a(32),
                                   z=a(1280), y=a(1280))),
        (k.dense_backward, (), dict(act=1, M=40, K=32, N=32, x=a(1280), kernel=a(1024), z=a(1280), y=a(1280),
                                    dy=a(1280),
                                    dz=a(1280), dx=a(1280), dkernel=a(1024), dbias=a(32),
                                    scratch=a(k.dense_scratch_size(32, 32)))),
        (k.conv_pack, (sizes, a(96), a(pack)), {}),
        (k.conv_forward, (sizes,), dict(act=1, x=a(160), packed=a(pack), bias=a(8), z=a(320), y=a(320),
                                        scratch=a(conv_infer))),
        (k.conv_backward, (sizes,), dict(act=1, x=a(160), kernel=a(96), z=a(320), y=a(320), dy=a(320),
                                         dx=a(160), dkernel=a(96),
                                         dbias=a(8), scratch=a(conv_work))),
        (k.conv_transpose, (sizes,), dict(act=1, x=a(320), kernel=a(96), bias=a(4), z=a(160), y=a(160),
                                          scratch=a(sizes.transpose_size))),
        (k.column_sums, (40, 32, a(1280), a(k.sums_scratch_size(32)), a(32)), {}),
        (k.pool_forward, (sizes_of_pool,), dict(mean=True, x=a(160), mask=mask, y=a(80))),
        (k.pool_backward, (sizes_of_pool,), dict(mean=False, x=a(160), mask=mask, y=a(80), dy=a(80),
                                                 dx=a(160))),
        (k.rnn_pack, (k.CELLS["lstm"], 4, 8), dict(kernel=a(128), recurrent=a(256), bias=a(32),
                                                   packed=a(rnn_pack))),
        (k.rnn_forward, lstm, dict(acts=acts, sequences=True, x=a(160), steps=steps, first=(a(32), a(32)),
                                   rec_drop=a(32),
                                 packed=a(rnn_pack), tape=a(tape), scratch=a(work), y=a(320),
                                 last=(a(32), a(32)))),
        (k.rnn_forward, lstm, dict(acts=acts, sequences=True, x=a(160), steps=steps, packed_steps=True,
                                   first=(a(32), a(32)),
                                 rec_drop=a(32), packed=a(rnn_pack), scratch=a(infer), y=a(320),
                                 last=(a(32), a(32)))),
        (k.rnn_backward, lstm, dict(acts=acts, sequences=True, steps=steps, rec_drop=a(32), kernel=a(128),
                                    recurrent=a(256),
                                  tape=a(tape), scratch=a(work), dy=a(320), dlast=(a(32), a(32)), dx=a(160),
                                  dkernel=a(128),
                                  drecurrent=a(256), dbias=a(32), dfirst=(a(32), a(32)))),
        (lambda *each: k.rnn_forward(*lstm, acts=acts, sequences=True, x=a(160), steps=each,
                                     packed=a(rnn_pack), scratch=a(infer),
                                     y=a(320)), steps, {}),
        (k.embed_forward, (ids, a(64).reshape(8, 8), a(320)), {}),
        (k.embed_backward, (ids, a(320), a(64).reshape(8, 8)), {}),
        (k.masking_forward, (0.0, 40, 8, a(320), mask, a(320)), {}),
        (k.masking_backward, (40, 8, mask, a(320)), {}),
        (k.loss, (), dict(loss=0, M=40, N=8, target=a(320), p=a(320), weight=a(40), epsilon=1e-7, rows=a(40),
                          dp=a(320),
                          result=np.zeros(2))),
        (k.loss, (), dict(loss=15, M=40, N=8, labels=ids, p=a(320), weight=a(40), epsilon=1e-7, rows=a(40),
                          dp=a(320),
                          result=np.zeros(2))),
        (k.optim_step, (k.RULES["adam"], a(320), a(320), (a(320), a(320)), (1e-3, 0.9, 0.999, 1e-7)), {}),
        (k.sum_squares, (a(320), np.zeros(1)), {}),
        (k.scale, (a(320), 2.0), {}),
        (k.Stream().act, (1, 40, 8, a(320), a(320)), {}),
        (k.Stream().dense, (), dict(act=1, M=40, K=32, N=32, x=a(1280), packed=a(1024), bias=a(32), z=a(1280),
                                    y=a(1280))),
        (k.Stream().rnn, (k.CELLS["lstm"], (4, 1, 4, 8)), dict(acts=acts, x=a(16), packed=a(rnn_pack),
                                                               h=a(32), c=a(32),
                                  scratch=a(infer), y=a(32))),
    ]
    for function, positional, named in good:
        function(*positional, **named)
        for name, argument in (*enumerate(positional), *named.items()):
            if isinstance(argument, tuple) and argument and isinstance(argument[0], np.ndarray):
                spoilt = tuple(bad(s) for s in argument)
            elif isinstance(argument, np.ndarray):
                spoilt = bad(argument)
            else:
                continue
            again = {name: a.copy() if isinstance(a, np.ndarray) else a for name,
                     a in (*enumerate(positional), *named.items())}
            again[name] = spoilt
            try:
                function(*(again.pop(i) for i in range(len(positional))), **again)
            except (ValueError, TypeError):
                pass
            else:
                # Some arguments may be left out, some are of the size that the array has, or one dtype for
                # all of them.
                assert which in ("none", "short", "empty", "int", "dtype", "strides", "unaligned",
                                 "byte order", "0-d"), (
                    function, name)


def k_of(name):
    return tdfast.activations.get(name).kind


def test_kernels_refuse_numbers_that_mean_nothing():
    k, a = _kernels, np.ones(64, "float32")
    for number in (-1, 29, 1000, 2**31 - 1, -2**31):
        for call in (lambda n: k.act_forward(n, 8, 8, a, a), lambda n: k.rnn_pack_size(n, 4, 4),
                     lambda n: k.optim_step(n, a, a, (), ()),
                     lambda n: k.loss(loss=n, M=8, N=8, target=a, p=a, epsilon=1e-7, rows=a,
                                      result=np.zeros(2))):
            with pytest.raises(ValueError, match="unknown"):
                call(number)
    for ids in ([-1] * 8, [99] * 8, [2**31 - 1] * 8, [-2**31] * 8):
        ids = np.array(ids, "int32")
        assert k.embed_forward(ids, a.reshape(8, 8), np.ones(64, "float32")) == 0
        with pytest.raises(ValueError, match="no row"):
            k.embed_backward(ids, a, np.ones((8, 8), "float32"))
    good = [0, 1], [0, 2, 3], [0, 2, 1], [0, 2, 3, 3, 3]
    for row, starts, steps, *before in (
        ([0, 0], [0, 2, 3], [0, 2, 1]), ([0, 2], [0, 2, 3], [0, 2, 1]), ([-1, 1], [0, 2, 3], [0, 2, 1]),
        ([0, 1], [0, 1, 3], [0, 0, 2]), ([0, 1], [1, 2, 3], [0, 2, 1]), ([0, 1], [0, 2, 4], [0, 2, 1]),
        ([0, 1], [0, 2**62, 3], [0, 2, 1]), ([0, 1], [0, -2, 3], [0, 2, 1]), ([0, 1], [0, 2, 3], [2, 0, 1]),
        ([0, 1], [0, 2, 3], [0, 3, 1]), ([0, 1], [0, 2, 3], [-1, 2, 1]), ([0, 1], [0, 2, 3], [1, 1, 1]),
        *((*good[:3], before) for before in ([0, 2, 3, 3, 4], [1, 3, 4, 4, 4], [0, 1, 3, 3, 3],
                                             [0, 2, 3, 3, 2**62], [0, 2, 3, 3])),
    ):
        gru, acts = (k.CELLS["gru"], (2, 3, 4, 4)), (1, 2)
        tape, work, _ = k.rnn_sizes(*gru, acts)
        lists, w = tuple(np.array(part) for part in (row, starts, steps,
                                                     before[0] if before
                                                     else good[3])), np.ones(48, "float32")
        with pytest.raises(ValueError, match="steps|row"):
            k.rnn_backward(*gru, acts=acts, sequences=True, steps=lists, kernel=w, recurrent=w,
                           tape=np.ones(tape, "float32"),
                           scratch=np.ones(work, "float32"), dy=w, dkernel=w, drecurrent=w)
    stream = k.Stream()
    with pytest.raises(ValueError):
        stream.dense(act=1, M=4, K=8, N=8, x=a, packed=a[:1], y=a)
    with pytest.raises(ValueError, match="empty"):
        stream.step(a, a)                           # what was refused is not in the stream


def test_results_may_overlap_inputs_in_a_stream():
    """streamer.step(x, out=x) is what it is with two arrays, or is refused."""
    for stack in ([Dense(200, activation="tanh", input_shape=(None, 200))],
                  [LSTM(200, return_sequences=True, input_shape=(None, 200))],
                  [LSTM(200, return_sequences=True, input_shape=(None, 200)),
                   TimeDistributed(Dense(200, activation="softmax"))]):
        m = tdfast.Sequential(stack)
        x = np.random.default_rng(0).normal(size=(9, 200)).astype("float32")
        want = m.streamer(9).step(x)
        memory = np.zeros((10, 200), "float32")
        for shift in (0, 1):
            memory[:9] = x
            try:
                got = m.streamer(9).step(memory[:9], out=memory[shift : 9 + shift])
            except ValueError as error:
                assert "overlap" in str(error)
            else:
                assert np.array_equal(got, want), f"{stack[0].name}, {shift}"
    for out in (np.zeros((9, 200)), np.zeros((9, 200), ">f4"), np.zeros((200, 9), "f4").T, [[0.0] * 200] * 9,
                read_only(want, None), 3):
        with pytest.raises(ValueError):
            m.streamer(9).step(x, out=out)


# ---------------------------------------------------------------- memory that cannot be had

NO_MEMORY = """
import resource, sys, numpy as np, tdfast, warnings
from tdfast import layers
tdfast.set_num_threads(2)
x, y = np.random.default_rng(0).normal(size=(64, 8, 4)).astype("f4"), np.ones((64, 3), "f4")
m = tdfast.Sequential([
    layers.LSTM(16, return_sequences=True, input_shape=(8, 4)), layers.GRU(8), layers.Dense(3),
])
m.compile("adam", "mse")
m.fit(x, y, epochs=2, verbose=0)
want, history, weights = m.predict(x, verbose=0), dict(m.history.history), m.get_weights()
used = int(open("/proc/self/statm").read().split()[0]) * resource.getpagesize()
resource.setrlimit(resource.RLIMIT_AS, (used + 300 * 2**20, resource.RLIM_INFINITY))
"""
HUGE_CALLS = {
    "predict": "m.predict(np.broadcast_to(x[:1], (2**40, 8, 4)), verbose=0)",
    "long": "tdfast.Sequential([layers.LSTM(4)]).predict(np.broadcast_to(x[:1, :1], (1, 2**40, 4)), "
            "verbose=0)",
    "call": "m(np.broadcast_to(x[:1], (2**40, 8, 4)))",
    "fit": "m.fit(np.broadcast_to(x[:1], (2**40, 8, 4)), np.broadcast_to(y[:1], (2**40, 3)), verbose=0)",
    "evaluate": "m.evaluate(np.broadcast_to(x[:1], (2**40, 8, 4)), np.broadcast_to(y[:1], (2**40, 3)), "
                "batch_size=2**36, verbose=0)",
    "train_on_batch": "m.train_on_batch(np.broadcast_to(x[:1], (2**30, 8, 4)), np.broadcast_to(y[:1], "
                      "(2**30, 3)))",
    "a batch": "m.fit(np.tile(x, (2000, 1, 1)), np.tile(y, (2000, 1)), batch_size=128000, verbose=0)",
    "units": "tdfast.Sequential([layers.Dense(2**40, input_shape=(4,))])",
    "more units": "tdfast.Sequential([layers.LSTM(2**40, input_shape=(4, 4))])",
    "units beyond all": "tdfast.Sequential([layers.Dense(2**70, input_shape=(4,))])",
    "table": "tdfast.Sequential([layers.Embedding(2**30, 2**20, input_shape=(4,))])",
    "filters": "tdfast.Sequential([layers.Conv1D(2**40, 3, input_shape=(8, 4))])",
    "kernel size": "tdfast.Sequential([layers.Conv1D(4, 2**50, padding='causal', input_shape=(8, 4))])",
    "a second layer": "late.predict(x, verbose=0)",
    "streamer": "m.layers and tdfast.Sequential([layers.LSTM(16, return_sequences=True, input_shape=(None, "
                "4))]).streamer(2**40)",
    "repeat": "tdfast.Sequential([layers.RepeatVector(2**50), layers.LSTM(4)])(np.ones((2, 4)))",
    "cells": "tdfast.Sequential([layers.RNN(layers.LSTMCell(2**40), input_shape=(4, 4))])",
    "convolutional cells": "tdfast.Sequential([layers.ConvLSTM1D(2**40, 3, input_shape=(4, 8, 4))])",
}
"""Each must raise MemoryError ..."""
TOO_LARGE = ["units beyond all", "kernel size"]
"""... but for these, whose sizes the constructor refuses as a ValueError."""


@pytest.mark.skipif(not os.path.exists("/proc/self/statm"), reason="reads /proc")
def test_memory_that_cannot_be_had():
    """MemoryError with the size, and the model is as before: its weights, its history, its next fit."""
    code = NO_MEMORY + f"calls, refused = {HUGE_CALLS!r}, {TOO_LARGE!r}\n" + """
late = tdfast.Sequential([layers.Dense(5), layers.Dense(2**36)])
for name, text in calls.items():
    try:
        eval(text)
        print("NOT REFUSED", name)
    except MemoryError as error:
        if not any(c.isdigit() for c in str(error)):
            print("NO SIZE", name, repr(error))
        if name in refused:
            print("NOT REFUSED IN THE CONSTRUCTOR", name)
    except ValueError as error:
        if name not in refused:
            print("VALUE", name, error)
    if not all(np.array_equal(a, b) for a, b in zip(m.get_weights(), weights)):
        print("WEIGHTS CHANGED", name)
    if not np.array_equal(m.predict(x, verbose=0), want):
        print("ANOTHER PREDICTION", name)
assert not late.built and not late.layers[0].built and not late.weights and not late.layers[0].weights
late.pop(); late.add(layers.Dense(3))
print(late.predict(x, verbose=0).shape, m.history.history)
print(np.isfinite(m.fit(x, y, verbose=0).history["loss"]).all())
"""
    done = python(code)
    assert done.returncode == 0, done.stdout + done.stderr
    *complaints, shape, last = done.stdout.strip().splitlines()
    assert shape.startswith("(64, 8, 3)") and last == "True", done.stdout
    assert not complaints, done.stdout


@pytest.mark.skipif(not os.path.exists("/proc/self/statm"), reason="reads /proc")
def test_memory_that_ends_at_any_moment():
    """The limit comes nearer from call to call: whatever array cannot be had, the model stays whole.

    Where a ufunc that casts cannot have its buffer of 64 KB, NumPy raises MemoryError without the
    interpreter's lock, and the process ends; nor does it check the smallest of its allocations. The holes
    between the blocks serve these, and no array that is large.
    """
    code = NO_MEMORY + """
resource.setrlimit(resource.RLIMIT_AS, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
raised = 0
big_x, big_y = np.tile(x, (40, 1, 1)), np.tile(y, (40, 1))[:, None].repeat(8, 1)
x, y = big_x[:64], big_y[:64]
for spare in range(0, 48 * 2**20, 2**20):
    n = tdfast.Sequential([
        layers.LSTM(32, return_sequences=True), layers.BatchNormalization(),
        layers.GRU(16, return_sequences=True), layers.Dense(3),
    ])
    n.compile("adam", "mse")
    holes = [bytes(size) for size, count in ((2000, 4000), (100_000, 200)) for _ in range(count)]
    del holes[::2]
    used = int(open("/proc/self/statm").read().split()[0]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (used + spare, resource.RLIM_INFINITY))
    try:
        n.fit(big_x, big_y, batch_size=2000, epochs=2, verbose=0)
        n.predict(big_x, verbose=0)
    except MemoryError:
        raised += 1
    finally:
        resource.setrlimit(resource.RLIMIT_AS, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
    assert len(n.weights) in (0, 12), len(n.weights)
    assert np.isfinite(n.fit(x, y, verbose=0).history["loss"]).all()
    assert np.array_equal(n.predict(x, verbose=0), n.predict(x, verbose=0, batch_size=3))
print(raised)
"""
    done = python(code)
    assert done.returncode == 0, done.stdout + done.stderr
    assert int(done.stdout) > 3, "the limit was never met"
