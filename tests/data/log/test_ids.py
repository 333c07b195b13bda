"""Ids are one rule through CSV, Parquet, SQLite and frames: text as written, whole numbers as such, nobody is null."""

from __future__ import annotations

import decimal
import sqlite3
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from clm_dl.data.ids import MISSING_WORDS, lookup
from clm_dl.data.log.prepare import prepare_store
from clm_dl.data.store.store import EventStore

ROLES = {"customer": "id", "time": "when"}
DAY = "2024-01-15"


def stored(folder: Path, ids: Any, how: str = "frame", **data: Any) -> EventStore:
    """The store of a log with these customers, each on a day of its own, through one kind of source."""
    days = pd.date_range(DAY, periods=len(ids)).strftime("%Y-%m-%d")
    frame = pd.DataFrame({"id": ids, "when": days})
    if how == "csv":
        frame.to_csv(folder / "log.csv", index=False)
        source: dict[str, Any] = {"path": str(folder / "log.csv")}
    elif how == "parquet":
        frame.to_parquet(folder / "log.parquet")
        source = {"path": str(folder / "log.parquet")}
    else:
        source = {"frame": frame}
    return prepare_store({**source, "roles": ROLES, **data}, folder / "store")


@pytest.mark.parametrize("how", ["csv", "parquet", "frame"])
@pytest.mark.parametrize(
    ("ids", "wanted"),
    [
        ([3, 17850, -1], [-1, 3, 17850]),
        ([17850.0, np.nan, 3.0], [3, 17850]),
        ([2.5, 3.0], ["2.5", "3"]),
        (np.array([2**63 + 5, 7], np.uint64), ["7", str(2**63 + 5)]),
        (np.array([8, 7], np.uint64), [7, 8]),
        (["007", "7", "12"], ["007", "12", "7"]),
        (["a", " ", "", None, "b"], ["a", "b"]),
        ([True, False], ["False", "True"]),
        ([decimal.Decimal("17850.00"), decimal.Decimal("4.00")], [4, 17850]),
        (["x", *MISSING_WORDS], ["x"]),
        (["ä", "nancy", "NULLA", "none of your business", "Nana"], None),
    ],
)
def test_ids_are_the_same_from_every_source(ids: Any, wanted: list[Any] | None, how: str, tmp_path: Path):
    store = stored(tmp_path, ids, how)
    found = store.customer_ids.tolist()
    assert found == (sorted(ids) if wanted is None else wanted)
    lost = len(ids) - len(found)
    assert store.counts["quarantine_reasons"] == ({"missing customer": lost} if lost else {})


def test_ids_of_a_database_are_those_of_a_csv(tmp_path: Path):
    with sqlite3.connect(tmp_path / "log.db") as database:
        frame = pd.DataFrame({"id": [17850.0, None, 3.0], "when": [DAY] * 3})
        frame.to_sql("events", database, index=False)
    database.close()
    data = {"path": f"sqlite:///{tmp_path}/log.db", "table": "events", "roles": ROLES}
    assert prepare_store(data, tmp_path / "store").customer_ids.tolist() == [3, 17850]


id_text = st.text(st.characters(codec="utf-8", exclude_categories=("C", "Z")), min_size=1, max_size=6)


@settings(max_examples=8, deadline=None)
@given(
    ids=st.lists(
        st.one_of(id_text, st.integers(-(10**20), 10**20).map(str), st.sampled_from(MISSING_WORDS)),
        min_size=1,
        max_size=8,
    )
)
def test_text_ids_stay_as_they_are_written(ids: list[str]):
    people = {word for word in ids if word not in MISSING_WORDS}
    with tempfile.TemporaryDirectory() as name:
        frame = pa.table({"id": pa.array(ids, pa.string()), "when": [DAY] * len(ids)})
        if not people:
            with pytest.raises(ValueError, match="missing customer"):
                prepare_store({"frame": frame, "roles": ROLES}, Path(name) / "store")
            return
        store = prepare_store({"frame": frame, "roles": ROLES}, Path(name) / "store")
        found = {str(known) for known in store.customer_ids}
    assert found == people
    assert store.counts["kept"] + store.counts["quarantined"] == len(ids)


def test_the_two_ways_to_write_a_number_in_a_csv_are_one_customer(tmp_path: Path):
    (tmp_path / "log.csv").write_text("id,when\n5.0,2024-01-15\n5,2024-01-16\nA,2024-01-17\n05,2024-01-18\n")
    store = prepare_store({"path": str(tmp_path / "log.csv"), "roles": ROLES}, tmp_path / "store")
    assert store.customer_ids.tolist() == ["05", "5", "A"]
    assert np.diff(store.offsets).tolist() == [1, 2, 1]


def test_words_for_missing_are_values_of_a_category(tmp_path: Path):
    (tmp_path / "log.csv").write_text("id,when,sku,country,plan\n1,2024-01-15,NA,NA,None\n1,2024-01-16,null,, \n")
    data = {"path": str(tmp_path / "log.csv"), "roles": {**ROLES, "item": "sku"}, "categorical": ["country", "plan"]}
    store = prepare_store(data, tmp_path / "store")
    assert store.dictionary("item").tolist() == ["NA", "null"]
    assert store.dictionary("country").tolist() == ["NA"]
    assert store.dictionary("plan").tolist() == ["None"]
    assert store.column("plan").tolist() == [0, -1]


@pytest.mark.parametrize("keys", [["5", "7"], [5, 7], [5.0, 7.0], ["5.0", "7.0"]])
@pytest.mark.parametrize("how", ["csv", "parquet"])
def test_joins_find_numbers_however_they_are_written(keys: list[Any], how: str, tmp_path: Path):
    table = pd.DataFrame({"sku": keys, "brand": ["acme", "other"]})
    if how == "csv":
        table.to_csv(tmp_path / "items.csv", index=False)
    else:
        table.to_parquet(tmp_path / "items.parquet")
    (tmp_path / "log.csv").write_text("id,when,sku\n1,2024-01-15,5.0\n1,2024-01-16,7\n1,2024-01-17,9\n")
    said: list[str] = []
    data = {"path": str(tmp_path / "log.csv"), "roles": {**ROLES, "item": "sku"}, "categorical": ["brand"]}
    joins = [{"path": str(tmp_path / f"items.{how}"), "on": "sku"}]
    store = prepare_store({**data, "joins": joins}, tmp_path / "store", log=said.append)
    typed_text = how == "parquet" and keys == ["5.0", "7.0"]  # text of a file with types is no number
    assert store.dictionary("item").tolist() == ["5", "7", "9"]
    assert store.column("brand").tolist() == ([-1, -1, -1] if typed_text else [0, 1, -1])
    assert any(f"{0 if typed_text else 2} of 3 lines of the log find their sku" in line for line in said)


def test_customers_that_a_table_lacks_are_counted(tmp_path: Path):
    table = pd.DataFrame({"id": [1.0, 3.0, np.nan], "age": [30, 40, 50]})
    said: list[str] = []
    data = {"joins": [{"frame": table, "on": "id", "to": "customer"}]}
    frame = pd.DataFrame({"id": [1, 2, 3], "when": [DAY] * 3})
    store = prepare_store({"frame": frame, "roles": ROLES, **data}, tmp_path / "store", log=said.append)
    assert store.static["age"].tolist()[::2] == [30, 40]
    assert np.isnan(store.static["age"][1])
    assert any("2 of 3 customers of the log are in it" in line for line in said)


def test_looking_up_takes_ids_as_written_and_whole_floats_as_numbers():
    known = np.array([7, 17850])
    assert lookup(known, [7, "7", 7.0, "17850.0", "007", None, 8]).tolist() == [0, 0, 0, 1, -1, -1, -1]
    assert lookup(np.array(["007", "7.0", "NA"], object), ["007", 7, "7.0", 7.0, "NA"]).tolist() == [0, -1, 1, -1, 2]
    rng = np.random.default_rng(0)
    words = np.array(sorted(set(rng.integers(0, 10**6, 300).astype(str))), object)
    assert (lookup(words, words[::-1]) == np.arange(len(words))[::-1]).all()


def test_quarantined_customers_are_kept_aside(tmp_path: Path):
    store = stored(tmp_path, ["NULL", "a", "nan"], "csv")
    aside = pq.read_table(store.path / "quarantine.parquet").to_pandas()
    assert sorted(aside["id"]) == ["NULL", "nan"]
    assert set(aside["reason"]) == {"missing customer"}


@pytest.mark.parametrize(
    ("first", "second", "wanted"),
    [
        ([9007199254740993, 8], [7.0, 8.0], ["7", "8", "9007199254740993"]),
        ([5, 8], [7.0, None], [5, 7, 8]),
        ([7.0, 8.0], ["007", "7.0"], ["007", "7", "7.0", "8"]),
        ([7, 8], ["007", "7.0"], ["007", "7", "7.0", "8"]),
        (np.array([2**64 - 1], np.uint64), [7], ["18446744073709551615", "7"]),
        ([True], ["x"], ["True", "x"]),
    ],
)
def test_files_of_one_folder_keep_their_ids(first: list[Any], second: list[Any], wanted: list[Any], tmp_path: Path):
    (tmp_path / "log").mkdir()
    for name, ids in (("a", first), ("b", second)):
        pq.write_table(pa.table({"id": ids, "when": [DAY] * len(ids)}), tmp_path / "log" / f"{name}.parquet")
    data = {"path": str(tmp_path / "log"), "roles": ROLES, "max_quarantined": 1, "tie": "file"}
    assert prepare_store(data, tmp_path / "store").customer_ids.tolist() == wanted


@pytest.mark.parametrize("other", ["csv", "integers", "floats"])
def test_typed_text_stays_as_it_is_written_whatever_lies_beside_it(other: str, tmp_path: Path):
    pq.write_table(pa.table({"id": ["7.0", "8"], "sku": ["1.0", "1"], "when": [DAY] * 2}), tmp_path / "text.parquet")
    (tmp_path / "b.csv").write_text(f"id,sku,when\n9.0,2.0,{DAY}\n8.0,1.0,{DAY}\n")
    numbers = np.array([9, 8], float if other == "floats" else int)
    pq.write_table(pa.table({"id": numbers, "sku": numbers - 7, "when": [DAY] * 2}), tmp_path / "b.parquet")
    sources = [
        {"name": name, "path": str(tmp_path / name)}
        for name in ("text.parquet", "b.csv" if other == "csv" else "b.parquet")
    ]
    store = prepare_store({"sources": sources, "roles": {**ROLES, "item": "sku"}}, tmp_path / "store")
    assert store.customer_ids.tolist() == ["7.0", "8", "9"]
    assert store.dictionary("item").tolist() == ["1", "1.0", "2"]


def test_floats_beyond_int64_are_text(tmp_path: Path):
    store = stored(tmp_path, [1e20, 7.0, 8.5])
    assert store.customer_ids.tolist() == ["100000000000000000000", "7", "8.5"]
