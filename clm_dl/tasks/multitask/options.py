"""Options of a multi-task run: the weight of each part's loss, and those of every question."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from clm_dl.errors import UserError, choice
from clm_dl.tasks.churn.task import ChurnOptions
from clm_dl.tasks.survival.task import SurvivalOptions
from clm_dl.tasks.value.task import ValueOptions

NEXT_EVENT = "next_event"  # the part that has no scores: what it predicts are the histories, which training saw
WEIGHTINGS = ("fixed", "uncertainty")


@dataclass(frozen=True)
class MultiTaskOptions(ChurnOptions, SurvivalOptions, ValueOptions):
    """weights: of each part, 0 or None leaves it out; weighting: fixed, or learnt besides ("uncertainty")."""

    weights: Mapping[str, Any]
    weighting: str

    def __post_init__(self) -> None:
        super().__post_init__()
        choice(self.weighting, WEIGHTINGS, "task.weighting")


def part_weights(given: Any, questions: tuple[str, ...]) -> dict[str, float]:
    """The parts of `task.weights` that have a weight, in the order of the heads; ValueError for what cannot be one."""
    known = (*questions, NEXT_EVENT)
    if not isinstance(given, Mapping):
        raise UserError(f"task.weights must give a weight to each of {', '.join(known)}, got {given!r}")
    for name, weight in given.items():
        if name not in known:
            raise UserError(f"task.weights has parts {', '.join(known)}, got {name!r}: leave it out")
        number = isinstance(weight, (int, float)) and not isinstance(weight, bool)
        if weight is not None and not (number and 0 <= weight < math.inf):
            raise UserError(f"task.weights.{name} must be a number ≥ 0 or null, got {weight!r}")
    if not any(given.get(name) for name in questions):
        raise UserError(
            f"task.weights leaves no question to answer: give {', '.join(questions)} or one of them a weight above 0"
        )
    return {name: float(given[name]) for name in known if given.get(name)}
