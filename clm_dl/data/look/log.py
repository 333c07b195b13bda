"""A log as a guess has it: its lines counted as `prepare_store` would, its days, and how it is written."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import ibis
import ibis.expr.types as ir
import numpy as np
import pandas as pd
import pyarrow as pa

from clm_dl.data.ids import MISSING_WORDS
from clm_dl.data.log import parse, strays
from clm_dl.data.log.engine import DuckDB, Source
from clm_dl.data.log.numbers import find_marks
from clm_dl.data.log.roles import ROLES, DataSpec, Log, parse_data
from clm_dl.data.log.time_format import find_format
from clm_dl.data.log.times import DAY, next_midnight
from clm_dl.data.look.columns import Column
from clm_dl.data.look.gaps import QUANTILES, Days, Suggestion, suggest
from clm_dl.data.look.relations import Relations
from clm_dl.data.look.roles import Guess
from clm_dl.data.look.uses import Uses, guess_uses
from clm_dl.data.zone import Zone
from clm_dl.errors import UserError

HOUR = 3_600_000_000
CUSTOMERS = 50_000  # of longer logs, the days of some of the customers
READ = (
    *("path", "format", "separator", "encoding", "decimal", "thousands", "columns", "table", "timezone"),
    "time_format",
)


@dataclass(frozen=True)
class LogLook:
    """What a file is as a log.

    Attributes:
        data: keys of `data` that differ from the defaults, but `path`. guess, uses: which column is what.
        reasons: why how many lines cannot be kept. customers, first, last: of those that can (microseconds UTC).
        lines, days: quantiles of a customer's lines and active days; gaps: of the days between two active ones.
        returns: lines with an amount below 0.
    """

    data: dict[str, Any]
    guess: Guess
    uses: Uses
    reasons: dict[str, int]
    rows: int
    customers: int
    first: int
    last: int
    zone: str
    lines: dict[float, float]
    days: dict[float, float]
    gaps: dict[float, float]
    suggestion: Suggestion
    returns: int = 0


class LogReader:
    """The log that a guess makes of a source, counted as `prepare_store` would."""

    def __init__(
        self,
        engine: DuckDB,
        source: Source,
        columns: list[Column],
        data: Mapping[str, Any],
        given: Mapping[str, Any],
        keys: Mapping[str, Any],
        asked: Relations,
    ):
        self.engine, self.source, self.columns, self.data = engine, source, columns, data
        self.given, self.keys, self.asked = given, keys, asked

    def look(self, guess: Guess) -> LogLook:
        guess.roles = {role: guess.roles[role] for role in ROLES if role in guess.roles}
        uses = guess_uses(self.columns, list(guess.roles.values()))
        for key in ("categorical", "numeric"):
            if f"data.{key}" in self.given:
                setattr(uses, key, list(self.given[f"data.{key}"] or []))
        for key, other in {"categorical": "numeric", "numeric": "categorical"}.items():
            if f"data.{key}" in self.given:
                setattr(uses, other, [name for name in getattr(uses, other) if name not in getattr(uses, key)])
        found: dict[str, Any] = {**self.keys, "roles": guess.roles}
        found |= {"categorical": uses.categorical, "numeric": uses.numeric}
        spec = parse_data({**{k: v for k, v in self.data.items() if k in READ}, **found})
        log = spec.logs[0]
        found |= self._formats(log)
        table, reasons = self._typed(spec)
        if self.data.get("end") is None:
            tail = strays.newest_strays(*strays.count_days(self.engine, [table]))
            if tail is not None:
                found["end"] = str(np.datetime64(tail.edge + 1, "D"))
        kept = table.filter(table.reason.isnull())
        early = strays.oldest_strays(*strays.count_days(self.engine, [table]))
        if early is not None:
            kept = kept.filter(kept.time >= early.edge * DAY)
        if found.get("end") or self.data.get("end"):
            kept = kept.filter(kept.time < Zone(log.timezone).parse(str(found.get("end") or self.data["end"])))
        reasons = {name: rows for name, rows in reasons.items() if rows}
        bad = sum(reasons.values())
        limit = self.data.get("max_quarantined")
        if bad == self.asked.rows:
            listed = ", ".join(f"{name}: {rows:,}" for name, rows in reasons.items())
            raise UserError(
                f"with {', '.join(f'{role} {name!r}' for role, name in guess.roles.items())} no line of "
                f"{self.source.what} can be kept ({listed}): say other columns with data.roles.{{customer,time,…}}=…"
            )
        if limit is not None and bad > limit * self.asked.rows and "data.max_quarantined" not in self.given:
            found["max_quarantined"] = min(1.0, np.ceil(bad / self.asked.rows * 20 + 0.2).item() / 20)
        days, whole_counts = self._days(kept, log.timezone)
        return LogLook(
            data=found,
            guess=guess,
            uses=uses,
            reasons=reasons,
            rows=self.asked.rows,
            zone=log.timezone,
            gaps=_quantiles(days.gaps),
            suggestion=suggest(days),
            returns=self._returns(kept, spec),
            **whole_counts,
        )

    def _formats(self, log: Log) -> dict[str, Any]:
        """How times and numbers are written, where they do not say so themselves: a later log may not tell."""
        found: dict[str, Any] = {}
        fields = [(kind, column) for kind, column in log.fields().values()]
        times = [log.roles["time"], *(column for kind, column in fields if kind == "time")]
        if not log.time_format:
            formats = {find_format(self.engine, self.source, name, lambda line: None) for name in times}
            if len(formats) == 1 and (wanted := formats.pop()) is not None:
                found["time_format"] = wanted
        self.formats = {
            name: log.time_format or find_format(self.engine, self.source, name, lambda line: None) for name in times
        }
        numeric = [column for kind, column in fields if kind == "numeric"]
        self.marks = find_marks(
            self.engine, self.source, numeric, decimal=log.decimal, thousands=log.thousands, say=lambda line: None
        )
        texts = [name for name in numeric if self.source[name].type().is_string()]
        if self.marks and len({*self.marks.values()}) == 1 and set(self.marks) == set(texts) and not log.decimal:
            mark = next(iter(self.marks.values()))
            found |= {"decimal": mark.decimal, "thousands": mark.thousands} if mark.decimal == "," else {}
        return found

    def _typed(self, spec: DataSpec) -> tuple[ir.Table, dict[str, int]]:
        """Customer, time, its clock and the reason of every line, and how many lines have each reason."""
        log = spec.logs[0]
        names: dict[str, str] = {}
        columns, codes = parse.parse_log(
            self.source, log, spec.own, parse.Writing(self.formats, self.marks), names, among_typed=False
        )
        customer, columns["reason"] = columns["customer"], parse.reason(columns, codes)
        if customer.type().is_string():
            missing = list(names).index(parse.MISSING_CUSTOMER)
            nobody = customer.isin(MISSING_WORDS) | (customer.strip() == "")
            columns["reason"] = ibis.ifelse(nobody, ibis.literal(missing, "int16"), columns["reason"])
        amount = {"amount": columns[spec.own["amount"]]} if "amount" in spec.own else {}
        wanted = {key: columns[key] for key in ("customer", "time", "local", "reason")} | amount
        table = self.engine.hold(self.source.table.select(**wanted))
        counted = self.engine.fetch(table.group_by("reason").aggregate(rows=table.count())).to_pylist()
        rows = {row["reason"]: row["rows"] for row in counted}
        return table, {name: int(rows.get(place, 0)) for place, name in enumerate(names)}

    def _days(self, kept: ir.Table, timezone: str) -> tuple[Days, dict[str, Any]]:
        zone = Zone(timezone)
        told = self.engine.fetch(
            kept.aggregate(
                first=kept.time.min(),
                last=kept.time.max(),
                whole=(kept.local % DAY == 0).all(),
                customers=kept.customer.nunique(),
            )
        ).to_pylist()[0]
        first, last, customers = told["first"], told["last"], told["customers"]
        unit = HOUR if last - first < 12 * DAY and not told["whole"] else DAY
        some = kept
        if customers > CUSTOMERS:  # the same ones each time
            parts = max(1, 4096 * CUSTOMERS // customers)
            some = kept.filter(kept.customer.cast("string").hexdigest("md5")[:3] < f"{parts:03x}")
        units = some.select("customer", unit=some.local // unit)
        table = self.engine.fetch(units.group_by("customer", "unit").aggregate(lines=units.count()))
        codes = pa.chunked_array(table["customer"]).combine_chunks().dictionary_encode().indices.to_numpy()
        moment = table["unit"].to_numpy().astype(np.int64) * unit
        order = np.lexsort((moment, codes))
        codes, moment, lines = codes[order].astype(np.int64), moment[order], table["lines"].to_numpy()[order]
        counts = pd.Series(lines).groupby(codes).agg(["sum", "size"])
        end = next_midnight(last, timezone) if told["whole"] else last
        days = Days(codes, zone.utc(moment), first - 1 if told["whole"] else first, end, zone, unit == DAY)
        return days, {
            "first": first,
            "last": last,
            "customers": customers,
            "lines": _quantiles(counts["sum"].to_numpy()),
            "days": _quantiles(counts["size"].to_numpy()),
        }

    def _returns(self, kept: ir.Table, spec: DataSpec) -> int:
        if "amount" not in kept.columns:
            return 0
        return int(self.engine.fetch(kept.aggregate(n=(kept.amount < 0).sum()))["n"][0].as_py() or 0)


def _quantiles(values: np.ndarray) -> dict[float, float]:
    return {q: float(np.quantile(values, q)) for q in QUANTILES} if len(values) else {}
