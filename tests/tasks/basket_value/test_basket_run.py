"""A basket value run from log to run directory: what training knows, backtest, prediction, report, refusals."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from clm_dl.data.open import open_store
from clm_dl.data.store.store import EventStore
from clm_dl.experiment.backtest import backtest
from clm_dl.experiment.rescoring import rescored
from clm_dl.experiment.run_files import read_results
from clm_dl.run import Run, load_run
from clm_dl.tasks.basket_value.calibration import LogNormalCalibrator
from clm_dl.tasks.basket_value.metrics import METRICS
from clm_dl.visual.drift import rows as drift_rows
from clm_dl.visual.html import render_report

BASKET = ("task=basket_value", "baselines=[past_order_mean,lightgbm_basket]")


@pytest.fixture(scope="module")
def basket_run(train: Callable[..., Run]) -> Run:
    return train(*BASKET)


def test_metrics_are_complete_and_of_the_known_next_orders(basket_run: Run, shop_store: EventStore) -> None:
    task, metrics = basket_run.trained.task, basket_run.metrics
    cases = task.cases(shop_store)
    table = task.read(basket_run.scores, "test")
    amount = cases.outcome[cases.snapshots.split == "test", 0]
    assert 0 < np.isnan(amount).sum() == table.values.num_censored
    np.testing.assert_allclose(table.values.spend, amount[~np.isnan(amount)])
    assert set(table.median) == {"network", "past_order_mean", "lightgbm_basket"}
    assert metrics["task"] == "basket_value"
    overall = metrics["split"]["test"]["overall"]
    assert set(overall["network"]) == {metric.name for metric in METRICS}
    for model, median in table.median.items():
        error = np.abs(np.log(median / table.values.spend)).mean()
        assert overall[model]["log_mae"]["value"] == pytest.approx(error), model


def test_calibration_is_fitted_on_the_newest_validation_cutoff(basket_run: Run, shop_store: EventStore) -> None:
    cases = basket_run.trained.task.cases(shop_store)
    chosen = cases.snapshots.calibration[cases.held_out]
    assert chosen.sum() > 10
    known = cases.snapshots.validation[cases.held_out]
    options = {"cutoff": cases.snapshots.cutoff[cases.held_out][known], "newest": chosen[known]}
    for model, part in basket_run.scores.groupby("model"):
        raw = np.log(part["score_raw"])
        expected = LogNormalCalibrator().fit_over(raw[known], part["label"][known], **options)
        np.testing.assert_allclose(part["median"], expected.median(raw), rtol=1e-6, err_msg=str(model))
        assert basket_run.metrics["calibration"][model] == expected.told


def test_training_knows_nothing_of_what_comes_after_the_first_validation_cutoff(
    basket_run: Run, shop_store: EventStore, shop_log: pd.DataFrame, tmp_path: Path
) -> None:
    run, task = basket_run, basket_run.trained.task
    cases = task.cases(shop_store)
    late = shop_log["ts"] >= pd.Timestamp(cases.snapshots.cutoff[cases.snapshots.split != "train"].min(), unit="us")
    changed = shop_log.assign(spend=shop_log["spend"].where(~late, 1000.0))
    changed.to_csv(tmp_path / "changed.csv", index=False)
    data, paths = run.config["data"] | {"path": str(tmp_path / "changed.csv")}, run.config["paths"]
    other = task.cases(open_store(data, paths | {"data_dir": str(tmp_path)}))
    rows = np.flatnonzero(cases.snapshots.split == "train")
    assert np.isnan(cases.outcome[rows, 0]).sum() > 10  # some next orders come later
    np.testing.assert_array_equal(cases.outcome[rows], other.outcome[rows])
    assert task.head_schema(cases) == task.head_schema(other)
    val, its_val = (one.outcome[one.snapshots.split == "val"] for one in (cases, other))
    assert not np.array_equal(val, its_val, equal_nan=True)


def test_the_future_changes_no_prediction(basket_run: Run, shop_log: pd.DataFrame) -> None:
    before, later = shop_log[shop_log["ts"] < "2021-08-01"], shop_log[shop_log["ts"] >= "2021-08-01"]
    table = basket_run.predict(before, cutoff="2021-08-01")
    assert len(table) == before["cust"].nunique()
    assert table["label"].isna().all()
    assert (table["median"] < table["score"]).all()
    changed = pd.concat([before, later.assign(spend=1.0)])
    pd.testing.assert_frame_equal(basket_run.predict(changed, cutoff="2021-08-01"), table)
    best = basket_run.predict(before, cutoff="2021-08-01", model="lightgbm_basket")
    assert (best["score"] > 0).all()


def test_recalibration_knows_nothing_of_what_comes_behind_the_label_window(
    basket_run: Run, shop_store: EventStore
) -> None:
    """Of the snapshots at one cutoff it takes those whose next order has come by the end of their window."""
    task = basket_run.trained.task
    cases = task.later_cases(shop_store, np.array([pd.Timestamp("2021-07-01").value // 1000]))
    amount, days = cases.outcome.T
    rows, answers = np.arange(len(cases)), np.zeros(len(cases))
    intercept = task.calibrate(answers, cases, rows, aged=True).intercept
    assert intercept == pytest.approx(np.log(amount[days < 28]).mean())
    assert intercept != pytest.approx(np.log(amount[days < np.inf]).mean())


def test_checkpoint_gives_the_same_forecasts(basket_run: Run, shop_store: EventStore) -> None:
    run = load_run(basket_run.path)
    scores, summary = rescored(run.trained, shop_store, resamples=run.config["bootstrap"])
    again, ours = (run.trained.task.read(table, "test").median["network"] for table in (scores, run.scores))
    np.testing.assert_allclose(again, ours, rtol=1e-4)
    overall = run.metrics["split"]["test"]["overall"]
    assert summary(scores)["split"]["test"]["overall"]["past_order_mean"] == overall["past_order_mean"]


def test_backtest_report_and_tensorboard(basket_run: Run, shop_store: EventStore) -> None:
    found = backtest(basket_run.trained, shop_store, "rolling", resamples=5)
    assert all(at["recalibrated_on"] for at in found["cutoffs"][2:])
    [results] = read_results(basket_run.path)
    titles, lines = drift_rows(replace(results, backtest=found))
    assert titles[2:5] == ["mean amount", "MAE of log amount", "decile MAPE"]
    assert len(lines) == len(found["cutoffs"]) > 1
    page = render_report([[results]])
    for text in (
        "MAE of log amount",
        "Expected and actual amount by decile",
        "the first order from cutoff + 0 days on",
    ):
        assert text in page, text
    assert "# Model card: basket_value, lstm" in (basket_run.path / "model_card.md").read_text()
    events = EventAccumulator(str(basket_run.path), size_guidance={"scalars": 0, "images": 0})
    events.Reload()
    assert {"val/nll", "val/log_mae", "test/log_mae", "test_past_order_mean/gini"} <= set(events.Tags()["scalars"])
    figures = results.pages.figures(results.metrics, results.test, results.names)
    assert {f"test/{name}" for name in figures} == set(events.Tags()["images"])
    assert not set(events.Tags()["images"]) & set(events.Tags()["scalars"])  # TensorBoard would show neither


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (["data.roles.amount=null"], "no data.roles.amount"),
        (["labels=given", "labels.path=x.csv"], "task=basket_value has labels of its own"),
        (["imbalance=smote"], "task=basket_value has no classes to balance"),
        (["objective=auroc"], "objective must be one of log_mae"),
        (["baselines=[past_mean]"], "past_mean answers value"),
    ],
)
def test_what_cannot_be_asked(train: Callable[..., Run], tmp_path: Path, overrides: list[str], message: str) -> None:
    with pytest.raises(ValueError, match=message.replace(".", r"\.")) as raised:
        train(*BASKET, *overrides, f"paths.data_dir={tmp_path}", f"paths.output_dir={tmp_path / 'run'}")
    assert "\n" not in str(raised.value)
    assert not (tmp_path / "run").exists()


def test_a_log_of_returns_alone(train: Callable[..., Run], shop_log: pd.DataFrame, tmp_path: Path) -> None:
    shop_log.assign(spend=-1.0).to_csv(tmp_path / "log.csv", index=False)
    with pytest.raises(ValueError, match=r"0 of .* snapshots in train are followed by an order above 0"):
        train(*BASKET, f"data.path={tmp_path / 'log.csv'}", f"paths.output_dir={tmp_path / 'run'}")
    assert not (tmp_path / "run").exists()
