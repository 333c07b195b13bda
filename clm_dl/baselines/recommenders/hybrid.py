"""Hybrid: several models as one, blended by z-scores or fused by reciprocal ranks, with weights chosen on validation.

Shapes: B, N snapshots, V catalogue, L candidates of a snapshot, M members.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import cache
from typing import Any

import numpy as np

from clm_dl.baselines.recommenders.candidates import (
    allowed,
    check_folds,
    check_members,
    collect,
    competition_rank,
    ndcg_at,
    split_folds,
    standardise,
)
from clm_dl.data.ranking.protocols import Ranking
from clm_dl.data.snapshots.snapshots import Snapshots
from clm_dl.data.store.store import EventStore
from clm_dl.errors import choice
from clm_dl.retrieval import Ragged, Scorer

METHODS = ("blend", "rrf")


class Hybrid:
    """A weighted sum of its members' z-scores (blend) or of 1 / (constant + rank) (rrf), per snapshot.

    Scores and ranks are taken over the items that may be recommended. The weights are chosen by greedy ensemble
    selection with replacement (Caruana et al. 2004) on validation NDCG@k: round after round the member is added that
    helps the most, and the best round is kept; a weight is how often its member was added. A validation snapshot is
    scored with weights that were chosen on the other folds of customers, so that its figures may be compared with its
    members'. After `fit` the hybrid is a scorer itself.

    Args:
        members: names of the models to combine; None = all that it is given.
        method: blend or rrf (reciprocal-rank fusion, Cormack et al. 2009).
        rounds: of the selection; weights are multiples of 1/rounds at the finest.
        depth: validation NDCG is computed on each member's so many best items.
        constant: of rrf; the smaller, the more the first ranks count.
        folds: of the validation customers. seed: of the folds.

    Attributes:
        weights_: dict member -> weight, summing to 1, chosen on all validation snapshots. fold_weights_: float64
            [folds, M].
    """

    def __init__(
        self,
        members: Sequence[str] | None = None,
        *,
        method: str = "blend",
        rounds: int = 20,
        depth: int = 100,
        constant: float = 60.0,
        folds: int = 5,
        seed: int = 0,
    ):
        check_folds(folds)
        self.members = members
        self.method = choice(method, METHODS, "method")
        self.rounds = rounds
        self.depth = depth
        self.constant = constant
        self.folds = folds
        self.seed = seed

    def fit(
        self,
        scorers: Mapping[str, Scorer],
        ranking: Ranking,
        seen: Ragged,
        num_items: int,
        *,
        store: EventStore,
        repeats: str = "remove",
        k: int = 10,
    ) -> Hybrid:
        """Choose the weights on the validation snapshots of `ranking`.

        Args:
            scorers: name -> scorer of `ranking.snapshots`. seen: (offsets [N + 1], items) of each snapshot's history.
            store: not looked at; TwoStage needs it, and both are called alike.
            repeats: remove (seen items may not be recommended) or allow. k: the length of the list that matters.
        """
        chosen = check_members(scorers, self.members, self.method)
        index, snapshots, self.num_items_ = ranking.select("val"), ranking.snapshots, num_items
        candidates = collect(
            chosen, index, removed=seen if repeats == "remove" else None, num_items=num_items, depth=self.depth
        )
        parts_NLM = candidates.score if self.method == "blend" else 1 / (self.constant + candidates.rank)
        hits_NL = candidates.hits((ranking.target_offsets, ranking.targets), index)
        num_targets_N = np.diff(ranking.target_offsets)[index]

        @cache  # the folds try mostly the same weights
        def ndcg(count_M: tuple[int, ...]) -> np.ndarray:
            score_NL = np.where(candidates.valid, parts_NLM @ np.asarray(count_M, dtype=np.float32), -np.inf)
            return ndcg_at(k, score_NL, hits_NL, num_targets_N)

        fold_N = split_folds(snapshots.customer[index], self.folds, self.seed)
        selected = [select_weights(ndcg, fold_N != fold, len(chosen), self.rounds) for fold in range(self.folds)]
        self.fold_weights_ = np.stack(selected)
        weight_M = select_weights(ndcg, np.ones(len(index), dtype=bool), len(chosen), self.rounds)
        self.weights_ = dict(zip(chosen, weight_M.tolist(), strict=True))
        weight_NM = np.tile(weight_M, (len(snapshots), 1))
        weight_NM[index] = self.fold_weights_[fold_N]
        self.scorer_ = self._scorer(chosen, seen, weight_NM, repeats)
        return self

    def scorer(
        self, scorers: Mapping[str, Scorer], seen: Ragged, store: EventStore, snapshots: Snapshots, *, repeats: str
    ) -> Scorer:
        """The same combination of other scorers of the same names, as for the `snapshots` of another log."""
        chosen = check_members(scorers, self.members_, self.method)
        weights = [self.weights_[name] for name in self.members_]
        return self._scorer(chosen, seen, np.tile(weights, (len(snapshots), 1)), repeats)

    @property
    def members_(self) -> list[str]:
        """The models that have a weight."""
        return [name for name, weight in self.weights_.items() if weight]

    def __getstate__(self) -> dict[str, Any]:
        return {name: value for name, value in self.__dict__.items() if name not in ("scorer_", "fold_weights_")}

    def __call__(self, index: np.ndarray) -> np.ndarray:
        """Scores `[B, V]` float32 of the snapshots `index` [B]."""
        return np.asarray(self.scorer_(index))

    def _scorer(self, scorers: Mapping[str, Scorer], seen: Ragged, weight_NM: np.ndarray, repeats: str) -> Scorer:
        used = [(scorer, weight_NM[:, m]) for m, scorer in enumerate(scorers.values()) if weight_NM[:, m].any()]
        num_items, removed = self.num_items_, seen if repeats == "remove" else None

        def score(index: np.ndarray) -> np.ndarray:
            may_BV = allowed(index, removed, num_items)
            score_BV = np.zeros(may_BV.shape, dtype=np.float32)
            for scorer, weight_N in used:
                z_BV = standardise(scorer, index, may_BV)
                part_BV = z_BV if self.method == "blend" else 1 / (self.constant + competition_rank(z_BV))
                score_BV += part_BV * weight_N[index, None].astype(np.float32)
            return score_BV

        return score


def select_weights(
    ndcg: Callable[[tuple[int, ...]], np.ndarray], rows_N: np.ndarray, num_members: int, rounds: int
) -> np.ndarray:
    """Greedy selection with replacement for the best mean NDCG of some snapshots: weights [M] that sum to 1."""
    count, best, best_value = (0,) * num_members, np.zeros(num_members), -1.0
    for _ in range(rounds):
        added = [tuple(number + (m == place) for place, number in enumerate(count)) for m in range(num_members)]
        values = [float(ndcg(tried)[rows_N].mean()) for tried in added]
        count = added[int(np.argmax(values))]
        if max(values) > best_value:
            best, best_value = np.array(count, dtype=np.float64), max(values)
    return best / best.sum()
