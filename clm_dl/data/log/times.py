"""Times: a column of times in microseconds UTC, and the same on the clock of its zone."""

from __future__ import annotations

import re
from typing import Any

import ibis
import ibis.expr.types as ir
import pandas as pd

from clm_dl.data.log.engine import (
    epoch_us,
    epoch_us_zoned,
    from_zone,
    make_timestamp,
    to_zone,
    try_strptime,
    try_strptime_zoned,
)
from clm_dl.data.zone import DAY, OFFSET, Zone
from clm_dl.errors import UserError

DIGITS = r"^-?[0-9]+(\.[0-9]*)?([eE][+-]?[0-9]+)?$"
EXCEL_ZERO = 25_569  # Excel's number of 1970-01-01
MICROSECONDS = {"epoch_s": 1_000_000, "epoch_ms": 1_000, "epoch_us": 1}
NUMBERED = (*MICROSECONDS, "epoch_ns", "excel")  # values of data.time_format that count from a day: seconds, or days
FARTHEST, FARTHEST_NS = 2**62, 9_200_000_000_000_000_000  # micro- and nanoseconds: of no year up to 2200
EARLY = 100_000_000  # seconds, 1973: smaller numbers are a date's digits or Excel's days, wherever most are larger


def parse_moment(value: Any, timezone: str, what: str) -> int:
    """One time of a config (text, date, datetime, the digits of a date, microseconds) in microseconds UTC."""
    if isinstance(value, int) and abs(value) >= EARLY * 1_000_000:
        return value
    try:
        if isinstance(value, (int, float)) and not re.fullmatch("(19|2[012])[0-9]{6}", str(value)):
            raise ValueError
        value = str(value) if isinstance(value, int) else value
        moment = pd.Timestamp(value)
        return Zone(timezone).parse(moment.isoformat())
    except (ValueError, TypeError) as error:
        raise UserError(f"{what} must be a date such as 2017-12-31, got {value!r}") from error


def next_midnight(moment: int, timezone: str) -> int:
    """The midnight (in `timezone`) a day after a midnight, both in microseconds UTC."""
    zone = Zone(timezone)
    return int(zone.utc(zone.clock(moment) + DAY))


def time(column: ir.Column, timezone: str, time_format: str | None) -> tuple[ir.Column, ir.Column]:
    """Time in microseconds UTC (null where unparseable), and the same on the clock of its zone."""
    if column.type().is_decimal():
        column = column.try_cast("int64") if column.type().scale == 0 else column.cast("float64")
    kind = column.type()
    if time_format is not None and (kind.is_numeric() or kind.is_string()):
        if time_format in NUMBERED:
            moment = _counted(column if kind.is_numeric() else column.strip().try_cast("float64"), time_format)
            return _localised(make_timestamp(moment), timezone) if time_format == "excel" else _shown(moment, timezone)
        if re.search("%[zZ]", time_format):  # each time names its own zone
            return _shown(epoch_us_zoned(try_strptime_zoned(_digits(column), time_format)), timezone)
        return _localised(try_strptime(_digits(column), time_format), timezone)
    if kind.is_timestamp() and kind.timezone is not None:
        return _shown(epoch_us_zoned(column.cast("timestamp('UTC')")), timezone)
    if kind.is_timestamp() or kind.is_date():
        return _localised(column.cast("timestamp(6)"), timezone)
    if kind.is_numeric():
        return _shown(_from_epoch(column), timezone)
    if not kind.is_string():
        raise UserError(
            f"a column of type {kind} cannot be a time: give text, dates, timestamps or integers in data.roles.time"
        )
    text = column.strip()
    digits = text.re_search(DIGITS)
    zoned = text.re_search(OFFSET)
    plain = ibis.ifelse(digits | zoned, ibis.null("string"), text)
    utc, local = _localised(plain.try_cast("timestamp(6)"), timezone)
    stamped = epoch_us_zoned(_spelled(ibis.ifelse(zoned, text, ibis.null("string"))).try_cast("timestamp('UTC')"))
    epoch = _of_digits(ibis.ifelse(digits, text, ibis.null("string")))
    moment, shown = _shown(ibis.coalesce(epoch, stamped), timezone)
    return ibis.coalesce(utc, moment), ibis.coalesce(local, shown)


def _spelled(text: ir.Column) -> ir.Column:
    """ISO text with a zone as DuckDB reads it: Z, UTC and GMT as +00, no blank before a zone, a time with seconds."""
    text = text.re_replace(r"\s*(?:[Zz]|UTC|GMT)$", "+00").re_replace(r"\s+([+-][0-9:]+)$", r"\1")
    text = text.re_replace(r"^([0-9]{4})([0-9]{2})([0-9]{2})[Tt ]([0-9]{2})([0-9]{2})", r"\1-\2-\3T\4:\5:")
    text = text.re_replace(r"^(.*[Tt ][0-9]{1,2})([+-][0-9:]+)$", r"\1:00\2")
    return text.re_replace(r"^(.*[Tt ][0-9]{1,2}:[0-9]{2}):?([+-][0-9:]+)$", r"\1:00\2")


def _localised(moment: ir.Column, timezone: str) -> tuple[ir.Column, ir.Column]:
    local = epoch_us(moment)
    if Zone(timezone).is_utc:
        return local, local
    return from_zone(timezone, local), local


def _shown(moment: ir.Column, timezone: str) -> tuple[ir.Column, ir.Column]:
    """A moment of any zone, and what clocks of `timezone` show then."""
    return moment, moment if Zone(timezone).is_utc else to_zone(timezone, moment)


def _digits(column: ir.Column) -> ir.Column:
    """Numbers as the text of their digits, 20240115.0 as 20240115, and text without blanks around it."""
    if column.type().is_string():
        return column.strip().re_replace(r"^([0-9]+)\.0*$", r"\1")
    return column.try_cast("int64").cast("string")


def _counted(number: ir.Column, unit: str) -> ir.Column:
    """Numbers since 1970 or, for excel, since 1900 as microseconds; whole microseconds are exact."""
    if unit == "excel":  # a day's fraction is rounded to the millisecond, which is more than Excel keeps
        days = _within(number.cast("float64"), FARTHEST // DAY)
        return ((days - EXCEL_ZERO) * 86_400_000).round().cast("int64") * 1_000
    if unit == "epoch_ns":
        number = number if number.type().is_integer() else _within(number, FARTHEST_NS)
        return number // 1_000 if number.type().is_integer() else (number / 1_000).floor()
    scaled = _within(number, FARTHEST // MICROSECONDS[unit]) * MICROSECONDS[unit]
    return scaled.cast("int64") if number.type().is_integer() else scaled.round().cast("int64")


def _within(number: ir.Column, limit: int) -> ir.Column:
    """Numbers no further from 0 than `limit`, which is absurd as a time; null where there is none."""
    if number.type().is_integer():
        return ibis.ifelse(number.between(-limit, limit), number.cast("int64"), limit)
    known = ibis.ifelse(number.isnan(), ibis.null("float64"), number.cast("float64"))
    return ibis.ifelse(known.isnull() | known.between(-limit, limit), known, limit)


def _from_epoch(number: ir.Column) -> ir.Column:
    """Seconds, milli-, micro- or nanoseconds since 1970, told by their magnitude; null where none is likely."""
    if number.type().is_integer():
        number = number.try_cast("int64")
    size = _within(number, FARTHEST).abs()
    return ibis.cases(
        (size < EARLY, ibis.null("int64")),
        (size < 10**11, _counted(number, "epoch_s")),
        (size < 10**14, _counted(number, "epoch_ms")),
        (size < 10**17, _counted(number, "epoch_us")),
        else_=_counted(number, "epoch_ns"),
    )


def _of_digits(text: ir.Column) -> ir.Column:
    """`_from_epoch` of text; as an integer where a float64 may be off by a microsecond."""
    number = text.try_cast("float64")
    return ibis.ifelse(number.abs() < 10**14, _from_epoch(number), _from_epoch(text.try_cast("int64")))
