"""BasketScores: one split of the Scores table of basket values: expected amounts and medians by model."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from clm_dl.evaluation.scores import split_by_model
from clm_dl.tasks.value.scores import ValueScores, read_values

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class BasketScores:
    """`values` as of task=value, the spend being the amount; median and raw medians `[N]` by model."""

    values: ValueScores
    median: dict[str, Floats]
    raw: dict[str, Floats]

    def __len__(self) -> int:
        return len(self.values)

    @property
    def cutoff(self) -> pd.DatetimeIndex:
        return self.values.cutoff

    @property
    def recent(self) -> NDArray[np.bool_]:
        return self.values.recent

    def select(self, rows_N: NDArray[np.bool_]) -> BasketScores:
        """The rows of a mask."""
        median, raw = ({name: value[rows_N] for name, value in part.items()} for part in (self.median, self.raw))
        return BasketScores(self.values.select(rows_N), median, raw)


def read_baskets(scores: pd.DataFrame, split: str, models: Sequence[str] | None = None) -> BasketScores:
    """Those of `split` whose next order is known, the network's first. ValueError: models scored other snapshots."""
    order = ["cutoff", "customer_id"]
    _, parts = split_by_model(scores, split, order, [*order, "label"], models)
    medians, raws = (
        {name: part.loc[part["label"].notna(), column].to_numpy(dtype=np.float64) for name, part in parts.items()}
        for column in ("median", "score_raw")
    )
    return BasketScores(read_values(scores, split, models), medians, raws)
