"""Roles: which columns of a log are its customer, time, item, order and amount, each guess with its reason."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from clm_dl.data.look.columns import Column, named
from clm_dl.data.look.relations import Relations
from clm_dl.data.look.words import WORDS, hint, is_id, is_of_one_piece, is_personal, is_quantity, tokens
from clm_dl.errors import UserError

ENOUGH = 0.4  # of a score, to be taken for a customer …
SURE = 0.8  # … or of what its name says
CODE = 1_000  # whole numbers up to it are taken for counts and scores, unless their name says that they are ids
SESSION = ("session", "visit", "trip")
UNNAMED = r"[a-z]|[cvxf]_?[0-9]+|col(umn)?_?[0-9]+|_c?[0-9]+|"
NAMES = ("name", "description", "desc", "title")  # of an item that has no id


@dataclass
class Guess:
    """roles: role → column. why: role → reason. others: role → what else it could be, the likeliest first."""

    roles: dict[str, str] = field(default_factory=dict)
    why: dict[str, str] = field(default_factory=dict)
    others: dict[str, list[str]] = field(default_factory=dict)

    def take(self, role: str, name: str, why: str, others: Sequence[str] = ()) -> None:
        self.roles[role], self.why[role], self.others[role] = name, why, [o for o in others if o != name][:3]

    def free(self, columns: Sequence[Column]) -> list[Column]:
        """Columns that play no part yet."""
        return [column for column in columns if column.name not in self.roles.values() and not column.constant]


def guess_time(columns: Sequence[Column], said: Mapping[str, str | None]) -> Guess:
    """The guess with its time, if there is one."""
    guess = Guess()
    if said.get("time"):
        guess.take("time", str(said["time"]), "as you say")
        return guess
    times = [c for c in columns if c.kind == "time" and (c.sure or hint(c.name, "time") >= 0.5) and c.missing < 0.5]
    times = [c for c in times if not c.constant or hint(c.name, "time") >= SURE]
    times = times or [c for c in columns if c.kind == "time" and c.time_format is None and c.distinct > 100]
    ranked = sorted(times, key=lambda c: (-_time_score(c), c.place))
    if ranked:
        best = ranked[0]
        like = "called like one, and its values are times" if hint(best.name, "time") > 0 else "its values are times"
        guess.take("time", best.name, like, [column.name for column in ranked])
        return guess
    for column in columns:
        if column.unclear_time:
            raise UserError(column.unclear_time)
    return guess


def _time_score(column: Column) -> float:
    return hint(column.name, "time") + 0.5 * column.sure + min(0.4, 0.04 * len(str(column.distinct))) - column.missing


def guess_customer(guess: Guess, columns: Sequence[Column], said: Mapping[str, str | None], asked: Relations) -> None:
    """Add the customer, if there is one; and take another time where the first is one a customer."""
    when = named(columns, guess.roles["time"]) if "time" in guess.roles else None
    if said.get("customer"):
        guess.take("customer", str(said["customer"]), "as you say")
    else:
        free = [c for c in columns if c.name not in guess.roles.values() and c.kind in ("text", "number")]
        named_so = [c for c in free if hint(c.name, "customer") >= SURE and _may_be_id(c)]
        ids = named_so + [c for c in free if c not in named_so and not c.constant and _may_be_id(c) and c.missing < 0.7]
        scores = {c.name: _customer_score(c, when, asked) for c in ids}
        ranked = sorted(ids, key=lambda c: (c not in named_so, -scores[c.name], c.place))
        ranked = [c for c in ranked if scores[c.name] >= ENOUGH or hint(c.name, "customer") >= SURE]
        if not ranked:
            return
        best = ranked[0]
        why = f"{'called like one, ' if hint(best.name, 'customer') >= 0.4 else ''}{_counted(best, asked)}"
        guess.take("customer", best.name, why, [c.name for c in ranked])
    if "time" in said or when is None or not guess.others["time"]:
        return
    customer = guess.roles["customer"]
    if asked.one_each(customer, when.name) > 0.9:  # the day of signing up, say
        for other in guess.others["time"]:
            if asked.one_each(customer, other) < 0.8:
                guess.take("time", other, f"its values are times; {when.name} is one a customer", [when.name])
                return


def _may_be_id(column: Column) -> bool:
    """Whether the values may tell things apart: words or whole numbers, and no sums or scores unless called ids."""
    if column.kind == "number":
        return column.whole and (
            is_id(column.name) or hint(column.name, "customer") > 0.4 or hint(column.name, "item") > 0.4 or _big(column)
        )
    return column.kind == "text" and (column.words < 3 or hint(column.name, "customer") > 0.4)


def _big(column: Column) -> bool:
    digits = re.sub(r"\.0+$", "", column.example or "")
    if re.fullmatch(UNNAMED, column.name.lower()):
        return True
    plain = not is_quantity(column.name) and hint(column.name, "amount") < 0.4
    return plain and (len(digits) >= 4 or column.distinct > CODE)


def _customer_score(column: Column, when: Column | None, asked: Relations) -> float:
    score = hint(column.name, "customer")
    if score <= 0 and (
        score < 0 or is_personal(column.name) or column.distinct < 50 or not (column.kind == "text" or _big(column))
    ):
        return -1.0
    score = max(score, 0.1)
    other = max(hint(column.name, "item"), hint(column.name, "order"))
    score -= 0.5 * max(0.0, other) if other >= max(0.4, score) else 0.0
    score -= 0.6 if column.distinct < 10 else 0.0
    if column.lines_each < 1.1 and asked.distinct(column.name) > 0.9 * column.rows * (1 - column.missing):
        score -= 0.7 if when is not None else 0.0
    if when is not None:
        days = asked.days_each(column.name, when)
        score += 0.35 if days >= 1.2 else -0.3 if days <= 1.02 else 0.1
    return score


def _counted(column: Column, asked: Relations) -> str:
    distinct = asked.distinct(column.name)
    return f"{distinct:,} values with {column.rows * (1 - column.missing) / max(1, distinct):.1f} lines each"


def guess_others(guess: Guess, columns: Sequence[Column], said: Mapping[str, str | None], asked: Relations) -> None:
    """Add order, item, event type, amount, expiry and text where there are columns for them."""
    for role, find in {
        "order": _order,
        "item": _item,
        "event_type": _event_type,
        "amount": _amount,
        "expiry": _expiry,
        "text": _words,
    }.items():
        if role in said:
            if said[role]:
                guess.take(role, str(said[role]), "as you say")
            continue
        find(guess, guess.free(columns), asked)
    for role in ("churn_event", "treatment"):
        if said.get(role):
            guess.take(role, str(said[role]), "as you say")


def _ranked(columns: Sequence[Column], role: str, least: float) -> list[Column]:
    found = [column for column in columns if hint(column.name, role) >= least]
    return sorted(found, key=lambda c: (-hint(c.name, role), c.missing, c.place))


def _order(guess: Guess, free: Sequence[Column], asked: Relations) -> None:
    found = [c for c in _ranked(free, "order", 0.5) if c.kind in ("text", "number") and c.missing < 0.5]
    found = [c for c in found if c.kind == "text" or c.whole]
    for column in found:
        name = column.name
        if column.distinct < 10 or set(tokens(name)) & set(SESSION):
            continue
        if asked.distinct(name) > 0.98 * column.rows * (1 - column.missing):
            continue  # one a line
        alone = asked.one_each(name, guess.roles["customer"])
        if alone >= 0.95:
            why = f"called like one, {_counted(column, asked)}, each of one customer"
            guess.take("order", name, why, [c.name for c in found])
            return


def _item(guess: Guess, free: Sequence[Column], asked: Relations) -> None:
    found = [c for c in _ranked(free, "item", 0.5) if _may_be_id(c) or c.kind == "text"]
    found = [c for c in found if c.distinct >= 5 and c.missing < 0.5 and c.words < 8]
    customer = guess.roles["customer"]
    if found:
        best = found[0]
        guess.take("item", best.name, f"called like one, {_counted(best, asked)}", [c.name for c in found])
        return
    for column in free:
        called = set(tokens(column.name)) & set(WORDS["item"]) and set(tokens(column.name)) & set(NAMES)
        if called and column.kind == "text" and column.distinct >= 5 and column.missing < 0.5:
            guess.take("item", column.name, f"what items are called, {_counted(column, asked)}")
            return
    for column in free:
        unnamed = is_id(column.name) or re.fullmatch(UNNAMED, column.name.lower())
        if not unnamed or hint(column.name, "order") >= 0.5 or not _may_be_id(column) or column.distinct < 20:
            continue
        if column.missing < 0.5 and column.lines_each >= 1.5 and asked.one_each(column.name, customer) < 0.7:
            guess.take("item", column.name, f"{_counted(column, asked)}, shared by customers")
            return


def _event_type(guess: Guess, free: Sequence[Column], asked: Relations) -> None:
    found = [c for c in _ranked(free, "event_type", 0.6) if 2 <= c.distinct <= 200 and c.kind == "text"]
    if found:
        best = found[0]
        guess.take("event_type", best.name, f"called like one, {best.distinct} values", [c.name for c in found])


def _amount(guess: Guess, free: Sequence[Column], asked: Relations) -> None:
    pieces = any(is_quantity(column.name) for column in free)
    found = [c for c in _ranked(free, "amount", 0.4) if c.kind == "number" and not c.unclear and c.missing < 0.5]
    for column in found:
        of_one = is_of_one_piece(column.name) or (pieces and set(tokens(column.name)) & {"price", "preis"})
        if of_one or (column.distinct <= 2 and column.whole):
            continue
        guess.take("amount", column.name, "called like one, a number", [c.name for c in found])
        return


def _expiry(guess: Guess, free: Sequence[Column], asked: Relations) -> None:
    found = [c for c in _ranked(free, "expiry", 0.8) if c.kind == "time"]
    if found:
        guess.take("expiry", found[0].name, "called like one, its values are times", [c.name for c in found])


def _words(guess: Guess, free: Sequence[Column], asked: Relations) -> None:
    texts = [c for c in free if c.kind == "text" and c.distinct >= 20 and not c.personal]
    item = guess.roles.get("item")
    labels = [c for c in _ranked(texts, "text", 0.5) if item and 2 * c.distinct >= asked.distinct(item)]
    for column in labels:
        if item and asked.one_each(item, column.name) >= 0.8:
            guess.take("text", column.name, f"the label of {item}: hardly any has two")
            return
    free_texts = [c for c in texts if c.words >= 4 and c.distinct > 100 and hint(c.name, "text") >= 0]
    if free_texts:
        best = max(free_texts, key=lambda c: (hint(c.name, "text"), c.words))
        guess.take("text", best.name, f"free text, {best.words:.0f} words a line", [c.name for c in free_texts])
