"""Records what Keras's preprocessing layers give on TensorFlow, for tests/layers/test_text_layers.py.

Run it where both are installed: KERAS_BACKEND=tensorflow python tests/layers/keras_text/record.py
"""

import json
from pathlib import Path

DOCS = [
    "The cat sat, on the mat!",
    "Hello WORLD the world",
    "",
    "na\u00efve \u00dcn\u00efcode \u2014 dash don't",
    " tabs\tand\nnew  lines\x0b\x0cvt ",
    "a--b !!! c",
    "\u4f60\u597d \u4e16\u754c",
    "the the THE",
]
ROWS = [["a", "b", "c"], ["b", "z", ""], ["c", "c", "b"], ["\u00e9", "zz", "a"]]
NUMBERS = [[12, 36, 7], [12, -5, 1138], [36, 36, 0]]
LONG = [
    "",
    "a",
    "ab",
    "abc",
    "abcd",
    "Hello",
    "TensorFlow",
    "x" * 15,
    "y" * 16,
    "0123456789abcdefg",
    "z" * 31,
    "w" * 32,
    "v" * 33,
    "q" * 63,
    "p" * 64,
    "o" * 65,
    "lorem ipsum " * 12,
    "n" * 128,
    "m" * 129,
    "\u00fc\u00f1",
]


def text(**options):
    """TextVectorization, adapted to DOCS."""
    given = "vocabulary" in options
    return {
        "layer": "TextVectorization",
        "options": options,
        "adapt": None if given else DOCS,
        "inputs": [DOCS],
    }


def strings(inputs=ROWS, adapt=ROWS, **options):
    """StringLookup, adapted to ROWS."""
    return {
        "layer": "StringLookup",
        "options": options,
        "adapt": None if "vocabulary" in options else adapt,
        "inputs": [inputs],
    }


def integers(inputs=NUMBERS, adapt=NUMBERS, **options):
    """IntegerLookup, adapted to NUMBERS."""
    return {
        "layer": "IntegerLookup",
        "options": options,
        "adapt": None if "vocabulary" in options else adapt,
        "inputs": [inputs],
    }


def plain(layer, *inputs, adapt=None, **options):
    """A layer called on inputs."""
    return {"layer": layer, "options": options, "adapt": adapt, "inputs": list(inputs)}


MODES = ("one_hot", "multi_hot", "count", "tf_idf")
CASES = [
    text(),
    text(max_tokens=6),
    text(output_sequence_length=3),
    text(output_sequence_length=9),
    *(text(standardize=how) for how in ("lower", "strip_punctuation", None)),
    text(split="character"),
    text(split="character", standardize=None, output_sequence_length=5),
    text(split=None),
    text(ngrams=2),
    text(ngrams=3, max_tokens=20),
    text(ngrams=[2, 3]),
    text(ngrams=[3, 1]),
    text(ngrams=2, split="character", output_sequence_length=6),
    *(text(output_mode=mode) for mode in MODES[1:]),
    *(text(output_mode=mode, max_tokens=50, pad_to_max_tokens=True) for mode in MODES[1:]),
    text(output_mode="count", max_tokens=5),
    text(output_mode="tf_idf", ngrams=2, max_tokens=12),
    text(vocabulary=["the", "cat", "\u00fcn\u00efcode", "dont"]),
    text(vocabulary=["", "[UNK]", "the", "cat"]),
    text(vocabulary=["[UNK]", "the", "cat"], output_mode="count"),
    text(vocabulary=["the", "cat"], output_mode="tf_idf", idf_weights=[0.25, 2.0]),
    strings(),
    strings(max_tokens=3),
    strings(mask_token=""),
    strings(mask_token="", max_tokens=4),
    strings(num_oov_indices=3, max_tokens=5),
    strings(num_oov_indices=3, max_tokens=5, salt=7),
    strings(num_oov_indices=4, max_tokens=7, salt=[133, 137], mask_token="b"),
    strings(oov_token="z"),
    strings(num_oov_indices=0),
    strings(vocabulary=["a", "b"]),
    strings(vocabulary=["[UNK]", "a", "b"]),
    strings(vocabulary=["", "[UNK]", "a", "b"], mask_token=""),
    strings([[0, 1, 2], [3, 9, 0]], vocabulary=["a", "b"], invert=True),
    strings([[0, 1, 2], [3, 9, 0]], vocabulary=["a", "b"], invert=True, mask_token="", oov_token="?"),
    *(strings(output_mode=mode) for mode in MODES),
    *(strings(output_mode=mode, mask_token="") for mode in MODES),
    *(strings(output_mode=mode, num_oov_indices=2, max_tokens=4) for mode in MODES),
    *(strings(output_mode=mode, max_tokens=12, pad_to_max_tokens=True) for mode in MODES[1:]),
    *(strings([[row[0]] for row in ROWS], output_mode=mode) for mode in MODES),
    *(strings([row[0] for row in ROWS], [row[0] for row in ROWS], output_mode=mode) for mode in MODES),
    strings([ROWS, ROWS], output_mode="int"),
    strings([ROWS, ROWS], output_mode="one_hot"),
    strings(vocabulary=["a", "b"], output_mode="tf_idf", idf_weights=[0.5, 3.0]),
    strings(vocabulary=["[UNK]", "a", "b"], output_mode="tf_idf", idf_weights=[9.0, 0.5, 3.0]),
    strings(
        vocabulary=["a", "b"],
        output_mode="tf_idf",
        idf_weights=[0.5, 3.0],
        max_tokens=6,
        pad_to_max_tokens=True,
    ),
    integers(),
    integers(max_tokens=3),
    integers(mask_token=0),
    integers(mask_token=36, num_oov_indices=2),
    integers(num_oov_indices=3, max_tokens=5),
    integers(num_oov_indices=3, max_tokens=5, oov_method="farmhash"),
    integers(num_oov_indices=3, max_tokens=5, oov_method="farmhash", salt=[5, 6]),
    integers(vocabulary=[7, 12]),
    integers(vocabulary=[-1, 7, 12]),
    integers(vocabulary=[0, -1, 7, 12], mask_token=0),
    integers([[0, 1, 2], [3, 9, 0]], vocabulary=[70, 71], invert=True),
    integers([[0, 1, 2], [3, 9, 0]], vocabulary=[70, 71], invert=True, mask_token=5, oov_token=-9),
    *(integers(output_mode=mode) for mode in MODES),
    *(integers(output_mode=mode, mask_token=36, max_tokens=9, pad_to_max_tokens=True) for mode in MODES[1:]),
    *(plain("CategoryEncoding", [3, 2, 0, 1], num_tokens=4, output_mode=mode) for mode in MODES[:3]),
    *(
        plain("CategoryEncoding", [[0, 1], [0, 0], [1, 2], [3, 1]], num_tokens=4, output_mode=mode)
        for mode in MODES[:3]
    ),
    *(plain("CategoryEncoding", [[0], [3]], num_tokens=4, output_mode=mode) for mode in MODES[:3]),
    plain("Discretization", [[-1.5, 1.0, 3.4, 0.5], [0.0, 3.0, 1.3, 0.0]], bin_boundaries=[0.0, 1.0, 2.0]),
    *(
        plain(
            "Discretization",
            [[-1.5, 1.0, 3.4, 0.5], [0.0, 3.0, 1.3, 0.0]],
            bin_boundaries=[0.0, 1.0, 2.0],
            output_mode=mode,
        )
        for mode in MODES[:3]
    ),
    plain(
        "Discretization",
        [[-1.5, 1.0, 3.4, 0.5], [0.0, 3.0, 1.3, 0.0]],
        num_bins=4,
        epsilon=0.01,
        adapt=[[-1.5, 1.0, 3.4, 0.5], [0.0, 3.0, 1.3, 0.0]],
    ),
    *(
        plain(
            "Discretization",
            [[x / 7] for x in range(-9, 40, 5)],
            num_bins=bins,
            epsilon=epsilon,
            adapt=[[(x * x % 101) / 13] for x in range(500)],
        )
        for bins in (2, 5, 10)
        for epsilon in (0.01, 0.1)
    ),
    plain("Hashing", LONG, num_bins=1000003),
    plain("Hashing", LONG, num_bins=1000003, salt=133),
    plain("Hashing", LONG, num_bins=1000003, salt=[133, 137]),
    plain("Hashing", [["A"], ["B"], [""], ["D"]], num_bins=3, mask_value=""),
    plain("Hashing", [[7], [-12], [0], [2**40]], num_bins=50),
    plain("Hashing", [[7], [-12], [0], [2**40]], num_bins=50, salt=9, mask_value=0),
    *(plain("Hashing", [["A", "B"], ["B", "B"]], num_bins=5, output_mode=mode) for mode in MODES[:3]),
    *(plain("Hashing", [["A"], ["B"]], num_bins=5, output_mode=mode) for mode in MODES[:3]),
    plain("Hashing", ["A", "B"], num_bins=5, output_mode="one_hot"),
    plain("HashedCrossing", ["A", "B", "A", "B", "A"], [101, 101, 101, 102, 102], num_bins=5),
    plain(
        "HashedCrossing",
        ["A", "B", "A", "B", "A"],
        [101, 101, 101, 102, 102],
        num_bins=5,
        output_mode="one_hot",
    ),
    plain("HashedCrossing", [["A"], ["B"]], [["x"], ["yy"]], num_bins=100000),
    plain("HashedCrossing", [["A"], ["B"]], [["x"], ["yy"]], num_bins=6, output_mode="one_hot"),
    plain("HashedCrossing", [1, -2], [3, 4], ["five", "six"], num_bins=1000003),
]


def made(case):
    """A case with what Keras gives."""
    import keras
    import numpy as np
    import tensorflow as tf

    options = {
        k: tuple(v) if k == "ngrams" and isinstance(v, list) else v for k, v in case["options"].items()
    }
    layer = getattr(keras.layers, case["layer"])(**options)
    if case["adapt"] is not None:
        layer.adapt(np.array(case["adapt"]) if case["layer"] == "Discretization" else case["adapt"])
    inputs = [
        np.array(x)
        if case["layer"] in ("CategoryEncoding", "Discretization")
        else tf.constant(x, tf.int64 if isinstance(np.ravel(np.array(x))[0], np.integer) else None)
        for x in case["inputs"]
    ]
    y = np.asarray(layer(inputs[0] if len(inputs) == 1 else inputs))
    out = {
        **case,
        "shape": list(y.shape),
        "output": y.astype(str).tolist() if y.dtype == object else y.tolist(),
    }
    if y.dtype == object:
        out["output"] = np.vectorize(lambda b: b.decode())(y).tolist()
    if hasattr(layer, "get_vocabulary"):
        out["vocabulary"] = [v if isinstance(v, str) else int(v) for v in layer.get_vocabulary()]
    if case["layer"] == "Discretization":
        out["boundaries"] = layer.bin_boundaries
    return out


if __name__ == "__main__":
    recorded = []
    for number, case in enumerate(CASES):
        try:
            recorded.append(made(case))
        except Exception as error:
            raise SystemExit(f"case {number}, {case}: {error}") from error
    path = Path(__file__).with_name("recorded.json")
    path.write_text("[\n" + ",\n".join(map(json.dumps, recorded)) + "\n]\n")
    print(f"{len(recorded)} cases in {path}")
