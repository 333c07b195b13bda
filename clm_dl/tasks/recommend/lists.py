"""Lists: the k best items of every customer, with the reasons that exist.

Shapes: N customers, K length of a list, V catalogue, D width, S seen items of all customers one after the other.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd
import torch

from clm_dl.data.ids import lookup
from clm_dl.data.ranking.catalogue import Catalogue
from clm_dl.errors import UserError, nearest
from clm_dl.retrieval import Ragged, Scorer, as_tensor, one_or_many
from clm_dl.tasks.recommend.cases import RankedCases
from clm_dl.tasks.recommend.ranks import rank

POPULAR = 0.01  # share of the catalogue that counts as popular


def check_length(k: Any, num_items: int) -> int:
    """`k` if it can be the length of a list, else ValueError."""
    if not isinstance(k, (int, np.integer)) or isinstance(k, bool):
        raise UserError(f"k is the length of a list and must be an integer, got {k!r}")
    if not 1 <= k <= num_items:
        raise UserError(f"k must be from 1 to the {num_items} items of the catalogue, got {k}")
    return int(k)


def best_items(
    cases: RankedCases, scorer: Scorer, *, k: int, repeats: str, wanted_V: np.ndarray, vectors_VD: torch.Tensor | None
) -> pd.DataFrame:
    """The k best items of each of the cases that are wanted.

    Args:
        wanted_V: bool, see `wanted_items`. vectors_VD: of the network's items; None of a run without one.

    Returns:
        Columns customer_id, cutoff, rank (from 1), item_id, score, reason, nearest. `reason`: "repeat" (bought before),
        "popular" (in the most sold hundredth of the catalogue) or "similar"; `nearest`: the bought item whose vector
        has the largest cosine, "" without one. Scores are the model's own: they order the items of one customer.
    """
    catalogue, snapshots = cases.catalogue, cases.snapshots
    unwanted_V = torch.from_numpy(np.where(wanted_V, 0.0, -np.inf).astype(np.float32))
    ranks = rank(
        lambda row_B: as_tensor(scorer(row_B)) + unwanted_V,
        np.arange(len(cases)),
        targets=cases.targets,
        seen=cases.seen,
        num_items=len(catalogue),
        k=k,
        repeats=repeats,
    )
    row, place = np.nonzero(ranks.top >= 0)
    top = ranks.top[row, place]
    near = np.full(len(row), -1)
    if vectors_VD is not None:
        unit_VD = torch.nn.functional.normalize(vectors_VD, dim=1).numpy()
        near = _nearest(ranks.top, cases.seen, unit_VD)[row, place]
    popular = catalogue.count >= np.sort(catalogue.count)[-max(1, round(POPULAR * len(catalogue)))]
    return pd.DataFrame(
        {
            "customer_id": cases.store.customer_ids[snapshots.customer][row],
            "cutoff": pd.to_datetime(snapshots.cutoff[row], unit="us", utc=True),
            "rank": place + 1,
            "item_id": catalogue.item_ids[top],
            "score": ranks.top_score[row, place],
            "reason": np.select([ranks.top_repeat[row, place], popular[top]], ["repeat", "popular"], "similar"),
            "nearest": np.where(near >= 0, catalogue.item_ids[near], ""),
        }
    )


def wanted_items(catalogue: Catalogue, where: Mapping[str, Any]) -> np.ndarray:
    """bool [V]: the items that `where` ({content column: value or values}) leaves."""
    wanted_V = np.ones(len(catalogue.item_ids), bool)
    if not isinstance(where, Mapping):
        raise UserError(f"where must name columns and their values, got {where!r}: write where={{column: value}}")
    for name, value in where.items():
        if name not in catalogue.values:
            known = list(catalogue.values)
            lacks = f"no item column {name!r} to filter by{nearest(name, known)}"
            number = f"where filters by categories and {name!r} is a number of the items"
            what = number if name in catalogue.numeric else lacks
            raise UserError(f"{what}; the run's catalogue has {', '.join(known) or 'none'}")
        values = one_or_many(value)
        if not values:
            raise UserError(f"where={{{name}: []}} leaves no item: give a value, or leave the column out")
        positions = lookup(catalogue.values[name], values)
        for one in (one for one, place in zip(values, positions, strict=True) if place < 0):
            raise UserError(
                f"no item has {name}={one}{nearest(str(one), catalogue.values[name])}: filter by a value of the "
                "catalogue"
            )
        wanted_V &= np.isin(catalogue.categorical[name], positions)
    return wanted_V


def _nearest(top_NK: np.ndarray, seen: Ragged, unit_VD: np.ndarray) -> np.ndarray:
    """The seen item with the largest cosine to each recommended one, but for itself; −1 without any: int64 `[N, K]`."""
    offsets, items_S = seen
    result = np.full(top_NK.shape, -1)
    row_S = np.repeat(np.arange(len(top_NK)), np.diff(offsets))
    some = np.flatnonzero(np.diff(offsets))
    if not len(some):
        return result
    for place in range(top_NK.shape[1]):
        top_S = top_NK[row_S, place]
        cosine_S = np.where(top_S == items_S, -np.inf, np.einsum("sd,sd->s", unit_VD[items_S], unit_VD[top_S]))
        best = np.maximum.reduceat(cosine_S, offsets[some])
        order = np.flatnonzero((cosine_S == np.repeat(best, np.diff(offsets)[some])) & np.isfinite(cosine_S))
        result[row_S[order][::-1], place] = items_S[order][::-1]  # the first of equals stands
    result[top_NK < 0] = -1
    return result
