"""What a line may do, by folder. Reads the sources; skipped where they are not beside the tests."""

import ast
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
SOURCES = sorted((ROOT / "src_c").glob("*.[ch]"))
DRIVERS = sorted((ROOT / "tests" / "native").glob("*.[ch]"))
MODULES = sorted((ROOT / "tdfast").rglob("*.py"))

pytestmark = pytest.mark.skipif(not SOURCES, reason="the source tree is not here")

# Who may import what, within the package: the names after "tdfast." that a module or a folder imports.
MAY_IMPORT = {
    "_version": set(),
    "errors": set(),
    "config": {"compat", "runtime"},
    "runtime": {"_kernels"},
    "compat": {"engine.names"},
    "engine.names": {"compat.keras_table"},
    "engine.activation_table": set(),
    "engine.arguments": set(),
    "engine.norms": set(),
    "engine.arithmetic": {"_kernels"},
    "engine.program": {"_kernels", "engine.structure"},
    "engine.variable": {"runtime", "engine.arguments", "engine.operators", "engine.program",
                        "engine.registry", "engine.structure", "engine.tracing"},
    "engine.operators": {"engine.registry"},
    "engine.tracing": {"engine.structure", "engine.tape"},
    "engine.gradients": {"engine.structure"},
    "engine.derivatives": {"engine.gradients", "engine.operators", "engine.registry", "engine.structure",
                           "engine.tracing", "engine.variable"},
    "engine.tape": {"runtime", "engine.structure"},
    "engine.structure": set(),
    "engine.tensor": {"engine.operators", "engine.registry", "engine.structure"},
    "engine.graph": {"compat.calling", "engine.program", "engine.structure", "engine.tensor"},
    "engine.operation": {"engine.gradients", "engine.layer", "engine.structure", "engine.tensor"},
    "engine.registry": {"compat", "engine.names", "errors"},
    "engine.stored": set(),
    "engine.arrays": {"compat", "engine.stored", "_kernels"},
}
# The engine knows no layer, no loss and no model by name; what is built on it does not look upwards.
MAY_NOT_IMPORT = {
    "engine": {"layers", "models", "training", "losses", "metrics", "optimizers", "callbacks", "saving"},
    "layers": {"models", "training", "losses", "metrics", "optimizers", "saving", "callbacks"},
    "activations": {"layers", "models", "training"},
    "initializers": {"layers", "models", "training", "_kernels"},
    "regularizers": {"layers", "models", "training", "_kernels"},
    "constraints": {"layers", "models", "training", "_kernels"},
    "ops": {"layers", "models", "training", "losses", "metrics", "optimizers", "saving", "callbacks"},
    "losses": {"layers", "models", "training"},
    "metrics": {"layers", "models", "training"},
    "optimizers": {"layers", "models", "training"},
    "callbacks": {"_kernels", "layers", "models", "training"},
    "training": {"_kernels", "models", "saving", "fleet"},
    "fleet": {"_kernels", "layers", "losses", "metrics"},
    "training.resume": {"layers", "losses", "metrics", "optimizers"},
    "models.sequential": {"_kernels"},
    "saving": {"_kernels", "models", "training"},
}
# Installed with the extras only: a module must do without them until somebody calls what needs them.
OPTIONAL = {"h5py", "onnx", "matplotlib", "sklearn", "mpi4py", "pandas", "scipy", "torch", "keras", "tqdm",
            "pooch", "optuna", "joblib"}


def without_comments(text):
    """C or Cython text without comments and strings, in which words may stand for themselves."""
    text = re.sub(r"/\*.*?\*/", " ", text, flags=re.S)
    text = re.sub(r"//[^\n]*", " ", text)
    return re.sub(r'"(\\.|[^"\\\n])*"', '""', text)


def dotted(path):
    """'layers.core' for tdfast/layers/core.py; '' for tdfast/__init__.py."""
    parts = path.relative_to(ROOT / "tdfast").with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def imports(path):
    """(module, line, at_top): every import statement that runs, with absolute names: not those for type
    checkers."""
    tree = ast.parse(path.read_text(encoding="utf8"))
    checkers = {n for block in ast.walk(tree) if isinstance(block, ast.If)
                and ast.unparse(block.test) == "TYPE_CHECKING" for part in block.body for n in ast.walk(part)}
    inner = {n for f in ast.walk(tree) if isinstance(f, (ast.FunctionDef, ast.AsyncFunctionDef, ast.Lambda))
             for n in ast.walk(f)}
    for node in ast.walk(tree):
        if node in checkers:
            continue
        if isinstance(node, ast.Import):
            names = [a.name for a in node.names]
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}:{node.lineno}: write imports in full, 'from tdfast...'"
            names = [node.module] + [f"{node.module}.{a.name}" for a in node.names]
        else:
            continue
        for name in names:
            yield name, node.lineno, node not in inner


def own_imports(path):
    """(what, line) of every import from the package, without "tdfast.": modules, and names as modules'
    attributes."""
    return {(name.removeprefix("tdfast."), line) for name, line,
            _ in imports(path) if name.startswith("tdfast.")}


def is_within(name, place):
    """Whether a dotted name is a module or a folder, or something in it."""
    return name == place or name.startswith(place + ".")


# ---------------------------------------------------------------- C


@pytest.mark.parametrize("path", SOURCES, ids=lambda p: p.name)
def test_c_does_not_call_what_can_fail(path):
    text = without_comments(path.read_text(encoding="utf8"))
    for word in ("malloc", "calloc", "realloc", "free", "printf", "fprintf", "puts", "getenv", "abort",
                 "exit",
                 "Python", "PyObject", "goto"):
        assert not re.search(rf"\b{word}\b", text), f"{path.name}: kernels must not use {word}"


@pytest.mark.parametrize("path", SOURCES, ids=lambda p: p.name)
def test_intrinsics_live_in_vec_h(path):
    text = without_comments(path.read_text(encoding="utf8"))
    if path.name == "vec.h":
        return
    if path.name == "mode.h":           # the registers of the floating-point mode, nothing that computes
        text = re.sub(r"xmmintrin\.h|_mm_[gs]etcsr", "", text)
    found = re.search(
        r"\b(_mm\w*|__m(128|256|512)\w*|v(ld|st|fma|add|mul)\w*q_f32|\w+intrin\.h|arm_neon\.h)\b", text
    )
    assert not found, f"{path.name}: {found and found.group()} belongs in vec.h"


@pytest.mark.parametrize("path", SOURCES, ids=lambda p: p.name)
def test_openmp_only_gives_the_number_of_threads(path):
    if path.name == "dispatch.c":
        return
    assert not re.search(r"\bomp_|pragma\s+omp|omp\.h", without_comments(path.read_text(encoding="utf8")))


@pytest.mark.parametrize("path", [p for p in SOURCES if p.suffix == ".c"
                                  and p.name not in ("dispatch.c", "team.c")],
                         ids=lambda p: p.name)
def test_kernel_files_export_suffixed_names_alone(path):
    """Every function is static (by INLINE and its like too) or goes through TDF_NAME or belongs to
    sizes.c."""
    text = without_comments(path.read_text(encoding="utf8"))
    text = re.sub(r"(?m)^\s*#(?:[^\n]*\\\n)*[^\n]*$", "", text)
    for found in re.finditer(r"(?m)^(?!\s)([A-Za-z_][\w \*]*?)\b(\w+)\s*\([^;{}]*\)\s*\{", text):
        head, name = found.group(1), found.group(2)
        fine = ("static" in head or name == "TDF_NAME" or "INLINE" in head or "_FN" in head
                or (path.name == "sizes.c" and name.startswith("tdf_")))
        assert fine, f"{path.name}: {head}{name} must be static"


def test_c_has_no_mutable_globals():
    for path in SOURCES:
        if path.name in ("dispatch.c", "team.c"):
            continue
        text = without_comments(path.read_text(encoding="utf8"))
        for line in re.findall(
            r"(?m)^(?:static\s+)?(?!static|typedef|return|extern|struct|enum)"
            r"[\w ]+\s\**\w+(?:\[\w*\])*\s*=[^=].*$",
            text,
        ):
            assert line[0].isspace() or "const" in line, f"{path.name}: global variable: {line.strip()}"


def test_build_never_asks_for_this_machine_or_for_fast_math():
    text = (ROOT / "setup.py").read_text(encoding="utf8")
    code = "\n".join(line.split("#")[0] for line in text.splitlines())
    for flag in ("-march=native", "-mtune=native", "-Ofast", "-ffast-math", "-funsafe-math-optimizations"):
        assert flag not in code
    assert "-ffp-contract=off" in code


@pytest.mark.parametrize("path", [*SOURCES, *DRIVERS, ROOT / "tdfast" / "_kernels.pyx"], ids=lambda p: p.name)
def test_lines_are_short(path):
    """Of C and Cython; ruff knows Python alone."""
    for number, line in enumerate(path.read_text(encoding="utf8").splitlines(), 1):
        assert len(line) <= 110, f"{path.name}:{number} has {len(line)} columns, and 110 is the most"


# ---------------------------------------------------------------- Cython


def enclosing(code, position):
    """The lines that open the blocks around a place in Python-like code, the innermost first."""
    lines = code[:position].splitlines()
    indent = len(lines[-1]) - len(lines[-1].lstrip())
    for line in reversed(lines[:-1]):
        here = len(line) - len(line.lstrip())
        if line.strip() and here < indent:
            indent = here
            yield line


def test_kernels_pyx_only_checks_and_calls():
    text = (ROOT / "tdfast" / "_kernels.pyx").read_text(encoding="utf8")
    code = "\n".join(line.split("#")[0] for line in without_comments(text).splitlines())
    assert not re.search(r"\b(from|import)\s+tdfast\b", code), "_kernels must not import tdfast"
    for word in ("malloc", "np.empty", "np.zeros", "np.ones", "np.array(", "np.asarray"):
        assert word not in code, f"_kernels.pyx allocates: {word}"
    for call in re.finditer(r"(?m)^(\s*)(?:(?:\w+\.)?t(?:able)?\.\w+\(&|tdf_call\()", code):
        assert any("nogil" in line
                   for line in enclosing(code, call.end())), "a kernel is called while holding the GIL"


# ---------------------------------------------------------------- Python


@pytest.mark.parametrize("path", MODULES, ids=dotted)
def test_imports_go_one_way(path):
    name = dotted(path)
    for start, allowed in MAY_IMPORT.items():
        if is_within(name, start):
            for used, line in own_imports(path):
                fine = any(is_within(used, other) or is_within(other, used) for other in {start, *allowed})
                assert fine, f"{path.relative_to(ROOT)}:{line}: {start} must not import tdfast.{used}"
    for start, forbidden in MAY_NOT_IMPORT.items():
        if is_within(name, start):
            for used, line in own_imports(path):
                found = [other for other in forbidden if is_within(used, other)]
                assert not found, f"{path.relative_to(ROOT)}:{line}: {start} must not import tdfast.{used}"


def circles(graph):
    """The groups of a dict name -> names in which each leads to each other one."""
    reached = {}
    for start in graph:
        seen, waiting = set(), [start]
        while waiting:
            for name in graph[waiting.pop()]:
                if name not in seen:
                    seen.add(name)
                    waiting.append(name)
        reached[start] = seen
    return {frozenset(b for b in reached[a] if a in reached[b]) for a in graph if a in reached[a]}


def test_no_module_imports_itself_by_a_detour():
    """Through any number of others, and by imports inside functions too."""
    assert circles({"a": {"b"}, "b": {"c"}, "c": {"b"}, "d": {"a"}}) == {frozenset({"b", "c"})}
    names = {dotted(path): path for path in MODULES}
    graph = {}
    for name, path in names.items():
        used = {other for other, _ in own_imports(path)}
        # `from tdfast.losses import base` imports the module losses.base, and nothing of losses itself.
        folders = {other.rpartition(".")[0] for other in used if other in names}
        graph[name] = {other for other in used - folders if other in names} - {name}
    assert len(graph) > 150 and sum(map(len, graph.values())) > 400
    found = circles(graph)
    assert not found, "these import each other: " + "; ".join(", ".join(sorted(group)) for group in found)


@pytest.mark.parametrize("path", MODULES, ids=dotted)
def test_optional_packages_are_imported_where_needed(path):
    for name, line, at_top in imports(path):
        if at_top:
            assert name.split(".")[0] not in OPTIONAL, (
                f"{path.relative_to(ROOT)}:{line}: import {name} in the function"
            )


@pytest.mark.parametrize("path", MODULES, ids=dotted)
def test_no_stubs_left(path):
    text = path.read_text(encoding="utf8")
    for word in ("raise NotImplementedError", "TODO", "FIXME", "XXX"):
        assert word not in text, f"{path.relative_to(ROOT)}: {word}"


def public_objects():
    for path in MODULES:
        if path.name.startswith("_") and path.name != "__init__.py":
            continue
        for node in ast.parse(path.read_text(encoding="utf8")).body:
            if isinstance(node, (ast.ClassDef, ast.FunctionDef)) and not node.name.startswith("_"):
                yield path, node


def test_everything_public_has_a_docstring():
    missing = [f"{p.relative_to(ROOT)}:{n.lineno} {n.name}" for p,
               n in public_objects() if not ast.get_docstring(n)]
    assert not missing, "no docstring: " + "; ".join(missing)


def test_every_folder_is_installed():
    text = (ROOT / "pyproject.toml").read_text(encoding="utf8")
    listed = re.findall(r'"([\w.]+)"', re.search(r"(?s)\npackages = \[(.*?)\]", text)[1])
    folders = {".".join(path.parent.relative_to(ROOT).parts) for path in MODULES}
    assert sorted(listed) == sorted(folders)


def test_the_places_that_contributing_names_are_there():
    text = (ROOT / "CONTRIBUTING.md").read_text(encoding="utf8")
    table = text[text.index("## Where to go") : text.index("## Add a layer")]
    places = re.findall(r"\b(?:tdfast|src_c|tests)/[\w/]*(?:\.\w+)?", table)
    assert len(places) > 20 and all((ROOT / place).exists() for place in places), places
    for owner, method in re.findall(r"`([A-Z]\w+)\.(\w+)`", table):
        defined = (path.read_text(encoding="utf8") for path in MODULES)
        assert any(f"class {owner}" in code and f"def {method}(" in code for code in defined), owner
