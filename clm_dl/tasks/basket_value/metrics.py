"""Metrics of basket values: the error of the log amount, and the order of customers and totals as of task=value.

Shapes: N snapshots, C customers, R resamples, K metrics.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from clm_dl.evaluation.bootstrap import Measure, customer_codes
from clm_dl.evaluation.metric import Metric, Metrics
from clm_dl.tasks.basket_value.scores import BasketScores
from clm_dl.tasks.value.metrics import value_measure

Floats = NDArray[np.float64]
METRICS = Metrics(
    [
        Metric("log_mae", "MAE of log amount", "low", shown="main"),
        Metric("gini", "Gini", shown="tile"),
        Metric("spearman", "Spearman"),
        Metric("decile_mape", "decile MAPE", "low", shown="tile", distance=True),
        Metric("mae", "MAE", "low", digits=2),
        Metric("rmse", "RMSE", "low", digits=2),
        Metric("bias", "bias", "neither", shown="table", paired=False),
    ]
)


def basket_measure(table: BasketScores, *, raw: bool = False) -> Measure:
    """Every figure of every model; log_mae judges the medians, all others the expected amounts."""
    values = table.values
    measure = value_measure(values, values.raw if raw else values.forecasts)
    code_N, num = customer_codes(values.customer)
    medians = table.raw if raw else table.median
    error_MN = [np.abs(np.log(median / values.spend)) for median in medians.values()]
    error_MC = np.array([np.bincount(code_N, weights=error_N, minlength=num) for error_N in error_MN])
    rows_C = np.bincount(code_N, minlength=num)
    chosen = [measure.metrics.index(metric.name) for metric in METRICS if metric.name != "log_mae"]

    def figures(weight_RC: Floats) -> Floats:
        with np.errstate(invalid="ignore", divide="ignore"):
            error_RM = weight_RC @ error_MC.T / (weight_RC @ rows_C)[:, None]
        return np.concatenate([error_RM[:, :, None], measure.values(weight_RC)[:, :, chosen]], axis=2)

    names = tuple(metric.name for metric in METRICS)
    return Measure(tuple(medians), names, figures, num, len(values), distances=METRICS.distances)


def reference(table: BasketScores) -> dict[str, Any]:
    """How much the next orders were worth, and what their own median told of everyone reaches."""
    amount_N = table.values.spend
    nothing = float("nan")
    log_N = np.log(amount_N)
    return {
        "snapshots": len(amount_N),
        "customers": len(np.unique(table.values.customer)),
        "censored": table.values.num_censored,
        "amount": float(amount_N.mean()) if len(amount_N) else nothing,
        "floor": {"log_mae": float(np.abs(log_N - np.median(log_N)).mean()), "gini": 0.0} if len(amount_N) else {},
    }
