"""TwoStage: LightGBM re-ranks the union of several models' top items; fitted on folds of validation customers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd

from clm_dl.baselines.recommenders.base import expand
from clm_dl.baselines.recommenders.candidates import (
    Candidates,
    allowed,
    blocks,
    check_folds,
    check_members,
    collect,
    split_folds,
    standardise,
    top_candidates,
)
from clm_dl.data.ranking.ranking import Ranking
from clm_dl.data.snapshots.cutoffs import DAY
from clm_dl.data.snapshots.snapshots import Snapshots
from clm_dl.data.store.store import EventStore
from clm_dl.errors import UserError
from clm_dl.retrieval import Ragged, Scorer


class TwoStage:
    """Candidates are each member's `depth` best items; LambdaMART (Burges 2010) orders them by what the members and the
    history say.

    Of each candidate it sees: every member's z-score and rank, the item's training lines in all and in the last
    `half_life_days` (decayed), how often the customer has it in the history and how long ago, and the length of the
    history. The trees start from the members' mean z-score and may only raise an item for a better score or rank of a
    member. They learn on the validation snapshots, one model a fold of customers: a validation snapshot is ranked by
    the model that has not seen its customer, every other one by the mean of all. After `fit` it is a scorer itself;
    items that are no candidate come after all candidates, by mean z-score.

    Args:
        members: names of the models to combine; None = all that it is given.
        folds: of the validation customers. seed: of the folds and of LightGBM.

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
        n_estimators: int = 80,
        learning_rate: float = 0.05,
        num_leaves: int = 8,
        min_child_samples: int = 100,
        reg_lambda: float = 1.0,
        colsample_bytree: float = 0.7,
        seed: int = 0,
    ):
        check_folds(folds)
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
        self.members_, self.item_ids_, self.positional_ = list(chosen), store.dictionary("item"), ranking.positional
        self._count_items(store, ranking.training_rows, num_items)
        index, snapshots = ranking.select("val"), ranking.snapshots
        candidates = collect(
            chosen, index, removed=seen if repeats == "remove" else None, num_items=num_items, depth=self.depth
        )
        valid_NL, hits_NL = candidates.valid, candidates.hits((ranking.target_offsets, ranking.targets), index)
        if not hits_NL.any():
            raise UserError(
                f"two_stage: none of the {self.depth} best items of any member is bought in validation, so raise depth"
            )
        table_RF, label_R = (
            self._features(candidates, store, snapshots.select(index)),
            hits_NL[valid_NL].astype(np.int32),
        )
        start_R = candidates.score.mean(axis=2)[valid_NL]
        fixed: dict[str, Any] = {
            "subsample_freq": 1,
            "n_jobs": 1,
            "deterministic": True,
            "force_row_wise": True,
            "verbosity": -1,
        }
        fixed |= {
            "random_state": self.seed,
            "lambdarank_truncation_level": 2 * k,
            "monotone_constraints": self._directions(),
        }
        fold_N, size_N = split_folds(snapshots.customer[index], self.folds, self.seed), valid_NL.sum(axis=1)
        self.models_ = []
        for fold in range(self.folds):
            rows_R, size_n = np.repeat(fold_N != fold, size_N), size_N[(fold_N != fold) & (size_N > 0)]
            model = lightgbm.LGBMRanker(**self.params, **fixed)
            model.fit(table_RF[rows_R], label_R[rows_R], group=size_n, init_score=start_R[rows_R])
            self.models_.append(model.booster_)
        gain_F = np.sum([model.feature_importance("gain") for model in self.models_], axis=0)
        self.importance_ = dict(zip(self._names(), (gain_F / max(gain_F.sum(), 1e-12)).tolist(), strict=True))
        every_N = np.full(len(snapshots), -1)
        every_N[index] = fold_N
        self.scorer_ = self._scorer(chosen, seen, store, snapshots, every_N, repeats)
        return self

    def scorer(
        self, scorers: Mapping[str, Scorer], seen: Ragged, store: EventStore, snapshots: Snapshots, *, repeats: str
    ) -> Scorer:
        """The fitted models over other scorers of the same names, as for the `snapshots` of another log."""
        chosen = check_members(scorers, self.members_, "two_stage")
        return self._scorer(chosen, seen, store, snapshots, np.full(len(snapshots), -1), repeats)

    def __getstate__(self) -> dict[str, Any]:
        """Its trees as LightGBM's own text."""
        state = {name: value for name, value in self.__dict__.items() if name != "scorer_"}
        return state | {"models_": [model.model_to_string() for model in self.models_]}

    def __setstate__(self, state: dict[str, Any]) -> None:
        import lightgbm

        self.__dict__ |= state | {"models_": [lightgbm.Booster(model_str=text) for text in state["models_"]]}

    def __call__(self, index: np.ndarray) -> np.ndarray:
        """Scores `[B, V]` float32 of the snapshots `index` [B]."""
        return np.asarray(self.scorer_(index))

    def _scorer(
        self,
        scorers: Mapping[str, Scorer],
        seen: Ragged,
        store: EventStore,
        snapshots: Snapshots,
        fold_N: np.ndarray,
        repeats: str,
    ) -> Scorer:
        num_items, removed = len(self.popularity_), seen if repeats == "remove" else None

        def block_scores(index: np.ndarray) -> np.ndarray:
            may_BV = allowed(index, removed, num_items)
            z_MBV = np.stack([standardise(scorer, index, may_BV) for scorer in scorers.values()])
            candidates = top_candidates(z_MBV, may_BV, self.depth)
            row_R, column_R = np.nonzero(candidates.valid)
            table_RF = self._features(candidates, store, snapshots.select(index))
            fold_R, change_R = fold_N[index][row_R], np.zeros(len(row_R))
            for fold, model in enumerate(self.models_):
                asked_R = (fold_R == fold) | (fold_R == -1)
                if asked_R.any():
                    change_R[asked_R] += model.predict(table_RF[asked_R], num_threads=1)
            change_R[fold_R == -1] /= self.folds
            mean_BV = z_MBV.mean(axis=0)
            item_R = candidates.item[row_R, column_R]
            value_R = (mean_BV[row_R, item_R] + change_R).astype(np.float32)
            lowest_B = np.full(len(index), np.inf, dtype=np.float32)
            np.minimum.at(lowest_B, row_R, value_R)
            lowest_B[np.isinf(lowest_B)] = 0  # no candidates at all
            mean_BV += (lowest_B - 1 - mean_BV.max(axis=1))[:, None]
            mean_BV[row_R, item_R] = value_R
            return mean_BV

        return lambda index: np.concatenate([block_scores(block) for block in blocks(index, num_items * len(scorers))])

    def _count_items(self, store: EventStore, training_rows: np.ndarray, num_items: int) -> None:
        item = np.asarray(store.column("item"))[training_rows]
        time = np.asarray(store.time)[training_rows][item >= 0]
        item = item[item >= 0]
        decay = 0.5 ** ((time.max(initial=0) - time) / (self.half_life_days * DAY))
        self.popularity_ = np.log1p(np.bincount(item, minlength=num_items)).astype(np.float32)
        self.recent_popularity_ = np.log1p(np.bincount(item, weights=decay, minlength=num_items)).astype(np.float32)

    def _names(self) -> list[str]:
        members = [f"{member} {what}" for what in ("score", "rank") for member in self.members_]
        return [*members, "popularity", "recent popularity", "bought", "days since bought", "history"]

    def _directions(self) -> list[int]:
        """Monotone constraint of each feature: 1 up, −1 down, 0 any."""
        return [1] * len(self.members_) + [-1] * len(self.members_) + [0] * 5

    def _features(self, candidates: Candidates, store: EventStore, snapshots: Snapshots) -> np.ndarray:
        """float32 `[R, F]` of the R real candidates, snapshot after snapshot; columns as in `_names`."""
        valid_NL = candidates.valid
        row_R, item_R = np.nonzero(valid_NL)[0], candidates.item[valid_NL]
        times_R, last_R = self._bought(store, snapshots, row_R, item_R)
        # where the cutoff is the time of the target, it may not be looked at
        now_N = np.asarray(store.time)[snapshots.stop - 1] if self.positional_ else snapshots.cutoff
        days_R = np.where(times_R > 0, (now_N[row_R] - last_R) / DAY, np.nan)
        length_R = np.log1p(snapshots.stop - snapshots.start)[row_R]
        own = np.stack([self.popularity_[item_R], self.recent_popularity_[item_R], times_R, days_R, length_R], axis=1)
        return np.concatenate([candidates.score[valid_NL], np.log(candidates.rank[valid_NL]), own], axis=1).astype(
            np.float32
        )

    def _bought(
        self, store: EventStore, snapshots: Snapshots, row_R: np.ndarray, item_R: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray]:
        """(lines in the history of snapshot `row_R`, time of the last one or 0) of each candidate."""
        num_items = len(self.item_ids_)
        # codes of another log; −1 reads the last
        known = np.append(pd.Index(self.item_ids_).get_indexer(store.dictionary("item")), -1)
        row, event = expand(snapshots.start, snapshots.stop)
        code = known[np.asarray(store.column("item")[event])]
        row, event, code = row[code >= 0], event[code >= 0], code[code >= 0]
        pair, first, count = np.unique(row[::-1] * num_items + code[::-1], return_index=True, return_counts=True)
        last = np.asarray(store.time)[event[::-1][first]]  # rows are in time order: the first from behind
        asked = row_R * num_items + item_R
        at = np.searchsorted(pair, asked)
        found = np.append(pair, -1)[at] == asked
        return np.where(found, np.append(count, 0)[at], 0), np.where(found, np.append(last, 0)[at], 0)
