"""History: the logs of each epoch."""

from tdfast.callbacks.base import Callback


class History(Callback):
    """Keeps the logs of each epoch; `fit` returns it.

    Attributes:
        history: dict from name to the list of its values, one per epoch, plain floats.
        epoch: the epochs' numbers.

    >>> history = History()
    >>> history.on_train_begin()
    >>> history.on_epoch_end(0, {"loss": 0.5})
    >>> history.history, history.epoch
    ({'loss': [0.5]}, [0])
    """

    state_names = ("history", "epoch")

    def __init__(self):
        super().__init__()
        self.history = {}
        self.epoch = []

    def on_train_begin(self, logs=None):
        self.epoch = []

    def on_epoch_end(self, epoch, logs=None):
        self.epoch.append(epoch)
        for key, value in (logs or {}).items():
            self.history.setdefault(key, []).append(value)
        if self.model is not None:
            self.model.history = self
