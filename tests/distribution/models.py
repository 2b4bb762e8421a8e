"""Models and data for the tests of processes that train together, here and in `program.py`."""

import hashlib

import numpy as np

import tdfast
from tdfast import distribution, random
from tdfast.layers import (
    GRU,
    LSTM,
    Activation,
    BatchNormalization,
    Bidirectional,
    Concatenate,
    Conv1D,
    Dense,
    Dropout,
    Input,
    Masking,
    TimeDistributed,
)

ROWS, STEPS, FEATURES, CLASSES = 70, 12, 3, 4


def blog():
    """The first example of the README, with dropout."""
    return tdfast.Sequential([Input((STEPS, FEATURES)), LSTM(8, return_sequences=True), Dropout(0.2),
                              TimeDistributed(Dense(CLASSES, activation="softmax"))])


def masked():
    return tdfast.Sequential([Input((STEPS, FEATURES)), Masking(),
                              Bidirectional(LSTM(5, return_sequences=True, dropout=0.2)), Dropout(0.3),
                              TimeDistributed(Dense(CLASSES, activation="softmax"))])


def normalized():
    return tdfast.Sequential([Input((STEPS, FEATURES)), Conv1D(6, 3), BatchNormalization(),
                              Activation("relu"), Bidirectional(GRU(5, return_sequences=True)),
                              TimeDistributed(BatchNormalization()), LSTM(4), BatchNormalization(),
                              Dense(CLASSES, activation="softmax")])


def two_outputs():
    x = Input((STEPS, FEATURES), name="x")
    h = LSTM(6, return_sequences=True)(x)
    last, steps = GRU(4)(h), TimeDistributed(Dense(3, activation="tanh"))(h)
    joined = Concatenate()([last, Dense(4, activation="relu", kernel_regularizer="l2",
                                        activity_regularizer="l2")(last)])
    return tdfast.Model(x, {"kind": Dense(CLASSES, activation="softmax", name="kind")(joined),
                            "values": steps})


MODELS = {"blog": blog, "masked": masked, "normalized": normalized, "two_outputs": two_outputs}


def data(name):
    """(x, y)."""
    rng = np.random.default_rng(1)
    x = rng.normal(size=(ROWS, STEPS, FEATURES)).astype("float32")
    if name == "masked":
        for i in range(ROWS):
            x[i, i % STEPS + 1:] = 0
    each_step = np.eye(CLASSES, dtype="float32")[rng.integers(0, CLASSES, (ROWS, STEPS))]
    kind = np.eye(CLASSES, dtype="float32")[rng.integers(0, CLASSES, ROWS)]
    values = rng.normal(size=(ROWS, STEPS, 3)).astype("float32")
    return x, {"blog": each_step, "masked": each_step, "normalized": kind,
               "two_outputs": {"kind": kind, "values": values}}[name]


def compiled(name):
    """The model of a name, drawn by a seed."""
    model = MODELS[name]()
    if name == "two_outputs":
        model.compile(tdfast.optimizers.Adam(0.01), {"kind": "categorical_crossentropy", "values": "mae"},
                      {"kind": 1.0, "values": 0.5}, {"kind": ["accuracy", "auc"]})
    else:
        model.compile(tdfast.optimizers.Adam(0.01, global_clipnorm=1.0), "categorical_crossentropy",
                      metrics=["accuracy", "precision"])
    return model


def digest(*parts):
    """Some letters that stand for all bits of arrays and logs."""
    found = hashlib.sha256()
    for part in parts:
        for value in part.values() if isinstance(part, dict) else [part]:
            found.update(np.ascontiguousarray(value).tobytes() if isinstance(value, np.ndarray)
                         else repr(value).encode())
    return found.hexdigest()[:16]


def trained(name, epochs=3, callbacks=(), **options):
    """The digest of weights, history, predictions and measures."""
    with random.scope(3):
        model, (x, y) = compiled(name), data(name)
        history = model.fit(x, y, batch_size=32, epochs=epochs, verbose=0, validation_split=0.1,
                            callbacks=list(callbacks), **options).history
        outputs = model.predict(x, verbose=0)
        measured = model.evaluate(x, y, verbose=0, batch_size=16, return_dict=True)
    return digest(*[w.numpy() for w in model.weights], history, outputs, measured), history


def together(name, shards=8, **options):
    """`trained` by the processes of the current engine."""
    with distribution.DataParallel(shards=shards).scope():
        return trained(name, **options)
