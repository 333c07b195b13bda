"""Scoring: every model of a question on its cases, fitted, calibrated and written as rows of the Scores table."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import nullcontext
from typing import Any, TypeVar

import pandas as pd

from clm_dl.baselines.spec import CannotAnswer, Fitted, Spec
from clm_dl.data.sequences.inputs import SequenceInputs
from clm_dl.evaluation.metric import NETWORK
from clm_dl.evaluation.summary import summarise
from clm_dl.experiment.shared import Shared, read_drawn, read_shared, write_drawn, write_shared
from clm_dl.tasks.base import Answers, ScoredTask, Task
from clm_dl.tasks.cases import Cases
from clm_dl.tasks.network import SequenceNetwork

Found = TypeVar("Found")


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

    def fit(spec: Spec, others: Mapping[str, Answers]) -> tuple[tuple[Fitted, Answers], Answers]:
        fitted, answers = _fit(question, spec, cases, others)
        return (fitted, answers), answers

    yield from _each(question.settings.specs if specs is None else specs, network, log, fit)


def score_baselines(
    question: ScoredTask,
    cases: Cases,
    network: Mapping[str, Answers],
    log: Callable[[str], None],
    shared: Shared | None = None,
) -> Iterator[tuple[Fitted, pd.DataFrame]]:
    """As `fit_baselines`, with the rows of the Scores table; one that `shared` has is read, one that it lacks kept."""
    specs, rows = question.settings.specs, cases.held_out
    combined, found = any(spec.is_hybrid for spec in specs), list[str]()

    def score(spec: Spec, others: Mapping[str, Answers]) -> tuple[tuple[Fitted, pd.DataFrame], Answers]:
        with shared.place(question, cases, spec) if shared else nullcontext() as place:
            if place and (known := read_shared(place, question, spec, with_model=combined)):
                found.append(spec.name)
                return known, question.held_out_answers(known[0], cases) if combined else None
            fitted, answers = _fit(question, spec, cases, others)
            table = question.write(cases, rows, answers, fitted.calibration, model=spec.name)
            if place:
                write_shared(place, fitted, table)
            return (fitted, table), answers

    yield from _each(specs, network, log, score)
    if found:
        log(f"baselines: {len(found)} of {len(specs)} were fitted by another trial")


def _fit(question: ScoredTask, spec: Spec, cases: Cases, others: Mapping[str, Answers]) -> tuple[Fitted, Answers]:
    model, answers = question.fit_baseline(spec, cases, others)
    return Fitted(spec, model, question.calibrate(answers, cases, cases.held_out, model=model)), answers


def _each(
    specs: Sequence[Spec],
    network: Mapping[str, Answers],
    log: Callable[[str], None],
    step: Callable[[Spec, Mapping[str, Answers]], tuple[Found, Answers]],
) -> Iterator[Found]:
    """What `step` gives for each baseline and the answers of the models before it; beside it its own answers."""
    others = dict(network)
    for spec in specs:
        log(f"baseline: {spec.name}")
        try:
            found, others[spec.name] = step(spec, others)
        except CannotAnswer as reason:
            if len(specs) == 1:
                raise
            log(f"baseline {spec.name} is left out: {reason}")
            continue
        yield found
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
    shared: Shared | None = None,
) -> dict[str, Any]:
    """metrics.json: of several questions what a run of each alone would have, and beside it all that the first has.

    Args:
        folds: cases of every fold; none of a table. fingerprint: that of a finished run; None = that of the cases.
        calibration: question -> model -> how its answers were calibrated, in words.
        shared: resamples of a baseline that it has are not worked out, of a single fold.
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
        options: Any = {"resamples": resamples, "seed": seed}
        places = shared.drawn(question, own[0], **options) if shared and len(own) == 1 else {}
        drawn = read_drawn(places)
        found[question.name] = summarise(
            question,
            tables,
            fingerprint=_part_of(fingerprint, place) or "-".join(question.fingerprint(cases) for cases in own),
            counts=counts,
            extras={**question.extras(tables, own), **({"calibration": told} if told else {})},
            drawn=drawn,
            **options,
        )
        write_drawn(places, drawn)
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
