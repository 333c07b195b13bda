"""ValueQuestion: what a customer spends in the label window and in how many orders, as distributions."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from clm_dl.tasks.question import Question
from clm_dl.tasks.value.distribution import NUM_PARAMETERS, ValueDistribution, value_loss


class ValueQuestion(Question):
    """Zero-inflated lognormal spend and negative binomial orders; the truth is (spend, orders), NaN censored.

    Args:
        scales: that the outputs are relative to: {"center", "scale", "largest", "orders"}, fitted on training.
        coverage: of the interval around the spend. orders_weight: of the loss of the orders.
    """

    monitor = "nll"
    num_outputs = NUM_PARAMETERS
    # amounts go on exponentially: who was silent for longer than anyone in training is not worth a third of them
    bounded_recency = True

    def __init__(self, *, scales: Mapping[str, float], coverage: float, orders_weight: float, **options: Any) -> None:
        super().__init__(**options)
        self.scales, self.coverage, self.orders_weight = dict(scales), coverage, orders_weight

    def loss(self, output: Tensor, truth: Tensor) -> Tensor:
        return value_loss(self._distribution(output), truth, orders_weight=self.orders_weight)

    def answer(self, output: Tensor) -> Tensor:
        """`[B, 5]`: mean and median of spend, both ends of its interval of `coverage`, and mean orders."""
        return forecast(self._distribution(output), self.coverage)

    def metrics(self, output: Tensor, truth: Tensor) -> dict[str, Tensor]:
        distribution, weights = self._distribution(output), {"nll": self.orders_weight, "nll_spend": 0.0}
        return {name: value_loss(distribution, truth, orders_weight=weight) for name, weight in weights.items()}

    def _distribution(self, output: Tensor) -> ValueDistribution:
        return ValueDistribution.of(output, **self.scales)


def forecast(distribution: ValueDistribution, coverage: float) -> Tensor:
    """What is told of a distribution, `[B, 5]`."""
    parts = [distribution.mean(), distribution.quantile(0.5), *distribution.interval(coverage), distribution.orders_B]
    return torch.stack(parts, dim=-1)
