"""Nearest neighbours: items bought by the same customers, customers who bought the same items, and ratings predicted
from these.

Shape letters: B snapshots or pairs, C customers, V catalogue.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from scipy import sparse

from clm_dl.baselines.recommenders.base import BLOCK_CELLS, Recommender
from clm_dl.data.ids import lookup
from clm_dl.data.store.store import EventStore
from clm_dl.errors import UserError, choice

SIMILARITIES = ("cosine", "pearson")


class ItemKNN(Recommender):
    """An item's score is the sum of its similarities to those of its `k` nearest items that are in the history. Sarwar
    et al. 2001.

    What counts is whether a customer bought an item, not how often.

    Args:
        k: neighbours of each item; those of similarity 0 or less are none.
        similarity: "cosine" or "pearson" of the columns of the customer × item matrix of zeros and ones.
        shrink: added to the denominator: pairs seen rarely count less.

    Attributes:
        similarity_: float32 sparse `[V, V]`; column i: the neighbours of item i.
    """

    def __init__(self, *, k: int = 20, similarity: str = "cosine", shrink: float = 0.0):
        self.k = k
        self.similarity = similarity
        self.shrink = shrink

    def _fit(self, store: EventStore, start: np.ndarray, stop: np.ndarray) -> None:
        _check(self.k, self.similarity)
        items = sparse.csr_array(_bought(self, store, start, stop).T)  # [V, C]
        block = max(1, BLOCK_CELLS // items.shape[0])
        rows = []
        for first in range(0, items.shape[0], block):
            similar = row_similarity(items[first : first + block], items, self.similarity, self.shrink)
            similar[np.arange(len(similar)), first + np.arange(len(similar))] = 0
            rows.append(_nearest(similar, self.k))
        self.similarity_ = sparse.csr_array(sparse.vstack(rows).T)

    def _scores(self, store: EventStore, start: np.ndarray, stop: np.ndarray, at: np.ndarray) -> np.ndarray:
        return np.asarray((_bought(self, store, start, stop) @ self.similarity_).toarray())


class UserKNN(Recommender):
    """Each of the `k` customers whose training rows are nearest to the history adds its similarity to all that it
    bought.

    Args:
        k: neighbours of each history. Its own training rows may be one of them: they change nothing but the order of
            repeats.
        similarity: "cosine" or "pearson" of the rows of the customer × item matrix of zeros and ones.
        shrink: added to the denominator; of ratings, to the number of common items: customers with few of them count
            less.

    Attributes:
        bought_: float32 sparse `[C, V]`, zeros and ones of the training rows.
    """

    def __init__(self, *, k: int = 50, similarity: str = "cosine", shrink: float = 0.0):
        self.k = k
        self.similarity = similarity
        self.shrink = shrink

    def _fit(self, store: EventStore, start: np.ndarray, stop: np.ndarray) -> None:
        _check(self.k, self.similarity)
        self.bought_ = _bought(self, store, start, stop)

    def _scores(self, store: EventStore, start: np.ndarray, stop: np.ndarray, at: np.ndarray) -> np.ndarray:
        similar = row_similarity(_bought(self, store, start, stop), self.bought_, self.similarity, self.shrink)
        return np.asarray((_nearest(similar, self.k) @ self.bought_).toarray())

    def predict_rating(
        self, customers: Sequence[Any], items: Sequence[Any], *, rating: str = "amount", centred: bool = True
    ) -> np.ndarray:
        """Rating of each pair (customer, item) from the k most similar customers who rated the item, float64 `[B]`.

        Similarities and the neighbours' means run over the items that both rated (Resnick et al. 1994). The item itself
        is left out of what is known of the customer. Without a neighbour the customer's mean is predicted; NaN where it
        rated nothing else.

        Args:
            customers, items: ids as in the log, of one length.
            rating: numeric field of the store; several ratings of one item by one customer are averaged.
            centred: the customer's mean plus the weighted mean of the neighbours' deviations from theirs; false = the
                weighted mean.

        Raises:
            ValueError: an unknown customer or item, or a field that is not numeric.
        """
        customer = _codes(self.store_.customer_ids, customers, "customer")
        item = _codes(self.item_ids_, np.asarray(items).astype(str), "item")
        given, known = self._ratings(rating)
        own, mask = given[customer].tolil(), known[customer].tolil()
        own[np.arange(len(item)), item] = 0
        mask[np.arange(len(item)), item] = 0
        similar, their_mean = corated_similarity(own.tocsr(), mask.tocsr(), given, known, self.similarity, self.shrink)
        theirs = given[:, item].T.toarray()  # [B, C]
        rated = known[:, item].T.toarray() > 0
        rated[np.arange(len(item)), customer] = False  # nobody is a neighbour of its own
        nearest = _nearest(np.where(rated, similar, 0), self.k).toarray().astype(np.float64)
        weight = nearest.sum(axis=1)
        count = mask.sum(axis=1)
        own_mean = np.divide(own.sum(axis=1), count, out=np.full(len(item), np.nan), where=count > 0)
        value = (nearest * (theirs - their_mean if centred else theirs)).sum(axis=1)
        value = np.divide(value, weight, out=np.zeros(len(item)), where=weight > 0)
        return np.where(weight > 0, value + (own_mean if centred else 0), own_mean)

    def _ratings(self, rating: str) -> tuple[sparse.csr_array, sparse.csr_array]:
        """Mean rating `[C, V]` and 1 where there is one."""
        store = self.store_
        if rating not in store.names("numeric"):
            raise UserError(
                f"no numeric field {rating!r} to predict: the store has {', '.join(store.names('numeric')) or 'none'}"
            )
        lines = self.lines(store, self.start_, self.stop_)
        value = np.asarray(store.column(rating), dtype=np.float64)[lines.event]
        some = np.isfinite(value)
        coords, shape = (lines.snapshot[some], lines.item[some]), (store.num_customers, len(self.item_ids_))
        total, known = (
            sparse.csr_array((data, coords), shape=shape) for data in (value[some], np.ones(int(some.sum())))
        )
        total.data /= known.data  # built from the same coordinates: stored in the same order
        known.data[:] = 1
        return total, known


def row_similarity(a_BV: sparse.csr_array, b_CV: sparse.csr_array, kind: str, shrink: float = 0.0) -> np.ndarray:
    """Cosine or Pearson of every row of one sparse matrix with every row of another: `[B, C]`; 0 where undefined."""
    common = np.asarray((a_BV @ b_CV.T).toarray())
    square_B, square_C = (np.asarray((matrix * matrix).sum(axis=1)) for matrix in (a_BV, b_CV))
    if kind == "pearson":
        sum_B, sum_C, size = np.asarray(a_BV.sum(axis=1)), np.asarray(b_CV.sum(axis=1)), a_BV.shape[1]
        common = common - np.outer(sum_B, sum_C / size)
        square_B, square_C = square_B - sum_B**2 / size, square_C - sum_C**2 / size
    scale = np.outer(np.sqrt(np.maximum(square_B, 0)), np.sqrt(np.maximum(square_C, 0))) + shrink
    return np.divide(common, scale, out=np.zeros_like(common), where=scale > 0)


def corated_similarity(
    a_BV: sparse.csr_array,
    known_a_BV: sparse.csr_array,
    b_CV: sparse.csr_array,
    known_b_CV: sparse.csr_array,
    kind: str,
    shrink: float = 0.0,
) -> tuple[np.ndarray, np.ndarray]:
    """Cosine or Pearson over the n columns that both rows know, times n / (n + shrink), and the mean there of the
    second's row.

    Both are `[B, C]`, 0 where undefined.
    """
    dense = {
        "n": known_a_BV @ known_b_CV.T,
        "a": a_BV @ known_b_CV.T,
        "b": known_a_BV @ b_CV.T,
        "aa": (a_BV * a_BV) @ known_b_CV.T,
        "bb": known_a_BV @ (b_CV * b_CV).T,
        "ab": a_BV @ b_CV.T,
    }
    n, a, b, aa, bb, ab = (np.asarray(matrix.toarray(), dtype=np.float64) for matrix in dense.values())
    n = np.maximum(n, 1)
    if kind == "pearson":
        aa, bb, ab = aa - a * a / n, bb - b * b / n, ab - a * b / n
    scale = np.sqrt(np.maximum(aa, 0) * np.maximum(bb, 0))
    return np.divide(ab, scale, out=np.zeros_like(ab), where=scale > 1e-12) * n / (n + shrink), b / n


def _bought(model: Recommender, store: EventStore, start: np.ndarray, stop: np.ndarray) -> sparse.csr_array:
    bought = model.interactions(store, start, stop)
    bought.data[:] = 1
    return bought


def _nearest(similar: np.ndarray, k: int) -> sparse.csr_array:
    """The k largest positive values of each row `[B, C]`."""
    k = min(k, similar.shape[1])
    place = np.argpartition(similar, -k, axis=1)[:, -k:]
    value = np.take_along_axis(similar, place, axis=1)
    row, column = np.nonzero(value > 0)
    return sparse.csr_array((value[row, column], (row, place[row, column])), shape=similar.shape)


def _check(k: int, similarity: str) -> None:
    choice(similarity, SIMILARITIES, "similarity")
    if k < 1:
        raise UserError(f"k must be at least 1 neighbour, got {k}")


def _codes(ids: np.ndarray, wanted: Sequence[Any] | np.ndarray, what: str) -> np.ndarray:
    code = lookup(ids, wanted)
    if (code < 0).any():
        raise UserError(
            f"{what} {np.asarray(wanted, dtype=object)[code < 0][0]!r} is not in the log: give ids that it has"
        )
    return np.asarray(code)
