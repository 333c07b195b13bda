"""Log → store: validate, quarantine with a reason, drop duplicates, join, sort, write. Ibis expressions, out of core."""

from __future__ import annotations

import errno
import hashlib
import json
import shutil
from collections.abc import Callable, Mapping
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import duckdb
import ibis
import ibis.expr.types as ir
import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from clm_dl.data import parse
from clm_dl.data.engine import Source, open_engine
from clm_dl.data.roles import RESERVED, DataSpec, Join, Log, parse_data
from clm_dl.data.sources import describe, source_state
from clm_dl.data.store import DTYPES, MISSING_CODE, MISSING_TIME, STORE_VERSION, ColumnFile, EventStore, Field, staged_folder, write_meta

WRONG_SHAPE = "row of the wrong shape"


def source_fingerprint(data: Mapping[str, Any]) -> str:
    """Hash of all that decides the store's bytes: state of every source, roles, options and the store's version."""
    spec = parse_data(data)
    states = [[source_state(log, spec.data_dir), *(source_state(join, spec.data_dir) for join in log.joins)] for log in spec.logs]
    plain = replace(
        spec, logs=tuple(replace(log, frame=None, joins=tuple(replace(join, frame=None) for join in log.joins)) for log in spec.logs)
    )
    options = {key: value for key, value in asdict(plain).items() if key not in ("memory_limit", "data_dir", "engine")}
    text = json.dumps([STORE_VERSION, states, options], sort_keys=True, default=str)
    return hashlib.blake2b(text.encode(), digest_size=16).hexdigest()


def ensure_store(data: Mapping[str, Any], path: str | Path, log: Callable[[str], None] = lambda line: None) -> EventStore:
    """Open the store at `path` if it was made from these sources and roles as they are now, else prepare it."""
    fingerprint = source_fingerprint(data)
    try:
        store = EventStore(path)
        if store.fingerprint == fingerprint:
            log(f"store {path} is up to date: {store.num_events:,} events of {store.num_customers:,} customers")
            return store
        log(f"store {path} is stale: preparing it again")
    except FileNotFoundError:
        pass
    except ValueError as error:
        log(str(error))
    return prepare_store(data, path, log=log)


def prepare_store(
    data: Mapping[str, Any], path: str | Path, *, before: int | None = None, log: Callable[[str], None] = lambda line: None
) -> EventStore:
    """Read the logs that `data` names and write their store at `path`, replacing what is there only when all went well.

    Args:
        data: the keys of `configs/data/events.yaml`.
        before: microseconds UTC; rows at or after it are dropped before anything else is looked at.
        log: receives one line of progress at a time.

    Raises:
        FileNotFoundError, ValueError: a source, a column or an option is wrong, or nothing could be kept.
        OSError: the disk is full.
    """
    spec = parse_data(data)
    fingerprint = source_fingerprint(data) if before is None else f"before {before}: {source_fingerprint(data)}"
    path = Path(path)
    try:
        with staged_folder(path) as folder:
            spill = folder / "spill"
            spill.mkdir()
            engine = open_engine(spec.engine, spill, spec.memory_limit)
            try:
                meta = _Preparation(spec, engine, folder, before, log).run()
            finally:
                engine.close()
                shutil.rmtree(spill, ignore_errors=True)
            write_meta(folder, fingerprint=fingerprint, timezone=spec.timezone, **meta)
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            raise _disk_full(path) from error
        raise
    except duckdb.Error as error:
        text = str(error)
        if "No space left" in text or "max_temp_directory_size" in text:
            raise _disk_full(path) from error
        raise ValueError(f"cannot prepare {', '.join(describe(source) for source in spec.logs)}: {text.splitlines()[0]}") from error
    return EventStore(path)


def _disk_full(path: Path) -> OSError:
    return OSError(f"the disk is full while writing the store {path}: free some space or choose another folder; nothing was written")


class _Preparation:
    """The steps of one `prepare_store`, in order; holds what later steps need."""

    def __init__(self, spec: DataSpec, engine: Any, folder: Path, before: int | None, log: Callable[[str], None]):
        self.spec, self.engine, self.folder, self.before, self.log = spec, engine, folder, before, log
        self.text = False  # ids came as text
        self.reasons: list[str] = []
        self.tables: dict[int, Source] = {}

    def run(self) -> dict[str, Any]:
        spec, engine = self.spec, self.engine
        raws = [self._read(log) for log in spec.logs]
        typed = [self._typed(log, source) for log, source in zip(spec.logs, raws, strict=True)]
        groups = self._summary([t.select("customer", "time", "local", "reason") for t in typed])
        bad = groups[groups["reason"].notna()].groupby("reason")["rows"].sum()
        reasons = {self.reasons[reason]: int(rows) for reason, rows in bad.items()}
        rejected = sum(source.rejected.num_rows for source in raws if source.rejected is not None)
        if rejected:
            reasons[WRONG_SHAPE] = rejected
        reasons = dict(sorted(reasons.items()))
        quarantined = sum(reasons.values())
        groups = groups[groups["reason"].isna()]
        rows_in = int(groups["rows"].sum()) + quarantined
        self._check_some_left(rows_in, quarantined, reasons)
        self._write_quarantine(typed, raws, quarantined)
        good = [t.filter(t.reason.isnull()) if quarantined else t for t in typed]
        if spec.dedupe:
            good = [engine.hold(self._distinct(table, source)) for table, source in zip(good, raws, strict=True)]
            groups = self._summary([t.select("customer", "time", "local", "reason") for t in good])
        kept = int(groups["rows"].sum())
        counts: dict[str, Any] = {
            "rows_in": rows_in,
            "kept": kept,
            "quarantined": quarantined,
            "duplicates": rows_in - quarantined - kept,
            "quarantine_reasons": reasons,
        }
        self.log(describe_counts(counts))
        events = self._merge([self._fields(log, source, table) for log, source, table in zip(spec.logs, raws, good, strict=True)])
        events, end = self.engine.named(events), self._end(groups)
        codes = self._write_dictionaries(events)
        events, offsets = self._encode_customers(events, groups)
        self._write_static(events, raws)
        events = self._encode_categories(events, codes)
        fields = [Field(name, kind, name if name in RESERVED else None) for name, kind in spec.kinds.items()]
        self._write_columns(events, offsets, fields)
        assert counts["rows_in"] == counts["kept"] + counts["quarantined"] + counts["duplicates"]
        assert kept == offsets[-1]
        return {"fields": fields, "end": end, "counts": counts, "num_events": kept}

    # -- reading and validating

    def _read(self, log: Log) -> Source:
        keep_order = self.spec.tie == "file"
        source: Source = self.engine.read(log, self.spec.data_dir, keep_order=keep_order)
        self.text |= source.text
        items = {column for join in log.joins if join.to == "item" for column in self._join_columns(join, source)}
        needed = [log.roles["customer"], log.roles["time"], *([log.roles["order"]] if "order" in log.roles else [])]
        parse.check_columns(source, needed, "role column")
        parse.check_columns(source, [join.left for join in log.joins], "join column")
        known = {*source.table.columns, *items}
        missing = [column for _, column in log.fields().values() if column not in known]
        if missing:
            parse.check_columns(replace(source, table=ibis.table(dict.fromkeys(sorted(known), "string"))), missing, "column")
        if keep_order:
            return replace(source, table=self.engine.hold(source.table.mutate(file_row=ibis.row_number())))
        return source

    def _join_columns(self, join: Join, source: Source) -> list[str]:
        """Columns that a join adds: those asked for, or all that the log has not."""
        table = self._joined(join)
        parse.check_columns(table, [join.right, *(join.columns or ())], "join column")
        if join.columns is None:
            return [name for name in table.table.columns if name != join.right and name not in source.table.columns]
        clash = [name for name in join.columns if name in source.table.columns]
        if clash:
            raise ValueError(f"column {clash[0]!r} is in {source.what} and in {table.what}: leave it out of the join's columns")
        return list(join.columns)

    def _joined(self, join: Join) -> Source:
        if id(join) not in self.tables:
            self.tables[id(join)] = self.engine.read(join, self.spec.data_dir)
        return self.tables[id(join)]

    def _typed(self, log: Log, source: Source) -> ir.Table:
        """Canonical columns beside the raw ones (renamed `raw:…`), rows before `before` only."""
        columns = parse.parse_log(source, log, self.reasons)
        raw = {f"raw:{name}": source.table[name] for name in source.table.columns}
        table = source.table.select(**columns, **raw)
        table = self.engine.named(table)
        return table if self.before is None else table.filter(table.time.isnull() | (table.time < self.before))

    def _summary(self, tables: list[ir.Table]) -> pd.DataFrame:
        """One row a customer and reason: rows, last time, whether every time is a midnight."""
        table = ibis.union(*tables) if len(tables) > 1 and self._same_ids(tables) else tables[0] if len(tables) == 1 else None
        if table is None:
            table = ibis.union(*(t.mutate(customer=t.customer.cast("string")) for t in tables))
        groups = table.group_by("customer", "reason").aggregate(
            rows=table.count(), last=table.time.max(), last_local=table.local.max(), intraday=(table.local % parse.DAY != 0).any()
        )
        return self.engine.fetch(groups).to_pandas(types_mapper=pd.ArrowDtype)

    @staticmethod
    def _same_ids(tables: list[ir.Table]) -> bool:
        return len({table.customer.type().is_integer() for table in tables}) == 1

    def _check_some_left(self, rows_in: int, quarantined: int, reasons: dict[str, int]) -> None:
        what = ", ".join(describe(source) for source in self.spec.logs)
        if not rows_in:
            raise ValueError(
                f"{what} has no events{'' if self.before is None else ' before the cutoff'}: give a log with at least one event"
            )
        if quarantined == rows_in:
            listed = ", ".join(f"{reason}: {rows}" for reason, rows in reasons.items())
            hint = " (set data.time_format?)" if "unparseable time" in reasons else ""
            raise ValueError(f"all {rows_in} rows of {what} were quarantined ({listed}): check data.roles{hint}")

    def _write_quarantine(self, typed: list[ir.Table], raws: list[Source], quarantined: int) -> None:
        """Rows that were not kept, every value as text, with `source` and `reason`."""
        names = list(dict.fromkeys(n for source in raws for n in source.table.columns if n not in ("file_row", "source", "reason")))
        extra = ["row"] if any(source.rejected is not None for source in raws) and "row" not in names else []
        schema = pa.schema([(name, pa.string()) for name in [*names, *extra, "source", "reason"]])
        with pq.ParquetWriter(self.folder / "quarantine.parquet", schema) as writer:
            if not quarantined:
                return
            for log, table, source in zip(self.spec.logs, typed, raws, strict=True):
                have = set(source.table.columns)
                texts = [(table[f"raw:{n}"].cast("string") if n in have else ibis.null("string")).name(n) for n in [*names, *extra]]
                bad = table.filter(table.reason.notnull()).select(*texts, ibis.literal(log.name).name("source"), table.reason)
                for batch in self.engine.stream(bad):
                    columns = [*batch.columns[:-1], pa.array(self.reasons).take(batch.columns[-1])]
                    writer.write_batch(pa.RecordBatch.from_arrays([column.cast(pa.string()) for column in columns], schema=schema))
                if source.rejected is not None:
                    rows = source.rejected.num_rows
                    values = {"row": source.rejected["row"], "source": pa.repeat(log.name, rows), "reason": pa.repeat(WRONG_SHAPE, rows)}
                    writer.write_table(pa.table({n: values.get(n, pa.nulls(rows, pa.string())) for n in schema.names}, schema=schema))

    def _distinct(self, table: ir.Table, source: Source) -> ir.Table:
        if self.spec.tie == "sort":
            return table.distinct()
        others = [name for name in table.columns if name != "raw:file_row"]
        return table.group_by(others).aggregate(table["raw:file_row"].min().name("raw:file_row"))

    # -- one table of events

    def _fields(self, log: Log, source: Source, table: ir.Table) -> ir.Table:
        """Customer, time, order and every field of the store; items joined."""
        for join in log.joins:
            if join.to == "item":
                table = self._join_items(table, join, log, source)
        have = set(table.columns)
        columns = [table.customer, table.time]
        if any("order" in other.roles for other in self.spec.logs):
            columns.append(table.order if "order" in have else ibis.null("string").name("order"))
        types = {"numeric": "float64", "time": "int64", "categorical": "string"}
        for name, kind in self.spec.kinds.items():
            if name == "source":
                columns.append(ibis.literal(log.name).name("source"))
            else:
                columns.append(table[name] if name in have else ibis.null(types[kind]).name(name))
        columns += [table[f"raw:{name}"].name(f"static:{name}") for name in self.spec.static if name in source.table.columns]
        columns += [table[f"raw:{join.left}"].name(f"key:{i}") for i, join in enumerate(log.joins) if join.to == "customer"]
        if self.spec.tie == "file":
            position = ibis.literal(self.spec.logs.index(log)).cast("int64")
            columns += [position.name("log_row"), table["raw:file_row"].name("file_row")]
        return table.select(*columns)

    def _join_items(self, table: ir.Table, join: Join, log: Log, source: Source) -> ir.Table:
        joined = self._joined(join)
        names = self._join_columns(join, source)
        columns = {}
        for name, (kind, column) in log.fields().items():
            if column in names and column not in source.table.columns:
                values = joined.table[column]
                columns[name] = parse.category(values) if kind == "categorical" else parse.number(values, name)[0]
        if not columns:
            return table
        left, right = same_type(table[f"raw:{join.left}"], joined.table[join.right])
        items = joined.table.select(item_key=right, **columns).filter(lambda t: t.item_key.notnull())
        self._check_unique(items, "item_key", joined, join)
        merged = table.mutate(line_key=left).left_join(items, [("line_key", "item_key")])
        return merged.drop("line_key", "item_key")

    def _check_unique(self, table: ir.Table, key: str, joined: Source, join: Join) -> None:
        repeated = self.engine.fetch(table.group_by(key).aggregate(rows=table.count()).filter(lambda t: t.rows > 1).limit(1))
        if repeated.num_rows:
            raise ValueError(
                f"{joined.what} has {repeated['rows'][0]} rows with {join.right} = {repeated[key][0]}: a joined table needs one row a key"
            )

    @staticmethod
    def _merge(tables: list[ir.Table]) -> ir.Table:
        if len(tables) == 1:
            return tables[0]
        names = list(dict.fromkeys(name for table in tables for name in table.columns))
        aligned: list[dict[str, ir.Value]] = [{} for _ in tables]
        for name in names:
            types = [table[name].type() for table in tables if name in table.columns]
            common = types[0] if all(kind == types[0] for kind in types) else "string"
            for columns, table in zip(aligned, tables, strict=True):
                columns[name] = (table[name] if name in table.columns else ibis.null(common)).cast(common)
        return ibis.union(*(table.select(**columns) for table, columns in zip(tables, aligned, strict=True)))

    def _end(self, groups: pd.DataFrame) -> int:
        if self.spec.end is not None:
            return parse.parse_moment(self.spec.end, self.spec.timezone, "data.end")
        last = int(groups["last"].max())
        return last if groups["intraday"].any() else parse.next_midnight(last, self.spec.logs[0].timezone)

    # -- codes

    def _encode_customers(self, events: ir.Table, groups: pd.DataFrame) -> tuple[ir.Table, np.ndarray]:
        """Replace customer ids by something that sorts as they do; write ids and offsets."""
        ids = pa.array(groups["customer"])
        ids = ids.combine_chunks() if isinstance(ids, pa.ChunkedArray) else ids
        if pa.types.is_large_string(ids.type) or pa.types.is_string_view(ids.type):
            ids = ids.cast(pa.string())
        keys, numbers = ids, as_integers(ids) if self.text else None
        ids = ids if numbers is None else numbers
        order = pc.sort_indices(ids)
        rows = groups["rows"].to_numpy(dtype=np.int64)[order.to_numpy()]
        offsets = np.concatenate([[0], np.cumsum(rows)]).astype(np.int64)
        np.save(self.folder / "offsets.npy", offsets)
        self.customers = ids.take(order)
        pq.write_table(pa.table({"customer_id": self.customers}), self.folder / "customers.parquet")
        if pa.types.is_integer(keys.type):
            return events.mutate(customer_id=events.customer), offsets
        codes = self.engine.view(pa.table({"customer_key": keys.take(order), "customer_id": np.arange(len(keys), dtype=np.int64)}))
        return events.inner_join(codes, [("customer", "customer_key")]).drop("customer_key"), offsets

    def _write_dictionaries(self, events: ir.Table) -> dict[str, ir.Table]:
        """Write each categorical field's values, sorted as text; return value → code as tables."""
        codes = {}
        for name in [name for name, kind in self.spec.kinds.items() if kind == "categorical"]:
            found = self.engine.fetch(events.select(events[name].name("value")).distinct())["value"].drop_null().combine_chunks()
            texts = found.cast(pa.string())
            order = pc.sort_indices(texts)
            pq.write_table(pa.table({"value": texts.take(order)}), self.folder / f"dict_{name}.parquet")
            numbers = np.arange(len(found), dtype=np.int32)
            codes[name] = self.engine.view(pa.table({f"key:{name}": found.take(order), f"code:{name}": numbers}))
        return codes

    @staticmethod
    def _encode_categories(events: ir.Table, codes: dict[str, ir.Table]) -> ir.Table:
        """Replace categorical values by their codes."""
        for name, table in codes.items():
            events = events.left_join(table, [(name, f"key:{name}")])
        return events.mutate(**{name: events[f"code:{name}"].fill_null(MISSING_CODE).cast("int32") for name in codes})

    def _write_static(self, events: ir.Table, raws: list[Source]) -> None:
        """Customer attributes, one row a customer in the order of codes."""
        frame = pd.DataFrame(index=pd.RangeIndex(len(self.customers)))
        ids = pd.Index(self.customers.to_pandas())
        wanted = list(self.spec.static)
        for log, source in zip(self.spec.logs, raws, strict=True):
            for join in (join for join in log.joins if join.to == "customer"):
                joined = self._joined(join)
                table = joined.table.filter(joined.table[join.right].notnull())
                self._check_unique(table, join.right, joined, join)
                if join.left != log.roles["customer"]:
                    raise ValueError(f"a join to customers is on the customer column {log.roles['customer']!r}, got {join.left!r}")
                names = [name for name in self._join_columns(join, source) if not wanted or name in wanted]
                rows = self.engine.fetch(table.select(join.right, *names)).to_pandas()
                keys = rows.pop(join.right)
                rows.index = pd.Index(keys.astype(str) if ids.dtype.kind not in "iu" else pd.to_numeric(keys, errors="coerce"))
                for name in names:
                    frame[name] = rows[name].reindex(ids).to_numpy()
        for name in wanted:
            if f"static:{name}" in events.columns:
                frame[name] = self._last_value(events, f"static:{name}")
            elif name not in frame:
                known = sorted({*frame.columns, *(column for source in raws for column in source.table.columns)})
                parse.check_columns(replace(raws[0], table=ibis.table(dict.fromkeys(known, "string"))), [name], "static column")
        frame = frame[wanted] if wanted else frame
        pq.write_table(pa.Table.from_pandas(frame, preserve_index=not len(frame.columns)), self.folder / "static.parquet")

    def _last_value(self, events: ir.Table, name: str) -> np.ndarray:
        """Every customer's newest value that is not missing; the greatest where several share its time."""
        known = events.select("customer_id", "time", value=events[name]).filter(lambda t: t.value.notnull())
        newest = known.group_by("customer_id").aggregate(newest=known.time.max()).rename(newest_id="customer_id")
        both = known.join(newest, [known.customer_id == newest.newest_id, known.time == newest.newest])
        rows = self.engine.fetch(both.group_by("customer_id").aggregate(value=both.value.max())).to_pandas()
        keys = self.customers.to_pandas() if pa.types.is_integer(events.customer.type().to_pyarrow()) else range(len(self.customers))
        return rows.set_index("customer_id")["value"].reindex(pd.Index(keys)).to_numpy()

    # -- sorting and writing

    def _write_columns(self, events: ir.Table, offsets: np.ndarray, fields: list[Field]) -> None:
        has_order = "order" in events.columns
        if self.spec.tie == "file":
            ties = ["log_row", "file_row"]
        else:
            ties = [*(["source"] if has_order and self.spec.merged else []), *(["order"] if has_order else []), *self.spec.kinds]
        keys = dict.fromkeys(["customer_id", "time", *ties])
        boundary = ["order", *(["source"] if self.spec.merged else [])] if has_order else []
        names = dict.fromkeys(["time", *boundary, *self.spec.kinds])
        ordered = events.order_by([ibis.asc(events[name], nulls_first=True) for name in keys]).select(*names)
        total = int(offsets[-1])
        writers = {field.name: ColumnFile(self.folder / f"field_{field.name}.npy", DTYPES[field.kind], total) for field in fields}
        times = ColumnFile(self.folder / "time.npy", np.dtype(np.int64), total)
        starts = ColumnFile(self.folder / "order_start.npy", np.dtype(bool), total)
        row, previous = 0, None
        try:
            for batch in self.engine.stream(ordered):
                start = np.zeros(batch.num_rows, dtype=bool)
                first, last = np.searchsorted(offsets, [row, row + batch.num_rows])
                start[offsets[first:last] - row] = True
                for name in ("time", *boundary):
                    start |= changes(batch[name], None if previous is None else previous[name])
                starts.append(start)
                times.append(batch["time"].to_numpy(zero_copy_only=False))
                for field in fields:
                    writers[field.name].append(values(batch[field.name], field.kind))
                row, previous = row + batch.num_rows, batch.slice(batch.num_rows - 1, 1)
        finally:
            for writer in (*writers.values(), times, starts):
                writer.close()
        assert row == total, f"wrote {row} of {total} events"


def values(column: pa.Array, kind: str) -> np.ndarray:
    """A batch's column as it is stored."""
    if kind == "numeric":  # + 0.0: no negative zero, it sorts like zero
        return column.to_numpy(zero_copy_only=False).astype(np.float32) + np.float32(0.0)
    if kind == "time":
        column = pc.fill_null(column, pa.scalar(MISSING_TIME, pa.int64()))
    return column.to_numpy(zero_copy_only=False)


def changes(column: pa.Array, previous: pa.Array | None) -> np.ndarray:
    """Bool `[rows]`: where a value differs from the one before it; null equals null."""
    codes = pa.concat_arrays([previous if previous is not None else column.slice(0, 1), column])
    if codes.null_count or not pa.types.is_primitive(codes.type):
        codes = pc.dictionary_encode(codes, null_encoding="encode").indices
    numbers = codes.to_numpy(zero_copy_only=False)
    result: np.ndarray = numbers[1:] != numbers[:-1]
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


def same_type(left: ir.Column, right: ir.Column) -> tuple[ir.Column, ir.Column]:
    """Two join keys made comparable: as they are if both are numbers or both are text, else both as text."""
    if left.type().is_numeric() == right.type().is_numeric() and left.type().is_string() == right.type().is_string():
        return left, right
    return left.cast("string"), right.cast("string")


def describe_counts(counts: Mapping[str, Any]) -> str:
    """rows_in = kept + quarantined + duplicates, in words."""
    reasons = ", ".join(f"{reason}: {rows:,}" for reason, rows in counts["quarantine_reasons"].items())
    return (
        f"{counts['rows_in']:,} rows in = {counts['kept']:,} kept + {counts['quarantined']:,} quarantined"
        f"{f' ({reasons})' if reasons else ''} + {counts['duplicates']:,} duplicates"
    )
