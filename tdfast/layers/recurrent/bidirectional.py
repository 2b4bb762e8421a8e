"""Bidirectional: a recurrent layer that reads its sequence from both ends."""

from __future__ import annotations

from contextlib import nullcontext
from typing import TYPE_CHECKING, Any

from tdfast import _kernels
from tdfast.engine import registry
from tdfast.engine.layer import Layer
from tdfast.engine.program import blend
from tdfast.engine.serialization import deserialize_layer, serialize_layer
from tdfast.layers.recurrent.base import Recurrent
from tdfast.layers.recurrent.loops import split_states

if TYPE_CHECKING:
    from contextlib import AbstractContextManager

    from tdfast.engine.tape import Record, Tape
    from tdfast.engine.types import Array, Arrays, Config, Masks, Shapes

MERGE_MODES = ("sum", "mul", "ave", "concat", None)


class Bidirectional(Layer):
    """Two recurrent layers over one sequence, one from each end, and their outputs merged::

        y = merge(forward_layer(x), backward_layer(x))

    With return_sequences, the backward layer's outputs are turned round first, so that both speak of the
    same step; a masked step's output is 0. See
    https://keras.io/api/layers/recurrent_layers/bidirectional/.

    Args:
        layer: an `LSTM`, `GRU`, `SimpleRNN` or `RNN`. The forward layer is made anew from its config, as
            "forward_" and its name; its weights are not taken over.
        merge_mode: 'concat' puts the features side by side, 'sum', 'ave' and 'mul' combine them one by one,
            None returns both outputs, as a list.
        weights: what to start with: a list of arrays, those of the forward layer first.
        backward_layer: the layer for the other direction, used as it is; made from ``layer``'s config with
            go_backwards=True, as "backward_" and its name, when None.

    Raises:
        ValueError: for two layers of one direction, or that differ in stateful, return_sequences or
            return_state.

    Call: ``layer(x, initial_state=None, training=False, mask=None)`` with x of shape (batch, time,
    features). initial_state is a list, the forward layer's states first; with return_state the result is
    ``[y, *forward_states, *backward_states]``.

    >>> import numpy as np
    >>> from tdfast.layers import LSTM
    >>> layer = Bidirectional(LSTM(32, return_sequences=True))
    >>> layer(np.zeros((50, 64, 15))).shape
    (50, 64, 64)
    >>> [y.shape for y in Bidirectional(LSTM(32), merge_mode=None)(np.zeros((50, 64, 15)))]
    [(50, 32), (50, 32)]
    """

    drops_mask_beside_tensors = True

    def __init__(self, layer: Any, merge_mode: str = "concat", weights: Any = None,
                 backward_layer: Layer | None = None, **kwargs: Any) -> None:
        for given, what in ((layer, "layer"), (backward_layer, "backward_layer")):
            if given is None and what == "backward_layer":
                continue
            if not isinstance(given, Layer) or not hasattr(given, "return_sequences"):
                raise ValueError(
                    f"Bidirectional: {what} must be a recurrent layer, such as Bidirectional(LSTM(8)), got "
                    f"{given!r} "
                    f"({type(given).__name__})." + registry.layer_hint(given)
                )
        if merge_mode not in MERGE_MODES:
            raise ValueError(f"Bidirectional: merge_mode must be one of {MERGE_MODES}, got {merge_mode!r}.")
        if kwargs.get("dtype") is None:
            kwargs["dtype"] = layer.dtype
        super().__init__(**kwargs)
        self.merge_mode = merge_mode
        self.forward_layer: Any = _made_from(layer, "forward_")
        self.backward_layer: Any = backward_layer or _made_from(layer, "backward_", go_backwards=True)
        self._check_layers()
        for inner in self.sublayers():
            # Otherwise the two directions would repeat different outputs in a masked step.
            inner.zero_output_for_mask = inner.return_sequences
        self.stateful, self.return_sequences = layer.stateful, layer.return_sequences
        self.return_state = layer.return_state
        self._first_weights = weights

    def _check_layers(self) -> None:
        forward, backward = self.forward_layer, self.backward_layer
        if forward.go_backwards == backward.go_backwards:
            raise ValueError(
                f"Layer '{self.name}' (Bidirectional): '{forward.name}' and '{backward.name}' both have "
                f"go_backwards={forward.go_backwards}, but one must run from each end. "
                + ("Give backward_layer go_backwards=True." if not forward.go_backwards else
                   "Leave go_backwards out of layer, or give a backward_layer with go_backwards=False.")
            )
        for option in ("stateful", "return_sequences", "return_state"):
            one, other = getattr(forward, option), getattr(backward, option)
            if one != other:
                raise ValueError(
                    f"Layer '{self.name}' (Bidirectional): both layers need the same {option}, but "
                    f"'{forward.name}' has "
                    f"{one} and '{backward.name}' has {other}."
                )
        if forward.dtype != self.dtype or backward.dtype != self.dtype:
            raise ValueError(
                f"Layer '{self.name}' (Bidirectional) has dtype {self.dtype}, but '{forward.name}' has "
                f"{forward.dtype} and "
                f"'{backward.name}' has {backward.dtype}: give all the same dtype=."
            )

    # ---------------------------------------------------------------- shapes and weights
    def sublayers(self) -> list[Any]:
        return [self.forward_layer, self.backward_layer]

    def check_input_shape(self, input_shape: Shapes) -> None:
        for inner in self.sublayers():
            inner.check_input_shape(input_shape)

    def build(self, input_shape: Shapes) -> None:
        shapes = []
        for inner in self.sublayers():
            self.build_inner(inner, input_shape)
            shapes.append(self._outputs_of(inner.compute_output_shape(input_shape))[0])
        if self.merge_mode in ("sum", "mul", "ave") and shapes[0] != shapes[1]:
            raise ValueError(
                f"Layer '{self.name}' (Bidirectional): merge_mode='{self.merge_mode}' needs outputs of one "
                "shape, but "
                f"'{self.forward_layer.name}' gives {shapes[0]} and '{self.backward_layer.name}' gives "
                f"{shapes[1]}. "
                "Use merge_mode='concat', or the same number of units."
            )
        if self._first_weights is not None:
            self.set_weights(self._first_weights)
            self._first_weights = None

    def _outputs_of(self, y: Array) -> tuple[Any, ...]:
        """(output, states) of one of the two layers."""
        return (y[0], list(y[1:])) if self.return_state else (y, [])

    def compute_output_shape(self, input_shape: Shapes) -> Shapes:
        y, states = self._outputs_of(self.forward_layer.compute_output_shape(input_shape))
        y_rev, states_rev = self._outputs_of(self.backward_layer.compute_output_shape(input_shape))
        if self.merge_mode is None:
            return [y, y_rev, *states, *states_rev]
        if self.merge_mode == "concat":
            y = (*y[:-1], y[-1] + y_rev[-1])
        return [y, *states, *states_rev] if self.return_state else y

    def compute_mask(self, inputs: Any, mask: Masks = None) -> Masks:
        y, states = self._outputs_of(self.forward_layer.compute_mask(inputs, mask))
        y_rev, states_rev = self._outputs_of(self.backward_layer.compute_mask(inputs, mask))
        if self.merge_mode is None:
            return [y, y_rev, *states, *states_rev]
        return [y, *states, *states_rev] if self.return_state else y

    # ---------------------------------------------------------------- states
    @property
    def states(self) -> list[Array] | None:
        """With stateful: what the last call left, the forward layer's first; None before the first call."""
        left = [inner.states for inner in self.sublayers()]
        return None if None in left else [*left[0], *left[1]]

    def reset_state(self) -> None:
        """With stateful: the next call starts from zeros."""
        for inner in self.sublayers():
            inner.reset_state()

    def reset_states(self, states: Any = None) -> None:
        """With stateful: the next call starts from these states, as in `states`; None: from zeros."""
        if states is None:
            self.reset_state()
            return
        if not isinstance(states, (list, tuple)) or len(states) % 2 or not states:
            raise ValueError(
                f"reset_states of layer '{self.name}' (Bidirectional) expects a list, the states of "
                f"'{self.forward_layer.name}' and then as many of '{self.backward_layer.name}'."
            )
        n = len(states) // 2
        before = [inner.states for inner in self.sublayers()]
        try:
            self.forward_layer.reset_states(list(states[:n]))
            self.backward_layer.reset_states(list(states[n:]))
        except Exception:
            for inner, old in zip(self.sublayers(), before):
                inner.states = old
            raise

    def __call__(self, x: Arrays, initial_state: Any = None, training: bool | None = None,  # type: ignore[override]
                 mask: Masks = None) -> Any:
        x, initial_state = split_states(x, initial_state)
        return super().__call__(x, training=training, mask=mask, initial_state=initial_state)

    def _split_states(self, initial_state: Any) -> tuple[Any, ...]:
        """The arguments for each layer's states."""
        if initial_state is None:
            return {}, {}
        if not isinstance(initial_state, (list, tuple)) or len(initial_state) % 2:
            got = (
                f"a list of {len(initial_state)}"
                if isinstance(initial_state, (list, tuple))
                else type(initial_state).__name__
            )
            raise ValueError(
                f"Layer '{self.name}' (Bidirectional): initial_state must be a list, the states of "
                f"'{self.forward_layer.name}' and then as many of '{self.backward_layer.name}', got {got}."
            )
        half = len(initial_state) // 2
        return {"initial_state": list(initial_state[:half])}, {"initial_state": list(initial_state[half:])}

    # ---------------------------------------------------------------- passes
    def can_be_prepared(self, training: bool) -> bool:
        return all(inner.can_be_prepared(training) for inner in self.sublayers())

    def _at_once(self, forward: bool) -> AbstractContextManager[None]:
        """Where the passes of both layers are one kernel each, and nothing follows it that reads what it
        gives: a block in which they run at once."""
        for inner in self.sublayers():
            method = type(inner).forward if forward else type(inner).backward
            if method is not (Recurrent.forward if forward else Recurrent.backward):
                return nullcontext()
            if inner.dropout and not forward:       # dx is multiplied
                return nullcontext()
        return _kernels.Pair()

    def forward(self, x: Arrays, tape: Tape, training: bool = False, mask: Masks = None,
                initial_state: Any = None) -> Arrays:
        rec = tape.push(self)
        first, first_rev = self._split_states(initial_state)
        with self._at_once(True):
            y, states = self._outputs_of(self.forward_layer.forward(x, tape, training=training, mask=mask,
                                                                    **first))
            y_rev, states_rev = self._outputs_of(
                self.backward_layer.forward(x, tape, training=training, mask=mask, **first_rev)
            )
        rec.note_activity(self.forward_layer, y, 0)
        rec.note_activity(self.backward_layer, y_rev, 1)
        if self.return_sequences:
            y_rev = y_rev[:, ::-1]
        rec.given, rec.width = initial_state is not None, y.shape[-1]
        if self.merge_mode is None:
            turned = rec.buffer("y_rev", y_rev.shape, y_rev.dtype)
            blend("copy", turned, y_rev)
            return [y, turned, *states, *states_rev]
        if self.merge_mode == "concat":
            out = rec.buffer("y", (*y.shape[:-1], y.shape[-1] + y_rev.shape[-1]), y.dtype)
            blend("copy", out[..., : rec.width], y)
            blend("copy", out[..., rec.width :], y_rev)
        else:
            out = rec.buffer("y", y.shape, y.dtype)
            blend("copy", out, y)
            blend("multiply" if self.merge_mode == "mul" else "add", out, y_rev)
            if self.merge_mode == "ave":
                _kernels.scale(out, 0.5)
            rec.parts = (y, y_rev) if self.merge_mode == "mul" and tape.keep else None
        return [out, *states, *states_rev] if self.return_state else out

    def backward(self, dy: Arrays, tape: Tape, need_dx: bool = True) -> Arrays:
        """As `Layer.backward`; dy is a list where forward's result is one, and with an initial_state the
        result is (dx, *dstates), the forward layer's first."""
        rec = tape.peek(self)
        dy = list(dy) if isinstance(dy, (list, tuple)) else [dy]
        n = 2 if self.merge_mode is None else 1
        outputs: Any = self._unmerge(dy[:n], rec)
        states = dy[n:]
        outputs = [rec.add_activity_gradient(d, call) for call, d in enumerate(outputs)]
        half = len(states) // 2
        if self.return_state:
            outputs = [outputs[0], *states[:half]], [outputs[1], *states[half:]]
        with self._at_once(False):
            dx_rev = self.backward_layer.backward(outputs[1], tape, need_dx)
            dx = self.forward_layer.backward(outputs[0], tape, need_dx)
        tape.pop(self)
        first = []
        if rec.given:
            (dx, *first), (dx_rev, *first_rev) = dx, dx_rev
            first += first_rev
        if need_dx:
            blend("add", dx, dx_rev)
        return (dx, *first) if rec.given else dx

    def _unmerge(self, dy: Arrays, rec: Record) -> tuple[Any, ...]:
        """The gradients of the two layers' outputs, each with memory of its own and in the order of its
        run."""
        mode, d = self.merge_mode, dy[0]
        if mode == "concat":
            shape = (*d.shape[:-1], rec.width)
            shape_rev = (*d.shape[:-1], d.shape[-1] - rec.width)
        else:
            shape = shape_rev = d.shape
        dy_rev = rec.buffer("dy_rev", shape_rev, d.dtype)
        turned = dy_rev[:, ::-1] if self.return_sequences else dy_rev
        if mode is None:
            blend("copy", turned, dy[1])
            return d, dy_rev
        if mode == "sum":
            blend("copy", turned, d)
            return d, dy_rev
        dy = rec.buffer("dy", shape, d.dtype)
        if mode == "concat":
            blend("copy", dy, d[..., : rec.width])
            blend("copy", turned, d[..., rec.width :])
        elif mode == "ave":
            blend("copy", dy, d)
            _kernels.scale(dy, 0.5)
            blend("copy", turned, dy)
        else:
            y, y_rev = rec.parts
            blend("copy", dy, d)
            blend("multiply", dy, y_rev)
            blend("copy", turned, d)
            blend("multiply", turned, y)
        return dy, dy_rev

    # ---------------------------------------------------------------- config
    def get_config(self) -> Config:
        return {
            **super().get_config(),
            "merge_mode": self.merge_mode,
            "layer": serialize_layer(self.forward_layer),
            "backward_layer": serialize_layer(self.backward_layer),
        }

    @classmethod
    def from_config(cls, config: Config) -> Any:
        config = dict(config)
        for key in ("layer", "backward_layer"):
            if isinstance(config.get(key), dict):
                config[key] = deserialize_layer(config[key])
        return cls(**config)


def _made_from(layer: Layer, prefix: str, **changes: Any) -> Layer:
    """A layer with the config of another, but for its name and some changes; with weights of its own."""
    described = serialize_layer(layer)
    described["config"].update(name=prefix + layer.name.removeprefix(prefix), **changes)
    return deserialize_layer(described, custom_objects=_own_objects(layer))


def _own_objects(layer: Layer) -> dict[str, Any]:
    """The user's own classes and functions that a layer's config may name."""
    found = {} if type(layer).__module__.startswith("tdfast.") else {type(layer).__name__: type(layer)}
    for value in vars(layer).values():
        kind = value if callable(value) and hasattr(value, "__name__") else type(value)
        if not kind.__module__.startswith(("tdfast.", "builtins", "numpy")):
            found[kind.__name__] = kind
    for inner in layer.sublayers():
        found.update(_own_objects(inner))
    return found
