"""The laws that every layer passes, one function each; test_layers.py has the cases.

A case says how to make a layer, what shape it takes and which formula of reference.py it must equal.
A law takes a case, and asserts. A new layer is one row in test_layers.py.
"""

import contextlib
import copy
import json
import pickle
import zlib
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import pytest

import tdfast
from tdfast import _kernels, distribution, random, runtime
from tdfast.distribution import current, in_process
from tdfast.engine.arithmetic import kernel_arithmetic
from tdfast.engine.graph import Graph, Node
from tdfast.engine.program import is_of_tdfast
from tdfast.engine.serialization import deserialize_layer, serialize_layer
from tdfast.engine.tape import Tape
from tdfast.engine.tensor import SymbolicTensor
from tdfast.layers import BatchNormalization, Identity
from tdfast.testing import (
    as_tuple,
    assert_near,
    differences,
    forward,
    forward_backward,
    graph_gradients,
    random_like,
    without_shapes,
)
from tdfast.training.packing import is_per_step

FMA_ISAS = ("avx2", "avx512", "neon")

# How far float32 may lie from float64, relative to the largest magnitude of the array. A float32
# rounding is 6e-8; sums of a few hundred terms and five steps of recurrence stay below these.
# With a lower precision of products (TDFAST_MATMUL_PRECISION) the bounds are looser; test_precision.py has
# those of each product.
LOOSER = {"highest": 1, "high": 10, "medium": 5000}[runtime.matmul_precision()]
FORWARD_ERROR = 1e-5 * LOOSER
GRADIENT_ERROR = 5e-5 * LOOSER
# The baseline rounds products before it adds them: the same bound, since each is as far from the truth.
BASELINE_ERROR = 1e-4 * LOOSER


@dataclass(frozen=True)
class Case:
    """One layer with its options.

    Args:
        name: shown by pytest.
        make: make(size, dtype) -> a new layer; size is the number of units, where there are any.
        shape: the shape of one sample; the string "T" stands for the number of time steps.
        reference: reference(x, weights, size, **call) -> the output, or a tuple of them.
        mask: give the layer a mask, (B, T).
        ids: inputs are whole numbers from 0 to ids - 1 (of an Embedding); 0: they are normal numbers.
        positive: the names of weights that must be positive.
        training: run the layer as in fit.
        states: initial states of shape (B, size) to give on the call.
        bounded: outputs stay finite for any finite input.
        scale: of the random weights; small ones keep an activation like e^x from running away.
        spread: how much the formula itself magnifies rounding errors, as a factor on the float32 bounds.
        sizes: numbers of units that fill vectors, leave remainders, or stand alone.
        laws: those to hold the case to; all of them when None.
    """

    name: str
    make: Callable
    shape: tuple
    reference: Callable
    mask: bool = False
    ids: int = 0
    positive: tuple = ()
    training: bool = False
    states: int = 0
    bounded: bool = True
    scale: float = 1.0
    spread: float = 1.0
    sizes: tuple = (1, 4, 17, 33)
    laws: tuple = None

    def __str__(self):
        return self.name

    @property
    def timed(self):
        return "T" in self.shape

    def sample_shape(self, T):
        return tuple(T if n == "T" else n for n in self.shape)     # T=None: any number of steps

    def as_reference(self, x):
        """An input in float64, unless its numbers are ids."""
        return x if self.ids else x.astype("float64")

    def rng(self):
        """Random numbers that depend on the case's name alone."""
        return np.random.default_rng(zlib.crc32(self.name.encode()))

    def layer(self, dtype="float32", size=4, T=5, rng=None):
        """A built layer with random weights: constant ones would hide a permuted gate."""
        rng = rng or self.rng()
        layer = self.make(size, dtype)
        layer.ensure_built((None, *self.sample_shape(T)))
        values = [rng.normal(size=w.shape) * self.scale / np.sqrt(w.shape[0] if w.shape else 1)
                  for w in layer.weights]
        layer.set_weights([abs(v) + 0.5 if w.name in self.positive else v for v,
                           w in zip(values, layer.weights)])
        return layer

    def inputs(self, B=3, T=5, size=4, dtype="float64", rng=None):
        """(x, call): an input, and the further arguments of forward."""
        rng = rng or self.rng()
        shape = (B, *self.sample_shape(T))
        x = rng.integers(self.ids, size=shape) if self.ids else rng.normal(size=shape).astype(dtype)
        call = {"training": True} if self.training else {}
        if self.mask:
            call["mask"] = rng.random((B, T)) < 0.6
        if self.states:
            call["initial_state"] = [rng.normal(size=(B, size)).astype(dtype) for _ in range(self.states)]
        return x, call


# ---------------------------------------------------------------- running a layer


@contextlib.contextmanager
def on_isa(name):
    before = runtime.isa()
    runtime.set_isa(name)
    try:
        yield
    finally:
        runtime.set_isa(before)


@contextlib.contextmanager
def on_threads(n):
    before = runtime.get_num_threads()
    runtime.set_num_threads(n)
    try:
        yield
    finally:
        runtime.set_num_threads(before)


def assert_same_bits(got, want, what):
    assert set(got) == set(want)
    for key in want:
        assert got[key].shape == want[key].shape, (
            f"{what}: {key} has shape {got[key].shape}, not {want[key].shape}"
        )
        same = got[key].tobytes() == want[key].tobytes()
        assert same, f"{what}: {key} differs by up to {np.abs(got[key] - want[key]).max():.2e}"


@contextlib.contextmanager
def on_precision(name):
    before = runtime.matmul_precision()
    runtime.set_matmul_precision(name)
    try:
        yield
    finally:
        runtime.set_matmul_precision(before)


def close(got, want, bound, what):
    """`assert_near`; with 'medium', for the root mean square of what it is off. A slope that jumps, of relu
    for one, is another where a rounding crosses the place."""
    if runtime.matmul_precision() == "medium" and got.dtype == np.float32 and got.size:
        assert got.shape == want.shape
        off = np.sqrt(np.mean(np.square(got - want, dtype="float64")))
        assert off <= bound * max(1, np.abs(want).max()), f"{what}: off by {off:.2e} on average"
    else:
        assert_near(got, want, bound, what)


# ---------------------------------------------------------------- the laws


def equals_reference(case):
    """1. The outputs are those of reference.py, in float64 to its rounding and in float32 to its own."""
    for dtype, bound in (("float64", 1e-12), ("float32", FORWARD_ERROR * case.spread)):
        for T in (1, 5) if case.timed else (1,):
            layer = case.layer(dtype, T=T)
            x, call = case.inputs(T=T, dtype=dtype)
            weights = [w.value.astype("float64") for w in layer.weights]
            want = as_tuple(case.reference(case.as_reference(x), weights, 4, **call))
            got = as_tuple(layer(x, **call))
            assert len(got) == len(want)
            for i, (g, w) in enumerate(zip(got, want)):
                assert g.dtype == dtype
                close(g, w, bound, f"output {i}, {dtype}, T={T}")
            declared = layer.compute_output_shape((None, *x.shape[1:]))
            declared = declared if isinstance(declared, list) else [declared]
            assert [tuple(d)[1:] for d in declared] == [g.shape[1:] for g in got], "compute_output_shape"


def central_differences(case):
    """2. Every derivative is that of the formula, by central differences in float64; T = 1, 2, 5."""
    for T in (1, 2, 5) if case.timed else (1,):
        layer = case.layer("float64", T=T)
        x, call = case.inputs(B=2, T=T)
        dys = random_like(case.rng(), forward(layer, x, call))
        got = forward_backward(layer, x, call, dys)
        arrays = {"dx": x}
        if case.ids:
            assert not got.pop("dx").any(), "whole numbers have no derivative"
            del arrays["dx"]
        arrays.update({f"dstate{i}": s for i, s in enumerate(call.get("initial_state", []))})
        arrays.update({f"d{w.name}#{i}": w.value for i, w in enumerate(layer.trainable_weights)})
        assert set(arrays) == {k for k in got if k.startswith("d")}, "a gradient is missing"

        def loss(layer=layer, x=x, call=call, dys=dys):
            return sum(float(np.sum(y * dy)) for y, dy in zip(forward(layer, x, call), dys))

        for name, array in arrays.items():
            assert_near(got[name], differences(loss, array), 1e-7, f"{name}, T={T}")


def float32_gradients(case):
    """The float32 gradients are the float64 ones, at sizes that fill vectors and leave remainders."""
    for size in case.sizes:
        rng = case.rng()
        x, call = case.inputs(B=7, size=size, dtype="float32", rng=rng)
        layers = {d: case.layer(d, size=size) for d in ("float64", "float32")}
        layers["float64"].set_weights(layers["float32"].get_weights())
        dys = [d.astype("float32") for d in random_like(rng, forward(layers["float32"], x, call))]
        got = {d: forward_backward(layer, x, _cast(call, d), dys) for d, layer in layers.items()}
        for key, want in got["float64"].items():
            bound = GRADIENT_ERROR if key.startswith("d") else FORWARD_ERROR
            close(got["float32"][key], want, bound * case.spread, f"{key}, size {size}")


def _cast(call, dtype):
    if "initial_state" not in call:
        return call
    return {**call, "initial_state": [np.ascontiguousarray(s, dtype) for s in call["initial_state"]]}


def _big(case):
    """A training step of a size that is worth several threads, and that no vector width divides."""
    B, T, size = 37, 19, 33
    rng = case.rng()
    layer = case.layer("float32", size=size, T=T)
    x, call = case.inputs(B=B, T=T, size=size, dtype="float32", rng=rng)
    dys = [d.astype("float32") for d in random_like(rng, forward(layer, x, call))]
    return lambda: forward_backward(layer, x, call, dys)


def same_bits_on_every_isa(case):
    """3. All ISAs with fused multiply-add give the same bits; the baseline is within a bound."""
    step = _big(case)
    results = {}
    for name in runtime.available_isas():
        with on_isa(name):
            results[name] = step()
    fused = [name for name in results if name in FMA_ISAS]
    for name in fused[1:]:
        assert_same_bits(results[name], results[fused[0]], f"{name} against {fused[0]}")
    if fused and "baseline" in results:
        for key, want in results[fused[0]].items():
            close(results["baseline"][key], want, BASELINE_ERROR, f"{key}, baseline against {fused[0]}")


def same_bits_on_any_threads(case):
    """4a. The number of threads changes no bit, and a second run changes none."""
    step = _big(case)
    with on_threads(1):
        want = step()
    for n in (1, 2, 3):
        with on_threads(n):
            assert_same_bits(step(), want, f"{n} threads against 1")


def batch_is_its_rows(case):
    """4b. A batch gives each row the bits it gets alone, in outputs and in dx."""
    size, B = 17, 5
    rng = case.rng()
    layer = case.layer("float32", size=size)
    x, call = case.inputs(B=B, size=size, dtype="float32", rng=rng)
    dys = [d.astype("float32") for d in random_like(rng, forward(layer, x, call))]
    whole = forward_backward(layer, x, call, dys)
    for rows in (slice(0, 2), slice(2, 3), slice(3, 5)):
        part_call = {k: [s[rows] for s in v] if k == "initial_state" else v if k == "training" else v[rows]
                     for k, v in call.items()}
        part = forward_backward(layer, x[rows], part_call, [d[rows] for d in dys])
        per_row = [k for k in whole if k.startswith(("y", "dx", "dstate"))]
        assert_same_bits({k: part[k] for k in per_row}, {k: whole[k][rows].copy() for k in per_row},
                         f"rows {rows}")


def inputs_are_only_read(case):
    """5. Read-only, strided, float64 and integer inputs do, and are never written."""
    layer = case.layer("float32")
    x, call = case.inputs(dtype="float32")
    if not case.ids:
        x = np.round(x * 4)     # whole numbers, so that integers can stand for them
    want = [y.copy() for y in as_tuple(layer(x, **call))]
    wide = np.zeros((*x.shape[:-1], 2 * x.shape[-1]), x.dtype)
    wide[..., ::2] = x
    forms = {
        "read-only": x.copy(),
        "strided": wide[..., ::2],
        "Fortran order": np.asfortranarray(x),
        "float64": x.astype("float64"),
        "int64": x.astype("int64"),
        "int8": x.astype("int8"),
        "list": x.tolist(),
    }
    forms["read-only"].flags.writeable = False
    for form, value in forms.items():
        before = np.array(value)
        for y, w in zip(as_tuple(layer(value, **call)), want):
            assert np.array_equal(y, w), form
        assert np.array_equal(np.array(value), before), f"{form}: the input was written to"
    forward_backward(layer, forms["read-only"], call, random_like(case.rng(), want))
    forms["read-only"].flags.writeable = True
    assert np.array_equal(forms["read-only"], x)


def round_trips(case):
    """6. A layer made from its config, or from its serialized form, with its weights, is the same."""
    layer = case.layer("float32")
    x, call = case.inputs(dtype="float32")
    want = forward(layer, x, call)
    config = layer.get_config()
    described = serialize_layer(layer)
    json.dumps(described)
    for twin in (type(layer).from_config(config), deserialize_layer(json.loads(json.dumps(described)))):
        assert type(twin) is type(layer) and twin.name == layer.name
        assert json.dumps(without_shapes(serialize_layer(twin))) == json.dumps(without_shapes(described))
        twin.ensure_built((None, *x.shape[1:]))
        twin.set_weights(layer.get_weights())
        for g, w in zip(forward(twin, x, call), want):
            assert np.array_equal(g, w)
        # built before its owner, a layer keeps its short paths, as in Keras
        for w, v in zip(twin.weights, layer.weights):
            assert w.path.endswith(v.path) or v.path.endswith(w.path)


def copies(case):
    """6. A pickled layer and a deep copy are the layer: the same bits, also of the next random numbers, and
    its own weights."""
    layer = case.layer("float32")
    x, call = case.inputs(dtype="float32")
    forward(layer, x, call)
    twins = [pickle.loads(pickle.dumps(layer)), copy.deepcopy(layer)]
    for twin in twins:
        assert type(twin) is type(layer) and twin.get_config() == layer.get_config()
        for v, w in zip(twin.weights, layer.weights, strict=True):
            assert v.path.endswith(w.path) or w.path.endswith(v.path)       # as above
            assert np.array_equal(v, w) and not np.shares_memory(v.value, w.value)
    before = layer.get_weights()
    results = []
    for one in (layer, *twins):
        tape = Tape()
        y = one.forward(one.as_input(x), tape, **{"training": True, **call})
        dys = [np.ones_like(a) for a in as_tuple(y)]
        one.backward(dys if isinstance(y, (tuple, list)) else dys[0], tape)
        results.append([*as_tuple(y), *(w.grad for w in one.weights)])
    for result in results[1:]:
        for got, want in zip(result, results[0], strict=True):
            assert got.tobytes() == want.tobytes()
    for twin in twins:
        for w in twin.weights:
            w.value[...] = 7
    moving = {id(w) for w in layer.weights if not w.trainable}      # statistics, which training moves
    for w, old in zip(layer.weights, before):
        assert id(w) in moving or np.array_equal(w, old)


def saturation_and_nan(case):
    """7. Huge inputs give finite results where the formula's are; NaN stays NaN, in its own row."""
    layer = case.layer("float32", size=17)
    x, call = case.inputs(size=17, dtype="float32")
    if case.bounded:
        with np.errstate(all="ignore"):
            for scale in (1e4, 1e18):
                dys = random_like(case.rng(), forward(layer, x, call))
                for key, value in forward_backward(layer, x * np.float32(scale), call, dys).items():
                    if not key.startswith("d"):
                        assert np.isfinite(value).all(), f"{key} at inputs of about {scale:g}"
    if "mask" in call:
        call["mask"][:] = True
    clean = forward(layer, x, call)
    x[1, ...] = np.nan
    for y, want in zip(forward(layer, x, call), clean):
        assert np.isnan(y[1]).all(), "NaN was lost"
        assert np.array_equal(y[[0, 2]], want[[0, 2]]), "NaN reached another row"


def any_size(case):
    """8. An empty batch, one step, one unit and odd sizes all work, and equal the reference."""
    for size in case.sizes:
        layer = case.layer("float32", size=size, T=None)
        for B, T in ((0, 3), (1, 1), (2, 3), (19, 7)):
            x, call = case.inputs(B=B, T=T, size=size, dtype="float32")
            weights = [w.value.astype("float64") for w in layer.weights]
            got = as_tuple(layer(x, **call))
            if B:
                want = as_tuple(case.reference(case.as_reference(x), weights, size, **call))
                for i, (g, w) in enumerate(zip(got, want)):
                    close(g, w, FORWARD_ERROR * case.spread, f"output {i}, size {size}, B={B}, T={T}")
            results = forward_backward(layer, x, call, random_like(case.rng(), got))
            assert all(results[f"y{i}"].shape[0] == B for i in range(len(got)))
            if not B:
                grads = [v for k, v in results.items() if "#" in k]
                assert all((g == 0).all() for g in grads), "an empty batch has no gradient"


def _first_output(layer, x, mask):
    """One output of a layer of the case, and how many it has."""
    tape = Tape()
    with kernel_arithmetic():
        made = layer.forward(x, tape, mask=mask)
    outputs = made if isinstance(made, list) else [made]
    return outputs[0].copy(), len(outputs)


def graph_rules(case):
    """In a graph, gradients add where a layer is called again or a tensor is read twice, and None is a zero
    gradient.

    Nobody's gradient is written over while another call reads it: each sum equals that of the passes alone.
    """
    layer = case.layer("float64")
    (a, call), (b, _) = case.inputs(), case.inputs(rng=np.random.default_rng(5))
    a, b, mask = (np.ascontiguousarray(a), np.ascontiguousarray(b), call.get("mask"))
    a, b = (layer.as_input(x) for x in (a, b))
    y, count = _first_output(layer, a, mask)
    g, h = (random_like(np.random.default_rng(seed), [y])[0] for seed in (1, 2))

    def called(x):
        return Node(layer, [x], count).outputs[0]

    def same(x):
        return Node(Identity(dtype="float64"), [x]).outputs[0]

    def near(got, want, what):
        for one, other in zip(got, want, strict=True):
            assert (one is None) == (other is None), what
            if one is not None:
                assert_near(one, other, 1e-12, what)

    (da,), at_a = graph_gradients(layer, [a], [mask], lambda x: [called(x)], [g])
    da = None if da is None else da.copy()
    (db,), at_b = graph_gradients(layer, [b], [mask], lambda x: [called(x)], [h])
    db = None if db is None else db.copy()
    dxs, grads = graph_gradients(layer, [a, b], [mask, mask], lambda x, z: [called(x), called(z)], [g, h])
    near(grads, [p + q for p, q in zip(at_a, at_b)], "a layer that is called again")
    near(dxs, [da, db], "the inputs of a layer that is called again")

    def read_twice(x):
        y = called(x)
        return [same(y), y, same(y)]

    (dx,), grads = graph_gradients(layer, [a], [mask], read_twice, [g / 2, g, -g / 2])
    near([dx, *grads], [da, *at_a], "an output that is read by several")
    if da is not None and da.shape == a.shape and not case.ids:
        k = random_like(np.random.default_rng(3), [a])[0]
        (dx,), grads = graph_gradients(layer, [a], [mask], lambda x: [same(x), called(x), same(x)], [k, g, k])
        near([dx, *grads], [da + 2 * k, *at_a], "an input that is read by several")
        if layer.activity_regularizer is None:
            (dx,), grads = graph_gradients(layer, [a], [mask], lambda x: [same(x), called(x)], [k, None])
            near([dx, *grads], [k, *(0 * w for w in at_a)], "an output without a gradient")
    if count > 1:
        zeros = [np.zeros_like(one) for one in forward(layer, a, {} if mask is None else {"mask": mask})[:-1]]
        k = random_like(np.random.default_rng(3), [layer(a, mask=mask)[-1]])[0]
        (want,), at_zeros = graph_gradients(layer, [a], [mask], lambda x: Node(layer, [x], count).outputs,
                                            [*zeros, k])
        want = None if want is None else want.copy()
        (dx,), grads = graph_gradients(layer, [a], [mask], lambda x: Node(layer, [x], count).outputs[-1:],
                                       [k])
        near([dx, *grads], [want, *at_zeros], "the last output alone")


def _states(layer):
    """Everything that a pass of a layer changes besides its output: counts of random numbers, weights that do
    not learn."""
    inner = list(layer.walk())
    seeds = [one.seed_generator.state for one in inner if getattr(one, "seed_generator", None) is not None]
    return [*seeds, *(w.value for w in layer.weights if not w.trainable)]


def prepared(case):
    """A program of both passes gives, on other numbers and weights in the same memory, the layer's bits.

    A layer that does more with numbers than it notes in a program would leave the old ones somewhere.
    """
    layer = case.layer()
    (a, call), (b, _) = case.inputs(), case.inputs(rng=np.random.default_rng(5))
    a, b = (np.ascontiguousarray(layer.as_input(x)) for x in (a, b))
    room, training, tape = a.copy(), call.get("training", False), Tape(version="first")
    x = SymbolicTensor()
    (y, *_) = outputs = Node(layer, [x], _first_output(layer, a, None)[1]).outputs
    again = [Node(layer, [x], len(outputs)).outputs[0]] if len(outputs) == 1 else []
    graph = Graph([x], [y, Node(Identity(), [y]).outputs[0], *again])

    def passes(x, g, tape, first, second):
        record = tape.push(layer)
        with kernel_arithmetic():
            with first:
                ys, _ = graph.forward([x], [None], record, tape, training)
            with second:
                dx = graph.backward(g, record)
        return ys, dx

    def results(ys, dx):
        return [np.copy(one) for one in (*ys, *(d for d in dx if d is not None),
                                         *(w.grad for w in layer.trainable_weights))]

    first, second, nothing = _kernels.Program(), _kernels.Program(), contextlib.nullcontext()
    ys, _ = graph.forward([room], [None], Tape().push(layer), Tape(), training)
    gs = random_like(np.random.default_rng(1), ys)
    given = [g.astype(y.dtype) for g, y in zip(gs, ys)]
    made = passes(room, given, tape, first, second)
    possible = is_of_tdfast(layer) and not any(
        one.makes_mask or one.computes_in_call or one.activity_regularizer is not None
        for one in layer.walk())
    assert (first.ready and second.ready) == possible, "whether it can be prepared"
    if not possible:
        return
    held = [state.copy() for state in _states(layer)]
    room[...] = b
    for to, g in zip(given, gs):
        np.copyto(to, -g, casting="same_kind")
    for w in layer.weights:
        w.grad[...] = 7
    for w in layer.trainable_weights:
        w.value *= 0.75
    with kernel_arithmetic():
        assert first.run() and second.run()
    got = results(*made)
    for state, before in zip(_states(layer), held):
        state[...] = before
    want = results(*passes(b, [(-g).astype(y.dtype) for g, y in zip(gs, ys)], Tape(), nothing, nothing))
    for one, other in zip(got, want, strict=True):
        assert one.tobytes() == other.tobytes(), "a prepared pass"


@contextlib.contextmanager
def counted_packings(layer):
    """For the block, a list that gets longer with each call of a kernel that packs weights of a layer."""
    weights = [weight.value for weight in layer.weights]
    before, packed = {name: f for name, f in vars(_kernels).items() if name.endswith("_pack")}, []

    def counted(name, pack):
        def count(*args, **kwargs):
            given = [a for a in (*args, *kwargs.values()) if isinstance(a, np.ndarray)]
            packed.extend([name] if any(np.shares_memory(a, w) for a in given for w in weights) else [])
            return pack(*args, **kwargs)

        return count

    try:
        for name, pack in before.items():
            setattr(_kernels, name, counted(name, pack))
        yield packed
    finally:
        for name, pack in before.items():
            setattr(_kernels, name, pack)


def packs_once(case):
    """A call has one record, which the next pass finds again; weights are packed once while they stay as they
    are, however often the layer is called."""
    layer = case.layer("float32")
    x, call = case.inputs(dtype="float32")
    x, mask = layer.as_input(x), call.get("mask")
    _, count = _first_output(layer, x, mask)

    def packings(calls, passes):
        """How often each of so many passes packed, and the records of each pass."""
        inputs, tape = [SymbolicTensor() for _ in range(calls)], Tape(version="first")
        graph = Graph(inputs, [Node(layer, [one], count).outputs[0] for one in inputs])
        numbers, records = [], []
        for version in passes:
            tape.rewind()
            tape.version = version
            record = tape.push(layer)
            with counted_packings(layer) as packed, kernel_arithmetic():
                graph.forward([x] * calls, [mask] * calls, record, tape)
            numbers.append(len(packed))
            records.append([[id(one) for one in inner.records] for inner in record.tapes])
        return numbers, records

    (once,), _ = packings(1, ["first"])
    numbers, records = packings(3, ["first", "first", "second", None, None])
    assert numbers == [once, 0, once, once, once], "packings in passes with weights as before, and others"
    assert all(same == records[0] for same in records), "records must be reused"
    assert [len(calls) for calls in records[0]] == [len(records[0][0])] * 3
    assert len({one for calls in records[0] for one in calls}) == sum(map(len, records[0]))


class _Reader(Identity):
    """Notes the mask of what it reads."""

    def forward(self, x, tape, training=False, mask=None):
        self.mask = mask
        return super().forward(x, tape, training, mask)


def masks_belong_to_tensors(case):
    """In a graph the mask of an output is what `compute_mask` says, computed once, for all who read it; and
    nobody writes to the mask of an input."""
    layer = case.layer("float32")
    x, call = case.inputs(dtype="float32")
    x, mask = layer.as_input(x), call.get("mask")
    want = layer.compute_mask(x, mask)
    want, computed, passed = want[0] if isinstance(want, list) else want, [], layer.passed_mask
    _, count = _first_output(layer, x, mask)
    layer.passed_mask = lambda *args: computed.append(1) or passed(*args)
    readers, after = [_Reader(), _Reader()], _Reader()
    given, tape = SymbolicTensor(), Tape()
    y = Node(layer, [given], count).outputs[0]
    graph = Graph([given], [Node(one, [y]).outputs[0] for one in readers] + [Node(after, [given]).outputs[0]])
    if mask is not None:
        before, mask.flags.writeable = mask.copy(), False
    with kernel_arithmetic():
        graph.forward([x], [mask], tape.push(layer), tape)
    assert len(computed) <= 1 and readers[0].mask is readers[1].mask
    assert after.mask is mask and (mask is None or np.array_equal(mask, before))
    got = readers[0].mask
    assert (got is None) == (want is None)
    if want is not None:
        assert got.dtype == bool and np.array_equal(got, want), "the mask of the output"


def steps_stand_alone(case):
    """A layer that says `per_step` makes of the steps of a batch, in one long row, what it makes of the
    batch."""
    layer = case.layer("float32")
    if not case.timed or case.mask or case.training or not is_per_step(layer):
        return
    x, call = case.inputs(dtype="float32")
    dys = [dy.astype("float32") for dy in random_like(case.rng(), forward(layer, x, call))]
    whole = forward_backward(layer, x, call, dys)
    joined = forward_backward(layer, _joined(x), call, map(_joined, dys))
    keys = [key for key in whole if key.startswith(("y", "dx"))]
    assert_same_bits({key: joined[key] for key in keys}, {key: _joined(whole[key]) for key in keys}, "joined")


def _joined(a):
    """(B, T, ...) as one row of B T steps."""
    return a.reshape(1, -1, *a.shape[2:])


def borrows_memory(case):
    """A second step on the same tape gives the same bits, and takes no new memory."""
    layer = case.layer("float32")
    x, call = case.inputs(dtype="float32")
    x = layer.as_input(x)
    tape = Tape()
    seen = []
    for _ in range(3):
        tape.rewind()
        y = layer.forward(x, tape, **call)
        seen.append(([a.copy() for a in as_tuple(y)], [id(r) for r in tape.records]))
        dys = [np.ones_like(a) for a in as_tuple(y)]
        layer.backward(dys if isinstance(y, (tuple, list)) else dys[0], tape)
    assert seen[1][1] == seen[2][1], "records must be reused"
    for a, b in zip(seen[0][0], seen[2][0]):
        assert np.array_equal(a, b)


def _trained(model, x, y, lengths, size):
    """(weights, history, outputs) of an epoch in four shards by so many processes."""
    twins = [copy.deepcopy(model) for _ in range(size)]

    def process(engine):
        twin = twins[engine.rank]
        with random.scope(3), current.within(distribution.DataParallel(shards=4), engine):
            history = twin.fit(x, y, 6, verbose=0, lengths=lengths).history
            outputs = twin.predict(x, verbose=0, lengths=lengths)
        return [w.numpy().tobytes() for w in twin.weights], history, outputs.tobytes()

    first, *others = in_process.run(size, process)
    assert all(other == first for other in others), "processes differ"
    return first


def same_bits_in_any_processes(case):
    """Weights, logs and outputs do not depend on how many processes train.

    A layer that they cannot share is named.
    """
    layer = case.layer()
    x, call = case.inputs(B=10, dtype="float32", size=4)
    inputs = tdfast.Input(x.shape[1:], dtype=str(x.dtype))
    made = layer(inputs)
    model = tdfast.Model(inputs, made[0] if isinstance(made, (list, tuple)) else made)
    model.compile("sgd", "mse")
    shape = model.predict(x, verbose=0).shape
    y = case.rng().normal(size=shape)
    lengths = call["mask"].sum(1) if "mask" in call and x.ndim > 2 else None
    coupled = layer.batch_coupled and not any(isinstance(one, BatchNormalization) for one in layer.walk())
    if coupled or getattr(layer, "stateful", False):
        with pytest.raises(ValueError, match="DataParallel cuts into shards"):
            _trained(model, x, y, lengths, 1)
        return
    assert _trained(model, x, y, lengths, 3) == _trained(model, x, y, lengths, 1)


LAWS = (
    equals_reference,
    central_differences,
    float32_gradients,
    same_bits_on_every_isa,
    same_bits_on_any_threads,
    batch_is_its_rows,
    inputs_are_only_read,
    round_trips,
    copies,
    saturation_and_nan,
    any_size,
    borrows_memory,
    graph_rules,
    packs_once,
    masks_belong_to_tensors,
    steps_stand_alone,
    prepared,
    same_bits_in_any_processes,
)


def checks(cases):
    """Each law with each case, for pytest to parametrize a test with."""
    return [pytest.param(law, case, id=f"{case.name}-{law.__name__}") for case in cases for law in case.laws
            or LAWS]
