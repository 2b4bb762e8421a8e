"""Objects of Keras, TensorFlow, PyTorch and JAX in the place of tdfast's own.

What Keras describes by a name and a config that tdfast has is taken by these: losses, metrics, optimizers
without a step, activations, initializers, regularizers, constraints. All else is refused as what it is, with
what to write.
"""

from __future__ import annotations

import difflib
import inspect
from typing import TYPE_CHECKING, Any

from tdfast.engine.names import snake_case

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from tdfast.engine.registry import Registry

PACKAGES = {"keras": "Keras", "tf_keras": "Keras", "tensorflow": "TensorFlow", "torch": "PyTorch",
            "jax": "JAX", "jaxlib": "JAX",
            "flax": "Flax"}
"""The first part of a module's name -> what people call it."""

_FUNCTIONS = {"softmax_v2": "softmax", "log_softmax_v2": "log_softmax", "swish": "silu"}
"""TensorFlow's inner names of functions."""

_TORCH = {"MSELoss": "mean_squared_error", "L1Loss": "mean_absolute_error", "SmoothL1Loss": "huber",
          "HuberLoss": "huber",
          "BCELoss": "binary_crossentropy", "BCEWithLogitsLoss": "binary_crossentropy",
          "KLDivLoss": "kl_divergence",
          "CrossEntropyLoss": "sparse_categorical_crossentropy", "CTCLoss": "ctc", "Linear": "Dense",
          "BatchNorm1d": "BatchNormalization"}
"""Names of PyTorch's -> those of the same thing here."""

_OTHERWISE = {"Tversky", "tversky"}
"""What means another thing in some versions of Keras."""


def _root(item: Any) -> str:
    return str(getattr(item, "__module__", None)).split(".")[0]


def _kind(obj: Any) -> type | Callable[..., Any]:
    """The class or the function that tells where an object comes from."""
    return obj if inspect.isclass(obj) or inspect.isroutine(obj) else type(obj)


def package_of(obj: Any) -> str | None:
    """'Keras', 'TensorFlow', 'PyTorch' or 'JAX' if an object, a class (or a base of it) or a function is of
    theirs; else None.

    >>> package_of(3) is None
    True
    """
    kind = _kind(obj)
    return next((PACKAGES[root] for root in map(_root, getattr(kind, "__mro__", (kind,)))
                 if root in PACKAGES), None)


def described(obj: Any, package: str) -> tuple[Any, ...]:
    """(the name by which tdfast may know an object of theirs, whether Keras's name and config say all of
    it)."""
    kind = _kind(obj)
    name = _FUNCTIONS.get(kind.__name__, kind.__name__)
    return name, name not in _OTHERWISE and _speaks_keras(kind, package)


def is_kind(obj: Any) -> bool:
    """Whether it is a class or a function, not an object of some class."""
    return _kind(obj) is obj


def config_of(obj: Any) -> dict[str, Any]:
    """The config of an object of Keras's, with what its Huber and CosineSimilarity leave out."""
    lost = {key: value for key, value in getattr(obj, "_fn_kwargs", {}).items() if key in ("delta", "axis")}
    return {**lost, **obj.get_config()}


def _speaks_keras(kind: Callable[..., Any] | type, package: str) -> bool:
    """Whether a class or a function, itself and not its base alone, is Keras's, or a function is
    TensorFlow's."""
    root, module = _root(kind), str(kind.__module__)
    if inspect.isclass(kind):
        return root in ("keras", "tf_keras") or (root == "tensorflow" and ".keras." in module)
    if root == "tensorflow":
        return kind.__name__ != "hard_sigmoid"
    return root == "keras" and ".ops." not in module or root == "tf_keras" and kind.__name__ != "hard_sigmoid"


def refusal(spec: Any, name: str, package: str, registry: Registry) -> str:
    """What to say to somebody who gives an object of theirs that tdfast does not have.

    Args:
        registry: the `tdfast.engine.registry.Registry` of this kind.
    """
    names = registry.names()
    near = _TORCH.get(name) or next(iter(difflib.get_close_matches(snake_case(name.removesuffix("Optimizer")),
                                                                   names, n=1)), None)
    hint = f" Did you mean '{near}'?" if near in registry.spellings() else ""
    return (
        f"{called(spec)} is of {package}, and tdfast cannot compute with it. Give {registry.kind} names or "
        "objects of "
        f"tdfast.{registry.plural}.{hint} Known {registry.plural}: {', '.join(names)}."
    )


def called(spec: Any) -> str:
    """``keras.src.losses.Huber object`` and the like."""
    kind = _kind(spec)
    what = "class" if inspect.isclass(spec) else "function" if kind is spec else "object"
    return f"The {what} {kind.__name__} ({kind.__module__})"


def layer_hint(obj: Any, known: Sequence[Any]) -> str:
    """What an error says of something that is given for a layer; nothing if it is of none of these packages.

    Args:
        known: the names of tdfast's layers.
    """
    package = package_of(obj)
    if package is None:
        return ""
    name = _kind(obj).__name__
    if name == "KerasTensor":
        return f" It is a symbolic tensor of {package}: write tdfast.Input(shape)."
    if name in ("Functional", "Model", "Sequential"):
        return f" It is a model of {package}: save it, and load the file with tdfast.saving.load_model."
    ours = _TORCH.get(name, name)
    if ours in known:
        return f" It is a layer of {package}: write tdfast.layers.{ours}(...)."
    return (
        f" It is of {package}: give layers of tdfast.layers. What of Keras is not there, and what to use: "
        "docs/keras.md."
    )


def is_symbolic(x: Any) -> bool:
    """Whether ``x`` is Keras's symbolic tensor, which holds no numbers.

    >>> is_symbolic([1.0])
    False
    """
    return type(x).__name__ == "KerasTensor"
