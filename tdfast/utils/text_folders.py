"""Texts from the files of a folder, by the batch: `text_dataset_from_directory`."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

import numpy as np

from tdfast import random
from tdfast.compat.calling import spelled
from tdfast.engine.console import say
from tdfast.utils.batches import Batches, whole

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from tdfast.engine.types import Array

WHO = "text_dataset_from_directory"


@spelled
def text_dataset_from_directory(directory: Any, labels: Any = "inferred", label_mode: str | None = "int",
                                class_names: Sequence[str] | None = None, batch_size: int | None = 32,
                                max_length: int | None = None, shuffle: bool = True, seed: int | None = None,
                                validation_split: float | None = None, subset: str | None = None,
                                follow_links: bool = False, verbose: bool = True) -> Any:
    """The texts of a folder's .txt files, and a class for each, by the batch: `keras.utils`' function.

    A class is a folder in ``directory``, and its texts are the files in it and in its folders. The order of
    the files for a ``seed``, and so what is in which ``subset``, is Keras's. A text is read when its batch is
    made, as UTF-8.

    Args:
        directory: the folder.
        labels: 'inferred': the folder that a file is in. None: no labels. A list: a whole number for each
            file, in the order of their sorted paths; folders mean nothing then.
        label_mode: 'int': labels (n,), int32. 'binary': 0 and 1, (n, 1), float32, of two classes.
            'categorical': rows of one 1 among zeros, (n, classes), float32. None: no labels.
        class_names: the names of the folders to read, in the order of their labels; None: all, sorted.
        batch_size: texts of a batch (the last may have fewer); None: one text after the other, no batches.
        max_length: letters of a text that are read at most; None: all.
        shuffle: True: the files are drawn, and drawn anew for each pass. False: they are sorted.
        seed: a whole number for these draws; None: from the process's generator.
        validation_split: the share of the files that validates, the last ones; with ``subset``.
        subset: 'training', 'validation', or 'both' for a list of the two.
        follow_links: go through links to folders.
        verbose: print how many files and classes there are.

    Returns:
        A `TextBatches`, with tf.data's methods (take, map, shuffle, ...), of (texts, labels), or texts alone:
        arrays of strings. Its ``class_names`` are those of the labels.

    Raises:
        ValueError: for options that do not fit, no files, or labels that are not one for each file.
        FileNotFoundError: if the folder is not there.

    >>> import pathlib, tempfile
    >>> folder = pathlib.Path(tempfile.mkdtemp())
    >>> for path in ("bad/1.txt", "good/1.txt", "good/2.txt"):
    ...     (folder / path).parent.mkdir(exist_ok=True)
    ...     n = (folder / path).write_text("text of " + path)
    >>> batches = text_dataset_from_directory(folder, batch_size=2, shuffle=False)
    Found 3 files belonging to 2 classes.
    >>> batches.class_names
    ['bad', 'good']
    >>> for texts, labels in batches:
    ...     print(texts.tolist(), labels.tolist())
    ['text of bad/1.txt', 'text of good/1.txt'] [0, 1]
    ['text of good/2.txt'] [1]
    """
    listed = None if isinstance(labels, str) or labels is None else _listed(labels)
    _check(labels, label_mode, class_names, listed is not None)
    _check_split(validation_split, subset, shuffle, seed)
    for name, value in (("batch_size", batch_size), ("max_length", max_length)):
        if value is not None:
            whole(value, f"{WHO}: {name}", 1)
    seed = int(random.generator().integers(10**6)) if seed is None else whole(seed, f"{WHO}: seed", 0)
    directory = os.fspath(directory)
    if not os.path.isdir(directory):
        raise FileNotFoundError(f"{WHO}: there is no folder {directory!r}.")
    plain = labels is None or label_mode is None
    paths, numbers, names = _files(directory, None if plain else listed, not plain and listed is None,
                                   class_names, follow_links)
    if verbose:
        say(f"Found {len(paths)} files" + (f" belonging to {len(names)} classes." if names else "."))
    if shuffle:
        order = np.arange(len(paths))
        np.random.RandomState(seed).shuffle(order)
        paths, numbers = [paths[i] for i in order], None if numbers is None else numbers[order]
    targets = None if numbers is None else _encoded(numbers, label_mode, names)
    made = [
        TextBatches(paths[part], None if targets is None else targets[part], batch_size, max_length,
                    shuffle and not (subset == "both" and name == "validation"), seed, names)
        for name, part in _parts(len(paths), validation_split, subset, directory, verbose)
    ]
    return made if subset == "both" else made[0]


class TextBatches(Batches):
    """Batches (texts, labels), or texts alone, read as they are asked for.

    `text_dataset_from_directory` makes it. It can be read again and again, ``len`` is the number of batches,
    and it has the methods of `tdfast.utils.batches.Batches`.

    Attributes:
        file_paths: of the texts, before a pass draws their order.
        labels: of these, as they are in the batches, or None.
        class_names: the names of the classes in the order of their labels, or None.

    >>> import tempfile
    >>> path = tempfile.mkdtemp() + "/a.txt"
    >>> with open(path, "w") as file:
    ...     n = file.write("to be")
    >>> [texts.tolist() for texts in TextBatches([path, path], max_length=2)]
    [['to', 'to']]
    """

    def __init__(self, file_paths: Sequence[str], labels: Any = None, batch_size: int | None = 32,
                 max_length: int | None = None, shuffle: bool = False, seed: int | None = None,
                 class_names: Sequence[str] | None = None) -> None:
        self.file_paths, self.labels, self.batch_size = list(file_paths), labels, batch_size
        self.max_length, self.shuffled, self.class_names = max_length, shuffle, class_names
        self._draw = None if seed is None else np.random.Generator(np.random.SFC64(random.check_seed(seed)))

    @property
    def batched(self) -> bool:  # type: ignore[override]
        """Whether an element is a batch of texts."""
        return self.batch_size is not None

    def _count(self) -> int:
        return -(-len(self.file_paths) // (self.batch_size or 1))

    def example(self) -> Array | tuple[Any, ...]:
        """The first element in the order of the files, for `element_spec`."""
        return self._element(np.arange(len(self.file_paths)), 0)

    def __iter__(self) -> Iterator[Any]:
        n = len(self.file_paths)
        order = (self._draw or random.generator()).permutation(n) if self.shuffled else np.arange(n)
        for i in range(len(self)):
            yield self._element(order, i)

    def _element(self, order: Array, i: int) -> Any:
        if self.batch_size is None:
            texts: Any = self._text(order[i])
            return texts if self.labels is None else (texts, self.labels[order[i]])
        rows = order[i * self.batch_size : (i + 1) * self.batch_size]
        texts = np.empty(len(rows), object)
        texts[:] = [self._text(row) for row in rows]
        return texts if self.labels is None else (texts, self.labels[rows])

    def _text(self, i: int) -> str:
        path = self.file_paths[i]
        try:
            with open(path, encoding="utf8", newline="") as file:
                return file.read(-1 if self.max_length is None else self.max_length)
        except UnicodeDecodeError as error:
            raise ValueError(f"{path} is no text in UTF-8 ({error}). Write it anew in UTF-8, or take it out "
                             "of "
                             "the folder.") from None


# ---------------------------------------------------------------- arguments
def _listed(labels: Any) -> Array:
    """Labels of a list, as whole numbers."""
    if not isinstance(labels, (list, tuple, np.ndarray)):
        raise ValueError(f"{WHO}: labels must be 'inferred', None or a list of whole numbers, got "
                         f"{labels!r}.")
    numbers = np.asarray(labels)
    if numbers.ndim != 1 or (numbers.size and numbers.dtype.kind not in "iu"):
        raise ValueError(f"{WHO}: labels must be a list of whole numbers, one for each file, got "
                         f"{labels!r:.60}.")
    return numbers.astype("int32")


def _check(labels: Any, label_mode: str | None, class_names: Any, listed: bool) -> None:
    if isinstance(labels, str) and labels != "inferred":
        raise ValueError(f"{WHO}: labels must be 'inferred', None or a list of whole numbers, got "
                         f"{labels!r}.")
    if label_mode not in ("int", "categorical", "binary", None):
        raise ValueError(f"{WHO}: label_mode must be 'int', 'categorical', 'binary' or None, got "
                         f"{label_mode!r}.")
    if class_names is not None and (listed or labels is None or label_mode is None):
        raise ValueError(f"{WHO}: class_names are the names of folders, for labels='inferred' and a "
                         "label_mode. "
                         "Leave them out.")


def _check_split(validation_split: float | None, subset: str | None, shuffle: bool, seed: Any) -> None:
    if validation_split and not 0 < validation_split < 1:
        raise ValueError(f"{WHO}: validation_split must be between 0 and 1, got {validation_split}.")
    if subset not in ("training", "validation", "both", None):
        raise ValueError(f"{WHO}: subset must be 'training', 'validation', 'both' or None, got {subset!r}.")
    if bool(validation_split) != bool(subset):
        raise ValueError(f"{WHO}: validation_split and subset belong together, got validation_split="
                         f"{validation_split} and subset={subset!r}.")
    if validation_split and shuffle and seed is None and subset != "both":
        raise ValueError(
            f"{WHO}: give a seed beside validation_split, or shuffle=False: without it the two calls, for "
            "'training' and for 'validation', would draw another order each, and files would be in both."
        )


def _files(directory: str, listed: Array | None, inferred: bool, class_names: Any,
           follow_links: bool) -> tuple[list[str], Array | None, list[str] | None]:
    """(paths, the numbers of their classes, the names of these) in the order of the sorted paths."""
    if not inferred:
        paths = _texts_in(directory, follow_links)
        if listed is None:
            return paths, None, None
        if len(listed) != len(paths):
            raise ValueError(f"{WHO}: labels must have one number for each file, but there are "
                             f"{len(listed)} for "
                             f"{len(paths)} files in {directory}.")
        return paths, listed, [str(label) for label in sorted(set(listed.tolist()))]
    folders = sorted(name for name in os.listdir(directory)
                     if not name.startswith(".") and os.path.isdir(os.path.join(directory, name)))
    if class_names is not None and not set(class_names) <= set(folders):
        raise ValueError(f"{WHO}: class_names must be names of folders in {directory}, which has {folders}, "
                         "got "
                         f"{list(class_names)}.")
    names = folders if class_names is None else list(class_names)
    if not names:
        raise ValueError(f"{WHO}: {directory} has no folders, each of which would be a class. Give "
                         "labels=None for "
                         "texts without labels.")
    found = [_texts_in(os.path.join(directory, name), follow_links) for name in names]
    numbers = np.repeat(np.arange(len(names), dtype="int32"), [len(paths) for paths in found])
    return [path for paths in found for path in paths], numbers, names


def _texts_in(folder: str, follow_links: bool) -> list[str]:
    """The paths of the .txt files in a folder and its folders: folder by folder, sorted."""
    walk = sorted(os.walk(folder, followlinks=follow_links), key=lambda place: place[0])
    return [os.path.join(root, name) for root, _, names in walk for name in sorted(names)
            if name.lower().endswith(".txt")]


def _encoded(numbers: Array, label_mode: str | None, names: Sequence[str] | None) -> Array:
    """Labels as they are in the batches."""
    if label_mode == "int":
        return numbers
    classes = len(names or ())
    if label_mode == "binary" and classes != 2:
        raise ValueError(f"{WHO}: label_mode='binary' is for two classes, got {classes}: {names}.")
    if numbers.size and not 0 <= numbers.min() <= numbers.max() < classes:
        raise ValueError(f"{WHO}: with label_mode={label_mode!r} the labels of {classes} classes must be the "
                         f"numbers from 0 to {classes - 1}, got {names}.")
    if label_mode == "binary":
        return numbers.astype("float32")[:, None]
    return (numbers[:, None] == np.arange(classes)).astype("float32")


def _parts(n: int, validation_split: float | None, subset: str | None, directory: str,
           verbose: bool) -> list[tuple[str | None, slice]]:
    """(name, which of the files) of each data set that is asked for."""
    if not n:
        raise ValueError(f"{WHO}: there are no .txt files in {directory}, or in the folders of its classes.")
    if not subset or not validation_split:
        return [(None, slice(None))]
    held = int(validation_split * n)
    sizes = {"training": n - held, "validation": held}
    out: list[tuple[str | None, slice]] = []
    for name in sizes if subset == "both" else (subset,):
        if not sizes[name]:
            raise ValueError(f"{WHO}: validation_split={validation_split} of {n} files leaves none for "
                             f"{name}. Give another share.")
        if verbose:
            say(f"Using {sizes[name]} files for {name}.")
        out.append((name, slice(0, n - held) if name == "training" else slice(n - held, n)))
    return out
