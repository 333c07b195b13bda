"""Content-based: items like those the customer bought, by category, price and text alone; new items included."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from scipy import sparse

from clm_dl.baselines.recommenders.base import Recommender, expand
from clm_dl.baselines.spec import CannotAnswer
from clm_dl.data.ranking.catalogue import Catalogue
from clm_dl.data.store.store import EventStore


class ContentBased(Recommender):
    """Cosine of each item's content with the customer's profile, the mean content of the history's lines.

    Content is a row of ones: one for each categorical value and for the bin of each number, times the logarithm of how
    rare it is among the items (inverse document frequency); then the item's vector of text or images. Each of the two
    has length 1.

    Args:
        categorical, numeric, text, vectors, text_size: which content, see `Catalogue.from_store`; categorical=None
            takes `constant_fields`.
        bins: of a number, with as many items each.

    Attributes:
        content_: float32 sparse `[V, F]`, rows of length 1; zeros for items of which nothing is known.
    """

    def __init__(
        self,
        *,
        categorical: Sequence[str] | None = None,
        numeric: Sequence[str] | None = None,
        text: str | None = None,
        vectors: str | Path | None = None,
        text_size: int = 32,
        bins: int = 10,
    ):
        self.categorical = categorical
        self.numeric = numeric
        self.text = text
        self.vectors = vectors
        self.text_size = text_size
        self.bins = bins

    def _fit(self, store: EventStore, start: np.ndarray, stop: np.ndarray) -> None:
        training = np.zeros(store.num_events, bool)
        training[expand(start, stop)[1]] = True
        catalogue = Catalogue.from_store(
            store,
            training,
            categorical=constant_fields(store, training) if self.categorical is None else self.categorical,
            numeric=self.numeric or (),
            text=self.text,
            vectors=self.vectors,
            text_size=self.text_size,
        )
        codes = [*catalogue.categorical.values(), *(self._bin(column) for column in catalogue.numeric.to_numpy().T)]
        if not codes and not catalogue.vectors.shape[1]:
            raise CannotAnswer(
                f"the store {store.path} has no field that describes items: name some as categorical, numeric, text or "
                "vectors"
            )
        ones = [_one_hot(code) for code in codes]
        parts = ([_unit(sparse.csr_array(sparse.hstack(ones)))] if ones else []) + [
            _unit(sparse.csr_array(catalogue.vectors))
        ]
        self.content_ = _unit(sparse.csr_array(sparse.hstack(parts)))

    def _scores(self, store: EventStore, start: np.ndarray, stop: np.ndarray, at: np.ndarray) -> np.ndarray:
        profile = _unit(sparse.csr_array(self.interactions(store, start, stop) @ self.content_))
        return np.asarray((profile @ self.content_.T).toarray())

    def _bin(self, column: np.ndarray) -> np.ndarray:
        """Quantile bin of each number, −1 where unknown."""
        known = np.isfinite(column)
        edges = (
            np.unique(np.quantile(column[known], np.arange(1, self.bins) / self.bins)) if known.any() else np.zeros(0)
        )
        return np.where(known, np.searchsorted(edges, column, side="right"), -1)


def constant_fields(store: EventStore, training_rows: np.ndarray) -> list[str]:
    """The categorical fields without a role that describe items: at least nine of ten lines have the value of their
    item's first line.

    Only the lines of `training_rows` (bool `[events]`) are looked at.
    """
    item = np.asarray(store.column("item"), dtype=np.int64)
    names = []
    for field in store.fields:
        if field.kind == "categorical" and field.role is None:
            code = np.asarray(store.column(field.name))
            rows = np.flatnonzero(training_rows & (item >= 0) & (code >= 0))
            first = np.full(len(store.dictionary("item")), -1)
            first[item[rows[::-1]]] = code[rows[::-1]]  # of several assignments to one place the last stays
            if len(rows) and (first[item[rows]] == code[rows]).mean() >= 0.9:
                names.append(field.name)
    return names


def _one_hot(code: np.ndarray) -> sparse.csr_array:
    """`[V, values]`, log(V / items with the value) where an item has it."""
    known = np.flatnonzero(code >= 0)
    frequency = np.bincount(code[known], minlength=1)
    weight = np.log(len(code) / np.maximum(frequency, 1)).astype(np.float32)
    return sparse.csr_array((weight[code[known]], (known, code[known])), shape=(len(code), len(frequency)))


def _unit(rows: sparse.csr_array) -> sparse.csr_array:
    """Rows of length 1; zeros stay."""
    length = np.sqrt(np.asarray((rows * rows).sum(axis=1)))
    scale = np.divide(1, length, out=np.zeros_like(length), where=length > 0)
    return sparse.csr_array(sparse.diags_array(scale) @ rows, dtype=np.float32)
