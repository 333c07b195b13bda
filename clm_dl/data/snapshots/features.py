"""Features: recency, frequency, monetary value and friends of every snapshot at once, from its history alone.

All sums are differences of integer prefix sums over the store, so a value does not depend on any other customer or on
the future, not even in its last bit. Values are raw (days, counts, amounts); logs, imputation and scaling belong to the
models.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd

from clm_dl.data.snapshots.cutoffs import DAY, to_us
from clm_dl.data.snapshots.snapshots import Snapshots
from clm_dl.data.snapshots.sums import Sums, prefix_sums
from clm_dl.data.store.attributes import attributes_at, is_number
from clm_dl.data.store.history import count_before
from clm_dl.data.store.store import EventStore

WINDOWS_DAYS = (7.0, 14.0, 28.0, 56.0, 91.0)


def rfm_features(store: EventStore, snapshots: Snapshots, **options: Any) -> pd.DataFrame:
    """The features of `history_features` and the customer attributes: what the baselines see, one row a snapshot.

    static_NAME: customer attributes as of the cutoff; numbers as float32 with NaN, everything else as pandas `category`
    with missing values (the baselines one-hot encode them with a level of their own for missing).
    """
    return pd.concat([history_features(store, snapshots, **options), _static(store, snapshots)], axis=1)


def history_features(
    store: EventStore,
    snapshots: Snapshots,
    *,
    windows_days: Sequence[float] = WINDOWS_DAYS,
    distinct: Sequence[str] | None = None,
) -> pd.DataFrame:
    """Point-in-time features `[N, F]` of N snapshots: float32 columns, NaN where undefined.

    Columns (an order is a run of lines; days are fractions of 24 hours):
        recency, tenure: days from the last, from the first event to the cutoff.
        orders, lines: how many in the history; lines_per_order.
        gap_mean, gap_sd, gap_last: days between consecutive orders; NaN with fewer than 2 (sd, with n − 1: 3) orders.
        recency_to_gap: recency / gap_mean; NaN without a gap.
        rate: orders a day of tenure. weekend: share of the orders on Saturday or Sunday of the store's zone.
        orders_7d … orders_91d: orders in the last days, one for each of `windows_days`.
        trend: log of (1 + orders in the middle window) / (1 + orders in the one as long before it).
        spend, spend_per_order, spend_7d …: with an amount; a missing amount counts as 0.
        total_NAME: sum of each further numeric field.
        distinct_NAME: values seen so far, of each categorical field or of those in `distinct`.

    Args:
        windows_days: lengths of the windows that end at the cutoff.
        distinct: categorical fields to count distinct values of; null = all.
    """
    start, stop, cutoff = snapshots.start, snapshots.stop, snapshots.cutoff
    time, order_start = np.asarray(store.time), np.asarray(store.order_start)
    order_row = np.flatnonzero(order_start)
    order_time = time[order_row]
    before = prefix_sums(order_start)  # number of orders that start in rows < i
    first, last = before[start], before[stop]  # the history's orders are [first, last)
    orders = last - first
    recency, tenure = (cutoff - time[stop - 1]) / DAY, (cutoff - time[start]) / DAY

    gap = np.diff(order_time, prepend=order_time[:1]) // 1_000_000  # seconds; a customer's first one is never read
    squares = prefix_sums(gap * gap)
    num_gaps = (orders - 1).astype(float)
    total_gap = (order_time[last - 1] - order_time[first]) // 1_000_000
    with np.errstate(divide="ignore", invalid="ignore"):
        gap_mean = np.where(num_gaps >= 1, total_gap / num_gaps, np.nan) / 86_400
        square_sum = (squares[last] - squares[first + 1]) / 86_400.0**2
        variance = np.where(num_gaps >= 2, (square_sum - num_gaps * gap_mean**2) / (num_gaps - 1), np.nan)
        ratio = np.where(gap_mean > 0, recency / gap_mean, np.nan)
        rate = np.where(tenure > 0, orders / tenure, np.nan)
    weekend = prefix_sums((store.zone.local(order_time) // DAY + 3) % 7 >= 5)  # 1970-01-01 was a Thursday, Monday is 0
    columns: dict[str, np.ndarray] = {
        "recency": recency,
        "tenure": tenure,
        "orders": orders,
        "lines": stop - start,
        "lines_per_order": (stop - start) / orders,
        "gap_mean": gap_mean,
        "gap_sd": np.sqrt(np.maximum(variance, 0)),
        "gap_last": np.where(num_gaps >= 1, gap[last - 1] / 86_400, np.nan),
        "recency_to_gap": ratio,
        "rate": rate,
        "weekend": (weekend[last] - weekend[first]) / orders,
    }
    rows = {
        days: start + count_before(store.offsets, time, snapshots.customer, store.zone.add(cutoff, -to_us(days)))
        for days in windows_days
    }
    columns |= {f"orders_{days:g}d": last - before[row] for days, row in rows.items()}
    if windows_days:
        middle = sorted(windows_days)[len(windows_days) // 2]
        twice = store.zone.add(cutoff, -2 * to_us(middle))
        row = start + count_before(store.offsets, time, snapshots.customer, twice)
        now, then = last - before[rows[middle]], before[rows[middle]] - before[row]
        columns["trend"] = np.log((1 + now) / (1 + then))
    if store.has("amount"):
        spend = Sums(store.column("amount"))
        columns["spend"] = spend.between(start, stop)
        columns["spend_per_order"] = columns["spend"] / orders
        columns |= {f"spend_{days:g}d": spend.between(row, stop) for days, row in rows.items()}
    for field in store.fields:
        if field.kind == "numeric" and field.role is None:
            columns[f"total_{field.name}"] = Sums(store.column(field.name)).between(start, stop)
    names = [field.name for field in store.fields if field.kind == "categorical"] if distinct is None else distinct
    for name in names:
        seen = prefix_sums(_first_seen(store.offsets, store.column(name)))
        columns[f"distinct_{name}"] = seen[stop] - seen[start]
    frame = pd.DataFrame({name: np.asarray(values, dtype=np.float32) for name, values in columns.items()})
    return frame


def history_columns(table: pd.DataFrame, distinct: Sequence[str]) -> list[str]:
    """The columns of a feature table that `history_features` gives with this `distinct`."""
    shared = [str(name) for name in table if not str(name).startswith(("static_", "distinct_"))]
    return [*shared, *(f"distinct_{name}" for name in distinct)]


def _first_seen(offsets: np.ndarray, codes: np.ndarray) -> np.ndarray:
    """Bool `[events]`: the customer's first line with this value; missing values (−1) are not seen."""
    customer = np.repeat(np.arange(len(offsets) - 1), np.diff(offsets))
    first = np.zeros(len(codes), bool)
    _, index = np.unique(customer * (int(codes.max(initial=0)) + 2) + codes + 1, return_index=True)
    first[index] = True
    return first & (codes >= 0)


def _static(store: EventStore, snapshots: Snapshots) -> pd.DataFrame:
    attributes, place = attributes_at(store, snapshots.customer, snapshots.cutoff)
    static = attributes.iloc[place].reset_index(drop=True)
    return pd.DataFrame(
        {
            f"static_{name}": values.astype(np.float32)
            if is_number(values)
            else values.astype(str).where(values.notna()).astype("category")
            for name, values in static.items()
        },
        index=static.index,
    )
