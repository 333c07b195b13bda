"""Buy-till-you-die models behind scikit-learn's API: they read recency, tenure, orders, spend, and no labels."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd
from sklearn.base import BaseEstimator, ClassifierMixin, RegressorMixin

from clm_dl.baselines.buy_till_you_die.models import BetaGeo, GammaGamma, ModifiedBetaGeo, ParetoNBD
from clm_dl.baselines.spec import CannotAnswer
from clm_dl.errors import UserError

MODELS: dict[str, type[Any]] = {"bg_nbd": BetaGeo, "mbg_nbd": ModifiedBetaGeo, "pareto_nbd": ParetoNBD}


class _HistoryModel(BaseEstimator):
    """Fits a purchase model to the histories of a feature table, each customer once.

    Repeat purchases are orders − 1, t is the tenure, and the last purchase lies tenure − recency after the first.
    Snapshots repeat a customer's history over the cutoffs, so with `groups` only its longest one, that of its newest
    cutoff, counts.

    Args:
        model: bg_nbd, mbg_nbd or pareto_nbd.
        horizon_days: of the label window; its gap is left to calibration.
    """

    reads_table = True  # raw features, neither imputed nor scaled nor resampled

    def __init__(self, *, model: str = "bg_nbd", horizon_days: float | None = None):
        if model not in MODELS:
            raise UserError(f"model must be one of {', '.join(MODELS)}, got {model!r}")
        self.model = model
        self.horizon_days = horizon_days

    def _fit_purchases(self, X: pd.DataFrame, groups: np.ndarray | None) -> pd.DataFrame:
        """Sets `purchases_` and returns the rows that it was fitted on."""
        if self.horizon_days is None:
            raise UserError(f"{self.model} needs a horizon: set horizon_days")
        if groups is not None:
            newest = np.lexsort((X["tenure"].to_numpy(), groups))
            X = X.iloc[newest[np.r_[np.diff(np.asarray(groups)[newest]) != 0, True]]]
        try:
            self.purchases_ = MODELS[self.model](limits=True).fit(*_history(X))
        except ValueError as error:
            raise CannotAnswer(str(error)) from error
        return X


class SilenceClassifier(ClassifierMixin, _HistoryModel):
    """P(no purchase in the horizon), not 1 − P(alive): whoever is alive may still stay away. `fit` does not look at the
    labels.

    Args:
        labels: the run's `labels` settings, null = no_event; the answer fits labels that mean silence of every kind and
            no others.
    """

    def __init__(
        self, *, model: str = "bg_nbd", horizon_days: float | None = None, labels: Mapping[str, Any] | None = None
    ):
        super().__init__(model=model, horizon_days=horizon_days)
        self.labels = labels

    def fit(self, X: pd.DataFrame, y: np.ndarray | None = None, groups: np.ndarray | None = None) -> SilenceClassifier:
        """Fit to the histories `[N]`. groups: the customer of each row, null = each row is a customer."""
        if self.labels and (self.labels["name"] != "no_event" or self.labels.get("event_types")):
            types = f" with event_types={list(self.labels['event_types'])}" if self.labels.get("event_types") else ""
            raise CannotAnswer(f"it knows silence, and labels={self.labels['name']}{types} mean something else")
        self._fit_purchases(X, groups)
        self.classes_ = np.array([0, 1])
        return self

    def predict_proba(self, X: pd.DataFrame) -> np.ndarray:
        """P(a purchase), P(none) `[N, 2]`."""
        silent = self.purchases_.probability_inactive(self.horizon_days, *_history(X))
        return np.stack([1 - silent, silent], axis=1)


class SpendRegressor(RegressorMixin, _HistoryModel):
    """Expected spend in the horizon: expected purchases × Gamma-Gamma's value of one. `fit` does not look at the
    labels.

    The mean value of an order is over all of a customer's orders, the first among them, as the feature table holds no
    other.
    """

    def fit(self, X: pd.DataFrame, y: np.ndarray | None = None, groups: np.ndarray | None = None) -> SpendRegressor:
        """Fit to the histories `[N]`. groups: the customer of each row, null = each row is a customer."""
        rows = self._fit_purchases(X, groups)
        try:
            self.spend_ = GammaGamma(limits=True).fit(*_spend(rows))
        except ValueError as error:
            raise CannotAnswer(str(error)) from error
        return self

    def predict(self, X: pd.DataFrame) -> np.ndarray:
        """Money `[N]`, ≥ 0."""
        purchases = self.purchases_.expected_purchases(self.horizon_days, *_history(X))
        return np.asarray(purchases * self.spend_.expected_value(*_spend(X)))


def _history(X: pd.DataFrame) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Frequency, recency, t in days; the table's float32 may round the last purchase a little before the first."""
    recency, tenure, orders = (X[name].to_numpy(dtype=np.float64) for name in ("recency", "tenure", "orders"))
    return orders - 1, np.where(orders > 1, np.maximum(tenure - recency, 0), 0), tenure


def _spend(X: pd.DataFrame) -> tuple[np.ndarray, np.ndarray]:
    """Orders and their mean value; returns that exceed the purchases count as nothing spent."""
    return X["orders"].to_numpy(dtype=np.float64), np.maximum(X["spend_per_order"].to_numpy(dtype=np.float64), 0)
