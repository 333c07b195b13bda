"""Series: what a whole log or a cohort does week by week: orders, customers who fall silent, demand by category."""

from __future__ import annotations

import numpy as np
import pandas as pd

from clm_dl.data.snapshots.cutoffs import DAY, to_us
from clm_dl.data.store.store import EventStore
from clm_dl.errors import UserError

WEEK = 7 * DAY


def weekly_orders(store: EventStore, *, cohort: np.ndarray | None = None) -> pd.Series:
    """Orders of each whole week before the end of the data, oldest first; the index is when a week begins,
    in UTC (weeks are those of the store's zone).

    cohort: bool `[customers]`, whose orders count; null = everyone's. See `first_between`.
    """
    row = np.flatnonzero(np.asarray(store.order_start))
    if cohort is not None:
        row = row[np.asarray(cohort)[_customer(store)[row]]]
    return _count(store, np.asarray(store.time)[row])


def weekly_silenced(store: EventStore, *, horizon_days: float) -> pd.Series:
    """Customers whose silence comes to last `horizon_days` in each whole week: churn as it becomes known.

    A customer who comes back and falls silent again counts again.
    """
    if not horizon_days > 0:
        raise UserError(f"horizon_days must be > 0, got {horizon_days}")
    time, horizon = np.asarray(store.time), to_us(horizon_days)
    last = np.zeros(len(time), bool)
    last[np.asarray(store.offsets)[1:][np.diff(store.offsets) > 0] - 1] = True
    gap = np.diff(time, append=time[-1:])
    known = store.zone.add(time, horizon)
    silent = (last | (time + gap >= known)) & (known < store.end)
    return _count(store, known[silent])


def weekly_demand(store: EventStore, field: str) -> pd.DataFrame:
    """Lines of each value of a categorical field in each whole week `[W, values]`; missing ones do not count."""
    if not store.has(field):
        raise UserError(f"no field {field!r} in the store; it has {', '.join(f.name for f in store.fields)}")
    code, names = np.asarray(store.column(field)), store.dictionary(field)
    start, week = _weeks(store, np.asarray(store.time))
    used = (week >= 0) & (code >= 0)
    counts = np.bincount(week[used] * len(names) + code[used], minlength=len(start) * len(names)).reshape(
        len(start), len(names)
    )
    return pd.DataFrame(counts, index=start, columns=pd.Index(names, name=field))


def first_between(store: EventStore, start: str, stop: str) -> np.ndarray:
    """Bool `[customers]`: the cohort whose first event lies in [start, stop), ISO dates of the store's zone."""
    first = np.asarray(store.time)[np.minimum(np.asarray(store.offsets)[:-1], max(store.num_events - 1, 0))]
    low, high = (store.zone.parse(date) for date in (start, stop))
    chosen = (first >= low) & (first < high) & (np.diff(store.offsets) > 0)
    if not chosen.any():
        raise UserError(f"nobody has a first event between {start} and {stop}: choose other dates")
    return np.asarray(chosen)


def _customer(store: EventStore) -> np.ndarray:
    return np.repeat(np.arange(store.num_customers), np.diff(store.offsets))


def _weeks(store: EventStore, time: np.ndarray) -> tuple[pd.DatetimeIndex, np.ndarray]:
    """When each whole week begins, and the week of each time; −1: before the first whole one, or from the end on."""
    num = int((store.end - np.asarray(store.time).min()) // WEEK) if store.num_events else 0
    if num < 1:
        raise UserError("the log is shorter than one week, so it has no weekly series")
    begin = int(store.zone.local(store.end)) - num * WEEK
    start = pd.to_datetime(store.zone.utc(begin + WEEK * np.arange(num)), unit="us", utc=True)
    since = store.zone.local(time) - begin
    return start, np.where((since >= 0) & (time < store.end), since // WEEK, -1)


def _count(store: EventStore, time: np.ndarray) -> pd.Series:
    start, week = _weeks(store, time)
    return pd.Series(np.bincount(week[week >= 0], minlength=len(start)), index=start)
