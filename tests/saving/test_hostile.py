"""No file does harm: it loads or is refused with a FileError, takes little memory and time, and leaves
nothing behind.

hostile.py makes the files, each by its number, and reads them in a process of its own, whose memory is
limited: a crash of a library would be seen too. TDFAST_FUZZ=n makes it n times as many.
"""

import io
import json
import os
import subprocess
import sys
import warnings

import hostile
import numpy as np
import pytest

import tdfast
from tdfast import layers, saving
from tdfast.saving import FileError

TIMES = int(os.environ.get("TDFAST_FUZZ", "1"))
NEEDS_H5PY = ("config_file", "weights_file", "archive_file", "legacy_file")


@pytest.mark.parametrize("kind", hostile.KINDS)
def test_files_of_an_enemy(kind, tmp_path):
    if kind in NEEDS_H5PY:
        pytest.importorskip("h5py")
    env = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path)), "OMP_NUM_THREADS": "1",
           "OPENBLAS_NUM_THREADS": "1"}
    done = subprocess.run([sys.executable, hostile.__file__, kind, "0", str(120 * TIMES), tmp_path], env=env,
                          capture_output=True,
                          text=True)
    *_, last = done.stdout.splitlines() or [""]
    assert done.returncode == 0, f"{kind} {last}: exit {done.returncode}\n{done.stderr[-3000:]}"
    counts = json.loads(last)
    # both happen, so the fuzz is of use
    assert counts["refused"] >= 30 * TIMES and counts["loaded"] >= TIMES
    assert not os.listdir(tmp_path)


def test_with_hypothesis(tmp_path):
    hypothesis = pytest.importorskip("hypothesis")
    pytest.importorskip("h5py")
    from hypothesis import strategies as st

    os.environ["HOSTILE_FOLDER"] = str(tmp_path)

    @hypothesis.settings(max_examples=60 * TIMES, deadline=None, database=None, derandomize=True,
                         suppress_health_check=list(hypothesis.HealthCheck))
    @hypothesis.given(st.sampled_from(sorted(hostile.KINDS)), st.randoms(use_true_random=False))
    def check(kind, rng):
        name, data = hostile.KINDS[kind](rng)
        path = tmp_path / name
        path.write_bytes(data)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            try:
                hostile.read(name, path)
            except FileError:
                pass
        path.unlink()
        assert not os.listdir(tmp_path)

    check()


def small_file():
    arrays = io.BytesIO()
    np.savez(arrays, **{"layers/dense/vars/0": np.ones((3, 2), "f"), "layers/dense/vars/1": np.zeros(2, "f")})
    model = tdfast.Sequential([tdfast.Input((3,)), layers.Dense(2)])
    return hostile.zipped({"config.json": saving.serialize_layer(model),
                           "model.weights.npz": arrays.getvalue()})


def test_a_file_cut_at_every_length_is_refused():
    data = small_file()
    assert saving.load_model(io.BytesIO(data)).count_params() == 8
    for n in range(len(data)):
        with pytest.raises(FileError):
            saving.load_model(io.BytesIO(data[:n]))


def test_any_flipped_bit_is_found_or_means_nothing():
    """The checksums of the archive see to it."""
    data = small_file()
    want = [w.tolist() for w in saving.load_model(io.BytesIO(data)).get_weights()]
    refused = 0
    for at in range(len(data)):
        spoilt = data[:at] + bytes([data[at] ^ 1 << at % 8]) + data[at + 1 :]
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                model = saving.load_model(io.BytesIO(spoilt))
        except FileError:
            refused += 1
            continue
        assert [w.tolist() for w in model.get_weights()] == want
    assert refused > len(data) // 2


@pytest.mark.parametrize("number, size", [(0, 0), (0, 8), (1, 2**64 - 16), (1, 2**64 - 1), (3, 2**40),
                                          (0, 10**6)])
def test_text_in_hdf5_that_takes_no_room_is_found(number, size, tmp_path):
    """HDF5 itself would read the first for ever."""
    pytest.importorskip("h5py")
    data = bytearray(
        (hostile.GOLDEN.parent / "files" / "keras2" / "layers-legacy-adam-decay.h5").read_bytes()
    )
    start = data.rindex(b"GCOL")
    data[start + 16 : start + 18] = number.to_bytes(2, "little")
    data[start + 24 : start + 32] = size.to_bytes(8, "little")
    path = tmp_path / "m.h5"
    path.write_bytes(data)
    with pytest.raises(FileError, match="text at byte"):
        saving.load_model(path)
