"""PreprocessingLayer: what layers have in common that make numbers of raw data, and learn by `adapt`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from tdfast.engine.layer import Layer
from tdfast.engine.tensor import is_symbolic

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from tdfast.engine.graph import Node
    from tdfast.engine.tape import Tape
    from tdfast.engine.types import Array, Arrays, Masks, Shapes

TOKENS = ("float32", "float64", "string", "int32", "int64")
"""The dtypes that Keras's configs of lookups name: those of their tokens, too, as the older ones do."""

MODES = ("int", "one_hot", "multi_hot", "count")
_NEW_NAMES = {"binary": "multi_hot", "tf-idf": "tf_idf"}


class PreprocessingLayer(Layer):
    """A layer without weights, that no gradient passes. A subclass overrides `encode` and `as_input`.

    Args:
        output_mode: what becomes of the numbers that it finds: see `StringLookup`.
        modes: the output modes that there are.
        sparse: False, as tdfast has dense arrays alone.
    """

    supports_masking = False

    dtypes: Sequence[str] = ("float32", "float64")
    """Those that a config may name."""

    takes_strings = False
    """Whether its input is of strings."""

    def __init__(self, output_mode: str, modes: Sequence[str], sparse: Any = False, **kwargs: Any) -> None:
        dtype = kwargs.pop("dtype", None)
        tokens = isinstance(dtype, str) and dtype in self.dtypes[2:]        # says nothing of the output
        super().__init__(dtype=None if tokens else dtype, **kwargs)
        self.output_mode = self._one_of(_NEW_NAMES.get(output_mode, output_mode), "output_mode", modes)
        self.sparse = self._flag(sparse, "sparse")
        if self.sparse:
            raise ValueError(
                f"{self.who}: sparse=True is not supported, as tdfast computes on dense arrays. Leave it "
                "out: the output is then a dense array of the same numbers."
            )

    @property
    def who(self) -> str:
        """The layer, for messages."""
        return f"Layer '{self.name}' ({type(self).__name__})"

    def _one_of(self, value: Any, name: str, allowed: Sequence[str]) -> Any:
        if not isinstance(value, str) or value not in allowed:
            raise ValueError(
                f"{self.who}: {name} must be one of {', '.join(map(repr, allowed))}, got {value!r}."
            )
        return value

    # ---------------------------------------------------------------- to override
    def encode(self, x: Array) -> Array:
        """The output for an array that `as_input` made."""
        raise TypeError(f"{type(self).__name__} must override encode(x).")

    @property
    def output_dtype(self) -> str:
        """The dtype of the output, by name."""
        return "int64" if self.output_mode == "int" else self.dtype

    @property
    def dtype_of_input(self) -> str:
        """The dtype of an Input that a `Sequential` makes for it, by name."""
        return "string" if self.takes_strings else self.dtype

    # ---------------------------------------------------------------- as a layer
    def __call__(self, x: Any, training: bool | None = None, mask: Masks = None, **kwargs: Any) -> Any:
        if is_symbolic(x) or is_symbolic(kwargs):
            return super().__call__(x, training=training, mask=mask, **kwargs)
        self.compute_mask(x, mask)              # refuses one
        return self.encode(self.as_input(x), **kwargs)

    def forward(self, x: Arrays, tape: Tape, training: bool = False, mask: Masks = None) -> Arrays:
        tape.push(self)
        ready = not isinstance(x, list) and x.dtype == object      # strings have come through as_input
        return self.encode(x if ready else self.as_input(x))

    def backward(self, dy: Arrays, tape: Tape, need_dx: bool = True) -> Arrays:
        tape.pop(self)
        return None

    def check_dtypes(self, tensors: Sequence[Any]) -> None:
        for tensor in tensors:
            if (tensor.dtype == "string") is not self.takes_strings:
                wanted, cure = (
                    ("strings", "dtype='string'")
                    if self.takes_strings
                    else ("numbers", "dtype='int64', or for strings take StringLookup")
                )
                raise ValueError(
                    f"{self.who} takes {wanted}, but '{tensor.name}' has dtype {tensor.dtype}. Give its "
                    f"Input {cure}."
                )

    def check_input_shape(self, input_shape: Shapes) -> None:
        if len(input_shape) == 1 and self.output_mode in ("multi_hot", "count", "tf_idf"):
            raise ValueError(
                f"{self.who}: with output_mode='{self.output_mode}' the last axis is that of a sample, so an "
                f"input of shape {tuple(input_shape)} has no axis for the batch. Give Input a shape such as "
                "(1,)."
            )

    def output_dtypes(self, node: Node, number: int) -> list[str]:
        return [self.output_dtype] * number


def batches_of(data: Any, steps: int | None) -> Iterator[Any] | None:
    """The batches of what `adapt` takes, at most ``steps``; None for one array or list of samples.

    Of a batch (x, y) only x counts.
    """
    if isinstance(data, (list, tuple, np.ndarray, str, bytes)) or hasattr(data, "__array__"):
        return None
    if hasattr(data, "num_batches") or (hasattr(data, "__getitem__") and not hasattr(data, "__iter__")):
        count = getattr(data, "num_batches", None)
        count = len(data) if count is None else int(count)
        items = (data[i] for i in range(count))
    elif hasattr(data, "__iter__"):
        items = iter(data)
    else:
        raise TypeError(
            f"adapt takes an array, a list or something that yields batches, got {type(data).__name__}."
        )
    return (
        (_inputs(batch) for _, batch in zip(range(steps), items))
        if steps is not None
        else map(_inputs, items)
    )


def _inputs(batch: Any) -> Any:
    if isinstance(batch, tuple) and batch and not isinstance(batch[0], (str, bytes, int)):
        return batch[0]
    return batch
