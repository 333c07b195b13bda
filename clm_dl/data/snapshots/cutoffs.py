"""Cutoffs: which dates become training, validation and test snapshots, an embargo of one label window between them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

import numpy as np
import pandas as pd

from clm_dl.data.snapshots.rule import Dates
from clm_dl.errors import UserError

SPLITS = ("train", "val", "test")
DAY = 86_400_000_000  # microseconds
EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


def to_us(days: float) -> int:
    """Days to microseconds."""
    return round(days * DAY)


def iso(time: int) -> str:
    """Microseconds as an ISO date, with the time of day unless it is a midnight."""
    stamp = pd.Timestamp(int(time), unit="us")
    return stamp.date().isoformat() if time % DAY == 0 else stamp.isoformat()


def parse_cutoff(value: Any) -> int:
    """One date to microseconds UTC: ISO text, date or Timestamp; midnight unless a time, UTC unless a zone is given."""
    try:
        stamp = datetime.fromisoformat(str(value))
    except ValueError as error:
        raise UserError(f"a cutoff must be an ISO date such as 2017-12-01, got {value!r}") from error
    stamp = stamp if stamp.tzinfo else stamp.replace(tzinfo=UTC)
    return (stamp - EPOCH) // timedelta(microseconds=1)


def cutoff_grid(first: int, end: int, *, span: int, every: int) -> np.ndarray:
    """Cutoffs stepping back by `every` from `end - span`, all after `first`, ascending (microseconds)."""
    last = end - span
    if last <= first:
        raise UserError(
            f"no snapshot matured: the log spans {(end - first) / DAY:g} days and a label window with its follow-up "
            f"{span / DAY:g}, so shorten snapshots.horizon_days (or task.horizons_days, where there are some)"
        )
    return np.arange(last, first, -every, dtype=np.int64)[::-1]


def split_cutoffs(
    grid: np.ndarray,
    lists: Mapping[str, Dates],
    *,
    first: int,
    end: int,
    span: int,
    shift: int = 0,
    follow: int = 0,
    splits: Sequence[str] = SPLITS,
) -> dict[str, np.ndarray]:
    """Cutoffs of each split (int64 microseconds, ascending), explicit or `auto`; no label window reaches a later
    split's cutoff.

    Args:
        grid: ascending candidates for `auto`, already shifted by the fold; its last one is L.
        lists: "auto" or dates for train, val and test.
        first, end: time of the first event and end of the data; a cutoff lies in (first, end].
        span: W, microseconds from a cutoff to the end of its label window.
        follow: how much longer than `span` the `auto` cutoffs of val and test are followed; `grid` already leaves room
            for it.
        shift: how far explicit lists are moved back (rolling-origin folds); what then falls before the data is left
            out.
        splits: those that have cutoffs of their own; the others stay empty.
    """
    found = {name: np.zeros(0, np.int64) for name in SPLITS if name not in splits}
    limit: int | None = None  # no label window of an earlier split may end after it
    for name in reversed(splits):
        dates = lists[name]
        if isinstance(dates, str):
            if dates != "auto":
                raise UserError(f"snapshots.{name} must be auto or a list of dates, got {dates!r}")
            needed = span if name == "train" else span + follow
            chosen = grid if limit is None else grid[grid + needed <= limit]
            if name != "train" and len(chosen):
                chosen = chosen[chosen > chosen[-1] - span]
            if not len(chosen):
                raise UserError(
                    f"no {name} cutoff fits: {(end - first) / DAY:g} days of data hold too few label windows of "
                    f"{needed / DAY:g} days, so shorten snapshots.horizon_days (or task.horizons_days, where there are "
                    "some) or set snapshots.val_customers"
                )
        else:
            chosen = _explicit(name, dates, first=first, end=end, shift=shift)
        if limit is not None and chosen[-1] + span > limit:
            raise UserError(
                f"splits overlap: the label window of the last {name} cutoff {iso(chosen[-1])} ends "
                f"{iso(chosen[-1] + span)}, after the first later cutoff {iso(limit)}, so move snapshots.{name} back "
                f"by {(chosen[-1] + span - limit) / DAY:g} days or more"
            )
        found[name] = chosen
        limit = int(chosen[0])
    return found


def _explicit(name: str, dates: Sequence[Any] | None, *, first: int, end: int, shift: int) -> np.ndarray:
    if not dates:
        raise UserError(f"snapshots.{name} has no dates, so give auto or at least one date")
    chosen = np.unique(np.array([parse_cutoff(value) for value in dates], dtype=np.int64))
    outside = chosen[(chosen <= first) | (chosen > end)]
    if len(outside):
        raise UserError(
            f"{name} cutoff {iso(outside[0])} is outside the data, so choose one after {iso(first)} and not after "
            f"{iso(end)}"
        )
    moved = chosen - shift
    moved = moved[moved > first]
    if not len(moved):
        raise UserError(
            f"no {name} cutoff is left in the data after moving back by {shift / DAY:g} days, so use fewer "
            "snapshots.folds"
        )
    return moved


def split_rank(split: np.ndarray) -> np.ndarray:
    """0, 1, 2 for train, val, test; 3 for anything else: sorts snapshots."""
    return np.select([split == name for name in SPLITS], list(range(len(SPLITS))), default=len(SPLITS))
