"""Attention layers and EinsumDense: formulas in float64, gradients by differences, masks, options."""

import numpy as np
import pytest

import tdfast
from tdfast import Input, Model, layers
from tdfast.engine.structure import flatten
from tdfast.engine.tape import Tape
from tdfast.layers import AdditiveAttention, Attention, EinsumDense, GroupQueryAttention, MultiHeadAttention
from tdfast.testing import assert_near, differences

rng = np.random.default_rng(0)
B, T, S, F, W = 3, 4, 5, 6, 7


def normal(*shape):
    return rng.normal(size=shape)


def softmax(x):
    e = np.exp(x - x.max(-1, keepdims=True))
    return e / e.sum(-1, keepdims=True)


Q, V, K = normal(B, T, F), normal(B, S, W), normal(B, S, F)
SAME = normal(B, S, F)
V_MASK = np.array([[True, True, False, True, False], [True] * 5, [True, True, False, False, False]])
Q_MASK = np.array([[True, False, True, True], [True] * 4, [True, True, False, False]])
CAUSAL = np.tril(np.ones((T, S), bool))


def perturbed(layer):
    """The layer with other weights than its first ones."""
    for weight in layer.weights:
        weight.value[...] = rng.normal(size=weight.shape) * 0.7
    return layer


# ---------------------------------------------------------------- of scores
def by_hand(layer, q, v, k, q_mask=None, v_mask=None, causal=False):
    """(y, shares) of Attention and AdditiveAttention."""
    w = {weight.name: weight.numpy() for weight in layer.weights}
    sums = q[:, :, None] + k[:, None]
    if type(layer) is AdditiveAttention:
        scores = (w.get("scale", 1.0) * np.tanh(sums)).sum(-1)
    elif layer.score_mode == "concat":
        scores = w["concat_score_weight"] * np.tanh(w.get("scale", 1.0) * sums).sum(-1)
    else:
        scores = w.get("scale", 1.0) * q @ k.transpose(0, 2, 1)
    counts = np.ones(scores.shape, bool)
    if v_mask is not None:
        counts &= v_mask[:, None]
    if causal:
        counts &= np.tril(np.ones(scores.shape[1:], bool))
    shares = softmax(np.where(counts, scores, scores - 1e9))
    y = shares @ v
    return (y if q_mask is None else y * q_mask[..., None]), shares


SCORED = {
    "dot": lambda: Attention(dtype="float64"),
    "scaled": lambda: Attention(use_scale=True, dtype="float64"),
    "concat": lambda: Attention(score_mode="concat", dtype="float64"),
    "scaled concat": lambda: Attention(use_scale=True, score_mode="concat", dtype="float64"),
    "additive": lambda: AdditiveAttention(dtype="float64"),
    "additive unscaled": lambda: AdditiveAttention(use_scale=False, dtype="float64"),
}
CALLS = {
    "plain": ({}, None),
    "masks": ({}, [Q_MASK, V_MASK]),
    "causal": ({"use_causal_mask": True}, None),
    "scores": ({"return_attention_scores": True}, None),
    "all": ({"return_attention_scores": True, "use_causal_mask": True}, [Q_MASK, V_MASK]),
}


@pytest.mark.parametrize("call", CALLS)
@pytest.mark.parametrize("name", SCORED)
@pytest.mark.parametrize("three", [True, False])
def test_scored_attention(name, call, three):
    layer, (options, mask) = SCORED[name](), CALLS[call]
    xs = [Q.copy(), V.copy(), K.copy()] if three else [Q.copy(), SAME.copy()]
    mask = None if mask is None else [*mask, None][: len(xs)]
    layer(xs)
    perturbed(layer)
    masks = (None, None) if mask is None else mask[:2]

    def wanted():
        key = xs[2] if three else xs[1]
        found = by_hand(layer, xs[0], xs[1], key, *masks, "use_causal_mask" in options)
        return list(found) if "return_attention_scores" in options else [found[0]]

    check(layer, xs, wanted, mask, options)


def check(layer, xs, wanted, mask, options, tolerance=1e-6):
    """The values, and the gradients by every input and weight, by central differences."""
    tape = Tape()

    def run():
        tape.rewind()
        y = layer.forward(xs, tape, mask=mask, **options)
        return [part.copy() for part in (y if isinstance(y, list) else [y])]

    got = run()
    if wanted is not None:
        for a, b in zip(got, wanted(), strict=True):
            np.testing.assert_allclose(a, b, rtol=1e-9, atol=1e-10)
    dys = [rng.normal(size=part.shape) for part in got]

    def value():
        return sum((part * dy).sum() for part, dy in zip(run(), dys))

    held = [x.copy() for x in xs]
    run()
    given = [dy.copy() for dy in dys]
    gradients = [d.copy() for d in layer.backward(given if len(given) > 1 else given[0], tape)]
    slopes = {weight.path: weight.grad.copy() for weight in layer.weights}
    for x, before in zip(xs, held):
        np.testing.assert_array_equal(x, before)
    for x, d in zip(xs, gradients):
        assert_near(d, differences(value, x), tolerance, "input")
    for weight in layer.weights:
        assert_near(slopes[weight.path], differences(value, weight.value), tolerance, weight.path)


# ---------------------------------------------------------------- of several heads
def heads_by_hand(layer, q, v, k, counts, zero):
    """(y, shares), for inputs (batch, time, features)."""

    def project(part, x):
        y = np.einsum("btf,fhd->bhtd", x, part.kernel.numpy())
        return y if part.bias is None else y + part.bias.numpy()[:, None]

    qs, ks, vs = project(layer.query_dense, q), project(layer.key_dense, k), project(layer.value_dense, v)
    ks, vs = (np.repeat(x, layer.repeats, axis=1) for x in (ks, vs))
    scores = np.einsum("bhtd,bhsd->bhts", qs, ks) / np.sqrt(qs.shape[-1])
    if counts is not None:
        scores = np.where(counts, scores, -1e9)
    shares = softmax(scores)
    if counts is not None and zero:
        shares = shares * counts
    context = np.einsum("bhts,bhsd->bthd", shares, vs)
    if layer._gate_dense is not None:
        gate = np.einsum("btf,fhd->bthd", q, layer._gate_dense.kernel.numpy())
        if layer._gate_dense.bias is not None:
            gate = gate + layer._gate_dense.bias.numpy()
        context = context / (1 + np.exp(-gate))
    y = np.tensordot(context, layer.output_dense.kernel.numpy(), 2)
    return (y if layer.output_dense.bias is None else y + layer.output_dense.bias.numpy()), shares


D = {"dtype": "float64"}
HEADS = {
    "plain": lambda: MultiHeadAttention(2, 3, **D),
    "one head": lambda: MultiHeadAttention(1, 5, use_bias=False, **D),
    "widths": lambda: MultiHeadAttention(2, 3, value_dim=4, output_shape=5, **D),
    "output shape": lambda: MultiHeadAttention(2, 3, output_shape=(2, 3), **D),
    "window": lambda: MultiHeadAttention(2, 3, sliding_window=2, **D),
    "gate": lambda: MultiHeadAttention(2, 3, value_dim=4, use_gate=True, **D),
    "groups": lambda: GroupQueryAttention(3, 4, 2, **D),
    "groups, gate": lambda: GroupQueryAttention(3, 4, 1, use_gate=True, use_bias=False, **D),
}


@pytest.mark.parametrize("call", CALLS)
@pytest.mark.parametrize("name", HEADS)
def test_heads(name, call):
    layer, (options, mask) = HEADS[name](), CALLS[call]
    three = name == "widths"
    xs = [Q.copy(), V.copy(), K.copy()] if three else [Q.copy(), SAME.copy()]
    layer(*xs)
    perturbed(layer)
    counts = None
    if mask is not None:
        counts = (mask[0][:, :, None] & mask[1][:, None])[:, None]
    if "use_causal_mask" in options:
        counts = CAUSAL if counts is None else counts & CAUSAL
    if name == "window":
        near = np.abs(np.arange(T)[:, None] - np.arange(S)) < 2
        counts = near if counts is None else counts & near
    zero = "return_attention_scores" in options

    def wanted():
        found = heads_by_hand(layer, xs[0], xs[1], xs[2] if three else xs[1], counts, zero)
        return list(found) if zero else [found[0]]

    check(layer, xs, wanted, None if mask is None else [*mask, None][: len(xs)], options)


def test_self_attention_and_an_explicit_mask():
    layer = MultiHeadAttention(2, 3, **D)
    x, allowed = normal(B, T, F), rng.integers(0, 2, (B, T, T)).astype(bool)
    allowed[:, :, 0] = True
    y = layer(x, x, attention_mask=allowed)
    np.testing.assert_allclose(y, heads_by_hand(layer, x, x, x, allowed[:, None], False)[0], rtol=1e-9)
    check(layer, [x.copy(), x.copy()], None, None, {"attention_mask": allowed})
    symbol, mask = Input((T, F), dtype="float64"), Input((T, T), dtype="bool")
    model = Model([symbol, mask], layer(symbol, symbol, attention_mask=mask))
    np.testing.assert_array_equal(model.predict([x, allowed], verbose=0), y)


def test_attention_over_several_axes():
    """Over both axes of a picture it is attention over its pixels; over one, each row for itself."""
    x = normal(2, 3, 4, F)
    layer = MultiHeadAttention(2, 3, **D)
    y, shares = layer(x, x, return_attention_scores=True)
    assert y.shape == x.shape and shares.shape == (2, 2, 3, 4, 3, 4)
    flat = MultiHeadAttention(2, 3, **D)
    flat(x.reshape(2, 12, F), x.reshape(2, 12, F))
    flat.set_weights(layer.get_weights())
    np.testing.assert_allclose(flat(x.reshape(2, 12, F), x.reshape(2, 12, F)).reshape(y.shape), y, rtol=1e-9)
    rows = MultiHeadAttention(2, 3, attention_axes=2, **D)
    rows(x, x)
    rows.set_weights(layer.get_weights())
    each = flat(x.reshape(6, 4, F), x.reshape(6, 4, F)).reshape(x.shape)
    np.testing.assert_allclose(rows(x, x), each, rtol=1e-9)
    for made in (layer, rows):
        check(perturbed(made), [x.copy(), normal(2, 3, 4, F)], None, None, {"return_attention_scores": True})


def test_dropout_leaves_out_shares_in_training_alone():
    layer = MultiHeadAttention(2, 3, dropout=0.5, seed=1)
    x = normal(B, T, F)
    np.testing.assert_array_equal(layer(x, x), layer(x, x))
    assert not np.array_equal(layer(x, x, training=True), layer(x, x, training=True))
    plain = Attention(dropout=0.5, seed=1)
    assert not np.array_equal(plain([x, x], training=True), plain([x, x]))


LAYERS = {
    "Attention": (lambda: Attention(use_scale=True), lambda layer, q, v: layer([q, v])),
    "AdditiveAttention": (lambda: AdditiveAttention(), lambda layer, q, v: layer([q, v])),
    "MultiHeadAttention": (lambda: MultiHeadAttention(2, 3, use_gate=True), lambda layer, q, v: layer(q, v)),
    "GroupQueryAttention": (lambda: GroupQueryAttention(3, 4, 2), lambda layer, q, v: layer(q, v)),
}


@pytest.mark.parametrize("name", LAYERS)
def test_bits_and_files(name, tmp_path):
    make, call = LAYERS[name]
    layer = make()
    q, v = Input((None, F)), Input((None, F))
    model = Model([q, v], call(layer, q, v))
    xs = [normal(9, T, F), normal(9, S, F)]
    whole = model.predict(xs, verbose=0)
    np.testing.assert_array_equal(model.predict([x[4:5] for x in xs], verbose=0), whole[4:5])
    before = tdfast.get_num_threads()
    try:
        tdfast.set_num_threads(1)
        np.testing.assert_array_equal(model.predict(xs, verbose=0), whole)
    finally:
        tdfast.set_num_threads(before)
    pytest.importorskip("h5py")
    model.compile("adam", "mse")
    model.fit(xs, np.zeros(whole.shape), verbose=0)
    model.save(tmp_path / "m.keras")
    again = tdfast.saving.load_model(tmp_path / "m.keras")
    np.testing.assert_array_equal(again.predict(xs, verbose=0), model.predict(xs, verbose=0))
    for a, b in ((model, again),):
        assert a.train_on_batch(xs, np.zeros(whole.shape)) == b.train_on_batch(xs, np.zeros(whole.shape))
    np.testing.assert_array_equal(
        again.predict([x[:, :1] for x in xs], verbose=0), model.predict([x[:, :1] for x in xs], verbose=0)
    )


def test_masks_go_on_and_a_residual_keeps_its_mask():
    ids = Input((6,), dtype="int32")
    e = layers.Embedding(9, 4, mask_zero=True)(ids)
    h = layers.Add()([e, MultiHeadAttention(2, 2)(e, e)])
    model = Model(ids, layers.GlobalAveragePooling1D()(h))
    words = rng.integers(1, 9, (3, 6))
    words[:, 4:] = 0
    other = words.copy()
    part = Model(ids, h).predict(words, verbose=0)
    np.testing.assert_allclose(model.predict(other, verbose=0), part[:, :4].mean(1), rtol=1e-5)


@pytest.mark.parametrize(
    "call, words",
    [
        (lambda: Attention()(Q), "expects a list"),
        (lambda: Attention()([Q]), "got 1 inputs"),
        (lambda: Attention()([Q, V]), "as many features in the query"),
        (lambda: Attention()([Q, V, K[:, :2]]), "as many keys"),
        (lambda: Attention(score_mode="sum"), "score_mode"),
        (lambda: Attention(dropout=2), "dropout"),
        (lambda: MultiHeadAttention(0, 2), "num_heads"),
        (lambda: MultiHeadAttention(2, 3)(Q, V, K[:, :2]), "as many keys"),
        (lambda: MultiHeadAttention(2, 3)(Q[0], V[0]), "batch, time, features"),
        (lambda: GroupQueryAttention(2, 3, 2), "multiple"),
        (lambda: MultiHeadAttention(2, 3, sliding_window=0), "sliding"),
    ],
)
def test_what_does_not_fit_is_told(call, words):
    with pytest.raises(ValueError, match=words):
        call()


def test_a_query_alone_is_told_what_to_do():
    with pytest.raises(TypeError, match=r"layer\(x, x\)"):
        MultiHeadAttention(2, 3)(Q)


# ---------------------------------------------------------------- EinsumDense
EQUATIONS = {
    "abc,cd->abd": ((None, 5), "d", (3, 4, 6)),
    "abc,cde->abde": ((None, 2, 5), "de", (3, 4, 6)),
    "abcd,cde->abe": ((None, 5), "e", (3, 4, 2, 6)),
    "...x,xy->...y": ((5,), "y", (3, 2, 4, 6)),
    "ab,bc->ac": (5, "c", (3, 6)),
    "abc,bd->adc": ((5, 6), "d", (3, 4, 6)),
    "abc,ac->abc": ((4, 6), None, (3, 4, 6)),
    "abc,bcd->ad": (5, "d", (3, 4, 6)),
    "ab...,bc->ac...": ((5,), None, (3, 4, 6)),
    "abc,cde->aebd": ((5, 4, 2), "e", (3, 4, 6)),
}


@pytest.mark.parametrize("equation", EQUATIONS)
@pytest.mark.parametrize("activation", [None, "tanh"])
def test_einsum_dense(equation, activation):
    shape, bias, given = EQUATIONS[equation]
    if equation == "abc,ac->abc":
        pytest.skip("weights for each sample of a fixed batch")
    layer = EinsumDense(equation, shape, activation=activation, bias_axes=bias, dtype="float64")
    x = normal(*given)
    y = perturbed_output(layer, x)
    want = np.einsum(equation, x, layer.kernel.numpy())
    if bias:
        want = want + layer.bias.numpy()
    np.testing.assert_allclose(y, np.tanh(want) if activation else want, rtol=1e-9, atol=1e-12)
    assert layer.compute_output_shape((None, *given[1:]))[1:] == y.shape[1:]
    single = EinsumDense.from_config(layer.get_config())
    assert single.equation == equation
    tape, dy = Tape(), rng.normal(size=y.shape)
    layer.forward(x, tape)
    dx = layer.backward(dy.copy(), tape).copy()

    def value():
        return (layer.forward(x, Tape(keep=False)) * dy).sum()

    slopes = [weight.grad.copy() for weight in layer.weights]
    assert_near(dx, differences(value, x), 1e-6, "x")
    for weight, slope in zip(layer.weights, slopes):
        assert_near(slope, differences(value, weight.value), 1e-6, weight.name)


@pytest.mark.parametrize("equation, shape", [("abc,cde->adbe", (2, None, 3)), ("abc,cd->adb", (5, None))])
def test_einsum_dense_behind_a_kernel(equation, shape):
    """Gradients that NumPy lays out in another order come to a kernel as it needs them."""
    x = Input((T, F), dtype="float64")
    first = layers.Dense(6, dtype="float64")
    model = Model(x, EinsumDense(equation, shape, dtype="float64")(first(x)))
    data = normal(B, T, F)
    y = normal(*model.compute_output_shape(data.shape))
    tape = Tape()
    out = model.forward(data, tape)
    model.backward(np.ascontiguousarray(out - y), tape)
    slope = first.kernel.grad.copy()

    def value():
        return ((model.forward(data, Tape(keep=False)) - y) ** 2).sum() / 2

    assert_near(slope, differences(value, first.kernel.value), 1e-4, "kernel")


def perturbed_output(layer, x):
    layer(x)
    perturbed(layer)
    return layer(x)


@pytest.mark.parametrize(
    "equation, shape, bias, words",
    [
        ("ab->ac", 5, None, "equation must be"),
        ("abc,cd->abdx", (None, 5, 2), None, "stands nowhere else"),
        ("abc,cz->abc", (None, 6), None, "stands neither"),
        ("ab,bc->ac", 5, "x", "bias_axes"),
        ("abcd,de->abce", (None, None, 5), None, "with 4 axes, got 3"),
        ("abc,cd->abd", (9, 5), None, "size 4"),
        (3, 5, None, "must be text"),
    ],
)
def test_equations_that_do_not_fit(equation, shape, bias, words):
    with pytest.raises(ValueError, match=words):
        EinsumDense(equation, shape, bias_axes=bias)(
            normal(3, 4) if equation == "ab,bc->ac" else normal(3, 4, 6)
        )


def test_first_weights_are_drawn_as_for_a_matrix():
    layer = EinsumDense("abc,cde->abde", (None, 50, 40))
    layer(normal(1, 1, 60))
    limit = np.sqrt(6 / (60 + 2000))
    assert limit * 0.95 < np.abs(layer.kernel.numpy()).max() <= limit


def test_the_parts_are_in_the_models_weights():
    x = Input((T, F))
    model = Model(x, MultiHeadAttention(2, 3, name="mha")(x, x))
    names = [w.path for w in model.weights]
    assert names == [
        f"mha/{part}/{what}"
        for part in ("query", "key", "value", "attention_output")
        for what in ("kernel", "bias")
    ]
    assert len(flatten(model.get_weights())) == 8
