"""What report.html has for a churn run alone: the recently active, scores before calibration, profit, and the curves."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from matplotlib.figure import Figure

from clm_dl.run import Run
from clm_dl.tasks.churn import figures as plots
from clm_dl.tasks.churn.summary import score_table
from clm_dl.visual.families import CHURN
from clm_dl.visual.tables import figures_table, more, per_cutoff, validation
from clm_dl.visual.text import UNDEFINED, number

CURVES = 5  # models drawn in the figures; the table has them all


def tables(metrics: Mapping[str, Any]) -> list[dict[str, Any]]:
    """All snapshots with what a constant score reaches, then the recently active."""
    test, floor = metrics["split"]["test"], metrics["reference"]["test"]["floor"]
    return [
        figures_table(
            metrics, test[part], CHURN.columns, title=f"Test: {title}", floor=floor if part == "overall" else None
        )
        for part, title in CHURN.filled(test).items()
    ]


def note(metrics: Mapping[str, Any]) -> str:
    """The sentence under the tables."""
    return f"Lift@10 % cannot exceed {number(metrics['reference']['test']['ceiling']['lift@10'], 2)}."


def details(metrics: Mapping[str, Any]) -> list[dict[str, Any]]:
    """What is a click away."""
    raw = {
        name: {m: {**UNDEFINED, **found} for m, found in part.items()}
        for name, part in metrics["split"]["test"]["raw"].items()
    }
    floor = number(metrics["reference"]["test"]["floor"]["accuracy"])
    return [
        more(
            metrics,
            f"Accuracy and F1 at the threshold {metrics['threshold']}; naming the larger class is right in {floor}.",
        ),
        {"title": "Before calibration", "tables": [figures_table(metrics, raw, CHURN.columns)], "note": ""},
        validation(metrics),
        *per_cutoff(metrics),
        _profit(metrics),
    ]


def figures(run: Run, names: Sequence[str]) -> dict[str, Figure]:
    """Caption -> figure, of the first models of `names`."""
    table = score_table(run.scores, "test")
    if not len(table.label):
        return {}
    shown = {name: table.score[name] for name in names[:CURVES]}
    profit, overall = run.metrics["profit"], run.metrics["split"]["test"]["overall"]
    return {
        "AUC and its 95 % interval": plots.interval_figure({n: overall[n] for n in names}, "auroc", "AUC"),
        "Calibrated scores in 15 bins of equal mass": plots.reliability_figure(table.label, shown),
        "Precision against recall": plots.precision_recall_figure(table.label, shown),
        "ROC": plots.roc_figure(table.label, shown),
        "Cumulative gain": plots.gain_figure(table.label, shown),
        "Scores by outcome": plots.histogram_figure(table.label, table.score[names[0]], names[0]),
        "Profit by share contacted": plots.profit_figure(
            table.label, shown, benefit=profit["benefit"], cost=profit["cost"]
        ),
    }


def _profit(metrics: Mapping[str, Any]) -> dict[str, Any]:
    columns = {
        "fraction": "share contacted (chosen on validation)",
        "profit": "profit a snapshot",
        "best_fraction": "best share in hindsight",
        "best_profit": "its profit",
    }
    models = metrics["profit"]["models"]
    rows = [
        (name, [{"value": number(models[name].get(key)), "low": "–", "high": "–", "best": False} for key in columns])
        for name in CHURN.ordered(metrics["split"]["test"]["overall"])
    ]
    note = f"{metrics['profit']['benefit']} for each positive reached, {metrics['profit']['cost']} for each contact."
    return {
        "title": "Profit",
        "tables": [{"title": "", "columns": list(columns.values()), "rows": rows, "floor": None}],
        "note": note,
    }
