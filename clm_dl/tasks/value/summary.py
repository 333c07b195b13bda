"""From the Scores table of value runs to metrics.json: every model on the same snapshots, with intervals and paired
differences.

metrics.json (values are {"value", "low", "high"}; null where undefined, as coverage is for a model without an
    interval): task, fingerprint, interval (the coverage asked for), resamples, seed
    split.{test,val}.{overall,recent}.<model>.<metric>    calibrated forecasts; metrics of `value.METRICS`
    split.{test,val}.per_cutoff.<date>.<model>.<metric> split.{test,val}.raw.<model>.<metric>                 before
    calibration, {"value"} only reference.{test,val}.{snapshots,customers,censored,spending,spend,orders,floor}    share
    that spends, mean spend, mean orders difference.{test,test_recent}."network - <baseline>".<metric>     empty without
    a network best_baseline, data

Shapes: N snapshots.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from clm_dl.errors import UserError
from clm_dl.evaluation.bootstrap import Bootstrap
from clm_dl.evaluation.splits import NETWORK, summarise_splits
from clm_dl.tasks.churn.summary import to_json
from clm_dl.tasks.value.metrics import Forecast, value_bootstrap

FORMAT = 1
Floats = NDArray[np.float64]


@dataclass(frozen=True)
class ValueScores:
    """One split of the Scores table, matured rows only: arrays [N], rows ordered by cutoff and customer."""

    customer: NDArray[Any]
    cutoff: pd.DatetimeIndex
    recent: NDArray[np.bool_]
    spend: Floats
    orders: Floats
    forecasts: dict[str, Forecast]
    raw: dict[str, Forecast]
    num_censored: int

    def select(self, mask_N: NDArray[np.bool_]) -> ValueScores:
        def part(forecast: Forecast) -> Forecast:
            columns = (forecast.score, forecast.low, forecast.high, forecast.orders)
            return Forecast(*(None if column is None else column[mask_N] for column in columns))  # type: ignore[arg-type]

        forecasts, raw = ({name: part(value) for name, value in group.items()} for group in (self.forecasts, self.raw))
        return ValueScores(
            self.customer[mask_N],
            self.cutoff[mask_N],
            self.recent[mask_N],
            self.spend[mask_N],
            self.orders[mask_N],
            forecasts,
            raw,
            self.num_censored,
        )


def value_scores(scores: pd.DataFrame, split: str) -> ValueScores:
    """The forecasts of `split`, the network's first. ValueError when models were scored on different snapshots."""
    rows = scores[scores["split"] == split]
    models = sorted((str(name) for name in rows["model"].unique()), key=lambda name: name != NETWORK)
    parts = {name: rows[rows["model"] == name].sort_values(["cutoff", "customer_id"], kind="stable") for name in models}
    first = next(iter(parts.values()), rows)
    keys = ["customer_id", "cutoff", "label", "orders"]
    for name, part in parts.items():
        if not first[keys].reset_index(drop=True).equals(part[keys].reset_index(drop=True)):
            raise UserError(
                f"{name} and {models[0]} must be scored on the same {split} snapshots and spends; score them again "
                "together"
            )

    def column(part: pd.DataFrame, name: str) -> Floats:
        return part[name].to_numpy(dtype=np.float64, na_value=np.nan)

    def forecast(part: pd.DataFrame) -> Forecast:
        known = {
            name: column(part, source)
            for name, source in {"low": "low", "high": "high", "orders": "expected_orders"}.items()
        }
        return Forecast(
            column(part, "score"), **{name: None if np.isnan(value).all() else value for name, value in known.items()}
        )

    spend = column(first, "label")
    table = ValueScores(
        first["customer_id"].to_numpy(),
        pd.DatetimeIndex(pd.to_datetime(first["cutoff"], utc=True)),
        first["recent"].to_numpy(dtype=bool),
        spend,
        column(first, "orders"),
        {name: forecast(part) for name, part in parts.items()},
        {name: Forecast(column(part, "score_raw")) for name, part in parts.items()},
        int(np.isnan(spend).sum()),
    )
    return table.select(~np.isnan(spend))


def summarise_value(
    scores: pd.DataFrame,
    *,
    coverage: float,
    fingerprint: str,
    data_counts: Mapping[str, Any],
    seed: int = 0,
    resamples: int = 1000,
) -> dict[str, Any]:
    """The metrics of a run, JSON-able, in the shape above. The best baseline is chosen on validation."""
    tables = {split: value_scores(scores, split) for split in ("test", "val")}

    def boot(table: ValueScores, forecasts: Mapping[str, Forecast], resamples: int) -> Bootstrap:
        return value_bootstrap(table.customer, table.spend, table.orders, forecasts, resamples=resamples, seed=seed)

    splits, difference, _ = summarise_splits(
        tables, lambda table: boot(table, table.forecasts, resamples), lambda table: boot(table, table.raw, 0)
    )
    metrics: dict[str, Any] = {
        "format": FORMAT,
        "task": "value",
        "fingerprint": fingerprint,
        "interval": coverage,
        "resamples": resamples,
        "seed": seed,
        "split": splits,
        "reference": {split: _reference(table) for split, table in tables.items()},
        "difference": difference,
        "data": dict(data_counts),
    }
    metrics["best_baseline"] = _best_baseline(metrics)
    return to_json(metrics)


def _best_baseline(metrics: Mapping[str, Any]) -> dict[str, str | None]:
    """The baseline with the highest Gini on validation, ties by name."""
    overall = metrics["split"]["val"]["overall"]
    names = [name for name in overall if name != NETWORK]
    if not names:
        return {"name": None, "chosen_on": None}
    return {
        "name": min(names, key=lambda name: (-np.nan_to_num(overall[name]["gini"]["value"], nan=-1.0), name)),
        "chosen_on": "val",
    }


def _reference(table: ValueScores) -> dict[str, Any]:
    """How much was spent, and what the same spend expected of everyone, that of this split, reaches."""
    spend_N = table.spend
    if not len(spend_N):
        nothing = float("nan")
        return {
            "snapshots": 0,
            "customers": 0,
            "censored": table.num_censored,
            "spending": nothing,
            "spend": nothing,
            "orders": nothing,
            "floor": {},
        }
    mean = float(spend_N.mean())
    constant = {"one": Forecast(np.full(len(spend_N), mean))}
    boot = value_bootstrap(table.customer, spend_N, table.orders, constant, resamples=0)
    return {
        "snapshots": len(spend_N),
        "customers": len(np.unique(table.customer)),
        "censored": table.num_censored,
        "spending": float((spend_N > 0).mean()),
        "spend": mean,
        "orders": float(table.orders.mean()),
        "floor": {metric: boot.interval("one", metric)["value"] for metric in ("gini", "mae", "rmse")},
    }
