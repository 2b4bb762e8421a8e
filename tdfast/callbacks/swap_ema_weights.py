"""SwapEMAWeights: measure the moving averages of the weights instead of the weights."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tdfast.callbacks.base import Callback

if TYPE_CHECKING:
    from tdfast.engine.types import Logs


class SwapEMAWeights(Callback):
    """Puts the optimizer's moving averages in the weights' place while the model is evaluated or predicts.

    Needs an optimizer with ``use_ema=True``. Before the first update there are no averages, and nothing
    happens.
    Source: https://github.com/keras-team/keras/blob/master/keras/src/callbacks/swap_ema_weights.py.

    Args:
        swap_on_epoch: True also leaves them there from the end of each epoch to the beginning of the next,
            for callbacks behind this one such as `ModelCheckpoint`.

    Raises:
        ValueError: for an optimizer without averages.

    >>> SwapEMAWeights().swap_on_epoch
    False
    """

    def __init__(self, swap_on_epoch: bool = False) -> None:
        super().__init__()
        self.swap_on_epoch = swap_on_epoch

    def _put(self, averages: bool) -> None:
        optimizer = self.model.optimizer
        if not getattr(optimizer, "use_ema", False):
            raise ValueError(
                "SwapEMAWeights needs an optimizer that keeps averages of the weights: make it with "
                "use_ema=True."
            )
        if optimizer.built and optimizer.steps and optimizer.averages_in_place != averages:
            optimizer.swap_averages()

    def on_epoch_begin(self, epoch: int, logs: Logs | None = None) -> None:
        if self.swap_on_epoch:
            self._put(False)

    def on_epoch_end(self, epoch: int, logs: Logs | None = None) -> None:
        if self.swap_on_epoch:
            self._put(True)

    def on_test_begin(self, logs: Logs | None = None) -> None:
        self._put(True)

    def on_test_end(self, logs: Logs | None = None) -> None:
        self._put(False)

    def on_predict_begin(self, logs: Logs | None = None) -> None:
        self._put(True)

    def on_predict_end(self, logs: Logs | None = None) -> None:
        self._put(False)

    def on_abort(self) -> None:
        if getattr(self.model.optimizer, "use_ema", False):
            self._put(False)
