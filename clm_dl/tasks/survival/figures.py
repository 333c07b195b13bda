"""Figures of survival curves: predicted against observed, calibration by horizon, curves of single customers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib.figure import Figure
from numpy.typing import NDArray

from clm_dl.evaluation.calibration import reliability
from clm_dl.tasks.survival.metrics import restricted_mean
from clm_dl.tasks.survival.scores import CurveScores
from clm_dl.visual.figures import COLORS, CURVES, DARK, empty_figure, legend, styles
from clm_dl.visual.pages import Figures

Floats = NDArray[np.float64]
QUANTILES = (0.1, 0.5, 0.75, 0.9, 0.97)  # of the expected lifetime: the customers whose curves are drawn


def curves_figure(table: CurveScores, horizons_days: Sequence[float], names: Sequence[str]) -> Figure:
    """Mean P(active) of each model over the snapshots followed through a horizon; dots: the share that was active."""
    figure, axes = empty_figure("Active through the horizon", "days after the cutoff", "share of the snapshots")
    known_NS = ~np.isnan(table.label)
    num_S = np.maximum(known_NS.sum(axis=0), 1)
    for name, active_NS, style in styles({name: table.active[name] for name in names}):
        axes.plot(horizons_days, (active_NS * known_NS).sum(axis=0) / num_S, label=name, **style)
    axes.plot(
        horizons_days,
        np.nansum(table.label, axis=0) / num_S,
        "o",
        color=DARK,
        markersize=5,
        label="observed",
        zorder=30,
    )
    axes.set_ylim(bottom=0)
    return legend(figure, axes, "upper right")


def horizon_reliability_figure(table: CurveScores, horizons_days: Sequence[float], name: str) -> Figure:
    """Share that was active against mean P(active) in 15 bins of equal mass, a line a horizon."""
    figure, axes = empty_figure(f"Reliability by horizon, {name}", "mean predicted P(active)", "share that was active")
    top = 0.05
    for s, days in enumerate(horizons_days):
        known_N = ~np.isnan(table.label[:, s])
        if known_N.any():
            mean_K, rate_K = reliability(table.label[known_N, s], table.active[name][known_N, s])
            axes.plot(
                mean_K,
                rate_K,
                marker="o",
                markersize=3.5,
                linewidth=1.5,
                color=COLORS[s % len(COLORS)],
                label=f"{days:g} days",
            )
            top = max(top, float(mean_K.max()), float(rate_K.max()))
    top = min(1.0, 1.05 * top)
    axes.plot([0, top], [0, top], color=DARK, linestyle=":", linewidth=1, zorder=1)
    axes.set(xlim=(0, top), ylim=(0, top))
    return legend(figure, axes, "upper left")


def by_horizon_figure(
    overall: Mapping[str, Mapping[str, Any]],
    horizons_days: Sequence[float],
    names: Sequence[str],
    metric: str,
    title: str,
) -> Figure:
    """One metric against the horizon, with the 95 % interval of the first model."""
    figure, axes = empty_figure(f"{title} by horizon", "days after the cutoff", title)
    keys = [f"{metric}@{days:g}" for days in horizons_days]
    ends = ("value", "low", "high")
    # None is NaN
    found = {name: np.array([[overall[name][key][end] for end in ends] for key in keys], dtype=float) for name in names}
    for row, (name, value_S3, style) in enumerate(styles(found)):
        axes.plot(horizons_days, value_S3[:, 0], marker="o", markersize=3.5, label=name, **style)
        if row == 0:
            axes.fill_between(
                horizons_days, value_S3[:, 1], value_S3[:, 2], color=style["color"], alpha=0.15, linewidth=0
            )
    return legend(figure, axes, "upper right")


def customers_figure(table: CurveScores, horizons_days: Sequence[float], name: str) -> Figure:
    """The curves of single snapshots, at quantiles of the expected remaining lifetime."""
    figure, axes = empty_figure(f"Curves of single customers, {name}", "days after the cutoff", "P(active)")
    lifetime_N = restricted_mean(table.active[name], horizons_days)
    order = np.argsort(lifetime_N, kind="stable")
    for place, quantile in enumerate(QUANTILES if len(order) else ()):
        row = order[int(quantile * (len(order) - 1))]
        label = f"{quantile:.0%}: {lifetime_N[row]:.0f} days expected"
        axes.plot(horizons_days, table.active[name][row], marker="o", markersize=3.5, color=COLORS[place], label=label)
    axes.set(ylim=(0, 1))
    return legend(figure, axes, "upper right")


def survival_figures(table: CurveScores, metrics: Mapping[str, Any], names: Sequence[str]) -> Figures:
    """Of the first models of `names`, the network's first."""
    days, overall, few = metrics["horizons_days"], metrics["split"]["test"]["overall"], list(names)[:CURVES]
    if not len(table) or not few:
        return {}
    return {
        "active": ("Mean P(active) against the share that was", curves_figure(table, days, few)),
        "reliability": (
            "Calibrated P(active) in 15 bins of equal mass",
            horizon_reliability_figure(table, days, few[0]),
        ),
        "ece_by_horizon": ("Calibration error by horizon", by_horizon_figure(overall, days, few, "ece", "ECE")),
        "auroc_by_horizon": ("AUC by horizon", by_horizon_figure(overall, days, few, "auroc", "AUC")),
        "customers": ("Curves at quantiles of the expected remaining lifetime", customers_figure(table, days, few[0])),
    }
