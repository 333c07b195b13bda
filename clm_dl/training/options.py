"""What the groups `trainer` and `callbacks` say; the defaults stand in configs/."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from clm_dl.errors import UserError


@dataclass(frozen=True)
class CallbackOptions:
    """patience: validations without improvement before training stops; the others: what TensorBoard shows."""

    patience: int
    weight_histograms: bool
    gradient_norm: bool


@dataclass(frozen=True)
class TrainingOptions:
    """How a network is trained.

    Attributes:
        trainer: arguments of Lightning's Trainer. compile: torch.compile of the encoder.
        loggers: as made by the configuration. checkpoint: to resume from.
    """

    trainer: Mapping[str, Any]
    compile: bool
    callbacks: CallbackOptions
    loggers: Mapping[str, Any]
    seed: int
    checkpoint: str | None
    trusted: tuple[str, ...]

    def __post_init__(self) -> None:
        epochs = self.trainer["max_epochs"]
        if epochs is not None and epochs != -1 and epochs < 1:
            raise UserError(f"trainer.max_epochs must be ≥ 1, or -1 to train until the callbacks stop it, got {epochs}")
