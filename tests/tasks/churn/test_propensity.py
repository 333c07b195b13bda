"""task=propensity: a chosen event, a first one, the dormant, and given labels; the same run directory as churn,
positive = it happened.
"""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from clm_dl.run import Run, load_run
from clm_dl.tasks.churn.task import PropensityTask

EVENT = (
    "task=propensity",
    "labels=event",
    "labels.field=dept",
    "labels.values=[toys]",
    "snapshots.horizon_days=14",
    "baselines=[logistic]",
)


@pytest.fixture(scope="module")
def propensity_run(train: Callable[..., Run]) -> Run:
    return train(*EVENT)


def test_positive_is_that_it_happened(propensity_run: Run, shop_log: pd.DataFrame) -> None:
    scores = propensity_run.scores.query("split == 'test' and model == 'network'")
    assert set(propensity_run.scores["task"]) == {"propensity"}
    toys = shop_log[shop_log["dept"] == "toys"]
    for row in scores.iloc[::17].itertuples():
        cutoff = row.cutoff.tz_localize(None)
        inside = (
            (toys["cust"] == row.customer_id) & (toys["ts"] >= cutoff) & (toys["ts"] < cutoff + pd.Timedelta(days=14))
        )
        assert row.label == float(inside.any())
    assert 0.1 < scores["label"].mean() < 0.9


def test_it_ends_in_the_run_directory_of_churn(propensity_run: Run, shop_log: pd.DataFrame) -> None:
    run = load_run(propensity_run.path)
    assert run.metrics["task"] == "propensity"
    assert isinstance(run.trained.task, PropensityTask)
    assert run.metrics["split"]["test"]["overall"]["logistic"]["auroc"]["value"] > 0.55
    assert "network - logistic" in run.metrics["difference"]["test"]
    card = (run.path / "model_card.md").read_text()
    assert "Positive: an event with dept toys in [cutoff + 0 days, cutoff + 14 days)" in card
    assert "churn" not in card
    table = run.predict(shop_log, cutoff="2021-09-01")
    assert set(table["task"]) == {"propensity"}
    assert table["score"].between(0, 1).all()


def test_the_dormant_alone_are_scored(train: Callable[..., Run], shop_log: pd.DataFrame) -> None:
    dormant = ("labels.dormant_days=10", "snapshots.active_days=null", "snapshots.horizon_days=28")
    run = train("task=propensity", "labels=event", *dormant, "encoder=none", "baselines=[base_rate,logistic]")
    scores = run.scores.query("model == 'logistic'")
    for row in scores.iloc[::9].itertuples():
        cutoff = row.cutoff.tz_localize(None)
        before = shop_log.loc[(shop_log["cust"] == row.customer_id) & (shop_log["ts"] < cutoff), "ts"]
        assert cutoff - before.max() > pd.Timedelta(days=10)
    assert "without an event for 10 days" in (run.path / "model_card.md").read_text()


def test_a_given_label_is_propensity_too(train: Callable[..., Run], shop_log: pd.DataFrame, tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    dates = ["2021-03-01", "2021-05-01", "2021-08-01"]
    rows = [(customer, date, int(rng.random() < 0.3)) for date in dates for customer in shop_log["cust"].unique()]
    pd.DataFrame(rows, columns=["customer", "time", "label"]).to_csv(tmp_path / "default.csv", index=False)
    run = train(
        "task=propensity",
        "labels=given",
        f"labels.path={tmp_path / 'default.csv'}",
        "encoder=none",
        "baselines=[logistic]",
    )
    assert run.metrics["reference"]["test"]["prevalence"] == pytest.approx(0.3, abs=0.1)


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        ([*EVENT, "labels.values=[boats]"], "no event with dept 'boats' in the log, it has food, garden, toys"),
        ([*EVENT, "labels.field=colour"], "needs the categorical field 'colour'"),
        (["task=propensity"], "task=propensity asks whether something happens, got labels=no_event"),
        (["labels=event"], "set task=propensity"),
    ],
)
def test_what_cannot_be_asked(train: Callable[..., Run], tmp_path: Path, overrides: list[str], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        train(*overrides, f"paths.output_dir={tmp_path / 'run'}")
    assert not (tmp_path / "run").exists()
