"""What report.html has for a ranked run alone: parts side by side, accuracy against coverage, and how deep the targets lie."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from matplotlib.figure import Figure

from clm_dl.run import Run
from clm_dl.visual import plots
from clm_dl.visual.families import RANKED
from clm_dl.visual.tables import figures_table, more, parts_table, per_cutoff, validation

CURVES = 5  # models drawn in the curves; the tables have them all
TILES = {"ndcg@10": "NDCG@10", "hr@10": "HR@10", "coverage@10": "Coverage@10"}


def tables(metrics: Mapping[str, Any]) -> list[dict[str, Any]]:
    """All items, then NDCG@10 and HR@10 in every part of the test split."""
    overall = figures_table(metrics, metrics["split"]["test"]["overall"], RANKED.columns, title="Test: all items")
    return [overall, *(parts_table(metrics, "test", metric) for metric in RANKED.headline)]


def note(metrics: Mapping[str, Any]) -> str:
    """The sentence under the tables."""
    return f"{RANKED.count(metrics, 'test')} Coverage is the share of the catalogue that stands in any list: it has no interval."


def details(metrics: Mapping[str, Any]) -> list[dict[str, Any]]:
    """What is a click away."""
    test = metrics["split"]["test"]
    parts = [
        figures_table(metrics, test[part], RANKED.columns, title=title.capitalize())
        for part, title in RANKED.filled(test).items()
        if part != "overall"
    ]
    text = "Novelty is the mean −log2 popularity of the listed items, diversity 1 − their mean similarity in a list; neither is accuracy."
    return [
        more(metrics, text),
        *([{"title": "Every part of the test split", "tables": parts, "note": ""}] if parts else []),
        validation(metrics),
        *per_cutoff(metrics),
    ]


def figures(run: Run, names: Sequence[str]) -> dict[str, Figure]:
    """Caption -> figure: all models in the first two, the first of `names` in the curve."""
    overall = {name: run.metrics["split"]["test"]["overall"][name] for name in names}
    scores = run.scores
    targets = scores[(scores["split"] == "test") & (scores["among"] == "catalogue") & (scores["label"] == 1)]
    places = {name: part["above"].to_numpy() + 1 for name, part in targets.groupby("model") if name in names[:CURVES]}
    return {
        "NDCG@10 and its 95 % interval": plots.interval_figure(overall, "ndcg@10", "NDCG@10"),
        "Accuracy against coverage of the catalogue": plots.trade_figure(overall, ("coverage@10", "coverage@10"), ("ndcg@10", "NDCG@10")),
        "How deep in the ranking the items bought next lie": plots.depth_figure({name: places[name] for name in names if name in places}),
    }
