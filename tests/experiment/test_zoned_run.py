"""A run in a time zone: its cutoffs by name, predictions at a date of the zone, a backtest over a change of clocks."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from clm_dl.data.open import open_store
from clm_dl.experiment.backtest import backtest
from clm_dl.experiment.run_files import read_trained
from clm_dl.run import Run

ZONE = "America/New_York"  # 2021-03-14 has 23 hours there


@pytest.fixture(scope="module")
def zoned(train: Callable[..., Run]) -> Run:
    lists = [
        "snapshots.train=[2021-02-14,2021-03-01]",
        "snapshots.val=[2021-04-01]",
        "snapshots.test=[2021-05-01,2021-05-15]",
    ]
    return train(f"data.timezone={ZONE}", *lists, "trainer.max_epochs=1")


def test_cutoffs_are_dates_of_the_zone_everywhere(zoned: Run) -> None:
    assert list(zoned.metrics["split"]["test"]["per_cutoff"]) == ["2021-05-01", "2021-05-15"]
    assert zoned.metrics["data"]["timezone"] == ZONE
    cutoffs = zoned.scores["cutoff"].unique()
    assert sorted(cutoffs) == [pd.Timestamp(date, tz=ZONE) for date in ("2021-04-01", "2021-05-01", "2021-05-15")]
    for name in ("model_card.md", "report.html"):
        text = (zoned.path / name).read_text()
        assert f"Cutoffs, days, hours and windows are those of {ZONE}" in text
        assert "2021-05-15" in text


def test_a_prediction_at_a_date_reads_up_to_its_midnight_in_the_zone(zoned: Run, shop_log: pd.DataFrame) -> None:
    late = pd.DataFrame(
        {
            "cust": ["new", "newer"],
            "dept": "food",
            "ts": pd.to_datetime(["2021-07-01 23:30", "2021-07-02 00:00"]),
            "spend": 1.0,
        }
    )
    log = pd.concat([shop_log, late])
    plain, stated = (zoned.predict(log, cutoff=cutoff) for cutoff in ("2021-07-02", "2021-07-02T00:00:00-04:00"))
    pd.testing.assert_frame_equal(plain, stated)
    assert {"new", "newer"} & set(plain["customer_id"]) == {"new"}
    assert (plain["cutoff"] == pd.Timestamp("2021-07-02", tz=ZONE)).all()


def test_a_backtest_names_its_cutoffs_as_the_figures_do(zoned: Run) -> None:
    trained = read_trained(Path(zoned.path))
    store = open_store(trained.config["data"], trained.config["paths"])
    found = backtest(trained, store, "rolling", resamples=5)
    dates = [at["cutoff"] for at in found["cutoffs"]]
    assert dates == list(found["metrics"]["split"]["test"]["per_cutoff"])
    assert len(dates) > 3
    zone = store.zone
    assert {int(zone.local(zone.parse(date))) % 86_400_000_000 for date in dates} == {
        int(zone.local(store.end)) % 86_400_000_000
    }
    listed = backtest(trained, store, ["2021-05-01"], resamples=5)
    assert [at["cutoff"] for at in listed["cutoffs"]] == ["2021-05-01"]
    assert np.isfinite(listed["cutoffs"][0]["rate"])
