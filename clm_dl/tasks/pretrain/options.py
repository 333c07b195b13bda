"""Options of pretraining: its objective and what only that reads."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

from clm_dl.errors import UserError, choice
from clm_dl.options import Within
from clm_dl.tasks.options import PooledOptions

OBJECTIVES = ("next_event", "masked_event", "coles")


@dataclass(frozen=True)
class SliceOptions:
    """Of coles: slices of a history in a batch, their lengths in tokens, and how far those of others are pushed."""

    num: Annotated[int, Within(high=10_000)]
    min_tokens: int
    max_tokens: int
    margin: float
    negatives: int

    def __post_init__(self) -> None:
        lengths = 1 <= self.min_tokens <= self.max_tokens
        if not (self.num >= 2 and lengths and self.negatives >= 1 and self.margin > 0):
            raise UserError(
                "task.slices needs num ≥ 2, 1 ≤ min_tokens ≤ max_tokens, margin > 0 and negatives ≥ 1, got "
                f"{self.__dict__}"
            )


@dataclass(frozen=True)
class PretrainOptions(PooledOptions):
    """objective: next_event, masked_event or coles; held_out: share of the customers that are not trained on."""

    objective: str
    held_out: Annotated[float, Within(0, 1, above=True, below=True)]
    slices: SliceOptions

    def __post_init__(self) -> None:
        super().__post_init__()
        choice(self.objective, OBJECTIVES, "task.objective")
