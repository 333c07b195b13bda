"""Sources: where logs and tables come from (files, databases, frames, pip packages) and how an engine reads them."""

from __future__ import annotations

import datetime
import hashlib
import io
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import ibis
import ibis.expr.types as ir
import pandas as pd
import pyarrow as pa

from clm_dl.data.ids import written
from clm_dl.data.log.files import find_files
from clm_dl.data.log.interchange import ATOMIC_SUFFIXES
from clm_dl.data.log.roles import Join, Log
from clm_dl.data.text import inner_suffix
from clm_dl.errors import MissingExtra, MissingFile, UserError, nearest
from clm_dl.masking import STARS, masked

DATABASES = ("postgres://", "postgresql://", "sqlite://", "mysql://", "mssql://", "snowflake://", "bigquery://")
TEXT_SUFFIXES = {".csv": "csv", ".tsv": "csv", ".txt": "text", ".inter": "csv"}
UNREAD = {  # suffix: (what it is, how it becomes readable)
    **dict.fromkeys((".xlsx", ".xls", ".xlsm", ".ods"), ("a spreadsheet", "pd.read_excel")),
    **dict.fromkeys((".json", ".jsonl", ".ndjson"), ("JSON", "pd.read_json")),
    **dict.fromkeys((".feather", ".arrow", ".ipc"), ("a Feather file", "pd.read_feather")),
    **dict.fromkeys((".pkl", ".pickle"), ("a pickle", "pd.read_pickle")),
    **dict.fromkeys((".sas7bdat", ".xpt"), ("a SAS file", "pd.read_sas")),
    **dict.fromkeys((".dta",), ("a Stata file", "pd.read_stata")),
    **dict.fromkeys((".sav",), ("an SPSS file", "pd.read_spss")),
    **dict.fromkeys((".orc",), ("an ORC file", "pd.read_orc")),
    **dict.fromkeys((".h5", ".hdf5", ".hdf"), ("an HDF file", "pd.read_hdf")),
}


def describe(source: Log | Join) -> str:
    return (
        masked(source.path) if source.path is not None else f"the {type(source.frame).__module__.split('.')[0]} table"
    )


def is_database(path: str | None) -> bool:
    return path is not None and path.startswith(DATABASES)


def file_format(file: Path, given: str | None, separator: str | None = None) -> str:
    """`parquet`, `csv`, `txt` (runs of blanks), `text` (either), `sequences` or `atomic`, from `format`, `separator` or
    the suffix.
    """
    if given == "atomic":  # of RecBole's files; a log in another format has plain names
        given = "atomic" if file.suffix in ATOMIC_SUFFIXES else None
    if given is not None:
        formats = {
            "parquet": "parquet",
            "csv": "csv",
            "tsv": "csv",
            "txt": "txt",
            "sequences": "sequences",
            "atomic": "atomic",
        }
        if given not in formats:
            raise UserError(
                f"data.format must be null or one of {', '.join(formats)}, got {given!r}{nearest(given, formats)}"
            )
        return formats[given]
    if separator is not None:
        return "csv"
    suffix = inner_suffix(file)
    if suffix in (".parquet", ".pq"):
        return "parquet"
    if suffix in UNREAD:
        what, reader = UNREAD[suffix]
        raise UserError(
            f"{file} is {what}, which is not read: give CSV or Parquet, or a pandas table "
            f"({reader}({file.name!r}).to_parquet('{file.stem}.parquet') makes one of it)"
        )
    if suffix not in TEXT_SUFFIXES and file.suffix.lower() != ".zip":  # a .zip is named after anything
        raise UserError(
            f"cannot tell the format of {file} by its suffix: set data.separator, or data.format to csv, tsv, txt or "
            "parquet"
        )
    return TEXT_SUFFIXES.get(suffix, "csv")


def to_arrow(frame: Any) -> pa.Table:
    """A pandas, Polars or Arrow table as Arrow; columns of mixed types become text."""
    if isinstance(frame, pa.Table):
        table = frame
    elif isinstance(frame, pd.DataFrame):
        columns = [_arrow_column(frame.iloc[:, position]) for position in range(len(frame.columns))]
        table = pa.Table.from_arrays(columns, names=[str(name) for name in frame.columns])
    elif hasattr(frame, "to_arrow"):
        table = frame.to_arrow()
    else:
        raise UserError(f"data.frame must be a pandas, Polars or Arrow table, got {type(frame).__name__}")
    kinds = [
        f.type.value_type if pa.types.is_dictionary(f.type) else pa.string() if pa.types.is_null(f.type) else f.type
        for f in table.schema
    ]
    arrays = [
        column if column.type == kind else column.cast(kind) for column, kind in zip(table.columns, kinds, strict=True)
    ]
    return pa.Table.from_arrays(arrays, names=table.column_names)


def _arrow_column(column: pd.Series) -> pa.Array | pa.ChunkedArray:
    """A pandas column in Arrow: a period as its start, mixed types as text, a whole float among them as that number."""
    if isinstance(column.dtype, pd.PeriodDtype):
        column = column.dt.to_timestamp()
    if isinstance(column.dtype, pd.CategoricalDtype) and isinstance(column.cat.categories, pd.IntervalIndex):
        column = column.astype(object)  # of pandas.cut
    if column.dtype == object and pd.api.types.infer_dtype(column) in ("date", "datetime", "mixed"):
        kinds = {_time_kind(value) for value in column if isinstance(value, datetime.date) and value is not pd.NaT}
        if len(kinds) > 1:  # Arrow would give all of them the kind of the first
            return pa.Array.from_pandas(column.map(_as_text, na_action="ignore").astype(object))
    try:
        return pa.Array.from_pandas(column)
    except (pa.ArrowInvalid, pa.ArrowTypeError, pa.ArrowNotImplementedError):
        return pa.Array.from_pandas(column.map(written, na_action="ignore").astype(object))


def _time_kind(value: datetime.date) -> str:
    """A date, a time of some zone, or a time of a zone that it names."""
    if not isinstance(value, datetime.datetime):
        return "date"
    return "plain" if value.tzinfo is None else "zoned"


def _as_text(value: Any) -> str | None:
    return value.isoformat() if isinstance(value, datetime.date) else written(value)


def source_state(source: Log | Join, data_dir: str) -> list[Any]:
    """What tells one state of a source from another: size and times of files, content of frames, rows of a table.

    The time of a file's last change of any kind (ctime) counts, too: who writes it anew may set its mtime back.
    """
    if source.frame is not None:
        digest = hashlib.blake2b(digest_size=16)

        class Sink(io.RawIOBase):
            def writable(self) -> bool:
                return True

            def write(self, block: Any) -> int:
                digest.update(block)
                return len(block)

        table = to_arrow(source.frame)
        with pa.PythonFile(Sink(), mode="w") as sink, pa.ipc.new_stream(sink, table.schema) as writer:
            writer.write_table(table.combine_chunks())
        return [digest.hexdigest()]
    assert source.path is not None
    if "${" in source.path or f"{STARS}@" in source.path or source.path.endswith(f"={STARS}"):
        raise UserError(
            f"{source.path} holds what a run does not keep, a secret or a name of the environment: give the log itself "
            "with input=…, or leave passwords to the database's own settings (PGPASSWORD, a password file)"
        )
    if is_database(source.path) and not source.path.startswith("sqlite://"):
        return [int(database_table(source).count().execute())]
    path = sqlite_file(source.path) if is_database(source.path) else source.path
    files = find_files(path, data_dir)
    if is_database(source.path):  # SQLite keeps the newest rows beside the database until it takes them over
        beside = Path(f"{path}-wal")
        files += [beside] if beside.is_file() and beside.stat().st_size else []
    stats = [(file, file.stat()) for file in files]
    return [[str(file.resolve()), stat.st_size, stat.st_mtime_ns, stat.st_ctime_ns] for file, stat in stats]


def database_table(source: Log | Join) -> ir.Table:
    """A database's table through its own Ibis backend."""
    assert source.path is not None
    if not source.table:
        raise UserError(f"data.table is not set: name the table of {source.path} that holds the log")
    if source.path.startswith("sqlite://"):
        file = sqlite_file(source.path)
        if not Path(file).is_file():
            raise MissingFile(f"no database file at {file}: check data.path")
        backend = ibis.sqlite.connect(file)
    else:
        try:
            backend = ibis.connect(source.path)
        except ImportError as error:
            backend = source.path.split(":")[0].replace("postgresql", "postgres")
            raise MissingExtra(
                f"{backend} needs another package: pip install 'ibis-framework[{backend}]' "
                f"({str(error).splitlines()[0].rstrip('.')})"
            ) from error
        except Exception as error:  # every database has its own
            said = str(error).splitlines()[0] if str(error) else type(error).__name__
            raise UserError(f"cannot open {source.path}: {said}") from None  # the cause may tell the password
    names = backend.list_tables()
    if source.table not in names:
        raise UserError(
            f"no table {source.table!r} in {source.path}{nearest(source.table, names)}; it has "
            f"{', '.join(names) or 'none'}"
        )
    return backend.table(source.table)


def read_blank_separated(content: io.BytesIO | Path, *, header: bool = True) -> pa.Table:
    """A text file whose columns are divided by runs of blanks, every value as text; read into memory."""
    try:
        frame = pd.read_csv(
            content, sep=r"\s+", header=0 if header else None, dtype=str, keep_default_na=False, na_values=[""]
        )
    except pd.errors.EmptyDataError as error:
        raise UserError("the log is empty: give one with a header and at least one event") from error
    except (pd.errors.ParserError, UnicodeDecodeError) as error:
        raise UserError(f"cannot read the text table: {str(error).splitlines()[0]}") from error
    return to_arrow(frame)


def sqlite_file(url: str) -> str:
    """The file of sqlite:///relative.db or sqlite:////absolute.db, SQLAlchemy's forms."""
    return url.removeprefix("sqlite://").removeprefix("/")


def read_sqlite(table: ir.Table, rows: int) -> pa.RecordBatchReader:
    """An SQLite table in batches, every value as text: the types that SQLite declares bind no value."""
    schema = pa.schema([(name, pa.string()) for name in table.columns])
    backend = table.get_backend()
    query = backend.compile(table)

    def batches() -> Iterator[pa.RecordBatch]:
        cursor = backend.raw_sql(query)
        while block := cursor.fetchmany(rows):
            columns = [[_of_sqlite(value) for value in column] for column in zip(*block, strict=True)]
            yield pa.RecordBatch.from_arrays([pa.array(column, pa.string()) for column in columns], schema=schema)
        cursor.close()

    return pa.RecordBatchReader.from_batches(schema, batches())


def _of_sqlite(value: str | float | bytes | None) -> str | None:
    """A value as text; numbers whole, where SQLite's own cast keeps 15 digits of them."""
    if value is None or isinstance(value, str):
        return value
    return value.decode(errors="backslashreplace") if isinstance(value, bytes) else repr(value)
