"""Columns of a dated table that tell what came after a row began to hold: closing dates, flags of the newest row."""

from __future__ import annotations

import re
from collections.abc import Sequence

import ibis
import ibis.expr.types as ir

from clm_dl.data.ids import MISSING_WORDS
from clm_dl.data.log.engine import DuckDB, Source
from clm_dl.data.log.time_format import find_format
from clm_dl.data.log.times import DIGITS, time
from clm_dl.errors import UserError

END = (
    r"to|until|till|thru|through|bis|ends?|ended|ending|expir(y|es|ed|ation)|clos(e|es|ed|ing)|terminat(ed|ion)|"
    r"cancell?(ed|ation)|superseded|replaced|deleted|removed|churn(ed)?|left"
)
WHEN = r"date|time|timestamp|datetime|at|on|ts|dt|day"
CLOSING = re.compile(
    rf"(.*_)?({END})(_({WHEN}))?|({WHEN})_({END})|(valid|effective|eff|row)({END})|end(date|time)|todate"
)
NEWEST = re.compile(r"(is_?)?(current|latest|newest)(_?(flag|ind|indicator|row|record|version))?")
EPOCH = 100_000_000  # smaller numbers are no seconds of a customer's time


def tells_later(
    engine: DuckDB,
    table: Source,
    names: Sequence[str],
    *,
    since: ir.Column,
    dated_by: str,
    written: str | None,
    timezone: str,
) -> list[str]:
    """Those of a table's columns that say of a row what was known only later than `since`, from when on it holds: by
    their names, or because they hold times after it. `written`: the given time_format of the column `dated_by`.
    """
    own = (_of_digits(engine, table[dated_by]), written) if written else _format(engine, table, dated_by)
    return [
        name
        for name in names
        if _says_so(name) or _is_later(engine, table, name, since=since, own=own, timezone=timezone)
    ]


def _says_so(name: str) -> bool:
    words = re.sub(r"(?<=[a-z0-9])(?=[A-Z])|[^A-Za-z0-9]+", "_", name).strip("_").lower()
    return bool(CLOSING.fullmatch(words) or NEWEST.fullmatch(words))


def _is_later(
    engine: DuckDB, table: Source, name: str, *, since: ir.Column, own: tuple[bool, str | None], timezone: str
) -> bool:
    """Whether most values of a column are times, and any lies after its row's own date."""
    column = table[name]
    kind = column.type()
    if not (kind.is_timestamp() or kind.is_date() or kind.is_string() or kind.is_numeric()):
        return False
    try:
        digits, written = _format(engine, table, name)
    except UserError:  # numbers that may be anything, or dates whose day and month cannot be told apart
        return not kind.is_numeric() and not _of_digits(engine, column)
    if digits and not (written is not None and written.startswith("%Y%m%d")) and (digits, written) != own:
        return False  # a number like any other
    known = column.notnull()
    if kind.is_string():
        known &= ~column.strip().isin(("", *MISSING_WORDS))
    if digits and written in (None, "epoch_s"):
        known &= column.try_cast("float64").abs() >= EPOCH
    moment = ibis.ifelse(known, time(column, timezone, written)[0], ibis.null("int64"))
    counts = {"values": column.notnull() & known, "times": moment.notnull(), "later": moment > since}
    row = engine.fetch(table.table.aggregate(**{key: value.sum() for key, value in counts.items()})).to_pylist()[0]
    return bool(row["later"]) and row["times"] > row["values"] / 2


def _format(engine: DuckDB, table: Source, name: str) -> tuple[bool, str | None]:
    """Whether a column's values are numbers, and the `time_format` of their writing."""
    return _of_digits(engine, table[name]), find_format(engine, table, name, lambda line: None)


def _of_digits(engine: DuckDB, column: ir.Column) -> bool:
    kind = column.type()
    if not kind.is_string():
        return bool(kind.is_numeric())
    share = engine.fetch(column.strip().re_search(DIGITS).mean().name("share").as_table())["share"][0].as_py()
    return (share or 0) > 0.5
