"""Joins: tables named in `data.joins` that add columns to the lines of a log or attributes to its customers."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from typing import Any

import ibis
import ibis.expr.types as ir

from clm_dl.data.log import parse
from clm_dl.data.log.closing import tells_later
from clm_dl.data.log.engine import DuckDB, Source
from clm_dl.data.log.numbers import Marks, check_numeric, find_marks, number
from clm_dl.data.log.reading import read
from clm_dl.data.log.roles import Join, Log
from clm_dl.data.log.time_format import find_format
from clm_dl.data.log.times import time
from clm_dl.errors import UserError


class Joins:
    """The tables to join, each read once."""

    def __init__(self, engine: DuckDB, data_dir: str, log: Callable[[str], None]):
        self.engine, self.data_dir, self.log = engine, data_dir, log
        self.tables: dict[int, Source] = {}
        self.always: set[str] = set()  # columns that count as known at all times
        self.left_out: set[str] = set()  # columns of dated tables that tell of later
        self.foretold: set[str] = set()  # those of them that the joins ask for by name

    def table(self, join: Join) -> Source:
        """The join's table."""
        if id(join) not in self.tables:
            self.tables[id(join)] = read(self.engine, join, self.data_dir, self.log)
        return self.tables[id(join)]

    def columns(self, join: Join, source: Source) -> list[str]:
        """Columns that a join adds: those asked for, or all that the log has not."""
        table = self.table(join)
        parse.check_columns(table, [join.right, *(join.columns or ())], "join column")
        if join.columns is None:
            taken = {join.right, self.dated_by(join), *source.names}
            return [name for name in table.names if name not in taken]
        clash = [name for name in join.columns if name in source.names]
        if clash:
            raise UserError(
                f"column {clash[0]!r} is in {source.what} and in {table.what}: leave it out of the join's columns"
            )
        return list(join.columns)

    def dated_by(self, join: Join) -> str | None:
        """The column of the table that says from when each of its rows holds, if any."""
        table = self.table(join)
        if len(join.dates) == 1:
            parse.check_columns(table, join.dates, "column of data.joins[].valid_from")
        return next((name for name in join.dates if name in table.names), None)

    def since(self, join: Join, log: Log) -> ir.Column | None:
        """Microseconds UTC from which each row of the table holds; None where it has no dates."""
        table, name = self.table(join), self.dated_by(join)
        if name is None:
            return None
        key = "time_format of the join in data.joins"
        written = join.time_format or find_format(self.engine, table, name, self.log, key=key)
        moment = time(table[name], log.timezone, written)[0]
        if rows := self.engine.fetch(table.table.aggregate(rows=moment.isnull().sum()))["rows"][0].as_py():
            self.log(f"{table.what}: {rows:,} rows have no date in {name} and are left out")
        self.log(f"{table.what}: a row holds from its {name} on")
        return moment

    def known_then(
        self, join: Join, log: Log, names: list[str], since: ir.Column, *, asked: Collection[str]
    ) -> list[str]:
        """Of columns of a dated table those that do not tell what came after a row began to hold; all of them where the
        join names its columns. `asked`: columns that the configuration names elsewhere, which may not be left out.
        """
        table, dated = self.table(join), self.dated_by(join)
        assert dated is not None
        known: Any = {"since": since, "dated_by": dated, "written": join.time_format, "timezone": log.timezone}
        later = tells_later(self.engine, table, names, **known)
        if not later:
            return names
        listed = ", ".join(later)
        if join.columns is not None:
            self.foretold |= set(later)
            self.log(
                f"WARNING: {table.what}: {listed} may tell of times after a row's {dated}, and is taken because "
                "data.joins[].columns names it: right only where it was known from then on"
            )
            return names
        if refused := [name for name in later if name in asked]:
            raise UserError(
                f"column {refused[0]!r} of {table.what} tells of times after a row's {dated}, which no cutoff may "
                "know: leave it out, or name it in data.joins[].columns if it was known from then on"
            )
        self.left_out |= set(later)
        self.log(
            f"{table.what}: {listed} left out, for it tells of times after a row's {dated} (data.joins[].columns takes "
            "it by name)"
        )
        return [name for name in names if name not in later]

    def items(self, table: ir.Table, join: Join, log: Log, source: Source, own: Mapping[str, str]) -> ir.Table:
        """The log with the fields that an item table adds, called by `own`: those that hold at the time of a line, if
        the table has dates.
        """
        joined = self.table(join)
        names = self.columns(join, source)
        wanted = {
            name: (kind, column)
            for name, (kind, column) in log.fields().items()
            if column in names and column not in source.names
        }
        if not wanted:
            return table
        parse.check_columns(joined, [column for _, column in wanted.values()], "column")
        marks = find_marks(
            self.engine,
            joined,
            [column for kind, column in wanted.values() if kind == "numeric"],
            decimal=log.decimal,
            thousands=log.thousands,
            say=self.log,
        )
        columns = {
            own[name]: self.number(joined, column, name, marks.get(column))
            if kind == "numeric"
            else parse.category(joined[column])
            for name, (kind, column) in wanted.items()
        }
        left, right = table[source.own(join.left)], joined[join.right]
        if parse.is_small_integer(left) and parse.is_small_integer(right):
            left, right = left.cast("int64"), right.cast("int64")
        else:
            left = parse.as_written(left, untyped=source.text)
            right = parse.as_written(right, untyped=joined.text)
        since = self.since(join, log)
        if since is not None:
            fields = [column for kind, column in wanted.values() if kind != "time"]
            self.known_then(join, log, fields, since, asked=fields)
        dates = {} if since is None else {"item_from": since}
        items = joined.table.select(item_key=right, **dates, **columns).filter(lambda t: t.item_key.notnull())
        lines = table.mutate(line_key=left)
        if since is None:
            self.always |= set(wanted)
            self.check_unique(items, ["item_key"], joined, join)
            self.say_matches(lines, items, joined, join)
            return lines.left_join(items, [("line_key", "item_key")]).drop("line_key", "item_key")
        items = items.filter(lambda t: t.item_from.notnull())
        self.check_unique(items, ["item_key", "item_from"], joined, join)
        self.say_matches(lines, items, joined, join)
        until = items.item_from.lead().over(ibis.window(group_by="item_key", order_by="item_from"))
        items = self.engine.hold(items.mutate(item_until=until.fill_null(parse.LATEST)))
        holds = [lines.line_key == items.item_key, lines.time >= items.item_from, lines.time < items.item_until]
        return lines.left_join(items, holds).drop("line_key", "item_key", "item_from", "item_until")

    def say_matches(self, lines: ir.Table, items: ir.Table, joined: Source, join: Join) -> None:
        """Say how many lines of the log find no row of the table, if any."""
        keys = lines.group_by("line_key").aggregate(rows=lines.count())
        found = keys.left_join(items.select("item_key").distinct(), [("line_key", "item_key")])
        lost = ibis.ifelse(found.item_key.isnull(), found.rows, 0).sum()
        row = self.engine.fetch(found.aggregate(rows=found.rows.sum(), lost=lost)).to_pylist()[0]
        if row["lost"]:
            self.log(
                f"{joined.what}: {row['rows'] - row['lost']:,} of {row['rows']:,} lines of the log find their "
                f"{join.right}; the others miss what it says"
            )

    def number(self, joined: Source, column: str, name: str, marks: Marks | None) -> ir.Column:
        """The numeric field `name` of a joined table; what is no finite number is missing, and said to be."""
        check_numeric(joined, column)
        value, wrong, not_finite = number(joined[column], name, marks)
        bad = wrong | not_finite.fill_null(False)
        if rows := self.engine.fetch(joined.table.aggregate(rows=bad.sum()))["rows"][0].as_py():
            self.log(f"{joined.what}: {rows:,} values of {column} are no finite numbers and count as missing")
        return ibis.ifelse(bad, ibis.null("float64"), value)

    def check_unique(self, table: ir.Table, keys: list[str], joined: Source, join: Join) -> None:
        repeated = self.engine.fetch(
            table.group_by(keys).aggregate(rows=table.count()).filter(lambda t: t.rows > 1).limit(1)
        )
        if repeated.num_rows:
            dated = f" and one {self.dated_by(join)}" if len(keys) > 1 else ""
            raise UserError(
                f"{joined.what} has {repeated['rows'][0]} rows with {join.right} = {repeated[keys[0]][0]}{dated}: a "
                "joined table needs one row a key, or a column valid_from that says from when each holds"
            )
