"""Writing a file so that the old one or the new one is there, never half of one."""

from __future__ import annotations

import contextlib
import fcntl
import os
import secrets
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterator


@contextlib.contextmanager
def replacing(path: Any) -> Iterator[Any]:
    """A binary file object that takes the place of ``path`` when the block ends without an error.

    It is written beside ``path``, flushed to the disk and then renamed, so a crash, a kill or a full disk
    leaves what was there before. An error leaves nothing else; a kill can leave the unfinished
    ``.NAME.*.part``. A file that is replaced keeps its rights and, where that is allowed, its owner; of a
    symbolic link the file that it points at is replaced.

    >>> import os, tempfile
    >>> path = os.path.join(tempfile.mkdtemp(), "a")
    >>> with replacing(path) as file:
    ...     n = file.write(b"new")
    >>> open(path, "rb").read(), os.listdir(os.path.dirname(path))
    (b'new', ['a'])
    """
    path = os.path.realpath(path)
    folder, name = os.path.split(path)
    try:
        old = os.stat(path)
    except FileNotFoundError:
        old = None
    handle, beside = _new_file(folder, name, 0o666 if old is None else 0o600)
    try:
        with os.fdopen(handle, "wb") as file:
            yield file
            file.flush()
            if old is not None:
                _take_rights(file.fileno(), old)
            _to_the_disk(file.fileno())
        os.replace(beside, path)
    except BaseException:
        with contextlib.suppress(OSError):
            os.unlink(beside)
        raise
    with contextlib.suppress(OSError):          # the renaming itself, where the system can
        handle = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)


def _new_file(folder: str, name: str, mode: Any) -> tuple[Any, ...]:
    """(handle, path) of a new file in the folder, of which nobody else knows; the system applies the umask to
    ``mode``."""
    while True:
        # names have at most 255 bytes
        beside = os.path.join(folder, f".{name[:50]}.{secrets.token_hex(4)}.part")
        with contextlib.suppress(FileExistsError):
            return os.open(beside, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, mode), beside


def _take_rights(handle: int, old: Any) -> None:
    new = os.fstat(handle)
    if (new.st_uid, new.st_gid) != (old.st_uid, old.st_gid):
        with contextlib.suppress(OSError):
            os.fchown(handle, old.st_uid, old.st_gid)
    os.fchmod(handle, old.st_mode & 0o777)


def _to_the_disk(handle: int) -> None:
    os.fsync(handle)
    if hasattr(fcntl, "F_FULLFSYNC"):           # macOS: fsync leaves it in the disk's cache
        with contextlib.suppress(OSError):
            fcntl.fcntl(handle, fcntl.F_FULLFSYNC)
