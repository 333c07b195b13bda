"""Recommenders: counting and factor models that rank the whole catalogue, all fitted and asked in the same way.

Shape letters: B snapshots (customer, cutoff), C customers, L item lines, V catalogue.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Self

import numpy as np
import pandas as pd
from scipy import sparse
from sklearn.base import BaseEstimator

from clm_dl.data.ids import lookup
from clm_dl.data.ranking.catalogue import item_dictionary
from clm_dl.data.store.history import count_before
from clm_dl.data.store.store import EventStore
from clm_dl.errors import UserError, choice, nearest

REPEATS = ("remove", "allow")
OF_STORE = ("store_", "start_", "stop_", "_codes")  # attributes that belong to the log of `fit`
BLOCK_CELLS = 1 << 24  # scores held at once by `recommend`: 64 MiB of float32


@dataclass(frozen=True, eq=False)
class Lines:
    """The item lines of B histories, in store order; each array is `[L]`.

    Attributes:
        snapshot: position in the block of B. event: row of the store. item: code in the fitted catalogue.
    """

    snapshot: np.ndarray
    event: np.ndarray
    item: np.ndarray


class Recommender(BaseEstimator):
    """Base of all recommenders: `_fit` learns from the training rows, `_scores` rates the catalogue for a block of
    histories.

    Attributes:
        item_ids_: object `[V]`, the catalogue: the item dictionary of the store that was fitted; position = item code.
        count_: int64 `[V]`, lines of each item in the training rows.
        store_, start_, stop_: the store, and the training rows [start, stop) of each of its C customers.
    """

    def fit(self, store: EventStore, cutoff: int | str | np.ndarray) -> Self:
        """Learn from the rows before `cutoff`.

        Args:
            cutoff: microseconds UTC, an ISO date, or int64 `[C]`: the row at which the training rows of each customer
                stop.

        Raises:
            ValueError: the store has no items, the cutoff is no date, or no item line lies before it.
        """
        self.store_, self.item_ids_ = store, item_dictionary(store)
        self._codes: dict[str, np.ndarray] = {}
        self.start_ = np.asarray(store.offsets[:-1])
        if isinstance(cutoff, np.ndarray) and cutoff.ndim:
            assert len(cutoff) == store.num_customers
            self.stop_ = cutoff.astype(np.int64)
        else:
            at = store.zone.parse(cutoff) if isinstance(cutoff, str) else int(cutoff)
            self.stop_ = self.start_ + count_before(store.offsets, store.time, np.arange(store.num_customers), at)
        self.count_ = np.bincount(self.lines(store, self.start_, self.stop_).item, minlength=len(self.item_ids_))
        if not self.count_.any():
            raise UserError(
                f"no item line of the store {store.path} lies before the cutoff {cutoff}, so choose a later one"
            )
        self._fit(store, self.start_, self.stop_)
        return self

    def scores(self, store: EventStore, start: np.ndarray, stop: np.ndarray, at: np.ndarray) -> np.ndarray:
        """Scores float32 `[B, V]` of the whole catalogue; a history without any known item gets every item's
        popularity.

        Args:
            store: the fitted store or another log; items are matched by id, unknown ones are passed over.
            start, stop: int64 `[B]`, the history is the store's rows [start, stop).
            at: int64 `[B]` microseconds, the cutoffs.
        """
        scores = np.asarray(self._scores(store, start, stop, at), dtype=np.float32)
        known = np.zeros(len(start), bool)
        known[self.lines(store, start, stop).snapshot] = True
        scores[~known] = self.count_
        return scores

    def scorer(
        self, store: EventStore, start_N: np.ndarray, stop_N: np.ndarray, at_N: np.ndarray
    ) -> Callable[[np.ndarray], np.ndarray]:
        """`scores` of N snapshots, asked for by their index: int64 `[B]` -> float32 `[B, V]`."""
        return lambda index_B: self.scores(store, start_N[index_B], stop_N[index_B], at_N[index_B])

    def recommend(self, customers: Sequence[Any] | np.ndarray, k: int = 10, *, repeats: str = "remove") -> pd.DataFrame:
        """The k best items of each customer after its training rows: columns customer_id, rank (from 1), item_id,
        score.

        Args:
            customers: ids as in the log.
            repeats: "remove" what the customer has bought, or "allow" it.

        Raises:
            ValueError: k is not in [1, V], a customer is not in the log, or `repeats` is neither.
        """
        num_items = len(self.item_ids_)
        choice(repeats, REPEATS, "repeats")
        if not 1 <= k <= num_items:
            raise UserError(f"k must be from 1 to the {num_items} items of the catalogue, got {k}")
        code = lookup(self.store_.customer_ids, customers)
        if (code < 0).any():
            unknown = np.asarray(customers, dtype=object)[code < 0][0]
            near = nearest(str(unknown), [str(customer) for customer in self.store_.customer_ids])
            raise UserError(f"customer {unknown!r} is not in the log {self.store_.path}{near}: give ids that it has")
        size = max(1, BLOCK_CELLS // num_items)
        parts = [self._top(code[first : first + size], k, repeats) for first in range(0, len(code), size)]
        return pd.concat(parts, ignore_index=True) if parts else self._top(code, k, repeats)

    def _top(self, code: np.ndarray, k: int, repeats: str) -> pd.DataFrame:
        start, stop, time = self.start_[code], self.stop_[code], np.asarray(self.store_.time)
        after = np.where(stop > start, time[np.maximum(stop - 1, 0)] + 1, self.store_.end)
        scores = self.scores(self.store_, start, stop, after)
        if repeats == "remove":
            lines = self.lines(self.store_, start, stop)
            scores[lines.snapshot, lines.item] = -np.inf
        best = np.sort(np.argpartition(scores, -k, axis=1)[:, -k:], axis=1)
        order = np.argsort(-np.take_along_axis(scores, best, axis=1), axis=1, kind="stable")
        item = np.take_along_axis(best, order, axis=1)
        score = np.take_along_axis(scores, item, axis=1)
        row, place = np.nonzero(score > -np.inf)
        return pd.DataFrame(
            {
                "customer_id": self.store_.customer_ids[code[row]],
                "rank": place + 1,
                "item_id": self.item_ids_[item[row, place]],
                "score": score[row, place],
            }
        )

    def __getstate__(self) -> dict[str, Any]:
        """Without the store and its rows: what is left is enough to score any log."""
        return {name: value for name, value in self.__dict__.items() if name not in OF_STORE}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__ |= state | {"_codes": {}}

    # -- what subclasses write

    def _fit(self, store: EventStore, start: np.ndarray, stop: np.ndarray) -> None:
        raise TypeError(f"{type(self).__name__} must define _fit")

    def _scores(self, store: EventStore, start: np.ndarray, stop: np.ndarray, at: np.ndarray) -> np.ndarray:
        raise TypeError(f"{type(self).__name__} must define _scores")

    # -- what they build on

    def lines(self, store: EventStore, start: np.ndarray, stop: np.ndarray) -> Lines:
        """The lines of rows [start, stop) whose item is in the fitted catalogue, with its codes."""
        snapshot, event = expand(start, stop)
        code = np.append(self._codes_of(store), -1)  # a missing item is −1: it reads the last one
        item = code[np.asarray(store.column("item"))[event]]
        known = item >= 0
        return Lines(snapshot, event, item) if known.all() else Lines(snapshot[known], event[known], item[known])

    def interactions(
        self, store: EventStore, start: np.ndarray, stop: np.ndarray, weight: np.ndarray | None = None
    ) -> sparse.csr_array:
        """Float32 `[B, V]`: how many lines of a history have each item, or sums of `weight` `[L]`, as in `lines`."""
        lines = self.lines(store, start, stop)
        value = np.ones(len(lines.item), np.float32) if weight is None else weight.astype(np.float32)
        return sparse.csr_array((value, (lines.snapshot, lines.item)), shape=(len(start), len(self.item_ids_)))

    def _codes_of(self, store: EventStore) -> np.ndarray:
        """Code in the fitted catalogue, or −1, of every item of a store."""
        key = str(store.path)
        if key not in self._codes:
            self._codes[key] = pd.Index(self.item_ids_).get_indexer(store.dictionary("item")).astype(np.int32)
        return self._codes[key]


def expand(start: np.ndarray, stop: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Every row of the ranges [start, stop): number of the range and row, both `[sum of lengths]`."""
    length = np.asarray(stop) - np.asarray(start)
    number = np.repeat(np.arange(len(length)), length)
    first = np.cumsum(length) - length
    return number, np.arange(len(number)) + (np.asarray(start) - first)[number]


def age(store: EventStore, lines: Lines, stop: np.ndarray, unit: str) -> np.ndarray:
    """Steps back from the end of its history of each line `[L]`: 0 for the last line, or the last order's lines."""
    if choice(unit, ("line", "order"), "unit") == "line":
        return np.asarray(np.asarray(stop)[lines.snapshot] - 1 - lines.event)
    order = np.cumsum(store.order_start)
    return np.asarray(order[np.asarray(stop) - 1][lines.snapshot] - order[lines.event])
