"""Every public name of Keras is in tdfast or in the table that says what is not there, and never in both.

tests/keras_names.json is the list of Keras's names, recorded from ``dir`` of its modules ("keras" is the
package itself); tests/live/test_live_names.py compares it with Keras where that is installed.
"""

import importlib
import json
import re
from pathlib import Path

import pytest

from tdfast.compat import keras_table

TESTS = Path(__file__).resolve().parents[1]
PAGE = TESTS.parent / "docs" / "keras.md"
NAMES = {module: names for module,
         names in json.loads((TESTS / "keras_names.json").read_text(encoding="utf8")).items()
         if module != "version"}


def ours(module):
    """tdfast's module of Keras's name, or None."""
    try:
        return importlib.import_module("tdfast" if module == "keras" else f"tdfast.{module}")
    except ModuleNotFoundError:
        return None


def is_there(module, name):
    """Whether tdfast's module of this name has the name."""
    return hasattr(ours(module), name)


def listed():
    """Module -> the names that the table says are not there."""
    out = {}
    for of, names, why in keras_table.NAMES:
        assert len(why) > 5, names
        out.setdefault("keras" if of == "(top)" else of, []).extend(names.split(", "))
    return out


@pytest.mark.skipif(not PAGE.exists(), reason="the documents are not beside the tests")
def test_the_page_shows_the_tables():
    """All of their rows, in their order, and no others."""
    section = PAGE.read_text(encoding="utf8").split("## Missing names")[1]
    rows = re.findall(r"(?m)^\| ([^|]+) \| ([^|]+) \| ([^|]+) \|$", section)
    page = [row for row in rows if row[0] not in ("of keras", "of", "---")]
    assert page == [*keras_table.NAMES, *keras_table.OLDER, *keras_table.MEMBERS, *keras_table.ARGUMENTS]


@pytest.mark.parametrize("module", NAMES)
def test_each_name_is_there_or_listed(module):
    there = {name for name in NAMES[module] if is_there(module, name)}
    missing = listed().get(module, [])
    assert len(missing) == len(set(missing)), "a name is listed twice"
    assert set(missing) - set(NAMES[module]) == set(), "no name of Keras's"
    assert there & set(missing) == set(), "is there, and listed as missing"
    assert set(NAMES[module]) - there - set(missing) == set(), "neither there nor listed"


def test_no_module_is_listed_in_vain():
    assert set(listed()) <= set(NAMES)


@pytest.mark.parametrize("module", NAMES)
def test_dir_shows_what_is_there(module):
    """What exists can be found by looking."""
    mine = ours(module)
    hidden = [name for name in NAMES[module] if is_there(module, name) and name not in dir(mine)]
    assert not hidden
