"""Results: what showing needs of one question of a run, whatever its task.

A run with several questions is shown as so many results.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any, Protocol

import pandas as pd

from clm_dl.evaluation.metric import NETWORK, Metrics
from clm_dl.evaluation.summary import Judged
from clm_dl.visual.pages import Pages


class Shown(Judged, Protocol):
    """What showing needs to know of a task."""

    @property
    def pages(self) -> Pages: ...

    @property
    def watched(self) -> tuple[str, ...]: ...


@dataclass(frozen=True, eq=False)
class Results:
    """One question of a run.

    Attributes:
        config: as plain dicts. metrics: of this question, as metrics.json has them. status: state and reason.
        load_scores: gives the rows of the Scores table of this question. several: whether the run has other questions.
        cards: of recommendations. backtest: what backtest.json holds, or None. timing: seconds by stage.
    """

    task: Shown
    path: Path
    config: Mapping[str, Any]
    metrics: Mapping[str, Any]
    status: Mapping[str, Any]
    load_scores: Callable[[], pd.DataFrame]
    several: bool = False
    cards: Sequence[Mapping[str, Any]] = ()
    backtest: Mapping[str, Any] | None = None
    timing: Mapping[str, float] = field(default_factory=dict)

    @cached_property
    def scores(self) -> pd.DataFrame:
        return self.load_scores()

    @cached_property
    def test(self) -> Any:
        """The test split as the task's table; read once, for files and figures alike."""
        return self.task.read(self.scores, "test")

    @property
    def pages(self) -> Pages:
        return self.task.pages

    @cached_property
    def known(self) -> Metrics:
        return self.task.metrics(self.metrics)

    @property
    def overall(self) -> Mapping[str, Any]:
        """Model -> metric -> figure on the whole test split."""
        found: Mapping[str, Any] = self.metrics["split"]["test"]["overall"]
        return found

    @property
    def names(self) -> list[str]:
        """The models in the order of the tables."""
        return self.known.ordered(self.overall)

    @property
    def leader(self) -> str:
        """The model whose differences are told first: the best one where it was looked for, else the network."""
        return str(self.metrics.get("best_model", {"name": NETWORK})["name"])
