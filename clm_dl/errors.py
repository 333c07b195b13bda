"""Errors that a user can mend, each one sentence: what, got what, what to do."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Mapping
from typing import Any

from clm_dl.masking import masked


class UserError(ValueError):
    """What the writer of a command, a configuration or a log can mend: one sentence, shown without a traceback."""

    def __init__(self, sentence: str):
        super().__init__(masked(sentence))


class MissingFile(UserError, FileNotFoundError):
    """A file or folder that is not there."""


class MissingExtra(UserError, ModuleNotFoundError):
    """A package that only an extra brings; the sentence names the extra."""


class Pruned(Exception):
    """No error: a search has stopped a trial, and the sentence says why."""


def nearest(word: str, known: Iterable[Any]) -> str:
    """' (did you mean …?)' with the closest known word, or the one whose last part is closest; or an empty string."""
    names = {str(name).lower(): str(name) for name in reversed(list(known))}
    match = [names[name] for name in difflib.get_close_matches(word.lower(), names, n=1, cutoff=0.5)]
    if not match:
        tails = {name.rsplit(".", 1)[-1]: full for name, full in names.items()}
        last = word.lower().rsplit(".", 1)[-1]
        match = [tails[tail] for tail in difflib.get_close_matches(last, tails, n=1, cutoff=0.6)]
    return f" (did you mean {match[0]!r}?)" if match else ""


def choice(value: Any, known: Iterable[str], what: str) -> str:
    """`value` if it is one of `known`; else UserError with the nearest one."""
    known = tuple(known)
    if value not in known:
        raise UserError(f"{what} must be one of {', '.join(known)}, got {value!r}{nearest(str(value), known)}")
    return str(value)


def check_keys(mapping: Mapping[str, Any], known: Iterable[str], what: str) -> None:
    """Raise UserError for the first key that is not known."""
    known = tuple(known)
    for key in mapping:
        if key not in known:
            raise UserError(f"unknown {what} {key!r}{nearest(str(key), known)}; known: {', '.join(known)}")
