"""Layers over time: the options that all of them share, and the loop that steps a cell of any kind."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from tdfast.engine.arrays import as_array
from tdfast.engine.layer import Layer
from tdfast.engine.structure import flatten
from tdfast.engine.tensor import is_symbolic

if TYPE_CHECKING:
    from numpy.typing import DTypeLike

    from tdfast.engine.tape import Record, Tape
    from tdfast.engine.types import Array, Arrays, Config, Masks, Shapes, Sizes


def about_axes(input_shape: Shapes) -> str:
    """What to do about an input that has no axis of time, or more axes than (batch, time, features)."""
    if len(input_shape) == 2:
        return (
            " Add the time axis: x[:, :, None] for one feature a step. A recurrent layer before this one "
            "needs return_sequences=True."
        )
    if len(input_shape) > 3:
        return " Make one vector of each step: put TimeDistributed(Flatten()) before this layer."
    return ""


class Loop(Layer):
    """A layer that goes through a sequence step by step: what it returns, in which direction, from which
    states.

    A subclass sets ``n_states``, says the shapes of the states with `state_shapes`, and computes.
    """

    n_states = 1
    drops_mask_beside_tensors = True
    passive = frozenset({"states"})

    def __init__(self, return_sequences: bool = False, return_state: bool = False, go_backwards: bool = False,
                 stateful: bool = False, unroll: bool = False, zero_output_for_mask: bool = False,
                 **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.return_sequences = self._flag(return_sequences, "return_sequences")
        self.return_state = self._flag(return_state, "return_state")
        self.go_backwards = self._flag(go_backwards, "go_backwards")
        self.stateful = self._flag(stateful, "stateful")
        self.unroll = self._flag(unroll, "unroll")
        self.zero_output_for_mask = self._flag(zero_output_for_mask, "zero_output_for_mask")
        self.states: Any = None
        """With stateful: what the last call left, one array a state."""

    def state_shapes(self, input_shape: Shapes) -> Any:
        """The shape of each state for inputs of this shape, batch included."""
        raise TypeError(f"{type(self).__name__} must override state_shapes(input_shape).")

    def compute_mask(self, inputs: Any, mask: Masks = None) -> Masks:
        mask = mask if self.return_sequences else None
        return [mask] + [None] * self.n_states if self.return_state else mask

    def reset_state(self) -> None:
        """With stateful: the next call starts from zeros."""
        self.states = None

    def reset_states(self, states: Any = None) -> None:
        """With stateful: the next call starts from these states, as `states` has them; None: zeros."""
        if states is None:
            self.reset_state()
            return
        if not self.stateful:
            raise ValueError(
                f"Layer '{self.name}' ({type(self).__name__}) keeps no states: make it with stateful=True, "
                "or call it with initial_state=states."
            )
        self._require_built("reset_states")
        flat = [as_array(s, self.dtype, f"reset_states of layer '{self.name}'") for s in flatten(states)]
        batch = len(flat[0]) if flat and flat[0].ndim else 0
        want = self.state_shapes((batch, *self.input_shape[1:]))
        if not batch or len(flat) != len(want) or not all(map(_is_of, flat, want)):
            raise ValueError(
                f"reset_states of layer '{self.name}' ({type(self).__name__}) expects {len(want)} array(s) "
                f"of shape(s) {', '.join(_of_any_batch(shape) for shape in want)}, got "
                f"{[s.shape for s in flat]}."
            )
        self.states = [s.copy() for s in flat]

    def __call__(self, x: Arrays, initial_state: Any = None, training: bool | None = None,  # type: ignore[override]
                 mask: Masks = None) -> Any:
        x, initial_state = split_states(x, initial_state)
        return super().__call__(x, training=training, mask=mask, initial_state=initial_state)

    def check_batch(self, rows: int) -> None:
        """Refuse a batch of another size than a stateful layer was told, and so keeps its states for."""
        fixed = self.input_shape and self.input_shape[0]
        if fixed is not None and rows != fixed:
            raise ValueError(
                f"Layer '{self.name}' ({type(self).__name__}) is stateful and was made for batches of "
                f"{fixed} rows (batch_shape), but this batch has {rows}. Give fit, evaluate or predict "
                f"batch_size={fixed} and a multiple of that many samples."
            )

    def first_states(self, initial_state: Any, input_shape: Shapes, dtype: DTypeLike) -> Any:
        """The states to begin with, or as many None (zeros)."""
        if initial_state is None:
            if self.stateful:
                self.check_batch(input_shape[0])
            if not self.stateful or self.states is None:
                return [None] * self.n_states
            if self.states[0].shape[0] != input_shape[0]:
                raise ValueError(
                    f"Layer '{self.name}' is stateful: its state is of a batch of {self.states[0].shape[0]}, "
                    "but "
                    f"this batch has {input_shape[0]} rows. Use one batch_size that divides the number of "
                    "samples, or "
                    "call reset_states() first."
                )
            return self.states
        given = list(initial_state) if isinstance(initial_state, (list, tuple)) else [initial_state]
        want = self.state_shapes(input_shape)
        if [np.shape(s) for s in given] != want:
            same = want[0] if len(set(want)) == 1 else want
            raise ValueError(
                f"Layer '{self.name}' ({type(self).__name__}): initial_state must be {len(want)} array(s) of "
                f"shape {same}, got {len(given)} of shape {[np.shape(s) for s in given]}."
            )
        return [as_array(s, dtype, f"initial_state of layer '{self.name}'") for s in given]

    def get_config(self) -> Config:
        return {
            **super().get_config(),
            "return_sequences": self.return_sequences,
            "return_state": self.return_state,
            "go_backwards": self.go_backwards,
            "stateful": self.stateful,
            "unroll": self.unroll,
            "zero_output_for_mask": self.zero_output_for_mask,
        }


def split_states(x: Arrays, initial_state: Any) -> tuple[Any, ...]:
    """(x, initial_state) of a call, whose x may be a list of the input and the states, as in Keras."""
    if initial_state is None and isinstance(x, (list, tuple)) and len(x) > 1 and is_symbolic(x):
        return x[0], list(x[1:])
    return x, initial_state


def _is_of(array: Array, shape: Sizes) -> bool:
    """Whether an array has this shape, None in which stands for any size."""
    return array.ndim == len(shape) and all(n in (None, m) for n, m in zip(shape, array.shape))


def _of_any_batch(shape: Sizes) -> str:
    """A shape as text, with a word for the batch.

    >>> _of_any_batch((3, 2))
    '(batch, 2)'
    """
    return f"(batch, {', '.join(map(str, shape[1:]))})"


def valid_only(x: Arrays, mask: Masks, rec: Record) -> Array:
    """x (batch, time, ...) with 0 in masked steps, whose numbers (NaN, perhaps) must reach no gradient."""
    if mask is None:
        return x
    out = rec.buffer("valid", x.shape, x.dtype)
    out[...] = 0
    np.copyto(out, x, where=_wide(mask, x.ndim))
    return out


def _wide(mask: Masks, ndim: int) -> Array:
    """A mask with as many axes as the array that it is for."""
    return mask.reshape(*mask.shape, *(1,) * (ndim - mask.ndim))


class CellLoop(Loop):
    """One `Cell` over a whole sequence, step by step, by calls of its forward and backward.

    It lives inside `RNN`, which owns the cell: it has no weights of its own. A masked step keeps the states
    and gives the output before it once more (0 where there is none, or with zero_output_for_mask).
    """

    def __init__(self, cell: Any, **options: Any) -> None:
        super().__init__(dtype=cell.dtype, **options)
        self.cell = cell
        self.n_states = len(cell.state_sizes)
        self.built = True

    def state_shapes(self, input_shape: Shapes) -> Any:
        return self.cell.step_shapes((input_shape[0], *input_shape[2:]))[1]

    def _order(self, T: int) -> range:
        return range(T - 1, -1, -1) if self.go_backwards else range(T)

    def forward(self, x: Arrays, tape: Tape, training: bool = False, mask: Masks = None,
                initial_state: Any = None) -> Arrays:
        rec, cell = tape.push(self), self.cell
        B, T = x.shape[:2]
        step_shape = (B, *x.shape[2:])
        y_shape, state_shapes = cell.step_shapes(step_shape)
        first = self.first_states(initial_state, x.shape, x.dtype)
        if first[0] is None:
            first = cell.initial_states(step_shape)
        if mask is not None and mask.all():
            mask = None
        shared = cell.per_sequence(x, tape, rec, training)
        # Time first, so that a step is contiguous and lives until backward.
        steps = rec.buffer("x", (T, *step_shape), x.dtype)
        steps[...] = np.swapaxes(valid_only(x, mask, rec), 0, 1)
        slots = T + 1 if tape.keep else 2
        states = [rec.buffer(f"state {i}", (slots, *shape), x.dtype) for i, shape in enumerate(state_shapes)]
        for s, value in zip(states, first):
            s[0] = value
        y = rec.buffer("y", (B, T, *y_shape[1:]) if self.return_sequences else y_shape, x.dtype)
        start = tape.position
        for n, t in enumerate(self._order(T)):
            old = [s[n % slots] for s in states]
            out, new = cell.forward(steps[t], old, tape, training=training, **shared)
            if not tape.keep:
                tape.position = start       # the next step may have this one's memory
            m = None if mask is None else mask[:, t]
            for s, before, after in zip(states, old, new, strict=True):
                _choose(s[(n + 1) % slots], after, before, m)
            if self.return_sequences:
                _choose(y[:, n], out, y[:, n - 1] if n and not self.zero_output_for_mask else 0, m)
            elif m is not None and (n == 0 or self.zero_output_for_mask):
                _choose(y, out, 0, m)
            else:
                np.copyto(y, out, where=True if m is None else _wide(m, y.ndim))
        if tape.keep:
            rec.mask, rec.shape, rec.given = mask, x.shape, initial_state is not None
        last = [s[T % slots].copy() for s in states] if self.return_state or self.stateful else []
        if self.stateful:
            self.states = last
        return [y, *last] if self.return_state else y

    def backward(self, dy: Arrays, tape: Tape, need_dx: bool = True) -> Arrays:
        """As `Layer.backward`; with return_state, dy is [dy, *dstates], and with an initial_state the result
        is (dx, *dstates)."""
        rec, cell = tape.peek(self), self.cell
        mask, (B, T) = rec.mask, rec.shape[:2]
        dy, *dlast = dy if self.return_state else [dy]
        y_shape, state_shapes = cell.step_shapes((B, *rec.shape[2:]))
        dtype = dy.dtype

        def zeros(name: str, shape: Sizes) -> Any:
            out = rec.buffer(name, shape, dtype)
            out[...] = 0
            return out

        dstates = [zeros(f"dstate {i}", shape) for i, shape in enumerate(state_shapes)]
        for d, value in zip(dstates, dlast):
            d[...] = value
        given = [rec.buffer(f"given {i}", shape, dtype) for i, shape in enumerate(state_shapes)]
        # What later steps ask of the output: a masked one repeated it.
        later, dout = zeros("later", y_shape), rec.buffer("dout", y_shape, dtype)
        dx: Any = rec.buffer("dx", rec.shape, dtype) if need_dx else None
        weights = [v for v in cell.weights if v.trainable]
        sums = [zeros(f"sum {i}", v.shape) for i, v in enumerate(weights)]
        for n, t in reversed(list(enumerate(self._order(T)))):
            m = None if mask is None else mask[:, t]
            if self.return_sequences:
                later += dy[:, n]
            elif n == T - 1:
                later += dy
            _choose(dout, later, 0, m)
            for d, g in zip(dstates, given):
                _choose(g, d, 0, m)
            dx_t, before = cell.backward(dout, given, tape, need_dx)
            for d, b in zip(dstates, before, strict=True):
                _choose(d, b, d, m)
            if m is None or self.zero_output_for_mask:
                later[...] = 0
            else:
                later[m] = 0
            if need_dx:
                _choose(dx[:, t], dx_t, 0, m)
            for total, v in zip(sums, weights):
                total += v.grad
        for total, v in zip(sums, weights):
            v.grad[...] = total
        tape.pop(self)
        return (dx, *(d.copy() for d in dstates)) if rec.given else dx


def _choose(out: Any, new: Array, old: Array | int, valid: Array | None) -> None:
    """out = new in the rows that are valid (None: all of them), old in the others."""
    if valid is None:
        out[...] = new
        return
    if old is not out:
        out[...] = old
    np.copyto(out, new, where=_wide(valid, out.ndim))


class Delegating(Loop):
    """A loop whose work is done by other loops, its runners: one after the other, each over the whole
    sequence."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        self._runners: list[Any] = []
        super().__init__(*args, **kwargs)

    @property
    def states(self) -> list[Any] | None:
        """With stateful: what the last call left; None before the first call."""
        left = [runner.states for runner in self._runners]
        return None if not left or None in left else self.nested(flatten(left))

    @states.setter
    def states(self, value: Any) -> None:
        parts = [None] * len(self._runners) if value is None else self.split(flatten(value))
        for runner, part in zip(self._runners, parts):
            runner.states = part

    def state_shapes(self, input_shape: Shapes) -> list[Any]:
        out, shape = [], input_shape
        for runner in self.runners():
            out += runner.state_shapes(shape)
            made = runner.compute_output_shape(shape)
            shape = made[0] if isinstance(made, list) else made
        return out

    def nested(self, states: Any) -> list[Array]:
        """A flat list of states in the form in which the layer gives them."""
        return states

    def split(self, states: Any) -> list[Any]:
        """A flat list of states as one list for each runner."""
        states = iter(states)
        return [[next(states) for _ in range(runner.n_states)] for runner in self._runners]

    def runners(self) -> list[Any]:
        """The runners, with the options that the layer has now."""
        first, last = self._runners[0], self._runners[-1]
        for runner in self._runners:
            runner.return_sequences = runner is not last or self.return_sequences
            runner.zero_output_for_mask = runner is last and self.zero_output_for_mask
            runner.return_state, runner.stateful = self.return_state, self.stateful
            runner.go_backwards = runner is first and self.go_backwards
        return self._runners

    def run(self, x: Arrays, tape: Tape, rec: Record, training: bool, mask: Masks,
            initial_state: Any) -> Any:
        """Forward through the runners."""
        if self.stateful and initial_state is None:
            self.check_batch(len(x))
        runners = self.runners()
        rec.given, first = initial_state is not None, [None] * len(runners)
        if rec.given:
            first = self._split_given(initial_state)
        states = []
        for i, (runner, begin) in enumerate(zip(runners, first)):
            if i == 1 and mask is not None and self.go_backwards:
                mask = np.ascontiguousarray(mask[:, ::-1])      # the first has turned the sequence round
            x = runner.forward(x, tape, training=training, mask=mask, initial_state=begin)
            if self.return_state:
                x, *last = x
                states += last
        return [x, *self.nested(states)] if self.return_state else x

    def run_back(self, dy: Arrays, tape: Tape, rec: Record, need_dx: bool) -> tuple[Any, ...]:
        """Backward through the runners: (dx, the gradients of the initial states or [])."""
        dlast: Any = [[]] * len(self._runners)
        if self.return_state:
            dy, *last = dy
            dlast = self.split(flatten(last))
        first: list[Any] = []
        for i, runner in reversed(list(enumerate(self._runners))):
            dy = runner.backward([dy, *dlast[i]] if self.return_state else dy, tape, need_dx or i > 0)
            if rec.given:
                dy, *begin = dy
                first = begin + first
        return dy, self.nested(first) if rec.given else []

    def _split_given(self, initial_state: Any) -> Any:
        flat = flatten(initial_state)
        want = sum(runner.n_states for runner in self._runners)
        if len(flat) != want:
            raise ValueError(
                f"Layer '{self.name}' ({type(self).__name__}): initial_state must hold {want} array(s), in "
                "the order in "
                f"which return_state gives them, got {len(flat)}."
            )
        return self.split(flat)
