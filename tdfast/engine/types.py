"""The names of types that signatures share. Modules import them for type checkers alone, at no cost of time.

A name that stands for `Any` says what is meant where a union would not help: a checker would ask the caller
to tell an array from a list of arrays each time, or forbid a subclass to take one of them alone.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, TypeAlias, Union

import numpy as np
from numpy.typing import ArrayLike, DTypeLike, NDArray

if TYPE_CHECKING:
    from tdfast.activations import Activation
    from tdfast.callbacks.base import Callback
    from tdfast.callbacks.callback_list import CallbackList
    from tdfast.constraints import Constraint
    from tdfast.engine.parametric import Function
    from tdfast.engine.tensor import SymbolicTensor
    from tdfast.engine.variable import Variable
    from tdfast.initializers import Initializer
    from tdfast.losses.base import Loss
    from tdfast.metrics.base import Metric
    from tdfast.optimizers.base import Optimizer
    from tdfast.optimizers.schedules import LearningRateSchedule
    from tdfast.random import SeedGenerator
    from tdfast.regularizers import Regularizer

# ---------------------------------------------------------------- numbers
Array: TypeAlias = NDArray[Any]
"""A NumPy array, most often of float32."""

Numbers: TypeAlias = Union[ArrayLike, "Variable"]
"""What `np.asarray` takes, a weight too."""

Operand: TypeAlias = Union[ArrayLike, "Variable", "SymbolicTensor"]
"""What the functions of `tdfast.ops` take."""

Arrays: TypeAlias = Any
"""An array; a list of arrays (None for some) where a layer has several inputs or outputs."""

Masks: TypeAlias = Any
"""None or an array of booleans, (batch, time); a list of these where a layer has several inputs."""

Tensors: TypeAlias = Any
"""Symbolic tensors in any nesting of lists and dicts."""

Data: TypeAlias = Any
"""What `fit`, `evaluate` and `predict` take: arrays, lists or dicts of arrays, data frames, a generator, a
`PyDataset`, a dataset of another package."""

# ---------------------------------------------------------------- shapes
Shape: TypeAlias = Sequence[int | None]
"""Sizes, None standing for any."""

Sizes: TypeAlias = Sequence[int]
"""A shape of which all sizes are known."""

Shapes: TypeAlias = Any
"""A shape as a tuple; a list of shapes where a layer has several inputs or outputs."""

Size: TypeAlias = int | Sequence[int]
"""A size for each spatial axis, or one for all."""

Axes: TypeAlias = int | Sequence[int]
"""An axis or several."""

DType: TypeAlias = DTypeLike | dict[str, Any] | None
"""The name of a dtype, a NumPy dtype, or Keras's dict for a policy; None is `tdfast.config.floatx()`."""

# ---------------------------------------------------------------- what stands for an object
Config: TypeAlias = dict[str, Any]
"""A description in plain values, as files hold it."""

CustomObjects: TypeAlias = Mapping[str, Any] | None
"""Classes and functions by the names that files have for them."""

ActivationSpec: TypeAlias = Union[str, Config, "Activation", "Function", Callable[..., Any], None]
InitializerSpec: TypeAlias = Union[str, Config, "Initializer", type["Initializer"], Callable[..., Any], None]
RegularizerSpec: TypeAlias = Union[str, Config, "Regularizer", type["Regularizer"], Callable[..., Any], None]
ConstraintSpec: TypeAlias = Union[str, Config, "Constraint", type["Constraint"], Callable[..., Any], None]
LossSpec: TypeAlias = Union[str, Config, "Loss", type["Loss"], Callable[..., Any], None]
MetricSpec: TypeAlias = Union[str, Config, "Metric", "Loss", type["Metric"], Callable[..., Any], None]
OptimizerSpec: TypeAlias = Union[str, Config, "Optimizer", type["Optimizer"]]
Rate: TypeAlias = Union[float, "LearningRateSchedule", Config, Callable[[], float]]

Seed: TypeAlias = Union[int, "SeedGenerator", Config, None]
"""A number, or a generator that each draw moves on; None draws one."""

# ---------------------------------------------------------------- training
CallbacksSpec: TypeAlias = Union["Callback", "CallbackList", Sequence["Callback"], None]

Logs: TypeAlias = dict[str, Any]
"""The names of the loss and the metrics, with their numbers."""

Reduction: TypeAlias = str | None
"""'sum_over_batch_size', 'sum', 'mean', 'mean_with_sample_weight', 'none' or None."""

Verbose: TypeAlias = int | str
"""'auto', 0 (silent), 1 (a bar) or 2 (a line an epoch)."""

PathLike: TypeAlias = str | os.PathLike[str]
"""A file's or a folder's place."""

Generator: TypeAlias = np.random.Generator
