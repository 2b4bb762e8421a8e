"""The documentation site: every page has its place, every public name its entry, and links lead somewhere.

`.ci/docs` builds it; here Sphinx is not needed.
"""

import importlib
import importlib.util
import re
from pathlib import Path

import pytest
from test_docstrings import MODULES, public_names

ROOT = Path(__file__).resolve().parents[2]
DOCS = ROOT / "docs"

pytestmark = pytest.mark.skipif(not (DOCS / "conf.py").exists(),
                                reason="the documents are not beside the tests")

PAGES = [*sorted(DOCS.glob("*.md")), *(ROOT / name for name in ("README.md", "CONTRIBUTING.md", "SECURITY.md",
                                                                "CHANGELOG.md"))]


@pytest.fixture
def reference():
    """docs/reference.py; the tests have a module of that name, too."""
    spec = importlib.util.spec_from_file_location("reference_of_the_site", DOCS / "reference.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_every_page_is_on_the_index():
    lists = re.findall(r"(?s)```{toctree}\n(.*?)```", (DOCS / "index.md").read_text(encoding="utf8"))
    lines = [line for part in lists for line in part.splitlines() if line and not line.startswith(":")]
    listed = [line.partition("<")[2].rstrip(">") or line for line in lines]
    assert sorted(listed) == sorted([*(path.stem for path in DOCS.glob("*.md") if path.stem != "index"),
                                     "api/index", "gallery/index"])


def anchors(path):
    """The names of a page's headings, as GitHub and MyST make them."""
    headings = re.findall(r"(?m)^#+ (.*)$", re.sub(r"(?ms)^```.*?^```", "", path.read_text(encoding="utf8")))
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("path", PAGES, ids=lambda path: path.name)
def test_links_lead_somewhere(path):
    text = re.sub(r"(?ms)^```.*?^```", "", path.read_text(encoding="utf8"))
    for link in re.findall(r"\]\((?![a-z]+:)([^)\s]+)\)", text):
        file, _, anchor = link.partition("#")
        target = path.parent / file if file else path
        assert target.exists(), f"{path.name}: {link}"
        assert not anchor or anchor in anchors(target), f"{path.name}: {link}"


def test_the_reference_has_every_public_name(reference):
    text = "\n".join(reference.pages().values())
    assert {f".{module}".rstrip(".") for module in reference.MODULES} == set(MODULES)
    for suffix in MODULES:
        module = importlib.import_module(f"tdfast{suffix}")
        page = reference.pages()[f"{suffix.lstrip('.') or 'top'}.rst"]
        for name in public_names(module):
            entries = (f"   {name}", f"- ``{name}`` is", f"- :py:mod:`tdfast{suffix}.{name}`")
            assert any(line == entries[0] or line.startswith(entries[1:]) for line in page.splitlines()), name
    assert text.count(".. autoclass:: LSTM\n") == 1


def test_pages_that_have_not_changed_are_not_written_again(reference, tmp_path):
    reference.write(tmp_path)
    before = {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*.rst")}
    reference.write(tmp_path)
    assert before == {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*.rst")}


def test_the_start_page_finds_its_number_in_the_readme():
    """docs/conf.py takes it from there."""
    settings = (DOCS / "conf.py").read_text(encoding="utf8")
    readme = (ROOT / "README.md").read_text(encoding="utf8")
    for name in ("FIT_BLOG", "MACHINE"):
        pattern = re.search(rf'(?m)^{name} = re.search\(r"(.*)", README\)$', settings)[1]
        assert re.search(pattern, readme), f"README.md has nothing for {name} of docs/conf.py"
