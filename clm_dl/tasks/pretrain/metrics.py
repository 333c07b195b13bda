"""From the losses of a pretrained network to metrics.json: by field and altogether, beside the model that says the same
of everyone.

metrics.json (values are {"value", "low", "high"}; null where undefined):
    task, objective, fields, fingerprint, resamples, seed
    split.{test,val}.overall.<model>.<metric>    loss@FIELD: a mean; loss: mean over fields of loss@FIELD / marginal's
    split.{test,val}.per_cutoff                  empty, there is one cutoff
    reference.{test,val}.{snapshots,customers,predictions}
    difference.test."network - marginal".<metric>
    best_baseline, data

Shapes: C customers, F fields, R resamples.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from clm_dl.evaluation.bootstrap import Bootstrap, draw
from clm_dl.evaluation.splits import NETWORK
from clm_dl.tasks.churn.summary import to_json

FORMAT = 1
MARGINAL = "marginal"
LEAST = 1e-3  # loss of the same guess for everyone below which a field hardly varies; it is left out of `loss`
Floats = NDArray[np.float64]


def summarise_pretraining(
    scores: pd.DataFrame,
    *,
    objective: str,
    fingerprint: str,
    data_counts: Mapping[str, Any],
    seed: int = 0,
    resamples: int = 1000,
) -> dict[str, Any]:
    """The metrics of a run, JSON-able, in the shape above. `scores` has a row a customer, model and field; see
    `data.scores.loss_table`.
    """
    fields = [str(name) for name in scores["field"].unique()]
    boots = {split: loss_bootstrap(scores, split, resamples=resamples, seed=seed) for split in ("test", "val")}
    splits, reference = {}, {}
    for split, boot in boots.items():
        splits[split] = {"overall": boot.intervals(), "per_cutoff": {}}
        rows = scores[(scores["split"] == split) & (scores["model"] == MARGINAL)]
        customers = int(rows["customer_id"].nunique())
        predictions = rows.groupby("field", sort=False)["predictions"].sum().astype(int).to_dict()
        reference[split] = {"snapshots": customers, "customers": customers, "predictions": predictions}
    return to_json(
        {
            "format": FORMAT,
            "task": "pretrain",
            "objective": objective,
            "fields": fields,
            "fingerprint": fingerprint,
            "resamples": resamples,
            "seed": seed,
            "split": splits,
            "reference": reference,
            "difference": {"test": boots["test"].differences(NETWORK)},
            "best_baseline": {"name": MARGINAL, "chosen_on": "val"},
            "data": dict(data_counts),
        }
    )


def loss_bootstrap(scores: pd.DataFrame, split: str, *, resamples: int = 1000, seed: int = 0) -> Bootstrap:
    """Losses of every model on the same resamples of customers; a customer weighs as much as it has predictions."""
    rows = scores[scores["split"] == split]
    fields = [str(name) for name in scores["field"].unique()]
    models = [name for name in (NETWORK, MARGINAL) if name in set(rows["model"])]
    parts = {}
    for name in models:
        table = rows[rows["model"] == name].sort_values("customer_id", kind="stable")
        count_CF, mean_CF = (
            table[column].to_numpy(np.float64).reshape(-1, len(fields)) for column in ("predictions", "score")
        )
        parts[name] = np.nan_to_num(mean_CF) * count_CF, count_CF
    num = len(parts[MARGINAL][0])
    value, resampled = (
        _metrics(parts, weight_RC)
        for weight_RC in (np.ones((1, num)), draw(np.random.default_rng(seed), resamples, num).reshape(-1, num))
    )
    return Bootstrap(tuple(models), value[0], resampled, ("loss", *(f"loss@{name}" for name in fields)))


def _metrics(parts: Mapping[str, tuple[Floats, Floats]], weight_RC: Floats) -> Floats:
    """[R, models, 1 + F]."""
    with np.errstate(invalid="ignore", divide="ignore"):
        mean = {name: (weight_RC @ sum_CF) / (weight_RC @ count_CF) for name, (sum_CF, count_CF) in parts.items()}
        share = {name: mean_RF / mean[MARGINAL] for name, mean_RF in mean.items()}
    known = {name: np.isfinite(share_RF) & (mean[MARGINAL] > LEAST) for name, share_RF in share.items()}
    relative = {
        name: np.where(known[name], share[name], 0.0).sum(1) / np.maximum(known[name].sum(1), 1) for name in parts
    }
    return np.stack([np.column_stack([relative[name], mean[name]]) for name in parts], axis=1)
