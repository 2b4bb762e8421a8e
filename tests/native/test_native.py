"""The functions of vmath.h over a sample of all float32 inputs, and the machines that a build refuses.

`.ci/native` has the rest of what is known about the compiled code: every input, sanitizers, races, other
processors.
"""

import functools
import runpy
import shutil
import subprocess
import sys
from pathlib import Path
from unittest import mock

import pytest

from tdfast import runtime

ROOT = Path(__file__).resolve().parents[2]
DRIVERS = ROOT / "tests" / "native"
COMPILER = next((name for name in ("gcc", "clang") if shutil.which(name)), None)

pytestmark = [
    pytest.mark.skipif(not COMPILER, reason="no C compiler"),
    pytest.mark.skipif(not (ROOT / "src_c").exists(), reason="the source tree is not here"),
]


def compiled(folder, source, *flags):
    target = folder / f"{Path(source).stem}.o"
    common = [COMPILER, "-std=gnu11", "-O2", "-ffp-contract=off", "-Wall", "-Wextra", "-Werror",
              "-Wno-unknown-pragmas"]
    subprocess.run([*common, f"-I{ROOT / 'src_c'}", *flags, "-c", DRIVERS / source, "-o", target], check=True)
    return target


@functools.cache
def isa_flags():
    """The compiler's flags of each instruction set, as setup.py has them."""
    setuptools = pytest.importorskip("setuptools")
    with mock.patch.object(setuptools, "setup"):
        return runpy.run_path(str(ROOT / "setup.py"))["instruction_sets"]()


def vmath(folder, isa, *reference_flags, stride=30011):
    objects = [compiled(folder, "vmath.c", *isa_flags()[isa]),
               compiled(folder, "vmath_reference.c", "-DPRECISE", *reference_flags)]
    subprocess.run([COMPILER, *objects, "-lm", "-o", folder / "vmath"], check=True)
    return subprocess.run([folder / "vmath", str(stride)], capture_output=True, text=True)


@pytest.mark.parametrize("isa", runtime.available_isas())
def test_vmath_is_within_its_bounds(isa, tmp_path):
    """Errors, values at 0 and the infinities, NaN, monotonicity, as tests/native/vmath.h states them."""
    done = vmath(tmp_path, isa)
    assert done.returncode == 0, done.stdout + done.stderr
    assert len(done.stdout.splitlines()) > 15


@pytest.mark.parametrize("parts", [1, 2], ids=["medium", "high"])
def test_amx_has_the_bits_of_the_plain_path(parts, tmp_path):
    """The kernel of AMX, its instructions in C (amx.h), against the plain one, on a processor with AVX2."""
    if "avx2" not in runtime.available_isas():
        pytest.skip("the emulation wants a fused multiply-add of x86-64")
    common = [COMPILER, "-std=gnu11", "-O2", "-ffp-contract=off", "-Wall", "-Wextra", "-Werror",
              "-Wno-unknown-pragmas", f"-I{ROOT / 'src_c'}", f"-I{DRIVERS}", "-c", DRIVERS / "tiles.c"]
    build = [*isa_flags()["avx2"], "-DTDF_ISA=avx2", f"-DTDF_PARTS={parts}"]
    builds = {"main": ["-DTILES_MAIN"], "plain": [*build, "-DTILE_NAME=tile_plain"],
              "amx": [*build, "-DTILE_NAME=tile_amx", "-DTDF_AMX", '-DTDF_AMX_EMULATION="amx.h"']}
    for name, flags in builds.items():
        subprocess.run([*common, *flags, "-o", tmp_path / f"{name}.o"], check=True)
    subprocess.run([COMPILER, *(tmp_path / f"{name}.o" for name in builds), "-lm", "-o", tmp_path / "tiles"],
                   check=True)
    done = subprocess.run([tmp_path / "tiles"], capture_output=True, text=True)
    assert done.returncode == 0, done.stdout
    assert "have the same bits" in done.stdout


def test_vmath_would_tell_a_wrong_function(tmp_path):
    done = vmath(tmp_path, "baseline" if "baseline" in runtime.available_isas() else "neon", "-Dtanhl=sinhl")
    failed = [line for line in done.stdout.splitlines() if line.endswith("FAILED")]
    assert done.returncode == 1 and len(failed) == 1 and failed[0].startswith("tanh ")


def test_the_team_of_threads(tmp_path):
    """Every part of a job runs once, with several callers, forks, and threads that sleep or do not."""
    command = [COMPILER, "-std=gnu11", "-O2", "-pthread", "-Wall", "-Wextra", "-Werror",
               f"-I{ROOT / 'src_c'}", DRIVERS / "team.c",
               ROOT / "src_c" / "team.c", "-o", tmp_path / "team"]
    subprocess.run(command, check=True)
    done = subprocess.run([tmp_path / "team", "2000"], capture_output=True, text=True, timeout=300)
    assert done.returncode == 0 and done.stdout == "the team: 11250 jobs\n", done.stdout + done.stderr


@pytest.mark.parametrize(
    "flags, refusal",
    [(["-m32", "-ffreestanding"], "64-bit"), (["-U__BYTE_ORDER__", "-D__BYTE_ORDER__=__ORDER_BIG_ENDIAN__"],
                                              "little-endian")],
    ids=["32 bits", "big-endian"],
)
def test_the_compiler_refuses_other_machines(flags, refusal, tmp_path):
    source = tmp_path / "probe.c"
    source.write_text('#include "tdfast.h"\n')
    check = [COMPILER, f"-I{ROOT / 'src_c'}", "-fsyntax-only", source]
    assert subprocess.run(check).returncode == 0
    if "-m32" in flags and runtime.available_isas() == ["neon"]:
        pytest.skip("this compiler has no -m32")
    done = subprocess.run([*check, *flags], capture_output=True, text=True)
    assert done.returncode != 0 and f"tdfast needs a {refusal} machine" in done.stderr


@pytest.mark.parametrize(
    "fake, refusal",
    [("sys.maxsize = 2**31 - 1", "64-bit Python"), ("sys.byteorder = 'big'", "little-endian machine")],
    ids=["32 bits", "big-endian"],
)
def test_setup_refuses_other_machines(fake, refusal):
    """setup.py says so before it compiles anything."""
    pytest.importorskip("setuptools")
    code = (f"import runpy, setuptools; setuptools.setup = lambda **how: None\n"
            f"setup = runpy.run_path('setup.py')\nimport sys; {fake}\nsetup['instruction_sets']()")
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 1 and f"tdfast needs a {refusal}" in done.stderr, done.stderr


def test_setup_builds_for_some_instruction_sets_alone():
    """TDFAST_ISAS: those it names, and for AVX-512 what it takes of AVX2."""
    pytest.importorskip("setuptools")
    with mock.patch("setuptools.setup"):
        setup = runpy.run_path(str(ROOT / "setup.py"))
    known = setup["instruction_sets"]()
    assert setup["wanted_instruction_sets"](None) == known
    for name in known:
        some = setup["wanted_instruction_sets"](name)
        objects = {job[0] for job in setup["kernel_jobs"](some)}
        lower = "avx2" if name == "avx512" else name
        assert list(some) == [name]
        assert objects == {name, "float64", f"{lower}_high", f"{lower}_medium"}
    with pytest.raises(SystemExit, match="there is no 'sse9' here, but "):
        setup["wanted_instruction_sets"](",".join([*known, "sse9"]))
