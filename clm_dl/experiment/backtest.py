"""Backtest: a frozen network on every later cutoff, beside it recalibrated on the newest cutoff matured by then."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd

from clm_dl.data.snapshots.cutoffs import DAY, cutoff_grid, to_us
from clm_dl.data.snapshots.labels import label_span
from clm_dl.data.snapshots.rule import SnapshotRule
from clm_dl.data.snapshots.snapshots import Snapshots
from clm_dl.data.store.store import EventStore
from clm_dl.errors import UserError
from clm_dl.evaluation.drift import psi, total_bias
from clm_dl.evaluation.metric import NETWORK, Metrics
from clm_dl.experiment.fitted import silent
from clm_dl.experiment.rescoring import own_cases
from clm_dl.experiment.run_files import read_metrics
from clm_dl.experiment.scoring import run_metrics
from clm_dl.tasks.base import ScoredTask
from clm_dl.tasks.cases import Cases
from clm_dl.tasks.trained import Trained

FORMAT = 1
RECALIBRATED = "recalibrated"
MOVED = 5  # inputs named for each cutoff, those that moved most
WARN = 2.0  # a calibration error so many times the test's is worth a word


def backtest(
    trained: Trained,
    store: EventStore,
    cutoffs: str | Sequence[Any],
    *,
    resamples: int = 1000,
    log: Callable[[str], None] = silent,
) -> dict[str, Any]:
    """What backtest.json holds.

    Args:
        cutoffs: "rolling" (from one label window after the last training cutoff to the last matured one, every
            `snapshots.every_days`) or ISO dates, none before the label window of the last training cutoff is over.
        log: is told what the inputs of the later cutoffs lack.

    Returns:
        {"format", "task", "trained_until", "warning": a sentence or null, "watched": the metric of calibration,
        "test_error": its value on the run's test, "cutoffs": [{"cutoff", "days" since the last training cutoff,
        "snapshots", "rate": mean label, "recalibrated_on": date or null, "bias": {model: total bias}, "psi": {"score",
        "inputs": {column: PSI} that moved most}}], "metrics": as metrics.json, whose models are `network` (frozen) and
        `recalibrated`}. PSI compares with the training snapshots. Recalibrated at a cutoff means: on the snapshots one
        label window before it, the newest whose labels are known by then; not yet where training had seen those labels.

    Raises:
        ValueError: a run without a network or of another task, a log that changed, no later cutoff, or one that is too
            early.
    """
    [question, *others] = trained.task.questions
    if others or not question.watched or trained.network is None:
        raise UserError(
            "cutoffs= backtests the network of a run whose answers can be calibrated anew, one a snapshot, and "
            f"{trained.path} ({trained.task.name}) has none: leave it out"
        )
    metrics, rule = read_metrics(trained.path, trained.task), question.settings.rule
    assert rule is not None
    cases, calibration = own_cases(trained, store, metrics), trained.calibrations[question.name]
    chosen, span = later_cutoffs(store, rule, question.settings.labels, cases.snapshots, cutoffs)
    before, free = cases.select(cases.snapshots.training), known_from(store, cases.snapshots, span)
    iso, one_before = store.zone.iso, {cutoff: store.zone.add(cutoff, -span) for cutoff in chosen.tolist()}
    # what is recalibrated on, see docstring
    newest = {cutoff: known for cutoff, known in one_before.items() if known >= free}
    later = question.later_cases(store, np.union1d(chosen, np.array(list(newest.values()), dtype=np.int64)))
    answers, label = _answers(trained, question, later, log), later.snapshots.label
    tables, source = [], {}
    for cutoff in chosen.tolist():
        rows, known = (np.flatnonzero(later.snapshots.cutoff == at) for at in (cutoff, newest.get(cutoff, -1)))
        calibrations = {NETWORK: calibration, RECALIBRATED: calibration}
        if len(known) and label[known].min() < label[known].max():
            source[cutoff] = iso(newest[cutoff])
            calibrations[RECALIBRATED] = question.calibrate(answers[known], later, known, aged=True)
        for model, one in calibrations.items():
            tables.append(question.write(later, rows, answers[rows], one, model=model))
    scores, watched = pd.concat(tables, ignore_index=True), question.watched[0]
    everyone = np.arange(len(before))
    then = question.write(before, everyone, _answers(trained, question, before), calibration, model=NETWORK)["score"]
    inputs = [_inputs(part) for part in (before, later)]
    trained_until, of = int(before.snapshots.cutoff.max()), dict(list(scores.groupby("cutoff")))
    found = {
        "format": FORMAT,
        "task": question.name,
        "trained_until": iso(trained_until),
        "watched": watched,
        "test_error": metrics["split"]["test"]["overall"][NETWORK][watched]["value"],
        "cutoffs": [
            {
                "cutoff": iso(cutoff),
                "days": (cutoff - trained_until) / DAY,
                "snapshots": int(rows.sum()),
                "rate": float(table["label"].mean()),
                "recalibrated_on": source.get(cutoff),
                "bias": {
                    model: total_bias(part["label"], part["score"])
                    for model, part in table.groupby("model", sort=False)
                },
                "psi": {
                    "score": psi(then, table.loc[table["model"] == NETWORK, "score"]),
                    "inputs": _moved(inputs[0], inputs[1][rows]),
                },
            }
            for cutoff in chosen.tolist()
            for rows, table in [(later.snapshots.cutoff == cutoff, of[pd.Timestamp(cutoff, unit="us", tz="UTC")])]
        ],
        "metrics": run_metrics(
            question, scores, [cases], metrics["data"], resamples=resamples, seed=trained.config["seed"]
        ),
    }
    return {**found, "warning": warning(found, question.metrics(metrics))}


def later_cutoffs(
    store: EventStore, rule: SnapshotRule, labels: Mapping[str, Any], snapshots: Snapshots, cutoffs: str | Sequence[Any]
) -> tuple[np.ndarray, int]:
    """Matured cutoffs (int64 microseconds, ascending) after the last training label window, and a window's length."""
    span, zone, iso = label_span(store, labels, rule), store.zone, store.zone.iso
    free, last = known_from(store, snapshots, span), zone.add(store.end, -span)
    if isinstance(cutoffs, str):
        if cutoffs != "rolling":
            raise UserError(f"cutoffs must be rolling or a list of dates, got {cutoffs!r}")
        if last < free:
            raise UserError(
                f"no later cutoff has matured: the data ends {iso(store.end)}, the labels of training reach to "
                f"{iso(free)}, and a label window takes {span / DAY:g} days"
            )
        return cutoff_grid(free - 1, store.end, span=span, every=to_us(rule.every_days), zone=zone), span
    chosen = np.unique(np.array([zone.parse(value) for value in cutoffs], dtype=np.int64))
    for cutoff in chosen:
        if not free <= cutoff <= last:
            raise UserError(
                f"cutoff {iso(cutoff)} cannot be backtested: choose from {iso(free)}, when the last training label was "
                f"known, to {iso(last)}, whose own labels are the last to be known"
            )
    return chosen, span


def known_from(store: EventStore, snapshots: Snapshots, span: int) -> int:
    """The first cutoff (int64 microseconds) whose labels training knew nothing of: one window after its last cutoff."""
    return store.zone.add(int(snapshots.cutoff[snapshots.training].max()), span)


def warning(found: Mapping[str, Any], known: Metrics) -> str | None:
    """A sentence when the frozen network's calibration error at the newest cutoff is at least twice that on test."""
    newest, watched = found["cutoffs"][-1], known[found["watched"]]
    error = found["metrics"]["split"]["test"]["per_cutoff"][newest["cutoff"]][NETWORK][watched.name]["value"]
    if error is None or error < WARN * found["test_error"]:
        return None
    return (
        f"The scores have drifted: {watched.title} {found['test_error']:.3f} on test, {error:.3f} at "
        f"{newest['cutoff']}, {newest['days']:.0f} days after training ended, and {newest['bias'][NETWORK]:+.0%} in "
        "the total. Predict with recalibrate=true, or train anew."
    )


def _answers(trained: Trained, question: ScoredTask, cases: Cases, log: Callable[[str], None] = silent) -> np.ndarray:
    assert trained.network is not None
    inputs = question.inputs(cases, vocabulary=trained.vocabulary, schema=trained.schema)
    for note in inputs.notes:
        log(note)
    answers: np.ndarray = question.answers(trained.network, inputs, np.arange(len(cases)))
    return answers


def _inputs(cases: Cases) -> pd.DataFrame:
    """History features, without customer attributes."""
    return cases.features[[str(name) for name in cases.features if not str(name).startswith("static_")]]


def _moved(then: pd.DataFrame, now: pd.DataFrame) -> dict[str, float]:
    found = {str(name): psi(then[name], now[name]) for name in then}
    return dict(sorted(found.items(), key=lambda item: -item[1])[:MOVED])
