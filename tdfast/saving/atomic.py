"""Writing a file so that the old one or the new one is there, never half of one."""

import contextlib
import os
import tempfile


@contextlib.contextmanager
def replacing(path):
    """A binary file object that takes the place of ``path`` when the block ends without an error.

    It is written beside ``path``, flushed to the disk and then renamed, so a crash or a full disk
    leaves what was there before.

    >>> import os, tempfile
    >>> path = os.path.join(tempfile.mkdtemp(), "a")
    >>> with replacing(path) as file:
    ...     n = file.write(b"new")
    >>> open(path, "rb").read(), os.listdir(os.path.dirname(path))
    (b'new', ['a'])
    """
    # A symbolic link keeps pointing at the file, which is what changes.
    path = os.path.realpath(path)
    folder, name = os.path.split(path)
    handle, beside = tempfile.mkstemp(prefix=f".{name}.", suffix=".part", dir=folder)
    try:
        with os.fdopen(handle, "wb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        os.chmod(beside, _mode(path))
        os.replace(beside, path)
    except BaseException:
        with contextlib.suppress(OSError):
            os.unlink(beside)
        raise
    _sync_folder(folder)


def _mode(path):
    """The rights of the file to be replaced, or those that a new file would get."""
    try:
        return os.stat(path).st_mode & 0o777
    except FileNotFoundError:
        mask = os.umask(0)
        os.umask(mask)
        return 0o666 & ~mask


def _sync_folder(folder):
    """Make the renaming itself durable, where the system can."""
    with contextlib.suppress(OSError):
        handle = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)
