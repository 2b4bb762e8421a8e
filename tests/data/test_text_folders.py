"""`text_dataset_from_directory`; tests/live/test_live_data.py compares the order of the files with Keras."""

import os

import numpy as np
import pytest

import tdfast
from tdfast import preprocessing, utils
from tdfast.utils import text_dataset_from_directory

NAMES = ["neg/2.txt", "neg/10.txt", "neg/deep/1.TXT", "pos/a.txt", "pos/b.txt", "pos/c.txt", "pos/d.txt",
         "pos/e/f.txt", "unsup/1.txt", "unsup/2.txt"]


@pytest.fixture
def folder(tmp_path):
    for name in [*NAMES, "neg/no.csv", ".git/1.txt", "top.md"]:
        path = tmp_path / "texts" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(f"{name}: caf\u00e9\r\n", encoding="utf8", newline="")
    return tmp_path / "texts"


def names_of(batches):
    return [text.split(":")[0] for texts, *_ in batches for text in texts]


def test_texts_and_labels(folder, capsys):
    batches = text_dataset_from_directory(folder, batch_size=4, shuffle=False)
    assert capsys.readouterr().out == "Found 10 files belonging to 3 classes.\n"
    assert batches.class_names == ["neg", "pos", "unsup"] and len(batches) == 3
    assert names_of(batches) == ["neg/10.txt", "neg/2.txt", *NAMES[2:]]
    assert batches.file_paths == [str(folder / name) for name in names_of(batches)]
    for _ in range(2):
        parts = list(batches)
        assert [len(texts) for texts, _ in parts] == [4, 4, 2]
        assert np.concatenate([y for _, y in parts]).tolist() == [0, 0, 0, 1, 1, 1, 1, 1, 2, 2]
    texts, labels = parts[0]
    assert texts.dtype == object and labels.dtype == np.int32
    assert texts[0] == "neg/10.txt: caf\u00e9\r\n", "the text as it is"
    assert [spec.shape for spec in batches.element_spec] == [(None,), (None,)]


@pytest.mark.parametrize("mode, classes, want", [
    ("int", None, [0, 0, 0, 1, 1, 1, 1, 1, 2, 2]),
    ("binary", ["pos", "neg"], [[0.0]] * 5 + [[1.0]] * 3),
    ("categorical", ["unsup", "neg", "pos"],
     [[1.0, 0, 0]] * 2 + [[0, 1.0, 0]] * 3 + [[0, 0, 1.0]] * 5),
])
def test_label_modes(folder, mode, classes, want):
    batches = text_dataset_from_directory(str(folder), label_mode=mode, class_names=classes, shuffle=False,
                                          verbose=False)
    (_, labels), = batches
    assert labels.tolist() == want and labels.dtype == ("int32" if mode == "int" else "float32")
    assert batches.class_names == (classes or ["neg", "pos", "unsup"])


def test_without_labels(folder, capsys):
    for options in ({"labels": None}, {"label_mode": None}):
        batches = text_dataset_from_directory(folder, shuffle=False, **options)
        assert capsys.readouterr().out == "Found 11 files.\n"       # .git too: folders mean nothing
        texts, = batches
        assert texts.shape == (11,) and texts[0].startswith(".git/1.txt") and batches.class_names is None


def test_listed_labels(folder):
    (folder / ".git" / "1.txt").unlink()
    labels = [3, 1, 3, 1, 1, 1, 1, 1, 1, 2]
    batches = text_dataset_from_directory(folder, labels=labels, shuffle=False, verbose=False)
    (_, y), = batches
    assert y.tolist() == labels and batches.class_names == ["1", "2", "3"]
    both = text_dataset_from_directory(folder, labels=tuple(labels), seed=3, verbose=False, batch_size=None)
    paths = sorted(folder.rglob("*.[tT]*"))
    given = {str(path.relative_to(folder)): label for path, label in zip(paths, labels)}
    assert all(given[text.split(":")[0]] == label for text, label in both)
    with pytest.raises(ValueError, match="numbers from 0 to 2, got"):
        text_dataset_from_directory(folder, labels=labels, label_mode="categorical")


def test_max_length_and_no_batches(folder):
    batches = text_dataset_from_directory(folder, max_length=3, batch_size=None, shuffle=False, verbose=False)
    assert list(batches)[:4] == [("neg", 0), ("neg", 0), ("neg", 0), ("pos", 1)] and len(batches) == 10
    (texts, labels), = batches.batch(3).take(1)
    assert texts.tolist() == ["neg"] * 3 and labels.tolist() == [0, 0, 0]


def test_shuffle(folder):
    def order(**options):
        batches = text_dataset_from_directory(folder, verbose=False, **options)
        return [names_of(batches), names_of(batches)]

    first, second = order(seed=1)
    assert first != second and sorted(first) == sorted(second), "each pass is drawn anew"
    assert order(seed=1) == [first, second] != order(seed=2)
    tdfast.utils.set_random_seed(5)
    drawn = order()
    tdfast.utils.set_random_seed(5)
    assert order() == drawn
    for texts, labels in text_dataset_from_directory(folder, verbose=False, batch_size=3):
        assert [text.split("/")[0] for text in texts] == [["neg", "pos", "unsup"][i] for i in labels]


def test_subsets(folder, capsys):
    train, held = text_dataset_from_directory(folder, validation_split=0.35, subset="both", seed=7)
    assert capsys.readouterr().out.splitlines() == [
        "Found 10 files belonging to 3 classes.", "Using 7 files for training.", "Using 3 files for "
                                                                                 "validation."]
    parts = [text_dataset_from_directory(folder, validation_split=0.35, subset=name, seed=7, verbose=False)
             for name in ("training", "validation")]
    assert [part.file_paths for part in parts] == [train.file_paths, held.file_paths]
    assert [p.class_names for p in (train, held)] == [["neg", "pos", "unsup"]] * 2
    assert sorted(names_of(train) + names_of(held)) == sorted(NAMES)
    assert names_of(held) == names_of(held), "what validates stays in its order"
    last = text_dataset_from_directory(folder, validation_split=0.2, subset="validation", shuffle=False)
    assert names_of(last) == ["unsup/1.txt", "unsup/2.txt"]


def test_follow_links(folder, tmp_path):
    (tmp_path / "more").mkdir()
    (tmp_path / "more" / "x.txt").write_text("x")
    os.symlink(tmp_path / "more", folder / "pos" / "link")
    counts = [len(text_dataset_from_directory(folder, follow_links=links, verbose=False).file_paths)
              for links in (False, True)]
    assert counts == [10, 11]


def test_a_model_learns_from_it(tmp_path):
    for i in range(40):
        path = tmp_path / "t" / ("odd" if i % 2 else "even") / f"{i}.txt"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("tick " * (i % 2) + "tock " * (1 - i % 2))
    train, held = text_dataset_from_directory(tmp_path / "t", label_mode="binary", validation_split=0.25,
                                              subset="both", seed=0, batch_size=8, verbose=False)
    tokenizer = preprocessing.text.Tokenizer()
    tokenizer.fit_on_texts(text for texts, _ in train for text in texts)

    def rows(texts, labels):
        return tokenizer.texts_to_matrix(texts), labels

    model = tdfast.Sequential([tdfast.layers.Input((3,)), tdfast.layers.Dense(1, "sigmoid")])
    model.compile(tdfast.optimizers.Adam(0.1), "binary_crossentropy", metrics=["accuracy"])
    history = model.fit(train.map(rows), validation_data=held.map(rows), epochs=20, verbose=0).history
    assert history["val_accuracy"][-1] == 1


def test_where_it_is_found():
    assert preprocessing.text_dataset_from_directory is utils.text_dataset_from_directory


@pytest.mark.parametrize("options, match", [
    ({"labels": "infer"}, "'inferred', None or a list of whole numbers, got 'infer'"),
    ({"labels": 3}, "got 3"),
    ({"labels": ["a", "b"]}, "list of whole numbers, one for each file"),
    ({"labels": [0, 1]}, "there are 2 for 11 files"),
    ({"label_mode": "onehot"}, "or None, got 'onehot'"),
    ({"labels": [0] * 11, "class_names": ["a"]}, "class_names are the names of folders"),
    ({"labels": None, "class_names": ["a"]}, "class_names are the names of folders"),
    ({"class_names": ["neg", "positive"]}, r"has \['neg', 'pos', 'unsup'\], got \['neg', 'positive'\]"),
    ({"label_mode": "binary"}, "for two classes, got 3"),
    ({"validation_split": 1.5, "subset": "both", "seed": 1}, "between 0 and 1, got 1.5"),
    ({"validation_split": 0.5}, "belong together"),
    ({"subset": "both"}, "belong together"),
    ({"validation_split": 0.5, "subset": "test", "seed": 1}, "'both' or None, got 'test'"),
    ({"validation_split": 0.5, "subset": "training"}, "give a seed"),
    ({"validation_split": 0.01, "subset": "both", "seed": 1}, "of 10 files leaves none for validation"),
    ({"batch_size": 0}, "batch_size must be a whole number of at least 1, got 0"),
    ({"max_length": 0}, "max_length must be a whole number of at least 1, got 0"),
], ids=str)
def test_mistakes(folder, options, match):
    with pytest.raises(ValueError, match=match):
        text_dataset_from_directory(folder, **options)


def test_mistakes_of_folders(folder, tmp_path):
    with pytest.raises(FileNotFoundError, match="no folder"):
        text_dataset_from_directory(tmp_path / "absent")
    with pytest.raises(ValueError, match="has no folders.*labels=None"):
        text_dataset_from_directory(folder / "unsup")
    (tmp_path / "empty" / "a").mkdir(parents=True)
    with pytest.raises(ValueError, match="no .txt files in"):
        text_dataset_from_directory(tmp_path / "empty", verbose=False)
    (folder / "neg" / "latin.txt").write_bytes(b"caf\xe9")
    with pytest.raises(ValueError, match="latin.txt is no text in UTF-8"):
        list(text_dataset_from_directory(folder, verbose=False))
    with pytest.raises(TypeError, match="NumPy arrays"):
        text_dataset_from_directory(folder, format="grain")
