"""`tdfast.datasets` beside Keras's, from the same files: the addresses, the hashes, and every bit."""

import importlib
import os
import tarfile

import numpy as np
import pytest

os.environ.setdefault("KERAS_BACKEND", "jax")
pytest.importorskip(os.environ["KERAS_BACKEND"])
keras = pytest.importorskip("keras")

import small_sets  # noqa: E402

from tdfast import datasets  # noqa: E402
from tdfast.datasets import cifar, files  # noqa: E402


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
