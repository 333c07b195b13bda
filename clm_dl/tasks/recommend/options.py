"""Options of tasks that recommend: the space that customers and items share, its content, its loss."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, Any

from clm_dl.errors import UserError
from clm_dl.options import Within
from clm_dl.tasks.options import NetworkOptions

OBJECTIVES = ("next", "masked")


@dataclass(frozen=True)
class ContentOptions:
    """What tells items apart besides their ids, see `Catalogue.from_store`."""

    categorical: tuple[str, ...]
    numeric: tuple[str, ...]
    text: str | None
    vectors: str | None


@dataclass(frozen=True)
class TowerOptions:
    """See `tower.ItemTower`."""

    output: str
    similarity: str
    temperature: float
    id_dropout: float


@dataclass(frozen=True)
class RecommendOptions(NetworkOptions):
    """size: width of the space; objective: next or masked; context: the tokens' other fields and times beside the item;
    loss: {"name": …} and its own options; residual: what came last is added to the encoder's output.
    """

    size: Annotated[int, Within(high=2**16)]
    objective: str
    context: bool
    content: ContentOptions
    tower: TowerOptions
    loss: Mapping[str, Any]
    residual: bool

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.objective not in OBJECTIVES:
            raise UserError(f"task.objective must be next or masked, got {self.objective!r}")
        if self.size < 1:
            raise UserError(f"task.size is a width and must be an integer ≥ 1, got {self.size!r}")
