"""`tdfast.datasets` from files as the real ones, but small; test_live_data.py compares with Keras."""

import hashlib
import importlib
import os
import pickle

import numpy as np
import pytest
import small_sets
from served import served

import tdfast
from tdfast import datasets
from tdfast.datasets import cifar, files
from tdfast.errors import FileError


@pytest.fixture
def site(tmp_path, monkeypatch):
    """The data sets, served on this machine with their own hashes; the cache is a new folder."""
    pytest.importorskip("pooch")
    for name in ("http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    monkeypatch.setenv("KERAS_HOME", str(tmp_path / "home"))
    folder = tmp_path / "site"
    folder.mkdir()
    small_sets.write(folder)

    def get_file(fname, origin, file_hash=None, **options):
        if file_hash is not None:
            content = (folder / origin.rpartition("/")[2]).read_bytes()
            file_hash = hashlib.new({32: "md5", 64: "sha256"}[len(file_hash)], content).hexdigest()
        return tdfast.utils.get_file(fname, origin, file_hash=file_hash, **options)

    for module in (files, cifar):
        monkeypatch.setattr(module, "get_file", get_file)
    with served(folder) as (address, asked):
        monkeypatch.setattr(files, "GOOGLE", address)
        monkeypatch.setattr(files, "TORONTO", address)
        yield folder, asked


def test_imdb(site, tmp_path):
    folder, asked = site
    with np.load(folder / "imdb.npz", allow_pickle=True) as raw:
        texts, labels = raw["x_train"], raw["y_train"]
    order = np.arange(90)
    np.random.RandomState(113).shuffle(order)
    (x, y), (x_test, y_test) = datasets.imdb.load_data()
    assert x.dtype == object and len(x) == 90 and len(x_test) == 70 == len(y_test)
    largest = max(max(text) for text in [*x, *x_test])
    # Keras, too, takes the largest number for the number of words, so that this word is not kept.
    assert x[0] == [1] + [w + 3 if w + 3 <= max(map(max, [*x, *x_test])) else 2 for w in texts[order[0]]]
    assert np.array_equal(y, labels[order]) and largest > 400
    (x, _), _ = datasets.imdb.load_data(num_words=20, skip_top=5, start_char=None, index_from=0)
    assert x[3] == [w if 5 <= w < 20 else 2 for w in texts[order[3]]]
    (x, y), _ = datasets.imdb.load_data(maxlen=10, oov_char=None, num_words=20)
    kept = [i for i in order if len(texts[i]) + 1 < 10]
    assert x[0] == [1] + [w + 3 for w in texts[kept[0]] if w + 3 < 20]
    assert y.tolist() == labels[kept].tolist()
    assert asked == ["/imdb.npz"] and (tmp_path / "home" / "datasets" / "imdb.npz").exists()
    with pytest.raises(ValueError, match="maxlen=2 keeps the texts of fewer words"):
        datasets.imdb.load_data(maxlen=2)


def test_reuters(site):
    (x, y), (x_test, y_test) = datasets.reuters.load_data(num_words=100, test_split=0.25)
    assert (len(x), len(y), len(x_test), len(y_test)) == (90, 90, 30, 30)
    assert all(text[0] == 1 and max(text) < 100 for text in x)
    assert len(set(datasets.reuters.get_label_names())) == 46 > y.max()
    with pytest.raises(ValueError, match="reuters.load_data: maxlen=2"):
        datasets.reuters.load_data(maxlen=2)


@pytest.mark.parametrize("name", ["imdb", "reuters"])
def test_word_index(site, name):
    assert getattr(datasets, name).get_word_index()["caf\u00e9"] == 2


def test_images(site, tmp_path):
    folder, asked = site
    (x, y), (x_test, y_test) = datasets.mnist.load_data("digits.npz")
    with np.load(folder / "mnist.npz") as raw:
        assert np.array_equal(x, raw["x_train"]) and np.array_equal(y_test, raw["y_test"])
    assert (tmp_path / "home" / "datasets" / "digits.npz").exists()
    (x, y), (x_test, y_test) = datasets.fashion_mnist.load_data()
    assert x.shape == (9, 28, 28) and y.shape == (9,) and x_test.shape == (4, 28, 28) and y_test.shape == (4,)
    assert (tmp_path / "home" / "datasets" / "fashion-mnist").is_dir()
    (x, y), (x_test, y_test) = datasets.cifar10.load_data()
    assert x.shape == (1000, 32, 32, 3) and y.shape == (1000, 1) and x_test.shape == (200, 32, 32, 3)
    assert {a.dtype.name for a in (x, y, x_test, y_test)} == {"uint8"}
    unpacked = tmp_path / "home" / "datasets" / "cifar-10-batches-py-target" / "cifar-10-batches-py"
    raw = pickle.loads((unpacked / "data_batch_2").read_bytes())
    assert np.array_equal(x[200], raw[b"data"][0].reshape(3, 32, 32).transpose(1, 2, 0))
    fine, coarse = (datasets.cifar100.load_data(mode)[0][1] for mode in ("fine", "coarse"))
    assert fine.shape == coarse.shape == (200, 1) and (fine != coarse).any()
    assert len(asked) == len(set(asked)) == 7


def test_housing(site):
    (x, y), (x_test, y_test) = datasets.california_housing.load_data()
    assert x.shape == (621, 8) and y.shape == (621,) and x_test.shape == (156, 8) and y_test.shape == (156,)
    (x, y), (x_test, y_test) = datasets.california_housing.load_data("small", test_split=0, seed=3)
    assert len(x) == len(y) == 600 and len(x_test) == len(y_test) == 0
    assert datasets.boston_housing.load_data()[0][0].shape == (621, 13)
    x += 1          # arrays of one's own


@pytest.mark.parametrize("module, options, match", [
    ("california_housing", {"version": "tiny"}, "'small' or 'large', got 'tiny'"),
    ("california_housing", {"test_split": 1}, "from 0 to below 1, got 1"),
    ("boston_housing", {"test_split": -0.1}, "from 0 to below 1"),
    ("cifar100", {"label_mode": "medium"}, "'fine' or 'coarse', got 'medium'"),
])
def test_mistakes(module, options, match):
    with pytest.raises(ValueError, match=match):
        getattr(datasets, module).load_data(**options)


def test_files_run_nothing(tmp_path):
    class Evil:
        def __reduce__(self):
            return os.mkdir, (str(tmp_path / "made"),)

    np.savez(tmp_path / "a.npz", x=np.array([Evil()], dtype=object))
    (tmp_path / "batch").write_bytes(pickle.dumps({b"data": Evil()}))
    with pytest.raises(FileError, match=r"a.npz: x.npy asks for posix.mkdir.*damaged or forged"):
        files.arrays_of(str(tmp_path / "a.npz"))
    with pytest.raises(FileError, match="batch asks for posix.mkdir"):
        cifar.read(str(tmp_path / "batch"))
    assert not (tmp_path / "made").exists()


def test_the_modules_are_found():
    assert set(datasets.__all__) <= set(dir(datasets))
    for name in datasets.__all__:
        assert importlib.import_module(f"tdfast.datasets.{name}") is getattr(datasets, name)
    with pytest.raises(AttributeError, match="no attribute 'imagenet'"):
        datasets.imagenet  # noqa: B018
