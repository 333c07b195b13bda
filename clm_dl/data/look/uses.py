"""Uses: what becomes of the columns that play no part: categories, numbers, or left out with the reason."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from clm_dl.data.log.roles import LONGEST_NAME, RESERVED
from clm_dl.data.look.columns import Column
from clm_dl.data.look.words import hint, is_id, is_personal

MOST = 40  # further columns; a network with more is slow, and which matter is for who knows them …
NUMBERS = 20  # … and as many of them numbers
FEWEST_LINES = 5  # a value, on average, where there are many values
MANY = 100
FEW = 20
FREE_TEXT = 5  # words


@dataclass
class Uses:
    categorical: list[str] = field(default_factory=list)
    numeric: list[str] = field(default_factory=list)
    left_out: dict[str, str] = field(default_factory=dict)  # column → reason


def guess_uses(columns: Sequence[Column], taken: Sequence[str]) -> Uses:
    """Of the columns that are not `taken`."""
    uses = Uses()
    for column in columns:
        if column.name in taken:
            continue
        if reason := _reason(column):
            uses.left_out[column.name] = reason
        elif len(uses.categorical) + len(uses.numeric) >= MOST:
            uses.left_out[column.name] = f"more than {MOST} further columns"
        elif column.kind == "number" and not is_id(column.name):
            if len(uses.numeric) < NUMBERS:
                uses.numeric.append(column.name)
            else:
                uses.left_out[column.name] = f"more than {NUMBERS} further numbers"
        else:
            uses.categorical.append(column.name)
    return uses


def _reason(column: Column) -> str | None:
    name = column.name
    if column.kind == "empty":
        return "no values"
    if column.constant:
        return f"one value, {column.low!r}" if column.missing == 0 else f"{column.low!r} or nothing"
    if name in RESERVED or "/" in name or "\0" in name or len(name.encode()) > LONGEST_NAME:
        return "its name cannot be stored: rename it, or give it a role"
    if "${" in name or not name.strip():
        return "its name cannot be written in a configuration: rename it"
    if looks_personal(column):
        return "looks personal"
    if column.kind == "time" and (column.sure or hint(name, "time") >= 0.5):
        return "a further time"
    if hint(name, "label") >= 1 and column.distinct <= 3:
        return "may be what is to be predicted"
    if column.unclear:
        return "its numbers may have a decimal comma or point: set data.decimal"
    if column.kind == "number" and not column.whole:
        return None
    if column.distinct > MANY and column.distinct > 0.5 * column.rows * (1 - column.missing) and _tells_apart(column):
        return "nearly every line has another value"
    if column.kind == "text" and column.words >= FREE_TEXT and column.distinct > MANY:
        return "free text"
    if column.distinct > MANY and column.lines_each < FEWEST_LINES and _tells_apart(column):
        return f"{column.distinct:,} values, too many for so few lines"
    return None


def looks_personal(column: Column) -> bool:
    return column.distinct > FEW and (column.personal or is_personal(column.name))


def _tells_apart(column: Column) -> bool:
    return column.kind == "text" or is_id(column.name) or column.distinct > 0.95 * column.rows * (1 - column.missing)
