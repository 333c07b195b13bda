"""EventStore: one event log on disk as flat memory-mapped columns, customer offsets and value dictionaries."""

from __future__ import annotations

import errno
import glob
import json
import os
import shutil
import tempfile
import time
import zlib
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

STORE_VERSION = 1
MISSING_CODE = -1  # of a categorical value
MISSING_TIME = np.iinfo(np.int64).min  # of a field of kind "time"
KINDS = ("categorical", "numeric", "time")
DTYPES: dict[str, np.dtype[Any]] = {"categorical": np.dtype(np.int32), "numeric": np.dtype(np.float32), "time": np.dtype(np.int64)}


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
            raise FileNotFoundError(f"no event store at {self.path}: run clm-prepare first")
        try:
            self.meta: dict[str, Any] = json.loads(meta_path.read_text())
            version = self.meta["version"]
        except (json.JSONDecodeError, UnicodeDecodeError, KeyError, TypeError) as error:
            raise ValueError(f"event store {self.path} is corrupt (meta.json): delete the folder and prepare it again") from error
        if version != STORE_VERSION:
            raise ValueError(f"event store {self.path} has version {version}, this clm_dl reads version {STORE_VERSION}: prepare it again")
        for name, size in self.meta["sizes"].items():
            file = self.path / name
            if not file.is_file() or file.stat().st_size != size:
                raise ValueError(
                    f"event store {self.path} is corrupt ({name} is missing or cut short): delete the folder and prepare it again"
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
        array: np.ndarray = np.load(self.path / name, mmap_mode="r" if self.meta["num_events"] else None, allow_pickle=False)
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
        """Customer attributes, one row a customer in code order (raw values; NaN or None where missing)."""
        return pq.read_table(self.path / "static.parquet").to_pandas()

    def field(self, name: str) -> Field:
        """The field called `name`; ValueError names the fields that exist."""
        for field in self.fields:
            if field.name == name:
                return field
        raise ValueError(f"no field {name!r} in the store {self.path}; it has {', '.join(f.name for f in self.fields) or 'none'}")

    def has(self, name: str) -> bool:
        return any(field.name == name for field in self.fields)

    def names(self, kind: str) -> list[str]:
        """Names of the fields of one kind."""
        return [field.name for field in self.fields if field.kind == kind]

    def column(self, name: str) -> np.ndarray:
        """Values `[events]`: int32 codes (−1 missing), float32 (NaN missing) or int64 microseconds (MISSING_TIME missing)."""
        self.field(name)
        return self._load(f"field_{name}.npy")

    def dictionary(self, name: str) -> np.ndarray:
        """Values (str objects) of a categorical field; position = code."""
        if self.field(name).kind != "categorical":
            raise ValueError(f"field {name!r} is {self.field(name).kind}: only categorical fields have a dictionary")
        return np.asarray(pq.read_table(self.path / f"dict_{name}.parquet")["value"].to_numpy(zero_copy_only=False), dtype=object)

    def verify(self) -> None:
        """Recompute every checksum. Raises ValueError naming the first file that differs."""
        for name, expected in self.meta["checksums"].items():
            if checksum(self.path / name) != expected:
                raise ValueError(
                    f"event store {self.path} is corrupt ({name} differs from its checksum): delete the folder and prepare it again"
                )


def checksum(path: Path) -> int:
    """CRC-32 of a file, read in blocks."""
    value = 0
    with path.open("rb") as file:
        while block := file.read(1 << 22):
            value = zlib.crc32(block, value)
    return value


@contextmanager
def staged_folder(path: Path) -> Iterator[Path]:
    """A temporary sibling folder that replaces `path` only if the block ends well: a killed run leaves no half store.

    Of several writers of one path, the last to end leaves its store. What a killed run left is removed after a day.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    for left in path.parent.glob(f".{glob.escape(path.name)}-staged-*"):
        with suppress(FileNotFoundError):
            if time.time() - left.stat().st_mtime > 86_400:
                shutil.rmtree(left, ignore_errors=True)
    staging = Path(tempfile.mkdtemp(prefix=f".{path.name}-staged-", dir=path.parent))
    new, old = staging / "new", staging / "old"
    new.mkdir()
    old.mkdir()
    try:
        yield new
        for attempt in range(100):
            try:
                os.replace(new, path)
                break
            except OSError as error:  # a store is there: out of the way with it
                if error.errno not in (errno.ENOTEMPTY, errno.EEXIST):
                    raise
            with suppress(FileNotFoundError):  # another process has just moved it
                os.replace(path, old / str(attempt))
    finally:
        shutil.rmtree(staging, ignore_errors=True)


class ColumnFile:
    """One .npy column written block by block. Plain writes, not a memory map: a full disk raises OSError instead of killing the process."""

    def __init__(self, path: Path, dtype: np.dtype, num_rows: int):
        self.dtype, self.left = np.dtype(dtype), num_rows
        self.file = path.open("wb")
        header = {"descr": np.lib.format.dtype_to_descr(self.dtype), "fortran_order": False, "shape": (num_rows,)}
        np.lib.format.write_array_header_1_0(self.file, header)

    def append(self, block: np.ndarray) -> None:
        self.left -= len(block)
        self.file.write(np.ascontiguousarray(block, dtype=self.dtype).data)

    def close(self) -> None:
        self.file.close()


def write_meta(
    folder: Path, *, fields: list[Field], end: int, counts: Mapping[str, Any], fingerprint: str, num_events: int, timezone: str = "UTC"
) -> None:
    """Write meta.json last, with the size and checksum of every other file in `folder`."""
    files = sorted(file for file in folder.iterdir() if file.name != "meta.json")
    meta = {
        "version": STORE_VERSION,
        "fingerprint": fingerprint,
        "timezone": timezone,
        "end": int(end),
        "num_events": num_events,
        "counts": dict(counts),
        "fields": [asdict(field) for field in fields],
        "sizes": {file.name: file.stat().st_size for file in files},
        "checksums": {file.name: checksum(file) for file in files},
    }
    (folder / "meta.json").write_text(json.dumps(meta, indent=1))


def write_store(
    path: str | Path,
    *,
    customer_ids: np.ndarray,
    offsets: np.ndarray,
    time: np.ndarray,
    columns: Mapping[str, np.ndarray],
    fields: list[Field],
    dictionaries: Mapping[str, np.ndarray],
    end: int,
    fingerprint: str,
    order_start: np.ndarray | None = None,
    static: pd.DataFrame | None = None,
    counts: Mapping[str, Any] | None = None,
) -> EventStore:
    """Write arrays that are already sorted by (customer, time) and fit in memory: for the simulator and tests.

    `order_start=None` starts an order wherever customer or time changes. Logs go through `clean.prepare_store`.
    """
    num_events = len(time)
    if order_start is None:
        order_start = np.ones(num_events, dtype=bool)
        order_start[1:] = np.diff(time) != 0
        order_start[offsets[:-1][np.diff(offsets) > 0]] = True
    if counts is None:
        counts = {"rows_in": num_events, "kept": num_events, "quarantined": 0, "duplicates": 0, "quarantine_reasons": {}}
    with staged_folder(Path(path)) as folder:
        np.save(folder / "offsets.npy", np.asarray(offsets, dtype=np.int64))
        np.save(folder / "time.npy", np.asarray(time, dtype=np.int64))
        np.save(folder / "order_start.npy", order_start)
        for field in fields:
            np.save(folder / f"field_{field.name}.npy", np.asarray(columns[field.name], dtype=DTYPES[field.kind]))
            if field.kind == "categorical":
                values = pa.array([str(value) for value in dictionaries[field.name]], pa.string())
                pq.write_table(pa.table({"value": values}), folder / f"dict_{field.name}.parquet")
        pq.write_table(pa.table({"customer_id": pa.array(customer_ids)}), folder / "customers.parquet")
        frame = static if static is not None else pd.DataFrame(index=range(len(customer_ids)))
        pq.write_table(pa.Table.from_pandas(frame, preserve_index=not len(frame.columns)), folder / "static.parquet")
        write_meta(folder, fields=fields, end=end, counts=counts, fingerprint=fingerprint, num_events=num_events)
    return EventStore(path)
