"""Nobody: rows whose customer is a blank or a word for missing."""

from __future__ import annotations

from collections.abc import Sequence

import ibis
import ibis.expr.types as ir
import pandas as pd
import pyarrow as pa

from clm_dl.data import ids
from clm_dl.data.log.engine import DuckDB


def mark_nobody(
    engine: DuckDB, tables: Sequence[ir.Table], groups: pd.DataFrame, reason: int
) -> tuple[list[ir.Table], pd.DataFrame]:
    """Give such rows this `reason`, in the tables and in `groups`, the rows of each customer and reason, among whose
    ids they are looked for.
    """
    keys = groups["customer"]
    if pd.api.types.is_integer_dtype(keys):
        return list(tables), groups
    text = pa.array(keys).cast(pa.string())
    nobody = ids.is_missing(text).to_numpy(zero_copy_only=False) & keys.notna().to_numpy(dtype=bool)
    if not nobody.any():
        return list(tables), groups
    words = keys[nobody].unique().tolist()
    marked = [
        t.mutate(reason=ibis.ifelse(t.customer.cast("string").isin(words), ibis.literal(reason, "int16"), t.reason))
        for t in tables
    ]
    return [engine.named(table) for table in marked], groups.assign(reason=groups["reason"].mask(nobody, reason))
