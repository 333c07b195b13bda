"""Balance: what `imbalance` does to a network's training, how it is undone, and the sentence that says so.

Shapes: N snapshots, S intervals.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from clm_dl.errors import UserError
from clm_dl.tasks.settings import Settings

if TYPE_CHECKING:
    from clm_dl.tasks.base import Task

WHAT = {
    "class_weight": "the loss of the network weights both classes equally, as the baselines do that take weights",
    "undersample": "the network trains on as many snapshots of each class, and so do the baselines",
}


def balanced_odds(label: np.ndarray) -> np.ndarray:
    """How many times too high the odds of label 1 come out once both classes count the same: of labels in {0, 1} and
    NaN `[N]` a number, of `[N, S]` one a column.
    """
    rate = np.nanmean(label, axis=0)
    return np.asarray((1 - rate) / rate)


def undersampled(label: np.ndarray, chosen: np.ndarray, *, seed: int) -> np.ndarray:
    """Bool `[N]`: of the `chosen` snapshots as many of each class, those of the larger one drawn with `seed`."""
    classes = [np.flatnonzero(chosen & (label == value)) for value in (0, 1)]
    few, many = sorted(classes, key=len)
    kept = np.zeros(len(label), dtype=bool)
    kept[few] = True
    kept[np.random.default_rng(seed).permutation(many)[: len(few)]] = True
    return kept


def check_balance(task: Task) -> None:
    """ValueError where `imbalance` has no classes to balance, changes nothing, or weights what is weighted already."""
    imbalance, kinds, settings = task.settings.imbalance, task.balances, task.settings
    if imbalance == "none":
        return
    for question in task.questions:
        if not question.balances:
            raise UserError(
                f"task={question.name} has no classes to balance, got imbalance={imbalance}: set imbalance=none"
            )
        if imbalance in question.balances and imbalance not in kinds:
            raise UserError(
                f"imbalance={imbalance} draws snapshots by the classes of one question, and task={task.name} has "
                f"several: set imbalance={kinds[0]}"
            )
    if settings.rule is None or not settings.has_network:
        return
    if imbalance not in kinds and not settings.specs:
        raise UserError(
            f"imbalance={imbalance} is for baselines alone, and there are none: choose some, or set "
            f"imbalance=none or {' or '.join(kinds)}"
        )
    weight = settings.task.get("positive_weight", 1.0)
    if imbalance in kinds and weight != 1:
        raise UserError(
            f"imbalance={imbalance} balances the classes of the network, and task.positive_weight={weight:g} would "
            "weight them again: set one of them"
        )


def balance_line(settings: Settings, kinds: tuple[str, ...]) -> str | None:
    """Whom `imbalance` reaches, in a sentence; None where it is none."""
    imbalance = settings.imbalance
    if imbalance == "none":
        return None
    undone = "prior correction takes it out of the probabilities again"
    if settings.rule is None or not settings.has_network:  # of a table even the network is an estimator
        return f"imbalance={imbalance}: training rows are balanced, and {undone}."
    if imbalance in kinds:
        return f"imbalance={imbalance}: {WHAT[imbalance]}; {undone}."
    why = "histories cannot be mixed" if imbalance in ("smote", "adasyn") else "it has no one class to draw by"
    return f"imbalance={imbalance} is for the baselines alone: the network is trained on the log as it is, for {why}."


def balance_fact(settings: Settings, kinds: tuple[str, ...]) -> dict[str, Any]:
    """The same sentence as an entry of metrics.json."""
    line = balance_line(settings, kinds)
    return {} if line is None else {"imbalance": line}
