"""The process of one implementation: commands come as lines of JSON on stdin, answers go out on stdout.

Imports nothing of the bench beyond the case and the models, so that its memory is theirs.
"""

from __future__ import annotations

import importlib
import json
import os
import sys
import time
from typing import Any

import numpy as np

from tdfast.bench import cases
from tdfast.bench.fleet import Fleet

SAMPLE_ROWS = 64


class Worker:
    """Carries out one command after another; each method is one, its arguments are the command's."""

    def load(self, module: str, case: Any, threads: Any) -> dict[str, Any]:
        """Make the model of a case, with its data and weights."""
        stay_on(threads)
        self.case = cases.BY_NAME[case]
        self.x, y = cases.data(self.case)
        library = importlib.import_module(module)
        make, count = library.Model, self.case.models
        if count > 1 and hasattr(library, "Fleet"):         # which trains all of them in one call
            make, count = library.Fleet, 1
        try:
            models = [make(self.case, self.x, y, threads) for _ in range(count)]
        except Exception as error:
            if type(error).__name__ != "NotAvailable":
                raise
            return {"not_available": str(error)}
        self.model = models[0] if len(models) == 1 else Fleet(models)
        self.model.set_weights(cases.weights(self.case))
        return {}

    def first(self, folder: Any) -> dict[str, Any]:
        """The first call, timed, and what shows that the work is everybody's: losses and outputs."""
        case, model = self.case, self.model
        rows = self.x[: min(case.B, SAMPLE_ROWS)]
        shown, start = {}, time.perf_counter()
        if case.does == "fit":
            shown["loss"] = float(model.first_epoch())
            seconds = time.perf_counter() - start
            shown["trained outputs"] = model.predict(rows)
            model.set_weights(cases.weights(case))
            shown["outputs"] = model.predict(rows)
        elif case.does == "predict":
            shown["outputs"] = model.predict(self.x)[: len(rows)]
            seconds = time.perf_counter() - start
        else:
            step = model.start_stream()
            step(self.x[0, :1])
            seconds = time.perf_counter() - start
            step = model.start_stream()
            shown["outputs"] = np.concatenate([step(self.x[0, t : t + 1]) for t in range(case.T)])
        for name, value in shown.items():
            if isinstance(value, np.ndarray):
                shown[name] = os.path.join(folder, f"{os.getpid()}-{name}.npy")
                np.save(shown[name], value)
        return {"seconds": seconds, "shown": shown}

    def time(self, units: int) -> dict[str, Any]:
        """So many epochs, predictions or steps on end: the mean time of one."""
        case, model = self.case, self.model
        if case.does == "stream":
            step, inputs = model.start_stream(), [self.x[0, t : t + 1] for t in range(case.T)]
            step(inputs[0])
            start = time.perf_counter()
            for i in range(units):
                step(inputs[i % case.T])
        elif case.does == "predict":
            start = time.perf_counter()
            for _ in range(units):
                model.predict(self.x)
        else:
            start = time.perf_counter()
            model.fit(units)
        return {"seconds": (time.perf_counter() - start) / units}

    def memory(self) -> dict[str, Any]:
        """The largest resident size of this process so far, in bytes."""
        return {"bytes": peak_memory()}

    def peak(self, module: str, threads: Any) -> dict[str, Any]:
        """Floating point operations a second of the best of a few large products."""
        stay_on(threads)
        products = _torch_product if module.endswith("torch") else _tdfast_product
        best = 0.0
        for size in (512, 1024, 2048):
            run = products(size, threads)
            run()
            stop = time.perf_counter() + 0.6
            while (start := time.perf_counter()) < stop:
                run()
                best = max(best, 2 * size**3 / (time.perf_counter() - start))
        return {"operations": best}

    def contention(self, threads: Any, quick: Any) -> Any:
        """See `tdfast.bench.contention`."""
        from tdfast.bench import contention

        stay_on(threads)
        return contention.ratios(threads, quick)

    def masked(self, threads: Any, quick: Any) -> Any:
        """See `tdfast.bench.masked`."""
        from tdfast.bench import masked

        stay_on(threads)
        return masked.shares(threads, quick)

    def texts(self, threads: Any, quick: Any, library: str) -> Any:
        """See `tdfast.bench.texts`."""
        from tdfast.bench import texts

        stay_on(threads)
        return texts.seconds(library, quick)

    def allocations(self, batch: int) -> dict[str, Any]:
        """Bytes that one steady training step holds on to at its height, beyond what lived before it."""
        import tracemalloc

        x, y = np.resize(self.x, (batch, *self.x.shape[1:])), np.ones((batch, self.case.T, self.case.O),
                                                                      np.float32)
        for _ in range(3):
            self.model.model.train_on_batch(x, y)
        tracemalloc.start()
        try:
            self.model.model.train_on_batch(x, y)
            before = tracemalloc.get_traced_memory()[0]
            tracemalloc.reset_peak()
            self.model.model.train_on_batch(x, y)
            return {"bytes": tracemalloc.get_traced_memory()[1] - before}
        finally:
            tracemalloc.stop()


def stay_on(threads: Any) -> None:
    """Keep this process to as many processors as it may have threads, where the system can."""
    if hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[:threads])


def peak_memory() -> Any:
    """The largest resident size of this process.

    Linux's VmHWM rather than ru_maxrss: that one starts at the size of the process that started this one.
    """
    try:
        with open("/proc/self/status") as status:
            return next(int(line.split()[1]) * 1024 for line in status if line.startswith("VmHWM"))
    except (OSError, StopIteration):
        import resource

        largest = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        return largest if sys.platform == "darwin" else largest * 1024


def _tdfast_product(size: Any, threads: Any) -> Any:
    import tdfast
    from tdfast import _kernels, activations, runtime

    tdfast.set_num_threads(threads)
    linear = activations.get("linear").kind
    x, kernel, y = (runtime.aligned((size, size)) for _ in range(3))
    x[...] = kernel[...] = 0.5
    bias = np.zeros(size, np.float32)
    packed = runtime.aligned((_kernels.dense_pack_size(size, size),))
    _kernels.dense_pack(size, size, kernel, packed)
    return lambda: _kernels.dense_forward(act=linear, M=size, K=size, N=size, x=x, packed=packed, bias=bias,
                                          y=y)


def _torch_product(size: Any, threads: Any) -> Any:
    import torch

    torch.set_num_threads(threads)
    x, kernel, y = (torch.full((size, size), 0.5) for _ in range(3))
    return lambda: torch.mm(x, kernel, out=y)


def main() -> None:
    """Until stdin ends. What libraries print goes to stderr: stdout carries the answers."""
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    worker = Worker()
    for line in sys.stdin:
        command = json.loads(line)
        try:
            answer = getattr(worker, command.pop("do"))(**command)
        except Exception as error:
            text = " ".join(str(error).split())
            answer = {"error": f"{type(error).__name__}: {text}"[:300]}
        print(json.dumps(answer), file=answers, flush=True)


if __name__ == "__main__":
    main()
