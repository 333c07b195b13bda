"""SurvivalQuestion: P(active through each horizon), from a hazard for each interval between horizons."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from clm_dl.tasks.question import Question
from clm_dl.tasks.survival.hazard import hazard_loss, survival_curve


class SurvivalQuestion(Question):
    """Censored likelihood of the interval in which a customer leaves; a snapshot counts as far as it was followed.

    `odds` w of each interval multiply the loss of leaving in it and shift its logit by ln w, which answer and
    validation undo, as in ChurnQuestion.
    """

    monitor = "nll"

    def __init__(self, *, num_horizons: int, odds: Sequence[float] | None = None, **options: Any) -> None:
        super().__init__(**options)
        self.odds: tuple[float, ...] | None = None if odds is None else tuple(odds)
        self.num_outputs = num_horizons  # hazards, of a half at first

    def loss(self, output: Tensor, truth: Tensor) -> Tensor:
        return hazard_loss(output, truth, weight_S=None if self.odds is None else self._odds(output))

    def answer(self, output: Tensor) -> Tensor:
        """P(active through each horizon) `[B, S]`, never rising."""
        return survival_curve(self._of_population(output))

    def metrics(self, output: Tensor, truth: Tensor) -> dict[str, Tensor]:
        return {"nll": hazard_loss(self._of_population(output), truth)}

    def _of_population(self, output: Tensor) -> Tensor:
        return output if self.odds is None else output.float() - self._odds(output).float().log()

    def _odds(self, output: Tensor) -> Tensor:
        assert self.odds is not None
        # number by number: a list would have to be copied to the device, for which the host waits
        return torch.stack([torch.full((), odds, dtype=output.dtype, device=output.device) for odds in self.odds])
