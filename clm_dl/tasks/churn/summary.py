"""From the Scores table to metrics.json: every model on the same snapshots, with intervals and paired differences.

metrics.json (values are {"value", "low", "high"}; null where undefined):
    task, fingerprint, threshold, resamples, seed
    split.{test,val}.{overall,recent}.<model>.<metric>    calibrated scores
    split.{test,val}.per_cutoff.<date>.<model>.<metric>
    split.{test,val}.raw.<model>.<metric>                 before calibration, {"value"} only
    reference.{test,val}.{snapshots,customers,censored,prevalence,floor,ceiling}
    difference.{test,test_recent}."network - <baseline>".<metric>     empty without a network
    best_baseline, smallest_detectable_difference, profit, data, population
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from clm_dl.errors import UserError
from clm_dl.evaluation.bootstrap import Bootstrap, bootstrap
from clm_dl.evaluation.classification import lift_ceiling, log_loss, majority_floor
from clm_dl.evaluation.splits import NETWORK, summarise_splits
from clm_dl.tasks.churn.profit import expected_profit_curve

FORMAT = 1
POWER = 2.8  # 1.96 + 0.84 standard errors: seen in 80 % of repetitions at the 5 % level
PROFIT = {"benefit": 10.0, "cost": 1.0}


@dataclass(frozen=True)
class ScoreTable:
    """One split of the Scores table with a column a model: all arrays [N], rows ordered by cutoff and customer."""

    customer: NDArray[Any]
    cutoff: pd.DatetimeIndex
    label: NDArray[np.float64]
    recent: NDArray[np.bool_]
    score: dict[str, NDArray[np.float64]]
    raw: dict[str, NDArray[np.float64]]
    num_censored: int

    def select(self, mask_N: NDArray[np.bool_]) -> ScoreTable:
        score, raw = ({name: value[mask_N] for name, value in part.items()} for part in (self.score, self.raw))
        return ScoreTable(
            self.customer[mask_N],
            self.cutoff[mask_N],
            self.label[mask_N],
            self.recent[mask_N],
            score,
            raw,
            self.num_censored,
        )


def score_table(scores: pd.DataFrame, split: str) -> ScoreTable:
    """The rows of `split`, wide, censored rows left out. ValueError when models were scored on different snapshots."""
    rows = scores[scores["split"] == split]
    models = [str(name) for name in rows["model"].unique()]
    models = [NETWORK] * (NETWORK in models) + [name for name in models if name != NETWORK]
    parts = {name: rows[rows["model"] == name].sort_values(["cutoff", "customer_id"], kind="stable") for name in models}
    if not parts:
        nothing = np.empty(0)
        return ScoreTable(nothing, pd.DatetimeIndex([], tz="UTC"), nothing, nothing.astype(bool), {}, {}, 0)
    first = next(iter(parts.values()))
    for name, part in parts.items():
        _check_same_snapshots(first, part, models[0], name, split)
    label_N = first["label"].to_numpy(dtype=np.float64, na_value=np.nan)
    recent_N = first["recent"].to_numpy(dtype=bool) if "recent" in first else np.ones(len(first), dtype=bool)
    raw_column = "score_raw" if "score_raw" in rows else "score"
    table = ScoreTable(
        first["customer_id"].to_numpy(),
        pd.DatetimeIndex(pd.to_datetime(first["cutoff"], utc=True)),
        label_N,
        recent_N,
        {name: part["score"].to_numpy(dtype=np.float64) for name, part in parts.items()},
        {name: part[raw_column].to_numpy(dtype=np.float64) for name, part in parts.items()},
        int(np.isnan(label_N).sum()),
    )
    return table.select(~np.isnan(label_N))


def summarise(
    scores: pd.DataFrame,
    *,
    fingerprint: str,
    data_counts: Mapping[str, Any],
    seed: int = 0,
    resamples: int = 1000,
    threshold: float = 0.5,
    profit: Mapping[str, float] | None = None,
    population: Mapping[str, Any] | None = None,
    task: str = "churn",
) -> dict[str, Any]:
    """The metrics of a run, JSON-able, in the shape above.

    `threshold` names who counts as positive in accuracy, F1, precision and recall; `profit` {"benefit", "cost"} is per
    positive reached and per contact. The best baseline is chosen on validation, never on test where avoidable.
    """
    tables = {split: score_table(scores, split) for split in ("test", "val")}

    def boot(table: ScoreTable, score: Mapping[str, NDArray[np.float64]], resamples: int) -> Bootstrap:
        return bootstrap(table.customer, table.label, score, resamples=resamples, seed=seed, threshold=threshold)

    splits, difference, boots = summarise_splits(
        tables, lambda table: boot(table, table.score, resamples), lambda table: boot(table, table.raw, 0)
    )
    metrics: dict[str, Any] = {
        "format": FORMAT,
        "task": task,
        "fingerprint": fingerprint,
        "threshold": threshold,
        "resamples": resamples,
        "seed": seed,
        "split": splits,
        "reference": {split: _reference(table) for split, table in tables.items()},
        "difference": difference,
        "profit": _profit(tables, dict(profit or PROFIT)),
        "data": dict(data_counts) | {"snapshots": {split: len(table.label) for split, table in tables.items()}}
        if "snapshots" not in data_counts
        else dict(data_counts),
        "population": dict(population or {}),
    }
    best, chosen_on = best_baseline(metrics)
    metrics["best_baseline"] = {"name": best, "chosen_on": chosen_on}
    metrics["smallest_detectable_difference"] = _smallest(boots["test"], best)
    return to_json(metrics)


def best_baseline(metrics: Mapping[str, Any]) -> tuple[str | None, str | None]:
    """(name, split it was chosen on): the baseline with the highest AUC on validation, ties by log loss and then by
    name.

    Where validation has no AUC (no such split, one class) the test split decides, which flatters the baseline.
    """
    for split in ("val", "test"):
        overall = metrics["split"][split]["overall"]
        known = [name for name in overall if name != NETWORK and not _missing(overall[name]["auroc"]["value"])]
        if known:
            return min(
                known, key=lambda name: (-overall[name]["auroc"]["value"], overall[name]["log_loss"]["value"], name)
            ), split
    return None, None


def to_json(value: Any) -> Any:
    """Plain Python numbers, text keys, and None for NaN and infinities."""
    if isinstance(value, Mapping):
        return {str(key): to_json(part) for key, part in value.items()}
    if isinstance(value, (list, tuple)):
        return [to_json(part) for part in value]
    if isinstance(value, (bool, np.bool_)):
        return bool(value)
    if isinstance(value, (int, np.integer)):
        return int(value)
    if isinstance(value, (float, np.floating)):
        return float(value) if math.isfinite(value) else None
    return value


def _check_same_snapshots(first: pd.DataFrame, part: pd.DataFrame, name: str, other: str, split: str) -> None:
    same = len(first) == len(part) and all(
        first[column].reset_index(drop=True).equals(part[column].reset_index(drop=True))
        for column in ("customer_id", "cutoff", "label")
    )
    if not same:
        raise UserError(
            f"{name} and {other} must be scored on the same {split} snapshots and labels, got {len(first)} and "
            f"{len(part)} rows that differ; score them again together"
        )


def _reference(table: ScoreTable) -> dict[str, Any]:
    """What a constant score reaches, and what nobody can exceed, at this prevalence."""
    label_N = table.label
    rate = float(label_N.mean()) if len(label_N) else float("nan")
    constant = log_loss(label_N, np.full(len(label_N), rate)) if len(label_N) else float("nan")
    return {
        "snapshots": len(label_N),
        "customers": len(np.unique(table.customer)),
        "censored": table.num_censored,
        "prevalence": rate,
        "floor": {
            "auroc": 0.5,
            "auprc": rate,
            "auprc_stay": 1 - rate,
            "log_loss": constant,
            "brier": rate * (1 - rate),
            "lift@10": 1.0,
            "recall@10": 0.1,
            "accuracy": majority_floor(label_N),
            "f1": 2 * rate / (1 + rate),
        },
        "ceiling": {"lift@10": lift_ceiling(rate), "recall@10": lift_ceiling(rate) * 0.1},
    }


def _profit(tables: Mapping[str, ScoreTable], profit: Mapping[str, float]) -> dict[str, Any]:
    """Per model: the share to contact as chosen on validation, its profit per test snapshot, and the maximum in
    hindsight.
    """
    models, (benefit, cost) = {}, (profit["benefit"], profit["cost"])
    for name, score_N in tables["test"].score.items():
        test = expected_profit_curve(tables["test"].label, score_N, benefit=benefit, cost=cost)
        found = {"best_fraction": float(test.fraction[test.best]), "best_profit": float(test.profit[test.best])}
        if name in tables["val"].score and len(tables["val"].label):
            val = expected_profit_curve(tables["val"].label, tables["val"].score[name], benefit=benefit, cost=cost)
            fraction = float(val.fraction[val.best])
            found |= {"fraction": fraction, "profit": test.at(fraction)}
        models[name] = found
    return {**profit, "models": models}


def _smallest(boot: Bootstrap, best: str | None) -> dict[str, Any]:
    """2.8 standard errors of the paired difference in AUC between the network (else the next baseline) and the best
    baseline.
    """
    others = [model for model in boot.models if model != best]
    if best not in boot.models or not others:
        return {"auroc": None, "between": None}
    other = others[0]
    return {"auroc": POWER * boot.difference_error(other, best, "auroc"), "between": f"{other} - {best}"}


def _missing(value: float | None) -> bool:
    return value is None or math.isnan(value)
