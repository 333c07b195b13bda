"""Times are read by what all values of a column say, or refused by a sentence that names data.time_format."""

from __future__ import annotations

import datetime
import decimal
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from clm_dl.data.log.prepare import prepare_store
from clm_dl.data.store.store import EventStore
from clm_dl.data.zone import Zone

ROLES = {"customer": "id", "time": "when"}


def stored(values: Any, folder: Path, said: list[str] | None = None, **data: Any) -> EventStore:
    frame = values if isinstance(values, pd.DataFrame) else pa.table({"id": [1] * len(values), "when": values})
    log = (lambda line: None) if said is None else said.append
    return prepare_store({"frame": frame, "roles": ROLES, **data}, folder / "store", log=log)


@pytest.mark.parametrize(
    ("values", "wanted", "named"),
    [
        ([20240115, 20240301], ["2024-01-15", "2024-03-01"], "%Y%m%d"),
        (["20240115", "20240301"], ["2024-01-15", "2024-03-01"], "%Y%m%d"),
        ([20240115.0, None, 20240301.0], ["2024-01-15", "2024-03-01"], "%Y%m%d"),
        ([202401151030, 202403012359], ["2024-01-15T10:30", "2024-03-01T23:59"], "%Y%m%d%H%M"),
        ([20240115103007, 20240301235900], ["2024-01-15T10:30:07", "2024-03-01T23:59"], "%Y%m%d%H%M%S"),
        ([2023, 2024], ["2023-01-01", "2024-01-01"], "%Y"),
        ([202312, 202401], ["2023-12-01", "2024-01-01"], "%Y%m"),
        (["2024-01", "2024-03"], ["2024-01-01", "2024-03-01"], "%Y-%m"),
        ([45306, 45352.5], ["2024-01-15", "2024-03-01T12:00"], "excel"),
        (["45306", "45352.521527777779"], ["2024-01-15", "2024-03-01T12:31"], "excel"),
        (["15/01/2024", "03/02/2024"], ["2024-01-15", "2024-02-03"], "%d/%m/%Y"),
        (["01/15/2024 8:05 PM", "02/03/2024 1:00 AM"], ["2024-01-15T20:05", "2024-02-03T01:00"], "%m/%d/%Y %I:%M %p"),
        (["15.01.2024 10:30", "03.02.2024 00:00"], ["2024-01-15T10:30", "2024-02-03"], "%d.%m.%Y %H:%M"),
        (["15-Jan-2024", "03-Feb-2024"], ["2024-01-15", "2024-02-03"], "%d-%b-%Y"),
        (["1.7052768e9", "1.7092512E+09"], ["2024-01-15", "2024-03-01"], None),
        (
            ["1705276800.123456", "1705276800.123457"],
            ["2024-01-15T00:00:00.123456", "2024-01-15T00:00:00.123457"],
            None,
        ),
        ([1705276800.123456, 1705276800.623457], ["2024-01-15T00:00:00.123456", "2024-01-15T00:00:00.623457"], None),
        ([1705276800123.25], ["2024-01-15T00:00:00.123250"], None),
        (["2024-01-15", "1705276801"], ["2024-01-15", "2024-01-15T00:00:01"], None),
    ],
)
def test_times_are_found_out_and_said(values: Any, wanted: list[str], named: str | None, tmp_path: Path):
    said: list[str] = []
    store = stored(values, tmp_path, said)
    assert store.time.tolist() == np.array(wanted, "datetime64[us]").astype(np.int64).tolist()
    told = [line for line in said if line.startswith("times of when are read as")]
    assert told == ([] if named is None else [f"times of when are read as {named} (data.time_format)"])


@pytest.mark.parametrize(
    ("values", "words"),
    [
        (["03/04/2024", "05/06/2024"], r"day first or the month: set data.time_format='%d/%m/%Y' or .*'%m/%d/%Y'"),
        ([2024011510, 2024011511], r"set data.time_format='%Y%m%d%H' or data.time_format=epoch_s"),
        ([19737, 19745], r"as seconds since 1970 from 1970-01-01 .*: set data.time_format"),
        ([638081280000000000, 638082144000000000], r"as nanoseconds since 1970 from 1990.* epoch_ns if they are"),
        ([133170048000000000, 133170912000000000], r"as nanoseconds since 1970 from 1974.* epoch_ns if they are"),
        (["2024Q1", "2024Q2"], r"unparseable time '2024Q2'.*set data.time_format\?"),
    ],
)
def test_times_that_may_be_two_things_are_refused(values: Any, words: str, tmp_path: Path):
    with pytest.raises(ValueError, match=words):
        stored(values, tmp_path)


@pytest.mark.parametrize(
    ("values", "time_format", "wanted"),
    [
        ([19737, 19745], "epoch_s", ["1970-01-01T05:28:57", "1970-01-01T05:29:05"]),
        ([2024011510], "%Y%m%d%H", ["2024-01-15T10:00"]),
        ([5, 6], "epoch_ms", ["1970-01-01T00:00:00.005", "1970-01-01T00:00:00.006"]),
        ([3], "excel", ["1900-01-02"]),
        (["03/04/2024"], "%m/%d/%Y", ["2024-03-04"]),
    ],
)
def test_what_data_says_decides(values: Any, time_format: str, wanted: list[str], tmp_path: Path):
    store = stored(values, tmp_path, time_format=time_format)
    assert store.time.tolist() == np.array(wanted, "datetime64[us]").astype(np.int64).tolist()


@pytest.mark.parametrize("freq", ["M", "Q", "D"])
def test_a_period_is_its_start(freq: str, tmp_path: Path):
    when = pd.PeriodIndex(["2024-01", "2024-04"], freq=freq)
    store = stored(pd.DataFrame({"id": ["a", "b"], "when": when}), tmp_path)
    assert store.time.astype("datetime64[us]").astype(str).tolist() == [
        "2024-01-01T00:00:00.000000",
        "2024-04-01T00:00:00.000000",
    ]


def test_excel_times_are_of_the_logs_zone(tmp_path: Path):
    store = stored([45306], tmp_path, timezone="Europe/Berlin")
    assert store.time.astype("datetime64[us]").astype(str).tolist() == ["2024-01-14T23:00:00.000000"]


@pytest.mark.parametrize("digits", ["20240115", "45306"])
def test_digits_among_dates_are_no_seconds(digits: str, tmp_path: Path):
    values = [f"2024-01-{day:02d}" for day in range(1, 9)] + [digits] * 4
    counts = stored(values, tmp_path).meta["counts"]
    assert counts["quarantine_reasons"] == {"unparseable time": 4}
    assert counts["quarantine_examples"] == {"unparseable time": digits}


def test_a_second_time_that_cannot_be_read_is_no_missing_one(tmp_path: Path):
    frame = pd.DataFrame({"id": 1, "when": ["2024-01-15"] * 6, "end": ["20240301"] * 3 + ["2024-03-01", "NA", None]})
    store = stored(frame, tmp_path, roles=ROLES | {"expiry": "end"})
    assert store.meta["counts"]["quarantine_reasons"] == {"unparseable expiry": 1}


def test_a_few_values_of_another_shape_do_not_decide(tmp_path: Path):
    days = pd.date_range("2024-01-01", periods=60).strftime("%Y%m%d").astype(int).tolist()
    store = stored([*days, 0, 99991231], tmp_path)
    assert store.counts["quarantine_reasons"] == {"unparseable time": 1, "absurd time": 1}
    assert store.counts["quarantine_examples"] == {"unparseable time": "0", "absurd time": "99991231"}


@pytest.mark.parametrize(
    "value",
    [
        *(f"2023-01-05 10:00:00{zone}" for zone in (" UTC", " GMT", " Z", "Z", " +00:00", "+00", " +0000", ".0 UTC")),
        *("2023-01-05T10Z", "2023-01-05T10:00Z", "2023-01-05 10:00 UTC", "20230105T100000Z", "2023-01-05T10+00"),
        *("2023-01-05 11:00:00 +01:00", "2023-01-05T11+01:00", "2023-01-05T05:00-0500"),
    ],
)
def test_a_zone_in_the_text_decides(value: str, tmp_path: Path):
    wanted = np.datetime64("2023-01-05T10", "us").astype(np.int64)
    assert stored([value] * 2, tmp_path, timezone="Europe/Berlin").time.tolist() == [wanted] * 2
    assert Zone("Europe/Berlin").moments(pd.Series([value])).astype("int64").tolist() == [wanted]


def test_a_zone_that_a_format_reads_decides(tmp_path: Path):
    store = stored(["05/01/2023 11:00 +0100"], tmp_path, timezone="America/New_York", time_format="%d/%m/%Y %H:%M %z")
    assert store.time.tolist() == [np.datetime64("2023-01-05T10", "us").astype(np.int64)]


def test_a_column_of_dates_times_and_zones_keeps_each(tmp_path: Path):
    plain, day = datetime.datetime(2023, 1, 5, 10), datetime.date(2023, 1, 5)
    aware = datetime.datetime(2023, 1, 5, 10, tzinfo=datetime.UTC)
    for number, (values, wanted) in enumerate(
        [
            ([day, plain], ["2023-01-05T05", "2023-01-05T15"]),
            ([aware, plain], ["2023-01-05T10", "2023-01-05T15"]),
            (
                [None, plain, day, aware, pd.Timestamp(plain)],
                ["2023-01-05T05", "2023-01-05T10", *["2023-01-05T15"] * 2],
            ),
        ]
    ):
        frame = pd.DataFrame({"id": 1, "when": pd.Series(values, dtype=object)})
        store = stored(frame, tmp_path / str(number), timezone="America/New_York", max_quarantined=1)
        assert store.time.tolist() == np.array(wanted, "datetime64[us]").astype(np.int64).tolist()


@pytest.mark.parametrize("other", [pa.timestamp("us"), pa.timestamp("ns"), pa.date32(), pa.string()])
def test_files_with_and_without_zones_keep_theirs(other: pa.DataType, tmp_path: Path):
    day = np.array(["2023-01-05"], "datetime64[us]")
    plain = pa.array(["2023-01-05"]) if other == pa.string() else pa.array(day).cast(other)
    (tmp_path / "log").mkdir()
    for name, when in (("a", plain), ("b", pa.array(day).cast(pa.timestamp("us", "UTC")))):
        pq.write_table(pa.table({"id": [name], "when": when}), tmp_path / "log" / f"{name}.parquet")
    data = {"path": str(tmp_path / "log"), "roles": ROLES, "timezone": "America/New_York"}
    hours = prepare_store(data, tmp_path / "store").time - day.astype(np.int64)
    assert (hours // 3_600_000_000).tolist() == [5, 0]


@pytest.mark.parametrize(
    ("values", "wanted", "named"),
    [
        (["23.01.05", "23.02.28", "23.03.17"], ["2023-01-05", "2023-02-28", "2023-03-17"], "%y.%m.%d"),
        (["23-01-05", "23-02-28"], ["2023-01-05", "2023-02-28"], "%y-%m-%d"),
        (["23/01/05 10:00", "22/11/28 09:30"], ["2023-01-05T10:00", "2022-11-28T09:30"], "%y/%m/%d %H:%M"),
        (["05/01/23", "28/02/23"], ["2023-01-05", "2023-02-28"], "%d/%m/%y"),
        (["05-01-23", "28-02-23"], ["2023-01-05", "2023-02-28"], "%d-%m-%y"),
        (["28.02.23", "05.01.20"], ["2023-02-28", "2020-01-05"], "%d.%m.%y"),
        (["02/28/23", "01/05/20"], ["2023-02-28", "2020-01-05"], "%m/%d/%y"),
    ],
)
def test_two_digit_years_are_those_that_keep_the_times_together(
    values: list[str], wanted: list[str], named: str, tmp_path: Path
):
    said: list[str] = []
    assert stored(values, tmp_path, said).time.tolist() == sorted(
        np.array(wanted, "datetime64[us]").astype(int).tolist()
    )
    assert f"times of when are read as {named} (data.time_format)" in said


@pytest.mark.parametrize(
    "values",
    [["23.01.05"], ["01/01/20", "01/06/22"], ["05/01/23", "06/02/23"], [f"01.{m:02}.21" for m in range(1, 13)]],
)
def test_two_digit_years_that_may_be_days_are_asked_about(values: list[str], tmp_path: Path):
    with pytest.raises(ValueError, match=r"may have the day first or the (year|month): set data.time_format="):
        stored(values, tmp_path)


@pytest.mark.parametrize("far", [1e30, float("inf"), -1e30])
@pytest.mark.parametrize("time_format", [None, "epoch_s", "epoch_ms", "epoch_us", "epoch_ns", "excel"])
def test_numbers_that_are_no_times_are_absurd(far: float, time_format: str | None, tmp_path: Path):
    near = (
        45306
        if time_format == "excel"
        else 1_705_276_800 * {"epoch_ms": 10**3, "epoch_us": 10**6, "epoch_ns": 10**9}.get(str(time_format), 1)
    )
    frame = pd.DataFrame({"id": 1, "when": [near] * 3 + [far]})
    store = stored(frame, tmp_path, time_format=time_format, max_quarantined=1)
    assert store.counts["quarantine_reasons"] == {"absurd time": 1}


def test_decimals_are_epochs_too(tmp_path: Path):
    for number, kind in enumerate((pa.decimal128(18, 2), pa.decimal128(38, 9))):
        when = pa.array([decimal.Decimal("1672531200.5")], kind)
        store = stored(when, tmp_path / str(number))
        assert store.time.tolist() == [1_672_531_200_500_000]
