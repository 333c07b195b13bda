"""A multi-task run from log to run directory: rows and metrics of every question, resume, prediction, evaluation,
`init`.
"""

import json
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from clm_dl.data.open import open_store
from clm_dl.data.store.store import EventStore
from clm_dl.evaluation.comparison import group_runs, paired_difference
from clm_dl.experiment.rescoring import rescored
from clm_dl.experiment.run_files import MODEL, read_results
from clm_dl.experiment.sweep.objective import objective
from clm_dl.run import Run, load_run
from clm_dl.tasks.module import SequenceTask
from clm_dl.tasks.multitask.task import MultiTask
from clm_dl.visual.html import render_report
from clm_dl.visual.terminal import print_comparison, print_runs

DAYS = [0, 14, 28]
MULTITASK = ("task=multitask", f"task.horizons_days={DAYS}", "baselines=[base_rate,logistic,past_mean]")
QUESTIONS = ["churn", "survival", "value"]


@pytest.fixture(scope="module")
def multitask_run(train: Callable[..., Run]) -> Run:
    return train(*MULTITASK)


def test_scores_and_metrics_are_those_of_every_question(multitask_run: Run) -> None:
    scores, metrics = multitask_run.scores, multitask_run.metrics
    assert list(pd.unique(scores["task"])) == QUESTIONS
    models = scores.groupby("task")["model"].unique().map(set).to_dict()
    assert models == {
        "churn": (both := {"network", "base_rate", "logistic"}),
        "survival": both,
        "value": {"network", "past_mean"},
    }
    network = scores[scores["model"] == "network"].groupby("task").size()
    assert network["survival"] == len(DAYS) * network["churn"] == len(DAYS) * network["value"]
    assert metrics["task"] == "multitask"
    assert list(metrics["tasks"]) == QUESTIONS
    for name, main in {"churn": "auroc", "survival": "c_index", "value": "gini"}.items():
        part = metrics["tasks"][name]
        assert part["task"] == name
        assert part["split"]["test"]["overall"]["network"][main]["value"] > 0.5
        assert part["best_baseline"]["name"] in models[name]
    for key in (
        "split",
        "difference",
        "best_baseline",
        "reference",
    ):  # what readers of metrics.json find: the first question's
        assert metrics[key] == metrics["tasks"]["churn"][key]
    assert metrics["fingerprint"] == "+".join(part["fingerprint"] for part in metrics["tasks"].values())
    first, optimised = read_results(multitask_run.path)[0], multitask_run.config["objective"]
    loss = metrics["split"]["val"]["overall"]["network"]["log_loss"]["value"]
    assert objective(first.metrics, first.known, optimised) == loss


@pytest.mark.slow
def test_a_part_scores_the_snapshots_of_a_run_of_its_question_alone(
    multitask_run: Run, train: Callable[..., Run]
) -> None:
    alone = train("task=survival", f"task.horizons_days={DAYS}", "baselines=[base_rate,logistic]")
    whole, (other,) = read_results(multitask_run.path), read_results(alone.path)
    (part,) = (part for part in whole if part.task.name == "survival")
    assert part.metrics["fingerprint"] == alone.metrics["fingerprint"]
    for name in ("base_rate", "logistic"):
        assert part.metrics["split"]["test"]["overall"][name] == alone.metrics["split"]["test"]["overall"][name]
    groups = group_runs([part, other])
    assert len(groups) == 2
    found = paired_difference(groups[0], groups[1], resamples=20)
    assert found is not None
    values = [run.metrics["split"]["test"]["overall"]["network"]["c_index"]["value"] for run in (part, alone)]
    assert found["c_index"]["value"] == pytest.approx(values[0] - values[1])
    again = read_results(train(*MULTITASK, "baselines=none", "seed=1").path)
    for one, its in zip(whole, again, strict=True):
        assert paired_difference(*group_runs([one, its])[:2], resamples=20) is not None
    assert "AUC" in render_report([whole, [other]])


def test_a_question_asked_alone_is_its_own_task_to_the_last_bit(run: Run, train: Callable[..., Run]) -> None:
    alone = train("task=multitask", "task.weights={churn:1,survival:0,value:0,next_event:0}")
    pd.testing.assert_frame_equal(alone.scores, run.scores)
    assert alone.metrics["tasks"] == {"churn": run.metrics}


def test_checkpoint_is_data_and_holds_a_calibration_for_each_question(multitask_run: Run) -> None:
    checkpoint = torch.load(multitask_run.path / MODEL, weights_only=True)
    assert checkpoint["task"] == "multitask"
    assert list(checkpoint["calibration"]) == QUESTIONS
    assert set(checkpoint["schema"]["value"]) == {"center", "scale", "largest", "orders"}
    run = load_run(multitask_run.path)
    assert isinstance(run.trained.task, MultiTask)
    assert {name: type(part).__name__ for name, part in run.calibration.items()} == {
        "churn": "PlattCalibrator",
        "survival": "CurveCalibrator",
        "value": "ValueCalibrator",
    }
    assert run.embed().shape[1] == 2 + 8


def test_evaluation_scores_every_question_again(multitask_run: Run, shop_store: EventStore) -> None:
    scores, summary = rescored(multitask_run.trained, shop_store, resamples=50)
    again = summary(scores)
    for name in QUESTIONS:
        one, two = (found["tasks"][name]["split"]["test"]["overall"] for found in (again, multitask_run.metrics))
        assert set(one) == set(two)
        for model, metrics in two.items():
            for metric, figure in metrics.items():
                assert one[model][metric]["value"] == pytest.approx(figure["value"], abs=1e-5), (name, model, metric)


def test_prediction_has_the_rows_of_every_question_and_the_future_changes_nothing(
    multitask_run: Run, shop_log: pd.DataFrame
) -> None:
    before = shop_log[shop_log["ts"] < "2021-08-01"]
    later = shop_log[shop_log["ts"] >= "2021-08-01"].sample(frac=1.0, random_state=0)
    shuffled = pd.concat([before, later.assign(ts=later["ts"].to_numpy()[::-1], spend=1.0)])
    table, num = multitask_run.predict(before, cutoff="2021-08-01"), before["cust"].nunique()
    assert table.groupby("task", sort=False).size().to_dict() == {
        "churn": num,
        "survival": len(DAYS) * num,
        "value": num,
    }
    assert table["label"].isna().all()
    curves = table.loc[table["task"] == "survival", "score"].to_numpy().reshape(-1, len(DAYS))
    assert (np.diff(curves, axis=1) <= 1e-9).all()
    value = table[table["task"] == "value"]
    assert (value["low"] <= value["high"]).all()
    pd.testing.assert_frame_equal(multitask_run.predict(shuffled, cutoff="2021-08-01"), table)
    with pytest.raises(ValueError, match="recalibrate is for runs that can be backtested, got one of multitask"):
        multitask_run.predict(before, cutoff="2021-08-01", recalibrate=True)


def test_report_card_terminal_and_tensorboard(multitask_run: Run, capsys: pytest.CaptureFixture[str]) -> None:
    questions = read_results(multitask_run.path)
    page = render_report([questions])
    for text in (
        "run: churn",
        "run: survival",
        "run: value",
        "C-index",
        "Gini",
        "Calibrated scores in 15 bins",
        "ECE by horizon",
    ):
        assert text in page, text
    card = (multitask_run.path / "model_card.md").read_text()
    for text in (
        "# Model card: multitask, lstm",
        "## Test metrics (churn)",
        "## Test metrics (survival)",
        "## Test metrics (value)",
    ):
        assert text in card, text
    print_comparison(questions)
    print_runs(questions)
    printed = capsys.readouterr().out
    for text in ("churn: test split", "survival: test split", "value: test split", "network − past_mean"):
        assert text in printed, text
    events = EventAccumulator(str(multitask_run.path), size_guidance={"scalars": 0, "images": 0})
    events.Reload()
    validation = {
        "val/loss",
        "val/churn_log_loss",
        "val/churn_auroc",
        "val/survival_nll",
        "val/value_nll",
        "val/next_event_loss",
    }
    final = {
        "test/churn_auroc",
        "test/survival_c_index",
        "test/value_gini",
        "test_logistic/churn_auroc",
        "test_past_mean/value_gini",
    }
    assert validation | final <= set(events.Tags()["scalars"])
    assert {"test/churn_reliability"} <= set(events.Tags()["images"])
    assert not set(events.Tags()["images"]) & set(events.Tags()["scalars"])  # TensorBoard would show neither
    assert b"task.weights.churn" in events.summary_metadata["_hparams_/session_start_info"].plugin_data.content
    of = {
        name: events.Scalars(f"val/{name}")[-1].value
        for name in ("loss", "churn_log_loss", "survival_nll", "value_nll", "next_event_loss")
    }
    assert of.pop("loss") == pytest.approx(sum(of.values()), rel=1e-5)


LONG = (*MULTITASK, "baselines=none", "trainer.max_epochs=3", "callbacks.patience=9", "task.weighting=uncertainty")


@pytest.mark.slow
def test_resumed_run_equals_the_uninterrupted_one(train: Callable[..., Run], tmp_path: Path) -> None:
    step = SequenceTask.training_step

    def interrupted(task: SequenceTask, batch: object, batch_idx: int) -> torch.Tensor:
        if task.current_epoch == 1 and batch_idx == 1:
            raise KeyboardInterrupt
        return step(task, batch, batch_idx)

    straight = train(*LONG)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(SequenceTask, "training_step", interrupted)
        with pytest.raises(SystemExit):
            train(*LONG, f"paths.output_dir={tmp_path / 'run'}")
    resumed = train(
        *LONG, f"ckpt={tmp_path / 'run' / 'checkpoints' / 'last.ckpt'}", f"paths.output_dir={tmp_path / 'run'}"
    )
    assert resumed.metrics == straight.metrics
    assert resumed.scores.equals(straight.scores)
    assert straight.checkpoint["state_dict"]["log_variance_I"].abs().min() > 0
    assert "weighting/churn" in set(straight.history["name"])


def test_training_knows_nothing_of_what_comes_after_the_first_validation_cutoff(
    multitask_run: Run, shop_store: EventStore, shop_log: pd.DataFrame, tmp_path: Path
) -> None:
    task, config = multitask_run.trained.task, multitask_run.config
    cases = task.cases(shop_store)
    assert task.fingerprint(cases) == multitask_run.metrics["fingerprint"]
    first = pd.Timestamp(cases.snapshots.cutoff[cases.snapshots.split != "train"].min(), unit="us")
    late, moved = shop_log["ts"] >= first, shop_log.copy()
    moved.loc[late, "cust"] = np.random.default_rng(0).permutation(shop_log.loc[late, "cust"].to_numpy())
    moved.loc[late, "spend"] = 1.0
    moved.to_csv(tmp_path / "moved.csv", index=False)
    data, paths = config["data"] | {"path": str(tmp_path / "moved.csv")}, config["paths"] | {"data_dir": str(tmp_path)}
    other = task.cases(open_store(data, paths))
    rows = np.flatnonzero(cases.snapshots.split == "train")
    assert cases.target_NK.shape[1] == len(DAYS) + 2
    np.testing.assert_array_equal(cases.target_NK[rows], other.target_NK[rows])
    assert task.head_schema(cases) == task.head_schema(other)
    assert not np.array_equal(cases.target_NK[-50:], other.target_NK[-50:], equal_nan=True)


@pytest.mark.slow
def test_it_starts_from_a_pretraining_with_few_labels(
    multitask_run: Run, train: Callable[..., Run], shop_store: EventStore
) -> None:
    snapshots = multitask_run.trained.task.cases(shop_store).snapshots
    last = pd.Timestamp(snapshots.last_training_cutoff, unit="us").isoformat()  # survival's is older than pretraining's
    pretraining = ("task=pretrain", "task.held_out=0.3", "baselines=none", "trainer.max_epochs=1")
    pretrained = train(*pretraining, f"snapshots.train=['{last}']")
    run = train(
        *MULTITASK,
        f"init={pretrained.path}",
        "encoder.frozen=true",
        "snapshots.label_share=0.5",
        "baselines=[embedding_logistic]",
    )
    mine, theirs = run.checkpoint["state_dict"], pretrained.checkpoint["state_dict"]
    assert all(
        mine[name].equal(tensor) for name, tensor in theirs.items() if name.startswith(("embedding.", "encoder."))
    )
    assert set(run.scores.loc[run.scores["task"] == "churn", "model"]) == {"network", "embedding_logistic"}
    assert set(run.scores.loc[run.scores["task"] == "value", "model"]) == {"network"}
    assert run.metrics["tasks"]["value"]["best_baseline"]["name"] is None


@pytest.mark.slow
def test_parts_without_weight_have_no_scores_and_baselines_need_no_network(train: Callable[..., Run]) -> None:
    few = train(
        *MULTITASK, "task.weights.churn=0", "task.weights.next_event=null", "baselines=none", "snapshots.folds=2"
    )
    assert list(few.metrics["tasks"]) == ["survival", "value"]
    assert few.metrics["split"] == few.metrics["tasks"]["survival"]["split"]
    assert [len(part["fingerprint"].split("-")) for part in few.metrics["tasks"].values()] == [2, 2]
    bare = train(*MULTITASK, "encoder=none")
    assert list(bare.metrics["tasks"]) == QUESTIONS
    assert bare.metrics["difference"] == {}


@pytest.mark.slow
def test_commands(multitask_run: Run, shop_csv: Path, call: Callable[..., str], tmp_path: Path) -> None:
    run, python = f"run={multitask_run.path}", (sys.executable, "-m")
    call(
        *python, "clm_dl.predict", run, f"input={shop_csv}", "cutoff=2021-08-01", "output=scores.parquet", cwd=tmp_path
    )
    found, expected = (
        pd.read_parquet(tmp_path / "scores.parquet"),
        multitask_run.predict(str(shop_csv), cutoff="2021-08-01"),
    )
    np.testing.assert_allclose(found["score"], expected["score"], rtol=1e-5)
    printed = call(*python, "clm_dl.evaluate", run, "bootstrap=20", cwd=tmp_path)
    for text in ("churn: test split", "survival: test split", "value: test split", "AUC by cutoff", "Gini by cutoff"):
        assert text in printed, text
    assert list(json.loads((multitask_run.path / "evaluation.json").read_text())["all"]["tasks"]) == QUESTIONS
    call(*python, "clm_dl.embed", run, f"input={shop_csv}", "output=vectors.parquet", cwd=tmp_path)
    assert pd.read_parquet(tmp_path / "vectors.parquet").filter(like="z").shape[1] == 8


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (["task.weights={churn:0,survival:0,value:0}"], "task.weights leaves no question to answer"),
        (["task.weights.churn=-1"], "task.weights.churn must be a number"),
        (["task.weighting=learnt"], "task.weighting must be one of fixed, uncertainty"),
        (["task.horizons_days=[28,0]"], "task.horizons_days must ascend"),
        (["task.coverage=2"], "task.coverage must lie strictly between 0 and 1"),
        (["task.positive_weight=0"], "task.positive_weight must be > 0"),
        (["labels=event"], "which is no churn"),
        (["data.roles.amount=null"], "name the column of money, or leave the question out with task.weights.value=0"),
        (["baselines=[popular]"], "popular answers next_item, next_order"),
        (["encoder=none", "baselines=[base_rate]"], "leave nothing that answers value"),
        (["objective=c_index"], "objective must be one of auroc"),
        (["encoder=transformer", "encoder.causal=false"], "task.weights.next_event needs a causal encoder"),
    ],
)
def test_what_cannot_be_asked(train: Callable[..., Run], tmp_path: Path, overrides: list[str], message: str) -> None:
    with pytest.raises(ValueError, match=message.replace("(", r"\(").replace(".", r"\.")) as raised:
        train(*MULTITASK, *overrides, f"paths.data_dir={tmp_path}", f"paths.output_dir={tmp_path / 'run'}")
    assert "\n" not in str(raised.value)
    assert not (tmp_path / "run").exists()
