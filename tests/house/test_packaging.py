"""What the package says of itself: metadata, the README on a package index, files for maintainers and CI."""

import re
import runpy
import subprocess
import sys
import sysconfig
from importlib import metadata
from pathlib import Path

import pytest

import tdfast
from tdfast import __main__ as command

ROOT = Path(__file__).resolve().parents[2]
source = pytest.mark.skipif(not (ROOT / "setup.py").exists() or not (ROOT / ".github").exists(),
                            reason="the source tree is not here")


@pytest.fixture
def setup(monkeypatch):
    """The functions of setup.py."""
    setuptools = pytest.importorskip("setuptools")
    monkeypatch.setattr(setuptools, "setup", lambda **how: None)
    monkeypatch.chdir(ROOT)
    return runpy.run_path(str(ROOT / "setup.py"))


def relative_links(text):
    return re.findall(r"\]\((?![a-z]+:|#)([^)]*)\)", text)


@source
def test_the_index_shows_a_readme_without_dead_links(setup):
    readme = (ROOT / "README.md").read_text(encoding="utf8")
    assert len(relative_links(readme)) > 10
    page = setup["index_page"](readme)
    assert not relative_links(page) and "docs/install.md" in page and "## Quick start" in page
    assert setup["described"]()["long_description"] == page


@source
@pytest.mark.parametrize("readme, plain, absolute", [
    ("see [docs/a.md](docs/a.md#b)", "see docs/a.md", "see [docs/a.md](https://x.org/y/blob/main/docs/a.md#b)"),
    ("[a](#b) [c](https://d.org)", "[a](#b) [c](https://d.org)", "[a](#b) [c](https://d.org)"),
    ("![p](p.png)\n\nq", "q", "![p](https://x.org/y/raw/main/p.png)\n\nq"),
    ("x[0](y)", "x0", "x[0](https://x.org/y/blob/main/y)"),
])
def test_links_for_the_index(setup, readme, plain, absolute):
    assert setup["index_page"](readme) == plain
    assert setup["index_page"](readme, "https://x.org/y") == absolute


@source
def test_the_citation_names_this_version():
    text = (ROOT / "CITATION.cff").read_text(encoding="utf8")
    assert re.search(r"(?m)^version: (.*)$", text)[1] == tdfast.__version__


@source
def test_pythons_are_the_same_everywhere():
    """The classifiers, the wheels and the page about installing."""
    project = (ROOT / "pyproject.toml").read_text(encoding="utf8")
    classifiers = re.findall(r'"Programming Language :: Python :: (3\.\d+)"', project)
    wheels = re.findall(r"cp3(\d+)-", re.search(r'(?m)^build = "(.*)"$', project)[1])
    assert classifiers == [f"3.{minor}" for minor in wheels]
    assert f'requires-python = ">={classifiers[0]}"' in project
    page = (ROOT / "docs" / "install.md").read_text(encoding="utf8")
    assert f"Python {classifiers[0]} to {classifiers[-1]} " in page


@source
def test_the_extension_is_of_the_stable_abi_where_one_is_as_fast(setup):
    """A CPython before 3.12 and a free-threaded one have builds of their own."""
    pytest.importorskip("Cython")
    stable = setup["is_stable"]()
    assert not stable or sys.version_info >= (3, 12) and not sysconfig.get_config_var("Py_GIL_DISABLED")
    assert setup["tags"]() == ({"bdist_wheel": {"py_limited_api": "cp312"}} if stable else {})
    assert setup["extension"]().py_limited_api == stable


@source
def test_workflows_call_scripts_that_exist():
    folder = ROOT / ".github" / "workflows"
    texts = {path.name: path.read_text(encoding="utf8") for path in folder.glob("*.yml")}
    assert "bash .ci/run" in texts["test.yml"]
    named = re.findall(r"\.ci/\w+|(?<=uses: \./)\S+", "\n".join(texts.values()))
    assert len(named) > 3
    for name in named:
        assert (ROOT / name).is_file(), name


@source
def test_the_archive_has_what_people_look_for():
    manifest = (ROOT / "MANIFEST.in").read_text(encoding="utf8")
    for name in ("LICENSE", "CHANGELOG.md", "CONTRIBUTING.md", "SECURITY.md", "CITATION.cff"):
        assert (ROOT / name).exists() and name in manifest.splitlines()[0].split()
    assert "graft .github" in manifest


def test_the_command_prints_the_configuration_and_where_the_documentation_is():
    root, keys = Path(tdfast.__file__).parents[1], list(tdfast.runtime.config())
    done = subprocess.run([sys.executable, "-m", "tdfast"], capture_output=True, text=True, cwd=root,
                          check=True)
    *config, pages, speed = done.stdout.splitlines()
    assert [line[:16].strip() for line in config] == keys
    assert pages.startswith("documentation") and "docs" in pages and speed.endswith("python -m tdfast.bench")


def test_the_address_of_the_documentation_is_that_of_the_metadata(monkeypatch):
    class Told:
        def get_all(self, name):
            return ["Source, https://x.org/y", "Documentation, https://x.org/docs"]

    monkeypatch.setattr(metadata, "metadata", lambda name: Told())
    assert command.documentation() == "https://x.org/docs"


def test_the_documentation_is_the_folder_where_no_address_is_known(monkeypatch, tmp_path):
    def nothing(name):
        raise metadata.PackageNotFoundError(name)

    monkeypatch.setattr(metadata, "metadata", nothing)
    monkeypatch.setattr(tdfast, "__file__", str(tmp_path / "tdfast" / "__init__.py"))
    assert command.documentation() == "the folder docs of the source"
    (tmp_path / "docs").mkdir()
    (tmp_path / "docs" / "install.md").touch()
    assert command.documentation() == str(tmp_path / "docs")
