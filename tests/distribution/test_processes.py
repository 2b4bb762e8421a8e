"""Real processes: of MPI, where mpi4py and an MPI are installed, and of torch.distributed, where torch is."""

import importlib.util
import os
import random
import re
import shutil
import subprocess
import sys
import time
from pathlib import Path

import pytest

import tdfast

HERE = Path(__file__).parent
MPIEXEC = shutil.which("mpiexec", path=os.pathsep.join([str(Path(sys.executable).parent),
                                                       os.environ.get("PATH", "")]))
needs_mpi = pytest.mark.skipif(MPIEXEC is None or not importlib.util.find_spec("mpi4py"),
                               reason="needs mpi4py and an MPI: pip install 'tdfast[mpi]'")
needs_torch = pytest.mark.skipif(not importlib.util.find_spec("torch"), reason="needs torch")


def environment(**more):
    """Without what a launcher around the tests may have set."""
    kept = {k: v for k, v in os.environ.items() if not k.startswith(("PMI", "OMPI", "KERAS_DISTRIBUTION"))}
    return {**kept, "PYTHONPATH": str(Path(tdfast.__file__).parents[1]), **more}


def mpi(size, *arguments, timeout=120, launcher=("-m", "tdfast.distribution"), script="program.py", **more):
    """What a program does in so many processes of MPI."""
    return subprocess.run([MPIEXEC, "-n", str(size), sys.executable, *launcher, str(HERE / script),
                           *map(str, arguments)], capture_output=True, text=True, timeout=timeout,
                          cwd=HERE, env=environment(**more))


def alone(*arguments):
    """What it does in one process."""
    return subprocess.run([sys.executable, HERE / "program.py", *map(str, arguments)], capture_output=True,
                          text=True, timeout=120, cwd=HERE, env=environment())


@pytest.fixture(scope="module")
def digests():
    """Of the models, by one process that was started alone."""
    found = alone("digests")
    assert found.returncode == 0, found.stderr
    assert found.stdout.count("=") == 4
    return found.stdout


@needs_mpi
@pytest.mark.parametrize("size", [1, 2, 3, 4])
def test_the_same_bits_over_mpi(size, digests):
    got = mpi(size, "digests")
    assert (got.returncode, got.stdout) == (0, digests), got.stderr


@needs_mpi
def test_without_the_launcher(digests):
    got = mpi(2, "digests", launcher=())
    assert (got.returncode, got.stdout) == (0, digests), got.stderr


@needs_torch
@pytest.mark.parametrize("size", [2, 3])
def test_the_same_bits_over_gloo(size, digests):
    got = subprocess.run([sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node",
                          str(size), HERE / "program.py", "digests"], capture_output=True, text=True,
                         timeout=240, cwd=HERE, env=environment())
    assert (got.returncode, got.stdout) == (0, digests), got.stderr


@needs_torch
def test_gloo_by_the_arguments_of_initialize(digests):
    """Without a launcher, by Keras's own environment variables."""
    import socket

    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        port = s.getsockname()[1]
    jobs = [subprocess.Popen([sys.executable, HERE / "program.py", "digests"], stdout=subprocess.PIPE,
                             text=True, cwd=HERE, env=environment(
        ENGINE="torch", KERAS_DISTRIBUTION_JOB_ADDRESSES=f"127.0.0.1:{port},127.0.0.1:{port}",
        KERAS_DISTRIBUTION_NUM_PROCESSES="2", KERAS_DISTRIBUTION_PROCESS_ID=str(rank))) for rank in (0, 1)]
    out = [job.communicate(timeout=240)[0] for job in jobs]
    assert out == [digests, ""] and [job.returncode for job in jobs] == [0, 0]


# ---------------------------------------------------------------- ends


@needs_mpi
@pytest.mark.parametrize("launcher", [("-m", "tdfast.distribution"), ()], ids=["launcher", "no launcher"])
@pytest.mark.parametrize("rank", [0, 2])
def test_an_error_in_one_process_ends_all_with_its_traceback(rank, launcher):
    start = time.monotonic()
    got = mpi(3, "raises", rank, launcher=launcher)
    assert got.returncode != 0 and time.monotonic() - start < 60
    assert got.stderr.count("Traceback (most recent call last)") == 1
    assert f"Process {rank} of 3 ended by an error" in got.stderr
    assert "ZeroDivisionError: here it is" in got.stderr


@needs_mpi
def test_an_exit_of_one_process_ends_all():
    got = mpi(3, "exits", 1)
    assert got.returncode != 0 and "no more" in got.stderr


@needs_mpi
@pytest.mark.parametrize("what, text", [
    ("not_a_number", "LossError: The loss became nan in epoch 1, batch 1: the inputs hold NaN"),
    ("other_data", "DistributionError: fit: process 1 has other data in this batch than process 0")])
def test_what_all_see_is_told_once(what, text):
    got = mpi(3, what)
    assert got.returncode != 0
    assert text in got.stderr and got.stderr.count("Traceback (most recent call last)") == 1


@needs_mpi
def test_a_killed_process_ends_all_and_the_training_goes_on_with_others(tmp_path):
    want = alone("killed", tmp_path / "never", -1, 0).stdout
    assert re.fullmatch(r"digest \w{16}\n", want)
    start = time.monotonic()
    got = mpi(3, "killed", tmp_path / "one", 1, 5)
    assert got.returncode != 0 and "digest" not in got.stdout and time.monotonic() - start < 60
    got = mpi(2, "killed", tmp_path / "one", 0, 3)
    assert got.returncode != 0 and "digest" not in got.stdout
    assert mpi(4, "killed", tmp_path / "one", -1, 0).stdout == want


@needs_mpi
def test_twenty_kills_at_any_time(tmp_path):
    """Nothing is lost after the last backup, whoever is killed, and whatever it does at that moment."""
    draw, kills = random.Random(5), 0
    want = alone("killed_at", tmp_path / "never", -1, 0).stdout
    while kills < 20:
        size = draw.randint(1, 4)
        got = mpi(size, "killed_at", tmp_path / "one", draw.randrange(size), draw.uniform(0.05, 0.4))
        kills += got.returncode != 0
        assert got.returncode != 0 or got.stdout == want, got.stderr       # it came to its end before
    assert mpi(2, "killed_at", tmp_path / "one", -1, 0).stdout == want


# ---------------------------------------------------------------- files, lines and threads


@needs_mpi
def test_the_first_process_writes_and_prints(tmp_path):
    got = mpi(3, "files", tmp_path)
    assert (got.returncode, got.stdout) == (0, "done\n"), got.stderr
    assert len(list(tmp_path.iterdir())) == 4
    assert len((tmp_path / "log.csv").read_text().splitlines()) == 4
    assert mpi(3, "prints").stdout.count("Epoch 1/2") == 1


@needs_mpi
def test_threads_are_shared():
    program = ("import sys, tdfast; tdfast.distribution.initialize(); "
               "sys.stdout.write(f'{tdfast.get_num_threads()};')")
    counts = {}
    for size, more in ((1, {}), (2, {}), (2, {"OMP_NUM_THREADS": "3"})):
        kept = {k: v for k, v in environment(**more).items() if k != "OMP_NUM_THREADS" or more}
        got = subprocess.run([MPIEXEC, "-n", str(size), sys.executable, "-c", program], capture_output=True,
                             text=True, timeout=60, cwd=HERE, env=kept)
        counts[(size, *more.values())] = [int(n) for n in got.stdout.split(";")[:-1]]
    (most,) = counts[1,]
    assert counts[2,] == [max(1, min(most, (os.cpu_count() or 1) // 2))] * 2
    assert counts[2, "3"] == [3, 3]


@needs_mpi
def test_a_script_that_says_nothing_of_processes(tmp_path):
    """Every model of it is trained by all of them, with --shards."""
    script = tmp_path / "script.py"
    script.write_text(
        "import sys\nimport numpy as np, tdfast\ntdfast.utils.set_random_seed(1)\n"
        "x, y = np.ones((32, 4)), np.arange(32.0)\n"
        "model = tdfast.Sequential([tdfast.layers.Dense(3), tdfast.layers.Dropout(0.5), "
        "tdfast.layers.Dense(1)])\n"
        "model.compile('adam', 'mse')\nhistory = model.fit(x, y, epochs=3, verbose=0)\n"
        "sys.stdout.write(f'{sys.argv[1:]} {history.history}\\n')\n")
    runs = []
    for size in (1, 2, 4):
        got = mpi(size, "extra", launcher=("-m", "tdfast.distribution", "--shards", "4"), script=script)
        assert got.returncode == 0, got.stderr
        runs.append(got.stdout.splitlines())
    assert runs[0][0].startswith("['extra'] {'loss': [") and [len(lines) for lines in runs] == [1, 2, 4]
    assert {line for lines in runs for line in lines} == {runs[0][0]}


def test_the_launcher_tells_how_to_use_it(tmp_path):
    def launch(*arguments):
        return subprocess.run([sys.executable, "-m", "tdfast.distribution", *arguments], capture_output=True,
                              text=True, timeout=60, cwd=HERE, env=environment())

    assert launch("--help").returncode == 0 and "usage: mpiexec -n 4" in launch("--help").stdout
    assert launch().returncode == 2 and "usage: mpiexec -n 4" in launch().stderr
    script = tmp_path / "script.py"
    script.write_text("import sys; sys.exit(3)")
    assert launch(str(script)).returncode == 3
    assert "--shards must be a whole number" in launch("--shards", "many", str(script)).stderr


def test_mpi_without_mpi4py_says_what_to_install():
    program = ("import sys; sys.modules['mpi4py'] = None; import tdfast; "
               "tdfast.distribution.initialize(engine='mpi')")
    got = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=60,
                         cwd=HERE, env=environment())
    assert "ImportError" in got.stderr and "pip install 'tdfast[mpi]'" in got.stderr
