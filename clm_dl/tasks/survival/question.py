"""SurvivalQuestion: P(active through each horizon), from a hazard for each interval between horizons."""

from __future__ import annotations

from typing import Any

from torch import Tensor

from clm_dl.tasks.question import Question
from clm_dl.tasks.survival.hazard import hazard_loss, survival_curve


class SurvivalQuestion(Question):
    """Censored likelihood of the interval in which a customer leaves; a snapshot counts as far as it was followed."""

    monitor = "nll"

    def __init__(self, *, num_horizons: int, **options: Any) -> None:
        super().__init__(**options)
        self.num_outputs = num_horizons  # hazards, of a half at first

    def loss(self, output: Tensor, truth: Tensor) -> Tensor:
        return hazard_loss(output, truth)

    def answer(self, output: Tensor) -> Tensor:
        """P(active through each horizon) `[B, S]`, never rising."""
        return survival_curve(output)

    def metrics(self, output: Tensor, truth: Tensor) -> dict[str, Tensor]:
        return {"nll": hazard_loss(output, truth)}
