"""Writing an event store: columns block by block into a staged folder, which moves to its place when all went well;
and finding one that was written.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from clm_dl.checksums import checksums, write_sealed
from clm_dl.data.store.home import (
    META,
    STORE_VERSION,
    home_of,
    is_store,
    place,
    place_beside,
    point,
    read_meta,
    staged_folder,
    stores,
    sweep,
)
from clm_dl.data.store.store import DTYPES, EventStore, Field, store_faults
from clm_dl.locks import hold


def publish(new: Path, home: Path) -> EventStore:
    """Open the staged store `new` at its place in `home`, where the pointer now names it.

    One that stands there already and is the same, file by file, stays.
    """
    meta = read_meta(new)
    held = hold(new / META)  # nobody sweeps it before it is opened
    try:
        target = place(new, home, meta["fingerprint"])
        if target is None:
            target = home / meta["fingerprint"]
            same = is_store(target) and read_meta(target)["checksums"] == meta["checksums"]
            if not same or any(store_faults(target, meta).values()):
                target = place_beside(new, home, meta["fingerprint"])
        store = EventStore(target, check=False)
    finally:
        os.close(held)
    point(home, store.path)
    sweep(home, store.path)
    return store


def found_store(
    path: str | Path, fingerprint: str, log: Callable[[str], None] = lambda line: None
) -> EventStore | None:
    """The sound store of a fingerprint in the home `path`, if there is one."""
    home = home_of(Path(path))
    for folder in stores(home, fingerprint):
        try:
            store = EventStore(folder)
        except FileNotFoundError:  # swept meanwhile
            continue
        except ValueError as error:
            log(f"{error}; doing so now")
            continue
        log(f"store {folder} is up to date: {store.num_events:,} events of {store.num_customers:,} customers")
        with suppress(OSError):  # a disk that is full or cannot be written
            point(home, folder)
            sweep(home, folder)
        return store
    return None


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
    configuration: str = "",
    timezone: str = "UTC",
    facts: Mapping[str, Any] | None = None,
) -> None:
    """Write meta.json last, with the size and checksum of every other file in `folder`, and its own.

    Args:
        fingerprint: of sources and options; names the folder. configuration: of the options alone.
    """
    files = sorted(file for file in folder.iterdir() if file.name != META)
    meta = {
        "version": STORE_VERSION,
        "fingerprint": fingerprint,
        "configuration": configuration,
        "timezone": timezone,
        "end": int(end),
        "num_events": num_events,
        "counts": dict(counts),
        "facts": dict(facts or {}),
        "fields": [asdict(field) for field in fields],
        "sizes": {file.name: file.stat().st_size for file in files},
        "checksums": dict(zip([file.name for file in files], checksums(files), strict=True)),
    }
    write_sealed(folder / META, meta)


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
    configuration: str = "",
    order_start: np.ndarray | None = None,
    static: pd.DataFrame | None = None,
    truth: pd.DataFrame | None = None,
    counts: Mapping[str, Any] | None = None,
) -> EventStore:
    """Write arrays that are already sorted by (customer, time) and fit in memory: for the simulator and tests.

    `order_start=None` starts an order wherever customer or time changes. Logs go through `prepare_store`. `truth` is
    what only the simulator knows.
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
    home = home_of(Path(path))
    with staged_folder(home) as folder:
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
        if truth is not None:
            truth.to_parquet(folder / "truth.parquet", index=False)
        names: Any = {"fingerprint": fingerprint, "configuration": configuration}
        write_meta(folder, fields=fields, end=end, counts=counts, num_events=num_events, **names)
        return publish(folder, home)
