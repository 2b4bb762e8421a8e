"""What cifar10 and cifar100 have in common: how their files are read."""

from __future__ import annotations

import os
from typing import Any

import numpy as np

from tdfast.datasets import files
from tdfast.utils.downloads import get_file


def folder_of(name: str, inner: str, file_hash: str) -> str:
    """The folder with the files of an archive, which is downloaded and unpacked.

    Args:
        name: of the archive at its source, without ".tar.gz".
        inner: the folder in the archive.
        file_hash: of the archive.
    """
    folder = get_file(f"{inner}-target", f"{files.TORONTO}{name}.tar.gz", file_hash=file_hash, extract=True)
    return os.path.join(folder, inner)


def read(path: str, labels: str = "labels") -> tuple[Any, Any]:
    """Images (n, 32, 32, 3) and labels (n, 1) of one file."""
    with open(path, "rb") as file:
        data = files.unpickled(file, path, "bytes")
    x, y = data[b"data"], np.array(data[labels.encode()])
    return x.reshape(len(x), 3, 32, 32).transpose(0, 2, 3, 1), y.reshape(len(y), 1)
