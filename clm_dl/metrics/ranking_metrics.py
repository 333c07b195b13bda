"""Accuracy of each snapshot's ranking, from how many candidates are above each target and how many tie with it.

Every figure is the mean over all orders of the tied candidates, so the order of the log, the engine and the block size never matter.

Shapes: N snapshots, M targets, V catalogue, K length of the list, G groups of targets of one snapshot with equal scores.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy.special import gammaln

Ints = NDArray[np.int64]
Floats = NDArray[np.float64]


def snapshot_metrics(target_offsets: Ints, above: Ints, ties: Ints, candidates: Ints, *, num_items: int, k: int = 10) -> dict[str, Floats]:
    """The accuracy of each snapshot's ranking, [N] each, NaN for a snapshot without targets. Names carry k: "hr@10".

    hr: some target in the first k. recall: share of the targets in the first k. precision: share of the first k that are targets.
    ndcg: binary gains 1/log2(1 + rank) over those of an ideal list of min(k, targets). mrr: 1/rank of the first target, no k.
    map: mean over min(k, targets) of the precision at each target in the first k. hit@1: a target is ranked first.
    auc: P(a target ranks above a random other candidate), ties ½, mean over targets; a removed target has 0.
    All are exact expectations over tied orders (McSherry & Najork 2008), but for mrr where several targets tie with more than 64
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
    hit_1 = _hit(row_M, above, ties, num, 1)
    with np.errstate(invalid="ignore", divide="ignore"):
        found = {
            f"hr@{k}": _hit(row_M, above, ties, num, k),
            f"recall@{k}": _sum(row_M, inside_M, num) / num_targets,
            f"precision@{k}": _sum(row_M, inside_M, num) / k,
            f"ndcg@{k}": _sum(row_M, gain_M, num) / dcg[np.minimum(num_targets, k)],
            "mrr": _first_reciprocal(row_M, above, ties, num, num_items),
            f"map@{k}": _average_precision(row_M, above, ties, num, k) / np.minimum(num_targets, k),
            "hit@1": hit_1,
            "auc": _sum(row_M, auc_M, num) / num_targets,
        }
    return {name: np.where(num_targets > 0, value_N, np.nan) for name, value_N in found.items()}


def _hit(row_M: Ints, above: Ints, ties: Ints, num: int, k: int) -> Floats:
    """[N]: probability that some target is in the first k. Of the groups of equal score at most one is cut by k."""
    row_G, above_G, ties_G, count_G, _ = _groups(row_M, above, ties)
    places_G = np.clip(k - above_G, 0, ties_G)  # of the first k, those this group fills
    with np.errstate(divide="ignore", invalid="ignore"):
        none_G = np.where(count_G == 1, (ties_G - places_G) / ties_G, np.exp(_log_none(ties_G, count_G, places_G)))
    none_N = np.ones(num)
    np.multiply.at(none_N, row_G, np.where(places_G > 0, none_G, 1.0))
    return 1 - none_N


def _first_reciprocal(row_M: Ints, above: Ints, ties: Ints, num: int, num_items: int) -> Floats:
    """[N]: expected 1/rank of the first target; 0 where every target was removed."""
    row_G, above_G, ties_G, count_G, _ = _groups(row_M, above, ties)
    first_G = np.diff(row_G, prepend=-1) > 0
    row_G, above_G, ties_G, count_G = row_G[first_G], above_G[first_G], ties_G[first_G], count_G[first_G]
    harmonic = np.concatenate([[0.0], np.cumsum(1 / np.arange(1, num_items + 1))])
    value_G = (harmonic[np.minimum(above_G + ties_G, num_items)] - harmonic[np.minimum(above_G, num_items)]) / ties_G
    several = (count_G > 1) & (above_G < num_items)
    if several.any():  # the first of `count` among `ties` places: exact for 64 places, then in bins that grow by 2 %
        above_S, ties_S, count_S = above_G[several], ties_G[several], count_G[several]
        edges = np.unique(np.concatenate([np.arange(65), 64 * 1.02 ** np.arange(1, 1000)]).astype(np.int64))
        total_S, left_S, none_S = np.zeros(len(above_S)), np.zeros(len(above_S), np.int64), np.ones(len(above_S))
        for edge in edges[1 : np.searchsorted(edges, ties_S.max()) + 1]:
            right_S = np.minimum(edge, ties_S)
            after_S = np.exp(_log_none(ties_S, count_S, right_S))
            mean_S = (harmonic[above_S + right_S] - harmonic[above_S + left_S]) / np.maximum(right_S - left_S, 1)
            total_S += (none_S - after_S) * mean_S
            left_S, none_S = right_S, after_S
        value_G[several] = total_S
    found = np.zeros(num)
    found[row_G] = value_G
    return found


def _average_precision(row_M: Ints, above: Ints, ties: Ints, num: int, k: int) -> Floats:
    """[N]: expected sum over the first k places of (target there) × (share of targets up to there)."""
    row_G, above_G, ties_G, count_G, before_G = _groups(row_M, above, ties)
    harmonic = np.concatenate([[0.0], np.cumsum(1 / np.arange(1, k + 1))])
    first_G, last_G = np.minimum(above_G, k), np.minimum(above_G + ties_G, k)
    inverse_G = harmonic[last_G] - harmonic[first_G]
    # at place i a target has before + 1 + (count − 1) (i − above − 1) / (ties − 1) targets up to it
    slope_G = (count_G - 1) / np.maximum(ties_G - 1, 1)
    return _sum(row_G, count_G / ties_G * ((before_G + 1) * inverse_G + slope_G * (last_G - first_G - (above_G + 1) * inverse_G)), num)


def _groups(row_M: Ints, above: Ints, ties: Ints) -> tuple[Ints, Ints, Ints, Ints, Ints]:
    """Targets of one snapshot with equal scores: (row, above, ties, targets in the group, targets of the row above it), best first."""
    order = np.lexsort((above, row_M))
    row, high = row_M[order], above[order]
    start = np.flatnonzero((np.diff(row, prepend=-1) != 0) | (np.diff(high, prepend=-1) != 0))
    count = np.diff(start, append=len(row))
    first_of_row = np.searchsorted(row, row[start])
    return row[start], high[start], ties[order][start], count, start - first_of_row


def _log_none(ties: Ints, count: Ints, places: Ints) -> Floats:
    """log P(none of `count` among `ties` items lies in the first `places`) = log C(ties − places, count) / C(ties, count)."""
    left = ties - places
    possible = left >= count
    log = gammaln(left + 1.0) - gammaln(np.where(possible, left - count, 0) + 1.0) - gammaln(ties + 1.0)
    return np.where(possible, log + gammaln(np.maximum(ties - count, 0) + 1.0), -np.inf)


def _sum(row_M: Ints, value_M: Floats, num: int) -> Floats:
    return np.bincount(row_M, weights=value_M, minlength=num).astype(np.float64)
