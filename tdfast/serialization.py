"""Layers and the objects inside them, to and from Keras's dicts (class_name, config).

What a file may name is looked up in tdfast's own tables and in the caller's ``custom_objects``.
Nothing is imported because a file says so.
"""

import inspect

from tdfast import functional, registration
from tdfast.errors import FileError
from tdfast.names import snake_case

MAX_DEPTH = 64
MAX_SIZE = 2**40

# Keras's options that some class here does not take, with the values at which they do nothing.
_ANY = object()
_NEUTRAL = {
    "activity_regularizer": (None,),
    "amsgrad": (False,),
    "autocast": _ANY,
    "axis": (-1,),
    "build_config": _ANY,
    "class_weights": (None,),
    "clipnorm": (None,),
    "clipvalue": (None,),
    "data_format": (None, "channels_last"),
    "dtype": (None, "float32", "float64"),
    "ema_momentum": _ANY,
    "ema_overwrite_frequency": (None,),
    "global_clipnorm": (None,),
    "gradient_accumulation_steps": (None,),
    "ignore_class": (None,),
    "implementation": _ANY,
    "input_axes": (None,),
    "input_tensor": (None,),
    "is_legacy_optimizer": (False,),
    "jit_compile": _ANY,
    "loss_scale_factor": (None,),
    "lora_alpha": (None,),
    "lora_rank": (None,),
    "name": _ANY,
    "nesterov": (False,),
    "noise_shape": (None,),
    "optional": (False,),
    "output_axes": (None,),
    "quantization_config": (None,),
    "ragged": (False,),
    "reduction": ("sum_over_batch_size",),
    "seed": (None,),
    "shared_object_id": _ANY,
    "sparse": (False,),
    "time_major": (False,),
    "unroll": _ANY,
    "use_ema": (False,),
    "weight_decay": (None, False),
    "zero_output_for_mask": (False,),
}


def serialize_layer(layer):
    """Keras's dict for a layer or a `Sequential`: module, class_name, config, registered_name.

    Args:
        layer: a layer.

    Returns:
        A dict of plain values, without the weights.

    >>> from tdfast.layers import RepeatVector
    >>> serialize_layer(RepeatVector(3, name="again"))["config"]["n"]
    3
    """
    cls = type(layer)
    own = cls.__module__.split(".")[0] == "tdfast"
    module = ("keras" if _is_sequential_class(cls) else "keras.layers") if own else cls.__module__
    out = {
        "module": module,
        "class_name": cls.__name__,
        "config": _plain(layer.get_config()),
        "registered_name": None if own else registration.get_registered_name(cls),
    }
    if layer.built and getattr(layer, "input_shape", None) and cls.__name__ != "InputLayer":
        out["build_config"] = {"input_shape": _plain(layer.input_shape)}
    return out


def deserialize_layer(config, custom_objects=None, path="", made=None):
    """The layer that `serialize_layer` (or Keras) described; without its weights.

    Args:
        config: the dict.
        custom_objects: classes and functions by name, for what tdfast does not have.
        path: where the layer's weights are in a .keras file.
        made: called with each new layer and its path, before anything builds it.

    Raises:
        FileError: naming the layer, and the class or the option that tdfast lacks.

    >>> from tdfast.layers import RepeatVector
    >>> deserialize_layer(serialize_layer(RepeatVector(3, name="again")))
    <RepeatVector name=again, built=False>
    """
    if path.count("/") > MAX_DEPTH:
        raise FileError(f"The layers are nested more than {MAX_DEPTH // 2} deep.")
    class_name, arguments = _parts(config, "a layer")
    name = arguments.get("name")
    if name is not None and not isinstance(name, str):
        raise FileError(f"The name of a layer must be a string, got {name!r}.")
    who = f"layer '{name or '(unnamed)'}'"
    if class_name in functional.CLASSES and _custom(config, custom_objects or {}) is None:
        _refuse_foreign(config, f"{who} ({class_name})")
        return _chain(arguments, custom_objects, path, made)
    cls = _layer_class(config, class_name, who, custom_objects)
    if _is_sequential_class(cls):
        return _sequential(cls, arguments, custom_objects, path, made)
    who += f" ({class_name})"
    known = _is_known(cls)
    arguments = dict(arguments)
    for key, value in arguments.items():
        if _describes_layer(value, custom_objects):
            arguments[key] = deserialize_layer(value, custom_objects, f"{path}/{key}", made)
        elif known and isinstance(value, list) and value and all(_describes_layer(v, custom_objects) for v in value):
            places = child_keys([v["class_name"] for v in value])
            arguments[key] = [
                deserialize_layer(v, custom_objects, f"{path}/{key}/{place}", made) for v, place in zip(value, places)
            ]
        elif key == "dtype" and class_name != "InputLayer":
            arguments[key] = _dtype(value, who)
        elif key.endswith("shape") and value is not None:
            arguments[key] = as_shape(value, f"'{key}' of {who}")
        elif known:
            kind = _kind_of(key)
            if kind is not None and value is not None:
                arguments[key] = revive(kind, value, custom_objects, f"the {key} of {who}")
    if known:
        arguments = fit_arguments(cls, arguments, who)
    layer = _construct(cls, arguments, who)
    if made is not None:
        made(layer, path)
    return layer


def _chain(config, custom_objects, path, made):
    """The Sequential model of a functional one, whose weights are at the places of its layers in the file's list."""
    from tdfast.models import Sequential

    chain, class_names, places = functional.chain_of(config)
    keys = child_keys(class_names)
    return _sequential(Sequential, chain, custom_objects, path, made, [keys[i] for i in places])


def _sequential(cls, config, custom_objects, path, made, keys=None):
    layers = config.get("layers")
    name = config.get("name")
    if not isinstance(layers, list):
        raise FileError(f"The config of Sequential '{name}' has no list of layers.")
    class_names = [_parts(item, "a layer")[0] for item in layers]
    for item, class_name in zip(layers, class_names):
        # A class that is missing is said first: it explains an option of its neighbours'.
        if class_name not in functional.CLASSES:
            _layer_class(item, class_name, f"layer '{item['config'].get('name')}'", custom_objects)
    keys = keys or child_keys(class_names)
    children = [
        deserialize_layer(item, custom_objects, f"{path}/layers/{key}", made) for key, item in zip(keys, layers)
    ]
    arguments = {"layers": children, "name": name, "trainable": config.get("trainable", True)}
    model = _construct(cls, arguments, f"Sequential '{name}'")
    if made is not None:
        made(model, path)
    return model


def child_keys(class_names):
    """Where a model's layers keep their weights: by class, counted in order, whatever their names are.

    >>> child_keys(["LSTM", "Dense", "LSTM"])
    ['lstm', 'dense', 'lstm_1']
    """
    counts, keys = {}, []
    for kind in map(snake_case, class_names):
        n = counts.get(kind, 0)
        counts[kind] = n + 1
        keys.append(kind if n == 0 else f"{kind}_{n}")
    return keys


def revive(module, spec, custom_objects, who):
    """The initializer, activation, loss, ... that a name or Keras's dict means.

    Args:
        module: the module of tdfast that knows this kind (it has a ``REGISTRY`` and ``get``).
        spec: the name or the dict.
        custom_objects: further classes and functions by name.
        who: what it is, for messages: "the kernel_initializer of layer 'lstm' (LSTM)".

    Raises:
        FileError: naming what tdfast lacks.
    """
    custom_objects = custom_objects or {}
    if isinstance(spec, dict):
        name, config = spec.get("class_name"), spec.get("config")
        if not isinstance(name, str):
            raise FileError(f"{_sentence(who)} is not described by a class_name and a config: {_short(spec)}.")
        if name == "function":
            spec = config
        else:
            if config is not None and not isinstance(config, dict):
                raise FileError(f"The config of {who} must be a dict, got {_short(config)}.")
            custom = _custom(spec, custom_objects)
            if custom is not None:
                return _construct(custom, config or {}, who) if inspect.isclass(custom) else custom
            _refuse_foreign(spec, who)
            found = _find(module, name, who)
            if not inspect.isclass(found):
                return found
            label = f"{who}, {name}," if name not in who else who
            return _construct(found, fit_arguments(found, config or {}, label), label)
    if isinstance(spec, str):
        custom = registration.find(spec, custom_objects)
        if custom is not None:
            return custom() if inspect.isclass(custom) else custom
        try:
            return module.get(spec)
        except ValueError as error:
            raise FileError(_unknown(spec, who, error)) from error
    raise FileError(f"{_sentence(who)} must be a name or a dict, got {_short(spec)}.")


def _find(module, name, who):
    try:
        return module.REGISTRY.find(name)
    except ValueError as error:
        raise FileError(_unknown(name, who, error)) from error


def _unknown(name, who, error):
    return f"{_sentence(who)} is {name!r}, which tdfast does not have. {error} If it is your own, pass it in custom_objects."


def fit_arguments(cls, config, who):
    """The entries of ``config`` that ``cls`` takes; the others must be at values that do nothing.

    Raises:
        FileError: naming the option that tdfast lacks.
    """
    known = _parameters(cls)
    out = {}
    for key, value in config.items():
        if known is None or key in known:
            out[key] = value
            continue
        neutral = _NEUTRAL.get(key, ())
        if neutral is not _ANY and not any(value is n or (n is not None and value == n) for n in neutral):
            raise FileError(f"The option {key}={_short(value)} of {who} does not exist in tdfast.")
    return out


def _parameters(cls):
    """The names that the constructor takes; None if it takes any."""
    names = set()
    for base in cls.__mro__:
        if "__init__" not in vars(base):
            continue
        parameters = inspect.signature(base.__init__).parameters.values()
        names |= {p.name for p in parameters if p.kind in (p.POSITIONAL_OR_KEYWORD, p.KEYWORD_ONLY)}
        if not any(p.kind is p.VAR_KEYWORD for p in parameters):
            break
    return names - {"self"}


def _construct(cls, arguments, who):
    try:
        if hasattr(cls, "from_config") and not _is_sequential_class(cls):
            return cls.from_config(dict(arguments))
        return cls(**arguments)
    except FileError:
        raise
    except Exception as error:
        raise FileError(f"{_sentence(who)} cannot be made from its config: {error}") from error


def _layer_class(spec, class_name, who, custom_objects):
    custom = _custom(spec, custom_objects or {})
    if custom is not None:
        if not inspect.isclass(custom):
            raise FileError(f"custom_objects has no class for {who} ({class_name}), but {custom!r}.")
        return custom
    if class_name == "Lambda":
        raise FileError(
            f"{_sentence(who)} is a Lambda layer: its function is stored as program code, which tdfast never "
            "runs from a file. Replace it by a layer class and pass that in custom_objects."
        )
    _refuse_foreign(spec, f"{who} ({class_name})")
    if class_name == "Sequential":
        from tdfast.models import Sequential as found
    else:
        from tdfast import layers

        found = vars(layers).get(class_name) if class_name[:1] != "_" else None
    from tdfast.layers.base import Layer

    if not inspect.isclass(found) or not issubclass(found, Layer) or found is Layer:
        raise FileError(
            f"{_sentence(who)} is a {class_name}, which tdfast does not have. tdfast has {', '.join(_layer_names())}. "
            "If it is your own class, pass it in custom_objects."
        )
    return found


def _layer_names():
    from tdfast import layers
    from tdfast.layers.base import Layer

    found = (getattr(layers, name, None) for name in dir(layers))
    return sorted({c.__name__ for c in found if inspect.isclass(c) and issubclass(c, Layer) and c is not Layer} | {"Sequential"})


def _is_known(cls):
    return cls.__module__.split(".")[0] == "tdfast"


def _is_sequential_class(cls):
    from tdfast.models import Sequential

    return inspect.isclass(cls) and issubclass(cls, Sequential)


def _custom(spec, custom_objects):
    """What the caller gave for the class that a dict names, under its registered or its plain name."""
    for name in (spec.get("registered_name"), spec.get("class_name")):
        if isinstance(name, str):
            for known_as in (name, name.split(">")[-1]):
                found = registration.find(known_as, custom_objects)
                if found is not None:
                    return found
    return None


def _refuse_foreign(spec, who):
    """A class of somebody else's may share its name with one of tdfast's and be another thing."""
    module = spec.get("module")
    if module is None or (isinstance(module, str) and module.split(".")[0] in ("keras", "tf_keras", "tdfast", "builtins")):
        return
    if isinstance(module, str) and module.startswith("tensorflow.keras"):
        return
    raise FileError(
        f"{_sentence(who)} is the class {_short(spec.get('class_name'))} of the module {_short(module)}, which tdfast "
        "does not import. Pass the class in custom_objects."
    )


def _parts(spec, what):
    """The class_name and the config of a dict, known to be a string and a dict."""
    if not isinstance(spec, dict) or not isinstance(spec.get("class_name"), str):
        raise FileError(f"The description of {what} must be a dict with 'class_name' and 'config', got {_short(spec)}.")
    config = spec.get("config")
    if not isinstance(config, dict) or not all(isinstance(k, str) for k in config):
        raise FileError(f"The config of {what} ({spec['class_name']}) must be a dict, got {_short(config)}.")
    return spec["class_name"], config


def _describes_layer(value, custom_objects=None):
    """Whether a value in a config is itself a layer's dict (the ``layer`` of TimeDistributed)."""
    from tdfast.layers.base import Layer

    if not isinstance(value, dict) or not isinstance(value.get("config"), dict) or "class_name" not in value:
        return False
    if value["class_name"] in ("Sequential", *functional.CLASSES):
        return True
    custom = _custom(value, custom_objects or {})
    if inspect.isclass(custom) and issubclass(custom, Layer):
        return True
    module = value.get("module")
    return isinstance(module, str) and (module.endswith("keras.layers") or ".layers." in module)


def _kind_of(key):
    """The module of tdfast that reads this key of a layer's config, or None."""
    from tdfast import activations, constraints, initializers, regularizers

    for ending, module in (
        ("activation", activations),
        ("initializer", initializers),
        ("regularizer", regularizers),
        ("constraint", constraints),
    ):
        if key == ending or key.endswith("_" + ending):
            return module
    return None


def _dtype(value, who):
    """The dtype's name, from a name or from Keras's dict for a policy."""
    if isinstance(value, dict):
        config = value.get("config")
        value = config.get("name") if isinstance(config, dict) else None
    if value not in (None, "float32", "float64"):
        raise FileError(f"The dtype {_short(value)} of {who} does not exist in tdfast: it computes in float32 or float64.")
    return value


def as_shape(value, who):
    """A tuple of sizes, None standing for any.

    Raises:
        FileError: if it is something else.
    """
    if isinstance(value, int) and not isinstance(value, bool):
        value = [value]
    ok = isinstance(value, (list, tuple)) and len(value) <= 32 and all(
        n is None or (type(n) is int and -1 <= n < MAX_SIZE) for n in value
    )
    if not ok:
        raise FileError(f"{_sentence(who)} must be a list of sizes, got {_short(value)}.")
    return tuple(value)


def _plain(value):
    """A config of values that JSON knows."""
    if isinstance(value, dict):
        return {str(k): _plain(v) for k, v in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(v) for v in value]
    if hasattr(value, "tolist"):
        return value.tolist()
    return value


def _sentence(text):
    return text[:1].upper() + text[1:]


def _short(value):
    text = repr(value)
    return text if len(text) <= 80 else text[:77] + "..."
