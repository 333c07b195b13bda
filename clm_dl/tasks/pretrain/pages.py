"""What report.html has for a pretraining run alone: its losses on test and validation, and each field's loss beside the
floor.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from matplotlib.figure import Figure

from clm_dl.run import Run
from clm_dl.tasks.churn import figures as plots
from clm_dl.visual.families import family
from clm_dl.visual.tables import figures_table, more, validation


def tables(metrics: Mapping[str, Any]) -> list[dict[str, Any]]:
    """All customers of test."""
    return [
        figures_table(
            metrics, metrics["split"]["test"]["overall"], family(metrics).columns, title="Test: customers kept out"
        )
    ]


def note(metrics: Mapping[str, Any]) -> str:
    """The sentence under the tables."""
    return f"{family(metrics).count(metrics, 'test')} Lower is better."


def details(metrics: Mapping[str, Any]) -> list[dict[str, Any]]:
    """What is a click away."""
    return [more(metrics, "Losses of the further fields."), validation(metrics)]


def figures(run: Run, names: Sequence[str]) -> dict[str, Figure]:
    """Caption -> figure."""
    overall = run.metrics["split"]["test"]["overall"]
    return {
        "Loss, relative to the same guess for everyone": plots.interval_figure(
            {n: overall[n] for n in names}, "loss", "loss"
        )
    }
