"""Columns may be called anything: no name of a user's meets one of ours; a name that is there twice is refused."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from clm_dl.data.log.prepare import prepare_store
from clm_dl.data.log.roles import RESERVED

OURS = (
    *(
        "customer_id",
        "customer_key",
        "customer",
        "time",
        "local",
        "reason",
        "row",
        "rows",
        "file_row",
        "log_row",
        "order",
    ),
    *(
        "item_key",
        "line_key",
        "index",
        "value",
        "code",
        "day",
        "key",
        "source",
        "newest",
        "visit",
        "c0",
        "f0",
        "s0",
        "text",
    ),
    *(
        "number",
        "at",
        "level_0",
        "Customer_ID",
        "REASON",
        "__index_level_0__",
        "rowid",
        "select",
        "column0",
        "duplicates",
    ),
)
anything = st.text(
    st.characters(codec="utf-8", exclude_categories=("Cs",), exclude_characters="\0/"), min_size=1, max_size=8
)
names = st.one_of(st.sampled_from(OURS), anything)


@settings(max_examples=6, deadline=None)
@given(
    columns=st.lists(names, min_size=4, max_size=7, unique=True),
    text=st.booleans(),
    how=st.sampled_from(["frame", "parquet", "csv"]),
)
@example(columns=["reason", "local", "customer_id", "time", "customer_key"], text=True, how="csv")
@example(columns=["customer_id", "index", "Index", "INDEX"], text=False, how="parquet")
@example(columns=["time", "customer", "row", "file_row", "f0", "c0"], text=False, how="frame")
def test_columns_of_any_name_are_stored_as_any_other(columns: list[str], text: bool, how: str):
    who, when, *more = columns
    more = [name for name in more if name not in RESERVED]
    half = len(more) // 2
    rng = np.random.default_rng(0)
    frame = pd.DataFrame({name: [f"v{i}" for i in rng.integers(0, 9, 40)] for name in columns})
    frame[who] = [f"h{i}" if text else i for i in rng.integers(0, 5, 40)]
    frame[when] = pd.date_range("2024-01-01", periods=40)
    for name in more[:half]:
        frame[name] = rng.integers(0, 99, 40)
    roles = {"customer": who, "time": when}
    data = {"roles": roles, "numeric": more[:half], "categorical": more[half:], "static": []}
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / f"log.{how}"
        if how == "csv":
            if any(set(name) & set("\r\n\",;|\t\ufeff' ") or not name.isprintable() for name in columns):
                how = "frame"
            frame.to_csv(file, index=False)
        elif how == "parquet":
            frame.to_parquet(file, index=False)
        source = {"frame": frame} if how == "frame" else {"path": str(file)}
        store = prepare_store({**data, **source}, Path(folder) / "store")
        order = frame.sort_values([who, when], kind="stable")
        assert np.repeat(store.customer_ids, np.diff(store.offsets)).tolist() == order[who].tolist()
        for name in more[:half]:
            assert np.asarray(store.column(name)).tolist() == order[name].tolist()
        for name in more[half:]:
            assert store.dictionary(name)[store.column(name)].tolist() == order[name].tolist()


@pytest.mark.parametrize("how", ["csv", "parquet", "frame", "arrow"])
def test_a_column_that_is_there_twice_is_refused_by_name_where_it_is_used(how: str, tmp_path: Path):
    table = pa.Table.from_arrays(
        [pa.array([1, 2]), pa.array([5, 6]), pa.array([7, 8]), pa.array([9, 9])], ["id", "when", "n", "n"]
    )
    if how == "csv":
        (tmp_path / "log.csv").write_text("id,when,n,n\n1,5,7,9\n2,6,8,9\n")
    elif how == "parquet":
        pq.write_table(table, tmp_path / "log.parquet")
    source = {"path": str(tmp_path / f"log.{how}")} if how in ("csv", "parquet") else {"frame": table}
    if how == "frame":
        source = {"frame": pd.DataFrame([[1, 5, 7, 9], [2, 6, 8, 9]], columns=["id", "when", "n", "n"])}
    data = {**source, "roles": {"customer": "id", "time": "when"}}
    with pytest.raises(ValueError, match=r"column 'n' is there twice in .*: rename one of the two"):
        prepare_store({**data, "numeric": ["n"]}, tmp_path / "store")
    assert prepare_store(data, tmp_path / "store").num_events == 2


def test_case_tells_two_columns_apart(tmp_path: Path):
    (tmp_path / "log.csv").write_text("id,When,when,ID\n1,2024-01-15,2025-01-15,9\n")
    data = {"path": str(tmp_path / "log.csv"), "numeric": ["ID"]}
    store = prepare_store({**data, "roles": {"customer": "id", "time": "when"}}, tmp_path / "store")
    assert store.time.astype("datetime64[us]").astype(str).tolist() == ["2025-01-15T00:00:00.000000"]
    assert (store.customer_ids.tolist(), store.column("ID").tolist()) == ([1], [9.0])


def test_a_name_that_no_file_can_have_is_refused(tmp_path: Path):
    frame = pd.DataFrame({"id": [1], "when": [5], "x" * 250: [1.0]})
    with pytest.raises(ValueError, match="cannot be stored under that name"):
        prepare_store(
            {"frame": frame, "roles": {"customer": "id", "time": "when"}, "numeric": ["x" * 250]}, tmp_path / "store"
        )


def test_the_quarantine_keeps_columns_called_as_its_own(tmp_path: Path):
    frame = pd.DataFrame({"id": ["a", None], "when": ["2024-01-15"] * 2, "reason": ["x", "y"], "source": ["s", "t"]})
    store = prepare_store({"frame": frame, "roles": {"customer": "id", "time": "when"}}, tmp_path / "store")
    (row,) = pq.read_table(store.path / "quarantine.parquet").to_pylist()
    assert row == {
        "id": None,
        "when": "2024-01-15",
        "reason_2": "y",
        "source_2": "t",
        "source": "source0",
        "reason": "missing customer",
    }


@pytest.mark.parametrize(
    "change", [{"numeric": ["long"]}, {"roles": {"customer": "who", "time": "day", "amount": "long"}}]
)
def test_a_column_of_a_type_that_cannot_be_is_called_by_its_name(change: dict[str, Any], tmp_path: Path) -> None:
    frame = pd.DataFrame({"who": ["a"], "day": ["2024-01-01"], "long": pd.to_timedelta([1], unit="D")})
    data = {"frame": frame, "roles": {"customer": "who", "time": "day"}}
    with pytest.raises(ValueError, match=r"^column 'long' of the pandas table is of type .* cannot be numeric"):
        prepare_store({**data, **change}, tmp_path / "store")
    with pytest.raises(ValueError, match=r"^column 'long' of the pandas table is of type .* cannot be a time"):
        prepare_store({**data, "roles": {"customer": "who", "time": "long"}}, tmp_path / "store")
