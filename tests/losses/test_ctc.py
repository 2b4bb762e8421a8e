"""CTC beside PyTorch's, with masks, in training, and what it refuses; its formula is in test_loss_family."""

import math

import numpy as np
import pytest

from tdfast import Sequential, losses
from tdfast.layers import GRU, Dense, Input, Masking

B, T, C, L = 9, 23, 6, 7


def problem(seed=0, dtype="float64"):
    """(labels, logits, how many labels) with repeats, samples without labels, and one whose steps just
    suffice."""
    rng = np.random.default_rng(seed)
    count = rng.integers(0, L + 1, B)
    count[0] = 0
    labels = np.where(np.arange(L) < count[:, None], rng.integers(1, C, (B, L)), 0)
    labels[1] = [2, 2, 2, 2, 2, 2, 2]
    return labels, (3 * rng.normal(size=(B, T, C))).astype(dtype)


def room(labels):
    return (labels > 0).sum(axis=1) + ((labels[:, 1:] == labels[:, :-1]) & (labels[:, 1:] > 0)).sum(axis=1)


@pytest.mark.parametrize("dtype, near", [("float64", 1e-12), ("float32", 3e-5)])
@pytest.mark.parametrize("masked", [False, True])
def test_as_pytorch(dtype, near, masked):
    torch = pytest.importorskip("torch")
    labels, logits = problem(dtype=dtype)
    rng = np.random.default_rng(1)
    steps = rng.integers(room(labels), T + 1) if masked else np.full(B, T)
    weight = rng.uniform(0.5, 2, B)
    p = torch.tensor(logits, dtype=torch.float64, requires_grad=True)
    values = torch.nn.functional.ctc_loss(
        torch.log_softmax(p.transpose(0, 1), -1), torch.tensor(labels), torch.tensor(steps),
        torch.tensor((labels > 0).sum(axis=1)), reduction="none",
    )
    (values * torch.tensor(weight)).mean().backward()
    want = p.grad.numpy() * (np.arange(T) < steps[:, None])[..., None]
    mask = np.arange(T) < steps[:, None] if masked else None
    value, slope = losses.CTC().value_and_grad(labels, logits, weight, mask)
    assert slope.dtype == dtype
    assert value == pytest.approx((values.detach().numpy() * weight).mean(), rel=near)
    assert np.abs(slope - want).max() < near


def test_long_sequences_stay_finite():
    labels, logits = np.tile([1, 2], (2, 30)), np.zeros((2, 900, C), "float32")
    logits[0, :, 0] = 200
    value, slope = losses.CTC().value_and_grad(labels, logits)
    assert np.isfinite(value) and np.isfinite(slope).all() and slope.any()
    # Next to all of it are the ways that show each of the 60 labels at one step: as many as there are places
    # for them.
    assert losses.ctc(labels, logits)[0] == pytest.approx(200 * 60 - np.log(float(math.comb(900, 60))))


@pytest.mark.parametrize("side", ["right", "left", "interior"])
def test_a_mask_is_the_sequence_without_its_steps(side):
    labels, logits = problem()
    rng = np.random.default_rng(2)
    steps = rng.integers(room(labels), T + 1)
    steps[0] = 0                                    # no labels, no steps: nothing to say
    mask = np.arange(T) < steps[:, None]
    mask = mask[:, ::-1] if side == "left" else rng.permuted(mask, axis=1) if side == "interior" else mask
    value, slope = losses.CTC("sum").value_and_grad(labels, logits, None, mask)
    total = 0.0
    for i in range(1, B):
        one, dy = losses.CTC().value_and_grad(labels[i : i + 1], logits[i : i + 1, mask[i]])
        total += one
        np.testing.assert_allclose(slope[i, mask[i]], dy[0], atol=1e-14)
    assert value == pytest.approx(total) and not slope[~mask].any()


def test_training_with_a_mask_and_with_lengths():
    """Sequences that show each label for a while are learnt, whatever their padding."""
    rng = np.random.default_rng(0)
    labels = rng.integers(1, 4, (48, 3))
    x = np.zeros((48, 20, 4), "float32")
    lengths = np.full(48, 12)
    for i, word in enumerate(labels):
        x[i, :12] = np.eye(4)[np.repeat(word, 4)]
        x[i, 3:12:4] = np.eye(4)[0]                  # what stands between two labels
    weights, results = None, []
    for kind in ("mask", "lengths"):
        made = [Input((20, 4)), *([Masking()] if kind == "mask" else []), GRU(12, return_sequences=True),
                Dense(4)]
        model = Sequential(made)
        weights = weights or model.get_weights()
        model.set_weights(weights)
        model.compile("adam", "ctc")
        model.optimizer.learning_rate = 0.02
        given = {"lengths": lengths} if kind == "lengths" else {}
        results.append(model.fit(x, labels, epochs=25, batch_size=16, shuffle=False, verbose=0,
                                 **given).history["loss"])
    assert results[0][-1] < 0.2 * results[0][0]
    np.testing.assert_allclose(results[0][:3], results[1][:3], rtol=1e-4)


@pytest.mark.parametrize("labels, words", [
    ([[1, 2, 6]], "label 6 of sample 0 is out of range: the outputs have 6 classes"),
    ([[1, -1, 0]], "label -1"),
    ([[1, 0, 2]], r"have a 0, which is the blank, before a label: \[1, 0, 2\]"),
    ([[1, 1, 2]], "the 3 labels of sample 0 need 4 time steps"), ([1, 2], "needs outputs of shape"),
])
def test_what_it_refuses(labels, words):
    with pytest.raises(ValueError, match=words):
        losses.CTC()(np.array(labels), np.zeros((1, 3, 6)))
    with pytest.raises(ValueError, match=words):
        losses.ctc(np.array(labels), np.zeros((1, 3, 6)))


def test_too_few_valid_steps_are_refused_by_name():
    with pytest.raises(ValueError, match="2 labels of sample 1 need 2 time steps.*there are 1"):
        losses.CTC().value_and_grad(np.array([[1, 0], [1, 2]]), np.zeros((2, 3, 4)), None,
                                    np.array([[1, 1, 1], [0, 1, 0]], bool))


def test_targets_that_do_not_fit_are_refused_before_training():
    model = Sequential([Input((5, 2)), GRU(3, return_sequences=True)])
    model.compile("sgd", "ctc")
    with pytest.raises(ValueError, match="targets of shape"):
        model.fit(np.zeros((4, 5, 2)), np.zeros((4, 5, 3)), verbose=0)


def test_it_is_saved_by_name():
    again = losses.deserialize(losses.serialize(losses.CTC(reduction="sum")))
    assert isinstance(again, losses.CTC) and again.reduction == "sum" and losses.get("ctc").name == "ctc"
