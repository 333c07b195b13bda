"""Recommending: a trained ranked run applied to any log; top-k lists with the reasons that exist, and vectors of its
items.

Shapes: N customers, K length of a list, V catalogue, D width, S seen items of all customers one after the other.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd
import torch

from clm_dl.data.ranking.catalogue import Catalogue
from clm_dl.errors import UserError, nearest
from clm_dl.evaluation.splits import NETWORK
from clm_dl.experiment.inference import customer_vectors, snapshots_of
from clm_dl.experiment.refit import chosen_model, refitted
from clm_dl.retrieval import as_tensor, one_or_many
from clm_dl.run import Run
from clm_dl.tasks.recommend.module import NextItemTask
from clm_dl.tasks.recommend.ranks import rank, seen_items

POPULAR = 0.01  # share of the catalogue that counts as popular


def recommend(
    run: Run,
    events: Any = None,
    *,
    cutoff: Any = None,
    k: int | None = None,
    customers: Sequence[Any] | None = None,
    where: Mapping[str, Any] | None = None,
    model: str = NETWORK,
) -> pd.DataFrame:
    """The k best items for every customer with an event before the cutoff; their raw history is enough, the run need
    not know them.

    Args:
        events, cutoff: as in `scoring.predict`.
        k: length of a list; None for the run's own.
        customers: ids to recommend to; None for everyone in the log.
        where: `{content column: value or values}`: only such items.
        model: network; another model of the run, which is fitted again on the run's own log first; or best, which
            validation chose.

    Returns:
        Columns customer_id, cutoff, rank (from 1), item_id, score, reason, nearest. `reason`: "repeat" (bought before),
        "popular" (in the most sold hundredth of the catalogue) or "similar"; `nearest`: the bought item whose vector
        has the largest cosine, "" without one. Scores are the model's own: they order the items of one customer.

    Raises:
        ValueError: k outside the catalogue, a customer without a history, an unknown model, column or value in `where`;
            for another model than the network: the run's log has changed.
    """
    task, catalogue = ranked_task(run), run.catalogue
    num_items, k = len(catalogue.item_ids), run.config["k"] if k is None else k
    if not isinstance(k, (int, np.integer)) or isinstance(k, bool):
        raise UserError(f"k is the length of a list and must be an integer, got {k!r}")
    if not 1 <= k <= num_items:
        raise UserError(f"k must be from 1 to the {num_items} items of the catalogue, got {k}")
    wanted_V, model = _wanted(catalogue, where or {}), chosen_model(run, model)
    with snapshots_of(run, events, cutoff) as (store, datamodule, snapshots, _):
        ids = store.customer_ids[snapshots.customer]
        index_N = np.arange(len(snapshots)) if customers is None else _find(ids, customers)
        ids, snapshots = ids[index_N], snapshots.select(index_N)
        z_ND = torch.from_numpy(customer_vectors(task, datamodule, index_N))
        codes = np.append(catalogue.lookup(store.dictionary("item")), -1)  # a missing item, −1, reads the last one
        seen = seen_items(codes[store.column("item")], snapshots.start, snapshots.stop)
        with torch.inference_mode():
            vectors_VD = task.tower.vectors().detach()  # without content, the parameter itself
            unwanted_V = torch.from_numpy(np.where(wanted_V, 0.0, -np.inf).astype(np.float32))

            def network(row_B: np.ndarray) -> torch.Tensor:
                return task.tower.similarity(z_ND[row_B], vectors_VD)

            scorer = network if model == NETWORK else refitted(run, model, network, store, snapshots, seen)
            nothing = np.zeros(len(ids) + 1, np.int64), np.empty(0, np.int64)
            ranks = rank(
                lambda row_B: as_tensor(scorer(row_B)) + unwanted_V,
                np.arange(len(ids)),
                targets=nothing,
                seen=seen,
                num_items=num_items,
                k=k,
                repeats=run.config["policy"]["repeats"],
            )
        nearest_NK = _nearest(ranks.top, seen, torch.nn.functional.normalize(vectors_VD, dim=1).numpy())
        row, place = np.nonzero(ranks.top >= 0)
        top = ranks.top[row, place]
        popular = catalogue.count >= np.sort(catalogue.count)[-max(1, round(POPULAR * num_items))]
        near = nearest_NK[row, place]
        return pd.DataFrame(
            {
                "customer_id": ids[row],
                "cutoff": pd.to_datetime(snapshots.cutoff[row], unit="us", utc=True),
                "rank": place + 1,
                "item_id": catalogue.item_ids[top],
                "score": ranks.top_score[row, place],
                "reason": np.select([ranks.top_repeat[row, place], popular[top]], ["repeat", "popular"], "similar"),
                "nearest": np.where(near >= 0, catalogue.item_ids[near], ""),
            }
        )


def item_vectors(run: Run) -> pd.DataFrame:
    """The vectors of the run's whole catalogue, in the space of its customer vectors: columns item_id, z0 … z(D−1)."""
    with torch.inference_mode():
        vectors_VD = ranked_task(run).tower.vectors().numpy()
    table = pd.DataFrame(vectors_VD, columns=[f"z{d}" for d in range(vectors_VD.shape[1])])
    return pd.concat([pd.Series(run.catalogue.item_ids, name="item_id"), table], axis=1)


def ranked_task(run: Run) -> NextItemTask:
    """The run's trained network; ValueError when it does not rank items."""
    if not isinstance(run.task, NextItemTask):
        raise UserError(
            f"run {run.path} answers {run.task.name} and ranks no items: give a run of next_item or next_order"
        )
    return run.task


def _find(ids: np.ndarray, customers: Sequence[Any]) -> np.ndarray:
    customers = one_or_many(customers)
    if not customers:
        raise UserError("customers names nobody: give ids, or leave it out for everyone in the log")
    place = pd.Index(ids.astype(str)).get_indexer([str(customer) for customer in customers])
    if (place < 0).any():
        missing = [str(customer) for customer, found in zip(customers, place, strict=True) if found < 0]
        raise UserError(
            f"customer {missing[0]!r} has no event before the cutoff, so there is no history to recommend from: leave "
            "it out"
        )
    return place


def _wanted(catalogue: Catalogue, where: Mapping[str, Any]) -> np.ndarray:
    wanted_V = np.ones(len(catalogue.item_ids), bool)
    if not isinstance(where, Mapping):
        raise UserError(f"where must name columns and their values, got {where!r}: write where={{column: value}}")
    for name, value in where.items():
        if name not in catalogue.values:
            known = list(catalogue.values)
            lacks = f"no item column {name!r} to filter by{nearest(name, known)}"
            what = (
                f"where filters by categories and {name!r} is a number of the items"
                if name in catalogue.numeric
                else lacks
            )
            raise UserError(f"{what}; the run's catalogue has {', '.join(known) or 'none'}")
        values = one_or_many(value)
        if not values:
            raise UserError(f"where={{{name}: []}} leaves no item: give a value, or leave the column out")
        for one in values:
            if str(one) not in catalogue.values[name]:
                raise UserError(
                    f"no item has {name}={one}{nearest(str(one), catalogue.values[name])}: filter by a value of the "
                    "catalogue"
                )
        positions = [catalogue.values[name].index(str(one)) for one in values]
        wanted_V &= np.isin(catalogue.categorical[name], positions)
    return wanted_V


def _nearest(top_NK: np.ndarray, seen: tuple[np.ndarray, np.ndarray], unit_VD: np.ndarray) -> np.ndarray:
    """The seen item with the largest cosine to each recommended one, itself left out; −1 without any: int64 `[N, K]`."""
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
