"""Backtest: a frozen network on every later cutoff, beside its scores recalibrated on the newest cutoff that had matured by then."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any

import numpy as np
import pandas as pd

from clm_dl.clock import Clock
from clm_dl.data.cutoffs import DAY, cutoff_grid, iso, parse_cutoff, to_us
from clm_dl.data.features import history_features
from clm_dl.data.labels import label_span
from clm_dl.data.later import later_snapshots
from clm_dl.data.scores import scores_table
from clm_dl.data.snapshots import Snapshots
from clm_dl.data.store import EventStore
from clm_dl.fold import Fold, churn_metrics
from clm_dl.metrics.calibration import PlattCalibrator
from clm_dl.metrics.drift import psi, total_bias
from clm_dl.metrics.summary import NETWORK
from clm_dl.run import Run
from clm_dl.scoring import PROBABILITIES, RULE, churn_probabilities, scoring_datamodule

FORMAT = 1
RECALIBRATED = "recalibrated"
MOVED = 5  # inputs named for each cutoff, those that moved most
WARN = 2.0  # an ECE so many times the test's is worth a word


def backtest(run: Run, store: EventStore, cutoffs: str | Sequence[Any], *, resamples: int = 1000) -> dict[str, Any]:
    """What backtest.json holds.

    Args:
        cutoffs: "rolling" (from one label window after the last training cutoff to the last matured one, every `snapshots.every_days`)
            or ISO dates, none before the label window of the last training cutoff is over.

    Returns:
        {"format", "task", "trained_until", "warning": a sentence or null, "test_ece",
        "cutoffs": [{"cutoff", "days" since the last training cutoff, "snapshots", "rate", "recalibrated_on": date or null,
        "bias": {model: total bias}, "psi": {"score", "inputs": {column: PSI} of the columns that moved most}}],
        "metrics": as metrics.json, whose models are `network` (frozen) and `recalibrated`}. PSI compares with the training snapshots.

    Raises:
        ValueError: a run without a network or of another task, a log that changed, no later cutoff, or one that is too early.
    """
    settings = run.config
    if settings["task"]["name"] not in PROBABILITIES or settings["encoder"]["name"] == "none":
        raise ValueError(f"cutoffs= backtests the network of a run of {' or '.join(PROBABILITIES)}, and {run.path} has none: leave it out")
    fold = Fold(settings, store, 0, run.path, Clock(), network=False)
    fold.check(run.metrics["fingerprint"])
    rule = {key: settings["snapshots"][key] for key in RULE}
    chosen, span = later_cutoffs(store, settings, fold.snapshots, cutoffs)
    later = later_snapshots(store, chosen, **rule, labels=settings["labels"])
    score = partial(_scores, run, store)
    raw_N, then_M = score(later), run.calibration.predict(score(fold.snapshots.select(fold.snapshots.training)))
    frozen_N = run.calibration.predict(raw_N)
    recalibrated_N, source = frozen_N.copy(), {}
    for cutoff in chosen:
        matured = chosen[chosen + span <= cutoff]
        rows = later.cutoff == (matured[-1] if len(matured) else 0)
        label = later.label[rows]
        if len(label) and label.min() < label.max():
            source[cutoff] = iso(matured[-1])
            recalibrated_N[later.cutoff == cutoff] = PlattCalibrator().fit(raw_N[rows], label).predict(raw_N[later.cutoff == cutoff])
    models = {NETWORK: frozen_N, RECALIBRATED: recalibrated_N}
    tables = [
        scores_table(store, later, model=name, task=settings["task"]["name"], score=value_N, score_raw=raw_N)
        for name, value_N in models.items()
    ]
    metrics = churn_metrics({**settings, "bootstrap": resamples}, pd.concat(tables), fold.fingerprint, run.metrics["data"])
    inputs = [history_features(store, part) for part in (fold.snapshots.select(fold.snapshots.training), later)]
    trained_until = int(fold.snapshots.cutoff[fold.snapshots.training].max())
    rows_of = {cutoff: later.cutoff == cutoff for cutoff in chosen}
    found = {
        "format": FORMAT,
        "task": settings["task"]["name"],
        "trained_until": iso(trained_until),
        "test_ece": run.metrics["split"]["test"]["overall"][NETWORK]["ece"]["value"],
        "cutoffs": [
            {
                "cutoff": iso(cutoff),
                "days": (int(cutoff) - trained_until) / DAY,
                "snapshots": int(rows.sum()),
                "rate": float(later.label[rows].mean()),
                "recalibrated_on": source.get(cutoff),
                "bias": {name: total_bias(later.label[rows], value_N[rows]) for name, value_N in models.items()},
                "psi": {"score": psi(then_M, frozen_N[rows]), "inputs": _moved(inputs[0], inputs[1][rows])},
            }
            for cutoff, rows in rows_of.items()
        ],
        "metrics": metrics,
    }
    return {**found, "warning": warning(found)}


def later_cutoffs(
    store: EventStore, settings: Mapping[str, Any], snapshots: Snapshots, cutoffs: str | Sequence[Any]
) -> tuple[np.ndarray, int]:
    """Matured cutoffs (int64 microseconds, ascending) after the label window of the last training one, and the length of a window."""
    rule = settings["snapshots"]
    span = label_span(store, settings["labels"], **rule)
    free = int(snapshots.cutoff[snapshots.training].max()) + span
    if isinstance(cutoffs, str):
        if cutoffs != "rolling":
            raise ValueError(f"cutoffs must be rolling or a list of dates, got {cutoffs!r}")
        if store.end - span < free:
            raise ValueError(
                f"no later cutoff has matured: the data ends {iso(store.end)}, the labels of training reach to {iso(free)}, "
                f"and a label window takes {span / DAY:g} days"
            )
        return cutoff_grid(free - 1, store.end, span=span, every=to_us(rule["every_days"])), span
    chosen = np.unique(np.array([parse_cutoff(value) for value in cutoffs], dtype=np.int64))
    for cutoff in chosen:
        if not free <= cutoff <= store.end - span:
            raise ValueError(
                f"cutoff {iso(cutoff)} cannot be backtested: choose from {iso(free)}, when the last training label was known, "
                f"to {iso(store.end - span)}, whose own labels are the last to be known"
            )
    return chosen, span


def warning(found: Mapping[str, Any]) -> str | None:
    """A sentence when the frozen network's ECE at the newest cutoff is at least twice that of the run's test."""
    newest = found["cutoffs"][-1]
    ece = found["metrics"]["split"]["test"]["per_cutoff"][newest["cutoff"]][NETWORK]["ece"]["value"]
    if ece is None or ece < WARN * found["test_ece"]:
        return None
    return (
        f"The probabilities have drifted: ECE {found['test_ece']:.3f} on test, {ece:.3f} at {newest['cutoff']}, {newest['days']:.0f} days "
        f"after training ended, and {newest['bias'][NETWORK]:+.0%} in the total. Predict with recalibrate=true, or train anew."
    )


def _scores(run: Run, store: EventStore, snapshots: Snapshots) -> np.ndarray:
    return churn_probabilities(run.task, scoring_datamodule(run, store, snapshots), np.arange(len(snapshots)))


def _moved(then: pd.DataFrame, now: pd.DataFrame) -> dict[str, float]:
    found = {str(name): psi(then[name], now[name]) for name in then}
    return dict(sorted(found.items(), key=lambda item: -item[1])[:MOVED])
