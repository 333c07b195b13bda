"""Snapshots outside a split: everyone at one cutoff, to be scored; the population of later cutoffs, for a backtest."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from clm_dl.data.snapshots.cutoffs import to_us
from clm_dl.data.snapshots.labels import build_labeller
from clm_dl.data.snapshots.rule import SnapshotRule
from clm_dl.data.snapshots.snapshots import NO_EVENT, Snapshots, history_part, labelled_part
from clm_dl.data.store.store import EventStore
from clm_dl.errors import UserError


def scoring_snapshots(
    store: EventStore, cutoff: int, rule: SnapshotRule, *, labels: Mapping[str, Any] = NO_EVENT
) -> tuple[Snapshots, np.ndarray]:
    """Everyone with an event before `cutoff`, split "predict", label NaN; and bool `[N]`: fits the population rule."""
    recency = to_us(rule.recency_days)
    part = history_part(store, np.arange(store.num_customers), np.asarray(cutoff, np.int64), recency)
    if not len(part["customer"]):
        raise UserError(f"no customer has an event before the cutoff {store.zone.iso(cutoff)}, so choose a later one")
    last = np.asarray(store.time)[part["stop"] - 1]
    in_population = np.ones(len(last), bool)
    if rule.active_days is not None:
        in_population &= last >= store.zone.add(cutoff, -to_us(rule.active_days))
    if labels["name"] != "given":
        labeller = build_labeller(store, labels, horizon=to_us(rule.horizon_days), gap=to_us(rule.gap_days))
        in_population &= labeller(part["customer"], part["cutoff"], part["stop"])[1]
    part |= {"split": np.full(len(last), "predict"), "label": np.full(len(last), np.nan)}
    known: Any = {**part, "horizon_days": float(rule.horizon_days), "gap_days": float(rule.gap_days)}
    return Snapshots(**known), in_population


def later_snapshots(
    store: EventStore, cutoffs: np.ndarray, rule: SnapshotRule, *, labels: Mapping[str, Any] = NO_EVENT
) -> Snapshots:
    """The population of each of `cutoffs` (int64 microseconds, ascending) with its labels, all of split "test": what
    came after a run.

    Raises:
        ValueError: labels that are given row by row, or nobody in the population.
    """
    if labels["name"] == "given":
        raise UserError(
            "labels=given bring their own cutoffs, so there are no later ones: use labels=no_event or another "
            "computed label"
        )
    labeller = build_labeller(store, labels, horizon=to_us(rule.horizon_days), gap=to_us(rule.gap_days))
    recency = to_us(rule.recency_days)
    active, everyone = None if rule.active_days is None else to_us(rule.active_days), np.arange(store.num_customers)
    parts = [labelled_part(store, labeller, everyone, "test", cutoff, active, recency) for cutoff in cutoffs.tolist()]
    arrays = {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}
    if not len(arrays["customer"]):
        raise UserError(
            f"nobody is in the population of {', '.join(map(store.zone.iso, cutoffs.tolist()))}: choose other cutoffs"
        )
    known: Any = {**arrays, "horizon_days": float(rule.horizon_days), "gap_days": float(rule.gap_days)}
    return Snapshots(**known)
