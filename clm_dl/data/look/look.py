"""A look at a file: what it is read as, what its columns are, and what it would be as a log or as a table."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import duckdb
import pyarrow as pa

from clm_dl.data.log import parse
from clm_dl.data.log.engine import DuckDB, Source
from clm_dl.data.log.reading import read
from clm_dl.data.log.roles import Log, parse_data
from clm_dl.data.look.columns import Column, read_columns
from clm_dl.data.look.log import READ, LogLook, LogReader
from clm_dl.data.look.opening import reading_keys
from clm_dl.data.look.relations import Relations
from clm_dl.data.look.roles import Guess, guess_customer, guess_others, guess_time
from clm_dl.data.look.table import TableGuess, guess_table, has_answer
from clm_dl.data.look.words import hint as says
from clm_dl.data.tables import read_table
from clm_dl.errors import UserError

NOBODY = {"customer": "customer", "time": "time"}


@dataclass(frozen=True)
class Look:
    """A file: `said` while it was read, its columns, and what it is: a log or a table."""

    what: str
    said: list[str]
    rows: int
    columns: list[Column]
    keys: dict[str, Any]  # of `data` that it takes to be read
    log: LogLook | None = None
    table: TableGuess | None = None
    twice: list[str] = field(default_factory=list)


def look_at(data: Mapping[str, Any], given: Mapping[str, Any], folder: Path) -> Look:
    """Look at the file that `data` names.

    Args:
        data: the keys of configs/data/events.yaml with `label` and `positive`.
        given: dotted keys of `data` that somebody said, and are no guess; null: not there.
        folder: for temporary files.

    Raises:
        ValueError, FileNotFoundError: it cannot be read, or is neither log nor table, with what to say instead.
    """
    keys = reading_keys(data)
    data = {**data, **keys}
    engine = DuckDB(folder, str(data.get("memory_limit") or "2.5GB"))
    try:
        said: list[str] = []
        source = read(engine, _log(data), str(data.get("data_dir") or "data"), said.append)
        columns = read_columns(engine, source)
        rows = columns[0].rows if columns else 0
        if not rows:
            raise UserError(f"{source.what} has no lines but a header: give a log with at least one event")
        asked = Relations(engine, source, rows)
        twice = sorted({name for name in source.names if source.names.count(name) > 1})
        look = Look(source.what, said, rows, columns, keys, twice=twice)
        roles = {key.removeprefix("data.roles."): value for key, value in given.items() if ".roles." in key}
        parse.check_columns(source, [str(name) for name in roles.values() if name], "role column")
        if roles.get("time") and data.get("time_format"):
            as_said = {"kind": "time", "time_format": data["time_format"], "sure": True}
            columns = [replace(one, **as_said) if one.name == roles["time"] else one for one in columns]
        guess = Guess() if "data.label" in given else _guess(columns, roles, asked)
        if {"customer", "time"} <= set(guess.roles):
            reader = LogReader(engine, source, columns, data, given, keys, asked)
            return replace(look, log=reader.look(guess))
        if any(roles.get(role) for role in ("time", "order", "item", "event_type", "expiry")):
            raise _no_log(guess, columns, source)
        if guess.roles and not has_answer(columns):
            raise _no_log(guess, columns, source)
        answer = {key: given.get(f"data.{key}") for key in ("label", "positive")} | {"customer": roles.get("customer")}
        if not answer["label"]:
            guess_table(columns, answer, asked)  # says so where there is no answer, before the file is read again
        source, columns = _as_table(source, columns, Path(data["path"]))
        return replace(look, columns=columns, table=guess_table(columns, answer, Relations(engine, source, rows)))
    except (duckdb.Error, pa.ArrowException) as error:
        raise UserError(f"cannot read {data['path']}: {str(error).splitlines()[0]}; is the file whole?") from error
    finally:
        engine.close()


def _as_table(source: Source, columns: list[Column], path: Path) -> tuple[Source, list[Column]]:
    """Source and columns by the names that data=table knows them by, where they have none of their own."""
    if not path.expanduser().is_file():
        raise UserError(f"{source.what} has no times of events, and a table with one row a customer must be one file")
    names = tuple(map(str, read_table(path.expanduser()).columns))
    if len(names) != len(source.names):
        raise UserError(f"{source.what} reads as a table of other columns ({', '.join(names)}): save it as plain CSV")
    return replace(source, names=names), [replace(column, name=names[column.place]) for column in columns]


def _log(data: Mapping[str, Any]) -> Log:
    """The log of a file whose roles nobody knows yet."""
    return parse_data({**{key: value for key, value in data.items() if key in READ}, "roles": NOBODY}).logs[0]


def _guess(columns: Sequence[Column], roles: Mapping[str, str | None], asked: Relations) -> Guess:
    guess = guess_time(columns, roles)
    guess_customer(guess, columns, roles, asked)
    if {"customer", "time"} <= set(guess.roles):
        alone = asked.distinct(guess.roles["customer"]) > 0.98 * asked.rows
        if alone and not roles.get("time") and has_answer(columns):
            return Guess()  # a row a customer
        guess_others(guess, columns, roles, asked)
    return guess


def _no_log(guess: Guess, columns: Sequence[Column], source: Source) -> UserError:
    missing = [role for role in ("customer", "time") if role not in guess.roles]
    names = ", ".join(column.name for column in columns)
    keys = " ".join(f"data.roles.{role}=…" for role in missing)
    counts = [column.name for column in columns if column.kind == "number" and says(column.name, "time") >= 0.5]
    hint = "" if "time" not in missing else ", and how it is written with data.time_format=…"
    hint += f" ({', '.join(counts)} counts from a start that nobody knows: write dates)" if hint and counts else ""
    return UserError(
        f"no column of {source.what} looks like the {' or the '.join(missing)} of an event; it has {names}: say which "
        f"one it is with {keys}{hint}"
    )
