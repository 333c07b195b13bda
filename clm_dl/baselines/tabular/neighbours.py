"""NearestNeighbours: scikit-learn's k-NN, whose k shrinks with the rows that it learns from."""

from __future__ import annotations

from math import isqrt

import numpy as np
from sklearn.base import BaseEstimator, ClassifierMixin
from sklearn.neighbors import KNeighborsClassifier


class NearestNeighbours(ClassifierMixin, BaseEstimator):
    """At most `n_neighbors`, and at most 2 √rows, so that a small table is not averaged away: 200 of 10,000 rows, 100
    of 2,500, 20 of 100. The arguments are those of scikit-learn's KNeighborsClassifier.
    """

    def __init__(
        self,
        n_neighbors: int,
        *,
        weights: str = "uniform",
        algorithm: str = "auto",
        metric: str = "minkowski",
        n_jobs: int | None = None,
    ):
        self.n_neighbors = n_neighbors
        self.weights = weights
        self.algorithm = algorithm
        self.metric = metric
        self.n_jobs = n_jobs

    def fit(self, X: np.ndarray, y: np.ndarray) -> NearestNeighbours:
        """Fit `[N, F]`; `neighbours_` is the model with the number in force."""
        number = max(1, min(self.n_neighbors, 2 * isqrt(len(X)), len(X)))
        self.neighbours_ = KNeighborsClassifier(**{**self.get_params(), "n_neighbors": number}).fit(X, y)
        self.classes_ = self.neighbours_.classes_
        return self

    def predict_proba(self, X: np.ndarray) -> np.ndarray:
        """Share of the neighbours in each class. [N, F] -> [N, classes]"""
        return np.asarray(self.neighbours_.predict_proba(X))

    def predict(self, X: np.ndarray) -> np.ndarray:
        """The class of most neighbours. [N, F] -> [N]"""
        return np.asarray(self.neighbours_.predict(X))
