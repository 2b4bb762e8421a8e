"""docs/trust.md names tests: they exist."""

import ast
import re
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
PAGE = ROOT / "docs" / "trust.md"

pytestmark = pytest.mark.skipif(not PAGE.exists(), reason="the documents are not beside the tests")


@cache
def names_in(name):
    file, = (ROOT / "tests").glob(f"*/{name}")
    return {node.name for node in ast.parse(file.read_text(encoding="utf8")).body
            if isinstance(node, ast.FunctionDef)}


def test_every_test_that_the_page_names_exists():
    named = re.findall(r"`(?:tests/)?(test_\w+\.py)::(\w+)`", PAGE.read_text(encoding="utf8"))
    assert len(named) > 40
    missing = [f"{file}::{name}" for file, name in named if name not in names_in(file)]
    assert not missing, missing


def test_every_promise_names_what_holds_it():
    text = PAGE.read_text(encoding="utf8").split("## Installation")[0].split("## Compiled code")[0]
    for promise in re.split(r"(?m)^- ", text)[1:]:
        assert "`test_" in promise or "`.ci/" in promise, promise


@pytest.mark.skipif(not (ROOT / ".ci").exists(), reason="the scripts are not beside the tests")
def test_every_script_that_the_page_names_exists():
    for name in set(re.findall(r"\.ci/(\w+)", PAGE.read_text(encoding="utf8"))):
        assert (ROOT / ".ci" / name).is_file(), name
