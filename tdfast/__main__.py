"""``python -m tdfast``: what `tdfast.show_config` prints, and where the documentation is."""

from __future__ import annotations

from importlib import metadata
from pathlib import Path

import tdfast


def documentation() -> str:
    """Where the pages are: the address that the package was installed with, or the folder of the source."""
    try:
        urls = metadata.metadata("tdfast").get_all("Project-URL") or []
    except metadata.PackageNotFoundError:
        urls = []
    for url in urls:
        label, _, address = url.partition(", ")
        if label == "Documentation":
            return address
    folder = Path(tdfast.__file__).parents[1] / "docs"
    return str(folder) if (folder / "install.md").exists() else "the folder docs of the source"


if __name__ == "__main__":
    tdfast.show_config()
    print(f"{'documentation':16s} {documentation()}; in Python: help(tdfast.layers.LSTM)")
    print(f"{'speed here':16s} python -m tdfast.bench")
