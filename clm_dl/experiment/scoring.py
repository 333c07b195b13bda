"""Scoring: every model of a question on its cases, fitted, calibrated and written as rows of the Scores table."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import pandas as pd

from clm_dl.baselines.spec import CannotAnswer, Fitted, Spec
from clm_dl.data.sequences.inputs import SequenceInputs
from clm_dl.evaluation.metric import NETWORK
from clm_dl.evaluation.summary import summarise
from clm_dl.tasks.base import Answers, ScoredTask, Task
from clm_dl.tasks.cases import Cases
from clm_dl.tasks.network import SequenceNetwork


def network_answers(task: Task, cases: Cases, network: SequenceNetwork, inputs: SequenceInputs) -> dict[str, Answers]:
    """What the network says to every question of those who are held out."""
    return {question.name: question.answers(network, inputs, cases.held_out) for question in task.questions}


def network_rows(
    task: Task, cases: Cases, answers: Mapping[str, Answers], calibrations: Mapping[str, Any] | None = None
) -> tuple[list[pd.DataFrame], dict[str, Any]]:
    """Rows of every question, of the network's answers, and its calibrations (fitted where they are not given)."""
    tables, found, rows = [], {}, cases.held_out
    for question in task.questions:
        part, name = task.cases_of(question, cases), question.name
        found[name] = question.calibrate(answers[name], part, rows) if calibrations is None else calibrations[name]
        tables.append(question.write(part, rows, answers[name], found[name], model=NETWORK))
    return tables, found


def fit_baselines(
    question: ScoredTask,
    cases: Cases,
    network: Mapping[str, Answers],
    log: Callable[[str], None],
    specs: Sequence[Spec] | None = None,
) -> Iterator[tuple[Fitted, Answers]]:
    """Every chosen baseline, fitted and calibrated, with its answers for `cases.held_out`.

    One that cannot answer this log is left out with a line in `log`, unless it is the only one.

    Args:
        network: the network's answers by its name, for hybrids; empty without one. specs: only these; None = all that
            were chosen.
    """
    specs, others = question.settings.specs if specs is None else specs, dict(network)
    for spec in specs:
        log(f"baseline: {spec.name}")
        try:
            model, answers = question.fit_baseline(spec, cases, others)
        except CannotAnswer as reason:
            if len(specs) == 1:
                raise
            log(f"baseline {spec.name} is left out: {reason}")
            continue
        others[spec.name] = answers
        yield Fitted(spec, model, question.calibrate(answers, cases, cases.held_out, model=model)), answers
    if specs and len(others) == len(network):
        names = ", ".join(spec.name for spec in specs)
        raise CannotAnswer(f"none of the baselines {names} can answer: choose others")


def run_metrics(
    task: Task,
    scores: pd.DataFrame,
    folds: list[Cases],
    counts: Mapping[str, Any],
    *,
    resamples: int,
    seed: int,
    fingerprint: str | None = None,
    calibration: Mapping[str, Mapping[str, str]] | None = None,
) -> dict[str, Any]:
    """metrics.json: of several questions what a run of each alone would have, and beside it all that the first has.

    Args:
        folds: cases of every fold; none of a table. fingerprint: that of a finished run; None = that of the cases.
        calibration: question -> model -> how its answers were calibrated, in words.
    """
    sizes = {
        split: int(sum((cases.snapshots.split == split).sum() for cases in folds)) for split in ("train", "val", "test")
    }
    counts = {"snapshots": sizes, **counts} if folds else counts
    found = {}
    for place, question in enumerate(task.questions):
        own = [task.cases_of(question, cases) for cases in folds]
        rows = scores[scores["task"] == question.name] if task.holds_tasks else scores
        tables = {split: question.read(rows, split) for split in ("test", "val")}
        told = (calibration or {}).get(question.name)
        found[question.name] = summarise(
            question,
            tables,
            fingerprint=_part_of(fingerprint, place) or "-".join(question.fingerprint(cases) for cases in own),
            counts=counts,
            extras={**question.extras(tables, own), **({"calibration": told} if told else {})},
            resamples=resamples,
            seed=seed,
        )
    first = next(iter(found.values()))
    if not task.holds_tasks:
        return first
    whole = fingerprint or "-".join(task.fingerprint(cases) for cases in folds)
    return {**first, "task": task.name, "fingerprint": whole, "tasks": found}


def _part_of(fingerprint: str | None, place: int) -> str | None:
    """That of one question: of several each fold has theirs joined by +."""
    if fingerprint is None:
        return None
    return "-".join(fold.split("+")[min(place, fold.count("+"))] for fold in fingerprint.split("-"))
