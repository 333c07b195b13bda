"""A task of one's own, a subclass with its own metric and figure, trains and is shown once it is registered."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import fields
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from matplotlib.figure import Figure
from omegaconf import OmegaConf
from torch import Tensor

from clm_dl.evaluation.bootstrap import Measure, customer_codes
from clm_dl.evaluation.metric import Metric, Metrics
from clm_dl.evaluation.scores import scores_table
from clm_dl.experiment.experiment import run_experiment
from clm_dl.run import Run
from clm_dl.tasks.churn.scores import ScoreTable, read_scores
from clm_dl.tasks.options import HeadOptions
from clm_dl.tasks.question import Question
from clm_dl.tasks.registry import TASKS
from clm_dl.tasks.snapshots import SnapshotTask
from clm_dl.tasks.value.window import window_orders
from clm_dl.visual.pages import Figures, Pages


class Orders(Question):
    """The number of orders in the label window."""

    monitor, num_outputs = "error", 1

    def loss(self, output: Tensor, truth: Tensor) -> Tensor:
        return (output - truth).abs().nanmean()

    def answer(self, output: Tensor) -> Tensor:
        return output[:, 0].float()

    def metrics(self, output: Tensor, truth: Tensor) -> dict[str, Tensor]:
        return {"error": self.loss(output, truth)}


class OrdersPages(Pages):
    def figures(self, metrics: Mapping[str, Any], table: ScoreTable, names: Sequence[str]) -> Figures:
        figure = Figure()
        figure.subplots().scatter(table.label, table.score[names[0]])
        return {"told": ("Orders told and made", figure)}


class OrdersTask(SnapshotTask):
    name, monitor, calibrated, num_targets = "orders", "val/error", False, 1
    options_type, pages = HeadOptions, property(lambda self: OrdersPages(self.metrics))

    def outcome(self, store: Any, snapshots: Any) -> tuple[np.ndarray, np.ndarray]:
        orders = window_orders(store, snapshots)
        return orders, orders[:, None].astype(np.float32)

    def question(self, schema: Mapping[str, Any], *, columns: slice = slice(None)) -> Orders:
        return Orders(head_size=self.options.head_size, dropout=self.options.dropout, columns=columns)

    def estimator(self, spec: Any) -> Any:
        raise NotImplementedError

    learnt = estimator

    def write(self, cases: Any, rows: np.ndarray, answers: np.ndarray, calibration: Any, *, model: str) -> pd.DataFrame:
        told = {"score": answers, "score_raw": answers, "model": model, "task": self.name}
        label = np.nan if cases.outcome is None else cases.outcome[rows]
        return scores_table(cases.store, cases.snapshots.select(rows), **told).assign(label=label)

    def metrics(self, summary: Mapping[str, Any] | None = None) -> Metrics:
        return Metrics([Metric("error", "mean absolute error", "low", shown="main")])

    def read(self, scores: pd.DataFrame, split: str, *, models: Sequence[str] | None = None) -> ScoreTable:
        return read_scores(scores, split, models)

    def measure(self, table: ScoreTable, *, raw: bool = False) -> Measure:
        code_N, num = customer_codes(table.customer)
        parts = [np.ones(len(table)), *(abs(score - table.label) for score in table.score.values())]
        count_C, *error_MC = (np.bincount(code_N, weights=part, minlength=num) for part in parts)

        def mean(weight_RC: np.ndarray) -> np.ndarray:
            return np.stack([weight_RC @ error_C / (weight_RC @ count_C) for error_C in error_MC], axis=1)[..., None]

        return Measure(tuple(table.score), ("error",), mean, num, len(table))

    def reference(self, table: ScoreTable) -> dict[str, Any]:
        return {"snapshots": len(table), "customers": len(np.unique(table.customer))}


def test_a_registered_task_trains_and_shows_its_metric_and_its_figure(
    run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(TASKS, "orders", OrdersTask)
    config = json.loads(json.dumps(run.config).replace(str(run.path), str(tmp_path / "run")))
    own = {field.name: config["task"][field.name] for field in fields(HeadOptions)} | {"name": "orders"}
    config |= {"task": own, "objective": None, "baselines": "none"}
    done = Run(run_experiment(OmegaConf.create(config), log=lambda text: None))
    rows = done.scores[done.scores["split"] == "test"].dropna(subset=["label"])
    figure = done.metrics["split"]["test"]["overall"]["network"]["error"]
    assert figure["value"] == pytest.approx((rows["score"] - rows["label"]).abs().mean())
    assert figure["low"] < figure["value"] < figure["high"]
    assert done.metrics["task"] == "orders"
    assert "Orders told and made" in (report := (done.path / "report.html").read_text())
    assert "mean absolute error" in report
    assert {"val/error", "test/error"} <= set(done.history["name"])
    assert len(done.predict(cutoff="2021-08-01")) > 20
