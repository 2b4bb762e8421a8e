"""RNN: a recurrent layer of any cell, built-in or your own."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from tdfast.engine.layer import Layer
from tdfast.engine.serialization import deserialize_layer, serialize_layer
from tdfast.layers.recurrent.cells import StackedRNNCells, as_cell, check_cell
from tdfast.layers.recurrent.loops import Delegating, about_axes

if TYPE_CHECKING:
    from tdfast.engine.tape import Tape
    from tdfast.engine.types import Arrays, Config, CustomObjects, Masks, Shapes


class RNN(Delegating):
    """A cell, or a stack of them, over a whole sequence: ``output_t, states = cell(x_t, states)``.

    A built-in cell runs as the compiled layer it is a step of, over the whole sequence at once; a cell of
    your own (a layer with ``call(inputs, states)`` and ``state_size``, or a `Cell`) is called step by step.
    A masked step keeps all states and gives the output before
    it once more. See https://keras.io/api/layers/recurrent_layers/rnn/.

    Args:
        cell: a cell such as `LSTMCell`, or a list of cells, which makes `StackedRNNCells`.
        return_sequences: the output of every step, (batch, time, units), instead of the last alone.
        return_state: return [output, *states]; for a stack, one list of states for each cell.
        go_backwards: start at the last step; outputs come in the order they were made.
        stateful: begin each batch with the states that the one before left.
        unroll: accepted and without effect.
        zero_output_for_mask: a masked step's output is 0 instead of the output before it.

    Raises:
        ValueError: for something that is no cell, or one of another dtype.

    Call: ``layer(x, initial_state=None, training=False, mask=None)`` with x of shape (batch, time,
    features), initial_state in the form that return_state gives, and mask (batch, time), False where a step
    is to be skipped.

    >>> import numpy as np
    >>> from tdfast.layers import GRUCell, LSTMCell
    >>> layer = RNN([LSTMCell(32), GRUCell(8)], return_sequences=True)
    >>> layer(np.zeros((50, 64, 15))).shape
    (50, 64, 8)
    """

    def __init__(self, cell: Any, return_sequences: bool = False, return_state: bool = False,
                 go_backwards: bool = False, stateful: bool = False, unroll: bool = False,
                 zero_output_for_mask: bool = False, **kwargs: Any) -> None:
        if isinstance(cell, (list, tuple)):
            cell = StackedRNNCells(cell)
        check_cell(cell, "RNN")
        if kwargs.get("dtype") is None:
            kwargs["dtype"] = cell.dtype
        super().__init__(return_sequences, return_state, go_backwards, stateful, unroll, zero_output_for_mask,
                         **kwargs)
        if cell.dtype != self.dtype:
            raise ValueError(
                f"Layer '{self.name}' (RNN) has dtype {self.dtype}, but its cell '{cell.name}' has "
                f"{cell.dtype}: give both "
                "the same dtype=."
            )
        self.cell = cell
        self._acting = as_cell(cell)

    @property
    def state_size(self) -> Any:
        """The widths of the cell's states, as a list."""
        size = self.cell.state_size
        return list(size) if isinstance(size, (list, tuple)) else [size]

    def sublayers(self) -> list[Any]:
        return [self.cell]

    def check_input_shape(self, input_shape: Shapes) -> None:
        if len(input_shape) < 3:
            raise ValueError(
                f"Layer '{self.name}' (RNN) expects input of shape (batch, time, features), got "
                f"{tuple(input_shape)}."
                + about_axes(input_shape)
            )
        if input_shape[1] == 0:
            raise ValueError(f"Layer '{self.name}' (RNN) needs at least one time step, got none.")
        if self.built and input_shape[-1] != self.input_shape[-1]:
            raise ValueError(
                f"Layer '{self.name}' (RNN) was built for {self.input_shape[-1]} features a step, but got "
                "input of shape "
                f"{tuple(input_shape)}."
            )
        self._acting.check_input_shape((input_shape[0], *input_shape[2:]))

    def build(self, input_shape: Shapes) -> None:
        if self._acting is not self.cell:
            self._acting.ensure_built((None, *input_shape[2:]))
        self.build_inner(self.cell, (None, *input_shape[2:]))
        self._runners = self._acting.runners(self.name)

    def nested(self, states: Any) -> list[Any]:
        return self._acting.nested(iter(states))

    def get_initial_state(self, batch_size: int) -> Any:
        """The cell's states to begin with."""
        return self._acting.get_initial_state(batch_size)

    def compute_output_shape(self, input_shape: Shapes) -> Shapes:
        batch, time = input_shape[:2]
        width = self._acting.output_width
        y = (batch, time, width) if self.return_sequences else (batch, width)
        return [y, *self.nested([(batch, n) for n in self._acting.state_sizes])] if self.return_state else y

    def compute_mask(self, inputs: Any, mask: Masks = None) -> Masks:
        mask = mask if self.return_sequences else None
        return [mask, *(None for _ in self.state_size)] if self.return_state else mask

    def forward(self, x: Arrays, tape: Tape, training: bool = False, mask: Masks = None,
                initial_state: Any = None) -> Arrays:
        return self.run(x, tape, tape.push(self), training, mask, initial_state)

    def backward(self, dy: Arrays, tape: Tape, need_dx: bool = True) -> Arrays:
        """As `Layer.backward`; dy is nested as forward's result is, and with an initial_state the result is
        (dx, *dstates), nested as the states are."""
        rec = tape.peek(self)
        dx, first = self.run_back(dy, tape, rec, need_dx)
        tape.pop(self)
        return (dx, *first) if rec.given else dx

    def get_config(self) -> Config:
        return {**super().get_config(), "cell": serialize_layer(self.cell)}

    @classmethod
    def from_config(cls, config: Config, custom_objects: CustomObjects = None) -> Any:
        config = dict(config)
        cell = config.pop("cell")
        return cls(cell if isinstance(cell, Layer) else deserialize_layer(cell, custom_objects), **config)
