"""A few rows far from all others decide neither where the data ends nor where it begins."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from clm_dl.data.log import strays
from clm_dl.data.log.prepare import prepare_store

ROLES = {"customer": "id", "time": "when"}


def log_with(*when: str) -> pd.DataFrame:
    days = pd.date_range("2023-01-01", "2024-12-30", freq="36h").astype(str).tolist()
    return pd.DataFrame({"id": [f"c{i % 7}" for i in range(len(days))] + ["odd"] * len(when), "when": [*days, *when]})


@pytest.mark.parametrize(
    ("when", "words"),
    [
        (["2099-12-31"], r"the row of customer 'odd' at 2099-12-31 lies 27,3\d\d days after all others"),
        (["2025-02-13 23:45:13"], r"the row of customer 'odd' at 2025-02-13 23:45:13 lies 4\d days after all others"),
        (["2098-01-01", "2099-12-31"], r"2 rows, among them that of customer 'odd' at 2099-12-31 lie 26,6\d\d days"),
    ],
)
def test_rows_far_behind_all_others_are_an_error(when: list[str], words: str, tmp_path: Path):
    with pytest.raises(ValueError, match=words) as error:
        prepare_store({"frame": log_with(*when), "roles": ROLES}, tmp_path / "store")
    assert "set data.end=2024-12-3" in str(error.value)
    store = prepare_store({"frame": log_with(*when), "roles": ROLES, "end": "2024-12-31"}, tmp_path / "store")
    assert store.end == np.datetime64("2024-12-31", "us").astype(int)


def test_a_cutoff_before_them_needs_no_end(tmp_path: Path):
    before = int(np.datetime64("2024-12-31", "us").astype(int))
    store = prepare_store({"frame": log_with("2099-12-31"), "roles": ROLES}, tmp_path / "store", before=before)
    assert store.end < before + strays.DAY


def test_rows_far_before_all_others_are_quarantined(tmp_path: Path):
    said: list[str] = []
    store = prepare_store({"frame": log_with("1970-01-01"), "roles": ROLES}, tmp_path / "store", log=said.append)
    assert store.time.min() == np.datetime64("2023-01-01", "us").astype(int)
    assert store.counts["quarantine_reasons"] == {"time long before all others": 1}
    assert store.counts["rows_in"] == store.counts["kept"] + 1
    assert pq.read_table(store.path / "quarantine.parquet")["when"].to_pylist() == ["1970-01-01"]
    assert any("the row of customer 'odd' at 1970-01-01: 19,358 days before all others" in line for line in said)


@given(gaps=st.lists(st.integers(1, 27), min_size=1, max_size=60), rows=st.integers(1, 50))
def test_a_log_without_long_gaps_has_no_strays(gaps: list[int], rows: int):
    day = np.cumsum([19_000, *gaps])
    counts = np.full(len(day), rows)
    assert strays.newest_strays(day, counts) is None
    assert strays.oldest_strays(day, counts) is None


@given(gaps=st.lists(st.integers(1, 9), min_size=30, max_size=60), far=st.integers(3_650, 40_000))
def test_one_row_decades_away_is_a_stray_on_either_side(gaps: list[int], far: int):
    day = np.cumsum([19_000, *gaps])
    ones = np.ones(len(day) + 1, np.int64)
    assert strays.newest_strays(np.append(day, day[-1] + far), ones) == strays.Tail(1, far, day[-1])
    assert strays.oldest_strays(np.append(day[0] - far, day), ones) == strays.Tail(1, far, day[0])


def test_a_log_of_few_rows_is_left_alone():
    assert strays.newest_strays(np.array([10, 30_000]), np.array([2, 1])) is None
    assert strays.newest_strays(np.array([10, 30_000]), np.array([50, 50])) is None


def test_the_date_that_stands_for_none_is_a_stray_however_few_percent_have_it(tmp_path: Path):
    words = r"12 rows, among them that of customer 'odd' at 2099-12-31 lie 27,3\d\d days after all others"
    with pytest.raises(ValueError, match=words):
        prepare_store({"frame": log_with(*["2099-12-31"] * 12), "roles": ROLES}, tmp_path / "store")
    said: list[str] = []
    frame = log_with(*["1970-01-01 00:00:00"] * 12)
    store = prepare_store({"frame": frame, "roles": ROLES}, tmp_path / "store", log=said.append)
    assert store.counts["quarantine_reasons"] == {"time long before all others": 12}
    assert any("12 rows, among them that of customer 'odd' at 1970-01-01" in line for line in said)


def test_a_share_of_rows_that_is_no_accident_stays():
    day, rows = np.append(np.arange(19_000, 19_100), 50_000), np.append(np.full(100, 3), 30)
    assert strays.newest_strays(day, rows) is None
