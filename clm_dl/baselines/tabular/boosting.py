"""LightGBM that stops early on given validation rows, with scikit-learn's API: a classifier and a regressor."""

from __future__ import annotations

from typing import Any

import numpy as np
from sklearn.base import BaseEstimator, ClassifierMixin, RegressorMixin


class _EarlyStopped(BaseEstimator):
    """What the two share: the arguments, and trees kept up to the lowest validation loss.

    Args:
        n_estimators, …, reg_lambda: LightGBM's own; configs/baseline says with which numbers they are used.
        min_child_samples: rows of a leaf; below 1 a share of the training rows.
        patience: rounds without improvement before it stops.
        options: further arguments of LightGBM's class.
    """

    wrapped: str  # LightGBM's class

    def __init__(
        self,
        *,
        n_estimators: int,
        learning_rate: float,
        num_leaves: int,
        min_child_samples: float,
        subsample: float,
        colsample_bytree: float,
        reg_lambda: float,
        patience: int,
        options: dict[str, Any] | None = None,
        random_state: int | None = None,
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
        if self.min_child_samples < 1:
            params["min_child_samples"] = max(1, round(self.min_child_samples * len(X)))
        fixed = {"subsample_freq": 1, "n_jobs": 1, "deterministic": True, "force_row_wise": True, "verbosity": -1}
        model = getattr(lightgbm, self.wrapped)(**(params | fixed | (self.options or {})))
        watched: dict[str, Any] = {}
        if eval_X is not None:
            watched = {"eval_X": eval_X, "eval_y": eval_y}  # judged by the loss that is fitted
            watched["callbacks"] = [lightgbm.early_stopping(self.patience, verbose=False)]
            if eval_weight is not None:
                watched["eval_sample_weight"] = [eval_weight]
        model.fit(X, y, sample_weight=sample_weight, **watched)
        self.booster_ = model.booster_
        return self

    def _predict(self, X: np.ndarray) -> np.ndarray:
        """`[N]`: P(1) of a classifier."""
        return np.asarray(self.booster_.predict(X, num_threads=1))

    def __getstate__(self) -> dict[str, Any]:
        """The trees as LightGBM's own text."""
        state = dict(super().__getstate__())
        return state | ({"booster_": self.booster_.model_to_string()} if "booster_" in state else {})

    def __setstate__(self, state: dict[str, Any]) -> None:
        import lightgbm

        known = {"booster_": lightgbm.Booster(model_str=state["booster_"])} if "booster_" in state else {}
        super().__setstate__(state | known)


class EarlyStoppedLightGBM(ClassifierMixin, _EarlyStopped):
    """LGBMClassifier that keeps the number of trees with the lowest validation log loss."""

    wrapped = "LGBMClassifier"

    classes_ = np.array([0, 1])

    def predict_proba(self, X: np.ndarray) -> np.ndarray:
        """`[N, 2]`."""
        positive = self._predict(X)
        return np.stack([1 - positive, positive], axis=1)


class EarlyStoppedLightGBMRegressor(RegressorMixin, _EarlyStopped):
    """LGBMRegressor that keeps the number of trees with the lowest validation loss of its objective (see `options`)."""

    wrapped = "LGBMRegressor"

    def predict(self, X: np.ndarray) -> np.ndarray:
        """`[N]`."""
        return self._predict(X)
