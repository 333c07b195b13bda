"""Roles: which column of a log plays which part, read from a `data` mapping and checked before any row is."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from clm_dl.data.log.shapes import check_shapes
from clm_dl.data.log.ties import TIES
from clm_dl.errors import UserError, check_keys, choice

ROLE_KINDS = {  # the kind each stored role has, in the order that breaks ties between events of one customer and time
    "item": "categorical",
    "event_type": "categorical",
    "amount": "numeric",
    "text": "categorical",
    "expiry": "time",
    "churn_event": "numeric",
    "treatment": "categorical",
}
ROLES = ("customer", "time", "order", *ROLE_KINDS)
RESERVED = {*ROLES, "source", "offsets", "order_start"}
LOG_KEYS = (
    *("name", "path", "frame", "format", "table", "separator", "columns", "roles", "categorical", "numeric", "joins"),
    *("timezone", "time_format", "encoding", "decimal", "thousands"),
)
DATA_KEYS = (
    *LOG_KEYS,
    "exclude",
    "static",
    "sources",
    "engine",
    "end",
    "tie",
    "tie_seed",
    "close_orders",
    "dedupe",
    "max_quarantined",
    "memory_limit",
    "data_dir",
    "calendar",
)
LONGEST_NAME = 200  # bytes; a file of the store is named after it
JOIN_KEYS = ("path", "frame", "format", "table", "on", "columns", "to", "valid_from", "time_format")
DATES = ("valid_from", "updated")  # columns that date the rows of a joined table, where no other is named


@dataclass(frozen=True)
class Join:
    """A table that adds `columns` (None: all) to the log (`to="item"`) or to the customers (`to="customer"`)."""

    path: str | None
    frame: Any
    format: str | None
    table: str | None
    left: str  # column of the log
    right: str  # column of the table
    columns: tuple[str, ...] | None
    to: str
    time_format: str | None = None  # of its dates; None: found out
    dates: tuple[str, ...] = ()  # the first of these columns that the table has says from when a row holds


@dataclass(frozen=True)
class Log:
    """One event log and the parts its columns play."""

    name: str
    path: str | None
    frame: Any
    format: str | None
    table: str | None
    roles: dict[str, str]
    categorical: tuple[str, ...]
    numeric: tuple[str, ...]
    joins: tuple[Join, ...]
    timezone: str
    time_format: str | None
    separator: str | None = None  # of a text file; None: found out
    columns: tuple[str, ...] | None = None  # names of the columns of a text file without a header
    encoding: str | None = None  # of a text file; None: found out
    decimal: str | None = None  # of numbers written as text; None: found out, and so
    thousands: str | None = None

    def fields(self) -> dict[str, tuple[str, str]]:
        """Stored name → (kind, column), roles first, in a fixed order."""
        found = {role: (kind, self.roles[role]) for role, kind in ROLE_KINDS.items() if role in self.roles}
        found |= {name: ("categorical", name) for name in self.categorical}
        return found | {name: ("numeric", name) for name in self.numeric}


@dataclass(frozen=True)
class DataSpec:
    """A whole `data` mapping, checked."""

    logs: tuple[Log, ...]
    merged: bool  # several `sources`: a field `source` is stored
    static: tuple[str, ...] = ()
    timezone: str = "UTC"
    engine: str = "duckdb"
    end: Any = None
    tie: str = "sort"
    tie_seed: int = 0
    dedupe: bool = False
    max_quarantined: float | None = None  # share of the rows; more is an error
    close_orders: bool = False
    memory_limit: str = "2.5GB"
    data_dir: str = "data"
    kinds: dict[str, str] = field(default_factory=dict)  # stored name → kind, over all logs

    @property
    def own(self) -> dict[str, str]:
        """Stored name → its column while a log is prepared: no name of a user meets one of ours, or another's case."""
        return {name: f"f{position}" for position, name in enumerate(self.kinds)}


def parse_data(data: Mapping[str, Any]) -> DataSpec:
    """Check a `data` mapping and spell it out. Raises ValueError in one sentence for whatever is wrong with it."""
    check_keys(data, DATA_KEYS, "key of data")
    check_shapes(data)
    timezone = data.get("timezone") or "UTC"
    sources = data.get("sources") or []
    logs = []
    for position, source in enumerate(sources or [data]):
        if sources:
            check_keys(source, LOG_KEYS, "key of data.sources")
        logs.append(_parse_log(source, data, timezone, default_name=f"source{position}"))
    names = [log.name for log in logs]
    if len(set(names)) < len(names):
        raise UserError(f"data.sources need different names, got {', '.join(names)}: give each its own `name`")
    kinds: dict[str, str] = {}
    for log in logs:
        for name, (kind, _) in log.fields().items():
            if kinds.setdefault(name, kind) != kind:
                raise UserError(
                    f"column {name!r} is {kinds[name]} in one source and {kind} in another: make them agree"
                )
    if sources:
        kinds["source"] = "categorical"
    order = [*ROLE_KINDS, "source"]
    kinds = {name: kinds[name] for name in [*(n for n in order if n in kinds), *(n for n in kinds if n not in order)]}
    spec = DataSpec(
        logs=tuple(logs),
        merged=bool(sources),
        static=tuple(data.get("static") or ()),
        timezone=timezone,
        engine=choice(data.get("engine") or "duckdb", ("duckdb", "spark"), "data.engine"),
        end=data.get("end"),
        tie=choice(data.get("tie") or "sort", TIES, "data.tie"),
        tie_seed=int(data.get("tie_seed") or 0),
        dedupe=bool(data.get("dedupe")),
        max_quarantined=share(data.get("max_quarantined"), "data.max_quarantined"),
        close_orders=bool(data.get("close_orders")),
        memory_limit=str(data.get("memory_limit") or "2.5GB"),
        data_dir=str(data.get("data_dir") or "data"),
        kinds=kinds,
    )
    if spec.engine == "spark" and spec.tie == "file":
        raise UserError("data.tie=file needs data.engine=duckdb: rows have no file order on Spark")
    return spec


def _parse_log(source: Mapping[str, Any], data: Mapping[str, Any], timezone: str, default_name: str) -> Log:
    path, frame = source.get("path"), source.get("frame")
    if frame is None and path is not None and not isinstance(path, str) and not hasattr(path, "__fspath__"):
        path, frame = None, path  # a table given in the place of a path
    if path is None and frame is None:
        raise UserError(
            "data.path is not set: give the path of an event log (CSV, Parquet or a database) or a table as data.frame"
        )
    roles = {
        role: column
        for role, column in {**(data.get("roles") or {}), **(source.get("roles") or {})}.items()
        if column is not None
    }
    check_keys(roles, ROLES, "role in data.roles")
    for role in ("customer", "time"):
        if role not in roles:
            raise UserError(f"data.roles.{role} is not set: name the column that holds the {role} of an event")
    given = source if "categorical" in source or "numeric" in source else data
    log = Log(
        name=str(source.get("name") or default_name),
        path=None if path is None else str(path),
        frame=frame,
        format=source.get("format"),
        table=source.get("table"),
        roles=roles,
        categorical=tuple(given.get("categorical") or ()),
        numeric=tuple(given.get("numeric") or ()),
        joins=tuple(
            _parse_join(join) for join in (source.get("joins") if "joins" in source else data.get("joins")) or ()
        ),
        timezone=source.get("timezone") or timezone,
        time_format=source.get("time_format") or data.get("time_format"),
        separator=None if source.get("separator") is None else str(source["separator"]),
        columns=None if source.get("columns") is None else tuple(str(name) for name in source["columns"]),
        **_text_options({**data, **{key: value for key, value in source.items() if value is not None}}),
    )
    if log.columns is not None and len(set(log.columns)) < len(log.columns):
        raise UserError(f"data.columns names a column twice: {', '.join(log.columns)}")
    for name in (*log.categorical, *log.numeric):
        if name in RESERVED or "/" in name or "\0" in name or len(name.encode()) > LONGEST_NAME:
            raise UserError(
                f"column {name!r} cannot be stored under that name: give it through data.roles, or rename it in the log"
            )
    for name in set(log.categorical) & set(log.numeric):
        raise UserError(f"column {name!r} is listed in both data.categorical and data.numeric: keep it in one")
    return log


def share(value: Any, what: str) -> float | None:
    """A number from 0 to 1, or None."""
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not 0 <= value <= 1:
        raise UserError(f"{what} is a share and must be in [0, 1], got {value!r}")
    return float(value)


def _text_options(given: Mapping[str, Any]) -> dict[str, str | None]:
    """Encoding, decimal and thousands mark of a text file."""
    for key in ("decimal", "thousands"):
        if given.get(key) is not None and (len(str(given[key])) != 1 or str(given[key]).isalnum()):
            raise UserError(f"data.{key} must be one mark such as ',' or '.', got {given[key]!r}")
    decimal, thousands = given.get("decimal"), given.get("thousands")
    if decimal is not None and decimal == thousands:
        raise UserError(f"data.decimal and data.thousands are both {decimal!r}: they must differ")
    return {key: None if given.get(key) is None else str(given[key]) for key in ("encoding", "decimal", "thousands")}


def _parse_join(join: Mapping[str, Any]) -> Join:
    join = {"on" if key is True else key: value for key, value in join.items()}  # YAML reads an unquoted `on` as true
    check_keys(join, JOIN_KEYS, "key of data.joins")
    path, frame = join.get("path"), join.get("frame")
    if path is None and frame is None:
        raise UserError("a join in data.joins has no path: give the path of the table to join")
    on = join.get("on")
    if not on or (isinstance(on, Mapping) and len(on) != 1):
        raise UserError(
            f"data.joins[].on must be one column name, or {{column of the log: column of the table}}, got {on!r}"
        )
    left, right = next(iter(on.items())) if isinstance(on, Mapping) else (on, on)
    columns, dated = join.get("columns"), join.get("valid_from")
    return Join(
        path=None if path is None else str(path),
        frame=frame,
        format=join.get("format"),
        table=join.get("table"),
        left=str(left),
        right=str(right),
        columns=None if columns is None else tuple(columns),
        to=choice(join.get("to") or "item", ("item", "customer"), "data.joins[].to"),
        time_format=join.get("time_format"),
        dates=(str(dated),) if dated is not None else () if "valid_from" in join else DATES,
    )
