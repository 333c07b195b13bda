"""Columns of a file as they are: what is missing, how many values there are, and whether they are numbers or times."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import Any

import ibis
import ibis.expr.types as ir

from clm_dl.data.ids import MISSING_WORDS
from clm_dl.data.log.engine import DuckDB, Source
from clm_dl.data.log.numbers import find_marks, number
from clm_dl.data.log.parse import EARLIEST, LATEST
from clm_dl.data.log.time_format import find_format
from clm_dl.data.log.times import DIGITS, NUMBERED, time
from clm_dl.data.look.words import hint
from clm_dl.errors import UserError

CELLS = 1_000_000  # of the sample that tells what values are; counts are those of the whole file
ROWS = 20_000
BLOCK = 40  # columns a query
EXACT = 2_000_000  # lines up to which values are counted and not estimated …
FEW = 5_000  # … or values
SHARE = 0.95  # of the values that must read as a number or a time
SECONDS = (3e8, 2.6e9)  # 1979 to 2052: epochs that a log may have
WEAK = ("%Y", "%Y%m", "excel")  # numbers that are times only where the name says so
LONGEST_TIME = 40
DATED = r"[0-9]{2}.*[0-9]{2}|[0-9]{4}|[A-Za-z]{3}.*[0-9]"


@dataclass(frozen=True)
class Column:
    """A column of `rows` lines.

    Attributes:
        kind: time, number, text or empty; whole: a number without a fraction.
        missing: share of lines without a value. distinct: number of values, estimated where there are many of both.
        time_format: None where the values say themselves what time they are. sure: the name need not say it as well.
        unclear_time, unclear: why its times, its numbers may be read in two ways. words: words a value.
        personal: values look like addresses or phones. place: from the left. negative: there are numbers below 0.
    """

    name: str
    kind: str
    rows: int
    missing: float
    distinct: int
    low: str | None
    example: str | None
    whole: bool = False
    time_format: str | None = None
    sure: bool = False
    unclear_time: str | None = None
    unclear: str | None = None
    words: float = 0.0
    personal: bool = False
    place: int = 0
    negative: bool = False

    @property
    def lines_each(self) -> float:
        """Lines a value."""
        return self.rows * (1 - self.missing) / max(1, self.distinct)

    @property
    def constant(self) -> bool:
        return self.distinct <= 1


def read_columns(engine: DuckDB, source: Source) -> list[Column]:
    """Every column of `source` whose name stands there once."""
    counts = _counts(engine, source)
    rows = counts.pop("rows")
    sample = _sample(engine, source, rows)
    found = []
    for place, name in enumerate(source.names):
        if source.names.count(name) > 1:
            continue
        own = source.own(name)
        known, distinct = counts[f"{own}_known"], counts[f"{own}_distinct"]
        low, high = counts[f"{own}_low"], counts[f"{own}_high"]
        missing = 1 - known / rows if rows else 1.0
        column = Column(name, "text" if known else "empty", rows, missing, distinct, low, high, place=place)
        found.append(_with_kind(engine, sample, column) if known else column)
    return found


def present(column: ir.Column) -> ir.Column:
    """A value as text, null where missing."""
    text = column.cast("string") if not column.type().is_string() else column
    return ibis.ifelse(text.strip().isin(("", *MISSING_WORDS)), ibis.null("string"), text)


def known(column: ir.Column) -> ir.Column:
    """A value in its own type, where that tells values apart as its text does; null where missing."""
    kind = column.type()
    if kind.is_floating():
        return ibis.ifelse(column.isnan(), ibis.null(kind), column)
    return column if kind.is_integer() or kind.is_timestamp() or kind.is_date() else present(column)


def _counts(engine: DuckDB, source: Source) -> dict[str, Any]:
    table = source.table
    found: dict[str, Any] = {}
    for start in range(0, len(table.columns), BLOCK):
        wanted: dict[str, ir.Value] = {"rows": table.count()}
        for own in table.columns[start : start + BLOCK]:
            value = known(table[own])
            wanted |= {f"{own}_known": value.count(), f"{own}_distinct": value.approx_nunique()}
            wanted |= {f"{own}_low": value.min().cast("string"), f"{own}_high": value.max().cast("string")}
        found |= engine.fetch(table.aggregate(**wanted)).to_pylist()[0]
    few = [own for own in table.columns if found["rows"] <= EXACT or found[f"{own}_distinct"] <= FEW]
    for start in range(0, len(few), BLOCK):
        exact = {f"{own}_distinct": known(table[own]).nunique() for own in few[start : start + BLOCK]}
        found |= engine.fetch(table.aggregate(**exact)).to_pylist()[0]
    return found


def _sample(engine: DuckDB, source: Source, rows: int) -> Source:
    """Lines at even distances, so that each look at a file sees the same ones."""
    wanted = min(ROWS, max(1_000, CELLS // max(1, len(source.names))))
    table = source.table
    if rows > wanted:
        engine.backend.raw_sql("SET preserve_insertion_order = true")
        step, names = rows // wanted, table.columns
        table = table.mutate(look_row=ibis.row_number())
        table = table.filter(table["look_row"] % step == 0).select(*names)
    return replace(source, table=engine.hold(table))


def _with_kind(engine: DuckDB, sample: Source, column: Column) -> Column:
    kind = sample[column.name].type()
    text = present(sample[column.name])
    table = sample.table.select(text=text).filter(lambda t: t.text.notnull())
    digits = table.text.re_search(DIGITS)
    told: dict[str, Any] = engine.fetch(
        table.aggregate(
            rows=table.count(),
            digits=digits.mean(),
            dated=(table.text.re_search(DATED) & (table.text.length() <= LONGEST_TIME)).mean(),
            numeric=table.text.re_search("[0-9]").mean(),
            zeros=table.text.re_search("^[+-]?0[0-9]").mean(),
            words=(table.text.strip().re_replace(r"\S+", "").length() + 1).mean(),
            mail=table.text.re_search(r"^\S+@\S+\.\S+$|^\+?[0-9 ()/-]{6,}[0-9]$|^\d+\.\d+\.\d+\.\d+$").mean(),
            at=table.text.re_search(r"@|^\+|^\d+\.\d+\.\d+\.\d+$").mean(),
            longest=table.text.length().max(),
        )
    ).to_pylist()[0]
    if not told["rows"]:
        return column
    personal = told["mail"] > 0.9 and told["at"] > 0.9
    column = replace(column, words=told["words"] or 0.0, personal=personal)
    if kind.is_temporal() and not kind.is_time():
        return replace(column, kind="time", sure=True)
    if kind.is_boolean() or not (told["numeric"] or 0) > SHARE:
        return column
    is_number = kind.is_numeric() or told["digits"] > 0.9
    if is_number or told["dated"] > 0.9:
        column = _with_time(engine, sample, column, is_number)
    if column.kind == "time" and not (is_number and not column.sure):
        return column
    if kind.is_string() and told["zeros"] > 0.01 and column.words < 1.05:
        return column  # codes
    return _with_number(engine, sample, column)


def _with_time(engine: DuckDB, sample: Source, column: Column, is_number: bool) -> Column:
    try:
        wanted = find_format(engine, sample, column.name, lambda line: None)
    except UserError as error:
        return replace(column, unclear_time=None if is_number and hint(column.name, "time") < 0.5 else str(error))
    raw = sample[column.name]
    moment = time(raw, "UTC", wanted)[0]
    table = sample.table.select(known=present(raw).notnull(), moment=moment.between(EARLIEST, LATEST - 1))
    table = table.filter(table.known)
    share = engine.fetch(table.aggregate(share=table.moment.fill_null(False).mean())).to_pylist()[0]["share"] or 0.0
    if share < SHARE:
        return column
    if not is_number:
        return replace(column, kind="time", time_format=wanted, sure=True)
    if wanted not in (None, "epoch_s"):
        return replace(column, kind="time", time_format=wanted, sure=wanted not in WEAK and wanted not in NUMBERED)
    low, high = _ends(engine, sample, column.name)
    for unit in (1, 1e3, 1e6, 1e9):
        if low >= SECONDS[0] * unit and high <= SECONDS[1] * unit:
            return replace(column, kind="time", sure=unit > 1)
    return column


def _ends(engine: DuckDB, sample: Source, name: str) -> tuple[float, float]:
    value = number(sample[name], name)[0]
    row = engine.fetch(value.name("v").as_table().aggregate(low=lambda t: t.v.min(), high=lambda t: t.v.max()))
    told = row.to_pylist()[0]
    return told["low"] or 0.0, told["high"] or 0.0


def _with_number(engine: DuckDB, sample: Source, column: Column) -> Column:
    """The column as a number where its values read so; a time that only its name could tell keeps its kind."""
    raw = sample[column.name]
    if not (raw.type().is_string() or raw.type().is_numeric()):
        return column
    try:
        marks = find_marks(engine, sample, [column.name], decimal=None, thousands=None, say=lambda line: None)
    except UserError as error:
        return replace(column, kind="number", unclear=str(error))
    value, wrong, infinite = number(raw, column.name, marks.get(column.name))
    table = sample.table.select(value=value, wrong=wrong.fill_null(False), infinite=infinite.fill_null(False))
    told = engine.fetch(
        table.aggregate(
            fits=(~table.wrong & ~table.infinite).mean(), whole=(table.value % 1 == 0).mean(), low=table.value.min()
        )
    ).to_pylist()[0]
    if (told["fits"] or 0) < 0.999:
        return column
    whole, negative = (told["whole"] or 0) > 0.999, (told["low"] or 0) < 0
    kind = column.kind if column.kind == "time" else "number"
    return replace(column, kind=kind, whole=whole, negative=negative)


def named(columns: Iterable[Column], name: str) -> Column:
    return next(column for column in columns if column.name == name)
