"""Targets beside the label: orders and spend in the label window, for all snapshots at once."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from clm_dl.data.snapshots.cutoffs import to_us
from clm_dl.data.snapshots.snapshots import Snapshots
from clm_dl.data.snapshots.sums import Sums, prefix_sums
from clm_dl.data.store.history import count_before
from clm_dl.data.store.store import EventStore
from clm_dl.errors import UserError

RETURNS = ("refuse", "ignore")


def window_orders(store: EventStore, snapshots: Snapshots) -> np.ndarray:
    """Float64 `[N]`: orders in [cutoff + gap, cutoff + gap + horizon), NaN where the data end before that window."""
    before = prefix_sums(np.asarray(store.order_start))
    return _in_window(store, snapshots, lambda first, last: before[last] - before[first])


def window_spend(store: EventStore, snapshots: Snapshots, *, returns: str = "refuse") -> np.ndarray:
    """Float64 `[N]`: money in the label window, NaN where it is not over at the end of the data; a missing amount
    counts as 0.

    Args:
        returns: what an amount below 0 means: refuse raises ValueError, ignore counts it as 0.

    Raises:
        ValueError: a log without amounts, or with amounts below 0 that are not to be ignored.
    """
    if returns not in RETURNS:
        raise UserError(f"task.returns must be one of {', '.join(RETURNS)}, got {returns!r}")
    if not store.has("amount"):
        raise UserError("spend needs amounts, and the log has no data.roles.amount: name the column of money")
    amount = np.nan_to_num(np.asarray(store.column("amount"), dtype=np.float64))
    below = amount < 0
    if below.any() and returns == "refuse":
        first = int(np.argmax(below))
        raise UserError(
            f"{int(below.sum()):,} lines have an amount below 0, the first of them {amount[first]:g} at "
            f"{store.zone.iso(store.time[first])}: leave returns out of the log, or set task.returns=ignore to count "
            "them as 0"
        )
    return _in_window(store, snapshots, Sums(np.maximum(amount, 0)).between)


def _in_window(
    store: EventStore, snapshots: Snapshots, between: Callable[[np.ndarray, np.ndarray], np.ndarray]
) -> np.ndarray:
    """The sum over the rows of each snapshot's label window; NaN where it is not over."""
    gap, horizon = to_us(snapshots.gap_days), to_us(snapshots.horizon_days)
    opened, closed = (store.zone.add(snapshots.cutoff, span) for span in (gap, gap + horizon))
    offset = np.asarray(store.offsets)[snapshots.customer]
    first, last = (offset + count_before(store.offsets, store.time, snapshots.customer, at) for at in (opened, closed))
    return np.where(closed <= store.end, between(first, last).astype(np.float64), np.nan)
