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
FEW = 20  # trials, below which shares of the variance are unreliable
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
    importance: pd.DataFrame,
) -> str:
    """The page of a sweep as one HTML text; `curves` with the columns trial, epoch, name, value, `importance` with
    objective, setting, share, trials.
    """
    ranked = trials[trials["rank"].notna()]
    drawn = [figure for name, metric in metrics.items() for figure in _figures(ranked, curves, name, metric)]
    for name, shares in importance.groupby("objective", sort=False):
        few = f" – of {shares['trials'].iloc[0]} trials, so do not rely on it" if shares["trials"].iloc[0] < FEW else ""
        said = f"Share of the variance of {metrics[name].title} that each setting explains by itself (fANOVA){few}"
        drawn.append((said, _importance(shares, metrics[name])))
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
        groups = _groups(ranked[ranked["objective"] == name])
        best = "trials" if len(groups) == len(rows) else "settings, mean ± sd of their seeds,"
        caption = f"Validation {metric.title} by epoch, the best {best} in colour"
        figures.append((caption, _curves(shown, groups, metric)))
    return figures


def _groups(ranked: pd.DataFrame) -> dict[str, list[str]]:
    """Trials that differ by their seed alone, the best first; named by their settings, or where all are alone by their
    folders.
    """
    start, end = (ranked.columns.get_loc(name) for name in ("trial", "state"))
    settings, found = [name for name in ranked.columns[start + 1 : end] if name != "seed"], dict[str, list[str]]()
    for row in _rows(ranked):
        told = ", ".join(f"{name}={row[name]}" for name in settings if not pd.isna(row[name]))
        found.setdefault(told or "all", []).append(row["trial"])
    return found if len(found) < len(ranked) else {trial: [trial] for [trial] in found.values()}


def _curves(shown: pd.DataFrame, groups: Mapping[str, Sequence[str]], metric: Metric) -> Drawing:
    """Of several trials the mean and a band of one standard deviation, as long as all of them were trained."""
    figure, axes = empty_figure(f"validation {metric.title} by epoch", "epoch", metric.title)
    for place, (name, trials) in enumerate(groups.items()):
        found = shown[shown["trial"].isin(trials)].groupby("epoch")["value"].agg(["mean", "std", "size"])
        found = found[found["size"] == found["size"].max()]
        color = COLORS[place] if place < len(COLORS) else GREY
        (line,) = axes.plot(found.index, found["mean"], color=color, linewidth=1.3, zorder=50 - place)
        if place < len(COLORS):
            line.set(label=name)
        if len(trials) > 1:
            ends = (found["mean"] - found["std"], found["mean"] + found["std"])
            axes.fill_between(found.index, *ends, color=color, alpha=0.15, linewidth=0)
    return legend(figure, axes, "upper right")


def _importance(shares: pd.DataFrame, metric: Metric) -> Drawing:
    title = f"what {metric.title} depends on"
    figure, axes = empty_figure(title, "share of the variance", "", height=0.9 + 0.32 * len(shares))
    axes.barh(shares["setting"], shares["share"], color=COLORS[0], height=0.6)
    axes.invert_yaxis()
    axes.grid(axis="y", visible=False)
    return figure
