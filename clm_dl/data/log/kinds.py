"""Kinds: which columns of tables without types hold numbers, by what all their values say, and how to read them."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence

import ibis.expr.types as ir

from clm_dl.data.log.engine import DuckDB, Source
from clm_dl.data.log.numbers import cleaned, find_marks, number, present
from clm_dl.data.log.roles import Log

Reader = Callable[[ir.Column], ir.Column]
NUMERAL = r"^[+-]?([0-9]+[.,]?|[.,][0-9])([0-9.,]*[0-9])?[.,]?(e[+-]?[0-9]+)?$|^nan$"
# with a zero before it is a code, and so are digits in groups that are no thousands
CODE = r"^[+-]?0[0-9]|[0-9]\s[0-9]{1,2}([^0-9]|$)|[0-9]\s[0-9]{4}"
EXACT = 2**53  # up to it, a float64 tells whole numbers apart


def find_numbers(
    engine: DuckDB,
    source: Source,
    names: Iterable[str],
    *,
    decimal: str | None,
    thousands: str | None,
    say: Callable[[str], None],
) -> dict[str, Reader]:
    """How to read the text columns whose every value is a number: as int64 where all are whole, else as float64. A
    column of codes such as 007 holds none.
    """
    texts = [name for name in dict.fromkeys(names) if source[name].type().is_string()]
    words = {name: present(source[name]) for name in texts}
    some = _any(engine, source, {name: text.notnull() for name, text in words.items()})
    other = _any(
        engine, source, {name: ~cleaned(text).re_search(NUMERAL) | text.re_search(CODE) for name, text in words.items()}
    )
    numeric = [name for name in texts if some[name] and not other[name]]
    marks = find_marks(engine, source, numeric, decimal=decimal, thousands=thousands, say=say)
    read = {name: number(source[name], "", marks.get(name)) for name in numeric}
    bad = _any(engine, source, {name: wrong | far.fill_null(False) for name, (_, wrong, far) in read.items()})
    broken = _any(
        engine, source, {name: (value % 1 != 0) | (value.abs() > EXACT) for name, (value, *_) in read.items()}
    )

    def reader(name: str) -> Reader:
        kind = "float64" if broken[name] else "int64"
        return lambda column: number(column, "", marks.get(name))[0].cast(kind)

    return {name: reader(name) for name in numeric if not bad[name]}


def _any(engine: DuckDB, source: Source, where: dict[str, ir.Value]) -> dict[str, bool]:
    """Whether something is true of any row of a table."""
    if not where:
        return {}
    own = {name: f"t{position}" for position, name in enumerate(where)}
    row = engine.fetch(source.table.aggregate(**{own[name]: value.any() for name, value in where.items()}))
    return {name: bool(row[own[name]][0].as_py()) for name in where}


def attribute_readers(
    engine: DuckDB, source: Source, names: Sequence[str], log: Log, say: Callable[[str], None]
) -> dict[str, Reader]:
    """How to read customer attributes that are numbers in a file without types, and are none of the log's categoricals;
    says which are.
    """
    if not source.text or not names:
        return {}
    free = [name for name in names if name not in log.categorical]
    found = find_numbers(engine, source, free, decimal=log.decimal, thousands=log.thousands, say=say)
    others = [name for name in names if name not in found]
    parts = [f"{kind} {', '.join(some)}" for kind, some in (("numbers:", found), ("categories:", others)) if some]
    say(f"{source.what}: attributes are {'; '.join(parts)}")
    return found


def shared_readers(
    engine: DuckDB, logs: Sequence[Log], sources: Sequence[Source], names: Sequence[str], say: Callable[[str], None]
) -> list[dict[str, Reader]]:
    """`attribute_readers` of several logs that agree: a column is one of numbers in all that have it, or in none."""
    have = [[name for name in names if name in source.names] for source in sources]
    found = [
        attribute_readers(engine, source, own, log, say) for log, source, own in zip(logs, sources, have, strict=True)
    ]
    for name in names:
        those = [place for place, own in enumerate(have) if name in own]
        if all(name in found[place] or sources[place][name].type().is_numeric() for place in those):
            if len(those) > 1:
                for place in those:
                    found[place][name] = _as_float(found[place].get(name))
        else:
            for place in those:
                found[place].pop(name, None)
    return found


def _as_float(read: Reader | None) -> Reader:
    return lambda column: (read(column) if read else column).cast("float64")
