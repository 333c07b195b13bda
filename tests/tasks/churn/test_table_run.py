"""churn_table from CSV to report: a table of customers with a label, stratified folds, the same Scores and metrics."""

import json
import shutil
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from omegaconf import OmegaConf

from clm_dl import evaluate as evaluate_command
from clm_dl import train as train_command
from clm_dl.config import compose
from clm_dl.errors import UserError
from clm_dl.experiment.experiment import run_experiment
from clm_dl.experiment.run_files import read_results
from clm_dl.run import Run

MODELS = {"network", "base_rate", "logistic", "tree", "lightgbm"}


@pytest.fixture(scope="module")
def csv(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """600 customers whose plan, tenure and bill say half of what there is to know about leaving."""
    rng = np.random.default_rng(0)
    num = 600
    frame = pd.DataFrame(
        {"id": [f"A-{number:04d}" for number in range(num)], "plan": rng.choice(["basic", "plus", "pro"], num)}
    )
    frame["tenure"] = rng.integers(0, 72, num)
    frame["bill"] = np.where(rng.random(num) < 0.1, np.nan, np.round(rng.normal(60, 20, num), 2))
    logit = 1.5 * (frame["plan"] == "basic") - frame["tenure"] / 18 + rng.logistic(size=num)
    frame["left"] = np.where(logit > 0, "Yes", "No")
    frame.loc[7, "left"] = None
    path = tmp_path_factory.mktemp("table") / "customers.csv"
    frame.to_csv(path, index=False)
    return path


def overrides(csv: Path) -> list[str]:
    words = [
        "experiment=churn_table",
        f"data.path={csv}",
        "data.roles.customer=id",
        "data.label=left",
        "data.positive=Yes",
    ]
    return [*words, "baselines=[base_rate,logistic,tree,lightgbm]", "bootstrap=50", "data.folds=3"]


@pytest.fixture(scope="module")
def table_run(csv: Path, tmp_path_factory: pytest.TempPathFactory) -> Run:
    config = compose("train", [*overrides(csv), f"paths.output_dir={tmp_path_factory.mktemp('runs') / 'run'}"])
    return Run(run_experiment(config, log=lambda text: None))


def test_metrics_have_the_same_shape_as_any_run(table_run: Run) -> None:
    metrics = table_run.metrics
    overall = metrics["split"]["test"]["overall"]
    assert set(overall) == MODELS
    assert overall["network"]["auroc"]["value"] > 0.65
    assert overall["network"]["ece"]["value"] < 0.15
    assert overall["base_rate"]["auroc"]["value"] == pytest.approx(0.5, abs=0.05)
    assert metrics["difference"]["test"]["network - logistic"]["auroc"]["low"] < 0.1
    assert metrics["split"]["test"]["per_cutoff"] == {}
    assert (
        metrics["data"] | {"rows_in": 600, "kept": 599, "quarantined": 1, "duplicates": 0, "customers": 599}
        == metrics["data"]
    )
    assert metrics["data"]["snapshots"]["test"] == 599
    assert len(metrics["fingerprint"]) == 32


def test_every_customer_is_scored_once_a_model(table_run: Run) -> None:
    scores = table_run.scores
    assert set(scores["model"]) == MODELS
    assert not scores.duplicated(["customer_id", "model"]).any()
    assert len(scores) == 599 * len(MODELS)
    assert scores["cutoff"].isna().all()


def test_report_and_card_are_rendered(table_run: Run) -> None:
    for name in ("report.html", "model_card.md"):
        text = (table_run.path / name).read_text()
        assert "lightgbm" in text
        assert "599" in text or "600" in text


@pytest.mark.slow
def test_same_seed_same_metrics(csv: Path, table_run: Run, tmp_path: Path) -> None:
    again = Run(
        run_experiment(
            compose("train", [*overrides(csv), f"paths.output_dir={tmp_path / 'run'}"]), log=lambda text: None
        )
    )
    assert (again.path / "metrics.json").read_bytes() == (table_run.path / "metrics.json").read_bytes()


def test_a_run_is_judged_again_from_its_scores_and_says_that_it_keeps_no_model(
    table_run: Run, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for ask in (table_run.predict, table_run.embed):
        with pytest.raises(UserError, match=r"keeps no model of all: read its scores\.parquet"):
            ask()
    before = table_run.scores
    monkeypatch.setattr(sys, "argv", ["clm-evaluate", f"run={table_run.path}", "bootstrap=10"])
    evaluate_command.main()
    assert "network" in capsys.readouterr().out
    pd.testing.assert_frame_equal(Run(table_run.path).scores, before)


def test_a_run_with_the_network_of_an_older_version_is_still_read(table_run: Run, tmp_path: Path) -> None:
    folder = tmp_path / "old"
    shutil.copytree(table_run.path, folder)
    (folder / "manifest.json").unlink()
    config = OmegaConf.load(folder / "config.yaml")
    old = {"name": "network", "_target_": "sklearn.neural_network.MLPClassifier", "alpha": 3.0}
    knn = {"_target_": "sklearn.neighbors.KNeighborsClassifier", "n_neighbors": 200}
    config.data.network, config.baseline.knn = old, {**config.baseline.knn, **knn}
    config.baselines = ["knn"]
    OmegaConf.save(config, folder / "config.yaml")
    [results] = read_results(folder)
    assert results.metrics == table_run.metrics


def test_command_prints_the_comparison(
    csv: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "argv", ["clm-train", *overrides(csv), "baselines=[logistic]", "paths.output_dir=mine"])
    train_command.main()
    printed = capsys.readouterr().out
    assert "network" in printed
    assert "mine" in printed
    assert json.loads((tmp_path / "mine" / "status.json").read_text())["state"] == "finished"


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("data.label=leftt", "did you mean 'left'"),
        ("data.positive=Perhaps", "data.positive must name"),
        ("data.folds=400", "data.folds"),
    ],
)
def test_bad_tables_are_one_sentence_and_no_run(csv: Path, tmp_path: Path, override: str, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        run_experiment(compose("train", [*overrides(csv), override, f"paths.output_dir={tmp_path / 'run'}"]))
    assert not (tmp_path / "run").exists()
