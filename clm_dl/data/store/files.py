"""Writing an event store: columns block by block into a staged folder that replaces the old one when all went well."""

from __future__ import annotations

import errno
import glob
import json
import os
import shutil
import tempfile
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from clm_dl.data.store.store import DTYPES, STORE_VERSION, EventStore, Field, checksum


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
    """One .npy column written block by block; plain writes, so that a full disk raises OSError and kills nothing."""

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
    folder: Path,
    *,
    fields: list[Field],
    end: int,
    counts: Mapping[str, Any],
    fingerprint: str,
    num_events: int,
    timezone: str = "UTC",
    facts: Mapping[str, Any] | None = None,
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
        "facts": dict(facts or {}),
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
        counts = {
            "rows_in": num_events,
            "kept": num_events,
            "quarantined": 0,
            "duplicates": 0,
            "quarantine_reasons": {},
        }
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
