"""Leakage probe: columns that alone nearly give the label, which what is known at a cutoff seldom does.

Shapes: N rows.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd

THRESHOLD = 0.98  # AUC of a single column
FEWEST = 10  # rows of either class: of fewer, a column or two of a hundred gives the label by chance
MOST = 10_000  # rows looked at
BINS = 32  # of a number, where its order does not tell


def leaks(table: pd.DataFrame, label: np.ndarray, customer: np.ndarray) -> dict[str, float]:
    """Columns of `table` whose own AUC for `label` (1, 0, NaN unknown) is at least .98, the highest first.

    A number is taken as it is, in either direction and with the missing at either end; and, as every category, by the
    label's mean at its value among the other half of the customers, which no column of names or ids can pass.
    """
    rows = np.flatnonzero(~np.isnan(label))
    rows = rows[:: -(-len(rows) // MOST)] if len(rows) else rows
    y, customer = label[rows] > 0, customer[rows]
    if min(y.sum(), (~y).sum()) < FEWEST:
        return {}
    half = np.random.default_rng(0).permutation(int(customer.max()) + 1)[customer] % 2 == 0
    table = table.iloc[rows]
    found = {str(name): _column_auc(table[name], y, half) for name in table}
    return {name: auc for name, auc in sorted(found.items(), key=lambda item: -item[1]) if auc >= THRESHOLD}


def leakage(table: pd.DataFrame, label: np.ndarray, customer: np.ndarray) -> dict[str, Any]:
    """What metrics.json says of it, {"leakage": {"threshold", "columns": {name: AUC}}}; nothing where none is found."""
    found = leaks(table, label, customer)
    return {"leakage": {"threshold": THRESHOLD, "columns": found}} if found else {}


def leakage_lines(found: Mapping[str, Any] | None) -> list[str]:
    """A sentence for the columns found, if any."""
    if not found:
        return []
    columns = ", ".join(f"{name} (AUC {auc:.3f})" for name, auc in found["columns"].items())
    return [
        f"Warning, possible leakage: one column alone nearly gives the label: {columns}. Unless the question is that "
        "easy, it says what came after the cutoff: leave it out of the data."
    ]


def _column_auc(column: pd.Series, y_N: np.ndarray, half_N: np.ndarray) -> float:
    is_number = pd.api.types.is_numeric_dtype(column) and not pd.api.types.is_bool_dtype(column)
    if not is_number:
        codes = column.cat.codes if isinstance(column.dtype, pd.CategoricalDtype) else pd.factorize(column)[0]
        return _by_mean(np.asarray(codes), y_N, half_N)
    values = column.to_numpy(np.float64, na_value=np.nan)
    missing, finite = np.isnan(values), values[np.isfinite(values)]
    if not len(finite):
        return _by_mean(-missing.astype(int), y_N, half_N)
    values = np.clip(values, finite.min() - 1, finite.max() + 1)
    ends = (finite.min() - 1, finite.max() + 1) if missing.any() else (0.0,)
    ordered = [_auc(np.where(missing, end, values), y_N, ~y_N) for end in ends]
    edges = np.unique(np.quantile(finite, np.linspace(0, 1, BINS + 1)[1:-1]))
    codes = np.where(missing, -1, np.searchsorted(edges, values, side="right"))
    return max(*ordered, *(1 - auc for auc in ordered), _by_mean(codes, y_N, half_N))


def _by_mean(codes_N: np.ndarray, y_N: np.ndarray, half_N: np.ndarray) -> float:
    """The lower AUC of the two halves, each scored by the label's mean at the same code in the other."""
    codes, found = codes_N.astype(np.int64) + 1, []  # -1, missing, is a code of its own
    size = int(codes.max()) + 1
    for fitted in (half_N, ~half_N):
        rest = y_N[~fitted]
        if rest.all() or not rest.any() or not fitted.any():
            return 0.5
        count, positive = (np.bincount(codes[fitted], weights, size) for weights in (None, y_N[fitted]))
        mean = (positive + y_N[fitted].mean()) / (count + 1)
        found.append(_auc(mean, *(np.bincount(codes[~fitted], weights, size) for weights in (rest, ~rest))))
    return min(found)


def _auc(score_K: np.ndarray, positive_K: np.ndarray, negative_K: np.ndarray) -> float:
    """AUC of scores that so many positives and negatives have; scikit-learn's takes several times as long."""
    _, place = np.unique(score_K, return_inverse=True)
    positive, negative = np.bincount(place, positive_K), np.bincount(place, negative_K)
    below = np.cumsum(negative) - negative / 2
    return float((positive * below).sum() / (positive.sum() * negative.sum()))
