"""LightGBM that stops early on given validation rows, with scikit-learn's API: a classifier of churn, a regressor of
value.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from sklearn.base import BaseEstimator, ClassifierMixin, RegressorMixin


class _EarlyStopped(BaseEstimator):
    """What the two share: the arguments, and trees kept up to the lowest validation loss.

    Args:
        patience: rounds without improvement before it stops.
        options: further arguments of LightGBM's class.
    """

    wrapped: str  # LightGBM's class

    def __init__(
        self,
        *,
        n_estimators: int = 1000,
        learning_rate: float = 0.03,
        num_leaves: int = 8,
        min_child_samples: int = 100,
        subsample: float = 0.8,
        colsample_bytree: float = 0.6,
        reg_lambda: float = 1.0,
        patience: int = 50,
        options: dict[str, Any] | None = None,
        random_state: int = 0,
    ):
        self.n_estimators = n_estimators
        self.learning_rate = learning_rate
        self.num_leaves = num_leaves
        self.min_child_samples = min_child_samples
        self.subsample = subsample
        self.colsample_bytree = colsample_bytree
        self.reg_lambda = reg_lambda
        self.patience = patience
        self.options = options
        self.random_state = random_state

    def fit(
        self,
        X: np.ndarray,
        y: np.ndarray,
        sample_weight: np.ndarray | None = None,
        eval_X: np.ndarray | None = None,
        eval_y: np.ndarray | None = None,
        eval_weight: np.ndarray | None = None,
    ) -> Any:
        """Fit `[N, F]`; without validation rows all `n_estimators` trees are kept."""
        import lightgbm  # a second to import, only needed here

        params = {name: value for name, value in self.get_params().items() if name not in ("patience", "options")}
        fixed = {"subsample_freq": 1, "n_jobs": 1, "deterministic": True, "force_row_wise": True, "verbosity": -1}
        self.model_ = getattr(lightgbm, self.wrapped)(**(params | fixed | (self.options or {})))
        watched: dict[str, Any] = {}
        if eval_X is not None:
            watched = {"eval_X": eval_X, "eval_y": eval_y}  # judged by the loss that is fitted
            watched["callbacks"] = [lightgbm.early_stopping(self.patience, verbose=False)]
            if eval_weight is not None:
                watched["eval_sample_weight"] = [eval_weight]
        self.model_.fit(X, y, sample_weight=sample_weight, **watched)
        return self


class EarlyStoppedLightGBM(ClassifierMixin, _EarlyStopped):
    """LGBMClassifier that keeps the number of trees with the lowest validation log loss."""

    wrapped = "LGBMClassifier"

    @property
    def classes_(self) -> np.ndarray:
        return np.asarray(self.model_.classes_)

    def predict_proba(self, X: np.ndarray) -> np.ndarray:
        """`[N, 2]`."""
        return np.asarray(self.model_.predict_proba(X))


class EarlyStoppedLightGBMRegressor(RegressorMixin, _EarlyStopped):
    """LGBMRegressor that keeps the number of trees with the lowest validation loss of its objective (an entry of
    `options`).
    """

    wrapped = "LGBMRegressor"

    def predict(self, X: np.ndarray) -> np.ndarray:
        """`[N]`."""
        return np.asarray(self.model_.predict(X))
