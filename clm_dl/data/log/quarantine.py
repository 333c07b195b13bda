"""Quarantine: rows of a log that cannot be kept go to quarantine.parquet beside the store, each with its reason."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import ibis
import ibis.expr.types as ir
import pyarrow as pa
import pyarrow.parquet as pq

from clm_dl.data.log.engine import DuckDB, Source
from clm_dl.data.log.roles import Log

WRONG_SHAPE = "row of the wrong shape"


def write_quarantine(
    folder: Path,
    engine: DuckDB,
    logs: Sequence[Log],
    typed: list[ir.Table],
    raws: list[Source],
    reasons: list[str],
    some: bool,
) -> None:
    """Write the rows that were not kept, every value as text, with `source` and `reason` (its place in `reasons`)."""
    names = list(
        dict.fromkeys(n for source in raws for n in source.table.columns if n not in ("file_row", "source", "reason"))
    )
    extra = ["row"] if any(source.rejected is not None for source in raws) and "row" not in names else []
    schema = pa.schema([(name, pa.string()) for name in [*names, *extra, "source", "reason"]])
    with pq.ParquetWriter(folder / "quarantine.parquet", schema) as writer:
        if not some:
            return
        for log, table, source in zip(logs, typed, raws, strict=True):
            have = set(source.table.columns)
            texts = [
                (table[f"raw:{n}"].cast("string") if n in have else ibis.null("string")).name(n)
                for n in [*names, *extra]
            ]
            bad = table.filter(table.reason.notnull()).select(
                *texts, ibis.literal(log.name).name("source"), table.reason
            )
            for batch in engine.stream(bad):
                columns = [*batch.columns[:-1], pa.array(reasons).take(batch.columns[-1])]
                writer.write_batch(
                    pa.RecordBatch.from_arrays([column.cast(pa.string()) for column in columns], schema=schema)
                )
            if source.rejected is not None:
                rows = source.rejected.num_rows
                values = {
                    "row": source.rejected["row"],
                    "source": pa.repeat(log.name, rows),
                    "reason": pa.repeat(WRONG_SHAPE, rows),
                }
                writer.write_table(
                    pa.table({n: values.get(n, pa.nulls(rows, pa.string())) for n in schema.names}, schema=schema)
                )
