"""ValueTask: what a customer spends in the label window and in how many orders, as distributions."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

from clm_dl.data.batch import EventBatch
from clm_dl.nn import VectorHead
from clm_dl.nn.spend import NUM_PARAMETERS, ValueDistribution, value_loss
from clm_dl.tasks.base import SnapshotTask

MEAN, MEDIAN, LOW, HIGH, ORDERS = range(5)  # columns of a forecast


class ValueTask(SnapshotTask):
    """Zero-inflated lognormal spend and negative binomial orders; `target_BK` holds (spend, orders), NaN censored.

    `schema["value"]` gives the scales that the outputs are relative to: {"center", "scale", "largest", "orders"}, fitted on training.
    """

    name = "value"
    monitor, mode = "val/nll", "min"
    bounded_recency = True  # amounts go on exponentially: who was silent for longer than anyone in training is not worth a third of them

    def build(self, schema: Mapping[str, Any], encoder: Mapping[str, Any]) -> None:
        check_value_options(self.task)
        self.scales = dict(schema["value"])
        self.validation_outputs: list[tuple[Tensor, Tensor]] = []
        super().build(schema, encoder)

    def build_head(self, size: int, extra_size: int) -> nn.Module:
        options = {"hidden_size": self.task["head_size"], "dropout": self.task["dropout"]}
        return VectorHead(size, num_outputs=NUM_PARAMETERS, extra_size=extra_size, **options)

    def loss(self, output: Tensor, batch: EventBatch) -> Tensor:
        distribution = ValueDistribution.of(output, **self.scales)
        return value_loss(distribution, batch.target_BK, orders_weight=self.task["orders_weight"])

    def forecast(self, batch: EventBatch) -> Tensor:
        """`[B, 5]`, float32: mean and median of spend, both ends of its interval of `task.coverage`, and mean orders."""
        return forecast(ValueDistribution.of(self(batch), **self.scales), self.task["coverage"])

    def validation_step(self, batch: EventBatch, batch_idx: int) -> None:
        self.validation_outputs.append((self(batch).float(), batch.target_BK))

    def on_validation_epoch_end(self) -> None:
        output_B5, target_B2 = (torch.cat(part) for part in zip(*self.validation_outputs, strict=True))
        self.validation_outputs.clear()
        distribution = ValueDistribution.of(output_B5, **self.scales)
        for name, weight in {"val/nll": self.task["orders_weight"], "val/nll_spend": 0.0}.items():
            self.log(name, value_loss(distribution, target_B2, orders_weight=weight), prog_bar=name == self.monitor)


def forecast(distribution: ValueDistribution, coverage: float) -> Tensor:
    """What is told of a distribution, `[B, 5]`."""
    parts = [distribution.mean(), distribution.quantile(0.5), *distribution.interval(coverage), distribution.orders_B]
    return torch.stack(parts, dim=-1)


def check_value_options(task: Mapping[str, Any]) -> None:
    """Raise ValueError for an option of `configs/task/value.yaml` that is out of range."""
    if not 0 < task["coverage"] < 1:
        raise ValueError(f"task.coverage must lie strictly between 0 and 1, got {task['coverage']}")
    if not task["orders_weight"] >= 0:
        raise ValueError(f"task.orders_weight must be ≥ 0, got {task['orders_weight']}")
