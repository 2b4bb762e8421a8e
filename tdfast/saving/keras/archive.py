"""The zip archive around a .keras file, read as if an enemy had written it.

Every size is checked against what the file really holds before memory is taken for it. Nothing is
extracted to disk.
"""

from __future__ import annotations

import json
import os
import struct
import zipfile
import zlib
from typing import Any

from tdfast.errors import FileError

MAX_MEMBERS = 10_000
MAX_JSON = 32 * 2**20
# Deflate makes weights a little smaller; only a bomb becomes hundreds of times larger.
MAX_EXPANSION = 200
SMALL = 2**20

_ENCRYPTED = 0x1
_DAMAGE = (
    zipfile.BadZipFile,
    zlib.error,
    struct.error,
    EOFError,
    IndexError,
    KeyError,
    OverflowError,
    RuntimeError,  # with what zipfile raises for features it lacks
    ValueError,
)


class Archive:
    """The members of a .keras file; use it in a ``with`` statement.

    Args:
        path: a path or a binary file object that can seek.

    Raises:
        FileError: if it is not a zip archive, is cut short, or breaks a limit.
        OSError: if the file cannot be opened.
    """

    def __init__(self, path: Any) -> None:
        self.close_file = not hasattr(path, "read")
        self.name = os.fspath(path) if self.close_file else str(getattr(path, "name", "the file object"))
        self.file = open(path, "rb") if self.close_file else path
        try:
            self._open()
        except BaseException:
            self.close()
            raise

    def _open(self) -> None:
        self.size = self.file.seek(0, os.SEEK_END)
        self.file.seek(0)
        start = self.file.read(8)
        if not start.startswith(b"PK"):
            raise FileError(f"'{self.name}' is not a .keras archive: it does not begin like a zip file.")
        try:
            self.zip = zipfile.ZipFile(self.file)
            infos = self.zip.infolist()
        except _DAMAGE as error:
            raise FileError(
                f"'{self.name}' is damaged or was cut short: its table of contents cannot be read "
                f"({error}). Fetch or save the file again."
            ) from error
        if len(infos) > MAX_MEMBERS:
            raise FileError(f"'{self.name}' has {len(infos)} members; a .keras file has a handful.")
        self.members: dict[Any, Any] = {}
        for info in infos:
            self._check_name(info.orig_filename)
            if info.filename in self.members:
                raise FileError(f"'{self.name}' has two members called '{info.filename}'.")
            self.members[info.filename] = info

    def _check_name(self, name: str) -> None:
        parts = name.replace("\\", "/").split("/")
        if name.startswith(("/", "\\")) or ".." in parts or ":" in parts[0] or "\0" in name or not name:
            raise FileError(f"'{self.name}' has a member called {name!r}, which points outside the archive.")

    def __contains__(self, name: str) -> bool:
        return name in self.members

    def read(self, name: str, limit: int | None = None) -> bytes:
        """The bytes of a member, checked against its checksum.

        Args:
            name: of the member.
            limit: the largest size to accept; None is as much as the file's own size allows.
        """
        if name not in self.members:
            raise FileError(f"'{self.name}' is not a complete .keras archive: '{name}' is missing from it.")
        info = self.members[name]
        what = f"'{name}' in '{self.name}'"
        if info.flag_bits & _ENCRYPTED:
            raise FileError(f"{what} is encrypted; tdfast does not read that.")
        if info.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
            raise FileError(
                f"{what} is compressed by method {info.compress_type}; only stored and deflate are read."
            )
        if limit is not None and info.file_size > limit:
            raise FileError(f"{what} says it has {info.file_size:,} bytes, more than the {limit:,} allowed.")
        if info.compress_size > self.size:
            raise FileError(
                f"{what} says it takes {info.compress_size:,} bytes, but the whole file has {self.size:,}."
            )
        most = info.compress_size if info.compress_type == zipfile.ZIP_STORED else max(
            SMALL, MAX_EXPANSION * info.compress_size
        )
        if info.file_size > most:
            raise FileError(
                f"{what} says it has {info.file_size:,} bytes but takes only {info.compress_size:,} in the "
                "file: "
                "a zip bomb, or a damaged file."
            )
        try:
            with self.zip.open(info) as member:
                data = member.read(info.file_size + 1)
        except (*_DAMAGE, OSError) as error:
            raise FileError(
                f"{what} is damaged or cut short ({error}). Fetch or save the file again."
            ) from error
        if len(data) != info.file_size:
            raise FileError(f"{what} is cut short: {len(data):,} of {info.file_size:,} bytes are there.")
        return data

    def read_json(self, name: str) -> dict[str, Any]:
        """A member as the dict that its JSON describes."""
        data = self.read(name, limit=MAX_JSON)
        try:
            value = json.loads(data.decode("utf-8"))
        except (ValueError, RecursionError) as error:
            raise FileError(
                f"'{name}' in '{self.name}' is not readable JSON ({error or type(error).__name__})."
            ) from error
        if not isinstance(value, dict):
            raise FileError(
                f"'{name}' in '{self.name}' must hold a JSON object, but holds a {type(value).__name__}."
            )
        return value

    def close(self) -> None:
        """Close the file, if it was opened here."""
        if self.close_file:
            self.file.close()

    def __enter__(self) -> Archive:
        return self

    def __exit__(self, *error: Any) -> None:
        self.close()
