"""A sweep on the terminal and as a page: trials ranked, ties with the best, seeds together, and what to do next."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import pandas as pd
from matplotlib.figure import Figure as Drawing
from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table
from rich.text import Text

from clm_dl.evaluation.metric import Figure, Metric
from clm_dl.visual.figures import COLORS, GREY, empty_figure, interval_figure, legend
from clm_dl.visual.html import data_uri, environment
from clm_dl.visual.text import mean_sd, number, signed

DRAWN = 30  # trials in the figure of intervals
TITLES = ("", "trial", "objective", "95 % interval", "− the best's", "", "time")
NOTE = (
    "Ranked by the validation figure. A tie: the paired difference to the best, over customers, may be 0; where trials "
    "did not score the same snapshots: their intervals overlap. One seed's interval covers customers, not seeds; the "
    "best of many is flattered by the choice, so judge it on test."
)


def print_sweep(
    trials: pd.DataFrame, seeds: pd.DataFrame, metrics: Mapping[str, Metric], console: Console | None = None
) -> None:
    """Ranked trials, seeds together where there are several, and what has not finished.

    Args:
        trials, seeds: see `trials.rank` and `trials.seeds`. metrics: those that trials are ranked by.
    """
    longest = max(map(len, trials["trial"]), default=0)
    console = console or Console(width=max(Console().width, 100 + longest))
    if len(ranked := trials[trials["rank"].notna()]):
        console.print(_table("trials by validation", TITLES, [_cells(row, metrics) for row in _rows(ranked)]))
        console.print(NOTE)
    if len(seeds):
        console.print(_table("seeds together", ("settings", "trials", "objective"), _seeds(seeds, metrics)))
    for row in _rows(trials[trials["state"] != "finished"]):
        console.print(Text(f"{row['state']}: {row['trial']}{': ' if row['reason'] else ''}{row['reason']}"))


def render_sweep(
    trials: pd.DataFrame,
    seeds: pd.DataFrame,
    curves: pd.DataFrame,
    metrics: Mapping[str, Metric],
    *,
    title: str,
    commands: Sequence[str],
) -> str:
    """The page of a sweep as one HTML text; `curves` with the columns trial, epoch, name, value."""
    ranked = trials[trials["rank"].notna()]
    drawn = [figure for name, metric in metrics.items() for figure in _figures(ranked, curves, name, metric)]
    return (
        environment()
        .get_template("sweep.html.jinja")
        .render(
            title=title,
            states=trials["state"].value_counts().to_dict(),
            titles=TITLES,
            rows=[_cells(row, metrics) for row in _rows(ranked)],
            note=NOTE,
            seeds=_seeds(seeds, metrics),
            figures=[(caption, data_uri(figure)) for caption, figure in drawn],
            others=list(_rows(trials[trials["state"] != "finished"])),
            commands=list(commands),
        )
    )


def _rows(table: pd.DataFrame) -> list[dict[str, Any]]:
    return [{str(key): value for key, value in row.items()} for row in table.to_dict("records")]


def _cells(row: Mapping[str, Any], metrics: Mapping[str, Metric]) -> list[str]:
    metric = metrics[row["objective"]]
    low, high = (number(_known(row[end]), metric.digits) for end in ("low", "high"))
    difference: Figure = {"value": _known(row["difference"]), **_ends(row)}
    verdict = f"{row['verdict']}, cheapest" if row["cheapest"] else str(row["verdict"])
    seconds = f"{'≥ ' if row['resumed'] else ''}{row['seconds']:,.0f} s" if row["seconds"] == row["seconds"] else "–"
    return [
        str(row["rank"]),
        str(row["trial"]),
        f"{metric.title} {number(_known(row['value']), metric.digits)}",
        f"{low}–{high}",
        signed(difference, metric.digits + 1) if difference["value"] is not None else "–",
        verdict,
        seconds,
    ]


def _ends(row: Mapping[str, Any]) -> Figure:
    return {end: _known(row[f"difference_{end}"]) for end in ("low", "high")}


def _known(value: Any) -> float | None:
    return None if pd.isna(value) else float(value)


def _seeds(seeds: pd.DataFrame, metrics: Mapping[str, Metric]) -> list[list[str]]:
    found, fixed = [], ("objective", "trials", "mean", "sd")
    for row in _rows(seeds):
        metric = metrics[row["objective"]]
        settings = ", ".join(f"{key}={value}" for key, value in row.items() if key not in fixed and not pd.isna(value))
        figure = mean_sd((row["mean"], row["sd"]), metric.digits)
        found.append([settings or "all", str(row["trials"]), f"{metric.title} {figure}"])
    return found


def _table(title: str, titles: Sequence[str], rows: Sequence[Sequence[str]]) -> Table:
    table = Table(box=SIMPLE_HEAD, pad_edge=False, title=title, title_justify="left", title_style="bold")
    for name in titles:
        table.add_column(name, no_wrap=True)
    for cells in rows:
        table.add_row(*(Text(cell) for cell in cells), style="bold" if "best" in cells else "")
    return table


def _figures(ranked: pd.DataFrame, curves: pd.DataFrame, name: str, metric: Metric) -> list[tuple[str, Drawing]]:
    """The intervals of the objective `name`, and its curves where training watched it."""
    rows = _rows(ranked[ranked["objective"] == name])
    found = {row["trial"]: {name: {end: _known(row[end]) for end in ("value", "low", "high")}} for row in rows[:DRAWN]}
    more = f", the best {DRAWN} of {len(rows)} trials" if len(rows) > DRAWN else ""
    figures = [(f"Validation {metric.title} with its 95 % interval{more}", interval_figure(found, name, metric.title))]
    shown = curves[curves["name"] == f"val/{name}"]
    if len(shown):
        figures.append(
            (f"Validation {metric.title} by epoch, the best trials in colour", _curves(shown, found, metric))
        )
    return figures


def _curves(shown: pd.DataFrame, trials: Mapping[str, Any], metric: Metric) -> Drawing:
    figure, axes = empty_figure(f"validation {metric.title} by epoch", "epoch", metric.title)
    for place, trial in enumerate(trials):
        one = shown[shown["trial"] == trial]
        (line,) = axes.plot(one["epoch"], one["value"], color=GREY, linewidth=1.3, zorder=50 - place)
        if place < len(COLORS):
            line.set(color=COLORS[place], label=trial)
    return legend(figure, axes, "upper right")
