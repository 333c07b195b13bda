"""Lines: what a look at a file found, in words for a terminal."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np

from clm_dl.data.look.columns import Column
from clm_dl.data.look.log import LogLook
from clm_dl.data.look.look import Look
from clm_dl.data.look.table import TableGuess
from clm_dl.data.zone import DAY, Zone

WIDTH = 12


def tell(look: Look) -> Iterator[str]:
    """All lines about a look."""
    yield f"{look.what}: {look.rows:,} lines, {len(look.columns) + len(look.twice)} columns"
    for line in look.said:
        yield _line("read", line)
    for key, value in look.keys.items():
        told = ", ".join(value) if isinstance(value, list) else repr(value)
        yield _line("read", f"data.{key}={told}" + (" (there is no header)" if key == "columns" else ""))
    if look.log is not None:
        yield from _log(look.log)
    if look.table is not None:
        yield from _table(look, look.table)
    yield from _columns(look)
    if look.log is not None:
        yield from _suggestion(look.log)


def _line(key: str, text: str) -> str:
    return f"{key:{WIDTH}s}{text}"


def period(log: LogLook) -> str:
    """First and last day of a log, in its zone."""
    zone = Zone(log.zone)
    days = (str(np.datetime64(int(zone.local(one)), "us").astype("datetime64[D]")) for one in (log.first, log.last))
    return " to ".join(days)


def _log(log: LogLook) -> Iterator[str]:
    yield _line("period", f"{period(log)}, {(log.last - log.first) / DAY:,.0f} days, read as {log.zone}" + _zone(log))
    for key in ("time_format", "decimal", "end"):
        if key in log.data:
            yield _line("read", f"data.{key}={log.data[key]!r}{' (later lines are strays)' if key == 'end' else ''}")
    quantiles = _quantiles(log.lines), _quantiles(log.days)
    yield _line("customers", f"{log.customers:,}; lines each {quantiles[0]}; active days each {quantiles[1]}")
    if log.reasons:
        listed = ", ".join(f"{name}: {rows:,}" for name, rows in log.reasons.items())
        bad = sum(log.reasons.values())
        more = f"; data.max_quarantined={log.data['max_quarantined']}" if "max_quarantined" in log.data else ""
        yield _line("quarantined", f"{bad:,} lines, {bad / log.rows:.1%} ({listed}){more}")
    if log.gaps:
        yield _line("gaps", f"days between a customer's active days {_quantiles(log.gaps)}")
    else:
        yield _line("gaps", "none: every customer has one active day")
    for role, name in log.guess.roles.items():
        others = log.guess.others.get(role) or []
        also = f"; or {', '.join(others)} (data.roles.{role}=…)" if others else ""
        label = "item label" if role == "text" and log.guess.why[role].startswith("the label") else role
        yield _line(label, f"{name}: {log.guess.why[role]}{also}")
    for role, remedy in {
        "item": "so no task=next_item",
        "amount": "so no task=value",
        "order": "lines of one customer and time are an order",
    }.items():
        if role not in log.guess.roles:
            yield _line(role, f"none found, {remedy} (data.roles.{role}=…)")
    if log.returns:
        yield _line("returns", f"{log.returns:,} lines have an amount below 0: task=value needs task.returns=ignore")


def _zone(log: LogLook) -> str:
    return " (data.timezone=Europe/Berlin, say, where times are local)" if log.zone == "UTC" else ""


def _table(look: Look, table: TableGuess) -> Iterator[str]:
    yield _line("a table", "one row a customer, no times of events (a log needs data.roles.customer and .time)")
    customer = f"{table.customer}: another value in each row" if table.customer else "none: rows are numbered"
    yield _line("customer", f"{customer} (data.roles.customer=…)")
    also = f"; or {', '.join(table.others)} (data.label=…)" if table.others else ""
    yield _line("label", f"{table.label}: {table.why} (data.positive=…){also}")


def _columns(look: Look) -> Iterator[str]:
    uses = _uses(look)
    width = min(28, max(len(column.name) for column in look.columns))
    for column in look.columns:
        missing = f"{column.missing:.1%} missing" if column.missing else "none missing"
        values = f"{column.distinct:,} values"
        yield _line(
            "column", f"{column.name:{width}s}  {column.kind:6s} {missing:14s} {values:20s} {uses[column.name]}"
        )
    for name in look.twice:
        yield _line("column", f"{name}: there twice, left out: rename one of the two")


def _uses(look: Look) -> dict[str, str]:
    found = {column.name: "" for column in look.columns}
    if look.log is not None:
        uses = look.log.uses
        found |= dict.fromkeys(uses.categorical, "category") | dict.fromkeys(uses.numeric, "number")
        found |= {name: role for role, name in look.log.guess.roles.items()}
        found |= {name: f"left out: {reason}" for name, reason in uses.left_out.items()}
    elif look.table is not None:
        table = look.table
        found = {name: _feature(look.columns, name) for name in found}
        found |= {name: f"left out: {reason}" for name, reason in table.exclude.items()} | {table.label: "label"}
        found |= {table.customer: "customer"} if table.customer else {}
    return found


def _feature(columns: Sequence[Column], name: str) -> str:
    kind = next(column.kind for column in columns if column.name == name)
    return "number" if kind == "number" else "category"


def _quantiles(values: dict[float, float]) -> str:
    return ", ".join(f"{share:.0%} ≤ {value:.3g}" for share, value in values.items())


def _suggestion(log: LogLook) -> Iterator[str]:
    found = log.suggestion
    churn = ", ".join(f"{split} {share:.0%}" for split, share in found.churn.items())
    yield _line("suggested", f"snapshots.horizon_days={found.horizon_days:g}: {found.why}")
    yield _line("", f"snapshots.active_days={found.active_days:g} snapshots.every_days={found.every_days:g}")
    if found.val_customers:
        yield _line("", "snapshots.val_customers=0.1: no validation cutoff fits, so customers are kept out")
    if churn:
        yield _line("", f"who is silent for that long: {churn}")
    if not found.fits:
        yield _line(
            "warning", "some split has only customers who leave, or only who stay: this log is too short or small"
        )
