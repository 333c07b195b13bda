"""Customer attributes as of a cutoff: what a column of the log, or a table with dates, said last before it.

Shapes: C customers, N pairs of a customer and a cutoff, U distinct ones.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from clm_dl.data.store.history import count_before
from clm_dl.data.store.store import CHANGED_AT, CHANGED_OFFSETS, CHANGED_VALUES, EventStore

MANY = 1000  # values of an attribute are not named


@dataclass(frozen=True)
class Changes:
    """When attributes of customers took which values, sorted by customer, then time.

    Attributes:
        offsets: int64 `[C + 1]`; customer c owns rows [offsets[c], offsets[c + 1]).
        time: int64, microseconds UTC, each once a customer. values: a row each; missing is a value, too.
    """

    offsets: np.ndarray
    time: np.ndarray
    values: pd.DataFrame

    @classmethod
    def of(cls, customer: np.ndarray, time: np.ndarray, values: pd.DataFrame, num_customers: int) -> Changes:
        """From rows in any order; `customer` holds codes, and rows of others (below 0) are left out."""
        order = np.lexsort((time, customer))
        order = order[customer[order] >= 0]
        offsets = np.searchsorted(customer[order], np.arange(num_customers + 1))
        return cls(offsets.astype(np.int64), time[order].astype(np.int64), values.iloc[order].reset_index(drop=True))

    def before(self, customer: np.ndarray, time: np.ndarray) -> np.ndarray:
        """int64 `[N]`: the last row strictly before `time`, −1 where nothing was known."""
        count = count_before(self.offsets, self.time, customer, time)
        return np.where(count > 0, self.offsets[customer] + count - 1, -1)

    @property
    def newest(self) -> np.ndarray:
        """int64 `[C]`: the last row of each customer, −1 without any."""
        return np.where(np.diff(self.offsets) > 0, self.offsets[1:] - 1, -1)


def taken(values: pd.DataFrame, rows: np.ndarray) -> pd.DataFrame:
    """The rows of a table, all missing for −1."""
    return values.reindex(rows).reset_index(drop=True)


def is_number(values: pd.Series) -> bool:
    """Whether an attribute is one of numbers; any other is a category."""
    return pd.api.types.is_numeric_dtype(values) and not pd.api.types.is_bool_dtype(values)


def attribute_values(store: EventStore) -> dict[str, list[str] | None]:
    """What a store's attributes are, JSON-able: None of numbers, else the sorted values, none where they are many."""
    dated = store.attribute_changes[2] if (store.path / CHANGED_AT).is_file() else pd.DataFrame()
    found: dict[str, list[str] | None] = {}
    for name in map(str, store.static):
        column = dated[name] if name in dated else store.static[name]
        values = None if is_number(column) else sorted(map(str, column.dropna().unique()))
        found[name] = [] if values and len(values) > MANY else values
    return found


def write_changes(folder: Path, parts: Sequence[Changes]) -> None:
    """Write several attributes' changes as one: a row wherever any of them changes."""
    if not parts:
        return
    customers = [np.repeat(np.arange(len(part.offsets) - 1), np.diff(part.offsets)) for part in parts]
    pairs = pd.DataFrame({"customer": np.concatenate(customers), "time": np.concatenate([part.time for part in parts])})
    pairs = pairs.drop_duplicates().sort_values(["customer", "time"])
    customer, time = pairs["customer"].to_numpy(), pairs["time"].to_numpy()
    values = pd.concat([taken(part.values, part.before(customer, time + 1)) for part in parts], axis=1)
    np.save(folder / CHANGED_OFFSETS, np.searchsorted(customer, np.arange(len(parts[0].offsets))).astype(np.int64))
    np.save(folder / CHANGED_AT, time.astype(np.int64))
    pq.write_table(pa.Table.from_pandas(values, preserve_index=False), folder / CHANGED_VALUES)


def attributes_at(store: EventStore, customer: np.ndarray, cutoff: np.ndarray) -> tuple[pd.DataFrame, np.ndarray]:
    """What was known of each customer strictly before each cutoff (microseconds UTC).

    Attributes of a table without dates count as known at all times.

    Returns:
        One row for each of the U distinct ones, in the columns of `store.static`, and the row of each pair int64 `[N]`.
    """
    if not (store.path / CHANGED_AT).is_file():
        known, place = np.unique(customer, return_inverse=True)
        return store.static.iloc[known].reset_index(drop=True), place
    changes = Changes(*store.attribute_changes)
    rows = changes.before(customer, cutoff)
    keys, place = np.unique(customer * (len(changes.time) + 1) + rows + 1, return_inverse=True)
    known, rows = np.divmod(keys, len(changes.time) + 1)
    frame, dated = store.static.iloc[known].reset_index(drop=True), taken(changes.values, rows - 1)
    return frame.assign(**{str(name): dated[name] for name in dated}), place
