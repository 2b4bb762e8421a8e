"""Layers that join several inputs."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import numpy as np

from tdfast.engine import program
from tdfast.engine.arrays import as_array
from tdfast.engine.gradients import unbroadcast
from tdfast.engine.layer import Layer
from tdfast.engine.program import blend

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from tdfast.engine.tape import Record, Tape
    from tdfast.engine.types import Array, Arrays, Axes, Config, Masks, Shapes, Sizes


class Merge(Layer):
    """What the layers over a list of inputs share: shapes that fit, masks that join."""

    several_inputs = True
    per_step = False

    def as_input(self, x: Arrays, who: str | None = None) -> list[Any]:
        who = who or f"Layer '{self.name}' ({type(self).__name__})"
        if not isinstance(x, (list, tuple)):
            raise ValueError(f"{who} expects a list of inputs, got {type(x).__name__}.")
        return [as_array(part, self.dtype, who) for part in x]

    def check_input_shape(self, input_shape: Shapes) -> None:
        if len(input_shape) < 2 or not all(isinstance(shape, (tuple, list)) for shape in input_shape):
            raise ValueError(
                f"Layer '{self.name}' ({type(self).__name__}) joins a list of at least 2 inputs, got "
                f"{'1' if input_shape else 'none'}: call it on [a, b]."
            )
        self.check_shapes([tuple(shape) for shape in input_shape])

    def check_shapes(self, shapes: Sequence[Any]) -> None:
        """Raise a ValueError that names the shapes that do not fit each other."""
        batches = {shape[0] for shape in shapes if shape and shape[0] is not None}
        if len(batches) > 1:
            raise ValueError(
                f"Layer '{self.name}' ({type(self).__name__}) cannot join inputs with different numbers of "
                f"samples, got shapes {shapes}."
            )

    def compute_mask(self, inputs: Any, mask: Masks = None) -> Masks:
        """As in Keras: the steps that count in one input or more, if all of them have a mask, else None."""
        if mask is None or any(m is None for m in mask):
            return None
        joined = np.asarray(mask[0])
        for m in mask[1:]:
            joined = np.logical_or(*_widened_masks(joined, np.asarray(m)))
        return joined


def _widened_masks(a: Array, b: Array) -> list[Any]:
    """Two masks with as many axes each: what one says of a step holds for all that is in the step."""
    ndim = max(a.ndim, b.ndim)
    return [m.reshape(*m.shape, *(1,) * (ndim - m.ndim)) for m in (a, b)]


class Elementwise(Merge):
    """A function of several numbers at each place; shapes are broadcast, also where one has fewer axes.

    A subclass has ``combine(xs, masks, out)`` and ``slopes(dy, xs, masks, y)``, the gradients in the output's
    shape.
    """

    def combine(self, xs: Any, masks: Any, out: Any) -> Any:
        """Compute the output of inputs with as many axes each; a mask can be broadcast to its input, or is
        None."""
        raise TypeError(f"{type(self).__name__} must override combine(xs, masks, out).")

    def slopes(self, dy: Arrays, xs: Any, masks: Any, y: Array) -> Any:
        """The gradient by each input, in the output's shape."""
        raise TypeError(f"{type(self).__name__} must override slopes(dy, xs, masks, y).")

    def check_shapes(self, shapes: Sequence[Any]) -> None:
        super().check_shapes(shapes)
        self._joint(shapes)

    def _joint(self, shapes: Sequence[Any]) -> tuple[Any, ...]:
        """The shape that all inputs are brought to."""
        ndim = max(map(len, shapes))
        wide = [self._widened(shape, ndim) for shape in shapes]
        out = []
        for sizes in zip(*wide):
            known = {n for n in sizes if n not in (1, None)}
            if len(known) > 1:
                raise ValueError(
                    f"Layer '{self.name}' ({type(self).__name__}) cannot join inputs of shapes {shapes}: "
                    "sizes "
                    "must be equal, or 1."
                )
            out.append(known.pop() if known else None if None in sizes else 1)
        return tuple(out)

    @staticmethod
    def _widened(shape: Sizes, ndim: int) -> tuple[Any, ...]:
        """A shape with so many axes: ones are put in after the batch, as in Keras."""
        return (*shape[:1], *(1,) * (ndim - len(shape)), *shape[1:])

    def treats_steps_alone(self, shape: Any) -> bool:
        """Where its inputs have as many axes each, so that no step meets another."""
        return len(set(map(len, shape))) == 1

    def compute_output_shape(self, input_shape: Shapes) -> Shapes:
        return self._joint([tuple(shape) for shape in input_shape])

    def forward(self, x: Arrays, tape: Tape, training: bool = False, mask: Masks = None) -> Arrays:
        rec = tape.push(self)
        shape = self._joint([a.shape for a in x])
        xs = [a.reshape(self._widened(a.shape, len(shape))) for a in x]
        y = rec.buffer("y", shape, x[0].dtype)
        masks = self._masks_for(xs, mask)
        self.combine(xs, masks, y)
        if tape.keep:
            rec.xs, rec.masks, rec.y, rec.shapes = xs, masks, y, [a.shape for a in x]
        return y

    @staticmethod
    def _masks_for(xs: Any, masks: Any) -> list[Any]:
        """The masks with ones for the axes that they lack."""
        if masks is None or all(mask is None for mask in masks):
            return [None] * len(xs)
        return [
            None if mask is None else np.reshape(mask, (*np.shape(mask), *(1,) * (x.ndim - np.ndim(mask))))
            for x, mask in zip(xs, masks)
        ]

    def backward(self, dy: Arrays, tape: Tape, need_dx: bool = True) -> Arrays:
        rec = tape.pop(self)
        if not need_dx:
            return [None] * len(rec.xs)
        return [
            unbroadcast(part, a.shape).reshape(shape)
            for part, a, shape in zip(self.slopes(dy, rec.xs, rec.masks, rec.y), rec.xs, rec.shapes)
        ]


class Add(Elementwise):
    """The sum of its inputs.

    Inputs: a list of two or more arrays (batch, ...), of equal or broadcast shapes.

    Source: https://keras.io/api/layers/merging_layers/add/.

    >>> Add()([[[1.0, 2.0]], [[3.0, 4.0]]]).tolist()
    [[4.0, 6.0]]
    """

    def can_be_prepared(self, training: bool) -> bool:
        return True

    def combine(self, xs: Any, masks: Any, out: Array) -> None:
        first, *others = [x if x.shape == out.shape else np.broadcast_to(x, out.shape) for x in xs]
        blend("copy", out, first)
        for x in others:
            blend("add", out, x)

    def backward(self, dy: Arrays, tape: Tape, need_dx: bool = True) -> Arrays:
        rec = tape.pop(self)
        if not need_dx:
            return [None] * len(rec.xs)
        return [self._part(rec, k, dy).reshape(shape) for k, shape in enumerate(rec.shapes)]

    @staticmethod
    def _part(rec: Record, k: int, dy: Array) -> Array:
        """The gradient of input k: dy, or its sums where the input was broadcast."""
        shape = rec.xs[k].shape
        if shape == dy.shape:
            return dy
        dx = rec.buffer(("dx", k), shape, dy.dtype)
        program.call(lambda: np.copyto(dx, unbroadcast(dy, shape)))
        return dx


class Subtract(Elementwise):
    """The first of its two inputs less the second.

    Source: https://keras.io/api/layers/merging_layers/subtract/.

    >>> Subtract()([[[3.0, 4.0]], [[1.0, 2.0]]]).tolist()
    [[2.0, 2.0]]
    """

    def check_shapes(self, shapes: Sequence[Any]) -> None:
        if len(shapes) != 2:
            raise ValueError(f"Layer '{self.name}' (Subtract) takes exactly 2 inputs, got {len(shapes)}.")
        super().check_shapes(shapes)

    def combine(self, xs: Any, masks: Any, out: Array) -> None:
        np.subtract(*xs, out=out)  # type: ignore[call-overload]

    def slopes(self, dy: Arrays, xs: Any, masks: Any, y: Array) -> list[Any]:
        return [dy, -dy]


class Multiply(Elementwise):
    """The product of its inputs. A masked step of one input counts as 1 there, and is 0 where all are masked.

    Source: https://keras.io/api/layers/merging_layers/multiply/.

    >>> Multiply()([[[3.0, 4.0]], [[1.0, 2.0]]]).tolist()
    [[3.0, 8.0]]
    """

    def _factors(self, xs: Any, masks: Any) -> tuple[Any, ...]:
        """The inputs with 1 at masked steps, and where the product counts (None: everywhere)."""
        factors = [x if m is None else np.where(m, x, np.ones((), x.dtype)) for x, m in zip(xs, masks)]
        return factors, None if any(m is None for m in masks) else np.logical_or.reduce(
            np.broadcast_arrays(*masks)
        )

    def combine(self, xs: Any, masks: Any, out: Array) -> None:
        factors, counts = self._factors(xs, masks)
        np.multiply(factors[0], factors[1], out=out)
        for x in factors[2:]:
            out *= x
        if counts is not None:
            out *= counts

    def slopes(self, dy: Arrays, xs: Any, masks: Any, y: Array) -> list[Any]:
        factors, counts = self._factors(xs, masks)
        dy = dy if counts is None else dy * counts
        parts = [_product([dy, *factors[:i], *factors[i + 1 :]]) for i in range(len(xs))]
        return [d if m is None else d * m for d, m in zip(parts, masks)]


def _product(factors: Sequence[Any]) -> Array:
    out = factors[0] * factors[1]
    for factor in factors[2:]:
        out *= factor
    return out


class Average(Elementwise):
    """The mean of its inputs.

    Source: https://keras.io/api/layers/merging_layers/average/.

    >>> Average()([[[3.0, 4.0]], [[1.0, 2.0]]]).tolist()
    [[2.0, 3.0]]
    """

    def combine(self, xs: Any, masks: Any, out: Array) -> None:
        np.add(xs[0], xs[1], out=out)
        for x in xs[2:]:
            out += x
        out /= len(xs)

    def slopes(self, dy: Arrays, xs: Any, masks: Any, y: Array) -> list[Array]:
        return [dy / len(xs)] * len(xs)


class _Chosen(Elementwise):
    """One of the numbers at each place, of those that no mask leaves out.

    Inputs join one after the other. Of two equal numbers, each has half of the gradient.
    """

    choose: Any

    def _joined(self, xs: Any, masks: Any) -> Iterator[Any]:
        """(what there was, what came, what was chosen, which of both count) for each input but the first."""
        best, counts = xs[0], masks[0]
        for x, m in zip(xs[1:], masks[1:]):
            new = x if m is None else np.where(m, x, best)
            old = best if counts is None else np.where(counts, best, new)
            best = self.choose(old, new)
            yield old, new, best, counts, m
            counts = None if counts is None or m is None else np.logical_or(counts, m)

    def combine(self, xs: Any, masks: Any, out: Array) -> None:
        out[...] = list(self._joined(xs, masks))[-1][2]

    def slopes(self, dy: Arrays, xs: Any, masks: Any, y: Array) -> list[Any]:
        out = []
        for old, new, best, counts, m in reversed(list(self._joined(xs, masks))):
            share = np.where(old == new, 0.5, new == best).astype(dy.dtype)
            by_new, by_old = dy * share, dy * (1 - share)
            if counts is not None:              # old = best before where that counts, else new
                by_new, by_old = by_new + by_old * ~counts, by_old * counts
            if m is not None:                   # new = x where that counts, else best before
                by_new, by_old = by_new * m, by_old + by_new * ~m
            out.append(by_new)
            dy = by_old
        return [dy, *reversed(out)]


class Maximum(_Chosen):
    """The largest of its inputs at each place.

    Source: https://keras.io/api/layers/merging_layers/maximum/.

    >>> Maximum()([[[3.0, 1.0]], [[1.0, 2.0]]]).tolist()
    [[3.0, 2.0]]
    """

    @staticmethod
    def choose(a: Array, b: Array, out: Any = None) -> Array:
        """The larger of two numbers at each place."""
        return np.maximum(a, b, out=out)


class Minimum(_Chosen):
    """The smallest of its inputs at each place.

    Source: https://keras.io/api/layers/merging_layers/minimum/.

    >>> Minimum()([[[3.0, 1.0]], [[1.0, 2.0]]]).tolist()
    [[1.0, 1.0]]
    """

    @staticmethod
    def choose(a: Array, b: Array, out: Any = None) -> Array:
        """The smaller of two numbers at each place."""
        return np.minimum(a, b, out=out)


class Concatenate(Merge):
    """Its inputs, one after the other along an axis.

    Args:
        axis: along which; all other sizes must be equal.

    Source: https://keras.io/api/layers/merging_layers/concatenate/.

    >>> Concatenate()([[[1.0, 2.0]], [[3.0]]]).tolist()
    [[1.0, 2.0, 3.0]]
    """

    def __init__(self, axis: int = -1, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        if isinstance(axis, bool) or not hasattr(axis, "__index__"):
            raise ValueError(f"Layer '{self.name}' (Concatenate): axis must be a whole number, got {axis!r}.")
        self.axis = int(axis)

    def can_be_prepared(self, training: bool) -> bool:
        return True

    def _axis_in(self, shapes: Sequence[Any]) -> int:
        ndim = len(shapes[0])
        if not -ndim <= self.axis < ndim:
            raise ValueError(
                f"Layer '{self.name}' (Concatenate): axis={self.axis} is not an axis of inputs of shapes "
                f"{shapes}."
            )
        return self.axis % ndim

    def check_shapes(self, shapes: Sequence[Any]) -> None:
        if len({len(shape) for shape in shapes}) > 1:
            raise ValueError(
                f"Layer '{self.name}' (Concatenate) needs inputs with as many axes each, got shapes {shapes}."
            )
        axis = self._axis_in(shapes)
        for i, sizes in enumerate(zip(*shapes)):
            if i != axis and len({n for n in sizes if n is not None}) > 1:
                raise ValueError(
                    f"Layer '{self.name}' (Concatenate) joins along axis {axis}, so all other sizes must be "
                    f"equal, got shapes {shapes}."
                )

    def treats_steps_alone(self, shape: Any) -> bool:
        return self._axis_in(shape) > 1

    def compute_output_shape(self, input_shape: Shapes) -> Shapes:
        shapes = [tuple(shape) for shape in input_shape]
        axis = self._axis_in(shapes)
        out = [next((n for n in sizes if n is not None), None) for sizes in zip(*shapes)]
        sizes = [shape[axis] for shape in shapes]
        out[axis] = None if None in sizes else sum(sizes)
        return tuple(out)

    def compute_mask(self, inputs: Any, mask: Masks = None) -> Masks:
        if mask is None or all(m is None for m in mask):
            return None
        axis = self._axis_in([np.shape(x) for x in inputs])
        parts = []
        for x, m in zip(inputs, mask):  # as in Keras: without a mask all steps of an input count
            whole = np.shape(x)[:-1]
            m = np.ones((1,) * len(whole), bool) if m is None else np.asarray(m)
            parts.append(np.broadcast_to(m.reshape(*m.shape, *(1,) * (len(whole) - m.ndim)), whole))
        if axis < len(parts[0].shape):
            return np.concatenate(parts, axis=axis)
        return np.logical_or.reduce(parts)

    def forward(self, x: Arrays, tape: Tape, training: bool = False, mask: Masks = None) -> Arrays:
        rec = tape.push(self)
        shapes = [a.shape for a in x]
        axis = self._axis_in(shapes)
        sizes = [shape[axis] for shape in shapes]
        shape = (*shapes[0][:axis], sum(sizes), *shapes[0][axis + 1 :])
        y = rec.buffer("y", shape, x[0].dtype)
        ends = [sum(sizes[: k + 1]) for k in range(len(sizes))]
        rec.parts = [(slice(None),) * axis + (slice(end - n, end),) for n, end in zip(sizes, ends)]
        for part, a in zip(rec.parts, x):
            blend("copy", y[part], a)
        return y

    def backward(self, dy: Arrays, tape: Tape, need_dx: bool = True) -> Arrays:
        rec = tape.pop(self)
        if not need_dx:
            return [None] * len(rec.parts)
        out = []
        for k, part in enumerate(rec.parts):
            dx = rec.buffer(("dx", k), dy[part].shape, dy.dtype)
            blend("copy", dx, dy[part])
            out.append(dx)
        return out

    def get_config(self) -> Config:
        return {**super().get_config(), "axis": self.axis}


class Dot(Merge):
    """The sum of products over one axis of each of its two inputs, sample by sample.

    Args:
        axes: the axis of both, or a pair, counted with the batch as 0.
        normalize: True makes vectors of length 1 of both first, for the cosine of their angle.

    Inputs (batch, ..., n, ...) and (batch, ..., n, ...); the output has the other axes of both, or
    (batch, 1).

    Source: https://keras.io/api/layers/merging_layers/dot/.

    >>> Dot(axes=1)([[[1.0, 2.0]], [[3.0, 4.0]]]).tolist()
    [[11.0]]
    """

    def __init__(self, axes: Axes, normalize: Any = False, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        pair = (
            [axes, axes] if isinstance(axes, int) else list(axes) if isinstance(axes, (list, tuple)) else []
        )
        if len(pair) != 2 or not all(isinstance(axis, int) and not isinstance(axis, bool) for axis in pair):
            raise ValueError(
                f"Layer '{self.name}' (Dot): axes must be a whole number or a pair of them, got {axes!r}."
            )
        self.axes = axes
        self.normalize = self._flag(normalize, "normalize")

    def _pair(self, shapes: Sequence[Any]) -> list[Any]:
        pair = [self.axes] * 2 if isinstance(self.axes, int) else self.axes
        if not all(-len(shape) <= axis < len(shape) for axis, shape in zip(pair, shapes)):
            raise ValueError(
                f"Layer '{self.name}' (Dot): axes={self.axes} do not fit inputs of shapes {shapes}."
            )
        return [axis % len(shape) for axis, shape in zip(pair, shapes)]

    def check_shapes(self, shapes: Sequence[Any]) -> None:
        super().check_shapes(shapes)
        if len(shapes) != 2:
            raise ValueError(f"Layer '{self.name}' (Dot) takes exactly 2 inputs, got {len(shapes)}.")
        if min(map(len, shapes)) < 2:
            raise ValueError(
                f"Layer '{self.name}' (Dot) needs inputs of at least 2 axes, got shapes {shapes}."
            )
        pair = self._pair(shapes)
        sizes = [shape[axis] for shape, axis in zip(shapes, pair)]
        if 0 in pair or None not in sizes and sizes[0] != sizes[1]:
            raise ValueError(
                f"Layer '{self.name}' (Dot): axes={self.axes} of inputs of shapes {shapes} have the sizes "
                f"{sizes}; they must be equal, and the batch cannot be one of them."
            )

    def compute_output_shape(self, input_shape: Shapes) -> Shapes:
        a, b = (list(shape) for shape in input_shape)
        i, j = self._pair([a, b])
        rest = [*a[1:i], *a[i + 1 :], *b[1:j], *b[j + 1 :]]
        return (a[0], *rest) if rest else (a[0], 1)

    def compute_mask(self, inputs: Any, mask: Masks = None) -> Masks:
        return None

    def forward(self, x: Arrays, tape: Tape, training: bool = False, mask: Masks = None) -> Arrays:
        rec = tape.push(self)
        pair = self._pair([a.shape for a in x])
        rec.lengths = None
        if self.normalize:
            rec.lengths = [
                np.maximum(np.sqrt((a * a).sum(axis=axis, keepdims=True)), np.asarray(1e-7, a.dtype))
                for a, axis in zip(x, pair)
            ]
            x = [a / length for a, length in zip(x, rec.lengths)]
        rec.sides = [self._side(a, axis, last) for a, axis, last in zip(x, pair, (True, False))]
        rec.x, rec.pair = x, pair
        y = np.matmul(*rec.sides)
        return y.reshape(self.compute_output_shape([a.shape for a in x]))

    @staticmethod
    def _side(a: Array, axis: int, last: bool) -> Array:
        """(batch, rest, n), or (batch, n, rest) for the second input."""
        moved = np.moveaxis(a, axis, -1)
        flat = moved.reshape(len(a), math.prod(moved.shape[1:-1]), moved.shape[-1])
        return flat if last else np.swapaxes(flat, 1, 2)

    def backward(self, dy: Arrays, tape: Tape, need_dx: bool = True) -> Arrays:
        rec = tape.pop(self)
        a, b = rec.sides
        dy = dy.reshape(len(dy), a.shape[1], b.shape[2])
        sides = np.matmul(dy, np.swapaxes(b, 1, 2)), np.swapaxes(np.matmul(np.swapaxes(a, 1, 2), dy), 1, 2)
        out = []
        for k, (d, x, axis) in enumerate(zip(sides, rec.x, rec.pair)):
            moved = np.moveaxis(x, axis, -1).shape
            d = np.ascontiguousarray(np.moveaxis(d.reshape(moved), -1, axis))
            if rec.lengths is not None:
                d = (d - x * (d * x).sum(axis=axis, keepdims=True)) / rec.lengths[k]
            out.append(d)
        return out

    def get_config(self) -> Config:
        return {**super().get_config(), "axes": self.axes, "normalize": self.normalize}


# ---------------------------------------------------------------- the same as functions


def add(inputs: Any, **kwargs: Any) -> Any:
    """`Add` of a list of inputs: ``Add(**kwargs)(inputs)``.

    >>> add([[[3.0]], [[1.0]]]).shape
    (1, 1)
    """
    return Add(**kwargs)(inputs)


def subtract(inputs: Any, **kwargs: Any) -> Any:
    """`Subtract` of a list of inputs: ``Subtract(**kwargs)(inputs)``.

    >>> subtract([[[3.0]], [[1.0]]]).shape
    (1, 1)
    """
    return Subtract(**kwargs)(inputs)


def multiply(inputs: Any, **kwargs: Any) -> Any:
    """`Multiply` of a list of inputs: ``Multiply(**kwargs)(inputs)``.

    >>> multiply([[[3.0]], [[1.0]]]).shape
    (1, 1)
    """
    return Multiply(**kwargs)(inputs)


def average(inputs: Any, **kwargs: Any) -> Any:
    """`Average` of a list of inputs: ``Average(**kwargs)(inputs)``.

    >>> average([[[3.0]], [[1.0]]]).shape
    (1, 1)
    """
    return Average(**kwargs)(inputs)


def maximum(inputs: Any, **kwargs: Any) -> Any:
    """`Maximum` of a list of inputs: ``Maximum(**kwargs)(inputs)``.

    >>> maximum([[[3.0]], [[1.0]]]).shape
    (1, 1)
    """
    return Maximum(**kwargs)(inputs)


def minimum(inputs: Any, **kwargs: Any) -> Any:
    """`Minimum` of a list of inputs: ``Minimum(**kwargs)(inputs)``.

    >>> minimum([[[3.0]], [[1.0]]]).shape
    (1, 1)
    """
    return Minimum(**kwargs)(inputs)


def concatenate(inputs: Any, axis: int = -1, **kwargs: Any) -> Any:
    """`Concatenate` of a list of inputs: ``Concatenate(axis, **kwargs)(inputs)``.

    >>> concatenate([[[3.0]], [[1.0]]]).tolist()
    [[3.0, 1.0]]
    """
    return Concatenate(axis=axis, **kwargs)(inputs)


def dot(inputs: Any, axes: Axes = -1, **kwargs: Any) -> Any:
    """`Dot` of two inputs: ``Dot(axes, **kwargs)(inputs)``.

    >>> dot([[[3.0, 1.0]], [[1.0, 2.0]]]).tolist()
    [[5.0]]
    """
    return Dot(axes=axes, **kwargs)(inputs)
