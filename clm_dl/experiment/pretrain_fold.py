"""PretrainFold: a pretraining on everyone's history up to the last training cutoff, and the losses of the customers
kept out.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import pandas as pd
import torch
from torch.utils.data import DataLoader

from clm_dl.data.sequences.batch import EventBatch
from clm_dl.data.sequences.datamodule import SequenceDataModule
from clm_dl.data.snapshots.snapshots import Snapshots, build_snapshots
from clm_dl.evaluation.calibration import PlattCalibrator
from clm_dl.evaluation.scores import loss_table
from clm_dl.evaluation.splits import NETWORK
from clm_dl.experiment.fold import Fold
from clm_dl.tasks.module import SequenceTask
from clm_dl.tasks.pretrain.histories import unlabelled_snapshots
from clm_dl.tasks.pretrain.metrics import MARGINAL, summarise_pretraining
from clm_dl.tasks.pretrain.module import PretrainTask
from clm_dl.training.fit import Network
from clm_dl.visual.tensorboard_pretrain import write_final_pretrain

Log = Callable[[str], None]
SAMPLE = 10_000  # training snapshots, about, that the floor is fitted on
BLOCK = 64  # customers that are judged together


class PretrainFold(Fold):
    """As Fold; a row of the Scores table is a customer, a model and a field of the objective, the score a loss."""

    write: Callable[..., None] = staticmethod(write_final_pretrain)

    def take_snapshots(self, number: int) -> Snapshots:
        """One a customer; the rule of the labelled ones says up to when."""
        labelled = build_snapshots(
            self.store, **self.settings["snapshots"], fold=number, labels=self.settings["labels"]
        )
        return unlabelled_snapshots(self.store, labelled, held_out=self.settings["task"]["held_out"])

    @property
    def fingerprint(self) -> str:
        """That of the snapshots and of the objective."""
        text = self.snapshots.fingerprint(self.store) + self.settings["task"]["objective"]
        return hashlib.blake2b(text.encode(), digest_size=16).hexdigest()

    def fit(self, log: Log) -> None:
        assert self.network is not None
        assert isinstance(self.network.task, PretrainTask)
        if self.network.checkpoint is None:
            self.clock("network", self.network.task.fit_floor, training_sample(self.network))
        super().fit(log)

    def network_scores(
        self, task: SequenceTask, datamodule: SequenceDataModule, calibration: Any = None
    ) -> tuple[pd.DataFrame, Any]:
        """Losses of the network, and below them those of the model that says the same of everyone; there is nothing to
        calibrate.
        """
        assert isinstance(task, PretrainTask)
        parts = [
            loss_table(
                self.store, self.snapshots.select(index_N), task.fields, model=model, loss=sum_NF, predictions=count_NF
            )
            for model, index_N, sum_NF, count_NF in self._losses(task, datamodule)
        ]
        return pd.concat(parts, ignore_index=True), PlattCalibrator()

    @torch.inference_mode()
    def _losses(
        self, task: PretrainTask, datamodule: SequenceDataModule
    ) -> list[tuple[str, np.ndarray, np.ndarray, np.ndarray]]:
        """(model, rows of the snapshots, sums of losses, predictions) of each split, in blocks: slices are held against
        their block's.
        """
        task.eval()
        found = []
        for split in ("val", "test"):
            index_N = np.flatnonzero(self.snapshots.split == split)
            blocks = [index_N[start : start + BLOCK] for start in range(0, len(index_N), BLOCK)]
            for model, losses in ((NETWORK, task.losses), (MARGINAL, task.floor_losses)):
                parts = [losses(datamodule.dataset[index_B].to(task.device)) for index_B in blocks]
                sum_NF, count_NF = (torch.cat(part).double().cpu().numpy() for part in zip(*parts, strict=True))
                found.append((model, index_N, sum_NF, count_NF))
        return found

    def summarise(self, scores: pd.DataFrame, fingerprint: str, counts: Mapping[str, Any]) -> dict[str, Any]:
        return summarise_pretraining(
            scores,
            objective=self.settings["task"]["objective"],
            fingerprint=fingerprint,
            data_counts=counts,
            resamples=self.settings["bootstrap"],
            seed=self.settings["seed"],
        )


def training_sample(network: Network) -> DataLoader[EventBatch]:
    """Batches of SAMPLE training snapshots, about."""
    train = np.flatnonzero(network.datamodule.snapshots.training)
    return network.datamodule.loader(train[:: max(1, len(train) // SAMPLE)])
