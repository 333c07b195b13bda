"""Ranking: whom a recommender is asked about, from which history, what is to be found, and which rows may be learnt
from.

Shapes: N snapshots, M targets, C customers.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass

import numpy as np

from clm_dl.data.snapshots.cutoffs import SPLITS, split_rank
from clm_dl.data.snapshots.snapshots import Snapshots
from clm_dl.data.store.store import EventStore
from clm_dl.errors import UserError

Part = dict[str, np.ndarray]  # customer, cutoff, split, stop of the history, target rows [first, last), recent


@dataclass(frozen=True, eq=False)
class Ranking:
    """What a recommender is asked, and what it may know. Items are codes of the store.

    Attributes:
        snapshots: "train" (one a customer, its training rows), then "val" and "test"; labels are 0.0 and mean nothing;
            `horizon_days` is 0 but in the rolling protocol.
        target_offsets: int64 `[N + 1]`. targets: int64 `[M]`; those of snapshot n, distinct and in store order, are
            `targets[target_offsets[n]:target_offsets[n + 1]]`; train snapshots have none.
        target_rows: int64 `[M]`, the store row where each target is first met.
        training_stop: int64 `[C]`; the training rows of customer c are `[offsets[c], training_stop[c])`.
        counts: customers or snapshots left out by reason (few_events: train only; no_history, no_target, inactive: not
            asked), and the number of targets by kind (val_targets, …, test_repeats: in the own history, test_new: not,
            test_cold: of no training row).
        positional: a history ends right before the target, whose time is the cutoff: no input may look at the cutoff.
    """

    snapshots: Snapshots
    target_offsets: np.ndarray
    targets: np.ndarray
    target_rows: np.ndarray
    training_stop: np.ndarray
    counts: dict[str, int]
    store: EventStore
    positional: bool = False

    @property
    def training_rows(self) -> np.ndarray:
        """bool `[events]`."""
        return np.arange(self.store.num_events) < np.repeat(self.training_stop, np.diff(self.store.offsets))

    def select(self, split: str) -> np.ndarray:
        """int64: the snapshots of one split."""
        return np.flatnonzero(self.snapshots.split == split)

    def fingerprint(self, store: EventStore) -> str:
        """Hash of customers, cutoffs, splits, history lengths and target items: another order of ties gives another."""
        snapshots, digest = self.snapshots, hashlib.blake2b(digest_size=16)
        for text in (store.customer_ids[snapshots.customer], snapshots.split, store.dictionary("item")[self.targets]):
            digest.update("\0".join(map(str, text.tolist())).encode() + b"\1")
        for numbers in (snapshots.cutoff, snapshots.stop - snapshots.start, self.target_offsets):
            digest.update(np.ascontiguousarray(numbers, dtype="<i8").tobytes())
        return digest.hexdigest()

    def check(self) -> None:
        """The guard of every run: raise ValueError, naming the first offender, where a history or the training rows
        hold a target.

        Histories lie before their cutoff (positional ones not after it) and before each of their targets, training
        histories within the training rows, no target within the training rows, and every target is what the store has
        in its row.
        """
        snapshots, store, row = self.snapshots, self.store, self.target_rows
        place = np.repeat(np.arange(len(snapshots)), np.diff(self.target_offsets))  # [M], the snapshot of each target
        time, customer = np.asarray(store.time), snapshots.customer
        own = (row >= store.offsets[customer[place]]) & (row < store.offsets[customer[place] + 1])
        last, train = time[snapshots.stop - 1], snapshots.split == "train"
        foreign = (snapshots.start < store.offsets[customer]) | (snapshots.stop > store.offsets[customer + 1])
        self._forbid(foreign, "has a history of another customer's events")
        self._forbid(train & (snapshots.stop > self.training_stop[customer]), "trains on events that are held out")
        self._forbid(
            last > snapshots.cutoff if self.positional else last >= snapshots.cutoff,
            "has events after the cutoff in its history",
        )
        self._forbid(train[place], "is a training snapshot and has targets", place)
        self._forbid(
            ~own | (np.asarray(store.column("item"))[row] != self.targets),
            "has a target that is not its own event",
            place,
        )
        self._forbid(row < snapshots.stop[place], "has its target in its history", place)
        self._forbid(time[row] < snapshots.cutoff[place], "has a target from before its cutoff", place)
        self._forbid(row < self.training_stop[customer[place]], "has its target in the training rows", place)

    def _forbid(self, bad: np.ndarray, what: str, place: np.ndarray | None = None) -> None:
        if bad.any():
            index = int(np.argmax(bad)) if place is None else int(place[np.argmax(bad)])
            split, customer = self.snapshots.split[index], self.store.customer_ids[self.snapshots.customer[index]]
            iso = self.store.zone.iso
            item = "" if place is None else f" (item {self.store.dictionary('item')[self.targets[np.argmax(bad)]]!r})"
            raise UserError(
                f"leak: the {split} snapshot of customer {customer} at {iso(self.snapshots.cutoff[index])} "
                f"{what}{item}, one of {int(bad.sum())} such: the protocol is broken, so no figure of this run may be "
                "used"
            )


def part_of(split: str, customer: np.ndarray, **arrays: np.ndarray) -> Part:
    return {
        "customer": customer,
        "split": np.full(len(customer), split),
        "recent": np.ones(len(customer), bool),
        **arrays,
    }


def assemble(
    store: EventStore,
    parts: list[Part],
    training_stop: np.ndarray,
    counts: dict[str, int],
    *,
    positional: bool,
    training_cutoff: int | None = None,
    horizon_days: float = 0.0,
    gap_days: float = 0.0,
) -> Ranking:
    """Training snapshots, then those of `parts` with a history and a target; counts say what became of the others."""
    start, time = np.asarray(store.offsets[:-1]), np.asarray(store.time)
    learners = np.flatnonzero(training_stop > start)
    if not len(learners):
        raise UserError(
            f"the store {store.path} has no events to train on before the validation targets: let validation begin "
            "later"
        )
    stop = training_stop[learners]
    cutoff = time[stop - 1] if training_cutoff is None else np.full(len(learners), training_cutoff)
    parts = [part_of("train", learners, cutoff=cutoff, stop=stop, first=stop, last=stop), *parts]
    table = {name: np.concatenate([piece[name] for piece in parts]) for name in parts[0]}
    order = np.lexsort((table["customer"], table["cutoff"], split_rank(table["split"])))
    table = {name: value[order] for name, value in table.items()}
    history = table["stop"] > start[table["customer"]]
    counts["no_history"] = int((~history & (table["last"] > table["first"])).sum())
    table = {name: value[history] for name, value in table.items()}
    num_items = len(store.dictionary("item"))
    place, row, targets = _distinct(np.asarray(store.column("item")), table["first"], table["last"], num_items)
    number = np.bincount(place, minlength=len(table["split"]))
    kept = (number > 0) | (table["split"] == "train")
    counts["no_target"] = int((~kept).sum())
    table, number = {name: value[kept] for name, value in table.items()}, number[kept]
    for split in SPLITS[1:]:
        if not (table["split"] == split).any():
            reasons = ", ".join(f"{reason}: {count}" for reason, count in counts.items() if count)
            raise UserError(
                f"no customer has a history and a target in {split} ({reasons}): choose another protocol or other dates"
            )
    snapshots = Snapshots(
        customer=table["customer"],
        cutoff=table["cutoff"],
        split=table["split"],
        label=np.zeros(len(number)),
        start=start[table["customer"]],
        stop=table["stop"],
        recent=table["recent"],
        horizon_days=horizon_days,
        gap_days=gap_days,
    )
    offsets = np.concatenate([[0], np.cumsum(number)])
    ranking = Ranking(snapshots, offsets, targets, row, training_stop, counts, store, positional)
    counts.update(_target_counts(ranking, num_items))
    return ranking


def _distinct(
    item: np.ndarray, first: np.ndarray, last: np.ndarray, num_items: int
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Snapshot, row and item of each distinct item in rows [first, last) of each snapshot, by snapshot, then row."""
    size = last - first
    place = np.repeat(np.arange(len(size)), size)
    row = np.arange(len(place)) + np.repeat(first - (np.cumsum(size) - size), size)
    known = item[row] >= 0
    place, row = place[known], row[known]
    _, index = np.unique(place * num_items + item[row], return_index=True)
    index.sort()
    return place[index], row[index], item[row[index]].astype(np.int64)


def _target_counts(ranking: Ranking, num_items: int) -> dict[str, int]:
    store, snapshots = ranking.store, ranking.snapshots
    item = np.asarray(store.column("item"))
    rows = np.flatnonzero(item >= 0)
    customer = np.searchsorted(store.offsets, rows, side="right") - 1
    keys, index = np.unique(customer * num_items + item[rows], return_index=True)
    place = np.repeat(np.arange(len(snapshots)), np.diff(ranking.target_offsets))
    # first line of customer and item
    met = rows[index[np.searchsorted(keys, snapshots.customer[place] * num_items + ranking.targets)]]
    repeat = met < snapshots.stop[place]
    cold = np.bincount(item[ranking.training_rows & (item >= 0)], minlength=num_items)[ranking.targets] == 0
    found: dict[str, int] = {}
    for split in SPLITS[1:]:
        of = snapshots.split[place] == split
        found |= {f"{split}_targets": int(of.sum()), f"{split}_repeats": int((of & repeat).sum())}
        found |= {f"{split}_new": int((of & ~repeat).sum()), f"{split}_cold": int((of & cold).sum())}
    return found
