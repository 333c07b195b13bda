"""Known-future covariates: what a calendar table says in advance about the days of a label window (holidays)."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from clm_dl.data.snapshots.cutoffs import to_us
from clm_dl.data.snapshots.snapshots import Snapshots
from clm_dl.data.zone import UTC, Zone
from clm_dl.errors import UserError


def known_future(calendar: Mapping[str, Any], snapshots: Snapshots, zone: Zone = UTC) -> pd.DataFrame:
    """Sum of each calendar column over the days that begin in [cutoff + gap, cutoff + gap + horizon), one row a
    snapshot.

    Args:
        calendar: `{"path": CSV or Parquet, "time": its column of days, "columns": [numeric columns] or None for all
            others}`. A day that is not in the table, or has no value there, adds 0.
        zone: of its days.

    Raises:
        ValueError: a missing file or column, a day that does not parse, a column that is not numeric.
    """
    path = Path(calendar["path"])
    if not path.is_file():
        raise UserError(f"no calendar table at {path}: check data.calendar.path")
    frame = pd.read_parquet(path) if path.suffix == ".parquet" else pd.read_csv(path)
    time = calendar.get("time") or "time"
    columns = list(calendar.get("columns") or [name for name in frame.columns if name != time])
    for name in [time, *columns]:
        if name not in frame.columns:
            raise UserError(
                f"calendar table {path} has no column {name!r}; it has {', '.join(map(str, frame.columns))}"
            )
    for name in columns:
        if not (pd.api.types.is_numeric_dtype(frame[name]) or pd.api.types.is_bool_dtype(frame[name])):
            raise UserError(f"calendar column {name!r} must be numeric (a flag is 0 or 1), got {frame[name].dtype}")
    moments = zone.moments(frame[time])
    if moments.isna().any():
        odd = frame[time][moments.isna()].iloc[0]
        raise UserError(f"calendar column {time!r} has a value that is no date ({odd!r}): write dates as 2017-12-25")
    day = moments.astype(np.int64).to_numpy()
    order = np.argsort(day, kind="stable")
    total = np.zeros((len(day) + 1, len(columns)))
    np.cumsum(frame[columns].to_numpy(np.float64, na_value=0.0)[order], axis=0, out=total[1:])
    gap, horizon = to_us(snapshots.gap_days), to_us(snapshots.horizon_days)
    first, last = (np.searchsorted(day[order], zone.add(snapshots.cutoff, span)) for span in (gap, gap + horizon))
    return pd.DataFrame(total[last] - total[first], columns=columns)
