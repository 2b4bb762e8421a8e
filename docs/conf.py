"""Settings of the documentation site: Sphinx over these pages, and a reference made of the docstrings.

``bash .ci/docs build/site`` builds it. `reference.py` writes the pages of api/.
"""

import os
import re
import sys
from pathlib import Path

sys.path.append(os.path.dirname(__file__))

import reference  # noqa: E402
from docutils import nodes  # noqa: E402
from sphinx.util.nodes import make_refnode  # noqa: E402

import tdfast  # noqa: E402

project = "tdfast"
author = "tdfast contributors"
project_copyright = "2026, tdfast contributors"
version = release = tdfast.__version__

extensions = ["myst_parser", "sphinx.ext.autodoc", "sphinx.ext.autosummary", "sphinx.ext.napoleon",
              "sphinx_copybutton", "sphinx_gallery.gen_gallery"]
exclude_patterns = ["_build"]
default_role = "py:obj"

README = Path(__file__).resolve().parents[1].joinpath("README.md").read_text(encoding="utf8")
FIT_BLOG = re.search(r"(?m)^\| fit-blog \| (.*?) \| .*? \| (.*?), (.*?)x \|", README)
MACHINE = re.search(r"on (a \d-core [^()]*\([^()]*\))", README)

myst_enable_extensions = ["substitution"]
myst_substitutions = {"ours": FIT_BLOG[1], "theirs": FIT_BLOG[2], "ratio": f"{FIT_BLOG[3]} times",
                      "machine": MACHINE[1]}
myst_heading_anchors = 3
copybutton_prompt_text = r">>> |\.\.\. |\$ "
copybutton_prompt_is_regexp = True

autosummary_generate = False
autodoc_typehints = "none"              # docstrings say what is expected, in words
autodoc_member_order = "bysource"
python_maximum_signature_line_length = 90
napoleon_numpy_docstring = False
napoleon_use_rtype = False

# The scripts run while the site is built; one that fails ends the build.
sphinx_gallery_conf = {
    "examples_dirs": ["../examples/gallery"], "gallery_dirs": ["gallery"], "filename_pattern": r"\.py$",
    "within_subsection_order": "FileNameSortKey", "abort_on_example_error": True, "run_stale_examples": True,
    "download_all_examples": False, "show_signature": False, "min_reported_time": 1e9,
    "write_computation_times": False, "capture_repr": ("_repr_html_",), "inspect_global_variables": False,
    "notebook_extensions": set(),           # a notebook would not know where the data are
}

html_theme = "furo"
html_title = f"tdfast {version}"
html_static_path = ["_static"]
html_css_files = ["site.css"]
html_show_sourcelink = False
html_show_sphinx = False


def names_in_one_line(lines):
    """The names of an entry of Args, where they take more than one line."""
    out = []
    for line in lines:
        if out and re.fullmatch(r" +[\w*]+(, [\w*]+)*,", out[-1]) and re.match(r" +\w", line):
            out[-1] = f"{out[-1]} {line.strip()}"
        else:
            out.append(line)
    return out


def page_link(match):
    """docs/files.md as a link, if there is such a page."""
    return f":doc:`/{match[1]}`" if Path(__file__).with_name(f"{match[1]}.md").exists() else match[0]


def plain_signs(app, what, name, item, options, lines):
    """|x|, 2 * x and mean_ stand for themselves in docstrings, which are read without Sphinx too."""
    literal = None              # the indentation of the line above a block that is shown as it is
    lines[:] = names_in_one_line(lines)
    for i, line in enumerate(lines):
        indent = len(line) - len(line.lstrip())
        if literal is not None and line.strip() and indent <= literal:
            literal = None
        if literal is None and not line.lstrip().startswith(">>>"):
            parts = re.split(r"(``.+?``|`[^`]+`)", line)
            parts[::2] = [re.sub(r"[|*]|(?<=\w)_(?!\w)", r"\\\g<0>", part) for part in parts[::2]]
            lines[i] = re.sub(r"docs/(\w+)\.md", page_link, "".join(parts))
        if literal is None and (line.endswith("::") or line.lstrip().startswith(">>>")):
            literal = indent if line.endswith("::") else indent - 1


def titles_for_files(app, document, name):
    """Pages call each other by their files, as they are read on their own; here by their titles."""
    for link in document.findall(nodes.reference):
        file = re.fullmatch(r"(?:docs/)?(\w+)\.md", link.astext())
        if file and file[1] in app.env.titles:
            link.children = [nodes.Text(app.env.titles[file[1]].astext())]


def link_by_last_name(app, environment, node, text):
    """Docstrings say `LSTM` and not `tdfast.layers.LSTM`: the public name that ends so, if there is one."""
    domain = environment.domains.python_domain
    target = node.get("reftarget", "")
    if node.get("refdomain") != "py" or not target:
        return None
    found = [name for name in domain.objects if name.endswith(f".{target}")]
    if not found:
        return None
    name = min(found, key=lambda name: name.count("."))
    place = domain.objects[name]
    return make_refnode(app.builder, node["refdoc"], place.docname, place.node_id, text, name)


def setup(app):
    app.connect("autodoc-process-docstring", plain_signs, priority=100)
    app.connect("missing-reference", link_by_last_name)
    app.connect("doctree-resolved", titles_for_files)
    app.connect("builder-inited", lambda app: reference.write(app.srcdir / "api"))
