"""Baselines of basket value: any regressor on the logarithm of the amount, and what a customer's orders were so far.

Shapes: N snapshots, F features.
"""

from __future__ import annotations

import numpy as np
import pandas as pd
from sklearn.base import BaseEstimator, RegressorMixin

from clm_dl.baselines.tabular.regressor import TabularRegressor

SMALLEST = 1e-2  # a forecast below counts as this


class LogAmountRegressor(TabularRegressor):
    """A regressor of log(1 + amount); answers the expected log amount."""

    def fit(
        self,
        X: pd.DataFrame,
        y: np.ndarray,
        X_val: pd.DataFrame | None = None,
        y_val: np.ndarray | None = None,
        groups: np.ndarray | None = None,
    ) -> LogAmountRegressor:
        """Fit on `[N, F]` features and amounts `[N]`, > 0; groups: the customer of each row `[N]`."""
        super().fit(X, np.log1p(y), X_val, None if y_val is None else np.log1p(y_val), groups)
        return self

    def answers(self, X: pd.DataFrame) -> np.ndarray:
        """Expected log amounts `[N]`."""
        return np.log(np.maximum(np.expm1(self.predict(X)), SMALLEST))


class PastOrderMean(RegressorMixin, BaseEstimator):
    """The next order is worth what a customer's orders were on average; nothing is fitted."""

    reads_table = True

    def fit(self, X: pd.DataFrame, y: np.ndarray | None = None) -> PastOrderMean:
        """There is nothing to fit."""
        self.num_features_ = X.shape[1]
        return self

    def predict(self, X: pd.DataFrame) -> np.ndarray:
        """log(1 + money) `[N]`; returns that exceed the purchases count as nothing spent."""
        return np.log1p(np.maximum(X["spend_per_order"].to_numpy(dtype=np.float64), 0.0))
