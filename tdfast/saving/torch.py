"""Weights to and from PyTorch's state dicts, by NumPy's protocols; torch itself is not needed.

PyTorch keeps matrices transposed, a recurrent layer's gates in an order of its own and its bias in two
halves.
"""

from __future__ import annotations

import contextlib
import re
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from tdfast import layers
from tdfast.compat.calling import spelled
from tdfast.engine.arrays import as_numbers

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tdfast.engine.layer import Layer
    from tdfast.engine.types import Array

# The names that a module has for the variables of a layer; matrices are transposed.
_PLAIN = {
    layers.Dense: {"weight": "kernel", "bias": "bias"},
    layers.Conv1D: {"weight": "kernel", "bias": "bias"},
    layers.Conv2D: {"weight": "kernel", "bias": "bias"},
    layers.Embedding: {"weight": "embeddings"},
    layers.LayerNormalization: {"weight": "gamma", "bias": "beta"},
    layers.GroupNormalization: {"weight": "gamma", "bias": "beta"},
    layers.RMSNormalization: {"weight": "scale"},
    layers.BatchNormalization: {"weight": "gamma", "bias": "beta", "running_mean": "moving_mean",
                                "running_var": "moving_variance"},
}
# Where torch's gates are among Keras's: torch has i f g o, r z n and one; Keras i f c o, z r h and one.
_GATES = {layers.LSTM: (0, 1, 2, 3), layers.GRU: (1, 0, 2), layers.SimpleRNN: (0,)}
_COUNTER = "num_batches_tracked"


@spelled
def load_torch_state_dict(target: Layer, state: Any, modules: Any = None) -> None:
    """Overwrite weights with those of a PyTorch module, such as ``torch.load(path, weights_only=True)``.

    nn.LSTM, nn.GRU, nn.RNN (also of several layers, also bidirectional), nn.Linear, nn.Embedding, nn.Conv1d,
    nn.Conv2d, nn.LayerNorm, nn.GroupNorm, nn.RMSNorm and nn.BatchNorm1d/2d go to the layers that compute the
    same. The two halves of a bias are added where Keras has one. Options are not in a state dict: see
    docs/torch.md for those to give the layers.

    Args:
        target: a layer, or a `tdfast.Sequential`, with weights (built).
        state: the module's ``state_dict()``: a dict from names to tensors or arrays.
        modules: the module's name for each layer with weights, in the model's order: ["rnn", "rnn", "head"],
            where nn.LSTM "rnn" has two layers. Keys of other modules are then not looked at. None: the
            modules in the state's order, or, for a layer, keys without a module's name.

    Raises:
        ValueError: naming missing and unexpected keys and shapes, or a layer that PyTorch has no module for.
            No weight has changed then.

    >>> import numpy as np
    >>> from tdfast.layers import Dense
    >>> dense = Dense(1)
    >>> dense.build((None, 2))
    >>> load_torch_state_dict(dense, {"weight": np.array([[1.0, 2.0]]), "bias": np.array([3.0])})
    >>> dense(np.array([[10.0, 10.0]])).tolist()
    [[33.0]]
    """
    who = "load_torch_state_dict"
    _refuse_checkpoint(state, who)
    places, chosen = _places(target, modules, state, who)
    wanted, problems, pairs = {}, [], []
    for prefix, suffix, layer in places:
        wanted.update({f"{prefix}{_leaf(leaf, suffix)}": (layer, array.shape) for leaf,
                       array in _to_torch(layer, who).items()})
    optional = {f"{prefix}{_COUNTER}" for prefix, _, layer in places
                if isinstance(layer, layers.BatchNormalization)}
    given = {key: value for key, value in state.items() if chosen is None or key.rpartition(".")[0] in chosen}
    for key, (layer, shape) in wanted.items():
        if key not in given:
            problems.append(
                f"'{key}' of shape {shape} for layer '{layer.name}' ({type(layer).__name__}) is missing"
            )
    problems += [f"'{key}' is not expected" for key in given if key not in wanted and key not in optional]
    arrays = {key: as_numbers(given[key], f"{who}: '{key}'") for key in wanted if key in given}
    for key, array in arrays.items():
        layer, shape = wanted[key]
        if array.shape != shape:
            problems.append(
                f"'{key}' for layer '{layer.name}' ({type(layer).__name__}) should have shape {shape}, got "
                f"{array.shape}"
            )
    if problems:
        raise ValueError(f"{who}: {'; '.join(problems)}. No weight was changed.")
    for prefix, suffix, layer in places:
        pairs += _from_torch(layer, {leaf: arrays[f"{prefix}{_leaf(leaf, suffix)}"]
                                     for leaf in _to_torch(layer, who)})
    lock = getattr(target, "_lock", None)
    with lock.writing() if lock else contextlib.nullcontext():
        for variable, array in pairs:
            variable.assign(array)


@spelled
def torch_state_dict(target: Any, modules: Any = None) -> Any:
    """The weights under the names, and in the form, in which a PyTorch module takes them.

    ``module.load_state_dict({name: torch.from_numpy(a) for name, a in torch_state_dict(model).items()})``.
    Where PyTorch has two halves of a bias and Keras one, the second is zeros.

    Args:
        target: a layer, or a `tdfast.Sequential`, with weights.
        modules: as in `load_torch_state_dict`; None: the layers' names, ``lstm.weight_ih_l0``, or none for a
            layer.

    Returns:
        A dict from names to new arrays.

    Raises:
        ValueError: for a layer that PyTorch has no module for.

    >>> from tdfast.layers import GRU
    >>> gru = GRU(4)
    >>> gru.build((None, 5, 3))
    >>> {name: a.shape for name, a in torch_state_dict(gru).items()}
    {'weight_ih_l0': (12, 3), 'weight_hh_l0': (12, 4), 'bias_ih_l0': (12,), 'bias_hh_l0': (12,)}
    """
    out, who = {}, "torch_state_dict"
    for prefix, suffix, layer in _places(target, modules, None, who)[0]:
        for leaf, array in _to_torch(layer, who).items():
            out[f"{prefix}{_leaf(leaf, suffix)}"] = np.array(array, order="C")
        if isinstance(layer, layers.BatchNormalization):
            out[f"{prefix}{_COUNTER}"] = np.array(0)
    return out


def _refuse_checkpoint(state: Any, who: str) -> None:
    """Say where the state dict is in what programs save around it, and what else is none."""
    if not isinstance(state, Mapping):
        hint = " For a module, pass its module.state_dict()." if hasattr(state, "state_dict") else ""
        raise ValueError(
            f"{who} expects a state dict, from names to tensors or arrays, got {type(state).__name__}.{hint}"
        )
    inner = [key for key, value in state.items() if isinstance(value, Mapping) and value]
    if inner:
        weights = [key for key in inner if all(hasattr(a, "shape") for a in state[key].values())]
        which = repr(weights[0]) if len(weights) == 1 else f"one of {', '.join(map(repr, weights or inner))}"
        raise ValueError(
            f"{who} expects a state dict, from names to tensors or arrays, but '{inner[0]}' is a dict "
            "itself: this looks like a checkpoint that holds the state dict. Pass its entry, "
            f"checkpoint[{which}]."
        )


# ---------------------------------------------------------------- which module is which layer
def _places(target: Layer, modules: Any, state: Any, who: str) -> tuple[Any, ...]:
    """([(prefix of the keys, ending of a recurrent layer's keys, layer)], the modules that were chosen, or
    None)."""
    target._require_built(who)
    found = list(_parts(target, ""))
    is_model = hasattr(target, "layers") or len(found) > 1
    names = [path for path, _ in found]
    chosen = None
    if modules is not None:
        given = [modules] if isinstance(modules, str) else list(modules)
        if len(given) != len(found):
            raise ValueError(f"{who}: modules must name one for each of the layers {names}, got {given}.")
        names, chosen = given, set(given)
    elif not is_model:
        names = [""]
    elif state is not None:
        names = _modules_of(state)
        if len(names) != len(found):
            raise ValueError(
                f"{who}: the state has {len(names)} layers, {names}, but model '{target.name}' has "
                f"{len(found)} with weights, "
                f"{[path for path, _ in found]}. Give modules=, a name for each of the latter."
            )
    out: list[Any] = []
    number, before = 0, None
    for name, (path, layer) in zip(names, found):
        recurrent = _cells(layer) is not None
        number = number + 1 if name == before and recurrent else 0
        if (name, number) in {place for _, place in out}:
            raise ValueError(
                f"{who}: module '{name}' stands for two layers, the second being '{path}' "
                f"({type(layer).__name__})."
            )
        before = name
        out.append((layer, (name, number)))
    return [(f"{name}." if name else "", f"_l{number}", layer) for layer, (name, number) in out], chosen


def _parts(layer: Any, path: Any) -> Iterator[Any]:
    """(path, layer) of the layers with weights that are no wrappers, in order."""
    if isinstance(layer, layers.TimeDistributed):
        inner = layer.layer
        yield from _parts(inner, path) if not hasattr(inner, "layers") else _stack(inner, path)
    elif hasattr(layer, "layers"):
        yield from _stack(layer, path)
    elif layer.weights:
        yield path or layer.name, layer


def _stack(model: Any, path: Any) -> Iterator[Any]:
    for layer in model.layers:
        yield from _parts(layer, f"{path}.{layer.name}" if path else layer.name)


def _modules_of(state: Any) -> list[Any]:
    """The names of a state's modules, in order; that of a recurrent one as often as it has layers."""
    names: dict[Any, Any] = {}
    for key in state:
        name, _, leaf = key.rpartition(".")
        names.setdefault(name, set())
        number = re.match(r"weight_ih_l(\d+)", leaf)
        if number:
            names[name].add(number[1])
    return [name for name, numbers in names.items() for _ in range(max(1, len(numbers)))]


# ---------------------------------------------------------------- a layer's weights in torch's form
def _cells(layer: Any) -> Any:
    """{ending: recurrent layer} of a recurrent or Bidirectional layer; None for others."""
    if isinstance(layer, layers.Bidirectional):
        return {"": layer.forward_layer, "_reverse": layer.backward_layer}
    return {"": layer} if isinstance(layer, tuple(_GATES)) else None


def _leaf(leaf: str, suffix: str) -> str:
    """'weight_ih_reverse' of the layer with the ending '_l1' is 'weight_ih_l1_reverse'; other names stay."""
    return re.sub(r"^((?:weight|bias)_[ih]h)", rf"\g<1>{suffix}", leaf)


def _to_torch(layer: Any, who: str) -> dict[str, Any]:
    """{name: array} of a layer's weights; views where they can be."""
    out = {}
    for ending, cell in (_cells(layer) or {}).items():
        gates = _gates_of(cell, who)
        weights = {w.name: w.value for w in cell.weights}
        out[f"weight_ih{ending}"] = _reordered(weights["kernel"], gates).T
        out[f"weight_hh{ending}"] = _reordered(weights["recurrent_kernel"], gates).T
        if "bias" in weights:
            bias = _reordered(weights["bias"], gates)
            first, second = bias if bias.ndim == 2 else (bias, np.zeros_like(bias))
            out[f"bias_ih{ending}"], out[f"bias_hh{ending}"] = first, second
    if out:
        return out
    weights = {w.name: w.value for w in layer.weights}
    for leaf, name in _plain_names(layer, who).items():
        if name in weights:
            out[leaf] = _turned(weights[name]) if name == "kernel" else weights[name]
    return out


def _from_torch(layer: Any, arrays: dict[str, Any]) -> list[Any]:
    """[(variable, array)] for a layer from torch's arrays, whose shapes are right."""
    pairs, who = [], "load_torch_state_dict"
    for ending, cell in (_cells(layer) or {}).items():
        gates, weights = _gates_of(cell, who), {w.name: w for w in cell.weights}
        back = tuple(np.argsort(gates).tolist())
        pairs.append((weights["kernel"], _reordered(arrays[f"weight_ih{ending}"].T, back)))
        pairs.append((weights["recurrent_kernel"], _reordered(arrays[f"weight_hh{ending}"].T, back)))
        if "bias" in weights:
            first, second = arrays[f"bias_ih{ending}"], arrays[f"bias_hh{ending}"]
            bias = np.stack([first, second]) if len(weights["bias"].shape) == 2 else first + second
            pairs.append((weights["bias"], _reordered(bias, back)))
    if pairs:
        return pairs
    weights = {w.name: w for w in layer.weights}
    return [(weights[name], _turned_back(arrays[leaf]) if name == "kernel" else arrays[leaf])
            for leaf, name in _plain_names(layer, who).items() if leaf in arrays]


def _plain_names(layer: Any, who: str) -> dict[str, Any]:
    """{torch's name: the variable's}."""
    has = {w.name for w in layer.weights}
    for kind, names in _PLAIN.items():
        if isinstance(layer, kind):
            if "beta" in has and "gamma" not in has:
                raise ValueError(
                    f"{who}: layer '{layer.name}' ({type(layer).__name__}) has scale=False with center=True, "  # type: ignore[attr-defined]
                    "which no module of "
                    "PyTorch has."
                )
            return names
    raise ValueError(
        f"{who}: layer '{layer.name}' ({type(layer).__name__}) has weights, but no module of PyTorch that is "
        "known here. Those are "
        f"for {', '.join(sorted(kind.__name__ for kind in (*_PLAIN, *_GATES)))}."
    )


def _gates_of(cell: Any, who: str) -> Any:
    """The order of the gates; refuses layers that compute what no module of PyTorch does."""
    kind = next((kind for kind in _GATES if isinstance(cell, kind)), None)
    label = f"{who}: layer '{cell.name}' ({type(cell).__name__})"
    if kind is None:
        raise ValueError(f"{label} has no module of PyTorch; LSTM, GRU and SimpleRNN have.")
    fitting = {"activation": ("tanh", "relu") if kind is layers.SimpleRNN else ("tanh",),
               "recurrent_activation": ("sigmoid",)}
    for option, names in fitting.items():
        name = getattr(getattr(cell, option, None), "name", None)
        if name is not None and name not in names:
            raise ValueError(
                f"{label} has {option}='{name}', but PyTorch's computes {' or '.join(map(repr, names))}."
            )
    if kind is layers.GRU and not cell.reset_after:
        raise ValueError(
            f"{label} has reset_after=False, but PyTorch's resets after the product: use reset_after=True."
        )
    return _GATES[kind]


def _reordered(array: Any, gates: Any) -> Any:
    """The last axis with its equal parts in another order."""
    if gates == tuple(range(len(gates))):
        return array
    parts = np.split(array, len(gates), axis=-1)
    return np.concatenate([parts[i] for i in gates], axis=-1)


def _turned(kernel: Array) -> Array:
    """(..., in, out) as (out, in, ...)."""
    return np.moveaxis(kernel, (-1, -2), (0, 1))


def _turned_back(weight: Array) -> Array:
    return np.moveaxis(weight, (0, 1), (-1, -2))
