"""Figures of ranked lists: means over the snapshots that have a target, whose customers are resampled.

Shapes: N snapshots, M targets, C customers, R resamples, J models × metrics.
"""

from __future__ import annotations

from functools import cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from clm_dl.data.ranking.catalogue import Catalogue
from clm_dl.evaluation.bootstrap import Measure, customer_codes
from clm_dl.evaluation.metric import Metric, Metrics
from clm_dl.tasks.recommend.accuracy import snapshot_metrics
from clm_dl.tasks.recommend.table import RankedPart, RankedTable

Floats = NDArray[np.float64]


@cache
def known_metrics(k: int) -> Metrics:
    """Of lists of `k` items."""
    return Metrics(
        [
            Metric(f"hr@{k}", f"HR@{k}", shown="tile"),
            Metric(f"ndcg@{k}", f"NDCG@{k}", shown="main"),
            Metric("mrr", "MRR", shown="table"),
            Metric(f"recall@{k}", f"recall@{k}", shown="table", paired=False),
            Metric(f"coverage@{k}", f"coverage@{k}", "neither", shown="tile", paired=False),
            Metric(f"precision@{k}", f"precision@{k}"),
            Metric(f"map@{k}", f"MAP@{k}"),
            Metric("auc", "AUC"),
            Metric("hit@1", "hit@1"),
            Metric("ece@1", "ECE@1", "low", distance=True),
            Metric(f"novelty@{k}", f"novelty@{k}, bits", "neither", digits=2),
            Metric(f"diversity@{k}", f"diversity@{k}", "neither"),
            Metric(f"popularity@{k}", f"popularity@{k}", "neither"),
            Metric(f"repeat_ratio@{k}", f"repeats@{k}", "neither"),
        ]
    )


def ranked_measure(part: RankedPart, catalogue: Catalogue, k: int) -> Measure:
    """Means of the per-snapshot figures of every model; coverage and ECE@1 are of all lists together."""
    lists, rows_N, models = part.part in ("overall", "few_events"), part.rows_N, part.models
    if not models or any(not part.targets(ranked).any() for ranked in models.values()):
        return Measure((), (), lambda weight_RC: np.empty((len(weight_RC), 0, 0)), 0, 0)
    means = [ranked.values(part.targets(ranked), rows_N, catalogue, k, lists=lists) for ranked in models.values()]
    pooled = [ranked.pooled(rows_N, len(catalogue.count), k) if lists else {} for ranked in models.values()]
    value_NJ = np.column_stack([value_N for mean in means for value_N in mean.values()])
    code_N, num = customer_codes(part.table.customer[rows_N])
    known_NJ = ~np.isnan(value_NJ)
    columns = [*np.where(known_NJ, value_NJ, 0.0).T, *known_NJ.T.astype(np.float64)]
    sum_C2J = np.column_stack([np.bincount(code_N, weights=value_N, minlength=num) for value_N in columns])
    shape = (len(models), len(means[0]))

    def values(weight_RC: Floats) -> Floats:
        # a single weighting is added up customer by customer, whatever the processor's product would do
        total_R2J = weight_RC @ sum_C2J if len(weight_RC) > 1 else (weight_RC.T * sum_C2J).sum(0)[None]
        with np.errstate(invalid="ignore", divide="ignore"):
            mean_RJ = total_R2J[:, : value_NJ.shape[1]] / total_R2J[:, value_NJ.shape[1] :]
        return mean_RJ.reshape(len(weight_RC), *shape)

    fixed = {name: np.array([figures[name] for figures in pooled]) for name in pooled[0]}
    return Measure(tuple(models), tuple(means[0]), values, num, num, fixed)


def reference(table: RankedTable, catalogue: Catalogue, k: int) -> dict[str, Any]:
    """Counts, and what a constant score reaches on average (floor) and nobody can exceed under the policy (ceiling)."""
    models = table.models.get("catalogue", {})
    found: dict[str, Any] = {"snapshots": len(table.customer), "customers": len(np.unique(table.customer))}
    if not models:
        return found
    ranked, num_items = next(iter(models.values())), len(catalogue.count)
    reachable = ranked.above < num_items
    before = np.cumsum(reachable, dtype=np.int64) - reachable.astype(np.int64)
    place = before - before[np.searchsorted(ranked.row, ranked.row)]  # among the reachable targets of the snapshot
    offsets = np.concatenate([[0], np.cumsum(np.bincount(ranked.row, minlength=len(table.customer)))])
    ranks = {
        "floor": (np.where(reachable, 0, num_items), np.where(reachable, ranked.candidates[ranked.row], 1)),
        "ceiling": (np.where(reachable, place, num_items), np.ones(len(reachable), np.int64)),
    }
    for name, (above, ties) in ranks.items():
        values = snapshot_metrics(offsets, above, ties, ranked.candidates, num_items=num_items, k=k)
        found[name] = {metric: float(np.nanmean(value_N)) for metric, value_N in values.items()}
    numbers = {"unreachable": ~reachable, "repeats": ranked.repeat, "cold": ranked.cold}
    return found | {"targets": len(reachable)} | {name: int(of.sum()) for name, of in numbers.items()}
