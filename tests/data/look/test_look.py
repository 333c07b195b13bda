"""A look at files that nobody described: which column is what, what is left out and why, and what is no log."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from clm_dl.config import compose, plain
from clm_dl.data.look.lines import tell
from clm_dl.data.look.look import Look, look_at
from clm_dl.errors import UserError

LookAt = Callable[..., Look]


@pytest.fixture(scope="module")
def lines() -> pd.DataFrame:
    """About 2,800 lines of 120 customers in 2022 and 2023: customer c, time t, item, amount."""
    rng = np.random.default_rng(0)
    parts = []
    for customer in range(120):
        stop = rng.uniform(100, 800)
        day = np.cumsum(rng.exponential(rng.uniform(5, 30), 150)) + rng.uniform(0, 60)
        parts.append(pd.DataFrame({"c": customer, "day": day[day < min(stop, 500)]}))
    log = pd.concat(parts, ignore_index=True)
    log["t"] = (pd.Timestamp("2022-01-03") + pd.to_timedelta(log.pop("day"), unit="D")).dt.floor("s")
    log["item"], log["amount"] = rng.integers(1, 60, len(log)), np.round(rng.gamma(2, 20, len(log)), 2)
    return log.sort_values("t", ignore_index=True)


@pytest.fixture
def look(tmp_path: Path) -> LookAt:
    """Look at a table written as CSV, or at a file."""
    defaults = plain(compose("init"))["data"]
    (tmp_path / "spill").mkdir()

    def at(file: pd.DataFrame | Path, given: dict[str, Any] | None = None, **csv: Any) -> Look:
        path = file if isinstance(file, Path) else tmp_path / "log.csv"
        if not isinstance(file, Path):
            file.to_csv(path, index=False, **csv)
        data = {**defaults, "path": str(path), "roles": {**defaults["roles"]}}
        for key, value in (given or {}).items():
            group, _, name = key.removeprefix("data.").rpartition(".")
            (data[group] if group else data)[name] = value
        found = look_at(data, given or {}, tmp_path / "spill")
        assert all("\n" not in line for line in tell(found))
        return found

    return at


def roles(look: Look) -> dict[str, str]:
    assert look.log is not None
    return look.log.guess.roles


def test_a_german_export(look: LookAt, lines: pd.DataFrame) -> None:
    frame = pd.DataFrame(
        {
            "Kundennummer": lines.c.map("K{:05d}".format),
            "Bestelldatum": lines.t.dt.strftime("%d.%m.%Y %H:%M"),
            "Artikelnr": lines.item + 1000,
            "Bezeichnung": lines.item.map("Käse Größe {}".format),
            "Betrag (€)": (lines.amount * 100).map(lambda x: f"{x:,.2f}".translate(str.maketrans(",.", ".,"))),
            "Filiale": np.where(lines.item % 2, "Köln", "Zürich"),
        }
    )
    found = look(frame, sep=";", encoding="cp1252")
    assert roles(found) == {
        "customer": "Kundennummer",
        "time": "Bestelldatum",
        "item": "Artikelnr",
        "amount": "Betrag (€)",
        "text": "Bezeichnung",
    }
    assert found.log is not None
    assert found.log.uses.categorical == ["Filiale"]
    assert {"time_format": "%d.%m.%Y %H:%M", "decimal": ",", "thousands": "."}.items() <= found.log.data.items()
    assert found.log.customers == lines.c.nunique()
    assert "cp1252" in found.said[0]


def test_event_logs_with_epochs_ids_and_further_times(look: LookAt, lines: pd.DataFrame) -> None:
    frame = pd.DataFrame(
        {
            "row_id": range(len(lines)),
            "order_id": lines.groupby(["c", "t"]).ngroup() // 2 * 0 + np.arange(len(lines)) // 1,
            "customer_id": (lines.c + 10_000).astype(float).where(lines.index % 10 > 0),
            "item_id": lines.item,
            "store_id": lines.c % 7 + 100,
            "signup_ms": 1_600_000_000_000 + lines.c * 86_400_000,
            "event_ms": lines.t.astype("datetime64[ms]").astype("int64"),
            "unit_price": lines.amount,
            "qty": lines.item % 5 + 1,
            "email": lines.c.map("user{}@example.org".format),
            "plan": "basic",
            "empty": np.nan,
            "churn": (lines.c % 3 == 0).astype(int),
            "source": np.where(lines.item % 2, "web", "shop"),
            "a/b": np.where(lines.item % 3, "x", "y"),
        }
    )
    found = look(frame)
    assert roles(found) == {"customer": "customer_id", "time": "event_ms", "item": "item_id"}
    assert found.log is not None
    uses, log = found.log.uses, found.log
    assert (uses.categorical, uses.numeric) == (["store_id"], ["unit_price", "qty"])
    assert set(uses.left_out) == set(frame) - {*roles(found).values(), "store_id", "unit_price", "qty"}
    for name, reason in {"email": "personal", "plan": "one value", "empty": "no values", "churn": "predicted"}.items():
        assert reason in uses.left_out[name]
    assert "cannot be stored" in uses.left_out["source"]
    assert "cannot be stored" in uses.left_out["a/b"]
    assert log.reasons == {"missing customer": int(frame.customer_id.isna().sum())}
    assert log.data["max_quarantined"] == pytest.approx(0.15)


def test_files_without_names_or_suffix(look: LookAt, lines: pd.DataFrame, tmp_path: Path) -> None:
    path = tmp_path / "ratings.dat"
    seconds = lines.t.astype("datetime64[s]").astype("int64")
    path.write_text("\n".join(f"{c}::{i}::{t}" for c, i, t in zip(lines.c, lines.item + 900, seconds, strict=True)))
    found = look(path)
    assert roles(found) == {"customer": "c1", "time": "c3", "item": "c2"}
    assert found.keys == {"separator": "::", "columns": ["c1", "c2", "c3"]}


def test_parquet_with_types_and_an_order(look: LookAt, lines: pd.DataFrame, tmp_path: Path) -> None:
    order = lines.groupby(["c", lines.t.dt.to_period("M")]).ngroup()
    twice = pd.concat([lines.assign(order=order, k=k) for k in range(2)])
    frame = pd.DataFrame(
        {
            "client": twice.c.astype("int32"),
            "InvoiceNo": twice.order.map("A{}".format),
            "ts": twice.t.dt.tz_localize("UTC").dt.tz_convert("Europe/Berlin"),
            "net_value": np.where(twice.k, -1, 1) * twice.amount,
            "kind": pd.Categorical(np.where(twice.k, "return", "sale")),
        }
    )
    path = tmp_path / "log.parquet"
    frame.to_parquet(path)
    found = look(path)
    assert roles(found) == {
        "customer": "client",
        "time": "ts",
        "order": "InvoiceNo",
        "event_type": "kind",
        "amount": "net_value",
    }
    assert found.log is not None
    assert found.log.returns == len(lines)


def test_what_is_said_is_no_guess(look: LookAt, lines: pd.DataFrame) -> None:
    frame = lines.rename(columns={"c": "cust", "t": "when"}).assign(other=lines.c % 20, x=lines.item % 3)
    said = {
        "data.roles.customer": "other",
        "data.roles.item": None,
        "data.roles.amount": "x",
        "data.categorical": ["cust"],
    }
    found = look(frame, said)
    assert roles(found) == {"customer": "other", "time": "when", "amount": "x"}
    assert found.log is not None
    assert found.log.uses.categorical == ["cust"]
    with pytest.raises(UserError, match="'nobody' is not a column"):
        look(frame, {"data.roles.customer": "nobody"})


def test_one_stray_line_does_not_end_the_log(look: LookAt, lines: pd.DataFrame) -> None:
    frame = lines[["c", "t"]].set_axis(["cust", "when"], axis=1)
    frame.loc[len(frame)] = [1, pd.Timestamp("2051-01-01")]
    found = look(frame)
    assert found.log is not None
    assert found.log.data["end"] == str((lines.t.max().normalize() + pd.Timedelta(days=1)).date())
    assert found.log.suggestion.horizon_days < 60


def table(rows: int = 200) -> pd.DataFrame:
    rng = np.random.default_rng(0)
    return pd.DataFrame(
        {
            "": range(rows),
            "CustomerId": 15_000 + rng.permutation(rows),
            "Surname": rng.choice([f"S{i}" for i in range(90)], rows),
            "Since": pd.Timestamp("2020-01-01") + pd.to_timedelta(rng.integers(0, 900, rows), unit="D"),
            "Geography": rng.choice(["F", "D"], rows),
            "Balance": rng.gamma(2, 1e4, rows).round(2),
            "Exited": (rng.random(rows) < 0.2).astype(int),
        }
    )


def test_a_table_with_a_row_a_customer(look: LookAt) -> None:
    found = look(table()).table
    assert found is not None
    assert (found.label, found.positive, found.customer) == ("Exited", None, "CustomerId")
    assert set(found.exclude) == {"Unnamed: 0", "Surname", "Since"}
    flag = np.where(table().Exited == 1, "Attrited Customer", "Existing Customer")
    found = look(table().drop(columns="Exited").assign(Attrition_Flag=flag)).table
    assert found is not None
    assert (found.label, found.positive) == ("Attrition_Flag", "Attrited Customer")
    said = look(table(), {"data.label": "Geography", "data.positive": "D"}).table
    assert said is not None
    assert (said.label, said.positive) == ("Geography", "D")


@pytest.mark.parametrize(
    ("frame", "sentence"),
    [
        (pd.DataFrame({"x": range(30)}), r"it has x: for a log set data\.roles\.time=…"),
        (pd.DataFrame({"x": []}), "no lines but a header"),
        (
            pd.DataFrame({"cust": [1, 1, 2] * 9, "DAY": range(1, 28)}),
            r"it has cust, DAY: .*data\.roles\.time=….*DAY counts",
        ),
        (pd.DataFrame({"date": ["2024-01-01"] * 9, "y2": [1.5] * 9}), r"has date, y2: .*data\.roles\.customer=…"),
        (
            pd.DataFrame({"cust": [1, 2] * 20, "date": [f"0{k % 9 + 1}/0{k % 9 + 1}/2024" for k in range(40)]}),
            r"data\.time_format='%d/%m/%Y' or data\.time_format='%m/%d/%Y'",
        ),
    ],
)
def test_what_is_neither_is_one_sentence(look: LookAt, frame: pd.DataFrame, sentence: str) -> None:
    with pytest.raises(UserError, match=sentence):
        look(frame)


def test_small_whole_numbers_are_no_times(look: LookAt, lines: pd.DataFrame) -> None:
    frame = lines.iloc[:200].assign(pieces=lambda rows: rows.item % 7, c=lambda rows: "c" + rows.c.astype(str))
    kinds = {column.name: column.kind for column in look(frame[["c", "t", "pieces"]]).columns}
    assert kinds["pieces"] == "number"
    assert kinds["t"] == "time"
