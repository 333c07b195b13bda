"""Customer columns: how attributes of customers are read, as those that a run was trained on, else by what all their
values say.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace

import ibis
import ibis.expr.types as ir
import pandas as pd

from clm_dl.data.ids import POINT_ZERO
from clm_dl.data.log.engine import DuckDB, Source
from clm_dl.data.log.kinds import Reader, find_numbers
from clm_dl.data.log.numbers import Marks, find_marks, present
from clm_dl.data.log.parse import Writing
from clm_dl.data.log.roles import Log
from clm_dl.errors import UserError

BOOLS = {"1": "true", "0": "false"}


class CustomerColumns:
    """Reads the attributes of one preparation.

    Attributes:
        known: how a run's own were written. marks: those of numbers that were found here, by attribute.
    """

    def __init__(self, engine: DuckDB, known: Writing, say: Callable[[str], None]):
        self.engine, self.known, self.say = engine, known, say
        self.marks: dict[str, Marks] = {}

    def of_table(self, source: Source, names: Sequence[str], log: Log) -> dict[str, Reader]:
        """How to read attributes that the run knows, and those that are numbers in a file without types and none of the
        log's categoricals; says which are.
        """
        readers = {name: self._as_trained(source, name, log) for name in names if name in self.known.attributes}
        if source.text and names:
            free = [name for name in names if name not in readers and name not in log.categorical]
            marks = {"decimal": log.decimal, "thousands": log.thousands}
            readers |= find_numbers(self.engine, source, free, **marks, say=self.say)
            numbers = [name for name in names if name in readers and readers[name].kind != "string"]
            others = [name for name in names if name not in numbers]
            parts = [
                f"{kind} {', '.join(some)}" for kind, some in (("numbers:", numbers), ("categories:", others)) if some
            ]
            self.say(f"{source.what}: attributes are {'; '.join(parts)}")
        self.marks |= {name: reader.marks for name, reader in readers.items() if reader.marks is not None}
        return readers

    def of_logs(self, logs: Sequence[Log], sources: Sequence[Source], names: Sequence[str]) -> list[dict[str, Reader]]:
        """`of_table` of several logs that agree: a column is one of numbers in all that have it, or in none."""
        have = [[name for name in names if name in source.names] for source in sources]
        found = [self.of_table(source, own, log) for log, source, own in zip(logs, sources, have, strict=True)]
        for name in (name for name in names if name not in self.known.attributes):
            those = [place for place, own in enumerate(have) if name in own]
            if all(name in found[place] or sources[place][name].type().is_numeric() for place in those):
                if len(those) > 1:
                    for place in those:
                        found[place][name] = replace(found[place].get(name, Reader("float64")), kind="float64")
            else:
                for place in those:
                    found[place].pop(name, None)
        return found

    def _as_trained(self, source: Source, name: str, log: Log) -> Reader:
        """How to read an attribute as the run had it. Numbers have the marks that their values tell, and those of
        training where these do not.
        """
        if self.known.attributes[name] is not None:
            return Reader("string")
        kind = source[name].type()
        if not (kind.is_string() or kind.is_numeric() or kind.is_boolean()):
            raise UserError(
                f"column {name!r} of {source.what} is of type {kind}, and the run was trained on numbers: give numbers"
            )
        given, own = {"decimal": log.decimal, "thousands": log.thousands}, self.known.attribute_marks.get(name)
        try:
            found = find_marks(self.engine, source, [name], **given, say=self.say)
        except UserError:
            if own is None:
                raise
            found = find_marks(
                self.engine, source, [name], decimal=own.decimal, thousands=own.thousands, say=lambda line: None
            )
            self.say(
                f"numbers of {name} are read with decimal {own.decimal!r} and thousands {own.thousands!r}, as those "
                "that the run was trained on (data.decimal, data.thousands)"
            )
        return Reader("float64", found.get(name))

    def say_lost(
        self, table: ir.Table, columns: Mapping[str, ir.Column], readers: Mapping[str, Reader], what: str
    ) -> None:
        """Say how many values of a table's columns are no numbers where the run has some, with an example."""
        names = [name for name in columns if self.known.attributes.get(name, ()) is None]
        texts = {name: columns[name] for name in names if columns[name].type().is_string()}
        found: dict[str, ir.Value] = {}
        for position, (name, text) in enumerate(texts.items()):
            lost = readers[name](text).isnull() & present(text).notnull() & (present(text) != "nan")
            found[f"rows{position}"] = lost.sum()
            found[f"like{position}"] = ibis.ifelse(lost, text, ibis.null("string")).min()
        row = self.engine.fetch(table.aggregate(**found)).to_pylist()[0] if found else {}
        for position, name in enumerate(texts):
            if rows := row[f"rows{position}"]:
                self.say(
                    f"note: {rows:,} values of the customer attribute {name} in {what} are no numbers, such as "
                    f"{row[f'like{position}']!r}, and count as missing"
                )

    def spelled(self, name: str, values: pd.Series) -> pd.Series:
        """Categories as the run has them: 1.0 as 1, true and 1 as True, where it has those and not these."""
        levels = self.known.attributes.get(name)
        if not levels:
            return values
        is_bool = {level.lower() for level in levels} <= {"true", "false"}

        def key(text: str) -> str:
            text = re.sub(POINT_ZERO, r"\1", text)
            return BOOLS.get(text, text.lower()) if is_bool else text

        own = {key(level): level for level in reversed(levels)}
        strange = {text for text in values.dropna().unique() if isinstance(text, str)} - set(levels)
        other = {text: own.get(key(text), text) for text in strange}
        return values.map(lambda text: other.get(text, text), na_action="ignore") if other else values
