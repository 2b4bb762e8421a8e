"""The process around the kernels: ISA, threads, imports, forks."""

import os
import shutil
import subprocess
import sys
import sysconfig
import tempfile
import threading
from pathlib import Path

import numpy as np
import pytest

import tdfast
from tdfast import runtime

OWN = {"tdfast", "numpy"}


def python(code, **environment):
    """Run code in a fresh interpreter, on the tdfast under test (not on one in the current folder)."""
    env = {k: v for k, v in os.environ.items() if not k.startswith(("TDFAST_", "OMP_"))}
    env["PYTHONPATH"] = str(Path(tdfast.__file__).resolve().parent.parent)
    return subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=120,
                          env={**env, **environment}, cwd=tempfile.gettempdir())


def small_model():
    return tdfast.Sequential([
        tdfast.layers.LSTM(8, return_sequences=True, input_shape=(12, 3)),
        tdfast.layers.TimeDistributed(tdfast.layers.Dense(2)),
    ])


def test_isa_can_be_chosen_by_the_environment():
    for name in runtime.available_isas():
        done = python("import tdfast; print(tdfast.runtime.isa())", TDFAST_ISA=name)
        assert done.returncode == 0, done.stderr
        assert done.stdout.strip() == name


@pytest.mark.parametrize("name", ["sse9", "AVX2 ", "float64"])
def test_unknown_isa_lists_those_available(name):
    done = python("import tdfast; tdfast.layers.Dense(1)([[1.0]])", TDFAST_ISA=name)
    assert done.returncode != 0
    assert "ValueError" in done.stderr and f"'{name}'" in done.stderr and "baseline" in done.stderr


def test_python_without_its_lock_is_refused():
    """A free-threaded Python started with PYTHON_GIL=0; others are told that they are one."""
    done = python(
        "import sys\nif not hasattr(sys, '_is_gil_enabled') or sys._is_gil_enabled(): sys._is_gil_enabled = "
        "lambda: False\n"
        "import tdfast; tdfast.Sequential",
        **({"PYTHON_GIL": "0"} if sysconfig.get_config_var("Py_GIL_DISABLED") else {}),
    )
    assert done.returncode != 0 and "ImportError" in done.stderr and "PYTHON_GIL=0" in done.stderr


def test_set_isa_refuses_and_keeps():
    before = runtime.isa()
    with pytest.raises(ValueError, match="baseline"):
        runtime.set_isa("no-such-isa")
    assert runtime.isa() == before


def test_omp_num_threads_is_honoured():
    for n in ("1", "2"):
        done = python("import tdfast; print(tdfast.get_num_threads())", OMP_NUM_THREADS=n)
        assert done.returncode == 0, done.stderr
        assert done.stdout.strip() == (n if runtime.config()["openmp"][0].isdigit() else "1")


@pytest.mark.parametrize("policy", ["passive", "active", "ACTIVE", "nonsense", ""])
def test_omp_wait_policy_changes_no_bit(policy):
    code = (
        "import numpy as np, tdfast; tdfast.set_num_threads(2); tdfast.utils.set_random_seed(1);"
        "m = tdfast.Sequential([tdfast.layers.LSTM(64, input_shape=(9, 32))]);"
        "print(m.predict(np.ones((64, 9, 32)), verbose=0).tobytes().hex())"
    )
    done, plain = python(code, OMP_WAIT_POLICY=policy), python(code)
    assert done.returncode == 0, done.stderr
    assert done.stdout == plain.stdout and len(done.stdout) > 1000


def test_set_num_threads():
    before = tdfast.get_num_threads()
    try:
        tdfast.set_num_threads(1)
        assert tdfast.get_num_threads() == 1
    finally:
        tdfast.set_num_threads(before)
    for bad in (0, -1, 1.5, "2", True, None):
        with pytest.raises(ValueError, match="at least 1"):
            tdfast.set_num_threads(bad)


def fake_root(folder, cgroup, mounts, files):
    """A folder like /, with what Linux says of cgroups; mounts are (root, mount point, type, options)."""
    lines = [f"{30 + i} 24 0:{i} {root} {point} rw,nosuid shared:9 - {kind} {kind} {options}\n"
             for i, (root, point, kind, options) in enumerate(mounts)]
    texts = {"proc/self/cgroup": cgroup, "proc/self/mountinfo": "".join(lines), **files}
    for name, text in texts.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return str(folder)


V1 = [("/", "/sys/fs/cgroup/memory", "cgroup", "rw,memory"),
      ("/", "/sys/fs/cgroup/cpuset", "cgroup", "rw,cpuset"),
      ("/", "/sys/fs/cgroup/cpu,cpuacct", "cgroup", "rw,cpu,cpuacct")]
V2 = [("/", "/proc", "proc", "rw"), ("/", "/sys/fs/cgroup", "cgroup2", "rw")]
OWN_V1 = "5:cpuset:/other\n4:cpu,cpuacct:/a/b\n0::/\n"
A_V1 = "sys/fs/cgroup/cpu,cpuacct/a/"


@pytest.mark.parametrize("want, cgroup, mounts, files", [
    (2.0, "0::/a\n", V2, {"sys/fs/cgroup/a/cpu.max": "200000 100000\n"}),
    (1.5, "0::/a/b\n", V2,
     {"sys/fs/cgroup/a/cpu.max": "150000 100000\n", "sys/fs/cgroup/a/b/cpu.max": "max 100000\n"}),
    (0.5, "0::/a/b\n", V2, {"sys/fs/cgroup/a/cpu.max": "4 2\n", "sys/fs/cgroup/a/b/cpu.max": "1 2\n"}),
    (3.0, "0::/\n", V2, {"sys/fs/cgroup/cpu.max": "300000 100000\n"}),             # a namespace of its own
    (4.0, "0::/docker/abc\n", [("/docker/abc", "/sys/fs/cgroup", "cgroup2", "rw")],
     {"sys/fs/cgroup/cpu.max": "400000 100000\n", "sys/fs/cgroup/docker/abc/cpu.max": "1 1\n"}),
    (3.0, "0::/../beside\n", V2, {"sys/fs/cgroup/cpu.max": "300000 100000\n"}),
    (2.0, "0::/a b:c\n", [("/", "/mnt/c\\040g", "cgroup2", "rw")],
     {"mnt/c g/a b:c/cpu.max": "200000 100000\n"}),
    (None, "0::/a\n", V2, {"sys/fs/cgroup/a/cpu.max": "max 100000\n"}),
    (None, "0::/a\n", V2, {}),
    (None, "0::/a\n", [], {"sys/fs/cgroup/a/cpu.max": "200000 100000\n"}),
    (2.5, OWN_V1, V1, {A_V1 + "b/cpu.cfs_quota_us": "250000\n", A_V1 + "b/cpu.cfs_period_us": "100000\n"}),
    (1.0, OWN_V1, V1, {A_V1 + "b/cpu.cfs_quota_us": "-1\n", A_V1 + "b/cpu.cfs_period_us": "100000\n",
                       A_V1 + "cpu.cfs_quota_us": "50000\n", A_V1 + "cpu.cfs_period_us": "50000\n"}),
    (None, OWN_V1, V1, {A_V1 + "b/cpu.cfs_quota_us": "-1\n", A_V1 + "b/cpu.cfs_period_us": "100000\n"}),
    (None, OWN_V1, V1, {A_V1 + "b/cpu.cfs_quota_us": "100000\n"}),
    (1.0, "4:cpu:/a\n0::/x\n", [*V1[2:], ("/", "/sys/fs/cgroup/unified", "cgroup2", "rw")],
     {A_V1 + "cpu.cfs_quota_us": "100000\n", A_V1 + "cpu.cfs_period_us": "100000\n"}),
    *[(None, "0::/a\n", V2, {"sys/fs/cgroup/a/cpu.max": text})
      for text in ("", "\n", "1", "one two", "1 0", "0 1", "-5 1", "1 2 3", "9" * 5000 + " 1", b"\xff\0 1")],
    *[(None, text, V2, {"sys/fs/cgroup/a/cpu.max": "1 1"})
      for text in ("", "nonsense", ":", "0:", b"\xff\xfe:\x00:")],
    (None, "0::/a\n", [("", "", "cgroup2", "")], {}),
    (None, "0::/\x00\n", V2, {}),
])
def test_the_quota_of_a_cgroup(want, cgroup, mounts, files, tmp_path):
    assert runtime.cpu_quota(fake_root(tmp_path, cgroup, mounts, files)) == want


def test_a_quota_of_what_is_not_understood_is_none(tmp_path):
    assert runtime.cpu_quota(str(tmp_path)) is None
    for mountinfo in ("nonsense", " - ", " - cgroup2", "1 2 3 4 - cgroup2 x y", "1 2 3 / /x - cgroup", "\0"):
        root = fake_root(tmp_path, "0::/a\n4:cpu:/b\n", [], {"proc/self/mountinfo": mountinfo})
        assert runtime.cpu_quota(root) is None
    os.remove(tmp_path / "proc/self/mountinfo")
    (tmp_path / "proc/self/mountinfo").mkdir()
    assert runtime.cpu_quota(str(tmp_path)) is None


needs_openmp = pytest.mark.skipif(not runtime.config()["openmp"][0].isdigit(), reason="built without OpenMP")
SAYS = "import tdfast; from tdfast import runtime; print(tdfast.get_num_threads(), runtime.threads_from())"


def with_root(root, code=SAYS):
    """Code that runs as if the kernel's files were in another folder."""
    return f"""
import builtins
real = open
def redirected(path, *args, **named):
    ours = str(path).startswith(("/proc/self/", "/sys/"))
    return real({str(root)!r} + path if ours else path, *args, **named)
builtins.open = redirected
{code}"""


@needs_openmp
@pytest.mark.parametrize("quota, threads", [("50000", 1), ("100000", 1), ("100001", 2), ("6400000", 64)])
def test_a_quota_below_the_processors_decides(quota, threads, tmp_path):
    processors = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    root = fake_root(tmp_path, "0::/a\n", V2, {"sys/fs/cgroup/a/cpu.max": f"{quota} 100000\n"})
    done = python(with_root(root))
    n, _, why = done.stdout.strip().partition(" ")
    assert int(n) == min(threads, processors), done.stderr
    ours = f"the cgroup's quota of {int(quota) / 1e5:g} of {processors} processors"
    assert why == (ours if threads < processors else "the processors that this thread may run on")


@needs_openmp
def test_the_users_number_goes_before_the_quota(tmp_path):
    root = fake_root(tmp_path, "0::/a\n", V2, {"sys/fs/cgroup/a/cpu.max": "100000 100000\n"})
    assert python(with_root(root), OMP_NUM_THREADS="2").stdout == "2 OMP_NUM_THREADS\n"
    assert python(with_root(root), OMP_NUM_THREADS="3,2").stdout == "3 OMP_NUM_THREADS\n"
    done = python(with_root(root, SAYS.replace("print", "tdfast.set_num_threads(2); print")))
    assert done.stdout == "2 set_num_threads(2)\n", done.stderr
    for text in ("", "0", "many", "-1"):
        done = python(with_root(root), OMP_NUM_THREADS=text)
        assert done.stdout.startswith("1 "), done.stderr


@needs_openmp
@pytest.mark.skipif(not hasattr(os, "sched_setaffinity"), reason="no affinity on this system")
def test_threads_follow_the_processors():
    """Those of the thread that asks, also when they change after the import and in a child of a fork."""
    if len(os.sched_getaffinity(0)) < 2:
        pytest.skip("one processor")
    code = """
import os, threading, time, tdfast
from tdfast import runtime
found, every = [], sorted(os.sched_getaffinity(0))
def look():
    time.sleep(0.05)
    found.append(tdfast.get_num_threads() == len(os.sched_getaffinity(0)))
look()
os.sched_setaffinity(0, every[:1])
look()
assert tdfast.get_num_threads() == 1 and "processors" in runtime.threads_from()
def other():
    os.sched_setaffinity(0, every)
    look()
thread = threading.Thread(target=other)
thread.start()
thread.join()
look()
pid = os.fork()
if pid == 0:
    os.sched_setaffinity(0, every[:2])
    look()
    os._exit(0 if all(found) else 3)
assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0
tdfast.set_num_threads(2)
assert tdfast.get_num_threads() == 2
print(all(found), len(found))
"""
    done = python(code)
    assert done.stdout == "True 4\n", done.stdout + done.stderr


def test_threadpoolctl_sees_and_limits():
    threadpoolctl = pytest.importorskip("threadpoolctl")
    if not runtime.config()["openmp"][0].isdigit():
        pytest.skip("built without OpenMP")
    assert any(p["user_api"] == "openmp" for p in threadpoolctl.threadpool_info())
    with threadpoolctl.threadpool_limits(1, user_api="openmp"):
        assert tdfast.get_num_threads() == 1


def test_show_config(capsys):
    tdfast.show_config()
    out = capsys.readouterr().out
    for word in ("tdfast", "numpy", "isa", "threads", "openmp", tdfast.__version__, np.__version__):
        assert word in out


def test_libraries_of_openmp_are_known_by_their_names():
    ours = "libgomp.so.1.0.0", "libgomp-e985bcbb.so.1.0.0", "libomp.so.5", "libiomp5.so"
    assert all(map(runtime._is_openmp, ours))
    others = "_decomp_interpolative.cpython-311-x86_64-linux-gnu.so", "_decompress.so", "libcomp.so"
    assert not any(map(runtime._is_openmp, others))


def test_import_needs_numpy_alone():
    code = (
        "import sys; import numpy; before = set(sys.modules); import tdfast; tdfast.Sequential, "
        "tdfast.layers.LSTM;"
        "new = {m.split('.')[0] for m in set(sys.modules) - before};"
        "import sysconfig; print(sorted(n for n in new if n not in sys.stdlib_module_names))"
    )
    done = python(code)
    assert done.returncode == 0, done.stderr
    heavy = set(eval(done.stdout)) - OWN
    assert not {n for n in heavy if not n.startswith(("_", "cython"))}, heavy


def test_the_source_folder_says_that_it_is_not_built(tmp_path):
    shutil.copytree(Path(tdfast.__file__).parent, tmp_path / "tdfast",
                    ignore=shutil.ignore_patterns("*.so", "__pycache__"))
    done = python(f"import sys; sys.path.insert(0, {str(tmp_path)!r}); import tdfast; tdfast.layers")
    message = done.stderr.strip().splitlines()[-1]
    assert message.startswith(
        f"ImportError: The tdfast in {tmp_path / 'tdfast'} is source that is not built."
    ), done.stderr
    assert "setup.py build_ext --inplace" in message


def test_a_script_runs_with_numpy_alone():
    """No optional package is needed to build, train quietly and predict."""
    code = (
        "import sys\n"
        "for name in ('h5py', 'tqdm', 'matplotlib', 'onnx', 'sklearn', 'pandas', 'scipy'): sys.modules[name] "
        "= None\n"
        "import numpy as np, tdfast\n"
        "m = tdfast.Sequential([tdfast.layers.LSTM(3, input_shape=(4, 2)), tdfast.layers.Dense(1)])\n"
        "m.compile('adam', 'mse')\n"
        "m.fit(np.ones((8, 4, 2)), np.ones((8, 1)), epochs=2, verbose=0)\n"
        "print(m.predict(np.ones((8, 4, 2)), verbose=0).shape)\n"
    )
    done = python(code)
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip() == "(8, 1)"


@pytest.mark.parametrize("version, text", [
    (None, "scikit-learn, 1.6 or newer, which is not installed"), ("1.5.2", "which is 1.5.2 here"),
])
def test_estimators_say_what_to_install(version, text):
    """Without scikit-learn, or with an old one, the modules are there and their classes are not."""
    code = (
        "import sys, types\n"
        f"version = {version!r}\n"
        "if version is None: sys.modules['sklearn'] = None\n"
        "else:\n"
        "    old, base = types.ModuleType('sklearn'), types.ModuleType('sklearn.base')\n"
        "    old.__version__, old.base, old.__path__ = version, base, []\n"
        "    base.BaseEstimator = type('BaseEstimator', (), {})\n"
        "    sys.modules.update({'sklearn': old, 'sklearn.base': base})\n"
        "import tdfast\n"
        "from tdfast.sklearn import SequenceClassifier, SequenceRegressor, SeriesScaler\n"
        "from tdfast.wrappers import SKLearnClassifier, SKLearnRegressor, SKLearnTransformer\n"
        "for cls in (SequenceClassifier, SequenceRegressor, SeriesScaler):\n"
        "    try: cls(); print('made')\n"
        "    except ImportError as error: print(error)\n"
        "SKLearnRegressor(tdfast.Sequential())\n"
    )
    done = python(code)
    assert "ImportError: SKLearnRegressor needs" in done.stderr
    assert done.stdout.count(text) == 3 and done.stdout.count("pip install 'tdfast[sklearn]'") == 3


def test_threads_for_a_block_are_put_back():
    code = (
        "import threading, tdfast\n"
        "before = tdfast.get_num_threads(), tdfast.runtime.threads_from()\n"
        "inside, outside = threading.Event(), threading.Event()\n"
        "def other():\n"
        "    with tdfast.runtime.threads(1):\n"
        "        inside.set(); outside.wait()\n"
        "    print((tdfast.get_num_threads(), tdfast.runtime.threads_from()) == before)\n"
        "thread = threading.Thread(target=other)\n"
        "thread.start(); inside.wait()\n"
        "with tdfast.runtime.threads(1):\n"
        "    with tdfast.runtime.threads(1): outside.set(); thread.join()\n"
        "print((tdfast.get_num_threads(), tdfast.runtime.threads_from()) == before)\n"
    )
    for environment in ({}, {"OMP_NUM_THREADS": "2"}):
        done = python(code, **environment)
        assert done.stdout.split() == ["True", "True"], done.stderr


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork on this system")
def test_a_forked_child_predicts():
    """Threads do not survive a fork; the child must not wait for them."""
    code = """
import os, signal, numpy as np, tdfast
tdfast.set_num_threads(2)
m = tdfast.Sequential([tdfast.layers.LSTM(64, input_shape=(40, 32)), tdfast.layers.Dense(4)])
x = np.random.default_rng(0).random((64, 40, 32), dtype="float32")
want = m.predict(x, verbose=0)
pid = os.fork()
if pid == 0:
    signal.alarm(60)
    same = np.array_equal(m.predict(x, verbose=0), want)
    os._exit(0 if same else 3)
_, status = os.waitpid(pid, 0)
assert np.array_equal(m.predict(x, verbose=0), want)
print("child", os.waitstatus_to_exitcode(status))
"""
    done = python(code)
    assert done.stdout.strip() == "child 0", done.stdout + done.stderr


def test_one_model_in_many_python_threads():
    model = small_model()
    x = np.random.default_rng(0).random((16, 12, 3), dtype="float32")
    want = model.predict(x, verbose=0)
    wrong = []

    def work():
        for _ in range(20):
            if not np.array_equal(model.predict(x, verbose=0), want) or not np.array_equal(model(x), want):
                wrong.append(1)

    threads = [threading.Thread(target=work) for _ in range(4)]
    for t in threads:
        t.start()
    for t in threads:
        t.join()
    assert not wrong


def test_aligned():
    a = runtime.aligned((3, 5), "float64")
    assert a.ctypes.data % 64 == 0 and a.shape == (3, 5) and a.flags.c_contiguous
    with pytest.raises(MemoryError, match="bytes"):
        runtime.aligned((2**40, 2**20))


def test_denormals_are_flushed_in_kernels_only():
    tdfast.layers.Dense(4)(np.ones((3, 5)))
    tiny = np.float32(1e-30) * np.float32(1e-10)
    assert tiny > 0, "the caller's floating-point mode was changed"
