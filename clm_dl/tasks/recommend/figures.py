"""Figures of ranked runs: accuracy with its interval, accuracy against coverage, and how deep the targets lie."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.figure import Figure
from numpy.typing import NDArray

from clm_dl.tasks.churn.figures import COLORS, DARK, empty_figure, interval_figure, legend, styles
from clm_dl.visual.families import family

CURVES = 5  # models drawn in the curves; the tables have them all


def ranked_figures(scores: pd.DataFrame, metrics: Mapping[str, Any], names: Sequence[str]) -> dict[str, Figure]:
    """Caption -> figure of the test split, of the models `names`; the curves show the first of them."""
    shown, coverage = family(metrics), f"coverage@{metrics['k']}"
    overall = {name: metrics["split"]["test"]["overall"][name] for name in names}
    targets = scores[(scores["split"] == "test") & (scores["among"] == "catalogue") & (scores["label"] == 1)]
    places = {name: targets.loc[targets["model"] == name, "above"].to_numpy(np.int64) + 1 for name in names[:CURVES]}
    return {
        f"{shown.title} with its interval": interval_figure(overall, shown.main, shown.title),
        "Accuracy against coverage": trade_figure(overall, (coverage, coverage), (shown.main, shown.title)),
        "Depth of the items bought next": depth_figure(places),
    }


def trade_figure(found: Mapping[str, Mapping[str, Any]], x: tuple[str, str], y: tuple[str, str]) -> Figure:
    """One named dot a model, with the interval of `y`; `x` and `y` are (metric, title), `found` as in
    `interval_figure`.
    """
    figure, axes = empty_figure(f"{y[1]} against {x[1]}", x[1], y[1])
    for row, (name, part) in enumerate(found.items()):
        across, up = part[x[0]]["value"], part[y[0]]
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


def depth_figure(places: Mapping[str, NDArray[np.int64]]) -> Figure:
    """Share of the targets found in the first k places, for every k; `places` is model -> place of each target [M], 1
    the best.
    """
    figure, axes = empty_figure("How deep the targets lie", "length of the list", "share of the targets in it")
    for name, place, style in styles({name: np.sort(place) for name, place in places.items()}):
        axes.step(place, np.arange(1, len(place) + 1) / max(len(place), 1), where="post", label=name, **style)
    axes.axvline(10, color=DARK, linestyle=":", linewidth=1)
    axes.set(xscale="log", xlim=(1, None), ylim=(0, 1))
    return legend(figure, axes, "upper left")
