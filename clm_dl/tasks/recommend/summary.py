"""From the Scores table of a ranked task to metrics.json: every model on the same snapshots and targets, with paired
intervals.

metrics.json (values are {"value", "low", "high"}; null where undefined, and the bounds of what has no interval):
    task, fingerprint, k, resamples, seed, protocol, policy, counts, data
    split.{test,val}.overall.<model>.<metric>             the whole catalogue, all targets
    split.{test,val}.{repeats,new}                        candidates and targets only what is in the history, or only
    what is not split.{test,val}.cold_items                           only the targets that training never saw, among
    the whole catalogue split.{test,val}.few_events                           only the customers with a history of one
    or two split.{test,val}.per_cutoff.<date>                    of the rolling protocol
    reference.{test,val}.{snapshots,customers,targets,unreachable,repeats,cold,floor,ceiling}
    difference.{test,test_<part>}."<model> - <other>"     of the network and of the best model, each against all others
    best_model, best_baseline {"name", "chosen_on"}, smallest_detectable_difference

Shapes: N snapshots, M targets, C customers, R resamples, J models × metrics, K places of the list.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from clm_dl.data.ranking.catalogue import Catalogue
from clm_dl.evaluation.bootstrap import Bootstrap, draw
from clm_dl.evaluation.splits import NETWORK, rows_by_date
from clm_dl.tasks.churn.summary import FORMAT, POWER, to_json
from clm_dl.tasks.recommend.accuracy import snapshot_metrics
from clm_dl.tasks.recommend.table import RankedTable, ranked_table

Floats = NDArray[np.float64]
Bools = NDArray[np.bool_]
PARTS = ("overall", "repeats", "new", "cold_items", "few_events")
FEW = 2  # units of history
BLOCK = 1 << 22  # customer weights held at once


def summarise_ranking(
    scores: pd.DataFrame,
    *,
    task: str,
    fingerprint: str,
    data_counts: Mapping[str, Any],
    catalogue: Catalogue,
    protocol: Mapping[str, Any],
    policy: Mapping[str, Any],
    counts: Mapping[str, int],
    k: int = 10,
    resamples: int = 1000,
    seed: int = 0,
    with_network: Collection[str] = (),
) -> dict[str, Any]:
    """The metrics of a run, JSON-able, in the shape above; `with_network` names the hybrids that have the network in
    them: no baselines.

    A figure is the mean over the snapshots that have a target in the part; its interval draws customers with all their
    snapshots.
    """
    tables = {split: ranked_table(scores, split, catalogue, k=k) for split in ("test", "val")}
    options: dict[str, Any] = {"catalogue": catalogue, "k": k, "resamples": resamples, "seed": seed}
    boots = {
        split: {part: ranked_bootstrap(table, part, **options) for part in PARTS} for split, table in tables.items()
    }
    splits: dict[str, Any] = {
        split: {part: boot.intervals() for part, boot in parts.items()} for split, parts in boots.items()
    }
    for split, table in tables.items():
        dates = rows_by_date(table.cutoff) if protocol.get("name") == "rolling" else {}
        splits[split]["per_cutoff"] = {
            date: ranked_bootstrap(table, "overall", rows=rows, **options).intervals() for date, rows in dates.items()
        }
    models = list(tables["test"].models.get("catalogue", {}))
    main, baselines = f"ndcg@{k}", [name for name in models if name != NETWORK and name not in with_network]
    best, best_baseline = (_best(splits, names, main) for names in (models, baselines))
    leaders = [name for name in dict.fromkeys([NETWORK, best["name"]]) if name in models]
    difference = {
        "test" if part == "overall" else f"test_{part}": boot.differences(*leaders)
        for part, boot in boots["test"].items()
        if boot.models
    }
    others = [name for name in [*leaders, *models] if name != best_baseline["name"]]
    between = (others[0], best_baseline["name"]) if others and best_baseline["name"] else None
    return to_json(
        {
            "format": FORMAT,
            "task": task,
            "fingerprint": fingerprint,
            "k": k,
            "resamples": resamples,
            "seed": seed,
            "protocol": dict(protocol),
            "policy": dict(policy),
            "counts": dict(counts),
            "split": splits,
            "reference": {split: _reference(table, catalogue, k) for split, table in tables.items()},
            "difference": difference,
            "best_model": best,
            "best_baseline": best_baseline,
            "smallest_detectable_difference": {
                main: POWER * boots["test"]["overall"].difference_error(*between, main) if between else None,
                "between": " - ".join(between) if between else None,
            },
            "data": {"snapshots": {split: len(table.customer) for split, table in tables.items()}, **data_counts},
        }
    )


def ranked_bootstrap(
    table: RankedTable,
    part: str,
    *,
    catalogue: Catalogue,
    k: int,
    resamples: int,
    seed: int = 0,
    rows: Bools | None = None,
) -> Bootstrap:
    """Means of the per-snapshot figures of every model, on the sample and on the same seeded resamples of its
    customers.
    """
    models = table.models.get(part if part in ("repeats", "new") else "catalogue", {})
    rows_N = np.ones(len(table.customer), bool) if rows is None else rows
    if part == "few_events":
        rows_N = table.history <= FEW
    lists = part in ("overall", "few_events")
    means: list[dict[str, Floats]] = []
    pooled: list[dict[str, float]] = []
    for ranked in models.values():
        keep_M = ranked.cold if part == "cold_items" else np.ones(len(ranked.row), bool)
        if not (keep_M & rows_N[ranked.row]).any():
            return Bootstrap((), np.empty((0, 0)), np.empty((0, 0, 0)), ())
        means.append(ranked.values(keep_M, rows_N, catalogue, k, lists=lists))
        pooled.append(ranked.pooled(rows_N, len(catalogue.count), k) if lists else {})
    if not models:
        return Bootstrap((), np.empty((0, 0)), np.empty((0, 0, 0)), ())
    value_NJ = np.column_stack([value_N for mean in means for value_N in mean.values()])
    value_J, resampled_RJ = _mean_by_customer(value_NJ, table.customer[rows_N], resamples, seed)
    shape = (len(models), len(means[0]))
    value = np.column_stack([value_J.reshape(shape), np.array([list(figures.values()) for figures in pooled])])
    without = np.full((resamples, len(models), len(pooled[0])), np.nan)
    resampled = np.concatenate([resampled_RJ.reshape(resamples, *shape), without], axis=2)
    return Bootstrap(tuple(models), value, resampled, (*means[0], *pooled[0]))


def _mean_by_customer(
    value_NJ: Floats, customer: NDArray[np.int64], resamples: int, seed: int
) -> tuple[Floats, Floats]:
    """Means [J] of the rows that are not NaN, and of each resample [R, J] of the customers, drawn with all their rows."""
    code_N = np.unique(customer, return_inverse=True)[1]
    num, known_NJ = int(code_N.max()) + 1, ~np.isnan(value_NJ)
    sums = [np.bincount(code_N, weights=value_N, minlength=num) for value_N in np.where(known_NJ, value_NJ, 0.0).T]
    sums += [np.bincount(code_N, weights=known_N, minlength=num) for known_N in known_NJ.T.astype(np.float64)]
    sum_C2J, rng, block = np.column_stack(sums), np.random.default_rng(seed), max(1, BLOCK // num)
    drawn = [draw(rng, min(block, resamples - start), num) @ sum_C2J for start in range(0, resamples, block)]
    total_R2J = np.concatenate([sum_C2J.sum(0)[None], *drawn])
    with np.errstate(invalid="ignore", divide="ignore"):
        mean_RJ = total_R2J[:, : value_NJ.shape[1]] / total_R2J[:, value_NJ.shape[1] :]
    return mean_RJ[0], mean_RJ[1:]


def _best(splits: Mapping[str, Any], names: list[str], metric: str) -> dict[str, str | None]:
    """The highest `metric` on validation, ties by name; where validation has none the test split decides, which
    flatters.
    """
    for split in ("val", "test"):
        overall = splits[split]["overall"]
        known = [name for name in names if name in overall and not np.isnan(overall[name][metric]["value"])]
        if known:
            return {"name": min(known, key=lambda name: (-overall[name][metric]["value"], name)), "chosen_on": split}
    return {"name": None, "chosen_on": None}


def _reference(table: RankedTable, catalogue: Catalogue, k: int) -> dict[str, Any]:
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
