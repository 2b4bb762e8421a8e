"""docs/sklearn.md and the examples in docstrings, which need scikit-learn."""

import doctest
import importlib
import runpy

import numpy as np
import pytest

pytest.importorskip("sklearn")

from test_examples import EXAMPLES, ROOT, code_blocks  # noqa: E402 -- after the skip
from test_examples import missing as packages_missing  # noqa: E402

from tdfast.engine import names  # noqa: E402
from tdfast.sklearn.estimator import SequenceEstimator  # noqa: E402

PAGE = ROOT / "docs" / "sklearn.md"
LIBRARIES = ("sktime", "darts", "aeon", "skforecast", "mlforecast")
here = pytest.mark.skipif(not PAGE.exists(), reason="the documents are not beside the tests")


def run(blocks):
    exec(compile("\n".join(blocks), "sklearn.md", "exec"), {"__name__": "__main__"})


@here
@pytest.mark.filterwarnings("error::UserWarning")
def test_the_page_runs():
    run(block for block in code_blocks(PAGE) if block.startswith("# needs sklearn\n"))


@here
@pytest.mark.parametrize("library", LIBRARIES)
def test_forecasting_libraries_take_the_regressor(library):
    blocks = code_blocks(PAGE)
    own, = (block for block in blocks if f", {library}\n" in block)
    absent = packages_missing(own)
    if absent:
        pytest.skip(f"needs {', '.join(absent)}")
    first, = (block for block in blocks if block.startswith("# needs sklearn, pandas\n"))
    run([blocks[0], first, own])


@here
@pytest.mark.parametrize("library", LIBRARIES)
def test_forecasting_libraries_are_read_forwards(library, monkeypatch):
    """Of series that rise, the model sees rows that rise, whatever the order of the columns was."""
    own, = (block for block in code_blocks(PAGE) if f", {library}\n" in block)
    absent = packages_missing(own)
    if absent:
        pytest.skip(f"needs {', '.join(absent)}")
    seen, plain = [], SequenceEstimator._sequences

    def looked_at(self, *args, **kwargs):
        seen.append(plain(self, *args, **kwargs))
        return seen[-1]

    monkeypatch.setattr(SequenceEstimator, "_sequences", looked_at)
    blocks = code_blocks(PAGE)
    first, = (block for block in blocks if block.startswith("# needs sklearn, pandas\n"))
    rising = own.replace("np.cos(np.arange(96) * np.pi / 6)", "1000.0 + np.arange(96)")
    run([blocks[0], first, "series[:] = np.arange(96.0)", rising])
    fitted = [x for x in seen if len(x) > 20 and x.shape[1] == 12]
    assert fitted and all((np.diff(x, axis=1) == 1).all() for x in fitted)
    features = 2 if library == "darts" else 1
    assert {x.shape[2] for x in fitted} == {features}
    assert all((x[:, :, 1] >= 1000).all() for x in fitted if features == 2)


@here
def test_the_search_beats_ridge_regression(capsys):
    errors, within = runpy.run_path(str(EXAMPLES / "search.py"))["main"](["--epochs", "3"])
    out = capsys.readouterr().out
    ours = errors.pop("tdfast")
    # After the 8 epochs that it trains by default 28, as the trees; ridge regression 46, a week ago 72.
    assert ours < 0.85 * errors["ridge regression"] < 0.85 * errors["as a week ago"], out
    assert 0.6 < within < 0.95, out


@pytest.mark.parametrize("name", ["tdfast.sklearn.regressor", "tdfast.sklearn.classifier",
                                  "tdfast.sklearn.scaler", "tdfast.wrappers"])
def test_examples_of_docstrings(name):
    names.reset()
    with np.printoptions(legacy=False):
        failed, tried = doctest.testmod(importlib.import_module(name),
                                        optionflags=doctest.ELLIPSIS | doctest.NORMALIZE_WHITESPACE)
    assert tried and not failed
