"""How a streamer runs each layer: one function for a class, in `RULES`.

A rule takes the `tdfast.models.streaming.Streamer`, the layer and the array that will hold the layer's input
at each step, (batch, features) or (batch, ...). It adds what runs the layer, and returns the array that will
hold its output. A layer without a rule runs by its own `forward`, if it treats each time step by itself.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from tdfast import _kernels, layers
from tdfast.engine.network import Network
from tdfast.engine.operation import Operation
from tdfast.engine.structure import flatten
from tdfast.layers.activation import Activating
from tdfast.layers.recurrent.base import Recurrent
from tdfast.layers.recurrent.loops import CellLoop
from tdfast.layers.regularization import Randomized
from tdfast.layers.time_distributed import stateful_in

if TYPE_CHECKING:
    from tdfast.engine.types import ActivationSpec
    from tdfast.models.streaming import Streamer

RULES: dict[Any, Any] = {}
"""Layer class -> rule."""


def streams(*kinds: Any) -> Any:
    """A decorator: the function is the rule of these classes, and of those derived from them that do not
    override ``forward``."""
    def enter(rule: Any) -> Any:
        RULES.update(dict.fromkeys(kinds, rule))
        return rule

    return enter


def rule_of(layer: Any) -> Any:
    """The rule of a layer's class, or of the first of its bases that has one.

    >>> rule_of(layers.Dropout(0.5)) is rule_of(layers.Identity())
    True
    """
    kind: Any
    for kind in type(layer).__mro__:
        if kind in RULES:
            return RULES[kind] if type(layer).forward is kind.forward else alone
    return alone


def refuse(layer: Any, why: Any) -> None:
    """Raise a ValueError that names the layer."""
    raise ValueError(f"Layer '{layer.name}' ({type(layer).__name__}) {why}")


# ---------------------------------------------------------------- calls
def add_call(stream: Streamer, node: Any, x: Any) -> Any:
    """Add a call of a graph: the array for its output (a list of several), from that of its input."""
    layer = node.layer
    if node.keywords or node.masks:
        what = " and ".join(node.keywords) or "a mask"
        refuse(layer, f"is called with {what}, so the model cannot be streamed: each step would need its "
                      "own.")
    options = {name: value for name, value in node.options.items() if name != "training"}
    if isinstance(layer, Operation) or (len(node.inputs) > 1 and not isinstance(layer, Network)):
        return _joined(stream, node, x if len(node.inputs) > 1 else [x], options)
    return alone(stream, layer, x, options) if options else rule_of(layer)(stream, layer, x)


def alone(stream: Streamer, layer: Any, x: Any, options: Any = None) -> Any:
    """Add a layer that treats each time step by itself, by its ``forward``.

    Raises:
        ValueError: for one that does not.
    """
    if layer.makes_mask:
        refuse(
            layer,
            "makes a mask, but a streamer leaves out no steps, so the model cannot be streamed. Give the "
            "streamer the steps that count alone, of a model without masks.",
        )
    if not layer.treats_steps_alone((len(x), 1, *x.shape[1:])):
        _refuse_other_steps(layer)
    return stream.run(layer, x, options=options)


def _refuse_other_steps(layer: Any) -> None:
    refuse(
        layer,
        "cannot work one time step at a time, so the model cannot be streamed. Recurrent layers can, and "
        "those that treat each step by itself and in the same way.",
    )


def _joined(stream: Streamer, node: Any, xs: Any, options: Any) -> Any:
    """Add a call on several tensors, or of an operation."""
    layer = node.layer
    timed = {tensor.ndim == x.ndim + 1 for tensor, x in zip(node.inputs, xs)}
    if len(timed) > 1:
        refuse(
            layer,
            f"joins tensors of shapes {[tensor.shape for tensor in node.inputs]}, of which some have time "
            "steps and others have none, so the model cannot be streamed.",
        )
    (timed,) = timed
    if timed:
        _check_steps(layer, node.inputs, xs, options)
    elif stateful_in(layer):
        _refuse_other_steps(layer)
    several = len(node.inputs) > 1
    return stream.run(layer, xs if several else xs[0], timed, options, node.outputs[0].dtype)


def _check_steps(layer: Any, tensors: Any, xs: Any, options: Any) -> None:
    """Refuse a call whose result at a step depends on other steps, or on which step it is."""
    steps = {tensor.shape[1] for tensor in tensors}
    if 1 in steps and len(steps) > 1:
        refuse(
            layer,
            f"joins tensors of shapes {[tensor.shape for tensor in tensors]}: the single step of one is used "
            "at each step of another, so the model cannot be streamed.",
        )
    shapes = [(len(x), 1, *x.shape[1:]) for x in xs]
    if not layer.treats_steps_alone(shapes if len(shapes) > 1 else shapes[0]):
        _refuse_other_steps(layer)
    if isinstance(layer, Operation):
        constants = [leaf for leaf in flatten(list(options["template"])) if isinstance(leaf, np.ndarray)]
        if any(constant.ndim > len(shapes[0]) - 2 for constant in constants):
            refuse(
                layer,
                "takes an array that may differ from step to step, so the model cannot be streamed. An array "
                "without a time axis, (features,), can be.",
            )


# ---------------------------------------------------------------- layers within others
@streams(Network)
def _network(stream: Streamer, network: Any, x: Any) -> Any:
    graph = network.graph
    values = x if len(graph.inputs) > 1 else [x]
    made = graph.walk(values, lambda node, x: add_call(stream, node, x))
    return made[0] if len(made) == 1 else made


@streams(layers.TimeDistributed)
def _time_distributed(stream: Streamer, layer: Any, x: Any) -> Any:
    if layer.layer.rowwise:
        return rule_of(layer.layer)(stream, layer.layer, x)
    inner = stateful_in(layer.layer)
    if inner is not None:
        refuse(
            layer,
            f"holds '{inner.name}' ({type(inner).__name__}), whose states go from one step to the next "
            "(stateful=True), so the model cannot be streamed.",
        )
    return stream.run(layer.layer, x, timed=False)


@streams(layers.SpectralNormalization)
def _spectral_normalization(stream: Streamer, layer: Any, x: Any) -> Any:
    return rule_of(layer.layer)(stream, layer.layer, x)


@streams(layers.RNN)
def _rnn(stream: Streamer, layer: Any, x: Any) -> Any:
    for runner in layer.runners():
        x = rule_of(runner)(stream, runner, x)
    return x


# ---------------------------------------------------------------- compiled layers
@streams(Recurrent)
def _recurrent(stream: Streamer, layer: Any, x: Any) -> Any:
    if layer.go_backwards or layer.return_state:
        option = "go_backwards" if layer.go_backwards else "return_state"
        raise ValueError(f"Layer '{layer.name}' has {option}=True, so the model cannot be streamed.")
    (B, I), H = x.shape, layer.units
    cell, sizes, acts = layer.cell_kind, (B, 1, I, H), layer.activation_kinds()

    def pack() -> Any:
        packed = stream.array((_kernels.rnn_pack_size(cell, I, H),))
        _kernels.rnn_pack(cell, I, H, kernel=layer.kernel.value, recurrent=layer.recurrent_kernel.value,
                          bias=layer.bias.value if layer.use_bias else None, packed=packed)
        return packed

    states = stream.add_states((B, H), layer.n_states)
    scratch = stream.array((_kernels.rnn_sizes(cell, sizes, acts)[2],))
    h, c = layer.h_and_c(states)
    packed = stream.once(layer, "packed", pack)
    return stream.kernel("rnn", cell, sizes, acts=acts, x=x, packed=packed, h=h, c=c, scratch=scratch,
                         y=stream.array((B, H)))


@streams(CellLoop)
def _loop_over_own_cell(stream: Streamer, layer: Any, x: Any) -> None:
    raise ValueError(
        f"Layer '{layer.name}' runs a {type(layer.cell).__name__}, a cell of your own, which compiled code "
        "cannot call: the model cannot be streamed. With LSTMCell, GRUCell and SimpleRNNCell it can."
    )


@streams(layers.Dense)
def _dense(stream: Streamer, layer: Any, x: Any) -> Any:
    K, N, act = x.shape[-1], layer.units, layer.kernel_activation
    M = x.size // K

    def pack() -> tuple[Any, ...]:
        packed = stream.array((_kernels.dense_pack_size(K, N),))
        _kernels.dense_pack(K, N, layer.kernel.value, packed)
        return packed, layer.bias.numpy() if layer.use_bias else None

    packed, bias = stream.once(layer, "packed", pack)
    z = stream.array((M, N)) if act.needs_input else None
    y = stream.kernel("dense", act=act.kind, M=M, K=K, N=N, x=x, packed=packed, bias=bias, z=z,
                      y=stream.array((*x.shape[:-1], N)))
    return y if act is layer.activation else _activated(stream, layer.activation, y)


@streams(Activating)
def _activating(stream: Streamer, layer: Any, x: Any) -> Any:
    if layer.activation.kind is None:
        return _activated(stream, layer.activation, x)
    M, N = x.size // x.shape[-1], x.shape[-1]
    return stream.kernel("act", layer.activation.kind, M, N, x=x, y=stream.array(x.shape))


def _activated(stream: Streamer, activation: ActivationSpec, x: Any) -> Any:
    """Add an activation that no kernel knows."""
    return stream.run(layers.Activation(activation, dtype=stream.dtype.name), x)


# ---------------------------------------------------------------- others
@streams(layers.Embedding)
def _embedding(stream: Streamer, layer: Any, x: Any) -> Any:
    return alone(stream, layer, x) if layer.makes_mask else stream.run(layer, x)


@streams(layers.Identity, Randomized, layers.GaussianNoise, layers.AlphaDropout)
def _nothing(stream: Streamer, layer: Any, x: Any) -> Any:
    return x
