"""Lightning's trainer on given batches, for any task: a few steps, or a validation."""

import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import pytest
import pytorch_lightning as pl

from clm_dl.data.sequences.batch import EventBatch
from clm_dl.tasks.module import SequenceTask

QUIET: dict[str, Any] = {
    "accelerator": "cpu",
    **dict.fromkeys(("logger", "enable_checkpointing", "enable_progress_bar", "enable_model_summary"), False),
}


@contextmanager
def no_complaint() -> Iterator[None]:
    """Lightning on torch 2.13."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message=".*LeafSpec.*is deprecated", category=FutureWarning)
        yield


class Loader:
    """The same batches each time; Lightning would take a list for several loaders."""

    def __init__(self, batches: Sequence[EventBatch]) -> None:
        self.batches = batches

    def __iter__(self) -> Iterator[EventBatch]:
        return iter(self.batches)

    def __len__(self) -> int:
        return len(self.batches)


class Losses(pl.Callback):
    """The training loss of every step."""

    def __init__(self) -> None:
        self.found: list[float] = []

    def on_train_batch_end(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        self.found.append(float(outputs["loss"]))


@pytest.fixture(scope="session")
def fit() -> Callable[..., list[float]]:
    """Train a task on the same batches in every epoch, without validation; the loss of each step."""

    def fit(task: SequenceTask, batches: Sequence[EventBatch], *, epochs: int = 1) -> list[float]:
        losses = Losses()
        trainer = pl.Trainer(max_epochs=epochs, callbacks=[losses], limit_val_batches=0, **QUIET)
        with no_complaint():
            trainer.fit(task, train_dataloaders=Loader(batches), val_dataloaders=Loader(batches))
        return losses.found

    return fit


@pytest.fixture(scope="session")
def validate() -> Callable[..., dict[str, float]]:
    """The validation metrics of a task on these batches."""

    def validate(task: SequenceTask, batches: Sequence[EventBatch]) -> dict[str, float]:
        with no_complaint():
            [found] = pl.Trainer(**QUIET).validate(task, dataloaders=Loader(batches), verbose=False)
        return dict(found)

    return validate
