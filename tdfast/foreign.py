"""Objects of Keras, TensorFlow, PyTorch and JAX in the place of tdfast's own.

What Keras describes by a name and a config that tdfast has is taken by these: losses, metrics, optimizers without a step,
activations, initializers, regularizers, constraints. All else is refused as what it is, with what to write.
"""

import difflib
import importlib
import inspect

from tdfast.names import snake_case

PACKAGES = {"keras": "Keras", "tf_keras": "Keras", "tensorflow": "TensorFlow", "torch": "PyTorch", "jax": "JAX", "jaxlib": "JAX",
            "flax": "Flax"}
"""The first part of a module's name -> what people call it."""

_FUNCTIONS = {"softmax_v2": "softmax", "log_softmax_v2": "log_softmax", "swish": "silu"}
"""TensorFlow's inner names of functions."""

_TORCH = {"MSELoss": "mean_squared_error", "L1Loss": "mean_absolute_error", "SmoothL1Loss": "huber", "HuberLoss": "huber",
          "BCELoss": "binary_crossentropy", "BCEWithLogitsLoss": "binary_crossentropy", "KLDivLoss": "kl_divergence",
          "CrossEntropyLoss": "sparse_categorical_crossentropy", "CTCLoss": "ctc", "Linear": "Dense", "BatchNorm1d": "BatchNormalization"}
"""Names of PyTorch's -> those of the same thing here."""

_OTHERWISE = {"Tversky", "tversky"}
"""What means another thing in some versions of Keras."""


def _root(item):
    return str(getattr(item, "__module__", None)).split(".")[0]


def _kind(obj):
    """The class or the function that tells where an object comes from."""
    return obj if inspect.isclass(obj) or inspect.isroutine(obj) else type(obj)


def package_of(obj):
    """'Keras', 'TensorFlow', 'PyTorch' or 'JAX' if an object, a class (or a base of it) or a function is of theirs; else None.

    >>> package_of(3) is None
    True
    """
    kind = _kind(obj)
    return next((PACKAGES[root] for root in map(_root, getattr(kind, "__mro__", (kind,))) if root in PACKAGES), None)


def taken(spec, registry):
    """``spec``; if it is an object of Keras's or a function of TensorFlow's that tdfast has, then its name, or tdfast's object.

    Args:
        spec: anything that a user gives for an object of the registry's kind.
        registry: the `tdfast.registry.Registry`.

    Raises:
        ValueError: for other objects of these packages, and for an optimizer that has made steps.
    """
    package = package_of(spec)
    if package is None:
        return spec
    kind = _kind(spec)
    name = _FUNCTIONS.get(kind.__name__, kind.__name__)
    if name in _OTHERWISE or not _speaks_keras(kind, package) or not _knows(registry, name):
        raise ValueError(_refusal(spec, name, package, registry))
    if kind is spec:
        return name
    if getattr(spec, "built", False) and getattr(spec, "iterations", None) is not None:
        raise ValueError(
            f"{_called(spec)} is an optimizer of {package} that belongs to a model, whose state tdfast does not take over: "
            f"make a new one, tdfast.optimizers.{name}(...)."
        )
    module = importlib.import_module("tdfast." + (registry.plural if registry.has(name) else "losses"))
    described = {"module": registry.module, "class_name": name, "config": _config(spec)}
    if name == "MeanMetricWrapper":
        return module.deserialize(described)
    revive = importlib.import_module("tdfast.serialization").revive         # which imports the registries
    return revive(module, described, None, f"the {registry.kind} {name} of {package}")


def _config(obj):
    """The config of an object of Keras's, with what its Huber and CosineSimilarity leave out."""
    lost = {key: value for key, value in getattr(obj, "_fn_kwargs", {}).items() if key in ("delta", "axis")}
    return {**lost, **obj.get_config()}


def _speaks_keras(kind, package):
    """Whether a class or a function, itself and not its base alone, is Keras's, or a function is TensorFlow's."""
    root, module = _root(kind), str(kind.__module__)
    if inspect.isclass(kind):
        return root in ("keras", "tf_keras") or (root == "tensorflow" and ".keras." in module)
    if root == "tensorflow":
        return kind.__name__ != "hard_sigmoid"
    return root == "keras" and ".ops." not in module or root == "tf_keras" and kind.__name__ != "hard_sigmoid"


def _knows(registry, name):
    if registry.kind == "metric" and not registry.has(name):
        return importlib.import_module("tdfast.losses").REGISTRY.has(name)
    return registry.has(name)


def _refusal(spec, name, package, registry):
    names = registry.names()
    near = _TORCH.get(name) or next(iter(difflib.get_close_matches(snake_case(name.removesuffix("Optimizer")), names, n=1)), None)
    hint = f" Did you mean '{near}'?" if near in registry.spellings() else ""
    return (
        f"{_called(spec)} is of {package}, and tdfast cannot compute with it. Give {registry.kind} names or objects of "
        f"tdfast.{registry.plural}.{hint} Known {registry.plural}: {', '.join(names)}."
    )


def _called(spec):
    """``keras.src.losses.Huber object`` and the like."""
    kind = _kind(spec)
    what = "class" if inspect.isclass(spec) else "function" if kind is spec else "object"
    return f"The {what} {kind.__name__} ({kind.__module__})"


def layer_hint(obj):
    """What an error says of something that is given for a layer; nothing if it is of none of these packages."""
    package = package_of(obj)
    if package is None:
        return ""
    from tdfast import layers

    name = _kind(obj).__name__
    if name == "KerasTensor":
        return f" It is a symbolic tensor of {package}: write tdfast.Input(shape)."
    if name in ("Functional", "Model", "Sequential"):
        return f" It is a model of {package}: save it, and load the file with tdfast.saving.load_model."
    ours = _TORCH.get(name, name)
    if inspect.isclass(vars(layers).get(ours)):
        return f" It is a layer of {package}: write tdfast.layers.{ours}(...)."
    return f" It is of {package}: give layers of tdfast.layers. What of Keras is not there, and what to use: docs/keras.md."


def is_symbolic(x):
    """Whether ``x`` is an `Input`, or Keras's symbolic tensor, which hold no numbers.

    >>> is_symbolic([1.0])
    False
    """
    return type(x).__name__ in ("KerasTensor", "InputLayer")
