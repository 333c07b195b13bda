"""Catalogue: every item of a store, how often training saw it, and what is known of it besides its id.

Shapes: V items, F numbers of an item, E width of an item's content vector.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from clm_dl.data.ids import lookup, written_all
from clm_dl.data.sequences.schema import robust_scale
from clm_dl.data.store.store import MISSING_CODE, EventStore
from clm_dl.errors import MissingFile, UserError, nearest

ITEM_ID, COUNT, VECTOR = "item_id", "count", "vector"  # columns of `Catalogue.to_frame` beside the content's own


@dataclass(frozen=True, eq=False)
class Catalogue:
    """The V items of a store in the order of their codes; everything that is ranked is ranked over all of them.

    Attributes:
        item_ids: str objects `[V]`. count: int64 `[V]`, lines in the training rows; 0 = a cold item.
        categorical: `{field: int32 [V]}`, positions in `values[field]`, −1 missing. values: `{field: sorted values}`.
        numeric: float32 `[V, F]`, one column a field; NaN unknown.
        vectors: float32 `[V, E]`; a row of zeros where unknown.
    """

    item_ids: np.ndarray
    count: np.ndarray
    categorical: dict[str, np.ndarray]
    values: dict[str, list[str]]
    numeric: pd.DataFrame
    vectors: np.ndarray

    @classmethod
    def from_store(
        cls,
        store: EventStore,
        training_rows: np.ndarray,
        *,
        categorical: Sequence[str] = (),
        numeric: Sequence[str] = (),
        text: str | None = None,
        vectors: str | Path | None = None,
        text_size: int = 32,
    ) -> Catalogue:
        """Collect what the store and a file of vectors say about each item.

        Args:
            training_rows: bool `[events]`: counts, means and the text's vocabulary come from these alone.
            categorical: categorical fields that belong to the item; its first line with a value decides, a training
                line before others.
            numeric: numeric fields, averaged over the item's training lines; NaN for a cold item.
            text: a categorical field whose words describe the item: TF-IDF reduced to `text_size` by a truncated SVD
                (latent semantic analysis, Deerwester et al. 1990), fitted on the items of the training rows.
            vectors: a Parquet file with the columns item_id and vector (lists of one length), e.g. of images; follows
                the text.

        Raises:
            ValueError: a log without items, an unknown field, a field of another kind, vectors of no item or of several
            widths.
        """
        item_ids, item = item_dictionary(store), np.asarray(store.column("item"))
        for kind, names in {"categorical": [*categorical, *([text] if text else [])], "numeric": numeric}.items():
            for name in names:
                _check_field(store, name, kind)
        count = np.bincount(item[training_rows & (item >= 0)], minlength=len(item_ids)).astype(np.int64)
        codes, values = {}, {}
        for name in categorical:
            codes[name], values[name] = _encode(_first_values(store, name, item, training_rows, len(item_ids)))
        numbers = {name: _means(store.column(name), item, training_rows, len(item_ids)) for name in numeric}
        parts = [np.zeros((len(item_ids), 0), np.float32)]
        if text is not None:
            parts.append(
                _text_vectors(
                    _first_values(store, text, item, training_rows, len(item_ids)), count > 0, text, text_size
                )
            )
        if vectors is not None:
            parts.append(_read_vectors(Path(vectors), item_ids))
        return cls(
            item_ids=item_ids,
            count=count,
            categorical=codes,
            values=values,
            numeric=pd.DataFrame(numbers, index=range(len(item_ids)), dtype=np.float32),
            vectors=np.concatenate(parts, axis=1),
        )

    def __len__(self) -> int:
        return len(self.item_ids)

    @property
    def missing(self) -> int:
        """Number of items of which nothing is known but the id, where content was asked for; 0 where none was."""
        if not self.categorical and self.numeric.empty and not self.vectors.shape[1]:
            return 0
        known = self.numeric.notna().any(axis=1).to_numpy() | self.vectors.any(axis=1)
        for codes in self.categorical.values():
            known |= codes >= 0
        return int((~known).sum())

    def schema(self) -> dict[str, Any]:
        """What an item tower is built from, a plain dict; scales are of signed log1p over training's items."""
        warm = self.numeric[self.count > 0].to_numpy(np.float64)
        scales = [robust_scale(column) for column in (np.sign(warm) * np.log1p(np.abs(warm))).T]
        return {
            "num_items": len(self),
            "categorical": {name: len(values) for name, values in self.values.items()},
            "numeric": dict(zip(map(str, self.numeric), scales, strict=True)),
            "vector_size": self.vectors.shape[1],
        }

    def lookup(self, item_ids: Sequence[Any] | np.ndarray | pd.Series) -> np.ndarray:
        """int64 codes of item ids (compared as text), −1 where the catalogue has no such item."""
        return lookup(self.item_ids, item_ids)

    def to_frame(self) -> pd.DataFrame:
        """One row an item in code order: item_id, count, categories as text, numbers, and vector where E > 0."""
        columns: dict[str, Any] = {ITEM_ID: self.item_ids, COUNT: self.count}
        for name, codes in self.categorical.items():
            columns[name] = pd.Series(_or_none(np.array(self.values[name], dtype=object), codes), dtype="str")
        columns |= {str(name): self.numeric[name].to_numpy() for name in self.numeric}
        if self.vectors.shape[1]:
            columns[VECTOR] = list(self.vectors)
        return pd.DataFrame(columns)

    @classmethod
    def from_frame(cls, frame: pd.DataFrame) -> Catalogue:
        """The inverse of `to_frame`, also after a round trip through Parquet."""
        content = frame.drop(columns=[ITEM_ID, COUNT, VECTOR], errors="ignore")
        numbers = [name for name in content if pd.api.types.is_numeric_dtype(content[name])]
        encoded = {str(name): _encode(content[name].to_numpy(object)) for name in content if name not in numbers}
        return cls(
            item_ids=frame[ITEM_ID].to_numpy(object),
            count=frame[COUNT].to_numpy(np.int64),
            categorical={name: codes for name, (codes, _) in encoded.items()},
            values={name: values for name, (_, values) in encoded.items()},
            numeric=content[numbers].astype(np.float32).reset_index(drop=True),
            vectors=np.stack(frame[VECTOR].to_list()).astype(np.float32)
            if VECTOR in frame
            else np.zeros((len(frame), 0), np.float32),
        )


def item_dictionary(store: EventStore) -> np.ndarray:
    """The item ids of a store in code order; ValueError where its log has none."""
    ids = store.dictionary("item") if store.has("item") else np.zeros(0, object)
    if not len(ids):
        raise UserError(
            f"the store {store.path} has no items, so there is nothing to recommend: name the column with "
            "data.roles.item"
        )
    return ids


def _check_field(store: EventStore, name: str, kind: str) -> None:
    names = store.names(kind)
    if name not in names:
        raise UserError(
            f"no {kind} field {name!r} to describe items by{nearest(name, names)}: the store has "
            f"{', '.join(names) or 'none'}"
        )
    if name in (ITEM_ID, COUNT, VECTOR):
        raise UserError(f"a field that describes items cannot be called {name!r}: rename it in the log")


def _first_values(
    store: EventStore, name: str, item: np.ndarray, training_rows: np.ndarray, num_items: int
) -> np.ndarray:
    """str objects `[V]`, None where no line of the item has a value."""
    codes = np.asarray(store.column(name))
    known = (item >= 0) & (codes >= 0)
    found = np.full(num_items, MISSING_CODE, dtype=np.int64)
    for chosen in (known & ~training_rows, known & training_rows):
        rows = np.flatnonzero(chosen)[::-1]  # of several assignments to one place the last stays
        found[item[rows]] = codes[rows]
    return _or_none(store.dictionary(name), found)


def _or_none(values: np.ndarray, codes: np.ndarray) -> np.ndarray:
    """str objects of codes; None for −1."""
    found: np.ndarray = np.concatenate([values, np.array([None], dtype=object)])[codes]
    return found


def _encode(values: np.ndarray) -> tuple[np.ndarray, list[str]]:
    """Codes int32 `[V]` in the sorted values; −1 missing."""
    codes, known = pd.factorize(values, sort=True)
    return codes.astype(np.int32), [str(value) for value in known]


def _means(column: np.ndarray, item: np.ndarray, training_rows: np.ndarray, num_items: int) -> np.ndarray:
    rows = np.flatnonzero(training_rows & (item >= 0) & np.isfinite(column))
    count = np.bincount(item[rows], minlength=num_items)
    total = np.bincount(item[rows], weights=column[rows].astype(np.float64), minlength=num_items)
    return np.divide(total, count, out=np.full(num_items, np.nan), where=count > 0).astype(np.float32)


def _text_vectors(texts: np.ndarray, warm: np.ndarray, name: str, size: int) -> np.ndarray:
    from sklearn.feature_extraction.text import TfidfVectorizer  # who has no text shall not wait for scikit-learn
    from sklearn.utils.extmath import randomized_svd

    if size < 1:
        raise UserError(f"text_size must be at least 1, got {size}")
    known = np.array([text is not None for text in texts])
    words = TfidfVectorizer()
    try:
        fitted = words.fit_transform(texts[known & warm])
    except ValueError as error:
        raise UserError(
            f"the field {name!r} holds no words in the training period: name another text for the items"
        ) from error
    _, _, basis = randomized_svd(fitted, n_components=min(size, *fitted.shape), random_state=0)
    vectors = np.zeros((len(texts), len(basis)), dtype=np.float32)
    vectors[known] = words.transform(texts[known]) @ basis.T
    return vectors


def check_vectors(path: Path) -> None:
    """Raise UserError where there is no file of item vectors."""
    if not path.is_file():
        raise MissingFile(
            f"no file of item vectors at {path}: give a Parquet file with the columns {ITEM_ID} and {VECTOR}"
        )


def _read_vectors(path: Path, item_ids: np.ndarray) -> np.ndarray:
    check_vectors(path)
    try:
        table = pq.read_table(path)
    except pa.ArrowInvalid as error:
        raise UserError(
            f"{path} is no Parquet file: give item vectors as Parquet with the columns {ITEM_ID} and {VECTOR}"
        ) from error
    if lacking := [name for name in (ITEM_ID, VECTOR) if name not in table.column_names]:
        raise UserError(
            f"{path} lacks the column {lacking[0]!r}{nearest(lacking[0], table.column_names)}: it needs {ITEM_ID} and "
            f"{VECTOR}"
        )
    kind = table.schema.field(VECTOR).type
    if not (pa.types.is_list(kind) or pa.types.is_large_list(kind) or pa.types.is_fixed_size_list(kind)) or not (
        pa.types.is_floating(kind.value_type) or pa.types.is_integer(kind.value_type)
    ):
        raise UserError(f"the column {VECTOR} of {path} holds {kind}: give every item a list of numbers")
    table = table.filter(pc.is_valid(table[VECTOR]))
    named = pd.Index(written_all(table[ITEM_ID].to_pylist()).to_numpy(zero_copy_only=False), dtype=object)
    if named.has_duplicates:
        raise UserError(f"{path} has several vectors of item {named[named.duplicated()][0]}: give every item one")
    place = lookup(item_ids, named)
    if not (place >= 0).any():
        raise UserError(
            f"{path} has a vector of none of the {len(item_ids):,} items: check that its {ITEM_ID} is the log's item"
        )
    widths = np.unique(pc.list_value_length(table[VECTOR]).to_numpy())
    if len(widths) > 1 or not widths[0]:
        raise UserError(
            f"{path} has vectors of {', '.join(map(str, widths[:3]))} numbers: give every item a vector of one length"
        )
    found = pc.list_flatten(table[VECTOR]).to_numpy().astype(np.float32).reshape(-1, int(widths[0]))
    if not np.isfinite(found).all():
        raise UserError(f"{path} has vectors with numbers that are not finite: leave the items without a vector out")
    vectors = np.zeros((len(item_ids), int(widths[0])), dtype=np.float32)
    vectors[place[place >= 0]] = found[place >= 0]
    return vectors
