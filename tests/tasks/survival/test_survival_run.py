"""A survival run from log to run directory: curves, censoring, leakage, checkpoint, resume, evaluation, prediction,
report.
"""

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from clm_dl import Survival
from clm_dl.data.open import open_store
from clm_dl.data.store.store import EventStore
from clm_dl.experiment.rescoring import rescored
from clm_dl.experiment.run_files import read_results
from clm_dl.run import Run, load_run
from clm_dl.tasks.module import SequenceTask
from clm_dl.tasks.survival.calibration import CurveCalibrator
from clm_dl.tasks.survival.metrics import restricted_mean
from clm_dl.tasks.survival.task import SurvivalTask
from clm_dl.visual.html import render_report

DAYS = [0, 14, 28]
SURVIVAL = ("task=survival", f"task.horizons_days={DAYS}", "baselines=[base_rate,logistic]")


@pytest.fixture(scope="module")
def survival_run(train: Callable[..., Run]) -> Run:
    return train(*SURVIVAL)


def test_scores_are_curves_and_metrics_are_by_horizon(survival_run: Run) -> None:
    scores, metrics = survival_run.scores, survival_run.metrics
    assert scores.groupby(["model", "split", "customer_id", "cutoff"])["horizon"].apply(list).map(
        tuple
    ).unique().tolist() == [tuple(DAYS)]
    task = survival_run.trained.task
    table = task.read(scores, "test")
    assert list(table.active) == ["network", "base_rate", "logistic"]
    for curves in (*table.active.values(), *table.raw.values()):
        assert ((curves >= 0) & (curves <= 1)).all()
        assert (np.diff(curves, axis=1) <= 1e-9).all()
    assert (np.diff(np.nan_to_num(table.label, nan=-1.0), axis=1) <= 0).all()
    assert metrics["task"] == "survival"
    assert metrics["horizons_days"] == DAYS
    assert set(metrics["split"]["test"]["overall"]["network"]) == {metric.name for metric in task.metrics()}
    assert set(metrics["difference"]["test"]) == {"network - base_rate", "network - logistic"}
    assert task.follow_days == DAYS[-1]
    assert metrics["reference"]["test"]["censored"] == {
        "0": 0,
        "14": 0,
        "28": 0,
    }  # auto leaves test room to be followed


def test_every_horizon_is_calibrated_on_the_newest_validation_cutoff_alone(survival_run: Run) -> None:
    validation, test = (survival_run.trained.task.read(survival_run.scores, split) for split in ("val", "test"))
    assert validation.cutoff.nunique() > 1
    newest = np.broadcast_to((validation.cutoff == validation.cutoff.max())[:, None], validation.label.shape)
    assert not np.isnan(validation.label[newest]).any()  # followed through each horizon
    for model, raw in validation.raw.items():
        options = {"cutoff": validation.cutoff.astype("int64"), "known_NS": ~np.isnan(validation.label)}
        expected = CurveCalibrator().fit_over(raw, validation.label, newest_NS=newest, **options)
        np.testing.assert_allclose(validation.active[model], expected.predict(raw), rtol=1e-6, err_msg=model)
        np.testing.assert_allclose(test.active[model], expected.predict(test.raw[model]), rtol=1e-6, err_msg=model)


def test_horizon_0_is_the_churn_of_the_same_snapshots(survival_run: Run, shop_store: EventStore) -> None:
    task = survival_run.trained.task
    cases = task.cases(shop_store)
    assert not np.isnan(cases.outcome[:, 0]).any()
    np.testing.assert_array_equal(cases.outcome[:, 0], 1 - cases.snapshots.label)
    own = cases.snapshots.fingerprint(shop_store)
    assert task.fingerprint(cases) == survival_run.metrics["fingerprint"] != own


def test_checkpoint_gives_the_same_curves_and_evaluation_the_same_metrics(
    survival_run: Run, shop_store: EventStore
) -> None:
    run = load_run(survival_run.path)
    assert isinstance(run.trained.task, SurvivalTask)
    scores, summary = rescored(run.trained, shop_store, resamples=run.config["bootstrap"])
    again, ours = (run.trained.task.read(table, "test").active["network"] for table in (scores, run.scores))
    np.testing.assert_allclose(again, ours, atol=1e-6)
    assert (
        summary(scores)["split"]["test"]["overall"]["logistic"] == run.metrics["split"]["test"]["overall"]["logistic"]
    )


def test_prediction_has_a_row_a_horizon_and_the_future_changes_nothing(
    survival_run: Run, shop_log: pd.DataFrame
) -> None:
    before = shop_log[shop_log["ts"] < "2021-08-01"]
    later = shop_log[shop_log["ts"] >= "2021-08-01"].sample(frac=1.0, random_state=0)
    shuffled = pd.concat([before, later.assign(ts=later["ts"].to_numpy()[::-1], spend=1.0)])
    table = survival_run.predict(before, cutoff="2021-08-01")
    assert table["horizon"].tolist() == DAYS * before["cust"].nunique()
    assert table["label"].isna().all()
    curves = table["score"].to_numpy().reshape(-1, 3)
    np.testing.assert_allclose(np.cumprod(1 - table["hazard"].to_numpy().reshape(-1, 3), axis=1), curves)
    np.testing.assert_allclose(table["remaining_days"].to_numpy()[::3], restricted_mean(curves, DAYS))
    assert (np.diff(curves, axis=1) <= 1e-9).all()
    pd.testing.assert_frame_equal(survival_run.predict(shuffled, cutoff="2021-08-01"), table)


def test_report_card_and_tensorboard(survival_run: Run) -> None:
    [results] = read_results(survival_run.path)
    page = render_report([[results]])
    for text in ("C-index", "ECE by horizon", "28 days", "silence of 28 days", "Calibration error by horizon"):
        assert text in page, text
    card = (survival_run.path / "model_card.md").read_text()
    assert "# Model card: survival, lstm" in card
    assert "Active through a horizon" in card
    events = EventAccumulator(str(survival_run.path), size_guidance={"scalars": 0, "images": 0})
    events.Reload()
    assert {"val/nll", "test/c_index", "test/ece@28", "test_logistic/ibs"} <= set(events.Tags()["scalars"])
    figures = results.pages.figures(results.metrics, results.test, results.names)
    assert {f"test/{name}" for name in figures} == set(events.Tags()["images"])
    assert not set(events.Tags()["images"]) & set(events.Tags()["scalars"])  # TensorBoard would show neither


def test_two_seeds_are_compared(survival_run: Run, train: Callable[..., Run]) -> None:
    other = train(*SURVIVAL, "seed=1")
    page = render_report([read_results(one.path) for one in (survival_run, other)])
    assert "C-index" in page


LONG = (*SURVIVAL, "baselines=none", "trainer.max_epochs=4", "callbacks.patience=9")


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
    assert load_run(tmp_path / "run").status["state"] == "interrupted"
    last = tmp_path / "run" / "checkpoints" / "last.ckpt"
    resumed = train(*LONG, f"ckpt={last}", f"paths.output_dir={tmp_path / 'run'}")
    assert resumed.metrics == straight.metrics
    assert resumed.scores.equals(straight.scores)


def test_training_knows_nothing_of_what_comes_after_the_first_validation_cutoff(
    survival_run: Run, shop_store: EventStore, shop_log: pd.DataFrame, tmp_path: Path
) -> None:
    """Shuffling it leaves every input and target of training bit-equal, and the labels of test not."""
    run, task = survival_run, survival_run.trained.task
    cases = task.cases(shop_store)
    first = pd.Timestamp(cases.snapshots.cutoff[cases.snapshots.split != "train"].min(), unit="us")
    late = shop_log["ts"] >= first
    moved = shop_log.copy()
    moved.loc[late, "cust"] = np.random.default_rng(0).permutation(shop_log.loc[late, "cust"].to_numpy())
    moved.to_csv(tmp_path / "moved.csv", index=False)
    data, paths = run.config["data"] | {"path": str(tmp_path / "moved.csv")}, run.config["paths"]
    other = task.cases(open_store(data, paths | {"data_dir": str(tmp_path)}))
    rows = np.flatnonzero(cases.snapshots.split == "train")
    np.testing.assert_array_equal(rows, np.flatnonzero(other.snapshots.split == "train"))
    np.testing.assert_array_equal(cases.outcome[rows], other.outcome[rows])
    np.testing.assert_array_equal(cases.target_NK[rows], other.target_NK[rows])
    test, its_test = (one.outcome[one.snapshots.split == "test"] for one in (cases, other))
    assert not np.array_equal(test, its_test)
    known = {"vocabulary": run.vocabulary, "schema": run.schema}
    ours, theirs = (task.inputs(one, **known).dataset[rows] for one in (cases, other))
    for name in ("numeric_BTF", "gap_BT", "age_BT", "time_BT", "mask_BT", "recency_B", "tenure_B", "known_BK"):
        torch.testing.assert_close(getattr(ours, name), getattr(theirs, name), rtol=0, atol=0, equal_nan=True)
    assert torch.equal(ours.bags["dept"][0], theirs.bags["dept"][0])


def test_api(shop_log: pd.DataFrame, tmp_path: Path) -> None:
    tiny = [
        "trainer.max_epochs=1",
        "task.steps_per_epoch=null",
        "trainer.enable_progress_bar=false",
        "encoder.hidden_size=8",
        "baselines=[base_rate]",
        "bootstrap=20",
    ]
    run = Survival("gru", [0, 14], active_days=56, overrides=tiny).fit(
        shop_log, customer="cust", time="ts", output_dir=tmp_path / "run"
    )
    assert run.metrics["horizons_days"] == [0, 14]
    assert json.loads((run.path / "status.json").read_text())["state"] == "finished"


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (["task.horizons_days=[28,0]"], "task.horizons_days must ascend"),
        (["task.horizons_days=[]"], "task.horizons_days is empty"),
        (["task.horizons_days=[-7,28]"], "task.horizons_days must be days ≥ 0"),
        (["task.horizons_days=[0,9000]"], "no snapshot matured"),
        (["task.horizons_days=[0,150]", "snapshots.val_customers=0.2"], "no train snapshot is followed for 150 days"),
        (["labels=given", "labels.path=x.csv"], "labels.path: no file"),
        (["snapshots.gap_days=7"], "set snapshots.gap_days=0"),
        (["objective=auroc"], "objective must be one of c_index"),
        (["baselines=[forest]"], "forest answers churn, propensity"),
    ],
)
def test_what_cannot_be_asked(train: Callable[..., Run], tmp_path: Path, overrides: list[str], message: str) -> None:
    with pytest.raises(ValueError, match=message.replace("(", r"\(").replace(".", r"\.")) as raised:
        train(*SURVIVAL, *overrides, f"paths.output_dir={tmp_path / 'run'}")
    assert "\n" not in str(raised.value)
    assert not (tmp_path / "run").exists()
