"""Interchange formats of recommender data: RecBole's atomic files (NAME.inter, NAME.item) and plain sequence files."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc

from clm_dl.errors import MissingFile, UserError

ATOMIC_SUFFIXES = (".inter", ".item")
# None: a store holds no lists
ATOMIC_KINDS = {"token": "categorical", "token_seq": "categorical", "float": "numeric", "float_seq": None}
DAY_ZERO = 946_684_800  # 2000-01-01 in unix seconds
DAY = 86_400


def atomic_names(header: Iterable[str], what: str) -> dict[str, str]:
    """Column → type of a header of `name:type` columns. Raises ValueError where one is not written so."""
    names = {}
    for column in header:
        name, _, kind = column.rpartition(":")
        if not name or kind not in ATOMIC_KINDS:
            raise UserError(
                f"the header of {what} has the column {column!r}: write name:type with a type of "
                f"{', '.join(ATOMIC_KINDS)}, divided by tabs"
            )
        names[name] = kind
    return names


def spell_out(data: Mapping[str, Any]) -> dict[str, Any]:
    """A `data` mapping of `format: atomic` with what its files say: the .inter file of a folder and, where
    `categorical`, `numeric` or `joins` is null, the columns by the types in the headers and the .item file beside it.
    Other mappings are returned as they are.

    Raises FileNotFoundError for a folder without a .inter file, ValueError for a folder of several or a header without
    types.
    """
    path = data.get("path")
    if data.get("format") != "atomic" or data.get("sources") or not isinstance(path, (str, Path)):
        return dict(data)
    file = _interactions_file(Path(path).expanduser())
    if file.suffix != ".inter" or not file.is_file():
        return {**data, "path": str(path)}
    roles = data.get("roles") or {}
    types = _types(file)
    item_file = file.with_suffix(".item")
    joins = data.get("joins")
    if joins is None:
        joins = (
            [{"path": str(item_file), "format": "atomic", "on": roles.get("item"), "to": "item"}]
            if item_file.is_file()
            else []
        )
        types = {**(_types(item_file) if joins else {}), **types}
    kinds = {name: ATOMIC_KINDS[kind] for name, kind in types.items() if name not in roles.values()}
    found: dict[str, Any] = {
        kind: [name for name in kinds if kinds[name] == kind] for kind in ("categorical", "numeric")
    }
    given = {kind: data[kind] for kind in found if data.get(kind) is not None}
    return {**data, "path": str(file), "joins": joins, **found, **given}


def _interactions_file(place: Path) -> Path:
    """The .inter file of a folder: the only one, or the one named as the folder; what is no folder is returned."""
    if not place.is_dir():
        return place
    files = sorted(place.glob("*.inter"))
    if not files:
        raise MissingFile(f"folder {place} holds no .inter file: give the folder of RecBole's NAME.inter and NAME.item")
    named = [file for file in files if file.stem == place.resolve().name]
    if len(files) > 1 and not named:
        raise UserError(
            f"folder {place} holds several .inter files ({', '.join(f.name for f in files)}): give one of them as "
            "data.path"
        )
    return (named or files)[0]


def _types(file: Path) -> dict[str, str]:
    with file.open(encoding="utf-8-sig", errors="replace") as lines:
        return atomic_names(lines.readline().rstrip("\r\n").split("\t"), str(file))


def read_sequences(files: Sequence[Path], what: str) -> tuple[pa.Table, pa.Table]:
    """Lines `customer item item …` as events (customer, time, item), and the lines without an item (column `row`); read
    into memory.

    Such files know only an order, so the k-th item of a customer happens k days after 2000-01-01 (unix seconds): gaps
    are one day, and a horizon of 7 days is the next seven items. A customer's further lines go on where the one before
    ended.
    """
    rows = []
    for file in files:
        with file.open(encoding="utf-8-sig") as lines:
            try:
                rows += lines.read().removesuffix("\n").split("\n")
            except UnicodeDecodeError as error:
                raise UserError(f"cannot read {what} as text: save it as UTF-8") from error
    text = pa.array(rows, pa.large_string())
    words = pc.utf8_split_whitespace(pc.utf8_trim_whitespace(text))
    whole = pc.greater(pc.list_value_length(words), 1)
    if not pc.any(whole).as_py():
        raise UserError(
            f"no line of {what} has an item: write a line a customer, customer item item …, divided by blanks, and "
            "save it as UTF-8"
        )
    items = pc.list_slice(words.filter(whole), 1)
    line = pc.list_parent_indices(items)
    customer = pc.list_element(words.filter(whole), 0).take(line)
    position = pd.Series(customer.dictionary_encode().indices.to_numpy())
    position = position.groupby(position).cumcount().to_numpy()
    events = pa.table({"customer": customer, "time": DAY_ZERO + DAY * position, "item": pc.list_flatten(items)})
    return events, pa.table({"row": text.filter(pc.invert(whole)).cast(pa.string())})
