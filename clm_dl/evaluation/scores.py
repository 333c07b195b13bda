"""Scores: the one table in which every model's answers end, whatever made them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd

from clm_dl.data.snapshots.snapshots import Snapshots
from clm_dl.data.store.store import EventStore


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


def loss_table(
    store: EventStore,
    snapshots: Snapshots,
    fields: Sequence[str],
    *,
    model: str,
    loss: np.ndarray,
    predictions: np.ndarray,
) -> pd.DataFrame:
    """Losses of a pretraining as Scores, one row a snapshot and field: `field`, `predictions`, and the mean loss as
    `score`.

    `loss` (sums) and `predictions` are `[N, F]`; the score is NaN where there is no prediction.
    """
    table = scores_table(store, snapshots, model=model, task="pretrain", score=np.nan, score_raw=np.nan)
    table = table.loc[table.index.repeat(len(fields))].reset_index(drop=True)
    mean = np.divide(loss, predictions, out=np.full(loss.shape, np.nan), where=predictions > 0).ravel()
    named = {"field": np.tile(np.asarray(fields, dtype=object), len(snapshots)), "predictions": predictions.ravel()}
    return table.assign(score=mean, score_raw=mean, label=np.nan, **named)


def curve_table(
    store: EventStore,
    snapshots: Snapshots,
    horizons_days: Sequence[float],
    *,
    model: str,
    active: np.ndarray,
    active_raw: np.ndarray,
    label: np.ndarray,
) -> pd.DataFrame:
    """Survival curves of one model as Scores, one row a snapshot and horizon, the horizons of a snapshot one below the
    other.

    All arrays are `[N, S]`: P(active through the horizon), before calibration, and the label 1 active, 0 left, NaN
    censored.
    """
    num = len(horizons_days)
    table = scores_table(store, snapshots, model=model, task="survival", score=np.nan, score_raw=np.nan)
    table = table.loc[table.index.repeat(num)].reset_index(drop=True)
    return table.assign(
        horizon=np.tile(np.asarray(horizons_days, dtype=float), len(snapshots)),
        score=active.ravel(),
        score_raw=active_raw.ravel(),
        label=label.ravel(),
    )


def value_table(
    store: EventStore,
    snapshots: Snapshots,
    *,
    model: str,
    score: np.ndarray,
    score_raw: np.ndarray,
    spend: np.ndarray,
    orders: np.ndarray,
    forecast: Mapping[str, np.ndarray] | None = None,
) -> pd.DataFrame:
    """Expected spend of one model as Scores, one row a snapshot; all arrays are `[N]`.

    `score` is money, calibrated, `label` the `spend` of the window, and `orders` its orders (NaN censored). `forecast`
    holds what only some models know, NaN without it: median, low, high (of an interval around the spend),
    expected_orders.
    """
    table = scores_table(store, snapshots, model=model, task="value", score=score, score_raw=score_raw)
    more = {
        name: np.nan if forecast is None else forecast[name] for name in ("median", "low", "high", "expected_orders")
    }
    return table.assign(label=spend, orders=orders, **more)
