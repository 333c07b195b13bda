"""Hybrid: several models as one, blended by z-scores or fused by reciprocal ranks, with weights chosen on validation."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import numpy as np

from clm_dl.baselines.candidates import (
    check_members,
    collect,
    competition_rank,
    mean_ndcg,
    member_scores,
)
from clm_dl.data.protocols import Ranking
from clm_dl.data.snapshots import Snapshots
from clm_dl.data.store import EventStore
from clm_dl.metrics.ranking import Scorer
from clm_dl.retrieval import Ragged

METHODS = ("blend", "rrf")


class Hybrid:
    """A weighted sum of its members' z-scores (blend) or of 1 / (constant + rank) (rrf), per snapshot.

    Scores and ranks are taken over the items that may be recommended. The weights are chosen by greedy ensemble selection with
    replacement (Caruana et al. 2004) on validation NDCG@k: round after round the member is added that helps the most, and the best
    round is kept; a weight is how often its member was added. After `fit` the hybrid is a scorer itself.

    Args:
        members: names of the models to combine; None = all that it is given.
        method: blend or rrf (reciprocal-rank fusion, Cormack et al. 2009).
        rounds: of the selection; weights are multiples of 1/rounds at the finest.
        depth: validation NDCG is computed on each member's so many best items.
        constant: of rrf; the smaller, the more the first ranks count.

    Attributes:
        weights_: dict member -> weight, summing to 1. ndcg_: validation NDCG@k of the chosen weights, on the candidates.
    """

    def __init__(
        self,
        members: Sequence[str] | None = None,
        *,
        method: str = "blend",
        rounds: int = 20,
        depth: int = 100,
        constant: float = 60.0,
    ):
        if method not in METHODS:
            raise ValueError(f"method must be one of {', '.join(METHODS)}, got {method!r}")
        self.members = members
        self.method = method
        self.rounds = rounds
        self.depth = depth
        self.constant = constant

    def fit(
        self,
        scorers: Mapping[str, Scorer],
        ranking: Ranking,
        seen: Ragged,
        num_items: int,
        *,
        store: EventStore | None = None,
        repeats: str = "remove",
        k: int = 10,
    ) -> Hybrid:
        """Choose the weights on the validation snapshots of `ranking`.

        Args:
            scorers: name -> scorer of `ranking.snapshots`. seen: (offsets [N+1], items) of each snapshot's history.
            store: not looked at; TwoStage needs it, and both are called alike.
            repeats: remove (seen items may not be recommended) or allow. k: the length of the list that matters.
        """
        chosen = check_members(scorers, self.members, self.method)
        index = ranking.select("val")
        candidates = collect(chosen, index, removed=seen if repeats == "remove" else None, num_items=num_items, depth=self.depth)
        parts_NLM = candidates.score if self.method == "blend" else 1 / (self.constant + candidates.rank)
        targets = (ranking.target_offsets, ranking.targets)
        hits_NL, num_targets_N = candidates.hits(targets, index), np.diff(ranking.target_offsets)[index]
        padding_NL = ~candidates.valid

        def ndcg(weight_M: np.ndarray) -> float:
            score_NL = parts_NLM @ weight_M.astype(np.float32)
            score_NL[padding_NL] = -np.inf
            return mean_ndcg(score_NL, hits_NL, num_targets_N, k)

        count_M, self.ndcg_ = select_weights(ndcg, len(chosen), self.rounds)
        self.weights_ = dict(zip(chosen, (count_M / count_M.sum()).tolist(), strict=True))
        self.scorer_ = self.scorer(chosen, seen, store, ranking.snapshots, repeats=repeats)
        return self

    def scorer(
        self, scorers: Mapping[str, Scorer], seen: Ragged, store: EventStore | None, snapshots: Snapshots, *, repeats: str
    ) -> Scorer:
        """The fitted combination of other scorers of the same names, as for the snapshots of another log."""
        chosen = {name: scorers[name] for name, weight in self.weights_.items() if weight > 0}
        weight_M = np.array([self.weights_[name] for name in chosen], dtype=np.float32)
        removed = seen if repeats == "remove" else None

        def score(index: np.ndarray) -> np.ndarray:
            z_MBV, _ = member_scores(chosen, index, removed)
            parts_MBV = z_MBV if self.method == "blend" else 1 / (self.constant + competition_rank(z_MBV))
            return np.tensordot(weight_M, parts_MBV, axes=1).astype(np.float32)

        return score

    def __call__(self, index: np.ndarray) -> np.ndarray:
        """Scores `[B, V]` float32 of the snapshots `index` [B]."""
        return np.asarray(self.scorer_(index))


def select_weights(ndcg: Callable[[np.ndarray], float], num_members: int, rounds: int) -> tuple[np.ndarray, float]:
    """Greedy selection with replacement: (how often each member was added up to the best round [M], its NDCG)."""
    count_M, best = np.zeros(num_members), (np.zeros(num_members), -1.0)
    for _ in range(rounds):
        values = [ndcg((count_M + added) / (count_M.sum() + 1)) for added in np.eye(num_members)]
        count_M = count_M + np.eye(num_members)[int(np.argmax(values))]
        if max(values) > best[1]:
            best = (count_M, max(values))
    return best
