"""Ranked: what a ranking of rows is worth under many weightings at once, in one compiled pass a weighting.

Rows with equal scores form one step of the ranking, so nothing depends on the order of rows.
Undefined (no rows, or a class is missing) is NaN, never an exception or a warning.

Shapes: N rows (snapshots), C customers, R weightings (resamples), K bins, T top fractions, G distinct scores.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar, cast

import numpy as np
from numba import njit
from numpy.typing import ArrayLike, NDArray

from clm_dl.errors import UserError

Floats = NDArray[np.float64]
Function = TypeVar("Function", bound=Callable[..., Any])


def _compiled(function: Function) -> Function:
    options: Any = {"nogil": True, "error_model": "numpy"}
    try:
        return cast(Function, njit(cache=True, **options)(function))
    except RuntimeError:  # neither beside this file nor in the user's cache may anything be written
        return cast(Function, njit(**options)(function))


@dataclass(frozen=True)
class Curve:
    """Running totals down a ranking, each [G + 1] and starting at 0: rows and positives."""

    mass: Floats
    positive: Floats


def curve(label: ArrayLike, score: ArrayLike) -> Curve:
    """The curve of label [N] and score [N], every row counting once."""
    label_N, score_N = known_pairs(label, score)
    rows_N, ends_G = rank(score_N)
    positive_N = np.cumsum(label_N[rows_N])
    return Curve(np.append(0.0, ends_G + 1.0), np.append(0.0, positive_N[ends_G]))


@dataclass(frozen=True)
class Ranked:
    """Of each weighting, from the highest score down: totals and areas [R], and sums over the top of its mass.

    Labels are 0 and 1 but where `area` and bins alone are read: there they are any amounts, of money for one.
    """

    mass: Floats  # [R]: rows
    gain: Floats  # [R]: labels
    area: Floats  # [R]: under gain against mass, by the trapezoidal rule
    hit: Floats  # [R]: precision at each positive, summed
    miss: Floats  # [R]: precision at each negative, from the lowest score up, summed
    top: Floats  # [R, T]: labels in the top fractions, ties in proportion
    bin_gain: Floats  # [R, K]: labels in bins of equal mass, from high to low scores
    bin_score: Floats  # [R, K]: scores there

    def auroc(self) -> Floats:
        """[R]: probability that a positive is scored above a negative, ties count half."""
        return divide(self.area - self.gain**2 / 2, self.gain * (self.mass - self.gain))

    def auprc(self) -> Floats:
        """[R]: average precision, the step-wise area of scikit-learn."""
        return divide(self.hit, self.gain)

    def auprc_stay(self) -> Floats:
        """[R]: average precision of the negatives, ranked by 1 − score."""
        return divide(self.miss, self.mass - self.gain)

    def recall(self) -> Floats:
        """[R, T]: share of the positives in each top fraction, expected when ties are broken at random."""
        return divide(self.top, self.gain[:, None])

    def bins(self) -> tuple[Floats, Floats]:
        """(mean score, rate) of the bins, each [R, K], from high to low scores."""
        width_R1 = self.mass[:, None] / max(self.bin_gain.shape[1], 1)
        return divide(self.bin_score, width_R1), divide(self.bin_gain, width_R1)

    def ece(self) -> Floats:
        """[R]: mean over the bins of |mean score − rate|."""
        score_RK, rate_RK = self.bins()
        return np.abs(score_RK - rate_RK).mean(axis=1)


class Ranking:
    """Rows from the highest score down, for any weighting of the customers whose `code` they carry (None: of rows)."""

    def __init__(self, label: ArrayLike, score: ArrayLike, code: ArrayLike | None = None) -> None:
        label_N, score_N = known_pairs(label, score)
        rows_N, ends_G = rank(score_N)
        self.rows_N, self.label_N, self.score_N = rows_N, label_N[rows_N], score_N[rows_N]
        self.code_N = rows_N if code is None else np.asarray(code, dtype=np.int64)[rows_N]
        self.last_N = np.zeros(len(rows_N), dtype=np.bool_)
        self.last_N[ends_G] = True
        totals = [np.bincount(self.code_N, weights=part_N) for part_N in (np.ones(len(rows_N)), self.label_N)]
        self.all_C2 = np.stack(totals, axis=1)  # rows and labels a customer

    def __call__(self, weight: ArrayLike | None = None, *, bins: int = 0, tops: Sequence[float] = ()) -> Ranked:
        """Under `weight` [R, C] or [C], of customers (or rows); None: each counts once. `tops`: fractions in [0, 1]."""
        num = len(self.all_C2)
        weight_RC = np.ascontiguousarray(np.ones((1, num)) if weight is None else np.atleast_2d(weight), np.float64)
        fraction_F = np.concatenate([np.arange(1, bins + 1) / max(bins, 1), np.asarray(tops, dtype=np.float64)])
        order_F = np.argsort(fraction_F, kind="stable")
        all_R2 = weight_RC[:, :num] @ self.all_C2
        order = (self.label_N, self.score_N, self.code_N, self.last_N)
        total_R3, found_RF2 = _passes(*order, weight_RC, all_R2, fraction_F[order_F])
        sum_RF2 = np.empty_like(found_RF2)
        sum_RF2[:, order_F] = found_RF2
        gain_RK, score_RK = (np.diff(sum_RF2[:, :bins, part], prepend=0.0) for part in (0, 1))
        mass_R, gain_R, (area_R, hit_R, miss_R) = all_R2[:, 0], all_R2[:, 1], total_R3.T
        return Ranked(mass_R, gain_R, area_R, hit_R, miss_R, sum_RF2[:, bins:, 0], gain_RK, score_RK)


def rank_correlation(one: Ranking, other: Ranking, weight_RC: Floats) -> Floats:
    """[R]: Spearman's correlation of two rankings of the same rows, mid-ranks for ties; NaN where one is constant."""
    weight_RC = np.ascontiguousarray(weight_RC, dtype=np.float64)
    first, second = ((each.rows_N, each.code_N, each.last_N) for each in (one, other))
    covariance_R, variance_R, other_R = _covariances(*first, *second, weight_RC).T
    square_R = variance_R * other_R
    return divide(covariance_R, np.sqrt(square_R))


def known_pairs(label: ArrayLike, score: ArrayLike) -> tuple[Floats, Floats]:
    """Labels and scores as arrays [N]; ValueError unless there is a known label a score."""
    label_N, score_N = np.asarray(label, dtype=np.float64), np.asarray(score, dtype=np.float64)
    if label_N.shape != score_N.shape or label_N.ndim != 1:
        raise UserError(f"metrics need one label a score, got labels {label_N.shape} and scores {score_N.shape}")
    if np.isnan(label_N).any():
        raise UserError(
            f"metrics need matured labels, got {int(np.isnan(label_N).sum())} censored; drop those rows first"
        )
    return label_N, score_N


def rank(score: ArrayLike) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Rows [N] from the highest score down, and the position [G] of the last row of each distinct score."""
    score_N = np.asarray(score, dtype=np.float64)
    if np.isnan(score_N).any():
        raise UserError(
            f"scores must be numbers, got {int(np.isnan(score_N).sum())} NaN of {len(score_N)}; drop those rows first"
        )
    rows_N = np.argsort(-score_N, kind="stable")
    is_end_N = np.append(np.diff(score_N[rows_N]) != 0, True)[: len(rows_N)]
    return rows_N, np.flatnonzero(is_end_N)


def divide(a: Floats, b: Floats, empty: float = np.nan) -> Floats:
    a, b = np.broadcast_arrays(a, b)
    return np.divide(a, b, out=np.full(a.shape, empty), where=b > 0)


@_compiled
def _passes(
    label_N: Floats,
    score_N: Floats,
    code_N: NDArray[np.int64],
    last_N: NDArray[np.bool_],
    weight_RC: Floats,
    all_R2: Floats,
    fraction_F: Floats,
) -> tuple[Floats, Floats]:
    """[R, 3]: area, hit and miss of `Ranked`; [R, F, 2]: labels and scores summed over the top fractions, rising."""
    num_weightings, num_fractions = len(weight_RC), len(fraction_F)
    total_R3 = np.zeros((num_weightings, 3))
    sum_RF2 = np.zeros((num_weightings, num_fractions, 2))
    for r in range(num_weightings):
        all_mass, all_gain = all_R2[r]
        mass, gain, score, area, hit, miss = 0.0, 0.0, 0.0, 0.0, 0.0, 0.0
        step_mass, step_gain, step_score = 0.0, 0.0, 0.0  # of the rows with the present score
        k = 0
        for n in range(len(code_N)):
            weight = weight_RC[r, code_N[n]]
            step_mass += weight
            step_gain += weight * label_N[n]
            step_score += weight * score_N[n]
            if not last_N[n] or step_mass == 0.0:
                continue
            area += step_mass * (gain + step_gain / 2)
            hit += step_gain * (gain + step_gain) / (mass + step_mass)
            miss += (step_mass - step_gain) * (1 - (all_gain - gain) / (all_mass - mass))
            while k < num_fractions and fraction_F[k] * all_mass <= mass + step_mass:
                part = (fraction_F[k] * all_mass - mass) / step_mass
                sum_RF2[r, k, 0] = gain + part * step_gain
                sum_RF2[r, k, 1] = score + part * step_score
                k += 1
            mass, gain, score = mass + step_mass, gain + step_gain, score + step_score
            step_mass, step_gain, step_score = 0.0, 0.0, 0.0
        while k < num_fractions:  # the last of them, where fractions of a sum are a hair above it
            sum_RF2[r, k, 0], sum_RF2[r, k, 1] = gain, score
            k += 1
        total_R3[r] = area, hit, miss
    return total_R3, sum_RF2


@_compiled
def _mid_ranks(
    rows_N: NDArray[np.int64], code_N: NDArray[np.int64], last_N: NDArray[np.bool_], weight_C: Floats, rank_N: Floats
) -> float:
    """Write the mean position of each row's step, rows repeated by their weight, into `rank_N`; returns the mass."""
    mass, step, first = 0.0, 0.0, 0
    for n in range(len(rows_N)):
        step += weight_C[code_N[n]]
        if last_N[n]:
            for place in range(first, n + 1):
                rank_N[rows_N[place]] = mass + step / 2
            mass, step, first = mass + step, 0.0, n + 1
    return mass


@_compiled
def _covariances(
    rows_N: NDArray[np.int64],
    code_N: NDArray[np.int64],
    last_N: NDArray[np.bool_],
    other_rows_N: NDArray[np.int64],
    other_code_N: NDArray[np.int64],
    other_last_N: NDArray[np.bool_],
    weight_RC: Floats,
) -> Floats:
    """[R, 3]: covariance of the mid-ranks of two rankings, and the variance of each; all times the mass."""
    found_R3 = np.zeros((len(weight_RC), 3))
    one_N, other_N = np.empty(len(rows_N)), np.empty(len(rows_N))
    for r in range(len(weight_RC)):
        mean = _mid_ranks(rows_N, code_N, last_N, weight_RC[r], one_N) / 2  # positions of all lie around their middle
        _mid_ranks(other_rows_N, other_code_N, other_last_N, weight_RC[r], other_N)
        for n in range(len(rows_N)):
            row, weight = rows_N[n], weight_RC[r, code_N[n]]
            one, other = one_N[row] - mean, other_N[row] - mean
            found_R3[r, 0] += weight * one * other
            found_R3[r, 1] += weight * one * one
            found_R3[r, 2] += weight * other * other
    return found_R3
