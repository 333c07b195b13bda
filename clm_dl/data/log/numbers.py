"""Numbers: a column's values as float64, with the decimal and thousands marks and currency signs of its text."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass

import ibis
import ibis.expr.types as ir

from clm_dl.data.log.engine import DuckDB, Source
from clm_dl.errors import UserError

FLOAT32_MAX = 3.4028234663852886e38
BLANKS = ("", "na", "n/a", "<na>", "null", "none", r"\n")
SIGNS = r"[$€£¥₹₽₩₺]|usd|eur|gbp|chf|jpy|cny|inr|cad|aud|brl|sek|nok|dkk|pln|zł|kr"
CURRENCY = rf"[\s\x{{a0}}\x{{202f}}'’]|(?:{SIGNS})\.?"
CALLED = {"$": "usd", "€": "eur", "£": "gbp", "¥": "jpy", "₹": "inr", "zł": "pln"}
CROWNS = {"sek", "nok", "dkk"}  # each is a kr
SURE = 0.95  # share of the telling values that decides
# of cleaned text: what only a decimal comma, only a decimal point writes; and one group that may be either
COMMA = (
    r"^[+-]?[0-9.]*,([0-9]{1,2}|[0-9]{4,})$|^[+-]?0?,[0-9]+$|^[+-]?[0-9]{4,},"
    r"|\.[0-9]{3},[0-9]*$|\.[0-9]{3}\.[0-9]{3}"
)
POINT = (
    r"^[+-]?[0-9,]*\.([0-9]{1,2}|[0-9]{4,})$|^[+-]?0?\.[0-9]+$|^[+-]?[0-9]{4,}\.|\.[0-9]*e"
    r"|,[0-9]{3}\.[0-9]*$|,[0-9]{2,3},[0-9]{3}"
)
EITHER = r"^[+-]?[1-9][0-9]{0,2}[.,][0-9]{3}$"


@dataclass(frozen=True)
class Marks:
    """How numbers are written as text."""

    decimal: str = "."
    thousands: str = ","


def check_numeric(source: Source, name: str) -> None:
    """Raise ValueError where a column's type holds no numbers and no text of them."""
    kind = source[name].type()
    if not (kind.is_string() or kind.is_numeric() or kind.is_boolean()):
        raise UserError(
            f"column {name!r} of {source.what} is of type {kind} and cannot be numeric: list it in data.categorical, "
            "or leave it out"
        )


def number(column: ir.Column, name: str, marks: Marks | None = None) -> tuple[ir.Column, ir.Column, ir.Column]:
    """A numeric column as float64 (null where missing), where it is of a wrong type, and where it is not finite.

    `marks`: None reads text as plain numbers, 1234.5.
    """
    kind = column.type()
    false = ibis.literal(False)
    if kind.is_string():
        text = present(column)
        value = text.try_cast("float64")
        if marks is not None:
            value = ibis.coalesce(
                _marked(text, marks), ibis.ifelse(text.re_search("[0-9]"), ibis.null("float64"), value)
            )
        wrong = text.notnull() & value.isnull()
        if name == "churn_event":
            value = ibis.cases((text == "true", 1.0), (text == "false", 0.0), else_=value)
            wrong = wrong & ~text.isin(("true", "false"))
    else:
        assert kind.is_numeric() or kind.is_boolean(), kind  # see `check_numeric`
        value, wrong = column.cast("float64"), false
    if kind.is_integer() or kind.is_boolean():
        return value, wrong, false
    if name != "amount":  # a missing measurement is often written as NaN; a missing amount is a fault
        value = ibis.ifelse(value.isnan(), ibis.null("float64"), value)
    return value, wrong, value.abs() > FLOAT32_MAX  # NaN is greater than every number


def present(column: ir.Column) -> ir.Column:
    """Lower case text without blanks around it, null where it says that there is no number."""
    text = column.strip().lower()
    return ibis.ifelse(text.isin(BLANKS), ibis.null("string"), text)


def cleaned(text: ir.Column) -> ir.Column:
    """Without currency and blanks; (4.00) and 4.00- as -4.00."""
    text = text.re_replace(CURRENCY, "")
    return text.re_replace(r"^\((.*)\)$", r"-\1").re_replace(r"^([0-9].*)-$", r"-\1")


def _marked(text: ir.Column, marks: Marks) -> ir.Column:
    """Text as float64 by its marks; null where the groups are no thousands, as in 1,23."""
    text = cleaned(text)
    group, point = re.escape(marks.thousands), re.escape(marks.decimal)
    whole = rf"([0-9]{{1,3}}({group}[0-9]{{2,3}})*{group}[0-9]{{3}}|[0-9]+)"
    fits = text.re_search(rf"^[+-]?({whole}({point}[0-9]*)?|{point}[0-9]+)(e[+-]?[0-9]+)?$")
    plain = text.replace(marks.thousands, "").replace(marks.decimal, ".")
    return ibis.ifelse(fits, plain, ibis.null("string")).try_cast("float64")


def find_marks(
    engine: DuckDB,
    source: Source,
    columns: Iterable[str],
    *,
    decimal: str | None,
    thousands: str | None,
    say: Callable[[str], None],
) -> dict[str, Marks]:
    """The marks of each text column that is not all plain numbers, given or found out by what its values tell.

    Raises ValueError naming data.decimal where they tell both ways or neither.
    """
    texts = [name for name in dict.fromkeys(columns) if source[name].type().is_string()]
    if not texts:
        return {}
    odd = {name: present(source[name]) for name in texts}
    either = {f"either_{source.own(name)}": text.re_search(EITHER).any() for name, text in odd.items()}
    odd = {name: text.notnull() & text.try_cast("float64").isnull() for name, text in odd.items()}
    row = engine.fetch(
        source.table.aggregate(**{source.own(name): where.sum() for name, where in odd.items()}, **either)
    )
    strange = [name for name in texts if row[source.own(name)][0].as_py()]
    for name in strange:
        _check_currency(engine, source, name)
    if decimal is not None or thousands is not None:
        decimal = decimal or ("," if thousands == "." else ".")
        return dict.fromkeys(texts, Marks(decimal, thousands or ("." if decimal == "," else ",")))
    found: dict[str, Marks] = {}
    for name in (name for name in texts if name in strange or row[f"either_{source.own(name)}"][0].as_py()):
        text = cleaned(present(source[name]))
        counts = {
            key: text.re_search(shape).sum()
            for key, shape in {"comma": COMMA, "point": POINT, "either": EITHER}.items()
        }
        examples = {
            f"{key}_like": ibis.ifelse(text.re_search(shape), source[name], ibis.null("string")).max()
            for key, shape in {"comma": COMMA, "point": POINT, "either": EITHER}.items()
        }
        told = {
            key: value[0].as_py() or 0
            for key, value in zip(
                [*counts, *examples], engine.fetch(source.table.aggregate(**counts, **examples)).columns, strict=True
            )
        }
        comma, point = told["comma"], told["point"]
        if max(comma, point) < SURE * (comma + point) or (told["either"] and not comma + point):
            like = [told[f"{key}_like"] for key in ("comma", "point", "either") if told[key]]
            raise UserError(
                f"the numbers of column {name!r} of {source.what} may have a decimal comma or a decimal point, such as "
                f"{' and '.join(map(repr, like[:2]))}: set data.decimal=',' or data.decimal='.'"
            )
        marks = Marks(",", ".") if comma > point else Marks(".", ",")
        helped = (odd[name] & _marked(present(source[name]), marks).notnull()).sum()
        if engine.fetch(source.table.aggregate(rows=helped))["rows"][0].as_py():
            found[name] = marks
            say(
                f"numbers of {name} are read with decimal {marks.decimal!r} and thousands {marks.thousands!r} "
                "(data.decimal, data.thousands)"
            )
    return found


def _check_currency(engine: DuckDB, source: Source, name: str) -> None:
    """Raise UserError where amounts are in several currencies: nothing adds them up."""
    text = present(source[name])
    signs = source.table.select(
        sign=text.re_extract(f"({SIGNS})", 1), text=source[name], digits=text.re_search("[0-9]")
    )
    signs = signs.filter((signs.sign != "") & signs.digits).group_by("sign").aggregate(like=signs.text.max())
    like = {CALLED.get(row["sign"], row["sign"]): row["like"] for row in engine.fetch(signs).to_pylist()}
    if CROWNS & set(like):
        like.pop("kr", None)
    if len(like) > 1:
        raise UserError(
            f"column {name!r} of {source.what} has several currencies, such as "
            f"{' and '.join(map(repr, sorted(like.values())[:2]))}: convert them to one, or leave the column out"
        )
