"""TwoStage: LightGBM re-ranks the union of several models' top items; fitted on validation, across folds of customers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from clm_dl.baselines.candidates import Candidates, check_members, collect, member_scores, top_candidates
from clm_dl.baselines.recommend import expand
from clm_dl.data.cutoffs import DAY
from clm_dl.data.protocols import Ranking
from clm_dl.data.snapshots import Snapshots
from clm_dl.data.store import EventStore
from clm_dl.metrics.ranking import Scorer
from clm_dl.retrieval import Ragged


class TwoStage:
    """Candidates are each member's `depth` best items; LambdaMART (Burges 2010) orders them by what the members and the history say.

    Of each candidate it sees: every member's z-score and rank, the item's training lines in all and in the last `half_life_days`
    (decayed), how often the customer has it in the history and how long ago, and the length of the history. It learns on the
    validation snapshots only, one model a fold of customers: a validation snapshot is ranked by the model that has not seen its
    customer, every other one by the mean of all. After `fit` it is a scorer itself; items that are no candidate come after all
    candidates, in the order of the members' mean z-score.

    Args:
        members: names of the models to combine; None = all that it is given.
        folds: of the validation customers, at least 2.
        seed: of the folds and of LightGBM.

    Attributes:
        models_: one LightGBM Booster a fold. importance_: dict feature -> share of the total gain.
    """

    def __init__(
        self,
        members: Sequence[str] | None = None,
        *,
        depth: int = 50,
        folds: int = 5,
        half_life_days: float = 28.0,
        n_estimators: int = 150,
        learning_rate: float = 0.05,
        num_leaves: int = 8,
        min_child_samples: int = 50,
        reg_lambda: float = 1.0,
        colsample_bytree: float = 0.7,
        seed: int = 0,
    ):
        if folds < 2:
            raise ValueError(f"folds must be at least 2, got {folds}: validation figures of one fold would be those of its own training")
        self.members = members
        self.depth = depth
        self.folds = folds
        self.half_life_days = half_life_days
        self.params: dict[str, Any] = {
            "n_estimators": n_estimators,
            "learning_rate": learning_rate,
            "num_leaves": num_leaves,
            "min_child_samples": min_child_samples,
            "reg_lambda": reg_lambda,
            "colsample_bytree": colsample_bytree,
        }
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
    ) -> TwoStage:
        """Learn from the validation snapshots of `ranking` which candidates are targets.

        Args:
            scorers: name -> scorer of `ranking.snapshots`. seen: (offsets [N+1], items) of each snapshot's history.
            repeats: remove (seen items are no candidates) or allow. k: the length of the list that matters.

        Raises:
            ValueError: no candidate of validation is a target, so there is nothing to learn.
        """
        import lightgbm  # a second to import, only needed here

        chosen = check_members(scorers, self.members, "two_stage")
        self.members_, self.positional_ = list(chosen), ranking.positional
        self._count_items(store, ranking.training_rows, num_items)
        index = ranking.select("val")
        candidates = collect(chosen, index, removed=seen if repeats == "remove" else None, num_items=num_items, depth=self.depth)
        hits_NL = candidates.hits((ranking.target_offsets, ranking.targets), index)
        if not hits_NL.any():
            raise ValueError(f"two_stage: none of the {self.depth} best items of any member is bought in validation, so raise depth")
        features, valid_NL = self._features(candidates, store, ranking.snapshots.select(index)), candidates.valid
        label = hits_NL[valid_NL].astype(np.int32)
        customer_N = ranking.snapshots.customer[index]
        self.fold_ = np.random.default_rng(self.seed).permutation(store.num_customers) % self.folds
        fold_N = self.fold_[customer_N]
        fixed: dict[str, Any] = {"subsample_freq": 1, "n_jobs": 1, "deterministic": True, "force_row_wise": True, "verbosity": -1}
        fixed |= {"random_state": self.seed, "lambdarank_truncation_level": 2 * k, "importance_type": "gain"}
        self.models_ = []
        for fold in range(self.folds):
            rows, sizes = np.repeat(fold_N != fold, valid_NL.sum(axis=1)), valid_NL.sum(axis=1)[fold_N != fold]
            model = lightgbm.LGBMRanker(**self.params, **fixed).fit(features[rows], label[rows], group=sizes)
            self.models_.append(model.booster_)
        gain = np.sum([model.feature_importance("gain") for model in self.models_], axis=0)
        self.importance_ = dict(zip(self._names(), (gain / max(gain.sum(), 1e-12)).tolist(), strict=True))
        self.scorer_ = self._scorer(chosen, seen, store, ranking.snapshots, repeats=repeats, held_out=ranking.snapshots.split == "val")
        return self

    def scorer(self, scorers: Mapping[str, Scorer], seen: Ragged, store: EventStore, snapshots: Snapshots, *, repeats: str) -> Scorer:
        """The fitted models over other scorers of the same names, as for the snapshots of another log."""
        chosen = check_members(scorers, self.members_, "two_stage")
        return self._scorer(chosen, seen, store, snapshots, repeats=repeats, held_out=np.zeros(len(snapshots), dtype=bool))

    def __call__(self, index: np.ndarray) -> np.ndarray:
        """Scores `[B, V]` float32 of the snapshots `index` [B]."""
        return np.asarray(self.scorer_(index))

    def _scorer(
        self, scorers: Mapping[str, Scorer], seen: Ragged, store: EventStore, snapshots: Snapshots, *, repeats: str, held_out: np.ndarray
    ) -> Scorer:
        removed = seen if repeats == "remove" else None

        def score(index: np.ndarray) -> np.ndarray:
            z_MBV, may_BV = member_scores(scorers, index, removed)
            candidates = top_candidates(z_MBV, may_BV, self.depth)
            chosen = snapshots.select(index)
            features, num_B = self._features(candidates, store, chosen), candidates.valid.sum(axis=1)
            guess_FR = np.stack([model.predict(features, num_threads=1) for model in self.models_])
            out_B = held_out[index]
            weight_FB = np.full((self.folds, len(index)), 1 / self.folds)
            weight_FB[:, out_B] = self.fold_[chosen.customer[out_B]] == np.arange(self.folds)[:, None]
            value_R = (guess_FR * np.repeat(weight_FB, num_B, axis=1)).sum(axis=0)
            row = np.repeat(np.arange(len(index)), num_B)
            rest_BV = z_MBV.mean(axis=0)
            lowest_B = np.full(len(index), 0.0)
            np.minimum.at(lowest_B, row, value_R)
            score_BV = rest_BV + (lowest_B - 1 - rest_BV.max(axis=1))[:, None]
            score_BV[row, candidates.item[candidates.valid]] = value_R
            return score_BV.astype(np.float32)

        return score

    def _count_items(self, store: EventStore, training_rows: np.ndarray, num_items: int) -> None:
        item = np.asarray(store.column("item"))[training_rows]
        time = np.asarray(store.time)[training_rows][item >= 0]
        item = item[item >= 0]
        decay = 0.5 ** ((time.max(initial=0) - time) / (self.half_life_days * DAY))
        self.popularity_ = np.log1p(np.bincount(item, minlength=num_items)).astype(np.float32)
        self.recent_popularity_ = np.log1p(np.bincount(item, weights=decay, minlength=num_items)).astype(np.float32)

    def _names(self) -> list[str]:
        members = [f"{member} {what}" for what in ("score", "rank") for member in self.members_]
        return [*members, "popularity", "recent popularity", "bought", "bought days ago", "history"]

    def _features(self, candidates: Candidates, store: EventStore, snapshots: Snapshots) -> np.ndarray:
        """float32 `[R, F]` of the R real candidates, snapshot after snapshot; columns as in `_names`."""
        valid_NL, num_items = candidates.valid, len(self.popularity_)
        row, item = np.nonzero(valid_NL)[0], candidates.item[valid_NL]
        times, last = _bought(store, snapshots, row * num_items + item, num_items)
        now_N = np.asarray(store.time)[snapshots.stop - 1] if self.positional_ else snapshots.cutoff  # that cutoff is the target's time
        days = (now_N[row] - last) / DAY
        length = np.log1p(snapshots.stop - snapshots.start)[row]
        columns = [self.popularity_[item], self.recent_popularity_[item], times, np.where(times > 0, days, np.nan), length]
        members = [candidates.score[valid_NL], np.log(candidates.rank[valid_NL])]
        return np.concatenate([*members, np.stack(columns, axis=1)], axis=1).astype(np.float32)


def _bought(store: EventStore, snapshots: Snapshots, key: np.ndarray, num_items: int) -> tuple[np.ndarray, np.ndarray]:
    """(lines in the history, time of the last one or 0) of each `key` = snapshot · V + item."""
    row, event = expand(snapshots.start, snapshots.stop)
    code = np.asarray(store.column("item")[event], dtype=np.int64)
    row, event, code = row[code >= 0], event[code >= 0], code[code >= 0]
    unique, inverse, count = np.unique(row * num_items + code, return_inverse=True, return_counts=True)
    if not len(unique):
        return np.zeros(len(key), dtype=np.int64), np.zeros(len(key), dtype=np.int64)
    last = np.zeros(len(unique), dtype=np.int64)
    np.maximum.at(last, inverse, np.asarray(store.time)[event])
    at = np.minimum(np.searchsorted(unique, key), len(unique) - 1)
    found = unique[at] == key
    return np.where(found, count[at], 0), np.where(found, last[at], 0)
