"""Value metrics on (spend, score): ranking, deciles and errors in money, with a customer bootstrap.

Ties count as expected: rows with equal scores form one step of the cumulative curve. Undefined is NaN.

Shapes: N snapshots, C customers, R weightings (resamples), G distinct scores, K metrics.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from clm_dl.evaluation.bootstrap import Measure, bootstrap, customer_codes
from clm_dl.evaluation.metric import Metric, Metrics
from clm_dl.evaluation.ranked import Ranked, Ranking, curve, rank_correlation
from clm_dl.tasks.value.scores import Forecast, ValueScores

Floats = NDArray[np.float64]
METRICS = Metrics(
    [
        Metric("gini", "Gini", shown="main"),
        Metric("spearman", "Spearman", shown="table"),
        Metric("decile_mape", "decile MAPE", "low", shown="tile", distance=True),
        Metric("mae", "MAE", "low", digits=2),
        Metric("rmse", "RMSE", "low", digits=2),
        Metric("bias", "bias", "neither", shown="tile", paired=False),
        Metric("coverage", "coverage", "neither"),
        Metric("width", "width of the interval", "low", digits=2),
        Metric("orders_mae", "MAE of orders", "low"),
        Metric("orders_bias", "bias of orders", "neither"),
    ]
)
NAMES = tuple(metric.name for metric in METRICS)
DECILES = 10


def gini(spend: ArrayLike, score: ArrayLike) -> float:
    """Normalised Gini: (area under the cumulative gain of `score` − ½) over the same of the perfect order; 1 is
    perfect, 0 random.

    Gain is the share of the spend that the share x of the customers with the highest scores brings (Wang, Liu & Miao
    2019). NaN where all spend the same.
    """
    return _value("gini", spend, score)


def spearman(spend: ArrayLike, score: ArrayLike) -> float:
    """Spearman's rank correlation with mid-ranks for ties; NaN where either is constant."""
    return _value("spearman", spend, score)


def decile_mape(spend: ArrayLike, score: ArrayLike) -> float:
    """Mean of |mean score − mean spend| / mean spend over ten equal groups by score; NaN where one spends nothing."""
    return _value("decile_mape", spend, score)


def deciles(spend: ArrayLike, score: ArrayLike) -> tuple[Floats, Floats]:
    """(mean score, mean spend) `[10]` of groups of equal size, from the lowest scores to the highest."""
    mean_R10, actual_R10 = Ranking(spend, score)(bins=DECILES).bins()
    return mean_R10[0, ::-1], actual_R10[0, ::-1]


def gain(spend: ArrayLike, score: ArrayLike) -> tuple[Floats, Floats]:
    """(share of the customers, share of the spend) from the highest score down, both starting at 0."""
    found = curve(spend, score)
    return found.mass / found.mass[-1], found.positive / found.positive[-1]


def value_measure(table: ValueScores, forecasts: Mapping[str, Forecast]) -> Measure:
    """Metrics of `forecasts` for the actual spend and orders of `table`."""
    return _measure(table.customer, table.spend, table.orders, forecasts)


def _measure(customer: ArrayLike, spend: ArrayLike, orders: ArrayLike, forecasts: Mapping[str, Forecast]) -> Measure:
    spend_N, orders_N = np.asarray(spend, dtype=np.float64), np.asarray(orders, dtype=np.float64)
    code_N, num = customer_codes(customer)
    truth = _Truth(spend_N, orders_N, code_N, num)
    plans = {name: _Plan(truth, forecast) for name, forecast in forecasts.items()}

    def values(weight_RC: Floats) -> Floats:
        perfect_R = _area(truth.ranking(weight_RC))
        return np.stack([plan(weight_RC, perfect_R) for plan in plans.values()], axis=1)

    def alone(plan: _Plan) -> Callable[[Floats], Floats]:
        return lambda weight_RC: plan(weight_RC, _area(truth.ranking(weight_RC)))

    each = {name: alone(plan) for name, plan in plans.items()}
    return Measure(tuple(forecasts), NAMES, values, num, num, distances=METRICS.distances, each=each)


def reference(table: ValueScores) -> dict[str, Any]:
    """How much was spent, and what the same spend expected of everyone, that of this split, reaches."""
    spend_N, nothing = table.spend, float("nan")
    mean = float(spend_N.mean()) if len(spend_N) else nothing
    floor = {}
    if len(spend_N):
        boot = bootstrap(value_measure(table, {"one": Forecast(np.full(len(spend_N), mean))}), resamples=0)
        floor = {metric: boot.interval("one", metric)["value"] for metric in ("gini", "mae", "rmse")}
    return {
        "snapshots": len(spend_N),
        "customers": len(np.unique(table.customer)),
        "censored": table.num_censored,
        "spending": float((spend_N > 0).mean()) if len(spend_N) else nothing,
        "spend": mean,
        "orders": float(table.orders.mean()) if len(spend_N) else nothing,
        "floor": floor,
    }


class _Truth:
    """What all models are held against: the order of the actual spend."""

    def __init__(self, spend_N: Floats, orders_N: Floats, code_N: NDArray[np.int64], num_customers: int) -> None:
        self.spend_N, self.orders_N, self.code_N, self.num_customers = spend_N, orders_N, code_N, num_customers
        self.ranking = Ranking(spend_N, spend_N, code_N)


class _Plan:
    """One model's metrics for any weighting of customers."""

    def __init__(self, truth: _Truth, forecast: Forecast) -> None:
        self.truth, self.ranking = truth, Ranking(truth.spend_N, forecast.score, truth.code_N)
        error_N = forecast.score - truth.spend_N
        terms = {
            "rows": np.ones_like(error_N),
            "spend": truth.spend_N,
            "score": forecast.score,
            "absolute": np.abs(error_N),
            "squared": error_N**2,
        }
        if forecast.low is not None and forecast.high is not None:
            terms["inside"] = ((truth.spend_N >= forecast.low) & (truth.spend_N <= forecast.high)).astype(float)
            terms["width"] = forecast.high - forecast.low
        if forecast.orders is not None:
            terms |= {
                "orders": truth.orders_N,
                "expected": forecast.orders,
                "orders_absolute": np.abs(forecast.orders - truth.orders_N),
            }
        self.names = list(terms)
        self.terms_CK = np.column_stack(
            [np.bincount(truth.code_N, weights=term, minlength=truth.num_customers) for term in terms.values()]
        )

    def __call__(self, weight_RC: Floats, perfect_R: Floats) -> Floats:
        """[R, C] -> [R, K] in the order of METRICS."""
        ranked = self.ranking(weight_RC, bins=DECILES)
        sums = dict(zip(self.names, (weight_RC @ self.terms_CK).T, strict=True))
        nothing = np.full(len(weight_RC), np.nan)
        with np.errstate(invalid="ignore", divide="ignore"):
            mean_R10, actual_R10 = ranked.bins()
            off_R10 = np.where(actual_R10 > 0, np.abs(mean_R10 - actual_R10) / actual_R10, np.nan)
            rows = sums["rows"]
            found = {
                "gini": _area(ranked) / np.where(np.abs(perfect_R) > 1e-12, perfect_R, np.nan),
                "spearman": rank_correlation(self.ranking, self.truth.ranking, weight_RC),
                "decile_mape": off_R10.mean(axis=1),
                "mae": sums["absolute"] / rows,
                "rmse": np.sqrt(sums["squared"] / rows),
                "bias": sums["score"] / np.where(sums["spend"] > 0, sums["spend"], np.nan) - 1,
                "coverage": sums["inside"] / rows if "inside" in sums else nothing,
                "width": sums["width"] / rows if "width" in sums else nothing,
                "orders_mae": sums["orders_absolute"] / rows if "orders" in sums else nothing,
                "orders_bias": sums["expected"] / np.where(sums["orders"] > 0, sums["orders"], np.nan) - 1
                if "orders" in sums
                else nothing,
            }
        return np.column_stack([found[name] for name in NAMES])


def _area(ranked: Ranked) -> Floats:
    """[R]: area between the cumulative gain and the diagonal, by the trapezoidal rule over groups of equal scores."""
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.asarray(ranked.area / (ranked.mass * ranked.gain) - 0.5)


def _value(metric: str, spend: ArrayLike, score: ArrayLike) -> float:
    spend_N, score_N = np.asarray(spend, dtype=np.float64), np.asarray(score, dtype=np.float64)
    measure = _measure(np.arange(len(spend_N)), spend_N, np.zeros_like(spend_N), {"one": Forecast(score_N)})
    return bootstrap(measure, resamples=0).interval("one", metric)["value"]
