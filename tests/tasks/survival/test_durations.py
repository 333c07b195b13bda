"""Lifetimes against plain Python: when a customer left, what is known by when, and that nothing beyond the follow-up is
looked at.
"""

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from clm_dl.data.snapshots.cutoffs import DAY
from clm_dl.data.snapshots.snapshots import Snapshots
from clm_dl.data.store.files import write_store
from clm_dl.data.store.history import count_before
from clm_dl.data.store.store import Field
from clm_dl.tasks.survival.durations import (
    Lifetimes,
    calibration_rows,
    check_followed,
    check_horizons,
    follow_up_end,
    lifetimes,
)

NO_EVENT = {"name": "no_event"}
HORIZONS = [0, 3, 8]
logs_of_days = st.lists(st.lists(st.integers(0, 30), max_size=9).map(sorted), min_size=1, max_size=5).filter(any)


def make_store(path, logs, *, end: int, **columns):
    """A store of customers 0, 1, … with events at the given days; `columns` are flat, one value an event."""
    return write_store(
        path,
        customer_ids=np.arange(len(logs)),
        offsets=np.concatenate([[0], np.cumsum([len(log) for log in logs])]),
        time=np.array([day * DAY for log in logs for day in log], dtype=np.int64),
        columns=columns,
        fields=[Field(name, "numeric", name) for name in columns],
        dictionaries={},
        end=end * DAY,
        fingerprint="test",
    )


def at(store, customer, cutoff, split="test", *, silence: float = 5, gap: float = 0) -> Snapshots:
    """Snapshots of `customer` at `cutoff` days, whatever their history."""
    customer, cutoff = np.asarray(customer), np.asarray(cutoff, dtype=np.int64) * DAY
    start = np.asarray(store.offsets)[customer]
    return Snapshots(
        customer=customer,
        cutoff=cutoff,
        split=np.broadcast_to(split, customer.shape),
        label=np.zeros(len(customer)),
        start=start,
        stop=start + count_before(store.offsets, store.time, customer, cutoff),
        recent=np.ones(len(customer), bool),
        horizon_days=silence,
        gap_days=gap,
    )


@settings(max_examples=80, deadline=None)
@given(logs=logs_of_days, cutoff=st.integers(1, 30), silence=st.integers(1, 9))
@example(logs=[[1, 10, 13]], cutoff=10, silence=5)  # an event at the cutoff, the last one at a horizon
@example(logs=[[1, 15]], cutoff=10, silence=5)  # the first silence from the cutoff on ends with an event
@example(logs=[[1, 12, 17, 19]], cutoff=10, silence=5)  # and one between two events
@example(logs=[[1, 12, 16, 20]], cutoff=15, silence=8)  # followed for 8 days, the last horizon
@example(logs=[[1, 12, 16, 20]], cutoff=16, silence=8)  # and for a day less
def test_active_equals_plain_python(tmp_path_factory, logs, cutoff, silence) -> None:
    store = make_store(tmp_path_factory.mktemp("store") / "store", logs, end=31)
    customers = np.arange(len(logs))
    found = lifetimes(store, at(store, customers, np.full(len(logs), cutoff), silence=silence), NO_EVENT).active(
        HORIZONS
    )
    for log, row in zip(logs, found, strict=True):
        for horizon, active in zip(HORIZONS, row, strict=True):
            if cutoff + horizon + silence > 31:
                assert np.isnan(active)
                continue
            last = cutoff  # the first silence from the cutoff on begins after the last of a chain of events
            for day in [day for day in log if day >= cutoff]:
                if day - last >= silence:
                    break
                last = day
            stayed = any(cutoff <= day < cutoff + silence for day in log) and last >= cutoff + horizon
            assert active == stayed, (log, horizon)


def test_active_through_a_horizon_is_that_churn_comes_true_at_no_moment_up_to_it(tmp_path) -> None:
    rng = np.random.default_rng(0)
    store = make_store(tmp_path / "store", [sorted(rng.integers(0, 60, 14)) for _ in range(50)], end=80)
    customers = np.arange(50)
    active = lifetimes(store, at(store, customers, np.full(50, 20)), NO_EVENT).active(list(range(12)))
    for half_days in range(23):  # churn at every moment, a little after whole days, too
        moment = at(store, customers, np.full(50, 20))
        moment = moment.select(np.arange(50))
        cutoff = moment.cutoff + half_days * DAY // 2
        row = store.offsets[customers] + count_before(store.offsets, store.time, customers, cutoff)
        inside = row < store.offsets[customers + 1]
        inside[inside] = np.asarray(store.time)[row[inside]] < cutoff[inside] + 5 * DAY
        through = [h for h in range(12) if h >= half_days / 2 + 0.5]
        assert not active[~inside][:, through].any()
    assert 0.2 < active[:, 3].mean() < 0.9


def test_intervals_hold_what_was_reached_and_followed_to_its_end(tmp_path) -> None:
    logs = [
        [1, 8, 12, 16, 20],
        [1, 8, 9],
        [1],
        [1, 11],
    ]  # stays, leaves on day 9, silent from the cutoff on, back after a silence
    store = make_store(tmp_path / "store", logs, end=21)
    life = lifetimes(store, at(store, [0, 1, 2, 3], [6, 6, 6, 6]), NO_EVENT)
    assert life.followed_N.tolist() == [10] * 4
    assert life.left_N.tolist() == [14, 3, -np.inf, -np.inf]
    nan = np.nan
    np.testing.assert_equal(
        life.active([0, 3, 4, 10, 11]), [[1, 1, 1, 1, nan], [1, 1, 0, 0, nan], [0, 0, 0, 0, nan], [0, 0, 0, 0, nan]]
    )
    expected = [[0, 0, 0, 0, nan], [0, 0, 1, nan, nan], [1, nan, nan, nan, nan], [1, nan, nan, nan, nan]]
    np.testing.assert_equal(life.intervals([0, 3, 4, 10, 11]), np.float32(expected))


def test_followed_briefly_is_censored_even_where_leaving_was_seen(tmp_path) -> None:
    store = make_store(tmp_path / "store", [[1, 6, 7], [1, 6, 10, 14]], end=16)
    life = lifetimes(store, at(store, [0, 1], [6, 6]), NO_EVENT)  # followed for 5 days: the first left after one
    assert np.isnan(life.active([6])).all()
    assert np.isnan(life.intervals([6])).all()


def test_training_looks_no_further_than_the_first_later_cutoff(tmp_path) -> None:
    rng = np.random.default_rng(1)
    logs = [sorted(rng.integers(0, 100, 20).tolist()) for _ in range(40)]
    store = make_store(tmp_path / "a", logs, end=100)
    customer, cutoff = np.tile(np.arange(40), 4), np.repeat([20, 30, 50, 70], 40)
    split = np.repeat(["train", "train", "val", "test"], 40)
    snapshots = at(store, customer, cutoff, split)
    assert (follow_up_end(snapshots, store.end) / DAY).tolist() == [50] * 80 + [70] * 40 + [100] * 40
    changed = [[day for day in log if day < 50] + sorted(rng.integers(50, 100, 5).tolist()) for log in logs]
    other = make_store(tmp_path / "b", changed, end=100)
    before, after = (
        lifetimes(s, at(s, customer, cutoff, split), NO_EVENT).intervals([0, 5, 15, 25]) for s in (store, other)
    )
    np.testing.assert_equal(before[:80], after[:80])
    assert not np.array_equal(before[80:], after[80:], equal_nan=True)
    by_customer = np.select([cutoff > 50, customer % 4 == 0], ["test", "val"], "train")
    customers_out = at(store, customer, cutoff, by_customer)
    assert (
        follow_up_end(customers_out, store.end)[:120] == 70 * DAY
    ).all()  # validation customers at the training cutoffs


def test_a_longer_log_adds_what_it_follows_and_changes_nothing_else(tmp_path) -> None:
    rng = np.random.default_rng(2)
    logs = [sorted(rng.integers(0, 100, 60).tolist()) for _ in range(60)]
    full = make_store(tmp_path / "full", logs, end=100)
    cut = make_store(tmp_path / "cut", [[day for day in log if day < 60] for log in logs], end=60)
    long, short = (
        lifetimes(s, at(s, np.arange(60), np.full(60, 40)), NO_EVENT).intervals([0, 5, 15, 25]) for s in (full, cut)
    )
    assert np.isnan(short[:, 3]).all()
    assert not np.isnan(long[:, 3]).all()
    np.testing.assert_equal(short[:, :3], long[:, :3])


def test_a_churn_event_says_itself_when(tmp_path) -> None:
    store = make_store(tmp_path / "store", [[1, 9], [1, 9], [1]], end=20, churn_event=[0.0, 1, 0, 0, 0])
    life = lifetimes(store, at(store, [0, 1, 2], [5, 5, 5]), {"name": "churn_event"})
    np.testing.assert_equal(
        life.active([0, 4, 5, 15, 16]), [[1, 1, 0, 0, np.nan], [1, 1, 1, 1, np.nan], [1, 1, 1, 1, np.nan]]
    )


def test_what_is_no_lifetime_is_refused(tmp_path) -> None:
    store = make_store(tmp_path / "store", [[1, 9]], end=20)
    with pytest.raises(ValueError, match="labels=given do not say when a customer left"):
        lifetimes(store, at(store, [0], [5]), {"name": "given"})
    with pytest.raises(ValueError, match=r"snapshots\.gap_days=2: set snapshots\.gap_days=0"):
        lifetimes(store, at(store, [0], [5], gap=2), NO_EVENT)


@pytest.mark.parametrize(
    ("horizons", "message"),
    [
        ([], "is empty"),
        ([28, 7], "must ascend"),
        ([7, 7], "must ascend"),
        ([-1, 7], "days ≥ 0"),
        (["a"], "days ≥ 0"),
        ([True], "days ≥ 0"),
    ],
)
def test_horizons_are_ascending_days(horizons, message) -> None:
    with pytest.raises(ValueError, match=message):
        check_horizons(horizons)
    check_horizons([0, 28, 56.5])


def test_a_split_without_follow_up_or_with_one_outcome_is_refused() -> None:
    split = np.array(["train", "train", "train", "test", "test"])
    left, followed = np.array([9, 40, -np.inf, 50, -np.inf]), np.full(5, 30.0)

    def check(left_N: np.ndarray, followed_N: np.ndarray) -> None:
        life, days = Lifetimes(left_N, followed_N), [0, 28]
        check_followed(life.active(days), life.intervals(days), split, days, 14)

    check(left, followed)
    with pytest.raises(ValueError, match="no test snapshot is followed for 28 days and the 14 days of silence"):
        check(left, np.array([30.0, 30, 30, 20, 20]))
    with pytest.raises(ValueError, match="one class only in test: all 2 snapshots followed for 0 days stayed"):
        check(np.array([9, 40, -np.inf, 50, 50]), followed)
    with pytest.raises(ValueError, match="one class only in train: all 2 snapshots followed for 28 days left"):
        check(np.array([9, 9, -np.inf, 50, -np.inf]), followed)


def test_each_horizon_is_calibrated_on_the_newest_validation_cutoff_followed_so_far(tmp_path) -> None:
    store = make_store(tmp_path / "store", [[1]] * 2, end=100)
    snapshots = at(store, [0, 1] * 4, np.repeat([20, 30, 40, 80], 2), np.repeat(["train", "val", "val", "test"], 2))
    active = lifetimes(store, snapshots, NO_EVENT).active([0, 35, 45])
    rows = calibration_rows(snapshots, active)
    assert [np.unique(snapshots.cutoff[chosen] // DAY).tolist() for chosen in rows.T] == [[40], [40], [30]]
    held_out = at(store, [0, 1] * 2, np.repeat([20, 80], 2), np.array(["train", "val", "test", "test"]))
    assert calibration_rows(held_out, lifetimes(store, held_out, NO_EVENT).active([0])).ravel().tolist() == [
        False,
        True,
        False,
        False,
    ]
