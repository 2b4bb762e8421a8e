"""Registry: finds initializers, losses, optimizers ... by name, class, object or Keras's dict."""

import re

from tdfast import foreign, registration
from tdfast.calling import spell_constructor
from tdfast.names import snake_case


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

    def __init__(self, kind, plural, module):
        self.kind = kind
        self.plural = plural
        self.module = module
        self._known = {}
        self._names = []
        self._shown = {}            # spellings that are known but told to nobody: what is told instead

    def register(self, item, *aliases):
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

    def names(self):
        """One name for each known object, sorted."""
        return sorted(self._names, key=str.lower)

    def spellings(self):
        """All names to tell under which something is known, aliases too."""
        return [name for name in self._known if name not in self._shown]

    def has(self, name):
        """Whether something is registered under this name."""
        return isinstance(name, str) and name in self._known

    def knows(self, obj):
        """Whether this object, or the very class of it, is registered."""
        return any(item is obj or item is type(obj) for item in self._known.values())

    def find(self, name, custom_objects=None):
        """What is registered under this name: a class, a function or an object.

        Raises:
            ValueError: listing the known names.
        """
        if isinstance(name, str):
            own = registration.find(name, custom_objects)
            if own is not None:
                return own
        try:
            return self._known[name]
        except (KeyError, TypeError):
            raise ValueError(self._unknown(name)) from None

    def get(self, spec, custom_objects=None):
        """The object that ``spec`` means.

        Args:
            spec: None (gives None), a name, a class, Keras's dict, or the object itself.
            custom_objects: dict of further names.

        Raises:
            ValueError: for a name not known or something that is no such object.

        Objects of Keras's are taken by their class and config (see `tdfast.foreign`).
        """
        if spec is None:
            return None
        if not isinstance(spec, (str, dict)):
            spec = foreign.taken(spec, self)
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

    def deserialize(self, config, custom_objects=None):
        """The object described by a dict with 'class_name' and 'config' (or by a bare name).

        Raises:
            ValueError: for an unknown class, or arguments that it does not take.
        """
        if config is None or isinstance(config, str):
            return self.get(config, custom_objects)
        if not isinstance(config, dict) or "class_name" not in config:
            raise ValueError(
                f"Cannot read {config!r} as {_article(self.kind)}: a serialized one is a dict with the keys "
                "'class_name' and 'config'."
            )
        name, arguments = config["class_name"], config.get("config")
        if name == "function":
            # Keras's form of a plain function: its name is the config.
            return self.get(arguments, custom_objects)
        registered = config.get("registered_name")
        if isinstance(registered, str) and registration.find(registered, custom_objects) is not None:
            name = registered
        found = self.find(name, custom_objects)
        if not isinstance(found, type):
            return found
        arguments = dict(arguments or {})
        try:
            return found.from_config(arguments) if hasattr(found, "from_config") else found(**arguments)
        except TypeError as error:
            raise ValueError(
                f"{self.kind} '{name}' cannot be made from the config {arguments}: {error}."
            ) from error

    def serialize(self, obj):
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
        cls = type(obj)
        if hasattr(obj, "get_config"):
            own = self._known.get(cls.__name__) is cls
            return {
                "module": self.module if own else cls.__module__,
                "class_name": cls.__name__,
                "config": obj.get_config(),
                "registered_name": None if own else registration.get_registered_name(cls),
            }
        name = registration.noted(obj, getattr(obj, "__name__", None))
        if name is None or name == "<lambda>":
            raise ValueError(
                f"{obj!r} cannot be serialized: give {_article(self.kind)} by name, or as an object with "
                "get_config()."
            )
        return name

    def _unknown(self, name):
        import difflib

        close = difflib.get_close_matches(str(name).lower(), self._known, n=1)
        hint = f" Did you mean '{self._shown.get(close[0], close[0])}'?" if close else ""
        return f"Unknown {self.kind} {name!r}.{hint} Known {self.plural}: {', '.join(self.names())}."


def _name_of(item):
    return getattr(item, "__name__", None) or item.name


def _shown_name(name, spellings):
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


def _article(kind):
    return f"an {kind}" if kind[0] in "aeiou" else f"a {kind}"
