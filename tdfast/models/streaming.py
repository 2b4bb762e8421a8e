"""Streamer: a model that takes one time step at a time."""

import copy
import zlib

import numpy as np

from tdfast import _kernels, config, runtime
from tdfast.engine.arithmetic import kernel_arithmetic
from tdfast.engine.arrays import as_array
from tdfast.engine.network import Network
from tdfast.engine.tape import Tape
from tdfast.layers import Activation, Embedding
from tdfast.training import adapters


class Streamer:
    """A model with its state, for serving: ``y = s.step(x)`` is one time step of each sequence.

    The outputs have the same bits as those of `predict` over the whole sequence. A step of recurrent, Dense,
    Activation and Dropout layers, also inside TimeDistributed, is one call into compiled code and allocates
    nothing but its result. The other layers that treat each step by itself run in NumPy between such calls.
    Each streamer has its own state and memory, so several may run at once, in several threads; one streamer
    belongs to one thread at a time.

    Args:
        model: a built `Sequential` of such layers, on inputs (batch, time, ...), or (batch, time) of ids
            where it begins with an Embedding. Its weights are copied: call `refresh` after more training.
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

    def __init__(self, model, batch_size=1, allow_nan=False):
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
        self._ids = _embedding_at_the_start(model)
        if len(model.inputs) != 1:
            raise ValueError(f"Model '{model.name}' cannot be streamed: {model.graph.why_no_chain()}.")
        step_shape = tuple(model.input_shape[2:])
        if None in step_shape or (len(model.input_shape) != 2 if self._ids else len(model.input_shape) < 3):
            raise ValueError(
                f"Model '{model.name}' takes inputs of shape {model.input_shape}, but to be streamed a model "
                "must take (batch, time, features), with the number of features known, or ids of shape "
                "(batch, time) into an Embedding."
            )
        self.model = model
        self.batch_size = int(batch_size)
        self.allow_nan = bool(allow_nan)
        self.dtype = np.dtype(model.dtype)
        self.refresh()

    def refresh(self):
        """Take the model's weights as they are now, and begin from zeros."""
        self._parts, self._states, self._busy = [], [], False
        shape = (self.batch_size, *self.model.input_shape[2:])
        self._x = np.zeros(shape, np.int32) if self._ids else self.array(shape)
        with self.model._lock.reading():
            self._weights = _checksum(self.model)
            y = self.model.add_to_stream(self, self._x)
        if y is self._x:
            raise ValueError(f"Model '{self.model.name}' has no layer that computes anything in a stream.")
        self._end_part(y)
        self._y = y
        self._shape = y.shape
        self._one = self._parts[0].run if len(self._parts) == 1 and not self._parts[0].layer else None

    # ---------------------------------------------------------------- for layers
    def array(self, shape):
        """Aligned memory of the model's dtype that lives as long as the streamer."""
        return runtime.aligned(shape, self.dtype)

    def add_states(self, shape, count):
        """``count`` arrays of zeros that are part of `state`."""
        made = [self.array(shape) for _ in range(count)]
        for a in made:
            a[...] = 0
        self._states.append(made)
        return made

    @property
    def kernels(self):
        """The `_kernels.Stream` to which a layer adds its kernels."""
        if not self._parts or self._parts[-1].y is not None:
            kernels = _kernels.Stream()
            self._parts.append(_Part(kernels.step, kernels=kernels))
        return self._parts[-1].kernels

    def run(self, layer, x, timed=True):
        """Add a layer by a copy of it, whose ``forward`` runs at each step; returns the array for its output.

        Args:
            x: the array that holds its input, (batch, ...).
            timed: whether the layer looks at (batch, time, ...), and so gets (batch, 1, ...).
        """
        shape = layer.compute_output_shape((len(x), 1, *x.shape[1:]) if timed else x.shape)
        y = self.array((shape[0], *shape[2:]) if timed else shape)
        layer = copy.deepcopy(layer) if layer.weights else layer
        tape = Tape(keep=False, version=object())

        def forward(x, out, finite=False):
            tape.rewind()
            made = layer.forward(x[:, None] if timed else x, tape)
            np.copyto(out, made[:, 0] if timed else made)
            return True

        self._end_part(x)
        self._parts.append(_Part(forward, layer, x, y))
        return y

    def apply(self, activation, x):
        """Add an activation that no kernel knows, as `run` does a layer."""
        return self.run(Activation(activation, dtype=self.dtype.name), x)

    def _end_part(self, y):
        """What was added last writes to ``y``."""
        if self._parts and self._parts[-1].y is None:
            self._parts[-1].y = y

    # ---------------------------------------------------------------- for users
    def step(self, x, out=None):
        """The outputs (batch, units) for one time step of inputs (batch, features).

        Args:
            x: one step of the model's input, of the streamer's batch size: (batch, features), or ids (batch,)
                where the model begins with an Embedding.
            out: where the result goes; made when None.

        Raises:
            ValueError: for another shape, an id out of range, or, without allow_nan, NaN and infinity. The
                state is then as before.
        """
        if self._ids:
            x = self._ids.as_input(x, "streamer.step")
        elif type(x) is not np.ndarray or x.dtype != self.dtype or not x.flags.c_contiguous:
            x = as_array(x, self.dtype, "streamer.step")
        if x.shape != self._x.shape:
            what = "(batch,) of ids" if self._ids else "(batch, features)" if x.ndim == 2 else "(batch, ...)"
            raise ValueError(f"streamer.step expects x of shape {self._x.shape} {what}, got {x.shape}.")
        if out is None:
            out = np.empty(self._shape, self.dtype)
        elif not isinstance(out, np.ndarray) or out.shape != self._shape or out.dtype != self.dtype:
            raise ValueError(
                f"streamer.step: out must be an array of shape {self._shape} and dtype {self.dtype}, got "
                f"{getattr(out, 'dtype', type(out).__name__)} of shape {np.shape(out)}."
            )
        finite = not self.allow_nan and config.check_finite()
        if self._one is None:
            self._run_parts(x, out, finite)
        elif not self._one(x, out, finite):
            adapters.check_finite(x, "streamer.step: x")
        return out

    def _run_parts(self, x, out, finite):
        if finite:
            adapters.check_finite(x, "streamer.step: x")
        if self._busy:
            raise RuntimeError(
                "this stream is at work in another thread: give each thread a stream of its own"
            )
        self._busy = True
        try:
            with kernel_arithmetic():
                for part in self._parts:
                    part.run(x, part.y)
                    x = part.y
            out[...] = self._y
        finally:
            self._busy = False

    def reset(self, rows=None):
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

    def _checked_rows(self, rows):
        found = np.atleast_1d(np.asarray(rows))
        whole = found.dtype.kind in "iu" and found.ndim == 1
        if not whole or not ((found >= 0) & (found < self.batch_size)).all():
            raise ValueError(
                f"streamer.reset: rows must be whole numbers from 0 to {self.batch_size - 1}, the rows of "
                f"the batch, got {rows!r}."
            )
        return found

    @property
    def state(self):
        """Copies of the states, a list [h, c] or [h] for each recurrent layer; assign it to go back."""
        return [[a.copy() for a in states] for states in self._states]

    @state.setter
    def state(self, value):
        shapes = [[a.shape for a in states] for states in self._states]
        given = [[np.shape(a) for a in states] for states in value]
        if given != shapes:
            raise ValueError(f"streamer.state must hold arrays of the shapes {shapes}, got {given}.")
        for states, new in zip(self._states, value):
            for a, b in zip(states, new):
                a[...] = b

    def __reduce__(self):
        with self.model._lock.reading():
            if _checksum(self.model) != self._weights:
                raise ValueError(
                    f"A streamer of model '{self.model.name}' cannot be pickled or copied: the model's "
                    "weights are not those that it streams any more. Take them over first: state = s.state; "
                    "s.refresh(); s.state = state."
                )
            return _restored, (self.model, self.batch_size, self.allow_nan, self.state)

    def __repr__(self):
        inputs, outputs = self._x.shape, self._shape
        return (
            f"<Streamer of model '{self.model.name}': step of {inputs} to {outputs}, {self.dtype.name}, "
            f"{len(self._states)} layers with states>"
        )


class _Part:
    """A function ``run(x, y, finite)`` for a piece of the model: compiled kernels, or one layer's forward."""

    __slots__ = ("run", "layer", "x", "y", "kernels")

    def __init__(self, run, layer=None, x=None, y=None, kernels=None):
        self.run, self.layer, self.x, self.y, self.kernels = run, layer, x, y, kernels


def _restored(model, batch_size, allow_nan, state):
    streamer = Streamer(model, batch_size, allow_nan)
    streamer.state = state
    return streamer


def _embedding_at_the_start(model):
    """The Embedding layer with which a model begins, or None."""
    first = model
    while isinstance(first, Network) and first.graph.nodes:
        first = first.graph.nodes[0].layer
    return first if isinstance(first, Embedding) else None


def _checksum(model):
    value = 0
    for w in model.weights:
        value = zlib.crc32(np.ascontiguousarray(w.value), value)
    return value
