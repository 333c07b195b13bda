"""The next order of each snapshot: its amount and when it comes, where it is known early enough to be learnt from.

Shapes: N snapshots, O orders.
"""

from __future__ import annotations

import numpy as np

from clm_dl.data.snapshots.cutoffs import DAY, to_us
from clm_dl.data.snapshots.snapshots import Snapshots
from clm_dl.data.snapshots.sums import Sums
from clm_dl.data.store.history import count_before
from clm_dl.data.store.store import EventStore
from clm_dl.errors import UserError

LATER = {"train": ("val", "test"), "val": ("test",)}  # splits that may not be looked into


def next_order(store: EventStore, snapshots: Snapshots) -> np.ndarray:
    """Float64 `[N, 2]`: money of the first order from cutoff + gap on whose amount is above 0, and the days from the
    cutoff to it; NaN where none is known.

    Known is what happens before the first cutoff of a later split (of training: validation's or test's), so that
    nothing is learnt from behind it; of the last split all that the log holds. Orders of 0 or less, returns, are passed
    over: their logarithm is undefined.

    Raises:
        ValueError: a log without amounts.
    """
    if not store.has("amount"):
        raise UserError("task=basket_value needs amounts, the log has no data.roles.amount: name the column of money")
    first_O = np.flatnonzero(np.asarray(store.order_start))
    amount_O = Sums(store.column("amount")).between(first_O, np.append(first_O, store.num_events)[1:])
    first_O, amount_O = first_O[amount_O > 0], amount_O[amount_O > 0]
    offsets, time = np.asarray(store.offsets), np.asarray(store.time)
    begin = store.zone.add(snapshots.cutoff, to_us(snapshots.gap_days))
    row_N = offsets[snapshots.customer] + count_before(offsets, time, snapshots.customer, begin)
    place_N = np.searchsorted(first_O, row_N)
    row_N = np.append(first_O, store.num_events)[place_N]  # that of the order
    known_N = row_N < offsets[snapshots.customer + 1]
    time_N = np.append(time, np.iinfo(np.int64).max)[row_N]
    known_N &= time_N < _limit(snapshots)
    order_N2 = np.column_stack([np.append(amount_O, np.nan)[place_N], (time_N - snapshots.cutoff) / DAY])
    return np.where(known_N[:, None], order_N2, np.nan)


def _limit(snapshots: Snapshots) -> np.ndarray:
    """Microseconds `[N]`: the first cutoff of a later split; validation at training's cutoffs: the test's."""
    limit_N = np.full(len(snapshots), np.iinfo(np.int64).max)
    for split, later in LATER.items():
        own = snapshots.split == split
        if own.any():
            behind = np.isin(snapshots.split, later) & (snapshots.cutoff > snapshots.cutoff[own].max())
            limit_N[own] = snapshots.cutoff[behind].min(initial=np.iinfo(np.int64).max)
    return limit_N
