"""An argument that nobody takes: the error names the call as the user wrote it, and the near names."""

import inspect
import warnings

import numpy as np
import pytest

import tdfast
from tdfast import (
    Sequential,
    callbacks,
    constraints,
    initializers,
    layers,
    losses,
    metrics,
    optimizers,
    regularizers,
    utils,
)
from tdfast.compat import keras_table
from tdfast.compat.calling import spelled
from tdfast.layers import Dense

X, Y = np.ones((4, 3), "float32"), np.ones((4, 1), "float32")


def model():
    made = Sequential([Dense(1, input_shape=(3,))])
    made.compile("sgd", "mse")
    return made


@pytest.mark.parametrize("call, who, unknown, near", [
    (lambda: model().fit(X, Y, epoch=3), "fit()", "epoch", "epochs"),
    (lambda: model().fit(X, Y, nb_epoch=3), "fit()", "nb_epoch", "epochs"),
    (lambda: model().evaluate(X, Y, batchsize=3), "evaluate()", "batchsize", "batch_size"),
    (lambda: model().predict(X, verbos=0), "predict()", "verbos", "verbose"),
    (lambda: model().compile(optimiser="sgd"), "compile()", "optimiser", "optimizer"),
    (lambda: model().train_on_batch(X, Y, sample_weights=[1]), "train_on_batch()", "sample_weights",
     "sample_weight"),
    (lambda: model().save_weights("a", over_write=True), "save_weights()", "over_write", "overwrite"),
    (lambda: model().summary(expand=True), "summary()", "expand", "expand_nested"),
    (lambda: utils.to_categorical([1], nb_classes=2), "to_categorical()", "nb_classes", "num_classes"),
    (lambda: utils.timeseries_dataset_from_array(X, None, 2, batchsize=3), "timeseries_dataset_from_array()",
     "batchsize",
     "batch_size"),
    (lambda: tdfast.saving.load_model("a", compiled=False), "load_model()", "compiled", "compile"),
    (lambda: losses.Huber(delt=1), "Huber", "delt", "delta"),
    (lambda: metrics.AUC(num_treshold=3), "AUC", "num_treshold", "num_thresholds"),
    (lambda: callbacks.EarlyStopping(patiense=3), "EarlyStopping", "patiense", "patience"),
    (lambda: callbacks.ModelCheckpoint("a", save_best=True), "ModelCheckpoint", "save_best",
     "save_best_only"),
    (lambda: regularizers.L1(l=0.1), "L1", "l", "l1"),
    (lambda: constraints.MaxNorm(max_val=3), "MaxNorm", "max_val", "max_value"),
    (lambda: initializers.Constant(val=2), "Constant", "val", "value"),
    (lambda: optimizers.schedules.ExponentialDecay(1.0, 2, 0.5, stair=True), "ExponentialDecay", "stair",
     "staircase"),
])
def test_near_names(call, who, unknown, near):
    with pytest.raises(TypeError) as caught:
        call()
    assert str(caught.value) == f"{who} does not know the argument(s) '{unknown}'. Did you mean '{near}'?"


def test_where_nothing_is_near_all_that_is_taken_is_listed():
    with pytest.raises(TypeError,
                       match=r"^predict\(\) does not know .*'zzz'\. It takes x, batch_size, .*lengths\.$"):
        model().predict(X, zzz=1)
    with pytest.raises(TypeError, match=r"^L2 does not know the argument\(s\) 'l1'\. It takes l2\.$"):
        regularizers.L2(l1=0.1)
    with pytest.raises(ValueError,
                       match=r"^Dense does not know .* It takes units, activation, .*, name, trainable"):
        Dense(3, zzz=1)


def test_a_call_that_does_not_fit_otherwise():
    with pytest.raises(TypeError, match=r"^train_on_batch\(\) missing 1 required positional argument: 'x'$"):
        model().train_on_batch()
    with pytest.raises(TypeError,
                       match=r"^predict\(\) takes from 2 to \d positional arguments but 10 were given$"):
        model().predict(*range(9))


def test_errors_within_a_call_stay_as_they_are():
    def inner(a): ...

    @spelled
    def outer(b=1):
        inner(c=b)

    with pytest.raises(TypeError, match=r"inner\(\) got an unexpected keyword argument 'c'"):
        outer(b=2)

    class Mine(callbacks.Callback):
        def on_epoch_end(self, epoch, log=None):
            inner(epochs=3)

    with pytest.raises(TypeError, match=r"(inner|on_epoch_end)\(\) got an unexpected keyword argument"):
        model().fit(X, Y, epochs=1, verbose=0, callbacks=[Mine()])


@pytest.mark.parametrize("function", [Sequential.fit, utils.pad_sequences, losses.Huber, metrics.AUC,
                                      callbacks.EarlyStopping])
def test_signatures_and_docstrings_show(function):
    names = list(inspect.signature(function).parameters)
    assert len(names) > 2 and not {"args", "kwargs"} & set(names) and len(inspect.getdoc(function)) > 50


@pytest.mark.parametrize("owner, name, why", [
    pytest.param(owner, name, why, id=f"{owner}.{name}")
    for owners, names, why in keras_table.ARGUMENTS for owner in owners.split(", ")
    for name in names.split(", ")
])
def test_arguments_of_the_table(owner, name, why, tmp_path):
    calls = {
        "fit": model().fit, "evaluate": model().evaluate, "predict": model().predict,
        "save_weights": model().save_weights,
        "plot_model": utils.plot_model, "circle": losses.circle, "split_dataset": utils.split_dataset,
        "timeseries_dataset_from_array": utils.timeseries_dataset_from_array,
        "text_dataset_from_directory": utils.text_dataset_from_directory,
    }
    sizes = {"Dense": (2,), "EinsumDense": ("abc,cd->abd", (None, 2)), "Embedding": (2, 3),
              "Conv1D": (2, 3), "Conv2D": (2, 3), "Conv3D": (2, 3),
              "Layer": ()}
    with pytest.raises((TypeError, ValueError)) as caught:
        calls[owner](**{name: 3}) if owner in calls else getattr(layers, owner)(*sizes[owner], **{name: 3})
    assert f"does not know the argument(s) '{name}'." in str(caught.value) and why in str(caught.value)


def test_warnings_name_the_line_of_the_caller(tmp_path):
    path = tmp_path / "a.weights.h5"
    pytest.importorskip("h5py")
    model().save_weights(path)
    other = Sequential([Dense(2, input_shape=(3,))])
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        other.load_weights(path, skip_mismatch=True)
    assert caught and caught[0].filename == __file__


@pytest.mark.parametrize("make", [
    lambda monitor: callbacks.EarlyStopping(monitor), lambda monitor: callbacks.ReduceLROnPlateau(monitor),
    lambda monitor: callbacks.ModelCheckpoint("unused.keras", monitor, save_best_only=True),
])
@pytest.mark.parametrize("monitor", ["val_los", "val_mae", "validation"])
def test_a_wrong_monitor_lists_the_logs(make, monitor, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        try:
            model().fit(X, Y, verbose=0, validation_data=(X, Y), callbacks=[make(monitor)])
            text = str(caught[0].message)
        except ValueError as error:
            text = str(error)
    assert f"'{monitor}'" in text and "loss, val_loss" in text
