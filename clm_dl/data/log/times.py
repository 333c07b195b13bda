"""Times: how a column of times is written, found by what all its values say, and its values in microseconds UTC."""

from __future__ import annotations

import datetime
from collections.abc import Callable, Iterator
from itertools import product
from typing import Any

import ibis
import ibis.expr.types as ir
import pandas as pd

from clm_dl.data.ids import MISSING_WORDS
from clm_dl.data.log.engine import DuckDB, Source, epoch_us, epoch_us_zoned, from_zone, make_timestamp, try_strptime
from clm_dl.data.zone import DAY, OFFSET, Zone
from clm_dl.errors import UserError

DIGITS = r"^-?[0-9]+(\.[0-9]*)?([eE][+-]?[0-9]+)?$"
EXCEL_ZERO = 25_569  # Excel's number of 1970-01-01
NUMBERED = {  # values of data.time_format that count from a day: units of a second, or Excel's days
    "epoch_s": 1_000_000,
    "epoch_ms": 1_000,
    "epoch_us": 1,
    "epoch_ns": None,
    "excel": None,
}
DATES = (
    *("%Y-%m-%d", "%d/%m/%Y", "%m/%d/%Y", "%d.%m.%Y", "%d-%m-%Y", "%m-%d-%Y", "%Y/%m/%d", "%Y.%m.%d", "%Y%m%d"),
    *("%d %b %Y", "%d-%b-%Y", "%b %d %Y", "%b %d, %Y", "%d %B %Y", "%B %d %Y", "%B %d, %Y", "%d/%b/%Y"),
    *("%d/%m/%y", "%m/%d/%y", "%d.%m.%y", "%d-%m-%y", "%m-%d-%y", "%d-%b-%y", "%d %b %y"),
)
CLOCKS = (
    *("", " %H:%M", " %H:%M:%S", " %H:%M:%S.%f", " %I:%M %p", " %I:%M:%S %p", " %I:%M%p", ", %H:%M", ", %H:%M:%S"),
    *("T%H:%M", "T%H:%M:%S", "T%H:%M:%S.%f", "T%H", " %H", ":%H:%M:%S", "T%H%M%S", "%H%M%S", "%H%M"),
)
FORMATS = (*(date + clock for date, clock in product(DATES, CLOCKS)), "%Y-%m", "%Y/%m", "%m/%Y", "%b %Y", "%B %Y", "%Y")
SAMPLE = 400
FEW = 1_000  # numbers up to it are taken as seconds, with a word


def parse_moment(value: Any, timezone: str, what: str) -> int:
    """One time of a config (text, date, datetime, microseconds) in microseconds UTC."""
    if isinstance(value, int) and not isinstance(value, bool):
        return value
    try:
        moment = pd.Timestamp(value)
        return Zone(timezone).parse(moment.isoformat())
    except (ValueError, TypeError) as error:
        raise UserError(f"{what} must be a date such as 2017-12-31, got {value!r}") from error


def next_midnight(moment: int, timezone: str) -> int:
    """The midnight (in `timezone`) a day after a midnight, both in microseconds UTC."""
    return Zone(timezone).add(moment, DAY)


# -- a column in microseconds


def time(column: ir.Column, timezone: str, time_format: str | None) -> tuple[ir.Column, ir.Column]:
    """Time in microseconds UTC (null where unparseable), and the same on the clock of its zone."""
    kind = column.type()
    if time_format is not None and (kind.is_numeric() or kind.is_string()):
        if time_format in NUMBERED:
            moment = _counted(column if kind.is_numeric() else column.strip().try_cast("float64"), time_format)
            return _localised(make_timestamp(moment), timezone) if time_format == "excel" else (moment, moment)
        return _localised(try_strptime(_digits(column), time_format), timezone)
    if kind.is_timestamp() and kind.timezone is not None:
        moment = epoch_us_zoned(column.cast("timestamp('UTC')"))
        return moment, moment
    if kind.is_timestamp() or kind.is_date():
        return _localised(column.cast("timestamp(6)"), timezone)
    if kind.is_numeric():
        moment = _from_epoch(column)
        return moment, moment
    if not kind.is_string():
        raise UserError(
            f"a column of type {kind} cannot be a time: give text, dates, timestamps or integers in data.roles.time"
        )
    text = column.strip()
    digits = text.re_search(DIGITS)
    utc, local = _localised(ibis.ifelse(digits, ibis.null("string"), text).try_cast("timestamp(6)"), timezone)
    zoned = text.re_search(OFFSET) & text.contains(":")
    stamped = epoch_us_zoned(ibis.ifelse(zoned, text, ibis.null("string")).try_cast("timestamp('UTC')"))
    epoch = _of_digits(ibis.ifelse(digits, text, ibis.null("string")))
    return ibis.cases((digits, epoch), (zoned, stamped), else_=utc), ibis.cases(
        (digits, epoch), (zoned, stamped), else_=local
    )


def _localised(moment: ir.Column, timezone: str) -> tuple[ir.Column, ir.Column]:
    local = epoch_us(moment)
    if Zone(timezone).is_utc:
        return local, local
    return epoch_us_zoned(from_zone(timezone, moment)), local


def _digits(column: ir.Column) -> ir.Column:
    """Numbers as the text of their digits, 20240115.0 as 20240115, and text without blanks around it."""
    if column.type().is_string():
        return column.strip().re_replace(r"^([0-9]+)\.0*$", r"\1")
    return column.try_cast("int64").cast("string")


def _counted(number: ir.Column, unit: str) -> ir.Column:
    """Numbers since 1970 or, for excel, since 1900 as microseconds; whole microseconds are exact."""
    if unit == "excel":  # a day's fraction is rounded to the millisecond, which is more than Excel keeps
        return ((number.cast("float64") - EXCEL_ZERO) * 86_400_000).round().try_cast("int64") * 1_000
    if unit == "epoch_ns":
        return (number / 1_000).floor().try_cast("int64") if not number.type().is_integer() else number // 1_000
    scaled = number * NUMBERED[unit]
    return scaled.cast("int64") if number.type().is_integer() else scaled.round().try_cast("int64")


def _from_epoch(number: ir.Column) -> ir.Column:
    """Seconds, milli-, micro- or nanoseconds since 1970, told by their magnitude."""
    if number.type().is_integer():
        number = number.try_cast("int64")
    size = number.abs()
    return ibis.cases(
        (size < 10**11, _counted(number, "epoch_s")),
        (size < 10**14, _counted(number, "epoch_ms")),
        (size < 10**17, _counted(number, "epoch_us")),
        else_=_counted(number, "epoch_ns"),
    )


def _of_digits(text: ir.Column) -> ir.Column:
    """`_from_epoch` of text; as an integer where a float64 may be off by a microsecond."""
    number = text.try_cast("float64")
    return ibis.ifelse(number.abs() < 10**14, _from_epoch(number), _from_epoch(text.try_cast("int64")))


# -- how a column is written


def find_format(engine: DuckDB, source: Source, name: str, say: Callable[[str], None]) -> str | None:
    """The `time_format` that a column's values call for; None: they are times, ISO text or seconds since 1970.

    Raises ValueError naming data.time_format where they may be read in two ways.
    """
    column = source[name]
    kind = column.type()
    if kind.is_numeric() and not kind.is_boolean():
        return _said(_of_numbers(engine, column, name, source.what, say), name, say)
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
    iso = (shown.text.try_cast("timestamp(6)").notnull() | shown.text.try_cast("timestamp('UTC')").notnull()).name(
        "iso"
    )
    sample = engine.fetch(shown.select("text", iso, digits=shown.text.re_search(DIGITS)))
    texts, plain, digits = (sample[key].to_pylist() for key in ("text", "iso", "digits"))
    if sum(digits) > len(texts) / 2:
        numbers = table.filter(table.text.re_search(DIGITS)).select(number=table.text.try_cast("float64"))
        return _said(_of_numbers(engine, numbers.number, name, source.what, say), name, say)
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
    chosen = [wanted for wanted in candidates if rows[wanted] == best]
    rival = next((wanted for wanted in chosen[1:] if _day_first(wanted) != _day_first(chosen[0])), None)
    if rival is not None:
        raise UserError(
            f"the times of column {name!r} of {source.what}, such as {others[0]!r}, may have the day first or the "
            f"month: set data.time_format='{chosen[0]}' or data.time_format='{rival}'"
        )
    return _said(chosen[0], name, say)


def _said(found: str | None, name: str, say: Callable[[str], None]) -> str | None:
    if found is not None:
        say(f"times of {name} are read as {found} (data.time_format)")
    return found


def _day_first(wanted: str) -> bool:
    return "%m" in wanted and -1 < wanted.find("%d") < wanted.find("%m")


def _fits(words: list[str], wanted: str) -> Iterator[bool]:
    for word in words:
        try:
            datetime.datetime.strptime(word, wanted)
            yield True
        except ValueError:
            yield False


def _of_numbers(engine: DuckDB, column: ir.Column, name: str, what: str, say: Callable[[str], None]) -> str | None:
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
            return wanted
    if row[f"n{len(shapes)}"] > rows / 2:
        raise UserError(
            f"the times of column {name!r} of {what}, such as {row['high']:.0f}, may be days and hours or seconds "
            "since 1970: set data.time_format='%Y%m%d%H' or data.time_format=epoch_s"
        )
    size = max(abs(row["low"]), abs(row["high"]))
    if size < 100_000_000:
        first, last = (pd.Timestamp(float(row[end]), unit="s") for end in ("low", "high"))
        if size >= FEW:
            raise UserError(
                f"the times of column {name!r} of {what} run from {row['low']:g} to {row['high']:g}, as seconds since "
                f"1970 from {first} to {last}: set data.time_format to what they are, such as '%Y%m%d', excel, or "
                "epoch_s if they are such seconds"
            )
        say(f"times of {name} are read as seconds since 1970, from {first} to {last} (data.time_format)")
    return None


def _is_date(value: ir.Column, unit: int) -> ir.Column:
    """Whether a number divided by `unit` is year, month and day."""
    day = (value / unit).floor()
    return day.between(19_000_101, 22_001_231) & ((day / 100).floor() % 100).between(1, 12) & (day % 100).between(1, 31)
