"""Binary metrics on (label, score), tie-safe and weighted, for one weighting or for R bootstrap weightings at once.

Everything that depends on rank is read off one object: the cumulative curve from the highest score down.
Rows with equal scores form one step of it, so no metric depends on the order of rows.
Undefined (no rows, or a class is missing) is NaN, never an exception or a warning.

Shapes: N rows (snapshots), R weightings, G distinct scores, K bins or points.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from clm_dl.errors import UserError

Floats = NDArray[np.float64]
EPS = float(np.finfo(np.float64).eps)  # scores are clipped to [EPS, 1 − EPS] in the log loss, as scikit-learn does


@dataclass(frozen=True)
class Order:
    """Rows from the highest score down: `rows_N`, and `ends_G`, the position of the last row of each distinct score."""

    rows_N: NDArray[np.int64]
    ends_G: NDArray[np.int64]


@dataclass(frozen=True)
class Curve:
    """Running totals down the ranking, each [R, G + 1] and starting at 0: rows, positives and the sum of scores."""

    mass: Floats
    positive: Floats
    score: Floats

    def auroc(self) -> Floats:
        """[R]: probability that a positive is scored above a negative, ties count half."""
        negative = self.mass - self.positive
        area = np.einsum("rg,rg->r", np.diff(negative), self.positive[:, 1:] + self.positive[:, :-1]) / 2
        return divide(area, self.positive[:, -1] * negative[:, -1])

    def auprc(self) -> Floats:
        """[R]: average precision, the step-wise area of scikit-learn."""
        precision = divide(self.positive[:, 1:], self.mass[:, 1:], empty=0.0)
        return divide(np.einsum("rg,rg->r", np.diff(self.positive), precision), self.positive[:, -1])

    def auprc_stay(self) -> Floats:
        """[R]: average precision of the negatives, ranked by 1 − score."""
        negative = self.mass - self.positive
        below = negative[:, -1:] - negative[:, :-1]
        precision = divide(below, self.mass[:, -1:] - self.mass[:, :-1], empty=0.0)
        return divide(np.einsum("rg,rg->r", np.diff(negative), precision), negative[:, -1])

    def positives_in_top(self, fraction: float) -> Floats:
        """[R]: positives expected in the top `fraction` when ties are broken at random."""
        return interpolate(self.mass, self.positive, np.array([fraction]))[:, 0]

    def recall_at(self, fraction: float) -> Floats:
        return divide(self.positives_in_top(fraction), self.positive[:, -1])

    def bins(self, num: int) -> tuple[Floats, Floats]:
        """(mean score, rate) of `num` bins of equal mass, each [R, num], from high to low scores."""
        at_K = np.arange(num + 1) / num
        width = self.mass[:, -1:] / num
        score_RK = np.diff(interpolate(self.mass, self.score, at_K))
        positive_RK = np.diff(interpolate(self.mass, self.positive, at_K))
        return divide(score_RK, width), divide(positive_RK, width)

    def ece(self, num: int) -> Floats:
        score_RK, rate_RK = self.bins(num)
        return np.abs(score_RK - rate_RK).mean(axis=1)


def rank(score: ArrayLike) -> Order:
    """The order of `score` [N], highest first."""
    score_N = np.asarray(score, dtype=np.float64)
    if np.isnan(score_N).any():
        raise UserError(
            f"scores must be numbers, got {int(np.isnan(score_N).sum())} NaN of {len(score_N)}; drop those rows first"
        )
    rows_N = np.argsort(-score_N, kind="stable")
    is_end_N = np.append(np.diff(score_N[rows_N]) != 0, True)[: len(rows_N)]
    return Order(rows_N, np.flatnonzero(is_end_N))


def cumulate(label: ArrayLike, score: ArrayLike, order: Order, weight: ArrayLike | None = None) -> Curve:
    """The curve of label [N] in {0, 1} and score [N] under weight [R, N], [N] or None (every row once, R = 1)."""
    label_N, score_N = _arrays(label, score)
    weight_RN = np.ones((1, len(label_N))) if weight is None else np.atleast_2d(np.asarray(weight, dtype=np.float64))
    rows_N = order.rows_N
    return accumulate(label_N[rows_N], score_N[rows_N], order.ends_G, np.take(weight_RN, rows_N, axis=1))


def accumulate(label_N: Floats, score_N: Floats, ends_G: NDArray[np.int64], weight_RN: Floats) -> Curve:
    """`cumulate` for rows that are already in the order of `rank`."""
    return Curve(*(_running(part, ends_G) for part in (weight_RN, weight_RN * label_N, weight_RN * score_N)))


def auroc(label: ArrayLike, score: ArrayLike, weight: ArrayLike | None = None) -> float:
    """Area under the ROC curve in [0, 1], ties half; NaN when a class is missing."""
    return float(cumulate(label, score, rank(score), weight).auroc()[0])


def auprc(label: ArrayLike, score: ArrayLike, weight: ArrayLike | None = None) -> float:
    """Average precision of the positives in [0, 1]; a constant score gives the prevalence; NaN without positives."""
    return float(cumulate(label, score, rank(score), weight).auprc()[0])


def auprc_stay(label: ArrayLike, score: ArrayLike, weight: ArrayLike | None = None) -> float:
    """Average precision of the negatives ("stays") ranked by 1 − score; NaN without negatives."""
    return float(cumulate(label, score, rank(score), weight).auprc_stay()[0])


def lift_at_k(label: ArrayLike, score: ArrayLike, k: float = 0.1, weight: ArrayLike | None = None) -> float:
    """Rate among the top fraction k over the overall rate, expected over ties; at most `lift_ceiling`."""
    return recall_at_k(label, score, k, weight) / k


def recall_at_k(label: ArrayLike, score: ArrayLike, k: float = 0.1, weight: ArrayLike | None = None) -> float:
    """Share of the positives in the top fraction k (0 < k ≤ 1), expected over ties."""
    if not 0 < k <= 1:
        raise UserError(f"k must be a fraction in (0, 1], got {k}; write 0.1 for the top 10 %")
    return float(cumulate(label, score, rank(score), weight).recall_at(k)[0])


def lift_ceiling(prevalence: float, k: float = 0.1) -> float:
    """The lift of a perfect ranking: min(1 / prevalence, 1 / k); NaN without positives."""
    return min(1 / prevalence, 1 / k) if prevalence > 0 else float("nan")


def log_loss(label: ArrayLike, score: ArrayLike, weight: ArrayLike | None = None) -> float:
    """Mean cross entropy in nats."""
    return _mean(log_loss_terms(*_arrays(label, score)), weight)


def log_loss_terms(label_N: Floats, score_N: Floats) -> Floats:
    clipped_N = np.clip(score_N, EPS, 1 - EPS)
    return -(label_N * np.log(clipped_N) + (1 - label_N) * np.log1p(-clipped_N))


def majority_floor(label: ArrayLike) -> float:
    """The accuracy of always naming the larger class."""
    rate = _mean(np.asarray(label, dtype=np.float64), None)
    return max(rate, 1 - rate)


@dataclass(frozen=True)
class Confusion:
    """Rows (or weights) by label and decision `score >= threshold`; ratios are NaN where undefined. Arrays work too."""

    true_positive: float
    false_positive: float
    false_negative: float
    true_negative: float

    @property
    def accuracy(self) -> float:
        right = self.true_positive + self.true_negative
        return _ratio(right, right + self.false_positive + self.false_negative)

    @property
    def precision(self) -> float:
        return _ratio(self.true_positive, self.true_positive + self.false_positive)

    @property
    def recall(self) -> float:
        return _ratio(self.true_positive, self.true_positive + self.false_negative)

    @property
    def f1(self) -> float:
        return _ratio(2 * self.true_positive, 2 * self.true_positive + self.false_positive + self.false_negative)


def confusion(label: ArrayLike, score: ArrayLike, threshold: float = 0.5, weight: ArrayLike | None = None) -> Confusion:
    """The confusion at `score >= threshold`; accuracy, precision, recall and f1 are its attributes."""
    label_N, score_N = _arrays(label, score)
    weight_N = np.ones_like(label_N) if weight is None else np.asarray(weight, dtype=np.float64)
    named_N = score_N >= threshold
    return Confusion(*(float(weight_N @ cell) for cell in confusion_cells(label_N, named_N)))


def confusion_cells(label_N: Floats, named_N: NDArray[np.bool_]) -> tuple[Floats, Floats, Floats, Floats]:
    """Indicator rows of the four cells, in the order of `Confusion`'s arguments."""
    return label_N * named_N, (1 - label_N) * named_N, label_N * ~named_N, (1 - label_N) * ~named_N


def _arrays(label: ArrayLike, score: ArrayLike) -> tuple[Floats, Floats]:
    label_N, score_N = np.asarray(label, dtype=np.float64), np.asarray(score, dtype=np.float64)
    if label_N.shape != score_N.shape or label_N.ndim != 1:
        raise UserError(f"metrics need one label a score, got labels {label_N.shape} and scores {score_N.shape}")
    if np.isnan(label_N).any():
        raise UserError(
            f"metrics need matured labels, got {int(np.isnan(label_N).sum())} censored; drop those rows first"
        )
    return label_N, score_N


def _running(value_RN: Floats, ends_G: NDArray[np.int64]) -> Floats:
    """[R, N] -> [R, G + 1]: running totals at the ends of the groups, with a leading 0."""
    total = np.zeros((value_RN.shape[0], len(ends_G) + 1))
    if len(ends_G) == value_RN.shape[1]:
        np.cumsum(value_RN, axis=1, out=total[:, 1:])
    else:
        total[:, 1:] = np.take(np.cumsum(value_RN, axis=1), ends_G, axis=1)
    return total


def interpolate(mass_RG: Floats, value_RG: Floats, fraction_K: Floats) -> Floats:
    """[R, K]: each row's value at the given fractions of that row's total mass."""
    return np.stack(
        [np.interp(fraction_K * mass_G[-1], mass_G, value_G) for mass_G, value_G in zip(mass_RG, value_RG, strict=True)]
    )


def divide(a: Floats, b: Floats, empty: float = np.nan) -> Floats:
    a, b = np.broadcast_arrays(a, b)
    return np.divide(a, b, out=np.full(a.shape, empty), where=b > 0)


def _ratio(a: float, b: float) -> float:
    return a / b if b > 0 else float("nan")


def _mean(value_N: Floats, weight: ArrayLike | None) -> float:
    weight_N = np.ones_like(value_N) if weight is None else np.asarray(weight, dtype=np.float64)
    return _ratio(float(value_N @ weight_N), float(weight_N.sum()))
