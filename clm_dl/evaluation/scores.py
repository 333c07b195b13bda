"""Scores: the one table in which every model's answers end, whatever made them."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd

from clm_dl.data.snapshots.snapshots import Snapshots
from clm_dl.data.store.store import EventStore
from clm_dl.errors import UserError
from clm_dl.evaluation.metric import NETWORK


def scores_table(
    store: EventStore,
    snapshots: Snapshots,
    *,
    model: str,
    task: str,
    score: np.ndarray | float,
    score_raw: np.ndarray | float,
) -> pd.DataFrame:
    """Scores of one model, one row a snapshot.

    Columns: customer_id, cutoff (UTC), split, model, task, horizon (days), score (calibrated probability), score_raw
    (before calibration), label (1, 0, NaN = censored), recent (active in the last `recent_days`).
    """
    return pd.DataFrame(
        {
            "customer_id": store.customer_ids[snapshots.customer],
            "cutoff": pd.to_datetime(snapshots.cutoff, unit="us", utc=True),
            "split": snapshots.split.astype(str),
            "model": model,
            "task": task,
            "horizon": snapshots.horizon_days,
            "score": score,
            "score_raw": score_raw,
            "label": snapshots.label,
            "recent": snapshots.recent,
        }
    )


def split_by_model(
    scores: pd.DataFrame, split: str, order: Sequence[str], same: Sequence[str], models: Sequence[str] | None = None
) -> tuple[pd.DataFrame, dict[str, pd.DataFrame]]:
    """The rows of `split` sorted by `order`, a table a model, the network's first; and the first of these tables.

    Args:
        same: columns in which all models must agree. models: only these; None = all.

    Raises:
        ValueError: models were scored on different rows.
    """
    rows = scores[scores["split"] == split]
    names = [str(name) for name in rows["model"].unique()] if models is None else list(models)
    names.sort(key=lambda name: name != NETWORK)
    parts = {name: rows[rows["model"] == name].sort_values(list(order), kind="stable") for name in names}
    first = next(iter(parts.values()), rows)
    keys = first[list(same)].reset_index(drop=True)
    for name, part in parts.items():
        if not keys.equals(part[list(same)].reset_index(drop=True)):
            raise UserError(
                f"{name} and {names[0]} must be scored on the same {split} snapshots and labels, got {len(part)} and "
                f"{len(first)} rows that differ; score them again together"
            )
    return first, parts
