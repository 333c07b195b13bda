"""A log that a run is applied to is read as the log that it was trained on, or refused where it says otherwise."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from clm_dl.data.log.prepare import prepare_store
from clm_dl.errors import UserError

DATA = {"roles": {"customer": "who", "time": "when", "amount": "spend"}}


def log(when: list[str], spend: list[str]) -> pd.DataFrame:
    return pd.DataFrame({"who": "a", "when": when, "spend": spend})


def test_what_training_found_decides_where_an_input_may_be_read_in_two_ways(tmp_path: Path) -> None:
    trained = prepare_store({**DATA, "frame": log(["25/06/2023", "05/06/2023"], ["3.170,50", "12,5"])}, tmp_path / "a")
    written = trained.facts["written"]
    assert written == {"times": {"when": "%d/%m/%Y"}, "marks": {"spend": [",", "."]}}
    lines: list[str] = []
    unclear = {**DATA, "frame": log(["03/04/2024", "05/06/2024"], ["3.170", "1.248"])}
    store = prepare_store(unclear, tmp_path / "b", written=written, log=lines.append)
    assert pd.Timestamp(store.time[0], unit="us") == pd.Timestamp("2024-04-03")
    np.testing.assert_array_equal(store.column("amount"), [3170, 1248])
    assert sum("as those that the run was trained on" in line for line in lines) == 2
    given = prepare_store({**unclear, "time_format": "%m/%d/%Y", "decimal": "."}, tmp_path / "c", written=written)
    assert pd.Timestamp(given.time[0], unit="us") == pd.Timestamp("2024-03-04")
    np.testing.assert_allclose(given.column("amount"), [3.17, 1.248])
    typed = unclear["frame"].assign(when=pd.to_datetime("2024-03-04"), spend=2.5)
    assert prepare_store({**DATA, "frame": typed}, tmp_path / "d", written=written).column("amount")[0] == 2.5


@pytest.mark.parametrize(
    ("when", "spend", "sentence"),
    [
        ("06/25/2024", "1,5", "are written as %m/%d/%Y, and the run was trained on %d/%m/%Y: set data.time_format"),
        ("25/06/2024", "3,170.50", "with a decimal point, and those that the run was trained on with ','"),
        ("25/06/2024", "12.5", "with a decimal point, and those that the run was trained on with ','"),
    ],
)
def test_an_input_that_is_written_otherwise_is_refused(tmp_path: Path, when: str, spend: str, sentence: str) -> None:
    written = {"times": {"when": "%d/%m/%Y"}, "marks": {"spend": [",", "."]}}
    with pytest.raises(UserError, match="trained") as error:
        prepare_store({**DATA, "frame": log([when], [spend])}, tmp_path / "store", written=written)
    assert sentence in str(error.value)
