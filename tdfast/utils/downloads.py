"""Files from the network, kept in a folder: `get_file`."""

from __future__ import annotations

import contextlib
import hashlib
import os
import shutil
import tempfile
import urllib.parse
import warnings
from typing import TYPE_CHECKING, Any

from tdfast.compat.calling import level_of_the_caller, spelled
from tdfast.engine.console import is_terminal, say
from tdfast.utils import archives

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence


@spelled
def get_file(fname: Any = None, origin: str | None = None, untar: bool = False, md5_hash: str | None = None,
             file_hash: str | None = None, cache_subdir: str = "datasets", hash_algorithm: str = "auto",
             extract: bool = False, archive_format: str | Sequence[str] | None = "auto",
             cache_dir: Any = None, force_download: bool = False) -> str:
    """The path of a file from the network, which is downloaded once and kept, as `keras.utils.get_file`.

    The file takes its place when all of it is there and its hash is right; until then, and after an error,
    the place is as it was. Downloads need the package pooch: ``pip install 'tdfast[data]'``.

    Args:
        fname: the name to keep it under; None: the last part of ``origin``. With ``extract``, the name of the
            folder: "a" unpacks into "a", "a.zip" into "a_extracted".
        origin: the address: http, https, ftp or file.
        untar: older form of ``extract=True, archive_format="tar"``.
        md5_hash: older form of ``file_hash``.
        file_hash: what the file's hash must be, in hexadecimal digits; None: it is not checked.
        cache_subdir: the folder within the cache, or the absolute path of another.
        hash_algorithm: 'sha256', 'md5' or 'auto', which tells by the length of ``file_hash``.
        extract: unpack the file, a tar or zip archive, and give the folder's path.
        archive_format: 'tar' (also .tar.gz, .tar.bz2, .tar.xz), 'zip', 'auto' (both), a list of these, or
            None.
        cache_dir: the cache; None: the environment's KERAS_HOME, or ~/.keras. Where it cannot be written to,
            .keras in the folder of temporary files takes its place.
        force_download: download it although it is there.

    Returns:
        The path of the file, or with ``extract`` that of the folder.

    Raises:
        ValueError: for a hash that is not the file's, no ``origin`` or one that has no name, a path as
            ``fname``, or an option that is not known.
        OSError: if it cannot be downloaded.
        ImportError: where pooch is not installed.

    Warns of members of an archive that would lie outside of the folder, which are left out, and of a file
    that is no archive.

    >>> import pathlib
    >>> folder = pathlib.Path(tempfile.mkdtemp())
    >>> n = (folder / "words.txt").write_text("to be or not to be")
    >>> address = (folder / "words.txt").as_uri()               # "file:///...", or "https://..."
    >>> path = get_file("hamlet.txt", address, cache_dir=folder / "cache")      # doctest: +ELLIPSIS
    Downloading data from file:///...words.txt
    >>> open(path).read()
    'to be or not to be'
    """
    if origin is None:
        raise ValueError("get_file: give origin, the address of the file, such as 'https://example.org/a.txt'.")
    if md5_hash is not None and file_hash is None:
        file_hash, hash_algorithm = md5_hash, "md5"
    algorithm = _algorithm(hash_algorithm, file_hash)
    formats = archives.formats_of("tar" if untar else archive_format, "get_file")
    path, folder = _places(fname, origin, os.path.join(_cache(cache_dir), cache_subdir),
                           bool(extract or untar))
    os.makedirs(os.path.dirname(path), exist_ok=True)
    if force_download or not _is_there(path, file_hash, algorithm):
        _download(origin, path, file_hash, algorithm)
    if folder is None:
        return path
    if not archives.unpack(path, folder, formats):
        warnings.warn(f"get_file: {path} cannot be unpacked, since it is no archive of the formats "
                      f"{formats}; {folder} is as it was.", stacklevel=level_of_the_caller())
    return folder


def _cache(cache_dir: Any) -> str:
    """The folder of the cache, which is there and can be written to."""
    wanted = cache_dir if cache_dir is not None else os.environ.get("KERAS_HOME") or "~/.keras"
    folder = os.path.expanduser(os.fspath(wanted))
    with contextlib.suppress(OSError):
        os.makedirs(folder, exist_ok=True)
    return folder if os.access(folder, os.W_OK) else os.path.join(tempfile.gettempdir(), ".keras")


def _places(fname: Any, origin: str, folder: str, extract: bool) -> tuple[str, str | None]:
    """Where the file goes, and the folder for what is in it; None: it is not unpacked."""
    given = "" if not fname else os.fspath(fname)
    if os.sep in given or "/" in given or given in (".", ".."):
        raise ValueError(f"get_file: fname is a name without folders, got {given!r}. cache_dir and "
                         "cache_subdir say where it goes.")
    name = given or os.path.basename(urllib.parse.urlsplit(origin).path)
    if not name:
        raise ValueError(f"get_file: {origin!r} has no name of a file at its end: give fname.")
    if not extract:
        return os.path.join(folder, name), None
    if given and "." in name:
        return os.path.join(folder, name), os.path.join(folder, name[: name.find(".")] + "_extracted")
    return os.path.join(folder, name + "_archive"), os.path.join(folder, name)


def _algorithm(name: str, file_hash: str | None) -> str:
    if name not in ("auto", "md5", "sha256"):
        raise ValueError(f"get_file: hash_algorithm must be 'auto', 'md5' or 'sha256', got {name!r}.")
    if name != "auto":
        return name
    return "sha256" if file_hash is not None and len(file_hash) == 64 else "md5"


def _is_there(path: str, file_hash: str | None, algorithm: str) -> bool:
    """Whether a file is there that has the right hash."""
    if not os.path.exists(path) or file_hash is None:
        return os.path.exists(path)
    found = hashlib.new(algorithm, usedforsecurity=False)
    with open(path, "rb") as file:
        while block := file.read(1 << 20):
            found.update(block)
    if found.hexdigest() == file_hash.lower():
        return True
    say(f"{path} is there, but its {algorithm} is not {file_hash}: it is downloaded again.")
    return False


def _download(origin: str, path: str, file_hash: str | None, algorithm: str) -> None:
    from tdfast.saving.atomic import replacing

    found = hashlib.new(algorithm, usedforsecurity=False)
    kind = urllib.parse.urlsplit(origin).scheme
    fetch = _fetchers().get(kind)
    if fetch is None:
        raise ValueError(f"get_file: origin must begin with http://, https://, ftp:// or file://, got "
                         f"{origin!r}.")
    with replacing(path) as file:
        say(f"Downloading data from {origin}")
        with _told(origin, path):
            fetch(origin, _Hashing(file, found))
        if file_hash is not None and found.hexdigest() != file_hash.lower():
            raise ValueError(
                f"get_file: what {origin} sends is not the file that was expected: its {algorithm} is "
                f"{found.hexdigest()}, not {file_hash}. It is damaged or another version, and was not kept."
            )


@contextlib.contextmanager
def _told(origin: str, path: str) -> Iterator[None]:
    """Whatever ends a download, as an OSError that says what to do."""
    try:
        yield
    except ImportError:
        raise
    except Exception as error:    # the system's, requests' and ftplib's share no other base
        raise OSError(
            f"get_file: cannot download {origin}: {str(error) or type(error).__name__}. Is the address "
            f"right, and is there a network? You may also put the file at {path} by another way."
        ) from error


class _Hashing:
    """A file to write to that sums up what is written."""

    def __init__(self, file: Any, found: Any) -> None:
        self.file, self.found = file, found

    def write(self, block: bytes) -> int:
        """Write it, and sum it up."""
        self.found.update(block)
        return self.file.write(block)

    def flush(self) -> None:
        """Hand on what is held back."""
        self.file.flush()


def _fetchers() -> dict[str, Any]:
    return {"http": _by_pooch, "https": _by_pooch, "ftp": _by_pooch, "file": _from_the_disk}


def _by_pooch(origin: str, file: Any) -> None:
    try:
        import pooch
    except ImportError as error:
        raise ImportError(
            f"get_file needs pooch to download {origin}: pip install 'tdfast[data]'."
        ) from error
    downloader = pooch.FTPDownloader if origin.startswith("ftp:") else pooch.HTTPDownloader
    downloader(progressbar=is_terminal(), chunk_size=1 << 16)(origin, file, None)


def _from_the_disk(origin: str, file: Any) -> None:
    from urllib.request import url2pathname

    with open(url2pathname(urllib.parse.urlsplit(origin).path), "rb") as source:
        shutil.copyfileobj(source, file, 1 << 20)
