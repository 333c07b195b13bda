"""What TensorBoard gets while a network trains: gradient norm, weights, throughput, the graph."""

import dataclasses
from pathlib import Path
from types import SimpleNamespace
from typing import Any, ClassVar

import numpy as np
import pytest
import pytorch_lightning as pl
import torch
from pytorch_lightning.loggers import TensorBoardLogger
from shown import events_of
from torch.utils.data import DataLoader
from torch.utils.tensorboard import SummaryWriter

from clm_dl.tasks.module import SequenceTask
from clm_dl.training.callbacks import GradientNorm, ModelGraph, Throughput, WeightHistograms, write_graph


@dataclasses.dataclass
class Batch:
    x_BTD: torch.Tensor
    mask_BT: torch.Tensor
    length_B: torch.Tensor
    extra: dict

    def __len__(self) -> int:
        return len(self.length_B)

    @property
    def num_events(self) -> int:
        return int(self.length_B.sum())


def batches(rows: list[torch.Tensor]) -> Batch:
    x_BTD = torch.stack(rows)
    mask_BT = torch.arange(4) < 3
    return Batch(
        x_BTD, mask_BT.expand(len(rows), 4), torch.full((len(rows),), 3), {"bag": (x_BTD.sum(-1), torch.arange(2))}
    )


class Small(torch.nn.Module):
    """What training needs of a network."""

    seed = 0
    hyper_parameters: ClassVar[dict[str, Any]] = {}
    options = SimpleNamespace(
        optimizer=SimpleNamespace(lr=0.1, weight_decay=0.0), schedule=SimpleNamespace(name="constant", warmup=0.0)
    )

    def __init__(self) -> None:
        super().__init__()
        self.layer = torch.nn.Linear(2, 1)

    def forward(self, batch: Batch) -> torch.Tensor:
        return self.layer((batch.x_BTD * batch.mask_BT[..., None]).mean(1)) + batch.extra["bag"][0].mean()

    def batch_loss(self, batch: Batch) -> torch.Tensor:
        return self(batch).square().mean()

    def undecayed(self) -> list[torch.nn.Parameter]:
        return []


@pytest.mark.filterwarnings("ignore:.*LeafSpec.*is deprecated:FutureWarning")  # Lightning on torch 2.13
@pytest.mark.filterwarnings("ignore:The 'train_dataloader' does not have many workers")
def test_callbacks_log_gradient_norm_weights_and_throughput(tmp_path: Path) -> None:
    loader = DataLoader(torch.randn(8, 4, 2), batch_size=4, collate_fn=batches)
    logger = TensorBoardLogger(tmp_path, name="", version="", default_hp_metric=False)
    trainer = pl.Trainer(
        max_epochs=2,
        accelerator="cpu",
        logger=logger,
        log_every_n_steps=1,
        limit_val_batches=0,
        callbacks=[GradientNorm(), WeightHistograms(), ModelGraph(), Throughput()],
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
    )
    trainer.fit(SequenceTask(Small(), monitor="val/loss"), loader, loader)
    events = events_of(tmp_path)
    assert len(events.Scalars("train/gradient_norm")) == 4
    assert all(item.value > 0 for item in events.Scalars("train/gradient_norm"))
    assert [item.value for item in events.Scalars("train/padding_ratio")] == [np.float32(4 / 3)] * 2
    assert all(item.value > 0 for item in events.Scalars("train/events_per_second"))
    assert b"layer" in events.Graph().SerializeToString()
    assert {"weight/layer.weight", "weight/layer.bias"} <= set(events.Tags()["histograms"])


def test_a_network_that_cannot_be_traced_is_left_out(tmp_path: Path) -> None:
    class Odd(torch.nn.Module):
        def forward(self, batch):
            return [str(batch)]

    with SummaryWriter(str(tmp_path)) as writer:
        assert not write_graph(writer, Odd(), batches([torch.randn(4, 2)] * 2))
