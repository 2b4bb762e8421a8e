"""Says plainly what is wrong when the tests meet the source folder instead of the built package; Ctrl-C as
usual; what tests share is found from every folder."""

import signal
import sys
from pathlib import Path

import pytest

# A test imports the helpers beside this file, and other folders' tests. The option pythonpath would find them
# only where pytest takes this project for its root.
TESTS = Path(__file__).resolve().parent
sys.path[:0] = [str(TESTS), *sorted({str(path.parent) for path in TESTS.glob("*/test_*.py")})]

# A shell starts its jobs in the background with Ctrl-C ignored, where the tests of interrupts would wait for
# ever.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)

try:
    import tdfast._kernels  # noqa: F401
except ImportError as error:
    pytest.exit(
        f"tdfast has no compiled kernels here ({error}).\n"
        "'python -m pytest' in a checkout imports the source folder. Install the package (pip install .) and "
        "run\n"
        "'pytest' from the same environment, or build in place: python setup.py build_ext --inplace",
        returncode=3,
    )


def pytest_configure(config):
    """Laws of odd sizes make softmaxes of one number, of which layers warn: see test_mistakes.py."""
    config.addinivalue_line("filterwarnings", "ignore:Layer .* over a single number is always the same")
