"""Activations against Keras itself."""

import os

import numpy as np
import pytest
from test_activations import NAMES, sample

from tdfast import activations

os.environ.setdefault("KERAS_BACKEND", "jax")
pytest.importorskip(os.environ["KERAS_BACKEND"])
keras = pytest.importorskip("keras")


# Keras 3.15's sparsemax does not sum to 1 on rows with more than one element in the support.
@pytest.mark.parametrize("name", [name for name in NAMES if name != "sparsemax"])
def test_values(name):
    x = sample((4, 9)).astype("float32")
    want = np.asarray(keras.activations.get(name)(keras.ops.convert_to_tensor(x)))
    assert np.abs(activations.get(name)(x) - want).max() < 5e-6 * max(1, np.abs(want).max())
