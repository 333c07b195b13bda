"""EventStore: one event log on disk as flat memory-mapped columns, customer offsets and value dictionaries."""

from __future__ import annotations

import os
import weakref
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow.parquet as pq

from clm_dl.checksums import faults
from clm_dl.data.store.home import META, pointed, read_meta
from clm_dl.data.zone import Zone
from clm_dl.errors import MissingFile, UserError
from clm_dl.locks import hold

MISSING_CODE = -1  # of a categorical value
MISSING_TIME = np.iinfo(np.int64).min  # of a field of kind "time"
# of attributes that change, see `attributes.Changes`
CHANGED_OFFSETS, CHANGED_AT, CHANGED_VALUES = "changed_offsets.npy", "changed_at.npy", "changed_values.parquet"
DTYPES: dict[str, np.dtype[Any]] = {
    "categorical": np.dtype(np.int32),
    "numeric": np.dtype(np.float32),
    "time": np.dtype(np.int64),
}


@dataclass(frozen=True)
class Field:
    """One stored column: `name`, `kind` (categorical, numeric or time) and the `role` it plays, if any."""

    name: str
    kind: str
    role: str | None = None


class EventStore:
    """A store opened read-only; every column is memory-mapped, nothing is loaded until it is used.

    Rows are lines of the log, sorted by customer, then time. Customer `c` owns rows `offsets[c]:offsets[c + 1]`.

    Attributes:
        offsets: int64 `[customers + 1]`.
        time: int64 `[events]`, microseconds since 1970-01-01 UTC.
        order_start: bool `[events]`, true where a new order begins (customer, time or order id changes).
        end: end of the data in microseconds; a label window is matured if it ends at or before it.
        fields: every stored column, in order.
        counts: rows_in, kept, quarantined, duplicates, and quarantine_reasons {reason: rows}.
        fingerprint: of the sources and roles that made the store.
    """

    def __init__(self, path: str | Path, *, check: bool = True):
        """Open the store at `path`, or of a home of stores the one that was asked for last.

        It stays as it is while it is open, whatever is prepared meanwhile.

        Args:
            check: compare every file with its checksum.
        """
        self.path, held = _hold(Path(path))
        weakref.finalize(self, os.close, held)
        self.meta: dict[str, Any] = read_meta(self.path)
        if check:
            for name, fault in store_faults(self.path, self.meta).items():
                if fault:
                    raise UserError(
                        f"event store {self.path} is corrupt ({name} {fault}): delete the folder and prepare it again"
                    )
        self.fields = [Field(**field) for field in self.meta["fields"]]
        self.end: int = self.meta["end"]
        self.counts: dict[str, Any] = self.meta["counts"]
        self.fingerprint: str = self.meta["fingerprint"]
        self.offsets: np.ndarray = self._load("offsets.npy")
        self.time: np.ndarray = self._load("time.npy")
        self.order_start: np.ndarray = self._load("order_start.npy")

    def __reduce__(self) -> Any:
        return EventStore, (self.path,)  # another process holds it by itself

    def _load(self, name: str) -> np.ndarray:
        # np.memmap refuses empty files' data; an empty column is rare and small enough to read
        array: np.ndarray = np.load(
            self.path / name, mmap_mode="r" if self.meta["num_events"] else None, allow_pickle=False
        )
        return array

    @property
    def num_customers(self) -> int:
        return len(self.offsets) - 1

    @property
    def num_events(self) -> int:
        return len(self.time)

    @cached_property
    def known_until(self) -> int:
        """Microseconds UTC: what lies before is known to date. It is the end of the data, behind its last event where
        that is the end; events behind an end that was given are none of the data.
        """
        last = int(np.asarray(self.time).max()) if self.num_events else self.end
        return last + 1 if last == self.end else self.end

    @cached_property
    def customer_ids(self) -> np.ndarray:
        """Original customer ids `[customers]`, in code order; int64 or str objects as in the log."""
        return np.asarray(pq.read_table(self.path / "customers.parquet")["customer_id"].to_numpy())

    @cached_property
    def static(self) -> pd.DataFrame:
        """The newest customer attributes, one row a customer in code order (raw values; NaN or None where missing).

        Not for models: `attributes.attributes_at` gives those of a cutoff.
        """
        return pq.read_table(self.path / "static.parquet").to_pandas()

    @cached_property
    def attribute_changes(self) -> tuple[np.ndarray, np.ndarray, pd.DataFrame]:
        """Offsets, times and values of the attributes that change; only a store that has such holds the files."""
        values = pq.read_table(self.path / CHANGED_VALUES).to_pandas()
        return np.load(self.path / CHANGED_OFFSETS), np.load(self.path / CHANGED_AT), values

    @cached_property
    def zone(self) -> Zone:
        """The time zone (`data.timezone`) of dates, days and hours; times are UTC."""
        return Zone(self.meta.get("timezone", "UTC"))

    @property
    def facts(self) -> dict[str, Any]:
        """What a reader of figures must know of the log: see `prepare`."""
        return {**({} if self.zone.is_utc else {"timezone": self.zone.name}), **self.meta.get("facts", {})}

    def field(self, name: str) -> Field:
        """The field called `name`; ValueError names the fields that exist."""
        for field in self.fields:
            if field.name == name:
                return field
        raise UserError(
            f"no field {name!r} in the store {self.path}; it has {', '.join(f.name for f in self.fields) or 'none'}"
        )

    def has(self, name: str) -> bool:
        return any(field.name == name for field in self.fields)

    def names(self, kind: str) -> list[str]:
        """Names of the fields of one kind."""
        return [field.name for field in self.fields if field.kind == kind]

    def column(self, name: str) -> np.ndarray:
        """Values `[events]`: int32 codes (−1 missing), float32 (NaN missing), int64 µs (MISSING_TIME missing)."""
        self.field(name)
        return self._load(f"field_{name}.npy")

    def dictionary(self, name: str) -> np.ndarray:
        """Values (str objects) of a categorical field; position = code."""
        if self.field(name).kind != "categorical":
            raise UserError(f"field {name!r} is {self.field(name).kind}: only categorical fields have a dictionary")
        return np.asarray(
            pq.read_table(self.path / f"dict_{name}.parquet")["value"].to_numpy(zero_copy_only=False), dtype=object
        )


def store_faults(folder: Path, meta: Mapping[str, Any]) -> dict[str, str | None]:
    """What is wrong with each file of a store; None: nothing."""
    return faults(folder, {name: (size, meta["checksums"][name]) for name, size in meta["sizes"].items()})


def _hold(path: Path) -> tuple[Path, int]:
    """The folder of the store that `path` names, and a lock that keeps it from being swept."""
    for _ in range(100):
        folder = pointed(path) or path
        try:
            held = hold(folder / META)
        except FileNotFoundError:
            if folder == path:
                break
            continue
        with suppress(FileNotFoundError):
            if os.path.samestat(os.fstat(held), (folder / META).stat()):
                return folder, held
        os.close(held)  # swept before it was held: the pointer names another one by now
    raise MissingFile(f"no event store at {folder}: run clm-prepare first")
