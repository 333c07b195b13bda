"""Candidates: the union of several scorers' top items for each snapshot, small enough to try many combinations on.

Shapes: B, N snapshots, V catalogue, L candidates of a snapshot, M members.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch

from clm_dl.errors import UserError
from clm_dl.retrieval import Ragged, Scorer, take_ragged

BLOCK_BYTES = 64 << 20


@dataclass(frozen=True, eq=False)
class Candidates:
    """Items that some member ranks among its top `depth`, once each.

    Attributes:
        item: int64 [N, L], padded with −1 on the right. rank: float32 [N, L, M] of the whole catalogue, from 1, ties
            share the best.
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


def allowed(index: np.ndarray, removed: Ragged | None, num_items: int) -> np.ndarray:
    """Bool [B, V]: may the item be recommended to the snapshot?"""
    may_BV = np.ones((len(index), num_items), dtype=bool)
    if removed is not None:
        may_BV[cells(removed, index)] = False
    return may_BV


def standardise(scorer: Scorer, index: np.ndarray, may_BV: np.ndarray) -> np.ndarray:
    """z-scores float32 [B, V] over what may be recommended; all else, or −inf, gets the lowest of them."""
    z_BV = np.asarray(scorer(index)).astype(np.float32)
    counts_BV = may_BV & (z_BV > -np.inf)
    num_B1 = np.maximum(counts_BV.sum(axis=1, keepdims=True), 1)
    z_BV[~counts_BV] = 0
    mean_B1 = z_BV.sum(axis=1, keepdims=True) / num_B1
    z_BV -= mean_B1
    z_BV[~counts_BV] = 0
    spread_B1 = np.sqrt(np.einsum("bv,bv->b", z_BV, z_BV)[:, None] / num_B1)
    z_BV /= np.where(spread_B1 > 1e-6 * np.abs(mean_B1), spread_B1, 1)  # less is rounding: all scores are equal
    np.copyto(z_BV, z_BV.min(axis=1, keepdims=True), where=~counts_BV)
    return z_BV


def competition_rank(score: np.ndarray) -> np.ndarray:
    """1 + the number of strictly higher scores, along the last axis; float32."""
    order = np.argsort(-score, axis=-1)
    ordered = np.take_along_axis(score, order, axis=-1)
    place = np.broadcast_to(np.arange(1, score.shape[-1] + 1, dtype=np.float32), score.shape).copy()
    place[..., 1:][ordered[..., 1:] == ordered[..., :-1]] = 0
    rank = np.empty(score.shape, dtype=np.float32)
    np.put_along_axis(rank, order, np.maximum.accumulate(place, axis=-1), axis=-1)
    return rank


def rank_of(value: np.ndarray, score: np.ndarray) -> np.ndarray:
    """The same of a few values [..., L] among all scores [..., V]: 1 + the number of higher scores; float32."""
    ascending = torch.from_numpy(np.sort(score, axis=-1))
    at = torch.searchsorted(ascending, torch.from_numpy(value), right=True)
    return (score.shape[-1] + 1 - at).numpy().astype(np.float32)


def blocks(index: np.ndarray, cells_each: int) -> list[np.ndarray]:
    """The index in parts of at most BLOCK_BYTES, where a snapshot takes `cells_each` floats."""
    rows = max(1, BLOCK_BYTES // (4 * cells_each))
    return [index[at : at + rows] for at in range(0, len(index), rows)]


def collect(
    scorers: Mapping[str, Scorer], index: np.ndarray, *, removed: Ragged | None, num_items: int, depth: int
) -> Candidates:
    """The candidates of the snapshots `index` [N]: each member's `depth` best items that may be recommended.

    Args:
        removed: items that may not be recommended (the seen ones), or None when repeats are allowed.
    """
    parts = []
    for block in blocks(index, num_items * len(scorers)):
        may_BV = allowed(block, removed, num_items)
        parts.append(
            top_candidates(np.stack([standardise(scorer, block, may_BV) for scorer in scorers.values()]), may_BV, depth)
        )
    width = max(part.item.shape[1] for part in parts)
    return Candidates(
        item=np.concatenate([_pad(part.item, width, -1) for part in parts]),
        score=np.concatenate([_pad(part.score, width, 0) for part in parts]),
        rank=np.concatenate([_pad(part.rank, width, 0) for part in parts]),
    )


def top_candidates(z_MBV: np.ndarray, may_BV: np.ndarray, depth: int) -> Candidates:
    """The candidates of one block, from the members' standardised scores."""
    depth = min(depth, may_BV.shape[1])
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
    score_MBL = np.take_along_axis(z_MBV, np.maximum(item_BL, 0)[None], axis=2)
    score_BLM, rank_BLM = (
        np.moveaxis(part_MBL, 0, 2) * (item_BL >= 0)[..., None] for part_MBL in (score_MBL, rank_of(score_MBL, z_MBV))
    )
    return Candidates(item_BL, score_BLM, rank_BLM)


def _pad(values: np.ndarray, width: int, fill: float) -> np.ndarray:
    missing = [(0, 0), (0, width - values.shape[1]), *[(0, 0)] * (values.ndim - 2)]
    return np.pad(values, missing, constant_values=fill)


def check_folds(folds: int) -> None:
    """Raise ValueError when what is fitted on validation could not be measured there."""
    if folds < 2:
        raise UserError(
            f"folds must be at least 2, got {folds}: a single one would be measured on what it was fitted on"
        )


def split_folds(customer_N: np.ndarray, folds: int, seed: int) -> np.ndarray:
    """Seeded fold [N] of validation snapshots; all those of a customer share one.

    Raises:
        ValueError: fewer customers than folds.
    """
    customers, place_N = np.unique(customer_N, return_inverse=True)
    if len(customers) < folds:
        raise UserError(
            f"folds={folds} needs as many validation customers, got {len(customers)}: lower it, or leave the hybrids "
            "out"
        )
    return (np.random.default_rng(seed).permutation(len(customers)) % folds)[place_N]


def check_members(scorers: Mapping[str, Scorer], members: Sequence[str] | None, what: str) -> dict[str, Scorer]:
    """The members' scorers, in the order of `members` (None: all). ValueError where one is missing, or all."""
    missing = [name for name in members or () if name not in scorers]
    if missing:
        raise UserError(
            f"{what} combines {', '.join(members or ())}, but there are no scores of {missing[0]!r}: add it to the "
            "baselines"
        )
    chosen = {name: scorers[name] for name in (scorers if members is None else members)}
    if not chosen:
        raise UserError(f"{what} needs at least one other model to combine, got none: add some to the baselines")
    return chosen


def ndcg_at(k: int, score_NL: np.ndarray, hits_NL: np.ndarray, num_targets_N: np.ndarray) -> np.ndarray:
    """NDCG@k of each snapshot [N] by candidate scores, ties by expectation; a target that is no candidate is missed."""
    last = max(score_NL.shape[1] - k, 0)
    listed_NL = hits_NL & (score_NL >= np.partition(score_NL, last, axis=1)[:, last, None])  # the others gain nothing
    row, column = np.nonzero(listed_NL)
    own = score_NL[row, column][:, None]
    above, ties = (score_NL[row] > own).sum(axis=1), (score_NL[row] == own).sum(axis=1)
    discount = np.append(0.0, np.cumsum(1 / np.log2(np.arange(2, k + 2))))
    gain = (discount[np.minimum(above + ties, k)] - discount[np.minimum(above, k)]) / ties
    return np.bincount(row, weights=gain, minlength=len(score_NL)) / discount[np.minimum(num_targets_N, k)]
