"""Who takes part: what each implementation needs, its environment, its version and its size on disk."""

from __future__ import annotations

import dataclasses
import importlib.metadata
import importlib.util
import os
import re
from pathlib import Path
from typing import Any

HOME = Path(__file__).resolve().parents[2]
"""Where this tdfast is installed. Workers start there, so that a source folder elsewhere cannot shadow it."""


@dataclasses.dataclass(frozen=True)
class Implementation:
    """One library.

    Args:
        name: as given to ``--peers``.
        module: the module with its models, a class `Model`.
        label: for the tables.
        packages: (module, distribution) of all that must be installed; the first gives the version.
        does: what it can be timed at.
        statement: how a script that uses it begins, for the import time.
        env: extra environment variables.
    """

    name: str
    module: str
    label: str
    packages: tuple
    statement: str
    does: tuple = ("fit", "predict", "stream")
    env: tuple = ()

    def missing(self) -> list[Any]:
        """The distributions that would have to be installed first."""
        return [dist for module, dist in self.packages if importlib.util.find_spec(module) is None]

    def version(self) -> Any:
        """'3.15.1 (jax 0.10.2)'; None where something is missing."""
        if self.name == "tdfast":
            import tdfast

            return tdfast.__version__
        if self.missing():
            return None
        first, *rest = [(dist, _version(dist)) for _, dist in self.packages]
        return first[1] + (f" ({', '.join(f'{dist} {number}' for dist, number in rest)})" if rest else "")

    def installed_bytes(self) -> Any:
        """What it and what it requires take on disk, without NumPy and without compiled .pyc files."""
        if self.name == "tdfast":
            folder = Path(importlib.util.find_spec("tdfast").origin).parent
            own = sum(f.stat().st_size for f in folder.rglob("*") if f.is_file()
                      and f.suffix not in (".pyc", ".c"))
            return own + sum(_size(dist) for dist in _closure(["tqdm"]))
        return sum(_size(dist) for dist in _closure([dist for _, dist in self.packages]))


_KERAS = "import keras; from keras.layers import LSTM, Dense, TimeDistributed; keras.Sequential"


def _keras(backend: Any, *packages: Any) -> Any:
    return Implementation(
        f"keras-{backend}", "tdfast.bench.with_keras",
        {"tensorflow": "Keras TF"}.get(backend, f"Keras {backend}"),
        (("keras", "keras"), *packages), statement=_KERAS, env=(("KERAS_BACKEND", backend),),
    )


TDFAST = Implementation("tdfast", "tdfast.bench.with_tdfast", "tdfast", (("tdfast", "tdfast"),),
                        statement=_KERAS.replace("keras", "tdfast"))
PEERS = [
    Implementation("torch", "tdfast.bench.with_torch", "PyTorch", (("torch", "torch"),),
                   statement="import torch"),
    _keras("jax", ("jax", "jax")),
    _keras("tensorflow", ("tensorflow", "tensorflow")),
    _keras("torch", ("torch", "torch")),
    Implementation("onnxruntime", "tdfast.bench.with_onnxruntime", "ONNX RT",
                   (("onnxruntime", "onnxruntime"), ("onnx", "onnx")),
                   statement="import onnxruntime", does=("predict", "stream")),
]
BY_NAME = {one.name: one for one in [TDFAST, *PEERS]}


def environment(implementation: Any, threads: Any) -> Any:
    """The environment of a worker: the same number of threads for every library, and no hints left over."""
    env = {k: v for k, v in os.environ.items()
           if k not in ("OPENBLAS_CORETYPE", "OPENBLAS_L2_SIZE", "KMP_AFFINITY", "GOMP_CPU_AFFINITY")}
    for name in ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS", "TF_NUM_INTRAOP_THREADS"):
        env[name] = str(threads)
    eigen = "true" if threads > 1 else "false"
    env.update(
        XLA_FLAGS=f"--xla_cpu_multi_thread_eigen={eigen} intra_op_parallelism_threads={threads}",
        CUDA_VISIBLE_DEVICES="", JAX_PLATFORMS="cpu", TF_CPP_MIN_LOG_LEVEL="3", PYTHONWARNINGS="ignore",
        PYTHONUNBUFFERED="1",
    )
    env.update(dict(implementation.env))
    root = str(Path(__file__).resolve().parent.parent.parent)       # the same tdfast as the parent's
    env["PYTHONPATH"] = os.pathsep.join([root, *filter(None, [env.get("PYTHONPATH")])])
    return env


def _version(dist: Any) -> Any:
    try:
        return importlib.metadata.version(dist)
    except importlib.metadata.PackageNotFoundError:
        return "?"


def _closure(dists: Any) -> Any:
    """These distributions and all they require that is installed, without NumPy."""
    seen, todo = set(), list(dists)
    while todo:
        name = re.sub(r"[-_.]+", "-", todo.pop()).lower()
        if name in seen or name == "numpy":
            continue
        try:
            requires = importlib.metadata.requires(name) or []
        except importlib.metadata.PackageNotFoundError:
            continue
        seen.add(name)
        todo += [re.match(r"[\w.-]+", line).group() for line in requires if "extra ==" not in line]
    return seen


def _size(dist: Any) -> Any:
    total = 0
    for file in importlib.metadata.files(dist) or []:
        path = file.locate()
        if path.suffix != ".pyc" and path.is_file():
            total += path.stat().st_size
    return total
