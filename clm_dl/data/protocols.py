"""Protocols: which items are to be found for whom, from which history, and which rows may be learnt from.

Shapes: N snapshots, M targets, C customers, U units (lines, or orders) that hold an item.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from clm_dl.data.catalogue import item_dictionary
from clm_dl.data.cutoffs import SPLITS, cutoff_grid, iso, parse_cutoff, split_cutoffs, to_us
from clm_dl.data.roles import check_keys, choice
from clm_dl.data.snapshots import Snapshots, check_rule, count_before, split_rank
from clm_dl.data.store import EventStore

UNITS = ("line", "order")
TARGETS = ("all", "first", "last")
OPTIONS = {"leave_one_out": ("min_events",), "global_time": ("val", "test", "quantiles", "target"), "rolling": ()}
MIN_EVENTS = 3  # one to learn from, one to validate, one to test
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
        counts: customers or snapshots left out by reason (few_events: train only; no_history, no_target, inactive: not asked), and the
            number of targets by kind (val_targets, …, test_repeats: in the own history, test_new: not, test_cold: of no training row).
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
        """Hash of customers, cutoffs, splits, lengths of history and target items: another order of ties gives another one."""
        snapshots, digest = self.snapshots, hashlib.blake2b(digest_size=16)
        for text in (store.customer_ids[snapshots.customer], snapshots.split, store.dictionary("item")[self.targets]):
            digest.update("\0".join(map(str, text.tolist())).encode() + b"\1")
        for numbers in (snapshots.cutoff, snapshots.stop - snapshots.start, self.target_offsets):
            digest.update(np.ascontiguousarray(numbers, dtype="<i8").tobytes())
        return digest.hexdigest()

    def check(self) -> None:
        """The guard of every run: raise ValueError, naming the first offender, where a history or the training rows hold a target.

        Histories lie before their cutoff (positional ones not after it) and before each of their targets, training histories within
        the training rows, no target within the training rows, and every target is what the store has in its row.
        """
        snapshots, store, row = self.snapshots, self.store, self.target_rows
        place = np.repeat(np.arange(len(snapshots)), np.diff(self.target_offsets))  # [M], the snapshot of each target
        time, customer = np.asarray(store.time), snapshots.customer
        own = (row >= store.offsets[customer[place]]) & (row < store.offsets[customer[place] + 1])
        last, train = time[snapshots.stop - 1], snapshots.split == "train"
        foreign = (snapshots.start < store.offsets[customer]) | (snapshots.stop > store.offsets[customer + 1])
        self._forbid(foreign, "has a history of another customer's events")
        self._forbid(last > snapshots.cutoff if self.positional else last >= snapshots.cutoff, "has events after the cutoff in its history")
        self._forbid(train & (snapshots.stop > self.training_stop[customer]), "trains on events that are held out")
        self._forbid(train[place], "is a training snapshot and has targets", place)
        self._forbid(~own | (np.asarray(store.column("item"))[row] != self.targets), "has a target that is not its own event", place)
        self._forbid(row < snapshots.stop[place], "has its target in its history", place)
        self._forbid(time[row] < snapshots.cutoff[place], "has a target from before its cutoff", place)
        self._forbid(row < self.training_stop[customer[place]], "has its target in the training rows", place)

    def _forbid(self, bad: np.ndarray, what: str, place: np.ndarray | None = None) -> None:
        if bad.any():
            index = int(np.argmax(bad)) if place is None else int(place[np.argmax(bad)])
            split, customer = self.snapshots.split[index], self.store.customer_ids[self.snapshots.customer[index]]
            item = "" if place is None else f" (item {self.store.dictionary('item')[self.targets[np.argmax(bad)]]!r})"
            raise ValueError(
                f"leak: the {split} snapshot of customer {customer} at {iso(self.snapshots.cutoff[index])} {what}{item}, "
                f"as {int(bad.sum()) - 1} others do: the protocol is broken, so no figure of this run may be used"
            )


def build_ranking(store: EventStore, *, protocol: Mapping[str, Any], unit: str, snapshots: Mapping[str, Any] | None = None) -> Ranking:
    """Split a store for ranking; a unit is what is predicted at a time, a line or an order.

    Args:
        protocol: one of
            `{"name": "leave_one_out", "min_events": 3}`: the last unit of a customer is the test target, the one before the validation
            target, the rest trains; histories go by position in the store, so the order of ties is that of the store.
            `{"name": "global_time", "val": date, "test": date, "quantiles": [0.8, 0.9], "target": "all"}`: windows [val, test) and
            [test, end]; a date of null is that quantile of the events' times. Targets are all items of the window, or the customer's
            first or last unit in it; the history ends where the window begins, for "last" where that unit begins.
            `{"name": "rolling"}`: windows and population by `snapshots`, as in churn; all items of the window are targets.
            Training rows lie before the first validation window.
        unit: "line" or "order"; one without an item is none.
        snapshots: of the rolling protocol: the arguments of `build_snapshots`; `train` is not used, since training needs no window.

    Raises:
        ValueError: a log without items, wrong options or dates, a split without any target, no training rows.
    """
    name = choice(protocol.get("name"), tuple(OPTIONS), "protocol.name")
    check_keys(protocol, ("name", *OPTIONS[name]), f"key of protocol {name}")
    choice(unit, UNITS, "the unit of a protocol")
    item_dictionary(store)
    options = {key: value for key, value in protocol.items() if key != "name"}
    if name == "leave_one_out":
        return _leave_one_out(store, unit, **options)
    if name == "global_time":
        return _global_time(store, unit, **options)
    return _rolling(store, dict(snapshots or {}))


def _leave_one_out(store: EventStore, unit: str, *, min_events: int = MIN_EVENTS) -> Ranking:
    if min_events < MIN_EVENTS:
        raise ValueError(f"protocol.min_events must be at least {MIN_EVENTS} (to train, validate and test), got {min_events}")
    start, stop = _units(store, unit)
    offsets = np.searchsorted(start, store.offsets)  # [C+1] into the units
    chosen = np.flatnonzero(np.diff(offsets) >= min_events)
    training_stop = np.array(store.offsets[1:])
    training_stop[chosen] = start[offsets[chosen + 1] - 2]
    time, parts = np.asarray(store.time), []
    for split, back in {"val": 2, "test": 1}.items():
        place = offsets[chosen + 1] - back
        parts.append(_part(split, chosen, cutoff=time[start[place]], stop=start[place], first=start[place], last=stop[place]))
    counts = {"few_events": store.num_customers - len(chosen)}
    return _assemble(store, parts, training_stop, counts, positional=True)


def _global_time(
    store: EventStore,
    unit: str,
    *,
    val: Any = None,
    test: Any = None,
    quantiles: tuple[float, float] = (0.8, 0.9),
    target: str = "all",
) -> Ranking:
    choice(target, TARGETS, "protocol.target")
    time = np.asarray(store.time)
    if len(quantiles) != 2 or not 0 < quantiles[0] < quantiles[1] < 1:
        raise ValueError(f"protocol.quantiles must be two ascending shares between 0 and 1, got {list(quantiles)}")
    found = np.quantile(time, quantiles, method="higher").tolist()
    begin = {
        split: int(quantile) if date is None else parse_cutoff(date)
        for split, date, quantile in zip(("val", "test"), (val, test), found, strict=True)
    }
    if not time.min() < begin["val"] < begin["test"] <= time.max():
        raise ValueError(
            f"protocol.val {iso(begin['val'])} and protocol.test {iso(begin['test'])} must ascend within the data "
            f"({iso(time.min())} to {iso(time.max())}): choose other dates or quantiles"
        )
    everyone, customers = np.arange(store.num_customers), np.asarray(store.offsets)
    edges = {split: customers[:-1] + count_before(store.offsets, time, everyone, at) for split, at in begin.items()}
    end = customers[:-1] + count_before(store.offsets, time, everyone, max(store.end, int(time.max()) + 1))
    start, stop = _units(store, unit)
    parts = []
    for split, low, high in (("val", edges["val"], edges["test"]), ("test", edges["test"], end)):
        cutoff = np.full(len(everyone), begin[split])
        if target == "all":
            parts.append(_part(split, everyone, cutoff=cutoff, stop=low, first=low, last=high))
            continue
        place = np.searchsorted(start, low) if target == "first" else np.searchsorted(start, high) - 1
        place = np.clip(place, 0, len(start) - 1)
        some = (start[place] >= low) & (start[place] < high)
        first, last = np.where(some, start[place], low), np.where(some, stop[place], low)
        if target == "last":
            cutoff = np.where(some, time[first.clip(max=len(time) - 1)], cutoff)
        parts.append(_part(split, everyone, cutoff=cutoff, stop=first if target == "last" else low, first=first, last=last))
    return _assemble(store, parts, edges["val"], {}, positional=target == "last", training_cutoff=begin["val"])


def _rolling(store: EventStore, rule: dict[str, Any]) -> Ranking:
    horizon_days, gap_days, every_days = rule["horizon_days"], rule.get("gap_days", 0.0), rule.get("every_days", 14.0)
    active_days, recent_days, fold = rule.get("active_days"), rule.get("recent_days"), rule.get("fold", 0)
    if rule.get("val_customers"):
        raise ValueError(
            f"protocol=rolling validates at later cutoffs, got snapshots.val_customers={rule['val_customers']}: set it to 0 or choose "
            "protocol=leave_one_out"
        )
    check_rule(horizon_days, gap_days, every_days, active_days, recent_days, 0.0, rule.get("folds", 1), fold)
    time = np.asarray(store.time)
    gap, span, first = to_us(gap_days), to_us(gap_days) + to_us(horizon_days), int(time.min())
    lists = {split: rule.get(split, "auto") for split in ("val", "test")}
    grid = np.zeros(0, np.int64)
    if "auto" in lists.values():
        grid = cutoff_grid(first, store.end - fold * span, span=span, every=to_us(every_days))
    cutoffs = split_cutoffs(grid, lists, first=first, end=store.end, span=span, shift=fold * span, splits=("val", "test"))
    if int(cutoffs["test"][-1]) + span > store.end:
        raise ValueError(
            f"the window of the test cutoff {iso(cutoffs['test'][-1])} ends {iso(cutoffs['test'][-1] + span)}, after the end of the data "
            f"{iso(store.end)}: choose an earlier snapshots.test"
        )
    everyone, customers = np.arange(store.num_customers), np.asarray(store.offsets[:-1])
    recency, counts, parts = to_us(horizon_days if recent_days is None else recent_days), {"inactive": 0}, []
    for split in ("val", "test"):
        for cutoff in cutoffs[split].tolist():
            stop, low, high = (customers + count_before(store.offsets, time, everyone, at) for at in (cutoff, cutoff + gap, cutoff + span))
            silent = np.where(stop > customers, cutoff - time[stop - 1], -1)  # −1: no history
            part = _part(split, everyone, cutoff=np.full(len(everyone), cutoff), stop=stop, first=low, last=high)
            part["recent"] = silent <= recency
            inside = silent <= (np.iinfo(np.int64).max if active_days is None else to_us(active_days))
            counts["inactive"] += int((~inside).sum())
            parts.append({name: value[inside] for name, value in part.items()})
    before = int(cutoffs["val"][0])
    training_stop = customers + count_before(store.offsets, time, everyone, before)
    window = {"horizon_days": float(horizon_days), "gap_days": float(gap_days)}
    return _assemble(store, parts, training_stop, counts, positional=False, training_cutoff=before, **window)


def _units(store: EventStore, unit: str) -> tuple[np.ndarray, np.ndarray]:
    """int64 `[U]`, `[U]`: the rows [start, stop) of each unit that holds an item."""
    rows = np.flatnonzero(np.asarray(store.column("item")) >= 0)
    if unit == "line":
        return rows, rows + 1
    edges = np.append(np.flatnonzero(store.order_start), store.num_events)
    place = np.unique(np.searchsorted(edges, rows, side="right") - 1)
    return edges[place], edges[place + 1]


def _part(split: str, customer: np.ndarray, **arrays: np.ndarray) -> Part:
    return {"customer": customer, "split": np.full(len(customer), split), "recent": np.ones(len(customer), bool), **arrays}


def _assemble(
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
    """Training snapshots, then those of `parts` that have a history and a target; counts say what became of the others."""
    start, time = np.asarray(store.offsets[:-1]), np.asarray(store.time)
    learners = np.flatnonzero(training_stop > start)
    if not len(learners):
        raise ValueError(f"the store {store.path} has no events to train on before the validation targets: choose a later protocol.val")
    stop = training_stop[learners]
    cutoff = time[stop - 1] if training_cutoff is None else np.full(len(learners), training_cutoff)
    parts = [_part("train", learners, cutoff=cutoff, stop=stop, first=stop, last=stop), *parts]
    table = {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}
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
            raise ValueError(f"no customer has a history and a target in {split} ({reasons}): choose another protocol or other dates")
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


def _distinct(item: np.ndarray, first: np.ndarray, last: np.ndarray, num_items: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
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
    met = rows[index[np.searchsorted(keys, snapshots.customer[place] * num_items + ranking.targets)]]  # first line of customer and item
    repeat = met < snapshots.stop[place]
    cold = np.bincount(item[ranking.training_rows & (item >= 0)], minlength=num_items)[ranking.targets] == 0
    found = {}
    for split in SPLITS[1:]:
        of = snapshots.split[place] == split
        found |= {f"{split}_targets": int(of.sum()), f"{split}_repeats": int((of & repeat).sum())}
        found |= {f"{split}_new": int((of & ~repeat).sum()), f"{split}_cold": int((of & cold).sum())}
    return found
