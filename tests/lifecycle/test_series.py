"""Weekly series of a log: counts against a loop over its events, cohorts, whole weeks only."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from clm_dl.data.snapshots.cutoffs import DAY
from clm_dl.data.store.files import write_store
from clm_dl.data.store.store import EventStore, Field
from clm_dl.lifecycle.series import first_between, weekly_demand, weekly_orders, weekly_silenced

DAYS = {"a": [0, 0, 3, 9, 30], "b": [8, 20], "c": [33]}  # two lines of a's on day 0 are one order
END = 37


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> EventStore:
    days = np.concatenate(list(DAYS.values()))
    assert max(days) < END
    return write_store(
        tmp_path_factory.mktemp("series") / "store",
        customer_ids=np.array(list(DAYS), dtype=object),
        offsets=np.array([0, 5, 7, 8]),
        time=days * DAY,
        columns={"dept": np.array([0, 1, 0, -1, 1, 1, 0, 1])},
        fields=[Field("dept", "categorical")],
        dictionaries={"dept": np.array(["food", "toys"], dtype=object)},
        end=END * DAY,
        fingerprint="series",
    )


def test_orders_of_whole_weeks(store: EventStore) -> None:
    orders = weekly_orders(store)  # 37 days: weeks begin on days 2, 9, 16, 23, 30
    assert orders.index.tolist() == [
        pd.Timestamp("1970-01-03", tz="UTC") + pd.Timedelta(days=7 * week) for week in range(5)
    ]
    assert orders.tolist() == [2, 1, 1, 0, 2]
    early = first_between(store, "1970-01-01", "1970-01-05")
    assert early.tolist() == [True, False, False]
    assert weekly_orders(store, cohort=early).tolist() == [1, 1, 0, 0, 1]


def test_silence_is_counted_when_it_becomes_known(store: EventStore) -> None:
    # 14 days after: a's day 9 (known on 23, the next order is on 30), b's 20 (on 34); a's 30 and c's 33 are not known
    # by day 37
    assert weekly_silenced(store, horizon_days=14).tolist() == [0, 0, 0, 1, 1]
    assert weekly_silenced(store, horizon_days=21).tolist() == [
        0,
        0,
        0,
        0,
        1,
    ]  # a's gap of exactly 21 days, known on day 30
    assert weekly_silenced(store, horizon_days=12).tolist() == [
        0,
        0,
        2,
        0,
        1,
    ]  # a's 9, b's 8 (the next order is exactly then), b's 20


def test_demand_by_category_sums_to_lines(store: EventStore) -> None:
    demand = weekly_demand(store, "dept")
    assert demand.columns.tolist() == ["food", "toys"]
    assert demand["food"].tolist() == [1, 0, 1, 0, 0]
    assert demand["toys"].tolist() == [1, 0, 0, 0, 2]


def test_the_future_changes_nothing(store: EventStore, tmp_path: Path) -> None:
    log = {name: [day for day in days if day < 23] for name, days in DAYS.items()}
    days = np.concatenate([np.array(part, dtype=np.int64) for part in log.values()])
    early = write_store(
        tmp_path / "early",
        customer_ids=np.array(list(DAYS), dtype=object),
        offsets=np.cumsum([0, *map(len, log.values())]),
        time=days * DAY,
        columns={},
        fields=[],
        dictionaries={},
        end=23 * DAY,
        fingerprint="early",
    )
    for series in (weekly_orders, lambda of: weekly_silenced(of, horizon_days=12)):
        pd.testing.assert_series_equal(series(early), series(store)[:3], check_freq=False)


def test_bad_input_is_one_sentence(store: EventStore) -> None:
    with pytest.raises(ValueError, match="no field 'colour' in the store; it has dept"):
        weekly_demand(store, "colour")
    with pytest.raises(ValueError, match="horizon_days must be > 0, got 0"):
        weekly_silenced(store, horizon_days=0)
    with pytest.raises(ValueError, match="nobody has a first event between"):
        first_between(store, "1980-01-01", "1981-01-01")


def test_an_event_at_the_end_of_the_data_is_in_no_week(tmp_path: Path) -> None:
    store = write_store(
        tmp_path / "end",
        customer_ids=np.array(["a"], dtype=object),
        offsets=np.array([0, 3]),
        time=np.array([0, 8, 14]) * DAY,
        columns={"dept": np.array([0, 0, 0])},
        fields=[Field("dept", "categorical")],
        dictionaries={"dept": np.array(["food"], dtype=object)},
        end=14 * DAY,
        fingerprint="end",
    )
    assert weekly_orders(store).tolist() == weekly_demand(store, "dept")["food"].tolist() == [1, 1]
