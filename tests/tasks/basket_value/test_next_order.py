"""The next order by hand and by a loop over the log: whenever it comes, above 0, and never from behind a later split's
first cutoff.
"""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from support import snapshots_of

from clm_dl.data.log.prepare import prepare_store
from clm_dl.data.snapshots.cutoffs import DAY
from clm_dl.data.store.store import EventStore
from clm_dl.tasks.basket_value.next_order import next_order

NAN = float("nan")
LINES = [  # customer, time, amount
    ("ann", "2021-01-01 12:00", 1024.0),
    ("ann", "2021-01-11", 2.0),  # the first cutoff, two lines of one order
    ("ann", "2021-01-11", 4.0),
    ("ann", "2021-01-14", 8.0),  # three days of gap are over
    ("ann", "2021-01-22", 16.0),
    ("bob", "2021-01-02", 1.0),
    ("bob", "2021-01-12", -32.0),  # returned
    ("bob", "2021-01-13", 0.0),
    ("bob", "2021-01-20 23:59:59.999999", 64.0),
    ("bob", "2021-03-10", 128.0),
    ("cid", "2021-01-03", 1.0),
    ("cid", "2021-01-21", 256.0),  # validation's cutoff: training knows nothing of it
    ("dan", "2021-01-04", 1.0),
    ("dan", "2021-01-31", 512.0),  # the test's cutoff: validation knows nothing of it
    ("eve", "2021-01-05", 1.0),
]
DATES = {"train": ["2021-01-11"], "val": ["2021-01-21"], "test": ["2021-01-31"]}


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> EventStore:
    frame = pd.DataFrame(LINES, columns=["cust", "ts", "spend"])
    roles = {"customer": "cust", "time": "ts", "amount": "spend"}
    return prepare_store({"frame": frame, "roles": roles, "end": "2021-03-11"}, tmp_path_factory.mktemp("store") / "s")


@pytest.mark.parametrize(
    ("gap", "expected"),  # a row a cutoff; of ann, bob, cid, dan and eve
    [
        (0, [[6, 64, NAN, NAN, NAN], [16, NAN, 256, NAN, NAN], [NAN, 128, NAN, 512, NAN]]),
        (3, [[8, 64, NAN, NAN, NAN], [NAN, NAN, NAN, NAN, NAN], [NAN, 128, NAN, NAN, NAN]]),
    ],
)
def test_next_orders_by_hand(store: EventStore, gap: int, expected: list[list[float]]) -> None:
    snapshots = snapshots_of(store, gap_days=gap, horizon_days=7, **DATES)
    np.testing.assert_array_equal(next_order(store, snapshots)[:, 0].reshape(3, 5), expected)


def test_it_comes_whenever_it_comes(store: EventStore) -> None:
    """The label window ends long before bob's next order."""
    snapshots = snapshots_of(store, gap_days=0, horizon_days=1, **DATES)
    assert next_order(store, snapshots)[:, 0].reshape(3, 5)[2, 1] == 128


def slowly(frame: pd.DataFrame, customer: str, cutoff: pd.Timestamp, limit: pd.Timestamp | None) -> tuple[float, float]:
    """The same by a loop over the orders."""
    own = frame[(frame["cust"] == customer) & (frame["ts"] >= cutoff)]
    for time, amount in own.groupby("ts")["spend"].sum().items():
        if round(amount, 6) > 0 and (limit is None or time < limit):
            return amount, (time - cutoff) / pd.Timedelta(1, "D")
        if round(amount, 6) > 0:
            break
    return NAN, NAN


DAYS = st.lists(st.tuples(st.sampled_from("abc"), st.integers(1, 60), st.integers(-2, 3)), min_size=1, max_size=30)


@settings(max_examples=30, deadline=None)
@given(lines=DAYS)
@example(lines=[("a", 20, 1)])  # at training's cutoff
@example(lines=[("a", 30, 1)])  # at validation's
@example(lines=[("a", 21, 1), ("a", 21, -1), ("a", 22, 2)])  # an order of 0
def test_equal_to_a_loop_over_the_log(store_of: Callable[..., EventStore], lines: list[tuple[str, int, int]]) -> None:
    frame = pd.DataFrame(lines, columns=["cust", "day", "spend"])
    frame = pd.concat([pd.DataFrame({"cust": list("abc"), "day": 0, "spend": 1}), frame], ignore_index=True)
    start = pd.Timestamp("2020-01-01")
    frame["ts"] = start + pd.to_timedelta(frame.pop("day"), unit="D")
    frame = frame.astype({"spend": float})
    renamed = frame.rename(columns={"spend": "amount"})
    log = store_of(renamed, end="2020-03-31")
    cutoffs = [start + pd.Timedelta(days, "D") for days in (20, 30, 40)]
    limits = dict(zip(cutoffs, [*cutoffs[1:], None], strict=True))
    dates = {split: [str(when.date())] for split, when in zip(DATES, cutoffs, strict=True)}
    snapshots = snapshots_of(log, horizon_days=10, gap_days=0, **dates)
    found = next_order(log, snapshots)
    assert len(found) == 9
    for row, (amount, days) in enumerate(found):
        when = start + pd.Timedelta(int(snapshots.cutoff[row] - start.value // 1000) / DAY, "D")
        customer = log.customer_ids[snapshots.customer[row]]
        np.testing.assert_allclose((amount, days), slowly(frame, customer, when, limits[when]))


def test_a_log_without_amounts_is_told_so(tmp_path: Path) -> None:
    frame = pd.DataFrame({"cust": ["a", "b"], "ts": ["2021-01-01", "2021-02-20"]})
    bare = prepare_store({"frame": frame, "roles": {"customer": "cust", "time": "ts"}}, tmp_path / "store")
    with pytest.raises(ValueError, match=r"no data\.roles\.amount"):
        next_order(bare, snapshots_of(bare, horizon_days=10, gap_days=0, **DATES))
