"""ChurnQuestion: the probability that a snapshot's label is 1, a logit a snapshot."""

from __future__ import annotations

import math
from typing import Any

from torch import Tensor, nn

from clm_dl.data.sequences.batch import EventBatch
from clm_dl.nn import BinaryHead
from clm_dl.tasks.churn.loss import binary_cross_entropy
from clm_dl.tasks.question import Question


class ChurnQuestion(Question):
    """Binary cross-entropy on churn (1) against stay (0); censored snapshots (NaN) have no loss.

    A `positive_weight` w, or training snapshots drawn so that the odds of label 1 are w times theirs in the population
    (`odds`), shift the logit by ln w; the answer undoes it, so that scores and the validation loss are probabilities of
    the population (Elkan 2001; King & Zeng 2001, prior correction).
    """

    monitor = "log_loss"
    num_outputs = 1

    def __init__(
        self, *, positive_weight: float, label_smoothing: float, odds: float | None = None, **options: Any
    ) -> None:
        super().__init__(**options)
        self.positive_weight, self.label_smoothing = positive_weight, label_smoothing
        self.shift = math.log(positive_weight if odds is None else odds)

    def head(self, size: int, extra_size: int) -> nn.Module:
        return BinaryHead(size, extra_size=extra_size, hidden_size=self.head_size, dropout=self.dropout)

    def truth(self, batch: EventBatch) -> Tensor:
        return batch.label_B

    def loss(self, output: Tensor, truth: Tensor) -> Tensor:
        options = {"positive_weight": self.positive_weight, "label_smoothing": self.label_smoothing}
        return binary_cross_entropy(output, truth, **options)

    def answer(self, output: Tensor) -> Tensor:
        """Prior-corrected logits `[B]`."""
        return output.float() - self.shift

    def metrics(self, output: Tensor, truth: Tensor) -> dict[str, Tensor]:
        from torchmetrics.functional.classification import binary_auroc  # two seconds to import; for training alone

        logit_B = self.answer(output)
        return {"log_loss": binary_cross_entropy(logit_B, truth), "auroc": binary_auroc(logit_B, truth.long())}
