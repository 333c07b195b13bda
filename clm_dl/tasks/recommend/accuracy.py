"""Accuracy of each snapshot's ranking, from how many candidates are above each target and how many tie with it.

Every figure is the mean over all orders of the tied candidates, so the order of the log, the engine and the block size
never matter.

Shapes: N snapshots, M targets, V catalogue, K length of the list, G groups of targets of one snapshot with equal
scores.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.special import gammaln

Ints = NDArray[np.int64]
Floats = NDArray[np.float64]


def snapshot_metrics(
    target_offsets: Ints, above: Ints, ties: Ints, candidates: Ints, *, num_items: int, k: int = 10
) -> dict[str, Floats]:
    """The accuracy of each snapshot's ranking, [N] each, NaN for a snapshot without targets. Names carry k: "hr@10".

    hr: some target in the first k. recall: share of the targets in the first k. precision: share of the first k that
        are targets.
    ndcg: binary gains 1/log2(1 + rank) over those of an ideal list of min(k, targets). mrr: 1/rank of the first target,
        no k.
    map: mean over min(k, targets) of the precision at each target in the first k. hit@1: a target is ranked first.
    auc: P(a target ranks above a random other candidate), ties ½, mean over targets; a removed target has 0.
    All are exact expectations over tied orders (McSherry & Najork 2008), but for mrr where several targets tie with
    more than 64
    candidates: within 1e-4 of itself.
    """
    num, num_targets = len(target_offsets) - 1, np.diff(target_offsets)
    row_M = np.repeat(np.arange(num), num_targets)
    rank_V = np.arange(1, max(num_items, k) + 1)
    dcg = np.concatenate([[0.0], np.cumsum(np.where(rank_V <= k, 1 / np.log2(rank_V + 1), 0.0))])
    last_M = above + ties
    gain_M = (dcg[np.minimum(last_M, num_items)] - dcg[np.minimum(above, num_items)]) / ties
    inside_M = np.clip((k - above) / ties, 0, 1)
    others_M = np.maximum(candidates[row_M] - 1, 1)
    auc_M = np.where(above < num_items, 1 - (above + (ties - 1) / 2) / others_M, 0.0)
    groups = _Groups.of(row_M, above, ties, num)
    with np.errstate(invalid="ignore", divide="ignore"):
        found = {
            f"hr@{k}": groups.hit(k),
            f"recall@{k}": _sum(row_M, inside_M, num) / num_targets,
            f"precision@{k}": _sum(row_M, inside_M, num) / k,
            f"ndcg@{k}": _sum(row_M, gain_M, num) / dcg[np.minimum(num_targets, k)],
            "mrr": groups.first_reciprocal(num_items),
            f"map@{k}": groups.precision_sum(k) / np.minimum(num_targets, k),
            "hit@1": groups.hit(1),
            "auc": _sum(row_M, auc_M, num) / num_targets,
        }
    return {name: np.where(num_targets > 0, value_N, np.nan) for name, value_N in found.items()}


@dataclass(frozen=True)
class _Groups:
    """Targets of one snapshot with equal scores, by snapshot and from the best: [G] each, of `num` snapshots."""

    row: Ints
    above: Ints
    ties: Ints
    count: Ints  # targets in the group
    before: Ints  # targets of the snapshot in better groups
    num: int

    @classmethod
    def of(cls, row_M: Ints, above: Ints, ties: Ints, num: int) -> _Groups:
        order = np.lexsort((above, row_M))
        row, high = row_M[order], above[order]
        start = np.flatnonzero((np.diff(row, prepend=-1) != 0) | (np.diff(high, prepend=-1) != 0))
        count = np.diff(start, append=len(row))
        return cls(row[start], high[start], ties[order][start], count, start - np.searchsorted(row, row[start]), num)

    def hit(self, k: int) -> Floats:
        """[N]: probability that some target is in the first k. Of the groups at most one is cut by k."""
        reached = self.above < k
        ties, count = self.ties[reached], self.count[reached]
        places = np.minimum(k - self.above[reached], ties)  # of the first k, those the group fills
        none_N = np.ones(self.num)
        np.multiply.at(
            none_N,
            self.row[reached],
            np.where(count == 1, (ties - places) / ties, np.exp(_log_none(ties, count, places))),
        )
        return 1 - none_N

    def first_reciprocal(self, num_items: int) -> Floats:
        """[N]: expected 1/rank of the first target; 0 where every target was removed."""
        first = self.before == 0
        row, above, ties, count = self.row[first], self.above[first], self.ties[first], self.count[first]
        harmonic = np.concatenate([[0.0], np.cumsum(1 / np.arange(1, num_items + 1))])
        value = (harmonic[np.minimum(above + ties, num_items)] - harmonic[np.minimum(above, num_items)]) / ties
        several = (count > 1) & (above < num_items)
        # the first of `count` among `ties` places: exact for 64 places, then in bins that grow by 2 %
        if several.any():
            above, ties, count = above[several], ties[several], count[several]
            edges = np.unique(np.concatenate([np.arange(65), 64 * 1.02 ** np.arange(1, 1000)]).astype(np.int64))
            total, left, none = np.zeros(len(above)), np.zeros(len(above), np.int64), np.ones(len(above))
            for edge in edges[1 : np.searchsorted(edges, ties.max()) + 1]:
                right = np.minimum(edge, ties)
                after = np.exp(_log_none(ties, count, right))
                total += (
                    (none - after) * (harmonic[above + right] - harmonic[above + left]) / np.maximum(right - left, 1)
                )
                left, none = right, after
            value[several] = total
        found = np.zeros(self.num)
        found[row] = value
        return found

    def precision_sum(self, k: int) -> Floats:
        """[N]: expected sum over the first k places of (target there) × (share of targets up to there)."""
        harmonic = np.concatenate([[0.0], np.cumsum(1 / np.arange(1, k + 1))])
        first, last = np.minimum(self.above, k), np.minimum(self.above + self.ties, k)
        inverse = harmonic[last] - harmonic[first]
        # at place i a target has before + 1 + (count − 1) (i − above − 1) / (ties − 1) targets up to it
        slope = (self.count - 1) / np.maximum(self.ties - 1, 1)
        expected = (self.before + 1) * inverse + slope * (last - first - (self.above + 1) * inverse)
        return _sum(self.row, self.count / self.ties * expected, self.num)


def _log_none(ties: Ints, count: Ints, places: Ints) -> Floats:
    """log P(none of `count` of `ties` items is in `places`) = log C(ties − places, count) / C(ties, count)."""
    left = ties - places
    possible = left >= count
    log = gammaln(left + 1.0) - gammaln(np.where(possible, left - count, 0) + 1.0) - gammaln(ties + 1.0)
    return np.where(possible, log + gammaln(np.maximum(ties - count, 0) + 1.0), -np.inf)


def _sum(row_M: Ints, value_M: Floats, num: int) -> Floats:
    return np.bincount(row_M, weights=value_M, minlength=num).astype(np.float64)
