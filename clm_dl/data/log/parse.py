"""Parsing as Ibis expressions: a log's columns as typed values, and the reason why a row cannot be kept."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import ibis
import ibis.expr.types as ir

from clm_dl.data.ids import MISSING_WORDS, POINT_ZERO
from clm_dl.data.log.engine import Source
from clm_dl.data.log.numbers import Marks, check_numeric, number
from clm_dl.data.log.roles import Log
from clm_dl.data.log.times import time
from clm_dl.data.snapshots.sums import LARGEST
from clm_dl.errors import UserError, nearest

EARLIEST = -2_208_988_800_000_000  # 1900-01-01
LATEST = 7_289_654_400_000_000  # 2201-01-01: the first microsecond after the year 2200
MISSING_CUSTOMER = "missing customer"
WHOLE = "decimal(38, 0)"


@dataclass(frozen=True)
class Writing:
    """How the columns of a log are written.

    Attributes:
        times: `time_format` by column of text. marks: of numbers by column of text.
        attributes: the customer attributes that a run knows: None of numbers, else the values of a category, none where
            they are too many to name. attribute_marks: of numbers among them that are text.
    """

    times: Mapping[str, str | None] = field(default_factory=dict)
    marks: Mapping[str, Marks] = field(default_factory=dict)
    attributes: Mapping[str, Sequence[str] | None] = field(default_factory=dict)
    attribute_marks: Mapping[str, Marks] = field(default_factory=dict)


def check_columns(source: Source, needed: Iterable[str], what: str, *, known: Sequence[str] | None = None) -> None:
    """Raise ValueError for a column that is not there, or there twice. `known`: more than the source's own columns."""
    columns = list(source.names if known is None else known)
    for name in needed:
        if name not in columns:
            raise UserError(
                f"{what} {name!r} is not a column of {source.what}{nearest(name, columns)}; it has "
                f"{', '.join(columns) or 'none'}"
            )
        if source.names.count(name) > 1:
            raise UserError(f"{what} {name!r} is there twice in {source.what}: rename one of the two")


def is_small_integer(column: ir.Column) -> bool:
    """Whether every value of the column's type is an int64."""
    kind = column.type()
    return bool(kind.is_integer()) and not kind.is_uint64()


def ids(column: ir.Column, *, untyped: bool = False) -> ir.Column:
    """Ids as int64, or as text by the rule of `clm_dl.data.ids`; null where a number is missing. `untyped`: 7.0 as text
    of a file without types is 7.
    """
    kind = column.type()
    if is_small_integer(column):
        return column.cast("int64")
    if kind.is_floating():
        value = column.cast("float64")
        whole = ibis.ifelse(value % 1 == 0, value, ibis.null("float64"))
        text = ibis.coalesce(whole.try_cast("int64").cast("string"), whole.try_cast(WHOLE).cast("string"))
        return ibis.ifelse(value.isnan(), ibis.null("string"), ibis.coalesce(text, column.cast("string")))
    if kind.is_decimal():
        return column.cast("string").re_replace(POINT_ZERO, r"\1")
    if kind.is_boolean():
        return ibis.cases((column, "True"), (~column, "False"), else_=ibis.null("string"))
    text = column.cast("string")
    return text.re_replace(POINT_ZERO, r"\1") if untyped and kind.is_string() else text


def as_written(column: ir.Column, *, untyped: bool) -> ir.Column:
    """Ids as text to compare with those of another table; null where blank. `untyped`: of a file without types."""
    text = ids(column, untyped=untyped).cast("string")
    if not column.type().is_string():
        return text
    return ibis.ifelse(text.strip() == "", ibis.null("string"), text)


def _order(column: ir.Column, source: Source) -> ir.Column:
    """Order ids as text; null where a blank or a word says that there is none."""
    text = as_written(column, untyped=source.text)
    return ibis.ifelse(text.isin(MISSING_WORDS), ibis.null("string"), text)


def category(column: ir.Column) -> ir.Column:
    """A categorical column as int64 or text."""
    if is_small_integer(column):
        return column.cast("int64")
    if column.type().is_floating():  # of Polars and Arrow, whose missing numbers may be NaN
        column = ibis.ifelse(column.isnan(), ibis.null(column.type()), column)
    return column if column.type().is_string() else column.cast("string")


def reason(columns: ir.Table | Mapping[str, ir.Column], codes: Mapping[str, int]) -> ir.Column:
    """Why each row cannot be kept, a position in the names of `parse_log`, or null."""
    cases = [(columns[name], ibis.literal(code, "int16")) for name, code in codes.items()]
    found: ir.Column = ibis.cases(*cases, else_=ibis.null("int16"))
    return found


def parse_log(
    source: Source, log: Log, own: Mapping[str, str], writing: Writing, names: dict[str, str], *, among_typed: bool
) -> tuple[dict[str, ir.Column], dict[str, int]]:
    """Canonical columns of a log: customer, time, local (time on its clock), order and the fields that the log itself
    holds, called by `own`; and further columns that say where a row cannot be kept, with the reason of each, a position
    in `names` (reason → what of the row it is about), which grows as reasons are met. Of several the first counts.

    Customers whose id is a blank or a word for missing are found later, among the distinct ones, and so is 7.0, but
    where a source without types is `among_typed` ones, whose text 7.0 stays that.
    """
    untyped = source.text and among_typed
    customer, when = source[log.roles["customer"]], log.roles["time"]
    known = ids(customer, untyped=untyped)
    moment, local = time(source[when], log.timezone, writing.times.get(when))
    reasons: list[tuple[Any, str, str]] = [(known.isnull(), MISSING_CUSTOMER, "customer")]
    if customer.type().is_floating():
        reasons.append((customer.isinf(), "customer of the wrong type", "customer"))
    reasons += [(moment.isnull(), "unparseable time", "time")]
    reasons += [(~moment.between(EARLIEST, LATEST - 1), "absurd time", "time")]
    fields: dict[str, ir.Column] = {}
    if "order" in log.roles:
        order = source[log.roles["order"]]
        fields["order"] = order.cast("int64") if is_small_integer(order) else _order(order, source)
    for name, (kind, column) in log.fields().items():
        if column not in source.names:
            continue  # comes with a join
        raw = source[column]
        if kind == "numeric":
            check_numeric(source, column)
            fields[own[name]], wrong, infinite = number(raw, name, writing.marks.get(column))
            if raw.type().is_string():
                reasons.append((wrong, f"{name} of the wrong type", name))
            if not (raw.type().is_integer() or raw.type().is_boolean()):
                reasons.append((infinite, f"non-finite {name}", name))
            if name == "amount":
                reasons.append((fields[own[name]].abs() > LARGEST, "absurd amount", name))
        elif kind == "time":
            fields[own[name]] = time(raw, log.timezone, writing.times.get(column))[0]
            is_given = raw.notnull()
            if raw.type().is_string():
                is_given &= ~raw.strip().isin(("", *MISSING_WORDS))
            reasons.append((is_given & fields[own[name]].isnull(), f"unparseable {name}", name))
        else:
            fields[own[name]] = ids(raw, untyped=untyped) if name == "item" else category(raw)
    for _, why, what in reasons:
        names.setdefault(why, what)
    wrong = {f"wrong{position}": where for position, (where, _, _) in enumerate(reasons)}
    codes = dict(zip(wrong, [list(names).index(why) for _, why, _ in reasons], strict=True))
    return {"customer": known, "time": moment, "local": local, **fields, **wrong}, codes
