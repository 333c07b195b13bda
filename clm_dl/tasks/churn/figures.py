"""Figures of scored snapshots: reliability, ROC, precision and recall, gain, scores by outcome, profit.

The functions take `label` [N] in {0, 1} and `scores`, model -> probabilities [N]; `churn_figures` says which are shown.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib.figure import Figure
from numpy.typing import NDArray

from clm_dl.evaluation.calibration import reliability
from clm_dl.evaluation.ranked import Curve
from clm_dl.evaluation.ranked import curve as curve_of
from clm_dl.tasks.churn.profit import expected_profit_curve
from clm_dl.tasks.churn.scores import ScoreTable
from clm_dl.visual.figures import COLORS, CURVES, DARK, empty_figure, interval_figure, legend, styles
from clm_dl.visual.pages import Figures

Floats = NDArray[np.float64]
Scores = Mapping[str, Floats]


def reliability_figure(label: Floats, scores: Scores, bins: int = 15) -> Figure:
    """Rate against mean score in bins of equal mass; the diagonal is perfect calibration."""
    figure, axes = empty_figure("Reliability", "mean predicted probability", "observed rate")
    top = 0.05
    for name, score, style in styles(scores):
        mean_p_K, rate_K = reliability(label, score, bins)
        axes.plot(mean_p_K, rate_K, marker="o", markersize=3.5, label=name, **style)
        if len(label):
            top = max(top, float(mean_p_K.max()), float(rate_K.max()))
    top = min(1.0, top * 1.05)
    axes.plot([0, top], [0, top], color=DARK, linestyle=":", linewidth=1, zorder=1)
    axes.set(xlim=(0, top), ylim=(0, top))
    return legend(figure, axes, "upper left")


def precision_recall_figure(label: Floats, scores: Scores) -> Figure:
    """Precision against recall of the positives; the dotted line is the prevalence."""
    figure, axes = empty_figure("Precision and recall", "recall", "precision")
    for name, curve, style in _curves(label, scores):
        reached = curve.positive[1:]
        axes.step(
            reached / max(reached[-1], 1), reached / np.maximum(curve.mass[1:], 1), where="post", label=name, **style
        )
    axes.axhline(float(label.mean()) if len(label) else 0.0, color=DARK, linestyle=":", linewidth=1)
    axes.set(xlim=(0, 1), ylim=(0, 1))
    return legend(figure, axes, "upper right")


def roc_figure(label: Floats, scores: Scores) -> Figure:
    """True against false positive rate."""
    figure, axes = empty_figure("ROC", "false positive rate", "true positive rate")
    for name, curve, style in _curves(label, scores):
        reached, mass = curve.positive, curve.mass
        axes.plot((mass - reached) / max(mass[-1] - reached[-1], 1), reached / max(reached[-1], 1), label=name, **style)
    axes.plot([0, 1], [0, 1], color=DARK, linestyle=":", linewidth=1)
    axes.set(xlim=(0, 1), ylim=(0, 1))
    return legend(figure, axes, "lower right")


def gain_figure(label: Floats, scores: Scores) -> Figure:
    """Share of the positives reached against the share contacted, between a random and a perfect ranking."""
    figure, axes = empty_figure("Cumulative gain", "share of snapshots contacted", "share of the positives reached")
    for name, curve, style in _curves(label, scores):
        axes.plot(curve.mass / max(curve.mass[-1], 1), curve.positive / max(curve.positive[-1], 1), label=name, **style)
    axes.plot(
        [0, float(label.mean()) if len(label) else 0.0, 1],
        [0, 1, 1],
        color=DARK,
        linestyle="--",
        linewidth=1,
        label="perfect",
    )
    axes.plot([0, 1], [0, 1], color=DARK, linestyle=":", linewidth=1, label="random")
    axes.set(xlim=(0, 1), ylim=(0, 1.01))
    return legend(figure, axes, "lower right")


def histogram_figure(label: Floats, score: Floats, name: str) -> Figure:
    """How the scores of the positives and of the negatives are spread, each as a share of its own class."""
    figure, axes = empty_figure(f"Scores of {name}", "predicted probability", "share of the class")
    top = float(score.max()) if len(score) else 1.0
    edges = np.linspace(0, max(top, 1e-6), 41)
    for title, mask, color in (("negative", label == 0, COLORS[0]), ("positive", label == 1, COLORS[1])):
        weights = np.full(int(mask.sum()), 1 / max(int(mask.sum()), 1))
        axes.hist(score[mask], bins=edges.tolist(), weights=weights, color=color, alpha=0.55, label=title)
    return legend(figure, axes, "upper right")


def profit_figure(label: Floats, scores: Scores, *, benefit: float, cost: float) -> Figure:
    """Profit per snapshot against the share contacted; dots are the maxima."""
    figure, axes = empty_figure(
        f"Profit: {benefit:g} a positive reached, {cost:g} a contact",
        "share of snapshots contacted",
        "profit per snapshot",
    )
    lowest = 0.0
    for name, score, style in styles(scores):
        curve = expected_profit_curve(label, score, benefit=benefit, cost=cost)
        axes.plot(curve.fraction, curve.profit, label=name, **style)
        axes.plot(curve.fraction[curve.best], curve.profit[curve.best], marker="o", markersize=5, color=style["color"])
        lowest = min(lowest, float(np.nan_to_num(curve.profit).min()))
    axes.axhline(0, color=DARK, linestyle=":", linewidth=1)
    axes.set(xlim=(0, 1))
    return legend(figure, axes, "lower left" if lowest < 0 else "lower right")


def churn_figures(table: ScoreTable, metrics: Mapping[str, Any], names: Sequence[str]) -> Figures:
    """Of the first models of `names`, the network's first."""
    if not len(table):
        return {}
    shown, label = {name: table.score[name] for name in names[:CURVES]}, table.label
    profit, overall = metrics["profit"], metrics["split"]["test"]["overall"]
    options = {"benefit": profit["benefit"], "cost": profit["cost"]}
    return {
        "auroc_interval": (
            "AUC and its 95 % interval",
            interval_figure({name: overall[name] for name in names}, "auroc", "AUC"),
        ),
        "reliability": ("Calibrated scores in 15 bins of equal mass", reliability_figure(label, shown)),
        "precision_recall": ("Precision against recall", precision_recall_figure(label, shown)),
        "roc": ("ROC", roc_figure(label, shown)),
        "gain": ("Cumulative gain", gain_figure(label, shown)),
        "score_histogram": ("Scores by outcome", histogram_figure(label, shown[names[0]], names[0])),
        "profit": ("Profit by share contacted", profit_figure(label, shown, **options)),
    }


def _curves(label: Floats, scores: Scores) -> Iterator[tuple[str, Curve, dict[str, Any]]]:
    for name, score, style in styles(scores):
        if len(label):
            yield name, curve_of(label, score), style
