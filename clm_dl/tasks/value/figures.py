"""Figures of value forecasts: deciles, cumulative gain of spend, and forecast against actual total by cutoff."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib.figure import Figure

from clm_dl.tasks.value.metrics import deciles, gain
from clm_dl.tasks.value.scores import ValueScores
from clm_dl.visual.figures import COLORS, CURVES, DARK, GREY, empty_figure, interval_figure, legend, styles
from clm_dl.visual.pages import Figures


def decile_figure(table: ValueScores, name: str) -> Figure:
    """Mean expected and actual spend of ten groups of equal size, from the lowest expectation to the highest."""
    figure, axes = empty_figure(f"Deciles, {name}", "decile of the expected spend", "mean spend")
    score_10, spend_10 = deciles(table.spend, table.forecasts[name].score)
    place = np.arange(1, len(score_10) + 1)
    axes.bar(place - 0.2, score_10, width=0.4, color=COLORS[0], label="expected")
    axes.bar(place + 0.2, spend_10, width=0.4, color=GREY, label="spent")
    axes.set_xticks(place)
    return legend(figure, axes, "upper left")


def spend_gain_figure(table: ValueScores, names: Sequence[str]) -> Figure:
    """Share of the spend that the customers expected to spend most bring, between a random and the perfect order."""
    figure, axes = empty_figure("Cumulative gain of spend", "share of the snapshots", "share of the spend")
    for name, score, style in styles({name: table.forecasts[name].score for name in names}):
        axes.plot(*gain(table.spend, score), label=name, **style)
    axes.plot(*gain(table.spend, table.spend), color=DARK, linestyle="--", linewidth=1, label="perfect")
    axes.plot([0, 1], [0, 1], color=DARK, linestyle=":", linewidth=1, label="random")
    axes.set(xlim=(0, 1), ylim=(0, 1.01))
    return legend(figure, axes, "lower right")


def coverage_figure(table: ValueScores, name: str) -> Figure:
    """Where the actual spend lies in the intervals: share inside, above and below by decile of the expectation."""
    forecast = table.forecasts[name]
    assert forecast.low is not None
    assert forecast.high is not None
    figure, axes = empty_figure(f"Coverage by decile, {name}", "decile of the expected spend", "share of the snapshots")
    group_N = np.argsort(np.argsort(forecast.score, kind="stable"), kind="stable") * 10 // len(forecast.score)
    below_10, above_10 = (
        np.bincount(group_N, weights=outside, minlength=10) / np.bincount(group_N, minlength=10)
        for outside in (table.spend < forecast.low, table.spend > forecast.high)
    )
    place = np.arange(1, 11)
    axes.bar(place, 1 - below_10 - above_10, color=COLORS[0], label="inside")
    axes.bar(place, above_10, bottom=1 - below_10 - above_10, color=COLORS[1], label="spent more")
    axes.bar(place, below_10, bottom=1 - below_10, color=GREY, label="spent less")
    axes.set_xticks(place)
    axes.set(ylim=(0, 1))
    return legend(figure, axes, "lower left")


def value_figures(table: ValueScores, metrics: Mapping[str, Any], names: Sequence[str]) -> Figures:
    """Of the first models of `names`, the network's first."""
    few, overall = list(names)[:CURVES], metrics["split"]["test"]["overall"]
    if len(table) < 10 or not few:
        return {}
    found = {
        "gini_interval": (
            "Gini and its 95 % interval",
            interval_figure({name: overall[name] for name in names}, "gini", "normalised Gini"),
        ),
        "deciles": ("Expected and actual spend by decile", decile_figure(table, few[0])),
        "gain": ("Cumulative gain of spend", spend_gain_figure(table, few)),
    }
    if table.forecasts[few[0]].low is not None:
        found["coverage_by_decile"] = ("Coverage of the intervals by decile", coverage_figure(table, few[0]))
    return found
