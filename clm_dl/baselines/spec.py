"""Spec and Fitted: a chosen baseline, made but not fitted, what it may see; and the same fitted."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from clm_dl.errors import UserError

IMPUTE = ("mean", "median", "mode", "iterative")  # gaps of numbers in the feature table
IMBALANCE = ("none", "class_weight", "undersample", "smote", "adasyn")  # of the training rows


class CannotAnswer(UserError):
    """The log or the question does not suit this baseline; the others go on without it."""


@dataclass(frozen=True)
class Spec:
    """One option of the group `baseline`.

    Attributes:
        make: a new unfitted model: an estimator, a recommender or a hybrid. answers: the tasks that it is for.
        sees: tables that an estimator reads, of "features" and "embedding" (vectors of a pretrained network).
        columns: of these; None = all. max_rows: fit on a seeded sample of at most so many rows; None = all.
        members: of a hybrid, the models that it combines, None = all that are no hybrids; () = it is none.
        options: all that the configuration says of it.
    """

    name: str
    make: Callable[[], Any]
    answers: tuple[str, ...]
    sees: tuple[str, ...] = ("features",)
    columns: tuple[str, ...] | None = None
    max_rows: int | None = None
    members: tuple[str, ...] | None = ()
    options: Mapping[str, Any] = field(default_factory=dict)

    @property
    def is_hybrid(self) -> bool:
        return self.members is None or bool(self.members)


@dataclass(frozen=True, eq=False)
class Fitted:
    """A model of a run that can answer for any log: fitted, with the calibration of its answers.

    `content`: its file, of one that another trial has fitted; then `model` is None where nobody asks for it.
    """

    spec: Spec
    model: Any
    calibration: Any
    content: bytes | None = None
