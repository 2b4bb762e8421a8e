"""Lambda: a function as a layer."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from tdfast.engine import registry
from tdfast.engine.layer import Layer
from tdfast.errors import FileError

if TYPE_CHECKING:
    from collections.abc import Callable

    from tdfast.engine.types import Config, CustomObjects, Masks


class Lambda(Layer):
    """A function of arrays as a layer: ``y = function(x)``.

    The function computes with `tdfast.ops`, NumPy's functions or operators, in Python; its derivative is
    found. See https://keras.io/api/layers/core_layers/lambda/.

    Args:
        function: takes the input, and ``mask`` and ``training`` where it has arguments of these names.
        output_shape: the shape of one sample of the output, or a function from the input's shape, batch
            first, to the output's; found by a trial when None.
        mask: the mask of the output, or a function ``mask(inputs, mask)`` that gives it.
        arguments: a dict of further keyword arguments of the function.

    Raises:
        TypeError: if the function cannot be called.

    A file holds the function's name alone: to load one, give ``custom_objects={name: function}``, or register
    the function with `tdfast.saving.register_keras_serializable`. A function without a name goes by that of
    the
    layer.

    >>> import numpy as np
    >>> Lambda(lambda x: x ** 2)(np.array([[1.0, 3.0]])).tolist()
    [[1.0, 9.0]]
    """

    def __init__(self, function: Callable[..., Any], output_shape: Any = None, mask: Any = None,
                 arguments: dict[str, Any] | None = None, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        if not callable(function):
            raise TypeError(
                f"Layer '{self.name}' (Lambda) needs a function of arrays, such as lambda x: x ** 2, got "
                f"{function!r:.60}."
            )
        self.function, self.arguments = function, dict(arguments or {})
        self.mask, self._given_shape = mask, output_shape
        self.supports_masking = mask is not None
        self.built = True

    def call(self, inputs: Any, mask: Masks = None, training: bool | None = None) -> Any:  # type: ignore[override]
        given = {"mask": mask, "training": training}
        names = registry.argument_names(self.function)
        return self.function(inputs, **self.arguments, **{k: v for k, v in given.items() if k in names})

    def compute_output_shape(self, input_shape: Any, template: Any = None) -> Any:
        from tdfast.engine import calls

        given = self._given_shape
        if given is None:
            shapes = calls.found_by_trial(self, input_shape, template)[0]
            return shapes[0] if len(shapes) == 1 else list(shapes)
        if callable(given):
            return tuple(given(input_shape))
        first = input_shape[0] if isinstance(input_shape[0], (tuple, list)) else input_shape
        return (first[0], *given)

    def compute_mask(self, inputs: Any, mask: Masks = None) -> Any:
        return self.mask(inputs, mask) if callable(self.mask) else self.mask

    def get_config(self) -> Config:
        config = super().get_config()
        config["function"] = self._described(self.function)
        if self._given_shape is not None:
            config["output_shape"] = self._described(self._given_shape)
        if self.mask is not None:
            config["mask"] = self._described(self.mask)
        return {**config, "arguments": self.arguments}

    def _described(self, value: Any) -> Any:
        if not callable(value):
            return value
        known = registry.registered_name(value) or getattr(value, "__name__", None)
        name = registry.collected_name(value, known)
        if name in (None, "<lambda>"):
            name = self.name
        return {"module": "builtins", "class_name": "function", "config": name, "registered_name": name}

    @classmethod
    def from_config(cls, config: Config, custom_objects: CustomObjects = None) -> Any:
        """The layer that `get_config` described.

        Args:
            config: the dict, which names the function.
            custom_objects: a dict with the function by that name.

        Raises:
            FileError: (a ValueError) if nobody gave the function.
        """
        config = dict(config)
        for what in ("function", "output_shape", "mask"):
            if isinstance(config.get(what), dict):
                config[what] = _function_of(config[what], config.get("name"), what, custom_objects)
        return cls(**config)


def _function_of(described: Any, layer: Any, what: str, custom_objects: CustomObjects) -> Any:
    """The function that a config names, from the caller or from the registered ones."""
    name = described.get("config")
    for known in (name, layer):
        if isinstance(known, str):
            found = registry.find(known, custom_objects)
            if found is not None:
                return found
    wanted = name if isinstance(name, str) else layer
    raise FileError(
        f"Layer '{layer}' is a Lambda: its {what} is program code, which no file may bring. Give it "
        "yourself: "
        f"custom_objects={{{wanted!r}: the function}}."
    )
