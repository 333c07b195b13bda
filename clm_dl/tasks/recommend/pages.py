"""What report.html has for a ranked run alone: parts side by side, accuracy against coverage, and how deep the targets
lie.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from matplotlib.figure import Figure

from clm_dl.run import Run
from clm_dl.tasks.recommend.figures import ranked_figures
from clm_dl.visual.families import family
from clm_dl.visual.tables import figures_table, more, parts_table, per_cutoff, validation
from clm_dl.visual.text import number

LISTS = (
    "Of the lists, whoever buys: novelty is the mean −log2 of an item's share of the training lines, diversity 1 − "
    "the mean similarity of two items, popularity the share of the catalogue sold less often (.5 is a random list), "
    "repeats the share in the history. ECE@1: the calibration error of the first item's probability."
)


def tables(metrics: Mapping[str, Any]) -> list[dict[str, Any]]:
    """All items with what a constant score reaches, then NDCG and the AUC (.5 is chance) in every part of the test
    split.
    """
    shown, floor = family(metrics), metrics["reference"]["test"].get("floor")
    overall = figures_table(
        metrics, metrics["split"]["test"]["overall"], shown.columns, title="Test: all items", floor=floor
    )
    return [overall, *(parts_table(metrics, "test", metric) for metric in (shown.main, "auc"))]


def note(metrics: Mapping[str, Any]) -> str:
    """The sentences under the tables."""
    reference, shown = metrics["reference"]["test"], family(metrics)
    if "targets" not in reference:
        return "Nothing was to be found."
    return (
        f"{shown.count(metrics, 'test')} {shown.title} cannot exceed {number(reference['ceiling'][shown.main])} under "
        "the policy. AUC: a target above a random other item, .5 is chance. Coverage is the share of the catalogue in "
        "any list, so it has no interval."
    )


def details(metrics: Mapping[str, Any]) -> list[dict[str, Any]]:
    """What is a click away."""
    test, shown = metrics["split"]["test"], family(metrics)
    parts = [
        figures_table(metrics, test[part], shown.columns | shown.more, title=title.capitalize())
        for part, title in shown.filled(test).items()
        if part != "overall"
    ]
    return [
        more(metrics, LISTS),
        {"title": "Every part of the test split", "tables": parts, "note": ""},
        validation(metrics),
        *per_cutoff(metrics),
    ]


def figures(run: Run, names: Sequence[str]) -> dict[str, Figure]:
    """Caption -> figure of the models `names`."""
    return ranked_figures(run.scores, run.metrics, names)
