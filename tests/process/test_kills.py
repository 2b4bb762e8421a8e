"""Whatever happens while a file is written, a kill or a full disk, the old one or the new one is there,
whole."""

import contextlib
import os
import random
import resource
import signal
import stat
import subprocess
import sys
import time

import numpy as np
import pytest
import test_resume

import tdfast
from tdfast import layers
from tdfast.saving.atomic import replacing

HERE = os.path.dirname(__file__)


def model_of(value, units=300):
    """A model of some hundred kB, all of whose weights are one number."""
    model = tdfast.Sequential([tdfast.Input((3,)), layers.Dense(units), layers.Dense(units)])
    model.compile("sgd", "mse")
    model.set_weights([np.full(w.shape, value, "float32") for w in model.weights])
    return model


def save(model, path):
    model.save(path) if str(path).endswith(".keras") else model.save_weights(path)


def number_in(path):
    """The number of the model in a file, which must be whole."""
    if str(path).endswith(".keras"):
        model = tdfast.saving.load_model(path)
    else:
        model = model_of(-1)
        model.load_weights(path)
    values = {float(v) for w in model.get_weights() for v in (w.min(), w.max())}
    assert len(values) == 1, "half of one model and half of another"
    return values.pop()


def started(code, *arguments, **options):
    """A child process that runs this code, once it has said that it is ready."""
    head = f"import sys; sys.path.insert(0, {HERE!r}); import test_kills as t\n"
    env = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path)), "OMP_NUM_THREADS": "1"}
    # Not in a folder whose tdfast is not the one under test. Without a buffer, of which communicate() would
    # not know.
    child = subprocess.Popen([sys.executable, "-c", head + code, *map(str, arguments)],
                             stdout=subprocess.PIPE, bufsize=0,
                             env=env, cwd=HERE, **options)
    assert child.stdout.readline() == b"ready\n"
    return child


def saves_for_ever(path):
    """What the child does: the model of 1, of 2, ... in one file."""
    models = [model_of(0)]
    print("ready", flush=True)
    for i in range(1, 10**9):
        models[0].set_weights([np.full(w.shape, i, "float32") for w in models[0].weights])
        save(models[0], path)
        print(i, flush=True)


@pytest.mark.parametrize("name", ["m.keras", "m.weights.npz", "m.weights.h5"])
def test_a_process_killed_while_it_saves_again_and_again(name, tmp_path):
    if name != "m.weights.npz":
        pytest.importorskip("h5py")
    path, rng = tmp_path / name, random.Random(name)
    save(model_of(0), path)
    for _ in range(5):
        child = started("t.saves_for_ever(sys.argv[1])", path)
        for _ in range(rng.randrange(3)):
            child.stdout.readline()
        time.sleep(rng.random() * 0.03)
        child.kill()
        said = [int(line) for line in child.stdout.read().split()]
        assert child.wait() == -signal.SIGKILL
        found = number_in(path)
        # the last that was finished, or the one under way
        assert not said or found in (said[-1], said[-1] + 1)


def trains(folder):
    import pathlib

    print("ready", flush=True)
    test_resume.train("arrays", pathlib.Path(folder), 1, epochs=8)
    print("done", flush=True)


def test_a_training_killed_at_any_moment(tmp_path):
    """With ModelCheckpoint and BackupAndRestore after each batch: both files load, and the end has the same
    bits."""
    pytest.importorskip("h5py")
    for name in "ab":
        (tmp_path / name).mkdir()
    start = time.perf_counter()
    want = test_resume.train("arrays", tmp_path / "a", None, epochs=8)
    whole = time.perf_counter() - start         # the child takes longer, with its backups
    rng, kills = random.Random(5), 0
    for _ in range(12):
        child = started("t.trains(sys.argv[1])", tmp_path / "b")
        time.sleep(rng.random() * 0.7 * whole)
        child.kill()
        if b"done" in child.stdout.read():
            break
        kills += child.wait() == -signal.SIGKILL
        if (tmp_path / "b" / "best.keras").exists():
            tdfast.saving.load_model(tmp_path / "b" / "best.keras")
    assert kills >= 1
    test_resume.same(test_resume.train("arrays", tmp_path / "b", 1, epochs=8), want)
    assert not (tmp_path / "b" / "backup").exists()


# ---------------------------------------------------------------- full disks


def saves_within(path, *sizes):
    """What the child does: files may have so many bytes, as with a quota; writing more is an OSError."""
    model = model_of(2, units=600)
    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    print("ready", flush=True)
    for size in sizes:
        resource.setrlimit(resource.RLIMIT_FSIZE, (size, resource.RLIM_INFINITY))
        try:
            save(model, path)
        except OSError as error:
            print(error.errno, os.listdir(os.path.dirname(path)), flush=True)


@pytest.mark.parametrize("name", ["m.keras", "m.weights.npz", "m.weights.h5"])
def test_a_limit_for_files_leaves_the_old_one(name, tmp_path):
    if name != "m.weights.npz":
        pytest.importorskip("h5py")
    path = tmp_path / name
    save(model_of(1), path)
    before = path.read_bytes()
    child = started("t.saves_within(sys.argv[1], 0, 1, 1000, 200_000)", path, stderr=subprocess.PIPE)
    out, error = child.communicate()
    assert out.decode().splitlines() == [f"27 ['{name}']"] * 4      # EFBIG, and no other file
    assert not error, error.decode()                                # nobody complains behind the exception
    assert path.read_bytes() == before and number_in(path) == 1


@contextlib.contextmanager
def small_file_system(folder, size):
    folder.mkdir()
    made = subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={size}", "tmpfs", folder],
                          capture_output=True)
    if made.returncode:
        pytest.skip(f"no file system can be mounted here: {made.stderr.decode().strip()}")
    try:
        yield
    finally:
        subprocess.run(["umount", "-l", folder], check=True)


def test_a_full_file_system(tmp_path):
    pytest.importorskip("h5py")
    folder = tmp_path / "small"
    with small_file_system(folder, "1m"):
        path = folder / "m.keras"
        save(model_of(1), path)
        before = path.read_bytes()
        # there is room for the first file, not for the second beside it
        for units in (400, 500, 600):
            with pytest.raises(OSError, match="No space"):
                save(model_of(2, units), path)
            assert path.read_bytes() == before and os.listdir(folder) == ["m.keras"]
        with pytest.raises(OSError, match="No space"):
            model_of(3, 50).fit(np.zeros((4, 3)), np.zeros((4, 50)), verbose=0, callbacks=[
                tdfast.callbacks.ModelCheckpoint(str(path)), Fill(folder)])
        assert path.read_bytes() == before


class Fill(tdfast.callbacks.Callback):
    """Takes all room that is left before the model is saved."""

    def __init__(self, folder):
        super().__init__()
        self.folder = folder

    def on_train_begin(self, logs=None):
        with contextlib.suppress(OSError), open(self.folder / "rest", "wb", buffering=0) as file:
            while True:
                file.write(bytes(4096))


# ---------------------------------------------------------------- the file itself


def rights(path):
    return stat.S_IMODE(path.stat().st_mode)


def write(path, data=b"new"):
    with replacing(path) as file:
        file.write(data)


@pytest.mark.parametrize("mask, new", [(0o022, 0o644), (0o077, 0o600), (0o002, 0o664)])
def test_a_new_file_has_the_umasks_rights_and_an_old_one_its_own(mask, new, tmp_path):
    path = tmp_path / "a"
    before = os.umask(mask)
    try:
        write(path)
        assert rights(path) == new
        for mode in (0o600, 0o640, 0o777, 0o400):
            path.chmod(mode)
            write(path)
            assert rights(path) == mode
    finally:
        os.umask(before)


def test_nobody_else_can_read_the_new_numbers_of_a_private_file(tmp_path):
    path = tmp_path / "a"
    path.touch(0o600)
    before = os.umask(0)
    try:
        with replacing(path):
            beside, = (p for p in tmp_path.iterdir() if p != path)
            assert rights(beside) == 0o600
    finally:
        os.umask(before)


@pytest.mark.skipif(os.getuid() != 0, reason="only root can give files away")
def test_the_owner_stays(tmp_path):
    path = tmp_path / "a"
    path.touch()
    os.chown(path, 12345, 23456)
    write(path)
    assert (path.stat().st_uid, path.stat().st_gid) == (12345, 23456)


def test_links_names_and_folders(tmp_path):
    (tmp_path / "deep").mkdir()
    link = tmp_path / "link"
    link.symlink_to("deep/file")                                    # which is not there yet
    write(link)
    assert link.is_symlink() and (tmp_path / "deep" / "file").read_bytes() == b"new"
    long = tmp_path / ("ä" * 127)                                   # 254 bytes
    write(long)
    assert long.read_bytes() == b"new"
    with pytest.raises(IsADirectoryError):
        write(tmp_path / "deep")
    with pytest.raises(FileNotFoundError):
        write(tmp_path / "no" / "file")
    assert sorted(p.name for p in tmp_path.iterdir()) == ["deep", "link", "ä" * 127]


def test_the_order_is_write_flush_rename_flush_the_folder(tmp_path, monkeypatch):
    """On the disk before it gets its name: or a crash of the machine could leave the name with nothing behind
    it."""
    calls, fsync, rename = [], os.fsync, os.replace

    def note_fsync(handle):
        calls.append("folder" if stat.S_ISDIR(os.fstat(handle).st_mode)
                     else f"file of {os.fstat(handle).st_size}")
        fsync(handle)

    def note_rename(source, target):
        calls.append("rename")
        rename(source, target)

    monkeypatch.setattr(os, "fsync", note_fsync)
    monkeypatch.setattr(os, "replace", note_rename)
    write(tmp_path / "a", bytes(10**6))
    assert calls == ["file of 1000000", "rename", "folder"]


@pytest.mark.parametrize("error", [KeyboardInterrupt, MemoryError, ValueError])
def test_an_error_in_the_block_leaves_nothing(error, tmp_path):
    path = tmp_path / "a"
    path.write_bytes(b"old")
    with pytest.raises(error), replacing(path) as file:
        file.write(b"half")
        raise error
    assert path.read_bytes() == b"old" and os.listdir(tmp_path) == ["a"]
