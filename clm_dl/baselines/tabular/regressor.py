"""Value baselines: any scikit-learn regressor on the feature table that expects the spend in the horizon."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd
from sklearn.base import BaseEstimator, RegressorMixin, clone
from sklearn.exceptions import ConvergenceWarning
from sklearn.preprocessing import FunctionTransformer
from sklearn.utils.validation import has_fit_parameter

from clm_dl.baselines.buy_till_you_die.estimators import CannotAnswer
from clm_dl.baselines.tabular.preprocessing import IMPUTE, build_preprocessor
from clm_dl.config import build
from clm_dl.data.snapshots.snapshots import Snapshots
from clm_dl.data.store.store import EventStore
from clm_dl.errors import UserError
from clm_dl.evaluation.scores import value_table
from clm_dl.tasks.value.calibration import ValueCalibrator


class ValueBaseline(RegressorMixin, BaseEstimator):
    """Preprocessing and a regressor, fitted on the rows it is given; never expects less than nothing.

    Args:
        estimator: scikit-learn regressor; one with a true `reads_table` gets the features raw.
        columns: the features it may see; null = all.
        impute: mean, median, mode or iterative, with missing flags.
        seed: of imputation.
    """

    def __init__(self, estimator: Any, *, columns: Sequence[str] | None = None, impute: str = "median", seed: int = 0):
        self.estimator = estimator
        self.columns = columns
        self.impute = impute
        self.seed = seed

    def fit(
        self,
        X: pd.DataFrame,
        y: np.ndarray,
        X_val: pd.DataFrame | None = None,
        y_val: np.ndarray | None = None,
        groups: np.ndarray | None = None,
    ) -> ValueBaseline:
        """Fit on `[N, F]` features and the spend in the label window `[N]`, ≥ 0; validation rows stop what can stop
        early.

        groups: the customer of each row `[N]`, for an estimator whose fit takes them.
        """
        y = check_value(y)
        if not y.any():
            raise UserError(
                f"all-zero spend in train: nobody of {len(y)} snapshots spends in the horizon, so there is nothing to "
                "learn"
            )
        self.feature_names_in_ = np.asarray(X.columns, dtype=object)
        X = self._select(X)
        reads_table = getattr(self.estimator, "reads_table", False)
        self.preprocessor_ = (
            FunctionTransformer() if reads_table else build_preprocessor(X, impute=self.impute, seed=self.seed)
        )
        self.estimator_ = clone(self.estimator)
        arguments: dict[str, Any] = {}
        if groups is not None and has_fit_parameter(self.estimator_, "groups"):
            arguments["groups"] = groups
        with warnings.catch_warnings():
            # iterative imputation stops after a fixed number of rounds
            warnings.simplefilter("ignore", ConvergenceWarning)
            rows = self.preprocessor_.fit_transform(X)
            if X_val is not None and y_val is not None and has_fit_parameter(self.estimator_, "eval_X"):
                arguments |= {"eval_X": self.preprocessor_.transform(self._select(X_val)), "eval_y": check_value(y_val)}
            self.estimator_.fit(rows, y, **arguments)
        return self

    def predict(self, X: pd.DataFrame) -> np.ndarray:
        """Expected spend in the horizon `[N]`, ≥ 0."""
        return np.maximum(
            np.asarray(self.estimator_.predict(self.preprocessor_.transform(self._select(X))), dtype=np.float64), 0.0
        )

    def _select(self, X: pd.DataFrame) -> pd.DataFrame:
        names = list(self.feature_names_in_ if self.columns is None else self.columns)
        missing = [name for name in names if name not in X]
        if missing:
            hint = ": name the column of spend as data.roles.amount" if missing[0].startswith("spend") else ""
            raise UserError(
                f"the feature table has no column {missing[0]!r}, it has {', '.join(map(str, X.columns))}{hint}"
            )
        return X[names]


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


def build_value_baseline(
    config: Mapping[str, Any], *, seed: int, impute: str = "median", trusted: Iterable[str] = ()
) -> ValueBaseline:
    """The unfitted baseline of a `baseline` group: `name`, `_target_`, optional `columns`, and the class's own
    arguments.
    """
    if impute not in IMPUTE:
        raise UserError(f"impute must be one of {', '.join(IMPUTE)}, got {impute!r}")
    estimator = build(
        {key: value for key, value in config.items() if key not in ("name", "task", "columns")}, trusted=trusted
    )
    if "random_state" in estimator.get_params() and "random_state" not in config:
        estimator.set_params(random_state=seed)
    return ValueBaseline(estimator, columns=config.get("columns"), impute=impute, seed=seed)


def fit_score_value(
    X: pd.DataFrame,
    snapshots: Snapshots,
    value_N2: np.ndarray,
    *,
    store: EventStore,
    baselines: Sequence[Mapping[str, Any]],
    seed: int,
    impute: str = "median",
    imbalance: str = "none",
    trusted: Iterable[str] = (),
    log: Callable[[str], None] = lambda text: None,
) -> pd.DataFrame:
    """Fit every baseline on the training snapshots and score validation and test: rows of the Scores table.

    Early stopping on the oldest validation cutoffs, calibration of the mean on the newest, as the network. A baseline
    that cannot answer this log is left out with a line in `log`.

    Args:
        X: features `[N, F]` of all N snapshots, row by row. value_N2: spend and orders of their label windows, NaN
        censored.
        imbalance: there are no classes here, so only "none".
    """
    held_out = np.isin(snapshots.split, ("val", "test"))
    train, stopping, calibration = snapshots.training, snapshots.early_stopping, snapshots.calibration
    spend, parts = value_N2[:, 0], []
    for config in baselines:
        log(f"baseline {config['name']}")
        model = build_value_baseline(config, seed=seed, impute=impute, trusted=trusted)
        try:
            model.fit(X[train], spend[train], X[stopping], spend[stopping], groups=snapshots.customer[train])
        except CannotAnswer as reason:
            if len(baselines) == 1:
                raise
            log(f"baseline {config['name']} is left out: {reason}")
            continue
        score = model.predict(X)
        calibrator = ValueCalibrator().fit(score[calibration], spend[calibration])
        parts.append(
            value_table(
                store,
                snapshots.select(held_out),
                model=config["name"],
                score=calibrator.predict(score[held_out]),
                score_raw=score[held_out],
                spend=spend[held_out],
                orders=value_N2[held_out, 1],
            )
        )
    if not parts:
        raise CannotAnswer(
            f"none of the baselines {', '.join(config['name'] for config in baselines)} can answer: choose others"
        )
    return pd.concat(parts, ignore_index=True)


def check_value(y: np.ndarray) -> np.ndarray:
    """Labels of value as float64 `[N]`; raises ValueError where one is missing, infinite or negative."""
    y = np.asarray(y, dtype=np.float64)
    wrong = ~(np.isfinite(y) & (y >= 0))
    if wrong.any():
        raise UserError(
            f"the spend to be expected must be finite and ≥ 0, got {y[wrong][0]:g}: leave returns and censored windows "
            "out"
        )
    return y
