"""Customer attributes are of one kind, whatever file they come from: numbers are numbers, codes are text."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pandas as pd
import polars as pl
import pytest

from clm_dl.data.log.prepare import prepare_store
from clm_dl.data.store.store import EventStore

ROLES = {"customer": "id", "time": "when"}
LOG = pd.DataFrame({"id": ["a", "b"], "when": ["2024-01-01", "2024-01-02"]})
TABLE = pd.DataFrame(
    {"id": ["a", "b"], "age": [31, 9], "spend": [0.126, 1234.5], "plan": ["x", "y"], "zip": ["01067", "9"]}
)


def kinds(store: EventStore) -> dict[str, bool]:
    return {str(name): pd.api.types.is_numeric_dtype(kind) for name, kind in store.static.dtypes.items()}


@pytest.mark.parametrize("how", ["parquet", "csv", "semicolons"])
def test_a_table_of_customers_has_the_same_columns_in_every_format(how: str, tmp_path: Path) -> None:
    said: list[str] = []
    file = tmp_path / ("table.parquet" if how == "parquet" else "table.csv")
    if how == "parquet":
        TABLE.to_parquet(file)
    elif how == "csv":
        TABLE.to_csv(file, index=False)
    else:
        file.write_text("id;age;spend;plan;zip\na;31;0,126;x;01067\nb;9;1.234,5;y;9\n")
    joins = [{"path": str(file), "on": "id", "to": "customer"}]
    store = prepare_store({"frame": LOG, "roles": ROLES, "joins": joins}, tmp_path / "store", log=said.append)
    assert kinds(store) == {"age": True, "spend": True, "plan": False, "zip": False}
    assert store.static.to_dict("list") == TABLE.drop(columns="id").to_dict("list")
    told = f"{file}: attributes are numbers: age, spend; categories: plan, zip"
    assert (told in said) == (how != "parquet")


def test_columns_of_logs_agree_and_the_greatest_number_of_a_moment_is_taken(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text("id,when,points,code\na,2024-01-01,9,9\na,2024-01-01,100,100\n")
    LOG.assign(points=[2.5, 3.0], code=["007", "1"]).iloc[1:].to_parquet(tmp_path / "b.parquet")
    sources: list[dict[str, Any]] = [{"name": name, "path": str(tmp_path / name)} for name in ("a.csv", "b.parquet")]
    store = prepare_store({"sources": sources, "roles": ROLES, "static": ["points", "code"]}, tmp_path / "store")
    assert store.static["points"].tolist() == [100.0, 3.0]
    assert store.static["code"].tolist()[1] == "1"
    assert not pd.api.types.is_numeric_dtype(store.static["code"])


def test_a_column_that_is_categorical_stays_so(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text("id,when,plan\na,2024-01-01,9\n")
    data = {"path": str(tmp_path / "a.csv"), "roles": ROLES, "static": ["plan"], "categorical": ["plan"]}
    assert prepare_store(data, tmp_path / "store").static["plan"].tolist() == ["9"]


@pytest.mark.parametrize("joined", [False, True])
def test_nan_is_no_category(joined: bool, tmp_path: Path) -> None:
    table = pl.DataFrame({"sku": ["a", "b", "c"], "size": [1.5, float("nan"), None]})
    log = pl.DataFrame({"id": 1, "when": "2024-01-01", "sku": ["a", "b", "c"]})
    data: dict[str, Any] = {"roles": {**ROLES, "item": "sku"}, "categorical": ["size"]}
    if joined:
        data |= {"frame": log, "joins": [{"frame": table, "on": "sku", "to": "item"}]}
    else:
        data |= {"frame": log.join(table, on="sku")}
    store = prepare_store(data, tmp_path / "store")
    assert store.dictionary("size").tolist() == ["1.5"]
    assert sorted(store.column("size").tolist()) == [-1, -1, 0]
