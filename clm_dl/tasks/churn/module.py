"""ChurnTask and PropensityTask: the probability that a snapshot's label is 1, a logit a snapshot."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from torch import Tensor, nn
from torchmetrics.functional.classification import binary_auroc

from clm_dl.data.sequences.batch import EventBatch
from clm_dl.errors import UserError
from clm_dl.nn import BinaryHead
from clm_dl.tasks.churn.loss import binary_cross_entropy
from clm_dl.tasks.module import SnapshotTask
from clm_dl.tasks.question import Question


class ChurnQuestion(Question):
    """Binary cross-entropy on churn (1) against stay (0); censored snapshots (NaN) have no loss.

    A `positive_weight` w shifts the logit by ln w; the answer undoes it, so that scores and the validation loss are
    probabilities of the population (Elkan 2001; King & Zeng 2001, prior correction).
    """

    name, monitor = "churn", "log_loss"
    num_outputs = 1

    def __init__(self, task: Mapping[str, Any], schema: Mapping[str, Any], *, columns: slice = slice(None)) -> None:
        super().__init__(task, schema, columns=columns)
        if not task["positive_weight"] > 0:
            raise UserError(f"task.positive_weight must be > 0, got {task['positive_weight']}")
        self.shift = math.log(task["positive_weight"])

    def head(self, size: int, extra_size: int) -> nn.Module:
        return BinaryHead(size, extra_size=extra_size, hidden_size=self.task["head_size"], dropout=self.task["dropout"])

    def truth(self, batch: EventBatch) -> Tensor:
        return batch.label_B

    def loss(self, output: Tensor, truth: Tensor) -> Tensor:
        options = {key: self.task[key] for key in ("positive_weight", "label_smoothing")}
        return binary_cross_entropy(output, truth, **options)

    def answer(self, output: Tensor) -> Tensor:
        """Prior-corrected logits `[B]`."""
        return output.float() - self.shift

    def metrics(self, output: Tensor, truth: Tensor) -> dict[str, Tensor]:
        logit_B = self.answer(output)
        return {"log_loss": binary_cross_entropy(logit_B, truth), "auroc": binary_auroc(logit_B, truth.long())}


class ChurnTask(SnapshotTask):
    """P(churn): see ChurnQuestion."""

    name = "churn"
    monitor, mode = "val/log_loss", "min"
    question_type = ChurnQuestion

    def logits(self, batch: EventBatch) -> Tensor:
        """Prior-corrected logits `[B]`, float32."""
        return self.question.answer(self(batch))


class PropensityTask(ChurnTask):
    """As ChurnTask; positive = what is asked for happened (`labels=event`, or a label that is given)."""

    name = "propensity"
