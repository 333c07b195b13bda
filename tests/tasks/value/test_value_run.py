"""A value run from log to run directory: forecasts, leakage, checkpoint, resume, evaluation, backtest, prediction,
report.
"""

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from clm_dl import Value
from clm_dl.data.open import open_store
from clm_dl.data.store.store import EventStore
from clm_dl.experiment.backtest import backtest
from clm_dl.experiment.rescoring import rescored
from clm_dl.experiment.run_files import read_results
from clm_dl.run import Run, load_run
from clm_dl.tasks.cases import Cases
from clm_dl.tasks.module import SequenceTask
from clm_dl.tasks.value.calibration import ValueCalibrator
from clm_dl.tasks.value.metrics import METRICS
from clm_dl.tasks.value.task import ValueTask
from clm_dl.visual.drift import rows as drift_rows
from clm_dl.visual.html import render_report

VALUE = ("task=value", "baselines=[past_mean,ridge]")


@pytest.fixture(scope="module")
def value_run(train: Callable[..., Run]) -> Run:
    return train(*VALUE)


@pytest.fixture(scope="module")
def cases(value_run: Run, shop_store: EventStore) -> Cases:
    return value_run.trained.task.cases(shop_store)


def test_scores_are_money_and_metrics_are_complete(value_run: Run, cases: Cases) -> None:
    task, metrics = value_run.trained.task, value_run.metrics
    table = task.read(value_run.scores, "test")
    assert list(table.forecasts) == ["network", "past_mean", "ridge"]
    for forecast in table.forecasts.values():
        assert (forecast.score >= 0).all()
    network = table.forecasts["network"]
    assert network.low is not None
    assert network.high is not None
    assert (network.low <= network.high).all()
    np.testing.assert_allclose(table.spend, cases.outcome[cases.snapshots.split == "test", 0])
    assert metrics["task"] == "value"
    assert set(metrics["split"]["test"]["overall"]["network"]) == {metric.name for metric in METRICS}
    assert set(metrics["difference"]["test"]) == {"network - past_mean", "network - ridge"}
    assert metrics["fingerprint"] == task.fingerprint(cases) != cases.snapshots.fingerprint(cases.store)


def test_spend_and_orders_are_calibrated_on_the_newest_validation_cutoff(value_run: Run, cases: Cases) -> None:
    chosen = cases.snapshots.calibration[cases.held_out]
    known = cases.snapshots.validation[cases.held_out]
    options = {"cutoff": cases.snapshots.cutoff[cases.held_out][known], "newest": chosen[known]}
    for model, part in value_run.scores.groupby("model"):
        expected = ValueCalibrator().fit_over(part["score_raw"][known], part["label"][known], **options)
        np.testing.assert_allclose(part["score"], expected.predict(part["score_raw"]), rtol=1e-6, err_msg=str(model))
        assert value_run.metrics["calibration"][model].startswith(str(expected.told))
    calibration = value_run.calibration
    assert f"; orders: {calibration.orders.told}" in value_run.metrics["calibration"]["network"]
    network = value_run.scores[value_run.scores["model"] == "network"][chosen]
    inside = (network["label"] >= network["low"]) & (network["label"] <= network["high"])
    assert inside.mean() >= value_run.config["task"]["coverage"]


def test_checkpoint_gives_the_same_forecasts_and_evaluation_the_same_metrics(
    value_run: Run, shop_store: EventStore
) -> None:
    run = load_run(value_run.path)
    assert isinstance(run.trained.task, ValueTask)
    scores, summary = rescored(run.trained, shop_store, resamples=run.config["bootstrap"])
    read = run.trained.task.read
    again, ours = (read(table, "test").forecasts["network"].score for table in (scores, run.scores))
    np.testing.assert_allclose(again, ours, rtol=1e-4)
    assert summary(scores)["split"]["test"]["overall"]["ridge"] == run.metrics["split"]["test"]["overall"]["ridge"]


def test_the_future_changes_no_prediction(value_run: Run, shop_log: pd.DataFrame) -> None:
    before = shop_log[shop_log["ts"] < "2021-08-01"]
    later = shop_log[shop_log["ts"] >= "2021-08-01"]
    shuffled = pd.concat([before, later.assign(ts=later["ts"].to_numpy()[::-1], spend=1.0)])
    table = value_run.predict(before, cutoff="2021-08-01")
    assert table["customer_id"].nunique() == len(table) == before["cust"].nunique()
    assert table["label"].isna().all()
    assert (table[["score", "median", "low", "high", "expected_orders"]] >= 0).all().all()
    pd.testing.assert_frame_equal(value_run.predict(shuffled, cutoff="2021-08-01"), table)


def test_recalibrated_predictions_differ_in_the_amounts_alone(value_run: Run) -> None:
    frozen, recalibrated = value_run.predict(), value_run.predict(recalibrate=True)
    assert np.array_equal(frozen["score_raw"], recalibrated["score_raw"])
    assert not np.allclose(frozen["score"], recalibrated["score"])
    assert np.array_equal(frozen["median"], recalibrated["median"])
    assert (recalibrated["score"] > 0).all()


def test_backtest_shows_order_and_amounts_apart(value_run: Run, shop_store: EventStore) -> None:
    found = backtest(value_run.trained, shop_store, "rolling", resamples=5)
    titles, lines = drift_rows(replace(read_results(value_run.path)[0], backtest=found))
    assert titles[2:6] == ["mean label", "Gini", "decile MAPE", "decile MAPE recal."]
    assert len(lines) == len(found["cutoffs"]) > 1
    for at in found["cutoffs"]:
        models = found["metrics"]["split"]["test"]["per_cutoff"][at["cutoff"]]
        assert models["network"]["bias"]["value"] == pytest.approx(at["bias"]["network"])
        assert models["network"]["coverage"]["value"] > 0.5


def test_report_card_and_tensorboard(value_run: Run) -> None:
    [results] = read_results(value_run.path)
    page = render_report([[results]])
    for text in ("Gini", "decile MAPE", "Expected and actual spend by decile", "Bias is (expected − spent) / spent"):
        assert text in page, text
    card = (value_run.path / "model_card.md").read_text()
    assert "# Model card: value, lstm" in card
    assert "Forecast: money spent in" in card
    events = EventAccumulator(str(value_run.path), size_guidance={"scalars": 0, "images": 0})
    events.Reload()
    assert {"val/nll", "val/nll_spend", "test/gini", "test_ridge/decile_mape"} <= set(events.Tags()["scalars"])
    figures = results.pages.figures(results.metrics, results.test, results.names)
    assert {f"test/{name}" for name in figures} == set(events.Tags()["images"])
    assert not set(events.Tags()["images"]) & set(events.Tags()["scalars"])  # TensorBoard would show neither


@pytest.mark.slow
def test_two_seeds_are_compared(value_run: Run, train: Callable[..., Run]) -> None:
    assert "Gini" in render_report([read_results(one.path) for one in (value_run, train(*VALUE, "seed=1"))])


LONG = (*VALUE, "baselines=none", "trainer.max_epochs=4", "callbacks.patience=9")


@pytest.mark.slow
def test_resumed_run_equals_the_uninterrupted_one(train: Callable[..., Run], tmp_path: Path) -> None:
    step = SequenceTask.training_step

    def interrupted(task: SequenceTask, batch: object, batch_idx: int) -> torch.Tensor:
        if task.current_epoch == 2 and batch_idx == 1:
            raise KeyboardInterrupt
        return step(task, batch, batch_idx)

    straight = train(*LONG)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(SequenceTask, "training_step", interrupted)
        with pytest.raises(SystemExit):
            train(*LONG, f"paths.output_dir={tmp_path / 'run'}")
    last = tmp_path / "run" / "checkpoints" / "last.ckpt"
    resumed = train(*LONG, f"ckpt={last}", f"paths.output_dir={tmp_path / 'run'}")
    assert resumed.metrics == straight.metrics
    assert resumed.scores.equals(straight.scores)


def test_training_knows_nothing_of_what_comes_after_the_first_validation_cutoff(
    value_run: Run, cases: Cases, shop_log: pd.DataFrame, tmp_path: Path
) -> None:
    """Giving it to other customers leaves every input, target and scale of training bit-equal, and the spend of test
    not.
    """
    run, task = value_run, value_run.trained.task
    late = shop_log["ts"] >= pd.Timestamp(cases.snapshots.cutoff[cases.snapshots.split != "train"].min(), unit="us")
    moved = shop_log.copy()
    moved.loc[late, "cust"] = np.random.default_rng(0).permutation(shop_log.loc[late, "cust"].to_numpy())
    moved.to_csv(tmp_path / "moved.csv", index=False)
    data, paths = run.config["data"] | {"path": str(tmp_path / "moved.csv")}, run.config["paths"]
    other = task.cases(open_store(data, paths | {"data_dir": str(tmp_path)}))
    rows = np.flatnonzero(cases.snapshots.split == "train")
    np.testing.assert_array_equal(cases.outcome[rows], other.outcome[rows])
    assert task.head_schema(cases) == task.head_schema(other)
    test, its_test = (one.outcome[one.snapshots.split == "test"] for one in (cases, other))
    assert not np.array_equal(test, its_test)
    known = {"vocabulary": run.vocabulary, "schema": run.schema}
    ours, theirs = (task.inputs(one, **known).dataset[rows] for one in (cases, other))
    for name in ("numeric_BTF", "gap_BT", "age_BT", "time_BT", "mask_BT", "recency_B", "tenure_B", "known_BK"):
        torch.testing.assert_close(getattr(ours, name), getattr(theirs, name), rtol=0, atol=0, equal_nan=True)


def test_api(shop_log: pd.DataFrame, tmp_path: Path) -> None:
    tiny = [
        "trainer.max_epochs=1",
        "task.steps_per_epoch=null",
        "trainer.enable_progress_bar=false",
        "encoder.hidden_size=8",
        "baselines=[past_mean]",
        "bootstrap=20",
    ]
    run = Value("gru", 28, overrides=tiny).fit(
        shop_log, customer="cust", time="ts", amount="spend", output_dir=tmp_path / "run"
    )
    assert run.metrics["task"] == "value"
    assert json.loads((run.path / "status.json").read_text())["state"] == "finished"


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (["data.roles.amount=null"], "the log has no data.roles.amount"),
        (["task.returns=net"], "task.returns must be one of refuse, ignore"),
        (["task.coverage=0"], "task.coverage must lie strictly between 0 and 1"),
        (["snapshots.horizon_days=9000"], "horizon"),
        (["labels=given", "labels.path=x.csv"], "task=value forecasts the spend of the label window"),
        (["imbalance=smote"], "task=value has no classes to balance"),
        (["objective=auroc"], "objective must be one of gini"),
        (["baselines=[forest]"], "forest answers churn, propensity"),
    ],
)
def test_what_cannot_be_asked(train: Callable[..., Run], tmp_path: Path, overrides: list[str], message: str) -> None:
    with pytest.raises(ValueError, match=message.replace("(", r"\(").replace(".", r"\.")) as raised:
        train(*VALUE, *overrides, f"paths.data_dir={tmp_path}", f"paths.output_dir={tmp_path / 'run'}")
    assert "\n" not in str(raised.value)
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(("spend", "message"), [(0.0, "all-zero spend in train"), (-1.0, "amount below 0")])
def test_a_log_without_spend_or_with_returns(
    train: Callable[..., Run], shop_log: pd.DataFrame, tmp_path: Path, spend: float, message: str
) -> None:
    shop_log.assign(spend=spend).to_csv(tmp_path / "log.csv", index=False)
    with pytest.raises(ValueError, match=message) as raised:
        train(*VALUE, f"data.path={tmp_path / 'log.csv'}", f"paths.output_dir={tmp_path / 'run'}")
    assert "\n" not in str(raised.value)
    assert not (tmp_path / "run").exists()
