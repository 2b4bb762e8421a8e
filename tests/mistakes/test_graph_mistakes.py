"""Mistakes in graphs: each error says what was expected, what came, and how to mend it."""

import numpy as np
import pytest

from tdfast import Input, Model, layers, ops

A, B = np.zeros((4, 5, 3), np.float32), np.zeros((3, 5, 3), np.float32)
ONE, TWO = np.zeros((4, 5, 1)), np.zeros((4, 5, 2))


def two():
    """A model of two inputs and two outputs, compiled."""
    x, y = Input((5, 3), name="x"), Input((5, 3), name="y")
    model = Model([x, y], {"a": layers.Dense(1)(x), "b": layers.Dense(2)(y)}, name="two")
    model.compile("sgd", {"a": "mse", "b": "mse"})
    return model


def x():
    return Input((5, 3), name="x")


TABLE = {
    "an output that no input leads to": (lambda: Model(x(), layers.Dense(2)(Input((3,), name="other"))),
                                         r"depend on .*other.* not among the inputs"),
    "a tensor of another graph": (lambda: Model(Input((5, 3)), layers.Add()([x(), x()])),
                                  "not among the inputs"),
    "a sum of unlike shapes": (lambda: layers.Add()([x(), Input((4, 3))]),
                               r"Add.*\(None, 5, 3\), \(None, 4, 3\)"),
    "an operator on unlike shapes": (lambda: x() + Input((5, 4)), r"\(None, 5, 3\), \(None, 5, 4\)"),
    "Concatenate of unlike ranks": (lambda: layers.Concatenate()([x(), Input((4,))]),
                                    r"as many axes each.*\(None, 5, 3\), \(None, 4\)"),
    "an array beside a tensor": (lambda: layers.Add()([x(), A]),
                                 r"tensors and on an array of shape \(4, 5, 3\) at once.*make an Input of"),
    "no outputs": (lambda: Model(x()), "the outputs are missing"),
    "an array for an input": (lambda: Model(A, x()), "inputs must be symbolic tensors"),
    "two layers of one name": (
        lambda: Model(t := x(), layers.Dense(2, name="d")(layers.Dense(3, name="d")(t))),
        "two layers are named 'd'"),
    "a layer that is not there": (lambda: two().get_layer("three"), r"no layer 'three'. It has"),
    "one input of two": (lambda: two().predict({"x": A}, verbose=0), r"inputs \['x', 'y'\].*'y' is missing"),
    "an array for two inputs": (lambda: two().predict(A, verbose=0), r"2 inputs.*got one ndarray"),
    "three arrays for two": (lambda: two().predict([A, A, A], verbose=0), r"2 inputs.*got 3 arrays"),
    "unlike numbers of samples": (lambda: two().predict([A, B], verbose=0),
                                  r"same number of samples, got \{'x': 4, 'y': 3\}"),
    "targets of an unknown output": (lambda: two().fit([A, A], {"a": ONE, "c": TWO}, verbose=0),
                                     r"dict with 'c', but the model's outputs are named \['a', 'b'\]"),
    "no targets for an output": (lambda: two().fit([A, A], {"a": ONE}, verbose=0),
                                 r"output 'b', has a loss.*give y\['b'\]"),
    "targets for one of two": (lambda: two().fit([A, A], [ONE], verbose=0), "has 2 outputs.*got a list of 1"),
    "targets of another shape": (lambda: two().fit([A, A], {"a": ONE, "b": ONE}, verbose=0),
                                 r"output 'b': .*must have shape \(4, 5, 2\), but got \(4, 5, 1\)"),
    "a loss for an unknown output": (lambda: two().compile("sgd", {"a": "mse", "c": "mse"}),
                                     r"loss has 'c', but the model's outputs are named \['a', 'b'\]"),
    "one loss weight for two": (lambda: two().compile("sgd", {"a": "mse", "b": "mse"}, loss_weights=[1.0]),
                                "loss_weights has 1 entries, but the model has 2 outputs"),
    "a number for the whole batch": (lambda: Model(t := x(), ops.sum(t)).predict(A, verbose=0),
                                     "single number for the whole batch.*axis=-1"),
}


@pytest.mark.parametrize("call, words", TABLE.values(), ids=TABLE)
def test_errors_say_how_to_mend_it(call, words):
    with pytest.raises((ValueError, TypeError), match=words):
        call()


@pytest.mark.parametrize("use, words", [
    (lambda t: np.tanh(t), "np.tanh takes arrays.*tdfast.ops"),
    (lambda t: 1 if t > 0 else 0, "true or false"),
    (lambda t: [step for step in t], "iterated"), (float, "become a float"), (len, "length"),
    (np.asarray, "become a NumPy array"), (lambda t: np.add(A, t, out=A), "np.add takes arrays")])
def test_tensors_have_no_numbers(use, words):
    with pytest.raises(TypeError, match=words):
        use(x())


def test_an_input_too_many_is_said():
    model = two()
    want = model.predict([A, A], verbose=0)
    words = r"has 'q', which model 'two' does not use; its inputs are \['x', 'y'\]"
    with pytest.warns(UserWarning, match=words):
        got = model.predict({"x": A, "y": A, "q": A}, verbose=0)
    np.testing.assert_array_equal(got["a"], want["a"])


@pytest.mark.parametrize("make", [
    lambda a, t: a + t, lambda a, t: a - t, lambda a, t: a * t, lambda a, t: a / t, lambda a, t: a**t,
    lambda a, t: a // t, lambda a, t: a % t, lambda a, t: a > t, lambda a, t: a <= t])
def test_arrays_before_a_tensor(make):
    """NumPy leaves the operators of arrays to the tensor."""
    rng = np.random.default_rng(0)
    a, values = rng.uniform(0.5, 2, 3).astype("float32"), rng.uniform(0.5, 2, (4, 3)).astype("float32")
    for left in (a, a[0], float(a[0])):
        t = Input((3,))
        np.testing.assert_allclose(Model(t, make(left, t))(values), make(left, values), rtol=1e-6)
