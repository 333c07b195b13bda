"""Networks and modules of any task on the shop's log: made from a command line, trained a few steps, validated."""

import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import pytest
import pytorch_lightning as pl
import torch

from clm_dl.config import compose, plain
from clm_dl.data.open import open_store
from clm_dl.data.sequences.batch import EventBatch
from clm_dl.data.sequences.inputs import SequenceInputs
from clm_dl.data.store.store import EventStore
from clm_dl.experiment.settings import read_task
from clm_dl.run import Run
from clm_dl.tasks.base import Task
from clm_dl.tasks.module import SequenceTask
from clm_dl.tasks.network import SequenceNetwork

QUIET: dict[str, Any] = {
    "accelerator": "cpu",
    **dict.fromkeys(("logger", "enable_checkpointing", "enable_progress_bar", "enable_model_summary"), False),
}


@pytest.fixture(scope="session")
def shop_store(run: Run) -> EventStore:
    return open_store(run.config["data"], run.config["paths"])


@pytest.fixture(scope="session")
def shop_task(run: Run) -> Callable[..., Task]:
    """A task that is asked of the shop's log: `shop_task("task=value")`."""

    def make(*words: str) -> Task:
        return read_task({**run.config, "task": plain(compose("train", list(words)))["task"], "baselines": "none"})

    return make


@pytest.fixture(scope="session")
def shop_inputs(shop_task: Callable[..., Task], shop_store: EventStore) -> Callable[..., SequenceInputs]:
    """The batches of such a task."""

    def make(*words: str) -> SequenceInputs:
        task = shop_task(*words)
        return task.inputs(task.cases(shop_store))

    return make


@pytest.fixture(scope="session")
def build() -> Callable[..., Any]:
    """The untrained network of a command line for batches of `schema`, always from the same draws."""

    def build(schema: Mapping[str, Any], *words: str) -> SequenceNetwork:
        task = read_task(plain(compose("train", ["baselines=none", *words])))
        torch.manual_seed(0)
        return task.network(schema)

    return build


@pytest.fixture(scope="session")
def learn() -> Callable[..., list[float]]:
    """The loss of each of some steps on one batch; `draws`: of what is random in a step there are so many kinds."""

    def learn(
        network: SequenceNetwork, batch: EventBatch, *, steps: int = 15, lr: float = 3e-3, draws: int | None = None
    ) -> list[float]:
        optimizer = torch.optim.AdamW([p for p in network.parameters() if p.requires_grad], lr=lr)
        losses = []
        for step in range(steps):
            optimizer.zero_grad()
            if draws:
                torch.manual_seed(step % draws)
            loss = network.batch_loss(batch)
            loss.backward()
            optimizer.step()
            losses.append(loss.item())
        return losses

    return learn


# --- Lightning


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
    """Train a network on the same batches in every epoch, without validation; the loss of each step."""

    def fit(network: SequenceNetwork, batches: Sequence[EventBatch], *, epochs: int = 1, **more: Any) -> list[float]:
        losses = Losses()
        trainer = pl.Trainer(max_epochs=epochs, callbacks=[losses], limit_val_batches=0, **QUIET, **more)
        module = SequenceTask(network, monitor="val/loss")
        with no_complaint():
            trainer.fit(module, train_dataloaders=Loader(batches), val_dataloaders=Loader(batches))
        return losses.found

    return fit


@pytest.fixture(scope="session")
def validate() -> Callable[..., dict[str, float]]:
    """The validation metrics of a network on these batches."""

    def validate(network: SequenceNetwork, batches: Sequence[EventBatch]) -> dict[str, float]:
        module = SequenceTask(network, monitor="val/loss")
        with no_complaint():
            [found] = pl.Trainer(**QUIET).validate(module, dataloaders=Loader(batches), verbose=False)
        return dict(found)

    return validate
