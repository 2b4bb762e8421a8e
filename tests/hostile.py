"""Files that an enemy could write, by number, and a process with limits that reads them: see test_hostile.py.

``python hostile.py KIND FIRST LAST FOLDER`` reads the files of these numbers, says each number before, and
says what it met.
"""

import io
import json
import os
import random
import resource
import struct
import sys
import time
import tracemalloc
import warnings
import zipfile
from pathlib import Path

import numpy as np

import tdfast
from tdfast import layers, saving
from tdfast.saving import FileError
from tdfast.saving.state import read_state, write_state

GOLDEN = Path(__file__).parent / "golden"
BASES = ["resume-adam-frozen-from-file", "functional-nested-chain", "functional-mask-chain",
         "regularizers-lstm-td-dense",
         "td-batchnorm-layernorm-dropout0"]

MEMORY = 2**30
"""Bytes that the process may have beyond what it has after its imports."""
SECONDS = 20
"""Of one file."""

DEEP = json.loads("[" * 300 + "]" * 300)
JUNK = [None, True, False, 0, -1, 3, 2**31, 2**63, 10**12, 10**30, 1e308, -0.5, float("nan"), float("inf"),
        "", "a", "../../etc/passwd",
        "x" * 10**5, "LSTM", "Lambda", "relu", "__class__", "os.system", [], [1], [None], [10**9] * 4, [[]],
        {}, {"a": 1}, DEEP,
        {"class_name": "Dense", "config": {}}, {"class_name": "Zeros"},
        {"class_name": "function", "config": "eval"},
        {"module": "os", "class_name": "system", "config": {"command": "true"},
         "registered_name": "os>system"},
        {"class_name": "__lambda__", "config": {"code": "4wEAAAA="}},
        {"class_name": "__keras_tensor__", "config": {}},
        {"class_name": "__array__", "config": {"value": [1], "dtype": "O"}}, {"__array__": 0},
        {"__array__": -1}, {"__scalar__": "x"}]


# ---------------------------------------------------------------- changing things
def places(value, path=()):
    """The path of everything inside a JSON value."""
    inner = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, item in inner:
        yield (*path, key)
        yield from places(item, (*path, key))


def spoilt_json(value, rng):
    """A JSON value with one to four changes anywhere: other values, missing, doubled, moved or nested
    ones."""
    value = json.loads(json.dumps(value))
    for _ in range(rng.choice([1, 1, 2, 4])):
        everywhere = list(places(value))
        if not everywhere:
            return value
        *path, last = rng.choice(everywhere)
        item = value
        for key in path:
            item = item[key]
        act = rng.randrange(6)
        if act == 0:
            del item[last]
        elif act == 1 and isinstance(item, list):
            item.insert(last, json.loads(json.dumps(item[last])))
        elif act == 2:
            item[last] = {"class_name": rng.choice(["Sequential", "TimeDistributed", "Bidirectional",
                                                    "Functional"]),
                          "module": "keras.layers", "config": {"layer": item[last], "layers": [item[last]],
                                                               "name": "again"}}
        elif act == 3:
            *other, key = rng.choice(everywhere)
            source = value
            try:
                for k in (*other, key):
                    source = source[k]
            except (KeyError, IndexError, TypeError):
                source = None
            item[last] = json.loads(json.dumps(source))
        else:
            item[last] = json.loads(json.dumps(rng.choice(JUNK)))
    return value


def spoilt_bytes(data, rng):
    """Bytes cut short, with flipped bits, or with numbers of eight bytes at odd values."""
    data = bytearray(data)
    act = rng.randrange(4)
    if act == 0:
        return bytes(data[: rng.randrange(len(data) + 1)])
    for _ in range(rng.choice([1, 1, 2, 8])):
        at = rng.randrange(max(1, len(data) - 8))
        if act == 1:
            data[at] ^= 1 << rng.randrange(8)
        elif act == 2:
            width = rng.choice([1, 2, 4, 8])
            number = rng.choice([0, 1, 2 ** (8 * width) - 1, 2 ** (8 * width - 1), rng.getrandbits(8 * width),
                                 len(data) % 2 ** (8 * width)])
            data[at : at + width] = number.to_bytes(width, "little")
        else:
            length = rng.choice([1, 8, 64, 512])
            other = rng.randrange(len(data))
            data[at : at + length] = data[other : other + length]
    return bytes(data)


def zipped(contents, compression=zipfile.ZIP_STORED):
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", compression) as z:
        for name, data in contents.items():
            z.writestr(name, data if isinstance(data, (bytes, str)) else json.dumps(data))
    return out.getvalue()


def whole(rng):
    """The members of one of Keras's files."""
    with zipfile.ZipFile(GOLDEN / f"{rng.choice(BASES)}.keras") as z:
        return {name: z.read(name) for name in z.namelist()}


def npy(rng):
    """An array in NumPy's form whose header says something else."""
    shape = rng.choice(["(3, 2)", "()", "(2,)", "(-1,)", "(10**12,)", "(1000000000000,)", "(2**62, 4)",
                        "(3.5,)", "None", "('a',)",
                        "(0, 9223372036854775807)", "(" * 500 + ")" * 500, "[3, 2]", "(True, 2)",
                        "(3, 2, " + "1, " * 70 + ")"])
    dtype = rng.choice(["'<f4'", "'>f8'", "'O'", "'|O'", "[('a', '<f4')]", "'V1000000000'", "'<U9'", "'<c8'",
                        "'<f2'", "'m8'", "'|b1'", "1",
                        "'no'", "('<f4', (1000000,))", "'<f4' * 100000"])
    header = (
        f"{{'descr': {dtype}, 'fortran_order': {rng.choice(['True', 'False', '7'])}, 'shape': {shape}, }}"
    )
    if rng.random() < 0.1:
        header += " " * 10**5
    version = rng.choice([b"\1\0", b"\1\0", b"\2\0", b"\3\0", b"\x09\x09"])
    size = len(header) + 1
    size = rng.choice([size, size, size, 0, 2**16 - 1])
    length = struct.pack("<I" if version == b"\2\0" else "<H", size % 2**16)
    return b"\x93NUMPY" + version + length + header.encode() + b"\n" + bytes(rng.choice([0, 8, 24, 48]))


# ---------------------------------------------------------------- files by their number
def config_file(rng):
    """A .keras file with another config.json."""
    members = whole(rng)
    text = json.dumps(spoilt_json(json.loads(members["config.json"]), rng))
    if rng.random() < 0.05:
        text = spoilt_bytes(text.encode(), rng)
    members["config.json"] = text
    return "m.keras", zipped(members)


def weights_file(rng):
    """A .keras file, or one of weights, whose HDF5 is damaged behind a right checksum."""
    members = whole(rng)
    data = spoilt_bytes(members["model.weights.h5"], rng)
    if rng.random() < 0.3:
        return "m.weights.h5", data
    members["model.weights.h5"] = data
    return "m.keras", zipped(members)


def npz_file(rng):
    """The same with .npz weights."""
    arrays = io.BytesIO()
    np.savez(arrays, **{f"layers/dense/vars/{i}": a for i,
                        a in enumerate((np.ones((3, 2), "f"), np.zeros(2, "f")))})
    if rng.random() < 0.3:
        data = spoilt_bytes(arrays.getvalue(), rng)
    else:
        with zipfile.ZipFile(arrays) as z:
            members = {name: z.read(name) for name in z.namelist()}
        members[rng.choice(list(members))] = npy(rng)
        data = zipped(members, rng.choice([zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED]))
    model = tdfast.Sequential([tdfast.Input((3,)), layers.Dense(2)])
    if rng.random() < 0.3:
        return "m.weights.npz", data
    return "m.keras", zipped({"metadata.json": {}, "config.json": saving.serialize_layer(model),
                              "model.weights.npz": data})


def archive_file(rng):
    """A zip archive that lies about itself."""
    members, act = whole(rng), rng.randrange(8)
    out = io.BytesIO()
    with warnings.catch_warnings(), zipfile.ZipFile(out, "w",
                                                    rng.choice([zipfile.ZIP_STORED,
                                                                zipfile.ZIP_DEFLATED])) as z:
        warnings.simplefilter("ignore")
        for name, data in members.items():
            z.writestr(name, data)
            if act == 0:
                z.writestr(rng.choice(list(members)), b"{}")                    # twice
        if act == 1:
            link = zipfile.ZipInfo(rng.choice(["model.weights.npz", "link", "assets/x"]))
            # a symbolic link, on a file system
            link.external_attr = 0o120777 << 16
            z.writestr(link, rng.choice(["/etc/passwd", "../../m.keras"]))
        elif act == 2:
            z.writestr(rng.choice(["../evil", "/evil", "a/../../evil", "C:\\evil", "\\\\host\\evil", "a\0b",
                                   "a/", "config.json/"]), b"x")
        elif act == 3:
            z.writestr("model.weights.npz" if rng.random() < 0.5 else "bomb",
                       bytes(rng.choice([2**20, 2**26])), zipfile.ZIP_DEFLATED)
        elif act == 4:
            z.comment = bytes(rng.choice([1, 2**16 - 1]))
        elif act == 5:
            for i in range(rng.choice([100, 100, 12_000])):
                z.writestr(f"m{i}", b"")
    data = bytearray(out.getvalue())
    # a size, an offset, a flag of a member
    if act == 6:
        at = data.find(b"PK\1\2", rng.randrange(max(1, data.rfind(b"PK\1\2"))))
        offset, width = rng.choice([(8, 2), (10, 2), (16, 4), (20, 4), (24, 4), (28, 2), (30, 2), (42, 4)])
        number = rng.choice([0, 1, 8, 99, 2 ** (8 * width) - 1, rng.getrandbits(8 * width)])
        data[at + offset : at + offset + width] = number.to_bytes(width, "little")
    elif act == 7:
        data = bytearray(rng.choice([b"PK", bytes(10), b"#!/bin/sh\n"])) + data + bytes(rng.choice([0, 99]))
    if rng.random() < 0.3:
        return "m.keras", spoilt_bytes(bytes(data), rng)
    return "m.keras", bytes(data)


def legacy_file(rng):
    """A whole-model HDF5 file."""
    files = sorted((GOLDEN.parent / "files" / "keras2").glob("*.h5"))
    return "m.h5", spoilt_bytes(rng.choice(files).read_bytes(), rng)


def state_file(rng):
    """A file of `BackupAndRestore`."""
    out = io.BytesIO()
    out.name = "s"
    path = Path(os.environ["HOSTILE_FOLDER"]) / "base.state"
    write_state(path, {"epoch": 3, "logs": {"loss": 0.1}, "weights": [np.ones((3, 2), "f"), np.arange(4)],
                       "rate": np.float32(0.1)})
    data = path.read_bytes()
    path.unlink()
    with zipfile.ZipFile(io.BytesIO(data)) as z:
        members = {name: z.read(name) for name in z.namelist()}
    act = rng.randrange(3)
    if act == 0:
        return "m.state", spoilt_bytes(data, rng)
    if act == 1:
        members["state.json"] = spoilt_json(json.loads(members["state.json"]), rng)
    else:
        members[rng.choice([m for m in members if m.endswith(".npy")])] = npy(rng)
    return "m.state", zipped(members)


def json_text(rng):
    """What model_from_json gets."""
    return "m.json", json.dumps(spoilt_json(json.loads(whole(rng)["config.json"]), rng)).encode()


KINDS = {f.__name__: f for f in (config_file, weights_file, npz_file, archive_file, legacy_file, state_file,
                                 json_text)}


def made(kind, number):
    """(name, bytes) of a file."""
    return KINDS[kind](random.Random(f"{kind} {number}"))


# ---------------------------------------------------------------- reading them
def target():
    model = tdfast.Sequential([tdfast.Input((3,)), layers.Dense(2)])
    model.set_weights([np.full(w.shape, 5, "f") for w in model.weights])
    return model


def read(name, path):
    """What a user does with a file of this name."""
    if name.endswith(".json"):
        return saving.model_from_json(path.read_text(errors="replace"))
    if name.endswith(".state"):
        return read_state(path)
    if ".weights." in name:
        model = target()
        try:
            model.load_weights(path)
        except BaseException:
            assert all((w.value == 5).all() for w in model.weights), "a refused file has changed weights"
            raise
        return model
    return saving.load_model(path)


def base_address_space():
    with open("/proc/self/statm") as file:
        return int(file.read().split()[0]) * resource.getpagesize()


def limit_this_process():
    if sys.platform == "linux":
        most = base_address_space() + MEMORY
        resource.setrlimit(resource.RLIMIT_AS, (most, most))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))


def run(kind, first, last, folder):
    os.environ["HOSTILE_FOLDER"] = str(folder)
    os.chdir(folder)
    made(kind, 0)
    target().predict(np.ones((1, 3)), verbose=0)
    limit_this_process()
    before = set(os.listdir(folder))
    counts = {"loaded": 0, "refused": 0}
    for number in range(first, last):
        print(number, flush=True)
        name, data = made(kind, number)
        path = folder / name
        path.write_bytes(data)
        tracemalloc.start()
        start = time.perf_counter()
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                read(name, path)
            counts["loaded"] += 1
        except FileError:
            counts["refused"] += 1
        seconds, peak = time.perf_counter() - start, tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        assert seconds < SECONDS, f"{kind} {number} took {seconds} s"
        assert peak < 64 * 2**20 + 300 * len(data), (
            f"{kind} {number} took {peak} bytes for a file of {len(data)}"
        )
        assert not set(os.listdir(folder)) - before - {name}, f"{kind} {number} left {os.listdir(folder)}"
        assert not set(sys.modules) & {"evil", "antigravity"}
        path.unlink()
    print(json.dumps(counts), flush=True)


if __name__ == "__main__":
    run(sys.argv[1], int(sys.argv[2]), int(sys.argv[3]), Path(sys.argv[4]))
