"""Baselines that trials share: to the last bit what each would have fitted itself; those of other settings never."""

from __future__ import annotations

import json
import threading
import zipfile
from collections.abc import Callable
from copy import copy
from dataclasses import replace
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from support import task_of

from clm_dl.baselines.spec import Fitted
from clm_dl.data.store.store import EventStore
from clm_dl.experiment.scoring import run_metrics, score_baselines
from clm_dl.experiment.shared import CALIBRATION, DRAWN, MODEL, ROWS, Shared, read_drawn
from clm_dl.run import Run
from clm_dl.tasks.cases import Cases

BASELINES = "baselines=[recency,lightgbm]"


def same(one: Run, other: Run) -> bool:
    """Whether two runs say the same in every bit: scores, figures, and the baselines that they keep."""
    kept = [{path.name: content(path) for path in run.path.glob("baselines/*/*.skops")} for run in (one, other)]
    said = [[(run.path / name).read_bytes() for name in ("scores.parquet", "metrics.json")] for run in (one, other)]
    return kept[0] == kept[1] != {} and said[0] == said[1]


def content(path: Path) -> Any:
    """What a skops file says, with its arrays in the place of their names and without the numbers of objects."""
    with zipfile.ZipFile(path) as archive:
        files = {name: archive.read(name) for name in archive.namelist()}

    def read(value: Any) -> Any:
        if isinstance(value, dict):
            return {key: read(one) for key, one in value.items() if key != "__id__"}
        return [read(one) for one in value] if isinstance(value, list) else files.get(str(value), value)

    return read(json.loads(files["schema.json"]))


@pytest.mark.slow
def test_a_trial_says_the_same_with_the_baselines_of_another(train: Callable[..., Run], tmp_path: Path) -> None:
    said: list[str] = []
    train("encoder=none", BASELINES, shared=tmp_path)
    before = {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*.*")}
    changed = ["encoder=gru", "encoder.hidden_size=4", "task.optimizer.lr=0.01", "sequence.max_tokens=9", BASELINES]
    with_them = train(*changed, shared=tmp_path, log=said.append)
    assert "baselines: 2 of 2 were fitted by another trial" in said
    assert {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*.*")} == before
    assert same(train(*changed), with_them)


@pytest.mark.slow
def test_hybrids_are_fitted_by_each_trial_from_shared_members(train_ranked: Callable[..., Run], tmp_path: Path) -> None:
    words, said = ["encoder=none", "baselines=[popular,repeat,ease,blend]"], list[str]()
    train_ranked(*words, shared=tmp_path)
    with_them = train_ranked(*words, "seed=1", shared=tmp_path, log=said.append)  # which draws nothing in them
    assert "baselines: 3 of 4 were fitted by another trial" in said
    assert same(train_ranked(*words, "seed=1"), with_them)


@pytest.fixture(scope="module")
def asked(store_of: Callable[..., EventStore], shop_log: pd.DataFrame) -> tuple[Any, Cases]:
    task = task_of("task=churn", "encoder=none", "baselines=[recency,naive_bayes]", "snapshots.active_days=56")
    return task, task.cases(store_of(shop_log.rename(columns={"spend": "amount"}), end="2021-10-28"))


def score(asked: tuple[Any, Cases], folder: Path) -> tuple[list[tuple[Fitted, pd.DataFrame]], str]:
    said: list[str] = []
    return list(score_baselines(*asked, {}, said.append, Shared(folder, {}))), said[-1]


def places(asked: tuple[Any, Cases], folder: Path, **versions: str) -> set[str]:
    """Where the baselines of a task are kept."""
    task, cases = asked
    found = set()
    for spec in task.settings.specs:
        with Shared(folder, versions).place(task, cases, spec) as place:
            found.add(place.name)
    return found


@pytest.mark.parametrize(
    ("given", "change", "shared"),
    [
        ({}, {"encoder": {"name": "lstm"}, "named": False, "task": {"dropout": 0.3, "optimizer": {"lr": 1.0}}}, 2),
        ({}, {"seed": 1}, 1),  # naive Bayes draws nothing
        ({"impute": "iterative"}, {"seed": 1}, 0),
        ({"imbalance": "smote"}, {"seed": 1}, 0),
        ({}, {"impute": "mean"}, 0),
        ({}, {"timezone": "Asia/Tokyo"}, 0),
        ({}, {"task": {"new_option": 1}}, 0),
    ],
)
def test_what_may_change_a_baseline_makes_it_another(
    asked: tuple[Any, Cases], tmp_path: Path, given: dict[str, Any], change: dict[str, Any], shared: int
) -> None:
    task, cases, found = copy(asked[0]), asked[1], []
    for settings in (given, given | change):
        options = {**asked[0].settings.task, **settings.get("task", {})}
        task.settings = replace(asked[0].settings, **{**settings, "task": options})
        found.append(places((task, cases), tmp_path))
    assert len(found[0] & found[1]) == shared


def test_other_cases_options_or_versions_are_other_baselines(asked: tuple[Any, Cases], tmp_path: Path) -> None:
    (task, cases), before = asked, places(asked, tmp_path, clm_dl="1")
    words = ["task=churn", "encoder=none", "baselines=[recency,naive_bayes]", "baseline.recency.C=2"]
    other = type(task)(replace(task.settings, specs=task_of(*words).settings.specs))
    assert len(places((other, cases), tmp_path, clm_dl="1") & before) == 1
    assert not places(asked, tmp_path, clm_dl="2") & before
    others = replace(cases, snapshots=replace(cases.snapshots, label=1 - cases.snapshots.label), memo={})
    assert not places((task, others), tmp_path, clm_dl="1") & before


@pytest.mark.parametrize("name", [MODEL, ROWS, CALIBRATION, "manifest.json"])
def test_what_is_damaged_or_half_written_is_fitted_again(asked: tuple[Any, Cases], tmp_path: Path, name: str) -> None:
    first, _ = score(asked, tmp_path)
    [place] = tmp_path.glob("*_recency_*")
    (place / name).write_bytes((place / name).read_bytes()[:100])
    for shared in (1, 2):
        found, said = score(asked, tmp_path)
        assert said == f"baselines: {shared} of 2 were fitted by another trial"
        for (_, one), (_, other) in zip(first, found, strict=True):
            pd.testing.assert_frame_equal(one, other, check_exact=True)


def test_resamples_are_kept_a_baseline_and_read_where_they_are_whole(asked: tuple[Any, Cases], tmp_path: Path) -> None:
    task, cases = asked
    scores = pd.concat([rows for _, rows in score(asked, tmp_path)[0]], ignore_index=True)
    places = Shared(tmp_path, {}).drawn(task, cases, resamples=20, seed=3)
    assert sorted(places) == ["naive_bayes", "recency"]
    assert read_drawn(places) == {}
    options: Any = {"counts": {}, "resamples": 20, "seed": 3, "shared": Shared(tmp_path, {})}
    alone = run_metrics(task, scores, [cases], **{**options, "shared": None})
    assert run_metrics(task, scores, [cases], **options) == alone
    known = read_drawn(places)
    assert known["test overall"]["recency"].shape == (20, 12)
    assert len(known) >= 6  # val and test: overall, recent, and at least a date
    (places["recency"] / DRAWN).write_bytes(b"PK")
    assert set(read_drawn(places)["val overall"]) == {"naive_bayes"}
    assert run_metrics(task, scores, [cases], **options) == alone
    assert set(read_drawn(places)["val overall"]) == {"naive_bayes", "recency"}


@pytest.mark.parametrize("sees", [{"members": ("network", "repeat")}, {"members": None}, {"sees": ("embedding",)}])
def test_what_sees_a_network_is_nobody_elses(asked: tuple[Any, Cases], tmp_path: Path, sees: dict[str, Any]) -> None:
    task, cases = asked
    with Shared(tmp_path, {}).place(task, cases, replace(task.settings.specs[0], **sees)) as place:
        assert place is None


def test_a_trial_waits_for_another_that_fits_the_same(asked: tuple[Any, Cases], tmp_path: Path) -> None:
    task, cases = asked
    spec, shared, inside = task.settings.specs[0], Shared(tmp_path, {}), threading.Event()

    def other() -> None:
        with shared.place(task, cases, spec):
            inside.set()

    with shared.place(task, cases, spec):
        thread = threading.Thread(target=other)
        thread.start()
        assert not inside.wait(0.3)
    assert inside.wait(20)
    thread.join()
