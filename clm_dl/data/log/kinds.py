"""Kinds: which columns of tables without types hold numbers, by what all their values say, and how to read them."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass

import ibis
import ibis.expr.types as ir

from clm_dl.data.log.engine import DuckDB, Source
from clm_dl.data.log.numbers import FLOAT32_MAX, Marks, cleaned, find_marks, number, present
from clm_dl.data.log.parse import ids

NUMERAL = r"^[+-]?([0-9]+[.,]?|[.,][0-9])([0-9.,]*[0-9])?[.,]?(e[+-]?[0-9]+)?$|^nan$"
# with a zero before it is a code, and so are digits in groups that are no thousands
CODE = r"^[+-]?0[0-9]|[0-9]\s[0-9]{1,2}([^0-9]|$)|[0-9]\s[0-9]{4}"
EXACT = 2**53  # up to it, a float64 tells whole numbers apart


@dataclass(frozen=True)
class Reader:
    """How a column is read: as `kind`, which is int64, float64 or string, its text as numbers by their `marks`."""

    kind: str
    marks: Marks | None = None

    def __call__(self, column: ir.Column) -> ir.Column:
        """The column as its kind: null for text that is no finite number, true and false as 1 and 0 among numbers, and
        numbers among categories by the rule of ids.
        """
        kind = column.type()
        if self.kind == "string":
            return ids(column).cast("string") if kind.is_numeric() or kind.is_boolean() else column
        if not kind.is_string():
            return column.cast(self.kind)
        value, text = number(column, "", self.marks)[0], present(column)
        value = ibis.ifelse(value.abs() > FLOAT32_MAX, ibis.null("float64"), value)
        return ibis.cases((text == "true", 1.0), (text == "false", 0.0), else_=value).cast(self.kind)


def find_numbers(
    engine: DuckDB,
    source: Source,
    names: Iterable[str],
    *,
    decimal: str | None,
    thousands: str | None,
    say: Callable[[str], None],
) -> dict[str, Reader]:
    """How to read the text columns whose every value is a number: as int64 where all are whole, else as float64. A
    column of codes such as 007 holds none.
    """
    texts = [name for name in dict.fromkeys(names) if source[name].type().is_string()]
    words = {name: present(source[name]) for name in texts}
    some = _any(engine, source, {name: text.notnull() for name, text in words.items()})
    other = _any(
        engine, source, {name: ~cleaned(text).re_search(NUMERAL) | text.re_search(CODE) for name, text in words.items()}
    )
    numeric = [name for name in texts if some[name] and not other[name]]
    marks = find_marks(engine, source, numeric, decimal=decimal, thousands=thousands, say=say)
    read = {name: number(source[name], "", marks.get(name)) for name in numeric}
    bad = _any(engine, source, {name: wrong | far.fill_null(False) for name, (_, wrong, far) in read.items()})
    broken = _any(
        engine, source, {name: (value % 1 != 0) | (value.abs() > EXACT) for name, (value, *_) in read.items()}
    )
    kinds = {name: "float64" if broken[name] else "int64" for name in numeric}
    return {name: Reader(kinds[name], marks.get(name)) for name in numeric if not bad[name]}


def _any(engine: DuckDB, source: Source, where: dict[str, ir.Value]) -> dict[str, bool]:
    """Whether something is true of any row of a table."""
    if not where:
        return {}
    own = {name: f"t{position}" for position, name in enumerate(where)}
    row = engine.fetch(source.table.aggregate(**{own[name]: value.any() for name, value in where.items()}))
    return {name: bool(row[own[name]][0].as_py()) for name in where}
