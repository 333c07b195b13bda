"""Vocabulary: the values of each categorical field that a network knows by name; PAD 0, UNK 1, then by count."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from clm_dl.data.sequences.options import VocabularyOptions
from clm_dl.data.store.store import EventStore
from clm_dl.errors import UserError

PAD = 0  # no event
UNK = 1  # missing, rare or never seen in training
VOCABULARY_VERSION = 1
_BLOCK = 1 << 24  # rows counted at a time: bounds the memory of `fit`


@dataclass(frozen=True)
class Vocabulary:
    """`fields[name]`: known values; the value at position p has the id p + 2. Never refitted: other values are UNK."""

    fields: dict[str, list[str]]

    @classmethod
    def fit(
        cls, store: EventStore, fields: Sequence[str], *, rows: np.ndarray, options: VocabularyOptions
    ) -> Vocabulary:
        """Count values on the training rows, keep the frequent ones, order them by (count descending, value).

        Args:
            fields: categorical fields of the store.
            rows: bool `[events]`, what may be looked at; see `Sequences.visible_rows`.
            options: min_count: a value seen less often is UNK; max_size: at most so many values a field, PAD and UNK
                not counted, None = all; fields: both for a field of its own.
        """
        if unknown := [name for name in options.fields if name not in fields]:
            raise UserError(
                f"vocabulary.fields names {unknown[0]!r}, which is none of the categorical fields "
                f"{', '.join(fields) or '(none)'}"
            )
        known = {}
        for name in fields:
            limits = {"min_count": options.min_count, "max_size": options.max_size} | dict(options.fields.get(name, {}))
            values, codes = store.dictionary(name), store.column(name)
            count = np.zeros(len(values) + 1, dtype=np.int64)  # [0] counts the missing
            for first in range(0, len(codes), _BLOCK):
                block = slice(first, first + _BLOCK)
                count += np.bincount(codes[block][rows[block]] + 1, minlength=len(count))
            frequent = np.flatnonzero(count[1:] >= limits["min_count"])
            order = sorted(frequent.tolist(), key=lambda code: (-count[code + 1], values[code]))
            known[name] = [str(values[code]) for code in order[: limits["max_size"]]]
        return cls(known)

    @property
    def sizes(self) -> dict[str, int]:
        """Number of ids of each field, PAD and UNK included."""
        return {name: len(values) + 2 for name, values in self.fields.items()}

    def lookup(self, field: str, dictionary: np.ndarray) -> np.ndarray:
        """int32 `[len(dictionary) + 1]`: the id of each store code; the last is UNK, which code −1 (missing) finds."""
        ids = {value: position + 2 for position, value in enumerate(self.fields[field])}
        return np.array([*(ids.get(value, UNK) for value in dictionary.tolist()), UNK], dtype=np.int32)

    def to_json(self) -> dict[str, Any]:
        """A plain dict for `json.dump`."""
        return {"version": VOCABULARY_VERSION, "fields": self.fields}

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Vocabulary:
        """The inverse of `to_json`; ValueError on another version."""
        if data.get("version") != VOCABULARY_VERSION:
            raise UserError(
                f"vocabulary has version {data.get('version')}, this clm_dl reads version {VOCABULARY_VERSION}: train "
                "the run again"
            )
        return cls({name: list(values) for name, values in data["fields"].items()})
