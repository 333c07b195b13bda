"""EventStore: one event log on disk as flat memory-mapped columns, customer offsets and value dictionaries."""

from __future__ import annotations

import json
import zlib
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow.parquet as pq

from clm_dl.data.zone import Zone
from clm_dl.errors import MissingFile, UserError

STORE_VERSION = 2
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

    def __init__(self, path: str | Path):
        self.path = Path(path)
        meta_path = self.path / "meta.json"
        if not meta_path.is_file():
            raise MissingFile(f"no event store at {self.path}: run clm-prepare first")
        try:
            self.meta: dict[str, Any] = json.loads(meta_path.read_text())
            version = self.meta["version"]
        except (json.JSONDecodeError, UnicodeDecodeError, KeyError, TypeError) as error:
            raise UserError(
                f"event store {self.path} is corrupt (meta.json): delete the folder and prepare it again"
            ) from error
        if version != STORE_VERSION:
            raise UserError(
                f"event store {self.path} has version {version}, this clm_dl reads version {STORE_VERSION}: prepare it "
                "again"
            )
        for name, size in self.meta["sizes"].items():
            file = self.path / name
            if not file.is_file() or file.stat().st_size != size:
                raise UserError(
                    f"event store {self.path} is corrupt ({name} is missing or cut short): delete the folder and "
                    "prepare it again"
                )
        self.fields = [Field(**field) for field in self.meta["fields"]]
        self.end: int = self.meta["end"]
        self.counts: dict[str, Any] = self.meta["counts"]
        self.fingerprint: str = self.meta["fingerprint"]
        self.offsets: np.ndarray = self._load("offsets.npy")
        self.time: np.ndarray = self._load("time.npy")
        self.order_start: np.ndarray = self._load("order_start.npy")

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

    def verify(self) -> None:
        """Recompute every checksum. Raises ValueError naming the first file that differs."""
        for name, expected in self.meta["checksums"].items():
            if checksum(self.path / name) != expected:
                raise UserError(
                    f"event store {self.path} is corrupt ({name} differs from its checksum): delete the folder and "
                    "prepare it again"
                )


def checksum(path: Path) -> int:
    """CRC-32 of a file, read in blocks."""
    value = 0
    with path.open("rb") as file:
        while block := file.read(1 << 22):
            value = zlib.crc32(block, value)
    return value
