"""Churn baselines: any scikit-learn classifier on the feature table, with the network's calibration and Scores."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd
from scipy.special import expit
from sklearn.base import BaseEstimator, ClassifierMixin, clone
from sklearn.exceptions import ConvergenceWarning
from sklearn.preprocessing import FunctionTransformer
from sklearn.utils.validation import has_fit_parameter

from clm_dl.baselines.buy_till_you_die.estimators import CannotAnswer
from clm_dl.baselines.tabular.preprocessing import IMBALANCE, IMPUTE, build_preprocessor, resample
from clm_dl.config import build
from clm_dl.data.snapshots.snapshots import Snapshots
from clm_dl.data.store.store import EventStore
from clm_dl.errors import UserError
from clm_dl.evaluation.calibration import PlattCalibrator, prior_correction
from clm_dl.evaluation.scores import scores_table


class ChurnBaseline(ClassifierMixin, BaseEstimator):
    """Preprocessing, a classifier, prior correction and Platt calibration; everything fitted on the rows it is given.

    Args:
        estimator: scikit-learn classifier with predict_proba or decision_function (whose logistic is then the raw
            score).
        columns: the features it may see; null = all.
        impute: mean, median, mode or iterative, with missing flags.
        imbalance: none, class_weight, undersample, smote or adasyn, of training rows only. An estimator that takes no
            weights (k-NN) is fitted without them, which prior correction would undo anyway.
        max_rows: fit on a seeded sample of at most so many rows (k-NN); null = all.
        seed: of resampling, sampling and imputation.
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
        self.estimator = estimator
        self.columns = columns
        self.impute = impute
        self.imbalance = imbalance
        self.max_rows = max_rows
        self.seed = seed

    def fit(
        self,
        X: pd.DataFrame,
        y: np.ndarray,
        X_val: pd.DataFrame | None = None,
        y_val: np.ndarray | None = None,
        groups: np.ndarray | None = None,
    ) -> ChurnBaseline:
        """Fit on `[N, F]` features and labels in {0, 1}; the validation rows stop an estimator that can stop early.

        groups: the customer of each row `[N]`, for an estimator whose fit takes them. An estimator with a true
            `reads_table` gets
        the features raw, and no resampling or weights.
        """
        y = np.asarray(y, dtype=np.int64)
        if y.min() == y.max():
            raise UserError(f"one class only in train: all {len(y)} labels are {y[0]}, so there is nothing to learn")
        self.feature_names_in_ = np.asarray(X.columns, dtype=object)
        self.classes_ = np.array([0, 1])
        X = self._select(X)
        if self.max_rows is not None and len(X) > self.max_rows:
            chosen = np.sort(np.random.default_rng(self.seed).permutation(len(X))[: self.max_rows])
            X, y, groups = X.iloc[chosen], y[chosen], None if groups is None else np.asarray(groups)[chosen]
        reads_table = getattr(self.estimator, "reads_table", False)
        self.preprocessor_ = (
            FunctionTransformer() if reads_table else build_preprocessor(X, impute=self.impute, seed=self.seed)
        )
        with warnings.catch_warnings():
            # iterative imputation stops after a fixed number of rounds
            warnings.simplefilter("ignore", ConvergenceWarning)
            rows = self.preprocessor_.fit_transform(X)
        self.train_rate_ = self.sampled_rate_ = float(y.mean())
        self.calibrator_ = PlattCalibrator()
        self.estimator_ = clone(self.estimator)
        arguments: dict[str, Any] = {}
        if self.imbalance == "class_weight" and has_fit_parameter(self.estimator_, "sample_weight"):
            self.sampled_rate_ = 0.5
            arguments["sample_weight"] = self._weight(y)
        elif self.imbalance not in ("none", "class_weight") and not reads_table:
            rows, y = resample(rows, y, self.imbalance, seed=self.seed)
            self.sampled_rate_ = float(y.mean())
        if groups is not None and has_fit_parameter(self.estimator_, "groups"):
            arguments["groups"] = groups
        if X_val is not None and y_val is not None and has_fit_parameter(self.estimator_, "eval_X"):
            y_val = np.asarray(y_val, dtype=np.int64)
            arguments |= {
                "eval_X": self.preprocessor_.transform(self._select(X_val)),
                "eval_y": y_val,
                "eval_weight": self._weight(y_val),
            }
        self.estimator_.fit(rows, y, **arguments)
        return self

    def calibrate(self, X: pd.DataFrame, y: np.ndarray) -> ChurnBaseline:
        """Fit Platt's slope and intercept on rows that were not trained on, after prior correction."""
        self.calibrator_.fit(self._corrected(self.raw_score(X)), np.asarray(y, dtype=float))
        return self

    def raw_score(self, X: pd.DataFrame) -> np.ndarray:
        """What the estimator says `[N]`, before prior correction and calibration."""
        rows = self.preprocessor_.transform(self._select(X))
        if hasattr(self.estimator_, "predict_proba"):
            return np.asarray(self.estimator_.predict_proba(rows)[:, 1], dtype=np.float64)
        return np.asarray(expit(self.estimator_.decision_function(rows)))

    def predict_proba(self, X: pd.DataFrame) -> np.ndarray:
        """P(stay), P(churn) `[N, 2]`: prior-corrected, and calibrated if `calibrate` was called."""
        return self.probabilities(self.raw_score(X))

    def probabilities(self, raw: np.ndarray) -> np.ndarray:
        """`[N, 2]` from raw scores `[N]`."""
        churn = self.calibrator_.predict(self._corrected(raw))
        return np.stack([1 - churn, churn], axis=1)

    def predict(self, X: pd.DataFrame) -> np.ndarray:
        """1 where P(churn) ≥ 0.5 `[N]`."""
        return (self.predict_proba(X)[:, 1] >= 0.5).astype(np.int64)

    def _select(self, X: pd.DataFrame) -> pd.DataFrame:
        names = list(self.feature_names_in_ if self.columns is None else self.columns)
        missing = [name for name in names if name not in X]
        if missing:
            raise UserError(f"the feature table has no column {missing[0]!r}, it has {', '.join(map(str, X.columns))}")
        return X[names]

    def _corrected(self, raw: np.ndarray) -> np.ndarray:
        return (
            raw
            if self.sampled_rate_ == self.train_rate_
            else prior_correction(raw, self.train_rate_, self.sampled_rate_)
        )

    def _weight(self, y: np.ndarray) -> np.ndarray:
        """Weights that move the churn rate from training's to the sampled one."""
        stayed = (1 - self.sampled_rate_) / (1 - self.train_rate_)
        return np.where(y == 1, self.sampled_rate_ / self.train_rate_, stayed)


def build_baseline(
    config: Mapping[str, Any],
    *,
    seed: int,
    impute: str = "median",
    imbalance: str = "none",
    trusted: Iterable[str] = (),
) -> ChurnBaseline:
    """The unfitted baseline of a `baseline` group: `name`, `_target_`, optional `columns` and `max_rows`, and the
    class's own arguments.
    """
    for name, value, known in (("impute", impute, IMPUTE), ("imbalance", imbalance, IMBALANCE)):
        if value not in known:
            raise UserError(f"{name} must be one of {', '.join(known)}, got {value!r}")
    options = {
        key: value for key, value in config.items() if key not in ("name", "task", "sees", "columns", "max_rows")
    }
    estimator = build(options, trusted=trusted)
    if "random_state" in estimator.get_params() and "random_state" not in options:
        estimator.set_params(random_state=seed)
    columns, max_rows = config.get("columns"), config.get("max_rows")
    return ChurnBaseline(estimator, columns=columns, impute=impute, imbalance=imbalance, max_rows=max_rows, seed=seed)


def fit_score(
    X: pd.DataFrame,
    snapshots: Snapshots,
    *,
    store: EventStore,
    baselines: Sequence[Mapping[str, Any]],
    seed: int,
    task: str = "churn",
    embedding: pd.DataFrame | None = None,
    impute: str = "median",
    imbalance: str = "none",
    trusted: Iterable[str] = (),
    log: Callable[[str], None] = lambda text: None,
) -> pd.DataFrame:
    """Fit every baseline on the training snapshots and score validation and test: rows of the Scores table.

    Early stopping on the oldest validation cutoffs, calibration on the newest (`Snapshots.early_stopping`,
    `.calibration`).

    Args:
        X: features `[N, F]` of all N snapshots, row by row.
        baselines: `baseline` groups, see `build_baseline`; the tables that one `sees` are among "features" (the
            default) and "embedding".
        embedding: vectors of a pretrained network, row by row.
    """
    held_out = np.isin(snapshots.split, ("val", "test"))
    train, stopping, calibration = snapshots.training, snapshots.early_stopping, snapshots.calibration
    tables, parts = {"features": X, "embedding": embedding}, []
    for config in baselines:
        X = pd.concat([tables[name] for name in config.get("sees", ["features"])], axis=1)
        X = X.loc[:, ~X.columns.duplicated()]
        model = build_baseline(config, seed=seed, impute=impute, imbalance=imbalance, trusted=trusted)
        log(f"baseline {config['name']}")
        known = snapshots.label[train], X[stopping], snapshots.label[stopping]
        try:
            model.fit(X[train], *known, groups=snapshots.customer[train])
        except CannotAnswer as reason:
            if len(baselines) == 1:
                raise
            log(f"baseline {config['name']} is left out: {reason}")
            continue
        model.calibrate(X[calibration], snapshots.label[calibration])
        raw = model.raw_score(X[held_out])
        score = model.probabilities(raw)[:, 1]
        parts.append(
            scores_table(store, snapshots.select(held_out), model=config["name"], task=task, score=score, score_raw=raw)
        )
    if not parts:
        raise CannotAnswer(
            f"none of the baselines {', '.join(config['name'] for config in baselines)} can answer: choose others"
        )
    return pd.concat(parts, ignore_index=True)
