"""What report.html has for a survival run alone: every metric by horizon, scores before calibration, and the curves."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from matplotlib.figure import Figure

from clm_dl.run import Run
from clm_dl.tasks.survival.figures import survival_figures
from clm_dl.tasks.survival.summary import curve_scores
from clm_dl.visual.families import family
from clm_dl.visual.tables import figures_table, per_cutoff, validation
from clm_dl.visual.text import UNDEFINED

BY_HORIZON = {"ece": "ECE", "auroc": "AUC", "brier": "Brier", "log_loss": "log loss"}


def tables(metrics: Mapping[str, Any]) -> list[dict[str, Any]]:
    """All snapshots with what one curve for everyone reaches, the recently active, then calibration and AUC by horizon."""
    shown, test, floor = family(metrics), metrics["split"]["test"], metrics["reference"]["test"]["floor"]
    parts = [
        figures_table(
            metrics, test[part], shown.columns, title=f"Test: {title}", floor=floor if part == "overall" else None
        )
        for part, title in shown.filled(test).items()
    ]
    return [*parts, *(_by_horizon(metrics, test["overall"], metric) for metric in ("ece", "auroc"))]


def note(metrics: Mapping[str, Any]) -> str:
    """The sentence under the tables."""
    return (
        f"{family(metrics).count(metrics, 'test')} ECE is that of the worst horizon, log loss the mean over horizons."
    )


def details(metrics: Mapping[str, Any]) -> list[dict[str, Any]]:
    """What is a click away."""
    test = metrics["split"]["test"]
    raw = {name: {m: {**UNDEFINED, **found} for m, found in part.items()} for name, part in test["raw"].items()}
    before = [figures_table(metrics, raw, family(metrics).columns), _by_horizon(metrics, raw, "ece")]
    return [
        {
            "title": "More metrics by horizon",
            "tables": [_by_horizon(metrics, test["overall"], m) for m in ("brier", "log_loss")],
            "note": "",
        },
        {"title": "Before calibration", "tables": before, "note": ""},
        validation(metrics),
        *per_cutoff(metrics),
    ]


def figures(run: Run, names: Sequence[str]) -> dict[str, Figure]:
    """Caption -> figure, of the first models of `names`."""
    return survival_figures(curve_scores(run.scores, "test"), run.metrics, names)


def _by_horizon(metrics: Mapping[str, Any], models: Mapping[str, Any], metric: str) -> dict[str, Any]:
    columns = {f"{metric}@{days:g}": f"{days:g} days" for days in metrics["horizons_days"]}
    return figures_table(metrics, models, columns, title=f"{BY_HORIZON[metric]} by horizon")
