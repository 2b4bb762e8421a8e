"""Builds tdfast._kernels: Cython over C, each kernel file compiled once per instruction set.

Environment:
    TDFAST_WERROR=1     make warnings errors (-Wall -Wextra -Werror), as CI does
    TDFAST_NO_OPENMP=1  build without OpenMP, to run serially
    TDFAST_ISAS=baseline,avx2    build for these instruction sets alone, as for the processor at hand
    TDFAST_AMX=1        build the products of lower precision for AMX as well, on x86-64 Linux
    TDFAST_SANITIZE=address,undefined    build with these sanitizers of the compiler, which end the process at
                        the first report; `.ci/native` says how such a build is run
    CC                  the C compiler
"""

import atexit
import os
import platform
import re
import runpy
import shutil
import subprocess
import sys
import sysconfig
import tempfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from setuptools import Extension, setup
from setuptools.command.build_ext import build_ext

HERE = Path(__file__).parent
ONCE = ["src_c/dispatch.c", "src_c/sizes.c", "src_c/team.c"]
KERNELS = sorted({f"src_c/{path.name}" for path in (HERE / "src_c").glob("*.c")} - set(ONCE))
# Those with products of matrices, which every instruction set has in each precision: low.h.
PRODUCTS = [f"src_c/{name}.c" for name in
            ("attention", "conv", "dense", "depthwise", "gemm", "gru", "lstm", "rnn", "simple_rnn")]
# Where a higher level only takes longer to compile: its kernels are as fast at this one.
LEVELS = {"src_c/loss.c": ["-O2"]}
PRECISIONS = {"high": ["-DTDF_PARTS=2"], "medium": ["-DTDF_PARTS=1"]}
HEADERS = sorted(str(path) for path in Path("src_c").glob("*.h"))
MAKES_DECLARATIONS = "src_c/declarations.py"
COMMON = ["-std=gnu11", "-O3", "-ffp-contract=off", "-fno-math-errno", "-fvisibility=hidden", "-fPIC",
          "-pthread", "-Wall", "-Wextra"]
AVX512 = ["-mavx512f", "-mavx512bw", "-mavx512dq", "-mavx512vl", "-mfma", "-mprefer-vector-width=512"]

AMX = [*AVX512, "-mavx512bf16", "-mamx-tile", "-mamx-bf16"]
AMX_PROBE = """#include <immintrin.h>
int main(void) { _tile_release(); return sizeof _mm512_cvtneps_pbh(_mm512_setzero_ps()) != 32; }
"""
# From this CPython on, functions of the stable ABI are called as quickly as others, without a tuple for what
# they are given.
STABLE_SINCE = (3, 12)


def instruction_sets():
    """The flags of each build of the kernels on this processor family, the slowest first."""
    if sys.maxsize < 2**32:
        raise SystemExit("tdfast needs a 64-bit Python: its kernels are not made for machines of 32 bits.")
    if sys.byteorder != "little":
        raise SystemExit(
            "tdfast needs a little-endian machine: its kernels and files are not made for big-endian ones.")
    machine = platform.machine().lower()
    if machine in ("x86_64", "amd64"):
        return {"baseline": [], "avx2": ["-mavx2", "-mfma"], "avx512": AVX512}
    if machine in ("aarch64", "arm64"):
        return {"neon": []}
    return {"baseline": []}


def wanted_instruction_sets(names):
    """`instruction_sets`, or those of them that a list like "baseline,avx2" names."""
    isas = instruction_sets()
    wanted = names.split(",") if names else list(isas)
    unknown = [name for name in wanted if name not in isas]
    if unknown:
        raise SystemExit(f"TDFAST_ISAS: there is no {unknown[0]!r} here, but {', '.join(isas)}.")
    return {name: flags for name, flags in isas.items() if name in wanted}


def kernel_jobs(isas, amx=False, lower=()):
    """(name, source, flags) of every object of these instruction sets, {name: flags}, of float64 and, if
    wanted, of AMX in lower precision; the objects of a lower precision have the flags ``lower`` as well.
    Lower precision without AMX is not made to be fast, so AVX-512 takes AVX2's."""
    builds = [(name, flags, KERNELS) for name, flags in {**isas, "float64": ["-DTDF_F64"]}.items()]
    plain = {name: flags for name, flags in isas.items() if name != "avx512"}
    if "avx512" in isas:
        plain["avx2"] = instruction_sets()["avx2"]
    builds += [(f"{name}_{precision}", [*flags, "-O1", *parts, *lower], PRODUCTS)
               for name, flags in {**plain, **({"amx": [*AMX, "-DTDF_AMX"]} if amx else {})}.items()
               for precision, parts in PRECISIONS.items()]
    return [(name, source, [*LEVELS.get(source, ()), *flags, f"-DTDF_ISA={name}"])
            for name, flags, sources in builds for source in sources]


def sanitizer_flags(names):
    """Compile and link flags for a list like "address,undefined"; none for an empty one."""
    if not names:
        return []
    return [f"-fsanitize={names}", "-fno-sanitize-recover=all", "-fno-omit-frame-pointer", "-g", "-O1"]


def is_stable():
    """Whether to build for CPython's stable ABI: one extension for all from `STABLE_SINCE` on. A
    free-threaded CPython has none. It, those before, and tools too old for it, make one of their own."""
    if sys.implementation.name != "cpython" or sys.version_info < STABLE_SINCE or (
            sysconfig.get_config_var("Py_GIL_DISABLED")):
        return False
    try:
        import Cython
        import numpy
    except ImportError:                 # these settings are read, and nothing is built
        return False
    return all(tuple(map(int, module.__version__.split(".")[:2])) >= least
               for module, least in ((Cython, (3, 1)), (numpy, (2, 0))))


def compiles(cc, flags, source):
    """Whether a small program compiles, links and runs its compiler without error."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "probe.c"
        path.write_text(source)
        try:
            command = [*cc, *flags, str(path), "-o", str(path.with_suffix(""))]
            done = subprocess.run(command, capture_output=True)
        except OSError:
            return None
        return done.returncode == 0


def openmp_flags(cc):
    """Compile and link flags for OpenMP, or two empty lists where there is none."""
    if os.environ.get("TDFAST_NO_OPENMP"):
        return [], []
    probe = "#include <omp.h>\nint main(void) { return omp_get_max_threads() < 1; }\n"
    homebrew = Path("/opt/homebrew/opt/libomp" if platform.machine() == "arm64" else "/usr/local/opt/libomp")
    candidates = [(["-fopenmp"], ["-fopenmp"])]
    if sys.platform == "darwin":
        compile_flags = ["-Xpreprocessor", "-fopenmp", f"-I{homebrew}/include"]
        candidates.append((compile_flags, [f"-L{homebrew}/lib", "-lomp"]))
    for compile_flags, link_flags in candidates:
        if compiles(cc, compile_flags + link_flags, probe):
            return compile_flags, link_flags
    return [], []


def write_declarations(cc, folder):
    """Make declarations.pxi of tdfast.h, which _kernels.pyx includes. It stays if nothing has changed."""
    text = runpy.run_path(MAKES_DECLARATIONS)["declarations"](cc, "src_c/tdfast.h")
    path = folder / "declarations.pxi"
    if not path.exists() or path.read_text() != text:
        path.write_text(text)


class BuildKernels(build_ext):
    """build_ext that first makes the declarations of the kernels and their objects, several at a time."""

    def build_extension(self, ext):
        cc = list(self.compiler.compiler_so[:1])
        if cc[0] in ("ccache", "sccache"):
            cc = list(self.compiler.compiler_so[:2])
        if not compiles(cc, [], "int main(void) { return 0; }\n"):
            raise SystemExit(
                f"tdfast needs a C compiler, and '{' '.join(cc)}' does not work here.\n"
                "  Debian, Ubuntu:  apt-get install gcc python3-dev\n"
                "  Fedora:          dnf install gcc python3-devel\n"
                "  macOS:           xcode-select --install\n"
                "Set CC to use another compiler, then run pip again."
            )
        includes = [f"-I{path}" for path in self.include_dirs]
        if not compiles(cc, includes, "#include <Python.h>\nint main(void) { return 0; }\n"):
            raise SystemExit(
                "tdfast needs Python's C headers, and Python.h is not in "
                f"{', '.join(self.include_dirs)}.\n"
                "  Debian, Ubuntu:  apt-get install python3-dev\n"
                "  Fedora:          dnf install python3-devel\n"
                "Then run pip again."
            )
        omp_compile, omp_link = openmp_flags(cc)
        if not omp_link:
            self.warn("no OpenMP: tdfast will run serially (tdfast.show_config() says so)")
        strict = ["-Werror"] if os.environ.get("TDFAST_WERROR") else []
        sanitize = sanitizer_flags(os.environ.get("TDFAST_SANITIZE"))
        isas = wanted_instruction_sets(os.environ.get("TDFAST_ISAS"))
        amx = bool(os.environ.get("TDFAST_AMX"))
        here = sys.platform.startswith("linux") and "avx512" in isas
        if amx and not (here and compiles(cc, AMX, AMX_PROBE)):
            raise SystemExit("TDFAST_AMX=1 needs Linux on x86-64 and a compiler with AMX, such as GCC 11.")
        have = [f"-DTDF_HAVE_{name.upper()}" for name in [*isas, *(["amx"] if amx else [])]]
        folder = Path(self.build_temp) / f"kernels{os.environ.get('TDFAST_SANITIZE', '')}"
        folder.mkdir(parents=True, exist_ok=True)
        write_declarations(cc, folder)
        ext.include_dirs = [*ext.include_dirs, str(folder)]

        jobs = [(source, folder / f"{Path(source).stem}_{name}.o", flags)
                for name, source, flags in kernel_jobs(isas, amx)]
        jobs += [(source, folder / f"{Path(source).stem}.o", [*have, *omp_compile]) for source in ONCE]

        def compile_one(job):
            source, target, flags = job
            newest = max(os.path.getmtime(path) for path in [source, __file__, *HEADERS])
            if not target.exists() or target.stat().st_mtime < newest:
                options = [*COMMON, *strict, *sanitize, *flags, "-Isrc_c"]
                self.spawn([*cc, *options, "-c", source, "-o", str(target)])
            return str(target)

        with ThreadPoolExecutor(os.cpu_count()) as pool:
            ext.extra_objects = list(pool.map(compile_one, jobs))
        ext.extra_compile_args += sanitize
        ext.extra_link_args = ["-pthread", *omp_link, *sanitize]
        super().build_extension(ext)
        if self.inplace and ext.py_limited_api:         # Python would import one of its own before this one
            own = HERE / f"tdfast/_kernels{sysconfig.get_config_var('EXT_SUFFIX')}"
            own.unlink(missing_ok=True)


def scratch():
    """Options that build elsewhere where the source may not be written to, as in another user's checkout."""
    if os.access(".", os.W_OK):
        return {}
    folder = tempfile.mkdtemp()
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    return {
        "build": {"build_base": folder},
        "egg_info": {"egg_base": folder},
        "build_ext": {"cython_c_in_temp": True},
    }


def extension():
    import numpy

    stable = [("Py_LIMITED_API", "0x{:02X}{:02X}0000".format(*STABLE_SINCE))] if is_stable() else []
    return Extension(
        "tdfast._kernels",
        ["tdfast/_kernels.pyx"],
        depends=[*KERNELS, *ONCE, *HEADERS, MAKES_DECLARATIONS],
        include_dirs=["src_c", numpy.get_include()],
        define_macros=[("NPY_NO_DEPRECATED_API", "NPY_1_7_API_VERSION"), *stable],
        py_limited_api=bool(stable),
        extra_compile_args=["-O2", "-fvisibility=hidden"],
    )


def index_page(readme, source=None):
    """The README for a package index, where relative links lead nowhere.

    ``source``, the address of the repository, makes them absolute. Without it links keep their text, and
    pictures go.
    """
    if source:
        readme = re.sub(r"(!\[[^\]]*\]\()(?![a-z]+:|#)", rf"\1{source}/raw/main/", readme)
        return re.sub(r"(?<![!\]])(\[[^\]]*\]\()(?![a-z]+:|#)", rf"\1{source}/blob/main/", readme)
    readme = re.sub(r"!\[[^\]]*\]\((?![a-z]+:)[^)]*\)\n*", "", readme)
    return re.sub(r"\[([^\]]*)\]\((?![a-z]+:|#)[^)]*\)", r"\1", readme)


def tags():
    """Options that name a wheel after what it runs on."""
    return {"bdist_wheel": {"py_limited_api": "cp{}{}".format(*STABLE_SINCE)}} if is_stable() else {}


def described():
    """What the package index shows. The address is "Source" of [project.urls] in pyproject.toml, if there."""
    project = (HERE / "pyproject.toml").read_text(encoding="utf8")
    source = re.search(r'(?m)^Source = "(.*?)/?"$', project)
    readme = (HERE / "README.md").read_text(encoding="utf8")
    return {"long_description": index_page(readme, source and source[1]),
            "long_description_content_type": "text/markdown"}


setup(ext_modules=[extension()], cmdclass={"build_ext": BuildKernels}, options={**scratch(), **tags()},
      **described())
