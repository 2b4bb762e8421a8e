"""Graph: calls of layers and the tensors between them, forward and backward."""

from __future__ import annotations

import collections
import math
import warnings
from typing import TYPE_CHECKING, Any

import numpy as np

from tdfast.compat.calling import level_of_the_caller
from tdfast.engine import program
from tdfast.engine.program import Repeated, blend, is_of_tdfast
from tdfast.engine.structure import flatten, mapped, packed_as
from tdfast.engine.tensor import SymbolicTensor

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from tdfast.engine.layer import Layer
    from tdfast.engine.tape import Record, Tape
    from tdfast.engine.types import Array, Arrays, Masks, Sizes


class Node:
    """One call of a layer.

    Args:
        layer: the layer.
        inputs: the `SymbolicTensor` objects that it is called on.
        outputs: how many tensors it gives.
        keywords: further tensors by the names of `Layer.forward`'s arguments, such as initial_state: a dict
            of lists.
        masks: tensors that stand for the masks of the inputs; None, or None for one input: its own mask.
        options: constant arguments of `Layer.forward`, such as training=False.
        arguments: (args, kwargs) of the call as it was written, for a config.
    """

    __slots__ = ("layer", "inputs", "outputs", "keywords", "masks", "options", "arguments")

    def __init__(self, layer: Layer, inputs: Any, outputs: Any = 1, keywords: dict[str, Any] | None = None,
                 masks: Any = None, options: dict[str, Any] | None = None,
                 arguments: Sequence[Any] | None = None) -> None:
        self.layer, self.inputs = layer, tuple(inputs)
        self.keywords, self.masks, self.options = keywords or {}, masks, options or {}
        self.arguments = arguments
        self.outputs = tuple(SymbolicTensor(self, i, name=layer.name) for i in range(outputs))

    @property
    def sources(self) -> tuple[Any, ...]:
        """All tensors whose gradients the call gives: the inputs, then those of the keywords."""
        return (*self.inputs, *(tensor for tensors in self.keywords.values() for tensor in tensors))

    @property
    def needs(self) -> tuple[Any, ...]:
        """All tensors that the call reads."""
        return (*self.sources, *(mask for mask in self.masks or () if mask is not None))

    def output_shape(self, shape: Sizes) -> tuple[int | None, ...]:
        """The shape of the output, or a list of several, from that of the input (a list of several)."""
        return self.layer.compute_output_shape(shape, **self.shape_options)

    @property
    def shape_options(self) -> dict[str, Any]:
        """The options that change the shapes of the outputs."""
        names = self.layer.shape_options
        return {name: self.options[name] for name in names if name in self.options} if names else {}


class Graph:
    """The calls between some inputs and some outputs, in an order in which they can run.

    Args:
        inputs, outputs: lists of `SymbolicTensor` objects.
        strict: whether a layer that cannot carry a mask refuses one; else the mask ends there with a
            warning, as in Keras.

    Raises:
        ValueError: for an output that depends on something else than the inputs.
    """

    def __init__(self, inputs: Any, outputs: Any, strict: bool = True) -> None:
        self.inputs, self.outputs, self.strict = list(inputs), list(outputs), strict
        self.nodes = _in_order(self.inputs, self.outputs)
        tensors = [*self.inputs, *(tensor for node in self.nodes for tensor in node.outputs)]
        place = {id(tensor): i for i, tensor in enumerate(tensors)}
        self._size = len(tensors)
        self._sources = [place[id(tensor)] for tensor in self.inputs]
        self._sinks = [place[id(tensor)] for tensor in self.outputs]
        self._calls = [
            (node.layer, [place[id(tensor)] for tensor in node.sources],
             [place[id(tensor)] for tensor in node.outputs])
            for node in self.nodes
        ]
        self._special = {i: _Special(node, place) for i, node in enumerate(self.nodes)
                         if node.keywords or node.masks or node.options}
        readers = collections.Counter(place for _, sources, _ in self._calls for place in sources)
        readers.update(self._sinks)
        readers.update(place[id(mask)] for node in self.nodes for mask in node.masks or ()
                       if mask is not None)
        self._shared = [readers[i] > 1 for i in range(self._size)]
        self._reads = {id(tensor): readers[i] for i, tensor in enumerate(tensors)}
        self._shares_weights: Any = None     # whether two calls learn the same weight, once it was looked for
        self._has_mask_rule = [layer.has_mask_rule for layer, _, _ in self._calls]
        self._adds_losses = [any(inner.computes_in_call for inner in layer.walk())
                             for layer, _, _ in self._calls]
        self._plans: dict[Any, Any] = {}
        self._values_of_a_row: dict[Any, int] = {}

    @classmethod
    def chain(cls, layers: Sequence[Any]) -> Graph:
        """The graph of layers each of which is called on the output of the one before.

        >>> from tdfast.layers import Dense, Dropout
        >>> graph = Graph.chain([Dropout(0.5, name="first"), Dense(2, name="second")])
        >>> [node.layer.name for node in graph.nodes]
        ['first', 'second']
        """
        first = last = SymbolicTensor(name="input")
        for layer in layers:
            last = Node(layer, [last]).outputs[0]
        return cls([first], [last])

    def reads(self, tensor: SymbolicTensor) -> int:
        """How many calls read a tensor; to be an output counts as one."""
        return self._reads[id(tensor)]

    @property
    def is_chain(self) -> bool:
        """Whether it has one input and one output, and each call reads what the one before gives."""
        tensors = [*self.inputs, *(node.outputs[0] for node in self.nodes)]
        return (len(self.inputs) == len(self.outputs) == 1 and self.outputs[0] is tensors[-1] and all(
            node.needs == (tensor,) and len(node.outputs) == 1 for node, tensor in zip(self.nodes, tensors)))

    def output_layer(self, place: int) -> Any:
        """The layer whose output, as it is, is an output of the graph; None where another call reads it too,
        or the layer is called again."""
        tensor = self.outputs[place]
        if tensor.node is None or self.reads(tensor) != 1 or len(tensor.node.outputs) != 1:
            return None
        layer = tensor.node.layer
        return layer.output_layer() if sum(node.layer is layer for node in self.nodes) == 1 else None

    # ---------------------------------------------------------------- walks
    def walk(self, values: Any, function: Callable[..., Any], keywords: bool = False) -> list[Any]:
        """Carry values through the graph, from the inputs to the outputs: shapes, plans, symbols of another
        format.

        Args:
            values: one for each input.
            function: what a call makes of its values: ``function(node, value)`` gives one for each output of
                the call. A call with several inputs gets a list, and gives a list where it has several
                outputs.
            keywords: True calls ``function(node, value, keywords)``, with the values of `Node.keywords`.

        Returns:
            A list with the value of each output.

        >>> from tdfast.layers import Dense
        >>> graph = Graph.chain([Dense(4), Dense(2)])
        >>> graph.walk([(None, 3)], lambda node, shape: node.layer.compute_output_shape(shape))
        [(None, 2)]
        """
        held = [None] * self._size
        for place, value in zip(self._sources, values):
            held[place] = value
        for node, (_, sources, places) in zip(self.nodes, self._calls):
            many = len(node.inputs)
            value = held[sources[0]] if many == 1 else [held[i] for i in sources[:many]]
            if keywords:
                rest = iter(sources[many:])
                more = {name: [held[next(rest)] for _ in tensors] for name, tensors in node.keywords.items()}
                made = function(node, value, more)
            else:
                made = function(node, value)
            for place, value in zip(places, [made] if len(places) == 1 else made):
                held[place] = value
        return [held[place] for place in self._sinks]

    def values_of_a_row(self, shapes: tuple[Any, ...]) -> int:
        """How many values one row has in all tensors together, from the shapes of a row of each input; 0
        where they do not tell, as the length of a text in words."""
        if shapes not in self._values_of_a_row:
            values: list[Any] = [math.prod(shape) for shape in shapes]

            def add(node: Node, shape: Any) -> Any:
                shape = node.output_shape(shape)
                sizes = (shape[0] if isinstance(shape, list) else shape)[1:]
                values.append(None if None in sizes else math.prod(sizes))
                return shape

            self.walk([(1, *shape) for shape in shapes], add)
            self._values_of_a_row = {shapes: 0 if None in values else sum(values)}
        return self._values_of_a_row[shapes]

    # ---------------------------------------------------------------- passes
    def forward(self, values: Any, masks: Any, record: Record, tape: Tape, training: bool = False,
                packing: int | None = None, look: Callable[..., None] | None = None) -> Arrays:
        """The outputs and their masks, as two lists; each call leaves what backward needs on a tape of its
        own.

        Args:
            values, masks: one for each input.
            record: the `tdfast.engine.tape.Record` of whoever holds the graph. Its ``packed`` is then the
                `PackedSteps` of outputs that hold the valid steps alone, or None.
            tape: the tape on which that record lies.
            packing: the number of the call that may leave masked steps out; None: none. See
                `tdfast.training.packing`.
            look: called after each call of a layer, as ``look(layer, output)``.
        """
        held, marks = [None] * self._size, [None] * self._size
        for place, value, mask in zip(self._sources, values, masks):
            held[place], marks[place] = value, mask
        record.packed = None
        tapes = record.begin_tapes(len(self._calls), tape)
        special, has_rule = self._special, self._has_mask_rule
        recording = program.is_recording()
        if recording:
            self._abandon_if_it_must(masks, look)
        for i, (layer, sources, places) in enumerate(self._calls):
            inner = tapes[i]
            if i in special:
                x, mask, options = special[i].arguments(sources, held, marks, training)
                forward = Repeated(layer.forward, inner, tape) if recording else layer.forward
                y = program.call(forward, x, inner, **options)
            else:
                if len(sources) == 1:
                    x, mask = held[sources[0]], marks[sources[0]]
                else:
                    x, mask = [held[s] for s in sources], [marks[s] for s in sources]
                if recording and not layer.can_be_prepared(training):
                    forward = Repeated(layer.forward, inner, tape)
                    y = program.call(forward, x, inner, training=training, mask=mask)
                elif i == packing and mask is not None:
                    y = layer.forward(x, inner, training=training, mask=mask, packed=True)  # type: ignore[call-arg]
                    if inner.records[0].packed:
                        record.packed, mask = inner.records[0].valid, None
                else:
                    y = layer.forward(x, inner, training=training, mask=mask)
            if look is not None:
                look(layer, y)
            if layer.activity_regularizer is not None or record.activities:
                record.note_activity(layer, y, i)
            if mask is not None or has_rule[i]:
                if mask is not None and not (layer.supports_masking or self.strict or layer.computes_in_call):
                    mask = _ended(mask, layer)
                mask = layer.passed_mask(x, mask, inner.records[0])
                if recording and any([part is not None for part in flatten(mask)]):
                    program.abandon()          # what it leaves out is another with each batch
            if self._adds_losses[i]:
                record.outputs[i] = y
            if len(places) == 1:
                held[places[0]], marks[places[0]] = y, mask
            else:
                record.outputs[i] = y
                given = flatten(mask)           # one mask alone is that of the first output, as in Keras
                given += [None] * (len(places) - len(given))
                for place, part, mark in zip(places, flatten(y), given):
                    held[place], marks[place] = part, mark
        return [held[place] for place in self._sinks], [marks[place] for place in self._sinks]

    def _abandon_if_it_must(self, masks: Any, look: Any) -> None:
        """A pass with masks, or with layers that do something of their own, is not the same each time."""
        if look is not None or any(mask is not None for mask in masks) or any(self._adds_losses) or not all(
                is_of_tdfast(layer) and layer.activity_regularizer is None for layer, _, _ in self._calls):
            program.abandon()

    def backward(self, gradients: Sequence[Any], record: Record, need_inputs: bool = True) -> Arrays:
        """The gradients of the inputs, as a list, from those of the outputs; None stands for zeros on both
        sides.

        A gradient belongs to the call that receives it, which may write over it. So where several calls read
        a tensor, their gradients are summed in memory of its own, in the reverse order of the calls. A layer
        that is called again adds to the gradients of its weights.
        """
        plan, needed, learners = self._plan(need_inputs)
        held = [None] * self._size
        for place, gradient in zip(self._sinks, gradients):
            self._receive(held, place, gradient, record)
        done: set[Any] = set()
        written: set[int] = set()
        shares = self._has_shared_weights()
        for i, layer, sources, places, need_dx, learns in plan:
            if len(places) == 1 and not record.activities:
                dy = held[places[0]]
            else:
                dy = self._of_call(i, [held[place] for place in places], record)
            if dy is None and self._adds_losses[i] and any(r.losses for r in record.tapes[i].records_from()):
                dy = mapped(np.zeros_like, record.outputs[i])
            if dy is None:
                continue
            if record.activities:
                dy = record.add_activity_gradient(dy, i)
            again: Any = ()
            if shares and learns:
                weights = layer.trainable_weights
                again = [weight for weight in weights if id(weight) in written]
                written.update(map(id, weights))
            if again:
                dx = _add_gradients(layer, again, dy, record, i, need_dx)
            else:
                dx = _backward(layer, dy, record.tapes[i], need_dx, i in self._special)
            done.add(layer)
            if need_dx:
                parts = [dx] if len(sources) == 1 else _own_memory(flatten(dx), record, i)
                for place, part in zip(sources, parts):
                    if needed[place]:
                        self._receive(held, place, part, record)
        for layer in learners:
            if layer not in done:               # no gradient came to it
                for weight in layer.trainable_weights:
                    if id(weight) not in written:
                        program.call(np.copyto, weight.grad, 0)
        return [held[place] for place in self._sources] if need_inputs else [None] * len(self._sources)

    def _plan(self, need_inputs: bool) -> tuple[Any, ...]:
        """What a backward pass has to do: (its calls in reverse order, which tensors' gradients somebody
        reads, the layers that learn). A call is (number, layer, sources, places, whether anybody reads the
        gradients of its sources, whether its layer learns)."""
        learns = tuple([layer.learns for layer, _, _ in self._calls])
        plan = self._plans.get((learns, need_inputs))
        if plan is None:
            needed, calls = self._needed(learns, need_inputs), []
            for i, (layer, sources, places) in enumerate(self._calls):
                need_dx = any([needed[source] for source in sources])
                if need_dx or learns[i]:
                    calls.append((i, layer, sources, places, need_dx, learns[i]))
            learners = [layer for learn, (layer, _, _) in zip(learns, self._calls) if learn]
            plan = self._plans[learns, need_inputs] = calls[::-1], needed, learners
        return plan

    def _has_shared_weights(self) -> bool:
        """Whether two calls have a weight in common: of one layer, or of a model or wrapper around it."""
        if self._shares_weights is None:
            found = [id(weight) for layer, _, _ in self._calls for weight in layer.weights]
            self._shares_weights = len(set(found)) < len(found)
        return self._shares_weights

    def _needed(self, learns: Sequence[Any], need_inputs: bool) -> list[bool]:
        """Whether anybody reads the gradient of each tensor: below the lowest weights that learn, nobody
        does."""
        needed = [False] * self._size
        for place in self._sources:
            needed[place] = need_inputs
        for learn, (_, sources, places) in zip(learns, self._calls):
            for source in sources:
                learn = learn or needed[source]
            for place in places:
                needed[place] = learn
        return needed

    def _receive(self, held: Any, place: int, gradient: Array, record: Record) -> None:
        if gradient is None:
            return
        if held[place] is not None:
            blend("add", held[place], gradient)
        elif self._shared[place] or not gradient.flags.c_contiguous:
            held[place] = record.buffer(("sum", place), gradient.shape, gradient.dtype)
            blend("copy", held[place], gradient)
        else:
            held[place] = gradient

    def _of_call(self, i: Any, gradients: Any, record: Record) -> Any:
        """What a call receives; None where no gradient came, and its output has no penalty."""
        if len(gradients) == 1:
            if gradients[0] is None and i in record.activities:
                return np.zeros_like(record.activities[i][1])
            return gradients[0]
        if all(gradient is None for gradient in gradients) and i not in record.activities:
            return None
        for k, (gradient, y) in enumerate(zip(gradients, flatten(record.outputs[i]))):
            if gradient is None:
                gradients[k] = record.buffer(("none", i, k), y.shape, y.dtype)
                program.call(np.copyto, gradients[k], 0)
        return packed_as(record.outputs[i], gradients)


class _Special:
    """How to call a layer that takes more than its inputs: keywords, options, masks of its own."""

    def __init__(self, node: Node, place: dict[Any, Any]) -> None:
        self.many, self.options = len(node.inputs), dict(node.options)
        self.training = self.options.pop("training", None)
        self.keywords, at = {}, self.many
        for name, tensors in node.keywords.items():
            self.keywords[name] = slice(at, at + len(tensors))
            at += len(tensors)
        self.masks = [None if mask is None else place[id(mask)] for mask in node.masks or ()]
        self.drops_mask = bool(node.keywords) and not node.masks and node.layer.drops_mask_beside_tensors

    def arguments(self, sources: Sequence[Any], held: Sequence[Any], marks: Sequence[Any],
                  training: bool) -> tuple[Any, ...]:
        """(the input or a list, the mask or a list, the other arguments of `Layer.forward`)."""
        xs = [held[s] for s in sources]
        masks = [marks[s] for s in sources[: self.many]]
        for k, place in enumerate(self.masks):
            if place is not None:
                masks[k] = np.asarray(held[place], bool)
        keywords = {name: xs[part] for name, part in self.keywords.items()}
        x, mask = (xs[0], masks[0]) if self.many == 1 else (xs[: self.many], masks)
        if training is None:            # as in Keras, fit and predict go before what the call was told
            training = self.training
        given = None if self.drops_mask else mask
        return x, mask, {"training": training, "mask": given, **self.options, **keywords}


def _ended(mask: Masks, layer: Layer) -> Any:
    """None for the mask of a layer that cannot carry it; a warning if there is one."""
    if not isinstance(mask, list) or any(m is not None for m in mask):
        warnings.warn(
            f"Layer '{layer.name}' ({type(layer).__name__}) cannot carry a mask, but its input has one: the "
            "mask ends there, and masked steps count like others from there on. Put the layer before "
            "what makes "
            "the mask, or take another one.",
            stacklevel=level_of_the_caller(),
        )
    return None


def _backward(layer: Layer, dy: Arrays, tape: Tape, need_dx: bool, special: bool) -> Any:
    """`Layer.backward`, noted as a whole where its passes are not calls of kernels alone."""
    if program.is_recording() and (special or not layer.can_be_prepared(True)):
        return program.call(Repeated(layer.backward), dy, tape, need_dx)
    return layer.backward(dy, tape, need_dx)


def _add_gradients(layer: Layer, weights: Any, dy: Arrays, record: Record, call: int, need_dx: bool) -> Array:
    """`Layer.backward` of a layer that overwrites the gradients of its weights, such that it adds to those of
    some of them."""
    held = []
    for k, weight in enumerate(weights):
        before = record.buffer(("before", call, k), weight.grad.shape, weight.grad.dtype)
        blend("copy", before, weight.grad)
        held.append((weight, before))
    dx = _backward(layer, dy, record.tapes[call], need_dx, False)
    for weight, before in held:
        blend("add", weight.grad, before)
    return dx


def _own_memory(gradients: Any, record: Record, call: Any) -> Any:
    """The gradients of a call's inputs, none of which shares its memory with another."""
    out: list[Any] = []
    for k, gradient in enumerate(gradients):
        if gradient is not None and any(other is not None and np.may_share_memory(gradient, other)
                                        for other in out):
            own = record.buffer(("apart", call, k), gradient.shape, gradient.dtype)
            blend("copy", own, gradient)
            gradient = own
        out.append(gradient)
    return out


def _in_order(inputs: Any, outputs: Any) -> list[Node]:
    """The nodes that the outputs depend on, each after those that it depends on."""
    known, order, waiting = {id(tensor) for tensor in inputs}, [], []
    begun = set()
    for output in outputs:
        waiting.append((output, False))
        while waiting:
            tensor, ready = waiting.pop()
            if id(tensor) in known:
                continue
            if tensor.node is None or not tensor.node.needs:
                raise ValueError(
                    f"The outputs depend on {tensor!r}, which is not among the inputs of the graph."
                )
            if ready:
                order.append(tensor.node)
                known.update(id(made) for made in tensor.node.outputs)
            elif id(tensor.node) not in begun:
                begun.add(id(tensor.node))
                waiting.append((tensor, True))
                waiting.extend((source, False) for source in reversed(tensor.node.needs))
    return order
