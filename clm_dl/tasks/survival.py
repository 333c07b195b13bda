"""SurvivalTask: P(active through each horizon), from a hazard for each interval between horizons."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from clm_dl.data.batch import EventBatch
from clm_dl.data.lifetimes import check_horizons
from clm_dl.nn import VectorHead
from clm_dl.nn.hazard import hazard_loss, survival_curve
from clm_dl.tasks.base import SnapshotTask


class SurvivalTask(SnapshotTask):
    """Censored likelihood of the interval in which a customer leaves; every snapshot counts as far as it was followed.

    A customer leaves at the first moment at which churn comes true: at the last event before a silence of `snapshots.horizon_days` that
    begins at the cutoff or later (`labels=churn_event`: at the event that says so). Active through h: has not left before cutoff + h.
    So at horizon 0 this is 1 − P(churn), and the curve falls from there. See `data.lifetimes`.
    """

    name = "survival"
    monitor, mode = "val/nll", "min"

    def build_head(self, size: int, extra_size: int) -> nn.Module:
        check_horizons(self.task["horizons_days"])
        self.validation_outputs: list[tuple[Tensor, Tensor]] = []
        options = {"hidden_size": self.task["head_size"], "dropout": self.task["dropout"]}
        return VectorHead(size, num_outputs=len(self.task["horizons_days"]), extra_size=extra_size, **options)  # hazards of a half

    def loss(self, output: Tensor, batch: EventBatch) -> Tensor:
        return hazard_loss(output, batch.target_BK)

    def active(self, batch: EventBatch) -> Tensor:
        """P(active through each horizon) `[B, S]`, float32, never rising."""
        return survival_curve(self(batch))

    def validation_step(self, batch: EventBatch, batch_idx: int) -> None:
        self.validation_outputs.append((self(batch).float(), batch.target_BK))

    def on_validation_epoch_end(self) -> None:
        logit_BS, left_BS = (torch.cat(part) for part in zip(*self.validation_outputs, strict=True))
        self.validation_outputs.clear()
        self.log("val/nll", hazard_loss(logit_BS, left_BS), prog_bar=True)  # of the whole epoch, as in ChurnTask
