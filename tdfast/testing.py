"""Checks for layers: `check_layer` for one of your own, and the parts that it is made of.

A wrong derivative trains, slowly and to a worse end, and says nothing. Numeric derivatives find it.
"""

from __future__ import annotations

import contextlib
import json
from typing import TYPE_CHECKING, Any

import numpy as np

from tdfast.compat.calling import spelled
from tdfast.config import float32_matmul_precision, floatx, set_floatx
from tdfast.engine.arithmetic import kernel_arithmetic
from tdfast.engine.graph import Graph, Node
from tdfast.engine.serialization import deserialize_layer, serialize_layer
from tdfast.engine.tape import Tape
from tdfast.engine.tensor import SymbolicTensor
from tdfast.random import SeedGenerator
from tdfast.training.packing import is_per_step

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from numpy.typing import DTypeLike

    from tdfast.engine.layer import Layer
    from tdfast.engine.types import Array, Config, Masks, Shapes, Sizes

ANY_SIZE = (1, 2, 5)
"""What None in an input_shape stands for, one after the other."""

FLOAT32_ERROR = {"highest": 1e-4, "high": 1e-3, "medium": 5e-2}
"""How far a layer in float32 may be from itself in float64, by the precision of products."""


@spelled
def check_layer(layer: Layer, input_shape: Shapes, mask: Masks = False, training: bool = False,
                inputs: Any = None, seed: int = 0, bound: float = 1e-6) -> None:
    """Check that a layer does what tdfast asks of one; see docs/layers.md.

    Its derivatives, of the input and of every weight, are compared with central differences in float64. Its
    config must make it again. It must not write to its input, nor depend on earlier calls, on the memory of
    the tape, or (unless it is `batch_coupled` or random) on the rest of the batch. Called twice in one pass,
    or with an output that several calls read, its gradients must add up, and None is a gradient of zeros. It
    takes read-only, strided, float64 and (unless it computes in `call`) integer arrays, a read-only mask and
    an empty batch. Where it says `per_step` or `rowwise`, each step must stand alone. The layer given is not
    changed: twins made from its config are checked.

    Args:
        layer: the layer; its numbers of `tdfast.random.SeedGenerator` attributes are repeated in each call.
        input_shape: of one sample; None for an axis of any size, for which 1, 2 and 5 are tried.
        mask: True gives random masks of shape (batch, first axis), or a function (rng, batch, shape) -> mask.
        training: what `forward` is told.
        inputs: a function (rng, shape) -> array of what the layer takes; normal numbers when None. Keep them
            from places where the layer has a kink.
        seed: of the inputs, the weights and the mask.
        bound: how far derivatives may be from differences, relative to the largest (at least 1).

    Raises:
        AssertionError: saying what differs, and where.

    >>> from tdfast.layers import Dense
    >>> check_layer(Dense(3, activation="tanh"), (None, 4))
    """
    if not all(n is None or hasattr(n, "__index__") for n in input_shape):
        raise ValueError(
            "check_layer takes layers of one input: input_shape must be the shape of one sample, such as "
            f"(5, 3) or (None, 3), got {input_shape!r}."
        )
    for size in ANY_SIZE if None in input_shape else (None,):
        shape = tuple(size if n is None else n for n in input_shape)
        trial = _Trial(layer, tuple(input_shape), shape, mask, training, inputs, seed)
        for check in CHECKS:
            check(trial, bound)


# ---------------------------------------------------------------- parts, for tests of any kind
def as_tuple(y: Any) -> tuple[Any, ...]:
    """What a layer returned, as a tuple of arrays.

    >>> as_tuple([1, 2])
    (1, 2)
    """
    return tuple(y) if isinstance(y, (tuple, list)) else (y,)


def forward(layer: Layer, x: Any, call: dict[str, Any]) -> list[Any]:
    """The outputs of a built layer, copied: the tape lends its memory for the next pass.

    Args:
        layer: the layer.
        x: its input, batch first.
        call: a dict of further arguments of ``forward``, such as {"training": True}.

    >>> from tdfast.layers import ReLU
    >>> forward(ReLU(), [[-1.0, 2.0]], {})[0].tolist()
    [[0.0, 2.0]]
    """
    return [y.copy() for y in as_tuple(layer.forward(layer.as_input(x), Tape(), **call))]


def forward_backward(layer: Layer, x: Any, call: dict[str, Any], dys: Sequence[Any]) -> dict[str, Any]:
    """All that a training step computes: a dict of outputs and gradients by name.

    Args:
        layer: a built layer.
        x: its input, batch first.
        call: a dict of further arguments of ``forward``.
        dys: the gradient with respect to each output.

    Returns:
        A dict with y0, dx, and d + name for each weight.

    >>> from tdfast.layers import ReLU
    >>> forward_backward(ReLU(), [[-1.0, 2.0]], {}, [[[5.0, 5.0]]])["dx"].tolist()
    [[0.0, 5.0]]
    """
    tape = Tape()
    y = layer.forward(layer.as_input(x), tape, **call)
    out = {f"y{i}": a.copy() for i, a in enumerate(as_tuple(y))}
    dys = [np.array(dy, dtype=layer.dtype) for dy in dys]
    dx = as_tuple(layer.backward(dys if isinstance(y, (tuple, list)) else dys[0], tape))
    names = ["x"] + [f"state{i}" for i in range(len(dx) - 1)]
    given = [x, *call.get("initial_state", [])]
    out.update({f"d{name}": _array(d, a, layer) for name, d, a in zip(names, dx, given)})
    out.update({f"d{w.name}#{i}": w.grad.copy() for i, w in enumerate(layer.trainable_weights)})
    assert tape.position == 0, "backward must pop what forward pushed"
    return out


def _array(gradient: Any, of: Any, layer: Layer) -> Array:
    """A copy of a gradient of an array; None stands for zeros."""
    return np.zeros(np.shape(of), layer.dtype) if gradient is None else np.array(gradient)


def graph_gradients(layer: Layer, xs: Any, masks: Any, outputs: Any, gradients: Sequence[Any],
                    training: bool = False) -> tuple[Any, ...]:
    """The gradients of the inputs of a graph around a layer, and copies of those of the layer's weights.

    Args:
        layer: a built layer, which the graph may call several times.
        xs, masks: arrays, one for each input; None for no mask.
        outputs: a function of one `tdfast.engine.tensor.SymbolicTensor` for each input, which gives a list.
        gradients: one for each output; None is a zero gradient.
        training: as in `Layer.forward`.

    >>> from tdfast.layers import Dense
    >>> dense = Dense(1, use_bias=False)
    >>> dense.build((None, 1))
    >>> def twice(x):
    ...     return [Node(dense, [x]).outputs[0], Node(dense, [x]).outputs[0]]
    >>> one = np.ones((1, 1), "float32")
    >>> graph_gradients(dense, [one], [None], twice, [one, one])[1]
    [array([[2.]], dtype=float32)]
    """
    tape, tensors = Tape(), [SymbolicTensor() for _ in xs]
    graph = Graph(tensors, outputs(*tensors))
    record = tape.push(layer)
    for weight in layer.weights:
        weight.grad[...] = 7                    # what an earlier step left
    with kernel_arithmetic():
        graph.forward(xs, masks, record, tape, training)
        dxs = graph.backward([g if g is None else g.copy() for g in gradients], record)
    return dxs, [w.grad.copy() for w in layer.trainable_weights]


def random_like(rng: Any, arrays: Sequence[Any]) -> list[Any]:
    """Normal numbers in the shapes of some arrays.

    >>> [a.shape for a in random_like(np.random.default_rng(0), [[1, 2], 3])]
    [(2,), ()]
    """
    return [rng.normal(size=np.shape(a)) for a in arrays]


def differences(f: Callable[..., Any], array: Array, step: float = 1e-5) -> Array:
    """The derivative of f() with respect to every element of the array, which f reads.

    >>> x = np.array([1.0, 2.0])
    >>> differences(lambda: float(np.sum(x**2)), x).round(6).tolist()
    [2.0, 4.0]
    """
    out = np.zeros(array.shape)
    for index in np.ndindex(*array.shape):
        at = array[index]
        array[index] = at + step
        up = f()
        array[index] = at - step
        down = f()
        array[index] = at
        out[index] = (up - down) / (2 * step)
    return out


def assert_near(got: Array, want: Array, bound: float, what: str) -> None:
    """Within bound of the largest magnitude (at least 1); else an AssertionError that says where.

    >>> assert_near([1.0, 2.0], [1.0, 2.5], 0.01, "result")
    Traceback (most recent call last):
    AssertionError: result: off by 5.00e-01, allowed 2.50e-02, at index (1,): 2 in place of 2.5
    """
    got, want = np.asarray(got, "float64"), np.asarray(want, "float64")
    assert got.shape == want.shape, f"{what}: shape {got.shape}, expected {want.shape}"
    if got.size:
        off, scale = np.abs(got - want), max(1.0, np.abs(want).max())
        worst = np.unravel_index(np.argmax(np.where(np.isnan(off), np.inf, off)), off.shape)
        where = f" at index {tuple(int(i) for i in worst)}: {got[worst]:g} in place of {want[worst]:g}"
        assert off.max() <= bound * scale, (
            f"{what}: off by {off.max():.2e}, allowed {bound * scale:.2e},{where}"
        )


def without_shapes(config: Config) -> Any:
    """A config as JSON would give it back, without the shapes that only a built layer has, inside and out.

    >>> without_shapes({"units": (3, 4), "build_config": {"input_shape": (None, 3)}})
    {'units': [3, 4]}
    """
    if isinstance(config, dict):
        return {k: without_shapes(v) for k, v in config.items() if k != "build_config"}
    if isinstance(config, (list, tuple)):
        return [without_shapes(v) for v in config]
    return config.tolist() if hasattr(config, "tolist") else config


# ---------------------------------------------------------------- the checks
@contextlib.contextmanager
def _default_dtype(dtype: Any) -> Iterator[None]:
    before = floatx()
    set_floatx(str(dtype))
    try:
        yield
    finally:
        set_floatx(before)


class _Trial:
    """A layer with a batch for it: makes twins, and runs them."""

    def __init__(self, layer: Layer, open_shape: Sequence[Any], shape: Any, mask: Masks, training: bool,
                 inputs: Any, seed: int) -> None:
        rng = np.random.default_rng(seed)
        self.layer, self.open_shape, self.shape = layer, open_shape, shape
        self.who = f"Layer '{layer.name}' ({type(layer).__name__}) on samples of shape {shape}"
        x = rng.normal(size=(4, *shape)) if inputs is None else inputs(rng, (4, *shape))
        self.x = np.asarray(x)
        self.differentiable = self.x.dtype.kind == "f"
        self.call: dict[str, Any] = {"training": training}
        if mask is not False and mask is not None:
            self.call["mask"] = np.asarray(mask(rng, 4, shape) if callable(mask)
                                           else rng.random((4, shape[0])) < 0.6, bool)
        self.weights: Any = None
        model = self.twin("float64")
        self.weights = [w.value + rng.normal(size=w.shape) * 0.5 if w.trainable else w.numpy()
                        for w in model.weights]
        if layer.built:
            self.weights = layer.get_weights()
        self.random = training and bool(_seeds(model))
        self.dys = random_like(rng, forward(self.twin("float64"), self.x.copy(), self.call))

    def say(self, what: str) -> str:
        return f"{self.who}: {what}"

    def require(self, fine: bool, what: str) -> None:
        assert fine, self.say(what)

    def twin(self, dtype: DTypeLike) -> Any:
        """A new layer from the config, with the trial's weights and untouched seeds."""
        config = _of_dtype(self.layer.get_config(), dtype)
        try:
            with _default_dtype(dtype):         # of the layers that its __init__ makes
                twin = type(self.layer).from_config(config)
        except Exception as error:
            raise AssertionError(
                self.say(f"from_config cannot read what get_config wrote, {config}: {error}")
            ) from error
        for new, old in zip(_seeds(twin), _seeds(self.layer)):
            new.state[...] = old.state
        twin.ensure_built((None, *self.open_shape) if _takes(twin, self.open_shape) else (None, *self.shape))
        if self.weights is not None:
            twin.set_weights(self.weights)
        return twin

    def step(self, dtype: DTypeLike = "float64", x: Any = None, call: dict[str, Any] | None = None,
             dys: Sequence[Any] | None = None, layer: Layer | None = None) -> Any:
        """Outputs and gradients of a twin (or of ``layer``) by name."""
        layer = layer or self.twin(dtype)
        _clear(layer)
        return forward_backward(layer, self.x if x is None else x, call or self.call, dys or self.dys)

    def rows(self, rows: slice) -> dict[str, Any]:
        """The arguments of `step` for some rows of the batch."""
        call: Any = {k: v[rows] if k == "mask" else v for k, v in self.call.items()}
        return {"x": self.x[rows], "call": call, "dys": [d[rows] for d in self.dys]}


def _clear(layer: Layer) -> None:
    """Gradients of 0: whether backward overwrites them has a check of its own."""
    for w in layer.weights:
        w.grad[...] = 0


def _seeds(layer: Layer) -> list[SeedGenerator]:
    """The SeedGenerators of a layer and of those inside it."""
    return [v for v in vars(layer).values() if isinstance(v, SeedGenerator)] + [
        seed for inner in layer.sublayers() for seed in _seeds(inner)]


def _of_dtype(config: Config, dtype: DTypeLike) -> Any:
    """A config with another dtype for the layer and for those inside it."""
    if isinstance(config, dict):
        return {k: dtype if k == "dtype" and v in ("float32", "float64") else _of_dtype(v, dtype) for k,
                v in config.items()}
    return [_of_dtype(v, dtype) for v in config] if isinstance(config, list) else config


def _takes(layer: Layer, shape: Sizes) -> bool:
    """Whether a layer can be built for an open shape."""
    try:
        layer.check_input_shape((None, *shape))
        layer.compute_output_shape((None, *shape))
    except (ValueError, TypeError):
        return False
    return True


def _config(trial: _Trial, bound: float) -> None:
    """The config makes the layer again, in plain values and through JSON."""
    layer = trial.twin(trial.layer.dtype)
    config = layer.get_config()
    try:
        text = json.dumps(serialize_layer(layer))
    except TypeError as error:
        raise AssertionError(
            trial.say(f"get_config holds what JSON cannot: {error}. Give numbers, strings, lists and dicts.")
        ) from error
    twin = deserialize_layer(json.loads(text), custom_objects={type(layer).__name__: type(layer)})
    trial.require(type(twin) is type(layer), f"its config makes a {type(twin).__name__}")
    for name, other in (("from_config", type(layer).from_config(config)), ("a file", twin)):
        got = other.get_config()
        differing = [k for k in {**config, **got}
                     if json.dumps(without_shapes(config.get(k))) != json.dumps(without_shapes(got.get(k)))]
        trial.require(not differing, f"get_config after {name} differs in " + ", ".join(
            f"{k}: {got.get(k)!r} in place of {config.get(k)!r}" for k in differing))
        other.ensure_built((None, *trial.shape))
        shapes = [(w.name, w.shape) for w in other.weights], [(w.name, w.shape) for w in layer.weights]
        trial.require(shapes[0] == shapes[1], f"weights after {name} are {shapes[0]}, not {shapes[1]}")


def _shapes(trial: _Trial, bound: float) -> None:
    """Shapes and dtypes of the outputs are those declared, and float32 gives about what float64 does."""
    for dtype in ("float64", "float32"):
        layer = trial.twin(dtype)
        declared = layer.compute_output_shape((None, *trial.shape))
        declared = declared if isinstance(declared, list) else [declared]
        got = forward(layer, trial.x, trial.call)
        for y, want in zip(got, declared):
            trial.require(y.dtype == dtype, f"the output is {y.dtype}, but the layer's dtype is {dtype}")
            trial.require(y.shape[1:] == tuple(want)[1:] and len(y) == len(trial.x),
                          f"the output has shape {y.shape}, compute_output_shape says {tuple(want)}")
        mask = layer.compute_mask(layer.as_input(trial.x), trial.call.get("mask"))
        fits = mask is None or isinstance(mask, list) or (mask.dtype == bool
                                                          and mask.shape == got[0].shape[: mask.ndim])
        trial.require(
            fits, "compute_mask must give None, or booleans in the shape of the output's first axes"
        )
        if trial.random:
            continue
        for g, w in zip(got, forward(trial.twin("float64"), trial.x, trial.call)):
            assert_near(g, w, FLOAT32_ERROR[float32_matmul_precision()],
                        trial.say(f"the output in {dtype} against float64"))
        quiet = trial.twin(dtype).forward(trial.twin(dtype).as_input(trial.x), Tape(keep=False), **trial.call)
        for g, w in zip(got, as_tuple(quiet)):
            trial.require(np.array_equal(g, w, equal_nan=True),
                          "the output differs with a tape that keeps nothing (tape.keep False)")


def _differentiates(trial: _Trial, bound: float) -> None:
    """Backward gives the derivatives of sum(y dy)."""
    got = trial.step()
    layer = trial.twin("float64")
    x = np.array(trial.x, np.float64 if trial.differentiable else None)
    seeds = [(s, s.state.copy()) for s in _seeds(layer)]

    def loss() -> float:
        for generator, state in seeds:
            generator.state[...] = state
        return sum(float(np.sum(y * dy)) for y, dy in zip(forward(layer, x, trial.call), trial.dys))

    arrays = {f"d{w.name}#{i}": (f"weight '{w.name}'", w.value) for i,
              w in enumerate(layer.trainable_weights)}
    if trial.differentiable:
        arrays["dx"] = "the input", x
        trial.require(got["dx"].shape == x.shape,
                      f"backward returned shape {got['dx'].shape} for an input of shape {x.shape}")
    for key, (name, array) in arrays.items():
        assert_near(got[key], differences(loss, array), bound,
                    trial.say(f"the gradient of {name} against central differences"))


def _overwrites_gradients(trial: _Trial, bound: float) -> None:
    """Backward overwrites the gradients, whatever stood there, with need_dx=False too."""
    want = trial.step()
    for need_dx in (True, False):
        layer = trial.twin("float64")
        for w in layer.weights:
            w.grad[...] = 7.0
        tape = Tape()
        y = layer.forward(layer.as_input(trial.x), tape, **trial.call)
        dys = [np.array(dy) for dy in trial.dys]
        layer.backward(dys if isinstance(y, (tuple, list)) else dys[0], tape, need_dx)
        trial.require(tape.position == 0, f"backward(need_dx={need_dx}) must pop what forward pushed")
        for i, w in enumerate(layer.trainable_weights):
            assert_near(
                w.grad,
                want[f"d{w.name}#{i}"],
                1e-12,
                trial.say(
                    f"backward(need_dx={need_dx}) must overwrite the gradient of '{w.name}', not add to it "
                    "or leave it"
                ),
            )


def _keeps_nothing(trial: _Trial, bound: float) -> None:
    """Calls do not know of one another: all that one leaves for its backward is on its tape."""
    if trial.random:
        return
    want, layer = trial.step(), trial.twin("float64")
    for _ in range(2):
        _same(trial, trial.step(layer=layer), want,
              "a second call of the same layer gives other numbers: it keeps a state")
    first, second = Tape(), Tape()
    other = trial.x[::-1].copy()
    y = [np.array(a) for a in as_tuple(layer.forward(layer.as_input(trial.x), first, **trial.call))]
    call = {k: v[::-1].copy() if k == "mask" else v for k, v in trial.call.items()}
    layer.forward(layer.as_input(other), second, **call)
    dys = [np.array(dy) for dy in trial.dys]
    _clear(layer)
    dx = as_tuple(layer.backward(dys if len(y) > 1 else dys[0], first))
    message = (
        "backward after another call gives other gradients: what it needs must be on the tape, not on the "
        "layer"
    )
    got = {"dx": _array(dx[0], trial.x, layer), **{f"d{w.name}#{i}": w.grad.copy() for i,
                                     w in enumerate(layer.trainable_weights)}}
    _same(trial, got, {k: want[k] for k in got}, message)
    tape = Tape()
    for x, c in ((trial.x, trial.call), (other, call), (trial.x, trial.call)):
        tape.rewind()
        again = [np.array(a) for a in as_tuple(layer.forward(layer.as_input(x), tape, **c))]
    for a, b in zip(again, y):
        trial.require(np.array_equal(a, b, equal_nan=True),
                      "a tape used before gives another output: a buffer was read before it was filled")


def _adds_up_in_a_graph(trial: _Trial, bound: float) -> None:
    """Called twice in one pass its gradients add, and an output that several calls read gets the sum of
    theirs."""
    if trial.random:
        return
    layer, x = trial.twin("float64"), trial.twin("float64").as_input(trial.x)
    back = np.ascontiguousarray(x[::-1])
    mask = trial.call.get("mask")
    masks = [mask, None if mask is None else mask[::-1].copy()]
    training = trial.call["training"]
    count, g = len(trial.dys), trial.dys[0]
    h = np.ascontiguousarray(g[::-1])

    def called(x: Any) -> SymbolicTensor:
        return Node(layer, [x], count).outputs[0]

    def passes(xs: Any, masks: Any, outputs: Any, gradients: Sequence[Any]) -> tuple[Any, ...]:
        dxs, grads = graph_gradients(layer, xs, masks, outputs, gradients, training)
        return [dx if dx is None else dx.copy() for dx in dxs], grads

    (da,), at_a = passes([x], masks[:1], lambda a: [called(a)], [g])
    (db,), at_b = passes([back], masks[1:], lambda b: [called(b)], [h])
    dxs, grads = passes([x, back], masks, lambda a, b: [called(a), called(b)], [g, h])
    message = "called twice in one pass, its gradients must be the sums of those of the two calls"
    for got, want in zip([*dxs, *grads], [da, db, *(p + q for p, q in zip(at_a, at_b))]):
        if want is not None:
            assert_near(got, want, 1e-9, trial.say(message))

    def read_twice(a: SymbolicTensor) -> list[Any]:
        y = called(a)
        return [y, y]

    (dx,), grads = passes([x], masks[:1], read_twice, [g / 4, g * 0.75])
    for got, want in zip([dx, *grads], [da, *at_a]):
        if want is not None:
            assert_near(got, want, 1e-9,
                        trial.say("an output that two calls read must get the sum of their gradients"))
    (dx,), grads = passes([x], masks[:1], lambda a: [called(a), called(a)], [g, None])
    for got, want in zip([dx, *grads], [da, *at_a]):
        if want is not None:
            assert_near(got, want, 1e-9, trial.say("a call to which no gradient comes must add nothing"))


def _only_reads(trial: _Trial, bound: float) -> None:
    """Read-only, strided, float64 and integer inputs do, and none is written to."""
    layer = trial.twin("float32")
    seeds = [(s, s.state.copy()) for s in _seeds(layer)]
    whole = np.round(trial.x * 4) if trial.differentiable else trial.x
    wide = np.zeros((*whole.shape[:-1], 2 * whole.shape[-1]), whole.dtype)
    wide[..., ::2] = whole
    forms = {"read-only": np.array(whole, np.float32), "strided": wide[..., ::2],
             "float64": whole.astype(np.float64),
             "int64": whole.astype(np.int64), "list": whole.tolist()}
    if layer.computes_in_call:          # it gets whole numbers as they are
        del forms["int64"], forms["list"]
    forms["read-only"].flags.writeable = False
    want = None
    for form, x in forms.items():
        for generator, state in seeds:
            generator.state[...] = state
        before, given = np.array(x), layer.as_input(x)
        held = given.copy()
        try:
            got = trial.step(x=given, layer=layer)
        except ValueError as error:
            raise AssertionError(trial.say(f"a {form} input fails: {error}")) from error
        trial.require(np.array_equal(held, given) and np.array_equal(before, np.array(x)),
                      f"a {form} input was written to")
        want = want or got
        _same(trial, got, want, f"a {form} input gives other numbers than a read-only float32 one")
    mask = trial.call.get("mask")
    if mask is not None:
        kept, mask = mask.copy(), mask.copy()
        mask.flags.writeable = False
        try:
            trial.step(call={**trial.call, "mask": mask})
        except ValueError as error:
            raise AssertionError(trial.say(f"a read-only mask fails: {error}")) from error
        trial.require(np.array_equal(mask, kept), "the mask was written to: it is its tensor's")


def _rows(trial: _Trial, bound: float) -> None:
    """A batch gives each row the bits it has alone."""
    if trial.random or trial.layer.batch_coupled:
        return
    whole = trial.step("float32")
    for rows in (slice(0, 1), slice(1, 4)):
        part = trial.step("float32", **trial.rows(rows))
        keys = [k for k in whole if k.startswith(("y", "dx"))]
        _same(
            trial,
            {k: part[k] for k in keys},
            {k: whole[k][rows] for k in keys},
            f"rows {rows.start} to {rows.stop - 1} have other results in a batch of their own (if that is "
            "meant: batch_coupled = True)",
        )


def _steps(trial: _Trial, bound: float) -> None:
    """A layer that says `per_step` or `rowwise` makes of steps side by side, and of steps alone, the same."""
    if trial.random or len(trial.shape) < 2:
        return
    layer, (B, T, *rest) = trial.twin("float64"), trial.x.shape
    said = {"per_step": (is_per_step(layer), (1, B * T)), "rowwise": (layer.rowwise, (B * T, 1))}
    call = {"training": trial.call["training"]}
    for name, (holds, axes) in said.items():
        if holds:
            apart = forward(layer, trial.x.reshape(*axes, *rest), call)
            for y, want in zip(apart, forward(layer, trial.x, call)):
                assert_near(y.reshape(want.shape), want, 1e-9, trial.say(
                    f"{name} = True, but the output at a step depends on the other steps"))


def _empty(trial: _Trial, bound: float) -> None:
    """An empty batch has an empty result, and gradients of 0."""
    try:
        got = trial.step(**trial.rows(slice(0, 0)))
    except Exception as error:
        raise AssertionError(trial.say(f"an empty batch fails: {type(error).__name__}: {error}")) from error
    for key, value in got.items():
        trial.require(len(value) == 0 if "#" not in key else not value.any(),
                      f"an empty batch gives {key} = {value}")


def _same(trial: _Trial, got: Any, want: Any, message: str) -> None:
    for key, b in want.items():
        a = got[key]
        fine = a.shape == b.shape and np.array_equal(a, b, equal_nan=True)
        where = (
            "" if fine or a.shape != b.shape else f" at index {tuple(int(i) for i in np.argwhere(a != b)[0])}"
        )
        trial.require(fine, f"{message} ({_called(key)} differs{where})")


def _called(key: Any) -> str:
    """'dkernel#0' as a reader would say it."""
    return "the output" if key.startswith("y") else f"the gradient of '{key[1:].split('#')[0]}'"


CHECKS = (
    _config, _only_reads, _shapes, _keeps_nothing, _differentiates, _overwrites_gradients,
    _adds_up_in_a_graph, _rows, _steps, _empty,
)
"""What `check_layer` tries, in order."""
