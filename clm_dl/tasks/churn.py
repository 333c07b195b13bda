"""ChurnTask and PropensityTask: the probability that a snapshot's label is 1, a logit a snapshot."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn
from torchmetrics.functional.classification import binary_auroc

from clm_dl.data.batch import EventBatch
from clm_dl.nn import BinaryHead, binary_cross_entropy
from clm_dl.tasks.base import SnapshotTask


class ChurnTask(SnapshotTask):
    """Binary cross-entropy on churn (1) against stay (0); censored snapshots (NaN) have no loss.

    A `positive_weight` w shifts the logit by ln w; `logits` undoes it, so that scores and the validation loss are probabilities
    of the population (Elkan 2001; King & Zeng 2001, prior correction).
    """

    name = "churn"
    monitor, mode = "val/log_loss", "min"

    def build_head(self, size: int, extra_size: int) -> nn.Module:
        self.validation_outputs: list[tuple[Tensor, Tensor]] = []
        if not self.task["positive_weight"] > 0:
            raise ValueError(f"task.positive_weight must be > 0, got {self.task['positive_weight']}")
        self.shift = math.log(self.task["positive_weight"])
        return BinaryHead(size, extra_size=extra_size, hidden_size=self.task["head_size"], dropout=self.task["dropout"])

    def loss(self, output: Tensor, batch: EventBatch) -> Tensor:
        options = {key: self.task[key] for key in ("positive_weight", "label_smoothing")}
        return binary_cross_entropy(output, batch.label_B, **options)

    def logits(self, batch: EventBatch) -> Tensor:
        """Prior-corrected logits `[B]`, float32."""
        return self(batch).float() - self.shift

    def validation_step(self, batch: EventBatch, batch_idx: int) -> None:
        self.validation_outputs.append((self.logits(batch), batch.label_B))

    def on_validation_epoch_end(self) -> None:
        logit_B = torch.cat([logit for logit, _ in self.validation_outputs])
        label_B = torch.cat([label for _, label in self.validation_outputs])
        self.validation_outputs.clear()
        # of the whole epoch, never a mean of batches; every rank of a distributed run evaluates all of it
        self.log("val/log_loss", binary_cross_entropy(logit_B, label_B), prog_bar=True)
        self.log("val/auroc", binary_auroc(logit_B, label_B.long()), prog_bar=True)


class PropensityTask(ChurnTask):
    """As ChurnTask; positive = what is asked for happened (`labels=event`, or a label that is given)."""

    name = "propensity"
