"""`tdfast.preprocessing.text` beside what Keras 2 gave, in files/keras2_text."""

import json
import pickle
from pathlib import Path

import numpy as np
import pytest

from tdfast.preprocessing import text
from tdfast.preprocessing.text import Tokenizer, tokenizer_from_json
from tdfast.utils import pad_sequences

RECORDED = json.loads((Path(__file__).resolve().parents[1] / "files" / "keras2_text" / "tokenizer.json")
                      .read_text(encoding="utf8"))


def matrix(entries):
    (rows, columns), *numbers = entries
    out = np.zeros((rows, columns))
    for i, j, value in numbers:
        out[i, j] = value
    return out


def fitted(case):
    tokenizer = Tokenizer(**case["options"])
    tokenizer.fit_on_texts(case["texts"])
    tokenizer.fit_on_texts(iter(case["texts"][:3]))
    tokenizer.fit_on_sequences(RECORDED["lists_of_numbers"])
    return tokenizer


@pytest.mark.parametrize("case", RECORDED["tokenizers"], ids=lambda case: str(case["options"]))
@pytest.mark.parametrize("made", ["fitted", "from Keras's JSON", "from JSON", "pickled"])
def test_all_is_as_in_keras_2(case, made):
    tokenizer = fitted(case)
    if made == "from Keras's JSON":
        tokenizer = tokenizer_from_json(case["json"])
    elif made == "from JSON":
        tokenizer = tokenizer_from_json(tokenizer.to_json(indent=2))
    elif made == "pickled":
        tokenizer = pickle.loads(pickle.dumps(tokenizer))
    want = json.loads(case["json"])
    got = json.loads(tokenizer.to_json())
    assert got["class_name"] == want["class_name"] and set(got["config"]) == set(want["config"])
    for name, value in want["config"].items():
        mine = got["config"][name]
        if name in ("word_docs", "index_docs"):         # Keras goes through a set, in an order that changes
            assert json.loads(mine) == json.loads(value)
        else:
            assert mine == value, name
    texts = case["texts"] + RECORDED["new"]
    numbers = tokenizer.texts_to_sequences(texts)
    assert numbers == case["sequences"] == list(tokenizer.texts_to_sequences_generator(iter(texts)))
    both = numbers + RECORDED["lists_of_numbers"]
    assert tokenizer.sequences_to_texts(both) == case["back"]
    assert list(tokenizer.sequences_to_texts_generator(iter(both))) == case["back"]
    for mode in ("binary", "count", "freq", "tfidf"):
        for mine, entries in ((tokenizer.texts_to_matrix(texts, mode), case["matrices"][mode]),
                              (tokenizer.sequences_to_matrix(RECORDED["lists_of_numbers"], mode),
                               case["rows"][mode])):
            # NumPy's logarithm is not the same to the last bit everywhere
            assert np.allclose(mine, matrix(entries), rtol=1e-14, atol=0) and mine.dtype == np.float64


@pytest.mark.parametrize("one, options, words", RECORDED["words"], ids=str)
def test_words(one, options, words):
    assert text.text_to_word_sequence(one, **options) == words


@pytest.mark.parametrize("one, n, numbers", RECORDED["hashes"], ids=str)
def test_hashes(one, n, numbers):
    assert text.hashing_trick(one, n, "md5") == numbers


def test_functions_of_ones_own():
    assert text.hashing_trick("a bb a", 10, len) == [2, 3, 2]
    assert text.one_hot("a b", 10) == text.hashing_trick("a b", 10) == [hash("a") % 9 + 1, hash("b") % 9 + 1]
    assert text.one_hot("a-b", 10, analyzer=lambda one: one.split("-")) == text.one_hot("a b", 10)
    tokenizer = Tokenizer(analyzer=lambda one: iter(one.split("|")))
    tokenizer.fit_on_texts(["A b|c", "c"])
    assert tokenizer.word_index == {"c": 1, "A b": 2}
    assert tokenizer.texts_to_sequences(["c|A b"]) == [[1, 2]]


def test_a_script():
    """From texts to the rows of a model."""
    tokenizer = Tokenizer(num_words=5, oov_token="<unk>")
    tokenizer.fit_on_texts(np.array(["the cat sat", "the dog sat down"]))
    rows = pad_sequences(tokenizer.texts_to_sequences(np.array(["the dog", "a cat sat"])), maxlen=3)
    assert rows.tolist() == [[0, 2, 1], [1, 4, 3]]


def test_one_string_is_told():
    with pytest.warns(UserWarning, match=r"fit_on_texts takes a list of texts.*Give \[text\]") as caught:
        Tokenizer().fit_on_texts("to be")
    assert caught[0].filename == __file__
    letters = Tokenizer(char_level=True)
    letters.fit_on_texts("to be")               # all letters of a long text are often given so
    assert letters.texts_to_sequences(["bet"]) == [[4, 5, 1]]


@pytest.mark.parametrize("run, error, match", [
    (lambda: Tokenizer().fit_on_texts(["a", float("nan")]), TypeError, r"string, got nan \(float\)"),
    (lambda: Tokenizer(char_level=True).fit_on_texts([3]), TypeError, "must be a string, got 3"),
    (lambda: Tokenizer().fit_on_texts([[1, 2]]), TypeError, "holds words, got"),
    (lambda: Tokenizer(nb_word=3), TypeError, "num_words"),
    (lambda: Tokenizer().texts_to_matrix(["a"]), ValueError, "Give num_words, or call fit_on_texts"),
    (lambda: Tokenizer(3).texts_to_matrix(["a"], "tfidf"), ValueError, "needs counts of texts"),
    (lambda: Tokenizer(3).texts_to_matrix(["a"], "tf-idf"), ValueError, "'freq' or 'tfidf', got 'tf-idf'"),
    (lambda: text.hashing_trick("a", 1), ValueError, "n must be a whole number of at least 2, got 1"),
    (lambda: text.hashing_trick("a", 9, "sha1"), ValueError, "'md5', a function or None, got 'sha1'"),
    (lambda: text.one_hot(None, 9), TypeError, "must be a string, got None"),
    (lambda: tokenizer_from_json("{}"), ValueError, "expects what Tokenizer.to_json gives"),
    (lambda: tokenizer_from_json("no JSON"), ValueError, "expects what Tokenizer.to_json gives"),
    (lambda: tokenizer_from_json('{"config": {"num_words": 3}}'), ValueError, "word_counts"),
], ids=str)
def test_mistakes(run, error, match):
    with pytest.raises(error, match=match):
        run()
