"""Protocols: how a log is split for ranking: leave one out, global windows in time, rolling cutoffs.

Shapes: C customers, U units (lines, or orders) that hold an item.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from clm_dl.data.ranking.catalogue import item_dictionary
from clm_dl.data.ranking.ranking import Ranking, assemble, part_of
from clm_dl.data.snapshots.cutoffs import cutoff_grid, split_cutoffs, to_us
from clm_dl.data.snapshots.rule import SnapshotRule
from clm_dl.data.store.history import count_before
from clm_dl.data.store.store import EventStore
from clm_dl.data.zone import Zone
from clm_dl.errors import UserError, check_keys, choice

__all__ = ["Ranking", "build_ranking"]
UNITS = ("line", "order")
TARGETS = ("all", "first", "last")
OPTIONS = {"leave_one_out": ("min_events",), "global_time": ("val", "test", "quantiles", "target"), "rolling": ()}
QUANTILES = (0.8, 0.9)
MIN_EVENTS = 3  # one to learn from, one to validate, one to test


def check_protocol(protocol: Mapping[str, Any], zone: Zone) -> None:
    """Raise UserError for what no log can be split by."""
    name = choice(protocol.get("name"), tuple(OPTIONS), "protocol.name")
    check_keys(protocol, ("name", *OPTIONS[name]), f"key of protocol {name}")
    if name == "leave_one_out":
        min_events = protocol.get("min_events", MIN_EVENTS)
        if not isinstance(min_events, int) or isinstance(min_events, bool) or min_events < MIN_EVENTS:
            raise UserError(
                f"protocol.min_events must be at least {MIN_EVENTS}, an integer (to train, validate and test), got "
                f"{min_events!r}"
            )
    if name == "global_time":
        choice(protocol.get("target", TARGETS[0]), TARGETS, "protocol.target")
        quantiles = protocol.get("quantiles", QUANTILES)
        shares = quantiles if isinstance(quantiles, Sequence) and not isinstance(quantiles, str) else ()
        numbers = all(isinstance(share, (int, float)) for share in shares)
        if not numbers or len(shares) != 2 or not 0 < shares[0] < shares[1] < 1:
            raise UserError(f"protocol.quantiles must be two ascending shares between 0 and 1, got {quantiles!r}")
        given = {split: protocol.get(split) for split in ("val", "test")}
        dates = {split: zone.parse(date, f"protocol.{split}") for split, date in given.items() if date is not None}
        if len(dates) == 2 and dates["val"] >= dates["test"]:
            raise UserError(
                f"protocol.val {given['val']} and protocol.test {given['test']} must ascend: choose other dates"
            )


def build_ranking(
    store: EventStore, *, protocol: Mapping[str, Any], unit: str, rule: SnapshotRule | None = None
) -> Ranking:
    """Split a store for ranking; a unit is what is predicted at a time, a line or an order.

    Args:
        protocol: one of
            - `{"name": "leave_one_out", "min_events": 3}`: the last unit of a customer is the test target, the one
              before the validation target, the rest trains; histories go by position in the store, so the order of ties
              is that of the store.
            - `{"name": "global_time", "val": date, "test": date, "quantiles": [0.8, 0.9], "target": "all"}`: windows
              [val, test) and [test, end]; a date of null is that quantile of the events' times. Targets are all items
              of the window, or the customer's first or last unit in it; the history ends where the window begins, for
              "last" where that unit begins.
            - `{"name": "rolling"}`: windows and population by `rule`, as in churn; all items of the window are targets.
              Training rows lie before the first validation window, so `rule.train` is not used.
        unit: "line" or "order"; one without an item is none.

    Raises:
        ValueError: a log without items, wrong options or dates, a split without any target, no training rows.
    """
    check_protocol(protocol, store.zone)
    name = protocol["name"]
    choice(unit, UNITS, "the unit of a protocol")
    item_dictionary(store)
    options = {key: value for key, value in protocol.items() if key != "name"}
    if name == "leave_one_out":
        return _leave_one_out(store, unit, **options)
    if name == "global_time":
        return _global_time(store, unit, **options)
    return _rolling(store, rule)


def _leave_one_out(store: EventStore, unit: str, *, min_events: int = MIN_EVENTS) -> Ranking:
    start, stop = _units(store, unit)
    offsets = np.searchsorted(start, store.offsets)  # [C+1] into the units
    chosen = np.flatnonzero(np.diff(offsets) >= min_events)
    everyone = np.arange(store.num_customers)
    training_stop = store.offsets[:-1] + count_before(store.offsets, store.time, everyone, store.known_until)
    training_stop[chosen] = start[offsets[chosen + 1] - 2]
    time, parts = np.asarray(store.time), []
    for split, back in {"val": 2, "test": 1}.items():
        place = offsets[chosen + 1] - back
        parts.append(
            part_of(split, chosen, cutoff=time[start[place]], stop=start[place], first=start[place], last=stop[place])
        )
    counts = {"few_events": store.num_customers - len(chosen)}
    return assemble(store, parts, training_stop, counts, positional=True)


def _global_time(
    store: EventStore,
    unit: str,
    *,
    val: Any = None,
    test: Any = None,
    quantiles: tuple[float, float] = QUANTILES,
    target: str = "all",
) -> Ranking:
    time = np.asarray(store.time)
    found = np.quantile(time, quantiles, method="higher").tolist()
    begin = {
        split: int(quantile) if date is None else store.zone.parse(date)
        for split, date, quantile in zip(("val", "test"), (val, test), found, strict=True)
    }
    iso = store.zone.iso
    if not time.min() < begin["val"] < begin["test"] <= time.max():
        raise UserError(
            f"protocol.val {iso(begin['val'])} and protocol.test {iso(begin['test'])} must ascend within the data "
            f"({iso(time.min())} to {iso(time.max())}): choose other dates or quantiles"
        )
    everyone, customers = np.arange(store.num_customers), np.asarray(store.offsets)
    edges = {split: customers[:-1] + count_before(store.offsets, time, everyone, at) for split, at in begin.items()}
    end = customers[:-1] + count_before(store.offsets, time, everyone, store.known_until)
    start, stop = _units(store, unit)
    parts = []
    for split, low, high in (("val", edges["val"], edges["test"]), ("test", edges["test"], end)):
        cutoff = np.full(len(everyone), begin[split])
        if target == "all":
            parts.append(part_of(split, everyone, cutoff=cutoff, stop=low, first=low, last=high))
            continue
        place = np.searchsorted(start, low) if target == "first" else np.searchsorted(start, high) - 1
        place = np.clip(place, 0, len(start) - 1)
        some = (start[place] >= low) & (start[place] < high)
        first, last = np.where(some, start[place], low), np.where(some, stop[place], low)
        if target == "last":
            cutoff = np.where(some, time[first.clip(max=len(time) - 1)], cutoff)
        parts.append(
            part_of(split, everyone, cutoff=cutoff, stop=first if target == "last" else low, first=first, last=last)
        )
    return assemble(store, parts, edges["val"], {}, positional=target == "last", training_cutoff=begin["val"])


def _rolling(store: EventStore, rule: SnapshotRule | None) -> Ranking:
    if rule is None:
        raise UserError(
            "protocol=rolling has no window: give snapshots.horizon_days, the days after a cutoff whose items are to "
            "be found"
        )
    if rule.val_customers:
        raise UserError(
            f"protocol=rolling validates at later cutoffs, got snapshots.val_customers={rule.val_customers}: set it to "
            "0 or choose protocol=leave_one_out"
        )
    time = np.asarray(store.time)
    zone, iso = store.zone, store.zone.iso
    gap, span, first = to_us(rule.gap_days), to_us(rule.gap_days) + to_us(rule.horizon_days), int(time.min())
    lists = {"val": rule.val, "test": rule.test}
    grid = np.zeros(0, np.int64)
    if "auto" in lists.values():
        grid = cutoff_grid(first, store.end, span=span, every=to_us(rule.every_days), zone=zone)
    cutoffs = split_cutoffs(grid, lists, first=first, end=store.end, span=span, splits=("val", "test"), zone=zone)
    if (ends := zone.add(int(cutoffs["test"][-1]), span)) > store.end:
        raise UserError(
            f"the window of the test cutoff {iso(cutoffs['test'][-1])} ends {iso(ends)}, after "
            f"the end of the data {iso(store.end)}: choose an earlier snapshots.test"
        )
    everyone, customers = np.arange(store.num_customers), np.asarray(store.offsets[:-1])
    recency, counts, parts = to_us(rule.recency_days), {"inactive": 0}, []
    for split in ("val", "test"):
        for cutoff in cutoffs[split].tolist():
            stop, low, high = (
                customers + count_before(store.offsets, time, everyone, at)
                for at in (cutoff, zone.add(cutoff, gap), zone.add(cutoff, span))
            )
            last = np.where(stop > customers, time[stop - 1], cutoff)  # without a history: left out later
            part = part_of(split, everyone, cutoff=np.full(len(everyone), cutoff), stop=stop, first=low, last=high)
            part["recent"] = last >= zone.add(cutoff, -recency)
            inside = np.ones(len(last), bool)
            if rule.active_days is not None:
                inside = last >= zone.add(cutoff, -to_us(rule.active_days))
            counts["inactive"] += int((~inside).sum())
            parts.append({name: value[inside] for name, value in part.items()})
    before = int(cutoffs["val"][0])
    training_stop = customers + count_before(store.offsets, time, everyone, before)
    window = {"horizon_days": float(rule.horizon_days), "gap_days": float(rule.gap_days)}
    return assemble(store, parts, training_stop, counts, positional=False, training_cutoff=before, **window)


def _units(store: EventStore, unit: str) -> tuple[np.ndarray, np.ndarray]:
    """int64 `[U]`, `[U]`: the rows [start, stop) of each unit that holds an item and lies in the data."""
    rows = np.flatnonzero((np.asarray(store.column("item")) >= 0) & (np.asarray(store.time) < store.known_until))
    if unit == "line":
        return rows, rows + 1
    edges = np.append(np.flatnonzero(store.order_start), store.num_events)
    place = np.unique(np.searchsorted(edges, rows, side="right") - 1)
    return edges[place], edges[place + 1]
