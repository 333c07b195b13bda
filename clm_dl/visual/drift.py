"""A backtest shown: one line a cutoff on the terminal and in report.html, and a figure of what holds and what goes
wrong.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import matplotlib.dates as mdates
import pandas as pd
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table

from clm_dl.tasks.churn.figures import COLORS, DARK, house_style
from clm_dl.visual.families import family
from clm_dl.visual.text import number

MODELS = ("network", "recalibrated")


def rows(found: Mapping[str, Any]) -> tuple[list[str], list[list[str]]]:
    """Titles and cells: a row a cutoff, frozen beside recalibrated."""
    shown = family(found["metrics"])
    watched, is_value = shown.columns[found["watched"]], found["task"] == "value"
    titles = [
        "cutoff",
        "days",
        "mean label" if is_value else "rate",
        shown.title,
        watched,
        f"{watched} recal.",
        "bias",
        "bias recal.",
    ]
    titles += [*["coverage", "coverage recal."] * is_value, "recal. on", "PSI score", "input that moved most"]
    lines = []
    for at in found["cutoffs"]:
        models = found["metrics"]["split"]["test"]["per_cutoff"][at["cutoff"]]
        moved, value = next(iter(at["psi"]["inputs"].items()))
        figures = [models["network"][shown.main], *(models[name][found["watched"]] for name in MODELS)]
        cells = [
            at["cutoff"],
            f"{at['days']:.0f}",
            number(at["rate"]),
            *(number(figure["value"]) for figure in figures),
        ]
        cells += [f"{at['bias'][name]:+.1%}" for name in MODELS]
        cells += [f"{models[name]['coverage']['value']:.1%}" for name in MODELS if is_value]
        lines.append(
            [*cells, at["recalibrated_on"] or "not yet", number(at["psi"]["score"], 2), f"{moved} {number(value, 2)}"]
        )
    return titles, lines


def print_backtest(found: Mapping[str, Any], console: Console | None = None) -> None:
    """One line a cutoff, and the warning where there is one."""
    titles, lines = rows(found)
    table = Table(
        title=f"{found['task']}: the network of {found['trained_until']} on later cutoffs",
        box=SIMPLE_HEAD,
        title_justify="left",
    )
    for title in titles:
        table.add_column("\n".join(title.split(" ", 1)), justify="right", no_wrap=True)
    for line in lines:
        table.add_row(*line)
    console = console or Console(width=max(Console().width, Console(width=1000).measure(table).maximum))
    console.print(table)
    if found["warning"]:
        console.print(f"WARNING: {found['warning']}", style="bold")


def drift_figure(found: Mapping[str, Any]) -> Figure:
    """Discrimination, calibration error and total bias by cutoff, frozen and recalibrated, with the 95 % intervals that
    there are.
    """
    figure = Figure(figsize=(5.2, 5.4), dpi=110, layout="constrained")
    FigureCanvasAgg(figure)
    dates = pd.to_datetime([at["cutoff"] for at in found["cutoffs"]])
    models = [found["metrics"]["split"]["test"]["per_cutoff"][at["cutoff"]] for at in found["cutoffs"]]
    shown = family(found["metrics"])
    panels = {shown.main: shown.title, found["watched"]: shown.columns[found["watched"]], "bias": "total bias"}
    for axes, (metric, title) in zip(figure.subplots(len(panels), 1, sharex=True), panels.items(), strict=True):
        house_style(axes)
        axes.set_ylabel(title, fontsize=9, color=DARK)
        for name, color in (("network", COLORS[0]), ("recalibrated", COLORS[1])):
            label = {"network": "frozen", "recalibrated": "recalibrated on the newest matured cutoff"}[name]
            if metric == "bias":
                axes.plot(
                    dates,
                    [at["bias"][name] for at in found["cutoffs"]],
                    marker="o",
                    markersize=3.5,
                    color=color,
                    label=label,
                )
                continue
            part = [at[name][metric] for at in models]
            axes.plot(dates, [point["value"] for point in part], marker="o", markersize=3.5, color=color, label=label)
            if all(point["low"] is not None for point in part):
                axes.fill_between(
                    dates, [p["low"] for p in part], [p["high"] for p in part], color=color, alpha=0.15, linewidth=0
                )
        if metric == found["watched"]:
            axes.axhline(found["test_error"], color=DARK, linestyle=":", linewidth=1)
        if metric == "bias":
            axes.axhline(0.0, color=DARK, linestyle=":", linewidth=1)
            axes.xaxis.set_major_formatter(mdates.ConciseDateFormatter(axes.xaxis.get_major_locator()))
            axes.legend(
                loc="upper center", bbox_to_anchor=(0.5, -0.25), ncols=2, fontsize=7.5, frameon=False
            )  # below: no corner stays free
    return figure


def section(found: Mapping[str, Any]) -> dict[str, Any]:
    """What report.html shows of it, see `html`."""
    titles, lines = rows(found)
    return {"warning": found["warning"], "titles": titles, "rows": lines, "trained_until": found["trained_until"]}
