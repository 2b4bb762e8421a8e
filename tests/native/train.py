"""A small training run through every family of kernels, for valgrind; with --fault it reads memory that
nobody wrote."""

import sys

import numpy as np

import tdfast
from tdfast import layers


def stacks():
    """Layers, the shape of a sample, and the loss."""
    yield [layers.Masking(), layers.LSTM(17, return_sequences=True), layers.Dropout(0.2),
           layers.GRU(5, return_sequences=True), layers.LayerNormalization(),
           layers.SimpleRNN(6, return_sequences=True),
           layers.TimeDistributed(layers.Dense(3, activation="softmax"))], (5, 3), "categorical_crossentropy"
    yield [layers.Conv1D(7, 3, padding="same", activation="gelu"), layers.MaxPooling1D(2),
           layers.BatchNormalization(),
           layers.Bidirectional(layers.LSTM(4)), layers.Dense(3)], (8, 4), "mse"
    yield [layers.Embedding(11, 6, mask_zero=True), layers.GRU(9),
           layers.Dense(3, activation="tanh")], (4,), "mae"


def main():
    if "--fault" in sys.argv:
        layers.Masking()(np.empty((64, 64, 64), "float32"))
    rng = np.random.default_rng(0)
    for stack, shape, loss in stacks():
        model = tdfast.Sequential([layers.Input(shape), *stack])
        x = rng.integers(0, 11, (9, *shape)) if isinstance(stack[0],
                                                           layers.Embedding) else rng.normal(size=(9, *shape))
        y = rng.random((9, *model.compute_output_shape((9, *shape))[1:])).astype("float32")
        model.compile(tdfast.optimizers.Adam(0.01, clipnorm=1.0), loss, metrics=["mae"])
        model.fit(x, y, batch_size=4, epochs=2, verbose=0)
        assert np.isfinite(model.predict(x, verbose=0)).all()


main()
