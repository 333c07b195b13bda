"""What trials are ranked by: the validation figure of the network, or without one of the best baseline."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from clm_dl.evaluation.metric import NETWORK, Figure, Metrics


@dataclass(frozen=True)
class Judged:
    """`figure` of `model` on `split`, which is "test" only where there is no validation (a table of customers)."""

    split: str
    model: str
    figure: Figure


def judged(metrics: Mapping[str, Any], known: Metrics, name: str) -> Judged | None:
    """The figure `name` that a run is judged by; None where it is undefined for every model."""
    split = "val" if metrics["split"]["val"]["overall"] else "test"
    overall = metrics["split"][split]["overall"]
    models = [NETWORK] if NETWORK in overall else list(overall)
    defined = [model for model in models if overall[model][name]["value"] is not None]
    if not defined or known[name].better == "neither":
        return None
    best = min(defined, key=lambda model: known[name].badness(overall[model][name]["value"]))
    return Judged(split, best, overall[best][name])


def objective(metrics: Mapping[str, Any], known: Metrics, name: str) -> float:
    """The value that a sweep optimises; NaN where it is undefined."""
    found = judged(metrics, known, name)
    return math.nan if found is None or found.figure["value"] is None else found.figure["value"]
