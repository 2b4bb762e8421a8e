"""`tdfast.datasets` beside Keras's, from the same files: the addresses, the hashes, and every bit. The
order of the files of `text_dataset_from_directory`; tokenizers that one writes and the other reads."""

import importlib
import inspect
import os
import tarfile

import numpy as np
import pytest

os.environ.setdefault("KERAS_BACKEND", "jax")
pytest.importorskip(os.environ["KERAS_BACKEND"])
keras = pytest.importorskip("keras")

import small_sets  # noqa: E402
from keras.src.legacy.preprocessing import text as keras_text  # noqa: E402
from keras.src.utils import dataset_utils  # noqa: E402

from tdfast import datasets, utils  # noqa: E402
from tdfast.datasets import cifar, files  # noqa: E402
from tdfast.preprocessing import text  # noqa: E402


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("site")
    small_sets.write(folder, 10000)         # Keras knows no other number of images of cifar10
    for name in ("cifar-10-python", "cifar-100-python"):
        with tarfile.open(folder / f"{name}.tar.gz") as archive:
            archive.extractall(folder / name)
    return folder


@pytest.fixture
def both(folder, monkeypatch):
    """Calls a function of both libraries on one folder; what they ask `get_file` for must be the same."""
    def call(module, name, *args, **kwargs):
        theirs = importlib.import_module(f"keras.src.datasets.{module}")
        asked = []
        for library, places in ((theirs, [theirs]), (getattr(datasets, module), [files, cifar])):
            calls = []

            def get_file(fname=None, origin=None, file_hash=None, cache_subdir="datasets", extract=False,
                         calls=calls):
                calls.append((fname, origin, file_hash, cache_subdir, extract))
                return str(folder / os.path.basename(origin).removesuffix(".tar.gz"))

            for place in places:
                monkeypatch.setattr(place, "get_file", get_file)
            asked.append((calls, getattr(library, name)(*args, **kwargs)))
        (calls, want), (own_calls, got) = asked
        assert sorted(map(str, own_calls)) == sorted(map(str, calls)) and calls
        return want, got

    return call


TEXTS = [{}, {"num_words": 50}, {"num_words": 50, "skip_top": 10}, {"maxlen": 20}, {"seed": 7},
         {"start_char": None}, {"start_char": None, "index_from": 0}, {"oov_char": None, "num_words": 40},
         {"index_from": 10, "start_char": 5, "oov_char": 6, "num_words": 100}]
HOUSES = [{}, {"test_split": 0.0}, {"test_split": 0.37, "seed": 1}]


@pytest.mark.parametrize("module, options", [
    *(("imdb", options) for options in TEXTS),
    *(("reuters", options) for options in [*TEXTS, {"test_split": 0.5}, {"test_split": 0.0}]),
    ("mnist", {}), ("mnist", {"path": "digits.npz"}), ("fashion_mnist", {}), ("cifar10", {}),
    ("cifar100", {}), ("cifar100", {"label_mode": "coarse"}),
    *(("california_housing", options) for options in [*HOUSES, {"version": "small"}]),
    *(("boston_housing", options) for options in HOUSES),
], ids=str)
def test_every_bit(both, module, options):
    want, got = both(module, "load_data", **options)
    for theirs, mine in zip((a for part in want for a in part), (a for part in got for a in part)):
        assert mine.dtype == theirs.dtype and mine.shape == theirs.shape
        assert np.array_equal(mine, theirs)
        if mine.dtype == object and mine.ndim == 1:
            assert all(type(a) is type(b) and list(map(type, a)) == list(map(type, b))
                       for a, b in zip(mine, theirs))


@pytest.mark.parametrize("module", ["imdb", "reuters"])
def test_word_index(both, module):
    want, got = both(module, "get_word_index")
    assert want == got and list(want) == list(got)


def test_label_names():
    assert datasets.reuters.get_label_names() == keras.datasets.reuters.get_label_names()


@pytest.mark.parametrize("options", [
    {}, {"shuffle": False}, {"class_names": ["c", "a"]}, {"labels": None}, {"labels": list(range(12))},
    {"follow_links": True},
], ids=str)
@pytest.mark.parametrize("split", [None, 0.15, 0.3, 0.75])
def test_files_of_texts(tmp_path, options, split):
    """The order of the files, their labels and what is in which subset."""
    for name in ("a/10.txt", "a/9.txt", "a/B/1.txt", "a/b/1.txt", "a-b/1.txt", "b/1.TXT", "b/2.txt",
                 "b/3.csv", "c/1.txt", "c/2.txt", "c/.3.txt", "c/d/e/1.txt", "c/d/1.txt"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(name)
    os.symlink(tmp_path / "c", tmp_path / "b" / "link")
    given = {"labels": "inferred", "shuffle": True, "seed": 42, **options}
    theirs = {**given, "labels": list(given["labels"])} if isinstance(given["labels"], list) else given
    paths, labels, names = dataset_utils.index_directory(str(tmp_path), formats=(".txt",), **theirs)
    for subset in ("training", "validation") if split else (None,):
        want, numbers = dataset_utils.get_training_or_validation_split(paths, labels, split, subset)
        batches = utils.text_dataset_from_directory(tmp_path, validation_split=split, subset=subset, **given)
        assert batches.file_paths == want and batches.class_names == names
        assert labels is None if batches.labels is None else batches.labels.tolist() == list(numbers)


@pytest.mark.parametrize("options", [{}, {"num_words": 4, "oov_token": "?"}, {"char_level": True}], ids=str)
def test_tokenizers_go_both_ways(options):
    texts = ["To be, or not to be", "that is the question", ""]
    mine, theirs = text.Tokenizer(**options), keras_text.Tokenizer(**options)
    for tokenizer in (mine, theirs):
        tokenizer.fit_on_texts(texts)
    want = theirs.texts_to_sequences(texts)
    assert mine.texts_to_sequences(texts) == want
    assert text.tokenizer_from_json(theirs.to_json()).texts_to_sequences(texts) == want
    assert keras_text.tokenizer_from_json(mine.to_json()).texts_to_sequences(texts) == want


@pytest.mark.parametrize("name", text.__all__)
def test_arguments_of_texts(name):
    want, got = (list(inspect.signature(getattr(module, name)).parameters.values())
                 for module in (keras_text, text))
    want = [(p.name, p.default) for p in want if p.kind is not p.VAR_KEYWORD]
    assert [(p.name, p.default) for p in got][: len(want)] == want
