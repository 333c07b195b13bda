"""TabularModel: any scikit-learn estimator on the feature table, with preprocessing fitted on the rows it is given."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd
from sklearn.base import BaseEstimator, clone
from sklearn.exceptions import ConvergenceWarning
from sklearn.preprocessing import FunctionTransformer
from sklearn.utils._param_validation import InvalidParameterError
from sklearn.utils.validation import has_fit_parameter

from clm_dl.baselines.spec import Spec
from clm_dl.baselines.tabular.preprocessing import build_preprocessor
from clm_dl.errors import UserError


class TabularModel(BaseEstimator):
    """What classifier and regressor share.

    Args:
        estimator: scikit-learn estimator. One with a true `reads_table` gets the features raw; one whose fit takes
            `eval_X` stops early on validation rows, one whose fit takes `groups` gets the customer of each row.
        columns: the features it may see; None = all.
        impute: mean, median, mode or iterative, with missing flags.
        max_rows: fit on a seeded sample of at most so many rows (k-NN); None = all.
        seed: of sampling and imputation.
    """

    def __init__(
        self,
        estimator: Any,
        *,
        columns: Sequence[str] | None = None,
        impute: str = "median",
        max_rows: int | None = None,
        seed: int = 0,
    ):
        self.estimator = estimator
        self.columns = columns
        self.impute = impute
        self.max_rows = max_rows
        self.seed = seed

    @classmethod
    def of(cls, spec: Spec, *, seed: int, **options: Any) -> Any:
        """The unfitted model of a chosen baseline; what draws and is not told otherwise draws with `seed`."""
        estimator = spec.make()
        if estimator.get_params().get("random_state", 0) is None:
            estimator.set_params(random_state=seed)
        return cls(estimator, columns=spec.columns, max_rows=spec.max_rows, seed=seed, **options)

    def _fit(
        self,
        X: pd.DataFrame,
        y: np.ndarray,
        X_val: pd.DataFrame | None,
        y_val: np.ndarray | None,
        groups: np.ndarray | None,
    ) -> Any:
        """Preprocess, and fit a clone of the estimator with what its `fit` takes."""
        self.feature_names_in_ = np.asarray(X.columns, dtype=object)
        X = self._select(X)
        if self.max_rows is not None and len(X) > self.max_rows:
            chosen = np.sort(np.random.default_rng(self.seed).permutation(len(X))[: self.max_rows])
            X, y, groups = X.iloc[chosen], y[chosen], None if groups is None else np.asarray(groups)[chosen]
        raw = getattr(self.estimator, "reads_table", False)
        self.preprocessor_ = FunctionTransformer() if raw else build_preprocessor(X, impute=self.impute, seed=self.seed)
        self.estimator_ = clone(self.estimator)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ConvergenceWarning)  # iterative imputation stops after some rounds
            rows = self.preprocessor_.fit_transform(X)
        rows, y, arguments = self._weighted(rows, y)
        if groups is not None and has_fit_parameter(self.estimator_, "groups"):
            arguments["groups"] = groups
        if X_val is not None and y_val is not None and has_fit_parameter(self.estimator_, "eval_X"):
            arguments |= {"eval_X": self.preprocessor_.transform(self._select(X_val)), "eval_y": y_val}
            arguments |= self._eval_weights(y_val)
        try:
            self.estimator_.fit(rows, y, **arguments)
        except InvalidParameterError as error:
            raise UserError(f"an option of a baseline is out of range: {error}") from error
        return self

    def _weighted(self, rows: np.ndarray, y: np.ndarray) -> tuple[np.ndarray, np.ndarray, dict[str, Any]]:
        """Training rows, labels and further arguments of fit."""
        return rows, y, {}

    def _eval_weights(self, y_val: np.ndarray) -> dict[str, Any]:
        return {}

    def _rows(self, X: pd.DataFrame) -> np.ndarray:
        return self.preprocessor_.transform(self._select(X))

    def _select(self, X: pd.DataFrame) -> pd.DataFrame:
        names = list(self.feature_names_in_ if self.columns is None else self.columns)
        if missing := [name for name in names if name not in X]:
            hint = ": name the column of spend as data.roles.amount" if missing[0].startswith("spend") else ""
            raise UserError(
                f"the feature table has no column {missing[0]!r}, it has {', '.join(map(str, X.columns))}{hint}"
            )
        return X[names]
