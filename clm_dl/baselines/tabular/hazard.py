"""Survival baselines: any classifier on the feature table as the hazard of each interval, calibrated and scored as the
network is.

Of the base rate this is the Kaplan–Meier curve on the grid, of logistic regression the discrete-time model of Singer &
Willett (1993).

Shapes: N snapshots, F features, S intervals (one ends at each horizon).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd
from sklearn.base import BaseEstimator, clone

from clm_dl.baselines.tabular.classifier import ChurnBaseline, build_baseline
from clm_dl.data.snapshots.snapshots import Snapshots
from clm_dl.data.store.store import EventStore
from clm_dl.evaluation.calibration import CurveCalibrator
from clm_dl.evaluation.scores import curve_table
from clm_dl.tasks.survival.lifetimes import Lifetimes, calibration_rows


class HazardBaseline(BaseEstimator):
    """A classifier an interval: of the customers active so far, who leaves in it; snapshots enter as far as they were
    followed.

    Args:
        classifier: an unfitted ChurnBaseline, which is cloned for each interval.
    """

    def __init__(self, classifier: ChurnBaseline):
        self.classifier = classifier

    def fit(self, X: pd.DataFrame, left_NS: np.ndarray, X_val: pd.DataFrame, left_val_NS: np.ndarray) -> HazardBaseline:
        """Fit on features `[N, F]` and `Lifetimes.intervals`; the validation rows stop a classifier that can stop
        early.
        """
        self.classifiers_ = []
        for left_N, left_val_N in zip(left_NS.T, left_val_NS.T, strict=True):
            known, known_val = ~np.isnan(left_N), ~np.isnan(left_val_N)
            stopping = (X_val[known_val], left_val_N[known_val]) if len(np.unique(left_val_N[known_val])) == 2 else ()
            self.classifiers_.append(clone(self.classifier).fit(X[known], left_N[known], *stopping))
        return self

    def predict_curve(self, X: pd.DataFrame) -> np.ndarray:
        """P(active through each horizon) `[N, S]`: the product of 1 − hazard so far."""
        hazard_NS = np.column_stack([classifier.predict_proba(X)[:, 1] for classifier in self.classifiers_])
        return np.asarray(np.cumprod(1 - hazard_NS, axis=1))


def fit_score_curves(
    X: pd.DataFrame,
    snapshots: Snapshots,
    life: Lifetimes,
    horizons_days: Sequence[float],
    *,
    store: EventStore,
    baselines: Sequence[Mapping[str, Any]],
    seed: int,
    impute: str = "median",
    imbalance: str = "none",
    trusted: Iterable[str] = (),
    log: Callable[[str], None] = lambda text: None,
) -> pd.DataFrame:
    """Fit every baseline on the training snapshots and score validation and test: rows of the Scores table, one a
    horizon.

    Early stopping on the oldest validation cutoffs, calibration of each horizon on the newest that was followed so far.
    """
    active_NS, left_NS = life.active(horizons_days), life.intervals(horizons_days)
    held_out, train, stopping = np.isin(snapshots.split, ("val", "test")), snapshots.training, snapshots.early_stopping
    chosen_NS = calibration_rows(snapshots, active_NS)[held_out]
    parts = []
    for config in baselines:
        log(f"baseline {config['name']}")
        classifier = build_baseline(config, seed=seed, impute=impute, imbalance=imbalance, trusted=trusted)
        model = HazardBaseline(classifier).fit(X[train], left_NS[train], X[stopping], left_NS[stopping])
        raw_NS = model.predict_curve(X[held_out])
        calibration = CurveCalibrator().fit(raw_NS, active_NS[held_out], chosen_NS)
        parts.append(
            curve_table(
                store,
                snapshots.select(held_out),
                horizons_days,
                model=config["name"],
                active=calibration.predict(raw_NS),
                active_raw=raw_NS,
                label=active_NS[held_out],
            )
        )
    return pd.concat(parts, ignore_index=True)
