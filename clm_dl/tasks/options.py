"""What the options of the group `task` have in common; each task adds its own, the defaults stand in configs/task."""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import Annotated

from clm_dl.errors import UserError, choice
from clm_dl.nn.pooling import POOLINGS
from clm_dl.options import Share, Width, Within

SCHEDULES = ("constant", "cosine", "one_cycle")


@dataclass(frozen=True)
class EmbeddingOptions:
    """See `nn.EventEmbedding`."""

    max_size: Width
    numeric_size: Width
    calendar: tuple[str, ...]
    unknown_rate: Share


@dataclass(frozen=True)
class OptimizerOptions:
    """AdamW: peak learning rate, and the decay of weights that are no biases, norms or embedding tables."""

    lr: float
    weight_decay: Annotated[float, Within(0)]

    def __post_init__(self) -> None:
        if not self.lr >= 0:
            raise UserError(f"task.optimizer.lr must be ≥ 0, got {self.lr}")


@dataclass(frozen=True)
class ScheduleOptions:
    """Of the learning rate, see `module.learning_rate_factor`; warmup is a share of all steps."""

    name: str
    warmup: Annotated[float, Within(0, 1)]

    def __post_init__(self) -> None:
        if self.name not in SCHEDULES:
            raise UserError(f"task.schedule.name must be constant, cosine or one_cycle, got {self.name!r}")


@dataclass(frozen=True)
class NetworkOptions:
    """Of every network: its embedding, how it is trained and how batches are cut."""

    name: str
    embedding: EmbeddingOptions
    dropout: float
    batch_size: int | None
    max_tokens_per_batch: int | None
    num_workers: Annotated[int, Within(0, 1024)]
    steps_per_epoch: int | None
    passes_per_epoch: Annotated[float, Within(0, 1000)]
    optimizer: OptimizerOptions
    schedule: ScheduleOptions

    def __post_init__(self) -> None:
        if not 0 <= self.dropout < 1:
            raise UserError(f"task.dropout is a share and must be in [0, 1), got {self.dropout}")
        for name in ("batch_size", "max_tokens_per_batch", "steps_per_epoch"):
            if (value := getattr(self, name)) is not None and value < 1:
                raise UserError(f"task.{name} must be at least 1, got {value}")


@dataclass(frozen=True)
class PooledOptions(NetworkOptions):
    """Of a network that pools a history into one vector: last, mean, max or attention."""

    pooling: str

    def __post_init__(self) -> None:
        super().__post_init__()
        choice(self.pooling, POOLINGS, "task.pooling")


@dataclass(frozen=True)
class HeadOptions(PooledOptions):
    """Of a network with heads on that vector: their hidden width, 0 = linear; and which snapshots a pass reads."""

    head_size: Annotated[int, Within(high=2**16)]
    cutoffs_per_customer: int | None

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.head_size < 0:
            raise UserError(f"task.head_size is a width and must be ≥ 0, got {self.head_size}")
        if self.cutoffs_per_customer is not None and self.cutoffs_per_customer < 1:
            raise UserError(f"task.cutoffs_per_customer must be at least 1, got {self.cutoffs_per_customer}")


OF_NETWORKS = frozenset(field.name for field in fields(HeadOptions)) - {"name"}  # they bear on no baseline
