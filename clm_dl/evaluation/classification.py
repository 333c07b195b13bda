"""Binary metrics on (label, score), tie-safe and weighted.

Undefined (no rows, or a class is missing) is NaN, never an exception or a warning.

Shapes: N rows (snapshots).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from clm_dl.errors import UserError
from clm_dl.evaluation.ranked import Ranked, Ranking, known_pairs

Floats = NDArray[np.float64]
EPS = float(np.finfo(np.float64).eps)  # scores are clipped to [EPS, 1 − EPS] in the log loss, as scikit-learn does


def auroc(label: ArrayLike, score: ArrayLike, weight: ArrayLike | None = None) -> float:
    """Area under the ROC curve in [0, 1], ties half; NaN when a class is missing."""
    return float(_ranked(label, score, weight).auroc()[0])


def auprc(label: ArrayLike, score: ArrayLike, weight: ArrayLike | None = None) -> float:
    """Average precision of the positives in [0, 1]; a constant score gives the prevalence; NaN without positives."""
    return float(_ranked(label, score, weight).auprc()[0])


def auprc_stay(label: ArrayLike, score: ArrayLike, weight: ArrayLike | None = None) -> float:
    """Average precision of the negatives ("stays") ranked by 1 − score; NaN without negatives."""
    return float(_ranked(label, score, weight).auprc_stay()[0])


def lift_at_k(label: ArrayLike, score: ArrayLike, k: float = 0.1, weight: ArrayLike | None = None) -> float:
    """Rate among the top fraction k over the overall rate, expected over ties; at most `lift_ceiling`."""
    return recall_at_k(label, score, k, weight) / k


def recall_at_k(label: ArrayLike, score: ArrayLike, k: float = 0.1, weight: ArrayLike | None = None) -> float:
    """Share of the positives in the top fraction k (0 < k ≤ 1), expected over ties."""
    if not 0 < k <= 1:
        raise UserError(f"k must be a fraction in (0, 1], got {k}; write 0.1 for the top 10 %")
    return float(_ranked(label, score, weight, k).recall()[0, 0])


def lift_ceiling(prevalence: float, k: float = 0.1) -> float:
    """The lift of a perfect ranking: min(1 / prevalence, 1 / k); NaN without positives."""
    return min(1 / prevalence, 1 / k) if prevalence > 0 else float("nan")


def log_loss(label: ArrayLike, score: ArrayLike, weight: ArrayLike | None = None) -> float:
    """Mean cross entropy in nats."""
    return _mean(log_loss_terms(*known_pairs(label, score)), weight)


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
    label_N, score_N = known_pairs(label, score)
    weight_N = np.ones_like(label_N) if weight is None else np.asarray(weight, dtype=np.float64)
    named_N = score_N >= threshold
    return Confusion(*(float(weight_N @ cell) for cell in confusion_cells(label_N, named_N)))


def confusion_cells(label_N: Floats, named_N: NDArray[np.bool_]) -> tuple[Floats, Floats, Floats, Floats]:
    """Indicator rows of the four cells, in the order of `Confusion`'s arguments."""
    return label_N * named_N, (1 - label_N) * named_N, label_N * ~named_N, (1 - label_N) * ~named_N


def _ranked(label: ArrayLike, score: ArrayLike, weight: ArrayLike | None, *tops: float) -> Ranked:
    return Ranking(*known_pairs(label, score))(weight, tops=tops)


def _ratio(a: float, b: float) -> float:
    return a / b if b > 0 else float("nan")


def _mean(value_N: Floats, weight: ArrayLike | None) -> float:
    weight_N = np.ones_like(value_N) if weight is None else np.asarray(weight, dtype=np.float64)
    return _ratio(float(value_N @ weight_N), float(weight_N.sum()))
