"""The models in tdfast: Keras's, with another word in the imports."""

from __future__ import annotations

from typing import Any

import tdfast
from tdfast.bench.with_keras import KerasModel


class Model(KerasModel):
    """One case in tdfast."""

    steps_by_state = False    # a streamer keeps the state of any model of sequences

    def __init__(self, case: Any, x: Any, y: Any, threads: Any) -> None:
        tdfast.set_num_threads(threads)
        for name in case.layers:
            if not hasattr(tdfast.layers, name):
                raise NotAvailable(f"{name} is not available in this version of tdfast")
        if case.does == "stream" and not hasattr(tdfast.Sequential, "streamer"):
            raise NotAvailable("streams (model.streamer) are not available in this version of tdfast")
        self.setup(tdfast, case, x, y)

    def start_stream(self) -> Any:
        """See `KerasModel.start_stream`."""
        return self.model.streamer(batch_size=1).step


class Fleet(Model):
    """Many models of one case in one call, as `tdfast.fleet` trains them: each begins with the same weights
    and sees the same rows."""

    def __init__(self, case: Any, x: Any, y: Any, threads: Any) -> None:
        super().__init__(case, x, y, threads)
        self.data = {i: (x, y) for i in range(case.models)}
        self.trained: Any = None

    def set_weights(self, weights: Any) -> None:
        """Where each begins."""
        super().set_weights(weights)
        self.trained = None

    def first_epoch(self) -> Any:
        """The mean of all losses of one epoch in the order of the rows."""
        self.fit(1, shuffle=False)
        return self.trained.history["loss"].mean()

    def fit(self, epochs: int, shuffle: bool = True) -> None:
        """Epochs of each."""
        self.trained = tdfast.fleet.fit(self.model, self.data, epochs=epochs, batch_size=self.case.B, seed=0,
                                        shuffle=shuffle)

    def predict(self, x: Any) -> Any:
        """The outputs of the last one."""
        if self.trained is None:
            return super().predict(x)
        last = self.case.models - 1
        return self.trained.predict({last: x}, batch_size=self.case.B)[last]


class NotAvailable(Exception):
    """This version of tdfast cannot do the case."""
