"""``python -m tdfast.bench``."""

import sys

from tdfast.bench.cli import main

if __name__ == "__main__":
    sys.exit(main())
