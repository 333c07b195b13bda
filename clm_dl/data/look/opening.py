"""Opening a file that nobody has described: the keys of `data` that it needs to be read at all."""

from __future__ import annotations

import re
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from clm_dl.data import text
from clm_dl.data.log import sources
from clm_dl.data.log.files import PACKAGES, WHEELS, find_files
from clm_dl.data.log.sources import UNREAD
from clm_dl.errors import UserError

SEPARATORS = ("::", ";", "\t", "|", ",")  # the first that divides every line alike; a comma also stands in numbers
LINES = 20
DATUM = r"[+-]?[0-9]+([.,][0-9]+)?|[0-9]{1,4}[-/.][0-9]{1,2}[-/.][0-9]{1,4}([ T].*)?"  # of a cell that is no name
READ = (".csv", ".tsv", ".txt", ".parquet", ".pq", ".inter")


def reading_keys(data: Mapping[str, Any]) -> dict[str, Any]:
    """`separator` and `columns` that a text file needs beside what `data` says: for a suffix that says nothing, and for
    a file without a header, whose columns become c1, c2, …

    Raises:
        ValueError: the file is of a kind that is not read, or its columns cannot be told.
    """
    path = data["path"]
    if sources.is_database(path) or path in (*PACKAGES, *WHEELS):
        return {}
    file = find_files(path, data.get("data_dir") or "data")[0]
    suffix = text.inner_suffix(file)
    if data.get("format") not in (None, "csv", "tsv") or suffix in (".parquet", ".pq", ".inter", *UNREAD):
        return {}
    with tempfile.TemporaryDirectory() as name:
        lines = _first_lines(file, Path(name), data.get("encoding"))
    if not lines:
        raise UserError(f"{path} is empty: give a log with a header and at least one event")
    found: dict[str, Any] = {}
    known = data.get("separator") or data.get("format") or suffix in READ or file.suffix.lower() == ".zip"
    if not known or (suffix in READ and not data.get("separator") and all("::" in line for line in lines)):
        found["separator"] = _separator(lines, str(path))
    if not data.get("columns") and _is_data(cells := _cells(lines[0], data.get("separator"), found)):
        found["columns"] = [f"c{place}" for place in range(1, len(cells) + 1)]
    return {key: value for key, value in found.items() if value is not None}


def _first_lines(file: Path, folder: Path, encoding: str | None) -> list[str]:
    plain = text.in_utf8(text.decompressed(file, folder), folder, encoding, lambda line: None)
    with plain.open(encoding="utf-8-sig", errors="replace") as content:
        return [line for line in (content.readline().rstrip("\r\n") for _ in range(LINES)) if line.strip()]


def _separator(lines: list[str], path: str) -> str:
    for mark in SEPARATORS:
        counts = {line.count(mark) for line in lines}
        if len(counts) == 1 and counts != {0}:
            return mark
    raise UserError(
        f"cannot tell what divides the columns of {path}: set data.separator, or data.format to csv, tsv, txt or "
        "parquet"
    )


def _cells(line: str, given: str | None, found: Mapping[str, Any]) -> list[str]:
    marks = [mark for mark in (given, found.get("separator")) if mark] or [m for m in SEPARATORS if m in line]
    return [cell.strip().strip("\"'") for cell in (line.split(marks[0]) if marks else line.split())]


def _is_data(cells: list[str]) -> bool:
    """Whether the first line holds values: a date or a decimal among them, or half of them numbers."""
    values = [cell for cell in cells if re.fullmatch(DATUM, cell)]
    long = [cell for cell in values if re.search("[-/.,:]", cell.lstrip("+-"))]
    long += [cell for cell in values if len(cell) > 4]
    return len(cells) > 1 and (bool(long) or 2 * len(values) > len(cells) or len(set(cells)) < len(cells) / 2)
