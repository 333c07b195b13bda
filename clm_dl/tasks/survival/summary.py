"""From the Scores table of survival runs to metrics.json: every model's curve on the same snapshots, with intervals and
paired differences.

metrics.json (values are {"value", "low", "high"}; null where undefined):
    task, fingerprint, horizons_days, resamples, seed
    split.{test,val}.{overall,recent}.<model>.<metric>    calibrated curves; metrics of `survival.metric_names`
    split.{test,val}.per_cutoff.<date>.<model>.<metric>
    split.{test,val}.raw.<model>.<metric>                 before calibration, {"value"} only
    reference.{test,val}.{snapshots,customers,censored,active,floor}    censored and active by horizon
    difference.{test,test_recent}."network - <baseline>".<metric>     empty without a network
    best_baseline, data

Shapes: N snapshots, S horizons.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from clm_dl.errors import UserError
from clm_dl.evaluation.bootstrap import Bootstrap
from clm_dl.evaluation.classification import log_loss
from clm_dl.evaluation.splits import NETWORK, summarise_splits
from clm_dl.tasks.churn.summary import to_json
from clm_dl.tasks.survival.metrics import integrated_brier, survival_bootstrap

FORMAT = 1
Floats = NDArray[np.float64]


@dataclass(frozen=True)
class CurveScores:
    """One split of the Scores table as curves: arrays [N] or [N, S], rows ordered by cutoff and customer."""

    customer: NDArray[Any]
    cutoff: pd.DatetimeIndex
    recent: NDArray[np.bool_]
    label: Floats
    active: dict[str, Floats]
    raw: dict[str, Floats]

    def select(self, mask_N: NDArray[np.bool_]) -> CurveScores:
        active, raw = ({name: value[mask_N] for name, value in part.items()} for part in (self.active, self.raw))
        return CurveScores(
            self.customer[mask_N], self.cutoff[mask_N], self.recent[mask_N], self.label[mask_N], active, raw
        )


def curve_scores(scores: pd.DataFrame, split: str) -> CurveScores:
    """The curves of `split`, the network's first. ValueError when models were scored on different snapshots or
    horizons.
    """
    rows = scores[scores["split"] == split]
    models = sorted((str(name) for name in rows["model"].unique()), key=lambda name: name != NETWORK)
    num = scores["horizon"].nunique()
    parts = {
        name: rows[rows["model"] == name].sort_values(["cutoff", "customer_id", "horizon"], kind="stable")
        for name in models
    }
    first = next(iter(parts.values()), rows)
    for name, part in parts.items():
        keys = ["customer_id", "cutoff", "horizon", "label"]
        if not first[keys].reset_index(drop=True).equals(part[keys].reset_index(drop=True)):
            raise UserError(
                f"{name} and {models[0]} must be scored on the same {split} snapshots and horizons; score them again "
                "together"
            )

    def curves(column: str) -> dict[str, Floats]:
        return {name: part[column].to_numpy(dtype=np.float64).reshape(-1, num) for name, part in parts.items()}

    label_NS = first["label"].to_numpy(dtype=np.float64, na_value=np.nan).reshape(-1, num)
    one = first.iloc[::num]
    cutoff = pd.DatetimeIndex(pd.to_datetime(one["cutoff"], utc=True))
    return CurveScores(
        one["customer_id"].to_numpy(),
        cutoff,
        one["recent"].to_numpy(dtype=bool),
        label_NS,
        curves("score"),
        curves("score_raw"),
    )


def summarise_survival(
    scores: pd.DataFrame,
    *,
    horizons_days: Sequence[float],
    fingerprint: str,
    data_counts: Mapping[str, Any],
    seed: int = 0,
    resamples: int = 1000,
) -> dict[str, Any]:
    """The metrics of a run, JSON-able, in the shape above. The best baseline is chosen on validation."""
    tables = {split: curve_scores(scores, split) for split in ("test", "val")}
    days = list(horizons_days)

    def boot(table: CurveScores, curves: Mapping[str, Floats], resamples: int) -> Bootstrap:
        return survival_bootstrap(table.customer, table.label, curves, days, resamples=resamples, seed=seed)

    splits, difference, _ = summarise_splits(
        tables, lambda table: boot(table, table.active, resamples), lambda table: boot(table, table.raw, 0)
    )
    metrics: dict[str, Any] = {
        "format": FORMAT,
        "task": "survival",
        "fingerprint": fingerprint,
        "horizons_days": days,
        "resamples": resamples,
        "seed": seed,
        "split": splits,
        "reference": {split: _reference(table, days) for split, table in tables.items()},
        "difference": difference,
        "data": dict(data_counts),
    }
    metrics["best_baseline"] = _best_baseline(metrics)
    return to_json(metrics)


def _best_baseline(metrics: Mapping[str, Any]) -> dict[str, str | None]:
    """The baseline with the lowest integrated Brier score on validation, ties by name."""
    overall = metrics["split"]["val"]["overall"]
    names = [name for name in overall if name != NETWORK]
    if not names:
        return {"name": None, "chosen_on": None}
    return {"name": min(names, key=lambda name: (overall[name]["ibs"]["value"], name)), "chosen_on": "val"}


def _reference(table: CurveScores, horizons_days: Sequence[float]) -> dict[str, Any]:
    """How many are active through each horizon, and what the same curve for everyone, that of this split, reaches."""
    label_NS = table.label
    known_NS = ~np.isnan(label_NS)
    names = [f"{days:g}" for days in horizons_days]
    active_S = np.divide(
        np.nansum(label_NS, axis=0), known_NS.sum(axis=0), out=np.full(len(names), np.nan), where=known_NS.any(axis=0)
    )
    floor = {"c_index": 0.5} | {f"auroc@{name}": 0.5 for name in names}
    if known_NS.any(axis=0).all():
        floor["ibs"] = integrated_brier(label_NS, np.broadcast_to(active_S, label_NS.shape), horizons_days)
        losses = [
            log_loss(label_N[known_N], np.full(int(known_N.sum()), active))
            for label_N, known_N, active in zip(label_NS.T, known_NS.T, active_S, strict=True)
        ]
        floor |= {"log_loss": float(np.mean(losses))} | {
            f"log_loss@{name}": loss for name, loss in zip(names, losses, strict=True)
        }
        floor |= {f"brier@{name}": active * (1 - active) for name, active in zip(names, active_S.tolist(), strict=True)}
    return {
        "snapshots": len(label_NS),
        "customers": len(np.unique(table.customer)),
        "censored": dict(zip(names, (~known_NS).sum(axis=0).tolist(), strict=True)),
        "active": dict(zip(names, active_S.tolist(), strict=True)),
        "floor": floor,
    }
