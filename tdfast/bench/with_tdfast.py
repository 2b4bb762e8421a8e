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


class NotAvailable(Exception):
    """This version of tdfast cannot do the case."""
