"""Known-future covariates: what a calendar table says in advance about the days of a label window (holidays)."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from clm_dl.data.ids import MISSING_WORDS
from clm_dl.data.snapshots.cutoffs import to_us
from clm_dl.data.snapshots.snapshots import Snapshots
from clm_dl.data.tables import read_table
from clm_dl.data.zone import UTC, Zone
from clm_dl.errors import UserError


def known_future(
    calendar: Mapping[str, Any], snapshots: Snapshots, zone: Zone = UTC, say: Callable[[str], None] = lambda line: None
) -> pd.DataFrame:
    """Sum of each calendar column over the days that begin in [cutoff + gap, cutoff + gap + horizon), one row a
    snapshot.

    Args:
        calendar: `{"path": CSV or Parquet, "time": its column of days, "columns": [numeric columns] or None for all
            others}`. A day that is not in the table, or has no value there, adds 0.
        zone: of its days. say: is told of windows that reach beyond the first or last day of the table.

    Raises:
        ValueError: a missing file or column, a day that does not parse, a column that is not numeric, a table that
            knows no day of any window.
    """
    path = Path(calendar["path"])
    if not path.is_file():
        raise UserError(f"no calendar table at {path}: check data.calendar.path")
    frame = read_table(path)
    time = calendar.get("time") or "time"
    columns = list(calendar.get("columns") or [name for name in frame.columns if name != time])
    for name in [time, *columns]:
        if name not in frame.columns:
            raise UserError(
                f"calendar table {path} has no column {name!r}; it has {', '.join(map(str, frame.columns))}"
            )
    numbers = {name: _numbers(frame[name], name) for name in columns}
    moments = zone.moments(frame[time])
    if moments.isna().any():
        odd = frame[time][moments.isna()].iloc[0]
        raise UserError(f"calendar column {time!r} has a value that is no date ({odd!r}): write dates as 2017-12-25")
    day = moments.astype(np.int64).to_numpy()
    order = np.argsort(day, kind="stable")
    total = np.zeros((len(day) + 1, len(columns)))
    for place, values in enumerate(numbers.values()):
        np.cumsum(values[order], out=total[1:, place])
    gap, horizon = to_us(snapshots.gap_days), to_us(snapshots.horizon_days)
    start, stop = (zone.add(snapshots.cutoff, span) for span in (gap, gap + horizon))
    if len(snapshots):
        _check_covered(path, day[order], snapshots.cutoff, start, stop, zone, say)
    first, last = (np.searchsorted(day[order], moment) for moment in (start, stop))
    return pd.DataFrame(total[last] - total[first], columns=columns)


def _check_covered(
    path: Path,
    day: np.ndarray,
    cutoff_N: np.ndarray,
    start_N: np.ndarray,
    stop_N: np.ndarray,
    zone: Zone,
    say: Callable[[str], None],
) -> None:
    """Say how many windows reach beyond the days of the table; UserError where none of them meets it."""
    if not len(day):
        raise UserError(f"calendar table {path} has no rows: give it the days of the label windows")
    earliest, end = int(day[0]), int(zone.add(day[-1], to_us(1)))
    tells, remedy = f"the calendar {path} tells of {zone.iso(earliest)} to {zone.iso(day[-1])}", "add those days to it"
    if not ((start_N < end) & (stop_N > earliest)).any():
        windows = f"{zone.iso(start_N.min())} to {zone.iso(stop_N.max())}"
        raise UserError(f"{tells}, and of no day of the label windows ({windows}): {remedy}, with 0 where nothing is")
    beyond_N = (zone.add(start_N, to_us(1)) <= earliest) | (stop_N > end)
    if beyond := np.unique(cutoff_N[beyond_N]).tolist():
        dates = " to ".join(dict.fromkeys(zone.iso(cutoff) for cutoff in (beyond[0], beyond[-1])))
        say(
            f"note: {tells}; the label windows of {len(beyond)} of {len(np.unique(cutoff_N))} cutoffs ({dates}) reach "
            f"beyond that, where its columns count as 0: {remedy}"
        )


def _numbers(column: pd.Series, name: str) -> np.ndarray:
    """Its values, 0 where it has none; a text file's true and false are 1 and 0."""
    if not pd.api.types.is_numeric_dtype(column):
        text = column.astype("string").str.strip()
        number = pd.to_numeric(text.str.lower().replace({"true": "1", "false": "0"}), errors="coerce")
        if (odd := number.isna() & text.notna() & ~text.isin(["", *MISSING_WORDS])).any():
            raise UserError(f"calendar column {name!r} must be numeric (a flag is 0 or 1), got {text[odd].iloc[0]!r}")
        column = number
    return column.to_numpy(np.float64, na_value=0.0)
