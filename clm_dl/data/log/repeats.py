"""Repeats: rows of a log that equal another in every column, counted always and dropped on request."""

from __future__ import annotations

import re
from collections.abc import Sequence

import ibis.expr.types as ir
import numpy as np
import pyarrow as pa

from clm_dl.data.log.engine import DuckDB


def distinct(table: ir.Table, *, in_file: bool) -> ir.Table:
    """Each row once; `in_file`: where the file has the first of its like."""
    if not in_file:
        return table.distinct()
    others = [name for name in table.columns if name != "file_row"]
    return table.group_by(others).aggregate(table["file_row"].min().name("file_row"))


def count_repeats(engine: DuckDB, tables: Sequence[ir.Table], moments: np.ndarray, *, moved: bool) -> int:
    """Kept rows that are equal to another in every column of the log; they lie at `moments`, unless the times of rows
    were `moved` to those of their orders.
    """
    if not len(moments):
        return 0
    found, at = 0, engine.view(pa.table({"at": moments}))
    for table in tables:
        if not moved:
            table = table.semi_join(at, [table.time == at["at"]])
        raw = table.select([name for name in table.columns if re.fullmatch("c[0-9]+", name)])
        rows, different = (
            int(engine.fetch(one.aggregate(rows=one.count()))["rows"][0].as_py()) for one in (raw, raw.distinct())
        )
        found += rows - different
    return found
