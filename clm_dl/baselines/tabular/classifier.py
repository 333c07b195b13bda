"""TabularClassifier: any scikit-learn classifier on the feature table, its class weights undone."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd
from scipy.special import expit
from sklearn.base import ClassifierMixin
from sklearn.utils.validation import has_fit_parameter

from clm_dl.baselines.tabular.estimator import TabularModel
from clm_dl.baselines.tabular.preprocessing import resample
from clm_dl.errors import UserError
from clm_dl.evaluation.calibration import prior_correction


class TabularClassifier(ClassifierMixin, TabularModel):
    """Preprocessing, a classifier and prior correction.

    Args:
        estimator: with predict_proba or decision_function (whose logistic is then the raw score).
        imbalance: none, class_weight, undersample, smote or adasyn, of training rows only. An estimator that takes no
            weights (k-NN) is fitted without them, which prior correction would undo anyway; one that reads the table is
            not resampled either.
        columns, impute, max_rows, seed: see TabularModel.

    Attributes:
        train_rate_, sampled_rate_: share of label 1 before and after weighting.
    """

    def __init__(
        self,
        estimator: Any,
        *,
        columns: Sequence[str] | None = None,
        impute: str = "median",
        imbalance: str = "none",
        max_rows: int | None = None,
        seed: int = 0,
    ):
        super().__init__(estimator, columns=columns, impute=impute, max_rows=max_rows, seed=seed)
        self.imbalance = imbalance

    def fit(
        self,
        X: pd.DataFrame,
        y: np.ndarray,
        X_val: pd.DataFrame | None = None,
        y_val: np.ndarray | None = None,
        groups: np.ndarray | None = None,
    ) -> TabularClassifier:
        """Fit on `[N, F]` features and labels in {0, 1}; groups: the customer of each row `[N]`."""
        y = np.asarray(y, dtype=np.int64)
        if y.min() == y.max():
            raise UserError(f"one class only in train: all {len(y)} labels are {y[0]}, so there is nothing to learn")
        self.classes_ = np.array([0, 1])
        self._fit(X, y, X_val, None if y_val is None else np.asarray(y_val, dtype=np.int64), groups)
        return self

    def raw_score(self, X: pd.DataFrame) -> np.ndarray:
        """What the estimator says `[N]`, before prior correction and calibration."""
        rows = self._rows(X)
        if hasattr(self.estimator_, "predict_proba"):
            return np.asarray(self.estimator_.predict_proba(rows)[:, 1], dtype=np.float64)
        return np.asarray(expit(self.estimator_.decision_function(rows)))

    answers = raw_score

    @property
    def prior(self) -> tuple[float, float] | None:
        """(train rate, sampled rate) where they differ: what a calibration has to undo first."""
        same = self.sampled_rate_ == self.train_rate_
        return None if same else (self.train_rate_, self.sampled_rate_)

    def predict_proba(self, X: pd.DataFrame) -> np.ndarray:
        """P(0), P(1) `[N, 2]`, prior-corrected."""
        raw = self.raw_score(X)
        positive = raw if self.prior is None else prior_correction(raw, *self.prior)
        return np.stack([1 - positive, positive], axis=1)

    def predict(self, X: pd.DataFrame) -> np.ndarray:
        """1 where P(1) ≥ 0.5 `[N]`."""
        return (self.predict_proba(X)[:, 1] >= 0.5).astype(np.int64)

    def _weighted(self, rows: np.ndarray, y: np.ndarray) -> tuple[np.ndarray, np.ndarray, dict[str, Any]]:
        self.train_rate_ = self.sampled_rate_ = float(y.mean())
        if self.imbalance == "class_weight" and has_fit_parameter(self.estimator_, "sample_weight"):
            self.sampled_rate_ = 0.5
            return rows, y, {"sample_weight": self._weight(y)}
        if self.imbalance in ("none", "class_weight") or getattr(self.estimator, "reads_table", False):
            return rows, y, {}
        rows, y = resample(rows, y, self.imbalance, seed=self.seed)
        self.sampled_rate_ = float(y.mean())
        return rows, y, {}

    def _eval_weights(self, y_val: np.ndarray) -> dict[str, Any]:
        return {"eval_weight": self._weight(y_val)}

    def _weight(self, y: np.ndarray) -> np.ndarray:
        """Weights that move the rate of label 1 from training's to the sampled one."""
        others = (1 - self.sampled_rate_) / (1 - self.train_rate_)
        return np.where(y == 1, self.sampled_rate_ / self.train_rate_, others)
