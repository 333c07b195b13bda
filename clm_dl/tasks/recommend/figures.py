"""Figures of ranked runs: accuracy with its interval, accuracy against coverage, and how deep the targets lie."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib.figure import Figure
from numpy.typing import NDArray

from clm_dl.evaluation.metric import Metric, Metrics
from clm_dl.tasks.recommend.table import RankedPart
from clm_dl.visual.figures import COLORS, CURVES, DARK, empty_figure, interval_figure, legend, styles
from clm_dl.visual.pages import Figures


def ranked_figures(part: RankedPart, metrics: Mapping[str, Any], known: Metrics, names: Sequence[str]) -> Figures:
    """Of the models `names`; the curves show the first of them."""
    main, coverage, k = known.main, known[f"coverage@{metrics['k']}"], metrics["k"]
    overall = {name: metrics["split"]["test"]["overall"][name] for name in names}
    places = {name: part.models[name].above + 1 for name in names[:CURVES]}
    return {
        f"{main.name.replace('@', '_')}_interval": (
            f"{main.title} with its interval",
            interval_figure(overall, main.name, main.title),
        ),
        "accuracy_against_coverage": ("Accuracy against coverage", trade_figure(overall, coverage, main)),
        "depth": ("Depth of the items bought next", depth_figure(places, k)),
    }


def trade_figure(found: Mapping[str, Mapping[str, Any]], x: Metric, y: Metric) -> Figure:
    """One named dot a model, with the interval of `y`; `found` as in `interval_figure`."""
    figure, axes = empty_figure(f"{y.title} against {x.title}", x.title, y.title)
    for row, (name, part) in enumerate(found.items()):
        across, up = part[x.name]["value"], part[y.name]
        if across is None or up["value"] is None:
            continue
        color = COLORS[row] if row < len(COLORS) else "#888888"
        if up["low"] is not None:
            axes.plot([across, across], [up["low"], up["high"]], color=color, linewidth=1.2, alpha=0.6)
        axes.plot(across, up["value"], marker="o", markersize=6 if row == 0 else 4.5, color=color)
        axes.annotate(name, (across, up["value"]), xytext=(5, 3), textcoords="offset points", fontsize=7, color=DARK)
    axes.set_xlim(left=0)
    axes.set_ylim(bottom=0)
    axes.margins(x=0.18)
    return figure


def depth_figure(places: Mapping[str, NDArray[np.int64]], k: int) -> Figure:
    """Share of the targets found in the first k places, for every k; the line is the length of the lists. `places` is
    model -> place of each target [M], 1 the best.
    """
    figure, axes = empty_figure("How deep the targets lie", "length of the list", "share of the targets in it")
    for name, place, style in styles({name: np.sort(place) for name, place in places.items()}):
        axes.step(place, np.arange(1, len(place) + 1) / max(len(place), 1), where="post", label=name, **style)
    axes.axvline(k, color=DARK, linestyle=":", linewidth=1)
    axes.set(xscale="log", xlim=(1, None), ylim=(0, 1))
    return legend(figure, axes, "upper left")
