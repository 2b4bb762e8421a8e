"""OptunaPruning: a trial of Optuna that is worse than others ends early."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from tdfast.callbacks.base import Callback

if TYPE_CHECKING:
    from tdfast.engine.types import Logs


class OptunaPruning(Callback):
    """Tells a trial of Optuna a number after each epoch, and ends `fit` where Optuna's pruner says so.

    `fit` then raises ``optuna.TrialPruned``, which ``study.optimize`` expects. The model keeps its weights
    and its history. Needs the package optuna.

    Args:
        trial: the ``optuna.trial.Trial`` that the objective was given.
        monitor: the number's name in the logs, default 'val_loss'.

    Raises:
        ValueError: in `fit`, if the logs have no such number.

    Source: https://optuna.readthedocs.io/en/stable/tutorial/10_key_features/003_efficient_optimization_algorithms.html

    >>> class Trial:
    ...     def report(self, value, step):
    ...         print(f"epoch {step}: {value}")
    ...     def should_prune(self):
    ...         return False
    >>> OptunaPruning(Trial(), monitor="loss").on_epoch_end(0, {"loss": 0.5})
    epoch 0: 0.5
    """

    def __init__(self, trial: Any, monitor: str = "val_loss") -> None:
        super().__init__()
        if not hasattr(trial, "report") or not hasattr(trial, "should_prune"):
            raise ValueError(
                "OptunaPruning expects the trial that Optuna gave the objective, got a "
                f"{type(trial).__name__}."
            )
        self.trial, self.monitor = trial, monitor

    def on_epoch_end(self, epoch: int, logs: Logs | None = None) -> None:
        logs = logs or {}
        if self.monitor not in logs:
            hint = " Give fit validation_data or validation_split." if self.monitor.startswith("val_") else ""
            raise ValueError(
                f"OptunaPruning watches '{self.monitor}', which is not among the metrics of this epoch: "
                f"{', '.join(logs) or 'none'}.{hint}"
            )
        self.trial.report(float(logs[self.monitor]), epoch)
        if self.trial.should_prune():
            import optuna

            raise optuna.TrialPruned(f"{self.monitor} was {logs[self.monitor]:g} after epoch {epoch + 1}.")
