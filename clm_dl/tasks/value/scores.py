"""ValueScores: forecasts as rows of the Scores table, one a snapshot, and back.

Shapes: N snapshots.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from clm_dl.data.snapshots.snapshots import Snapshots
from clm_dl.data.store.store import EventStore
from clm_dl.evaluation.scores import scores_table, split_by_model

Floats = NDArray[np.float64]
FURTHER = ("median", "low", "high", "expected_orders")  # columns that only some models know


@dataclass(frozen=True)
class Forecast:
    """One model's answers `[N]`: expected spend, and where known both ends of an interval and expected orders."""

    score: Floats
    low: Floats | None = None
    high: Floats | None = None
    orders: Floats | None = None

    def select(self, rows_N: NDArray[np.bool_]) -> Forecast:
        """The rows of a mask."""
        low, high, orders = (
            None if column is None else column[rows_N] for column in (self.low, self.high, self.orders)
        )
        return Forecast(self.score[rows_N], low, high, orders)


@dataclass(frozen=True)
class ValueScores:
    """One split, matured rows only: arrays [N], rows ordered by cutoff and customer; forecasts and raw by model."""

    customer: NDArray[Any]
    cutoff: pd.DatetimeIndex
    recent: NDArray[np.bool_]
    spend: Floats
    orders: Floats
    forecasts: dict[str, Forecast]
    raw: dict[str, Forecast]
    num_censored: int

    def __len__(self) -> int:
        return len(self.spend)

    def select(self, rows_N: NDArray[np.bool_]) -> ValueScores:
        """The rows of a mask."""
        forecasts, raw = (
            {name: one.select(rows_N) for name, one in part.items()} for part in (self.forecasts, self.raw)
        )
        names = ("customer", "cutoff", "recent", "spend", "orders")
        columns: Any = {name: getattr(self, name)[rows_N] for name in names}
        return replace(self, forecasts=forecasts, raw=raw, **columns)


def value_table(
    store: EventStore,
    snapshots: Snapshots,
    *,
    task: str,
    model: str,
    score: np.ndarray,
    score_raw: np.ndarray,
    spend: np.ndarray,
    orders: np.ndarray,
    further: Mapping[str, np.ndarray],
) -> pd.DataFrame:
    """Expected spend of one model as Scores; all arrays are `[N]`.

    `score` is money, calibrated, `label` the `spend` of the window, and `orders` its orders (NaN censored). `further`
    holds what only some models know, NaN without it: median, low, high (of an interval around the spend),
    expected_orders.
    """
    table = scores_table(store, snapshots, model=model, task=task, score=score, score_raw=score_raw)
    return table.assign(label=spend, orders=orders, **{name: further.get(name, np.nan) for name in FURTHER})


def read_values(scores: pd.DataFrame, split: str, models: Sequence[str] | None = None) -> ValueScores:
    """The forecasts of `split`, the network's first. ValueError when models were scored on different snapshots."""
    same = ["customer_id", "cutoff", "label", "orders"]
    first, parts = split_by_model(scores, split, ["cutoff", "customer_id"], same, models)

    def column(part: pd.DataFrame, name: str) -> Floats:
        return part[name].to_numpy(dtype=np.float64, na_value=np.nan)

    def forecast(part: pd.DataFrame) -> Forecast:
        known = {"low": column(part, "low"), "high": column(part, "high"), "orders": column(part, "expected_orders")}
        given = {name: None if np.isnan(value).all() else value for name, value in known.items()}
        return Forecast(column(part, "score"), **given)

    spend = column(first, "label")
    table = ValueScores(
        first["customer_id"].to_numpy(),
        pd.DatetimeIndex(pd.to_datetime(first["cutoff"], utc=True)),
        first["recent"].to_numpy(dtype=bool),
        spend,
        column(first, "orders"),
        {name: forecast(part) for name, part in parts.items()},
        {name: Forecast(column(part, "score_raw")) for name, part in parts.items()},
        int(np.isnan(spend).sum()),
    )
    return table.select(~np.isnan(spend))
