"""Rescoring: a finished run's network scored again on the run's own cases, and what makes figures of such scores."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np
import pandas as pd

from clm_dl.data.store.store import EventStore
from clm_dl.errors import UserError
from clm_dl.evaluation.metric import NETWORK
from clm_dl.experiment.run_files import read_metrics, read_scores
from clm_dl.experiment.scoring import network_answers, network_rows, run_metrics
from clm_dl.tasks.cases import Cases
from clm_dl.tasks.trained import Trained

KEY = ["model", "task", "split", "cutoff"]  # of rows that one fold has
Summary = Callable[[pd.DataFrame], dict[str, Any]]


def rescored(trained: Trained, store: EventStore | None, *, resamples: int) -> tuple[pd.DataFrame, Summary]:
    """The Scores table with the network's rows made again (of the newest fold), and what makes metrics of a part of it.

    Args:
        store: of the run's own log; None of a table, whose scores are those of the run.
    """
    scores = read_scores(trained.path)
    metrics = read_metrics(trained.path, trained.task)
    folds: list[Cases] = []
    if store is not None:
        cases = own_cases(trained, store, metrics)
        folds.append(cases)
        if trained.network is not None and NETWORK in set(scores["model"]):
            inputs = trained.task.inputs(cases, vocabulary=trained.vocabulary, schema=trained.schema)
            answers = network_answers(trained.task, cases, trained.network, inputs)
            tables, _ = network_rows(trained.task, cases, answers, trained.calibrations)
            again = pd.concat(tables, ignore_index=True)
            made = pd.MultiIndex.from_frame(again[KEY].drop_duplicates())
            scores = pd.concat([again, scores[~pd.MultiIndex.from_frame(scores[KEY]).isin(made)]], ignore_index=True)
    parts = metrics.get("tasks", {trained.task.questions[0].name: metrics})
    told = {name: part["calibration"] for name, part in parts.items() if "calibration" in part}
    options = {"resamples": resamples, "seed": trained.config["seed"], "fingerprint": metrics["fingerprint"]}
    options["calibration"] = told
    return scores, partial(_summary, trained, folds=folds, counts=metrics["data"], **options)


def own_cases(trained: Trained, store: EventStore, metrics: dict[str, Any]) -> Cases:
    """The cases of the run's newest fold; ValueError where its log or labels changed since it was trained."""
    task, catalogue = trained.task, trained.task.catalogue
    cases = task.cases(store)
    same = task.fingerprint(cases) == metrics["fingerprint"].split("-")[0]
    if same and catalogue is not None and task.catalogue is not None:
        same = np.array_equal(catalogue.item_ids, task.catalogue.item_ids)
    if not same:
        raise UserError(
            f"the snapshots of {trained.path} cannot be made again: its log or labels changed since it was trained; "
            "train anew"
        )
    return cases


def _summary(trained: Trained, scores: pd.DataFrame, *, folds: list[Cases], **options: Any) -> dict[str, Any]:
    return run_metrics(trained.task, scores, folds, **options)
