"""Calibration of money: expected spend to the right total and steepness, and intervals that hold on the snapshots they
are fitted to.

Shapes: N snapshots.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from clm_dl.errors import UserError
from clm_dl.evaluation.correction import Line, corrected

Floats = NDArray[np.float64]
TINY = 1e-9  # of money, where nothing is expected
FLOOR = 1e-3  # scores enter the logarithm no smaller than this share of their mean


class ValueCalibrator:
    """score → exp(intercept + slope · log(score) + age · log(1 + tenure)) for the mean,
    [low − widen, high + widen] on a log scale for the interval.

    The mean: Poisson pseudo-likelihood with a log link, which is consistent whatever the distribution of spend
    (Gourieroux, Monfort & Trognon 1984; Santos Silva & Tenreyro 2006) and makes the total right; the slope says how
    steep the differences between customers are. The interval: conformalised quantile regression (Romano, Patterson &
    Candès 2019) on log(1 + money).

    Attributes:
        slope, intercept, age, floor: of the mean; floor is the smallest score that counts, in money; age is 0 where
            tenure was not given.
        widen: of the interval, may be negative.
        orders: the same of the expected number of orders; None of a model that expects none, and of old.
        told: in words, how the mean was chosen.
    """

    def __init__(
        self,
        slope: float = 1.0,
        intercept: float = 0.0,
        floor: float = 1e-9,
        widen: float = 0.0,
        age: float = 0.0,
        *,
        orders: ValueCalibrator | None = None,
        told: str | None = None,
    ) -> None:
        self.slope, self.intercept, self.floor, self.widen, self.age = map(float, (slope, intercept, floor, widen, age))
        self.orders, self.told = orders, told

    def fit(self, score: ArrayLike, spend: ArrayLike, log_tenure: ArrayLike | None = None) -> ValueCalibrator:
        """Fit the mean on expected and actual spend `[N]`, both ≥ 0; returns self. ValueError when nothing was spent or
        expected.

        Scores that are all the same get slope 1. With `log_tenure` `[N]`, log(1 + days since the first event), it is
        learnt besides what customers are worth who have been there for longer than training could see: for a network
        that has grown old.
        """
        score_N, spend_N = np.asarray(score, dtype=np.float64), np.asarray(spend, dtype=np.float64)
        if not len(spend_N) or not spend_N.sum() > 0 or not score_N.sum() > 0:
            raise UserError(
                f"calibration of money needs spend above 0, got {len(spend_N)} snapshots with a total of "
                f"{spend_N.sum():g} and {score_N.sum():g} expected: choose a validation cutoff with spend"
            )
        from sklearn.linear_model import PoissonRegressor  # predicting shall not wait for it

        self.floor = FLOOR * float(score_N.mean())
        known = [
            np.log(np.maximum(score_N, self.floor)),
            *([] if log_tenure is None else [np.asarray(log_tenure, dtype=np.float64)]),
        ]
        x_NK = np.column_stack(known)
        varies_K, factor_K = x_NK.std(axis=0) > 1e-9, np.array([1.0, 0.0])[: len(known)]
        if varies_K.any():
            scale_K = x_NK[:, varies_K].std(axis=0)
            model = PoissonRegressor(alpha=0.0, max_iter=1000, tol=1e-8)
            model.fit((x_NK[:, varies_K] - x_NK[:, varies_K].mean(axis=0)) / scale_K, spend_N / spend_N.mean())
            factor_K[varies_K] = model.coef_ / scale_K
        self.slope, self.age = float(factor_K[0]), float(factor_K[1:].sum())
        # the total exactly, not to a tolerance
        self.intercept = float(np.log(spend_N.mean() / np.exp(x_NK @ factor_K).mean()))
        return self

    def fit_over(self, score: ArrayLike, spend: ArrayLike, *, cutoff: ArrayLike, newest: ArrayLike) -> ValueCalibrator:
        """Fit the mean on the `newest` of validation snapshots at several cutoffs, chosen and shrunk by the others, see
        `corrected`; returns self.
        """
        score_N, spend_N = np.asarray(score, dtype=np.float64), np.asarray(spend, dtype=np.float64)
        newest_N = np.asarray(newest, dtype=bool)
        floor = FLOOR * float(score_N[newest_N].mean())
        x_N = np.log(np.maximum(score_N, max(floor, TINY)))

        def fit(kind: str, rows_N: NDArray[np.bool_]) -> Line:
            if kind == "raw":
                return Line()
            found = ValueCalibrator().fit(score_N[rows_N], spend_N[rows_N])
            if kind == "line":
                return Line(found.slope, found.intercept)
            return Line(1.0, float(np.log(spend_N[rows_N].sum() / score_N[rows_N].sum())))

        def loss(line: Line, rows_N: NDArray[np.bool_]) -> float:
            """Of a Poisson with this mean, in orders of a customer who spends as the average."""
            log_N, mean = line(x_N[rows_N]), spend_N[newest_N].mean()
            return float(np.mean(np.exp(log_N) - spend_N[rows_N] * log_N) / mean)

        found = corrected(fit, loss, x_N, cutoff_N=np.asarray(cutoff), newest_N=newest_N)
        self.slope, self.intercept, self.floor = found.line.slope, found.line.intercept, max(floor, TINY)
        self.told = found.told("total and steepness")
        return self

    def fit_interval(self, low: ArrayLike, high: ArrayLike, spend: ArrayLike, *, coverage: float) -> ValueCalibrator:
        """Fit the interval on its predicted ends and the spend `[N]`: `coverage` of them lie inside; returns self."""
        low_N, high_N, spend_N = (np.log1p(np.asarray(part, dtype=np.float64)) for part in (low, high, spend))
        below_N = np.where(low_N > 0, low_N - spend_N, -np.inf)  # nothing lies below an interval from 0 on
        outside_N = np.sort(np.maximum(below_N, spend_N - high_N))
        # the finite-sample quantile; all of them where there are too few
        rank = int(np.ceil((len(spend_N) + 1) * coverage))
        self.widen = float(outside_N[min(rank, len(outside_N)) - 1])
        return self

    def predict(self, score: ArrayLike, log_tenure: ArrayLike | None = None) -> Floats:
        """Expected spend `[N]` in money; `log_tenure` is needed where it was fitted on."""
        assert log_tenure is not None or self.age == 0
        log_N = np.log(np.maximum(np.asarray(score, dtype=np.float64), self.floor))
        aged_N = 0.0 if log_tenure is None else self.age * np.asarray(log_tenure, dtype=np.float64)
        return np.asarray(np.exp(self.intercept + self.slope * log_N + aged_N))

    def interval(self, low: ArrayLike, high: ArrayLike) -> tuple[Floats, Floats]:
        """Both ends `[N]` in money, ≥ 0."""
        low_N, high_N = (np.log1p(np.asarray(part, dtype=np.float64)) for part in (low, high))
        from_zero_N = low_N <= 0  # stays so: most spend nothing
        return np.where(from_zero_N, 0.0, np.maximum(np.expm1(low_N - self.widen), 0.0)), np.maximum(
            np.expm1(high_N + self.widen), 0.0
        )

    def to_dict(self) -> dict[str, Any]:
        return {
            "slope": self.slope,
            "intercept": self.intercept,
            "floor": self.floor,
            "widen": self.widen,
            "age": self.age,
            **({"orders": self.orders.to_dict()} if self.orders else {}),
            **({"told": self.told} if self.told else {}),
        }

    @classmethod
    def from_dict(cls, state: Mapping[str, Any]) -> ValueCalibrator:
        orders = state.get("orders")
        return cls(**{**state, "orders": None if orders is None else cls.from_dict(orders)})
