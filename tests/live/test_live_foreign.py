"""Objects of Keras and PyTorch themselves in a tdfast model: taken where tdfast has them, else named."""

import os

import numpy as np
import pytest

os.environ.setdefault("KERAS_BACKEND", "jax")
pytest.importorskip(os.environ["KERAS_BACKEND"])
keras = pytest.importorskip("keras")

from tdfast import (  # noqa: E402
    Sequential,  # noqa: E402
    activations,
    constraints,
    initializers,
    layers,
    losses,
    metrics,
    optimizers,
    regularizers,
)

rng = np.random.default_rng(0)
X, Y = rng.normal(size=(12, 3)).astype("float32"), rng.normal(size=(12, 2)).astype("float32")


@pytest.mark.parametrize("module, make, config", [
    (losses, lambda: keras.losses.Huber(delta=0.5, reduction="sum"), {"delta": 0.5, "reduction": "sum"}),
    (losses, lambda: keras.losses.CategoricalCrossentropy(from_logits=True, label_smoothing=0.25),
     {"label_smoothing": 0.25}),
    (losses, lambda: keras.losses.MeanSquaredError, {"name": "mean_squared_error"}),
    (losses, lambda: keras.losses.mean_absolute_error, {"name": "mean_absolute_error"}),
    (metrics, lambda: keras.metrics.AUC(curve="PR", name="pr"), {"curve": "PR", "name": "pr"}),
    (metrics, lambda: keras.metrics.Precision(thresholds=0.25), {"thresholds": 0.25}),
    (metrics, lambda: keras.metrics.MeanAbsoluteError, {"name": "mean_absolute_error"}),
    (metrics, lambda: keras.metrics.mean_squared_error, {"name": "mean_squared_error"}),
    (metrics, lambda: keras.losses.Huber(delta=0.5), {"name": "huber_loss"}),
    (optimizers, lambda: keras.optimizers.Adam(0.25, beta_1=0.5, clipnorm=1.0),
     {"learning_rate": 0.25, "beta_1": 0.5, "clipnorm": 1.0}),
    (optimizers, lambda: keras.optimizers.SGD, {"learning_rate": 0.01}),
    (regularizers, lambda: keras.regularizers.L1L2(0.25, 0.5), {"l1": 0.25, "l2": 0.5}),
    (regularizers, lambda: keras.regularizers.OrthogonalRegularizer(0.5), {"factor": 0.5}),
    (constraints, lambda: keras.constraints.MaxNorm(3, axis=1), {"max_value": 3, "axis": 1}),
    (initializers, lambda: keras.initializers.RandomNormal(stddev=0.25, seed=3), {"stddev": 0.25, "seed": 3}),
    (initializers, lambda: keras.initializers.Constant(0.5), {"value": 0.5}),
    (initializers, lambda: keras.initializers.HeNormal, {}),
])
def test_taken_by_class_and_config(module, make, config):
    ours = module.get(make())
    assert type(ours).__module__.startswith("tdfast.")
    got = {**ours.get_config(), "name": getattr(ours, "name", None)}
    assert {key: got[key] for key in config} == config


@pytest.mark.parametrize("name", ["relu", "gelu", "softmax", "silu", "tanh", "leaky_relu", "hard_sigmoid",
                                  "log_softmax"])
def test_activations_by_their_functions(name):
    theirs = getattr(keras.activations, name)
    ours = activations.get(theirs)
    x = rng.normal(size=(3, 4)).astype("float32")
    np.testing.assert_allclose(ours(x), theirs(x), rtol=1e-5, atol=1e-6)


def test_every_activation_of_keras_is_the_same_here():
    """But sparsemax, whose numbers do not add up to 1 in Keras 3.15."""
    for name in dir(keras.activations):
        theirs = getattr(keras.activations, name)
        if callable(theirs) and name not in ("get", "serialize", "deserialize", "glu", "threshold",
                                             "sparsemax") and not name.startswith("_"):
            np.testing.assert_allclose(activations.get(theirs)(X), theirs(X), rtol=1e-5, atol=1e-5,
                                       err_msg=name)


def test_a_model_of_such_objects_trains_as_one_of_ours():
    kept = []
    for k in (keras, None):
        own = k is None
        model = Sequential([
            layers.Dense(4, activation="tanh" if own else k.activations.tanh, input_shape=(3,),
                         kernel_initializer=(initializers if own else k.initializers).Constant(0.25),
                         kernel_regularizer=(regularizers if own else k.regularizers).L2(0.5)),
            layers.Dense(2, kernel_initializer="ones"),
        ])
        model.compile((optimizers if own else k.optimizers).Adam(0.125),
                      (losses if own else k.losses).Huber(0.5),
                      metrics=[(metrics if own else k.metrics).MeanAbsoluteError()])
        kept.append(model.fit(X, Y, epochs=3, shuffle=False, verbose=0).history)
    assert kept[0] == kept[1] and list(kept[0]) == ["loss", "mean_absolute_error"]


def test_a_schedule_comes_with_its_optimizer():
    ours = optimizers.get(keras.optimizers.SGD(keras.optimizers.schedules.ExponentialDecay(0.5, 10, 0.5)))
    assert type(ours._learning_rate).__module__ == "tdfast.optimizers.schedules"
    assert ours.learning_rate == 0.5


def test_an_optimizer_of_a_model_is_refused():
    optimizer = keras.optimizers.Adam()
    optimizer.build([keras.Variable(np.zeros(3))])
    with pytest.raises(ValueError, match=r"Adam .*belongs to a model.*tdfast\.optimizers\.Adam\("):
        optimizers.get(optimizer)


@pytest.mark.parametrize("call, words", [
    (lambda: Sequential([keras.layers.Dense(3)]), "layer of Keras: write tdfast.layers.Dense"),
    (lambda: Sequential([keras.Input((3,))]), "symbolic tensor of Keras: write tdfast.Input"),
    (lambda: Sequential([keras.Sequential([keras.layers.Dense(3)])]), "model of Keras: save it"),
    (lambda: layers.TimeDistributed(keras.layers.Dense(3)), "layer of Keras: write tdfast.layers.Dense"),
    (lambda: layers.Dense(3)(keras.Input((3,))),
     "KerasTensor, a symbolic tensor of Keras: begin the graph with tdfast.Input"),
    (lambda: layers.Dense(3)(np.fromiter([keras.Input((3,))], object)),
     "KerasTensor, a symbolic tensor of Keras: begin the graph with tdfast.Input"),
    (lambda: losses.get(keras.losses.Tversky()), "Tversky .*is of Keras"),
    (lambda: layers.Dense(3, activation=keras.layers.ReLU()), "ReLU .*is of Keras.*Did you mean 'relu'"),
    (lambda: optimizers.get(keras.optimizers.LossScaleOptimizer(keras.optimizers.SGD())),
     "LossScaleOptimizer .*is of Keras.*Known optimizers: adadelta"),
    (lambda: activations.get(keras.ops.relu), "relu .*is of Keras"),
])
def test_what_cannot_be_taken(call, words):
    with pytest.raises(ValueError, match=words):
        call()


def test_of_torch():
    torch = pytest.importorskip("torch")
    net = torch.nn.Linear(3, 2)
    for call, words in [
        (lambda: Sequential([net]), "layer of PyTorch: write tdfast.layers.Dense"),
        (lambda: losses.get(torch.nn.MSELoss()),
         "MSELoss .*is of PyTorch.*Did you mean 'mean_squared_error'"),
        (lambda: optimizers.get(torch.optim.Adam(net.parameters())),
         "Adam .*is of PyTorch.*Did you mean 'adam'"),
        (lambda: activations.get(torch.nn.ReLU()), "ReLU .*is of PyTorch.*Did you mean 'relu'"),
        (lambda: activations.get(torch.nn.functional.relu), "relu .*is of PyTorch.*Did you mean 'relu'"),
        (lambda: initializers.get(torch.zeros(3)), "Tensor .*is of PyTorch"),
        (lambda: regularizers.get(net), "Linear .*is of PyTorch"),
    ]:
        with pytest.raises(ValueError, match=words):
            call()
    assert layers.Dense(2)(torch.ones(4, 3)).shape == (4, 2)         # as data, tensors are welcome
