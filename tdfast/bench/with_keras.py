"""The models as a Keras user writes them; tdfast's are the same with another word in the imports."""

from __future__ import annotations

from typing import Any

import numpy as np

from tdfast.bench.cases import HEADS


class KerasModel:
    """One case in Keras, or in anything with its API.

    Args:
        case: a `tdfast.bench.cases.Case`.
        x, y: arrays of all rows.
        threads: for the libraries that take the number in a call.
    """

    steps_by_state = True       # streams: a model that takes a step and the states, and returns both

    def __init__(self, case: Any, x: Any, y: Any, threads: Any) -> None:
        import keras

        if keras.backend.backend() == "torch":
            import torch

            torch.set_num_threads(threads)
        self.setup(keras, case, x, y)

    def setup(self, keras: Any, case: Any, x: Any, y: Any) -> None:
        """Make and compile the model with this module."""
        self.case, self.x, self.y = case, x, y
        if case.models > 1 and keras.__name__ == "keras":
            raise NotAvailable(f"Keras compiles each of {case.models} models by itself: minutes")
        if case.model == "step" and self.steps_by_state:
            self.model = self.step_model(keras)
            return
        self.model = {"attention": self.attention_model, "decoder": self.decoder_model}.get(
            case.model, self.chain)(keras)
        if case.does == "fit":
            self.compile()

    def compile(self) -> None:
        """For training."""
        loss = "mse" if self.case.linear else "categorical_crossentropy"
        self.model.compile(optimizer="adam", loss=loss)

    def chain(self, keras: Any) -> Any:
        """A Sequential model."""
        case, x, layers = self.case, self.x, keras.layers
        model = keras.Sequential()
        model.add(keras.Input(x.shape[1:]))
        if case.model == "video":
            for filters in (16, 32):
                model.add(layers.TimeDistributed(layers.Conv2D(filters, 3, activation="relu")))
                model.add(layers.TimeDistributed(layers.MaxPooling2D()))
            model.add(layers.TimeDistributed(layers.Flatten()))
            model.add(layers.LSTM(case.H))
            model.add(layers.Dense(case.O, activation="softmax"))
        elif case.model == "forecast":
            for left in reversed(range(case.depth)):
                model.add(getattr(layers, case.cell)(case.H, return_sequences=left > 0))
                if case.dropout:
                    model.add(layers.Dropout(case.dropout))
            model.add(layers.Dense(case.O))
        elif case.model == "bidirectional":
            for _ in range(case.depth):
                model.add(layers.Bidirectional(getattr(layers, case.cell)(case.H, return_sequences=True)))
            model.add(layers.TimeDistributed(layers.Dense(case.O, activation="softmax")))
        else:
            if case.model != "tddense":
                model.add(getattr(layers, case.cell)(case.H, return_sequences=True))
            activation = "softmax" if case.model == "recurrent" else None
            model.add(layers.TimeDistributed(layers.Dense(case.O, activation=activation)))
        return model

    def attention_model(self, keras: Any) -> Any:
        """A block of a transformer's encoder."""
        case, layers = self.case, keras.layers
        x = keras.Input((case.T, case.I))
        heads = layers.MultiHeadAttention(HEADS, case.I // HEADS)(x, x)
        h = layers.LayerNormalization()(layers.Add()([x, heads]))
        forward = layers.Dense(case.I)(layers.Dense(case.H, activation="relu")(h))
        return keras.Model(x, layers.LayerNormalization()(layers.Add()([h, forward])))

    def decoder_model(self, keras: Any) -> Any:
        """A series is encoded, and decoded with attention over all steps of the encoder."""
        case, layers = self.case, keras.layers
        x = keras.Input((case.T, case.I))
        encoded, *state = layers.LSTM(case.H, return_sequences=True, return_state=True)(x)
        decoded = layers.LSTM(case.H, return_sequences=True)(x, initial_state=state)
        context = layers.Attention()([decoded, encoded])
        both = layers.Concatenate()([decoded, context])
        return keras.Model(x, layers.Dense(case.O, activation="softmax")(both))

    def set_weights(self, weights: Any) -> None:
        """Weights in Keras's order and layout."""
        self.model.set_weights(weights)

    def first_epoch(self) -> Any:
        """The mean loss of one epoch in the order of the rows, without dropout."""
        dropouts = [layer for layer in self.model.layers if self.case.dropout and hasattr(layer, "rate")]
        for layer in dropouts:
            layer.rate = 0.0
        history = self.model.fit(self.x, self.y, batch_size=self.case.B, epochs=1, shuffle=False, verbose=0)
        for layer in dropouts:
            layer.rate = self.case.dropout
            self.compile()              # what was compiled has no dropout in it
        return history.history["loss"][0]

    def fit(self, epochs: int) -> Any:
        """Epochs as usual, shuffled."""
        self.model.fit(self.x, self.y, batch_size=self.case.B, epochs=epochs, verbose=0)

    def predict(self, x: Any) -> Any:
        """The outputs of some rows."""
        return self.model.predict(x, batch_size=self.case.B, verbose=0)

    def step_model(self, keras: Any) -> Any:
        """(x, h, c) of one time step to [y, h, c]: no backend keeps a state within a compiled call."""
        case, layers = self.case, keras.layers
        inputs = [keras.Input(batch_shape=(1, 1, case.I)),
                  *(keras.Input(batch_shape=(1, case.H)) for _ in range(2))]
        h, *state = getattr(layers, case.cell)(case.H, return_state=True)(inputs[0], initial_state=inputs[1:])
        return keras.Model(inputs, [layers.Dense(case.O)(h), *state])

    def start_stream(self) -> Any:
        """A function that takes (1, I) and returns (1, O), keeping the state between calls: compiled where
        the backend can, since nobody would serve a stream by ``predict`` there."""
        import keras

        model, backend = self.model, keras.backend.backend()
        state = [np.zeros((1, self.case.H), np.float32)] * 2
        if backend == "jax":
            import jax

            compiled = jax.jit(model.stateless_call)
            fixed = (
                [v.value for v in model.trainable_variables],
                [v.value for v in model.non_trainable_variables],
            )

            def call(inputs: Any) -> Any:
                return compiled(*fixed, inputs)[0]
        elif backend == "tensorflow":
            import tensorflow

            call = tensorflow.function(model)
        else:
            import torch

            def call(inputs: Any) -> Any:
                with torch.no_grad():
                    return model([torch.as_tensor(each) for each in inputs])

        def step(x: Any) -> Any:
            y, *state[:] = call([x[:, None], *state])
            return np.asarray(y)

        return step


class NotAvailable(Exception):
    """The case is not for this library."""


Model = KerasModel
