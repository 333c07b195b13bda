"""Ids: the one rule by which customers, items and keys are told apart, in logs, label files, tables, joins and calls.

Text stays as it is written, leading zeros too. A number that is whole is that number, 17850.0 as 17850; beyond int64 it
is text. In files without types (CSV, SQLite) what is written as a whole number is one. Blanks and the words of
`MISSING_WORDS` are no ids: nobody is called null.
"""

from __future__ import annotations

import decimal
import math
from collections.abc import Iterable
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc

MISSING_WORDS = ("NULL", "null", "None", "nan", "NaN", "NA", "<NA>", r"\N")
POINT_ZERO = r"^(-?(?:0|[1-9][0-9]*))\.0+$"  # 17850.0, the float that a spreadsheet or pandas makes of a whole number


def is_missing(text: pa.Array) -> pa.Array:
    """Where text is no id: null, blank, or a word for missing."""
    known = pc.is_in(text, pa.array(MISSING_WORDS, text.type))
    blank = pc.equal(pc.binary_length(pc.utf8_trim_whitespace(text)), 0)
    return pc.fill_null(pc.or_(known, blank), True)


def untyped(text: pa.Array) -> pa.Array:
    """Text of a file without types by the rule: 17850.0 as 17850, the rest as written."""
    return pc.replace_substring_regex(text, POINT_ZERO, r"\1")


def as_numbers(ids: pa.Array) -> pa.Array:
    """Text as int64 if every one is written as an integer is (no leading zeros) and fits, else as it is."""
    try:
        numbers = ids.cast(pa.int64())
    except pa.ArrowInvalid:
        return ids
    return numbers if numbers.cast(pa.string()).equals(ids) else ids


def written(value: Any) -> str | None:
    """One typed value as an id is written; None where it is missing. Text stays text."""
    if isinstance(value, (bool, np.bool_)):
        return str(bool(value))
    if isinstance(value, (float, np.floating, decimal.Decimal)):
        if math.isnan(value):
            return None
        if math.isfinite(value) and value == int(value):
            return str(int(value))
    return None if value is None or value is pd.NA or value is pd.NaT else str(value)


def written_all(values: Iterable[Any]) -> pa.Array:
    """Typed values as ids are written, null where missing."""
    if isinstance(values, np.ndarray) and values.dtype.kind in "iu":
        return pa.array(values).cast(pa.string())
    return pa.array([written(value) for value in values], pa.string())


def customer_ids(values: Iterable[Any]) -> pa.Array:
    """Ids of customers as they are written, null where a blank or a word says that there is none."""
    text = written_all(values)
    return pc.if_else(is_missing(text), pa.scalar(None, pa.string()), text)


def lookup(known: Iterable[Any], wanted: Iterable[Any]) -> np.ndarray:
    """int64 positions of `wanted` ids among the `known` ones, −1 where there is none: each as it is written, and
    17850.0 as 17850 where nothing is called so.
    """
    index, texts = pd.Index(_objects(written_all(known))), written_all(wanted)
    code = index.get_indexer(pd.Index(_objects(texts)))
    lost = code < 0
    code[lost] = index.get_indexer(pd.Index(_objects(untyped(texts.filter(pa.array(lost))))))
    return np.where(texts.is_null().to_numpy(zero_copy_only=False), -1, code).astype(np.int64)


def _objects(text: pa.Array) -> np.ndarray:
    return np.asarray(text.to_numpy(zero_copy_only=False), dtype=object)
