"""Losses of a pretrained network: rows of the Scores table and back, by field and altogether, beside the model that
says the same of everyone.

Shapes: N snapshots (one a customer), C customers, F fields, R resamples, M models.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from clm_dl.data.snapshots.snapshots import Snapshots
from clm_dl.data.store.store import EventStore
from clm_dl.evaluation.bootstrap import Measure
from clm_dl.evaluation.metric import NETWORK
from clm_dl.evaluation.scores import scores_table

MARGINAL = "marginal"
LEAST = 1e-3  # loss of the same guess for everyone below which a field hardly varies; it is left out of `loss`
Floats = NDArray[np.float64]


@dataclass(frozen=True)
class LossTable:
    """One split: model -> sums of losses and predictions, both [C, F], customers in order of their ids."""

    fields: tuple[str, ...]
    losses: dict[str, tuple[Floats, Floats]]
    wanted: tuple[str, ...]  # the models that figures are made of

    def __len__(self) -> int:
        return len(self.losses[MARGINAL][0]) if self.losses else 0


def loss_rows(
    store: EventStore,
    snapshots: Snapshots,
    fields: Sequence[str],
    *,
    model: str,
    loss: np.ndarray,
    predictions: np.ndarray,
) -> pd.DataFrame:
    """Losses as Scores, one row a snapshot and field: `field`, `predictions`, and the mean loss as `score`.

    `loss` (sums) and `predictions` are `[N, F]`; the score is NaN where there is no prediction.
    """
    table = scores_table(store, snapshots, model=model, task="pretrain", score=np.nan, score_raw=np.nan)
    table = table.loc[table.index.repeat(len(fields))].reset_index(drop=True)
    mean = np.divide(loss, predictions, out=np.full(loss.shape, np.nan), where=predictions > 0).ravel()
    named = {"field": np.tile(np.asarray(fields, dtype=object), len(snapshots)), "predictions": predictions.ravel()}
    return table.assign(score=mean, score_raw=mean, label=np.nan, **named)


def read_losses(scores: pd.DataFrame, split: str, models: Sequence[str] | None = None) -> LossTable:
    """The losses of `split`; the marginal's always, as the others are held against them."""
    rows = scores[scores["split"] == split]
    fields = [str(name) for name in scores["field"].unique()]
    known = [name for name in (NETWORK, MARGINAL) if name in set(rows["model"])]
    losses = {}
    for name in known:
        table = rows[rows["model"] == name].sort_values("customer_id", kind="stable")
        count_CF, mean_CF = (
            table[column].to_numpy(np.float64).reshape(-1, len(fields)) for column in ("predictions", "score")
        )
        losses[name] = np.nan_to_num(mean_CF) * count_CF, count_CF
    return LossTable(tuple(fields), losses, tuple(known if models is None else models))


def loss_measure(table: LossTable) -> Measure:
    """loss@FIELD: a mean, a customer weighing as much as it has predictions; loss: mean of it / marginal's."""
    names = ("loss", *(f"loss@{name}" for name in table.fields))
    return Measure(table.wanted, names, lambda weight_RC: _losses(table, weight_RC), len(table), len(table))


def _losses(table: LossTable, weight_RC: Floats) -> Floats:
    """[R, M, 1 + F]."""
    parts: Mapping[str, tuple[Floats, Floats]] = table.losses
    with np.errstate(invalid="ignore", divide="ignore"):
        mean = {name: (weight_RC @ sum_CF) / (weight_RC @ count_CF) for name, (sum_CF, count_CF) in parts.items()}
        share = {name: mean_RF / mean[MARGINAL] for name, mean_RF in mean.items()}
    known = {name: np.isfinite(share_RF) & (mean[MARGINAL] > LEAST) for name, share_RF in share.items()}
    found = []
    for name in table.wanted:
        relative_R = np.where(known[name], share[name], 0.0).sum(1) / np.maximum(known[name].sum(1), 1)
        found.append(np.column_stack([relative_R, mean[name]]))
    return np.stack(found, axis=1)
