"""Lifetimes: how long each customer stays active after the cutoff, and for how long that can be known.

A customer leaves at the first moment at which churn comes true. Without a contract (`labels=no_event`) that is the last
event before a silence of `snapshots.horizon_days`, counted from the cutoff on; with `labels=churn_event` it is the
first churn event. Active through horizon h: has not left before cutoff + h. At h = 0 this is "does not churn", what
`task=churn` asks.

Shapes: N snapshots, S horizons.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np

from clm_dl.data.snapshots.cutoffs import SPLITS, to_us
from clm_dl.data.snapshots.labels import ChurnEvent, NoEvent, build_labeller
from clm_dl.data.snapshots.snapshots import Snapshots
from clm_dl.data.store.history import count_before
from clm_dl.data.store.store import EventStore
from clm_dl.data.zone import Zone
from clm_dl.errors import UserError


@dataclass(frozen=True, eq=False)
class Lifetimes:
    """Of N snapshots, in days from the cutoff.

    Attributes:
        left_N: when the customer left; −inf where the first silence begins at the cutoff, inf where it was not seen.
            What lies after `followed_N` is not to be used.
        followed_N: until when leaving would have been noticed; below 0 where not even a silence from the cutoff on
            would be.
    """

    left_N: np.ndarray
    followed_N: np.ndarray

    def active(self, horizons_days: Sequence[float]) -> np.ndarray:
        """Float `[N, S]`: 1 active through the horizon, 0 left before it, NaN censored: not followed that far.

        A customer followed for less is censored even where leaving was seen already: of those followed as briefly, the
        ones who stayed are not known, and the ones who left alone would overstate leaving.
        """
        horizon_S = np.asarray(horizons_days, dtype=float)
        return np.where(
            self.followed_N[:, None] >= horizon_S, (self.left_N[:, None] >= horizon_S).astype(float), np.nan
        )

    def intervals(self, horizons_days: Sequence[float]) -> np.ndarray:
        """Float32 `[N, S]`: 1 left in the interval that ends at the horizon, 0 active through it, NaN not reached or
        not followed.

        The first interval begins before the cutoff: who is silent from the cutoff on leaves in it.
        """
        active_NS = self.active(horizons_days)
        reached_NS = np.column_stack([np.ones(len(active_NS)), active_NS[:, :-1]]) == 1
        return np.where(reached_NS, 1 - active_NS, np.nan).astype(np.float32)


def lifetimes(store: EventStore, snapshots: Snapshots, labels: Mapping[str, Any]) -> Lifetimes:
    """Lifetimes of all snapshots at once; those of training and validation are followed up to the first cutoff of the
    next split only.

    Raises:
        ValueError: labels that do not say when a customer left, or a gap.
    """
    if snapshots.gap_days:
        raise UserError(
            f"lifetimes count from the cutoff on, got snapshots.gap_days={snapshots.gap_days:g}: set "
            "snapshots.gap_days=0"
        )
    zone, silence = store.zone, to_us(snapshots.horizon_days)
    customer, cutoff = snapshots.customer, snapshots.cutoff
    if labels["name"] not in ("no_event", "churn_event"):
        raise UserError(
            f"labels={labels['name']} do not say when a customer left: use labels=no_event or labels=churn_event"
        )
    labeller = build_labeller(store, labels, horizon=silence, gap=0)
    if isinstance(labeller, NoEvent):
        offsets, time = np.asarray(labeller.offsets), np.asarray(labeller.time)
        row = offsets[customer] + count_before(offsets, time, customer, cutoff)
        stays = row < offsets[customer + 1]
        stays[stays] = time[row[stays]] < zone.add(cutoff[stays], silence)
        leaving = _next_break(offsets, time, silence, zone)
        left = np.full(len(row), -np.inf)
        left[stays] = zone.days(time[leaving[row[stays]]], cutoff[stays])
    else:
        assert isinstance(labeller, ChurnEvent)
        offsets, time, silence = np.asarray(labeller.offsets), np.asarray(labeller.flagged), 0
        row = offsets[customer] + count_before(offsets, time, customer, cutoff)
        flagged = row < offsets[customer + 1]
        left = np.full(len(row), np.inf)
        left[flagged] = zone.days(time[row[flagged]], cutoff[flagged])
    return Lifetimes(left, zone.days(zone.add(follow_up_end(snapshots, store.end), -silence), cutoff))


def follow_up_end(snapshots: Snapshots, end: int) -> np.ndarray:
    """Int64 `[N]`: until when the snapshots of each split may look: the first cutoff of the next split, of the last one
    `end`.

    Validation customers at the training cutoffs look as far as training does.
    """
    until = np.full(len(snapshots), end, dtype=np.int64)
    for split, later in (("train", SPLITS[1:]), ("val", SPLITS[2:])):
        chosen = snapshots.split == split
        newest = snapshots.cutoff[chosen].max(initial=np.iinfo(np.int64).min)
        ahead = snapshots.cutoff[np.isin(snapshots.split, later) & (snapshots.cutoff > newest)]
        until[chosen] = ahead.min(initial=end)
    return until


LONGEST = 100_000  # days


def check_horizons(horizons_days: Sequence[float]) -> None:
    """Raise ValueError unless the horizons are days from 0 to LONGEST in ascending order."""
    values = list(horizons_days)
    if not values:
        raise UserError("task.horizons_days is empty: give days, e.g. [0,28,56,91]")
    if any(
        isinstance(value, bool) or not isinstance(value, (int, float)) or not 0 <= value <= LONGEST for value in values
    ):
        raise UserError(f"task.horizons_days must be days ≥ 0, got {values}")
    if any(later <= earlier for earlier, later in pairwise(values)):
        raise UserError(f"task.horizons_days must ascend, got {values}: sort them and name each once")


def calibration_rows(snapshots: Snapshots, active_NS: np.ndarray) -> np.ndarray:
    """Bool `[N, S]`: validation snapshots to calibrate each horizon on: those of the newest cutoff that was followed so
    far.

    All of them when validation is customers at the training cutoffs, as in `Snapshots.calibration`.
    """
    known_NS = (snapshots.split == "val")[:, None] & ~np.isnan(active_NS)
    if np.isin(snapshots.cutoff[snapshots.split == "val"], snapshots.cutoff[snapshots.training]).all():
        return known_NS
    newest_S = np.where(known_NS, snapshots.cutoff[:, None], np.iinfo(np.int64).min).max(axis=0)
    return np.asarray(known_NS & (snapshots.cutoff[:, None] == newest_S))


def check_followed(
    active_NS: np.ndarray, left_NS: np.ndarray, split_N: np.ndarray, horizons_days: Sequence[float], silence_days: float
) -> None:
    """Raise ValueError where a split knows nobody who stayed, or nobody who left, by a horizon: nothing can be learnt
    or measured.

    Training needs both in each interval of `left_NS`, see `Lifetimes`.
    """
    for split in np.unique(split_N):
        outcome_NS = (left_NS if split == "train" else active_NS)[split_N == split]
        for days, outcome_N in zip(horizons_days, outcome_NS.T, strict=True):
            known = outcome_N[~np.isnan(outcome_N)]
            if not len(known):
                raise UserError(
                    f"task.horizons_days: no {split} snapshot is followed for {days:g} days and the {silence_days:g} "
                    "days of silence after them, so leave the horizon out or choose earlier cutoffs"
                )
            if known.min() == known.max():
                left = bool(known[0]) == (split == "train")
                raise UserError(
                    f"one class only in {split}: all {len(known)} snapshots followed for {days:g} days "
                    f"{'left' if left else 'stayed'}, so change task.horizons_days, snapshots.horizon_days or the "
                    "cutoffs"
                )


def _next_break(offsets: np.ndarray, time: np.ndarray, silence: int, zone: Zone) -> np.ndarray:
    """Int64 `[events]`: of every row, its customer's first row from there on that a silence follows, or the last."""
    is_break = np.append(time[1:] >= zone.add(time[:-1], silence), True)
    is_break[offsets[1:][np.diff(offsets) > 0] - 1] = True
    row = np.where(is_break, np.arange(len(time)), len(time))
    return np.minimum.accumulate(row[::-1])[::-1]
