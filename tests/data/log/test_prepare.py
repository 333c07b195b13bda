"""Prepare against a plain-Python reference, and the rules of quarantine, order, joins, zones and staleness."""

from __future__ import annotations

import datetime
import errno
import math
import tempfile
from pathlib import Path

import duckdb
import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from clm_dl.data.log import encode
from clm_dl.data.log.fingerprint import source_fingerprint
from clm_dl.data.log.prepare import prepare_store
from clm_dl.data.open import ensure_store
from clm_dl.data.store.store import EventStore

ROLES = {"customer": "id", "time": "when"}
UTC = datetime.UTC


def micros(text: str) -> int:
    return int(np.datetime64(text, "us").astype(np.int64))


def table(**columns) -> pa.Table:
    return pa.table(columns)


def files(path: Path) -> dict[str, bytes]:
    return {
        file.name: file.read_bytes() for file in path.iterdir() if file.name not in ("meta.json", "quarantine.parquet")
    }


# -- a reference in plain Python

row = st.fixed_dictionaries(
    {
        "id": st.sampled_from(["b", "a", "ab", "B", "é", " ", "", None]),
        "when": st.sampled_from(
            [
                "2020-01-01",
                "2020-01-01 10:00:00",
                "2020-01-02T03:04:05.25",
                "1899-12-31",
                "2300-01-01",
                "soon",
                "",
                None,
            ]
        ),
        "basket": st.sampled_from(["x", "y", None]),
        "item": st.sampled_from(["milk", "Milk", "bread", None]),
        "spend": st.sampled_from(["1", "2.5", "-0.0", "0", "3e12", "3e18", "1e40", "inf", "nan", "many", "", None]),
        "n": st.sampled_from(["3", "4", "inf", "nan", "x", None]),
    }
)


def reference(rows: list[dict], dedupe: bool):
    """Kept events as sorted tuples, and rows by reason."""
    kept, reasons, seen, duplicates = [], {}, set(), 0
    for one in rows:
        reason = None
        try:
            time = datetime.datetime.fromisoformat(one["when"] or "")
        except ValueError:
            time = None
        if not (one["id"] or "").strip():
            reason = "missing customer"
        elif time is None:
            reason = "unparseable time"
        elif not 1900 <= time.year <= 2200:
            reason = "absurd time"
        values = {}
        for name, text in (("amount", one["spend"]), ("n", one["n"])):
            if not text:
                values[name] = None
                continue
            try:
                value = float(text)
            except ValueError:
                reason = reason or f"{name} of the wrong type"
                continue
            if name == "n" and math.isnan(value):
                value = None
            elif not math.isfinite(np.float32(value) if abs(value) < 3e38 else math.inf):
                reason = reason or f"non-finite {name}"
            elif name == "amount" and abs(value) > 1e18:
                reason = reason or "absurd amount"
            values[name] = value
        if reason is not None:
            reasons[reason] = reasons.get(reason, 0) + 1
            continue
        key = tuple(one.values())
        if dedupe and key in seen:
            duplicates += 1
            continue
        seen.add(key)
        time_us = round((time - datetime.datetime(1970, 1, 1)) / datetime.timedelta(microseconds=1))
        kept.append((one["id"], time_us, one["basket"], one["item"], values["amount"], values["n"]))
    kept.sort(key=lambda event: [(0, 0) if value is None else (1, value) for value in event])
    return kept, reasons, duplicates


@settings(max_examples=6, deadline=None)
@given(rows=st.lists(row, min_size=1, max_size=40), dedupe=st.booleans())
def test_prepare_equals_a_plain_python_reference(rows: list[dict], dedupe: bool):
    columns = {name: pa.array([one[name] for one in rows], pa.string()) for name in rows[0]}
    roles = {**ROLES, "order": "basket", "item": "item", "amount": "spend"}
    data = {"frame": pa.table(columns), "roles": roles, "numeric": ["n"], "dedupe": dedupe}
    kept, reasons, duplicates = reference(rows, dedupe)
    with tempfile.TemporaryDirectory() as folder:
        if not kept:
            with pytest.raises(ValueError, match="were quarantined"):
                prepare_store(data, Path(folder) / "store")
            return
        store = prepare_store(data, Path(folder) / "store")
        counts = store.counts
        assert counts["quarantine_reasons"] == reasons
        assert (counts["rows_in"], counts["kept"], counts["duplicates"]) == (len(rows), len(kept), duplicates)
        assert counts["rows_in"] == counts["kept"] + counts["quarantined"] + counts["duplicates"]
        aside = pq.read_table(store.path / "quarantine.parquet")["reason"].to_pylist()
        assert {reason: aside.count(reason) for reason in aside} == reasons
        ids = sorted({event[0] for event in kept})
        assert store.customer_ids.tolist() == ids
        assert store.offsets.tolist() == [sum(event[0] < name for event in kept) for name in ids] + [len(kept)]
        assert store.time.tolist() == [event[1] for event in kept]
        assert store.order_start.tolist() == [i == 0 or kept[i][:3] != kept[i - 1][:3] for i in range(len(kept))]
        items = store.dictionary("item")
        assert items.tolist() == sorted({event[3] for event in kept if event[3] is not None})
        assert [None if code < 0 else items[code] for code in store.column("item")] == [event[3] for event in kept]
        for name, position in (("amount", 4), ("n", 5)):
            wanted = np.array(
                [math.nan if event[position] is None else event[position] for event in kept], dtype=np.float32
            )
            np.testing.assert_array_equal(store.column(name), wanted)


# -- quarantine


def test_quarantined_rows_are_kept_aside_with_their_reason(tmp_path: Path):
    frame = table(
        id=["a", None, " ", "b"], when=["2020-01-01", "2020-01-01", "2020-01-02", "never"], note=["w", "x", "y", "z"]
    )
    store = prepare_store({"frame": frame, "roles": ROLES}, tmp_path / "store")
    aside = pq.read_table(store.path / "quarantine.parquet").to_pandas().sort_values("note")
    assert aside["note"].tolist() == ["x", "y", "z"]
    assert aside["reason"].tolist() == ["missing customer", "missing customer", "unparseable time"]


def test_rows_of_another_shape_are_quarantined(tmp_path: Path):
    lines = [f"c{i % 5},2020-01-{i + 1:02d},{i}" for i in range(25)]
    (tmp_path / "log.csv").write_text("\n".join(["id,when,n", *lines, "c1,2020-01-30,1,too,many", "c2"]) + "\n")
    lines_seen: list[str] = []
    store = prepare_store(
        {"path": str(tmp_path / "log.csv"), "roles": ROLES, "numeric": ["n"]}, tmp_path / "store", log=lines_seen.append
    )
    assert (store.counts["rows_in"], store.counts["kept"]) == (27, 25)
    assert store.counts["quarantine_reasons"] == {"row of the wrong shape": 2}
    assert "c1,2020-01-30,1,too,many" in pq.read_table(store.path / "quarantine.parquet")["row"].to_pylist()
    assert any("27 rows in = 25 kept + 2 quarantined" in line for line in lines_seen)


def test_more_quarantined_rows_than_allowed_are_an_error_with_examples(tmp_path: Path):
    frame = table(id=["a"] * 9 + [None], when=["2020-01-01"] * 8 + ["soon", "2020-01-02"])
    data = {"frame": frame, "roles": ROLES}
    words = (
        r"2 of 10 rows of .* \(missing customer: 1, unparseable time: 1\), such as unparseable time 'soon'; that is "
        r"more than data.max_quarantined=0.1: check data.roles \(set data.time_format\?\), or allow it by"
    )
    with pytest.raises(ValueError, match=words):
        prepare_store({**data, "max_quarantined": 0.1}, tmp_path / "store")
    assert not (tmp_path / "store").exists()
    assert prepare_store({**data, "max_quarantined": 0.2}, tmp_path / "store").counts["quarantined"] == 2


# -- order of events


def test_the_order_of_rows_does_not_matter(tmp_path: Path):
    rng = np.random.default_rng(0)
    frame = pd.DataFrame(
        {
            "id": rng.integers(0, 9, 300),
            "when": pd.Timestamp("2020-01-01") + pd.to_timedelta(rng.integers(0, 5, 300), unit="D"),
            "item": rng.choice(["a", "b", None], 300),
            "spend": rng.choice([0.0, -0.0, 1.0, 1.0 + 1e-12], 300),
            "basket": rng.integers(0, 3, 300),
        }
    )
    data = {"roles": {**ROLES, "item": "item", "amount": "spend", "order": "basket"}}
    one = prepare_store({**data, "frame": frame}, tmp_path / "one")
    two = prepare_store({**data, "frame": frame.sample(frac=1, random_state=1)}, tmp_path / "two")
    assert files(one.path) == files(two.path)


def test_tie_file_keeps_the_order_of_the_file(tmp_path: Path):
    items = ["z", "a", "m", "b", "y", "c"]
    pd.DataFrame({"id": [1, 2, 1, 1, 2, 1], "when": [5, 5, 5, 5, 5, 3], "item": items}).to_csv(
        tmp_path / "log.csv", index=False
    )
    data = {"path": str(tmp_path / "log.csv"), "roles": {**ROLES, "item": "item"}}
    found = {}
    for tie in ("file", "sort"):
        store = prepare_store({**data, "tie": tie}, tmp_path / tie)
        found[tie] = "".join(store.dictionary("item")[store.column("item")])
    assert found == {"file": "czmbay", "sort": "cbmzay"}


def test_exact_duplicates_are_dropped_only_if_asked(tmp_path: Path):
    frame = table(id=[1, 1, 1], when=[7, 7, 7], n=[2.0, 2.0, 3.0])
    data = {"frame": frame, "roles": ROLES, "numeric": ["n"]}
    assert prepare_store(data, tmp_path / "all").counts["duplicates"] == 0
    for tie in ("sort", "file"):
        store = prepare_store({**data, "dedupe": True, "tie": tie}, tmp_path / tie)
        assert (store.counts["kept"], store.counts["duplicates"]) == (2, 1)
        assert store.column("n").tolist() == [2.0, 3.0]


@pytest.mark.parametrize("tie", ["sort", "file"])
def test_exact_repeats_are_counted_and_said(tie: str, tmp_path: Path):
    said: list[str] = []
    lines = [("a", "2020-01-01", 1, "x")] * 3 + [("a", "2020-01-01", 1, "y"), ("b", "2020-01-01", 1, "x")] * 2
    lines += [("c", f"2020-01-{i + 1:02d}", None, "z") for i in range(20)]
    frame = pd.DataFrame(lines, columns=["id", "when", "n", "note"])
    data = {"frame": frame, "roles": ROLES, "numeric": ["n"], "tie": tie}
    store = prepare_store(data, tmp_path / "store", log=said.append)
    assert (store.counts["duplicates"], store.counts["repeats"], store.counts["kept"]) == (0, 4, 27)
    assert any("4 kept rows repeat another exactly (data.dedupe=true drops them)" in line for line in said)
    dropped = prepare_store({**data, "dedupe": True}, tmp_path / "store")
    assert (dropped.counts["duplicates"], dropped.counts["repeats"], dropped.counts["kept"]) == (4, 0, 23)


def test_the_first_of_duplicates_keeps_its_place_in_the_file(tmp_path: Path):
    items = ["z", "a", "z", "m", "a", "b"]
    pd.DataFrame({"id": 1, "when": 5, "item": items}).to_csv(tmp_path / "log.csv", index=False)
    data = {"path": str(tmp_path / "log.csv"), "roles": {**ROLES, "item": "item"}, "dedupe": True, "tie": "file"}
    store = prepare_store(data, tmp_path / "store")
    assert "".join(store.dictionary("item")[store.column("item")]) == "zamb"


# -- time


@pytest.mark.parametrize(
    ("values", "options", "wanted"),
    [
        (
            ["2020-07-01 12:00", "2020-01-01 12:00"],
            {"timezone": "Europe/Berlin"},
            ["2020-01-01T11:00", "2020-07-01T10:00"],
        ),
        (
            ["2020-07-01T12:00:00+02:00", "2020-07-01 12:00:00Z"],
            {"timezone": "Asia/Tokyo"},
            ["2020-07-01T10:00", "2020-07-01T12:00"],
        ),
        ([1577836800, 1577836801], {}, ["2020-01-01T00:00", "2020-01-01T00:00:01"]),
        ([1577836800000, 1577836800001], {}, ["2020-01-01T00:00", "2020-01-01T00:00:00.001"]),
        (["1577836800", "2020-01-01 00:00:01"], {}, ["2020-01-01T00:00", "2020-01-01T00:00:01"]),
        ([20200101, 20200229], {"time_format": "%Y%m%d"}, ["2020-01-01", "2020-02-29"]),
        (
            ["31/12/2019 08:26", "1/2/2020 1:05"],
            {"time_format": "%d/%m/%Y %H:%M"},
            ["2019-12-31T08:26", "2020-02-01T01:05"],
        ),
        ([datetime.date(2020, 1, 1), datetime.date(2020, 2, 1)], {}, ["2020-01-01", "2020-02-01"]),
        (
            [datetime.datetime(2020, 1, 1, tzinfo=datetime.timezone(datetime.timedelta(hours=2)))],
            {},
            ["2019-12-31T22:00"],
        ),
        (pa.array([1577836800_000000001], pa.timestamp("ns")), {}, ["2020-01-01"]),
    ],
)
def test_times_become_utc(values, options: dict, wanted: list[str], tmp_path: Path):
    store = prepare_store(
        {"frame": table(id=[1] * len(values), when=values), "roles": ROLES, **options}, tmp_path / "store"
    )
    assert store.time.tolist() == [micros(text) for text in wanted]


@pytest.mark.parametrize(
    ("values", "options", "end"),
    [
        (["2020-01-01", "2020-01-05"], {}, "2020-01-06"),
        (["2020-01-01", "2020-01-05 00:00:01"], {}, "2020-01-05T00:00:01"),
        (["2020-03-28", "2020-03-29"], {"timezone": "Europe/Berlin"}, "2020-03-29T22:00"),  # a day of 23 hours
        (["2020-01-01"], {"end": "2020-02-01"}, "2020-02-01"),
        (["2020-01-01"], {"end": 20200201, "timezone": "Europe/Berlin"}, "2020-01-31T23:00"),
        (["2020-01-01"], {"end": 1_580_515_200_000_000}, "2020-02-01"),
    ],
)
def test_the_end_of_the_data(values: list[str], options: dict, end: str, tmp_path: Path):
    store = prepare_store(
        {"frame": table(id=[1] * len(values), when=values), "roles": ROLES, **options}, tmp_path / "store"
    )
    assert store.end == micros(end)


@pytest.mark.parametrize("zone", ["Europe/Berlin", "America/Santiago"])  # in Santiago clocks skip the last midnight
def test_midnights_of_a_zone_end_the_data_however_they_are_written(zone: str, tmp_path: Path):
    days = pd.Series(["2024-09-06", "2024-09-07", "2024-09-08"])
    moments = pd.to_datetime(days).dt.tz_localize(zone, nonexistent="shift_forward")
    utc = moments.dt.tz_convert("UTC")
    ways = [days, moments, moments.astype(str), utc.dt.strftime("%Y-%m-%dT%H:%MZ"), utc.dt.as_unit("s").astype("int64")]
    ways += [moments.dt.strftime("%d.%m.%Y %H:%M %z")]
    for number, when in enumerate(ways):
        data = {"roles": ROLES, "timezone": zone, "time_format": "%d.%m.%Y %H:%M %z" if number == 5 else None}
        frame = pd.DataFrame({"id": 1, "when": when})
        store = prepare_store({"frame": frame, **data}, tmp_path / f"store{number}")
        assert store.end == pd.Timestamp("2024-09-09", tz=zone).value // 1000, when
    late = pd.DataFrame({"id": 1, "when": pd.to_datetime(["2024-09-06", "2024-09-07"], utc=True)})  # not of the zone
    store = prepare_store({"frame": late, "roles": ROLES, "timezone": zone}, tmp_path / "late")
    assert store.end == micros("2024-09-07")


def test_before_reads_nothing_later(tmp_path: Path):
    early = {"id": ["a", "b"], "when": ["2020-01-01 01:00", "2020-01-02"], "item": ["x", "y"], "spend": [1.0, 2.0]}
    late = {
        "id": ["a", None, "c"],
        "when": ["2020-01-03", "2020-01-04", "2020-01-05"],
        "item": ["z", "q", "x"],
        "spend": [9.0, math.inf, 1.0],
    }
    data = {"roles": {**ROLES, "item": "item", "amount": "spend"}}
    both = table(**{name: early[name] + late[name] for name in early})
    cut = prepare_store({**data, "frame": both}, tmp_path / "cut", before=micros("2020-01-03"))
    alone = prepare_store({**data, "frame": table(**early)}, tmp_path / "alone")
    assert files(cut.path) == files(alone.path)
    assert (cut.counts, cut.end) == (alone.counts, alone.end)
    ended = prepare_store({**data, "frame": both, "end": "2020-02-01"}, tmp_path / "ended", before=micros("2020-01-03"))
    assert ended.end == micros("2020-01-03")
    with pytest.raises(ValueError, match="no events before the cutoff"):
        prepare_store({**data, "frame": both}, tmp_path / "none", before=micros("2019-01-01"))


# -- joins and several sources


def test_numbers_of_a_joined_table_that_are_none_are_counted(tmp_path: Path):
    frame = pd.DataFrame({"id": [1, 1, 2], "when": [1, 2, 3], "sku": ["a", "b", "c"]})
    for prices in (["cheap", "2.5", ""], [np.inf, 2.5, None]):
        items = pd.DataFrame({"sku": ["a", "b", "c"], "price": prices})
        data = {
            "frame": frame,
            "roles": {**ROLES, "item": "sku"},
            "numeric": ["price"],
            "joins": [{"frame": items, "on": "sku"}],
        }
        said: list[str] = []
        store = prepare_store(data, tmp_path / "store", log=said.append)
        assert [line for line in said if "1 values of price are no finite numbers and count as missing" in line]
        np.testing.assert_array_equal(store.column("price"), [np.nan, 2.5, np.nan])


def test_a_role_of_a_joined_table_is_read_as_that_role(tmp_path: Path):
    frame = pd.DataFrame({"id": [1, 1, 2], "when": [1, 2, 3], "sku": ["a", "b", "a"]})
    items = pd.DataFrame({"sku": ["a", "b"], "ends": ["true", "false"]})
    roles = {**ROLES, "item": "sku", "churn_event": "ends"}
    store = prepare_store(
        {"frame": frame, "roles": roles, "joins": [{"frame": items, "on": "sku"}]}, tmp_path / "store"
    )
    assert [float(value) for value in np.asarray(store.column("churn_event"))] == [1, 0, 1]


def test_joins_to_items_and_customers(tmp_path: Path):
    frame = table(id=[2, 1, 2], when=[1, 2, 3], sku=["001", "002", "009"], level=["old", "x", "new"])
    (tmp_path / "items.csv").write_text("sku,brand,price\n001,acme,1.5\n002,,bad\n003,other,2\n")
    customers = pd.DataFrame({"id": [2, 7], "age": ["45-54", "65+"], "kids": [1.0, 2.0]})
    joins = [
        {"path": str(tmp_path / "items.csv"), "on": "sku", "columns": ["brand", "price"], "to": "item"},
        {"frame": customers, "on": "id", "to": "customer"},
    ]
    data = {
        "frame": frame,
        "roles": {**ROLES, "item": "sku"},
        "categorical": ["brand"],
        "numeric": ["price"],
        "joins": joins,
    }
    store = prepare_store({**data, "static": ["age", "level"]}, tmp_path / "store")
    assert store.dictionary("brand").tolist() == ["acme"]
    assert store.column("brand").tolist() == [-1, 0, -1]
    np.testing.assert_array_equal(store.column("price"), np.array([np.nan, 1.5, np.nan], dtype=np.float32))
    assert list(store.static.columns) == ["age", "level"]
    assert store.static["age"].isna().tolist() == [True, False]
    assert store.static["age"][1] == "45-54"
    assert store.static["level"].tolist() == ["x", "new"]
    (tmp_path / "items.csv").write_text("sku,brand,price\n001,acme,1.5\n001,twice,2\n")
    with pytest.raises(ValueError, match=r"has 2 rows with sku = 001"):
        prepare_store(data, tmp_path / "store")
    with pytest.raises(ValueError, match=r"join column 'brnd' .*did you mean 'brand'"):
        prepare_store({**data, "joins": [{**joins[0], "columns": ["brnd"]}]}, tmp_path / "store")


def test_several_sources_become_one_sequence(tmp_path: Path):
    shop = {
        "name": "shop",
        "frame": table(card=[1, 2], day=["2020-01-01", "2020-01-03"], spend=[5.0, 6.0]),
        "categorical": [],
        "numeric": [],
    }
    shop["roles"] = {"customer": "card", "time": "day", "amount": "spend"}
    web = {
        "name": "web",
        "frame": table(id=["1", "3"], at=[1577923200, 1577923200], page=["home", "cart"]),
        "categorical": ["page"],
    }
    web["roles"] = {"customer": "id", "time": "at"}
    store = prepare_store({"sources": [shop, web]}, tmp_path / "store")
    assert store.customer_ids.tolist() == ["1", "2", "3"]
    assert store.dictionary("source")[store.column("source")].tolist() == ["shop", "web", "shop", "web"]
    assert [store.dictionary("page")[code] if code >= 0 else None for code in store.column("page")] == [
        None,
        "home",
        None,
        "cart",
    ]
    np.testing.assert_array_equal(store.column("amount"), np.array([5, np.nan, 6, np.nan], dtype=np.float32))


# -- staleness


def test_the_store_is_prepared_again_only_when_something_changed(tmp_path: Path):
    log = tmp_path / "log.csv"
    log.write_text("id,when,n\na,2020-01-01,1\n")
    data = {"path": str(log), "roles": ROLES}
    first = ensure_store(data, tmp_path / "store")
    made = (first.path / "meta.json").stat().st_mtime_ns
    assert (
        ensure_store({**data, "memory_limit": "1GB"}, tmp_path / "store").path.joinpath("meta.json").stat().st_mtime_ns
        == made
    )
    assert ensure_store({**data, "numeric": ["n"]}, tmp_path / "store").has("n")
    log.write_text("id,when,n\na,2020-01-01,1\nb,2020-01-01,1\n")
    assert ensure_store(data, tmp_path / "store").num_events == 2
    (EventStore(tmp_path / "store").path / "time.npy").write_bytes(b"")
    assert ensure_store(data, tmp_path / "store").num_events == 2
    frame = table(id=[1, 2], when=[1, 2])
    assert source_fingerprint({"frame": frame, "roles": ROLES}) == source_fingerprint(
        {"frame": table(id=[1, 2], when=[1, 2]), "roles": ROLES}
    )
    assert source_fingerprint({"frame": frame, "roles": ROLES}) != source_fingerprint(
        {"frame": table(id=[1, 2], when=[1, 3]), "roles": ROLES}
    )


# -- errors, one sentence each, nothing half-written


@pytest.mark.parametrize(
    ("frame", "change", "words"),
    [
        (
            table(id=["a"], wen=["2020-01-01"]),
            {},
            r"role column 'when' is not a column of .*did you mean 'wen'.*it has id, wen",
        ),
        (table(id=["a"], when=["2020-01-01"]), {"numeric": ["spend"]}, "column 'spend' is not a column of"),
        (table(id=["a"], when=["2020-01-01"]), {"static": ["age"]}, "static column 'age' is not a column of"),
        (table(id=pa.array([], pa.string()), when=pa.array([], pa.string())), {}, "has no events"),
        (
            table(id=["a", None], when=["soon", "2020-01-01"]),
            {},
            r"all 2 rows .* quarantined \(missing customer: 1, unparseable time: 1\)",
        ),
        (table(id=["a"], when=["2020-01-01"]), {"timezone": "Mars/Base"}, "unknown time zone 'Mars/Base'"),
        (table(id=["a"], when=["2020-01-01"]), {"end": "someday"}, "data.end must be a date"),
        (table(id=["a"], when=["2020-01-01"]), {"end": 2024}, "data.end must be a date"),
        (table(id=["a"], when=["2020-01-01"]), {"end": 2024.0}, "data.end must be a date"),
        (table(id=["a"], when=["2020-01-01"]), {"end": 20241301}, "data.end must be a date"),
        (table(id=["a"], when=["2020-01-01"]), {"numeric": ["when"]}, "were quarantined"),
        (table(id=["a"], when=[True]), {}, "cannot be a time"),
        (table(id=["a"], when=[1], d=[datetime.date(2020, 1, 1)]), {"numeric": ["d"]}, "cannot be numeric"),
        ({"id": [1]}, {}, "must be a pandas, Polars or Arrow table, got dict"),
    ],
)
def test_mistakes_are_one_sentence(frame, change: dict, words: str, tmp_path: Path):
    with pytest.raises(ValueError, match=words) as error:
        prepare_store({"frame": frame, "roles": ROLES, **change}, tmp_path / "store")
    assert "\n" not in str(error.value)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("text", ["", "id,when\n"])
def test_an_empty_file_is_said(text: str, tmp_path: Path):
    (tmp_path / "log.csv").write_text(text)
    with pytest.raises(ValueError, match=r"is empty|has no events"):
        prepare_store({"path": str(tmp_path / "log.csv"), "roles": ROLES}, tmp_path / "store")


@pytest.mark.parametrize(
    "fault", [OSError(errno.ENOSPC, "No space left on device"), duckdb.IOException("IO Error: No space left on device")]
)
def test_a_full_disk_is_one_sentence_and_keeps_the_old_store(
    fault: Exception, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    data = {"frame": table(id=[1], when=[1]), "roles": ROLES}
    prepare_store(data, tmp_path / "store")

    def full(self, block):
        raise fault

    monkeypatch.setattr(encode.ColumnFile, "append", full)
    with pytest.raises(OSError, match=r"disk full at .*store: free some space"):
        prepare_store({**data, "dedupe": True}, tmp_path / "store")
    monkeypatch.undo()
    store = ensure_store(data, tmp_path / "store")
    assert store.num_events == 1
    assert [file.name for file in tmp_path.rglob("*") if file.is_dir()] == ["store", store.fingerprint]


def test_a_log_that_changes_while_it_is_read_is_no_store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    log, append = tmp_path / "log.csv", encode.ColumnFile.append
    log.write_text("id,when\na,2020-01-01\n")

    def appended(self, block):
        append(self, block)
        log.write_text("id,when\na,2020-01-01\nb,2020-01-02\n")

    monkeypatch.setattr(encode.ColumnFile, "append", appended)
    with pytest.raises(ValueError, match=r"log\.csv changed while it was read: prepare it again"):
        prepare_store({"path": str(log), "roles": ROLES}, tmp_path / "store")
    monkeypatch.undo()
    assert prepare_store({"path": str(log), "roles": ROLES}, tmp_path / "store").num_events == 2


@pytest.mark.slow
def test_a_wide_log_of_text_is_prepared(tmp_path: Path) -> None:
    """Sixty numeric columns took the memory of a hundred times as many rows."""
    rng = np.random.default_rng(0)
    names = [f"x{number}" for number in range(60)]
    log = pd.DataFrame({"who": rng.integers(0, 9, 40), "when": "2024-01-01"} | {name: rng.random(40) for name in names})
    log.astype({"x59": object}).replace({"x59": {log["x59"][0]: "oops"}}).to_csv(tmp_path / "wide.csv", index=False)
    roles = {"customer": "who", "time": "when"}
    data = {"name": "wide", "path": str(tmp_path / "wide.csv"), "roles": roles, "numeric": names, "memory_limit": "1GB"}
    store = prepare_store(data, tmp_path / "store")
    assert store.counts["quarantine_reasons"] == {"x59 of the wrong type": 1}
    assert np.asarray(store.column("x7")).sum() == pytest.approx(log["x7"][1:].sum(), rel=1e-5)
