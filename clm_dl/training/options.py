"""What the groups `trainer` and `callbacks` say; the defaults stand in configs/."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, Any

from clm_dl.errors import UserError
from clm_dl.options import Within


@dataclass(frozen=True)
class CallbackOptions:
    """patience: validations without improvement before training stops; the others: what TensorBoard shows."""

    patience: Annotated[int, Within(1)]
    weight_histograms: bool
    gradient_norm: bool


@dataclass(frozen=True)
class TrainerOptions:
    """What the group `trainer` says by itself; Lightning checks the rest."""

    compile: bool
    shapes: Annotated[int, Within(3, 10**6)] | None = None
    max_epochs: Annotated[int, Within(high=10**9)] | None = None
    gradient_clip_val: Annotated[float, Within(0)] | None = None
    accumulate_grad_batches: Annotated[int, Within(1)] = 1
    log_every_n_steps: Annotated[int, Within(0)] | None = None
    enable_progress_bar: bool = True
    num_nodes: Annotated[int, Within(1, 10_000)] = 1
    deterministic: bool | str | None = None
    devices: int | str | list[int] = 1
    limit_train_batches: Annotated[float, Within(0, above=True)] | None = None

    def __post_init__(self) -> None:
        if self.max_epochs is not None and self.max_epochs != -1 and self.max_epochs < 1:
            raise UserError(
                f"trainer.max_epochs must be ≥ 1, or -1 to train until the callbacks stop it, got {self.max_epochs}"
            )
        if not (self.deterministic in (None, "warn") or isinstance(self.deterministic, bool)):
            raise UserError(f"trainer.deterministic must be true, false or warn, got {self.deterministic!r}")
        if isinstance(self.devices, int) and not -1 <= self.devices <= 10_000:
            raise UserError(f"trainer.devices must be -1 (all) or a number of devices, got {self.devices}")


@dataclass(frozen=True)
class TrainingOptions:
    """How a network is trained.

    Attributes:
        trainer: arguments of Lightning's Trainer. compile: torch.compile of the encoder. shapes: see
            `SequenceInputs.num_shapes`.
        loggers: as made by the configuration. checkpoint: to resume from.
    """

    trainer: Mapping[str, Any]
    compile: bool
    shapes: int | None
    callbacks: CallbackOptions
    loggers: Mapping[str, Any]
    seed: int
    checkpoint: str | None
    trusted: tuple[str, ...]
