"""clone_model: new layers and weights from the description of a model."""

import numpy as np
import pytest
from test_pickling import Doubling, SignDescent, X, Y, own_model, worst

import tdfast
from tdfast import layers
from tdfast.models import clone_model


def model_of():
    inner = tdfast.Sequential([layers.Dense(3, activation="relu"), layers.Dense(2)], name="inner")
    model = tdfast.Sequential([tdfast.Input((6, 3)), layers.LSTM(4, return_sequences=True, dropout=0.1),
                               layers.TimeDistributed(layers.Dense(3)), inner, layers.Flatten(),
                               layers.Dense(1)], name="mine")
    model.compile(tdfast.optimizers.Adam(0.05, clipnorm=1.0), tdfast.losses.Huber(0.5),
                  metrics=["mae", worst, "accuracy"])
    return model


def test_new_weights_and_the_same_of_everything_else():
    model = model_of()
    model.fit(X, Y, verbose=0)
    twin = clone_model(model)
    assert twin.get_config() == model.get_config() and twin.built and twin.name == "mine"
    assert not {id(layer) for layer in twin.layers} & {id(layer) for layer in model.layers}
    assert not np.array_equal(twin.layers[0].kernel, model.layers[0].kernel)
    assert twin.compiled and twin.optimizer is not model.optimizer and twin.optimizer.iterations == 0
    assert twin.optimizer.get_config() == model.optimizer.get_config()
    twin.set_weights(model.get_weights())
    assert twin.evaluate(X, Y, verbose=0) == model.evaluate(X, Y, verbose=0)
    before = model.get_weights()
    twin.fit(X, Y, verbose=0)
    assert all(np.array_equal(a, b) for a, b in zip(before, model.get_weights()))


def test_own_layers_losses_metrics_and_optimizers():
    model = own_model()
    twin = clone_model(model)
    assert (
        type(twin.layers[3]) is Doubling
        and twin.layers[3].factor == 3
        and type(twin.optimizer) is SignDescent
    )
    twin.set_weights(model.get_weights())
    assert twin.evaluate(X, Y, verbose=0) == model.evaluate(X, Y, verbose=0)

    class Local(Doubling):
        pass

    assert type(clone_model(tdfast.Sequential([layers.TimeDistributed(Local())])).layers[0].layer) is Local


def test_unbuilt_and_uncompiled():
    twin = clone_model(tdfast.Sequential([layers.Dense(2)]))
    assert not twin.built and not twin.compiled
    assert clone_model(tdfast.Sequential([])).layers == []


def test_clone_function():
    seen = []

    def seeded(layer):
        seen.append(layer.name)
        config = layer.get_config()
        if "seed" in config:
            config["seed"] = 1337
        return type(layer).from_config(config)

    model = model_of()
    twin = clone_model(model, clone_function=seeded)
    assert seen == [layer.name for layer in model.layers] and twin.layers[0].seed == 1337
    del seen[:]
    clone_model(model, clone_function=seeded, recursive=True)
    names = [layer.name for layer in model.layers]
    assert seen == names[:2] + [layer.name for layer in model.get_layer("inner").layers] + names[3:]
    with pytest.raises(ValueError, match="expects a layer.*got 3"):
        clone_model(model, clone_function=lambda layer: 3)


def test_input_tensors():
    model = model_of()
    for given in (tdfast.Input((9, 3)), [tdfast.Input((9, 3))]):
        twin = clone_model(tdfast.Sequential(model.layers[:2]), given)
        assert twin.input_shape == (None, 9, 3) and twin.output_shape == (None, 9, 3)


@pytest.mark.parametrize("arguments, words", [
    ({"input_tensors": []}, "one input"), ({"input_tensors": np.zeros(3)}, "tdfast.Input"),
    ({"clone_function": 3}, "clone_function"), ({"call_function": print}, "functional"),
])
def test_arguments(arguments, words):
    with pytest.raises(ValueError, match=words):
        clone_model(model_of(), **arguments)
    with pytest.raises(ValueError, match="Sequential"):
        clone_model(layers.Dense(2))
