"""Bootstrap by customer: every metric of every model on the same seeded resamples, so that differences are paired.

A resample draws customers with replacement and each brings all its snapshots, which equals weighting the snapshots by
how often their customer was drawn. Intervals of 95 % are bias-corrected percentiles (Efron 1981).

A distance (ECE, decile MAPE: a mean of absolute errors of groups) is larger the noisier its groups are, and a resample
is noisier than the sample by as much as the sample is noisier than the truth. Noise adds to the squares of errors, so
there the interval is the basic one of the squares: a draw is √(2 value² − resampled²), whose percentiles are the ends,
and the difference of two distances is that of their draws. experiments/intervals says how often these hold the truth.

An interval always holds its value: where the correction leads past it, it ends there.

Shapes: N snapshots, C customers, R resamples, M models, K metrics.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import cached_property

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.special import ndtr, ndtri

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
        distances: names of those of the metrics that noise makes larger.
        each: `values` of each model alone, [R, K], where that is how they are worked out.
    """

    models: tuple[str, ...]
    metrics: tuple[str, ...]
    values: Callable[[Floats], Floats]
    num_customers: int
    num_rows: int
    fixed: Mapping[str, Floats] = field(default_factory=dict)
    distances: frozenset[str] = frozenset()
    each: Mapping[str, Callable[[Floats], Floats]] = field(default_factory=dict)


@dataclass(frozen=True)
class Bootstrap:
    """`value` [M, K] on the sample and `resampled` [R, M, K] on the resamples; names in `models` and `metrics`, of
    which `distances` are larger on resamples.
    """

    models: tuple[str, ...]
    metrics: tuple[str, ...]
    value: Floats
    resampled: Floats
    distances: frozenset[str] = frozenset()

    @cached_property
    def draws(self) -> Floats:
        """[R, M, K]: the resamples, of distances without the noise that resampling adds."""
        if not self.distances:
            return self.resampled
        corrected_K = np.array([metric in self.distances for metric in self.metrics])
        square = 2 * self.value[:, corrected_K] ** 2 - self.resampled[:, :, corrected_K] ** 2
        draws = self.resampled.copy()
        draws[:, :, corrected_K] = np.sqrt(np.maximum(square, 0.0))
        return draws

    def interval(self, model: str, metric: str) -> dict[str, float]:
        """{"value", "low", "high"} of one metric; NaN where the metric is undefined."""
        m, k = self.models.index(model), self.metrics.index(metric)
        return interval(self.value[m, k], self.draws[:, m, k], corrected=metric in self.distances)

    def difference(self, model: str, other: str, metric: str) -> dict[str, float]:
        """The paired interval of `model` minus `other`."""
        a, b, k = self.models.index(model), self.models.index(other), self.metrics.index(metric)
        draws_R = self.draws[:, a, k] - self.draws[:, b, k]
        return interval(self.value[a, k] - self.value[b, k], draws_R, corrected=metric in self.distances)

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
        a, b, k = self.models.index(model), self.models.index(other), self.metrics.index(metric)
        resampled_R = self.resampled[:, a, k] - self.resampled[:, b, k]
        resampled_R = resampled_R[~np.isnan(resampled_R)]
        return float(resampled_R.std(ddof=1)) if len(resampled_R) > 1 else float("nan")


def bootstrap(
    measure: Measure, *, resamples: int, seed: int = 0, known: Mapping[str, Floats] | None = None
) -> Bootstrap:
    """The figures of `measure` on the sample and on `resamples` resamples of its customers.

    The same seed and customers give the same resamples whatever the models; `resamples=0` gives the values only.

    Args:
        known: model -> its figures [R, K] on these resamples, of a measure that has `each`.
    """
    shape, num = (len(measure.models), len(measure.metrics)), measure.num_customers
    value, resampled = np.full(shape, np.nan), np.full((resamples, *shape), np.nan)
    if num and measure.models:
        value = measure.values(np.ones((1, num)))[0]
        known = known or {}
        for name in known:
            resampled[:, measure.models.index(name)] = known[name]
        asked = {m: name for m, name in enumerate(measure.models) if name not in known}
        rng, block = np.random.default_rng(seed), max(1, BLOCK // max(1, measure.num_rows))
        for start in range(0, resamples if asked else 0, block):
            weight_RC, rows = draw(rng, min(block, resamples - start), num), slice(start, start + block)
            if not known:
                resampled[rows] = measure.values(weight_RC)
            for m, name in asked.items() if known else ():
                resampled[rows, m] = measure.each[name](weight_RC)
    fixed_MK = np.array(list(measure.fixed.values())).reshape(len(measure.fixed), shape[0]).T
    without = np.full((resamples, *fixed_MK.shape), np.nan)
    return Bootstrap(
        measure.models,
        (*measure.metrics, *measure.fixed),
        np.concatenate([value, fixed_MK], axis=1),
        np.concatenate([resampled, without], axis=2),
        measure.distances,
    )


def draw(rng: np.random.Generator, num: int, num_customers: int) -> Floats:
    """[num, C]: how often each customer was drawn; rows are drawn one after the other, so blocks do not change them."""
    drawn = [np.bincount(rng.integers(num_customers, size=num_customers), minlength=num_customers) for _ in range(num)]
    return np.array(drawn, dtype=np.float64)


def customer_codes(customer: ArrayLike) -> tuple[NDArray[np.int64], int]:
    """Codes [N] from 0 on of customers [N] with any ids, and their number C."""
    code_N = np.unique(np.asarray(customer), return_inverse=True)[1]
    return code_N, int(code_N.max()) + 1 if len(code_N) else 0


def interval(value: float, draws_R: Floats, *, corrected: bool = False) -> dict[str, float]:
    """{"value", "low", "high"} of a figure and its draws, NaN where undefined; `corrected` draws have no bias left."""
    defined_R = draws_R[~np.isnan(draws_R)]
    if np.isnan(value) or len(defined_R) == 0:
        return {"value": float(value), "low": float("nan"), "high": float("nan")}
    ends = np.array([(1 - LEVEL) / 2, (1 + LEVEL) / 2])
    if not corrected:  # the share of draws below the value is a half where there is no bias
        below = np.mean(defined_R < value) + np.mean(defined_R == value) / 2
        ends = ndtr(2 * ndtri(np.clip(below, 0.5 / len(defined_R), 1 - 0.5 / len(defined_R))) + ndtri(ends))
    low, high = np.quantile(defined_R, ends)
    return {"value": float(value), "low": float(min(low, value)), "high": float(max(high, value))}
