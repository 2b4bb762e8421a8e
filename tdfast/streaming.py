"""Streamer: a model that takes one time step at a time."""

import numpy as np

from tdfast import _kernels, runtime
from tdfast.arrays import as_array


class Streamer:
    """A model with its state, for serving: ``y = s.step(x)`` is one time step of each sequence.

    The outputs have the same bits as those of `predict` over the whole sequence. A step is one call into
    compiled code and allocates nothing but its result. Each streamer has its own state and memory, so
    several may run at once, in several threads; one streamer belongs to one thread at a time.

    Args:
        model: a built `Sequential` of recurrent, Dense, TimeDistributed, Activation and Dropout layers.
            Its weights are copied: call `refresh` after more training.
        batch_size: how many sequences run side by side.

    Raises:
        ValueError: naming the layer that cannot work one step at a time.

    >>> import tdfast
    >>> from tdfast.layers import LSTM, Dense, TimeDistributed
    >>> model = tdfast.Sequential([LSTM(4, return_sequences=True, input_shape=(None, 3)), TimeDistributed(Dense(2))])
    >>> s = model.streamer()
    >>> x = np.ones((1, 5, 3), "float32")
    >>> steps = [s.step(x[:, t]) for t in range(5)]
    >>> bool(np.array_equal(np.stack(steps, axis=1), model.predict(x, verbose=0)))
    True
    """

    def __init__(self, model, batch_size=1):
        if not model.built:
            raise ValueError(
                f"Model '{model.name}' has no weights yet: call build(input_shape), or predict once, before streamer()."
            )
        if isinstance(batch_size, bool) or not hasattr(batch_size, "__index__") or int(batch_size) < 1:
            raise ValueError(f"streamer: batch_size must be a whole number of at least 1, got {batch_size!r}.")
        if len(model.input_shape) != 3:
            raise ValueError(
                f"Model '{model.name}' takes inputs of shape {model.input_shape}, but a model must take (batch, time, "
                "features) to be streamed."
            )
        self.model = model
        self.batch_size = int(batch_size)
        self.dtype = np.dtype(model.dtype)
        self.refresh()

    def refresh(self):
        """Take the model's weights as they are now, and begin from zeros."""
        self.kernels = _kernels.Stream()
        self._states = []
        self._x = self.array((self.batch_size, self.model.input_shape[-1]))
        with self.model._traffic.reading():
            y = self.model.add_to_stream(self, self._x)
        if y is self._x:
            raise ValueError(f"Model '{self.model.name}' has no layer that computes anything in a stream.")
        self._shape = y.shape

    def array(self, shape):
        """Aligned memory of the model's dtype that lives as long as the streamer."""
        return runtime.aligned(shape, self.dtype)

    def add_states(self, shape, count):
        """``count`` arrays of zeros that are part of `state`."""
        made = [self.array(shape) for _ in range(count)]
        for a in made:
            a[...] = 0
        self._states.append(made)
        return made

    def step(self, x, out=None):
        """The outputs (batch, units) for one time step of inputs (batch, features).

        Args:
            x: an array of the streamer's batch size.
            out: where the result goes; made when None.
        """
        if type(x) is not np.ndarray or x.dtype != self.dtype or not x.flags.c_contiguous:
            x = as_array(x, self.dtype, "streamer.step")
        if x.shape != self._x.shape:
            raise ValueError(f"streamer.step expects x of shape {self._x.shape} (batch, features), got {x.shape}.")
        if out is None:
            out = np.empty(self._shape, self.dtype)
        elif not isinstance(out, np.ndarray) or out.shape != self._shape:
            raise ValueError(f"streamer.step: out must be an array of shape {self._shape}, got {np.shape(out)}.")
        self.kernels.step(x, out)
        return out

    def reset(self):
        """Begin from zeros again."""
        for states in self._states:
            for a in states:
                a[...] = 0

    @property
    def state(self):
        """Copies of the states, a list [h, c] or [h] for each recurrent layer; assign it to go back."""
        return [[a.copy() for a in states] for states in self._states]

    @state.setter
    def state(self, value):
        shapes = [[a.shape for a in states] for states in self._states]
        given = [[np.shape(a) for a in states] for states in value]
        if given != shapes:
            raise ValueError(f"streamer.state must hold arrays of the shapes {shapes}, got {given}.")
        for states, new in zip(self._states, value):
            for a, b in zip(states, new):
                a[...] = b
