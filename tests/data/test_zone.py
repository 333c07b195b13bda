"""Zone: dates, days, hours and windows of a time zone, on the days when its clocks change and on all others."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from support import inputs_of, snapshots_of

from clm_dl.data.log.prepare import prepare_store
from clm_dl.data.ranking.protocols import build_ranking
from clm_dl.data.snapshots.calendar import known_future
from clm_dl.data.snapshots.cutoffs import cutoff_grid
from clm_dl.data.snapshots.features import history_features
from clm_dl.data.store.store import EventStore
from clm_dl.data.zone import DAY, UTC, Zone
from clm_dl.lifecycle.series import first_between

ZONES = (
    "Europe/Berlin",
    "America/New_York",
    "America/Sao_Paulo",
    "Asia/Beirut",
    "Asia/Tokyo",
    "Australia/Lord_Howe",
    "UTC",
)
CHANGES = {  # midnights around a change of clocks; Beirut's and Sao Paulo's were skipped at midnight
    "Europe/Berlin": ("2024-03-31", "2024-10-27"),
    "America/Sao_Paulo": ("2018-11-04", "2018-02-18"),
    "Asia/Beirut": ("2022-03-27", "2022-10-30"),
    "Africa/Cairo": ("2024-04-26", "2024-11-01"),
}
second = st.integers(946_684_800, 1_767_225_600)


def us(text: str, zone: str = "UTC") -> int:
    return int(pd.Timestamp(text, tz=zone).tz_convert("UTC").tz_localize(None).value // 1000)


@given(name=st.sampled_from(ZONES), at=second, days=st.integers(-400, 400))
def test_days_keep_the_clock_and_text_says_which_moment_it_is(name: str, at: int, days: int) -> None:
    zone, time = Zone(name), at * 1_000_000
    assert zone.parse(zone.iso(time)) == time
    assert zone.add(time, 0) == time
    moved = zone.add(time, days * DAY)
    wanted = int(zone.local(time)) + days * DAY
    assert zone.local(moved) - wanted in (0, DAY // 24, DAY // 48)  # later where clocks skip the reading
    assert zone.add(np.array([time, time]), days * DAY).tolist() == [moved] * 2
    midnight = int(zone.utc(int(zone.local(time)) // DAY * DAY))
    assert zone.iso(midnight) == str(pd.Timestamp(int(zone.local(time)), unit="us").date())
    if name == "UTC":
        assert moved == time + days * DAY


def test_utc_reads_as_before() -> None:
    assert [UTC.parse(text) for text in ("1970-01-02", "1970-01-02T06:00+06:00")] == [DAY, DAY]
    assert UTC.iso(DAY) == "1970-01-02"
    assert UTC.iso(DAY + 1) == "1970-01-02T00:00:00.000001"
    with pytest.raises(ValueError, match="unknown time zone 'Berlin'"):
        Zone("Berlin")


@pytest.fixture
def store(tmp_path: Path) -> Callable[..., EventStore]:
    def build(frame: pd.DataFrame, zone: str, **data: Any) -> EventStore:
        data = {"roles": {"customer": "who", "time": "when"}, "frame": frame, "timezone": zone, **data}
        return prepare_store(data, tmp_path / f"{len(list(tmp_path.iterdir()))}")

    return build


@pytest.mark.parametrize("name", CHANGES)
def test_a_date_of_the_log_and_the_same_date_of_a_config_are_one_moment(
    name: str, store: Callable[..., EventStore]
) -> None:
    days = [
        day.date().isoformat()
        for change in CHANGES[name]
        for day in pd.date_range(end=change, periods=2).union(pd.date_range(change, periods=3))
    ]
    found = store(pd.DataFrame({"who": "a", "when": sorted(set(days))}), name)
    assert found.zone.name == name
    assert np.asarray(found.time).tolist() == [Zone(name).parse(day) for day in sorted(set(days))]
    assert found.end == Zone(name).parse(pd.Timestamp(max(days)) + pd.Timedelta(days=1))


def purchases(**days: list[str]) -> pd.DataFrame:
    return pd.DataFrame([(who, day) for who, dates in days.items() for day in dates], columns=["who", "when"])


@pytest.mark.parametrize("zone", ["UTC", "Europe/Berlin", "America/New_York", "Asia/Tokyo"])
@pytest.mark.parametrize("cutoff", ["2024-03-31", "2024-03-10", "2024-10-27", "2024-05-05"])
@pytest.mark.parametrize("days", [1, 7, 28])
def test_windows_hold_the_purchases_of_their_days(
    zone: str, cutoff: str, days: int, store: Callable[..., EventStore]
) -> None:
    """A day's purchase at a cutoff of that day is not history; the last day of a window is in it, the next is not."""
    at = pd.Timestamp(cutoff)
    date = [(at + pd.Timedelta(days=day)).date().isoformat() for day in (-200, -1, 0, days - 1, days, 200)]
    frame = purchases(
        eve=date[:2], same=[date[0], date[2]], last=[date[0], date[3]], after=[date[0], date[4]], end=[date[0], date[5]]
    )
    found = store(frame, zone)
    lists = {
        "train": [(at - pd.Timedelta(days=160)).date().isoformat()],
        "val": [(at - pd.Timedelta(days=100)).date().isoformat()],
        "test": [cutoff],
    }
    snapshots = snapshots_of(found, horizon_days=days, recent_days=1, **lists)
    test = snapshots.select(snapshots.split == "test")
    told = dict(
        zip(
            found.customer_ids[test.customer].tolist(),
            zip((test.stop - test.start).tolist(), test.label.tolist(), test.recent.tolist(), strict=True),
            strict=True,
        )
    )
    assert told == {
        "eve": (2, 1, True),
        "same": (1, 0, False),
        "last": (1, 0, False),
        "after": (1, 1, False),
        "end": (1, 1, False),
    }
    part = history_features(found, test, windows_days=[1.0, 200.0])
    assert part["orders_1d"].tolist() == [float(who == "eve") for who in found.customer_ids[test.customer]]
    assert (part["orders_200d"] == test.stop - test.start).all()


@pytest.mark.parametrize("zone", ZONES)
def test_the_grid_is_of_midnights_and_windows_of_one_length_meet(zone: str) -> None:
    first, end = (Zone(zone).parse(date) for date in ("2023-01-01", "2024-12-31"))
    grid = cutoff_grid(first, end, span=28 * DAY, every=7 * DAY, zone=Zone(zone))
    dates = pd.to_datetime([Zone(zone).iso(time) for time in grid])  # all of them dates, none with an hour
    assert (np.diff(dates) == pd.Timedelta(days=7)).all()
    assert dates[-1] == pd.Timestamp("2024-12-03")
    assert (Zone(zone).add(grid, 28 * DAY)[:-4] == grid[4:]).all()


def test_weekdays_hours_and_months_are_the_zone_s(store: Callable[..., EventStore]) -> None:
    days = pd.date_range("2024-01-06 08:00", "2024-12-28", freq="7D")  # Saturdays
    frame = pd.DataFrame([(who, day) for who in "abc" for day in days], columns=["who", "when"])
    for zone in ZONES:
        found = store(frame, zone)
        snapshots = snapshots_of(found, horizon_days=28)
        assert (history_features(found, snapshots)["weekend"] == 1).all()
        batch = inputs_of(found, snapshots).dataset[np.arange(3)]
        assert set(batch.weekday_BT[batch.mask_BT].tolist()) == {5}
        assert set(batch.hour_BT[batch.mask_BT].tolist()) == {8}
        assert batch.month_BT[0, 0] == 0


def test_labels_of_a_file_calendars_and_cohorts_are_in_the_zone(
    store: Callable[..., EventStore], tmp_path: Path
) -> None:
    frame = purchases(a=["2024-01-01", "2024-03-31", "2024-06-01"], b=["2024-01-01", "2024-03-30"], c=["2024-03-31"])
    found = store(frame, "Europe/Berlin")
    rows = [
        ("a", "2024-02-01", 0),
        ("a", "2024-03-01", 1),
        ("b", "2024-02-01", 1),
        ("b", "2024-03-01", 0),
        ("a", "2024-03-31", 1),
        ("b", "2024-03-30T22:00:00Z", 0),
    ]
    pd.DataFrame(rows, columns=["customer", "time", "label"]).to_csv(tmp_path / "labels.csv", index=False)
    lists = {"train": ["2024-02-01"], "val": ["2024-03-01"], "test": ["2024-03-31", "2024-03-30T22:00:00+00:00"]}
    snapshots = snapshots_of(
        found, horizon_days=7, labels={"name": "given", "path": str(tmp_path / "labels.csv")}, **lists
    )
    test = snapshots.select(snapshots.split == "test")
    assert test.cutoff.tolist() == [us("2024-03-30 22:00"), us("2024-03-31", "Europe/Berlin")]
    assert (test.stop - test.start).tolist() == [2, 1]
    pd.DataFrame({"time": ["2024-03-31", "2024-04-06", "2024-04-07"], "holiday": [1, 10, 100]}).to_csv(
        tmp_path / "days.csv", index=False
    )
    sums = known_future({"path": tmp_path / "days.csv"}, test, found.zone)["holiday"]
    assert sums.iloc[-1] == 11
    assert first_between(found, "2024-03-31", "2024-04-01").tolist() == [False, False, True]


def test_the_dates_of_a_ranked_protocol_are_the_zone_s(store: Callable[..., EventStore]) -> None:
    frame = purchases(
        a=["2024-01-01", "2024-02-01", "2024-03-31", "2024-06-01"], b=["2024-01-01", "2024-02-02", "2024-03-31"]
    )
    frame["what"] = "s"
    found = store(frame, "Europe/Berlin", roles={"customer": "who", "time": "when", "item": "what"})
    protocol = {"name": "global_time", "val": "2024-02-01", "test": "2024-03-31"}
    ranking = build_ranking(found, protocol=protocol, unit="line")
    assert ranking.counts["test_targets"] == 2
    test = ranking.select("test")
    assert (ranking.snapshots.stop - ranking.snapshots.start)[test].tolist() == [2, 2]


@pytest.mark.parametrize(
    "name", ["Europe/Berlin", "America/New_York", "Australia/Lord_Howe", "Asia/Beirut", "Africa/Cairo"]
)
@pytest.mark.parametrize("as_text", [False, True])
def test_a_log_reads_clocks_as_cutoffs_do(name: str, as_text: bool, tmp_path: Path) -> None:
    zone = Zone(name)
    hours = np.arange(us("2022-01-01"), us("2025-01-01"), DAY // 24)
    offset = zone.local(hours) - hours
    changes = zone.local(hours[1:][np.diff(offset) != 0])
    clock = np.unique(changes[:, None] + np.arange(-150, 151, 10) * 60_000_000)
    when = pd.Series(clock.view("datetime64[us]"))
    frame = pd.DataFrame({"id": 1, "when": when.astype(str) if as_text else when})
    roles = {"customer": "id", "time": "when"}
    store = prepare_store({"frame": frame, "roles": roles, "timezone": name}, tmp_path / "store")
    assert store.time.tolist() == sorted(zone.utc(clock).tolist())
    assert (zone.local(store.time) != np.sort(clock)).any()  # some are never shown
