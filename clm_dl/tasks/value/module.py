"""ValueTask: what a customer spends in the label window and in how many orders, as distributions."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from clm_dl.data.sequences.batch import EventBatch
from clm_dl.errors import UserError
from clm_dl.tasks.module import SnapshotTask
from clm_dl.tasks.question import Question
from clm_dl.tasks.value.distribution import NUM_PARAMETERS, ValueDistribution, value_loss

MEAN, MEDIAN, LOW, HIGH, ORDERS = range(5)  # columns of a forecast


class ValueQuestion(Question):
    """Zero-inflated lognormal spend and negative binomial orders; the truth is (spend, orders), NaN censored.

    `schema["value"]` gives the scales that the outputs are relative to: {"center", "scale", "largest", "orders"},
    fitted on training.
    """

    name, monitor = "value", "nll"
    num_outputs = NUM_PARAMETERS
    # amounts go on exponentially: who was silent for longer than anyone in training is not worth a third of them
    bounded_recency = True

    def __init__(self, task: Mapping[str, Any], schema: Mapping[str, Any], *, columns: slice = slice(None)) -> None:
        super().__init__(task, schema, columns=columns)
        check_value_options(task)
        self.scales = dict(schema["value"])

    def loss(self, output: Tensor, truth: Tensor) -> Tensor:
        return value_loss(self._distribution(output), truth, orders_weight=self.task["orders_weight"])

    def answer(self, output: Tensor) -> Tensor:
        """`[B, 5]`: mean and median of spend, both ends of its interval of `task.coverage`, and mean orders."""
        return forecast(self._distribution(output), self.task["coverage"])

    def metrics(self, output: Tensor, truth: Tensor) -> dict[str, Tensor]:
        distribution, weights = self._distribution(output), {"nll": self.task["orders_weight"], "nll_spend": 0.0}
        return {name: value_loss(distribution, truth, orders_weight=weight) for name, weight in weights.items()}

    def _distribution(self, output: Tensor) -> ValueDistribution:
        return ValueDistribution.of(output, **self.scales)


class ValueTask(SnapshotTask):
    """What a customer will be worth: see ValueQuestion."""

    name = "value"
    monitor, mode = "val/nll", "min"
    question_type = ValueQuestion

    def forecast(self, batch: EventBatch) -> Tensor:
        """`[B, 5]`, float32: mean and median of spend, both ends of its interval of `task.coverage`, and mean orders."""
        return self.question.answer(self(batch))


def forecast(distribution: ValueDistribution, coverage: float) -> Tensor:
    """What is told of a distribution, `[B, 5]`."""
    parts = [distribution.mean(), distribution.quantile(0.5), *distribution.interval(coverage), distribution.orders_B]
    return torch.stack(parts, dim=-1)


def check_value_options(task: Mapping[str, Any]) -> None:
    """Raise ValueError for an option of `configs/task/value.yaml` that is out of range."""
    if not 0 < task["coverage"] < 1:
        raise UserError(f"task.coverage must lie strictly between 0 and 1, got {task['coverage']}")
    if not task["orders_weight"] >= 0:
        raise UserError(f"task.orders_weight must be ≥ 0, got {task['orders_weight']}")
