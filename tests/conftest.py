"""Says plainly what is wrong when the tests meet the source folder instead of the built package."""

import pytest

try:
    import tdfast._kernels  # noqa: F401
except ImportError as error:
    pytest.exit(
        f"tdfast has no compiled kernels here ({error}).\n"
        "'python -m pytest' in a checkout imports the source folder. Install the package (pip install .) and run\n"
        "'pytest' from the same environment, or build in place: python setup.py build_ext --inplace",
        returncode=3,
    )
