"""Backtest: a frozen network on every later cutoff, beside its scores recalibrated on the newest cutoff that had
matured by then.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd

from clm_dl.data.snapshots.cutoffs import DAY, cutoff_grid, iso, parse_cutoff, to_us
from clm_dl.data.snapshots.features import history_features
from clm_dl.data.snapshots.labels import label_span
from clm_dl.data.snapshots.later import later_snapshots
from clm_dl.data.snapshots.snapshots import Snapshots
from clm_dl.data.store.store import EventStore
from clm_dl.errors import UserError
from clm_dl.evaluation.drift import psi, total_bias
from clm_dl.evaluation.splits import NETWORK
from clm_dl.experiment.experiment import FOLDS
from clm_dl.experiment.fold import Fold
from clm_dl.experiment.inference import ONE_OUTCOME, RULE, scoring_datamodule
from clm_dl.experiment.timing import Clock
from clm_dl.run import Run
from clm_dl.visual.families import family

FORMAT = 1
RECALIBRATED = "recalibrated"
MOVED = 5  # inputs named for each cutoff, those that moved most
WARN = 2.0  # a calibration error so many times the test's is worth a word


def backtest(run: Run, store: EventStore, cutoffs: str | Sequence[Any], *, resamples: int = 1000) -> dict[str, Any]:
    """What backtest.json holds.

    Args:
        cutoffs: "rolling" (from one label window after the last training cutoff to the last matured one, every
            `snapshots.every_days`) or ISO dates, none before the label window of the last training cutoff is over.

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
    settings = run.config
    name = settings["task"]["name"]
    if name not in ONE_OUTCOME or settings["encoder"]["name"] == "none":
        raise UserError(
            f"cutoffs= backtests the network of a run of {' or '.join(ONE_OUTCOME)}, and {run.path} has none: leave it "
            "out"
        )
    fold = FOLDS[name]({**settings, "bootstrap": resamples}, store, 0, run.path, Clock(), network=False)
    fold.check(run.metrics["fingerprint"])
    rule = {key: settings["snapshots"][key] for key in RULE}
    chosen, span = later_cutoffs(store, settings, fold.snapshots, cutoffs)
    before, free = fold.snapshots.select(fold.snapshots.training), known_from(fold.snapshots, span)
    # what is recalibrated on, see docstring
    newest = {cutoff: cutoff - span for cutoff in chosen.tolist() if cutoff - span >= free}
    moments = np.union1d(chosen, np.array(list(newest.values()), dtype=np.int64))
    later = later_snapshots(store, moments, **rule, labels=settings["labels"])
    answers, outcome = _answers(run, store, fold, later), fold.outcome(later)
    tables, source = [], {}
    for cutoff in chosen.tolist():
        rows, known = later.cutoff == cutoff, later.cutoff == newest.get(cutoff, -1)
        calibrations = {NETWORK: run.calibration, RECALIBRATED: run.calibration}
        if known.any() and later.label[known].min() < later.label[known].max():
            source[cutoff] = iso(newest[cutoff])
            calibrations[RECALIBRATED] = fold.calibrate(answers[known], outcome[known], aged=True)
        for model, calibration in calibrations.items():
            tables.append(fold.table(later.select(rows), answers[rows], calibration, outcome[rows], model=model))
    scores = pd.concat(tables, ignore_index=True)
    metrics = fold.summarise(scores, fold.fingerprint, run.metrics["data"])
    inputs = [history_features(store, part) for part in (before, later)]
    then = fold.table(before, _answers(run, store, fold, before), run.calibration, fold.outcome(before), model=NETWORK)[
        "score"
    ]
    trained_until, watched = int(before.cutoff.max()), family(metrics).watched
    of = dict(list(scores.groupby("cutoff")))
    found = {
        "format": FORMAT,
        "task": name,
        "trained_until": iso(trained_until),
        "watched": watched,
        "test_error": run.metrics["split"]["test"]["overall"][NETWORK][watched]["value"],
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
            for rows, table in [(later.cutoff == cutoff, of[pd.Timestamp(cutoff, unit="us", tz="UTC")])]
        ],
        "metrics": metrics,
    }
    return {**found, "warning": warning(found)}


def later_cutoffs(
    store: EventStore, settings: Mapping[str, Any], snapshots: Snapshots, cutoffs: str | Sequence[Any]
) -> tuple[np.ndarray, int]:
    """Matured cutoffs (int64 microseconds, ascending) after the label window of the last training one, and the length
    of a window.
    """
    rule = settings["snapshots"]
    span = label_span(store, settings["labels"], **rule)
    free = known_from(snapshots, span)
    if isinstance(cutoffs, str):
        if cutoffs != "rolling":
            raise UserError(f"cutoffs must be rolling or a list of dates, got {cutoffs!r}")
        if store.end - span < free:
            raise UserError(
                f"no later cutoff has matured: the data ends {iso(store.end)}, the labels of training reach to "
                f"{iso(free)}, and a label window takes {span / DAY:g} days"
            )
        return cutoff_grid(free - 1, store.end, span=span, every=to_us(rule["every_days"])), span
    chosen = np.unique(np.array([parse_cutoff(value) for value in cutoffs], dtype=np.int64))
    for cutoff in chosen:
        if not free <= cutoff <= store.end - span:
            raise UserError(
                f"cutoff {iso(cutoff)} cannot be backtested: choose from {iso(free)}, when the last training label was "
                f"known, to {iso(store.end - span)}, whose own labels are the last to be known"
            )
    return chosen, span


def known_from(snapshots: Snapshots, span: int) -> int:
    """The first cutoff (int64 microseconds) whose labels training knew nothing of: one window after its last cutoff."""
    return int(snapshots.cutoff[snapshots.training].max()) + span


def warning(found: Mapping[str, Any]) -> str | None:
    """A sentence when the frozen network's calibration error at the newest cutoff is at least twice that of the run's
    test.
    """
    newest, watched = found["cutoffs"][-1], found["watched"]
    error = found["metrics"]["split"]["test"]["per_cutoff"][newest["cutoff"]][NETWORK][watched]["value"]
    if error is None or error < WARN * found["test_error"]:
        return None
    return (
        f"The scores have drifted: {family(found['metrics']).columns[watched]} {found['test_error']:.3f} on test, "
        f"{error:.3f} at {newest['cutoff']}, {newest['days']:.0f} days after training ended, and "
        f"{newest['bias'][NETWORK]:+.0%} in the total. Predict with recalibrate=true, or train anew."
    )


def _answers(run: Run, store: EventStore, fold: Fold, snapshots: Snapshots) -> np.ndarray:
    return fold.answers(run.task, scoring_datamodule(run, store, snapshots), np.arange(len(snapshots)))


def _moved(then: pd.DataFrame, now: pd.DataFrame) -> dict[str, float]:
    found = {str(name): psi(then[name], now[name]) for name in then}
    return dict(sorted(found.items(), key=lambda item: -item[1])[:MOVED])
