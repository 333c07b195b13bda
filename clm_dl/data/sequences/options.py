"""What the groups `sequence` and `vocabulary` say, and how a task cuts its batches; the defaults stand in configs/."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class SequenceOptions:
    """Attributes:
    token: one an "order" or a "line". max_tokens: the last so many of a history. max_lines: of an order in its bags.
    categorical, numeric: fields of the store, None = all of the kind; exclude: fields and customer attributes left out.
    features: history features (recency, frequency, spend, …) enter the head beside the sequence.
    """

    token: str
    max_tokens: int
    max_lines: int | None
    categorical: tuple[str, ...] | None
    numeric: tuple[str, ...] | None
    exclude: tuple[str, ...]
    features: bool


@dataclass(frozen=True)
class VocabularyOptions:
    """Which values a network knows by name, see `Vocabulary.fit`; fields: {field: {min_count, max_size}} of its own."""

    min_count: int
    max_size: int | None
    fields: Mapping[str, Mapping[str, Any]]


@dataclass(frozen=True)
class BatchOptions:
    """Largest number of snapshots and of padded tokens of a batch, either may be None; seed: of the batches' order."""

    batch_size: int | None
    max_tokens_per_batch: int | None
    num_workers: int
    seed: int
