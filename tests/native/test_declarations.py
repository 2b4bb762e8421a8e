"""src_c/declarations.py, which makes Cython's view of the C API from its header."""

import runpy
import shutil
from pathlib import Path

import pytest

from tdfast import _kernels

ROOT = Path(__file__).resolve().parents[2]
COMPILER = next((name for name in ("gcc", "clang") if shutil.which(name)), None)

pytestmark = pytest.mark.skipif(not (ROOT / "src_c").exists(), reason="the source tree is not here")


@pytest.fixture(scope="module")
def module():
    return runpy.run_path(str(ROOT / "src_c" / "declarations.py"))


def lines(module, text):
    return module["Parser"](text).lines


def test_declarations_say_what_c_says(module):
    assert lines(module, "typedef float real;") == ["ctypedef float real"]
    assert lines(
        module, "typedef struct { int n, m; const char *a, b[3]; void (*f)(const int *, long); } s;"
    ) == [
        "ctypedef struct s:",
        "    int n",
        "    int m",
        "    const char *a",
        "    const char b[3]",
        "    void (*f)(const int *, long) noexcept nogil",
    ]
    assert lines(module, "enum { A = 3, B }; typedef struct { int v[B]; } s;") == [
        "enum:", "    A", "    B", "ctypedef struct s:", "    int v[4]"]
    assert lines(
        module, "long f(void); static inline int g(int a, const long *b) { if (a) { return 1; } return 0; }"
    ) == ["long f()", "int g(int a, const long *b)"]


@pytest.mark.parametrize("text, what", [
    ("typedef unknown_t a;", "no type that is known"),
    ("typedef union { int a; } u;", "union"),
    ("typedef struct { int a : 3; } s;", "expected ';'"),
    ("typedef struct { int a[N]; } s;", "no number"),
    ("typedef struct { int a[sizeof(int)]; } s;", "no number"),
    ("typedef enum { A = 1 << 3, B } e;", "expected"),
    ("enum { A = -1 };", "no number"),
    ("int a = 3;", "expected '('"),
    ("int f(int a, ...);", "expected a name"),
    ("extern int f(void);", "no type that is known"),
    ("typedef struct { int a;", "the end"),
    ("static inline int f(void) { return 0;", "does not end"),
    ("int f(void)", "expected ';'"),
])
def test_what_is_not_understood_is_refused(module, text, what):
    with pytest.raises(module["NotUnderstood"], match=what.replace("(", r"\(")):
        lines(module, text)


@pytest.mark.skipif(not COMPILER, reason="no C compiler")
def test_the_header_as_a_whole(module):
    text = module["declarations"]([COMPILER], str(ROOT / "src_c" / "tdfast.h"))
    for line in ("    ctypedef struct tdf_rnn:",
                 "        void (*optim_step)(const tdf_optim *) noexcept nogil",
                 "        const real *kernel", "    ptrdiff_t tdf_rnn_tape_size(const tdf_rnn *a)",
                 '    "adam": TDF_ADAM,'):
        assert line in text.splitlines()
    with pytest.raises(module["NotUnderstood"], match="nothing.h"):
        module["preprocessed"]([COMPILER], str(ROOT / "src_c" / "nothing.h"))


def test_enums_go_by_name():
    for table in (_kernels.ACTIVATIONS, _kernels.CELLS, _kernels.LOSSES, _kernels.RULES):
        assert sorted(table.values()) == list(range(len(table)))
