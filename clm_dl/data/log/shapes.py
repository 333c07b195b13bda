"""What the keys of a `data` mapping may hold, whatever the log: found out before anything is read."""

from __future__ import annotations

import codecs
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from clm_dl.data.log.times import parse_moment
from clm_dl.data.zone import Zone
from clm_dl.errors import UserError
from clm_dl.options import parse

Names = tuple[str, ...]


@dataclass(frozen=True)
class SourceShape:
    """Of one log or table; None: not said."""

    name: str | None = None
    format: str | None = None
    table: str | None = None
    separator: str | None = None
    columns: Names | None = None
    encoding: str | None = None
    decimal: str | None = None
    thousands: str | None = None
    timezone: str | None = None
    time_format: str | None = None
    categorical: Names | None = None
    numeric: Names | None = None


@dataclass(frozen=True)
class DataShape(SourceShape):
    """Of the whole group."""

    exclude: Names | None = None
    static: Names | None = None
    engine: str | None = None
    tie: str | None = None
    tie_seed: int | None = None
    close_orders: bool | None = None
    dedupe: bool | None = None
    max_quarantined: float | None = None
    memory_limit: str | None = None
    data_dir: str | None = None


@dataclass(frozen=True)
class JoinShape:
    """Of one of `data.joins`."""

    format: str | None = None
    table: str | None = None
    columns: Names | None = None
    to: str | None = None
    valid_from: str | None = None
    time_format: str | None = None


@dataclass(frozen=True)
class CalendarShape:
    """Of `data.calendar`."""

    path: str
    time: str | None = None
    columns: Names | None = None


def check_shapes(data: Mapping[str, Any]) -> None:
    """Raise UserError, one sentence, for the first key of a `data` mapping that holds what it cannot."""
    parse(DataShape, data, "data", strict=False)
    _check_source(data, "data")
    for key in ("joins", "sources"):
        groups = data.get(key) or []
        if isinstance(groups, (str, Mapping)) or not isinstance(groups, (list, tuple)):
            raise UserError(f"data.{key} must be a list, got {groups!r}: write data.{key}=[…]")
        for place, group in enumerate(groups):
            name = f"data.{key}[{place}]"
            parse(JoinShape if key == "joins" else SourceShape, group, name, strict=False)
            _check_source(group, name)
    if data.get("calendar"):
        parse(CalendarShape, data["calendar"], "data.calendar", strict=False)
    limit = data.get("memory_limit")
    if limit is not None and not re.fullmatch(r"[0-9]+(\.[0-9]+)?\s*([KMGT]i?)?B", limit):
        raise UserError(f"data.memory_limit must be an amount such as 2.5GB, got {limit!r}")
    if data.get("end") is not None:
        parse_moment(data["end"], data.get("timezone") or "UTC", "data.end")


def _check_source(group: Mapping[str, Any], name: str) -> None:
    path = group.get("path")
    if isinstance(path, (bool, int, float, list, dict)) or path == "":
        raise UserError(f"{name}.path must be the path of a file, a folder or a database, got {path!r}")
    if (zone := group.get("timezone")) is not None:
        Zone(zone)
    if (encoding := group.get("encoding")) is not None:
        try:
            codecs.lookup(encoding)
        except (LookupError, ValueError) as error:
            raise UserError(
                f"{name}.encoding: there is no {encoding!r}: write utf-8, latin-1, cp1252 or utf-16"
            ) from error
    roles = group.get("roles")
    if roles is not None and not isinstance(roles, Mapping):
        raise UserError(f"{name}.roles must give each role its column, got {roles!r}: write {name}.roles.customer=…")
    for role, column in (roles or {}).items():
        if column is not None and not (isinstance(column, str) and column):
            raise UserError(f"{name}.roles.{role} must be the name of a column, got {column!r}")
