"""Runs that an earlier version wrote (tests/old_runs): they load, predict, embed, are evaluated and reported as on the
day they were made.
"""

import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from clm_dl import Run, load_run

FOLDER = Path(__file__).parent / "old_runs" / "version_1"
SNAPSHOTS = ("churn", "survival", "value", "multitask")
RANKED = ("next_item", "next_order")
ALL = (*SNAPSHOTS, *RANKED, "pretrain")
KEYS = ["task", "customer_id", "cutoff", "horizon"]


@pytest.fixture
def old(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[str], Run]:
    """A copy of an old run beside its log, which it names relative to the working directory."""

    def copy(name: str) -> Run:
        shutil.copytree(FOLDER / name, tmp_path / name)
        shutil.copy(FOLDER / "log.csv", tmp_path)
        monkeypatch.chdir(tmp_path)
        return load_run(name)

    return copy


@pytest.mark.parametrize("name", ALL)
def test_loads(name: str, old: Callable[[str], Run]) -> None:
    run = old(name)
    assert run.status["state"] == "finished"
    assert run.metrics["task"] == name == run.task.name
    assert {"network"} <= set(run.scores["model"])
    assert run.vocabulary.fields
    assert run.embed("log.csv", cutoff="2022-08-01").shape[1] > 2


@pytest.mark.parametrize("name", SNAPSHOTS)
def test_predicts_what_it_scored(name: str, old: Callable[[str], Run]) -> None:
    run = old(name)
    scored = run.scores[(run.scores["model"] == "network") & (run.scores["split"] == "test")]
    newest = scored["cutoff"].max()
    predicted = run.predict("log.csv", cutoff=newest)
    both = scored[scored["cutoff"] == newest].merge(predicted, on=KEYS, suffixes=("", "_predicted"))
    assert len(both) == (scored["cutoff"] == newest).sum() > 20
    np.testing.assert_allclose(both["score_predicted"], both["score"], rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("name", RANKED)
def test_recommends(name: str, old: Callable[[str], Run]) -> None:
    run = old(name)
    lists = run.recommend("log.csv", k=3)
    assert lists["rank"].max() == 3
    assert len(lists) > 100
    assert set(run.recommend("log.csv", k=3, model="repeat").columns) == set(lists.columns)


@pytest.mark.parametrize("name", ALL)
def test_is_evaluated_and_reported_by_command(
    name: str, old: Callable[[str], Run], monkeypatch: pytest.MonkeyPatch
) -> None:
    from clm_dl.evaluate import main as evaluate
    from clm_dl.report import main as report

    run = old(name)
    monkeypatch.setattr("sys.argv", ["clm-evaluate", f"run={name}", "bootstrap=20"])
    evaluate()
    found = pd.read_json(run.path / "evaluation.json")["all"]["split"]["test"]["overall"]
    before = run.metrics["split"]["test"]["overall"]
    for model, values in before.items():
        for metric, figure in values.items():
            if figure["value"] is not None:
                assert found[model][metric]["value"] == pytest.approx(figure["value"], rel=1e-3, abs=1e-3), (
                    model,
                    metric,
                )
    monkeypatch.setattr("sys.argv", ["clm-report", f"runs={name}", "output=report.html"])
    report()
    page = Path("report.html").read_text()
    assert name in page
    assert "data:image/png" in page
