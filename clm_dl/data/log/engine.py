"""Engines: the one place that knows DuckDB from another Ibis backend: open, read, hold, stream."""

from __future__ import annotations

import io
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import ibis
import ibis.expr.datatypes as dt
import ibis.expr.types as ir
import pyarrow as pa

from clm_dl.data.log import interchange, sources
from clm_dl.data.log.roles import Join, Log
from clm_dl.errors import UserError

BATCH_ROWS = 1 << 17


@ibis.udf.scalar.builtin
def epoch_us(moment: dt.Timestamp(timezone=None)) -> dt.int64:  # type: ignore[valid-type]
    """Microseconds since 1970-01-01 UTC."""


@ibis.udf.scalar.builtin(name="epoch_us")
def epoch_us_zoned(moment: dt.Timestamp(timezone="UTC")) -> dt.int64:  # type: ignore[valid-type]
    """Microseconds since 1970-01-01 UTC."""


@ibis.udf.scalar.builtin(name="timezone")
def from_zone(zone: str, moment: dt.Timestamp(timezone=None)) -> dt.Timestamp(timezone="UTC"):  # type: ignore[valid-type]
    """The moment when clocks of `zone` show this time."""


@ibis.udf.scalar.builtin
def try_strptime(text: str, time_format: str) -> dt.Timestamp(timezone=None):  # type: ignore[valid-type]
    """Text as a time, null where it does not fit the format."""


@dataclass(frozen=True)
class Source:
    """A table as an engine sees it. `text`: every value came as text, so ids that look like integers are integers."""

    table: ir.Table
    text: bool
    what: str  # for messages
    rejected: pa.Table | None = None  # rows of a CSV with too few or too many values, as text in a column `row`


def named(source: Source, columns: Sequence[str] | None) -> Source:
    """The source with its columns named so, in order; None leaves the names that it has."""
    if columns is None:
        return source
    have = source.table.columns
    if len(columns) != len(have):
        raise UserError(
            f"data.columns must name every column of {source.what}: it has {len(have)}, got {len(columns)} names"
        )
    return replace(source, table=source.table.rename(dict(zip(columns, have, strict=True))))


class DuckDB:
    """DuckDB under Ibis: out of core within `memory_limit`, spilling into `folder`."""

    def __init__(self, folder: Path, memory_limit: str):
        self.backend = ibis.duckdb.connect(
            memory_limit=memory_limit, temp_directory=str(folder), preserve_insertion_order=False
        )
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

    def read(self, source: Log | Join, data_dir: str, *, keep_order: bool = False) -> Source:
        """A log or table with all its columns as they are. Text formats are read once and held."""
        self.backend.raw_sql(f"SET preserve_insertion_order = {str(keep_order).lower()}")
        what = sources.describe(source)
        if source.frame is not None:
            return Source(self.view(sources.to_arrow(source.frame)), False, what)
        assert source.path is not None
        if sources.is_database(source.path):
            return self._read_database(source, what)
        files = sources.find_files(source.path, data_dir)
        separator, columns = (source.separator, source.columns) if isinstance(source, Log) else (None, None)
        if source.path in sources.WHEELS:
            content = sources.member_text(source.path, files[0])
            if source.format == "atomic":
                member = self.folder / self.name()
                member.write_bytes(content)
                return self._read_atomic([str(member)], what)
            separated = io.BytesIO(content if b"\t" not in content[:200] else content.replace(b"\t", b" "))
            return Source(self.view(sources.read_blank_separated(separated)), True, what)
        kind = sources.file_format(files[0], source.format, separator)
        if columns is not None and kind not in ("csv", "txt"):
            raise UserError(
                f"data.columns names the columns of a text file without a header, and {what} is {kind}: leave it out"
            )
        if kind == "sequences":
            events, rejected = interchange.read_sequences(files)
            return Source(self.view(events), True, what, rejected if rejected.num_rows else None)
        if kind == "atomic":
            return self._read_atomic([str(file) for file in files], what)
        if kind == "parquet":
            return Source(
                self.backend.read_parquet([str(file) for file in files], table_name=self.name(), union_by_name=True),
                False,
                what,
            )
        if kind == "txt":
            tables = [sources.read_blank_separated(file, header=columns is None) for file in files]
            return named(Source(self.view(pa.concat_tables(tables, promote_options="default")), True, what), columns)
        given = {} if separator is None else {"delim": separator}
        return named(self._read_csv([str(file) for file in files], what, header=columns is None, **given), columns)

    def _read_atomic(self, files: list[str], what: str) -> Source:
        """RecBole's tab-separated text, its columns named without their types."""
        source = self._read_csv(files, what, delim="\t", quote="")
        return named(source, tuple(interchange.atomic_names(source.table.columns, what)))

    def _read_csv(self, files: list[str], what: str, *, header: bool = True, **options: str) -> Source:
        if all(not Path(file).stat().st_size for file in files):
            raise UserError(f"{what} is empty: give a log with a header and at least one event")
        rejects = self.name()
        lines = self.backend.read_csv(
            files,
            table_name=self.name(),
            header=header,
            all_varchar=True,
            store_rejects=True,
            rejects_table=rejects,
            rejects_scan=f"{rejects}_scan",
            **options,
        )
        held = self.hold(lines)
        rejected = self.backend.con.sql(
            f"SELECT DISTINCT file_id, line, csv_line AS row FROM {rejects}"
        ).to_arrow_table()
        return Source(held, True, what, rejected.select(["row"]) if rejected.num_rows else None)

    def _read_database(self, source: Log | Join, what: str) -> Source:
        table = sources.database_table(source)
        text = str(source.path).startswith("sqlite://")
        reader = sources.read_sqlite(table, BATCH_ROWS) if text else table.to_pyarrow_batches(chunk_size=BATCH_ROWS)
        name, block = self.name(), self.name()
        self.backend.create_table(name, schema=ibis.Schema.from_pyarrow(reader.schema), temp=True)
        for batch in reader:  # here, not in DuckDB's threads: a database's connection belongs to one thread
            self.backend.con.register(block, pa.Table.from_batches([batch]))
            self.backend.con.execute(f"INSERT INTO {name} SELECT * FROM {block}")
            self.backend.con.unregister(block)
        table.get_backend().disconnect()
        return Source(self.backend.table(name), text, what)


def open_engine(name: str, folder: Path, memory_limit: str) -> Any:
    """The engine called `name`; ValueError names the extra where it is not installed."""
    if name == "spark":
        raise UserError("data.engine=spark is not available in this version: use data.engine=duckdb")
    return DuckDB(folder, memory_limit)
