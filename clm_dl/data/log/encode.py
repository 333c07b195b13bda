"""Encoding: the kept events as a store holds them: codes instead of ids and values, sorted; all files but meta.json."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace
from pathlib import Path

import ibis
import ibis.expr.types as ir
import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from clm_dl.data.log import parse
from clm_dl.data.log.engine import DuckDB, Source
from clm_dl.data.log.joins import Joins
from clm_dl.data.log.roles import DataSpec
from clm_dl.data.log.ties import draw_ties
from clm_dl.data.store.attributes import Changes, taken, write_changes
from clm_dl.data.store.files import ColumnFile
from clm_dl.data.store.store import DTYPES, MISSING_CODE, MISSING_TIME, Field
from clm_dl.errors import UserError


class Encoder:
    """Writes one store's files into `folder`, in the order of its methods."""

    def __init__(self, spec: DataSpec, engine: DuckDB, folder: Path):
        self.spec, self.engine, self.folder = spec, engine, folder
        self.dictionaries: dict[str, pa.Array] = {}  # texts of each categorical field, by code

    def write_dictionaries(self, events: ir.Table) -> dict[str, ir.Table]:
        """Write each categorical field's values, sorted as text; return value → code as tables."""
        codes = {}
        for name in [name for name, kind in self.spec.kinds.items() if kind == "categorical"]:
            found = (
                self.engine.fetch(events.select(events[name].name("value")).distinct())["value"]
                .drop_null()
                .combine_chunks()
            )
            texts = found.cast(pa.string())
            order = pc.sort_indices(texts)
            self.dictionaries[name] = texts.take(order)
            pq.write_table(pa.table({"value": self.dictionaries[name]}), self.folder / f"dict_{name}.parquet")
            numbers = np.arange(len(found), dtype=np.int32)
            codes[name] = self.engine.view(pa.table({f"key:{name}": found.take(order), f"code:{name}": numbers}))
        return codes

    def encode_customers(self, events: ir.Table, groups: pd.DataFrame, *, text: bool) -> tuple[ir.Table, np.ndarray]:
        """Replace customer ids by something that sorts as they do; write ids and offsets."""
        ids = pa.array(groups["customer"])
        ids = ids.combine_chunks() if isinstance(ids, pa.ChunkedArray) else ids
        if pa.types.is_large_string(ids.type) or pa.types.is_string_view(ids.type):
            ids = ids.cast(pa.string())
        keys, numbers = ids, as_integers(ids) if text else None
        ids = ids if numbers is None else numbers
        order = pc.sort_indices(ids)
        rows = groups["rows"].to_numpy(dtype=np.int64)[order.to_numpy()]
        offsets = np.concatenate([[0], np.cumsum(rows)]).astype(np.int64)
        np.save(self.folder / "offsets.npy", offsets)
        self.customers = ids.take(order)
        pq.write_table(pa.table({"customer_id": self.customers}), self.folder / "customers.parquet")
        if pa.types.is_integer(keys.type):
            return events.mutate(customer_id=events.customer), offsets
        codes = self.engine.view(
            pa.table({"customer_key": keys.take(order), "customer_id": np.arange(len(keys), dtype=np.int32)})
        )
        return events.inner_join(codes, [("customer", "customer_key")]).drop("customer_key"), offsets

    def encode_fields(self, events: ir.Table, codes: dict[str, ir.Table]) -> ir.Table:
        """Replace categorical values by their codes, and numbers by those that are stored: narrow rows sort faster."""
        for name, table in codes.items():
            events = events.left_join(table, [(name, f"key:{name}")])
        columns = {name: events[f"code:{name}"].fill_null(MISSING_CODE).cast("int32") for name in codes}
        numeric = [name for name, kind in self.spec.kinds.items() if kind == "numeric"]
        return events.mutate(**columns, **{name: events[name].cast("float32") for name in numeric})

    def write_static(self, events: ir.Table, raws: Sequence[Source], joins: Joins) -> list[str]:
        """Customer attributes, one row a customer in the order of codes, and when they changed; names those that do."""
        frame = pd.DataFrame(index=pd.RangeIndex(len(self.customers)))
        ids = pd.Index(self.customers.to_pandas())
        wanted = list(self.spec.static)
        changes: dict[str, Changes] = {}  # by attribute; those of one table share theirs
        for log, source in zip(self.spec.logs, raws, strict=True):
            for join in (join for join in log.joins if join.to == "customer"):
                joined = joins.table(join)
                since = joins.since(join, log)
                if join.left != log.roles["customer"]:
                    raise UserError(
                        f"a join to customers is on the customer column {log.roles['customer']!r}, got {join.left!r}"
                    )
                names = [name for name in joins.columns(join, source) if not wanted or name in wanted]
                key = joined.table[join.right]
                dates = {} if since is None else {"row:since": since}
                columns = {f"value:{name}": joined.table[name] for name in names}
                table = joined.table.select(**{"row:key": key}, **dates, **columns)
                table = table.filter([table[name].notnull() for name in ("row:key", *dates)])
                joins.check_unique(table, ["row:key", *dates], joined, join)
                rows = self.engine.fetch(table).to_pandas()
                keys = rows.pop("row:key")
                index = pd.Index(
                    keys.astype(str) if ids.dtype.kind not in "iu" else pd.to_numeric(keys, errors="coerce")
                )
                if since is not None:
                    code, at = ids.get_indexer(index), rows.pop("row:since").to_numpy()
                    values = rows.set_axis(names, axis=1)
                    changes |= dict.fromkeys(names, Changes.of(code, at, values, len(ids)))
                    continue
                rows.index = index
                for name in names:
                    changes.pop(name, None)
                    frame[name] = rows[f"value:{name}"].reindex(ids).to_numpy()
                joins.always |= set(names)
        for name in wanted:
            if f"static:{name}" in events.columns:
                changes[name] = self._changes(events, name)
                joins.always.discard(name)
            elif name in changes:
                continue
            elif name not in frame:
                known = sorted({*frame.columns, *(column for source in raws for column in source.table.columns)})
                parse.check_columns(
                    replace(raws[0], table=ibis.table(dict.fromkeys(known, "string"))), [name], "static column"
                )
        for name, part in changes.items():
            frame[name] = taken(part.values[[name]], part.newest)[name].to_numpy()
        write_changes(self.folder, [replace(part, values=part.values[[name]]) for name, part in changes.items()])
        frame = frame[wanted] if wanted else frame
        pq.write_table(
            pa.Table.from_pandas(frame, preserve_index=not len(frame.columns)), self.folder / "static.parquet"
        )
        return list(changes)

    def _changes(self, events: ir.Table, name: str) -> Changes:
        """When a column of the log took another value than before, missing ones left out; the greatest of several at
        one time.
        """
        value = events[f"static:{name}"]
        value = ibis.ifelse(value.isnan(), ibis.null(value.type()), value) if value.type().is_floating() else value
        known = events.select("customer_id", "time", value=value).filter(lambda t: t.value.notnull())
        known = known.group_by("customer_id", "time").aggregate(value=known.value.max())
        known = known.mutate(before=known.value.lag().over(ibis.window(group_by="customer_id", order_by="time")))
        rows = self.engine.fetch(known.filter(known.before.isnull() | (known.before != known.value))).to_pandas()
        is_number = pa.types.is_integer(events.customer.type().to_pyarrow())
        ids = pd.Index(self.customers.to_pandas() if is_number else range(len(self.customers)))
        code, values = ids.get_indexer(rows["customer_id"]), rows[["value"]].set_axis([name], axis=1)
        return Changes.of(code, rows["time"].to_numpy(), values, len(ids))

    def write_columns(self, events: ir.Table, offsets: np.ndarray, fields: list[Field], *, tie: str) -> int:
        """Sort the events and write them; returns the last time."""
        has_order = "order" in events.columns
        if tie == "file":
            ties = ["log_row", *(["order_row"] if has_order else []), "file_row"]
            if has_order:  # lines of one order stay together
                one = ibis.window(group_by=["customer_id", "time", "log_row", "order"])
                events = events.mutate(order_row=events.file_row.min().over(one))
        else:
            ties = [
                *(["source"] if has_order and self.spec.merged else []),
                *(["order"] if has_order else []),
                *self.spec.kinds,
            ]
        keys = dict.fromkeys(["customer_id", "time", *ties])
        boundary = ["order", *(["source"] if self.spec.merged else [])] if has_order else []
        names = dict.fromkeys(["time", *boundary, *self.spec.kinds])
        ordered = events.order_by([ibis.asc(events[name], nulls_first=True) for name in keys]).select(*names)
        total = int(offsets[-1])
        writers = {
            field.name: ColumnFile(self.folder / f"field_{field.name}.npy", DTYPES[field.kind], total)
            for field in fields
        }
        times = ColumnFile(self.folder / "time.npy", np.dtype(np.int64), total)
        starts = ColumnFile(self.folder / "order_start.npy", np.dtype(bool), total)
        row, previous, latest = 0, None, int(np.iinfo(np.int64).min)
        try:
            for batch in self._lines(ordered, offsets, boundary, tie):
                start = np.zeros(batch.num_rows, dtype=bool)
                first, last = np.searchsorted(offsets, [row, row + batch.num_rows])
                start[offsets[first:last] - row] = True
                for name in ("time", *boundary):
                    start |= changes(batch[name], None if previous is None else previous[name])
                starts.append(start)
                moments = batch["time"].to_numpy()
                latest = max(latest, int(moments.max(initial=latest)))
                times.append(moments)
                for field in fields:
                    writers[field.name].append(values(batch[field.name], field.kind))
                row, previous = row + batch.num_rows, batch.slice(batch.num_rows - 1, 1)
        finally:
            for writer in (*writers.values(), times, starts):
                writer.close()
        assert row == total, f"wrote {row} of {total} events"
        return latest

    def _lines(self, ordered: ir.Table, offsets: np.ndarray, boundary: list[str], tie: str) -> Iterable[pa.RecordBatch]:
        batches = self.engine.stream(ordered)
        if tie != "seeded":
            return batches
        known = {"customers": self.customers, "dictionaries": self.dictionaries, "orders": boundary}
        return draw_ties(batches, seed=self.spec.tie_seed, offsets=offsets, **known)


def values(column: pa.Array, kind: str) -> np.ndarray:
    """A batch's column as it is stored."""
    if kind == "numeric":  # + 0.0: no negative zero, it sorts like zero
        return column.to_numpy(zero_copy_only=False) + np.float32(0.0)
    if kind == "time":
        column = pc.fill_null(column, pa.scalar(MISSING_TIME, pa.int64()))
    return column.to_numpy(zero_copy_only=False)


def changes(column: pa.Array, previous: pa.Array | None) -> np.ndarray:
    """Bool `[rows]`: where a value differs from the one before it; null equals null. `previous`: before the first."""
    if previous is None:
        previous = column.slice(0, 1)
    if column.null_count or previous.null_count or not pa.types.is_primitive(column.type):
        codes = pc.dictionary_encode(pa.concat_arrays([previous, column]), null_encoding="encode").indices
        previous, column = codes.slice(0, 1), codes.slice(1)
    numbers = column.to_numpy()
    result = np.empty(len(numbers), dtype=bool)
    result[:1] = numbers[:1] != previous.to_numpy()
    np.not_equal(numbers[1:], numbers[:-1], out=result[1:])
    return result


def as_integers(ids: pa.Array) -> pa.Array | None:
    """Text ids as int64 if every one is written as an integer is (no leading zeros), else None."""
    if not pa.types.is_string(ids.type):
        return None
    try:
        numbers = ids.cast(pa.int64())
    except pa.ArrowInvalid:
        return None
    return numbers if numbers.cast(pa.string()).equals(ids) else None
