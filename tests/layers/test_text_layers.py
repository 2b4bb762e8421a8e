"""Layers that make numbers of text and of columns of tables: against what Keras gives on TensorFlow.

tests/layers/keras_text/record.py has recorded that.
"""

import concurrent.futures
import copy
import json
import pickle
import zipfile
from pathlib import Path

import numpy as np
import pytest

import tdfast
from tdfast import layers

RECORDED = json.loads((Path(__file__).parent / "keras_text" / "recorded.json").read_text())
AVAILABLE = [case for case in RECORDED if case["layer"] in layers.__all__]


def options_of(case):
    options = dict(case["options"])
    if isinstance(options.get("ngrams"), list):
        options["ngrams"] = tuple(options["ngrams"])
    return options


def layer_of(case):
    layer = getattr(layers, case["layer"])(**options_of(case))
    if case["adapt"] is not None:
        layer.adapt(np.array(case["adapt"]) if case["layer"] == "Discretization" else case["adapt"])
    return layer


def name_of(case):
    rest = ", ".join(f"{k}={v}" for k, v in case["options"].items())
    return f"{case['layer']}({rest:.80})"


def same(y, case):
    assert list(y.shape) == case["shape"]
    if y.dtype == object:
        assert y.tolist() == case["output"]
    else:
        np.testing.assert_allclose(y, np.array(case["output"]).reshape(case["shape"]), rtol=1e-6, atol=0)


@pytest.mark.parametrize("case", AVAILABLE, ids=name_of)
def test_values_are_those_of_keras_on_tensorflow(case):
    layer = layer_of(case)
    if "vocabulary" in case:
        assert layer.get_vocabulary() == case["vocabulary"]
        assert layer.vocabulary_size() == len(case["vocabulary"])
    if "boundaries" in case:
        np.testing.assert_allclose(layer.bin_boundaries, case["boundaries"], rtol=1e-6)
    inputs = case["inputs"]
    same(layer(inputs[0] if len(inputs) == 1 else inputs), case)


@pytest.mark.parametrize("case", [c for c in AVAILABLE if len(c["inputs"]) == 1], ids=name_of)
def test_a_model_and_its_file_give_the_same(case, tmp_path):
    x = np.array(case["inputs"][0], object if isinstance(np.ravel(case["inputs"][0])[0], str) else None)
    modes = ("multi_hot", "count", "tf_idf")
    if (
        x.ndim == 1
        and case["options"].get("output_mode", "int") in modes
        and case["layer"] != "TextVectorization"
    ):
        return  # the axis of the batch is taken for a sample's
    layer = layer_of(case)
    symbol = tdfast.Input(x.shape[1:], dtype="string" if x.dtype == object else x.dtype.name)
    model = tdfast.Model(symbol, layer(symbol))
    same(model.predict(x, verbose=0), case)
    assert model.output.dtype == ("string" if layer(x).dtype == object else layer(x).dtype.name)
    shape = model.output.shape
    assert len(shape) == len(case["shape"]) and all(n in (None, m) for n, m in zip(shape, case["shape"]))
    model.save(tmp_path / "m.keras")
    same(tdfast.models.load_model(tmp_path / "m.keras").predict(x, verbose=0), case)
    assert tdfast.models.clone_model(model).get_config() == model.get_config()


# ---------------------------------------------------------------- what goes in
DOCS = ["The cat sat.", "the CAT ran", "", "na\u00efve caf\u00e9"]


def test_bytes_lists_arrays_and_columns_are_the_same_texts():
    layer = layers.TextVectorization()
    layer.adapt(DOCS)
    y = layer(DOCS)
    for other in (
        [d.encode() for d in DOCS],
        np.array(DOCS),
        np.array(DOCS, object),
        [[d] for d in DOCS],
        np.array(DOCS)[:, None],
        tuple(DOCS),
        np.array([d.encode() for d in DOCS]),
    ):
        np.testing.assert_array_equal(layer(other), y)
    assert layer("the cat").tolist() == layer(["the cat"])[0].tolist()


def batches():
    yield ["the cat sat.", "the CAT ran"]
    yield np.array(["", "na\u00efve caf\u00e9"])


class Batched(tdfast.utils.PyDataset):
    """Two batches."""

    def __len__(self):
        return 2

    def __getitem__(self, i):
        return list(batches())[i], np.zeros(2)


@pytest.mark.parametrize("data", [batches, Batched])
def test_adapt_takes_what_yields_batches(data):
    whole, parts = (
        layers.TextVectorization(output_mode="tf_idf"),
        layers.TextVectorization(output_mode="tf_idf"),
    )
    whole.adapt(DOCS)
    parts.adapt(data(), batch_size=7)
    assert whole.get_vocabulary() == parts.get_vocabulary()
    np.testing.assert_array_equal(whole.get_vocabulary(), parts.get_vocabulary())
    np.testing.assert_allclose(whole(DOCS), parts(DOCS))
    by_hand = layers.TextVectorization(output_mode="tf_idf")
    for batch in batches():
        by_hand.update_state(batch)
    by_hand.finalize_state()
    assert by_hand.get_vocabulary() == whole.get_vocabulary()


def test_adapt_stops_after_steps():
    layer = layers.StringLookup()
    layer.adapt(iter([["a"], ["b"], ["c"]]), steps=2)
    assert sorted(layer.get_vocabulary(include_special_tokens=False)) == ["a", "b"]


def test_rows_of_different_lengths():
    rows = [["a", "b", "c"], [], ["b"]]
    counting = layers.StringLookup(output_mode="count", vocabulary=["a", "b"])
    assert counting(rows).tolist() == [[1, 1, 1], [0, 0, 0], [0, 0, 1]]
    masked = layers.StringLookup(mask_token="", vocabulary=["a", "b"])
    assert masked(rows).tolist() == [[2, 3, 1], [0, 0, 0], [3, 0, 0]]
    with pytest.raises(ValueError, match="rows of different lengths, from 0 to 3"):
        layers.StringLookup(vocabulary=["a", "b"])(rows)
    learned = layers.StringLookup()
    learned.adapt(rows)
    assert learned.get_vocabulary() == ["[UNK]", "b", "c", "a"]


def test_a_table_of_many_words_grows():
    words = [f"word{i * i}" for i in range(5000)]
    layer = layers.StringLookup(vocabulary=words)
    assert layer(words).tolist() == list(range(1, 5001)) and layer.get_vocabulary()[1:] == words
    long = layers.StringLookup(vocabulary=["x" * 100_000, "y"])
    assert long(["y", "x" * 100_000, "x"]).tolist() == [2, 1, 0]


def test_many_texts_in_many_pieces(monkeypatch):
    from tdfast.layers.preprocessing import text_vectorization

    docs = [" ".join(f"w{i * j % 97}" for j in range(i % 13)) for i in range(300)]
    layer = layers.TextVectorization()
    layer.adapt(docs)
    y, words = layer(docs), layer.get_vocabulary()
    monkeypatch.setattr(text_vectorization, "PIECE", 50)
    layer.adapt(docs)
    assert layer.get_vocabulary() == words
    np.testing.assert_array_equal(layer(docs), y)
    assert [[words[i] for i in row if i] for row in y] == [doc.split() for doc in docs]


@pytest.mark.parametrize("options", [{"standardize": "lower"}, {"standardize": None, "ngrams": 2}])
def test_bytes_that_are_no_utf8_are_kept(options):
    layer = layers.TextVectorization(**options)
    layer.adapt([b"a \xff\xfe b"])
    token = layer.get_vocabulary()[2]
    assert layer([b"\xff\xfe"]).ravel()[0] == layer.get_vocabulary().index(
        b"\xff\xfe".decode("utf8", "surrogateescape")
    )
    assert token and layer(layer.get_vocabulary()[2:]).shape[0] == len(layer.get_vocabulary()) - 2


def test_another_encoding():
    layer = layers.TextVectorization(encoding="latin-1")
    layer.adapt(["caf\u00e9".encode("latin-1")])
    assert layer.get_vocabulary() == ["", "[UNK]", "caf\u00e9"]
    assert layer(["caf\u00e9"]).tolist() == layer(["caf\u00e9".encode("latin-1")]).tolist() == [[2]]


def shouting(texts):
    assert isinstance(texts, np.ndarray) and texts.dtype.kind == "U"
    return np.char.upper(texts)


def at_commas(texts):
    assert isinstance(texts, np.ndarray) and texts.dtype.kind == "U"
    return [text.split(",") for text in texts]


def test_functions_of_the_user(tmp_path):
    layer = layers.TextVectorization(standardize=shouting, split=at_commas)
    layer.adapt(["a b,c", b"c"])
    assert layer.get_vocabulary() == ["", "[UNK]", "C", "A B"]
    x = tdfast.Input((1,), dtype="string")
    model = tdfast.Model(x, layer(x))
    y = model.predict(["c,q", "a b"], verbose=0).tolist()
    assert y == [[2, 1], [3, 0]]
    model.save(tmp_path / "m.keras")
    known = {"shouting": shouting, "at_commas": at_commas}
    loaded = tdfast.models.load_model(tmp_path / "m.keras", custom_objects=known)
    assert loaded.predict(["c,q", "a b"], verbose=0).tolist() == y
    with pytest.raises(ValueError, match="shouting"):
        tdfast.models.load_model(tmp_path / "m.keras")
    assert pickle.loads(pickle.dumps(model)).predict(["c,q", "a b"], verbose=0).tolist() == y
    with pytest.raises(ValueError, match="must give a list of words for each of the 2 texts"):
        layers.TextVectorization(split=lambda texts: ["a"], vocabulary=["a"])(["x", "y"])
    with pytest.raises(ValueError, match=r"shape that it gets, \(2,\), but gave \(1,\)"):
        layers.TextVectorization(standardize=lambda texts: texts[:1], vocabulary=["a"])(["x", "y"])
    objects = np.empty(2, object)
    objects[:] = [["a", "b"], ["b"]]
    given = layers.TextVectorization(split=lambda texts: objects, vocabulary=["a", "b"])
    assert given(["x", "y"]).tolist() == [[2, 3], [3, 0]]


# ---------------------------------------------------------------- in models
def test_a_classifier_of_texts_learns_and_comes_back(tmp_path):
    texts = ["good film", "a good one", "bad film", "so bad"] * 4
    y = np.array([1.0, 1.0, 0.0, 0.0] * 4)
    layer = layers.TextVectorization(output_sequence_length=3)
    layer.adapt(texts)
    model = tdfast.Sequential(
        [
            tdfast.Input((1,), dtype="string"),
            layer,
            layers.Embedding(20, 8, mask_zero=True),
            layers.LSTM(8),
            layers.Dense(1, activation="sigmoid"),
        ]
    )
    model.compile("adam", "binary_crossentropy", metrics=["accuracy"])
    model.optimizer.learning_rate = 0.05
    history = model.fit(texts, y, epochs=30, batch_size=5, validation_split=0.25, verbose=0)
    assert history.history["accuracy"][-1] == 1 and model.evaluate(np.array(texts), y, verbose=0)[1] == 1
    out = model.predict(texts, verbose=0)
    for path in ("m.keras", "m.weights.h5", "m.weights.npz"):
        if path == "m.keras":
            model.save(tmp_path / path)
            again = tdfast.models.load_model(tmp_path / path)
        else:
            model.save_weights(tmp_path / path)
            again = copy.deepcopy(model)
            again.set_weights([0 * w for w in again.get_weights()])
            again.load_weights(tmp_path / path)
        np.testing.assert_array_equal(again.predict(texts, verbose=0), out)
    np.testing.assert_array_equal(model(np.array(texts)[:, None]), out)
    streamed = model.predict(iter([texts[:7], texts[7:]]), verbose=0)
    np.testing.assert_allclose(streamed, out, rtol=1e-6)
    np.testing.assert_array_equal(model.predict_on_batch(texts[:3]), model.predict(texts[:3], verbose=0))
    model.train_on_batch(texts[:4], y[:4])
    model.summary(print_fn=lambda line: None)


def test_texts_beside_numbers(tmp_path):
    title, age = tdfast.Input((1,), dtype="string", name="title"), tdfast.Input((2,), name="age")
    look_up = layers.TextVectorization(output_mode="multi_hot")
    look_up.adapt(["red cars", "blue cars"])
    joined = layers.Concatenate()([look_up(title), age])
    model = tdfast.Model({"title": title, "age": age}, layers.Dense(1)(joined))
    x = {"title": ["red", "cars blue", "x"], "age": np.ones((3, 2))}
    model.compile("sgd", "mse")
    model.fit(x, np.zeros(3), epochs=2, verbose=0)
    model.save(tmp_path / "m.keras")
    np.testing.assert_array_equal(
        tdfast.models.load_model(tmp_path / "m.keras").predict(x, verbose=0), model.predict(x, verbose=0)
    )


def test_a_scalar_input_shape_and_several_lookups_of_one_layer():
    x = tdfast.Input((), dtype="string")
    layer = layers.StringLookup(vocabulary=["a", "b"])
    model = tdfast.Model(x, layer(x))
    assert model.predict(["b", "z", "a"], verbose=0).tolist() == [2, 0, 1]
    other = layers.StringLookup(vocabulary=["a", "b"], invert=True)
    numbers = tdfast.Input((2,), dtype="int64")
    back = tdfast.Model(numbers, other(numbers))
    assert back.predict([[1, 0], [2, 9]], verbose=0).tolist() == [["a", "[UNK]"], ["b", "[UNK]"]]


def test_texts_without_a_length_are_filled_up_to_the_longest_of_a_batch():
    layer = layers.TextVectorization(vocabulary=["a", "b"])
    model = tdfast.Sequential([layer])
    assert model.predict(["a", "a b"], verbose=0).shape == (2, 2)
    assert model.predict_on_batch(["a"]).shape == (1, 1)
    with pytest.raises(ValueError, match="different shapes"):
        model.predict(["a"] * 32 + ["a b a b"], verbose=0)
    assert model.output_shape == (None, None)


@pytest.mark.parametrize(
    "make",
    [
        lambda: layers.TextVectorization(output_mode="tf_idf"),
        lambda: layers.StringLookup(mask_token=""),
        lambda: layers.IntegerLookup(output_mode="count"),
        lambda: layers.Discretization(num_bins=3),
    ],
    ids=["text", "strings", "integers", "ranges"],
)
def test_what_was_learned_is_copied_and_pickled(make):
    layer = make()
    data = {"TextVectorization": DOCS, "StringLookup": [["a", "b\nc"], ["a", "\r"]]}.get(
        type(layer).__name__, np.arange(12).reshape(4, 3)
    )
    layer.adapt(data)
    y = layer(data)
    for twin in (copy.deepcopy(layer), pickle.loads(pickle.dumps(layer))):
        np.testing.assert_array_equal(twin(data), y)
        assert twin.get_config() == layer.get_config()
    config = layer.get_config()
    assert json.loads(json.dumps(config)) and type(layer).from_config(config).get_config() == config


def test_tokens_with_ends_of_lines_come_back_from_a_file(tmp_path):
    layer = layers.StringLookup()
    layer.adapt([["a\nb", "\r", "a\nb", "\u2028", ""]])
    x = tdfast.Input((1,), dtype="string")
    tdfast.Model(x, layer(x)).save(tmp_path / "m.keras")
    again = tdfast.models.load_model(tmp_path / "m.keras").layers[1]
    assert again.get_vocabulary() == layer.get_vocabulary() == ["[UNK]", "a\nb", "\u2028", "\r", ""]


def test_a_vocabulary_from_a_file(tmp_path):
    path = tmp_path / "words.txt"
    path.write_bytes("the\r\ncaf\u00e9\n\u4e16\n".encode())
    layer = layers.TextVectorization(vocabulary=str(path))
    assert layer.get_vocabulary() == ["", "[UNK]", "the", "caf\u00e9", "\u4e16"]
    assert layer(["The \u4e16 x"]).tolist() == [[2, 4, 1]]
    assert layers.StringLookup(vocabulary=path).get_vocabulary() == ["[UNK]", "the", "caf\u00e9", "\u4e16"]
    path.write_text("7\n-3\n")
    assert layers.IntegerLookup(vocabulary=str(path)).get_vocabulary() == [-1, 7, -3]
    x = tdfast.Input((1,), dtype="string")
    path.write_text("the\n")
    layer = layers.TextVectorization(vocabulary=str(path))
    tdfast.Model(x, layer(x)).save(tmp_path / "m.keras")
    path.unlink()
    assert tdfast.models.load_model(tmp_path / "m.keras").layers[1].get_vocabulary() == ["", "[UNK]", "the"]
    with pytest.raises(ValueError, match="cannot be read"):
        layers.StringLookup(vocabulary=str(path))


def test_a_config_does_not_open_files(tmp_path):
    (tmp_path / "secret.txt").write_text("a\nb\n")
    for kind in (layers.TextVectorization, layers.StringLookup, layers.IntegerLookup):
        config = {**kind().get_config(), "vocabulary": str(tmp_path / "secret.txt")}
        with pytest.raises(ValueError, match="not allowed to open files"):
            kind.from_config(config)


def test_the_batch_stays_whole_in_sample_modes():
    x = tdfast.Input((), dtype="string")
    with pytest.raises(ValueError, match="no axis for the batch"):
        layers.StringLookup(vocabulary=["a"], output_mode="count")(x)


def test_no_gradient_comes_through():
    x = tdfast.Input((2,))
    ranges = layers.Discretization(bin_boundaries=[0.0, 1.0])(layers.Dense(2)(x))
    y = layers.Dense(1)(layers.Flatten()(layers.Embedding(3, 4)(ranges)))
    model = tdfast.Model(x, y)
    model.compile("sgd", "mse")
    before = model.get_weights()
    model.fit(np.ones((8, 2)), np.ones(8), epochs=2, verbose=0)
    after = model.get_weights()
    np.testing.assert_array_equal(before[0], after[0])
    assert (before[2] != after[2]).any()


def test_crossing_in_a_model():
    a, b = tdfast.Input((1,), dtype="string"), tdfast.Input((1,), dtype="int64")
    layer = layers.HashedCrossing(num_bins=50, output_mode="one_hot")
    model = tdfast.Model([a, b], layers.Dense(1)(layer([a, b])))
    x = [np.array([["x"], ["y"]]), np.array([[3], [4]])]
    assert model.predict(x, verbose=0).shape == (2, 1)
    assert layer(["x", 3]).shape == (50,)


def test_weights_of_counts():
    layer = layers.CategoryEncoding(num_tokens=4, output_mode="count")
    weights = np.array([[0.1, 0.2], [0.1, 0.1], [0.2, 0.3], [0.4, 0.2]])
    y = layer([[0, 1], [0, 0], [1, 2], [3, 1]], count_weights=weights)
    np.testing.assert_allclose(
        y, [[0.1, 0.2, 0, 0], [0.2, 0, 0, 0], [0, 0.2, 0.3, 0], [0, 0.2, 0, 0.4]], rtol=1e-6
    )
    x, w = tdfast.Input((2,), dtype="int64"), tdfast.Input((2,))
    model = tdfast.Model([x, w], layer(x, count_weights=w))
    np.testing.assert_allclose(model.predict([[[0, 1]], [[0.5, 2.0]]], verbose=0), [[0.5, 2, 0, 0]])


# ---------------------------------------------------------------- errors
@pytest.mark.parametrize(
    "call, says",
    [
        (lambda: layers.TextVectorization(ragged=True), "ragged=True is not supported"),
        (lambda: layers.TextVectorization(sparse=True, output_mode="count"), "dense array"),
        (lambda: layers.TextVectorization(standardize="upper"), "standardize must be one of 'lower_and"),
        (lambda: layers.TextVectorization(split=","), "split must be one of"),
        (lambda: layers.TextVectorization(ngrams="2"), "ngrams must be None"),
        (lambda: layers.TextVectorization(output_mode="ints"), "output_mode must be one of"),
        (
            lambda: layers.TextVectorization(output_mode="count", output_sequence_length=4),
            "belongs to output_mode='int'",
        ),
        (lambda: layers.TextVectorization(max_tokens=1), "max_tokens must be None or at least 2"),
        (lambda: layers.TextVectorization(output_mode="count", pad_to_max_tokens=True), "needs max_tokens"),
        (lambda: layers.TextVectorization()(["a"]), "has no vocabulary yet: call adapt"),
        (lambda: layers.TextVectorization(vocabulary=["a"]).adapt(["b"]), "was given its vocabulary"),
        (lambda: layers.TextVectorization(vocabulary=["a"])([["a", "b"]]), "split=None"),
        (
            lambda: layers.TextVectorization(vocabulary=["a"])([1.5]),
            "expects strings, but the entry at index 0 is 1.5",
        ),
        (lambda: layers.TextVectorization(vocabulary=["a"])(["x", None]), "index 1 is None"),
        (
            lambda: layers.TextVectorization(vocabulary=["a"])(np.ones(3)),
            "dtype float64. For whole numbers there is",
        ),
        (
            lambda: layers.TextVectorization(output_mode="count")(tdfast.Input((1,), dtype="string")),
            "has no vocabulary yet",
        ),
        (lambda: layers.TextVectorization(vocabulary=["a"])(tdfast.Input((1,))), "takes strings, but"),
        (lambda: layers.Dense(2)(tdfast.Input((1,), dtype="string")), "takes numbers, but"),
        (
            lambda: layers.IntegerLookup(vocabulary=[1])(tdfast.Input((1,), dtype="string")),
            "takes numbers, but",
        ),
        (lambda: layers.StringLookup(vocabulary=["a", "b", "a"]), "more than once: 'a'"),
        (lambda: layers.StringLookup(vocabulary=[]), "vocabulary is empty"),
        (lambda: layers.StringLookup(vocabulary=["a", ""], mask_token=""), "mask_token ''"),
        (lambda: layers.StringLookup(vocabulary=["a", "[UNK]"], invert=True), "oov_token '\\[UNK\\]'"),
        (lambda: layers.StringLookup(vocabulary=["a", "b"], max_tokens=2), "max_tokens=2 is the most"),
        (lambda: layers.StringLookup(vocabulary=["a"], output_mode="tf_idf"), "needs idf_weights"),
        (
            lambda: layers.StringLookup(vocabulary=["a"], output_mode="tf_idf", idf_weights=[1, 2]),
            "each of the 1 tokens",
        ),
        (lambda: layers.StringLookup(vocabulary=["a"], idf_weights=[1]), "belong to output_mode='tf_idf'"),
        (lambda: layers.StringLookup(vocabulary=["a"], num_oov_indices=0)(["a", "q"]), "but 'q' is not"),
        (lambda: layers.StringLookup(num_oov_indices=-1), "num_oov_indices must be"),
        (
            lambda: layers.StringLookup(invert=True, output_mode="count"),
            "invert=True needs output_mode='int'",
        ),
        (lambda: layers.StringLookup(salt="x"), "salt must be"),
        (lambda: layers.StringLookup(vocabulary=["a"])([[1, 2]]), "expects strings"),
        (lambda: layers.IntegerLookup(vocabulary=[1])([1.5]), "expects whole numbers, got 1.5"),
        (lambda: layers.IntegerLookup(vocabulary_dtype="int32"), "must be 'int64'"),
        (lambda: layers.IntegerLookup(salt=3), "belongs to oov_method='farmhash'"),
        (lambda: layers.CategoryEncoding(), "num_tokens, the number of classes"),
        (lambda: layers.CategoryEncoding(3)([[0, 3]]), r"the number 3 at index \(0, 1\) is out of range"),
        (lambda: layers.Discretization(), "either bin_boundaries or num_bins"),
        (lambda: layers.Discretization(bin_boundaries=[1.0, 0.0]), "rising numbers"),
        (lambda: layers.Discretization(bin_boundaries=[1.0]).adapt([1.0]), "was given its bin_boundaries"),
        (lambda: layers.Discretization(num_bins=3)([1.0]), "has no boundaries yet"),
        (lambda: layers.Hashing(num_bins=0), "num_bins must be"),
        (lambda: layers.Hashing(num_bins=3, dtype="float32"), "dtype must be 'int32' or 'int64'"),
        (lambda: layers.HashedCrossing(num_bins=3)(["a"]), "list of two or more arrays"),
        (lambda: layers.HashedCrossing(num_bins=3)([["a"], ["b", "c"]]), "inputs of one shape"),
        (
            lambda: layers.HashedCrossing(num_bins=3, output_mode="count"),
            "output_mode must be one of 'int', 'one_hot'",
        ),
    ],
)
def test_errors_say_what_to_do(call, says):
    with pytest.raises((ValueError, RuntimeError), match=says):
        call()


def test_the_size_of_an_output_stays_within_a_model():
    layer = layers.StringLookup(output_mode="multi_hot")
    layer.adapt([["a"], ["b"]])
    layer.adapt([["a"], ["b"], ["c"]])  # nothing was made of it yet
    x = tdfast.Input((1,), dtype="string")
    layer(x)
    layer.adapt([["d"], ["e"], ["f"]])
    with pytest.raises(RuntimeError, match="has 2 tokens, but had 4"):
        layer.adapt([["a"]])
    assert layer.get_vocabulary() == ["[UNK]", "f", "e", "d"]


def test_older_names_of_modes():
    assert layers.StringLookup(output_mode="binary", vocabulary=["a"]).output_mode == "multi_hot"
    assert layers.TextVectorization(output_mode="tf-idf").output_mode == "tf_idf"


@pytest.mark.parametrize(
    "layer, x",
    [
        (layers.TextVectorization(vocabulary=["a"]), [["a"]]),
        (layers.StringLookup(vocabulary=["a"]), [["a"]]),
        (layers.IntegerLookup(vocabulary=[1]), [[1]]),
        (layers.CategoryEncoding(4), [[1]]),
        (layers.Discretization([0.5]), [[1.0]]),
        (layers.Hashing(3), [["a"]]),
    ],
    ids=lambda value: type(value).__name__,
)
def test_masks_end_before(layer, x):
    with pytest.raises(TypeError, match="cannot carry a mask"):
        layer(x, mask=np.ones((1, 1), bool))


def test_what_is_missing_is_named():
    for layer in (layers.StringLookup(), layers.TextVectorization()):
        with pytest.raises(ValueError, match=r"index 1 is None \(NoneType\). Fill in"):
            layer.adapt(["a", None])
    with pytest.raises(ValueError, match=r"index \(1, 1\) is nan"):
        layers.StringLookup().adapt([["a"], ["b", float("nan"), "c"]])


def test_models_of_texts_say_what_they_cannot_do(tmp_path):
    layer = layers.TextVectorization(vocabulary=["a"])
    model = tdfast.Sequential([tdfast.Input((1,), dtype="string"), layer])
    with pytest.raises(ValueError, match="takes strings, which are not exported"):
        tdfast.saving.export_onnx(model, tmp_path / "m.onnx")
    with pytest.raises(ValueError, match="cannot be exported to C"):
        tdfast.saving.export_c(model, tmp_path / "m.c")
    with pytest.raises(ValueError, match="One text stands in a list"):
        model.predict("a")
    with pytest.raises(ValueError, match="takes numbers, but"):
        tdfast.Input((1,), dtype="string") + 1


def test_texts_of_a_folder(tmp_path):
    for kind, text in (("bad", "awful film"), ("bad", "so bad"), ("good", "good film"), ("good", "so good")):
        (tmp_path / kind).mkdir(exist_ok=True)
        (tmp_path / kind / f"{len(text)}.txt").write_text(text)
    data = tdfast.utils.text_dataset_from_directory(tmp_path, batch_size=2, verbose=False, seed=1)
    layer = layers.TextVectorization(output_sequence_length=3)
    layer.adapt(data.map(lambda x, y: x))
    assert layer.get_vocabulary() == ["", "[UNK]", "so", "good", "film", "bad", "awful"]
    tail = [layers.Embedding(10, 4), layers.GlobalAveragePooling1D(), layers.Dense(1)]
    model = tdfast.Sequential([tdfast.Input((1,), dtype="string"), layer, *tail])
    model.compile("adam", "mse")
    model.fit(data, epochs=2, verbose=0)
    assert model.predict(data, verbose=0).shape == (4, 1)
    numbers = data.map(lambda x, y: (layer(x), y))
    assert [x.shape for x, _ in numbers] == [(2, 3), (2, 3)]


@pytest.mark.parametrize(
    "member, data",
    [
        ("vocabulary.txt", b"\n[UNK]\na\na\n"),
        ("vocabulary.txt", b"\n[UNK]\na\nb\nc\nd"),
        ("vocabulary.txt", b"\xff\xfe\x00"),
        ("vocabulary.json", b"{}"),
        ("vocabulary.json", b"[1, 2, 3"),
        ("vocabulary.json", b'["[UNK]", ["a"], {"b": 1}]'),
    ],
)
def test_damaged_vocabularies_are_refused_as_files(member, data, tmp_path):
    layer = layers.StringLookup(output_mode="count")
    layer.adapt(["a\n", "b"])
    x = tdfast.Input((1,), dtype="string")
    tdfast.Model(x, layer(x)).save(tmp_path / "m.keras")
    with zipfile.ZipFile(tmp_path / "m.keras") as old, zipfile.ZipFile(tmp_path / "n.keras", "w") as new:
        for name in old.namelist():
            if name.endswith(member):
                new.writestr(name, data)
            elif not name.endswith("vocabulary.json"):
                new.writestr(name, old.read(name))
    with pytest.raises(tdfast.errors.FileError, match="assets/layers/string_lookup"):
        tdfast.models.load_model(tmp_path / "n.keras")


def test_weights_of_another_vocabulary_are_refused(tmp_path):
    def model_of(words):
        layer = layers.TextVectorization(output_mode="tf_idf")
        layer.adapt(words)
        x = tdfast.Input((1,), dtype="string")
        return tdfast.Model(x, layers.Dense(1)(layers.Dropout(0.5)(layer(x))))

    model_of(["a b", "c"]).save_weights(tmp_path / "m.weights.npz")
    with pytest.raises(tdfast.errors.FileError):
        model_of(["a b"]).load_weights(tmp_path / "m.weights.npz")
    same, other = model_of(["x y", "z"]), model_of(["a a", "b b", "c"])
    same.load_weights(tmp_path / "m.weights.npz")
    assert other.layers[1].vocabulary_size() == same.layers[1].vocabulary_size() == 4
    before = other.layers[1]._lookup_layer.idf_weights.copy()
    other.load_weights(tmp_path / "m.weights.npz")
    assert (other.layers[1]._lookup_layer.idf_weights != before).any()


def test_threads_change_nothing():
    words = [f"word{i * 7919 % 50_000}" for i in range(200_000)]
    layer = layers.StringLookup(vocabulary=words[:20_000], num_oov_indices=7)
    hashing = layers.Hashing(num_bins=1000, salt=3)
    before, found = tdfast.get_num_threads(), []
    for threads in (1, 2, 5):
        tdfast.set_num_threads(threads)
        found.append((layer(words), hashing(words)))
    tdfast.set_num_threads(before)
    for ids, bins in found[1:]:
        np.testing.assert_array_equal(ids, found[0][0])
        np.testing.assert_array_equal(bins, found[0][1])


def test_a_layer_is_called_by_several_threads_at_once():
    layer = layers.TextVectorization()
    layer.adapt(DOCS * 50)
    want = layer(DOCS * 50)
    with concurrent.futures.ThreadPoolExecutor(4) as pool:
        for y in pool.map(layer, [DOCS * 50] * 16):
            np.testing.assert_array_equal(y, want)


def test_older_configs_name_the_dtype_of_the_tokens():
    for kind, dtype in ((layers.TextVectorization, "string"), (layers.StringLookup, "string"),
                        (layers.IntegerLookup, "int64")):
        config = {"class_name": kind.__name__, "config": {**kind().get_config(), "dtype": dtype}}
        assert layers.deserialize(config).dtype == "float32"
    assert layers.Hashing(num_bins=3, dtype="int32")(["a"]).dtype == np.int32
    again = layers.deserialize(layers.serialize(layers.Hashing(num_bins=3, dtype="int32")))
    assert again(["a"]).dtype == np.int32
    with pytest.raises(ValueError, match="'float32' or 'float64'"):
        layers.CategoryEncoding(3, dtype="int32")


def test_hashing_first_in_a_sequential_model(tmp_path):
    for x, dtype in (([["a"], ["b"]], "string"), ([[3], [4]], "int64")):
        model = tdfast.Sequential([layers.Hashing(num_bins=5, output_mode="one_hot"), layers.Dense(1)])
        y = model.predict(x, verbose=0)
        assert model.inputs[0].dtype == dtype
        model.save(tmp_path / "m.keras")
        np.testing.assert_array_equal(tdfast.models.load_model(tmp_path / "m.keras").predict(x, verbose=0), y)


def test_an_encoding_that_nobody_knows():
    for kind in (layers.StringLookup, layers.TextVectorization):
        with pytest.raises(ValueError, match="encoding must be one that Python knows"):
            kind(encoding="utf-9")


def test_a_vocabulary_needs_a_place():
    with pytest.raises(ValueError, match="max_tokens=2 leaves no place for tokens beside the 2"):
        layers.TextVectorization(max_tokens=2).adapt(["a b"])
