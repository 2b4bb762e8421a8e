"""Layer: weights, a forward and a backward pass, a config."""

from __future__ import annotations

import contextlib
import functools
import inspect
import math
import os
import threading
from typing import TYPE_CHECKING, Any

import numpy as np

from tdfast.compat import absent
from tdfast.engine import arguments, calls, program, tracing
from tdfast.engine.arithmetic import kernel_arithmetic
from tdfast.engine.arrays import as_array, as_mask
from tdfast.engine.graph import Node
from tdfast.engine.names import kind_name, unique_name, unknown_arguments
from tdfast.engine.structure import flatten
from tdfast.engine.tape import Tape
from tdfast.engine.tensor import SymbolicTensor, is_symbolic
from tdfast.engine.variable import Variable

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence

    from tdfast.engine.tape import Record
    from tdfast.engine.types import (
        Array,
        Arrays,
        Config,
        ConstraintSpec,
        DType,
        InitializerSpec,
        Masks,
        Numbers,
        RegularizerSpec,
        Shape,
        Shapes,
        Sizes,
        Tensors,
    )

_building = threading.RLock()
_source = threading.local()

if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=getattr(_building, "_at_fork_reinit"))    # noqa: B009 -- it has no stub


def standardize_dtype(dtype: Any) -> str:
    """'float32' or 'float64' from a name, a NumPy dtype or a Keras dtype policy."""
    if dtype is None:
        from tdfast.config import floatx

        return floatx()
    if isinstance(dtype, dict):
        dtype = dtype.get("config", {}).get("name", dtype)
    try:
        name = np.dtype(dtype).name
    except TypeError:
        name = str(dtype)
    if name not in ("float32", "float64"):
        raise ValueError(
            f"dtype must be 'float32' or 'float64', got {dtype!r}. tdfast computes in these two."
        )
    return name


@contextlib.contextmanager
def weights_from(source: Any) -> Iterator[Any]:
    """For a block: layers that make weights in this thread take their values from a function.

    Args:
        source: ``source(layer, shape, name=..., trainable=...)`` gives an array of that shape, or None: the
            layer's own initializer fills the weight.
    """
    before, _source.function = getattr(_source, "function", None), source
    try:
        yield
    finally:
        _source.function = before


@contextlib.contextmanager
def _as_before_if_it_fails(layer: Layer) -> Iterator[Any]:
    """Memory that cannot be had, or Ctrl-C, leaves no half of the weights behind: the next build makes them
    all."""
    layers = [layer]
    for inner in layers:
        layers.extend(inner.sublayers())
    states = [(inner, dict(vars(inner)), list(inner._weights)) for inner in layers]
    try:
        yield
    except BaseException:
        for inner, state, weights in states:
            vars(inner).clear()
            vars(inner).update(state)
            inner._weights[:] = weights
        raise


def _marks_built(build: Callable[..., None]) -> Callable[..., None]:
    """``build`` such that a user, too, may call it: it checks the shape and, at its end, notes that the
    weights are there.

    Within such a call, `super().build()` is a part of it: a layer is built when the outermost one has ended.
    """

    @functools.wraps(build)
    def wrapped(self: Any, input_shape: Any = None, **named: Any) -> None:
        with _building:                 # other threads wait until all of it is there
            if self._in_build or named:
                self.built = self.built or bool(named)
                build(self, **named) if named else build(self, input_shape)
                return
            if input_shape is not None and not isinstance(input_shape, dict):
                self.check_input_shape(tuple(input_shape))
            if self.built and self._weights:
                return                  # they are there already
            with _as_before_if_it_fails(self):
                self._in_build = True
                build(self, input_shape)
                del self._in_build
            if input_shape is not None:
                self.input_shape = input_shape if isinstance(input_shape, dict) else tuple(input_shape)
            self.built = True

    return wrapped


@absent.members("layers")
class Layer:
    """One step of a model: weights, a forward and a backward pass.

    A layer is called on an array, ``y = layer(x)``, and builds its weights on the first call. A layer
    of your own overrides ``build``, ``forward``, ``backward``, ``compute_output_shape`` and
    ``get_config``.

    Args:
        name: unique in a model; made from the class when None.
        trainable: False keeps its weights as they are in training.
        dtype: 'float32' or 'float64'; None is `tdfast.config.floatx()`.
        activity_regularizer: a penalty on the output (mean over the batch), or None.
        input_shape: the shape of one sample, for the first layer of a model.
        batch_shape: the same with the batch size before it (None: any); batch_input_shape is its older name.
        input_dim: the number of features, for a sample of one axis.
        batch_size: beside input_shape, as in older versions of Keras: that of all batches.

    >>> class Twice(Layer):
    ...     def forward(self, x, tape, training=False, mask=None):
    ...         tape.push(self)
    ...         return 2 * x
    ...     def backward(self, dy, tape, need_dx=True):
    ...         tape.pop(self)
    ...         return 2 * dy
    >>> Twice()([[1.0, 2.0]])
    array([[2., 4.]], dtype=float32)
    """

    supports_masking = True
    """Whether a mask that comes in goes on to the next layer."""

    makes_mask = False
    """Whether its output has a mask that its input had not."""

    replaces_mask = False
    """Whether the mask that it makes stands for the one that comes in, which is lost then, as in Keras."""

    batch_coupled = False
    """Whether a row's result depends on the rest of its batch; `TimeDistributed` calls such a layer
    once per time step instead of once on all steps."""

    rowwise = False
    """Whether it treats each row of the last axis by itself, whatever axes there are before."""

    per_step = False
    """Whether its output at a step depends on its input at that step alone, so that training may leave masked
    steps out before it: see `tdfast.training.packing`. A class that overrides `forward` says it anew."""

    several_inputs = False
    """Whether it is called on a list of inputs. Their shapes and masks are lists as well, and `forward` and
    `backward` take and give lists."""

    shape_options: tuple[Any, ...] = ()
    """The names of the arguments of `forward` that change the shapes of its outputs; `compute_output_shape`
    takes them too."""

    drops_mask_beside_tensors = False
    """Whether, in a graph, it hands the mask of its input on without using it when it is called with further
    tensors, such as an initial_state. So do Keras's recurrent layers."""

    reads_masked_steps = False
    """Whether a time step's result depends on other steps, also on those that the mask leaves out."""

    computes_in_call = False
    """Whether its class has Keras's ``call``, whose derivatives are found by `tdfast.engine.calls`."""

    passive: frozenset[str] = frozenset()
    """The attributes that may change from step to step without a change in what a prepared step calls."""

    added_losses: Sequence[Any] = ()
    """What `add_loss` was given in the last call."""

    def __init__(
        self,
        *,
        name: str | None = None,
        trainable: bool = True,
        dtype: DType = None,
        activity_regularizer: RegularizerSpec = None,
        input_shape: Shapes = None,
        batch_shape: Shape | None = None,
        batch_input_shape: Shape | None = None,
        input_dim: int | None = None,
        batch_size: int | None = None,
        **unknown: Any,
    ) -> None:
        if unknown:
            raise ValueError(unknown_arguments(type(self), unknown))
        from tdfast import regularizers

        if name is not None and not isinstance(name, str):
            raise ValueError(f"The name of a layer must be a string, got {name!r}.")
        self.name = name or unique_name(kind_name(type(self).__name__))
        self.dtype = standardize_dtype(dtype)
        self._trainable = self._flag(trainable, "trainable")
        self.activity_regularizer = regularizers.get(activity_regularizer)
        self.built = False
        self._weights: list[Any] = []
        self._nodes: list[Any] = []            # the calls on symbolic tensors
        batch_shape = batch_shape or batch_input_shape
        if batch_shape is None and input_shape is not None:
            batch_shape = (None, *((input_shape,) if isinstance(input_shape, int) else input_shape))
        if batch_shape is None and input_dim is not None:
            batch_shape = (None, input_dim)
        if batch_size is not None:
            if batch_shape is None or batch_shape[0] not in (None, batch_size):
                raise ValueError(
                    f"Layer '{self.name}': batch_size={batch_size} is the first number of its batch_shape, "
                    "so it belongs beside an "
                    f"input_shape, got {'none' if batch_shape is None else f'batch_shape={batch_shape}'}."
                )
            batch_shape = (batch_size, *batch_shape[1:])
        self.batch_shape = None if batch_shape is None else tuple(batch_shape)
        """The input's shape when the layer was told it, else None."""
        self.input_shape: Any = None

    _in_build = False

    built_at_once = False
    """Whether there is nothing to build, so that `built` is true before the first call."""

    @property
    def built(self) -> bool:
        """Whether the weights are there."""
        return self._built or self.built_at_once

    @built.setter
    def built(self, value: bool) -> None:
        self._built = value

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        if "build" in cls.__dict__:
            setattr(cls, "build", _marks_built(cls.__dict__["build"]))      # noqa: B010 -- for the checker
            cls.built_at_once = cls.__dict__.get("built_at_once", False)
        if "forward" in cls.__dict__:
            calls.remove(cls, Layer)
        elif inspect.isfunction(cls.__dict__.get("call")):
            cls._computes_in_call()

    @classmethod
    def _computes_in_call(cls) -> None:
        """Prepare a class that has defined ``call``."""
        calls.install(cls, Layer)

    __setattr__ = program.set_attribute

    # ---------------------------------------------------------------- to override
    @_marks_built
    def build(self, input_shape: Shapes) -> None:
        """Make the weights for inputs of this shape (a tuple that starts with None, the batch)."""

    def forward(self, x: Any, tape: Tape, training: bool = False, mask: Masks = None) -> Arrays:
        """The layer's output for ``x``; what `backward` needs goes on the tape.

        Args:
            x: a C-contiguous array of the layer's dtype, batch first. Never written to.
            tape: a `Tape`. Call ``tape.push(self)`` exactly once.
            training: True in `fit`.
            mask: None, or booleans of shape (batch, time), False at steps to leave out.
        """
        raise TypeError(f"{type(self).__name__} must override forward(x, tape, training, mask).")

    def call(self, inputs: Any, *, training: bool | None = None, mask: Masks = None, **kwargs: Any) -> Any:
        """What the layer computes, for a class that writes it with `tdfast.ops` and not as `forward` and
        `backward`: an array, or a list, a tuple or a dict of them.

        Args:
            inputs: an array, or a structure of them, as the layer is called on.
            training: True in `fit`; given where call has an argument of this name, as is mask.
            mask: of the inputs, or None.
            kwargs: what else the layer is called with.

        ``super().call(inputs)`` computes what the class before it does.
        """
        return calls.built_in(self, inputs, training, mask, kwargs)

    def backward(self, dy: Arrays, tape: Tape, need_dx: bool = True) -> Arrays:
        """The gradient with respect to the input; writes those of the weights to ``variable.grad``.

        Args:
            dy: the gradient with respect to the output. May be overwritten.
            tape: the `Tape` of the forward pass. Call ``tape.pop(self)`` exactly once.
            need_dx: False for the first layer of a model, whose result nobody reads.
        """
        raise TypeError(f"{type(self).__name__} must override backward(dy, tape, need_dx).")

    def can_be_prepared(self, training: bool) -> bool:
        """Whether `forward` without a mask, and `backward`, do nothing with numbers but call kernels and what
        they hand to `tdfast._kernels.call`, the same each time for inputs of one shape. Other layers are
        right, too: see `tdfast.engine.program`."""
        return False

    def compute_output_shape(self, input_shape: Shapes) -> Shapes:
        """The shape of the output, from that of the input; None stands for any size."""
        return tuple(input_shape)

    def compute_mask(self, inputs: Any, mask: Masks = None) -> Masks:
        """The mask of the output, from the input and its mask."""
        if mask is not None and not self.supports_masking:
            raise TypeError(
                f"Layer '{self.name}' ({type(self).__name__}) cannot carry a mask, but its input has one. "
                "Put it before the layer that makes the mask, or take that layer out."
            )
        return mask if self.supports_masking else None

    def passed_mask(self, x: Any, mask: Masks, record: Record) -> Masks:
        """The mask after `forward`, which left ``record`` on the tape: for layers that found it there."""
        return self.compute_mask(x, mask)

    @property
    def has_mask_rule(self) -> bool:
        """Whether its class says what mask the output has; else there is none where the input has none."""
        kind = type(self)
        return kind.passed_mask is not Layer.passed_mask or kind.compute_mask is not Layer.compute_mask

    def output_layer(self) -> Layer:
        """The layer whose output, as it is, is this one's: an inner one, or itself."""
        return self

    def treats_steps_alone(self, shape: Sizes) -> bool:
        """Whether a time step's result depends on that step alone, in the same way at all steps.

        Args:
            shape: of an input of one step, (batch, 1, ...).
        """
        return self.rowwise

    def _flag(self, value: Any, name: str) -> bool:
        """``value``, of the argument ``name``, as a bool; a ValueError for a word such as "False"."""
        return arguments.flag(value, name, f"Layer '{self.name}' ({type(self).__name__})")

    # ---------------------------------------------------------------- weights
    def add_weight(self, shape: Sizes | None = None, initializer: InitializerSpec = None,
                   name: str | None = None, trainable: bool = True, regularizer: RegularizerSpec = None,
                   constraint: ConstraintSpec = None, path: str | None = None, dtype: Any = None,
                   autocast: bool = True, aggregation: str | None = "none",
                   overwrite_with_gradient: bool = False) -> Variable:
        """A new `Variable` of this layer in the layer's dtype, filled by ``initializer`` (glorot_uniform).

        Args:
            dtype: None, or the layer's.
            autocast, aggregation, overwrite_with_gradient: how a framework keeps a weight; nothing depends on
                them.

        Raises:
            ValueError: for another dtype than the layer's.
        """
        from tdfast import constraints, initializers, regularizers

        if dtype is not None and standardize_dtype(dtype) != self.dtype:
            raise ValueError(
                f"Layer '{self.name}' ({type(self).__name__}): add_weight was given dtype={dtype!r}, but all "
                f"weights of a layer have its dtype, {self.dtype}. Leave dtype out, and cast where it is "
                "used."
            )
        shape = () if shape is None else (shape,) if isinstance(shape, int) else shape
        name, initializer = name or "variable", "glorot_uniform" if initializer is None else initializer
        size = math.prod(shape) * np.dtype(self.dtype).itemsize
        try:
            if size > np.iinfo(np.intp).max:            # NumPy would raise errors of other kinds
                raise MemoryError
            source, value = getattr(_source, "function", None), None
            if source is not None:
                value = source(self, tuple(shape), name=name, trainable=trainable)
            if value is None:
                value = initializers.get(initializer)(tuple(shape), dtype=self.dtype)
        except MemoryError:
            raise MemoryError(
                f"Layer '{self.name}': cannot allocate {size:,} bytes for its weight '{name}' of shape "
                f"{tuple(shape)}."
            ) from None
        variable = Variable(
            value,
            name=name,
            path=f"{self.name}/{path or name}",
            trainable=trainable,
            regularizer=regularizers.get(regularizer),
            constraint=constraints.get(constraint),
        )
        self._weights.append(variable)
        return variable

    def track(self, variable: Variable) -> None:
        """Make a `Variable` of a user's own, which belongs to no layer yet, a weight of this one."""
        if "/" in variable.path or not hasattr(self, "_weights"):
            return
        source, value = getattr(_source, "function", None), None
        if source is not None:
            value = source(self, variable.shape, name=variable.name, trainable=variable.made_trainable)
        if value is not None:
            variable.assign(value)
        variable.path = f"{self.name}/{variable.name}"
        self._weights.append(variable)

    def build_inner(self, layer: Layer, input_shape: Shapes) -> None:
        """Build a layer inside this one, if it is not built: its weights' paths begin with this layer's
        name."""
        fresh = not layer.built
        layer.ensure_built(input_shape)
        if fresh:
            for variable in layer.weights:
                variable.path = f"{self.name}/{variable.path}"

    def sublayers(self) -> list[Any]:
        """The layers inside this one, in the order of their weights."""
        return []

    def walk(self) -> Iterator[Any]:
        """This layer and all layers inside it."""
        yield self
        for inner in self.sublayers():
            yield from inner.walk()

    @property
    def trainable(self) -> bool:
        """Whether training changes the weights; to set it sets that of the inner layers too."""
        return self._trainable

    @trainable.setter
    def trainable(self, value: bool) -> None:
        self._trainable = value = self._flag(value, "trainable")
        for layer in self.sublayers():
            layer.trainable = value

    @property
    def weights(self) -> list[Variable]:
        """All variables, each once, in Keras's order: this layer's own, those made trainable first, then each
        inner layer's."""
        own = sorted(self._weights, key=lambda w: not w.made_trainable)
        return _each_once(own + [w for layer in self.sublayers() for w in layer.weights])

    @property
    def variables(self) -> list[Variable]:
        """All `weights`."""
        return self.weights

    @property
    def trainable_weights(self) -> list[Variable]:
        """The variables that training changes, in order."""
        if not self.trainable:
            return []
        own = [w for w in self._weights if w.trainable]
        return _each_once(own + [w for layer in self.sublayers() for w in layer.trainable_weights])

    trainable_variables = trainable_weights

    @property
    def learns(self) -> bool:
        """Whether training changes any weight of the layer, or of those inside it."""
        if not self._trainable:
            return False
        for weight in self._weights:        # loops: they run in every step, and end at the first that learns
            if weight.trainable:
                return True
        for inner in self.sublayers():
            if inner.learns:
                return True
        return False

    @property
    def non_trainable_weights(self) -> list[Variable]:
        """The variables that training leaves as they are, or that the layer itself changes, as moving
        averages."""
        trainable = {id(w) for w in self.trainable_weights}
        return [w for w in self.weights if id(w) not in trainable]

    non_trainable_variables = non_trainable_weights

    @property
    def losses(self) -> list[Any]:
        """What `add_loss` was given in the last call, then the penalties of the weights' regularizers."""
        frame = tracing.innermost()
        added = [*frame.losses, *frame.inner_losses] if frame is not None else [
            loss for layer in self.walk() for loss in layer.added_losses]
        return [*added, *(_penalty_of(w) for w in self.trainable_weights if w.regularizer is not None)]

    def add_loss(self, loss: Any) -> None:
        """Add to what training makes small; to be called in `call`.

        Args:
            loss: a number, an array, whose sum counts, or a list of them.

        >>> class Small(Layer):
        ...     def call(self, inputs):
        ...         self.add_loss(0.5 * (inputs ** 2).sum())
        ...         return inputs
        >>> layer = Small()
        >>> y = layer(np.ones((2, 3)))
        >>> float(layer.losses[0])
        3.0
        """
        if not tracing.add_losses(loss):
            raise ValueError(
                f"Layer '{self.name}' ({type(self).__name__}): add_loss belongs into call, where a batch "
                "is at "
                "hand. For a penalty on a weight give add_weight a regularizer."
            )

    def get_weights(self) -> list[Array]:
        """Copies of all weights, as a list of arrays."""
        return [w.numpy() for w in self.weights]

    def set_weights(self, weights: Iterable[Numbers]) -> None:
        """Overwrite all weights with a list of arrays of the same shapes."""
        variables = self.weights
        weights = list(weights)
        if len(weights) != len(variables):
            raise ValueError(
                f"set_weights of layer '{self.name}': expected {len(variables)} arrays, got {len(weights)}."
                + ("" if self.built else " The layer is not built yet: call it once, or build(input_shape).")
            )
        arrays = [np.asarray(a) for a in weights]
        for variable, array in zip(variables, arrays):
            if variable.shape != array.shape:
                raise ValueError(
                    f"set_weights of layer '{self.name}': '{variable.path}' has shape {variable.shape}, "
                    f"but the array given has shape {array.shape}. No weight was changed."
                )
        for variable, array in zip(variables, arrays):
            variable.assign(array)

    def count_params(self) -> int:
        """The number of weights' elements."""
        self._require_built("count_params")
        return sum(w.size for w in self.weights)

    def _require_built(self, what: str) -> None:
        if not self.built:
            self._refuse_unbuilt(what)

    def _refuse_unbuilt(self, what: str) -> None:
        raise ValueError(
            f"{what}: layer '{self.name}' has no weights yet. Call it on an array first, or call "
            "build(input_shape), or give the model's first layer an input_shape."
        )

    # ---------------------------------------------------------------- calls
    def ensure_built(self, input_shape: Shapes, seen: Sequence[Any] | None = None) -> None:
        """Build on the first shape; refuse one that does not fit what was built.

        Args:
            input_shape: of the input, None for the batch; of several inputs a list.
            seen: the shape for the error's text, that of the array itself.
        """
        self.check_input_shape(tuple(input_shape if seen is None else seen))
        if not self._built:
            with _building:                 # two threads may meet a new model at once
                if not self._built:
                    self.build(tuple(input_shape))
        elif self.input_shape is None:      # built without a shape, which its weights did not need
            self.input_shape = tuple(input_shape)

    def check_input_shape(self, input_shape: Shapes) -> None:
        """Raise a ValueError that names the layer if it cannot take this shape."""

    @property
    def output_shape(self) -> Shapes:
        """The shape of the output, batch first, None standing for any size."""
        if self.input_shape is None or not self.built:
            self._refuse_unbuilt("output_shape")
        return self.compute_output_shape(self.input_shape)

    def __call__(self, x: Any, training: bool | None = None, mask: Masks = None,
                 **kwargs: Any) -> Any:
        if is_symbolic(x) or (kwargs and is_symbolic(kwargs)):
            return self._call_on_tensors(x, training=training, mask=mask, **kwargs)
        frame = tracing.innermost()
        if frame is not None:
            return calls.within(self, frame, x, training, mask, kwargs)
        x = self.as_input(x)
        if isinstance(x, list):
            mask = [None if m is None else as_mask(m, a, self.name)
                    for m, a in zip(mask or [None] * len(x), x)]
            self.ensure_built([(None, *a.shape[1:]) for a in x], [a.shape for a in x])
        else:
            mask = as_mask(mask, x, self.name)
            self.ensure_built((None, *x.shape[1:]), x.shape)
        if not self.supports_masking:
            self.compute_mask(x, mask)          # refuses a mask, or says that it ends here
        with kernel_arithmetic():
            return self.forward(x, Tape(keep=False), training=self.mode(training), mask=mask, **kwargs)

    def mode(self, training: bool | None) -> bool:
        """What `forward` is told of a call's argument ``training``."""
        return bool(training)

    # ---------------------------------------------------------------- calls on symbolic tensors
    def _call_on_tensors(self, *args: Any, **kwargs: Any) -> SymbolicTensor | list[SymbolicTensor]:
        """A call that becomes a node of graphs: its outputs as symbolic tensors."""
        if isinstance(kwargs.get("training"), calls.Mode):
            kwargs = {**kwargs, "training": None}
        inputs, keywords, masks, options = self.bind(*args, **kwargs)
        for tensor in (*inputs, *flatten(list(keywords.values()))):
            if not isinstance(tensor, SymbolicTensor):
                what = (f"an array of shape {tensor.shape}" if isinstance(tensor, np.ndarray)
                        else f"{tensor!r:.60} ({type(tensor).__name__})")
                raise ValueError(
                    f"Layer '{self.name}' ({type(self).__name__}) was called on symbolic tensors and on "
                    f"{what} at once. Give tensors alone: make an Input of what else it needs."
                )
        if len(inputs) != 1 and not self.several_inputs:
            raise ValueError(
                f"Layer '{self.name}' ({type(self).__name__}) takes one input, got {len(inputs)} tensors. "
                "Join "
                "them first, for example with Concatenate."
            )
        self.check_dtypes(inputs)
        shapes = [tensor.shape for tensor in inputs]
        shape = shapes if self.several_inputs and len(shapes) > 1 else shapes[0]
        self.built_for(shape, options)
        node = Node(self, inputs, 1, keywords, masks, options, arguments=(args, kwargs))
        made = node.output_shape(shape)
        structure = made if isinstance(made, list) else [made]
        leaves = _shapes_in(structure)
        dtypes = self.output_dtypes(node, len(leaves))
        node.outputs = tuple(SymbolicTensor(node, i, tuple(leaf), dtype, self.name)
                             for i, (leaf, dtype) in enumerate(zip(leaves, dtypes)))
        self._nodes.append(node)
        return self.pack_outputs(_in_place_of_shapes(made, iter(node.outputs)))

    def built_for(self, shape: Any, options: dict[str, Any]) -> None:
        """Build for a call on symbolic tensors of this shape, with these options."""
        self.ensure_built(shape)

    @contextlib.contextmanager
    def building(self) -> Iterator[None]:
        """For the block, other threads wait; weights that were made are taken back if it fails."""
        with _building, _as_before_if_it_fails(self):
            yield

    def check_dtypes(self, tensors: Sequence[Any]) -> None:
        """Refuse symbolic tensors of floats in another dtype than the layer's."""
        for tensor in tensors:
            if tensor.dtype == "string":
                raise ValueError(
                    f"Layer '{self.name}' ({type(self).__name__}) takes numbers, but '{tensor.name}' holds "
                    "strings. Put a layer between them that makes numbers of text: TextVectorization, "
                    "StringLookup or Hashing."
                )
            if tensor.dtype in ("float32", "float64") and tensor.dtype != self.dtype:
                raise ValueError(
                    f"Layer '{self.name}' ({type(self).__name__}) has dtype {self.dtype}, but "
                    f"'{tensor.name}', on "
                    f"which it is called, has {tensor.dtype}. Give the Input and all layers the same "
                    "dtype=, or "
                    f"call tdfast.config.set_floatx('{tensor.dtype}') first."
                )

    def bind(self, x: Any, training: bool | None = None, mask: Masks = None,
             **kwargs: Any) -> tuple[Any, ...]:
        """(inputs, keywords, masks, options) of a call on symbolic tensors, as `tdfast.engine.graph.Node`
        takes them."""
        keywords = {name: flatten(value) for name, value in kwargs.items() if is_symbolic(value)}
        options = {name: value for name, value in kwargs.items()
                   if value is not None and name not in keywords}
        unknown = {*keywords, *options} - _arguments_of(type(self).forward)
        if unknown:
            raise TypeError(
                f"Layer '{self.name}' ({type(self).__name__}) does not know the argument(s) "
                f"{', '.join(map(repr, sorted(unknown)))} of a call."
            )
        if training is not None:
            options["training"] = bool(training)
        return flatten(x), keywords, flatten(mask) if is_symbolic(mask) else None, options

    def output_dtypes(self, node: Node, number: int) -> list[str]:
        """The dtypes of a call's outputs, of which there are so many, by name."""
        return [self.dtype] * number

    @property
    def dtype_of_input(self) -> str:
        """The dtype of an Input that a `Sequential` makes for it, by name."""
        return self.dtype

    def pack_outputs(self, outputs: Any) -> Any:
        """The outputs of a call in the structure that the caller gets."""
        return outputs

    def _first_node(self, what: str) -> Node:
        if not self._nodes:
            raise AttributeError(
                f"Layer '{self.name}' has no {what} yet: it was called on no symbolic tensor, such as an "
                "Input.",
                name=what, obj=self,
            )
        return self._nodes[0]

    @property
    def input(self) -> Tensors:
        """The symbolic tensor of the layer's first call, or a list of several."""
        inputs = self._first_node("input").inputs
        return inputs[0] if len(inputs) == 1 else list(inputs)

    @property
    def output(self) -> Tensors:
        """The symbolic tensor that the layer's first call gave, or a list of several."""
        outputs = self._first_node("output").outputs
        return outputs[0] if len(outputs) == 1 else list(outputs)

    def as_input(self, x: Any, who: str | None = None) -> Any:
        """``x`` as a C-contiguous array that `forward` takes, of this layer's dtype; a copy only where that
        needs one.

        Args:
            x: any array-like of numbers.
            who: whom errors name; the layer when None.
        """
        return as_array(x, self.dtype, who or f"Layer '{self.name}'")

    # ---------------------------------------------------------------- config
    def get_config(self) -> Config:
        """What `from_config` needs to make this layer again, without its weights."""
        config = {"name": self.name, "trainable": self.trainable, "dtype": self.dtype}
        if self.activity_regularizer is not None:
            from tdfast import regularizers

            config["activity_regularizer"] = regularizers.serialize(self.activity_regularizer)
        return config

    @classmethod
    def from_config(cls, config: Config) -> Any:
        """The layer that `get_config` described."""
        names, any_name, _ = calls.parameters(cls.__init__)
        return cls(**{key: value for key, value in config.items()
                      if any_name or key in names or key not in ("name", "trainable", "dtype")})

    def __repr__(self) -> str:
        return f"<{type(self).__name__} name={self.name}, built={self.built}>"


def _penalty_of(weight: Variable) -> Any:
    """The penalty of a weight's regularizer, with its derivative where that is wanted."""
    value = tracing.value_of(weight)
    if value is weight.value:
        return float(weight.regularizer(value))
    from tdfast.engine import derivatives

    return derivatives.step(
        lambda w: np.asarray(float(weight.regularizer(w)), w.dtype),
        lambda g, y, w: [np.asarray(weight.regularizer.gradient(w) * g, w.dtype)],
        value,
    )


def _each_once(variables: Sequence[Any]) -> list[Any]:
    """Variables, without those that come again."""
    return list({id(variable): variable for variable in variables}.values())


@functools.lru_cache(maxsize=512)
def _arguments_of(function: Callable[..., Any]) -> frozenset[Any]:
    """The names of a function's arguments."""
    return frozenset(inspect.signature(function).parameters)


def _shapes_in(structure: Any) -> list[Any]:
    """The shapes, which are tuples, in nested lists."""
    return [shape for part in structure for shape in (_shapes_in(part) if isinstance(part, list) else [part])]


def _in_place_of_shapes(structure: Any, tensors: Any) -> Any:
    """The tensors in the place of the shapes in nested lists."""
    if isinstance(structure, list):
        return [_in_place_of_shapes(part, tensors) for part in structure]
    return next(tensors)
