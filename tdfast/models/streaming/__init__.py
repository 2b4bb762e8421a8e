"""Models that take one time step at a time: the `Streamer`, and how it runs each class of layers."""

from tdfast.models.streaming.streamer import Streamer

__all__ = ["Streamer"]
