"""Where the keys of a fleet are done: by workers of joblib, or by the processes of a group, each a part."""

from __future__ import annotations

import contextlib
import importlib
import itertools
import os
import pickle
import re
import threading
import warnings
from typing import TYPE_CHECKING, Any, NamedTuple

from tdfast import config, distribution, runtime
from tdfast.distribution import current

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

PARTS = 4
"""How many parts each worker gets, so that the last ones end at about the same time."""

KEYS = 100
"""The most keys of one part: what was done before a worker died is lost by parts."""

_runs: set[int] = set()
_numbers = itertools.count()
_lock = threading.Lock()
_guests = 0
_before: tuple[Any, ...] = ()


class Stopped(Exception):
    """The caller waits for this part no longer."""


class Order(NamedTuple):
    """What a worker must know beside its part: see `_do`."""

    pid: int
    run: int
    threads: int | None
    settings: tuple[Any, ...]


def engine_of(given: Any, who: str) -> Any:
    """The engine that an argument asks for, or None for the threads of this process.

    Raises:
        ValueError: for what is none, and where models are trained by several processes each.
        ImportError: if its package is not there.

    >>> engine_of(None, "fleet.fit") is None
    True
    """
    if distribution.distribution() is not None:
        raise ValueError(
            f"{who}: one process trains each model of a fleet, but {distribution.distribution()} has several "
            "do so. Call it out of its scope, or after set_distribution(None), with engine='mpi' or 'torch'."
        )
    if given is None:
        return None
    if isinstance(given, str) and given in ("mpi", "torch"):
        distribution.initialize(engine=given)
        return Ranks(current.engine(), who)
    if isinstance(given, str) and given == "joblib":
        return Joblib(who)
    if all(hasattr(given, name) for name in ("rank", "size", "allgather_object")):
        return Ranks(given, who)
    raise ValueError(
        f"{who}: engine must be None (threads of this process), 'joblib', 'mpi', 'torch', or an object with "
        f"rank, size and allgather_object(obj), got {given!r}."
    )


def portable(error: BaseException) -> BaseException:
    """The error, or one with its text where it cannot go to another process.

    >>> portable(ValueError("x is empty"))
    ValueError('x is empty')
    """
    try:
        pickle.loads(pickle.dumps(error))
    except Exception:
        return RuntimeError(f"{type(error).__name__}: {error}")
    return error


class Packed:
    """A part as bytes, or why it cannot be that, for workers to whom joblib has no way of its own to send it.

    Args:
        part: has ``run(threads, tell)``.
        dumps: makes the bytes.
    """

    def __init__(self, part: Any, dumps: Callable[[Any], bytes]) -> None:
        self.data, self.why = b"", ""
        try:
            self.data = dumps(part)
        except Exception as error:
            self.why = f"{type(error).__name__}: {error}"

    def run(self, threads: int, tell: Callable[[int], None]) -> Any:
        """What the part gives."""
        if self.why:
            raise pickle.PicklingError(self.why)
        return pickle.loads(self.data).run(threads, tell)


class Joblib:
    """The workers of the backend that ``joblib.parallel_config`` names; all processors, if it says nothing.

    Args:
        who: whom errors name.

    Raises:
        ImportError: if joblib is not there, or is too old.
    """

    shows = True
    """Whether this process is the one that speaks to the user."""

    def __init__(self, who: str) -> None:
        self._who = who
        try:
            import joblib
        except ImportError:
            raise ImportError(f"{who}: engine='joblib' needs joblib. Run: pip install joblib") from None
        if [*map(int, re.findall(r"\d+", joblib.__version__)[:2])] < [1, 4]:
            raise ImportError(f"{who}: engine='joblib' needs joblib 1.4 or newer, and this is "
                              f"{joblib.__version__}. Run: pip install -U joblib")
        self._joblib = joblib
        self._backend, jobs = joblib.parallel.get_active_backend()
        self._options: dict[str, Any] = {"batch_size": 1} if jobs else {"batch_size": 1, "n_jobs": -1}
        self._jobs = max(1, self._backend.effective_n_jobs(jobs or -1))

    def agreed(self, make: Callable[[], Any], seed: int | None) -> Any:
        """What is to be done: one process alone has decided it."""
        return make()

    def parts(self, n: int) -> list[range]:
        """The numbers from 0 to n in parts; each takes some from everywhere, since neighbours are alike."""
        count = max(min(n, PARTS * self._jobs), -(-n // KEYS))
        return [range(i, n, count) for i in range(count)]

    def run(self, parts: Iterator[Any], threads: int | None, take: Callable[[Any], None],
            tell: Callable[[int], None]) -> None:
        """Have workers do the parts, and take what they give as it comes.

        Args:
            parts: each with ``run(threads, tell)``, which gives its result.
            threads: of each worker; None: its share of the machine.
            take: called with each result.
            tell: called with how many keys are done in this process; here that is none.

        Raises:
            RuntimeError: if a worker died, or could not be given its part.
        """
        if threads is None and not getattr(self._backend, "supports_inner_max_num_threads", False):
            threads = max(1, runtime.get_num_threads() // self._jobs)
        order = Order(os.getpid(), next(_numbers), threads, _settings())
        if getattr(self._backend, "supports_return_generator", False):
            self._options["return_as"] = "generator_unordered"
        if not (getattr(self._backend, "supports_sharedmem", False)
                or type(self._backend).__name__ == "LokyBackend"):
            dumps = _cloudpickle().dumps
            parts = (Packed(part, dumps) for part in parts)
        _runs.add(order.run)
        results: Any = ()
        try:
            with self._explained():
                results = iter(self._joblib.Parallel(**self._options)(
                    self._joblib.delayed(_do)(part, order) for part in parts))
            for result in self._each(results):
                take(result)
        finally:
            _runs.discard(order.run)
            if hasattr(results, "close"):
                with warnings.catch_warnings():         # joblib's, about results that nobody wants any more
                    warnings.simplefilter("ignore")
                    results.close()

    def _each(self, results: Iterator[Any]) -> Iterator[Any]:
        while True:
            with self._explained():
                try:
                    result = next(results)
                except StopIteration:
                    return
            yield result

    @contextlib.contextmanager
    def _explained(self) -> Iterator[None]:
        """What a part raises is in its result; so whatever comes here is of joblib and its workers."""
        try:
            yield
        except Exception as error:
            backend = type(self._backend).__name__
            text = f"{type(error).__name__}: {error}"
            if isinstance(error, pickle.PicklingError):
                why = str(error.__cause__ or "").strip().strip('"').strip().rpartition("\n")[2]
                raise RuntimeError(
                    f"{self._who}: the model, the data or a function cannot be sent to the workers of joblib "
                    f"({backend}): open files and generators cannot, names of files and arrays can. Or use "
                    f"joblib.parallel_config(backend='threading'). {why or text}") from error
            held = "The fleet of this exception (error.fleet) holds the parts that were done. "
            raise RuntimeError(f"{self._who}: a worker of joblib ({backend}) ended before its part was done. "
                               f"{held if self._who == 'fleet.fit' else ''}{text}") from error


class Ranks:
    """The processes of a group, all of which make the same call; each does its part, and all get the whole.

    Args:
        group: has ``rank``, ``size`` and ``allgather_object(obj)``, a list of what each rank gave.
        who: whom errors name.
    """

    def __init__(self, group: Any, who: str) -> None:
        self._group, self._who = group, who
        self.shows = group.rank == 0

    def agreed(self, make: Callable[[], Any], seed: int | None) -> Any:
        """What is to be done, when all ranks have found it good and the same.

        Args:
            make: makes it, with ``seed`` and the dict ``identity()`` of what must be equal.
            seed: as the caller gave it; where it is None, that of rank 0 is all's.

        Raises:
            ValueError: if another rank has raised an error, or does something else.
        """
        work: Any = None
        failure: Exception | None = None
        try:
            work = make()
            said: Any = (None, {**work.identity(), "seed": seed}, work.seed)
        except Exception as error:
            failure, said = error, (f"{type(error).__name__}: {error}", {}, None)
        heard = self._group.allgather_object(said)
        if failure is not None:
            raise failure
        for rank, (why, identity, _) in enumerate(heard):
            if why:
                raise ValueError(f"{self._who}: rank {rank} of {len(heard)} stopped. {why}")
            for name, value in identity.items():
                if value != said[1][name]:
                    raise ValueError(
                        f"{self._who}: the {name} of rank {rank} and of rank {self._group.rank} differ. All "
                        "ranks must call it with the same keys, the same seed and the same model: "
                        "tdfast.utils.set_random_seed before the model is made, or initialize=True."
                    )
        if seed is None:
            work.seed = heard[0][2]
        return work

    def parts(self, n: int) -> list[range]:
        """The numbers from 0 to n, for each rank those that it does."""
        return [range(rank, n, self._group.size) for rank in range(self._group.size)]

    def run(self, parts: Iterator[Any], threads: int | None, take: Callable[[Any], None],
            tell: Callable[[int], None]) -> None:
        """Do this rank's part and take the results of all, as in `Joblib.run`.

        Raises:
            RuntimeError: if a rank was stopped.
        """
        mine = next(itertools.islice(parts, self._group.rank, None))
        stop: BaseException | None = None
        try:
            result = mine.run(runtime.get_num_threads() if threads is None else threads, tell)
        except BaseException as error:
            stop, result = error, None
        heard = self._group.allgather_object(result)
        gone = [rank for rank, result in enumerate(heard) if result is None]
        errors = []
        for result in heard:
            try:
                if result is not None:
                    take(result)
            except Exception as error:
                errors.append(error)
        if stop is not None:
            raise stop
        if gone:
            raise RuntimeError(f"{self._who}: rank {gone[0]} of {len(heard)} was stopped.")
        if errors:
            raise errors[0]


def _cloudpickle() -> Any:
    """What joblib makes pickles with, a package of its own or within it."""
    try:
        return importlib.import_module("joblib.externals.cloudpickle")
    except ImportError:
        return importlib.import_module("cloudpickle")


def _settings() -> tuple[Any, ...]:
    """What of this process decides about results, for `_set`."""
    return config.floatx(), config.check_finite(), runtime.matmul_precision(), runtime.isa()


def _set(floatx: str, finite: bool, precision: str, isa: str) -> None:
    config.set_floatx(floatx)
    config.set_check_finite(finite)
    runtime.set_matmul_precision(precision)
    # All sets but the baseline give the same bits.
    if "baseline" in (isa, runtime.isa()) and isa in runtime.available_isas():
        runtime.set_isa(isa)


def _do(part: Any, order: Order) -> Any:
    """A part, in a worker."""
    here = os.getpid() == order.pid
    threads = order.threads or runtime.get_num_threads()

    def tell(done: int) -> None:
        if here and order.run not in _runs:
            raise Stopped("the caller was stopped")

    with contextlib.nullcontext() if here else _as_there(order.settings):
        return part.run(threads, tell)


@contextlib.contextmanager
def _as_there(settings: tuple[Any, ...]) -> Iterator[None]:
    """For the block, this process computes as one with these settings; several threads may be in blocks."""
    global _guests, _before
    with _lock:
        if not _guests:
            _before = _settings()
        _guests += 1
        _set(*settings)
    try:
        yield
    finally:
        with _lock:
            _guests -= 1
            if not _guests:
                _set(*_before)
