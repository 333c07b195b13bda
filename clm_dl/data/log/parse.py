"""Parsing as Ibis expressions: a log's columns as typed values, and the reason why a row cannot be kept."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import ibis
import ibis.expr.types as ir
import pandas as pd

from clm_dl.data.log.engine import Source, epoch_us, epoch_us_zoned, from_zone, try_strptime
from clm_dl.data.log.roles import Log
from clm_dl.data.zone import DAY, Zone
from clm_dl.errors import UserError, nearest

EARLIEST = -2_208_988_800_000_000  # 1900-01-01
LATEST = 7_289_654_400_000_000  # 2201-01-01: the first microsecond after the year 2200
FLOAT32_MAX = 3.4028234663852886e38
OFFSET = r"[0-9](Z|z|[+-][0-9]{2}(:?[0-9]{2})?)$"  # a zone at the end of a time
BLANK_NUMBERS = ("", "na", "n/a", "null", "none")


def check_columns(source: Source, needed: Iterable[str], what: str) -> None:
    columns = list(source.table.columns)
    for name in needed:
        if name not in columns:
            raise UserError(
                f"{what} {name!r} is not a column of {source.what}{nearest(name, columns)}; it has "
                f"{', '.join(columns) or 'none'}"
            )


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


def customer(column: ir.Column) -> tuple[ir.Column, ir.BooleanValue, ir.BooleanValue]:
    """Customer id as int64 or text, where it is missing (null or blank), and where it is of a wrong type."""
    kind = column.type()
    wrong = ibis.literal(False)
    if kind.is_integer():
        return column.cast("int64"), column.isnull(), wrong
    if kind.is_floating() or kind.is_decimal():
        value = column.cast("float64")
        missing = value.isnull() | value.isnan()
        return value.try_cast("int64"), missing, ~missing & (value.isinf() | (value != value.floor()))
    # what is blank sorts before "!": stripping every id would take longer than all the rest
    text = column.cast("string")
    return text, text.isnull() | ibis.ifelse(text < "!", text.strip() == "", False), wrong


def time(column: ir.Column, timezone: str, time_format: str | None) -> tuple[ir.Column, ir.Column]:
    """Time in microseconds UTC (null where unparseable), and the same on the clock of its zone."""
    kind = column.type()
    if time_format is not None and (kind.is_integer() or kind.is_string()):
        return _localised(try_strptime(column.cast("string").strip(), time_format), timezone)
    if kind.is_timestamp() and kind.timezone is not None:
        moment = epoch_us_zoned(column.cast("timestamp('UTC')"))
        return moment, moment
    if kind.is_timestamp() or kind.is_date():
        return _localised(column.cast("timestamp(6)"), timezone)
    if kind.is_numeric():
        moment = _from_epoch(column.try_cast("int64"))
        return moment, moment
    if not kind.is_string():
        raise UserError(
            f"column {column.get_name()!r} of type {kind} cannot be a time: give text, dates, timestamps or integers"
        )
    text = column.strip()
    digits = text.re_search(r"^-?[0-9]+(\.[0-9]+)?$")
    utc, local = _localised(ibis.ifelse(digits, ibis.null("string"), text).try_cast("timestamp(6)"), timezone)
    zoned = text.re_search(OFFSET) & text.contains(":")
    stamped = epoch_us_zoned(ibis.ifelse(zoned, text, ibis.null("string")).try_cast("timestamp('UTC')"))
    epoch = _from_epoch(ibis.ifelse(digits, text, ibis.null("string")).try_cast("int64"))
    return ibis.cases((digits, epoch), (zoned, stamped), else_=utc), ibis.cases(
        (digits, epoch), (zoned, stamped), else_=local
    )


def _localised(moment: ir.Column, timezone: str) -> tuple[ir.Column, ir.Column]:
    local = epoch_us(moment)
    if Zone(timezone).is_utc:
        return local, local
    return epoch_us_zoned(from_zone(timezone, moment)), local


def _from_epoch(number: ir.Column) -> ir.Column:
    """Seconds, milli-, micro- or nanoseconds since 1970, told by their magnitude."""
    size = number.abs()
    return ibis.cases(
        (size < 10**11, number * 1_000_000),
        (size < 10**14, number * 1_000),
        (size < 10**17, number),
        else_=(number // 1_000).cast("int64"),
    )


def number(column: ir.Column, name: str) -> tuple[ir.Column, ir.Column, ir.Column]:
    """A numeric column as float64 (null where missing), where it is of a wrong type, and where it is not finite."""
    kind = column.type()
    false = ibis.literal(False)
    if kind.is_string():
        text = column.strip().lower()
        text = ibis.ifelse(text.isin(BLANK_NUMBERS), ibis.null("string"), text)
        value = text.try_cast("float64")
        wrong = text.notnull() & value.isnull()
        if name == "churn_event":
            value = ibis.cases((text == "true", 1.0), (text == "false", 0.0), else_=value)
            wrong = wrong & ~text.isin(("true", "false"))
    elif kind.is_numeric() or kind.is_boolean():
        value, wrong = column.cast("float64"), false
    else:
        raise UserError(
            f"column {column.get_name()!r} of type {kind} cannot be numeric: list it in data.categorical, or leave it "
            "out"
        )
    if kind.is_integer() or kind.is_boolean():
        return value, wrong, false
    if name != "amount":  # a missing measurement is often written as NaN; a missing amount is a fault
        value = ibis.ifelse(value.isnan(), ibis.null("float64"), value)
    return value, wrong, value.abs() > FLOAT32_MAX  # NaN is greater than every number


def parse_log(source: Source, log: Log, names: list[str]) -> dict[str, ir.Column]:
    """Canonical columns of a log: customer, time, local (time on its clock), reason, order and the fields that the log
    itself holds.

    `reason` is null where a row can be kept, else a position in `names`, which grows as reasons are met.
    """
    raw = source.table
    columns = set(raw.columns)
    ids, missing, wrong_id = customer(raw[log.roles["customer"]])
    moment, local = time(raw[log.roles["time"]], log.timezone, log.time_format)
    reasons: list[tuple[Any, str]] = [(missing, "missing customer"), (wrong_id, "customer of the wrong type")]
    reasons += [(moment.isnull(), "unparseable time"), (~moment.between(EARLIEST, LATEST - 1), "absurd time")]
    fields: dict[str, ir.Column] = {}
    if "order" in log.roles:
        order = raw[log.roles["order"]]
        fields["order"] = order.cast("int64" if order.type().is_integer() else "string")
    for name, (kind, column) in log.fields().items():
        if column not in columns:
            continue  # comes with a join
        if kind == "numeric":
            fields[name], wrong, infinite = number(raw[column], name)
            if raw[column].type().is_string():
                reasons.append((wrong, f"{name} of the wrong type"))
            if not (raw[column].type().is_integer() or raw[column].type().is_boolean()):
                reasons.append((infinite, f"non-finite {name}"))
        elif kind == "time":
            fields[name] = time(raw[column], log.timezone, log.time_format)[0]
        else:
            fields[name] = category(raw[column])
    for _, name in reasons:
        if name not in names:
            names.append(name)
    codes = [(where, ibis.literal(names.index(name), "int16")) for where, name in reasons]
    reason = ibis.cases(*codes, else_=ibis.null("int16"))
    return {"customer": ids, "time": moment, "local": local, "reason": reason, **fields}


def category(column: ir.Column) -> ir.Column:
    """A categorical column as int64 or text."""
    kind = column.type()
    return column.cast("int64") if kind.is_integer() else column if kind.is_string() else column.cast("string")
