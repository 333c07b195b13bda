"""Snapshots: (customer, cutoff) pairs with history strictly before the cutoff and a label window after it."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from typing import Any

import numpy as np
import pandas as pd

from clm_dl.data.snapshots.cutoffs import DAY, SPLITS, cutoff_grid, split_cutoffs, split_rank, to_us
from clm_dl.data.snapshots.label_file import read_given
from clm_dl.data.snapshots.labels import Labeller, build_labeller
from clm_dl.data.snapshots.rule import SnapshotRule
from clm_dl.data.store.history import count_before
from clm_dl.data.store.store import EventStore
from clm_dl.data.zone import UTC, Zone
from clm_dl.errors import UserError

__all__ = ["SPLITS", "Snapshots", "build_snapshots", "check_classes", "count_before"]
NO_EVENT: Mapping[str, Any] = {"name": "no_event"}


@dataclass(frozen=True, eq=False)
class Snapshots:
    """N snapshots, sorted by split (train, val, test), cutoff, customer; every array is `[N]`.

    Attributes:
        customer: int64 code in the store. cutoff: int64 microseconds UTC. split: "train", "val", "test" (or "predict").
        label: float64, 1 churned, or what else is asked for happened, 0 not, NaN censored.
        start, stop: int64; the history is the store's rows [start, stop), all before the cutoff, never empty.
        recent: bool, active in the last `recent_days`.
        horizon_days, gap_days: of the label window [cutoff + gap, cutoff + gap + horizon).
        counts: given label rows that became no snapshot, by reason; empty for computed labels.
    """

    customer: np.ndarray
    cutoff: np.ndarray
    split: np.ndarray
    label: np.ndarray
    start: np.ndarray
    stop: np.ndarray
    recent: np.ndarray
    horizon_days: float
    gap_days: float
    counts: Mapping[str, int] = field(default_factory=dict)

    def __len__(self) -> int:
        return len(self.customer)

    def select(self, index: np.ndarray) -> Snapshots:
        """The snapshots of a bool mask or an integer index."""
        values = {item.name: getattr(self, item.name) for item in fields(self)}
        return Snapshots(
            **{name: value[index] if isinstance(value, np.ndarray) else value for name, value in values.items()}
        )

    @property
    def training(self) -> np.ndarray:
        """Bool `[N]`: training snapshots with a known label."""
        return (self.split == "train") & ~np.isnan(self.label)

    @property
    def early_stopping(self) -> np.ndarray:
        """Bool `[N]`: labelled validation snapshots but the newest cutoff's; all where `calibration` takes all."""
        rest = self.validation & ~self.calibration
        return rest if rest.any() else self.calibration

    @property
    def calibration(self) -> np.ndarray:
        """Bool `[N]`: labelled validation snapshots of the newest cutoff; all when they lie at the training cutoffs."""
        validation = self.validation
        if np.isin(self.cutoff[validation], self.cutoff[self.training]).all():
            return validation
        return validation & (self.cutoff == self.cutoff[validation].max(initial=np.iinfo(np.int64).min))

    @property
    def validation(self) -> np.ndarray:
        """Bool `[N]`: validation snapshots with a known label."""
        return (self.split == "val") & ~np.isnan(self.label)

    @property
    def last_training_cutoff(self) -> int:
        """Microseconds UTC; what is learnt beforehand may see events before it."""
        return int(self.cutoff[self.split == "train"].max())

    def cutoff_dates(self, zone: Zone = UTC) -> dict[str, list[str]]:
        """ISO dates of the cutoffs of each split, ascending."""
        return {
            str(name): [zone.iso(time) for time in np.unique(self.cutoff[self.split == name])]
            for name in pd.unique(self.split)
        }

    def fingerprint(self, store: EventStore) -> str:
        """Hash of customer ids, cutoffs, splits and labels: equal for runs that may be compared."""
        digest = hashlib.blake2b(digest_size=16)
        for text in (store.customer_ids[self.customer], self.split):
            digest.update("\0".join(map(str, text.tolist())).encode())
        digest.update(np.ascontiguousarray(self.cutoff, dtype="<i8").tobytes())
        digest.update(np.nan_to_num(self.label, nan=-1.0).astype("<i1").tobytes())
        return digest.hexdigest()


def build_snapshots(
    store: EventStore,
    rule: SnapshotRule,
    *,
    fold: int = 0,
    labels: Mapping[str, Any] = NO_EVENT,
    follow_days: float = 0.0,
    seed: int = 0,
) -> Snapshots:
    """All labelled snapshots of a store, split by cutoff so that no label window reaches a later split.

    With W = gap + horizon (+ grace of contractual labels) and `auto`: the grid steps back by `every_days` from the last
    matured cutoff L; test has its cutoffs in (L − W, L], val those that mature before the first test cutoff, within W
    of the newest such, train all that mature before the first validation cutoff. Lists of ISO dates are midnights
    unless a time is given; dates and days are those of the store's zone.

    Rolling origin: of `rule.folds`, fold 0 is the newest; fold f moves all three splits back by f·W, so the test
    periods of the folds do not overlap. `auto` training still reaches back to the start of the data; a listed cutoff
    that moves out of the data is dropped. The customers that a smaller `rule.label_share` labels are among those of a
    larger one.

    Args:
        labels: `{"name": no_event | contractual | churn_event | event | given, …}`; given: path to a file, each row of
            it a snapshot.
        follow_days: how much further than the label window `auto` lets the snapshots of validation and test be
            followed; training has all that its label windows leave room for, however briefly followed.
        seed: of the choice of validation customers.

    Raises:
        ValueError: bad dates, cutoffs outside the data, overlapping splits, an empty population, nothing matured.
    """
    if not 0 <= fold < rule.folds:
        raise UserError(f"snapshots.fold must be from 0 to snapshots.folds − 1, got fold {fold} of {rule.folds}")
    if not store.num_events:
        raise UserError(f"the store {store.path} has no events, so there is nothing to take a snapshot of")
    zone = store.zone
    horizon, gap, follow = to_us(rule.horizon_days), to_us(rule.gap_days), to_us(follow_days)
    first = int(np.asarray(store.time)[store.offsets[:-1][np.diff(store.offsets) > 0]].min())
    given = labels["name"] == "given"
    labeller = None if given else build_labeller(store, labels, horizon=horizon, gap=gap)
    span = labeller.span if labeller else gap + horizon
    frame, counts = read_given(store, labels["path"]) if given else (None, {})
    if frame is not None:
        grid = np.unique(frame["cutoff"].to_numpy())
        grid = grid[grid <= zone.add(int(grid.max(initial=0)), -fold * span)]
    else:
        newest, every, is_auto = (
            zone.add(store.end, -fold * span),
            to_us(rule.every_days),
            "auto" in (rule.train, rule.val, rule.test),
        )
        grid = np.zeros(0, np.int64)
        if is_auto:
            grid = cutoff_grid(first, newest, span=span + follow, every=every, zone=zone)
    lists = {split: getattr(rule, split) for split in SPLITS}
    splits = ("train", "test") if rule.val_customers else SPLITS
    cutoffs = split_cutoffs(
        grid, lists, first=first, end=store.end, span=span, shift=fold * span, follow=follow, splits=splits, zone=zone
    )
    recency = to_us(rule.recency_days)
    window = None if rule.active_days is None else to_us(rule.active_days)
    held_out = _drawn(store.num_customers, rule.val_customers, seed)
    parts: list[dict[str, np.ndarray]] = []
    everyone = np.arange(store.num_customers)
    for split in SPLITS:
        if frame is not None:
            rows = frame[np.isin(frame["cutoff"], cutoffs[split])]
            parts.append(_given_part(store, rows, split, window, recency, counts))
        else:
            assert labeller is not None
            parts += [
                labelled_part(store, labeller, everyone, split, cutoff, window, recency)
                for cutoff in cutoffs[split].tolist()
            ]
    if frame is not None:
        counts["outside_splits"] = len(frame) - int(
            np.isin(frame["cutoff"], np.concatenate(list(cutoffs.values()))).sum()
        )
    arrays = {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}
    arrays["split"] = np.where((arrays["split"] == "train") & held_out[arrays["customer"]], "val", arrays["split"])
    if rule.label_share < 1:
        labelled = _drawn(store.num_customers, rule.label_share, [rule.label_seed, 1])
        kept = (arrays["split"] != "train") | labelled[arrays["customer"]]
        arrays = {name: value[kept] for name, value in arrays.items()}
    order = np.lexsort((arrays["customer"], arrays["cutoff"], split_rank(arrays["split"])))
    arrays = {name: value[order] for name, value in arrays.items()}
    known: dict[str, Any] = {**arrays, "horizon_days": float(rule.horizon_days), "gap_days": float(rule.gap_days)}
    snapshots = Snapshots(**known, counts=counts)
    _check_population(snapshots, cutoffs, span, store)
    return snapshots


def _drawn(num: int, share: float, seed: int | list[int]) -> np.ndarray:
    """Bool `[num]`: a seeded share of the customers; those of a smaller share are among those of a larger one."""
    drawn = np.zeros(num, bool)
    drawn[np.random.default_rng(seed).permutation(num)[: round(share * num)]] = True
    return drawn


def check_classes(snapshots: Snapshots) -> None:
    """Raise ValueError when a split's known labels are all the same: nothing could be learned, or measured, on it."""
    for split in SPLITS:
        label = snapshots.label[snapshots.split == split]
        label = label[~np.isnan(label)]
        if len(label) and label.min() == label.max():
            raise UserError(
                f"one class only in {split}: all {len(label)} labels are {label[0]:g}, so change "
                "snapshots.horizon_days, snapshots.active_days or the cutoffs"
            )


def history_part(store: EventStore, customer: np.ndarray, cutoff: np.ndarray, recency: int) -> dict[str, np.ndarray]:
    """The pairs that have a history, with its rows and the recent flag."""
    count = count_before(store.offsets, store.time, customer, cutoff)
    some = count > 0
    customer, cutoff = customer[some], np.broadcast_to(cutoff, count.shape)[some]
    start = np.asarray(store.offsets)[customer]
    stop = start + count[some]
    recent = np.asarray(store.time)[stop - 1] >= store.zone.add(cutoff, -recency)
    return {"customer": customer, "cutoff": cutoff, "start": start, "stop": stop, "recent": recent}


def labelled_part(
    store: EventStore,
    labeller: Labeller,
    customer: np.ndarray,
    split: str,
    cutoff: int,
    active: int | None,
    recency: int,
) -> dict[str, np.ndarray]:
    part = history_part(store, customer, np.asarray(cutoff, np.int64), recency)
    if active is not None:
        inside = np.asarray(store.time)[part["stop"] - 1] >= store.zone.add(cutoff, -active)
        part = {name: value[inside] for name, value in part.items()}
    label, population = labeller(part["customer"], part["cutoff"], part["stop"])
    part |= {"label": label, "split": np.full(len(label), split)}
    return part if population.all() else {name: value[population] for name, value in part.items()}


def _given_part(
    store: EventStore, rows: pd.DataFrame, split: str, active: int | None, recency: int, counts: dict[str, int]
) -> dict[str, np.ndarray]:
    rows = rows.sort_values(["cutoff", "customer"])
    customer, cutoff = rows["customer"].to_numpy(), rows["cutoff"].to_numpy()
    part = history_part(store, customer, cutoff, recency)
    part["label"] = rows["label"].to_numpy()[count_before(store.offsets, store.time, customer, cutoff) > 0]
    counts["without_history"] = counts.get("without_history", 0) + len(rows) - len(part["label"])
    if active is not None:
        inside = np.asarray(store.time)[part["stop"] - 1] >= store.zone.add(part["cutoff"], -active)
        counts["inactive"] = counts.get("inactive", 0) + int((~inside).sum())
        part = {name: value[inside] for name, value in part.items()}
    return part | {"split": np.full(len(part["label"]), split)}


def _check_population(snapshots: Snapshots, cutoffs: Mapping[str, np.ndarray], span: int, store: EventStore) -> None:
    iso = store.zone.iso
    for split in SPLITS:
        label = snapshots.label[snapshots.split == split]
        dates = ", ".join(iso(time) for time in cutoffs[split][-3:])
        if not len(label):
            raise UserError(
                f"no customer is in the population of {split} (cutoffs {dates or 'none'}), so check "
                "snapshots.active_days"
            )
        if np.isnan(label).all():
            raise UserError(
                f"no {split} snapshot matured: the data ends {iso(store.end)}, less than {span / DAY:g} days after the "
                f"cutoffs {dates}, so choose earlier ones"
            )
