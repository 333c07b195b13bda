"""What report.html has for a value run alone: the order of customers, the amounts, the number of orders, and the
figures.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from matplotlib.figure import Figure

from clm_dl.run import Run
from clm_dl.tasks.value.figures import value_figures
from clm_dl.tasks.value.summary import value_scores
from clm_dl.visual.families import family
from clm_dl.visual.tables import figures_table, more, per_cutoff, validation
from clm_dl.visual.text import UNDEFINED


def tables(metrics: Mapping[str, Any]) -> list[dict[str, Any]]:
    """All snapshots with what the same expectation of everyone reaches, then the recently active."""
    shown, test, floor = family(metrics), metrics["split"]["test"], metrics["reference"]["test"]["floor"]
    return [
        figures_table(
            metrics, test[part], shown.columns, title=f"Test: {title}", floor=floor if part == "overall" else None
        )
        for part, title in shown.filled(test).items()
    ]


def note(metrics: Mapping[str, Any]) -> str:
    """The sentence under the tables."""
    return f"{family(metrics).count(metrics, 'test')} Bias is the total expected over the total spent, less 1."


def details(metrics: Mapping[str, Any]) -> list[dict[str, Any]]:
    """What is a click away."""
    raw = {
        name: {m: {**UNDEFINED, **found} for m, found in part.items()}
        for name, part in metrics["split"]["test"]["raw"].items()
    }
    return [
        more(
            metrics,
            f"Coverage and width are of the {metrics['interval']:.0%} interval around a customer's spend, where a "
            "model has one.",
        ),
        {"title": "Before calibration", "tables": [figures_table(metrics, raw, family(metrics).columns)], "note": ""},
        validation(metrics),
        *per_cutoff(metrics),
    ]


def figures(run: Run, names: Sequence[str]) -> dict[str, Figure]:
    """Caption -> figure, of the first models of `names`."""
    return value_figures(value_scores(run.scores, "test"), run.metrics, names)
