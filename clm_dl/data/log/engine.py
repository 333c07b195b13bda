"""Engines: DuckDB under Ibis: open, hold, stream, and a table as an engine sees it."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import ibis
import ibis.expr.datatypes as dt
import ibis.expr.types as ir
import numpy as np
import pyarrow as pa

from clm_dl.data.zone import Zone
from clm_dl.errors import UserError

BATCH_ROWS = 1 << 17
FARTHEST = 10**16  # microseconds from 1970, some 300 years: what lies beyond is absurd in any zone


@ibis.udf.scalar.builtin
def epoch_us(moment: dt.Timestamp(timezone=None)) -> dt.int64:  # type: ignore[valid-type]
    """Microseconds since 1970-01-01 UTC."""


@ibis.udf.scalar.builtin(name="epoch_us")
def epoch_us_zoned(moment: dt.Timestamp(timezone="UTC")) -> dt.int64:  # type: ignore[valid-type]
    """Microseconds since 1970-01-01 UTC."""


@ibis.udf.scalar.builtin(name="utc_of_clock")
def from_zone(zone: str, local: dt.int64) -> dt.int64:
    """Microseconds UTC when clocks of `zone` show these, by the rule of `Zone` where they show them twice or never."""


@ibis.udf.scalar.builtin(name="clock_of_utc")
def to_zone(zone: str, moment: dt.int64) -> dt.int64:
    """What clocks of `zone` show, by `Zone.clock`, at microseconds UTC."""


def _by_zone(change: Callable[[Zone, np.ndarray], np.ndarray]) -> Callable[[Any, Any], pa.Array]:
    """A method of `Zone` as DuckDB calls it, with a block of rows: names of the zone and int64 microseconds."""

    def changed(zone: pa.ChunkedArray, moment: pa.ChunkedArray) -> pa.Array:
        known = np.asarray(moment.is_valid())
        found = np.asarray(moment.fill_null(0)).astype(np.int64)
        sane = known & (np.abs(found) < FARTHEST)
        if sane.any():
            found[sane] = change(Zone(zone[0].as_py()), found[sane])
        return pa.array(found, mask=~known)

    return changed


@ibis.udf.scalar.builtin
def try_strptime(text: str, time_format: str) -> dt.Timestamp(timezone=None):  # type: ignore[valid-type]
    """Text as a time, null where it does not fit the format."""


@ibis.udf.scalar.builtin(name="try_strptime")
def try_strptime_zoned(text: str, time_format: str) -> dt.Timestamp(timezone="UTC"):  # type: ignore[valid-type]
    """`try_strptime` of a format that reads a zone."""


@ibis.udf.scalar.builtin
def make_timestamp(micros: dt.int64) -> dt.Timestamp(timezone=None):  # type: ignore[valid-type]
    """The time so many microseconds after 1970-01-01."""


@dataclass(frozen=True)
class Source:
    """A table as an engine sees it: its columns are c0, c1, …, so that no user's name meets one of ours.

    `text`: every value came as text of a file without types, so ids that look like integers are integers.
    """

    table: ir.Table
    names: tuple[str, ...]  # the users' names of the columns, in order
    text: bool
    what: str  # for messages
    rejected: pa.Table | None = None  # rows of a CSV with too few or too many values, as text in a column `row`

    def own(self, name: str) -> str:
        """The table's name of a user's column."""
        return f"c{self.names.index(name)}"

    def __getitem__(self, name: str) -> ir.Column:
        return self.table[self.own(name)]


def own_names(count: int) -> list[str]:
    return [f"c{position}" for position in range(count)]


def named(source: Source, columns: Sequence[str] | None) -> Source:
    """The source with its columns named so, in order; None leaves the names that it has."""
    if columns is None:
        return source
    if len(columns) != len(source.names):
        raise UserError(
            f"data.columns must name every column of {source.what}: it has {len(source.names)}, got {len(columns)} "
            "names"
        )
    return replace(source, names=tuple(columns))


class DuckDB:
    """DuckDB under Ibis: out of core within `memory_limit`, spilling into `folder`."""

    def __init__(self, folder: Path, memory_limit: str):
        self.backend = ibis.duckdb.connect(
            memory_limit=memory_limit, temp_directory=str(folder), preserve_insertion_order=False
        )
        self.backend.raw_sql("SET TimeZone = 'UTC'")  # not the machine's
        for name, function in (("utc_of_clock", _by_zone(Zone.utc)), ("clock_of_utc", _by_zone(Zone.clock))):
            self.backend.con.create_function(name, function, ["VARCHAR", "BIGINT"], "BIGINT", type="arrow")
        self.folder = folder
        self.backend.raw_sql("SET streaming_buffer_size = '64MB'")  # DuckDB works on while what it gave is written
        self.count = 0

    def close(self) -> None:
        self.backend.disconnect()

    def name(self) -> str:
        self.count += 1
        return f"held_{self.count}"

    def hold(self, expr: ir.Table | pa.Table) -> ir.Table:
        """A table computed now and kept (in memory, or spilled), so that later passes do not compute it again."""
        return self.backend.create_table(self.name(), expr, temp=True)

    def instead(self, held: ir.Table, expr: ir.Table) -> ir.Table:
        """What is worked out of a held table, kept in its place."""
        table = self.hold(expr)
        name = held.get_name()
        found = "SELECT count(*) FROM duckdb_tables() WHERE table_name = ?"
        if self.backend.con.execute(found, [name]).fetchall()[0][0]:  # a view of Arrow's stays
            self.backend.con.execute(f"DROP TABLE {name}")
        return table

    def named(self, expr: ir.Table) -> ir.Table:
        """The same expression under a name: what builds on it is short, so that Ibis compiles it in no time."""
        return self.backend.create_view(self.name(), expr)

    def view(self, table: pa.Table) -> ir.Table:
        """An Arrow table under a name, not copied."""
        name = self.name()
        self.backend.con.register(name, table)
        return self.backend.table(name)

    def fetch(self, expr: ir.Table) -> pa.Table:
        return self.backend.to_pyarrow(expr)

    def stream(self, expr: ir.Table) -> Iterator[pa.RecordBatch]:
        """Record batches of a result that need not fit in memory."""
        yield from self.backend.raw_sql(self.backend.compile(expr)).to_arrow_reader(BATCH_ROWS)


def open_engine(name: str, folder: Path, memory_limit: str) -> Any:
    """The engine called `name`; ValueError names the extra where it is not installed."""
    if name == "spark":
        raise UserError("data.engine=spark is not available in this version: use data.engine=duckdb")
    return DuckDB(folder, memory_limit)
