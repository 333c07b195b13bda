"""The Scores table of ranked tasks: the list of every snapshot and the place of every target, whatever model made them.

Shapes: N snapshots, M targets, V catalogue, K length of the list.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from clm_dl.data.ranking.catalogue import Catalogue
from clm_dl.data.ranking.ranking import Ranking
from clm_dl.data.store.store import EventStore


@dataclass(frozen=True, eq=False)
class Ranks:
    """The ranking of N snapshots.

    Attributes:
        index: [N] the snapshots ranked, as given. target_offsets [N + 1], targets [M]: what was to be found, item
            codes.
        above, ties: int64 [M]; a target that the policy removed is a miss: above = V, ties = 1. target_score [M]: −inf
            for a miss.
        target_repeat: bool [M], in the history.
        candidates: int64 [N], how many items were ranked.
        top, top_score: [N, K] item codes (−1: fewer candidates) and scores (NaN), best first. top_repeat: bool [N, K],
            in the history.
        probability: [N] softmax probability of the first item among the candidates; None unless asked for.
        num_items: V.
    """

    index: NDArray[np.int64]
    target_offsets: NDArray[np.int64]
    targets: NDArray[np.int64]
    above: NDArray[np.int64]
    ties: NDArray[np.int64]
    target_score: NDArray[np.float64]
    target_repeat: NDArray[np.bool_]
    candidates: NDArray[np.int64]
    top: NDArray[np.int64]
    top_score: NDArray[Any]
    top_repeat: NDArray[np.bool_]
    probability: NDArray[np.float64] | None
    num_items: int


def join_ranks(parts: Sequence[Ranks]) -> Ranks:
    """The rankings of several sets of snapshots, one after the other."""
    first = parts[0]
    columns: dict[str, Any] = {}
    for name in (field.name for field in fields(Ranks) if field.name not in ("target_offsets", "num_items")):
        columns[name] = (
            None if getattr(first, name) is None else np.concatenate([getattr(part, name) for part in parts])
        )
    num_targets = np.concatenate([np.diff(part.target_offsets) for part in parts])
    return Ranks(**columns, target_offsets=np.concatenate([[0], np.cumsum(num_targets)]), num_items=first.num_items)


def ranked_scores(
    store: EventStore,
    ranking: Ranking,
    ranks: Mapping[tuple[str, str], Ranks],
    *,
    catalogue: Catalogue,
    task: str,
    unit: str,
) -> pd.DataFrame:
    """Rows of every model: `ranks` is (model, among) -> its ranks; ordered by model, snapshot and place.

    Of the whole catalogue there are the first k items and every target (one row where a target is listed), of "repeats"
    and "new" the targets alone. `unit` ("line" or "order") is what `history` counts.

    Columns: customer_id, cutoff (UTC), split, model, task, horizon (days), among, rank (1 … k; null outside the list),
    item_id, score (as the model gives it), label (1 target, 0 not), above, ties (target rows: candidates of higher and
    of equal score, itself included; above = V where the policy removed it), candidates (items ranked), repeat (item in
    the history), cold (item not in the training rows), history (units before the cutoff), probability (first item only,
    of models that give one).
    """
    history_N = _history(store, ranking.snapshots.start, ranking.snapshots.stop, unit)
    parts = [
        _rows(store, ranking, found, model, among, catalogue, task, history_N)
        for (model, among), found in ranks.items()
    ]
    return pd.concat(parts, ignore_index=True)


def _rows(
    store: EventStore,
    ranking: Ranking,
    ranks: Ranks,
    model: str,
    among: str,
    catalogue: Catalogue,
    task: str,
    history_N: np.ndarray,
) -> pd.DataFrame:
    snapshots, num_items = ranking.snapshots, ranks.num_items
    target_row = np.repeat(np.arange(len(ranks.index)), np.diff(ranks.target_offsets))
    num_targets, num_listed = len(target_row), np.count_nonzero(ranks.top >= 0) if among == "catalogue" else 0
    row, place = np.nonzero(ranks.top >= 0)
    row, place = row[:num_listed], place[:num_listed]
    # targets first, then the list: the first row of a key is the target's, which takes over its place in the list
    key = np.concatenate([target_row, row]) * num_items + np.concatenate([ranks.targets, ranks.top[row, place]])
    _, first, inverse = np.unique(key, return_index=True, return_inverse=True)
    rank = np.zeros(len(first), np.int64)
    rank[inverse[num_targets:]] = place + 1
    is_target = first < num_targets
    row = key[first] // num_items
    order = np.lexsort((np.where(is_target, first, 0), np.where(rank > 0, rank, np.iinfo(np.int64).max), row))
    first, rank, is_target, row = first[order], rank[order], is_target[order], row[order]
    of_target = np.where(is_target, first, 0)

    def either(target: np.ndarray, listed: np.ndarray) -> np.ndarray:
        return np.concatenate([target, listed[ranks.top >= 0][:num_listed]])[first]

    def targets_only(value: np.ndarray) -> pd.arrays.IntegerArray:
        return pd.arrays.IntegerArray(value[of_target] if num_targets else np.zeros(len(first), np.int64), ~is_target)

    item, index = key[first] % num_items, ranks.index[row]
    frame = {
        "customer_id": store.customer_ids[snapshots.customer[index]],
        "cutoff": pd.to_datetime(snapshots.cutoff[index], unit="us", utc=True),
        "split": snapshots.split[index].astype(str),
        "model": model,
        "task": task,
        "horizon": snapshots.horizon_days,
        "among": among,
        "rank": pd.arrays.IntegerArray(rank, rank == 0),
        "item_id": catalogue.item_ids[item],
        "score": either(ranks.target_score, ranks.top_score),
        "label": is_target.astype(np.float64),
        "above": targets_only(ranks.above),
        "ties": targets_only(ranks.ties),
        "candidates": ranks.candidates[row],
        "repeat": either(ranks.target_repeat, ranks.top_repeat),
        "cold": catalogue.count[item] == 0,
        "history": history_N[index],
        "probability": np.where(rank == 1, ranks.probability[row], np.nan) if ranks.probability is not None else np.nan,
    }
    return pd.DataFrame(frame)


def _history(store: EventStore, start_N: np.ndarray, stop_N: np.ndarray, unit: str) -> np.ndarray:
    """Lines or orders in the rows [start, stop) of each snapshot; int64 [N]."""
    if unit == "line":
        return stop_N - start_N
    first = np.flatnonzero(store.order_start)
    return np.searchsorted(first, stop_N) - np.searchsorted(first, start_N)
