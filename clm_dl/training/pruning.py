"""Pruning: training that stops because the validation curve has fallen behind that of other trials."""

from __future__ import annotations

from typing import Any, Protocol

from pytorch_lightning import Callback, LightningModule, Trainer

from clm_dl.errors import Pruned
from clm_dl.tasks.module import SequenceTask


class Watcher(Protocol):
    """Who compares a validation curve with others."""

    def report(self, epoch: int, value: float, *, lower_is_better: bool) -> None:
        """One point of the curve."""

    def behind(self) -> str | None:
        """Why training is not worth going on with; None where it is."""


class Pruning(Callback):
    """Reports what the module monitors, and raises `Pruned` before the epoch that is not worth it, when the checkpoint
    of the one before is written; training that is over anyway is not pruned.
    """

    def __init__(self, watcher: Watcher) -> None:
        self.watcher = watcher

    def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        assert isinstance(pl_module, SequenceTask)
        value: Any = trainer.callback_metrics[pl_module.monitor]
        self.watcher.report(trainer.current_epoch, float(value), lower_is_better=pl_module.mode == "min")

    def on_train_epoch_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        if reason := self.watcher.behind():
            raise Pruned(reason)
