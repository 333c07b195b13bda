"""Cutoffs: which dates become training, validation and test snapshots, an embargo of one label window between them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from clm_dl.data.snapshots.rule import Dates
from clm_dl.data.zone import DAY, UTC, Zone
from clm_dl.errors import UserError

SPLITS = ("train", "val", "test")


def to_us(days: float) -> int:
    """Days to microseconds."""
    return round(days * DAY)


def cutoff_grid(first: int, end: int, *, span: int, every: int, zone: Zone = UTC) -> np.ndarray:
    """Cutoffs stepping back by `every` from `end - span` on the calendar of `zone`, all after `first`, ascending
    (microseconds UTC).
    """
    newest = int(zone.local(end)) - span
    grid = np.unique(zone.utc(np.arange(newest, int(zone.local(first)), -every, dtype=np.int64)))
    grid = grid[(grid > first) & (zone.add(grid, span) <= end)]  # a reading that clocks skip lies later
    if not len(grid):
        raise UserError(
            f"no snapshot matured: the log spans {(end - first) / DAY:g} days and a label window with its follow-up "
            f"{span / DAY:g}, so shorten snapshots.horizon_days (or task.horizons_days, where there are some)"
        )
    return grid


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
    zone: Zone = UTC,
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
        zone: of dates, and of the days in spans and shifts.
    """
    found = {name: np.zeros(0, np.int64) for name in SPLITS if name not in splits}
    limit: int | None = None  # no label window of an earlier split may end after it
    for name in reversed(splits):
        dates = lists[name]
        if isinstance(dates, str):
            if dates != "auto":
                raise UserError(f"snapshots.{name} must be auto or a list of dates, got {dates!r}")
            needed = span if name == "train" else span + follow
            chosen = grid if limit is None else grid[zone.add(grid, needed) <= limit]
            if name != "train" and len(chosen):
                chosen = chosen[chosen > zone.add(int(chosen[-1]), -span)]
            if not len(chosen):
                raise UserError(
                    f"no {name} cutoff fits: {(end - first) / DAY:g} days of data hold too few label windows of "
                    f"{needed / DAY:g} days, so shorten snapshots.horizon_days (or task.horizons_days, where there are "
                    "some) or set snapshots.val_customers"
                )
        else:
            chosen = _explicit(name, dates, first=first, end=end, shift=shift, zone=zone)
        ends = zone.add(int(chosen[-1]), span)
        if limit is not None and ends > limit:
            raise UserError(
                f"splits overlap: the label window of the last {name} cutoff {zone.iso(chosen[-1])} ends "
                f"{zone.iso(ends)}, after the first later cutoff {zone.iso(limit)}, so move snapshots.{name} back "
                f"by {(ends - limit) / DAY:g} days or more"
            )
        found[name] = chosen
        limit = int(chosen[0])
    return found


def _explicit(name: str, dates: Sequence[Any] | None, *, first: int, end: int, shift: int, zone: Zone) -> np.ndarray:
    if not dates:
        raise UserError(f"snapshots.{name} has no dates, so give auto or at least one date")
    chosen = np.unique(np.array([zone.parse(value) for value in dates], dtype=np.int64))
    outside = chosen[(chosen <= first) | (chosen > end)]
    if len(outside):
        raise UserError(
            f"{name} cutoff {zone.iso(outside[0])} is outside the data, so choose one after {zone.iso(first)} and not "
            f"after {zone.iso(end)}"
        )
    moved = zone.add(chosen, -shift)
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
