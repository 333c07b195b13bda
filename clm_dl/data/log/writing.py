"""How a log's times and numbers are written: as `data` says, as a run's own log was, or as its values tell."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import astuple
from typing import Any

import ibis.expr.types as ir

from clm_dl.data.log.engine import DuckDB, Source
from clm_dl.data.log.numbers import COMMA, POINT, Marks, find_marks, number
from clm_dl.data.log.parse import Writing
from clm_dl.data.log.roles import Log
from clm_dl.data.log.time_format import find_format
from clm_dl.data.log.times import time
from clm_dl.errors import UserError

Say = Callable[[str], None]


def find_writing(engine: DuckDB, source: Source, log: Log, known: Writing, say: Say) -> Writing:
    """The writing of a log's columns. `known`: how the log that a run was trained on was written, which decides where
    the values themselves do not.

    Raises ValueError where they may be read in two ways, or clearly are not written as `known`.
    """
    fields = [(kind, column) for kind, column in log.fields().values() if column in source.names]
    times = [log.roles["time"], *(column for kind, column in fields if kind == "time")]
    numeric = [column for kind, column in fields if kind == "numeric"]
    return Writing(
        {column: log.time_format or _format(engine, source, column, log.timezone, known, say) for column in times},
        _marks(engine, source, numeric, log, known, say),
    )


def to_facts(writing: Writing, log: Log) -> dict[str, Any]:
    """What was found out of the writing of a log's times and fields, JSON-able; {} where nothing had to be."""
    times = {} if log.time_format else {column: found for column, found in writing.times.items() if found}
    given = log.decimal is not None or log.thousands is not None
    marks = {} if given else marks_to_facts(writing.marks)
    return {"times": times, "marks": marks} if times or marks else {}


def marks_to_facts(marks: Mapping[str, Marks]) -> dict[str, list[str]]:
    """Marks as JSON has them."""
    return {column: list(astuple(found)) for column, found in marks.items()}


def of_facts(facts: Mapping[str, Any]) -> Writing:
    """The inverse of `to_facts`, with what is known of customer attributes (see `Writing`)."""
    fields, attributes = (
        {column: Marks(*found) for column, found in facts.get(key, {}).items()} for key in ("marks", "attribute_marks")
    )
    return Writing(dict(facts.get("times", {})), fields, dict(facts.get("attributes", {})), attributes)


def _format(engine: DuckDB, source: Source, name: str, timezone: str, known: Writing, say: Say) -> str | None:
    own, kind = known.times.get(name), source[name].type()
    if own is None or not (kind.is_string() or kind.is_numeric()):
        return find_format(engine, source, name, say)
    try:
        found = find_format(engine, source, name, lambda line: None)
    except UserError:  # in two ways: as the run's own log was
        found = own
    if found != own:
        rows = {wanted: _count(engine, time(source[name], timezone, wanted)[0].notnull()) for wanted in (found, own)}
        if rows[found] > rows[own]:
            raise UserError(
                f"times of column {name!r} of {source.what} are written as {found or 'ISO or seconds since 1970'}, and "
                f"the run was trained on {own}: set data.time_format if that is right"
            )
    say(f"times of {name} are read as {own}, as those that the run was trained on (data.time_format)")
    return own


def _marks(
    engine: DuckDB, source: Source, columns: list[str], log: Log, known: Writing, say: Say
) -> Mapping[str, Marks]:
    given = {"decimal": log.decimal, "thousands": log.thousands}
    own = {name: known.marks[name] for name in columns if name in known.marks and source[name].type().is_string()}
    if not own or any(mark is not None for mark in given.values()):
        return find_marks(engine, source, columns, **given, say=say)
    for name, marks in own.items():
        text = source[name].strip()
        shapes = {"comma": COMMA, "point": POINT}
        other = "point" if marks.decimal == "," else "comma"
        rows = {key: _count(engine, text.re_search(shape)) for key, shape in shapes.items()}
        lost = _count(engine, number(source[name], name, marks)[1])
        if lost and rows[other] > sum(rows.values()) / 2:
            raise UserError(
                f"the numbers of column {name!r} of {source.what} are written with a decimal {other}, and those that "
                f"the run was trained on with {marks.decimal!r}: set data.decimal if that is right"
            )
        say(
            f"numbers of {name} are read with decimal {marks.decimal!r} and thousands {marks.thousands!r}, as those "
            "that the run was trained on (data.decimal, data.thousands)"
        )
    return own | find_marks(engine, source, [name for name in columns if name not in own], **given, say=say)


def _count(engine: DuckDB, where: ir.Column) -> int:
    return int(engine.fetch(where.sum().name("rows").as_table())["rows"][0].as_py() or 0)
