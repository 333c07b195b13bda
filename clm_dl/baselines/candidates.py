"""Candidates: the union of several scorers' top items for each snapshot, small enough to try many combinations on.

Shapes: B, N snapshots, V catalogue, L candidates of a snapshot, M members.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from clm_dl.metrics.ranking import Scorer
from clm_dl.retrieval import Ragged, take_ragged

BLOCK_BYTES = 64 << 20


@dataclass(frozen=True, eq=False)
class Candidates:
    """Items that some member ranks among its top `depth`, once each.

    Attributes:
        item: int64 [N, L], padded with −1 on the right. rank: float32 [N, L, M] of the whole catalogue, from 1, ties share the best.
        score: float32 [N, L, M], z-scored over the items that may be recommended to the snapshot.
    """

    item: np.ndarray
    score: np.ndarray
    rank: np.ndarray

    @property
    def valid(self) -> np.ndarray:
        """Bool [N, L]: not padding."""
        return self.item >= 0

    def hits(self, targets: Ragged, index: np.ndarray) -> np.ndarray:
        """Bool [N, L]: the candidate is among the targets of its snapshot (`index` [N] into the targets' offsets)."""
        row, item = cells(targets, index)
        base = int(max(self.item.max(initial=0), item.max(initial=0))) + 1  # so that (row, item) is one number
        key = np.arange(len(index))[:, None] * base + self.item
        return self.valid & np.isin(key, row * base + item)


def cells(ragged: Ragged, index: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """(position in `index`, item) of every item of the snapshots `index` [B]."""
    offsets, items = take_ragged(ragged, index)
    return np.repeat(np.arange(len(index)), np.diff(offsets)), items


def member_scores(scorers: Mapping[str, Scorer], index: np.ndarray, removed: Ragged | None) -> tuple[np.ndarray, np.ndarray]:
    """Scores of every member on one scale: (z [M, B, V] float32, may [B, V] bool, what may be recommended).

    z has mean 0 and standard deviation 1 over the items that may be recommended; what may not, or has −inf, gets the lowest of the rest.
    """
    z_MBV = np.stack([np.asarray(scorer(index), dtype=np.float32) for scorer in scorers.values()])
    may_BV = np.ones(z_MBV.shape[1:], dtype=bool)
    if removed is not None:
        may_BV[cells(removed, index)] = False
    counts_MBV = may_BV & (z_MBV > -np.inf)
    num = np.maximum(counts_MBV.sum(axis=2, keepdims=True), 1)
    z_MBV[~counts_MBV] = 0
    z_MBV -= z_MBV.sum(axis=2, keepdims=True) / num
    z_MBV[~counts_MBV] = 0
    spread = np.sqrt(np.square(z_MBV).sum(axis=2, keepdims=True) / num)
    z_MBV /= np.where(spread > 0, spread, 1)
    np.copyto(z_MBV, z_MBV.min(axis=2, keepdims=True), where=~counts_MBV)
    return z_MBV, may_BV


def competition_rank(score: np.ndarray) -> np.ndarray:
    """1 + the number of strictly higher scores, along the last axis; float32."""
    order = np.argsort(-score, axis=-1, kind="stable")
    ordered = np.take_along_axis(score, order, axis=-1)
    place = np.broadcast_to(np.arange(1, score.shape[-1] + 1, dtype=np.float32), score.shape).copy()
    place[..., 1:][ordered[..., 1:] == ordered[..., :-1]] = 0
    rank = np.empty(score.shape, dtype=np.float32)
    np.put_along_axis(rank, order, np.maximum.accumulate(place, axis=-1), axis=-1)
    return rank


def collect(scorers: Mapping[str, Scorer], index: np.ndarray, *, removed: Ragged | None, num_items: int, depth: int) -> Candidates:
    """The candidates of the snapshots `index` [N]: each member's `depth` best items that may be recommended.

    Args:
        removed: items that may not be recommended (the seen ones), or None when repeats are allowed.
    """
    rows = max(1, BLOCK_BYTES // (4 * num_items * len(scorers)))
    parts = [top_candidates(*member_scores(scorers, index[at : at + rows], removed), depth) for at in range(0, len(index), rows)]
    width = max(part.item.shape[1] for part in parts)
    return Candidates(
        item=np.concatenate([_pad(part.item, width, -1) for part in parts]),
        score=np.concatenate([_pad(part.score, width, 0) for part in parts]),
        rank=np.concatenate([_pad(part.rank, width, 0) for part in parts]),
    )


def top_candidates(z_MBV: np.ndarray, may_BV: np.ndarray, depth: int) -> Candidates:
    """The candidates of one block, from what `member_scores` gives."""
    depth = min(depth, may_BV.shape[1])
    rank_MBV = competition_rank(z_MBV)
    top_MBL = np.argpartition(-z_MBV, depth - 1, axis=2)[:, :, :depth]
    chosen_BV = np.zeros(may_BV.shape, dtype=bool)
    for top_BL in top_MBL:
        np.put_along_axis(chosen_BV, top_BL, True, axis=1)
    chosen_BV &= may_BV
    row, item = np.nonzero(chosen_BV)
    num = chosen_BV.sum(axis=1)
    column = np.arange(len(row)) - np.repeat(np.cumsum(num) - num, num)
    shape = (len(may_BV), max(int(num.max(initial=0)), 1))
    item_BL = np.full(shape, -1, dtype=np.int64)
    item_BL[row, column] = item
    score_BLM, rank_BLM = (np.zeros((*shape, len(z_MBV)), dtype=np.float32) for _ in range(2))
    score_BLM[row, column] = z_MBV[:, row, item].T
    rank_BLM[row, column] = rank_MBV[:, row, item].T
    return Candidates(item_BL, score_BLM, rank_BLM)


def _pad(values: np.ndarray, width: int, fill: float) -> np.ndarray:
    missing = [(0, 0), (0, width - values.shape[1]), *[(0, 0)] * (values.ndim - 2)]
    return np.pad(values, missing, constant_values=fill)


def check_members(scorers: Mapping[str, Scorer], members: Sequence[str] | None, what: str) -> dict[str, Scorer]:
    """The members' scorers, in the order of `members` (None: all). Raises ValueError naming one that is missing, or when there are none."""
    missing = [name for name in members or () if name not in scorers]
    if missing:
        raise ValueError(f"{what} combines {', '.join(members or ())}, but there are no scores of {missing[0]!r}: add it to the baselines")
    chosen = {name: scorers[name] for name in (scorers if members is None else members)}
    if not chosen:
        raise ValueError(f"{what} needs at least one other model to combine, got none: add some to the baselines")
    return chosen


def mean_ndcg(score_NL: np.ndarray, hits_NL: np.ndarray, num_targets_N: np.ndarray, k: int) -> float:
    """NDCG@k of candidate scores, ties by expectation; a target that is no candidate counts as missed."""
    row, column = np.nonzero(hits_NL)
    own = score_NL[row, column][:, None]
    above, ties = (score_NL[row] > own).sum(axis=1), (score_NL[row] == own).sum(axis=1)
    discount = np.append(0.0, np.cumsum(1 / np.log2(np.arange(2, k + 2))))
    gain = (discount[np.minimum(above + ties, k)] - discount[np.minimum(above, k)]) / ties
    dcg_N = np.bincount(row, weights=gain, minlength=len(score_NL))
    with_targets = num_targets_N > 0
    return float((dcg_N[with_targets] / discount[np.minimum(num_targets_N[with_targets], k)]).mean())
