"""Layers whose class computes in ``call``, as Keras's do: how they run, learn, and find shapes and masks.

`install` gives such a class the methods of `Computing`. Calls of layers within a user's code come here too
(`within`), since there the mask, the training flag and the recording of derivatives come from the outer call.
"""

from __future__ import annotations

import functools
import inspect
import warnings
from typing import TYPE_CHECKING, Any

import numpy as np

from tdfast.compat.calling import level_of_the_caller
from tdfast.engine import program, tracing
from tdfast.engine.arithmetic import kernel_arithmetic
from tdfast.engine.arrays import as_mask
from tdfast.engine.structure import flatten, mapped, packed_as
from tdfast.engine.tape import Tape
from tdfast.engine.tensor import SymbolicTensor, is_symbolic
from tdfast.engine.variable import Variable

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from tdfast.engine.graph import Node
    from tdfast.engine.layer import Layer
    from tdfast.engine.types import Array, Arrays, Masks

UNKNOWN = (6, 10)
"""What stands for sizes that are not known when the shape of a result is looked for."""


# ---------------------------------------------------------------- what a user's call takes


@functools.lru_cache(maxsize=512)
def parameters(function: Callable[..., Any]) -> tuple[tuple[str, ...], bool, frozenset[str]]:
    """(the names of a method's arguments without self, whether it takes any, those without a default)."""
    found = list(inspect.signature(function).parameters.values())[1:]
    plain = (inspect.Parameter.POSITIONAL_OR_KEYWORD, inspect.Parameter.KEYWORD_ONLY)
    names = tuple(p.name for p in found if p.kind in plain)
    needed = frozenset(p.name for p in found if p.kind in plain and p.default is inspect.Parameter.empty)
    return names, any(p.kind is inspect.Parameter.VAR_KEYWORD for p in found), needed


def function_of(layer: Any) -> Any:
    """The function that computes what a layer gives, whose arguments count."""
    return getattr(layer, "called_function", None) or type(layer).call


class Mode:
    """Stands for the argument ``training`` while a model's ``call`` is traced: layers hand it on, but nobody
    may ask what it is."""

    def __bool__(self) -> bool:
        raise NeedsValues("its call asks whether it is training")


class NeedsValues(Exception):
    """A user's call cannot be traced on symbolic tensors, since it asks for what is known in a call alone."""


# ---------------------------------------------------------------- one call


def run(layer: Layer, frame: tracing.Frame, args: Any, kwargs: dict[str, Any], penalize: bool = True) -> Any:
    """What ``call`` gives, within a frame: with the training flag and the mask that it takes.

    Args:
        penalize: whether an activity_regularizer counts here, and not in the graph.
    """
    kwargs = dict(kwargs)
    training = kwargs.pop("training", None)
    outer = frame.training
    if training is None:
        training = outer
    given = kwargs.pop("mask", None)
    first = args[0] if args else next(iter(kwargs.values()), None)
    if given is None and first is not None:
        found = mapped(frame.mask_of, first)
        given = found if any(mask is not None for mask in flatten(found)) else None
    names, _, needed = parameters(function_of(layer))
    if "training" in names and (training is not None or "training" in needed):
        kwargs["training"] = bool(training)
    if "mask" in names and (given is not None or "mask" in needed):
        kwargs["mask"] = given
    frame.training = training
    try:
        y = layer.call(*args, **kwargs)
    finally:
        frame.training = outer
    y = mapped(lambda part: _checked(part, layer), y)
    if penalize:
        _add_penalty(layer, frame, y)
    _pass_mask_on(layer, frame, first, given, y)
    return y


def _checked(value: Any, layer: Layer) -> Any:
    """An output as an array or a `Traced`."""
    if isinstance(value, np.ndarray) or tracing.is_recorded(value):
        return value
    if isinstance(value, Variable):
        return tracing.value_of(value)
    if isinstance(value, (bool, int, float, np.generic)):
        return np.asarray(value, np.float32 if isinstance(value, float) else None)
    if value is None or isinstance(value, (str, bytes)) or not hasattr(value, "__array__"):
        raise TypeError(
            f"Layer '{layer.name}' ({type(layer).__name__}): call must return an array, or a list, a tuple "
            f"or a dict of them, got {value!r:.60} ({type(value).__name__})."
        )
    raise TypeError(
        f"Layer '{layer.name}' ({type(layer).__name__}): call returned a "
        f"{type(value).__module__.split('.')[0]} {type(value).__name__}. Compute with tdfast.ops, NumPy's "
        "functions or operators, whose derivatives are known here."
    )


def _add_penalty(layer: Layer, frame: tracing.Frame, y: Any) -> None:
    """The penalty of an activity_regularizer, among the losses of the frame."""
    regularizer = layer.activity_regularizer
    if regularizer is None:
        return
    for part in flatten(y):
        if tracing.is_recorded(part):
            from tdfast.engine import derivatives

            frame.losses.append(derivatives.penalty(regularizer, part))
        else:
            frame.losses.append(np.asarray(float(regularizer(part)) / len(part)))


def _pass_mask_on(layer: Layer, frame: tracing.Frame, first: Any, mask: Any, y: Any) -> None:
    """Give the outputs of a call their masks."""
    outputs = flatten(y)
    if all(frame.mask_of(part) is not None for part in outputs):
        return                          # layers within gave them
    if not layer.supports_masking:
        if mask is not None and first is not None:
            warnings.warn(
                f"Layer '{layer.name}' ({type(layer).__name__}) does not support masking, but its input "
                "has a mask: "
                "the mask ends there, and masked steps count like others from there on. Set "
                "self.supports_masking = "
                "True in its __init__ to hand the mask on, and override compute_mask where it changes.",
                stacklevel=level_of_the_caller(),
            )
        return
    found = layer.compute_mask(mapped(plain, first), mask)
    masks = flatten(found)
    for part, mark in zip(outputs, masks if len(masks) == len(outputs) else [*masks, *[None] * len(outputs)]):
        frame.set_mask(part, mark)


def plain(value: Any) -> Any:
    """The plain array of a value whose steps are recorded; anything else as it is."""
    while tracing.is_recorded(value):
        value = value._value
    return value


def as_arrays(layer: Layer, structure: Any) -> Any:
    """What a user's call gets: arrays, those of floats in the layer's dtype; the rest as it is."""
    if isinstance(structure, dict):
        return {key: as_arrays(layer, part) for key, part in structure.items()}
    if isinstance(structure, (list, tuple)) and any(_is_array(part) for part in structure):
        return type(structure)(as_arrays(layer, part) for part in structure)
    if structure is None or isinstance(structure, (bool, str, slice)) or tracing.is_recorded(structure):
        return structure
    if isinstance(structure, (int, float, list, tuple, np.generic)) or hasattr(structure, "__array__"):
        array = np.asarray(_value_of(structure))
        if array.dtype.kind == "f" and array.dtype != layer.dtype:
            array = array.astype(layer.dtype)
        return np.ascontiguousarray(array) if array.ndim else array
    return structure


def _value_of(value: Any) -> Any:
    return tracing.value_of(value) if isinstance(value, Variable) else value


def _is_array(part: Any) -> bool:
    return hasattr(part, "shape") or (isinstance(part, (list, tuple, dict)) and len(part) > 0 and any(
        _is_array(inner) for inner in (part.values() if isinstance(part, dict) else part)))


def shapes_of(structure: Any) -> Any:
    """The shapes of arrays, with None for the batch, in the structure in which they are."""
    if isinstance(structure, dict):
        return {key: shapes_of(part) for key, part in structure.items()}
    if isinstance(structure, (list, tuple)):
        return [shapes_of(part) for part in structure]
    shape = tuple(getattr(structure, "shape", ()))
    return (None, *shape[1:]) if shape else ()


# ---------------------------------------------------------------- the methods


class Computing:
    """The methods of a layer that computes in ``call``; see `install`."""

    computes_in_call = True
    several_inputs = True
    rowwise = per_step = False
    shape_options = ("template",)

    def __call__(self: Any, *args: Any, **kwargs: Any) -> Any:
        """The output for some inputs, or a call in a graph."""
        if "name" not in vars(self):
            raise RuntimeError(f"{type(self).__name__}.__init__ must begin with super().__init__(**kwargs).")
        if is_symbolic([args, kwargs]):
            return self._call_on_tensors(*args, **kwargs)
        args, kwargs = _arrays_of_call(self, args, kwargs)
        build_for(self, [shapes_of(arg) for arg in args], {k: shapes_of(v) for k, v in kwargs.items()},
                  (args, kwargs))
        frame = tracing.innermost()
        if frame is not None:
            return run(self, frame, args, kwargs)
        training = kwargs.pop("training", None)
        with kernel_arithmetic(), tracing.Frame(training=training) as frame:
            y = run(self, frame, args, kwargs)
            self.added_losses = frame.losses
        return mapped(np.asarray, y)

    def forward(self: Any, x: Any, tape: Tape, training: bool = False, mask: Masks = None,
                template: Any = None) -> Arrays:
        """As `Layer.forward`."""
        rec = tape.push(self)
        args, kwargs = ((as_arrays(self, x),), {}) if template is None else template
        leaves = flatten([args, kwargs])
        places = [0]
        if template is not None:
            places = [i for i, leaf in enumerate(leaves) if isinstance(leaf, SymbolicTensor)]
        arrays = list(x) if isinstance(x, list) else [x]
        if template is None and isinstance(args[0], (list, tuple, dict)):
            places = list(range(len(arrays)))
        trace = None
        if tape.keep:
            from tdfast.engine import derivatives

            trace = derivatives.Trace()
        with tracing.Frame(trace, training, closed=True, record=rec, tape=tape) as frame:
            for place, array, mark in zip(places, arrays, _each(mask, len(arrays))):
                array = as_arrays(self, array)
                if trace is not None and array.dtype.kind == "f":
                    array = trace.root(array, place)
                leaves[place] = array
                frame.set_mask(array, mark)
            args, kwargs = packed_as([args, kwargs], leaves)
            y = run(self, frame, tuple(args), kwargs, penalize=False)
        outputs = flatten(y)
        masks = [frame.mask_of(part) for part in outputs]
        rec.mask = masks[0] if len(outputs) == 1 else masks
        rec.trace, rec.ends, rec.losses, rec.places = trace, outputs, frame.losses, places
        self.added_losses = [plain(loss) for loss in frame.losses]
        rec.added = total(frame.losses)
        values = [as_output(part, self.dtype) for part in outputs]
        return values[0] if len(values) == 1 else values

    def backward(self: Any, dy: Arrays, tape: Tape, need_dx: bool = True) -> Any:
        """As `Layer.backward`."""
        rec = tape.pop(self)
        found = back(rec, flatten(dy), self.trainable_weights)
        gradients = [found(place) for place in rec.places] if need_dx else [None] * len(rec.places)
        rec.trace = rec.ends = rec.losses = None
        return gradients[0] if len(gradients) == 1 else gradients

    def bind(self: Any, *args: Any, **kwargs: Any) -> tuple[Any, ...]:
        """As `Layer.bind`."""
        options: dict[str, Any] = {}
        if kwargs.get("training") is not None:
            options["training"] = bool(kwargs["training"])
        masks = flatten(kwargs["mask"]) if is_symbolic(kwargs.get("mask")) else None
        further = {name: value for name, value in kwargs.items()
                   if name != "training" and not (name == "mask" and masks is not None)}
        known, any_name, _ = parameters(function_of(self))
        unknown = [] if any_name else sorted(set(further) - set(known) - {"mask"})
        if unknown:
            raise TypeError(
                f"Layer '{self.name}' ({type(self).__name__}): its call does not know the argument(s) "
                f"{', '.join(map(repr, unknown))}; it takes {', '.join(known)}."
            )
        template = list(args), further
        tensors = [leaf for leaf in flatten(template) if isinstance(leaf, SymbolicTensor)]
        return tensors, {}, masks, {"template": template, **options}

    def built_for(self: Any, shape: Any, options: dict[str, Any]) -> None:
        """As `Layer.built_for`."""
        args, kwargs = options["template"]
        build_for(self, *mapped_shapes(args, kwargs), (args, kwargs))

    def ensure_built(self: Any, input_shape: Any, seen: Any = None) -> None:
        """As `Layer.ensure_built`."""
        build_for(self, [input_shape], {}, None)

    def passed_mask(self: Any, x: Any, mask: Masks, record: Any) -> Any:
        """The mask that the call gave its output."""
        return record.mask


class ComputingShapes:
    """The methods that such a layer gets unless its class, or one between it and `Layer`, has its own."""

    supports_masking = False

    def compute_output_shape(self: Any, input_shape: Any, template: Any = None) -> Any:
        """Found by a call on arrays of that shape, for which the layer is built if it is not."""
        if not self._built:
            self.ensure_built(input_shape)
        shapes = found_by_trial(self, input_shape, template)[0]
        return shapes[0] if len(shapes) == 1 else list(shapes)

    def output_dtypes(self: Any, node: Node, number: int) -> list[str]:
        """As `Layer.output_dtypes`."""
        shapes = [tensor.shape for tensor in node.inputs]
        return found_by_trial(self, shapes, node.options.get("template"))[1]

    def pack_outputs(self: Any, outputs: Any) -> Any:
        """The outputs in the structure in which call gives them."""
        structure = getattr(self, "_structure", None)
        return outputs if structure is None else packed_as(structure, flatten(outputs))

    def compute_mask(self: Any, inputs: Any, mask: Masks = None) -> Masks:
        """The mask that comes in, if the layer supports masking."""
        return mask if self.supports_masking else None

    def check_dtypes(self: Any, tensors: Sequence[Any]) -> None:
        """It takes any, and casts floats to its own."""

    def as_input(self: Any, x: Any, who: str | None = None) -> Any:
        """Arrays, those of floats in the layer's dtype."""
        return as_arrays(self, x)


def install(cls: Any, base: Any) -> None:
    """Give a class with a ``call`` what runs it.

    Args:
        cls: the class, derived from ``base``.
        base: `tdfast.engine.layer.Layer`.
    """
    inherited = cls.sublayers
    if "__setattr__" not in vars(cls):
        cls.__setattr__ = set_attribute
    for name, method in vars(Computing).items():
        if name not in vars(cls) and not (name.startswith("__") and name != "__call__"):
            setattr(cls, name, method)
    for name, method in vars(ComputingShapes).items():
        if not name.startswith("__") and getattr(cls, name) is getattr(base, name):
            setattr(cls, name, method)
    if "sublayers" not in vars(cls):

        def sublayers(self: Any) -> list[Any]:
            """The layers inside this one: its attributes."""
            return _joined(inherited(self), layers_in(self))

        cls.sublayers = sublayers


def remove(cls: Any, base: Any) -> None:
    """Take `install` back for a class that has a ``forward`` of its own, derived from one that computes in
    ``call``."""
    if not cls.computes_in_call:
        return
    for methods in (Computing, ComputingShapes):
        for name, method in vars(methods).items():
            if name not in vars(cls) and hasattr(base, name) and getattr(cls, name) is method:
                setattr(cls, name, getattr(base, name))


def set_attribute(layer: Any, name: str, value: Any) -> None:
    """Set an attribute; a `Variable` that belongs to no layer becomes a weight of this one."""
    program.set_attribute(layer, name, value)
    if isinstance(value, Variable):
        layer.track(value)
    elif isinstance(value, (list, tuple)) and not name.startswith("_"):
        for part in value:
            if isinstance(part, Variable):
                layer.track(part)


def _joined(first: list[Any], second: list[Any]) -> list[Any]:
    return list({id(layer): layer for layer in [*first, *second]}.values())


def layers_in(owner: Any) -> list[Any]:
    """The layers among the attributes of a layer, also within lists and dicts, in the order in which they
    were
    set."""
    found: list[Any] = []
    for name, value in vars(owner).items():
        if name not in _NO_LAYERS:
            _collect(value, found, type(owner).__mro__[-2])
    return [layer for layer in {id(layer): layer for layer in found}.values() if layer is not owner]


_NO_LAYERS = {"_graph", "_input_layers", "_trainer", "_lock", "model", "_weights", "_nodes", "input_shape",
              "batch_shape", "_trials", "_structure", "name", "dtype"}
"""Attributes of tdfast's own."""


def _collect(value: Any, found: list[Any], kind: Any) -> None:
    if isinstance(value, kind):
        found.append(value)
    elif isinstance(value, (list, tuple)):
        for part in value:
            _collect(part, found, kind)
    elif isinstance(value, dict):
        for part in value.values():
            _collect(part, found, kind)


def total(losses: Sequence[Any]) -> float:
    """The sum of what `Layer.add_loss` was given."""
    return float(sum(np.sum(plain(loss), dtype=np.float64) for loss in losses))


def back(rec: Any, gradients: Sequence[Any], weights: Sequence[Any]) -> Callable[[Any], Any]:
    """Go back through a recorded call, and write the gradients of the weights; gives those of its roots.

    Args:
        rec: the `Record` of the call, with ``trace``, ``ends`` (the outputs) and ``losses``.
        gradients: by the outputs.
        weights: those that learn.
    """
    ends = [*zip(rec.ends, gradients), *((loss, np.ones(np.shape(plain(loss)))) for loss in rec.losses)]
    with np.errstate(all="ignore"):
        rec.trace.back([(value, gradient) for value, gradient in ends if gradient is not None])
    for weight in weights:
        gradient = rec.trace.gradient(id(weight))
        weight.grad[...] = 0 if gradient is None else gradient
    return rec.trace.gradient


def _each(mask: Any, count: int) -> list[Any]:
    if count == 1:
        return [mask[0] if isinstance(mask, list) else mask]
    return [None] * count if mask is None else list(mask)


def as_output(value: Any, dtype: str) -> Array:
    """What a user's call gave as a contiguous array, floats in a dtype."""
    value = np.asarray(plain(value))
    return np.ascontiguousarray(value, dtype if value.dtype.kind == "f" else None) if value.ndim else (
        value.astype(dtype) if value.dtype.kind == "f" else value)


def _arrays_of_call(layer: Any, args: Any, kwargs: dict[str, Any]) -> tuple[Any, dict[str, Any]]:
    args = tuple(as_arrays(layer, arg) for arg in args)
    return args, {k: v if k in ("training", "mask") else as_arrays(layer, v) for k, v in kwargs.items()}


def mapped_shapes(args: Any, kwargs: dict[str, Any]) -> tuple[list[Any], dict[str, Any]]:
    """The shapes of symbolic tensors in the structures in which they are."""
    return [shapes_of(arg) for arg in args], {name: shapes_of(value) for name, value in kwargs.items()}


# ---------------------------------------------------------------- building


def build_for(layer: Any, shapes: list[Any], named: dict[str, Any], example: Any) -> None:
    """Build a layer, and those within it, for the shapes of a call's arguments.

    Args:
        layer: the layer.
        shapes, named: of the positional arguments and of those by name, each in its structure.
        example: (args, kwargs) of a call, of symbolic tensors or arrays; None: one argument.
    """
    if layer._built:
        return
    with layer.building():
        if layer._built:
            return
        names = [name for name in parameters(_unwrapped(type(layer).build))[0]]
        if len(names) > 1:
            by_name = dict(zip(parameters(function_of(layer))[0], shapes)) | named
            layer.build(**{name: by_name.get(name.removesuffix("_shape")) for name in names})
        else:
            layer.build(as_tuples(shapes[0] if shapes else next(iter(named.values()), None)))
        unbuilt = [inner for inner in layer.sublayers() if not inner.built]
        if unbuilt:
            layer._built = True
            try:
                _build_by_trial(layer, shapes, example)
            except BaseException:
                layer._built = False
                raise
            _name_weights(layer, unbuilt)


def _unwrapped(method: Any) -> Any:
    return getattr(method, "__wrapped__", method)


def as_tuples(shape: Any) -> Any:
    """A shape as a tuple; those in lists and dicts each."""
    if isinstance(shape, dict):
        return {key: as_tuples(part) for key, part in shape.items()}
    if isinstance(shape, list) and shape and isinstance(shape[0], (tuple, list)):
        return [as_tuples(part) for part in shape]
    return shape if shape is None else tuple(shape)


def _build_by_trial(layer: Any, shapes: list[Any], example: Any) -> None:
    if example is None:
        found_by_trial(layer, shapes[0], None)
        return
    leaves = [tuple(leaf.shape) for leaf in flatten(example) if hasattr(leaf, "shape")]
    if is_symbolic(list(flatten(example))):
        found_by_trial(layer, leaves, example)
    else:
        args, kwargs = example
        with tracing.Frame(training=False, closed=True) as frame:
            run(layer, frame, args, {k: v for k, v in kwargs.items() if k != "training"})


def _name_weights(layer: Any, inner: Sequence[Any]) -> None:
    for part in inner:
        for variable in part.weights:
            if not variable.path.startswith(f"{layer.name}/"):
                variable.path = f"{layer.name}/{variable.path}"


def found_by_trial(layer: Any, input_shape: Any, template: Any) -> tuple[list[Any], list[str]]:
    """(the shapes of the outputs, their dtypes), from calls on arrays whose numbers mean nothing."""
    shapes = input_shape
    if not (shapes and isinstance(shapes[0], (tuple, list))):
        shapes = [input_shape]
    dtypes = _dtypes(layer, template, len(shapes))
    key = (tuple(map(tuple, shapes)), tuple(dtypes), _constants(template))
    trials = vars(layer).setdefault("_trials", {})
    if key not in trials:
        sizes = UNKNOWN if any(None in shape for shape in shapes) else (1,)
        found = [_trial(layer, shapes, size, dtypes, template) for size in sizes]
        layer._structure = None if len(flatten(found[0])) == 1 else mapped(lambda y: None, found[0])
        each = [flatten(y) for y in found]
        trials[key] = ([_common([y[k].shape for y in each]) for k in range(len(each[0]))],
                       [y.dtype.name for y in each[0]])
    return trials[key]


def _constants(template: Any) -> str:
    if template is None:
        return ""
    return repr([leaf for leaf in flatten(template) if not isinstance(leaf, SymbolicTensor)])


def _dtypes(layer: Any, template: Any, count: int) -> list[str]:
    if template is None:
        return [getattr(layer, "_input_dtype", layer.dtype)] * count
    return [leaf.dtype for leaf in flatten(template) if isinstance(leaf, SymbolicTensor)]


def _trial(layer: Any, shapes: Sequence[Any], size: int, dtypes: Sequence[str], template: Any) -> Any:
    arrays = iter([_example(shape, size, dtype) for shape, dtype in zip(shapes, dtypes)])
    if template is None:
        found = list(arrays)
        args, kwargs = (found[0] if len(found) == 1 else found,), {}
    else:
        args, kwargs = packed_as(list(template), [next(arrays) if isinstance(leaf, SymbolicTensor) else leaf
                                                  for leaf in flatten(list(template))])
    with np.errstate(all="ignore"), warnings.catch_warnings(), kernel_arithmetic():
        warnings.simplefilter("ignore")
        try:
            with tracing.Frame(training=False, closed=True) as frame:
                return mapped(lambda y: as_output(y, layer.dtype), run(layer, frame, tuple(args), kwargs))
        except Exception as error:
            unknown = (f" (a size that is not known was tried as {size})"
                       if any(None in shape for shape in shapes) else "")
            who = f"{type(layer).__name__}.call of layer '{layer.name}'"
            _add_note(error, f"This came from {who}, called on arrays "
                             f"of shapes {list(shapes)}{unknown} to find the shape of its output.")
            raise


def _add_note(error: BaseException, text: str) -> None:
    if hasattr(error, "add_note"):      # since Python 3.11
        error.add_note(text)


def _example(shape: Any, size: int, dtype: str) -> Array:
    if dtype == "string":
        return np.full([size if n is None else n for n in shape], "", dtype=object)
    fill = np.ones if np.dtype(dtype).kind == "f" else np.zeros
    return fill([size if n is None else n for n in shape], dtype)


def _common(shapes: Sequence[Any]) -> tuple[Any, ...]:
    return tuple(n if all(shape[i] == n for shape in shapes) else None for i, n in enumerate(shapes[0]))


# ---------------------------------------------------------------- layers within a user's code


def within(layer: Any, frame: tracing.Frame, x: Any, training: Any, mask: Any, kwargs: dict[str, Any],
           kind: Any = None) -> Any:
    """A call of a layer with forward and backward, by a user's code.

    Args:
        layer, x, training, mask, kwargs: of the call.
        frame: the innermost.
        kind: the class whose forward and backward to take; the layer's own when None.
    """
    own = kind is None
    kind = kind or type(layer)
    forward_of = layer.forward if own else functools.partial(kind.forward, layer)
    who = f"Layer '{layer.name}'"
    inputs = layer.as_inputs(x, who) if hasattr(layer, "as_inputs") else flatten(x)
    if mask is None:
        found = [frame.mask_of(part) for part in inputs]
        mask = found if len(inputs) > 1 and any(m is not None for m in found) else found[0]
    training = layer.mode(frame.training if training is None else training)
    keywords = {name: flatten(value) for name, value in kwargs.items()
                if any(tracing.is_recorded(leaf) for leaf in flatten(value))}
    options = {name: value for name, value in kwargs.items() if name not in keywords}
    if keywords and layer.drops_mask_beside_tensors:
        mask = None
    seen: dict[str, Any] = {}

    def forward(arrays: Sequence[Any], tensors: dict[str, Any], tape: Any) -> Any:
        """As `Layer.forward`."""
        value = layer.as_input(arrays[0] if len(arrays) == 1 and not _wants_list(layer, x) else list(arrays))
        marks = _as_masks(mask, value, layer)
        if kind is type(layer):
            _ensure_built(layer, value)
        seen.update(x=value, mask=marks, tape=tape)
        with kernel_arithmetic():
            return forward_of(value, tape, training=training, mask=marks, **options, **tensors)

    if tracing.traces():
        from tdfast.engine import derivatives

        arrays = [plain(part) for part in inputs]
        listed = len(arrays) > 1 or _wants_list(layer, x)
        _ensure_built(layer, layer.as_input(arrays if listed else arrays[0]))
        backward = layer.backward if own else functools.partial(kind.backward, layer)
        y = derivatives.call_layer(layer, frame, inputs, keywords, forward, backward)
    else:
        y = forward([plain(part) for part in inputs], keywords, frame.next_tape())
    if kind is type(layer):
        _add_penalty(layer, frame, y)
        frame.inner_losses += [plain(loss) for inner in layer.walk() for loss in inner.added_losses]
    marks = seen["mask"]
    if marks is not None or layer.has_mask_rule:
        record = seen["tape"].records[0]
        found = flatten(layer.passed_mask(seen["x"], marks, record) if layer.supports_masking
                        else _ended(layer, frame, marks))
        for part, mark in zip(flatten(y), found):
            frame.set_mask(part, mark)
    return y


def _wants_list(layer: Any, x: Any) -> bool:
    return layer.several_inputs and isinstance(x, (list, tuple, dict)) and not hasattr(layer, "as_inputs")


def _ended(layer: Any, frame: tracing.Frame, mask: Any) -> list[Any]:
    if any(m is not None for m in flatten(mask)):
        warnings.warn(
            f"Layer '{layer.name}' ({type(layer).__name__}) cannot carry a mask, but its input has one: "
            "the mask "
            "ends there, and masked steps count like others from there on.",
            stacklevel=level_of_the_caller(),
        )
    return []


def _as_masks(mask: Any, value: Any, layer: Any) -> Any:
    if isinstance(value, list):
        return [None if m is None else as_mask(m, a, layer.name)
                for m, a in zip(mask or [None] * len(value), value)]
    return as_mask(mask, value, layer.name)


def _ensure_built(layer: Any, value: Any) -> None:
    if isinstance(value, list):
        layer.ensure_built([(None, *a.shape[1:]) for a in value], [a.shape for a in value])
    else:
        layer.ensure_built((None, *value.shape[1:]), value.shape)


def built_in(layer: Any, x: Any, training: Any, mask: Any, kwargs: dict[str, Any]) -> Any:
    """What the class before a user's own computes: for ``super().call(x)``."""
    for kind in type(layer).__mro__:
        forward = vars(kind).get("forward")
        if forward is not None and forward is not Computing.forward:
            break
    else:
        raise TypeError(
            f"Layer '{layer.name}' ({type(layer).__name__}) has no call to go on to: override call(x)."
        )
    frame = tracing.innermost()
    if frame is None:
        with tracing.Frame() as frame:
            return within(layer, frame, x, training, mask, kwargs, kind)
    return within(layer, frame, x, training, mask, kwargs, kind)
