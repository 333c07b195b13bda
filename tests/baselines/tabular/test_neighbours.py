"""k-NN whose k follows the number of rows."""

import numpy as np
import pytest
from sklearn.base import clone
from sklearn.neighbors import KNeighborsClassifier

from clm_dl.baselines.tabular.neighbours import NearestNeighbours


@pytest.mark.parametrize(
    ("rows", "neighbors"), [(1, 1), (2, 2), (19, 8), (100, 20), (2500, 100), (10_000, 200), (40_000, 200)]
)
def test_a_small_table_has_few_neighbours_and_a_large_one_all(rows: int, neighbors: int) -> None:
    X, y = np.arange(rows, dtype=float)[:, None], np.arange(rows) % 2
    model = clone(NearestNeighbours(n_neighbors=200, algorithm="brute")).fit(X, y)
    assert model.neighbours_.n_neighbors == neighbors
    assert model.n_neighbors == 200  # as it was asked for: fitted again on more rows, it takes more
    same = KNeighborsClassifier(n_neighbors=neighbors, algorithm="brute").fit(X, y)
    np.testing.assert_array_equal(model.predict_proba(X[:5]), same.predict_proba(X[:5]))
