"""NearestNeighbours: scikit-learn's k-NN, whose k shrinks with the rows that it learns from."""

from __future__ import annotations

from math import isqrt

import numpy as np
from sklearn.neighbors import KNeighborsClassifier


class NearestNeighbours(KNeighborsClassifier):
    """At most `n_neighbors`, and at most 2 √rows, so that a small table is not averaged away: 200 of 10,000 rows, 100
    of 2,500, 20 of 100. The arguments are scikit-learn's.
    """

    n_neighbors: int

    def fit(self, X: np.ndarray, y: np.ndarray) -> NearestNeighbours:
        """Fit `[N, F]`; `n_neighbors` is then the number in force."""
        self.n_neighbors = max(1, min(self.n_neighbors, 2 * isqrt(len(X)), len(X)))
        super().fit(X, y)
        return self
