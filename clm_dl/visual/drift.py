"""A backtest shown: a line a cutoff on the terminal and in report.html, and a figure of what goes wrong."""

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

from clm_dl.evaluation.metric import Metric
from clm_dl.visual.figures import COLORS, DARK, house_style
from clm_dl.visual.results import Results
from clm_dl.visual.text import number

MODELS = {"network": "frozen", "recalibrated": "recalibrated on the newest matured cutoff"}


def rows(results: Results) -> tuple[list[str], list[list[str]]]:
    """Titles and cells: a row a cutoff, frozen beside recalibrated."""
    found, main, (watched, *further) = _found(results), results.known.main, _watched(results)
    titles = ["cutoff", "days", results.pages.rate, main.title, watched.title, f"{watched.title} recal.", "bias"]
    titles += ["bias recal.", *(title for metric in further for title in (metric.title, f"{metric.title} recal."))]
    lines = []
    for at in found["cutoffs"]:
        models = found["metrics"]["split"]["test"]["per_cutoff"][at["cutoff"]]
        moved, value = next(iter(at["psi"]["inputs"].items()))
        figures = [models["network"][main.name], *(models[name][watched.name] for name in MODELS)]
        cells = [at["cutoff"], f"{at['days']:.0f}", number(at["rate"]), *(number(one["value"]) for one in figures)]
        cells += [f"{at['bias'][name]:+.1%}" for name in MODELS]
        cells += [f"{models[name][metric.name]['value']:.1%}" for metric in further for name in MODELS]
        recalibrated = at["recalibrated_on"] or "not yet"
        lines.append([*cells, recalibrated, number(at["psi"]["score"], 2), f"{moved} {number(value, 2)}"])
    return [*titles, "recal. on", "PSI score", "input that moved most"], lines


def print_backtest(results: Results, console: Console | None = None) -> None:
    """One line a cutoff, and the warning where there is one."""
    found, (titles, lines) = _found(results), rows(results)
    title = f"{found['task']}: the network of {found['trained_until']} on later cutoffs"
    table = Table(title=title, box=SIMPLE_HEAD, title_justify="left")
    for name in titles:
        table.add_column("\n".join(name.split(" ", 1)), justify="right", no_wrap=True)
    for line in lines:
        table.add_row(*line)
    console = console or Console(width=max(Console().width, Console(width=1000).measure(table).maximum))
    console.print(table)
    if found["warning"]:
        console.print(f"WARNING: {found['warning']}", style="bold")


def drift_figure(results: Results) -> Figure:
    """The main metric, the watched one and total bias by cutoff, frozen and recalibrated, with intervals."""
    found, main, watched = _found(results), results.known.main, _watched(results)[0]
    figure = Figure(figsize=(5.2, 5.4), dpi=110, layout="constrained")
    FigureCanvasAgg(figure)
    dates = pd.to_datetime([at["cutoff"] for at in found["cutoffs"]], utc=True)
    models = [found["metrics"]["split"]["test"]["per_cutoff"][at["cutoff"]] for at in found["cutoffs"]]
    panels = {main.name: main.title, watched.name: watched.title, "bias": "total bias"}
    for axes, (metric, title) in zip(figure.subplots(len(panels), 1, sharex=True), panels.items(), strict=True):
        house_style(axes)
        axes.set_ylabel(title, fontsize=9, color=DARK)
        for (name, label), color in zip(MODELS.items(), COLORS, strict=False):
            if metric == "bias":
                values = [at["bias"][name] for at in found["cutoffs"]]
                axes.plot(dates, values, marker="o", markersize=3.5, color=color, label=label)
                continue
            part = [at[name][metric] for at in models]
            values = [point["value"] for point in part]
            axes.plot(dates, values, marker="o", markersize=3.5, color=color, label=label)
            if all(point["low"] is not None for point in part):
                ends = ([point[end] for point in part] for end in ("low", "high"))
                axes.fill_between(dates, *ends, color=color, alpha=0.15, linewidth=0)
        if metric == watched.name:
            axes.axhline(found["test_error"], color=DARK, linestyle=":", linewidth=1)
        if metric == "bias":
            axes.axhline(0.0, color=DARK, linestyle=":", linewidth=1)
            axes.xaxis.set_major_formatter(mdates.ConciseDateFormatter(axes.xaxis.get_major_locator()))
            below = {"loc": "upper center", "bbox_to_anchor": (0.5, -0.25)}  # no corner stays free
            axes.legend(ncols=2, fontsize=7.5, frameon=False, **below)
    return figure


def section(results: Results) -> dict[str, Any]:
    """What report.html shows of it, see `html`."""
    found, main, watched = _found(results), results.known.main, _watched(results)[0]
    titles, lines = rows(results)
    return {
        "warning": found["warning"],
        "titles": titles,
        "rows": lines,
        "trained_until": found["trained_until"],
        "caption": f"{main.title}, {watched.title} (dotted: on test) and total bias by cutoff",
    }


def _found(results: Results) -> Mapping[str, Any]:
    assert results.backtest is not None
    return results.backtest


def _watched(results: Results) -> list[Metric]:
    return [results.known[name] for name in results.task.watched]
