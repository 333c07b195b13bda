"""ScoreTable: one split of the Scores table with a column a model, labels known."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from clm_dl.evaluation.scores import split_by_model

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class ScoreTable:
    """All arrays [N], rows ordered by cutoff and customer; score and raw (before calibration) by model."""

    customer: NDArray[Any]
    cutoff: pd.DatetimeIndex
    label: Floats
    recent: NDArray[np.bool_]
    score: dict[str, Floats]
    raw: dict[str, Floats]
    num_censored: int

    def __len__(self) -> int:
        return len(self.label)

    def select(self, rows_N: NDArray[np.bool_]) -> ScoreTable:
        """The rows of a mask."""
        score, raw = ({name: value[rows_N] for name, value in part.items()} for part in (self.score, self.raw))
        arrays = (self.customer[rows_N], self.cutoff[rows_N], self.label[rows_N], self.recent[rows_N])
        return ScoreTable(*arrays, score, raw, self.num_censored)


def read_scores(scores: pd.DataFrame, split: str, models: Sequence[str] | None = None) -> ScoreTable:
    """The rows of `split`, wide, censored rows left out. ValueError when models were scored on different snapshots."""
    first, parts = split_by_model(scores, split, ["cutoff", "customer_id"], ["customer_id", "cutoff", "label"], models)

    def column(part: pd.DataFrame, name: str) -> Floats:
        return part[name].to_numpy(dtype=np.float64, na_value=np.nan)

    label_N = column(first, "label")
    recent_N = first["recent"].to_numpy(dtype=bool) if "recent" in first else np.ones(len(first), dtype=bool)
    raw_column = "score_raw" if "score_raw" in scores else "score"
    table = ScoreTable(
        first["customer_id"].to_numpy(),
        pd.DatetimeIndex(pd.to_datetime(first["cutoff"], utc=True)),
        label_N,
        recent_N,
        {name: column(part, "score") for name, part in parts.items()},
        {name: column(part, raw_column) for name, part in parts.items()},
        int(np.isnan(label_N).sum()),
    )
    return table.select(~np.isnan(label_N))
