"""A run says how it read its input, and what of it training did not know."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from clm_dl import predict
from clm_dl.data.open import open_store
from clm_dl.experiment.backtest import backtest
from clm_dl.run import Run


def test_an_input_is_told_of(run: Run, shop_log: pd.DataFrame) -> None:
    lines: list[str] = []
    assert run.predict(shop_log, log=lines.append).attrs["input"] == lines
    assert lines == [f"{len(shop_log):,} rows in = {len(shop_log):,} kept + 0 quarantined + 0 duplicates"]
    other = shop_log.assign(ts=shop_log["ts"].astype(str))
    other.loc[other["cust"] == "c000", "ts"] = "soon"
    other.loc[::2, "dept"] = "books"
    table = run.predict(other, cutoff="2022-06-01", data={"max_quarantined": 0.5})
    kept, lost, unknown, late = table.attrs["input"]
    assert "unparseable time" in kept
    assert lost == "1 customers have no row left: all of theirs were quarantined"
    assert unknown.startswith("note: 50% of the values of dept are unknown to the run")
    assert unknown.endswith("'books'")
    assert late.startswith("note: the cutoff 2022-06-01")
    assert "after the last event (2021-10" in late
    [_, size] = run.predict(shop_log.assign(spend=shop_log["spend"] / 1000)).attrs["input"]
    assert size.startswith("note: half of the values of amount are within 0.0")


@pytest.mark.slow
def test_a_calendar_that_ends_is_told_of_in_training_and_in_predicting(
    train: Callable[..., Run], tmp_path: Path
) -> None:
    days = pd.date_range("2021-01-01", "2021-08-31")
    pd.DataFrame({"day": days, "holiday": (days.day == 1).astype(int)}).to_csv(tmp_path / "days.csv", index=False)
    lines: list[str] = []
    run = train(f"data.calendar={{path: {tmp_path / 'days.csv'}, time: day}}", log=lines.append)
    [line] = [line for line in lines if "tells of" in line]
    assert "tells of 2021-01-01 to 2021-08-31; the label windows of " in line
    assert "cutoffs (2021-08-04T" in line
    store, lines = open_store(run.config["data"], run.config["paths"]), []
    backtest(run.trained, store, "rolling", resamples=10, log=lines.append)
    assert [line for line in lines if "reach beyond that" in line]
    whole, half = (run.predict(cutoff=cutoff).attrs["input"] for cutoff in ("2021-06-01", "2021-08-20"))
    assert not [line for line in whole if "tells of" in line]
    assert [line for line in half if "windows of 1 of 1 cutoffs (2021-08-20) reach beyond" in line]
    with pytest.raises(ValueError, match="of no day of the label windows"):
        run.predict(cutoff="2021-09-15")


def test_the_command_takes_what_its_sentence_names(
    run: Run, shop_log: pd.DataFrame, here: Callable[..., None], capsys: pytest.CaptureFixture[str]
) -> None:
    early = shop_log[shop_log["ts"].dt.day <= 12]
    early.assign(ts=early["ts"].dt.strftime("%d/%m/%Y")).to_csv("input.csv", index=False)
    words = [predict.main, f"run={run.path}", "input=input.csv"]
    with pytest.raises(SystemExit):
        here(*words)
    assert "set data.time_format='%d/%m/%Y'" in capsys.readouterr().err
    here(*words, "data.time_format='%d/%m/%Y'")
    assert f"{len(early):,} rows in = {len(early):,} kept + 0 quarantined" in capsys.readouterr().out


def test_attributes_are_those_of_training_though_an_input_alone_would_tell_otherwise(
    train: Callable[..., Run], shop_log: pd.DataFrame, tmp_path: Path
) -> None:
    number = shop_log["cust"].str[1:].astype(int)
    log = shop_log.assign(plan=number.map(lambda code: "gold" if code % 9 == 0 else str(code % 3 + 1)), age=number % 50)
    log["vip"] = number % 2 == 0
    log.to_csv(tmp_path / "log.csv", index=False)
    words = [f"data.path={tmp_path / 'log.csv'}", "data.static=[plan,age,vip]", "encoder=none", "baselines=[logistic]"]
    run = train(*words)
    whole = run.predict(log).set_index("customer_id")["score"]
    part = log[log["plan"] != "gold"].astype({"age": str, "vip": int})
    part.loc[part["cust"] == "c001", "age"] = "unknown"
    part.to_csv(tmp_path / "part.csv", index=False)
    found = run.predict(tmp_path / "part.csv")
    scores = found.set_index("customer_id")["score"].drop("c001")
    np.testing.assert_allclose(scores, whole[scores.index], rtol=1e-9)
    [lost] = [line for line in found.attrs["input"] if line.startswith("note: ")]
    assert lost.endswith("part.csv are no numbers, such as 'unknown', and count as missing")
    told = run.predict(log.assign(plan="plan " + log["plan"])).attrs["input"][1:]
    assert told == [
        "note: 100% of the values of the customer attribute plan are unknown to the run, such as 'plan gold'"
    ]


def test_what_a_network_does_not_know_of_an_attribute_is_said(ranked_run: Run, ring_log: pd.DataFrame) -> None:
    half = ring_log["cust"] < "c060"
    other = ring_log.assign(region=ring_log["region"].where(half, "east"))
    *_, note = ranked_run.recommend(other, k=1, customers=["c001"]).attrs["input"]
    assert note == "note: 50% of the values of the customer attribute region are unknown to the run, such as 'east'"
