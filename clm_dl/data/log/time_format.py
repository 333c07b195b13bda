"""Time format: how a column of times is written, found by what all its values say."""

from __future__ import annotations

import datetime
import re
from collections.abc import Callable, Iterator
from itertools import product

import ibis
import ibis.expr.types as ir
import pandas as pd

from clm_dl.data.ids import MISSING_WORDS
from clm_dl.data.log.engine import DuckDB, Source, epoch_us, try_strptime
from clm_dl.data.log.times import DIGITS, EARLY, FARTHEST
from clm_dl.errors import UserError

DATES = (
    *("%Y-%m-%d", "%d/%m/%Y", "%m/%d/%Y", "%d.%m.%Y", "%d-%m-%Y", "%m-%d-%Y", "%Y/%m/%d", "%Y.%m.%d", "%Y%m%d"),
    *("%d %b %Y", "%d-%b-%Y", "%b %d %Y", "%b %d, %Y", "%d %B %Y", "%B %d %Y", "%B %d, %Y", "%d/%b/%Y"),
    *("%d/%m/%y", "%m/%d/%y", "%d.%m.%y", "%d-%m-%y", "%m-%d-%y", "%d-%b-%y", "%d %b %y"),
    *("%y-%m-%d", "%y/%m/%d", "%y.%m.%d"),
)
CLOCKS = (
    *("", " %H:%M", " %H:%M:%S", " %H:%M:%S.%f", " %I:%M %p", " %I:%M:%S %p", " %I:%M%p", ", %H:%M", ", %H:%M:%S"),
    *("T%H:%M", "T%H:%M:%S", "T%H:%M:%S.%f", "T%H", " %H", ":%H:%M:%S", "T%H%M%S", "%H%M%S", "%H%M"),
)
FORMATS = (*(date + clock for date, clock in product(DATES, CLOCKS)), "%Y-%m", "%Y/%m", "%m/%Y", "%b %Y", "%B %Y", "%Y")
FIRST = {"d": "day", "m": "month", "y": "year"}
SAMPLE = 400
FEW = 1_000  # numbers up to it are taken as seconds, with a word
OLD = 1_000_000_000  # seconds, 2001: micro- and nanoseconds that end before may be ticks of another clock


def find_format(
    engine: DuckDB, source: Source, name: str, say: Callable[[str], None], *, key: str = "data.time_format"
) -> str | None:
    """The `time_format` that a column's values call for; None: they are times, ISO text or seconds since 1970.

    Raises ValueError naming `key`, which says so itself, where they may be read in two ways.
    """
    column = source[name]
    kind = column.type()
    if kind.is_numeric() and not kind.is_boolean():
        return _of_numbers(engine, column, name, source.what, say, key)
    if not (kind.is_string() or kind.is_timestamp() or kind.is_date()):
        raise UserError(
            f"column {name!r} of {source.what} is of type {kind} and cannot be a time: give text, dates, timestamps or "
            "integers"
        )
    if not kind.is_string():
        return None
    text = column.strip()
    table = source.table.select(text=text).filter(lambda t: t.text.notnull() & ~t.text.isin(("", *MISSING_WORDS)))
    shown = table.limit(SAMPLE)
    iso = shown.text.try_cast("timestamp(6)").notnull() | shown.text.try_cast("timestamp('UTC')").notnull()
    iso &= shown.text.re_search("^[0-9]{4}")  # DuckDB reads 28/02/23 as a day of the year 28
    sample = engine.fetch(shown.select("text", iso.name("iso"), digits=shown.text.re_search(DIGITS)))
    texts, plain, digits = (sample[key].to_pylist() for key in ("text", "iso", "digits"))
    if sum(digits) > len(texts) / 2:
        numbers = table.filter(table.text.re_search(DIGITS)).select(number=table.text.try_cast("float64"))
        return _of_numbers(engine, numbers.number, name, source.what, say, key)
    others = [word for word, good, number in zip(texts, plain, digits, strict=True) if not good and not number]
    if len(others) <= len(texts) / 2:
        return None
    candidates = [wanted for wanted in FORMATS if sum(_fits(others[:60], wanted)) > 0.8 * len(others[:60])][:12]
    if not candidates:
        return None
    fit = {f"n{i}": try_strptime(table.text, wanted).notnull().sum() for i, wanted in enumerate(candidates)}
    row = engine.fetch(table.aggregate(**fit))
    rows = dict(zip(candidates, (int(row[key][0].as_py() or 0) for key in fit), strict=True))
    best = max(rows.values())
    orders: dict[str, str] = {}
    for wanted in (wanted for wanted in candidates if rows[wanted] == best):
        orders.setdefault(_order(wanted), wanted)
    if "ymd" in orders and "%y" in orders["ymd"]:
        orders = _without_wide(engine, table, orders)
    chosen, *rivals = orders.values()
    if rivals:
        first, second = (FIRST[_order(wanted)[0]] for wanted in (chosen, rivals[0]))
        raise UserError(
            f"the times of column {name!r} of {source.what}, such as {others[0]!r}, may have the {first} first or the "
            f"{second}: set {key}='{chosen}' or {key}='{rivals[0]}'"
        )
    return _said(chosen, name, say, key)


def _without_wide(engine: DuckDB, table: ir.Table, orders: dict[str, str]) -> dict[str, str]:
    """Formats of two-digit years by their order, without those that scatter the times over twice as long as another: a
    day taken for a year makes decades of a month.
    """
    read = {order: try_strptime(table.text, wanted) for order, wanted in orders.items()}
    told = {order: (epoch_us(moment.max()) - epoch_us(moment.min())) for order, moment in read.items()}
    told |= {f"day_{order}": moment.day().max() for order, moment in read.items()}
    row = engine.fetch(table.aggregate(**told)).to_pylist()[0]
    year_last = [order for order in orders if order != "ymd"]
    if not year_last:
        return orders
    last, first = min(row[order] for order in year_last), row["ymd"]
    if 2 * last <= first and first:
        return {order: orders[order] for order in year_last}
    if (
        2 * first <= last and last and min(row[f"day_{order}"] for order in year_last) > 1
    ):  # else they may be firsts of months
        return {"ymd": orders["ymd"]}
    return orders


def _said(found: str, name: str, say: Callable[[str], None], key: str) -> str:
    say(f"times of {name} are read as {found} ({key})")
    return found


def _order(wanted: str) -> str:
    """The order of day, month and year in a format: dmy, mdy, ymd …"""
    return "".join(re.findall("%([dmybY])", wanted.replace("%B", "%m").replace("%b", "%m"))).lower()


def _fits(words: list[str], wanted: str) -> Iterator[bool]:
    for word in words:
        try:
            datetime.datetime.strptime(word, wanted)
            yield True
        except ValueError:
            yield False


def _of_numbers(
    engine: DuckDB, column: ir.Column, name: str, what: str, say: Callable[[str], None], key: str
) -> str | None:
    """The format of numbers by the shape that most of them have; None: they count from 1970."""
    number = column.cast("float64") if not column.type().is_integer() else column
    table = number.name("number").as_table().filter(lambda t: t.number.notnull())
    value = table.number
    shapes = {
        "%Y": value.between(1900, 2200) & (value % 1 == 0),
        "%Y%m": value.between(190_001, 220_012) & (value % 100).between(1, 12),
        "%Y%m%d": _is_date(value, 1),
        "%Y%m%d%H%M": _is_date(value, 10_000) & (value % 100 < 60) & (value % 10_000 < 2_400),
        "%Y%m%d%H%M%S": _is_date(value, 1_000_000) & (value % 100 < 60) & (value % 10_000 < 6_000),
        "excel": value.between(30_000, 73_050),
    }
    hours = _is_date(value, 100) & (value % 100 < 24)  # 2024011510, which is also a second of 2034
    counts = {f"n{i}": shape.sum() for i, shape in enumerate((*shapes.values(), hours))}
    row = engine.fetch(table.aggregate(rows=table.count(), low=value.min(), high=value.max(), **counts)).to_pylist()[0]
    rows = row["rows"]
    if not rows:
        return None
    for i, wanted in enumerate(shapes):
        if row[f"n{i}"] > rows / 2:
            return _said(wanted, name, say, key)
    if row[f"n{len(shapes)}"] > rows / 2:
        raise UserError(
            f"the times of column {name!r} of {what}, such as {row['high']:.0f}, may be days and hours or seconds "
            f"since 1970: set {key}='%Y%m%d%H' or {key}=epoch_s"
        )
    size = max(abs(row["low"]), abs(row["high"]))
    unit = 1 if size < 10**11 else 10**3 if size < 10**14 else 10**6 if size < 10**17 else 10**9
    if size >= EARLY and (unit < 10**6 or row["high"] > OLD * unit or size > FARTHEST):
        return None
    first, last = (pd.Timestamp(float(row[end]) / unit, unit="s") for end in ("low", "high"))
    counted, short = {1: ("seconds", "s"), 10**6: ("microseconds", "us"), 10**9: ("nanoseconds", "ns")}[unit]
    if size >= FEW:
        raise UserError(
            f"the times of column {name!r} of {what} run from {row['low']:.15g} to {row['high']:.15g}, as {counted} "
            f"since 1970 from {first} to {last}: set {key} to what they are, such as '%Y%m%d', excel, or "
            f"epoch_{short} if they are such {counted}"
        )
    say(f"times of {name} are read as seconds since 1970, from {first} to {last} ({key})")
    return "epoch_s"


def _is_date(value: ir.Column, unit: int) -> ir.Column:
    """Whether a number divided by `unit` is year, month and day."""
    day = (ibis.ifelse(value.between(0, FARTHEST), value, 0) / unit).floor()
    return day.between(19_000_101, 22_001_231) & ((day / 100).floor() % 100).between(1, 12) & (day % 100).between(1, 31)
