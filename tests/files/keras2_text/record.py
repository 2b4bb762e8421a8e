"""Writes tokenizer.json: what Keras 2's text preprocessing gives.

    pip install keras_preprocessing==1.1.2 && python record.py
"""

import json
from pathlib import Path

import keras_preprocessing
from keras_preprocessing import text

TEXTS = [
    "To be, or not to be: that is the question!", "Whether 'tis nobler in the mind to suffer",
    "the slings\tand arrows\nof outrageous fortune; or to take arms", "", "   ...   ",
    "Stra\u00dfe \u00c9T\u00c9 \u0130stanbul na\u00efve caf\u00e9 caf\u00e9", "a--b  c;;d", "to to to TO "
                                                                                            "the the",
]
LISTS = [["To", "be,"], ["or", "Not", "to"], [], ["To be"]]
NEW = ["To sleep, perchance to dream", "the question is the mind", "", "fortune"]
OPTIONS = [
    {}, {"num_words": 8}, {"oov_token": "<oov>"}, {"num_words": 6, "oov_token": "<oov>"}, {"lower": False},
    {"char_level": True}, {"char_level": True, "num_words": 10, "oov_token": "#"},
    {"filters": "", "split": "e"},
    {"split": "--", "filters": ",;"}, {"oov_token": "to"}, {"num_words": 1},
]
SEQUENCES = [[1, 2, 3, 1], [], [5, 1, 99], [7, 7, 7, 2]]
MODES = ("binary", "count", "freq", "tfidf")


def entries(matrix):
    """The shape, then row, column and value of each number but 0."""
    return [list(matrix.shape), *([int(i), int(j), matrix[i, j]] for i, j in zip(*matrix.nonzero()))]


def results(options, texts):
    tokenizer = text.Tokenizer(**options)
    tokenizer.fit_on_texts(texts)
    tokenizer.fit_on_texts(texts[:3])
    tokenizer.fit_on_sequences(SEQUENCES)
    numbers = tokenizer.texts_to_sequences(texts + NEW)
    return {
        "options": options, "texts": texts, "json": tokenizer.to_json(), "sequences": numbers,
        "back": tokenizer.sequences_to_texts(numbers + SEQUENCES),
        "matrices": {mode: entries(tokenizer.texts_to_matrix(texts + NEW, mode)) for mode in MODES},
        "rows": {mode: entries(tokenizer.sequences_to_matrix(SEQUENCES, mode)) for mode in MODES},
    }


def main():
    out = {
        "version": keras_preprocessing.__version__, "new": NEW, "lists_of_numbers": SEQUENCES,
        "tokenizers": [*(results(options, TEXTS) for options in OPTIONS),
                       *(results(options, LISTS) for options in ({}, {"lower": False, "oov_token": "?"}))],
        "words": [[one, options, text.text_to_word_sequence(one, **options)] for one in TEXTS
                  for options in ({}, {"lower": False}, {"filters": "e", "split": "--"})],
        "hashes": [[one, n, text.hashing_trick(one, n, "md5")] for one in TEXTS for n in (2, 50, 1000)],
    }
    path = Path(__file__).with_name("tokenizer.json")
    path.write_text(json.dumps(out, separators=(",", ":")) + "\n", encoding="utf8")


if __name__ == "__main__":
    main()
