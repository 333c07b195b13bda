"""Bootstrap by customer: every metric of every model on the same seeded resamples, so that differences are paired.

A resample draws customers with replacement and each brings all its snapshots, which equals weighting the snapshots by
how often their customer was drawn. Percentile intervals of 95 %. The interval of a biased metric need not hold its
value: resampling adds noise, so the ECE of a resample is larger than the ECE of the sample.

Shapes: N snapshots, C customers, R resamples, M models, K metrics.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from clm_dl.evaluation.classification import Confusion, accumulate, confusion_cells, log_loss_terms, rank

Floats = NDArray[np.float64]
METRICS = (
    "auroc",
    "auprc",
    "auprc_stay",
    "log_loss",
    "brier",
    "ece",
    "lift@10",
    "recall@10",
    "accuracy",
    "f1",
    "precision",
    "recall",
)
LEVEL = 0.95
BLOCK = 100_000  # weights held at once: a block of resamples × snapshots that stays in cache


@dataclass(frozen=True)
class Bootstrap:
    """`value` [M, K] on the sample and `resampled` [R, M, K] on the resamples; names in `models` and `metrics`."""

    models: tuple[str, ...]
    value: Floats
    resampled: Floats
    metrics: tuple[str, ...] = METRICS

    def interval(self, model: str, metric: str) -> dict[str, float]:
        """{"value", "low", "high"} of one metric; NaN where the metric is undefined."""
        m, k = self.models.index(model), self.metrics.index(metric)
        return _interval(self.value[m, k], self.resampled[:, m, k])

    def difference(self, model: str, other: str, metric: str) -> dict[str, float]:
        """The paired interval of `model` minus `other`."""
        return _interval(*self._difference(model, other, metric))

    def intervals(self) -> dict[str, dict[str, dict[str, float]]]:
        """model -> metric -> interval."""
        return {model: {metric: self.interval(model, metric) for metric in self.metrics} for model in self.models}

    def values(self) -> dict[str, dict[str, dict[str, float]]]:
        """model -> metric -> {"value"}: without an interval."""
        values = (
            {metric: {"value": float(value)} for metric, value in zip(self.metrics, row, strict=True)}
            for row in self.value
        )
        return dict(zip(self.models, values, strict=True))

    def differences(self, *leaders: str) -> dict[str, dict[str, dict[str, float]]]:
        """ "leader - other" -> metric -> paired interval: each leader minus every other model."""
        pairs = [(leader, other) for leader in leaders for other in self.models if other != leader]
        return {
            f"{one} - {other}": {metric: self.difference(one, other, metric) for metric in self.metrics}
            for one, other in pairs
        }

    def difference_error(self, model: str, other: str, metric: str) -> float:
        """Standard error of the paired difference: the standard deviation over resamples; NaN with fewer than 2."""
        resampled_R = self._difference(model, other, metric)[1]
        resampled_R = resampled_R[~np.isnan(resampled_R)]
        return float(resampled_R.std(ddof=1)) if len(resampled_R) > 1 else float("nan")

    def _difference(self, model: str, other: str, metric: str) -> tuple[float, Floats]:
        a, b, k = self.models.index(model), self.models.index(other), self.metrics.index(metric)
        return self.value[a, k] - self.value[b, k], self.resampled[:, a, k] - self.resampled[:, b, k]


def bootstrap(
    customer: ArrayLike,
    label: ArrayLike,
    scores: Mapping[str, ArrayLike],
    *,
    resamples: int = 1000,
    seed: int = 0,
    threshold: float = 0.5,
) -> Bootstrap:
    """Metrics of `scores` (model -> probabilities [N]) for `label` [N] in {0, 1}, resampled by `customer` [N] (any
    ids).

    The same seed and customers give the same resamples whatever the models. `resamples=0` computes the values only.
    """
    code_N = np.unique(np.asarray(customer), return_inverse=True)[1]
    num_customers = int(code_N.max()) + 1 if len(code_N) else 0
    label_N = np.asarray(label, dtype=np.float64)
    plans = [
        _Plan.of(label_N, np.asarray(score, dtype=np.float64), code_N, num_customers, threshold)
        for score in scores.values()
    ]
    value = np.array([plan.metrics(np.ones((1, num_customers)))[0] for plan in plans]).reshape(len(plans), len(METRICS))
    resampled = np.full((resamples, len(plans), len(METRICS)), np.nan)
    rng = np.random.default_rng(seed)
    block = max(1, BLOCK // max(1, len(label_N)))
    for start in range(0, resamples if num_customers else 0, block):
        weight_RC = draw(rng, min(block, resamples - start), num_customers)
        for m, plan in enumerate(plans):
            resampled[start : start + block, m] = plan.metrics(weight_RC)
    return Bootstrap(tuple(scores), value, resampled)


def draw(rng: np.random.Generator, num: int, num_customers: int) -> Floats:
    """[num, C]: how often each customer was drawn; rows are drawn one after the other, so blocks do not change them."""
    drawn = [np.bincount(rng.integers(num_customers, size=num_customers), minlength=num_customers) for _ in range(num)]
    return np.array(drawn, dtype=np.float64)


@dataclass(frozen=True)
class _Plan:
    """What one model's metrics need for any weighting of customers: its ranking, and sums of per-row terms by customer."""

    label_N: Floats  # this and the next two in the order of the ranking
    score_N: Floats
    code_N: NDArray[np.int64]
    ends_G: NDArray[np.int64]
    terms_C7: Floats  # rows, log loss, squared error, four cells of the confusion

    @classmethod
    def of(
        cls, label_N: Floats, score_N: Floats, code_N: NDArray[np.int64], num_customers: int, threshold: float
    ) -> _Plan:
        cells = confusion_cells(label_N, score_N >= threshold)
        terms = (np.ones_like(label_N), log_loss_terms(label_N, score_N), (label_N - score_N) ** 2, *cells)
        sums = [np.bincount(code_N, weights=term, minlength=num_customers) for term in terms]
        order = rank(score_N)
        rows_N = order.rows_N
        return cls(label_N[rows_N], score_N[rows_N], code_N[rows_N], order.ends_G, np.column_stack(sums))

    def metrics(self, weight_RC: Floats) -> Floats:
        """[R, C] -> [R, K] in the order of METRICS."""
        curve = accumulate(
            self.label_N, self.score_N, self.ends_G, np.take(weight_RC, self.code_N, axis=1, mode="clip")
        )
        rows_R, log_loss_R, squared_R, *cells = (weight_RC @ self.terms_C7).T
        recall10_R = curve.recall_at(0.1)
        with np.errstate(invalid="ignore", divide="ignore"):
            log_loss_R, brier_R = log_loss_R / rows_R, squared_R / rows_R
            ratios = [_ratios(Confusion(*row)) for row in np.array(cells).T.tolist()]
        accuracy_R, f1_R, precision_R, recall_R = np.array(ratios).T
        ranked = (
            curve.auroc(),
            curve.auprc(),
            curve.auprc_stay(),
            log_loss_R,
            brier_R,
            curve.ece(15),
            recall10_R / 0.1,
            recall10_R,
        )
        return np.column_stack([*ranked, accuracy_R, f1_R, precision_R, recall_R])


def _ratios(cells: Confusion) -> tuple[float, float, float, float]:
    return cells.accuracy, cells.f1, cells.precision, cells.recall


def _interval(value: float, resampled_R: Floats) -> dict[str, float]:
    defined_R = resampled_R[~np.isnan(resampled_R)]
    if np.isnan(value) or len(defined_R) == 0:
        return {"value": float(value), "low": float("nan"), "high": float("nan")}
    low, high = np.quantile(defined_R, [(1 - LEVEL) / 2, (1 + LEVEL) / 2])
    return {"value": float(value), "low": float(low), "high": float(high)}
