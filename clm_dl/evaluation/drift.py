"""Drift: how far scores and inputs have moved from where a model was trained, and how far its total is off.

Shapes: N rows then, M rows now.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike

SMALLEST = 1e-4  # share of a bin that is empty on one side


def psi(then: ArrayLike, now: ArrayLike, bins: int = 10) -> float:
    """Population stability index Σ (q − p) · ln(q / p) over bins of equal mass of `then` [N], for `now` [M] (Siddiqi
    2006).

    Values that repeat share a bin and missing values (NaN) have one of their own. Below .1 is read as stable, above .25
    as moved. NaN where either side is empty.
    """
    then_N, now_M = np.asarray(then, dtype=np.float64), np.asarray(now, dtype=np.float64)
    if not len(then_N) or not len(now_M):
        return float("nan")
    known_N = then_N[~np.isnan(then_N)]
    edges = np.unique(np.quantile(known_N, np.arange(1, bins) / bins)) if len(known_N) else np.empty(0)
    shares = []
    for value in (then_N, now_M):
        place = np.where(np.isnan(value), len(edges) + 1, np.searchsorted(edges, value, side="left"))
        shares.append(np.maximum(np.bincount(place, minlength=len(edges) + 2) / len(value), SMALLEST))
    p, q = shares
    return float(((q - p) * np.log(q / p)).sum())


def total_bias(label: ArrayLike, score: ArrayLike) -> float:
    """(Σ score − Σ label) / Σ label of [N]: how far the predicted total is off; NaN where the true total is 0."""
    truth = float(np.sum(label))
    return float(np.sum(score)) / truth - 1 if truth else float("nan")
