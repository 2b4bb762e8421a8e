"""The kernel of attention, block by block, against the formula with all scores in memory."""

import importlib.util
import tracemalloc

import numpy as np
import pytest
from laws import FMA_ISAS, on_isa, on_threads

from tdfast import _kernels, runtime
from tdfast.engine.tape import Tape
from tdfast.layers import Attention, MultiHeadAttention
from tdfast.testing import assert_near

SIZES = {       # B, T, S, heads, heads of keys, width, width of the values
    "one": (1, 1, 1, 1, 1, 1, 1),
    "odd": (2, 5, 7, 4, 2, 3, 6),
    "one query": (3, 1, 150, 2, 2, 16, 16),
    "one key": (3, 60, 1, 2, 1, 17, 3),
    "two blocks": (2, 50, 130, 4, 1, 17, 5),
    "wide": (1, 49, 129, 1, 1, 128, 64),
    "long": (1, 1000, 1000, 1, 1, 16, 3),
}
OPTIONS = {
    "plain": ({}, ""),
    "causal": ({"causal": True}, ""),
    "window": ({"window": 3}, ""),
    "causal window": ({"causal": True, "window": 60}, ""),
    "keys": ({}, "k"),
    "keys causal": ({"causal": True}, "k"),
    "queries keys causal": ({"causal": True}, "qk"),
    "zero": ({"causal": True, "zero": True}, "qk"),
    "mask": ({}, "m"),
    "mask zero": ({"zero": True, "window": 40}, "m"),
    "moved": ({"moved": True, "causal": True}, "k"),
}


def arrays(sizes, masks="", dtype="float64", seed=0):
    """(q, k, v, dy and the masks that are named, by name)."""
    rng = np.random.default_rng(seed)
    B, T, S, H, G, D, E = sizes
    shapes = {"q": (B, T, H, D), "k": (B, S, G, D), "v": (B, S, G, E), "dy": (B, T, H, E)}
    out = {name: rng.normal(size=shape).astype(dtype) for name, shape in shapes.items()}
    keys = rng.random((B, S)) < 0.6
    keys[0, : S // 2] = False           # with `causal` its first rows see nothing
    mask = np.broadcast_to(rng.random((B, 1, T, S)) < 0.5, (B, H, T, S))
    given = {"q": ("queries", rng.random((B, T)) < 0.6), "k": ("keys", keys), "m": ("mask", mask)}
    return {**out, **dict(given[letter] for letter in masks)}


def by_blocks(q, k, v, dy, queries=None, keys=None, mask=None, **options):
    """y, dq, dk and dv of the kernel."""
    (B, T, H, D), (_, S, G, E) = q.shape, v.shape
    sizes = _kernels.AttentionSizes(B=B, T=T, S=S, H=H, G=G, D=D, E=E, **options)
    shapes = {"y": sizes.output, "stats": sizes.stats, "scratch": (sizes.scratch_size,)}
    both = {"q": q, "k": k, "v": v, "queries": queries, "keys": keys, "mask": mask,
            **{name: np.full(shape, np.nan, q.dtype) for name, shape in shapes.items()}}
    _kernels.attention_forward(sizes, **both)
    out = {f"d{name}": np.full_like(array, np.nan) for name, array in (("q", q), ("k", k), ("v", v))}
    _kernels.attention_backward(sizes, dy=dy, **both, **out)
    return {"y": both["y"], **out}


def by_formula(q, k, v, dy, queries=None, keys=None, mask=None, scale=1.0, causal=False, window=0,
               moved=False, zero=False):
    q, k, v, dy = (array.astype("float64") for array in (q, k, v, dy))
    (B, T, H, _), (_, S, G, _) = q.shape, v.shape
    k, v = (np.repeat(array, H // G, axis=2) for array in (k, v))
    scores = np.einsum("bthd,bshd->bhts", q, k) * scale
    seen, away = np.ones(scores.shape, bool), np.arange(T)[:, None] - np.arange(S)
    for part in (None if queries is None else queries[:, None, :, None],
                 None if keys is None else keys[:, None, None], mask,
                 away >= 0 if causal else None, abs(away) < window if window else None):
        seen &= True if part is None else part
    scores = np.where(seen, scores, scores - 1e9 if moved else -1e9)
    e = np.exp(scores - scores.max(-1, keepdims=True))
    shares = e / e.sum(-1, keepdims=True)
    kept = shares * seen if zero else shares
    dshares = np.einsum("bthe,bshe->bhts", dy, v) * (seen if zero else 1)
    d = shares * (dshares - (shares * dshares).sum(-1, keepdims=True)) * (1 if moved else seen) * scale

    def of_keys(array):
        return array.reshape(B, S, G, H // G, array.shape[-1]).sum(3)

    return {
        "y": np.einsum("bhts,bshe->bthe", kept, v),
        "dq": np.einsum("bhts,bshd->bthd", d, k),
        "dk": of_keys(np.einsum("bhts,bthd->bshd", d, q)),
        "dv": of_keys(np.einsum("bhts,bthe->bshe", kept, dy)),
    }


@pytest.mark.parametrize("option", OPTIONS)
@pytest.mark.parametrize("size", SIZES)
def test_blocks_are_the_formula(size, option):
    options, masks = OPTIONS[option]
    scale = SIZES[size][5] ** -0.5
    for dtype, bound in (("float64", 1e-12), ("float32", 5e-6)):
        given = arrays(SIZES[size], masks, dtype)
        if options.get("moved"):
            given["keys"][:, 0] = True  # float32 has no digits for what is 1e9 lower
        got, want = (f(**given, **options, scale=scale) for f in (by_blocks, by_formula))
        for name, array in want.items():
            assert_near(got[name], array, bound, f"{name}, {dtype}")


@pytest.mark.parametrize("option", ["queries keys causal", "mask zero"])
def test_bits_depend_neither_on_threads_nor_batch_nor_processor(option):
    options, masks = OPTIONS[option]
    given = arrays((5, 300, 270, 4, 2, 17, 16), masks, "float32")
    with on_threads(1):
        want = by_blocks(**given, **options)
    for n in (2, 3):
        with on_threads(n):
            for name, array in by_blocks(**given, **options).items():
                np.testing.assert_array_equal(array, want[name])
    alone = by_blocks(**{name: array[2:3] for name, array in given.items()}, **options)
    for name, array in alone.items():
        np.testing.assert_array_equal(array, want[name][2:3])
    results = {}
    for name in runtime.available_isas():
        with on_isa(name):
            results[name] = by_blocks(**given, **options)
    fused = [name for name in results if name in FMA_ISAS]
    for isa, result in results.items():
        for name, array in result.items():
            if isa in fused:
                np.testing.assert_array_equal(array, results[fused[0]][name])
            else:
                assert_near(array, want[name], 1e-5, f"{isa}, {name}")


@pytest.mark.skipif(not importlib.util.find_spec("torch"), reason="PyTorch is not installed")
@pytest.mark.parametrize("causal", [False, True])
def test_blocks_are_torchs(causal):
    import torch

    given = arrays((2, 140, 140, 4, 2, 16, 16))
    tensors = {name: torch.tensor(given[name]).transpose(1, 2).requires_grad_() for name in "qkv"}
    y = torch.nn.functional.scaled_dot_product_attention(
        *(tensors[name] for name in "qkv"), is_causal=causal, enable_gqa=True)
    y.backward(torch.tensor(given["dy"]).transpose(1, 2))
    got = by_blocks(**given, scale=0.25, causal=causal)
    assert_near(got["y"], y.transpose(1, 2).detach().numpy(), 1e-12, "y")
    for name, tensor in tensors.items():
        assert_near(got[f"d{name}"], tensor.grad.transpose(1, 2).numpy(), 1e-12, name)


def test_nan_stays_in_its_row():
    given = arrays((2, 200, 200, 2, 1, 8, 8), dtype="float32")
    clean = by_blocks(**given)
    given["q"][1, 100, 1] = np.nan
    y = by_blocks(**given)["y"]
    assert np.isnan(y[1, 100, 1]).all()
    y[1, 100, 1] = clean["y"][1, 100, 1]
    np.testing.assert_array_equal(y, clean["y"])


@pytest.mark.parametrize("make", [lambda: MultiHeadAttention(2, 8), Attention], ids=["heads", "scored"])
def test_long_series_need_no_matrix_of_scores(make):
    """4096 steps: the scores of two heads would take 134 million bytes."""
    layer, x = make(), np.random.default_rng(0).normal(size=(1, 4096, 16)).astype("float32")
    xs = [x, x]
    layer.ensure_built([x.shape, x.shape])
    tape = Tape()
    tracemalloc.start()
    y = layer.forward(xs, tape, use_causal_mask=True)
    layer.backward(np.ones_like(y), tape)
    most = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert most < 20e6


@pytest.mark.parametrize(
    "change, words",
    [
        ({"G": 3}, "do not fit"),
        ({"D": 0}, "do not fit"),
        ({"T": -1}, "out of range"),
        ({"window": -1}, "out of range"),
    ],
)
def test_sizes_that_do_not_fit_are_refused(change, words):
    with pytest.raises(ValueError, match=words):
        _kernels.AttentionSizes(**{"B": 1, "T": 2, "S": 3, "H": 4, "G": 2, "D": 3, "E": 3, **change})


def test_arrays_that_do_not_fit_are_refused():
    given = arrays((2, 5, 7, 4, 2, 3, 6), "km")
    for name, wrong, words in (
        ("k", given["k"][:, :-1].copy(), "needs 84 elements"),
        ("keys", given["keys"].astype("float64"), "dtype"),
        ("mask", given["mask"][:, :2], "expected booleans"),
        ("mask", given["mask"].astype("int8"), "expected booleans"),
    ):
        with pytest.raises(ValueError, match=words):
            by_blocks(**{**given, name: wrong})
