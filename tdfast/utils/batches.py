"""What scripts call on the batches of `timeseries_dataset_from_array`, with tf.data's names and meaning.

Each method gives batches that are made anew in every pass, from one pass over those it was called on. Nothing
is kept but by `cache`. The elements are NumPy arrays, or tuples of them.
"""

from __future__ import annotations

import collections
import itertools
from typing import TYPE_CHECKING, Any

import numpy as np

from tdfast import random
from tdfast.compat import absent

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from tdfast.engine.types import Array

ENDLESS, UNKNOWN = -1, -2
"""What `Batches.cardinality` says where there is no number, as in tf.data."""

Spec = collections.namedtuple("Spec", "shape dtype")
Spec.__doc__ = "What is known of an array: its shape, None standing for any size, and its dtype."


class Count(int):
    """A whole number that also has ``numpy()``, as scripts for TensorFlow write it.

    >>> Count(3).numpy()
    3
    """

    def numpy(self) -> int:
        """The number."""
        return int(self)


@absent.members("datasets")
class Batches:
    """Batches that can be read again and again; see `tdfast.utils.timeseries_dataset_from_array`.

    >>> from tdfast.utils import timeseries_dataset_from_array
    >>> data = timeseries_dataset_from_array(np.arange(9), None, 3, batch_size=2)
    >>> [x[:, 0].tolist() for x in data.skip(1).take(2)]
    [[2, 3], [4, 5]]
    """

    _count: Any
    example: Any

    batched = True
    """Whether an element is a batch, whose first axis may vary."""

    def __len__(self) -> int:
        count = self.cardinality()
        if count < 0:
            raise TypeError("These batches never end." if count == ENDLESS
                            else "How many batches there are is not known.")
        return int(count)

    def cardinality(self) -> Count:
        """The number of elements in a pass; -1: it never ends, -2: not known before it was read."""
        return Count(self._count())

    @property
    def element_spec(self) -> Any:
        """The `Spec` of each array of an element: shape (None for the batch) and dtype."""
        return _spec(self.example(), self.batched)

    def as_numpy_iterator(self) -> Any:
        """The elements of one pass, which are NumPy's anyhow."""
        return iter(self)       # type: ignore[call-overload]  # a subclass has `__iter__`

    # ---------------------------------------------------------------- others from these
    def take(self, count: int | str) -> Any:
        """The first ``count`` elements of a pass, to look at: ``for x, y in batches.take(1): ...``; -1:
        all."""
        count = whole(count, "take: count", -1)
        return self if count < 0 else Derived(_first, self, count,
                                              count=_known(lambda n: min(n, count), self, endless=count))

    def skip(self, count: int) -> Derived:
        """All but the first ``count`` elements of a pass."""
        count = whole(count, "skip: count", 0)
        return Derived(_rest, self, count, count=_known(lambda n: max(n - count, 0), self))

    def map(self, function: Callable[..., Any], num_parallel_calls: int | None = None,
            deterministic: Any = None) -> Derived:
        """The elements that ``function(x, y)`` (or ``function(x)``) makes of these, such as another split of
        a window.

        Args:
            function: of NumPy arrays.
            num_parallel_calls, deterministic: accepted; they tell TensorFlow how, and change no element.

        >>> from tdfast.utils import timeseries_dataset_from_array
        >>> batches = timeseries_dataset_from_array(np.arange(6), None, 3)
        >>> batches = batches.map(lambda x: (x[:, :-1], x[:, -1:]))
        >>> [(x.shape, y.shape) for x, y in batches]
        [((4, 2), (4, 1))]
        """
        return Derived(_mapped, self, function, count=self._count())

    def filter(self, predicate: Callable[..., Any]) -> Derived:
        """The elements for which ``predicate(x, y)`` (or ``predicate(x)``) is true."""
        return Derived(_filtered, self, predicate, count=UNKNOWN)

    def shuffle(self, buffer_size: int, seed: Any = None, reshuffle_each_iteration: bool = True) -> Derived:
        """The elements in a random order: each is drawn from the next ``buffer_size`` ones, as in tf.data.

        Args:
            buffer_size: at least the number of elements for all orders to be equally likely.
            seed: a whole number, which makes the orders repeat; None: from the process's generator.
            reshuffle_each_iteration: False: the same order in each pass.
        """
        size = whole(buffer_size, "shuffle: buffer_size", 1)
        fixed = reshuffle_each_iteration is False
        if seed is None and fixed:
            seed = int(random.generator().integers(2**31))
        seed = seed if seed is None else random.check_seed(seed)
        draw = seed if seed is None or fixed else _generator(seed)
        return Derived(_shuffled, self, size, draw, count=self._count())

    def repeat(self, count: int | None = None) -> Derived:
        """Pass after pass, ``count`` of them; None or -1: without end, so that `fit` needs
        ``steps_per_epoch``."""
        count = None if count in (None, -1) else whole(count, "repeat: count", 0)
        total = ENDLESS if count is None else _known(lambda n: n * count, self)
        return Derived(_repeated, self, count, count=total)

    def batch(self, batch_size: int, drop_remainder: bool = False) -> Derived:
        """``batch_size`` elements each as one, on a new first axis; the last has fewer, or is left out."""
        size = whole(batch_size, "batch: batch_size", 1)
        count = _known(lambda n: n // size if drop_remainder else -(-n // size), self)
        return Derived(_joined, self, size, bool(drop_remainder), count=count, batched=True)

    def unbatch(self) -> Derived:
        """The rows of each batch, one by one."""
        return Derived(_rows, self, count=UNKNOWN if self._count() != ENDLESS else ENDLESS, batched=False)

    def cache(self, filename: str = "") -> Derived:
        """The same elements in each pass: they are kept, in memory, when a pass has gone through."""
        if filename:
            raise ValueError(
                "cache keeps the elements in memory: give no filename, or write them with np.save."
            )
        return Derived(_kept, self, [], count=self._count())

    def prefetch(self, buffer_size: int | None = None) -> Any:
        """These batches: they are views of a series, with nothing to wait for."""
        return self

    def concatenate(self, dataset: Derived) -> Derived:
        """The elements of these, then those of ``dataset``."""
        return Derived(_chained, self, dataset, count=_known(lambda *n: sum(n), self, dataset))

    def zip(self, *others: Any) -> Derived:
        """Tuples of an element of each, up to the end of the shortest."""
        return Derived(_zipped, self, *others, count=_known(lambda *n: min(n), self, *others))

    def enumerate(self, start: int = 0) -> Derived:
        """Tuples (number, element), counted from ``start``."""
        return Derived(_numbered, self, start, count=self._count())

    def apply(self, function: Callable[..., Any]) -> Derived:
        """``function(these)``, for functions from batches to batches."""
        return function(self)


class Derived(Batches):
    """What the methods of `Batches` give."""

    def __init__(self, make: Any, source: Any, *arguments: Any, count: int,
                 batched: bool | None = None) -> None:
        self.make, self.source, self.arguments, self.count = make, source, arguments, count
        self.batched = getattr(source, "batched", True) if batched is None else batched

    def _count(self) -> int:
        return self.count

    def example(self) -> Array | tuple[Any, ...]:
        """An element, for `element_spec`: nothing is drawn for it."""
        example = self.source.example()
        return _EXAMPLES[self.make](example, *self.arguments) if self.make in _EXAMPLES else example  # type: ignore[operator]

    def __iter__(self) -> Any:
        return iter(self.make(self.source, *self.arguments))


def _known(function: Callable[..., Any], *datasets: Any, endless: int = ENDLESS) -> int:
    """``function`` of the numbers of elements, where all are known."""
    counts = [dataset._count() if isinstance(dataset, Batches) else UNKNOWN for dataset in datasets]
    if UNKNOWN in counts:
        return UNKNOWN
    return endless if ENDLESS in counts else function(*counts)


def _spec(element: Any, batched: bool) -> Any:
    if isinstance(element, tuple):
        return tuple(_spec(part, batched) for part in element)
    shape = np.shape(element)
    return Spec((None, *shape[1:]) if batched and shape else shape, np.asarray(element).dtype)


def _parts(element: Array | Sequence[Any]) -> tuple[Any, ...]:
    return element if isinstance(element, tuple) else (element,)


def whole(value: Any, what: str, least: int) -> int:
    """``value`` as an int of at least ``least``.

    >>> whole(3, "count", 1)
    3
    """
    if isinstance(value, bool) or not hasattr(value, "__index__") or int(value) < least:
        raise ValueError(f"{what} must be a whole number of at least {least}, got {value!r}.")
    return int(value)


def _generator(seed: Any) -> Any:
    return np.random.Generator(np.random.SFC64(seed))


# ---------------------------------------------------------------- one pass of each
def _first(source: Any, count: int) -> Any:
    return itertools.islice(source, count)


def _rest(source: Any, count: int) -> Any:
    return itertools.islice(source, count, None)


def _mapped(source: Any, function: Callable[..., Any]) -> Any:
    return (function(*_parts(element)) for element in source)


def _filtered(source: Any, predicate: Callable[..., Any]) -> Any:
    return (element for element in source if predicate(*_parts(element)))


def _shuffled(source: Any, size: int, draw: Any) -> Iterator[Any]:
    draw = (
        draw
        if isinstance(draw, np.random.Generator)
        else random.generator()
        if draw is None
        else _generator(draw)
    )
    elements = iter(source)
    buffer = list(itertools.islice(elements, size))
    while buffer:
        i = int(draw.integers(len(buffer)))
        buffer[i], element = buffer[-1], buffer[i]
        buffer.pop()
        buffer.extend(itertools.islice(elements, 1))
        yield element


def _repeated(source: Any, count: int | None) -> Iterator[Any]:
    for _ in itertools.count() if count is None else range(count):
        empty = True
        for element in source:
            empty = False
            yield element
        if empty:
            return


def _joined(source: Any, size: int, whole: bool) -> Iterator[Any]:
    elements = iter(source)
    while group := list(itertools.islice(elements, size)):
        if whole and len(group) < size:
            return
        parts = tuple(np.stack(arrays) for arrays in zip(*map(_parts, group)))
        yield parts if isinstance(group[0], tuple) else parts[0]


def _rows(source: Any) -> Iterator[Any]:
    for element in source:
        for row in zip(*_parts(element)):
            yield row if isinstance(element, tuple) else row[0]


def _kept(source: Any, memory: list[Any]) -> Iterator[Any]:
    if memory:
        yield from memory[0]
        return
    elements = []
    for element in source:
        elements.append(element)
        yield element
    if not memory:
        memory.append(elements)


def _chained(source: Any, other: Derived) -> Any:
    return itertools.chain(source, other)


def _zipped(*sources: Any) -> Any:
    return zip(*sources)


def _numbered(source: Any, start: int) -> Any:
    return enumerate(source, start)


_EXAMPLES = {
    _mapped: lambda element, function: function(*_parts(element)),
    _joined: lambda element, *_: next(_joined([element], 1, False)),
    _rows: lambda element: next(_rows([element])),
    _zipped: lambda element, *others: (element, *(other.example() for other in others)),
    _numbered: lambda element, start: (start, element),
}
