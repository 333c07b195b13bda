"""SurvivalTask: P(active through each horizon), from a hazard for each interval between horizons."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from torch import Tensor

from clm_dl.data.sequences.batch import EventBatch
from clm_dl.tasks.module import SnapshotTask
from clm_dl.tasks.question import Question
from clm_dl.tasks.survival.hazard import hazard_loss, survival_curve
from clm_dl.tasks.survival.lifetimes import check_horizons


class SurvivalQuestion(Question):
    """Censored likelihood of the interval in which a customer leaves; every snapshot counts as far as it was followed.

    A customer leaves at the first moment at which churn comes true: at the last event before a silence of
    `snapshots.horizon_days` that begins at the cutoff or later (`labels=churn_event`: at the event that says so).
    Active through h: has not left before cutoff + h. So at horizon 0 this is 1 − P(churn), and the curve falls from
    there. See `data.lifetimes`.
    """

    name, monitor = "survival", "nll"

    def __init__(self, task: Mapping[str, Any], schema: Mapping[str, Any], *, columns: slice = slice(None)) -> None:
        super().__init__(task, schema, columns=columns)
        check_horizons(task["horizons_days"])
        self.num_outputs = len(task["horizons_days"])  # hazards, of a half at first

    def loss(self, output: Tensor, truth: Tensor) -> Tensor:
        return hazard_loss(output, truth)

    def answer(self, output: Tensor) -> Tensor:
        """P(active through each horizon) `[B, S]`, never rising."""
        return survival_curve(output)

    def metrics(self, output: Tensor, truth: Tensor) -> dict[str, Tensor]:
        return {"nll": hazard_loss(output, truth)}


class SurvivalTask(SnapshotTask):
    """When a customer leaves: see SurvivalQuestion."""

    name = "survival"
    monitor, mode = "val/nll", "min"
    question_type = SurvivalQuestion

    def active(self, batch: EventBatch) -> Tensor:
        """P(active through each horizon) `[B, S]`, float32, never rising."""
        return self.question.answer(self(batch))
