"""Customer attributes of an input are read as those that a run was trained on, whatever file they come from."""

from __future__ import annotations

import sqlite3
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from clm_dl.data.log.prepare import prepare_store
from clm_dl.data.store.attributes import attribute_values, attributes_at
from clm_dl.errors import UserError

ROLES = {"customer": "id", "time": "when"}
LOG = pd.DataFrame({"id": list("abcd"), "when": "2024-01-01"})
WRITTEN: dict[str, Any] = {
    "attributes": {"plan": ["007", "1", "2", "gold"], "vip": ["False", "True"], "age": None},
    "attribute_marks": {"age": [",", "."]},
}
NEW = pd.DataFrame({"plan": [1.0, 2.0, None, 2.0], "age": ["n/k", "2.345", None, "9"]})


def source(frame: pd.DataFrame, how: str, folder: Path, name: str) -> dict[str, Any]:
    if how == "frame":
        return {"frame": frame}
    if how == "sqlite":
        with sqlite3.connect(folder / "log.db") as database:
            frame.to_sql(name, database, index=False)
        return {"path": f"sqlite:///{folder}/log.db", "table": name}
    file = folder / f"{name}.{how}"
    frame.to_parquet(file) if how == "parquet" else frame.to_csv(file, index=False)
    return {"path": str(file)}


@pytest.mark.parametrize(
    ("how", "joined", "vip"),
    [
        ("csv", False, ["true", "FALSE", None, "True"]),
        ("parquet", False, [1, 0, None, 1]),
        ("frame", True, [True, False, None, True]),
        ("sqlite", False, [1, 0, None, 1]),
        ("sqlite", True, ["true", "false", None, "1"]),
    ],
)
def test_a_category_stays_text_and_a_number_is_one_or_missing(
    how: str, joined: bool, vip: list[Any], tmp_path: Path
) -> None:
    new, said = NEW.assign(vip=vip), list[str]()
    if joined:
        table = source(LOG[["id"]].join(new), how, tmp_path, "now")
        data = {"frame": LOG, "joins": [{**table, "on": "id", "to": "customer"}]}
    else:
        data = {**source(LOG.join(new), how, tmp_path, "now"), "static": list(new)}
    store = prepare_store({**data, "roles": ROLES}, tmp_path / "store", written=WRITTEN, log=said.append)
    found = {name: [None if pd.isna(value) else value for value in store.static[name]] for name in new}
    assert found == {
        "plan": ["1", "2", None, "2"],
        "age": [None, 2345, None, 9],
        "vip": ["True", "False", None, "True"],
    }
    [lost] = [line for line in said if line.startswith("note: ")]
    assert lost.startswith("note: 1 values of the customer attribute age in ")
    assert lost.endswith("are no numbers, such as 'n/k', and count as missing")


def test_marks_are_those_that_the_values_tell_before_those_of_training(tmp_path: Path) -> None:
    frame = LOG.assign(age=["1,234.5", "20.5", "True", "unknown"])
    data = {"frame": frame, "roles": ROLES, "static": ["age"]}
    ages = prepare_store(data, tmp_path / "store", written=WRITTEN).static["age"]
    assert ages.fillna(-1).tolist() == [1234.5, 20.5, 1, -1]


def test_a_date_is_no_number(tmp_path: Path) -> None:
    data = {"frame": LOG.assign(age=pd.Timestamp("2024-01-01")), "roles": ROLES, "static": ["age"]}
    with pytest.raises(UserError, match=r"is of type timestamp.* and the run was trained on numbers"):
        prepare_store(data, tmp_path / "store", written=WRITTEN)


def test_what_a_run_keeps_of_its_attributes(tmp_path: Path) -> None:
    log = pd.DataFrame({"id": range(1001), "when": "2024-01-01", "size": "1,5", "vip": "yes"})
    log.assign(mail=log["id"].map("m{}".format)).to_csv(tmp_path / "log.csv", index=False, sep=";")
    data = {"path": str(tmp_path / "log.csv"), "roles": ROLES, "static": ["mail", "size", "vip"]}
    store = prepare_store(data, tmp_path / "store")
    assert store.facts["written"] == {"attribute_marks": {"size": [",", "."]}}
    assert attribute_values(store) == {"mail": [], "size": None, "vip": ["yes"]}  # of too many values none is named


def test_tables_of_several_sources_fill_each_other(tmp_path: Path) -> None:
    def data(*tables: pd.DataFrame, **options: Any) -> dict[str, Any]:
        logs = [{"id": ["a", "b", "x"], "when": "2024-01-01"}, {"id": ["c", "d", "x"], "when": "2024-01-02"}]
        sources = [
            {"frame": pd.DataFrame(log), "joins": [{"frame": table, "on": "id", "to": "customer"}]}
            for log, table in zip(logs, tables, strict=True)
        ]
        return {"sources": [{"name": f"s{i}", "roles": ROLES, **one} for i, one in enumerate(sources)], **options}

    first = pd.DataFrame({"id": ["a", "b", "x"], "plan": ["A", "A", None], "age": [1.0, 2.0, 3.0], "none": None})
    second = pd.DataFrame({"id": ["c", "x"], "plan": ["B", "C"], "age": [4.0, 3.0], "none": ["y", "z"]})
    static = prepare_store(data(first, second), tmp_path / "plain").static
    assert [list(row) for row in static.astype(object).fillna("-").to_numpy()] == [
        *(["A", 1, "-"], ["A", 2, "-"], ["B", 4, "y"], ["-", "-", "-"], ["C", 3, "z"])
    ]
    later = second.assign(valid_from="2024-03-01")
    store = prepare_store(data(first, later.assign(age=[4.0, 5.0])), tmp_path / "dated")
    moments = pd.to_datetime(["2024-02-01", "2024-04-01"]).as_unit("us").astype("int64").to_numpy()
    told, place = attributes_at(store, np.array([4, 4, 0]), np.append(moments, moments[0]))
    assert told.loc[place, ["plan", "age"]].astype(object).fillna("-").to_numpy().tolist() == [
        ["-", 3.0],
        ["C", 5.0],
        ["A", 1.0],
    ]
    with pytest.raises(UserError, match=r"two things of customer x: age is 3\.0 and 5\.0"):
        prepare_store(data(first, second.assign(age=[4.0, 5.0])), tmp_path / "clash")
    with pytest.raises(UserError, match=r"age is of kind numbers in .* and string in"):
        prepare_store(data(first, second.assign(age=["old", "older"])), tmp_path / "kinds")
