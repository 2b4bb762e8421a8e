"""tdfast: train and serve sequence models on the CPU, with Keras's API over compiled kernels."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

from tdfast._version import __version__

if TYPE_CHECKING:                       # what `__getattr__` imports
    from tdfast import (
        activations,
        backend,
        callbacks,
        config,
        constraints,
        datasets,
        distribution,
        fleet,
        initializers,
        layers,
        losses,
        metrics,
        models,
        ops,
        optimizers,
        preprocessing,
        random,
        regularizers,
        runtime,
        saving,
        sklearn,
        testing,
        utils,
        wrappers,
    )
    from tdfast.engine.variable import Variable
    from tdfast.initializers import Initializer
    from tdfast.layers import Input, Layer
    from tdfast.losses import Loss
    from tdfast.metrics import Metric
    from tdfast.models import Model, Sequential
    from tdfast.optimizers import Optimizer
    from tdfast.regularizers import Regularizer
    from tdfast.runtime import get_num_threads, set_num_threads, show_config

_MODULES = (
    "activations", "backend", "callbacks", "config", "constraints", "datasets", "distribution", "fleet",
    "initializers", "layers", "losses", "metrics", "models", "ops", "optimizers", "preprocessing", "random",
    "regularizers", "runtime", "saving", "sklearn", "testing", "utils", "wrappers",
)
_NAMES = {
    "Model": "models",
    "Sequential": "models",
    "Variable": "engine.variable",
    "Input": "layers",
    "Layer": "layers",
    "Initializer": "initializers",
    "Regularizer": "regularizers",
    "Optimizer": "optimizers",
    "Loss": "losses",
    "Metric": "metrics",
    "set_num_threads": "runtime",
    "get_num_threads": "runtime",
    "show_config": "runtime",
}

__all__ = [
    "Initializer", "Input", "Layer", "Loss", "Metric", "Model", "Optimizer", "Regularizer", "Sequential",
    "Variable", "__version__", "activations", "backend", "callbacks", "config", "constraints", "datasets",
    "distribution", "fleet", "get_num_threads", "initializers", "layers", "losses", "metrics", "models",
    "ops", "optimizers", "preprocessing", "random", "regularizers", "runtime", "saving", "set_num_threads",
    "show_config", "sklearn", "testing", "utils", "version", "wrappers",
]


def version() -> str:
    """The version of tdfast, as a string.

    >>> version() == __version__
    True
    """
    return __version__


if not TYPE_CHECKING:             # a checker knows what is not there by itself

    def __getattr__(name: str) -> Any:
        """Modules and names are imported when they are first used."""
        if name in _MODULES:
            return importlib.import_module(f"tdfast.{name}")
        if name == "_kernels":              # not imported yet, or not there
            try:
                return importlib.import_module("tdfast._kernels")
            except ModuleNotFoundError as error:
                if error.name != "tdfast._kernels":
                    raise
                raise ImportError(
                    f"The tdfast in {__path__[0]} is source that is not built. Python found it because it "
                    "runs in that folder: go to another one to use the tdfast that pip installed, or build "
                    "it there: python setup.py build_ext --inplace"
                ) from None
        if name in _NAMES:
            value = getattr(importlib.import_module(f"tdfast.{_NAMES[name]}"), name)
            globals()[name] = value
            return value
        return importlib.import_module("tdfast.compat.absent").lookup("tdfast")(name)


def __dir__() -> list[Any]:
    return sorted([*globals(), *__all__])
