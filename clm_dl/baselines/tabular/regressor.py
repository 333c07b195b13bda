"""TabularRegressor: any scikit-learn regressor on the feature table that expects amounts ≥ 0; and PastMean."""

from __future__ import annotations

import warnings

import numpy as np
import pandas as pd
from sklearn.base import BaseEstimator, RegressorMixin
from sklearn.exceptions import ConvergenceWarning

from clm_dl.baselines.tabular.estimator import TabularModel
from clm_dl.errors import UserError


class TabularRegressor(RegressorMixin, TabularModel):
    """Preprocessing and a regressor, fitted on the rows it is given; never expects less than nothing."""

    prior = None

    def fit(
        self,
        X: pd.DataFrame,
        y: np.ndarray,
        X_val: pd.DataFrame | None = None,
        y_val: np.ndarray | None = None,
        groups: np.ndarray | None = None,
    ) -> TabularRegressor:
        """Fit on `[N, F]` features and amounts `[N]`, ≥ 0; groups: the customer of each row `[N]`."""
        y = check_amounts(y)
        if not y.any():
            raise UserError(
                f"all-zero spend in train: nobody of {len(y)} snapshots spends in the horizon, so there is nothing to "
                "learn"
            )
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ConvergenceWarning)  # lasso's path may end a little before its tolerance
            self._fit(X, y, X_val, None if y_val is None else check_amounts(y_val), groups)
        return self

    def predict(self, X: pd.DataFrame) -> np.ndarray:
        """Expected amounts `[N]`, ≥ 0."""
        return np.maximum(np.asarray(self.estimator_.predict(self._rows(X)), dtype=np.float64), 0.0)

    answers = predict


class PastMean(RegressorMixin, BaseEstimator):
    """A customer goes on spending as before: spend a day since the first order, times the horizon; nothing is fitted.

    A history shorter than the horizon counts as that long, so that a first order today does not become one a day.
    """

    reads_table = True

    def __init__(self, *, horizon_days: float | None = None):
        self.horizon_days = horizon_days

    def fit(self, X: pd.DataFrame, y: np.ndarray | None = None) -> PastMean:
        """Checks the horizon."""
        if self.horizon_days is None or not self.horizon_days > 0:
            raise UserError(f"past_mean needs a horizon of more than 0 days, got {self.horizon_days}")
        self.days_ = float(self.horizon_days)
        return self

    def predict(self, X: pd.DataFrame) -> np.ndarray:
        """Money `[N]`."""
        spend, tenure = (X[name].to_numpy(dtype=np.float64) for name in ("spend", "tenure"))
        return np.asarray(spend / np.maximum(tenure, self.days_) * self.days_)


def check_amounts(y: np.ndarray) -> np.ndarray:
    """Amounts as float64 `[N]`; raises ValueError where one is missing, infinite or negative."""
    y = np.asarray(y, dtype=np.float64)
    wrong = ~(np.isfinite(y) & (y >= 0))
    if wrong.any():
        raise UserError(
            f"the spend to be expected must be finite and ≥ 0, got {y[wrong][0]:g}: leave returns and censored windows "
            "out"
        )
    return y
