"""Columns of a table of customers as features: numbers, by the rules by which a log's are found out, or text."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Mapping, Sequence
from contextlib import closing
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa

from clm_dl.data.log.engine import DuckDB, Source, own_names
from clm_dl.data.log.kinds import find_numbers
from clm_dl.data.log.numbers import find_marks, number
from clm_dl.errors import UserError

MEMORY = "1GB"


def features(frame: pd.DataFrame, data: Mapping[str, Any], say: Callable[[str], None]) -> pd.DataFrame:
    """Numbers as float64 with NaN, the rest as text; with `data.numeric` and `data.categorical`, what these name."""
    numeric, categorical = data.get("numeric"), data.get("categorical")
    wanted = [name for name in frame.columns if name in (numeric or ()) or name not in (categorical or ())]
    wanted = wanted if numeric is None else list(numeric)
    found, texts = {}, {}
    for name in wanted:
        if pd.api.types.is_complex_dtype(frame[name]):
            raise UserError(f"column {name!r} of the table holds complex numbers: leave it out by data.exclude")
        if pd.api.types.is_numeric_dtype(frame[name]) and not pd.api.types.is_bool_dtype(frame[name]):
            value = frame[name].astype("Float64").to_numpy(float, na_value=np.nan)
            found[name] = pd.Series(np.where(np.isfinite(value), value, np.nan), index=frame.index)
        else:
            texts[name] = as_text(frame[name])
    found |= _read(texts, [name for name in numeric or () if name in texts], data, say)
    columns = {}
    for name in frame.columns:
        if name in found:
            columns[str(name)] = found[name]
        elif name in (categorical or ()) or categorical is None:
            columns[str(name)] = as_text(frame[name])
    if not columns:
        raise UserError("the table has no column besides customer and label, so there is nothing to learn from")
    return pd.DataFrame(columns)


def as_text(column: pd.Series) -> pd.Series:
    """As stripped text; blank is missing."""
    text = column.astype(object).where(column.notna()).map(lambda value: str(value).strip(), na_action="ignore")
    return text.mask(text == "")


def _read(
    texts: Mapping[Any, pd.Series], forced: Sequence[str], data: Mapping[str, Any], say: Callable[[str], None]
) -> dict[Any, pd.Series]:
    """The text columns that hold numbers, and `forced` ones whatever they hold."""
    if not texts:
        return {}
    own = own_names(len(texts))
    table = pa.table([pa.array(text, pa.string(), from_pandas=True) for text in texts.values()], names=own)
    options: dict[str, Any] = {"decimal": data.get("decimal"), "thousands": data.get("thousands"), "say": say}
    with tempfile.TemporaryDirectory() as folder, closing(DuckDB(Path(folder), MEMORY)) as engine:
        engine.backend.raw_sql("SET preserve_insertion_order = true")
        source = Source(engine.view(table), tuple(map(str, texts)), True, "the table")
        columns = {}
        marks = find_marks(engine, source, map(str, forced), **options)
        for name in map(str, forced):
            value, wrong, infinite = number(source[name], "", marks.get(name))
            bad = wrong | infinite.fill_null(False)
            if rows := engine.fetch(source.table.aggregate(rows=bad.sum()))["rows"][0].as_py():
                say(f"table: {rows:,} values of {name} are no finite numbers and count as missing")
            columns[name] = bad.ifelse(None, value)
        free = [name for name in source.names if name not in columns]
        columns |= {name: read(source[name]) for name, read in find_numbers(engine, source, free, **options).items()}
        if not columns:
            return {}
        read = engine.fetch(source.table.select(**{source.own(name): value for name, value in columns.items()}))
    index = next(iter(texts.values())).index
    return {
        name: pd.Series(read[source.own(str(name))].to_numpy().astype(float), index=index)
        for name in texts
        if str(name) in columns
    }
