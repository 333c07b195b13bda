"""Quarantine: rows of a log that cannot be kept go to quarantine.parquet beside the store, each with its reason."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import count
from pathlib import Path

import ibis
import ibis.expr.types as ir
import pyarrow as pa
import pyarrow.parquet as pq

from clm_dl.data.log.engine import DuckDB, Source
from clm_dl.data.log.roles import Log

WRONG_SHAPE = "row of the wrong shape"
LONGEST_EXAMPLE = 40  # letters


def write_quarantine(
    folder: Path,
    engine: DuckDB,
    logs: Sequence[Log],
    typed: list[ir.Table],
    raws: list[Source],
    reasons: list[str],
    some: bool,
) -> None:
    """Write the rows that were not kept, every value as text, with `source` and `reason` (its place in `reasons`).

    A column of the log that is called so, or `row`, or twice, has a number behind its name.
    """
    columns = [_distinct_names(source.names) for source in raws]
    names = list(dict.fromkeys(name for found in columns for name in found))
    extra = ["row"] if any(source.rejected is not None for source in raws) else []
    schema = pa.schema([(name, pa.string()) for name in [*names, *extra, "source", "reason"]])
    with pq.ParquetWriter(folder / "quarantine.parquet", schema) as writer:
        if not some:
            return
        for log, table, source, found in zip(logs, typed, raws, columns, strict=True):
            place = {name: position for position, name in enumerate(found)}
            texts = [
                (table[f"c{place[name]}"].cast("string") if name in place else ibis.null("string")).name(f"v{position}")
                for position, name in enumerate([*names, *extra])
            ]
            bad = table.filter(table.reason.notnull()).select(
                *texts, ibis.literal(log.name).name("source"), table.reason
            )
            for batch in engine.stream(bad):
                values = [*batch.columns[:-1], pa.array(reasons).take(batch.columns[-1])]
                writer.write_batch(
                    pa.RecordBatch.from_arrays([column.cast(pa.string()) for column in values], schema=schema)
                )
            if source.rejected is not None:
                rows = source.rejected.num_rows
                told = {
                    "row": source.rejected["row"],
                    "source": pa.repeat(log.name, rows),
                    "reason": pa.repeat(WRONG_SHAPE, rows),
                }
                writer.write_table(
                    pa.table({n: told.get(n, pa.nulls(rows, pa.string())) for n in schema.names}, schema=schema)
                )


def _distinct_names(names: Sequence[str]) -> list[str]:
    """The names, a number behind those that are there already or are ours."""
    taken, found = {"source", "reason", "row"}, []
    for name in names:
        new = next(new for n in count(1) if (new := name if n == 1 else f"{name}_{n}") not in taken)
        taken.add(new)
        found.append(new)
    return found


def examples(
    engine: DuckDB, logs: Sequence[Log], typed: list[ir.Table], raws: list[Source], reasons: Mapping[str, str]
) -> dict[str, str]:
    """For each reason (→ what of a row it is about) a value that gave it, as the log has it; the greatest, so that it
    is always the same one.
    """
    found: dict[str, str] = {}
    for log, table, source in zip(logs, typed, raws, strict=True):
        columns = {name: column for name, (_, column) in log.fields().items()}
        columns |= {"customer": log.roles["customer"], "time": log.roles["time"]}
        about = {why: columns[what] for why, what in reasons.items() if columns.get(what) in source.names}
        code = {why: position for position, why in enumerate(reasons)}
        values = {
            f"v{code[why]}": ibis.ifelse(
                table.reason == code[why], table[source.own(column)].cast("string"), ibis.null("string")
            ).max()
            for why, column in about.items()
        }
        row = engine.fetch(table.aggregate(**values)).to_pylist()[0]
        for why in about:
            text = row[f"v{code[why]}"]
            if text is not None:
                found.setdefault(why, text if len(text) <= LONGEST_EXAMPLE else f"{text[:LONGEST_EXAMPLE]}…")
    return found
