"""Wrapper: the base of layers that hold another layer."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from tdfast.engine import registry
from tdfast.engine.layer import Layer
from tdfast.engine.serialization import deserialize_layer, serialize_layer

if TYPE_CHECKING:
    from tdfast.engine.types import Array, Arrays, Config, CustomObjects, Shapes


class Wrapper(Layer):
    """A layer around another one, which it builds, saves and trains with its own weights; for subclasses.

    A subclass overrides ``forward``, ``backward`` and, where the shape changes, ``compute_output_shape``, and
    calls ``self.layer.forward(x, tape, ...)`` and ``self.layer.backward(dy, tape, need_dx)`` in them, after
    its own ``tape.push(self)`` and before its own ``tape.pop(self)``. See
    https://keras.io/api/layers/base_layer/.

    Args:
        layer: the layer inside, whose dtype it takes over.
        name, trainable, dtype, activity_regularizer, input_shape, batch_shape: as in `Layer`.

    Raises:
        ValueError: if it is no layer, or has another dtype than the one given.

    >>> import numpy as np
    >>> from tdfast.layers import Dense
    >>> class Twice(Wrapper):
    ...     def forward(self, x, tape, training=False, mask=None):
    ...         tape.push(self)
    ...         return 2 * self.layer.forward(x, tape, training=training, mask=mask)
    ...     def backward(self, dy, tape, need_dx=True):
    ...         dx = self.layer.backward(2 * dy, tape, need_dx)
    ...         tape.pop(self)
    ...         return dx
    ...     def compute_output_shape(self, input_shape):
    ...         return self.layer.compute_output_shape(input_shape)
    >>> Twice(Dense(3, kernel_initializer="ones"))(np.ones((1, 2))).tolist()
    [[4.0, 4.0, 4.0]]
    """

    def __init__(self, layer: Layer, **kwargs: Any) -> None:
        kind = type(self).__name__
        if not isinstance(layer, Layer):
            raise ValueError(
                f"{kind} needs a layer to wrap, such as {kind}(Dense(8)), got {layer!r} "
                f"({type(layer).__name__})." + registry.layer_hint(layer)
            )
        if kwargs.get("dtype") is None:
            kwargs["dtype"] = layer.dtype
        super().__init__(**kwargs)
        if self.dtype != layer.dtype:
            raise ValueError(
                f"Layer '{self.name}' ({kind}) has dtype {self.dtype}, but '{layer.name}' has {layer.dtype}: "
                "give both the same dtype=."
            )
        self.layer = layer

    def sublayers(self) -> list[Any]:
        return [self.layer]

    def check_input_shape(self, input_shape: Shapes) -> None:
        if self.built:
            self.layer.check_input_shape(input_shape)

    def build(self, input_shape: Shapes) -> None:
        self.build_inner(self.layer, input_shape)

    def as_input(self, x: Arrays, who: str | None = None) -> Array:
        return self.layer.as_input(x, who or f"Layer '{self.name}'")

    def get_config(self) -> Config:
        return {**super().get_config(), "layer": serialize_layer(self.layer)}

    @classmethod
    def from_config(cls, config: Config, custom_objects: CustomObjects = None) -> Any:
        """The layer that `get_config` described, with the one inside.

        Args:
            config: the dict.
            custom_objects: classes and functions by name, for what tdfast does not have.
        """
        config = dict(config)
        layer = config.pop("layer")
        return cls(layer if isinstance(layer, Layer) else deserialize_layer(layer, custom_objects), **config)
