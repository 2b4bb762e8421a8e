"""Attention and AdditiveAttention: scores of a query by each key, without weights of their own for both."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from tdfast import activations, random
from tdfast.engine.arrays import as_array
from tdfast.engine.layer import Layer
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

if TYPE_CHECKING:
    from tdfast.engine.tape import Record, Tape
    from tdfast.engine.types import Array, Arrays, Config, Masks, Seed, Shapes


class Attention(Layer):
    """The values, weighed by how much the query is like their keys (Luong)::

        y = softmax(query keys^T) values

    Args:
        use_scale: True learns a factor of the scores.
        score_mode: 'dot': the scores are query keys^T; 'concat': the sum over features of
            tanh(query + key), times a learned factor.
        dropout: the part of the shares that is left out in training.
        seed: a whole number, or None.

    It is called on [query, value] or [query, value, key]: (batch, Tq, features), (batch, Tv, width) and
    (batch, Tv, features); the output is (batch, Tq, width). The key is the value if it is not given. With
    ``return_attention_scores=True`` it gives the shares (batch, Tq, Tv) as well; ``use_causal_mask=True``
    lets a step see those up to itself alone. Masks: values that do not count have no share, and the output is
    0 where the query does not count.

    Source: https://keras.io/api/layers/attention_layers/attention/.

    >>> y = Attention()([[[[1.0, 0.0]]], [[[3.0, 1.0], [3.0, 5.0]]]])
    >>> y.round(2).tolist()
    [[[3.0, 3.0]]]
    """

    several_inputs = True
    shape_options: tuple[str, ...] = ("return_attention_scores",)

    def __init__(self, use_scale: Any = False, score_mode: str = "dot", dropout: float = 0.0,
                 seed: Seed = None, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.use_scale = self._flag(use_scale, "use_scale")
        if score_mode not in ("dot", "concat"):
            raise ValueError(
                f"Layer '{self.name}' ({type(self).__name__}): score_mode must be 'dot' or 'concat', got "
                f"{score_mode!r}."
            )
        if isinstance(dropout, (bool, str)) or not 0 <= dropout <= 1:
            raise ValueError(
                f"Layer '{self.name}' ({type(self).__name__}): dropout must be a number from 0 to 1, got "
                f"{dropout!r}."
            )
        self.score_mode, self.dropout, self.seed = score_mode, dropout, random.check_seed(seed)
        self.seed_generator = random.SeedGenerator(self.seed) if dropout > 0 else None
        self.scale: Any = None
        self.concat_score_weight: Any = None

    # ---------------------------------------------------------------- shapes
    def as_input(self, x: Arrays, who: str | None = None) -> list[Any]:
        who = who or f"Layer '{self.name}' ({type(self).__name__})"
        if not isinstance(x, (list, tuple)):
            raise ValueError(
                f"{who} expects a list, [query, value] or [query, value, key], got {type(x).__name__}."
            )
        return [as_array(part, self.dtype, who) for part in x]

    def check_input_shape(self, input_shape: Shapes) -> None:
        who, shapes = f"Layer '{self.name}' ({type(self).__name__})", [tuple(s) for s in input_shape]
        if len(shapes) not in (2, 3) or not all(isinstance(s, (tuple, list)) for s in input_shape):
            raise ValueError(
                f"{who} expects [query, value] or [query, value, key], got {len(shapes)} inputs."
            )
        query, value, key = (*shapes, shapes[1])[:3]
        if {len(query), len(value), len(key)} != {3}:
            raise ValueError(f"{who} expects inputs of shape (batch, time, features), got shapes {shapes}.")
        if query[2] != key[2] or None in (query[2], value[2]):
            raise ValueError(
                f"{who} needs as many features in the query as in the "
                f"{'key' if len(shapes) == 3 else 'value'}, got shapes {shapes}."
            )
        if None not in (value[1], key[1]) and value[1] != key[1]:
            raise ValueError(f"{who} needs as many keys as values, got shapes {shapes}.")

    def build(self, input_shape: Shapes) -> None:
        if self.use_scale:
            self.scale = self.add_weight((), "ones", "scale")
        if self.score_mode == "concat":
            self.concat_score_weight = self.add_weight((), "ones", "concat_score_weight")

    def compute_output_shape(self, input_shape: Shapes, return_attention_scores: bool = False) -> Shapes:
        query, value = tuple(input_shape[0]), tuple(input_shape[1])
        y = (*query[:-1], value[-1])
        return [y, (*query[:-1], value[1])] if return_attention_scores else y

    def compute_mask(self, inputs: Any, mask: Masks = None) -> Masks:
        return None if mask is None else mask[0]

    def passed_mask(self, x: Arrays, mask: Masks, record: Record) -> Masks:
        passed = self.compute_mask(x, mask)
        return [passed, None] if record.gives_shares else passed

    # ---------------------------------------------------------------- passes
    def forward(
        self,
        x: Arrays,
        tape: Tape,
        training: bool = False,
        mask: Masks = None,
        return_attention_scores: bool = False,
        use_causal_mask: bool = False,
    ) -> Arrays:
        rec = tape.push(self)
        query, value = x[:2]
        rec.x, rec.three, rec.gives_shares = x, len(x) == 3, bool(return_attention_scores)
        key = x[2] if rec.three else value
        masks = [None] * len(x) if mask is None else mask
        drop = dropping(self.dropout, self.seed_generator, training)
        rec.by_blocks = self.dot_products and not rec.gives_shares and drop is None
        if rec.by_blocks:
            y = self._by_blocks(rec, query, key, value, masks[1], use_causal_mask)
        else:
            counts = None if masks[1] is None else np.asarray(masks[1], bool)[:, None]
            if use_causal_mask:
                order = causal(query.shape[1], key.shape[1])
                counts = order if counts is None else counts & order
            scores = rec.buffer("scores", (*query.shape[:2], key.shape[1]), query.dtype)
            self.score(rec, query, key, scores)
            y = weigh(rec, scores, np.ascontiguousarray(value), counts, drop,
                      lambda s: s - s.dtype.type(1e9))
        rec.query_counts = None if masks[0] is None else np.asarray(masks[0], bool)[..., None]
        if rec.query_counts is not None:
            y *= rec.query_counts
        return [y, rec.shares] if return_attention_scores else y

    @property
    def dot_products(self) -> bool:
        """Whether the scores are dot products, so that they need not be in memory."""
        return self.score_mode == "dot"

    def _by_blocks(self, rec: Record, query: Array, key: Any, value: Any, keys: Any, causal: bool) -> Array:
        q = query if self.scale is None else query * self.scale.value
        y = attend(rec, q[:, :, None], key[:, :, None], value[:, :, None], keys=keys, causal=causal,
                   moved=True)
        return y[:, :, 0]

    def _by_blocks_backward(self, rec: Record, dy: Array) -> list[Array]:
        """The gradients by the query, the key and the value; that of the scale."""
        dquery, dkey, dvalue = (d[:, :, 0] for d in attend_backward(rec, dy[:, :, None]))
        if self.scale is not None:
            self.scale.grad[...] = np.vdot(dquery, rec.x[0])
            dquery *= self.scale.value
        return [dquery, dkey, dvalue]

    def score(self, rec: Record, query: Array, key: Any, out: Array) -> None:
        """The scores of each query by each key, (batch, Tq, Tv)."""
        if self.score_mode == "concat":
            self._score_sums(rec, query, key, out)
            return
        rec.keys = np.ascontiguousarray(np.swapaxes(key, 1, 2))
        product(rec, query, rec.keys, out)
        if self.scale is not None:
            rec.unscaled = out.copy()
            out *= self.scale.value

    def _score_sums(self, rec: Record, query: Array, key: Any, out: Array) -> None:
        rec.sums = query[:, :, None] + key[:, None]
        z = rec.sums if self.scale is None else rec.sums * self.scale.value
        rec.tanh = np.empty_like(z)
        activations.tanh.forward(z, rec.tanh)
        rec.unscaled = rec.tanh.sum(axis=-1)
        np.multiply(rec.unscaled, self.concat_score_weight.value, out=out)

    def score_backward(self, rec: Record, d: Array) -> tuple[Any, ...]:
        """(the gradient by the query, by the key) from that by the scores; and those of the weights."""
        query = rec.x[0]
        if self.score_mode == "concat":
            self.concat_score_weight.grad[...] = (d * rec.unscaled).sum()
            dz = (d * self.concat_score_weight.value)[..., None] * (1 - rec.tanh * rec.tanh)
            if self.scale is not None:
                self.scale.grad[...] = (dz * rec.sums).sum()
                dz *= self.scale.value
            return dz.sum(axis=2), dz.sum(axis=1)
        if self.scale is not None:
            self.scale.grad[...] = (d * rec.unscaled).sum()
            d *= self.scale.value
        dquery, dkeys = np.empty_like(query), np.empty_like(rec.keys)
        products_backward(rec, query, rec.keys, d, dquery, dkeys)
        return dquery, np.ascontiguousarray(np.swapaxes(dkeys, 1, 2))

    def backward(self, dy: Arrays, tape: Tape, need_dx: bool = True) -> Arrays:
        rec = tape.pop(self)
        dshares = None
        if rec.gives_shares:
            dy, dshares = dy
        if rec.query_counts is not None:
            dy = dy * rec.query_counts
        if rec.by_blocks:
            dquery, dkey, dvalue = self._by_blocks_backward(rec, dy)
        else:
            d, dvalue = weigh_backward(rec, dy, dshares, keeps_slope=True)
            dquery, dkey = self.score_backward(rec, d)
        if not rec.three:
            dvalue += dkey
        return [dquery, dvalue, dkey] if rec.three else [dquery, dvalue]

    def get_config(self) -> Config:
        return {
            **super().get_config(),
            "use_scale": self.use_scale,
            "score_mode": self.score_mode,
            "dropout": self.dropout,
            "seed": self.seed,
        }


class AdditiveAttention(Attention):
    """The values, weighed by scores that are sums over features (Bahdanau)::

        scores = sum(scale tanh(query + key)),    y = softmax(scores) values

    Args:
        use_scale: True learns a factor for each feature; False: 1.
        dropout, seed: as for `Attention`, whose inputs, outputs and masks it has.

    Source: https://keras.io/api/layers/attention_layers/additive_attention/.

    >>> AdditiveAttention(use_scale=False)([[[[0.0]]], [[[1.0], [1.0]]]]).tolist()
    [[[1.0]]]
    """

    def __init__(self, use_scale: Any = True, dropout: float = 0.0, **kwargs: Any) -> None:
        super().__init__(use_scale=use_scale, dropout=dropout, **kwargs)

    def build(self, input_shape: Shapes) -> None:
        if self.use_scale:
            self.scale = self.add_weight((input_shape[0][-1],), "glorot_uniform", "scale")

    @property
    def dot_products(self) -> bool:
        return False

    def score(self, rec: Record, query: Array, key: Any, out: Array) -> None:
        z = query[:, :, None] + key[:, None]
        rec.tanh = np.empty_like(z)
        activations.tanh.forward(z, rec.tanh)
        np.sum(rec.tanh if self.scale is None else rec.tanh * self.scale.value, axis=-1, out=out)

    def score_backward(self, rec: Record, d: Array) -> tuple[Any, ...]:
        dz = d[..., None] * (1 - rec.tanh * rec.tanh)
        if self.scale is not None:
            self.scale.grad[...] = (d[..., None] * rec.tanh).sum(axis=(0, 1, 2))
            dz *= self.scale.value
        return dz.sum(axis=2), dz.sum(axis=1)

    def get_config(self) -> Config:
        config = super().get_config()
        del config["score_mode"]
        return config
