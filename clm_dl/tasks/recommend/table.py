"""The Scores table of a ranked task as arrays: every model's targets and lists on the same snapshots.

Shapes: N snapshots, M targets, V catalogue, K places of the list.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from clm_dl.data.ranking.catalogue import Catalogue
from clm_dl.errors import UserError
from clm_dl.evaluation.calibration import ece
from clm_dl.evaluation.metric import NETWORK
from clm_dl.tasks.recommend.accuracy import snapshot_metrics
from clm_dl.tasks.recommend.slates import coverage, slate_metrics

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]
Bools = NDArray[np.bool_]
FEW = 2  # units of history


@dataclass(frozen=True)
class Ranked:
    """One model's rows of one split and one `among`: targets [M] sorted by snapshot and item, and the lists [N, K]."""

    row: Ints  # [M] snapshot
    item: Ints
    above: Ints
    ties: Ints
    repeat: Bools
    cold: Bools
    candidates: Ints  # [N]
    top: Ints
    top_repeat: Bools
    probability: Floats  # [N], NaN where the model gives none
    first: Floats  # [N], is the first item a target

    def values(self, keep_M: Bools, rows_N: Bools, catalogue: Catalogue, k: int, *, lists: bool) -> dict[str, Floats]:
        """Per-snapshot figures [rows] of the kept targets, and with `lists` of the recommended items."""
        offsets = np.concatenate([[0], np.cumsum(np.bincount(self.row[keep_M], minlength=len(rows_N))[rows_N])])
        above, ties, num_items = self.above[keep_M], self.ties[keep_M], len(catalogue.count)
        found = snapshot_metrics(offsets, above, ties, self.candidates[rows_N], num_items=num_items, k=k)
        return found | slate_metrics(self.top[rows_N], self.top_repeat[rows_N], catalogue, k=k) if lists else found

    def pooled(self, rows_N: Bools, num_items: int, k: int) -> dict[str, float]:
        """coverage: share of the catalogue in some list. ece@1: calibration error of the first item's probability."""
        given_N = rows_N & ~np.isnan(self.probability)
        return {
            f"coverage@{k}": coverage(self.top[rows_N], num_items),
            "ece@1": ece(self.first[given_N], self.probability[given_N]),
        }


@dataclass(frozen=True)
class RankedTable:
    """One split of the Scores table: N snapshots ordered by cutoff and customer, and every model on them."""

    customer: Ints  # [N] codes
    cutoff: pd.DatetimeIndex
    history: Ints
    models: dict[str, dict[str, Ranked]]  # among -> model -> rows

    def __len__(self) -> int:
        return len(self.customer)

    def select(self, rows_N: Bools) -> RankedPart:
        """All targets of the rows of a mask."""
        return RankedPart(self, "overall", rows_N)


@dataclass(frozen=True)
class RankedPart:
    """What figures are made of: of some rows of a table all targets ("overall"), or those of one kind.

    "repeats" and "new" rank among the items in the history, or all others; "cold_items" are the targets that training
    never saw; "few_events" all targets, of customers with a history of FEW units at most.
    """

    table: RankedTable
    part: str
    rows_N: Bools

    def __len__(self) -> int:
        return int(self.rows_N.sum())

    @property
    def models(self) -> dict[str, Ranked]:
        return self.table.models.get(self.part if self.part in ("repeats", "new") else "catalogue", {})

    def targets(self, ranked: Ranked) -> Bools:
        """bool [M]: the targets of a model's rows that count."""
        kept_M = ranked.cold if self.part == "cold_items" else np.ones(len(ranked.row), bool)
        return kept_M & self.rows_N[ranked.row]


def ranked_table(
    scores: pd.DataFrame, split: str, catalogue: Catalogue, *, k: int, models: Sequence[str] | None = None
) -> RankedTable:
    """The rows of `split` as arrays. ValueError when models were scored on different snapshots or targets."""
    rows = scores[scores["split"] == split]
    rows = rows if models is None else rows[rows["model"].isin(models)]
    group = rows.groupby(["cutoff", "customer_id"], sort=True, observed=True)
    code = group.ngroup().to_numpy()
    first = np.unique(code, return_index=True)[1]
    customer = pd.factorize(rows["customer_id"].to_numpy()[first], sort=True)[0]
    item_code, item_ids = pd.factorize(rows["item_id"])
    item = catalogue.lookup(item_ids)[item_code] if len(rows) else item_code
    table = RankedTable(
        customer.astype(np.int64),
        pd.DatetimeIndex(pd.to_datetime(rows["cutoff"].iloc[first], utc=True)),
        rows["history"].to_numpy()[first],
        {},
    )
    columns = {
        name: rows[name].to_numpy(dtype=np.int64, na_value=0) for name in ("rank", "above", "ties", "candidates")
    }
    columns |= {name: rows[name].to_numpy() for name in ("label", "repeat", "cold", "probability")}
    columns |= {"code": code, "item": item}
    names = sorted(rows["model"].unique(), key=lambda name: (name != NETWORK, name))
    for among in rows["among"].unique():
        here = (rows["among"] == among).to_numpy()
        found: dict[str, Ranked] = {}
        for name in names:
            mask = here & (rows["model"] == name).to_numpy()
            if mask.any():
                found[str(name)] = _ranked({column: value[mask] for column, value in columns.items()}, len(first), k)
                _check_same_targets(found, str(name), split)
        table.models[str(among)] = found
    return table


def _ranked(rows: dict[str, NDArray[Any]], num: int, k: int) -> Ranked:
    listed, target = np.flatnonzero((rows["rank"] > 0) & (rows["rank"] <= k)), np.flatnonzero(rows["label"] == 1)
    target = target[np.lexsort((rows["item"][target], rows["code"][target]))]
    at, place = rows["code"][listed], rows["rank"][listed] - 1
    top, top_repeat = np.full((num, k), -1, np.int64), np.zeros((num, k), bool)
    top[at, place], top_repeat[at, place] = rows["item"][listed], rows["repeat"][listed]
    leading = listed[place == 0]
    candidates, probability, first = np.zeros(num, np.int64), np.full(num, np.nan), np.zeros(num)
    candidates[rows["code"]] = rows["candidates"]
    probability[rows["code"][leading]], first[rows["code"][leading]] = (
        rows["probability"][leading],
        rows["label"][leading],
    )
    return Ranked(
        row=rows["code"][target],
        item=rows["item"][target],
        above=rows["above"][target],
        ties=rows["ties"][target],
        repeat=rows["repeat"][target],
        cold=rows["cold"][target],
        candidates=candidates,
        top=top,
        top_repeat=top_repeat,
        probability=probability,
        first=first,
    )


def _check_same_targets(found: Mapping[str, Ranked], name: str, split: str) -> None:
    (first_name, first), ranked = next(iter(found.items())), found[name]
    if not (np.array_equal(first.row, ranked.row) and np.array_equal(first.item, ranked.item)):
        raise UserError(
            f"{first_name} and {name} must be scored on the same {split} snapshots and targets, got {len(first.row)} "
            f"and {len(ranked.row)} targets that differ; score them again together"
        )
