"""Every public signature says its types, and what Python sees of the kernels is what their stub says.

mypy itself is a step of .ci/run; here nothing but Python is needed.
"""

import ast
import importlib
import inspect
import os
import re
import runpy
import subprocess
import sys
from pathlib import Path

import pytest

import tdfast
from tdfast import _kernels, activations
from tdfast.engine.activation_table import TABLE

ROOT = Path(__file__).resolve().parents[2]
PACKAGE = Path(tdfast.__file__).parent
MODULES = ["", *(f".{name}" for name in tdfast._MODULES), ".optimizers.schedules", ".preprocessing.sequence",
           ".preprocessing.text", *(f".datasets.{name}" for name in tdfast.datasets.__all__)]

SOURCES = sorted(PACKAGE.rglob("*.py"))

# Members without annotations of their own, by "Class.member" or "member", and why.
UNTYPED = {
    "__init_subclass__": "object's, where a class has none",
    "__subclasshook__": "object's",
    "__class_getitem__": "of a generic class, which Python makes",
}


def functions_of(owner):
    """(name, function) of what a class defines itself or inherits within tdfast: methods, properties, the
    constructor."""
    for cls in owner.__mro__:
        if not cls.__module__.startswith("tdfast"):
            continue
        for name, member in vars(cls).items():
            if name.startswith("_") and name not in ("__init__", "__call__"):
                continue
            label = f"{cls.__name__}.{name}"
            if isinstance(member, property):
                for part in (member.fget, member.fset):
                    if part is not None:
                        yield label, part
            elif isinstance(member, (staticmethod, classmethod)):
                yield label, member.__func__
            elif inspect.isfunction(member):
                yield label, member


def missing_of(function):
    """The parameters of a function that have no annotation, and 'return'."""
    signature = inspect.signature(function)
    parameters = [p for p in signature.parameters.values() if p.name not in ("self", "cls")]
    missing = [p.name for p in parameters if p.annotation is p.empty]
    return missing + ["return"] * (signature.return_annotation is signature.empty)


def public_objects():
    """(label, object) of all public names of the modules that users import."""
    for suffix in MODULES:
        module = importlib.import_module(f"tdfast{suffix}")
        names = getattr(module, "__all__", None) or [
            name for name, value in vars(module).items()
            if not name.startswith("_") and getattr(value, "__module__", None) == module.__name__]
        for name in names:
            yield f"tdfast{suffix}.{name}", getattr(module, name)


def untyped_in(objects):
    """The labels of functions and methods with something unannotated, with what that is."""
    found = {}
    for label, item in objects:
        members = functions_of(item) if inspect.isclass(item) else [(label, item)]
        for name, function in members:
            if not inspect.isfunction(function) or not function.__module__.startswith("tdfast"):
                continue
            if name in UNTYPED or name.rpartition(".")[2] in UNTYPED:
                continue
            missing = missing_of(function)
            if missing:
                found[name] = missing
    return found


def test_every_public_signature_says_its_types():
    objects = list(public_objects())
    assert len(objects) > 330
    untyped = untyped_in(objects)
    assert not untyped, "no types: " + "; ".join(f"{k} ({', '.join(v)})" for k, v in sorted(untyped.items()))


def test_an_unannotated_function_is_found():
    def fresh(x, axis: int = 0) -> None: ...

    fresh.__module__ = "tdfast.new"
    fresh_class = type("Fresh", (), {"__module__": "tdfast.new", "method": fresh})
    assert untyped_in([("tdfast.fresh", fresh), ("tdfast.Fresh", fresh_class)]) == {
        "tdfast.fresh": ["x"], "Fresh.method": ["x"]}


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: path.relative_to(PACKAGE).as_posix())
def test_every_function_says_its_types(path):
    """Private ones too: mypy would not look into a function without."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf8"))):
        if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)):
            assert node.returns is not None, f"{path}:{node.lineno}: {node.name} does not say what it returns"


# ---------------------------------------------------------------- what is made at run time, for checkers


def test_activations_are_declared():
    assert {name for name, kind in activations.__annotations__.items() if kind == "Activation"
            and name in TABLE} == set(TABLE)


def test_optimizers_say_all_of_their_common_arguments():
    told = importlib.import_module("tdfast.optimizers.options").DecayOptions.__annotations__
    taken = inspect.signature(tdfast.Optimizer.__init__).parameters
    assert set(told) - {"decay"} == set(taken) - {"self", "learning_rate", "unknown"}


# Module -> the names that its ``__getattr__`` imports when they are first used.
LATE = {
    "tdfast": {*tdfast._MODULES, *tdfast._NAMES},
    "tdfast.callbacks": set(tdfast.callbacks._MODULES),
    "tdfast.datasets": set(tdfast.datasets._MODULES),
    "tdfast.layers": set(tdfast.layers._LATER),
    "tdfast.models": set(tdfast.models._SAVING),
}


def imported_for_checkers(tree):
    """The names that a module imports under ``if TYPE_CHECKING:``."""
    return {alias.asname or alias.name for node in ast.walk(tree) if isinstance(node, ast.If)
            and ast.unparse(node.test) == "TYPE_CHECKING" for part in node.body
            if isinstance(part, ast.ImportFrom) for alias in part.names}


def imports_late(tree):
    """Whether a module has a ``__getattr__`` that imports."""
    functions = [node for node in ast.walk(tree)
                 if isinstance(node, ast.FunctionDef) and node.name == "__getattr__"]
    return any(re.search("import_module|from tdfast", ast.unparse(f)) for f in functions)


@pytest.mark.parametrize("module", LATE)
def test_names_that_are_imported_late_are_imported_for_checkers(module):
    """Exactly these: editors complete them, checkers know their types, PyInstaller finds their modules."""
    module, late = importlib.import_module(module), LATE[module]
    assert imported_for_checkers(ast.parse(Path(module.__file__).read_text(encoding="utf8"))) == late
    assert not late - set(dir(module))
    for name in late:
        assert getattr(module, name) is not None


@pytest.mark.parametrize("module", [tdfast, tdfast.callbacks, tdfast.datasets])
def test_modules_that_import_everything_late_name_it_all(module):
    assert set(module.__all__) - {"version", "__version__"} == LATE[module.__name__]


def test_every_module_that_imports_late_is_checked():
    found = {".".join(path.relative_to(PACKAGE.parent).with_suffix("").parts).removesuffix(".__init__")
             for path in SOURCES if imports_late(ast.parse(path.read_text(encoding="utf8")))}
    assert found == set(LATE)


# ---------------------------------------------------------------- the kernels' stub


def stub_of(body):
    """Function or class.method -> the names of its arguments, as a stub has them."""
    out = {}
    for node in body:
        if isinstance(node, ast.ClassDef):
            out.update({f"{node.name}.{name}": args for name, args in stub_of(node.body).items()})
        elif isinstance(node, ast.FunctionDef):
            a = node.args
            rest = [x for x in (a.vararg, a.kwarg) if x is not None]
            out[node.name] = [x.arg for x in (*a.posonlyargs, *a.args, *a.kwonlyargs, *rest)]
    return out


def test_the_stub_has_all_of_the_kernels_and_nothing_else():
    stub = PACKAGE / "_kernels.pyi"
    tree = ast.parse(stub.read_text(encoding="utf8"))
    told = stub_of(tree.body)
    tables = {node.target.id for node in tree.body if isinstance(node, ast.AnnAssign)}
    public = {name: value for name, value in vars(_kernels).items() if not name.startswith("_")}
    assert tables == {name for name, value in public.items() if isinstance(value, (dict, int))}
    there = {name: value for name, value in public.items() if callable(value)}
    assert {name.partition(".")[0] for name in told} == set(there)
    for name, args in told.items():
        owner, _, method = name.rpartition(".")
        if method == "__init__":
            continue                    # Cython keeps no signature of these
        value = getattr(there[owner], method) if owner else there[name]
        if owner and not callable(value):
            assert args == ["self"], f"{name} is a property"
        elif not method.startswith("__"):
            assert args == list(inspect.signature(value).parameters), f"the stub's {name} has other arguments"
    for owner, value in there.items():
        if isinstance(value, type):
            members = {m for m in vars(value) if not m.startswith("_")}
            assert members == {n.partition(".")[2] for n in told
                               if n.startswith(owner + ".") and "__" not in n}


# ---------------------------------------------------------------- what is shipped


def test_the_package_says_that_it_has_types():
    """In the source and in what pip installed."""
    assert (PACKAGE / "py.typed").exists() and (PACKAGE / "_kernels.pyi").exists()


@pytest.mark.skipif(not (ROOT / "pyproject.toml").exists(), reason="the source tree is not here")
def test_wheels_and_archives_have_the_mark_of_types():
    project = (ROOT / "pyproject.toml").read_text(encoding="utf8")
    assert re.search(r'package-data = \{ tdfast = \["py.typed", "\*.pyi"\] \}', project)
    manifest = (ROOT / "MANIFEST.in").read_text(encoding="utf8")
    assert "recursive-include tdfast *.pyx *.pyi py.typed" in manifest


def test_what_users_write_runs():
    """The script that mypy checks is no fiction."""
    runpy.run_path(str(ROOT / "tests" / "typing" / "user_script.py"))


def test_types_cost_nothing_at_import(tmp_path):
    """The module with their names is for checkers alone."""
    code = "import sys, tdfast.models, tdfast.ops; print('tdfast.engine.types' in sys.modules)"
    environment = {**os.environ, "PYTHONPATH": str(Path(tdfast.__file__).parents[1])}
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=tmp_path,
                          env=environment, check=True)
    assert done.stdout.strip() == "False"
    assert importlib.import_module("tdfast.engine.types").Array
