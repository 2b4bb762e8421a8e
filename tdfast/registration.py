"""Users' own classes and functions by name, so that files which name them can be read."""

import contextlib
import inspect
import threading

_OBJECTS = {}
_NAMES = {}
_scope = threading.local()


def register_keras_serializable(package="Custom", name=None):
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

    def decorator(item):
        if inspect.isclass(item) and not hasattr(item, "get_config"):
            raise ValueError(f"register_keras_serializable: {item.__name__} needs a get_config() method.")
        full = f"{package}>{name or item.__name__}"
        _OBJECTS[full] = item
        _NAMES[item] = full
        return item

    return decorator


def get_custom_objects():
    """The dict of registered objects by name; what is put into it is known from then on.

    >>> get_custom_objects()["doc>list"] = list
    >>> get_registered_object("doc>list") is list
    True
    """
    return _OBJECTS


def registered_name(item):
    """The name under which a class or a function is registered, or None."""
    try:
        return _NAMES.get(item)
    except TypeError:       # not hashable
        return None


def get_registered_name(obj):
    """The name under which a class or a function is registered; its own if it is not.

    >>> get_registered_name(dict)
    'dict'
    """
    return noted(obj, registered_name(obj) or obj.__name__)


@contextlib.contextmanager
def noting():
    """For a block in which things are described: a dict of the users' classes and functions among them, each by
    the name that its description has there.

    >>> with noting() as objects:
    ...     name = get_registered_name(contextlib.suppress)
    >>> name, objects[name] is contextlib.suppress
    ('contextlib>suppress', True)
    """
    before, _scope.notes = getattr(_scope, "notes", None), {}
    try:
        yield _scope.notes
    finally:
        _scope.notes = before


def noted(item, name):
    """``name``; within `noting` one that no other item has, under which ``item`` is noted."""
    notes = getattr(_scope, "notes", None)
    if notes is None:
        return name
    full = registered_name(item) or f"{getattr(item, '__module__', '')}>{getattr(item, '__qualname__', item.__name__)}"
    name, n = full, 0
    while notes.setdefault(name, item) is not item:
        n += 1
        name = f"{full}#{n}"
    return name


def find(name, custom_objects=None):
    """What was registered under ``name``, or given for it; else None.

    Args:
        name: a string.
        custom_objects: the caller's own dict, which goes before the `custom_object_scope` and the registered ones.
    """
    for known in (custom_objects or {}, getattr(_scope, "objects", {}), _OBJECTS):
        if name in known:
            return known[name]
    return None


def get_registered_object(name, custom_objects=None, module_objects=None):
    """What was registered under ``name``; None if nothing was.

    Args:
        name: such as "my_package>Mine".
        custom_objects, module_objects: dicts to look in first.

    >>> get_registered_object("mine", {"mine": dict}) is dict
    True
    """
    return find(name, {**(module_objects or {}), **(custom_objects or {})})


@contextlib.contextmanager
def custom_object_scope(custom_objects):
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
