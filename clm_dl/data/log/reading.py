"""Reading: files, databases and frames as tables of an engine, every column as it is, text files once and held."""

from __future__ import annotations

import io
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import duckdb
import ibis
import ibis.expr.types as ir
import pyarrow as pa

from clm_dl.data import text
from clm_dl.data.log import interchange, sources
from clm_dl.data.log.engine import BATCH_ROWS, DuckDB, Source, named, own_names
from clm_dl.data.log.files import WHEELS, find_files, member_text
from clm_dl.data.log.parquet import read_files
from clm_dl.data.log.roles import Join, Log
from clm_dl.errors import UserError


def read(engine: DuckDB, source: Log | Join, data_dir: str, say: Callable[[str], None]) -> Source:
    """A log or table with all its columns; `say` is told what was found out about its files."""
    what = sources.describe(source)
    if source.frame is not None:
        return _arrow(engine, sources.to_arrow(source.frame), False, what)
    assert source.path is not None
    if sources.is_database(source.path):
        return _read_database(engine, source, what)
    found = find_files(source.path, data_dir, say)
    if source.path in WHEELS:
        content = member_text(source.path, found[0])
        if source.format == "atomic":
            member = engine.folder / engine.name()
            member.write_bytes(content)
            return _read_atomic(engine, [member], what)
        separated = io.BytesIO(content if b"\t" not in content[:200] else content.replace(b"\t", b" "))
        return _arrow(engine, sources.read_blank_separated(separated), True, what)
    separator, columns, encoding = (
        (source.separator, source.columns, source.encoding) if isinstance(source, Log) else (None, None, None)
    )
    if separator == "":
        raise UserError(
            "data.separator must be the mark between two columns such as ';', or null to find it out, got ''"
        )
    kind = sources.file_format(found[0], source.format, separator)
    files = [text.decompressed(file, engine.folder) for file in found]
    if columns is not None and kind not in ("csv", "txt", "text"):
        raise UserError(
            f"data.columns names the columns of a text file without a header, and {what} is {kind}: leave it out"
        )
    if kind == "parquet":
        table, names = read_files(engine, files, what)
        return Source(_numbered(table), names, False, what)
    texts = [text.in_utf8(file, engine.folder, encoding, say) for file in files]
    if kind == "sequences":
        events, rejected = interchange.read_sequences(texts, what)
        return replace(_arrow(engine, events, True, what), rejected=rejected if rejected.num_rows else None)
    if kind == "atomic":
        return _read_atomic(engine, texts, what)
    if kind == "txt" or (kind == "text" and not text.has_separator(texts[0])):
        tables = [sources.read_blank_separated(file, header=columns is None) for file in texts]
        return named(_arrow(engine, pa.concat_tables(tables, promote_options="default"), True, what), columns)
    if all(not file.stat().st_size for file in texts):
        raise UserError(f"{what} is empty: give a log with a header and at least one event")
    given: dict[str, Any]
    if named_first := text.excel_separator(texts[0]):
        given = {"delim": separator or named_first, "quote": '"', "skip": 1}
    else:
        given = {"delim": separator} if separator is not None else _layout(engine, texts[0], say)
    lines, wrong = _read_csv(engine, texts, what, header=columns is None, **given)
    if wrong and encoding is None:  # further down than a look at the start could see
        again = [text.in_utf8(file, engine.folder, None, say, whole=True) for file in files]
        if again != texts:
            lines, _ = _read_csv(engine, again, what, header=columns is None, **given)
    return named(lines, columns)


def _arrow(engine: DuckDB, table: pa.Table, untyped: bool, what: str) -> Source:
    names = tuple(table.column_names)
    return Source(engine.view(table.rename_columns(own_names(len(names)))), names, untyped, what)


def _numbered(table: ir.Table) -> ir.Table:
    """The table with its columns called c0, c1, …"""
    return table.rename(dict(zip(own_names(len(table.columns)), table.columns, strict=True)))


def _read_atomic(engine: DuckDB, files: list[Path], what: str) -> Source:
    """RecBole's tab-separated text, its columns named without their types."""
    source, _ = _read_csv(engine, files, what, delim="\t", quote="")
    return named(source, tuple(interchange.atomic_names(source.names, what)))


def _layout(engine: DuckDB, file: Path, say: Callable[[str], None]) -> dict[str, Any]:
    """Separator, quotes and lines above the header of a text file, as DuckDB finds them."""
    try:
        found = engine.backend.con.execute(
            "SELECT Delimiter, Quote, SkipRows FROM sniff_csv(?, all_varchar = true, comment = '', "
            "ignore_errors = true)",
            [text.literal(file)],
        ).fetchone()
    except duckdb.Error:
        return {}
    if found is None:
        return {}
    delim, quote, skip = found
    if skip:
        say(f"{file.name}: {skip} lines above the header are no part of the table")
    if delim not in (",", "\t"):
        say(f"{file.name} is divided by {delim!r} (data.separator)")
    return {"delim": delim, "quote": "'" if quote == "'" else '"', "skip": skip}


def _read_csv(
    engine: DuckDB, files: list[Path], what: str, *, header: bool = True, **options: Any
) -> tuple[Source, bool]:
    """Text files as a table of text, and whether bytes of another encoding were met."""
    quote = options.get("quote", '"')
    heads = [
        text.header(file, options["delim"], quote, options.get("skip", 0)) if header and "delim" in options else []
        for file in files
    ]
    if any(head != heads[0] for head in heads):
        raise UserError(
            f"{what} has files with different headers ({', '.join(heads[0])} and "
            f"{', '.join(next(head for head in heads if head != heads[0]))}): give each as one of data.sources"
        )
    rejects = engine.name()
    with _quotes_said(files, what, options.get("delim", ",")):
        lines = engine.backend.read_csv(
            [text.literal(file) for file in files],
            table_name=engine.name(),
            header=header,
            all_varchar=True,
            comment="",
            store_rejects=True,
            rejects_table=rejects,
            rejects_scan=f"{rejects}_scan",
            **options,
        )
        held = engine.hold(_numbered(lines))
    names = tuple(lines.columns)
    if len(heads[0]) == len(names):  # DuckDB renames what is there twice
        folded = [name.lower() for name in heads[0]]
        names = tuple(own if folded.count(own.lower()) > 1 else name for own, name in zip(heads[0], names, strict=True))
    con = engine.backend.con
    rejected = con.sql(f"SELECT DISTINCT file_id, line, csv_line AS row FROM {rejects}").to_arrow_table()
    wrong = con.sql(f"SELECT count(*) FROM {rejects} WHERE error_type = 'INVALID ENCODING'").fetchall()[0][0] > 0
    return Source(held, names, True, what, rejected.select(["row"]) if rejected.num_rows else None), wrong


@contextmanager
def _quotes_said(files: list[Path], what: str, separator: str) -> Iterator[None]:
    """One sentence that names the line where DuckDB finds no layout because of a quote."""
    try:
        yield
    except duckdb.InvalidInputException as error:
        for file in files:
            if found := text.open_quote(file, separator):
                raise UserError(
                    f"{what}: a quote ends before its cell does in line {found[0]}, {found[1][:80]!r}: double the "
                    'quotes inside a cell ("TV 40"" black"), or leave them out'
                ) from error
        raise


def _read_database(engine: DuckDB, source: Log | Join, what: str) -> Source:
    table = sources.database_table(source)
    untyped = str(source.path).startswith("sqlite://")
    reader = sources.read_sqlite(table, BATCH_ROWS) if untyped else table.to_pyarrow_batches(chunk_size=BATCH_ROWS)
    name, block, names = engine.name(), engine.name(), tuple(reader.schema.names)
    own, con = own_names(len(names)), engine.backend.con
    schema = pa.schema([field.with_name(new) for field, new in zip(reader.schema, own, strict=True)])
    engine.backend.create_table(name, schema=ibis.Schema.from_pyarrow(schema), temp=True)
    for batch in reader:  # here, not in DuckDB's threads: a database's connection belongs to one thread
        con.register(block, pa.Table.from_batches([batch]).rename_columns(own))
        con.execute(f"INSERT INTO {name} SELECT * FROM {block}")
        con.unregister(block)
    table.get_backend().disconnect()
    return Source(engine.backend.table(name), names, untyped, what)
