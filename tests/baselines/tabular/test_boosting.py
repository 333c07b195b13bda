"""LightGBM's leaves: a number of rows, or a share of those that it learns from."""

import numpy as np
import pytest
from support import changed, shipped

BOOSTED = shipped("churn")["lightgbm"]


@pytest.mark.parametrize(("num", "share", "rows"), [(400, 0.005, 2), (400, 0.1, 40), (30, 0.005, 1), (400, 7, 7)])
def test_a_leaf_of_less_than_one_row_is_a_share(num: int, share: float, rows: int) -> None:
    rng = np.random.default_rng(0)
    X = rng.normal(size=(num, 3))
    y = (X[:, 0] + rng.normal(size=num) > 0).astype(int)
    trees = [
        changed(BOOSTED, n_estimators=5, min_child_samples=leaf).make().fit(X, y).predict_proba(X)
        for leaf in (share, rows)
    ]
    np.testing.assert_array_equal(*trees)
