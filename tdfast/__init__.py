"""tdfast: train and serve sequence models on the CPU, with Keras's API over compiled kernels."""

import importlib

from tdfast._version import __version__

_MODULES = (
    "activations", "callbacks", "config", "constraints", "initializers", "layers", "losses", "metrics",
    "models",
    "ops", "optimizers", "preprocessing", "random", "regularizers", "runtime", "saving", "testing", "utils",
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

__all__ = ["__version__", "version", *_MODULES, *_NAMES]


def version():
    """The version of tdfast, as a string.

    >>> version() == __version__
    True
    """
    return __version__


def __getattr__(name):
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
                f"The tdfast in {__path__[0]} is source that is not built. Python found it because it runs "
                "in that folder: go to "
                "another one to use the tdfast that pip installed, or build it there: python setup.py "
                "build_ext --inplace"
            ) from None
    if name in _NAMES:
        value = getattr(importlib.import_module(f"tdfast.{_NAMES[name]}"), name)
        globals()[name] = value
        return value
    return importlib.import_module("tdfast.compat.absent").lookup("tdfast")(name)


def __dir__():
    return sorted([*globals(), *__all__])
