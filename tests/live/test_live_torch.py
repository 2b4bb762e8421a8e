"""Weights to and from PyTorch's own modules, and equal outputs. Skipped where torch is not installed."""

import itertools

import numpy as np
import pytest

import tdfast
from tdfast import layers
from tdfast.saving import load_torch_state_dict, torch_state_dict

torch = pytest.importorskip("torch")


@pytest.fixture(autouse=True)
def double():
    torch.manual_seed(0)
    torch.set_default_dtype(torch.float64)
    yield
    torch.set_default_dtype(torch.float32)


def close(ours, theirs, bound=1e-12):
    np.testing.assert_allclose(ours, theirs.detach().numpy(), atol=bound, rtol=bound)


def model_of(shape, *stack):
    return tdfast.Sequential([layers.Input(shape, dtype="float64"), *stack])


def to_torch(module, target, modules=None):
    """tdfast's weights into the module, which refuses what is missing or unexpected."""
    module.load_state_dict({key: torch.from_numpy(a) for key, a in torch_state_dict(target, modules).items()},
                           strict=True)


CELLS = {
    "LSTM": (torch.nn.LSTM, lambda units, **k: layers.LSTM(units, **k)),
    "GRU": (torch.nn.GRU, lambda units, **k: layers.GRU(units, **k)),
    "tanh": (torch.nn.RNN, lambda units, **k: layers.SimpleRNN(units, **k)),
    "relu": (lambda *a, **k: torch.nn.RNN(*a, nonlinearity="relu", **k), lambda units,
             **k: layers.SimpleRNN(units, activation="relu", **k)),
}


@pytest.mark.parametrize("kind, both, bias, depth",
                         list(itertools.product(CELLS, [False, True], [True, False], [1, 3])))
def test_recurrent_modules(kind, both, bias, depth):
    module, layer = CELLS[kind]
    theirs = module(5, 4, num_layers=depth, bidirectional=both, bias=bias, batch_first=True)

    def stack():
        out = [layer(4, use_bias=bias, return_sequences=True, dtype="float64") for _ in range(depth)]
        return [layers.Bidirectional(one, dtype="float64") for one in out] if both else out

    ours = model_of((7, 5), *stack())
    load_torch_state_dict(ours, theirs.state_dict())
    x = np.random.default_rng(1).normal(size=(3, 7, 5))
    close(ours.predict(x, verbose=0), theirs(torch.from_numpy(x))[0])
    # And from new weights back to torch.
    other = model_of((7, 5), *stack())
    for w in other.weights:
        w.assign(np.random.default_rng(w.size).normal(size=w.shape) * 0.5)
    to_torch(theirs, other, [""] * depth)
    close(other.predict(x, verbose=0), theirs(torch.from_numpy(x))[0])


@pytest.mark.parametrize("ours, theirs, shape, first", [
    (lambda k: layers.Dense(4, **k), lambda: torch.nn.Linear(3, 4), (3,), False),
    (lambda k: layers.TimeDistributed(layers.Dense(4, use_bias=False, **k), **k),
     lambda: torch.nn.Linear(3, 4, bias=False), (6, 3), False),
    (lambda k: layers.LayerNormalization(epsilon=1e-5, **k), lambda: torch.nn.LayerNorm(3), (6, 3), False),
    (lambda k: layers.LayerNormalization(epsilon=1e-5, center=False, **k),
     lambda: torch.nn.LayerNorm(3, bias=False), (6, 3), False),
    (lambda k: layers.RMSNormalization(epsilon=1e-5, **k), lambda: torch.nn.RMSNorm(3, eps=1e-5), (6, 3),
     False),
    (lambda k: layers.BatchNormalization(epsilon=1e-5, **k), lambda: torch.nn.BatchNorm1d(3), (6, 3), True),
    (lambda k: layers.BatchNormalization(epsilon=1e-5, **k), lambda: torch.nn.BatchNorm2d(3), (6, 5, 3),
     True),
    (lambda k: layers.BatchNormalization(epsilon=1e-5, center=False, scale=False, **k),
     lambda: torch.nn.BatchNorm1d(3, affine=False), (6, 3), True),
    (lambda k: layers.GroupNormalization(2, epsilon=1e-5, **k), lambda: torch.nn.GroupNorm(2, 4), (6, 4),
     True),
    (lambda k: layers.Conv1D(4, 3, strides=2, **k), lambda: torch.nn.Conv1d(3, 4, 3, stride=2), (9, 3), True),
    (lambda k: layers.Conv1D(4, 3, dilation_rate=2, groups=2, use_bias=False, **k),
     lambda: torch.nn.Conv1d(6, 4, 3, dilation=2, groups=2, bias=False), (9, 6), True),
    (lambda k: layers.Conv2D(4, (3, 2), **k), lambda: torch.nn.Conv2d(3, 4, (3, 2)), (7, 8, 3), True),
])
def test_other_modules(ours, theirs, shape, first):
    """``first``: torch has the channels before the steps."""
    layer, module = ours({"dtype": "float64"}), theirs()
    rng = np.random.default_rng(2)
    with torch.no_grad():
        for name, value in module.state_dict().items():
            if value.dim():
                value.copy_(torch.from_numpy(rng.uniform(0.5, 1.5, tuple(value.shape)) if "var" in name
                                             else rng.normal(size=tuple(value.shape))))
    module.eval()
    x = rng.normal(size=(4, *shape))

    def run():
        tensor = torch.from_numpy(np.moveaxis(x, -1, 1).copy() if first else x)
        return torch.movedim(module(tensor), 1, -1) if first else module(tensor)

    layer.build((None, *shape))
    load_torch_state_dict(layer, module.state_dict())
    close(layer(x), run(), 1e-10)
    for w in layer.weights:
        w.assign(rng.uniform(0.5, 1.5, w.shape))
    to_torch(module, layer)
    close(layer(x), run(), 1e-10)


def test_a_tagger_of_modules_in_any_order():
    class Tagger(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.head = torch.nn.Linear(8, 2)
            self.rnn = torch.nn.LSTM(5, 4, num_layers=2, bidirectional=True, batch_first=True)
            self.embed = torch.nn.Embedding(9, 5)

        def forward(self, ids):
            return self.head(self.rnn(self.embed(ids))[0])

    module = Tagger()

    def stack(name):
        return layers.Bidirectional(layers.LSTM(4, return_sequences=True, dtype="float64"), dtype="float64",
                                    name=name)

    model = tdfast.Sequential([layers.Embedding(9, 5, dtype="float64", input_shape=(7,)), stack("one"),
                               stack("two"),
                               layers.TimeDistributed(layers.Dense(2, dtype="float64"), dtype="float64")])
    names = ["embed", "rnn", "rnn", "head"]
    ids = np.random.default_rng(3).integers(0, 9, (3, 7))
    with pytest.raises(ValueError, match="No weight was changed"):
        load_torch_state_dict(model, module.state_dict())       # the head comes first in the state
    load_torch_state_dict(model, module.state_dict(), names)
    close(model.predict(ids, verbose=0), module(torch.from_numpy(ids)))
    # Train here, go back.
    model.compile("adam", "mse")
    model.fit(ids, np.zeros((3, 7, 2)), epochs=3, verbose=0)
    to_torch(module, model, names)
    close(model.predict(ids, verbose=0), module(torch.from_numpy(ids)))


def test_parameters_and_single_precision():
    module = torch.nn.Linear(3, 4).float()
    dense = layers.Dense(4)
    dense.build((None, 3))
    load_torch_state_dict(dense, dict(module.named_parameters()))       # which want gradients
    np.testing.assert_array_equal(dense.kernel, module.weight.detach().numpy().T)
    with pytest.raises(ValueError, match="'weight'.*BFloat16"):
        load_torch_state_dict(dense, module.bfloat16().state_dict())
