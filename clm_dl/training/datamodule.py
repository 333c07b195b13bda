"""SequenceDataModule: the loaders of a task's inputs as Lightning asks for them."""

from __future__ import annotations

import pytorch_lightning as pl
from torch.utils.data import DataLoader

from clm_dl.data.sequences.batch import EventBatch
from clm_dl.data.sequences.inputs import SequenceInputs


class SequenceDataModule(pl.LightningDataModule):
    """Training snapshots, shuffled anew each epoch and shared by the processes; early-stopping ones for validation."""

    def __init__(self, inputs: SequenceInputs) -> None:
        super().__init__()
        self.inputs = inputs

    def train_dataloader(self) -> DataLoader[EventBatch]:
        trainer = self.trainer
        assert trainer is not None
        # the epoch of a resumed run; Lightning makes its first iterator before it says which
        ranks = {"rank": trainer.global_rank, "world_size": trainer.world_size}
        return self.inputs.train_loader(epoch=trainer.current_epoch, **ranks)

    def val_dataloader(self) -> DataLoader[EventBatch]:
        return self.inputs.loader(self.inputs.rows("val"))
