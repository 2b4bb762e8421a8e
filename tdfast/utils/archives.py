"""Unpacking of archives that come from elsewhere: nothing in one reaches a file outside of its folder."""

from __future__ import annotations

import contextlib
import os
import shutil
import tempfile
import warnings
from typing import TYPE_CHECKING, Any

from tdfast.compat.calling import level_of_the_caller

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

FORMATS = ("tar", "zip")


def formats_of(archive_format: str | Sequence[str] | None, who: str) -> tuple[str, ...]:
    """The formats to try, of Keras's argument ``archive_format``.

    Raises:
        ValueError: for another word.

    >>> formats_of("auto", "get_file")
    ('tar', 'zip')
    """
    if archive_format is None:
        return ()
    if isinstance(archive_format, str):
        archive_format = FORMATS if archive_format == "auto" else (archive_format,)
    unknown = [name for name in archive_format if name not in FORMATS]
    if unknown:
        raise ValueError(f"{who}: archive_format must be 'auto', 'tar', 'zip', a list of these or None, got "
                         f"{unknown[0]!r}.")
    return tuple(archive_format)


def unpack(path: str, folder: str, formats: Sequence[str]) -> bool:
    """Unpack a tar archive (also .gz, .bz2, .xz) or a zip archive into a folder; False: it is neither.

    A member that would lie outside of the folder, a link that leads out of it or nowhere, and what is no
    file are left out with a warning. Files that are in the folder and not in the archive stay. Nothing of
    the folder changes before the whole archive was read.

    Args:
        path: of the archive.
        folder: made where it is not there.
        formats: of 'tar' and 'zip', those to try.

    >>> import zipfile
    >>> place = tempfile.mkdtemp()
    >>> with zipfile.ZipFile(os.path.join(place, "a.zip"), "w") as archive:
    ...     archive.writestr("inside.txt", "text")
    >>> unpack(os.path.join(place, "a.zip"), os.path.join(place, "a"), ["tar", "zip"])
    True
    >>> os.listdir(os.path.join(place, "a"))
    ['inside.txt']
    """
    import tarfile
    import zipfile

    for name in formats:
        if not (tarfile.is_tarfile(path) if name == "tar" else zipfile.is_zipfile(path)):
            continue
        around = os.path.dirname(os.path.abspath(folder))
        os.makedirs(around, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=around, prefix=".unpacking-") as beside:
            new = os.path.join(os.path.realpath(beside), "new")
            os.mkdir(new)
            with _told(path), (tarfile.open(path) if name == "tar" else zipfile.ZipFile(path)) as archive:
                (_unpack_tar if name == "tar" else _unpack_zip)(archive, new)
            _move_over(new, folder)
        return True
    return False


@contextlib.contextmanager
def _told(path: str) -> Iterator[None]:
    """Whatever shows that an archive is damaged, as a ValueError that says so."""
    import tarfile
    import zipfile
    import zlib

    try:
        yield
    except (tarfile.TarError, zipfile.BadZipFile, zlib.error, EOFError, RuntimeError) as error:
        raise ValueError(f"{path} cannot be unpacked: {error}. It is damaged, or made in a way that Python "
                         "does not know: get it anew, or unpack it with another program.") from error


def _unpack_zip(archive: Any, folder: str) -> None:
    for member in archive.infolist():
        place = _place(folder, member.filename)
        if place is None:
            _left_out(member.filename)
        elif member.is_dir() or place == folder:
            os.makedirs(place, exist_ok=True)
        else:
            with archive.open(member) as source:
                _write(source, place)


def _unpack_tar(archive: Any, folder: str) -> None:
    """Files first, links last: no member is ever written through a link."""
    hard, symbolic = [], []
    for member in archive:
        place = _place(folder, member.name)
        if place is None:
            _left_out(member.name)
        elif member.isdir() or place == folder:
            os.makedirs(place, exist_ok=True)
        elif member.isfile():
            with archive.extractfile(member) as source:
                _write(source, place)
        elif member.islnk():
            hard.append((member.name, place, _place(folder, member.linkname)))
        elif member.issym():
            symbolic.append((member.name, place, member.linkname))
        else:
            _left_out(member.name)
    for name, place, target in hard:
        if target is None or not os.path.isfile(target):
            _left_out(name)
        elif place != target:
            with open(target, "rb") as file:
                _write(file, place)
    _make_links(symbolic, folder)


def _make_links(links: Sequence[tuple[str, str, str]], folder: str) -> None:
    """Symbolic links, of which those stay that lead to something in the folder, whatever links they pass."""
    made = []
    for name, place, target in links:
        try:
            os.makedirs(os.path.dirname(place), exist_ok=True)
            if os.path.isabs(target):
                raise FileExistsError
            os.symlink(target, place)
        except OSError:             # something is there, or a link stands for one of its folders
            _left_out(name)
        else:
            made.append((name, place))
    count = -1
    while count != len(made):
        count, kept = len(made), []
        for name, place in made:
            if _leads_into(place, folder):
                kept.append((name, place))
            else:
                os.unlink(place)
                _left_out(name)
        made = kept


def _leads_into(place: str, folder: str) -> bool:
    """Whether the file at a place, behind all links, is there and in the folder."""
    try:
        return os.path.commonpath([os.path.realpath(place, strict=True), folder]) == folder
    except (OSError, ValueError):
        return False


def _place(folder: str, name: str) -> str | None:
    """Where a member of this name goes; None: not into the folder."""
    if os.path.isabs(name) or "\0" in name:
        return None
    place = os.path.normpath(os.path.join(folder, name))
    return place if place == folder or place.startswith(folder + os.sep) else None


def _write(source: Any, place: str) -> None:
    """Its content as a new file; a member of that name before it is replaced."""
    os.makedirs(os.path.dirname(place), exist_ok=True)
    with open(place, "wb") as file:
        shutil.copyfileobj(source, file, 1 << 20)


def _left_out(name: str) -> None:
    warnings.warn(f"The archive's member {name!r} is left out: it is no file or folder in the archive's own "
                  "folder.", stacklevel=level_of_the_caller())


def _move_over(new: str, old: str) -> None:
    """Move a folder to where another may be: what both have is the new one's."""
    if os.path.islink(new) or not os.path.isdir(new) or not os.path.isdir(old):
        with contextlib.suppress(FileNotFoundError):
            if os.path.isdir(new) or os.path.islink(old):
                os.unlink(old)
            elif os.path.isdir(old):
                shutil.rmtree(old)
        os.replace(new, old)
        return
    for name in os.listdir(new):
        place = os.path.join(old, name)
        if os.path.islink(place):
            os.unlink(place)
        _move_over(os.path.join(new, name), place)
