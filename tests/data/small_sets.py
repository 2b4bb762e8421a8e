"""Files as those of the data sets, but small: for the tests without a network."""

import gzip
import io
import json
import pickle
import tarfile

import numpy as np


def texts(rng, n):
    """Lists of words' numbers of different lengths, as an array of objects."""
    out = np.empty(n, object)
    for i in range(n):
        out[i] = (rng.zipf(1.3, rng.integers(2, 60)) % 500 + 1).tolist()
    return out


def write(folder, images=200):
    """All of them into a folder, under the names that they have at their sources.

    Args:
        images: of each file of cifar10 and cifar100.
    """
    rng = np.random.default_rng(5)
    np.savez(folder / "imdb.npz", x_train=texts(rng, 90), y_train=rng.integers(0, 2, 90),
             x_test=texts(rng, 70), y_test=rng.integers(0, 2, 70))
    np.savez(folder / "reuters.npz", x=texts(rng, 120), y=rng.integers(0, 46, 120))
    for name in ("imdb", "reuters"):
        words = {"the": 1, "caf\u00e9": 2, "l'\u00e9t\u00e9": 3}
        (folder / f"{name}_word_index.json").write_text(json.dumps(words))
    np.savez(folder / "mnist.npz", **{
        f"{a}_{b}": rng.integers(0, 256, (7, 28, 28) if a == "x" else 7, "uint8")
        for a in "xy" for b in ("train", "test")
    })
    for part, n in (("train", 9), ("t10k", 4)):
        for name, head, shape in (("labels-idx1", 8, (n,)), ("images-idx3", 16, (n, 28, 28))):
            content = bytes(head) + rng.integers(0, 256, shape, "uint8").tobytes()
            (folder / f"{part}-{name}-ubyte.gz").write_bytes(gzip.compress(content))
    for name, k in (("california", 8), ("boston", 13)):
        np.savez(folder / f"{name}_housing.npz", x=rng.normal(size=(777, k)).astype("float32"),
                 y=rng.normal(size=777).astype("float32"))
    cifar(folder / "cifar-10-python.tar.gz", "cifar-10-batches-py",
          [*(f"data_batch_{i}" for i in range(1, 6)), "test_batch"], ["labels"], images, rng)
    cifar(folder / "cifar-100-python.tar.gz", "cifar-100-python", ["train", "test"],
          ["fine_labels", "coarse_labels"], images, rng)


def cifar(path, folder, names, labels, n, rng):
    with tarfile.open(path, "w:gz", compresslevel=1) as archive:
        for name in names:
            data = rng.integers(0, 256, (min(n, 50), 3072), "uint8")[rng.integers(0, min(n, 50), n)]
            # as Python 2 wrote it, with bytes for keys
            content = pickle.dumps({b"data": data, b"batch_label": b"a part", **{
                key.encode(): rng.integers(0, 10, n).tolist() for key in labels}}, protocol=4)
            member = tarfile.TarInfo(f"{folder}/{name}")
            member.size = len(content)
            archive.addfile(member, io.BytesIO(content))
