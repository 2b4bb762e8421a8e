"""PyTorch's state dicts, against the formulas of PyTorch's documentation; beside torch itself in
test_live_torch.py."""

import numpy as np
import pytest

import tdfast
from tdfast import layers
from tdfast.saving import load_torch_state_dict, torch_state_dict

rng = np.random.default_rng(0)


def sigmoid(x):
    return 1 / (1 + np.exp(-x))


def lstm_step(x, h, c, w):
    i, f, g, o = np.split(x @ w["ih"].T + w["bi"] + h @ w["hh"].T + w["bh"], 4, axis=-1)
    c = sigmoid(f) * c + sigmoid(i) * np.tanh(g)
    return sigmoid(o) * np.tanh(c), c


def gru_step(x, h, c, w):
    (xr, xz, xn), (hr, hz, hn) = (np.split(a, 3, axis=-1) for a in (x @ w["ih"].T + w["bi"],
                                                                    h @ w["hh"].T + w["bh"]))
    r, z = sigmoid(xr + hr), sigmoid(xz + hz)
    return (1 - z) * np.tanh(xn + r * hn) + z * h, c


def rnn_step(x, h, c, w):
    return np.tanh(x @ w["ih"].T + w["bi"] + h @ w["hh"].T + w["bh"]), c


KINDS = {"LSTM": (layers.LSTM, lstm_step, 4), "GRU": (layers.GRU, gru_step, 3),
         "RNN": (layers.SimpleRNN, rnn_step, 1)}


def random_state(gates, sizes, hidden, both):
    """The state of a recurrent module: its inputs' width, then that of each layer."""
    state = {}
    for k, width in enumerate(sizes):
        for end in ("", "_reverse") if both else ("",):
            for name, shape in (("weight_ih", (gates * hidden, width)),
                                ("weight_hh", (gates * hidden, hidden)),
                                ("bias_ih", (gates * hidden,)), ("bias_hh", (gates * hidden,))):
                state[f"{name}_l{k}{end}"] = rng.normal(size=shape) * 0.7
    return state


def run(step, state, x, hidden, k, end):
    w = {short: state[f"{name}_l{k}{end}"] for short, name in
         (("ih", "weight_ih"), ("hh", "weight_hh"), ("bi", "bias_ih"), ("bh", "bias_hh"))}
    h = c = np.zeros((len(x), hidden))
    out = []
    for t in range(x.shape[1])[:: -1 if end else 1]:
        h, c = step(x[:, t], h, c, w)
        out.append(h)
    return np.stack(out[:: -1 if end else 1], axis=1)


@pytest.mark.parametrize("both", [False, True])
@pytest.mark.parametrize("kind", KINDS)
def test_recurrent_modules_of_two_layers(kind, both):
    layer, step, gates = KINDS[kind]
    H, width = 3, 3 * (1 + both)
    state = random_state(gates, (5, width), H, both)
    x = rng.normal(size=(4, 7, 5))
    want = x
    for k in range(2):
        want = np.concatenate([run(step, state, want, H, k, end)
                               for end in (("", "_reverse") if both else ("",))], axis=-1)

    def make():
        one = layer(H, return_sequences=True, dtype="float64")
        return layers.Bidirectional(one, dtype="float64") if both else one

    model = tdfast.Sequential([layers.Input((7, 5), dtype="float64"), make(), make()])
    load_torch_state_dict(model, {f"rnn.{key}": value for key, value in state.items()})
    np.testing.assert_allclose(model.predict(x, verbose=0), want, atol=1e-12)
    # And back, under the same names, to another model.
    back = torch_state_dict(model, ["rnn", "rnn"])
    assert list(back) == [f"rnn.{key}" for key in state]
    assert {key: a.shape for key, a in back.items()} == {f"rnn.{key}": a.shape for key, a in state.items()}
    twin = tdfast.Sequential([layers.Input((7, 5), dtype="float64"), make(), make()])
    load_torch_state_dict(twin, back, ["rnn", "rnn"])
    for a, b in zip(twin.get_weights(), model.get_weights()):
        np.testing.assert_array_equal(a, b)


def whole_model():
    return tdfast.Sequential([
        tdfast.Input((6,)), layers.Embedding(11, 4, name="words"),
        layers.Conv1D(5, 3, name="conv"), layers.BatchNormalization(name="norm"), layers.Dropout(0.1),
        layers.Bidirectional(layers.LSTM(3, return_sequences=True), name="both"),
        layers.LayerNormalization(name="ln"),
        layers.GRU(4, return_sequences=True, use_bias=False, name="gru"),
        layers.TimeDistributed(tdfast.Sequential([layers.Dense(3, name="in"),
                                                  layers.RMSNormalization(name="rms")]), name="td"),
        layers.GroupNormalization(3, name="gn"), layers.Dense(2, use_bias=False, name="head"),
    ])


def test_a_whole_model_there_and_back():
    model, twin = whole_model(), whole_model()
    model.set_weights([rng.normal(size=w.shape) for w in model.weights])
    state = torch_state_dict(model)
    assert (
        state["conv.weight"].shape == (5, 4, 3)
        and state["td.in.weight"].shape == (3, 4)
        and "gru.bias_ih_l0" not in state
    )
    assert state["norm.num_batches_tracked"] == 0 and "both.weight_hh_l0_reverse" in state
    assert all(a.flags.c_contiguous and a.flags.owndata for a in state.values())
    load_torch_state_dict(twin, state)
    for a, b in zip(twin.get_weights(), model.get_weights(), strict=True):
        np.testing.assert_array_equal(a, b)
    state["words.weight"][...] = 7                     # not a view of the model
    np.testing.assert_array_equal(model.layers[0].embeddings, twin.layers[0].embeddings)


def test_modules_choose_and_name():
    dense = layers.Dense(2)
    dense.build((None, 3))
    state = {"a.weight": np.ones((2, 3)), "a.bias": np.ones(2), "b.c.weight": np.full((2, 3), 2.0),
             "b.c.bias": np.zeros(2)}
    load_torch_state_dict(dense, state, "b.c")
    np.testing.assert_array_equal(dense.kernel, np.full((3, 2), 2))
    assert list(torch_state_dict(dense, ["x"])) == ["x.weight", "x.bias"]
    model = tdfast.Sequential([tdfast.Input((3,)), layers.Dense(2), layers.Dense(2)])
    model.layers[1].kernel.assign(np.eye(2))
    with pytest.raises(ValueError, match="'a' stands for two layers, the second being 'dense"):
        torch_state_dict(model, ["a", "a"])
    with pytest.raises(ValueError, match=r"name one for each of the layers \['dense"):
        torch_state_dict(model, ["a"])
    with pytest.raises(ValueError, match=r"3 layers, \['a', 'b', 'c'\], but model.* has 2"):
        load_torch_state_dict(model, {"a.weight": 1, "b.weight": 1, "c.weight": 1})


def refused(target, state, *words, **more):
    before = target.get_weights()
    with pytest.raises(ValueError) as caught:
        load_torch_state_dict(target, state, **more)
    for word in words:
        assert word in str(caught.value), str(caught.value)
    assert all(np.array_equal(a, b) for a, b in zip(before, target.get_weights()))


def test_everything_is_checked_before_the_first_write():
    lstm = layers.LSTM(4, name="memory")
    lstm.build((None, 5, 3))
    good = torch_state_dict(lstm)
    good = {key: a + 1 for key, a in good.items()}
    refused(lstm, {}, "'weight_ih_l0' of shape (16, 3) for layer 'memory' (LSTM) is missing",
            "No weight was changed")
    refused(lstm, {**good, "weight_hr_l0": np.ones(3)}, "'weight_hr_l0' is not expected")
    refused(lstm, {**good, "weight_ih_l1": np.ones(3)}, "'weight_ih_l1' is not expected")
    refused(lstm, {**good, "bias_hh_l0": np.ones(12)}, "'bias_hh_l0'", "(16,), got (12,)")
    refused(lstm, {**good, "bias_hh_l0": ["a"] * 16}, "bias_hh_l0", "numbers")
    refused(lstm, {k: v for k, v in good.items() if "bias" not in k}, "'bias_ih_l0'", "'bias_hh_l0'")
    model = tdfast.Sequential([tdfast.Input((5, 3)), lstm, layers.Dense(2, name="head")])
    state = torch_state_dict(model)
    state["memory.weight_ih_l0"] += 1
    refused(model, {**state, "head.weight": np.ones((4, 2))}, "'head.weight' for layer 'head' (Dense)",
            "(2, 4), got (4, 2)")
    refused(model, state, "missing", modules=["memory", "tail"])
    load_torch_state_dict(model, state)


@pytest.mark.parametrize("make, words", [
    (lambda: layers.LSTM(4, activation="relu"), "activation='relu'.*'tanh'"),
    (lambda: layers.LSTM(4, recurrent_activation="hard_sigmoid"),
     "recurrent_activation='hard_sigmoid'.*'sigmoid'"),
    (lambda: layers.GRU(4, reset_after=False), "reset_after=False"),
    (lambda: layers.SimpleRNN(4, activation="sigmoid"), "activation='sigmoid'.*'tanh' or 'relu'"),
    (lambda: layers.RNN(layers.LSTMCell(3)), "RNN.*no module of PyTorch"),
    (lambda: layers.LayerNormalization(scale=False), "scale=False"),
    (lambda: layers.PReLU(), "PReLU.*no module of PyTorch"),
])
def test_what_no_module_computes_is_refused(make, words):
    layer = make()
    layer.build((None, 5, 3))
    with pytest.raises(ValueError, match=words):
        torch_state_dict(layer)
    with pytest.raises(ValueError, match=words):
        load_torch_state_dict(layer, {})


def test_an_unbuilt_layer_is_refused():
    with pytest.raises(ValueError, match="no weights yet"):
        load_torch_state_dict(layers.Dense(2, name="new"), {})


def test_half_precision_and_lists():
    dense = layers.Dense(1)
    dense.build((None, 2))
    load_torch_state_dict(dense, {"weight": np.array([[1, 0.5]], "float16"), "bias": [2]})
    assert (
        dense.kernel.dtype == "float32"
        and dense.kernel.value.tolist() == [[1], [0.5]]
        and dense.bias.value.tolist() == [2]
    )
