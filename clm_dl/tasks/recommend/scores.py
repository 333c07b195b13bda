"""The Scores table of ranked tasks: the list of every snapshot and the place of every target, whatever model made them.

Shapes: N snapshots, M targets, V catalogue, K length of the list.
"""

from __future__ import annotations

import numpy as np
import pandas as pd

from clm_dl.data.ranking.catalogue import Catalogue
from clm_dl.data.snapshots.snapshots import Snapshots
from clm_dl.data.store.store import EventStore
from clm_dl.tasks.recommend.ranks import Ranks


def ranked_rows(
    store: EventStore,
    snapshots: Snapshots,
    ranks: Ranks,
    history_N: np.ndarray,
    *,
    model: str,
    among: str,
    catalogue: Catalogue,
    task: str,
) -> pd.DataFrame:
    """Rows of one model, ordered by snapshot and place.

    Of the whole catalogue there are the first k items and every target (one row where a target is listed), of "repeats"
    and "new" the targets alone. `history_N` is what `history` says of each snapshot, see `history_length`.

    Columns: customer_id, cutoff (UTC), split, model, task, horizon (days), among, rank (1 … k; null outside the list),
    item_id, score (as the model gives it), label (1 target, 0 not), above, ties (target rows: candidates of higher and
    of equal score, itself included; above = V where the policy removed it), candidates (items ranked), repeat (item in
    the history), cold (item not in the training rows), history (units before the cutoff), probability (first item only,
    of models that give one).
    """
    num_items = ranks.num_items
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


def history_length(store: EventStore, start_N: np.ndarray, stop_N: np.ndarray, unit: str) -> np.ndarray:
    """Lines or orders in the rows [start, stop) of each snapshot; int64 [N]."""
    if unit == "line":
        return stop_N - start_N
    first = np.flatnonzero(store.order_start)
    return np.searchsorted(first, stop_N) - np.searchsorted(first, start_N)
