"""Joins: tables named in `data.joins` that add columns to the lines of a log or attributes to its customers."""

from __future__ import annotations

from collections.abc import Callable

import ibis
import ibis.expr.types as ir

from clm_dl.data.log import parse
from clm_dl.data.log.engine import DuckDB, Source
from clm_dl.data.log.roles import Join, Log
from clm_dl.errors import UserError


class Joins:
    """The tables to join, each read once."""

    def __init__(self, engine: DuckDB, data_dir: str, log: Callable[[str], None]):
        self.engine, self.data_dir, self.log = engine, data_dir, log
        self.tables: dict[int, Source] = {}
        self.always: set[str] = set()  # columns that count as known at all times

    def table(self, join: Join) -> Source:
        """The join's table."""
        if id(join) not in self.tables:
            self.tables[id(join)] = self.engine.read(join, self.data_dir)
        return self.tables[id(join)]

    def columns(self, join: Join, source: Source) -> list[str]:
        """Columns that a join adds: those asked for, or all that the log has not."""
        table = self.table(join)
        parse.check_columns(table, [join.right, *(join.columns or ())], "join column")
        if join.columns is None:
            taken = {join.right, self.dated_by(join), *source.table.columns}
            return [name for name in table.table.columns if name not in taken]
        clash = [name for name in join.columns if name in source.table.columns]
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
        return next((name for name in join.dates if name in table.table.columns), None)

    def since(self, join: Join, log: Log) -> ir.Column | None:
        """Microseconds UTC from which each row of the table holds; None where it has no dates."""
        table, name = self.table(join), self.dated_by(join)
        if name is None:
            return None
        moment = parse.time(table.table[name], log.timezone, None)[0]
        if rows := self.engine.fetch(table.table.aggregate(rows=moment.isnull().sum()))["rows"][0].as_py():
            self.log(f"{table.what}: {rows:,} rows have no date in {name} and are left out")
        self.log(f"{table.what}: a row holds from its {name} on")
        return moment

    def items(self, table: ir.Table, join: Join, log: Log, source: Source) -> ir.Table:
        """The log with the fields that an item table adds: those that hold at the time of a line, if it has dates."""
        joined = self.table(join)
        names = self.columns(join, source)
        columns = {}
        for name, (kind, column) in log.fields().items():
            if column in names and column not in source.table.columns:
                values = joined.table[column]
                columns[name] = parse.category(values) if kind == "categorical" else self.number(joined, column, name)
        if not columns:
            return table
        left, right = same_type(table[f"raw:{join.left}"], joined.table[join.right])
        since = self.since(join, log)
        dates = {} if since is None else {"item_from": since}
        items = joined.table.select(item_key=right, **dates, **columns).filter(lambda t: t.item_key.notnull())
        lines = table.mutate(line_key=left)
        if since is None:
            self.always |= set(columns)
            self.check_unique(items, ["item_key"], joined, join)
            return lines.left_join(items, [("line_key", "item_key")]).drop("line_key", "item_key")
        items = items.filter(lambda t: t.item_from.notnull())
        self.check_unique(items, ["item_key", "item_from"], joined, join)
        until = items.item_from.lead().over(ibis.window(group_by="item_key", order_by="item_from"))
        items = self.engine.hold(items.mutate(item_until=until.fill_null(parse.LATEST)))
        holds = [lines.line_key == items.item_key, lines.time >= items.item_from, lines.time < items.item_until]
        return lines.left_join(items, holds).drop("line_key", "item_key", "item_from", "item_until")

    def number(self, joined: Source, column: str, name: str) -> ir.Column:
        """The numeric field `name` of a joined table; what is no finite number is missing, and said to be."""
        value, wrong, not_finite = parse.number(joined.table[column], name)
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


def same_type(left: ir.Column, right: ir.Column) -> tuple[ir.Column, ir.Column]:
    """Two join keys made comparable: as they are if both are numbers or both are text, else both as text."""
    if left.type().is_numeric() == right.type().is_numeric() and left.type().is_string() == right.type().is_string():
        return left, right
    return left.cast("string"), right.cast("string")
