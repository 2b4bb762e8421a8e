"""Every class and function by its name: users' own, and tdfast's of each kind; objects of one kind from
Keras's dicts.

What a file may name is looked up here and in the caller's ``custom_objects``. Nothing is imported because a
file says so.
"""

from __future__ import annotations

import contextlib
import difflib
import importlib
import inspect
import re
import threading
from typing import TYPE_CHECKING, Any, TypeVar, overload

from tdfast.compat import foreign
from tdfast.compat.calling import spell_constructor
from tdfast.engine.names import snake_case
from tdfast.errors import FileError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

    from tdfast.engine.layer import Layer
    from tdfast.engine.types import Config, CustomObjects
    from tdfast.initializers import Initializer

T = TypeVar("T")

# ---------------------------------------------------------------- users' own
_OBJECTS: dict[Any, Any] = {}
_NAMES: dict[Any, Any] = {}
_scope = threading.local()


def register_keras_serializable(package: str = "Custom", name: str | None = None) -> Callable[[T], T]:
    """A decorator: files may name this class, or this function, as ``package>name``.

    Source: https://keras.io/api/models/model_saving_apis/serialization_utils/.

    Args:
        package: yours, so that names of different people do not meet.
        name: that of the class when None.

    Raises:
        ValueError: for a class without get_config.

    >>> @register_keras_serializable("doc")
    ... class Mine:
    ...     def get_config(self):
    ...         return {}
    >>> registered_name(Mine), find("doc>Mine") is Mine, find("Mine") is Mine
    ('doc>Mine', True, False)
    """

    def decorator(item: Any) -> Any:
        if inspect.isclass(item) and not hasattr(item, "get_config"):
            raise ValueError(f"register_keras_serializable: {item.__name__} needs a get_config() method.")
        full = f"{package}>{name or item.__name__}"
        _OBJECTS[full] = item
        _NAMES[item] = full
        return item

    return decorator


def get_custom_objects() -> dict[str, Any]:
    """The dict of registered objects by name; what is put into it is known from then on.

    >>> get_custom_objects()["doc>list"] = list
    >>> get_registered_object("doc>list") is list
    True
    """
    return _OBJECTS


def registered_name(item: Any) -> str | None:
    """The name under which a class or a function is registered, or None."""
    try:
        return _NAMES.get(item)
    except TypeError:       # not hashable
        return None


def get_registered_name(obj: Any) -> str:
    """The name under which a class or a function is registered; its own if it is not.

    >>> get_registered_name(dict)
    'dict'
    """
    return collected_name(obj, registered_name(obj) or obj.__name__)


def argument_names(function: Any) -> frozenset[str]:
    """The names of a function's arguments; none where they cannot be told.

    >>> sorted(argument_names(lambda x, mask: x))
    ['mask', 'x']
    """
    try:
        return frozenset(inspect.signature(function).parameters)
    except (TypeError, ValueError):
        return frozenset()


@contextlib.contextmanager
def collecting_objects() -> Iterator[dict[str, Any]]:
    """For a block in which things are described: a dict of the users' classes and functions among them, each
    by the name that its description has there.

    >>> with collecting_objects() as objects:
    ...     name = get_registered_name(contextlib.suppress)
    >>> name, objects[name] is contextlib.suppress
    ('contextlib>suppress', True)
    """
    before, _scope.notes = getattr(_scope, "notes", None), {}
    try:
        yield _scope.notes
    finally:
        _scope.notes = before


def collected_name(item: Any, name: str | None) -> Any:
    """``name``; within `collecting_objects` one that no other item has, under which ``item`` is noted."""
    notes = getattr(_scope, "notes", None)
    if notes is None:
        return name
    full = (
        registered_name(item)
        or f"{getattr(item, '__module__', '')}>{getattr(item, '__qualname__', item.__name__)}"
    )
    name, n = full, 0
    while notes.setdefault(name, item) is not item:
        n += 1
        name = f"{full}#{n}"
    return name


def find(name: str, custom_objects: CustomObjects = None) -> Any:
    """What was registered under ``name``, or given for it; else None.

    Args:
        name: a string.
        custom_objects: the caller's own dict, which goes before the `custom_object_scope` and the registered
            ones.
    """
    for known in (custom_objects or {}, getattr(_scope, "objects", {}), _OBJECTS):
        if name in known:
            return known[name]
    return None


def get_registered_object(name: str, custom_objects: CustomObjects = None, module_objects: Any = None) -> Any:
    """What was registered under ``name``; None if nothing was.

    Args:
        name: such as "my_package>Mine".
        custom_objects, module_objects: dicts to look in first.

    >>> get_registered_object("mine", {"mine": dict}) is dict
    True
    """
    return find(name, {**(module_objects or {}), **(custom_objects or {})})


@contextlib.contextmanager
def custom_object_scope(custom_objects: Mapping[str, Any]) -> Iterator[None]:
    """Within the block, names of the dict ``custom_objects`` are known to files and to ``get`` functions.

    >>> with custom_object_scope({"mine": dict}):
    ...     find("mine") is dict
    True
    """
    before = getattr(_scope, "objects", {})
    _scope.objects = {**before, **custom_objects}
    try:
        yield
    finally:
        _scope.objects = before


CustomObjectScope = custom_object_scope


# ---------------------------------------------------------------- kinds
KINDS = ("activations", "constraints", "initializers", "losses", "metrics", "optimizers",
         "optimizers.schedules", "regularizers")
"""The modules of objects that are no layers, in the order in which Keras looks for functions."""


def home(plural: str) -> Any:
    """The module of tdfast whose objects Keras calls so, such as 'losses': it has a ``get``, most have a
    ``REGISTRY``.

    It is imported when it is first asked for. This is the only way by which the engine reaches what is built
    on it.

    >>> home("losses").__name__
    'tdfast.losses'
    """
    return importlib.import_module(f"tdfast.{plural}")


class Registry:
    """The known objects of one kind, and the way to and from Keras's descriptions of them.

    A class is known by its name, by that name in snake_case and by its aliases; a function by its name
    and its aliases. Adding one is one line::

        @REGISTRY.register("zero")      # or @REGISTRY.register, without aliases
        class Zeros: ...

    Args:
        kind: what one of them is called in messages, "initializer".
        plural: the same for several, "initializers".
        module: the module that Keras's serialized form names, "keras.initializers".

    >>> shapes = Registry("shape", "shapes", "keras.shapes")
    >>> @shapes.register("ball")
    ... class RoundThing:
    ...     def __init__(self, radius=1):
    ...         self.radius = radius
    ...     def get_config(self):
    ...         return {"radius": self.radius}
    >>> shapes.get("round_thing").radius, shapes.get("ball").radius
    (1, 1)
    >>> shapes.get(shapes.serialize(RoundThing(3))).radius
    3
    """

    def __init__(self, kind: str, plural: str, module: str) -> None:
        self.kind = kind
        self.plural = plural
        self.module = module
        self._known: dict[str, Any] = {}
        self._names: list[str] = []
        self._shown: dict[str, str] = {}    # spellings known but told to nobody: what is told instead

    @overload
    def register(self, item: str, *aliases: str) -> Callable[[T], T]: ...

    @overload
    def register(self, item: T, *aliases: str) -> T: ...

    def register(self, item: Any, *aliases: str) -> Any:
        """Make a class, a function or a named object known; also a decorator, with or without aliases."""
        if isinstance(item, str):
            return lambda decorated: self.register(decorated, item, *aliases)
        name = _name_of(item)
        names = [name, *aliases]
        if isinstance(item, type):
            names.insert(1, snake_case(name))
            spell_constructor(item)
        for n in names:
            self._known[n] = item
        shown = _shown_name(name, names) if isinstance(item, type) else name
        self._names.append(shown)
        if shown not in names[1:2] and isinstance(item, type):
            self._shown[names[1]] = shown
        return item

    def names(self) -> list[str]:
        """One name for each known object, sorted."""
        return sorted(self._names, key=str.lower)

    def spellings(self) -> list[str]:
        """All names to tell under which something is known, aliases too."""
        return [name for name in self._known if name not in self._shown]

    def has(self, name: Any) -> bool:
        """Whether something is registered under this name."""
        return isinstance(name, str) and name in self._known

    def knows(self, obj: Any) -> bool:
        """Whether this object, or the very class of it, is registered."""
        return any(item is obj or item is type(obj) for item in self._known.values())

    def find(self, name: Any, custom_objects: CustomObjects = None) -> Any:
        """What is registered under this name: a class, a function or an object.

        Raises:
            ValueError: listing the known names.
        """
        if isinstance(name, str):
            own = find(name, custom_objects)
            if own is not None:
                return own
        try:
            return self._known[name]
        except (KeyError, TypeError):
            raise ValueError(self._unknown(name)) from None

    def get(self, spec: Any, custom_objects: CustomObjects = None) -> Any:
        """The object that ``spec`` means.

        Args:
            spec: None (gives None), a name, a class, Keras's dict, or the object itself.
            custom_objects: dict of further names.

        Raises:
            ValueError: for a name not known or something that is no such object.

        Objects of Keras's are taken by their class and config (see `tdfast.compat.foreign`).
        """
        if spec is None:
            return None
        if not isinstance(spec, (str, dict)):
            spec = self.taken(spec)
        if isinstance(spec, str):
            spec = self.find(spec, custom_objects)
        elif isinstance(spec, dict):
            return self.deserialize(spec, custom_objects)
        if isinstance(spec, type):
            return spec()
        if callable(spec) or hasattr(spec, "get_config"):
            return spec
        raise ValueError(
            f"Cannot read {spec!r} as {_article(self.kind)}: expected None, a name, a class, an object, a "
            f"function or a serialized dict. Known {self.plural}: {', '.join(self.names())}."
        )

    def taken(self, spec: Any) -> Any:
        """``spec``; if it is an object of Keras's or a function of TensorFlow's that tdfast has, then its
        name, or tdfast's object.

        Raises:
            ValueError: for other objects of these packages, and for an optimizer that has made steps.
        """
        package = foreign.package_of(spec)
        if package is None:
            return spec
        name, speaks_keras = foreign.described(spec, package)
        if not speaks_keras or not self._knows(name):
            raise ValueError(foreign.refusal(spec, name, package, self))
        if foreign.is_kind(spec):
            return name
        if getattr(spec, "built", False) and getattr(spec, "iterations", None) is not None:
            raise ValueError(
                f"{foreign.called(spec)} is an optimizer of {package} that belongs to a model, whose state "
                "tdfast does not "
                f"take over: make a new one, tdfast.optimizers.{name}(...)."
            )
        registry = self if self.has(name) else home("losses").REGISTRY
        config = {"module": self.module, "class_name": name, "config": foreign.config_of(spec)}
        return registry.deserialize(config, None, f"the {self.kind} {name} of {package}")

    def _knows(self, name: str) -> bool:
        return self.has(name) or (self.kind == "metric" and home("losses").REGISTRY.has(name))

    def deserialize(self, config: Config | str | None, custom_objects: CustomObjects = None,
                    who: str | None = None) -> Any:
        """The object that a name or Keras's dict describes.

        Args:
            config: a name, a dict with 'class_name' and 'config', or None (gives None).
            custom_objects: further classes and functions by name, which go before tdfast's.
            who: what it is, for messages: "the kernel_initializer of layer 'lstm' (LSTM)".

        Raises:
            FileError: (a ValueError) naming the class, the function or the option that tdfast lacks.
        """
        who = who or f"the {self.kind}"
        if isinstance(config, dict):
            if not isinstance(config.get("class_name"), str):
                raise FileError(
                    f"{sentence(who)} is not described by a class_name and a config: {short(config)}."
                )
            if config["class_name"] != "function":
                return self._described(config, custom_objects, who)
            config = config.get("config")       # Keras's form of a plain function: its name is the config
        elif config is None:
            return None
        if not isinstance(config, str):
            raise FileError(f"{sentence(who)} must be a name or a dict, got {short(config)}.")
        own = find(config, custom_objects)
        if own is not None:
            return own() if inspect.isclass(own) else own
        try:
            module = self.module.removeprefix("keras.")
            return home(module).get(config) if module in KINDS else self.get(config)
        except ValueError as error:
            raise FileError(_lacking(config, who, error)) from error

    def _described(self, spec: Any, custom_objects: CustomObjects, who: str) -> Any:
        """The object of a class, one of the user's or of this table."""
        name, config = spec["class_name"], spec.get("config")
        if config is not None and not isinstance(config, dict):
            raise FileError(f"The config of {who} must be a dict, got {short(config)}.")
        own = custom_of(spec, custom_objects)
        if own is not None:
            return construct(own, config or {}, who, custom_objects) if inspect.isclass(own) else own
        refuse_unknown_module(spec, who)
        try:
            found = self.find(name)
        except ValueError as error:
            raise FileError(_lacking(name, who, error)) from error
        if not inspect.isclass(found):
            return found
        label = f"{who}, {name}," if name not in who else who
        return construct(found, fit_arguments(found, config or {}, label), label, custom_objects)

    def serialize(self, obj: Any) -> Any:
        """Keras's description of an object: a bare name for functions, else a dict.

        Raises:
            ValueError: if the object has no name and no `get_config`.
        """
        if obj is None or isinstance(obj, (str, dict)):
            return obj
        for name, item in self._known.items():
            if item is obj and not isinstance(obj, type):
                return name
        if isinstance(obj, type):
            obj = obj()
        if hasattr(obj, "get_config"):
            cls = type(obj)
            return description(obj, self.module if self._known.get(cls.__name__) is cls else None)
        name = collected_name(obj, registered_name(obj) or getattr(obj, "__name__", None))
        if name is None or name == "<lambda>":
            raise ValueError(
                f"{obj!r} cannot be serialized: give {_article(self.kind)} by name, or as an object with "
                "get_config()."
            )
        return name

    def _unknown(self, name: str) -> str:
        close = difflib.get_close_matches(str(name).lower(), self._known, n=1)
        hint = f" Did you mean '{self._shown.get(close[0], close[0])}'?" if close else ""
        return f"Unknown {self.kind} {name!r}.{hint} Known {self.plural}: {', '.join(self.names())}."


def _name_of(item: Any) -> str:
    return getattr(item, "__name__", None) or item.name


def _shown_name(name: str, spellings: Sequence[Any]) -> str:
    """The spelling of a class's name that lists show: in snake_case, unless that takes an abbreviation apart.

    >>> _shown_name("AdamW", ["AdamW", "adam_w", "adamw"]), _shown_name("MeanIoU", ["MeanIoU", "mean_io_u"])
    ('adamw', 'MeanIoU')
    """
    snake = spellings[1]
    if "_" not in snake or re.fullmatch("([A-Z][a-z0-9]+)+", name):
        return snake
    if name.lower() in spellings:
        return name.lower()
    return name if re.search("[a-z][A-Z]$", name) else snake


def _article(kind: str) -> str:
    return f"an {kind}" if kind[0] in "aeiou" else f"a {kind}"


# ---------------------------------------------------------------- to and from Keras's dicts
# Keras's options that some class here does not take, with the values at which they do nothing.
_ANY: Any = object()
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


def description(obj: Any, module: str | None = None) -> dict[str, Any]:
    """Keras's dict for an object with a get_config.

    Args:
        obj: the object.
        module: where Keras has its class; None for a class of the user's.
    """
    cls = type(obj)
    return {
        "module": module or cls.__module__,
        "class_name": cls.__name__,
        "config": obj.get_config(),
        "registered_name": None if module else get_registered_name(cls),
    }


def _lacking(name: str, who: str, error: Any) -> str:
    return (
        f"{sentence(who)} is {name!r}, which tdfast does not have. {error} If it is your own, pass it in "
        "custom_objects."
    )


def fit_arguments(cls: Any, config: Config, who: str) -> dict[str, Any]:
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
            raise FileError(f"The option {key}={short(value)} of {who} does not exist in tdfast.")
    return out


def _parameters(cls: Any) -> Any:
    """The names that the constructor takes; None for a class that says ``takes_any_option``."""
    if vars(cls).get("takes_any_option"):
        return None
    names = set()
    for base in cls.__mro__[:-1]:
        if "__init__" not in vars(base):
            continue
        parameters = inspect.signature(base.__init__).parameters.values()
        names |= {p.name for p in parameters if p.kind in (p.POSITIONAL_OR_KEYWORD, p.KEYWORD_ONLY)}
        if not any(p.kind is p.VAR_KEYWORD for p in parameters):
            break
    return names - {"self"}


def construct(cls: Any, arguments: dict[str, Any], who: str,
              custom_objects: CustomObjects = None) -> Initializer | Layer:
    """An object of a class from the arguments that its config has.

    Args:
        cls: the class.
        arguments: a dict.
        who: what it is, for messages.
        custom_objects: for a ``from_config`` that takes them.

    Raises:
        FileError: saying whose it is, where that fails.
    """
    try:
        if not hasattr(cls, "from_config"):
            return cls(**arguments)
        takes = "custom_objects" in inspect.signature(cls.from_config).parameters
        return cls.from_config(dict(arguments), **({"custom_objects": custom_objects} if takes else {}))
    except FileError:
        raise
    except Exception as error:
        raise FileError(f"{sentence(who)} cannot be made from its config: {error}") from error


def custom_of(spec: Any, custom_objects: CustomObjects) -> Any:
    """What the caller gave for the class that a dict names, under its registered or its plain name."""
    for name in (spec.get("registered_name"), spec.get("class_name")):
        if isinstance(name, str):
            for known_as in (name, name.split(">")[-1]):
                found = find(known_as, custom_objects)
                if found is not None:
                    return found
    return None


def refuse_unknown_module(spec: Any, who: str) -> None:
    """A class of somebody else's may share its name with one of tdfast's and be another thing."""
    module = spec.get("module")
    if module is None or (isinstance(module, str)
                          and module.split(".")[0] in ("keras", "tf_keras", "tdfast", "builtins")):
        return
    if isinstance(module, str) and module.startswith("tensorflow.keras"):
        return
    raise FileError(
        f"{sentence(who)} is the class {short(spec.get('class_name'))} of the module {short(module)}, which "
        "tdfast "
        "does not import. Pass the class in custom_objects."
    )


def sentence(text: str) -> str:
    """The text with a capital at its beginning."""
    return text[:1].upper() + text[1:]


def short(value: Any) -> str:
    """How a value is shown in a message."""
    text = repr(value)
    return text if len(text) <= 80 else text[:77] + "..."


def layer_hint(obj: Any) -> str:
    """What an error says of something of Keras's, PyTorch's and so on that is given for a layer; nothing if
    it is of none."""
    return foreign.layer_hint(obj, dir(home("layers")))
