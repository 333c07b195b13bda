"""SequenceDataModule: the loaders of a task's inputs as Lightning asks for them."""

from __future__ import annotations

from typing import Any

import pytorch_lightning as pl
from torch.utils.data import DataLoader

from clm_dl.data.sequences.batch import EventBatch
from clm_dl.data.sequences.inputs import SequenceInputs


class SequenceDataModule(pl.LightningDataModule):
    """Training snapshots, shuffled anew each epoch; early-stopping ones for validation; the processes share both."""

    def __init__(self, inputs: SequenceInputs) -> None:
        super().__init__()
        self.inputs = inputs

    def setup(self, stage: str) -> None:
        assert self.trainer is not None
        self.inputs.to(self.trainer.strategy.root_device)

    def transfer_batch_to_device(self, batch: EventBatch, device: Any, dataloader_idx: int) -> EventBatch:
        return batch.to(device, non_blocking=True)  # made there, or in pinned memory: the host need not wait

    def train_dataloader(self) -> DataLoader[EventBatch]:
        assert self.trainer is not None
        # the epoch of a resumed run; Lightning makes its first iterator before it says which
        return self.inputs.train_loader(epoch=self.trainer.current_epoch, **self._share)

    def val_dataloader(self) -> DataLoader[EventBatch]:
        return self.inputs.loader(self.inputs.rows("val"), **self._share)

    @property
    def _share(self) -> dict[str, int]:
        assert self.trainer is not None
        return {"rank": self.trainer.global_rank, "world_size": self.trainer.world_size}
