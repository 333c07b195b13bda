"""Cards: for a few customers, what they bought last, the list they would have got, and what they bought next."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd

from clm_dl.data.ranking.catalogue import Catalogue
from clm_dl.data.snapshots.snapshots import Snapshots
from clm_dl.data.store.store import EventStore

LAST = 8  # items of the history that a card shows
MAX_COLORS = 50  # values of a column that the projector still colours
OTHER = "other"


def sample_cards(
    scores: pd.DataFrame,
    store: EventStore,
    snapshots: Snapshots,
    *,
    model: str,
    names: Sequence[str] | None = None,
    num: int = 6,
    seed: int = 0,
) -> list[dict[str, Any]]:
    """Cards of `num` test snapshots drawn at random, so that they are typical and not the best.

    Args:
        scores: the Scores table of a ranked run; the rows of `model` over the whole catalogue are read.
        snapshots: those that were scored, of `store`.
        names: text for each item [V] in the order of the store's dictionary, such as its title; its id without it.

    Returns:
        Plain dicts: model, customer, cutoff (ISO date), bought (names, oldest first), more (items bought before those),
        list ({item, before: in the history, hit: bought next}), next ({item, place: in the ranking, None if it could
        not be listed}).
    """
    rows = scores[(scores["split"] == "test") & (scores["model"] == model) & (scores["among"] == "catalogue")]
    ids = store.dictionary("item")
    name_of = dict(zip(ids, ids if names is None else names, strict=True))
    test = np.flatnonzero(snapshots.split == "test")
    chosen = np.sort(np.random.default_rng(seed).permutation(test)[:num])
    cards = []
    for index in chosen.tolist():
        cutoff = pd.Timestamp(snapshots.cutoff[index], unit="us", tz="UTC")
        found = rows[
            (rows["customer_id"] == store.customer_ids[snapshots.customer[index]]) & (rows["cutoff"] == cutoff)
        ]
        history = ids[_items(store, int(snapshots.start[index]), int(snapshots.stop[index]))].tolist()
        listed, wanted = (
            found[found["rank"].notna()].sort_values("rank"),
            found[found["label"] == 1].sort_values("above"),
        )
        cards.append(
            {
                "model": model,
                "customer": str(store.customer_ids[snapshots.customer[index]]),
                "cutoff": store.zone.iso(snapshots.cutoff[index])[:10],
                "bought": [str(name_of[item]) for item in history[-LAST:]],
                "more": max(len(history) - LAST, 0),
                "list": [
                    {"item": str(name_of[item]), "before": item in set(history), "hit": bool(label == 1)}
                    for item, label in zip(listed["item_id"], listed["label"], strict=True)
                ],
                "next": [
                    {"item": str(name_of[item]), "place": int(above) + 1 if above < len(ids) else None}
                    for item, above in zip(wanted["item_id"], wanted["above"], strict=True)
                ],
            }
        )
    return cards


def card_text(card: Mapping[str, Any]) -> str:
    """A card as Markdown, for TensorBoard."""
    more = f"{card['more']:,} earlier, then " if card["more"] else ""
    lines = [
        f"**{card['customer']}**, {card['cutoff']}",
        "",
        f"Bought: {more}{', '.join(card['bought'])}",
        "",
        f"Recommended by {card['model']}:",
        "",
    ]
    lines += [f"{place}. {listed['item']}{_marks(listed)}" for place, listed in enumerate(card["list"], start=1)]
    return "\n".join([*lines, "", f"Bought next: {', '.join(_next(wanted) for wanted in card['next'])}"])


def _marks(listed: Mapping[str, Any]) -> str:
    return (" (bought before)" if listed["before"] else "") + (" ✓ **bought next**" if listed["hit"] else "")


def _next(wanted: Mapping[str, Any]) -> str:
    place = "not listed by the policy" if wanted["place"] is None else f"place {wanted['place']:,}"
    return f"{wanted['item']} ({place})"


def _items(store: EventStore, start: int, stop: int) -> np.ndarray:
    """Codes of the items in the store's rows [start, stop), each once, by its last purchase."""
    code = store.column("item")[start:stop]
    newest = code[code >= 0][::-1]
    first = np.sort(np.unique(newest, return_index=True)[1])
    return newest[first][::-1]


def item_table(catalogue: Catalogue) -> pd.DataFrame:
    """What the projector shows of each item: item_id, its categories (rare values as "other": few colours), count."""
    table = catalogue.to_frame()[["item_id", *catalogue.categorical, "count"]]
    for name in catalogue.categorical:
        shown = table[name].value_counts().index[: MAX_COLORS - 2]  # beside other and missing
        table[name] = table[name].where(table[name].isin(shown) | table[name].isna(), OTHER).fillna("missing")
    return table
