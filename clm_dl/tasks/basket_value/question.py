"""BasketQuestion: the logarithm of an amount as a normal distribution.

Shapes: B snapshots.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from clm_dl.tasks.question import Question

REACH = 3.0  # of the log deviation around training's: no amount is certain


class BasketQuestion(Question):
    """Lognormal amount; the truth is the amount `[B, 1]`, NaN unknown, which takes no part and gives no gradient.

    Args:
        scales: {"center", "scale"} of the log amounts of training, that the outputs are relative to.
    """

    monitor = "nll"
    num_outputs = 2
    bounded_recency = True  # amounts go on exponentially

    def __init__(self, *, scales: Mapping[str, float], **options: Any) -> None:
        super().__init__(**options)
        self.center, self.scale = scales["center"], scales["scale"]

    def loss(self, output: Tensor, truth: Tensor) -> Tensor:
        """Mean of −log density of the log amount, in units of the training deviation."""
        known_B = ~truth[:, 0].isnan()
        x_B = (truth[:, 0].where(known_B, torch.ones_like(truth[:, 0])).log() - self.center) / self.scale
        log_deviation_B = REACH * (output[:, 1].float() / REACH).tanh()
        loss_B = 0.5 * ((x_B - output[:, 0].float()) / log_deviation_B.exp()).square() + log_deviation_B
        return (loss_B * known_B).sum() / known_B.sum().clamp(min=1)

    def answer(self, output: Tensor) -> Tensor:
        """`[B]`: the expected log amount, that is the logarithm of the median."""
        return self.center + self.scale * output[:, 0].float()

    def metrics(self, output: Tensor, truth: Tensor) -> dict[str, Tensor]:
        known_B = ~truth[:, 0].isnan()
        error_B = (self.answer(output) - truth[:, 0].log())[known_B].abs()
        return {"nll": self.loss(output, truth), "log_mae": error_B.mean()}
