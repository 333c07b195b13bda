"""Matrix factorisation by the package implicit: ALS and BPR, both with the customer's vector computed from the history.

Shape letters: B snapshots, C customers, V catalogue, D factors.
"""

from __future__ import annotations

import importlib
from typing import Any

import numpy as np
from scipy import sparse
from threadpoolctl import threadpool_limits

from clm_dl.baselines.recommenders.base import Recommender
from clm_dl.data.store.store import EventStore
from clm_dl.errors import MissingExtra


class ALS(Recommender):
    """Weighted least squares on counts (Hu, Koren, Volinsky 2008): an item bought n times weighs alpha · n, any other
    1.

    A customer's vector is solved for from the history that is scored, so customers never seen need no new training.

    Attributes:
        item_factors_: float32 [V, D].
    """

    def __init__(
        self,
        *,
        factors: int = 64,
        regularization: float = 10.0,
        alpha: float = 1.0,
        iterations: int = 15,
        seed: int = 0,
    ):
        self.factors = factors
        self.regularization = regularization
        self.alpha = alpha
        self.iterations = iterations
        self.seed = seed

    def _fit(self, store: EventStore, start: np.ndarray, stop: np.ndarray) -> None:
        self._model = self._made()
        with threadpool_limits(1, "blas"):
            self._model.fit(sparse.csr_matrix(self.interactions(store, start, stop)), show_progress=False)
        self.item_factors_ = np.asarray(self._model.item_factors)

    def _made(self) -> Any:
        """implicit's unfitted model."""
        with threadpool_limits(1, "blas"):  # implicit asks for it
            return _implicit("als").AlternatingLeastSquares(
                factors=self.factors,
                regularization=self.regularization,
                alpha=self.alpha,
                iterations=self.iterations,
                num_threads=1,
                random_state=self.seed,
            )

    def __getstate__(self) -> dict[str, Any]:
        return {name: value for name, value in super().__getstate__().items() if name != "_model"}

    def __setstate__(self, state: dict[str, Any]) -> None:
        super().__setstate__(state)
        if "item_factors_" in state:
            self._model = self._made()
            self._model.item_factors = self.item_factors_

    def _scores(self, store: EventStore, start: np.ndarray, stop: np.ndarray, at: np.ndarray) -> np.ndarray:
        histories = sparse.csr_matrix(self.interactions(store, start, stop))
        vector_BD = self._model.recalculate_user(np.arange(len(start)), histories)
        return np.asarray(vector_BD @ self.item_factors_.T)


class BPR(Recommender):
    """Pairwise ranking (Rendle et al. 2009): an item bought shall score above a random one that was not.

    BPR learns a vector for each training customer. So that it also ranks for histories that have grown and for new
    customers, a ridge regression from the mean item vector of the history to the learned vector is fitted on the
    training customers and used for all.

    Attributes:
        item_factors_: float32 [V, D + 1], the last one multiplies 1.
        fold_in_: float32 [D + 2, D + 1], from (mean item vector, 1) to the customer's vector.
    """

    def __init__(
        self,
        *,
        factors: int = 64,
        learning_rate: float = 0.01,
        regularization: float = 0.01,
        iterations: int = 100,
        ridge: float = 1.0,
        seed: int = 0,
    ):
        self.factors = factors
        self.learning_rate = learning_rate
        self.regularization = regularization
        self.iterations = iterations
        self.ridge = ridge
        self.seed = seed

    def _fit(self, store: EventStore, start: np.ndarray, stop: np.ndarray) -> None:
        counts_CV = sparse.csr_matrix(self.interactions(store, start, stop))
        with threadpool_limits(1, "blas"):
            model = _implicit("bpr").BayesianPersonalizedRanking(
                factors=self.factors,
                learning_rate=self.learning_rate,
                regularization=self.regularization,
                iterations=self.iterations,
                num_threads=1,
                random_state=self.seed,
            )
            model.fit(counts_CV, show_progress=False)
        self.item_factors_ = np.asarray(model.item_factors)
        active = np.diff(counts_CV.indptr) > 0
        profile_CP, learned_CD = self._profile(counts_CV[active]), model.user_factors[active]
        penalty = self.ridge * np.eye(profile_CP.shape[1], dtype=np.float32)
        self.fold_in_ = np.linalg.solve(profile_CP.T @ profile_CP + penalty, profile_CP.T @ learned_CD)

    def _scores(self, store: EventStore, start: np.ndarray, stop: np.ndarray, at: np.ndarray) -> np.ndarray:
        profile_BP = self._profile(sparse.csr_matrix(self.interactions(store, start, stop)))
        return np.asarray(profile_BP @ self.fold_in_ @ self.item_factors_.T)

    def _profile(self, counts_BV: sparse.csr_matrix) -> np.ndarray:
        """Mean vector of the distinct items of each history, and 1: float32 [B, D + 2]."""
        distinct_BV = counts_BV.astype(bool).astype(np.float32)
        num_B = np.maximum(np.diff(distinct_BV.indptr), 1)[:, None].astype(np.float32)
        return np.hstack([distinct_BV @ self.item_factors_ / num_B, np.ones_like(num_B)])


def _implicit(module: str) -> Any:
    """implicit.cpu.als or implicit.cpu.bpr; in an extra of its own because it is compiled."""
    try:
        return importlib.import_module(f"implicit.cpu.{module}")
    except ModuleNotFoundError as error:
        raise MissingExtra(
            f"the baseline {module} needs the package implicit: pip install 'clm-dl[recommend]'"
        ) from error
