"""What a run says of columns that tell the future: the leakage probe, and tables without dates."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pandas as pd
import pytest

from clm_dl.config import compose
from clm_dl.experiment.experiment import run_experiment
from clm_dl.run import Run

QUICK = ("encoder=none", "baselines=[recency,logistic]", "bootstrap=20", "snapshots.horizon_days=28")


@pytest.fixture
def ask(tmp_path: Path) -> Callable[..., tuple[Run, str]]:
    """A run without a network on a log, and what it printed."""

    def ask(log: pd.DataFrame, *words: str, joins: list[dict[str, str]] | None = None) -> tuple[Run, str]:
        log.to_csv(tmp_path / "log.csv", index=False)
        folders = [f"data.path={tmp_path}/log.csv", f"paths.data_dir={tmp_path}", f"paths.output_dir={tmp_path}/run"]
        folders.append("overwrite=true")
        roles = ["data.roles.customer=cust", "data.roles.time=ts"]
        config = compose("train", ["experiment=churn_events", *roles, *QUICK, *folders, *words])
        config.data.joins = joins or []
        said: list[str] = []
        run = Run(run_experiment(config, log=said.append))
        return run, "\n".join(said)

    return ask


def auc(run: Run) -> float:
    return float(run.metrics["split"]["test"]["overall"]["logistic"]["auroc"]["value"])


def test_a_table_without_dates_is_said_once_to_be_known_at_all_times(
    shop_log: pd.DataFrame, ask: Callable[..., tuple[Run, str]], tmp_path: Path
) -> None:
    pd.DataFrame({"cust": shop_log["cust"].unique(), "city": "x"}).to_csv(tmp_path / "crm.csv", index=False)
    run, said = ask(shop_log, joins=[{"path": str(tmp_path / "crm.csv"), "on": "cust", "to": "customer"}])
    card, report = ((run.path / name).read_text() for name in ("model_card.md", "report.html"))
    for text in (said, card, report):
        assert text.count("Taken as known at all times, because their tables have no dates (valid_from): city.") == 1


def test_one_column_that_gives_the_label_is_named_in_output_card_report_and_metrics(
    shop_log: pd.DataFrame, ask: Callable[..., tuple[Run, str]]
) -> None:
    often = shop_log.groupby("cust")["ts"].transform(lambda ts: ts.diff().mean()) < pd.Timedelta(days=5)
    log = shop_log[often]
    last = log.groupby("cust")["ts"].transform("max")
    log = log.assign(is_last=(last == log["ts"]).astype(int))  # a dump knows it, no cutoff does
    run, said = ask(log, "data.numeric=[is_last]", "snapshots.active_days=28")
    card, report = ((run.path / name).read_text() for name in ("model_card.md", "report.html"))
    found = run.metrics["data"]["leakage"]["columns"]
    assert "is_last" in found
    for text in (said, card, report):
        assert f"is_last (AUC {found['is_last']:.3f})" in text


@pytest.mark.slow
def test_the_newest_value_of_a_column_gives_nothing_away(
    shop_log: pd.DataFrame, ask: Callable[..., tuple[Run, str]]
) -> None:
    log = shop_log.sort_values("ts")
    stays = ~log.duplicated("cust", keep="last") & (log["ts"] > log["ts"].max() - pd.Timedelta(days=28))
    log["state"] = stays.map({True: "premium", False: "basic"})  # who is there to the end is told so at the end
    words = ("snapshots.active_days=28", "baselines=[logistic]")
    honest = auc(ask(shop_log, *words)[0])
    run, said = ask(log, "data.static=[state]", *words)
    assert "As of each cutoff, from what was known before it: state." in said
    assert auc(run) == pytest.approx(honest, abs=0.02)
