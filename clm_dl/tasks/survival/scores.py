"""CurveScores: survival curves as rows of the Scores table, one a snapshot and horizon, and back.

Shapes: N snapshots, S horizons.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from clm_dl.data.snapshots.snapshots import Snapshots
from clm_dl.data.store.store import EventStore
from clm_dl.evaluation.scores import scores_table, split_by_model

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class CurveScores:
    """One split as curves: arrays [N] or [N, S], rows ordered by cutoff and customer; active and raw by model."""

    customer: NDArray[Any]
    cutoff: pd.DatetimeIndex
    recent: NDArray[np.bool_]
    label: Floats
    active: dict[str, Floats]
    raw: dict[str, Floats]

    def __len__(self) -> int:
        return len(self.label)

    def select(self, rows_N: NDArray[np.bool_]) -> CurveScores:
        """The rows of a mask."""
        active, raw = ({name: value[rows_N] for name, value in part.items()} for part in (self.active, self.raw))
        arrays = (self.customer[rows_N], self.cutoff[rows_N], self.recent[rows_N], self.label[rows_N])
        return CurveScores(*arrays, active, raw)


def curve_table(
    store: EventStore,
    snapshots: Snapshots,
    horizons_days: Sequence[float],
    *,
    model: str,
    active: np.ndarray,
    active_raw: np.ndarray,
    label: np.ndarray,
) -> pd.DataFrame:
    """Curves of one model as Scores, the horizons of a snapshot one below the other.

    All arrays are `[N, S]`: P(active through the horizon), before calibration, and the label 1 active, 0 left, NaN
    censored.
    """
    table = scores_table(store, snapshots, model=model, task="survival", score=np.nan, score_raw=np.nan)
    table = table.loc[table.index.repeat(len(horizons_days))].reset_index(drop=True)
    return table.assign(
        horizon=np.tile(np.asarray(horizons_days, dtype=float), len(snapshots)),
        score=active.ravel(),
        score_raw=active_raw.ravel(),
        label=label.ravel(),
    )


def read_curves(scores: pd.DataFrame, split: str, models: Sequence[str] | None = None) -> CurveScores:
    """The curves of `split`, the network's first. ValueError when models were scored on other snapshots or horizons."""
    same = ["customer_id", "cutoff", "horizon", "label"]
    first, parts = split_by_model(scores, split, ["cutoff", "customer_id", "horizon"], same, models)
    num = scores["horizon"].nunique()

    def curves(column: str) -> dict[str, Floats]:
        return {name: part[column].to_numpy(dtype=np.float64).reshape(-1, num) for name, part in parts.items()}

    one = first.iloc[::num]
    return CurveScores(
        one["customer_id"].to_numpy(),
        pd.DatetimeIndex(pd.to_datetime(one["cutoff"], utc=True)),
        one["recent"].to_numpy(dtype=bool),
        first["label"].to_numpy(dtype=np.float64, na_value=np.nan).reshape(-1, num),
        curves("score"),
        curves("score_raw"),
    )
