"""Bootstrap by customer: every metric of every model on the same seeded resamples, so that differences are paired.

A resample draws customers with replacement and each brings all its snapshots, which equals weighting the snapshots by
how often their customer was drawn. Percentile intervals of 95 %. The interval of a biased metric need not hold its
value: resampling adds noise, so the ECE of a resample is larger than the ECE of the sample.

Shapes: N snapshots, C customers, R resamples, M models, K metrics.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import ArrayLike, NDArray

Floats = NDArray[np.float64]
LEVEL = 0.95
BLOCK = 100_000  # weights held at once: a block of resamples × snapshots that stays in cache


@dataclass(frozen=True)
class Measure:
    """Every figure of every model for any weighting of the customers.

    Attributes:
        values: weight_RC -> figures [R, M, K], NaN where undefined.
        num_rows: what a block of resamples is sized by.
        fixed: further figures of the sample that are not resampled, name -> [M].
    """

    models: tuple[str, ...]
    metrics: tuple[str, ...]
    values: Callable[[Floats], Floats]
    num_customers: int
    num_rows: int
    fixed: Mapping[str, Floats] = field(default_factory=dict)


@dataclass(frozen=True)
class Bootstrap:
    """`value` [M, K] on the sample and `resampled` [R, M, K] on the resamples; names in `models` and `metrics`."""

    models: tuple[str, ...]
    metrics: tuple[str, ...]
    value: Floats
    resampled: Floats

    def interval(self, model: str, metric: str) -> dict[str, float]:
        """{"value", "low", "high"} of one metric; NaN where the metric is undefined."""
        m, k = self.models.index(model), self.metrics.index(metric)
        return interval(self.value[m, k], self.resampled[:, m, k])

    def difference(self, model: str, other: str, metric: str) -> dict[str, float]:
        """The paired interval of `model` minus `other`."""
        return interval(*self._difference(model, other, metric))

    def intervals(self) -> dict[str, dict[str, dict[str, float]]]:
        """model -> metric -> interval."""
        return {model: {metric: self.interval(model, metric) for metric in self.metrics} for model in self.models}

    def values(self) -> dict[str, dict[str, dict[str, float]]]:
        """model -> metric -> {"value"}: without an interval."""
        rows = [dict(zip(self.metrics, row.tolist(), strict=True)) for row in self.value]
        return {
            model: {name: {"value": value} for name, value in row.items()}
            for model, row in zip(self.models, rows, strict=True)
        }

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


def bootstrap(measure: Measure, *, resamples: int, seed: int = 0) -> Bootstrap:
    """The figures of `measure` on the sample and on `resamples` resamples of its customers.

    The same seed and customers give the same resamples whatever the models; `resamples=0` gives the values only.
    """
    shape, num = (len(measure.models), len(measure.metrics)), measure.num_customers
    value, resampled = np.full(shape, np.nan), np.full((resamples, *shape), np.nan)
    if num and measure.models:
        value = measure.values(np.ones((1, num)))[0]
        rng, block = np.random.default_rng(seed), max(1, BLOCK // max(1, measure.num_rows))
        for start in range(0, resamples, block):
            weight_RC = draw(rng, min(block, resamples - start), num)
            resampled[start : start + block] = measure.values(weight_RC)
    fixed_MK = np.array(list(measure.fixed.values())).reshape(len(measure.fixed), shape[0]).T
    without = np.full((resamples, *fixed_MK.shape), np.nan)
    return Bootstrap(
        measure.models,
        (*measure.metrics, *measure.fixed),
        np.concatenate([value, fixed_MK], axis=1),
        np.concatenate([resampled, without], axis=2),
    )


def draw(rng: np.random.Generator, num: int, num_customers: int) -> Floats:
    """[num, C]: how often each customer was drawn; rows are drawn one after the other, so blocks do not change them."""
    drawn = [np.bincount(rng.integers(num_customers, size=num_customers), minlength=num_customers) for _ in range(num)]
    return np.array(drawn, dtype=np.float64)


def customer_codes(customer: ArrayLike) -> tuple[NDArray[np.int64], int]:
    """Codes [N] from 0 on of customers [N] with any ids, and their number C."""
    code_N = np.unique(np.asarray(customer), return_inverse=True)[1]
    return code_N, int(code_N.max()) + 1 if len(code_N) else 0


def interval(value: float, resampled_R: Floats) -> dict[str, float]:
    """{"value", "low", "high"} of a figure and what it is on the resamples; NaN where undefined."""
    defined_R = resampled_R[~np.isnan(resampled_R)]
    if np.isnan(value) or len(defined_R) == 0:
        return {"value": float(value), "low": float("nan"), "high": float("nan")}
    low, high = np.quantile(defined_R, [(1 - LEVEL) / 2, (1 + LEVEL) / 2])
    return {"value": float(value), "low": float(low), "high": float(high)}
