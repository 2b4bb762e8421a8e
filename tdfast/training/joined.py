"""Who trains a model together with this process, and what cannot be trained together."""

from __future__ import annotations

from typing import Any

import numpy as np

from tdfast import distribution
from tdfast.distribution import current
from tdfast.layers import BatchNormalization
from tdfast.training import own_step
from tdfast.training.batch import Batch
from tdfast.training.peers import Peers
from tdfast.training.prediction import is_stateful


def peers_of(model: Any, known: Peers | None) -> Peers:
    """The `Peers` of a model under the distribution of now: those that are ``known``, if they still hold.

    Raises:
        ValueError: for a model that cannot be trained together.
    """
    shared = distribution.distribution()
    _refuse_what_cannot_be(model)
    if known is not None and known.shared is shared and known.engine is current.engine():
        return known
    return Peers(model, shared)


def _refuse_what_cannot_be(model: Any) -> None:
    """Raise a ValueError that names what cannot be cut into shards."""
    alone = "Train it in one process: tdfast.distribution.set_distribution(None)."
    if own_step.overrides(model):
        raise ValueError(
            f"Model '{model.name}' ({type(model).__name__}) has a train_step, test_step, compute_loss or "
            "compute_metrics of its own, which DataParallel cannot cut into shards. Write what it does as a "
            f"loss or a layer. {alone}"
        )
    for layer in model.walk():
        what = f"Layer '{layer.name}' ({type(layer).__name__})"
        if getattr(layer, "stateful", False):
            raise ValueError(
                f"{what} is stateful: it goes on from the rows of the batch before, which DataParallel cuts "
                f"into shards. Use stateful=False. {alone}"
            )
        if _needs_all_rows(layer):
            raise ValueError(
                f"{what} computes from all rows of a batch, which DataParallel cuts into shards. {alone}"
            )


def shared_prediction(model: Any, inputs: Any) -> SharedPrediction | None:
    """The `SharedPrediction` of some inputs; None where each process predicts all of them."""
    shared: Any = distribution.distribution()
    size = current.engine().size
    if (size == 1 or not shared.auto_shard_dataset or len(inputs[0]) < 2 * size or is_stateful(model)
            or any(map(_needs_all_rows, model.walk()))):
        return None
    return SharedPrediction(model, inputs)


def _needs_all_rows(layer: Any) -> bool:
    """Whether a row's output depends on the other rows in a way that only the layer itself knows."""
    return layer.batch_coupled and not layer.sublayers() and not isinstance(layer, BatchNormalization)


class SharedPrediction:
    """A prediction whose rows the processes share.

    Args:
        model: the model.
        inputs: all rows, the same in each process.
    """

    def __init__(self, model: Any, inputs: Any) -> None:
        peers = Peers(model, distribution.distribution())
        peers.agree_on(Batch(inputs), "predict")
        self._engine, n = peers.engine, len(inputs[0])
        size, rank = self._engine.size, self._engine.rank
        ends = [n * i // size for i in range(size + 1)]
        self._counts = [b - a for a, b in zip(ends, ends[1:])]
        self._rows = slice(ends[rank], ends[rank + 1])

    def own(self, arrays: Any) -> Any:
        """This process's rows of some arrays, None for None."""
        return arrays and tuple([None if a is None else a[self._rows] for a in arrays])

    def of_all(self, outputs: Any) -> list[Any]:
        """The outputs of all rows, of those of this process."""
        whole = []
        for y in outputs:
            width = int(np.prod(y.shape[1:], dtype=np.int64))
            mine = np.ascontiguousarray(y).reshape(-1)
            out = self._engine.allgather(mine, [n * width for n in self._counts])
            whole.append(out.reshape(sum(self._counts), *y.shape[1:]))
        return whole
