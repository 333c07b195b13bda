"""A fitted baseline is kept as data: every shipped one reads back to the same answers, and a file that holds more than
data, or less, is refused before anything of it runs.
"""

import os
import sys
from collections.abc import Callable
from copy import deepcopy
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import skops.io
from sklearn.base import BaseEstimator
from sklearn.preprocessing import FunctionTransformer
from support import shipped, task_of

from clm_dl.baselines.spec import Fitted
from clm_dl.data.store.store import EventStore
from clm_dl.errors import UserError
from clm_dl.evaluation.metric import NETWORK
from clm_dl.experiment.fitted import fitted_models, keep_best, members
from clm_dl.experiment.scoring import fit_baselines
from clm_dl.tasks.cases import Cases
from clm_dl.tasks.trained import Trained

WORDS = {
    "churn": ("init=RUN", "snapshots.active_days=56"),
    "survival": ("task.horizons_days=[0,28]",),
    "value": (),
    "next_item": ("sequence=line", "protocol=leave_one_out", "baseline.two_stage.min_child_samples=20"),
}
ALL = [(question, name) for question in WORDS for name in shipped(question)]
ran: list[str] = []  # what a foreign class did


@pytest.fixture(scope="module")
def asked(store_of: Callable[..., EventStore], shop_log: pd.DataFrame, ring_log: pd.DataFrame) -> Callable[[str], Any]:
    """Of a question: the task, everyone at the end of its log, and every shipped baseline, fitted."""
    shop = store_of(shop_log.rename(columns={"spend": "amount"}), end="2021-10-28")
    ring = store_of(ring_log[["cust", "ts", "sku", "dept"]].rename(columns={"sku": "item"}), end="2021-12-31")

    @cache
    def make(question: str) -> tuple[Any, Cases, dict[str, Fitted]]:
        task, ranked = task_of(f"task={question}", "baselines=all", *WORDS[question]), question == "next_item"
        store = ring if ranked else shop
        learnt, told = task.cases(store), task.cases_at(store, int(store.end))
        for cases in () if ranked else (learnt, told):  # as if a pretrained network had made vectors of them
            cases.memo["embedding"] = cases.features[["tenure", "recency"]].assign(embedding_0=cases.features["rate"])
        models = fit_baselines(task, learnt, {NETWORK: noise} if ranked else {}, lambda line: None)
        return task, told, {one.spec.name: one for one, _ in models}

    return make


def noise(index_B: np.ndarray) -> np.ndarray:
    """The scores of a network that knows nothing."""
    return np.stack([np.random.default_rng(row).normal(size=60) for row in index_B]).astype(np.float32)


def read(folder: Path, task: Any, name: str) -> dict[str, Fitted]:
    return fitted_models(Trained(folder, {"init": None}, task), task, name)


def said(task: Any, models: dict[str, Fitted], name: str, cases: Cases) -> np.ndarray:
    """The answers of a baseline, which those that it combines gave theirs for."""
    others: dict[str, Any] = {NETWORK: noise}
    for member in [*members(models[name]), name]:
        if member != NETWORK:
            others[member] = task.baseline_answers(models[member], cases, others)
    found = others[name]
    return found(np.arange(len(cases))) if callable(found) else found


@pytest.mark.parametrize(("question", "name"), ALL)
def test_every_baseline_reads_back_to_the_same_answers(asked: Any, tmp_path: Path, question: str, name: str) -> None:
    task, cases, models = asked(question)
    keep_best(tmp_path, task, list(models.values()), {"best_baseline": {"name": name}})
    files = {path.stem for path in tmp_path.rglob("*.skops")}
    assert files == {name, *members(models[name])} - {NETWORK}
    found = read(tmp_path, task, name)
    before, after = (said(task, known, name, cases) for known in (models, found))
    np.testing.assert_array_equal(after, before)
    assert np.ptp(before) > 0 or name == "base_rate"
    kept, own = found[name].calibration, models[name].calibration
    assert (kept and kept.to_dict()) == (own and own.to_dict())


class Foreign(BaseEstimator):
    """Of no package that a kept baseline may hold."""

    def __setstate__(self, state: dict[str, Any]) -> None:
        ran.append("read")


def content(model: Any, version: int = 1) -> bytes:
    return skops.io.dumps({"format": version, "model": model, "calibration": None})


SPOILT: dict[str, Callable[[bytes], bytes]] = {
    "class": lambda whole: content(Foreign()),
    "function": lambda whole: content(FunctionTransformer(os.getcwd)),
    "version": lambda whole: content(None, version=2),
    "half": lambda whole: whole[: len(whole) // 2],
    "nothing": lambda whole: b"",
}


@pytest.mark.parametrize("what", SPOILT)
def test_a_file_that_is_no_baseline_is_refused_in_one_sentence(asked: Any, tmp_path: Path, what: str) -> None:
    task, _, models = asked("churn")
    keep_best(tmp_path, task, [models["bg_nbd"]], {"best_baseline": {"name": "bg_nbd"}})
    [path] = tmp_path.rglob("*.skops")
    path.write_bytes(SPOILT[what](path.read_bytes()))
    ran.clear()
    reason = {"version": "is of another version", "class": "holds more than data", "function": "holds more than data"}
    with pytest.raises(
        UserError, match=rf"bg_nbd\.skops {reason.get(what, 'is corrupt')}.*: delete it to fit bg_nbd again$"
    ) as raised:
        read(tmp_path, task, "bg_nbd")
    assert "\n" not in str(raised.value)
    assert not ran


def test_a_model_of_foreign_classes_is_not_kept(asked: Any, tmp_path: Path) -> None:
    task, _, models = asked("churn")
    foreign = Fitted(models["logistic"].spec, Foreign(), models["logistic"].calibration)
    keep_best(tmp_path, task, [foreign], {"best_baseline": {"name": "logistic"}})
    assert not list(tmp_path.iterdir())


def test_what_a_kept_model_needs_and_is_not_installed_is_named(
    asked: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    task, _, models = asked("next_item")
    keep_best(tmp_path, task, [models["als"]], {"best_baseline": {"name": "als"}})
    monkeypatch.setitem(sys.modules, "implicit.cpu.als", None)
    with pytest.raises(UserError, match=r"pip install 'clm-dl\[recommend\]'"):
        read(tmp_path, task, "als")


@pytest.mark.parametrize("name", ["tree", "forest"])
def test_a_tree_that_points_out_of_itself_is_refused(asked: Any, tmp_path: Path, name: str) -> None:
    task, _, models = asked("churn")
    forged = deepcopy(models[name])
    estimator = forged.model.estimator_
    tree = (estimator if name == "tree" else estimator.estimators_[-1]).tree_
    state = tree.__getstate__()
    state["nodes"]["left_child"][0] = tree.node_count
    tree.__setstate__(state)
    keep_best(tmp_path, task, [forged], {"best_baseline": {"name": name}})
    with pytest.raises(UserError, match=rf"{name}\.skops is corrupt \(IndexError\): delete it to fit {name} again$"):
        read(tmp_path, task, name)
