"""Numbers written as text: decimal and thousands marks and currency signs, found out, given, or refused."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from clm_dl.data.log.prepare import prepare_store
from clm_dl.data.log.roles import parse_data

ROLES = {"customer": "id", "time": "when", "amount": "spend"}


def amounts(values: list[str], folder: Path, **data: Any) -> list[float]:
    lines = [f'{i};2024-01-15;"{value}"' for i, value in enumerate(values)]
    (folder / "log.csv").write_text("\n".join(["id;when;spend", *lines]) + "\n")
    store = prepare_store({"path": str(folder / "log.csv"), "roles": ROLES, **data}, folder / "store")
    assert store.num_events == len(values), store.counts
    return [round(float(value), 2) for value in store.column("amount")]


@pytest.mark.parametrize(
    ("values", "wanted"),
    [
        (["5,50", "1.234,50", "12"], [5.5, 1234.5, 12]),
        (["5,50", "1.234", "-7,25"], [5.5, 1234, -7.25]),
        (["1,234.50", "$12.00", "(4.00)", "7"], [1234.5, 12, -4, 7]),
        (["€ 1.234,50", "3 EUR", "4,00-"], [1234.5, 3, -4]),
        (["1,234,567", "1,500"], [1_234_567, 1_500]),
        (["1'234.50", "2 000.00"], [1234.5, 2000]),
        (["0,500", "2,250"], [0.5, 2.25]),
        (["1.234", "2.5", "1e3"], [1.23, 2.5, 1000]),
        (["1.250", "1234.500"], [1.25, 1234.5]),
        (["1.250", "0.500"], [1.25, 0.5]),
        (["1,250", "1234,500"], [1.25, 1234.5]),
        (["kr. 5", "6 SEK"], [5, 6]),
        (["$7", "7 USD", "8"], [7, 7, 8]),
    ],
)
def test_marks_are_found_out(values: list[str], wanted: list[float], tmp_path: Path):
    assert amounts(values, tmp_path) == wanted


def test_marks_that_are_given_decide(tmp_path: Path):
    assert amounts(["1,234", "2"], tmp_path, decimal=",") == [1.23, 2]
    assert amounts(["1,234", "2"], tmp_path, decimal=".") == [1234, 2]
    assert amounts(["1 234,5"], tmp_path, decimal=",", thousands=" ") == [1234.5]


@pytest.mark.parametrize("values", [["1,234", "2"], ["5,50", "5.50"], ["1.234", "999", "12.500"], ["1.234", "1,234"]])
def test_what_may_be_either_is_refused(values: list[str], tmp_path: Path):
    with pytest.raises(ValueError, match=r"decimal comma or a decimal point, such as .*set data.decimal=',' or"):
        amounts(values, tmp_path)


def test_groups_that_are_no_thousands_are_no_number(tmp_path: Path):
    (tmp_path / "log.csv").write_text('id,when,spend\n1,2024-01-15,"1,23"\n2,2024-01-15,4.5\n')
    data = {"path": str(tmp_path / "log.csv"), "roles": ROLES, "decimal": "."}
    store = prepare_store(data, tmp_path / "store")
    assert store.counts["quarantine_reasons"] == {"amount of the wrong type": 1}
    assert store.counts["quarantine_examples"] == {"amount of the wrong type": "1,23"}


def test_a_joined_table_has_marks_of_its_own(tmp_path: Path):
    (tmp_path / "items.csv").write_text('sku,price\na,"1.234,5"\nb,"2,5"\n')
    (tmp_path / "log.csv").write_text("id,when,sku\n1,2024-01-15,a\n1,2024-01-16,b\n")
    roles = {"customer": "id", "time": "when", "item": "sku"}
    data = {"path": str(tmp_path / "log.csv"), "roles": roles, "numeric": ["price"]}
    store = prepare_store({**data, "joins": [{"path": str(tmp_path / "items.csv"), "on": "sku"}]}, tmp_path / "store")
    assert store.column("price").tolist() == [1234.5, 2.5]
    assert not np.isnan(store.column("price")).any()


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"decimal": ",,"}, "data.decimal must be one mark"),
        ({"decimal": ",", "thousands": ","}, "both ','"),
        ({"max_quarantined": 5}, r"data.max_quarantined is a share and must be in \[0, 1\], got 5"),
    ],
)
def test_options_that_cannot_be(change: dict[str, Any], words: str):
    with pytest.raises(ValueError, match=words):
        parse_data({"path": "log.csv", "roles": ROLES, **change})


@pytest.mark.parametrize("values", [["5.00 USD", "500 JPY", "7.10 EUR"], ["$5", "6 €"], ["5", "1 kr", "2 EUR"]])
@pytest.mark.parametrize("decimal", [None, "."])
def test_several_currencies_are_refused(values: list[str], decimal: str | None, tmp_path: Path):
    with pytest.raises(ValueError, match=r"column 'spend' of .* has several currencies, such as .* and .*: convert"):
        amounts(values, tmp_path, decimal=decimal)
