"""A table without a log: one row a customer, and the column that is the answer."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from clm_dl.data.look.columns import Column, named, present
from clm_dl.data.look.relations import Relations
from clm_dl.data.look.uses import looks_personal
from clm_dl.data.look.words import hint, is_id, tokens
from clm_dl.errors import UserError

TRUE = ("1", "1.0", "true", "yes", "y")  # need not be named as data.positive …
FALSE = ("0", "0.0", "false", "no", "n")  # … beside one of these
LEAVING = (
    *("churn", "churned", "attrit", "attrited", "attrition", "left", "lost", "exited", "cancelled", "canceled"),
    *("inactive", "closed", "terminated", "lapsed", "default", "quit", "gone"),
)
LIKELY = 0.5  # a score
FEW = 6  # values of an answer


@dataclass
class TableGuess:
    """label, positive: the answer and its value that means churn. why: of both; others: columns that could be it."""

    label: str
    positive: str | None
    why: str
    others: list[str] = field(default_factory=list)
    customer: str | None = None
    exclude: dict[str, str] = field(default_factory=dict)  # column → reason


def has_answer(columns: Sequence[Column]) -> bool:
    """Whether some column is called like what is to be predicted."""
    return any(hint(c.name, "label") >= LIKELY and _label_score(c, columns) >= LIKELY for c in _answers(columns))


def _answers(columns: Sequence[Column]) -> list[Column]:
    return [c for c in columns if 2 <= c.distinct <= FEW and (c.kind == "text" or (c.kind == "number" and c.whole))]


def guess_table(columns: Sequence[Column], said: Mapping[str, Any], asked: Relations) -> TableGuess:
    """The answer, its value and the customer of a table; `said`: label, positive and customer, where they are given.

    Raises:
        ValueError: no column looks like an answer.
    """
    ranked = sorted(_answers(columns), key=lambda c: (-_label_score(c, columns), c.place))
    if said.get("label"):
        label, why = named(columns, said["label"]), "as you say"
    elif ranked and _label_score(ranked[0], columns) >= LIKELY:
        label = ranked[0]
        why = "called like an answer" if hint(label.name, "label") >= 0.5 else "of two values"
    else:
        raise UserError(
            f"no column of {asked.source.what} has times of events, and none looks like an answer (yes or no, 1 or 0); "
            f"it has {', '.join(c.name for c in columns)}: for a log set data.roles.time=… and data.roles.customer=…, "
            "for a table with a row a customer set data.label=…"
        )
    positive, because = _positive(label, said, asked)
    guess = TableGuess(label.name, positive, f"{why}; {because}", [c.name for c in ranked if c.name != label.name][:3])
    unique = [c for c in columns if c.name != label.name and _tells_rows(c, asked)]
    guess.customer = said.get("customer") or next(
        (c.name for c in sorted(unique, key=lambda c: (-hint(c.name, "customer"), c.place)) if _is_name_of_id(c)), None
    )
    for column in columns:
        if column.name in (guess.customer, label.name):
            continue
        if column.constant:
            guess.exclude[column.name] = "one value" if column.kind != "empty" else "no values"
        elif column in unique:
            guess.exclude[column.name] = "another value in each row"
        elif looks_personal(column):
            guess.exclude[column.name] = "looks personal"
        elif column.kind == "time" and column.sure:
            guess.exclude[column.name] = "a time"
        elif column.kind == "text" and column.distinct > max(100, 0.3 * column.rows):
            guess.exclude[column.name] = "text with nearly as many values as rows"
    return guess


def _label_score(column: Column, columns: Sequence[Column]) -> float:
    score = hint(column.name, "label")
    if column.distinct == 2:
        score += 0.2 if not column.missing else 0.0
        score += 0.3 if column.place == max(c.place for c in columns) else 0.0
    elif not any(word in LEAVING for value in (column.low, column.example) for word in tokens(value or "")):
        score -= 0.6
    return score


def _tells_rows(column: Column, asked: Relations) -> bool:
    if column.missing or column.distinct < 0.9 * column.rows or (column.kind == "number" and not column.whole):
        return False
    return asked.distinct(column.name) == column.rows


def _is_name_of_id(column: Column) -> bool:
    return hint(column.name, "customer") > 0.4 or is_id(column.name)


def _positive(label: Column, said: Mapping[str, Any], asked: Relations) -> tuple[str | None, str]:
    if said.get("positive") is not None:
        return str(said["positive"]), "positive as you say"
    text = present(asked.source[label.name]).strip()
    values = text.name("value").as_table().filter(lambda t: t.value.notnull())
    counts = asked.engine.fetch(values.group_by("value").aggregate(n=values.count()).order_by("n", "value")).to_pylist()
    rows = {row["value"]: row["n"] for row in counts}
    plain = [value for value in rows if value.lower() in TRUE]
    if len(rows) == 2 and len(plain) == 1 and sum(value.lower() in FALSE for value in rows) == 1:
        return None, f"{plain[0]} is what is predicted, {rows[plain[0]]:,} rows of {sum(rows.values()):,}"
    leaving = [value for value in rows if any(word.startswith(known) for word in tokens(value) for known in LEAVING)]
    chosen = leaving[0] if leaving else next(iter(rows))
    why = "it says so" if leaving else "it is rarer"
    others = ", ".join(value for value in rows if value != chosen)
    return (
        chosen,
        f"{chosen} is what is predicted ({why}), {rows[chosen]:,} rows of {sum(rows.values()):,}; else: {others}",
    )
