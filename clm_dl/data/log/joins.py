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
            return [name for name in table.table.columns if name != join.right and name not in source.table.columns]
        clash = [name for name in join.columns if name in source.table.columns]
        if clash:
            raise UserError(
                f"column {clash[0]!r} is in {source.what} and in {table.what}: leave it out of the join's columns"
            )
        return list(join.columns)

    def items(self, table: ir.Table, join: Join, log: Log, source: Source) -> ir.Table:
        """The log with the fields that an item table adds."""
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
        items = joined.table.select(item_key=right, **columns).filter(lambda t: t.item_key.notnull())
        self.check_unique(items, "item_key", joined, join)
        merged = table.mutate(line_key=left).left_join(items, [("line_key", "item_key")])
        return merged.drop("line_key", "item_key")

    def number(self, joined: Source, column: str, name: str) -> ir.Column:
        """The numeric field `name` of a joined table; what is no finite number is missing, and said to be."""
        value, wrong, not_finite = parse.number(joined.table[column], name)
        bad = wrong | not_finite.fill_null(False)
        if rows := self.engine.fetch(joined.table.aggregate(rows=bad.sum()))["rows"][0].as_py():
            self.log(f"{joined.what}: {rows:,} values of {column} are no finite numbers and count as missing")
        return ibis.ifelse(bad, ibis.null("float64"), value)

    def check_unique(self, table: ir.Table, key: str, joined: Source, join: Join) -> None:
        repeated = self.engine.fetch(
            table.group_by(key).aggregate(rows=table.count()).filter(lambda t: t.rows > 1).limit(1)
        )
        if repeated.num_rows:
            raise UserError(
                f"{joined.what} has {repeated['rows'][0]} rows with {join.right} = {repeated[key][0]}: a joined table "
                "needs one row a key"
            )


def same_type(left: ir.Column, right: ir.Column) -> tuple[ir.Column, ir.Column]:
    """Two join keys made comparable: as they are if both are numbers or both are text, else both as text."""
    if left.type().is_numeric() == right.type().is_numeric() and left.type().is_string() == right.type().is_string():
        return left, right
    return left.cast("string"), right.cast("string")
