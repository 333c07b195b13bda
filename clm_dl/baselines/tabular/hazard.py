"""HazardModel: any classifier on the feature table as the hazard of each interval.

Of the base rate this is the Kaplan–Meier curve on the grid, of logistic regression the discrete-time model of Singer &
Willett (1993).

Shapes: N snapshots, F features, S intervals (one ends at each horizon).
"""

from __future__ import annotations

import numpy as np
import pandas as pd
from sklearn.base import BaseEstimator, clone

from clm_dl.baselines.tabular.classifier import TabularClassifier


class HazardModel(BaseEstimator):
    """A classifier an interval: of the customers active so far, who leaves in it; snapshots enter as far as they were
    followed.

    Args:
        classifier: unfitted; it is cloned for each interval.
    """

    prior = None

    def __init__(self, classifier: TabularClassifier):
        self.classifier = classifier

    def fit(
        self,
        X: pd.DataFrame,
        left_NS: np.ndarray,
        X_val: pd.DataFrame,
        left_val_NS: np.ndarray,
        groups: np.ndarray | None = None,
    ) -> HazardModel:
        """Fit on features `[N, F]` and, of each interval, 1 left in it, 0 active through it, NaN not reached or not
        followed; the validation rows stop a classifier that can stop early.
        """
        self.classifiers_ = []
        for left_N, left_val_N in zip(left_NS.T, left_val_NS.T, strict=True):
            known, known_val = ~np.isnan(left_N), ~np.isnan(left_val_N)
            both = len(np.unique(left_val_N[known_val])) == 2
            stopping = (X_val[known_val], left_val_N[known_val]) if both else ()
            self.classifiers_.append(clone(self.classifier).fit(X[known], left_N[known], *stopping))
        return self

    def predict_curve(self, X: pd.DataFrame) -> np.ndarray:
        """P(active through each horizon) `[N, S]`: the product of 1 − hazard so far."""
        hazard_NS = np.column_stack([classifier.predict_proba(X)[:, 1] for classifier in self.classifiers_])
        return np.asarray(np.cumprod(1 - hazard_NS, axis=1))

    answers = predict_curve
