"""EventFile: numbers over time in the format that TensorBoard reads, written without its libraries.

The file is a TFRecord of protocol buffers (tensorflow/core/util/event.proto and framework/summary.proto).
"""

from __future__ import annotations

import functools
import itertools
import os
import socket
import struct
import time
from typing import Any

import numpy as np

_CASTAGNOLI = 0x82F63B78
_MASK = 0xA282EAD8
_STRING = 7                 # DT_STRING
_count = itertools.count()


class EventFile:
    """Appends events to a new file in a folder, which is made if it is not there.

    Args:
        folder: TensorBoard shows each folder as one run.

    >>> import tempfile
    >>> file = EventFile(tempfile.mkdtemp())
    >>> file.scalar("loss", 0.5, step=1)
    >>> file.close()
    """

    def __init__(self, folder: str) -> None:
        os.makedirs(folder, exist_ok=True)
        name = (
            f"events.out.tfevents.{int(time.time())}.{socket.gethostname()}.{os.getpid()}.{next(_count)}.v2"
        )
        self.path = os.path.join(folder, name)
        self._file = open(self.path, "wb")
        self._write(_field(1, time.time()) + _field(3, "brain.Event:2"))

    def scalar(self, tag: str, value: Any, step: int) -> None:
        """A number at a step."""
        with np.errstate(over="ignore"):
            self._summary(tag, step, _tag(2, 5) + np.array(value, "<f4").tobytes())

    def histogram(self, tag: str, values: Any, step: int, bins: int = 30) -> None:
        """How an array's elements are distributed."""
        values = np.asarray(values, np.float64).ravel()
        values = values[np.isfinite(values)]
        if not values.size:
            return
        counts, edges = np.histogram(values, bins)
        parts = [float(n) for n in (values.min(), values.max(), values.size, values.sum(),
                                    np.square(values).sum())]
        body = b"".join(_field(i, n) for i, n in enumerate(parts, 1))
        body += _field(6, edges[1:].astype("<f8").tobytes()) + _field(7, counts.astype("<f8").tobytes())
        self._summary(tag, step, _field(5, body))

    def text(self, tag: str, text: str, step: int, plugin: str) -> None:
        """A string for one of TensorBoard's plug-ins."""
        tensor = _field(1, _STRING) + _field(2, b"") + _field(8, text)
        metadata = _field(1, _field(1, plugin) + _field(2, b"1"))
        self._summary(tag, step, _field(8, tensor) + _field(9, metadata))

    def _summary(self, tag: str, step: int, body: bytes) -> None:
        value = _field(1, tag) + body
        self._write(_field(1, time.time()) + _field(2, int(step)) + _field(5, _field(1, value)))

    def _write(self, event: bytes) -> None:
        length = struct.pack("<Q", len(event))
        self._file.write(length + _checksum(length) + event + _checksum(event))

    def flush(self) -> None:
        """Hand what was written to the system, so that TensorBoard sees it."""
        self._file.flush()

    def close(self) -> None:
        self._file.close()


def _tag(number: int, kind: int) -> bytes:
    return _varint(number << 3 | kind)


def _varint(n: int) -> bytes:
    out = bytearray()
    n &= 2**64 - 1
    while n > 0x7F:
        out.append(n & 0x7F | 0x80)
        n >>= 7
    return bytes(out) + bytes([n])


def _field(number: int, value: Any) -> bytes:
    """A field of a message: an int, a float (double), a string, or bytes (a message or packed numbers)."""
    if isinstance(value, float):
        return _tag(number, 1) + struct.pack("<d", value)
    if isinstance(value, int):
        return _tag(number, 0) + _varint(value)
    data = value.encode() if isinstance(value, str) else value
    return _tag(number, 2) + _varint(len(data)) + data


@functools.cache
def _table() -> list[int]:
    out = []
    for crc in range(256):
        for _ in range(8):
            crc = crc >> 1 ^ (_CASTAGNOLI if crc & 1 else 0)
        out.append(crc)
    return out


def _checksum(data: bytes) -> bytes:
    """The masked CRC-32C of a record."""
    table, crc = _table(), 0xFFFFFFFF
    for byte in data:
        crc = table[(crc ^ byte) & 0xFF] ^ crc >> 8
    crc ^= 0xFFFFFFFF
    return struct.pack("<I", ((crc >> 15 | crc << 17) + _MASK) & 0xFFFFFFFF)
