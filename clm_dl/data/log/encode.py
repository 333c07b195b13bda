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

from clm_dl.data import ids
from clm_dl.data.log import parse
from clm_dl.data.log.customer_columns import CustomerColumns
from clm_dl.data.log.engine import DuckDB, Source
from clm_dl.data.log.joins import Joins
from clm_dl.data.log.roles import DataSpec
from clm_dl.data.log.ties import draw_ties
from clm_dl.data.log.together import together
from clm_dl.data.store.attributes import Changes, taken, write_changes
from clm_dl.data.store.files import ColumnFile
from clm_dl.data.store.store import DTYPES, MISSING_CODE, MISSING_TIME, Field
from clm_dl.errors import UserError


class Encoder:
    """Writes one store's files into `folder`, in the order of its methods."""

    def __init__(self, spec: DataSpec, engine: DuckDB, folder: Path):
        self.spec, self.engine, self.folder = spec, engine, folder
        self.dictionaries: dict[str, pa.Array] = {}  # texts of each categorical field, by code
        self.alike: list[np.ndarray] = []  # times at which events are equal in all that is stored

    def write_dictionaries(self, events: ir.Table, *, untyped: bool) -> dict[str, ir.Table]:
        """Write each categorical field's values, sorted as text; return value → code as tables."""
        codes, own = {}, self.spec.own
        for name in [name for name, kind in self.spec.kinds.items() if kind == "categorical"]:
            found = (
                self.engine.fetch(events.select(value=events[own[name]]).distinct())["value"]
                .drop_null()
                .combine_chunks()
            )
            texts = found.cast(pa.string())
            texts = ids.untyped(texts) if untyped and name == "item" else texts
            some = pc.greater(pc.binary_length(pc.utf8_trim_whitespace(texts)), 0)  # a blank is no value, NA is one
            found, texts = found.filter(some), texts.filter(some)
            self.dictionaries[name], code = distinct(texts)
            pq.write_table(pa.table({"value": self.dictionaries[name]}), self.folder / f"dict_{name}.parquet")
            codes[name] = self.engine.view(pa.table({f"k{own[name]}": found, f"n{own[name]}": code}))
        return codes

    def encode_customers(
        self, events: ir.Table, groups: pd.DataFrame, *, text: bool, untyped: bool
    ) -> tuple[ir.Table, np.ndarray]:
        """Replace customer ids by something that sorts as they do; write ids and offsets."""
        keys = pa.array(groups["customer"])
        keys = keys.combine_chunks() if isinstance(keys, pa.ChunkedArray) else keys
        if not pa.types.is_integer(keys.type):
            keys = keys.cast(pa.string())
        of_numbers = text and not pa.types.is_integer(keys.type)
        named = ids.untyped(keys) if of_numbers and untyped else keys
        self.customers, code = distinct(ids.as_numbers(named) if of_numbers else named)
        rows = np.bincount(code, groups["rows"].to_numpy(dtype=np.int64), minlength=len(self.customers))
        offsets = np.concatenate([[0], np.cumsum(rows)]).astype(np.int64)
        np.save(self.folder / "offsets.npy", offsets)
        pq.write_table(pa.table({"customer_id": self.customers}), self.folder / "customers.parquet")
        if pa.types.is_integer(keys.type):
            return events.mutate(customer_id=events.customer), offsets
        codes = self.engine.view(pa.table({"customer_key": keys, "customer_id": code}))
        return events.inner_join(codes, [("customer", "customer_key")]).drop("customer_key"), offsets

    def encode_fields(self, events: ir.Table, codes: dict[str, ir.Table]) -> ir.Table:
        """Replace categorical values by their codes, and numbers by those that are stored: narrow rows sort faster."""
        own = self.spec.own
        for name, table in codes.items():
            events = events.left_join(table, [(own[name], f"k{own[name]}")])
        columns = {own[name]: events[f"n{own[name]}"].fill_null(MISSING_CODE).cast("int32") for name in codes}
        numeric = [own[name] for name, kind in self.spec.kinds.items() if kind == "numeric"]
        return events.mutate(**columns, **{name: events[name].cast("float32") for name in numeric})

    def write_static(
        self, events: ir.Table, raws: Sequence[Source], joins: Joins, attributes: CustomerColumns
    ) -> list[str]:
        """Customer attributes, one row a customer in the order of codes, and when they changed; names those that do."""
        frame = pd.DataFrame(index=pd.RangeIndex(len(self.customers)))
        customers = pd.Index(self.customers.cast(pa.string()).to_pandas())
        wanted = list(self.spec.static)
        changes: dict[str, Changes] = {}  # by attribute; those of one table share theirs
        told: dict[str, str] = {}  # the table that tells it
        dated: set[str] = set()

        def tell(name: str, part: Changes, table: str) -> None:
            if name in changes:
                part = together(name, changes[name], part, (told[name], table), customers)
            changes[name], told[name] = part, table

        for log, source in zip(self.spec.logs, raws, strict=True):
            for join in (join for join in log.joins if join.to == "customer"):
                joined = joins.table(join)
                since = joins.since(join, log)
                if join.left != log.roles["customer"]:
                    raise UserError(
                        f"a join to customers is on the customer column {log.roles['customer']!r}, got {join.left!r}"
                    )
                names = [name for name in joins.columns(join, source) if not wanted or name in wanted]
                parse.check_columns(joined, names, "column")
                if since is not None:
                    names = joins.known_then(join, log, names, since, asked=wanted)
                key = parse.as_written(joined[join.right], untyped=joined.text)
                dates = {} if since is None else {"since": since}
                readers = attributes.of_table(joined, names, log)
                attributes.say_lost(joined.table, {name: joined[name] for name in names}, readers, joined.what)
                columns = {
                    joined.own(name): readers[name](joined[name]) if name in readers else joined[name] for name in names
                }
                table = joined.table.select(**columns, key=key, **dates)
                table = table.filter([table[name].notnull() for name in ("key", *dates)])
                joins.check_unique(table, ["key", *dates], joined, join)
                rows = self.engine.fetch(table).to_pandas().set_index("key")
                matched = int(np.isin(customers, rows.index).sum())
                if matched < len(customers):
                    joins.log(
                        f"{joined.what}: {matched:,} of {len(customers):,} customers of the log are in it; nothing is "
                        "known of the others"
                    )
                values = rows[[joined.own(name) for name in names]].set_axis(names, axis=1)
                at = np.full(len(rows), parse.EARLIEST) if since is None else rows["since"].to_numpy()
                part = Changes.of(customers.get_indexer(rows.index), at, values, len(customers))
                for name in names:
                    tell(name, part, joined.what)
                if since is None:
                    joins.always |= set(names)
                else:
                    dated |= set(names)
        for position, name in enumerate(wanted):
            if f"s{position}" in events.columns:
                if name not in changes:
                    joins.always.discard(name)
                tell(name, self._changes(events, name, events[f"s{position}"]), "the log")
                dated.add(name)
            elif name not in changes:
                known_columns = sorted({*changes, *(column for source in raws for column in source.names)})
                parse.check_columns(raws[0], [name], "static column", known=known_columns)
        for name in [name for name in changes if name not in dated]:
            part = changes.pop(name)
            frame[name] = taken(part.values[[name]], part.newest)[name].to_numpy()
        for name in frame:
            frame[name] = attributes.spelled(name, frame[name])
        for name, part in changes.items():
            values = attributes.spelled(name, part.values[name]).to_frame()
            frame[name] = taken(values, part.newest)[name].to_numpy()
            changes[name] = replace(part, values=values)
        write_changes(self.folder, list(changes.values()))
        frame = frame[wanted] if wanted else frame
        pq.write_table(
            pa.Table.from_pandas(frame, preserve_index=not len(frame.columns)), self.folder / "static.parquet"
        )
        return list(changes)

    def _changes(self, events: ir.Table, name: str, value: ir.Column) -> Changes:
        """When a column of the log took another value than before, missing ones left out; the greatest of several at
        one time.
        """
        value = ibis.ifelse(value.isnan(), ibis.null(value.type()), value) if value.type().is_floating() else value
        known = events.select("customer_id", "time", value=value).filter(lambda t: t.value.notnull())
        known = known.group_by("customer_id", "time").aggregate(value=known.value.max())
        known = known.mutate(before=known.value.lag().over(ibis.window(group_by="customer_id", order_by="time")))
        rows = self.engine.fetch(known.filter(known.before.isnull() | (known.before != known.value))).to_pandas()
        is_number = pa.types.is_integer(events.customer.type().to_pyarrow())
        keys = pd.Index(self.customers.to_pandas() if is_number else range(len(self.customers)))
        code, values = keys.get_indexer(rows["customer_id"]), rows[["value"]].set_axis([name], axis=1)
        return Changes.of(code, rows["time"].to_numpy(), values, len(keys))

    def write_columns(self, events: ir.Table, offsets: np.ndarray, fields: list[Field], *, tie: str) -> int:
        """Sort the events and write them; returns the last time."""
        has_order = "order" in events.columns
        own = self.spec.own
        boundary = [*(["order"] if has_order else []), *([own["source"]] if has_order and self.spec.merged else [])]
        if tie == "file":
            ties = ["log_row", *(["order_row"] if has_order else []), "file_row"]
            if has_order:  # lines of one order stay together
                one = ibis.window(group_by=["customer_id", "time", "log_row", "order"])
                events = events.mutate(order_row=events.file_row.min().over(one))
        else:
            ties = [*boundary[::-1], *own.values()]
            if has_order and events.order.type().is_string():  # of a file without types, say: 9 before 10 as elsewhere
                number = events.order.try_cast("int64")
                number = ibis.ifelse(number.cast("string") == events.order, number, ibis.null("int64"))
                events = events.mutate(order_number=number)
                ties.insert(ties.index("order"), "order_number")
        self.alike.clear()
        keys = dict.fromkeys(["customer_id", "time", *ties])
        names = dict.fromkeys(["time", *boundary, *own.values()])
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
                stored = [values(batch[own[field.name]], field.kind) for field in fields]
                for field, column in zip(fields, stored, strict=True):
                    writers[field.name].append(column)
                self.alike.append(np.unique(moments[alike(start, stored if tie == "sort" else [])]))
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
        texts = {self.spec.own[name]: values for name, values in self.dictionaries.items()}
        known = {"customers": self.customers, "dictionaries": texts, "orders": boundary}
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


def alike(start: np.ndarray, stored: Sequence[np.ndarray]) -> np.ndarray:
    """Rows of a batch that begin no order and equal the row before in every stored column; its first one may do so."""
    same = np.flatnonzero(~start)
    for column in stored:
        bits = column.view(f"i{column.itemsize}")  # NaN equals NaN
        same = same[(same == 0) | (bits[same] == bits[same - 1])]
    return same


def distinct(values: pa.Array) -> tuple[pa.Array, np.ndarray]:
    """The distinct values in their order, and the int32 position of each value among them."""
    found = values.unique()
    found = found.take(pc.sort_indices(found))
    return found, pc.index_in(values, found).to_numpy().astype(np.int32)
