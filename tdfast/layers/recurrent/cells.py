"""Cells: one step of a recurrent layer. `RNN` runs them over sequences."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from tdfast.engine import calls, registry, tracing
from tdfast.engine.arrays import as_array
from tdfast.engine.layer import Layer
from tdfast.engine.serialization import deserialize_layer, serialize_layer
from tdfast.engine.structure import flatten
from tdfast.engine.tape import Tape
from tdfast.layers.recurrent.base import Recurrent
from tdfast.layers.recurrent.loops import CellLoop

if TYPE_CHECKING:
    from collections.abc import Sequence

    from tdfast.engine.tape import Record
    from tdfast.engine.types import Arrays, Config, CustomObjects, Shapes


class Cell(Layer):
    """One step of a recurrent layer: a cell of your own derives from this, and `RNN` runs it over sequences.

    Set ``state_size`` in ``__init__`` and override `forward` and `backward` (and ``build`` and
    ``get_config``, if it has weights and options). `RNN` does the rest: time, masks, direction, states, and
    the sum of the weights' gradients over the steps. docs/recurrent.md builds one. Follows the cells of
    https://keras.io/api/layers/recurrent_layers/rnn/.

    Args:
        name, trainable, dtype: as in `Layer`.

    Attributes:
        state_size: the width of the state, or a list with that of each state.
        output_size: the width of the output; that of the first state when None.

    Call: ``output, states = cell(x, states, training=False)`` with x of shape (batch, features) and states a
    list of arrays (batch, width).

    >>> import numpy as np
    >>> class Decay(Cell):
    ...     state_size = 2
    ...     def forward(self, x, states, tape, training=False):
    ...         tape.push(self)
    ...         y = x + 0.5 * states[0]
    ...         return y, [y]
    ...     def backward(self, dy, dstates, tape, need_dx=True):
    ...         tape.pop(self)
    ...         d = dy + dstates[0]
    ...         return d, [0.5 * d]
    >>> from tdfast.layers import RNN
    >>> RNN(Decay())(np.ones((1, 3, 2))).tolist()
    [[1.75, 1.75]]
    """

    state_size: Any = None
    output_size: Any = None

    # ---------------------------------------------------------------- to override
    def forward(self, x: Arrays, states: Any, tape: Tape, training: bool = False) -> Arrays:  # type: ignore[override]
        """(output, new states) of one step; what `backward` needs goes on the tape.

        Args:
            x: (batch, features), C-contiguous, of the cell's dtype. Not to be written to; it stays until
                backward.
            states: a list of arrays, one a state; the same holds for them.
            tape: a `Tape`. Call ``tape.push(self)`` exactly once.
            training: True in `fit`.

        Returns:
            The output and a list of as many states, of the shapes that came.
        """
        raise TypeError(f"{type(self).__name__} must override forward(x, states, tape, training).")

    def backward(self, dy: Arrays, dstates: Any, tape: Tape, need_dx: bool = True) -> Arrays:  # type: ignore[override]
        """(dx, gradients of the states that came) of the last step not yet undone.

        Writes the gradients of this step's weights to ``variable.grad``, over what was there.

        Args:
            dy: the gradient with respect to the output. May be overwritten.
            dstates: a list, with respect to each new state. May be overwritten.
            tape: the `Tape` of the forward pass. Call ``tape.pop(self)`` exactly once.
            need_dx: False when nobody reads dx, which may then be None.
        """
        raise TypeError(f"{type(self).__name__} must override backward(dy, dstates, tape, need_dx).")

    def per_sequence(self, x: Arrays, tape: Tape, rec: Record, training: bool) -> dict[str, Any]:
        """What all steps of one pass share, such as a dropout mask: keyword arguments for each `forward`.

        Args:
            x: the whole input, (batch, time, features).
            tape: the `Tape`.
            rec: a record whose buffers last as long as the pass.
            training: True in `fit`.
        """
        return {}

    def get_initial_state(self, batch_size: int | None = None) -> list[Any]:
        """The states to begin with, zeros: a list of arrays (batch, width)."""
        return [np.zeros((batch_size, n), self.dtype) for n in self.state_sizes]

    # ---------------------------------------------------------------- for RNN
    @property
    def state_sizes(self) -> list[Any]:
        """The widths of all states, as a flat list."""
        sizes = list(self.state_size) if isinstance(self.state_size, (list, tuple)) else [self.state_size]
        if not all(hasattr(n, "__index__") and not isinstance(n, bool)
                   and int(n) > 0 for n in sizes) or not sizes:
            raise ValueError(
                f"Layer '{self.name}' ({type(self).__name__}): a cell needs a state_size, a whole number or "
                "a list of "
                f"them (one a state), got {self.state_size!r}. Set it in __init__."
            )
        return [int(n) for n in sizes]

    @property
    def output_width(self) -> int:
        """The number of features that a step gives."""
        return self.state_sizes[0] if self.output_size is None else int(self.output_size)

    def step_shapes(self, x_shape: Any) -> tuple[Any, ...]:
        """(the output's shape, a list of the states' shapes) for one step of inputs of this shape."""
        B = x_shape[0]
        return (B, self.output_width), [(B, n) for n in self.state_sizes]

    def initial_states(self, x_shape: Any) -> Any:
        """`get_initial_state` for one step of inputs of this shape."""
        first = self.get_initial_state(batch_size=x_shape[0])
        return list(first) if isinstance(first, (list, tuple)) else [first]

    def nested(self, states: Any) -> list[Any]:
        """The states from an iterator, in the form in which `RNN` gives them: a list."""
        return [next(states) for _ in self.state_sizes]

    def runners(self, name: str) -> list[Any]:
        """The loops over a whole sequence that stand for this cell."""
        return [CellLoop(self, name=name)]

    def compute_output_shape(self, input_shape: Shapes) -> Shapes:
        raise ValueError(
            f"Layer '{self.name}' ({type(self).__name__}) is a cell, one step of a recurrent layer, and no "
            "layer of a "
            f"model: use RNN({type(self).__name__}(...))."
        )

    def __call__(self, x: Arrays, states: Any, training: bool = False) -> Any:  # type: ignore[override]
        frame = tracing.innermost()
        if frame is not None:
            return step_within(self, frame, x, states, training)
        x = self.as_input(x)
        self.ensure_built((None, *x.shape[1:]), x.shape)
        flat = list(states) if isinstance(states, (list, tuple)) else [states]
        flat = [as_array(s, self.dtype, f"A state of layer '{self.name}'") for s in flat]
        want = self.step_shapes(x.shape)[1]
        if [s.shape for s in flat] != want:
            raise ValueError(
                f"Layer '{self.name}' ({type(self).__name__}): states must be arrays of the shapes {want}, "
                "got "
                f"{[s.shape for s in flat]}. get_initial_state(batch_size) makes some."
            )
        tape = Tape(keep=False)
        more = self.per_sequence(x[:, None], tape, tape.push(self), training)
        return self.forward(x, flat, tape, training=training, **more)


class BuiltInCell(Cell):
    """What LSTMCell, GRUCell and SimpleRNNCell share: a sequence of them is the layer `over_time`,
    compiled."""

    kernel: Any
    n_states: Any
    units: int

    over_time: Any = None

    @property
    def state_size(self) -> int | list[int]:
        """The width of the state, or a list of those of h and c."""
        return [self.units] * self.n_states if self.n_states > 1 else self.units

    @property
    def output_size(self) -> int:
        """The number of features that a step gives: the units."""
        return self.units

    def check_input_shape(self, input_shape: Shapes) -> None:
        if len(input_shape) != 2 or input_shape[-1] is None or (self.built
                                                                and input_shape[-1] != self.kernel.shape[0]):
            features = self.kernel.shape[0] if self.built else "features"
            raise ValueError(
                f"Layer '{self.name}' ({type(self).__name__}) expects one step of shape (batch, {features}), "
                "got "
                f"{tuple(input_shape)}."
                + (
                    f" For whole sequences use RNN({type(self).__name__}(...))."
                    if len(input_shape) == 3
                    else ""
                )
            )

    def build(self, input_shape: Shapes) -> None:
        super().build(input_shape)
        self._step = [self._layer(self.name, return_state=True)]

    def _layer(self, name: str, **options: Any) -> Layer:
        """A layer over time with this cell's options and variables."""
        mine = {key: getattr(self, key) for key in super().get_config()}
        mine.update(name=name, seed=0, **options)
        layer = self.over_time(**mine)
        for key in ("kernel", "recurrent_kernel", "bias", "seed_generator"):
            setattr(layer, key, getattr(self, key))
        layer.built = True
        return layer

    def runners(self, name: str) -> list[Layer]:
        own = ("forward", "backward", "per_sequence", "get_initial_state")
        if any(getattr(type(self), method) is not getattr(BuiltInCell, method) for method in own):
            return super().runners(name)        # of a user's subclass, which computes something else
        return [self._layer(name)]

    def forward(self, x: Arrays, states: Any, tape: Tape, training: bool = False) -> Arrays:  # type: ignore[override]
        y, *new = self._step[0].forward(x[:, None], tape, training=training, initial_state=list(states))  # type: ignore[call-arg]
        return y, new

    def backward(self, dy: Arrays, dstates: Any, tape: Tape, need_dx: bool = True) -> Arrays:  # type: ignore[override]
        dx, *before = self._step[0].backward([dy, *dstates], tape, need_dx)
        return dx[:, 0] if need_dx else None, before


def step_within(cell: Any, frame: tracing.Frame, x: Any, states: Any, training: Any) -> tuple[Any, list[Any]]:
    """(output, new states) of a cell with forward and backward, called by a user's code."""
    from tdfast.engine import derivatives

    inputs = [x, *flatten(states)]
    plain = [cell.as_input(derivatives.raw(part)) for part in inputs]
    cell.ensure_built((None, *plain[0].shape[1:]), plain[0].shape)
    training = cell.mode(frame.training if training is None else training)

    def forward(arrays: Sequence[Any], keywords: Any, tape: Tape) -> list[Any]:
        tape.push(cell)
        first, *rest = plain
        y, new = cell.forward(first, rest, tape, training=training,
                              **cell.per_sequence(first[:, None], tape, tape.records[0], training))
        return [np.array(y), *[np.array(state) for state in new]]

    def backward(dy: Any, tape: Tape, need_dx: bool) -> list[Any]:
        dx, before = cell.backward(dy[0], dy[1:], tape, True)
        return [dx, *before]

    if tracing.traces():
        y, *new = derivatives.call_layer(cell, frame, inputs, {}, forward, backward)
    else:
        y, *new = forward(plain, {}, frame.next_tape())
    return y, new


class CellOfCall(Cell):
    """A layer with ``call(inputs, states)`` as a cell: what Keras's users write.

    Args:
        cell: with ``state_size``, a whole number or a list of them, and, if they are there, ``output_size``
        and
            ``get_initial_state(batch_size)``.
    """

    def __init__(self, cell: Any) -> None:
        super().__init__(name=cell.name, dtype=cell.dtype)
        self.cell = cell
        self._width: int | None = None

    @property
    def state_size(self) -> Any:
        return getattr(self.cell, "state_size", None)

    @property
    def output_width(self) -> int:
        given = getattr(self.cell, "output_size", None)
        return int(given) if given is not None else self._width or self.state_sizes[0]

    def sublayers(self) -> list[Any]:
        return [self.cell]

    def build(self, input_shape: Shapes) -> None:
        x = np.zeros((2, *input_shape[1:]), self.dtype)
        states = [np.zeros((2, n), self.dtype) for n in self.state_sizes]
        calls.build_for(self.cell, [tuple(input_shape)], {}, ((x, states), {}))
        with tracing.Frame(training=False, closed=True) as frame:
            y, _ = self._checked(calls.run(self.cell, frame, (x, states), {}))
        self._width = y.shape[-1]

    def get_initial_state(self, batch_size: int | None = None) -> list[Any]:
        own = getattr(self.cell, "get_initial_state", None)
        if own is None or getattr(own, "__func__", None) is Cell.get_initial_state:
            return super().get_initial_state(batch_size)
        return [np.asarray(state, self.dtype) for state in flatten(own(batch_size=batch_size))]

    def _checked(self, made: Any) -> tuple[Any, list[Any]]:
        if not isinstance(made, (list, tuple)) or len(made) != 2:
            raise TypeError(
                f"Layer '{self.name}' ({type(self.cell).__name__}): the call of a cell must return "
                "(output, states), "
                f"got {made!r:.60}."
            )
        y, states = made[0], flatten(made[1])
        if len(states) != len(self.state_sizes):
            raise ValueError(
                f"Layer '{self.name}' ({type(self.cell).__name__}): state_size={self.state_size!r} says "
                "that there "
                f"are {len(self.state_sizes)} states, but call returned {len(states)}."
            )
        widths = [np.shape(calls.plain(state))[-1:] for state in states]
        if widths != [(n,) for n in self.state_sizes]:
            raise ValueError(
                f"Layer '{self.name}' ({type(self.cell).__name__}): state_size={self.state_size!r} says how "
                f"many numbers a state has, but call returned states of {[n for w in widths for n in w]}."
            )
        return y, states

    def forward(self, x: Arrays, states: Any, tape: Tape, training: bool = False) -> Any:  # type: ignore[override]
        rec, trace = tape.push(self), None
        given = [x, *states]
        if tape.keep:
            from tdfast.engine import derivatives

            trace = derivatives.Trace()
        with tracing.Frame(trace, training, closed=True, record=rec, tape=tape) as frame:
            if trace is not None:
                given = [trace.root(array, i) for i, array in enumerate(given)]
            y, new = self._checked(calls.run(self.cell, frame, (given[0], given[1:]), {}))
        rec.trace, rec.ends, rec.losses, rec.count = trace, [y, *new], frame.losses, len(given)
        rec.added = calls.total(frame.losses)
        out, *after = [calls.as_output(part, self.dtype) for part in rec.ends]
        return out, after

    def backward(self, dy: Arrays, dstates: Any, tape: Tape, need_dx: bool = True) -> Any:  # type: ignore[override]
        rec = tape.pop(self)
        found = calls.back(rec, [np.array(dy), *map(np.array, dstates)], self.cell.trainable_weights)
        gradients = [np.zeros_like(calls.plain(a)) if g is None else g
                     for g, a in zip(map(found, range(rec.count)), [rec.ends[0], *rec.ends[1:]])]
        rec.trace = rec.ends = rec.losses = None
        return gradients[0], gradients[1:]


def as_cell(cell: Any) -> Any:
    """What `RNN` runs of a cell that a user gave."""
    return CellOfCall(cell) if cell.computes_in_call else cell


def check_cell(cell: Any, who: str) -> None:
    """Raise a ValueError if ``cell`` is no cell."""
    if not isinstance(cell, Cell) and not (isinstance(cell, Layer) and cell.computes_in_call
                                           and getattr(cell, "state_size", None) is not None):
        hint = " LSTM is a whole layer; its cell is LSTMCell." if isinstance(cell, Recurrent) else ""
        raise ValueError(
            f"{who} needs cells such as LSTMCell(8), or a layer of your own with call(inputs, states) and "
            f"state_size, got {cell!r} ({type(cell).__name__}).{hint or registry.layer_hint(cell)}"
        )
    if cell.activity_regularizer is not None:
        raise ValueError(
            f"Layer '{cell.name}' ({type(cell).__name__}): a cell has no activity_regularizer. Give it to "
            "the RNN."
        )
    _ = as_cell(cell).state_sizes        # raises if it has none


class StackedRNNCells(Cell):
    """Cells one upon another: each takes the output of the one before, and together they are one cell.

    `RNN` runs each over the whole sequence before the next, so built-in cells stay as fast as their layers.
    See https://keras.io/api/layers/recurrent_layers/stacked_rnn_cell/.

    Args:
        cells: a list of cells of any kinds, the first to see the input first.

    Call: ``output, states = cell(x, states)`` with one list of states for each cell.

    >>> import numpy as np
    >>> from tdfast.layers import RNN, GRUCell, LSTMCell
    >>> stack = StackedRNNCells([LSTMCell(4), GRUCell(3)])
    >>> stack.state_size, RNN(stack)(np.zeros((2, 5, 1))).shape
    ([[4, 4], 3], (2, 3))
    """

    def __init__(self, cells: Sequence[Any], **kwargs: Any) -> None:
        cells = list(cells) if isinstance(cells, (list, tuple)) else cells
        if not isinstance(cells, list) or not cells:
            raise ValueError(f"StackedRNNCells needs a list of at least one cell, got {cells!r}.")
        for cell in cells:
            check_cell(cell, "StackedRNNCells")
        if kwargs.get("dtype") is None:
            kwargs["dtype"] = cells[0].dtype
        super().__init__(**kwargs)
        for cell in cells:
            if cell.dtype != self.dtype:
                raise ValueError(
                    f"Layer '{self.name}' (StackedRNNCells) has dtype {self.dtype}, but '{cell.name}' has "
                    f"{cell.dtype}: "
                    "give all the same dtype=."
                )
        self.cells = cells
        self._acting = [as_cell(cell) for cell in cells]

    @property
    def state_size(self) -> list[Any]:
        """Each cell's state_size, in a list."""
        return [cell.state_size for cell in self.cells]

    @property
    def output_size(self) -> int:
        """The number of features that the last cell gives."""
        return self._acting[-1].output_width

    @property
    def state_sizes(self) -> list[Any]:
        return [n for cell in self._acting for n in cell.state_sizes]

    def sublayers(self) -> list[Any]:
        return self.cells

    def check_input_shape(self, input_shape: Shapes) -> None:
        self._acting[0].check_input_shape(input_shape)

    def build(self, input_shape: Shapes) -> None:
        for cell, acting in zip(self.cells, self._acting):
            if acting is not cell:
                acting.ensure_built(input_shape)
            self.build_inner(cell, input_shape)
            input_shape = (None, acting.output_width)

    def get_initial_state(self, batch_size: int | None = None) -> list[Any]:
        return [cell.get_initial_state(batch_size) for cell in self._acting]

    def nested(self, states: Any) -> list[Any]:
        return [cell.nested(states) for cell in self._acting]

    def runners(self, name: str) -> list[Any]:
        return [runner for cell in self._acting for runner in cell.runners(name)]

    def __call__(self, x: Arrays, states: Any, training: bool = False) -> tuple[Any, ...]:  # type: ignore[override]
        if not isinstance(states, (list, tuple)) or len(states) != len(self.cells):
            raise ValueError(
                f"Layer '{self.name}' (StackedRNNCells): states must be a list with the states of each of "
                "the "
                f"{len(self.cells)} cells. get_initial_state(batch_size) makes one."
            )
        new = []
        for cell, own in zip(self.cells, states):
            if not self.built:
                self.build((None, *np.shape(x)[1:]))
            x, own = cell(x, own, training=training)
            new.append(own)
        return x, new

    def get_config(self) -> Config:
        return {**super().get_config(), "cells": [serialize_layer(cell) for cell in self.cells]}

    @classmethod
    def from_config(cls, config: Config, custom_objects: CustomObjects = None) -> Any:
        config = dict(config)
        cells = [c if isinstance(c, Layer) else deserialize_layer(c, custom_objects)
                 for c in config.pop("cells")]
        return cls(cells, **config)
