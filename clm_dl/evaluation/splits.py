"""What metrics.json holds alike for churn, survival and value: each split, its recent customers and its cutoffs;
differences on test.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Protocol, Self, TypeVar

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from clm_dl.evaluation.bootstrap import Bootstrap

NETWORK = "network"
Bools = NDArray[np.bool_]


class SplitTable(Protocol):
    """One split of the Scores table, N rows."""

    @property
    def cutoff(self) -> pd.DatetimeIndex: ...

    @property
    def recent(self) -> Bools: ...

    def select(self, mask_N: Bools) -> Self: ...


Table = TypeVar("Table", bound=SplitTable)


def rows_by_date(cutoff: pd.DatetimeIndex) -> dict[str, Bools]:
    """Cutoff as text -> its rows `[N]`; rows without a time (tables) are in none."""
    known = cutoff.unique().dropna().sort_values()
    form = "%Y-%m-%d" if (known == known.normalize()).all() else "%Y-%m-%dT%H:%M:%S"
    return {date.strftime(form): np.asarray(cutoff == date) for date in known}


def summarise_splits(
    tables: Mapping[str, Table], calibrated: Callable[[Table], Bootstrap], raw: Callable[[Table], Bootstrap]
) -> tuple[dict[str, Any], dict[str, Any], dict[str, Bootstrap]]:
    """(split, difference, bootstraps of whole splits) of `tables`; `raw` needs no resamples. Without a network there is
    no difference.
    """
    splits: dict[str, Any] = {}
    difference: dict[str, Any] = {}
    boots: dict[str, Bootstrap] = {}
    for split, table in tables.items():
        boots[split] = boot = calibrated(table)
        recent = calibrated(table.select(table.recent)) if table.recent.any() else None
        dates = rows_by_date(table.cutoff)
        splits[split] = {
            "overall": boot.intervals(),
            "recent": recent.intervals() if recent else {},
            "per_cutoff": {
                date: (boot if rows_N.all() else calibrated(table.select(rows_N))).intervals()
                for date, rows_N in dates.items()
            },
            "raw": raw(table).values(),
        }
        if split == "test" and NETWORK in boot.models:
            difference["test"] = boot.differences(NETWORK)
            if recent:
                difference["test_recent"] = recent.differences(NETWORK)
    return splits, difference, boots
