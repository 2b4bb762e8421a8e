"""MultiHeadAttention: several attentions side by side, each on projections of its own."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import numpy as np

from tdfast import constraints, initializers, random, regularizers
from tdfast.engine.arrays import as_array
from tdfast.engine.layer import Layer
from tdfast.engine.structure import flatten
from tdfast.engine.tensor import is_symbolic
from tdfast.layers.attention.weighing import (
    attend,
    attend_backward,
    causal,
    dropping,
    product,
    products_backward,
    weigh,
    weigh_backward,
)
from tdfast.layers.core import positive_int, weight_config
from tdfast.layers.einsum_dense import EinsumDense

if TYPE_CHECKING:
    from collections.abc import Sequence

    from tdfast.engine.tape import Record, Tape
    from tdfast.engine.tensor import SymbolicTensor
    from tdfast.engine.types import (
        ActivationSpec,
        Array,
        Arrays,
        Config,
        ConstraintSpec,
        InitializerSpec,
        Masks,
        RegularizerSpec,
        Seed,
        Shapes,
        Sizes,
    )

LETTERS = "abcdefghijklmnopqrstuvwxyz"


class Heads(Layer):
    """What the layers of several heads share: calls, masks, projections, passes.

    A subclass makes ``query_dense``, ``key_dense``, ``value_dense``, ``_gate_dense`` (or None) and
    ``output_dense`` in `build`, sets ``repeats`` (how many query heads share a key) and says the ``axes``
    over which steps attend.
    """

    several_inputs = True
    shape_options: tuple[str, ...] = ("return_attention_scores",)
    repeats = 1

    def __init__(
        self,
        dropout: float = 0.0,
        use_bias: bool = True,
        sliding_window: int | None = None,
        flash_attention: Any = None,
        kernel_initializer: InitializerSpec = "glorot_uniform",
        bias_initializer: InitializerSpec = "zeros",
        kernel_regularizer: RegularizerSpec = None,
        bias_regularizer: RegularizerSpec = None,
        kernel_constraint: ConstraintSpec = None,
        bias_constraint: ConstraintSpec = None,
        use_gate: bool = False,
        activity_regularizer: RegularizerSpec = None,
        seed: Seed = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self._activity_regularizer = regularizers.get(activity_regularizer)      # of each projection
        if isinstance(dropout, (bool, str)) or not 0 <= dropout <= 1:
            raise ValueError(
                f"Layer '{self.name}' ({type(self).__name__}): dropout must be a number from 0 to 1, got "
                f"{dropout!r}."
            )
        if flash_attention not in (None, True, False):  # a way to the same numbers: here there is one
            raise ValueError(
                f"Layer '{self.name}' ({type(self).__name__}): flash_attention must be True, False or "
                "None, got "
                f"{flash_attention!r}."
            )
        self.dropout, self.use_bias = dropout, self._flag(use_bias, "use_bias")
        self.use_gate = self._flag(use_gate, "use_gate")
        self.sliding_window = (
            None if sliding_window is None else positive_int(sliding_window, "sliding_window", self)
        )
        self.kernel_initializer = initializers.get(kernel_initializer)
        self.bias_initializer = initializers.get(bias_initializer)
        self.kernel_regularizer = regularizers.get(kernel_regularizer)
        self.bias_regularizer = regularizers.get(bias_regularizer)
        self.kernel_constraint = constraints.get(kernel_constraint)
        self.bias_constraint = constraints.get(bias_constraint)
        self.seed = random.check_seed(seed)
        self.seed_generator = random.SeedGenerator(self.seed) if dropout > 0 else None
        self.query_dense: Any = None
        self.key_dense: Any = None
        self.value_dense: Any = None
        self.output_dense: Any = None
        self._gate_dense: Any = None

    # ---------------------------------------------------------------- calls
    def __call__(  # type: ignore[override]
        self,
        query: Array | SymbolicTensor,
        value: Any = None,
        key: Any = None,
        query_mask: Any = None,
        value_mask: Any = None,
        key_mask: Any = None,
        attention_mask: Array | SymbolicTensor | None = None,
        return_attention_scores: bool = False,
        training: bool | None = None,
        use_causal_mask: bool = False,
    ) -> Any:
        if value is None:
            raise TypeError(
                f"Layer '{self.name}' ({type(self).__name__}) is called with a query and a value: "
                "layer(x, x) lets x attend to itself."
            )
        inputs = [query, value] if key is None else [query, value, key]
        masks = [query_mask, value_mask, key_mask][: len(inputs)]
        options = {
            "return_attention_scores": bool(return_attention_scores),
            "use_causal_mask": bool(use_causal_mask),
        }
        if is_symbolic([inputs, masks, attention_mask]):
            further = {
                "query_mask": query_mask,
                "value_mask": value_mask,
                "key_mask": key_mask,
                "attention_mask": attention_mask,
                "training": training,
                **{name: True for name, on in options.items() if on},
            }
            return self._call_on_tensors(*inputs, **{k: v for k, v in further.items() if v is not None})
        given = None if all(m is None for m in masks) else masks
        return super().__call__(
            inputs, training=training, mask=given, attention_mask=attention_mask, **options
        )

    def bind(
        self,
        *inputs: Any,
        query_mask: Any = None,
        value_mask: Any = None,
        key_mask: Any = None,
        attention_mask: SymbolicTensor | None = None,
        training: bool | None = None,
        **options: Any,
    ) -> tuple[Any, ...]:
        keywords = {} if attention_mask is None else {"attention_mask": flatten(attention_mask)}
        masks = [query_mask, value_mask, key_mask][: len(inputs)]
        if training is not None:
            options["training"] = bool(training)
        return list(inputs), keywords, None if all(m is None for m in masks) else masks, options

    def as_input(self, x: Arrays, who: str | None = None) -> list[Any]:
        who = who or f"Layer '{self.name}' ({type(self).__name__})"
        return [as_array(part, self.dtype, who) for part in x]

    # ---------------------------------------------------------------- shapes
    def sublayers(self) -> list[Any]:
        parts = [self.query_dense, self.key_dense, self._gate_dense, self.value_dense, self.output_dense]
        return [part for part in parts if part is not None]

    def check_input_shape(self, input_shape: Shapes) -> None:
        who, shapes = f"Layer '{self.name}' ({type(self).__name__})", [tuple(s) for s in input_shape]
        query, value, key = (*shapes, shapes[1])[:3]
        if len(query) < 3 or not len(query) == len(value) == len(key):
            raise ValueError(f"{who} expects inputs of shape (batch, time, features), got shapes {shapes}.")
        if value[1:-1] != key[1:-1]:
            raise ValueError(f"{who} needs as many keys as values, got shapes {shapes}.")
        if self.built:
            for part, shape in zip((self.query_dense, self.value_dense, self.key_dense), (query, value, key)):
                part.check_input_shape(shape)

    def projection(self, name: str, n: int, heads: int, width: int,
                   activation: ActivationSpec = None) -> Layer:
        """An `EinsumDense` from (batch, ..., features) to (batch, ..., heads, width)."""
        free, inner, out = LETTERS[: n - 1], LETTERS[n - 1], LETTERS[n : n + 2]
        return EinsumDense(
            f"{free}{inner},{inner}{out}->{free}{out}",
            (*[None] * (n - 2), heads, width),
            bias_axes=out if self.use_bias else None,
            activation=activation,
            name=name,
            **self._common(),
        )

    def _common(self) -> dict[str, Any]:
        """The arguments that all projections have; an initializer with a seed of its own for each."""
        again = {
            f"{what}_initializer": type(made).from_config(made.get_config())
            for what, made in (("kernel", self.kernel_initializer), ("bias", self.bias_initializer))
        }
        return {
            **again,
            "kernel_regularizer": self.kernel_regularizer,
            "bias_regularizer": self.bias_regularizer,
            "kernel_constraint": self.kernel_constraint,
            "bias_constraint": self.bias_constraint,
            "activity_regularizer": self._activity_regularizer,
            "dtype": self.dtype,
        }

    def make_parts(self, shapes: Sequence[Any], heads: int, key_heads: int, key_width: int, value_width: int,
                   output_shape: Sequence[Any]) -> None:
        """Make the projections, and build them."""
        query, value, key = (*shapes, shapes[1])[:3]
        n = len(query)
        self.query_dense = self.projection("query", n, heads, key_width)
        self.key_dense = self.projection("key", n, key_heads, key_width)
        if self.use_gate:
            self._gate_dense = self.projection("gate", n, heads, value_width, "sigmoid")
        self.value_dense = self.projection("value", n, key_heads, value_width)
        free, inner, out = (
            LETTERS[: n - 1],
            LETTERS[n - 1 : n + 1],
            LETTERS[n + 1 : n + 1 + len(output_shape)],
        )
        self.output_dense = EinsumDense(
            f"{free}{inner},{inner}{out}->{free}{out}",
            (*[None] * (n - 2), *output_shape),
            bias_axes=out if self.use_bias else None,
            name="attention_output",
            **self._common(),
        )
        for part, shape in (
            (self.query_dense, query),
            (self.key_dense, key),
            (self._gate_dense, query),
            (self.value_dense, value),
            (self.output_dense, (*query[:-1], heads, value_width)),
        ):
            if part is not None:
                self.build_inner(part, shape)

    def compute_mask(self, inputs: Any, mask: Masks = None) -> Masks:
        return None if mask is None else mask[0]

    def passed_mask(self, x: Arrays, mask: Masks, record: Record) -> Masks:
        passed = self.compute_mask(x, mask)
        return [passed, None] if record.gives_shares else passed

    # ---------------------------------------------------------------- passes
    def attended_axes(self, ndim: int) -> tuple[Any, ...]:
        """The axes of an input over which steps attend to each other."""
        return (1,)

    def forward(
        self,
        x: Arrays,
        tape: Tape,
        training: bool = False,
        mask: Masks = None,
        attention_mask: Array | None = None,
        return_attention_scores: bool = False,
        use_causal_mask: bool = False,
    ) -> Arrays:
        rec = tape.push(self)
        query, value = x[:2]
        rec.three, rec.gives_shares = len(x) == 3, bool(return_attention_scores)
        key = x[2] if rec.three else value

        def projected(part: Any, x: Arrays) -> Any:
            y = part.forward(x, tape, training=training)
            rec.note_activity(part, y, part.name)
            return y

        q = projected(self.query_dense, query)
        k = projected(self.key_dense, key)
        gate = None if self._gate_dense is None else projected(self._gate_dense, query)
        v = projected(self.value_dense, value)
        rec.axes = self.attended_axes(query.ndim)
        rec.shapes, rec.scale = (q.shape, k.shape, v.shape), q.dtype.type(1 / math.sqrt(q.shape[-1]))
        masks = mask, attention_mask, use_causal_mask
        drop = dropping(self.dropout, self.seed_generator, training)
        rec.by_blocks = not rec.gives_shares and drop is None
        if rec.by_blocks:
            context = self._by_blocks(rec, q, k, v, masks)
        else:
            context = self._at_once(rec, q, k, v, masks, drop)
        rec.gate, rec.context = gate, context
        y = projected(self.output_dense, context if gate is None else context * gate)
        return [y, rec.shares.reshape(_scores_shape(q.shape, k.shape, rec.axes))] if rec.gives_shares else y

    def _by_blocks(self, rec: Record, q: Array, k: Array, v: Array, masks: Any) -> Array:
        """All heads, without their scores in memory: (batch, ..., heads, width)."""
        mask, attention_mask, use_causal_mask = masks
        axes, options = rec.axes, {}
        if axes == (1,) and q.ndim == 4:
            of_query, *of_keys = [None] if mask is None else mask
            given = [m for m in of_keys if m is not None]
            options = {
                "queries": of_query,
                "keys": np.logical_and.reduce(given) if given else None,
                "mask": self._given_mask(attention_mask),
                "causal": use_causal_mask,
                "window": self.sliding_window or 0,
            }
        else:
            counts = self._counts(q.shape[:-1], k.shape[:-1], masks, axes)
            if counts is not None:
                options = {"mask": counts.reshape(math.prod(counts.shape[:-3]), *counts.shape[-3:])}
        q, k, v = (_by_steps(x, axes) for x in (q, k, v))
        weighed = attend(rec, q, k, v, scale=rec.scale, zero=self.dropout > 0, **options)
        shape = (*rec.shapes[0][:-1], v.shape[-1])
        return _from_steps(weighed, shape, axes)

    @staticmethod
    def _given_mask(attention_mask: Any) -> Array | None:
        """attention_mask with an axis for the heads."""
        if attention_mask is None:
            return None
        given = np.asarray(attention_mask[0] if isinstance(attention_mask, list) else attention_mask, bool)
        while given.ndim < 4:
            given = np.expand_dims(given, -3)
        return given

    def _at_once(self, rec: Record, q: Array, k: Array, v: Array, masks: Any, drop: Any) -> Array:
        """The same with all scores in memory, where the shares are an output or meet dropout."""
        rec.q = _by_head(q, rec.axes)
        rec.q *= rec.scale
        rec.k = np.ascontiguousarray(np.swapaxes(self._shared(_by_head(k, rec.axes)), -1, -2))
        scores = rec.buffer("scores", (*rec.q.shape[:-1], rec.k.shape[-1]), q.dtype)
        product(rec, rec.q, rec.k, scores)
        weighed = weigh(
            rec,
            scores,
            self._shared(_by_head(v, rec.axes)),
            self._counts(q.shape[:-1], k.shape[:-1], masks, rec.axes),
            drop,
            lambda s: s.dtype.type(-1e9),
            zero=True,              # as in Keras, where these take another way
        )
        return _from_heads(weighed, (*q.shape[:-1], v.shape[-1]), rec.axes)

    def _shared(self, heads: Array) -> Array:
        """Keys or values for each head of the query."""
        return heads if self.repeats == 1 else np.repeat(heads, self.repeats, axis=-3)

    def _unshared(self, d: Array) -> Array:
        if self.repeats == 1:
            return d
        shape = (*d.shape[:-3], d.shape[-3] // self.repeats, self.repeats, *d.shape[-2:])
        return d.reshape(shape).sum(axis=-3)

    def _counts(self, query: Sizes, key: Sizes, masks: Any, axes: Sequence[int]) -> Array | None:
        """Which scores count, (batch..., heads, T, S), for the shapes (batch, ..., heads); None: all."""
        mask, attention_mask, use_causal_mask = masks
        parts = []
        if mask is not None:
            for m, place in zip(mask, (-1, -2, -2)):
                if m is not None:
                    parts.append(np.expand_dims(np.asarray(m, bool), place))
        T, S = (math.prod(shape[a] for a in axes) for shape in (query, key))
        if use_causal_mask:
            parts.append(causal(T, S))
        if self.sliding_window is not None:
            apart = np.abs(np.arange(T)[:, None] - np.arange(S))
            parts.append((apart < self.sliding_window)[None])
        if attention_mask is not None:
            given = attention_mask[0] if isinstance(attention_mask, list) else attention_mask
            parts.append(np.asarray(given, bool))
        if not parts:
            return None
        counts = parts[0]
        for part in parts[1:]:
            counts = counts & part
        whole = _scores_shape((*query, 1), (*key, 1), axes)
        while counts.ndim < len(whole):
            counts = np.expand_dims(counts, -2 * len(axes) - 1)
        return np.broadcast_to(counts, whole).reshape(*whole[: -2 * len(axes)], T, S)

    def backward(self, dy: Arrays, tape: Tape, need_dx: bool = True) -> Arrays:
        rec, dshares = tape.peek(self), None
        if rec.gives_shares:
            dy, dshares = dy
            dshares = dshares.reshape(rec.shares.shape)

        def projected_back(part: Any, dy: Arrays, need_dx: bool) -> Any:
            return part.backward(rec.add_activity_gradient(dy, part.name), tape, need_dx)

        dcontext = projected_back(self.output_dense, dy, True)
        dgate = None
        if rec.gate is not None:
            dgate, dcontext = dcontext * rec.context, dcontext * rec.gate
        if rec.by_blocks:
            dq, dk, dv = self._by_blocks_backward(rec, dcontext)
        else:
            dq, dk, dv = self._at_once_backward(rec, dcontext, dshares)
        dvalue = projected_back(self.value_dense, dv, need_dx)
        by_gate = (
            None
            if dgate is None
            else projected_back(self._gate_dense, np.ascontiguousarray(dgate), need_dx)
        )
        dkey = projected_back(self.key_dense, dk, need_dx)
        dquery = projected_back(self.query_dense, dq, need_dx)
        tape.pop(self)
        if not need_dx:
            return [None] * (3 if rec.three else 2)
        if by_gate is not None:
            dquery = dquery + by_gate
        if not rec.three:
            dvalue += dkey
        return [dquery, dvalue, dkey] if rec.three else [dquery, dvalue]

    def _by_blocks_backward(self, rec: Record, dcontext: Array) -> list[Array]:
        """The gradients by the projected query, key and value."""
        gradients = attend_backward(rec, _by_steps(dcontext, rec.axes))
        return [_from_steps(d, shape, rec.axes) for d, shape in zip(gradients, rec.shapes)]

    def _at_once_backward(self, rec: Record, dcontext: Array, dshares: Array | None) -> list[Array]:
        d, dv = weigh_backward(rec, _by_head(dcontext, rec.axes), dshares)
        dq, dk = np.empty_like(rec.q), np.empty_like(rec.k)
        products_backward(rec, rec.q, rec.k, d, dq, dk)
        dq *= rec.scale
        dk = self._unshared(np.ascontiguousarray(np.swapaxes(dk, -1, -2)))
        gradients = dq, dk, self._unshared(dv)
        return [_from_heads(d, shape, rec.axes) for d, shape in zip(gradients, rec.shapes)]

    def heads_config(self) -> dict[str, Any]:
        """The part of the config that all such layers have."""
        return {
            "dropout": self.dropout,
            "use_bias": self.use_bias,
            "use_gate": self.use_gate,
            "sliding_window": self.sliding_window,
            **weight_config(self, ("kernel", "bias")),
            "activity_regularizer": regularizers.serialize(self._activity_regularizer),
            "seed": self.seed,
        }


def _order(ndim: int, axes: Any) -> list[Any]:
    """The axes of (batch, ..., heads, width) with those that steps attend over last but one."""
    rest = [a for a in range(ndim - 2) if a not in axes]
    return [*rest, ndim - 2, *axes, ndim - 1]


def _by_steps(x: Array, axes: Sequence[int]) -> Array:
    """(batch, ..., heads, width) as (batch and the rest, steps, heads, width); a view where they are in order
    already."""
    rest = [a for a in range(x.ndim - 2) if a not in axes]
    moved = np.transpose(x, [*rest, *axes, x.ndim - 2, x.ndim - 1])
    return np.ascontiguousarray(moved).reshape(
        math.prod(x.shape[a] for a in rest), math.prod(x.shape[a] for a in axes), *x.shape[-2:])


def _from_steps(x: Array, shape: Sizes, axes: Sequence[int]) -> Array:
    """The inverse of `_by_steps`, for an array of this shape; C-contiguous."""
    order = [*(a for a in range(len(shape) - 2) if a not in axes), *axes, len(shape) - 2, len(shape) - 1]
    moved = x.reshape([shape[a] for a in order])
    return np.ascontiguousarray(np.transpose(moved, np.argsort(order)))


def _by_head(x: Arrays, axes: Sequence[int]) -> Array:
    """(batch, ..., heads, width) as (batch, rest..., heads, steps, width), a copy."""
    moved = np.transpose(x, _order(x.ndim, axes))
    kept = x.ndim - 1 - len(axes)
    steps = math.prod(x.shape[a] for a in axes)
    return np.array(moved.reshape(*moved.shape[:kept], steps, x.shape[-1]), order="C")


def _from_heads(x: Arrays, shape: Sizes, axes: Sequence[int]) -> Array:
    """The inverse of `_by_head`, for an array of this shape; C-contiguous."""
    order = _order(len(shape), axes)
    moved = x.reshape([shape[a] for a in order])
    return np.ascontiguousarray(np.transpose(moved, np.argsort(order)))


def _scores_shape(query: Sequence[Any], key: Any, axes: Any) -> tuple[Any, ...]:
    """(batch, rest..., heads, steps of the query..., steps of the key...), from (batch, ..., heads, "
    "width)."""
    rest = [query[a] for a in range(len(query) - 2) if a not in axes]
    return (*rest, query[-2], *(query[a] for a in axes), *(key[a] for a in axes))


class MultiHeadAttention(Heads):
    """Several attentions side by side, each on projections of its own (Vaswani et al.)::

        head = softmax(q k^T / sqrt(key_dim)) v,    y = all heads times the output weights

    with q, k, v the projections of query, key and value.

    Args:
        num_heads: how many.
        key_dim: the width of a head's queries and keys.
        value_dim: that of its values; None: key_dim.
        dropout: the part of the shares that is left out in training, 0 by default.
        use_bias: whether the projections have a bias.
        output_shape: the width of the output, or its shape; None: the query's width.
        attention_axes: the axes of the inputs over which steps attend to each other; None: all between the
            batch and the features.
        sliding_window: a step attends to those fewer than so many steps away; None: to all.
        flash_attention: accepted; the numbers are the same.
        kernel_initializer, bias_initializer, kernel_regularizer, bias_regularizer, activity_regularizer,
            kernel_constraint, bias_constraint: as for `Dense`, of all projections.
        use_gate: True multiplies the heads by a sigmoid of another projection of the query.
        seed: a whole number, or None.

    It is called with a query (batch, T, features), a value (batch, S, features) and a key, which is the value
    if it is not given: ``layer(x, x)`` is self-attention. ``query_mask``, ``value_mask`` and ``key_mask`` are
    those of the inputs, if they are not given; ``attention_mask`` (batch, T, S) says which steps see which;
    ``use_causal_mask=True`` lets a step see those up to itself alone; ``return_attention_scores=True`` gives
    the shares (batch, heads, T, S) as well.

    Source: https://keras.io/api/layers/attention_layers/multi_head_attention/.

    >>> import numpy as np
    >>> x = np.zeros((5, 9, 8))
    >>> MultiHeadAttention(num_heads=2, key_dim=4)(x, x).shape
    (5, 9, 8)
    """

    def __init__(
        self,
        num_heads: int,
        key_dim: int,
        value_dim: int | None = None,
        dropout: float = 0.0,
        use_bias: bool = True,
        output_shape: int | Sequence[Any] | None = None,
        attention_axes: Any = None,
        sliding_window: int | None = None,
        flash_attention: Any = None,
        kernel_initializer: InitializerSpec = "glorot_uniform",
        bias_initializer: InitializerSpec = "zeros",
        kernel_regularizer: RegularizerSpec = None,
        bias_regularizer: RegularizerSpec = None,
        activity_regularizer: RegularizerSpec = None,
        kernel_constraint: ConstraintSpec = None,
        bias_constraint: ConstraintSpec = None,
        use_gate: bool = False,
        seed: Seed = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(
            dropout=dropout, use_bias=use_bias, sliding_window=sliding_window,
            flash_attention=flash_attention, kernel_initializer=kernel_initializer,
            bias_initializer=bias_initializer,
            kernel_regularizer=kernel_regularizer, bias_regularizer=bias_regularizer,
            activity_regularizer=activity_regularizer, kernel_constraint=kernel_constraint,
            bias_constraint=bias_constraint, use_gate=use_gate, seed=seed, **kwargs,
        )
        self.num_heads = positive_int(num_heads, "num_heads", self)
        self.key_dim = positive_int(key_dim, "key_dim", self)
        self.value_dim = self.key_dim if value_dim is None else positive_int(value_dim, "value_dim", self)
        if isinstance(output_shape, int):
            output_shape = (output_shape,)
        self._given_output_shape = None if not output_shape else tuple(output_shape)
        if isinstance(attention_axes, int):
            attention_axes = (attention_axes,)
        self.attention_axes = None if attention_axes is None else tuple(attention_axes)

    def build(self, input_shape: Shapes) -> None:
        shapes = [tuple(shape) for shape in input_shape]
        out = self._given_output_shape or (shapes[0][-1],)
        self.make_parts(shapes, self.num_heads, self.num_heads, self.key_dim, self.value_dim, out)

    def attended_axes(self, ndim: int) -> tuple[Any, ...]:
        if self.attention_axes is None:
            return tuple(range(1, ndim - 1))
        return tuple(axis if axis >= 0 else ndim + axis for axis in self.attention_axes)

    def compute_output_shape(self, input_shape: Shapes, return_attention_scores: bool = False) -> Shapes:
        query, value = tuple(input_shape[0]), tuple(input_shape[1])
        y = (*query[:-1], *(self._given_output_shape or (query[-1],)))
        if not return_attention_scores:
            return y
        axes = self.attended_axes(len(query))
        return [y, _scores_shape((*query[:-1], self.num_heads, 1), (*value[:-1], 1, 1), axes)]

    def get_config(self) -> Config:
        return {
            **super().get_config(),
            "num_heads": self.num_heads,
            "key_dim": self.key_dim,
            "value_dim": self.value_dim,
            "output_shape": self._given_output_shape,
            "attention_axes": self.attention_axes,
            **self.heads_config(),
        }
