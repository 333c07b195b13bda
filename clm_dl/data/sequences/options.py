"""What the groups `sequence` and `vocabulary` say, and how a task cuts its batches; the defaults stand in configs/."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, Any

from clm_dl.errors import UserError, nearest
from clm_dl.options import Within

TOKENS = ("order", "line")


@dataclass(frozen=True)
class SequenceOptions:
    """Attributes:
    token: one an "order" or a "line". max_tokens: the last so many of a history. max_lines: of an order in its bags.
    categorical, numeric: fields of the store, None = all of the kind; exclude: fields and customer attributes left out.
    features: history features (recency, frequency, spend, …) enter the head beside the sequence.
    """

    token: str
    max_tokens: Annotated[int, Within(high=2**31)]
    max_lines: Annotated[int, Within(high=2**31)] | None
    categorical: tuple[str, ...] | None
    numeric: tuple[str, ...] | None
    exclude: tuple[str, ...]
    features: bool

    def __post_init__(self) -> None:
        if self.token not in TOKENS:
            raise UserError(f"sequence.token must be order or line, got {self.token!r}{nearest(self.token, TOKENS)}")
        for name in ("max_tokens", "max_lines"):
            if (value := getattr(self, name)) is not None and value < 1:
                raise UserError(f"sequence.{name} must be at least 1, got {value}")


@dataclass(frozen=True)
class VocabularyOptions:
    """Which values a network knows by name, see `Vocabulary.fit`; fields: {field: {min_count, max_size}} of its own."""

    min_count: int
    max_size: int | None
    fields: Mapping[str, Mapping[str, Any]]

    def __post_init__(self) -> None:
        for name in ("min_count", "max_size"):
            if (value := getattr(self, name)) is not None and value < 1:
                raise UserError(f"vocabulary.{name} must be at least 1, got {value}")
        for name, limits in self.fields.items():
            if not isinstance(limits, Mapping) or (odd := set(limits) - {"min_count", "max_size"}):
                said = ", ".join(map(str, sorted(odd))) if isinstance(limits, Mapping) else repr(limits)
                raise UserError(f"vocabulary.fields.{name} takes min_count and max_size, got {said}")
            for key, value in limits.items():
                whole = isinstance(value, int) and not isinstance(value, bool)
                if not (whole and value >= 1) and not (key == "max_size" and value is None):
                    raise UserError(
                        f"vocabulary.fields.{name}.{key} must be a whole number of at least 1, got {value!r}"
                    )


@dataclass(frozen=True)
class BatchOptions:
    """How batches are cut, and how many an epoch of training has.

    Attributes:
        batch_size, max_tokens_per_batch: largest number of snapshots and of padded tokens, either may be None.
        seed: of the batches' order.
        cutoffs_per_customer: snapshots that a pass reads of a customer on average, others in each; None = all.
        steps_per_epoch: batches between two validations, at least as many as `passes_per_epoch` passes have; None = a
            pass over the customers.
    """

    batch_size: int | None
    max_tokens_per_batch: int | None
    num_workers: int
    seed: int
    cutoffs_per_customer: int | None = None
    steps_per_epoch: int | None = None
    passes_per_epoch: float = 0.0
