"""Counts of the rows of a log: that enough of them are left, and in words what became of them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from clm_dl.data.log.roles import Log
from clm_dl.data.log.sources import describe
from clm_dl.errors import UserError


def check_enough_left(counts: Mapping[str, Any], logs: Sequence[Log], *, limit: float | None, whole: bool) -> None:
    """Raise UserError where no row, or fewer than a share `limit` lets go, can be kept; `whole`: up to no cutoff."""
    what = ", ".join(describe(source) for source in logs)
    rows, quarantined = counts["rows_in"], counts["quarantined"]
    if not rows:
        raise UserError(
            f"{what} has no events{'' if whole else ' before the cutoff'}: give a log with at least one event"
        )
    hint = ""
    if "unparseable time" in counts["quarantine_reasons"]:
        hint += " (set data.time_format?)"
    if any(reason.endswith("of the wrong type") for reason in counts["quarantine_reasons"]):
        hint += " (set data.decimal?)"
    listed = describe_reasons(counts).removesuffix(",")
    if quarantined == rows:
        raise UserError(f"all {rows} rows of {what} were quarantined{listed}: check data.roles{hint}")
    if limit is not None and quarantined > limit * rows:
        raise UserError(
            f"{quarantined:,} of {rows:,} rows of {what} were quarantined{listed}; that is more "
            f"than data.max_quarantined={limit:g}: check data.roles{hint}, or allow it by data.max_quarantined=1"
        )


def describe_counts(counts: Mapping[str, Any]) -> str:
    """rows_in = kept + quarantined + duplicates, in words."""
    reasons, repeats = describe_reasons(counts), counts.get("repeats", 0)
    return (
        f"{counts['rows_in']:,} rows in = {counts['kept']:,} kept + {counts['quarantined']:,} quarantined{reasons} + "
        f"{counts['duplicates']:,} duplicates"
        + (f"; {repeats:,} kept rows repeat another exactly (data.dedupe=true drops them)" if repeats else "")
    )


def describe_reasons(counts: Mapping[str, Any]) -> str:
    """The reasons in brackets, with their rows, and a value that gave each."""
    if not counts["quarantine_reasons"]:
        return ""
    rows = ", ".join(f"{reason}: {rows:,}" for reason, rows in counts["quarantine_reasons"].items())
    examples = ", ".join(f"{reason} {value!r}" for reason, value in counts.get("quarantine_examples", {}).items())
    return f" ({rows}){f', such as {examples},' if examples else ''}"
