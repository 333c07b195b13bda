"""EASE: a linear model of every item on all others, in closed form; and the same with histories weighted by recency."""

from __future__ import annotations

import numpy as np
from scipy import sparse
from scipy.linalg import lapack

from clm_dl.baselines.recommenders.base import Recommender, age
from clm_dl.data.store.store import EventStore
from clm_dl.errors import UserError


class EASE(Recommender):
    """Steck 2019, "Embarrassingly shallow autoencoders for sparse data": X ≈ X B, diagonal of B zero, ridge `penalty`;
    X is bought or not.

    A customer's scores are the history's row of X times B, so each line of the history adds the row of its item.

    Args:
        penalty: ridge; the larger, the more B leans on frequent pairs.
        max_items: B covers at most so many items, the most popular (its memory grows with their square, the time with
            their cube); the others score 0.

    Attributes:
        kept_: int64 `[K]`, codes of the covered items. weights_: float32 `[K, K]`, B.
    """

    def __init__(self, *, penalty: float = 500.0, max_items: int = 10_000):
        self.penalty = penalty
        self.max_items = max_items

    def _fit(self, store: EventStore, start: np.ndarray, stop: np.ndarray) -> None:
        if not self.penalty > 0:
            raise UserError(f"penalty must be > 0, got {self.penalty}")
        order = np.argsort(-self.count_, kind="stable")[: self.max_items]
        self.kept_ = np.sort(order[self.count_[order] > 0])
        bought = EASE._history(self, store, start, stop)[:, self.kept_]
        gram = np.asarray((bought.T @ bought).toarray(), order="F")
        gram[np.diag_indices(len(gram))] += self.penalty
        factor, failed = lapack.spotrf(gram, lower=1, overwrite_a=1)
        assert not failed  # a Gram matrix plus a ridge is positive definite
        inverse, failed = lapack.spotri(factor, lower=1, overwrite_c=1)
        assert not failed
        inverse = np.tril(inverse)
        inverse += np.tril(inverse, -1).T
        weights = inverse / -np.diag(inverse)
        weights[np.diag_indices(len(weights))] = 0
        self.weights_ = np.ascontiguousarray(weights)

    def _scores(self, store: EventStore, start: np.ndarray, stop: np.ndarray, at: np.ndarray) -> np.ndarray:
        scores = np.zeros((len(start), len(self.item_ids_)), np.float32)
        scores[:, self.kept_] = self._history(store, start, stop)[:, self.kept_] @ self.weights_
        return scores

    def _history(self, store: EventStore, start: np.ndarray, stop: np.ndarray) -> sparse.csr_array:
        bought = self.interactions(store, start, stop)
        bought.data[:] = 1
        return bought


class RecencyEASE(EASE):
    """EASE asked with a history in which what is new counts more: a line weighs exp(−age / tau), age 0 for the last.

    B is fitted on unweighted histories: on ml-100k, weighting those too changed NDCG by less than its noise.

    Args:
        tau: in steps of `unit`.
        unit: "line", or "order" for baskets: all lines of one order are equally old.
    """

    def __init__(self, *, penalty: float = 500.0, tau: float = 5.0, unit: str = "line", max_items: int = 10_000):
        super().__init__(penalty=penalty, max_items=max_items)
        self.tau = tau
        self.unit = unit

    def _fit(self, store: EventStore, start: np.ndarray, stop: np.ndarray) -> None:
        if not self.tau > 0:
            raise UserError(f"tau must be > 0 steps, got {self.tau}")
        super()._fit(store, start, stop)

    def _history(self, store: EventStore, start: np.ndarray, stop: np.ndarray) -> sparse.csr_array:
        steps = age(store, self.lines(store, start, stop), stop, self.unit)
        return self.interactions(store, start, stop, np.exp(-steps / self.tau))
