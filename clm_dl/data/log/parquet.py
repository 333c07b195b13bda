"""Parquet files as one table, where a column of one name may be of another kind in each of them."""

from __future__ import annotations

from pathlib import Path

import ibis
import ibis.expr.types as ir
import pyarrow as pa
import pyarrow.parquet as pq

from clm_dl.data.log import parse
from clm_dl.data.log.engine import DuckDB
from clm_dl.data.text import literal
from clm_dl.errors import UserError

EXACT = 2**53  # up to it, a float64 tells whole numbers apart


def read_files(engine: DuckDB, files: list[Path], what: str) -> tuple[ir.Table, tuple[str, ...]]:
    """The files one below the other, and the names of their columns.

    A column that is of several kinds is text, each value as its own file means it: joined by DuckDB, times without a
    zone would become UTC's beside others, and integers lose digits beside floats.
    """
    table = engine.backend.read_parquet([literal(file) for file in files], table_name=engine.name(), union_by_name=True)
    schemas = [pq.read_schema(file) for file in files]
    twice = any(len({name.lower() for name in schema.names}) < len(schema.names) for schema in schemas)
    if twice and len(files) > 1:  # DuckDB has renamed them, in each file anew
        raise UserError(f"{what} has files with two columns of one name: rename one of them")
    if twice:
        return table, tuple(schemas[0].names)
    if uneven := _uneven(schemas):
        table = _union(engine, files, table, uneven)
    return table, tuple(table.columns)


def _uneven(schemas: list[pa.Schema]) -> dict[str, set[str]]:
    """Columns whose type in one file is of another kind than in another, in lower case, with those kinds."""
    found: dict[str, set[str]] = {}
    for schema in schemas:
        for field in schema:
            if not pa.types.is_null(field.type):
                found.setdefault(field.name.lower(), set()).add(_kind(field.type))
    return {name: kinds for name, kinds in found.items() if len(kinds) > 1}


def _kind(kind: pa.DataType) -> str:
    kind = kind.value_type if pa.types.is_dictionary(kind) else kind
    if pa.types.is_integer(kind) or pa.types.is_decimal(kind):
        return "exact"
    if pa.types.is_floating(kind):
        return "float"
    if pa.types.is_timestamp(kind):
        return "time" if kind.tz is None else "time of a zone"
    if pa.types.is_date(kind):
        return "time"
    return "text" if pa.types.is_string(kind) or pa.types.is_large_string(kind) else str(kind)


def _union(engine: DuckDB, files: list[Path], joined: ir.Table, uneven: dict[str, set[str]]) -> ir.Table:
    tables = [engine.backend.read_parquet(literal(file), table_name=engine.name()) for file in files]
    own = [{name.lower(): name for name in table.columns} for table in tables]
    as_text = set(uneven)
    for name in (name for name, kinds in uneven.items() if kinds == {"exact", "float"}):
        columns = [table[names[name]] for table, names in zip(tables, own, strict=True) if name in names]
        far = [column.as_table().aggregate(far=(~column.between(-EXACT, EXACT)).any()) for column in columns]
        if not any(engine.fetch(one)["far"][0].as_py() for one in far):
            as_text.discard(name)
    parts = []
    for table, names in zip(tables, own, strict=True):
        chosen: dict[str, ir.Value] = {}
        for name in joined.columns:
            kind = "string" if name.lower() in as_text else joined[name].type()
            if name.lower() not in names:
                chosen[name] = ibis.null(kind)
            else:
                column = table[names[name.lower()]]
                chosen[name] = (parse.ids(column) if kind == "string" else column).cast(kind)
        parts.append(table.select(**chosen))
    return ibis.union(*parts)
