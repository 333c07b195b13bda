"""Figures of scored snapshots, in colours that colour-blind readers can tell apart (Okabe and Ito 2008).

Every function takes `label` [N] in {0, 1} and `scores`, model -> probabilities [N], and returns a matplotlib Figure
that no window owns. The first models get colours, in the order given; the rest is grey.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, Literal

import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from numpy.typing import NDArray

from clm_dl.evaluation.calibration import reliability
from clm_dl.evaluation.classification import Curve, cumulate, rank
from clm_dl.tasks.churn.profit import expected_profit_curve

Floats = NDArray[np.float64]
Scores = Mapping[str, Floats]
COLORS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00")
GREY, DARK = "#BBBBBB", "#333333"


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
        reached = curve.positive[0, 1:]
        axes.step(
            reached / max(reached[-1], 1), reached / np.maximum(curve.mass[0, 1:], 1), where="post", label=name, **style
        )
    axes.axhline(float(label.mean()) if len(label) else 0.0, color=DARK, linestyle=":", linewidth=1)
    axes.set(xlim=(0, 1), ylim=(0, 1))
    return legend(figure, axes, "upper right")


def roc_figure(label: Floats, scores: Scores) -> Figure:
    """True against false positive rate."""
    figure, axes = empty_figure("ROC", "false positive rate", "true positive rate")
    for name, curve, style in _curves(label, scores):
        reached, mass = curve.positive[0], curve.mass[0]
        axes.plot((mass - reached) / max(mass[-1] - reached[-1], 1), reached / max(reached[-1], 1), label=name, **style)
    axes.plot([0, 1], [0, 1], color=DARK, linestyle=":", linewidth=1)
    axes.set(xlim=(0, 1), ylim=(0, 1))
    return legend(figure, axes, "lower right")


def gain_figure(label: Floats, scores: Scores) -> Figure:
    """Share of the positives reached against the share contacted, between a random and a perfect ranking."""
    figure, axes = empty_figure("Cumulative gain", "share of snapshots contacted", "share of the positives reached")
    for name, curve, style in _curves(label, scores):
        axes.plot(
            curve.mass[0] / max(curve.mass[0, -1], 1),
            curve.positive[0] / max(curve.positive[0, -1], 1),
            label=name,
            **style,
        )
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


def interval_figure(found: Mapping[str, Mapping[str, Any]], metric: str, title: str) -> Figure:
    """One dot and its 95 % interval a model; `found` is model -> metric -> {"value", "low", "high"}, the first on top."""
    known = {name: part[metric] for name, part in found.items() if part[metric]["low"] is not None}
    figure, axes = empty_figure(title, title, "", height=0.9 + 0.32 * max(len(known), 1))
    for row, (_, part) in enumerate(known.items()):
        color = COLORS[row] if row < len(COLORS) else GREY
        axes.plot([part["low"], part["high"]], [row, row], color=color, linewidth=2, solid_capstyle="round")
        axes.plot(part["value"], row, marker="o", markersize=5, color=color)
    axes.set_yticks(range(len(known)), list(known))
    axes.set_ylim(len(known) - 0.5, -0.5)
    axes.grid(axis="y", visible=False)
    return figure


def empty_figure(title: str, x: str, y: str, height: float = 3.9) -> tuple[Figure, Axes]:
    """A figure in the house style, with its axes."""
    figure = Figure(figsize=(5.2, height), dpi=110, layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.add_subplot()
    axes.set_title(title, fontsize=11, loc="left", fontweight="bold", color=DARK)
    axes.set_xlabel(x, fontsize=9, color=DARK)
    axes.set_ylabel(y, fontsize=9, color=DARK)
    house_style(axes)
    return figure, axes


def house_style(axes: Axes) -> None:
    """Quiet ticks, grid and frame."""
    axes.tick_params(labelsize=8, color=GREY, labelcolor=DARK)
    axes.grid(color="#E8E8E8", linewidth=0.8)
    axes.set_axisbelow(True)
    axes.spines[["top", "right"]].set_visible(False)
    axes.spines[["left", "bottom"]].set_color(GREY)


def styles(scores: Scores) -> Iterator[tuple[str, Floats, dict[str, Any]]]:
    """(name, values, line style) of each model: colours for the first, grey for the rest."""
    for row, (name, score) in enumerate(scores.items()):
        color = COLORS[row] if row < len(COLORS) else GREY
        yield name, score, {"color": color, "linewidth": 2.2 if row == 0 else 1.3, "zorder": 20 - row}


def _curves(label: Floats, scores: Scores) -> Iterator[tuple[str, Curve, dict[str, Any]]]:
    for name, score, style in styles(scores):
        if len(label):
            yield name, cumulate(label, score, rank(score)), style


Corner = Literal["upper left", "upper right", "lower left", "lower right"]


def legend(figure: Figure, axes: Axes, where: Corner) -> Figure:
    """Add the legend where a line has a name."""
    if axes.get_legend_handles_labels()[0]:
        axes.legend(loc=where, fontsize=7.5, frameon=True, framealpha=0.85, edgecolor="none")
    return figure
