"""Relations of columns: whether a value of one always comes with the same value of another."""

from __future__ import annotations

from functools import cache

import ibis.expr.types as ir

from clm_dl.data.log.engine import DuckDB, Source
from clm_dl.data.log.times import DAY, time
from clm_dl.data.look.columns import Column, known

LINES = 1_000_000  # of longer logs, some of the values with all their lines


class Relations:
    """Answers about the columns of one source; each is asked of the file once."""

    def __init__(self, engine: DuckDB, source: Source, rows: int):
        self.engine, self.source, self.rows = engine, source, rows
        self.distinct = cache(self._distinct)
        self.one_each = cache(self._one_each)
        self.days_each = cache(self._days_each)

    def _distinct(self, name: str) -> int:
        """The exact number of a column's values."""
        counted = self.source.table.aggregate(n=known(self.source[name]).nunique())
        return int(self.engine.fetch(counted)["n"][0].as_py())

    def _one_each(self, name: str, other: str) -> float:
        """Share of the values of `name` that come with one value of `other` alone."""
        return self._each(name, known(self.source[other]), lambda n: (n == 1).mean())

    def _days_each(self, name: str, when: Column) -> float:
        """Days with lines that a value of `name` has on average."""
        moment = time(self.source[when.name], "UTC", when.time_format)[0]
        return self._each(name, moment // DAY, lambda n: n.mean())

    def _each(self, name: str, other: ir.Column, of: object) -> float:
        table = self.source.table.select(a=known(self.source[name]), b=other)
        table = table.filter(table.a.notnull() & table.b.notnull())
        if self.rows > LINES:
            parts = max(1, 256 * LINES // self.rows)
            table = table.filter(table.a.cast("string").hexdigest("md5")[:2] < f"{parts:02x}")
        groups = table.group_by("a").aggregate(n=table.b.nunique())
        found = self.engine.fetch(groups.aggregate(of=of(groups.n)))["of"][0].as_py()  # type: ignore[operator]
        return float(found or 0.0)
