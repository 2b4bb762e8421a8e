"""Streamer: a model that takes one time step at a time."""

from __future__ import annotations

import copy
import zlib
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy import empty  # a step takes so little time that looking up names counts

from tdfast import _kernels, config, runtime
from tdfast._kernels import alike
from tdfast.engine.arithmetic import kernel_arithmetic
from tdfast.engine.arrays import as_array
from tdfast.engine.network import Network
from tdfast.engine.tape import Tape
from tdfast.layers import Embedding
from tdfast.models.streaming.rules import rule_of
from tdfast.training import adapters

if TYPE_CHECKING:
    from numpy.typing import DTypeLike

    from tdfast.engine.types import Sizes


class Streamer:
    """A model with its state, for serving: ``y = s.step(x)`` is one time step of each sequence.

    The outputs have the same bits as those of `predict` over the whole sequence. A step of recurrent, Dense,
    Activation and Dropout layers, also inside TimeDistributed, is one call into compiled code and allocates
    nothing but its result. The other layers that treat each step by itself run in NumPy between such calls.
    Each streamer has its own state and memory, so several may run at once, in several threads; one streamer
    belongs to one thread at a time.

    Args:
        model: a built model of such layers, on inputs (batch, time, ...), or (batch, time) of ids where an
            Embedding reads them. It may have branches, several inputs and several outputs. Its weights are
            copied: call `refresh` after more training.
        batch_size: how many sequences run side by side.
        allow_nan: True lets NaN and infinity in; else `step` refuses them as `predict` does
            (see `tdfast.config.set_check_finite`).

    Raises:
        ValueError: naming the layer that cannot work one step at a time.

    A streamer can be copied and pickled, with its model and its state.

    >>> import tdfast
    >>> from tdfast.layers import LSTM, Dense, TimeDistributed
    >>> lstm = LSTM(4, return_sequences=True, input_shape=(None, 3))
    >>> model = tdfast.Sequential([lstm, TimeDistributed(Dense(2))])
    >>> s = model.streamer()
    >>> x = np.ones((1, 5, 3), "float32")
    >>> steps = [s.step(x[:, t]) for t in range(5)]
    >>> bool(np.array_equal(np.stack(steps, axis=1), model.predict(x, verbose=0)))
    True
    """

    def __init__(self, model: Any, batch_size: int = 1, allow_nan: bool = False) -> None:
        if not model.built:
            raise ValueError(
                f"Model '{model.name}' has no weights yet: call build(input_shape), or predict once, before "
                "streamer()."
            )
        if isinstance(batch_size, bool) or not hasattr(batch_size, "__index__") or int(batch_size) < 1:
            raise ValueError(
                f"streamer: batch_size must be a whole number of at least 1, got {batch_size!r}."
            )
        if not isinstance(allow_nan, (bool, np.bool_)):
            raise ValueError(f"streamer: allow_nan must be True or False, got {allow_nan!r}.")
        self._embeddings = [_embedding_of(model.graph, tensor) for tensor in model.graph.inputs]
        for shape, embedding in zip(model.input_shapes, self._embeddings):
            if None in shape[2:] or (len(shape) != 2 if embedding else len(shape) < 3):
                raise ValueError(
                    f"Model '{model.name}' takes inputs of shape {shape}, but to be streamed a model must "
                    "take (batch, time, features), with the number of features known, or ids of shape "
                    "(batch, time) into an Embedding."
                )
        self.model = model
        self.batch_size = int(batch_size)
        self.allow_nan = bool(allow_nan)
        self.dtype = np.dtype(model.dtype)
        self.refresh()

    def refresh(self) -> None:
        """Take the model's weights as they are now, and begin from zeros."""
        self._parts: list[Any] = []
        self._states: list[Any] = []
        self._made: dict[Any, Any] = {}
        self._busy = False
        self._xs = [
            np.zeros((self.batch_size,), np.int32) if ids else self.array((self.batch_size, *shape[2:]))
            for shape, ids in zip(self.model.input_shapes, self._embeddings)
        ]
        several = len(self._xs) > 1
        with self.model._lock.reading():
            self._weights = _checksum(self.model)
            y = rule_of(self.model)(self, self.model, self._xs if several else self._xs[0])
        self._made = {}
        if not self._parts:
            raise ValueError(f"Model '{self.model.name}' has no layer that computes anything in a stream.")
        self._ys = y if isinstance(y, list) else [y]
        self._x, self._y = self._xs[0], self._ys[0]
        self._shape, self._dtype = self._y.shape, self._y.dtype
        self._several = several or len(self._ys) > 1
        self._one = self._single_call()

    def _single_call(self) -> Any:
        """What runs the whole model in one call, from x to y; None where there is more to do."""
        part = self._parts[0]
        whole = len(self._parts) == 1 and not self._several and getattr(part, "is_chain", False)
        return part.kernels.step if whole and part.x is self._x and part.y is self._y else None

    # ---------------------------------------------------------------- for rules
    def array(self, shape: Sizes, dtype: DTypeLike | None = None) -> Any:
        """Aligned memory of the model's dtype, or another, that lives as long as the streamer."""
        return runtime.aligned(shape, dtype or self.dtype)

    def add_states(self, shape: Sizes, count: Any) -> Any:
        """``count`` arrays of zeros that are part of `state`."""
        made = [self.array(shape) for _ in range(count)]
        for a in made:
            a[...] = 0
        self._states.append(made)
        return made

    def once(self, layer: Any, what: str, make: Any) -> Any:
        """What ``make()`` gives for a layer under the name ``what``, made at the layer's first call."""
        if (id(layer), what) not in self._made:
            self._made[id(layer), what] = make()
        return self._made[id(layer), what]

    def kernel(self, name: str, *args: Any, x: Any, y: Any, **kwargs: Any) -> Any:
        """Add a kernel, by the name of a method of `_kernels.Stream`, that reads x and writes y; returns
        y."""
        if not self._parts or not isinstance(self._parts[-1], _Kernels) or self._parts[-1].is_full:
            self._parts.append(_Kernels(x))
        self._parts[-1].add(name, args, x, y, kwargs)
        return y

    def run(self, layer: Any, x: Any, timed: bool = True, options: Any = None,
            dtype: DTypeLike | None = None) -> Any:
        """Add a layer by a copy of it, whose ``forward`` runs at each step; returns the array for its output.

        Args:
            x: the array that holds its input, (batch, ...); a list of several.
            timed: whether the layer looks at (batch, time, ...), and so gets (batch, 1, ...).
            options: further arguments of `Layer.forward`, constant ones.
            dtype: of the output, where it is not the model's.
        """
        options, several = options or {}, isinstance(x, list)
        given = [a[:, None] if timed else a for a in (x if several else [x])]
        shapes = [a.shape for a in given]
        given, shapes = (given, shapes) if several else (given[0], shapes[0])
        shape = layer.compute_output_shape(
            shapes, **{name: options[name] for name in layer.shape_options if name in options}
        )
        y = self.array((shape[0], *shape[2:]) if timed else shape, dtype)
        if layer.weights:
            layer = self.once(layer, "copy", lambda: copy.deepcopy(layer))
        self._parts.append(_Forward(layer, given, options, y[:, None] if timed else y))
        return y

    # ---------------------------------------------------------------- for users
    def step(self, x: Any, out: Any = None) -> Any:
        """The outputs (batch, units) for one time step of inputs (batch, features).

        Args:
            x: one step of the model's input, of the streamer's batch size: (batch, features), or ids (batch,)
                where an Embedding reads them. For several inputs what `predict` takes: a list, or a dict.
            out: where the result goes, a list of arrays for several outputs; made when None.

        Returns:
            ``out``; for several outputs they stand as in what `predict` returns.

        Raises:
            ValueError: for another shape, an id out of range, or, without allow_nan, NaN and infinity. The
                state is then as before.
        """
        if self._several:
            return self._step_of_several(x, out)
        if not alike(x, self._x):
            x = self._as_step(x, 0, "")
        if out is None:
            out = empty(self._shape, self._dtype)
        elif not alike(out, self._y):
            _check_out(out, self._y)
        finite = not self.allow_nan and config.check_finite()
        if self._one is None:
            self._run_parts([x], [out], finite)
        elif not self._one(x, out, finite):
            adapters.check_finite(x, "streamer.step: x")
        return out

    def _step_of_several(self, x: Any, out: Any) -> Any:
        """`step` for several inputs or outputs."""
        xs = self.model.as_inputs(x, "streamer.step")
        names = [where for where, _ in self.model.converters()]
        xs = [self._as_step(x, i, where) for i, (x, where) in enumerate(zip(xs, names))]
        ys = [np.empty(y.shape, y.dtype) for y in self._ys] if out is None else out
        if not isinstance(ys, (list, tuple)) or len(ys) != len(self._ys):
            raise ValueError(
                f"streamer.step: out must be a list of {len(self._ys)} arrays, one for each output, got "
                f"{type(ys).__name__}" + (f" of {len(ys)}." if hasattr(ys, "__len__") else ".")
            )
        for array, y in zip(ys, self._ys):
            _check_out(array, y)
        self._run_parts(xs, ys, not self.allow_nan and config.check_finite())
        return self.model.pack_outputs(list(ys)) if out is None else out

    def _as_step(self, x: Any, i: Any, where: Any) -> Any:
        """x as an array for input i; ``where`` names the input in messages, where there are several."""
        want, embedding = self._xs[i], self._embeddings[i]
        who = f"streamer.step{where}"
        x = embedding.as_input(x, who) if embedding else as_array(x, want.dtype, who)
        if x.shape != want.shape:
            what = "(batch,) of ids" if embedding else "(batch, features)" if x.ndim == 2 else "(batch, ...)"
            raise ValueError(f"{who} expects x of shape {want.shape} {what}, got {x.shape}.")
        return x

    def _run_parts(self, xs: Any, ys: Any, finite: Any) -> None:
        if finite:
            for x, (where, _) in zip(xs, self.model.converters()):
                adapters.check_finite(x, f"streamer.step: x{where}")
        if self._busy:
            raise RuntimeError(
                "this stream is at work in another thread: give each thread a stream of its own"
            )
        self._busy = True
        try:
            for x, own in zip(xs, self._xs):
                np.copyto(own, x)
            with kernel_arithmetic():
                for part in self._parts:
                    part.run()
            for y, own in zip(ys, self._ys):
                y[...] = own
        finally:
            self._busy = False

    def reset(self, rows: Any = None) -> None:
        """Begin from zeros again.

        Args:
            rows: a row of the batch, or several, to begin anew there alone; None: all.

        Raises:
            ValueError: for a row that the batch does not have.

        >>> import tdfast
        >>> s = tdfast.Sequential([tdfast.layers.GRU(2, input_shape=(None, 3))]).streamer(batch_size=4)
        >>> y = s.step(np.ones((4, 3)))
        >>> s.reset(rows=[0, 2])
        >>> (s.state[0][0] == 0).all(axis=1).tolist()
        [True, False, True, False]
        """
        rows = slice(None) if rows is None else self._checked_rows(rows)
        for states in self._states:
            for a in states:
                a[rows] = 0

    def _checked_rows(self, rows: Any) -> Any:
        found = np.atleast_1d(np.asarray(rows))
        whole = found.dtype.kind in "iu" and found.ndim == 1
        if not whole or not ((found >= 0) & (found < self.batch_size)).all():
            raise ValueError(
                f"streamer.reset: rows must be whole numbers from 0 to {self.batch_size - 1}, the rows of "
                f"the batch, got {rows!r}."
            )
        return found

    @property
    def state(self) -> list[Any]:
        """Copies of the states, a list [h, c] or [h] for each recurrent layer; assign it to go back."""
        return [[a.copy() for a in states] for states in self._states]

    @state.setter
    def state(self, value: Any) -> None:
        shapes = [[a.shape for a in states] for states in self._states]
        given = [[np.shape(a) for a in states] for states in value]
        if given != shapes:
            raise ValueError(f"streamer.state must hold arrays of the shapes {shapes}, got {given}.")
        for states, new in zip(self._states, value):
            for a, b in zip(states, new):
                a[...] = b

    def __reduce__(self) -> Any:
        with self.model._lock.reading():
            if _checksum(self.model) != self._weights:
                raise ValueError(
                    f"A streamer of model '{self.model.name}' cannot be pickled or copied: the model's "
                    "weights are not those that it streams any more. Take them over first: state = s.state; "
                    "s.refresh(); s.state = state."
                )
            return _restored, (self.model, self.batch_size, self.allow_nan, self.state)

    def __repr__(self) -> str:
        ends = [
            str(arrays[0].shape if len(arrays) == 1 else [a.shape for a in arrays])
            for arrays in (self._xs, self._ys)
        ]
        return (
            f"<Streamer of model '{self.model.name}': step of {ends[0]} to {ends[1]}, {self.dtype.name}, "
            f"{len(self._states)} layers with states>"
        )


class _Kernels:
    """A piece of the model that is one call into compiled code.

    Attributes:
        x, y: what its first kernel reads and its last one writes.
        is_chain: whether each kernel reads what the one before writes.
    """

    def __init__(self, x: Any) -> None:
        self.kernels, self.x, self.y, self.is_chain = _kernels.Stream(), x, x, True

    @property
    def is_full(self) -> bool:
        """Whether it takes no more kernels."""
        return len(self.kernels) == _kernels.STREAM_MOST

    def add(self, name: str, args: Any, x: Any, y: Any, kwargs: Any) -> None:
        """Add a kernel: see `Streamer.kernel`."""
        getattr(self.kernels, name)(*args, x=x, y=y, **kwargs)
        self.is_chain = self.is_chain and x is self.y
        self.y = y

    def run(self) -> Any:
        """Once, on the arrays that they were given."""
        self.kernels.step(self.x, self.y)


class _Forward:
    """A piece of the model that is one layer's forward."""

    def __init__(self, layer: Any, x: Any, options: Any, y: Any) -> None:
        self.layer, self.x, self.options, self.y = layer, x, options, y
        self.tape = Tape(keep=False, version=object())

    def run(self) -> Any:
        """Once, from x to y."""
        self.tape.rewind()
        np.copyto(self.y, self.layer.forward(self.x, self.tape, **self.options))


def _check_out(out: Any, y: Any) -> None:
    if not isinstance(out, np.ndarray) or out.shape != y.shape or out.dtype != y.dtype:
        raise ValueError(
            f"streamer.step: out must be an array of shape {y.shape} and dtype {y.dtype}, got "
            f"{getattr(out, 'dtype', type(out).__name__)} of shape {np.shape(out)}."
        )


def _restored(model: Any, batch_size: int, allow_nan: Any, state: Any) -> Any:
    streamer = Streamer(model, batch_size, allow_nan)
    streamer.state = state
    return streamer


def _embedding_of(graph: Any, tensor: Any) -> Any:
    """The Embedding that reads an input of a graph, also within models: that which takes the fewest ids,
    where there are several; None where something else reads it."""
    readers = []
    for node in graph.nodes:
        for i, source in enumerate(node.needs):
            if source is tensor and isinstance(node.layer, Network):
                readers.append(_embedding_of(node.layer.graph, node.layer.graph.inputs[i]))
            elif source is tensor:
                readers.append(node.layer if isinstance(node.layer, Embedding) else None)
    return None if None in readers else min(readers, key=lambda layer: layer.input_dim, default=None)


def _checksum(model: Any) -> Any:
    value = 0
    for w in model.weights:
        value = zlib.crc32(np.ascontiguousarray(w.value), value)  # type: ignore[arg-type]
    return value
