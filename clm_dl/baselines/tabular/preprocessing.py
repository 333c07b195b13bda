"""Preprocessing of the feature table: logs, imputation with missing flags, scaling, one-hot; of training rows only."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
from imblearn.over_sampling import ADASYN, SMOTE
from imblearn.under_sampling import RandomUnderSampler
from sklearn.compose import ColumnTransformer
from sklearn.experimental import enable_iterative_imputer  # noqa: F401  (makes the next import work)
from sklearn.impute import IterativeImputer, SimpleImputer
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.preprocessing import FunctionTransformer, OneHotEncoder, StandardScaler

from clm_dl.baselines.spec import IMPUTE
from clm_dl.data.ids import written
from clm_dl.errors import UserError

STRATEGIES = {"mean": "mean", "median": "median", "mode": "most_frequent"}


def signed_log(X: pd.DataFrame) -> np.ndarray:
    """sign(x) · log(1 + |x|): counts, days and amounts are skewed."""
    for name in (name for name in X if not pd.api.types.is_numeric_dtype(X[name])):
        raise UserError(f"{name} was a number in training and is text in this input: give numbers, or train anew")
    values = X.to_numpy(dtype=np.float64)
    return np.asarray(np.sign(values) * np.log1p(np.abs(values)))


def build_preprocessor(X: pd.DataFrame, *, impute: str, seed: int) -> ColumnTransformer:
    """An unfitted transformer of a table like `X` into a dense float matrix.

    Numbers: signed log, imputed (a flag for each column that has gaps in training), standardised. Categoricals (every
    other dtype): one-hot, missing is a level of its own, levels unseen in training are all zeros.
    """
    if impute not in IMPUTE:
        raise UserError(f"impute must be one of {', '.join(IMPUTE)}, got {impute!r}")
    numeric = list(X.select_dtypes("number").columns)
    categorical = [name for name in X.columns if name not in numeric]
    imputer: Any = (
        IterativeImputer(
            max_iter=10, tol=1e-2, n_nearest_features=8, random_state=seed, add_indicator=True, keep_empty_features=True
        )
        if impute == "iterative"
        else SimpleImputer(strategy=STRATEGIES[impute], add_indicator=True, keep_empty_features=True)
    )
    numbers: Pipeline = make_pipeline(FunctionTransformer(signed_log), imputer, StandardScaler())
    one_hot = make_pipeline(
        FunctionTransformer(_as_text),
        OneHotEncoder(handle_unknown="ignore", sparse_output=False, min_frequency=10, dtype=np.float64),
    )
    return ColumnTransformer([("numeric", numbers, numeric), ("categorical", one_hot, categorical)])


def _as_text(X: pd.DataFrame) -> np.ndarray:
    numbers = {name: X[name].map(written) for name in X.select_dtypes("number")}
    text = X.assign(**numbers).astype(object)
    return text.where(text.notna(), "(missing)").astype(str).to_numpy(dtype=object)


def resample(X: np.ndarray, y: np.ndarray, imbalance: str, *, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Training rows made equally many of each class: undersample, smote or adasyn (imbalanced-learn)."""
    rare = int(min(y.sum(), len(y) - y.sum()))
    neighbors = min(5, rare - 1)
    if neighbors < 1 and imbalance in ("smote", "adasyn"):
        raise UserError(
            f"imbalance={imbalance} needs at least 2 training rows of the rare class, got {rare}: use "
            "imbalance=class_weight"
        )
    sampler: Any = {
        "undersample": lambda: RandomUnderSampler(random_state=seed),
        "smote": lambda: SMOTE(random_state=seed, k_neighbors=neighbors),
        "adasyn": lambda: ADASYN(random_state=seed, n_neighbors=neighbors),
    }[imbalance]()
    if rare == len(y) - rare:
        return X, y
    resampled: tuple[np.ndarray, np.ndarray] = sampler.fit_resample(X, y)
    return resampled
