"""Exact ranks over the whole catalogue: how many candidates beat each target, how many tie with it, and the list of the
best.

Shapes: N snapshots, M targets, V catalogue, B snapshots of a block, K length of the list.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from clm_dl.errors import UserError
from clm_dl.retrieval import Ragged, Scorer, as_tensor, take_ragged, top_k

Ints = NDArray[np.int64]
REPEATS = ("remove", "allow")
AMONG = ("catalogue", "repeats", "new")
CELL_BYTES = 16  # of a block, per score: the scorer's, the ranker's copy, and what the top-k needs where scores tie
LINES = 1 << 22  # history lines held at once


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


def rank(
    scorer: Scorer,
    index_N: Ints,
    *,
    targets: Ragged,
    seen: Ragged,
    num_items: int,
    k: int = 10,
    repeats: str = "remove",
    among: str = "catalogue",
    softmax: bool = False,
    block_bytes: int = 1 << 27,
) -> Ranks:
    """Rank the full catalogue for the snapshots `index_N`, exactly, in blocks of bounded memory.

    Args:
        scorer: index of snapshots [B] -> scores [B, V], torch or numpy, not changed; −inf = cannot be recommended,
            ranked last.
        targets, seen: (offsets [N + 1], item codes), row n for `index_N[n]`; see `take_ragged` to select them,
            `seen_items` to make `seen`.
        repeats: of the whole catalogue: "remove" takes the seen items out (a seen target is then a miss), "allow" keeps
            them.
        among: "catalogue"; "repeats": candidates and targets only the seen items; "new": only those not seen.
        softmax: also give the probability of the first item, for scores that are log-probabilities up to a constant.

    Raises:
        ValueError: a NaN score, scores of a wrong shape, k outside [1, V], an unknown policy.
    """
    for name, value, known in (("policy.repeats", repeats, REPEATS), ("among", among, AMONG)):
        if value not in known:
            raise UserError(f"{name} must be {' or '.join(known)}, got {value!r}")
    num = len(index_N)
    assert len(targets[0]) == len(seen[0]) == num + 1
    target_repeat = _contains(seen, targets, num_items)
    if among != "catalogue":
        targets, target_repeat = _keep(targets, target_repeat == (among == "repeats"), target_repeat)
    offsets, items = targets
    num_targets, num_seen = np.diff(offsets), np.diff(seen[0])
    removes = among == "new" or (among == "catalogue" and repeats == "remove")
    candidates = num_seen if among == "repeats" else num_items - num_seen * removes
    above, ties, target_score = np.full(len(items), num_items), np.ones(len(items), np.int64), np.empty(len(items))
    top, top_score = np.empty((num, k), np.int64), np.empty((num, k))
    probability = np.empty(num) if softmax else None
    step = max(1, block_bytes // (CELL_BYTES * num_items))
    buffer: Tensor | None = None
    for start in range(0, num, step):
        # so rows with a j-th target come first
        row_B = start + np.argsort(-num_targets[start : start + step], kind="stable")
        given = as_tensor(scorer(index_N[row_B]))
        if given.shape != (len(row_B), num_items):
            raise UserError(
                f"scores must be snapshots × items = {(len(row_B), num_items)}, got {tuple(given.shape)}; check the "
                "scorer"
            )
        if buffer is None:
            buffer = torch.empty(
                min(step, num), num_items, dtype=torch.float64 if given.dtype == torch.float64 else torch.float32
            )
        score_BV = buffer[: len(row_B)].copy_(given)
        del given
        seen_offsets, seen_items_ = take_ragged(seen, row_B)
        cells = np.repeat(np.arange(len(row_B)), np.diff(seen_offsets)), seen_items_
        if removes:
            score_BV[cells] = -torch.inf
        elif among == "repeats":
            kept = score_BV[cells]
            score_BV.fill_(-torch.inf)
            score_BV[cells] = kept
        top[row_B], top_score[row_B] = top_k(score_BV, k)
        if probability is not None:
            probability[row_B] = (score_BV.max(1).values - score_BV.logsumexp(1)).exp().numpy()
        score = score_BV.numpy()
        for j in range(num_targets[row_B].max(initial=0)):
            row_b = row_B[: np.count_nonzero(num_targets[row_B] > j)]
            place = offsets[row_b] + j
            target_b1 = score[np.arange(len(row_b)), items[place], None]
            target_score[place] = target_b1[:, 0]
            above[place] = np.count_nonzero(score[: len(row_b)] > target_b1, axis=1)
            equal = np.count_nonzero(score[: len(row_b)] == target_b1, axis=1)
            # without what was taken out
            ties[place] = equal - np.isneginf(target_b1[:, 0]) * (num_items - candidates[row_b])
    if removes:
        above[target_repeat], ties[target_repeat] = num_items, 1
    listed = np.concatenate([[0], np.cumsum((top >= 0).sum(1))]), top[top >= 0]
    top_repeat = np.zeros(top.shape, bool)
    top_repeat[top >= 0] = _contains(seen, listed, num_items)
    return Ranks(
        index_N,
        offsets,
        items,
        above,
        ties,
        target_score,
        target_repeat,
        candidates,
        top,
        top_score,
        top_repeat,
        probability,
        num_items,
    )


def seen_items(item: NDArray[Any], start_N: Ints, stop_N: Ints) -> Ragged:
    """The distinct items of the rows [start, stop) of each snapshot, by code: (offsets [N + 1], items).

    `item` [events] is the code of every line, −1 = no item. Which rows are the history is the caller's: those before
    the cutoff.
    """
    num_items = int(item.max(initial=-1)) + 1
    ends = np.cumsum(stop_N - start_N)
    bounds = np.unique(np.searchsorted(ends, np.arange(0, max(1, ends.max(initial=0)), LINES)))
    parts, counts = [np.empty(0, np.int64)], np.zeros(len(start_N), np.int64)
    for first, last in zip(bounds, [*bounds[1:], len(start_N)], strict=True):
        start, length = start_N[first:last], (stop_N - start_N)[first:last]
        row = np.repeat(np.arange(last - first), length)
        line = np.arange(len(row)) + np.repeat(start - (np.cumsum(length) - length), length)
        code = np.asarray(item[line], dtype=np.int64)
        key = np.sort((row * num_items + code)[code >= 0])
        key = key[np.diff(key, prepend=-1) > 0]
        counts[first:last] = np.bincount(key // num_items, minlength=last - first) if len(key) else 0
        parts.append(key % num_items if len(key) else key)
    return np.concatenate([[0], np.cumsum(counts)]), np.concatenate(parts)


def _contains(seen: Ragged, asked: Ragged, num_items: int) -> NDArray[np.bool_]:
    """Of each asked item: is it among the seen ones of its row?"""
    asked_key, seen_key = (
        np.repeat(np.arange(len(part[0]) - 1), np.diff(part[0])) * num_items + part[1] for part in (asked, seen)
    )
    seen_key = np.append(np.sort(seen_key), np.iinfo(np.int64).max)
    return seen_key[np.searchsorted(seen_key, asked_key)] == asked_key


def _keep(ragged: Ragged, keep_M: NDArray[np.bool_], flag_M: NDArray[np.bool_]) -> tuple[Ragged, NDArray[np.bool_]]:
    offsets = np.concatenate([[0], np.cumsum(keep_M)])[ragged[0]]
    return (offsets, ragged[1][keep_M]), flag_M[keep_M]
