"""Log → store: validate, quarantine with a reason, drop duplicates, join, sort, write; in Ibis, out of core."""

from __future__ import annotations

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

from clm_dl.data.log import parse, strays, times
from clm_dl.data.log.counts import check_enough_left, describe_counts
from clm_dl.data.log.customer_columns import CustomerColumns
from clm_dl.data.log.encode import Encoder
from clm_dl.data.log.engine import DuckDB, Source, open_engine
from clm_dl.data.log.fingerprint import configuration_fingerprint, source_fingerprint
from clm_dl.data.log.interchange import spell_out
from clm_dl.data.log.joins import Joins
from clm_dl.data.log.kinds import Reader
from clm_dl.data.log.nobody import mark_nobody
from clm_dl.data.log.orders import settle_orders
from clm_dl.data.log.quarantine import WRONG_SHAPE, examples, write_quarantine
from clm_dl.data.log.reading import read
from clm_dl.data.log.repeats import count_repeats, distinct
from clm_dl.data.log.roles import RESERVED, DataSpec, Log, parse_data
from clm_dl.data.log.sources import describe, is_database
from clm_dl.data.log.ties import Ties, count_ties
from clm_dl.data.log.writing import find_writing, marks_to_facts, of_facts, to_facts
from clm_dl.data.store.files import publish, write_meta
from clm_dl.data.store.home import home_of, staged_folder
from clm_dl.data.store.store import EventStore, Field
from clm_dl.errors import UserError
from clm_dl.writing import full_disk_said

AT_ONCE = 8  # columns of text that one query parses: of many at once DuckDB takes the square of the time and memory


def prepare_store(
    data: Mapping[str, Any],
    path: str | Path,
    *,
    before: int | None = None,
    written: Mapping[str, Any] | None = None,
    log: Callable[[str], None] = lambda line: None,
) -> EventStore:
    """Read the logs that `data` names and write their store into the home `path`, when all went well.

    Args:
        data: the keys of `configs/data/events.yaml`.
        before: microseconds UTC; rows at or after it are dropped before anything else is looked at.
        written: how the log that a run was trained on is written, `written` of its facts.
        log: receives one line of progress at a time.

    Raises:
        FileNotFoundError, ValueError: a source, a column or an option is wrong, or nothing could be kept.
        OSError: the disk is full.
    """
    spec = parse_data(spell_out(data))
    state = source_fingerprint(data)
    fingerprint = state if before is None else f"{state}-before{before}"
    path = home_of(Path(path))
    try:
        with full_disk_said(path), staged_folder(path) as folder:
            spill = folder / "spill"
            spill.mkdir()
            engine = open_engine(spec.engine, spill, spec.memory_limit)
            try:
                meta = _Preparation(spec, engine, folder, before, of_facts(written or {}), log).run()
            finally:
                engine.close()
                shutil.rmtree(spill, ignore_errors=True)
            files = all(log.frame is None and not is_database(str(log.path)) for log in spec.logs)
            if files and source_fingerprint(data) != state:
                names = ", ".join(describe(source) for source in spec.logs)
                raise UserError(f"{names} changed while it was read: prepare it again when it is written")
            meta |= {"fingerprint": fingerprint, "configuration": configuration_fingerprint(data)}
            write_meta(folder, timezone=spec.timezone, **meta)
            return publish(folder, path)
    except duckdb.Error as error:
        text = str(error)
        first, logs = text.splitlines()[0].rstrip("."), ", ".join(describe(source) for source in spec.logs)
        raise UserError(f"cannot prepare {logs}: {first}; check that the file is whole, and data.format") from error


class _Preparation:
    """The steps of one `prepare_store`, in order; holds what later steps need."""

    def __init__(
        self,
        spec: DataSpec,
        engine: DuckDB,
        folder: Path,
        before: int | None,
        known: parse.Writing,
        log: Callable[[str], None],
    ):
        self.spec, self.engine, self.folder, self.before, self.log = spec, engine, folder, before, log
        self.known, self.written = known, dict[str, Any]()
        self.text = False  # ids came as text
        self.untyped = False  # every source is a file without types
        self.tie = spec.tie
        if spec.tie == "auto":
            has_order = spec.engine == "duckdb" and not any(is_database(source.path) for source in spec.logs)
            self.tie = "file" if has_order else "seeded"
        self.reasons: dict[str, str] = {}  # why a row cannot be kept → what of it: customer, time or a field
        self.joins = Joins(engine, spec.data_dir, log)
        self.attributes = CustomerColumns(engine, known, log)

    def run(self) -> dict[str, Any]:
        spec, engine = self.spec, self.engine
        raws = [self._read(log) for log in spec.logs]
        self.untyped = all(source.text for source in raws)
        typed = [self._typed(log, source) for log, source in zip(spec.logs, raws, strict=True)]
        groups = self._rows([t.select("customer", "reason") for t in typed])
        typed, groups = mark_nobody(engine, typed, groups, list(self.reasons).index(parse.MISSING_CUSTOMER))
        has_end = spec.end is not None or self.before is not None
        marked = strays.mark_strays(engine, typed, spec.logs, self.reasons, has_end=has_end, say=self.log)
        if marked is not None:
            typed = marked
            groups = self._rows([t.select("customer", "reason") for t in typed])
        bad = groups[groups["reason"].notna()].groupby("reason")["rows"].sum()
        reasons = {list(self.reasons)[reason]: int(rows) for reason, rows in bad.items()}
        rejected = sum(source.rejected.num_rows for source in raws if source.rejected is not None)
        if rejected:
            reasons[WRONG_SHAPE] = rejected
        reasons = dict(sorted(reasons.items()))
        quarantined = sum(reasons.values())
        lost = self._without_rows(groups)
        groups = groups[groups["reason"].isna()]
        rows_in = int(groups["rows"].sum()) + quarantined
        shown = examples(engine, spec.logs, typed, raws, self.reasons) if quarantined else {}
        counts: dict[str, Any] = {
            "rows_in": rows_in,
            "kept": rows_in - quarantined,
            "quarantined": quarantined,
            "duplicates": 0,
            "quarantine_reasons": reasons,
            "quarantine_examples": {reason: shown[reason] for reason in reasons if reason in shown},
        }
        check_enough_left(counts, self.spec.logs, limit=self.spec.max_quarantined, whole=self.before is None)
        write_quarantine(self.folder, engine, spec.logs, typed, raws, list(self.reasons), quarantined > 0)
        good = [t.filter(t.reason.isnull()) if quarantined else t for t in typed]
        if spec.dedupe:
            good = [engine.hold(distinct(table, in_file=self.tie == "file")) for table in good]
            groups = self._rows([t.select("customer", "reason") for t in good])
        kept = int(groups["rows"].sum())
        counts |= {"kept": kept, "duplicates": rows_in - quarantined - kept}
        settled = [settle_orders(engine, table, close=spec.close_orders, log=self.log) for table in good]
        left = [
            replace(source, table=table) for source, table in zip(raws, settled, strict=True)
        ]  # raw ones may be gone
        readers = self.attributes.of_logs(spec.logs, left, spec.static)
        events = self._merge([self._fields(*parts) for parts in zip(spec.logs, raws, settled, readers, strict=True)])
        events = engine.named(events)
        encoder = Encoder(spec, engine, self.folder)
        codes = encoder.write_dictionaries(events, untyped=self.untyped)
        events, offsets = encoder.encode_customers(events, groups, text=self.text, untyped=self.untyped)
        dated = encoder.write_static(events, raws, self.joins, self.attributes)
        events = encoder.encode_fields(events, codes)
        fields = [Field(name, kind, name if name in RESERVED else None) for name, kind in spec.kinds.items()]
        last = encoder.write_columns(events, offsets, fields, tie=self.tie)
        if self.tie != "sort":
            ties = self._ties(encoder, offsets)
            if spec.tie == "auto" and ties.by_item:
                self.log("ties: the file sorts lines of one time by item, so their order is drawn")
                self.tie = "seeded"
                encoder.write_columns(events, offsets, fields, tie=self.tie)
                ties = self._ties(encoder, offsets)
        assert counts["rows_in"] == counts["kept"] + counts["quarantined"] + counts["duplicates"]
        assert kept == offsets[-1]
        counts["repeats"] = (
            0
            if spec.dedupe
            else count_repeats(engine, good, np.unique(np.concatenate(encoder.alike)), moved=spec.close_orders)
        )
        self.log(describe_counts(counts))
        if lost:
            self.log(f"{lost:,} customers have no row left: all of theirs were quarantined")
        facts: dict[str, Any] = {"known_at_all_times": sorted(self.joins.always), "known_as_of": dated}
        facts |= {"tells_later": sorted(self.joins.foretold), "left_out": sorted(self.joins.left_out)}
        marks = marks_to_facts(self.attributes.marks)
        facts["written"] = {**self.written, **({"attribute_marks": marks} if marks else {})}
        facts = {name: found for name, found in facts.items() if found}
        if self.tie != "sort":
            facts["ties"] = {"order": self.tie, **asdict(ties)}
        known = {"counts": counts, "facts": facts}
        end = self._end(settled, last)  # of what is read: a label window behind `before` is not over
        end = end if self.before is None else min(end, self.before)
        return {"fields": fields, "end": end, "num_events": kept, **known}

    def _ties(self, encoder: Encoder, offsets: np.ndarray) -> Ties:
        """Those of the columns that are written."""
        time, items = np.load(self.folder / "time.npy", mmap_mode="r"), encoder.dictionaries.get("item")
        if items is None:
            return count_ties(offsets, time, None, ())
        return count_ties(offsets, time, np.load(self.folder / "field_item.npy", mmap_mode="r"), items.to_pylist())

    # -- reading and validating

    def _read(self, log: Log) -> Source:
        keep_order = self.tie == "file"
        self.engine.backend.raw_sql(f"SET preserve_insertion_order = {str(keep_order).lower()}")
        source = read(self.engine, log, self.spec.data_dir, self.log)
        items = [column for join in log.joins if join.to == "item" for column in self.joins.columns(join, source)]
        needed = [log.roles["customer"], log.roles["time"], *([log.roles["order"]] if "order" in log.roles else [])]
        parse.check_columns(source, needed, "role column")
        parse.check_columns(source, [join.left for join in log.joins], "join column")
        known = [*source.names, *items]
        parse.check_columns(source, [column for _, column in log.fields().values()], "column", known=known)
        customer = source[log.roles["customer"]]
        self.text |= source.text or not (customer.type().is_string() or parse.is_small_integer(customer))
        if keep_order:
            return replace(source, table=self.engine.hold(source.table.mutate(file_row=ibis.row_number())))
        return source

    def _typed(self, log: Log, source: Source) -> ir.Table:
        """Canonical columns beside the raw ones (c0, c1, …), rows before `before` only."""
        writing = find_writing(self.engine, source, log, self.known, self.log)
        if len(self.spec.logs) == 1:  # columns of several logs may have one name and differ
            self.written = to_facts(writing, log)

        def parsed(table: ir.Table) -> tuple[dict[str, ir.Column], dict[str, int]]:
            known = (replace(source, table=table), log, self.spec.own, writing, self.reasons)
            return parse.parse_log(*known, among_typed=not self.untyped)

        table = source.table
        columns, codes = parsed(table)
        read = [column for kind, column in log.fields().values() if kind != "categorical" and column in source.names]
        if any(source[column].type().is_string() for column in (log.roles["time"], *read)):  # slow to parse: once
            names, table = list(columns), table if source.text else self.engine.named(table)
            for start in range(0, len(names), AT_ONCE):
                columns, _ = parsed(table)
                some = {name: columns[name] for name in names[start : start + AT_ONCE]}
                table = self.engine.instead(table, table.mutate(**some))
        else:  # a typed file is read again as fast as it is kept
            table = self.engine.named(table.mutate(**columns))
        table = self.engine.named(table.mutate(reason=parse.reason(table, codes)).drop(*codes))
        return table if self.before is None else table.filter(table.time.isnull() | (table.time < self.before))

    def _rows(self, tables: list[ir.Table]) -> pd.DataFrame:
        """Number of rows of each customer and reason."""
        table = (
            ibis.union(*tables)
            if len(tables) > 1 and self._same_ids(tables)
            else tables[0]
            if len(tables) == 1
            else None
        )
        if table is None:
            table = ibis.union(*(t.mutate(customer=t.customer.cast("string")) for t in tables))
        groups = table.group_by("customer", "reason").aggregate(rows=table.count())
        return self.engine.fetch(groups).to_pandas(types_mapper=pd.ArrowDtype)

    def _without_rows(self, groups: pd.DataFrame) -> int:
        """Customers of whom no row is kept."""
        nobody = [code for code, why in enumerate(self.reasons) if self.reasons[why] == "customer"]
        bad = groups[groups["reason"].notna() & ~groups["reason"].isin(nobody) & groups["customer"].notna()]
        return len(set(bad["customer"]) - set(groups["customer"][groups["reason"].isna()]))

    @staticmethod
    def _same_ids(tables: list[ir.Table]) -> bool:
        return len({table.customer.type().is_integer() for table in tables}) == 1

    # -- one table of events

    def _fields(self, log: Log, source: Source, table: ir.Table, readers: Mapping[str, Reader]) -> ir.Table:
        """Customer, time, order and every field of the store; items joined."""
        for join in log.joins:
            if join.to == "item":
                table = self.joins.items(table, join, log, source, self.spec.own)
        have = set(table.columns)
        columns = [table.customer, table.time]
        if any("order" in other.roles for other in self.spec.logs):
            columns.append(table.order if "order" in have else ibis.null("string").name("order"))
        types = {"numeric": "float64", "time": "int64", "categorical": "string"}
        for name, own in self.spec.own.items():
            if name == "source":
                columns.append(ibis.literal(log.name).name(own))
            else:
                columns.append(table[own] if own in have else ibis.null(types[self.spec.kinds[name]]).name(own))
        static = {name: table[source.own(name)] for name in self.spec.static if name in source.names}
        self.attributes.say_lost(table, static, readers, source.what)
        columns += [
            (readers[name](column) if name in readers else column).name(f"s{self.spec.static.index(name)}")
            for name, column in static.items()
        ]
        if self.tie == "file":
            position = ibis.literal(self.spec.logs.index(log)).cast("int64")
            columns += [position.name("log_row"), table["file_row"]]
        return table.select(*columns)

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

    def _end(self, good: list[ir.Table], last: int) -> int:
        """`data.end`, or the last time; the midnight after it where every time is a midnight."""
        if self.spec.end is not None:
            return times.parse_moment(self.spec.end, self.spec.timezone, "data.end")
        for table in good:
            if self.engine.fetch(table.filter(table.local % times.DAY != 0).select("local").limit(1)).num_rows:
                return last
        return times.next_midnight(last, self.spec.logs[0].timezone)
