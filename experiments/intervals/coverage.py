"""How often 95 % intervals hold the truth: simulated data sets, each bootstrapped as a run is → results.csv.

python experiments/intervals/coverage.py [--datasets 500] [--customers 400 1500] [--resamples 500] [--output FILE]
"""

from __future__ import annotations

import argparse
import zlib
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path

import numpy as np
import pandas as pd
from scipy.special import expit

from clm_dl.evaluation.bootstrap import Bootstrap, Measure, bootstrap
from clm_dl.tasks.churn.metrics import binary_measure
from clm_dl.tasks.churn.scores import ScoreTable
from clm_dl.tasks.recommend.accuracy import snapshot_metrics
from clm_dl.tasks.value.metrics import value_measure
from clm_dl.tasks.value.scores import Forecast, ValueScores

LARGE = 300_000  # customers of the data set that the truth is taken from
NO_TIME = pd.DatetimeIndex([])
World = Callable[..., Measure]


def customers_of(rng: np.random.Generator, customers: int) -> np.ndarray:
    """One to three snapshots of each."""
    return np.repeat(np.arange(customers), rng.integers(1, 4, customers))


def churn(rng: np.random.Generator, customers: int, *, true: bool, slope: float, shift: float) -> Measure:
    """Labels of rate expit(risk − 1); the first model's logits are tilted by slope and shift, (1, 0) is calibrated.

    `true` puts the probability in place of the label: then the bins of the ECE hold no noise.
    """
    customer = customers_of(rng, customers)
    risk = rng.standard_normal(customers)[customer] + 0.5 * rng.standard_normal(len(customer))
    rate = expit(risk - 1)
    label = rate if true else (rng.random(len(customer)) < rate).astype(float)
    scores = {
        "one": expit(slope * (risk - 1) + shift),
        "other": expit(0.7 * risk + 0.5 * rng.standard_normal(len(customer)) - 1),
    }
    return binary_measure(ScoreTable(customer, NO_TIME, label, label == 1, scores, scores, 0), scores, threshold=0.5)


def value(rng: np.random.Generator, customers: int, *, true: bool) -> Measure:
    """Zero-inflated lognormal spend; `true` puts its expectation in place of it: then deciles hold no noise."""
    customer = customers_of(rng, customers)
    worth = rng.standard_normal(customers)[customer]
    buys = expit(1.5 + worth)
    mean = buys * np.exp(3 + 0.5 * worth + 0.5**2 / 2)
    amount = np.exp(3 + 0.5 * worth + 0.5 * rng.standard_normal(len(customer)))
    spend = mean if true else np.where(rng.random(len(customer)) < buys, amount, 0.0)
    expected = 2.7 * mean**0.8 * np.exp(0.3 * rng.standard_normal(len(customer)))
    forecasts = {"one": Forecast(expected), "other": Forecast(buys * np.exp(3.3))}
    nothing = np.zeros(len(customer))
    return value_measure(
        ValueScores(customer, NO_TIME, nothing == 0, spend, nothing, forecasts, forecasts, 0), forecasts
    )


def ranking(rng: np.random.Generator, customers: int, *, true: bool) -> Measure:
    """One target a snapshot among 500 items, whose place depends on the customer; means as of a ranked run."""
    customer, num_items = customers_of(rng, customers), 500
    ease, found = rng.standard_normal(customers)[customer], []
    for skill in (0.0, -0.3):
        place = np.exp(3 - skill - ease + rng.standard_normal(len(customer))).astype(np.int64)
        above, ones = np.minimum(place, num_items - 1), np.ones(len(customer), np.int64)
        offsets = np.arange(len(customer) + 1)
        found.append(snapshot_metrics(offsets, above, ones, ones * num_items, num_items=num_items))
    names = tuple(found[0])
    sum_CJ = np.column_stack([np.bincount(customer, weights=one[name]) for one in found for name in names])
    rows_C = np.bincount(customer)

    def values(weight_RC: np.ndarray) -> np.ndarray:
        return (weight_RC @ sum_CJ / (weight_RC @ rows_C)[:, None]).reshape(len(weight_RC), 2, len(names))

    return Measure(("one", "other"), names, values, customers, customers)


WORLDS: dict[str, tuple[World, tuple[str, ...], tuple[str, ...]]] = {  # metrics, and those whose truth has no noise
    "churn, calibrated": (partial(churn, slope=1.0, shift=0.0), ("auroc", "log_loss", "ece"), ("ece",)),
    "churn, tilted": (partial(churn, slope=1.3, shift=0.3), ("auroc", "log_loss", "brier", "auprc", "ece"), ("ece",)),
    "value": (value, ("gini", "spearman", "decile_mape", "mae", "bias"), ("decile_mape",)),
    "ranking": (ranking, ("ndcg@10", "hr@10", "mrr"), ()),
}


def truth(world: World, metrics: Sequence[str], noiseless: Sequence[str]) -> dict[str, np.ndarray]:
    """Each metric of both models on a large data set."""
    found = {}
    for true in (False, True):
        measure = world(np.random.default_rng(123), LARGE, true=true)
        value_MK = measure.values(np.ones((1, measure.num_customers)))[0]
        for metric in metrics:
            if (metric in noiseless) == true:
                found[metric] = value_MK[:, measure.metrics.index(metric)]
    return found


def percentiles(boot: Bootstrap, metric: str, pair: bool) -> tuple[float, float]:
    """The plain interval, for comparison."""
    draws_RM = boot.resampled[:, :, boot.metrics.index(metric)]
    low, high = np.nanquantile(draws_RM[:, 0] - draws_RM[:, 1] * pair, [0.025, 0.975])
    return float(low), float(high)


def coverage(
    name: str, customers: int, *, datasets: int, resamples: int, known: dict[str, np.ndarray]
) -> list[dict[str, object]]:
    """A row a metric of the first model, and one of its difference to the other."""
    world, metrics, _ = WORLDS[name]
    held: dict[tuple[str, bool], list[tuple[float, bool, bool]]] = {}
    for number in range(datasets):
        rng = np.random.default_rng([zlib.crc32(name.encode()), customers, number])
        boot = bootstrap(world(rng, customers, true=False), resamples=resamples, seed=number)
        for metric in metrics:
            for pair in (False, True):
                found = boot.difference("one", "other", metric) if pair else boot.interval("one", metric)
                assert found["low"] <= found["value"] <= found["high"]
                true = float(known[metric][0] - known[metric][1] * pair)
                low, high = percentiles(boot, metric, pair)
                holds = found["low"] <= true <= found["high"]
                held.setdefault((metric, pair), []).append((found["value"], holds, low <= true <= high))
    return [
        {
            "world": name,
            "customers": customers,
            "datasets": datasets,
            "metric": metric,
            "of": "difference" if pair else "model",
            "truth": round(float(known[metric][0] - known[metric][1] * pair), 4),
            "mean": round(float(np.mean([value for value, _, _ in rows])), 4),
            "holds": round(float(np.mean([holds for _, holds, _ in rows])), 3),
            "percentiles hold": round(float(np.mean([holds for _, _, holds in rows])), 3),
        }
        for (metric, pair), rows in held.items()
    ]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--datasets", type=int, default=500)
    parser.add_argument("--customers", type=int, nargs="+", default=[400, 1500])
    parser.add_argument("--resamples", type=int, default=500)
    parser.add_argument("--output", type=Path, default=Path(__file__).parent / "results.csv")
    args = parser.parse_args()
    rows: list[dict[str, object]] = []
    for name, (world, metrics, noiseless) in WORLDS.items():
        known = truth(world, metrics, noiseless)
        for customers in args.customers:
            options = {"datasets": args.datasets, "resamples": args.resamples}
            rows += coverage(name, customers, known=known, **options)
            pd.DataFrame(rows).to_csv(args.output, index=False)
    print(pd.DataFrame(rows).to_string(index=False))


if __name__ == "__main__":
    main()
