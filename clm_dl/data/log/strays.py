"""Strays: a few rows whose times lie far from all others, which would decide where the data begins and ends."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import ibis
import ibis.expr.types as ir
import numpy as np
import pyarrow as pa

from clm_dl.data.log.engine import DuckDB
from clm_dl.data.log.roles import Log
from clm_dl.data.log.sources import describe
from clm_dl.data.log.times import DAY
from clm_dl.errors import UserError

STRAY = "time long before all others"
FEWEST = 5  # rows of a log too short to tell
LONG = 28  # days that a gap must have, at the end …
LONGER = 365  # … and at the start of the data, where rows of a pilot are nothing rare
TIMES = 10  # and so many times the longest gap between the other days with events
DECADE = 3_650
SHARE = 20  # one in so many rows may have the date that stands for none
DECADE_TIMES = 3


@dataclass(frozen=True)
class Tail:
    """Rows that lie `gap` days from the day `edge`, the first or last one (days since 1970) of all others."""

    rows: int
    gap: int
    edge: int


def mark_strays(
    engine: DuckDB,
    tables: Sequence[ir.Table],
    logs: Sequence[Log],
    reasons: dict[str, str],
    *,
    has_end: bool,
    say: Callable[[str], None],
) -> list[ir.Table] | None:
    """Tables in which a few rows long before all others are quarantined; None where there are none. `reasons` gains
    theirs.

    Raises:
        UserError: such rows lie behind all others, and no `data.end` is given (`has_end`): they would decide it.
    """
    day, rows = count_days(engine, tables)
    tail = None if has_end else newest_strays(day, rows)
    if tail is not None:
        where = name_rows(engine, tables, "newest", tail)
        end = np.datetime64(tail.edge + 1, "D")
        raise UserError(
            f"{', '.join(describe(source) for source in logs)}: {where} {'lies' if tail.rows == 1 else 'lie'} "
            f"{tail.gap:,} days after all others and would be the end of the data: set data.end={end}, or drop the "
            f"{'row' if tail.rows == 1 else 'rows'}; if {'it is' if tail.rows == 1 else 'they are'} right, set "
            "data.end to the day behind"
        )
    tail = oldest_strays(day, rows)
    if tail is None:
        return None
    say(f"quarantined {name_rows(engine, tables, 'oldest', tail)}: {tail.gap:,} days before all others")
    reason, start = ibis.literal(len(reasons), "int16"), tail.edge * DAY
    reasons[STRAY] = "time"
    return [
        engine.named(t.mutate(reason=ibis.ifelse(t.reason.isnull() & (t.time < start), reason, t.reason)))
        for t in tables
    ]


def count_days(engine: DuckDB, tables: Sequence[ir.Table]) -> tuple[np.ndarray, np.ndarray]:
    """Days since 1970 with events, ascending, and the number of rows that can be kept on each."""
    counted = []
    for table in tables:
        days = table.filter(table.reason.isnull()).select(day=(table.time // DAY).cast("int64"))
        counted.append(engine.fetch(days.group_by("day").aggregate(rows=days.count())))
    both = pa.concat_tables(counted)
    day, place = np.unique(both["day"].to_numpy(), return_inverse=True)
    return day, np.bincount(place, both["rows"].to_numpy(), minlength=len(day)).astype(np.int64)


def newest_strays(day: np.ndarray, rows: np.ndarray) -> Tail | None:
    """The rows far behind all others, if there are some."""
    return _tail(day, rows, LONG, LONGER)


def oldest_strays(day: np.ndarray, rows: np.ndarray) -> Tail | None:
    """The rows far before all others, if there are some."""
    found = _tail(-day[::-1], rows[::-1], LONGER, DECADE)
    return None if found is None else Tail(found.rows, found.gap, -found.edge)


def _tail(day: np.ndarray, rows: np.ndarray, long: int, one_day: int) -> Tail | None:
    """`long`: days of a gap before a few rows; `one_day`: before more of them that share their day, as 2099-12-31 or
    1970-01-01 do where they stand for none.
    """
    total = int(rows.sum())
    if total < FEWEST or len(day) < 2:
        return None
    few = max(1, min(3, total // 20), total // 1000)
    beyond = np.cumsum(rows[::-1])[::-1][1:]  # rows from each day on, but for the first
    gaps = np.diff(day)
    places = np.flatnonzero(beyond <= few)
    filled = rows[-1] <= total // SHARE and gaps[-1] >= max(one_day, TIMES * gaps[:-1].max(initial=1))
    if filled and gaps[-1] >= gaps[places].max(initial=0):
        return Tail(int(rows[-1]), int(gaps[-1]), int(day[-2]))
    if not len(places):
        return None
    place = int(places[np.argmax(gaps[places])])
    gap, usual = int(gaps[place]), int(gaps[:place].max(initial=1))
    stray = gap >= max(long, TIMES * usual) and total >= 4 * FEWEST
    decades = gap >= max(DECADE, DECADE_TIMES * usual)
    return Tail(int(beyond[place]), gap, int(day[place])) if stray or decades else None


def name_rows(engine: DuckDB, tables: Sequence[ir.Table], where: str, tail: Tail) -> str:
    """Customer and time of the row furthest off: `where` is "newest" or "oldest"."""
    found = []
    for table in tables:
        kept = table.filter(table.reason.isnull())
        order = [ibis.desc(kept.time) if where == "newest" else kept.time, kept.customer]
        found += engine.fetch(kept.order_by(order).select("customer", "time").limit(1)).to_pylist()
    far = (max if where == "newest" else min)(found, key=lambda row: row["time"])
    moment = str(np.datetime64(far["time"], "us").astype("datetime64[s]")).replace("T00:00:00", "").replace("T", " ")
    number = "the row" if tail.rows == 1 else f"{tail.rows:,} rows, among them that"
    return f"{number} of customer {str(far['customer'])!r} at {moment}"
