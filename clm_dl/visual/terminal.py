"""The comparison on the terminal: network first, then the baselines, each figure with its interval, and the paired
difference.
"""

from __future__ import annotations

import textwrap
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from rich.box import SIMPLE_HEAD
from rich.console import Console, Group
from rich.table import Table
from rich.text import Text

from clm_dl.evaluation.comparison import group_runs, paired_difference
from clm_dl.evaluation.splits import NETWORK
from clm_dl.visual.families import by_family, by_question, family
from clm_dl.visual.text import UNDEFINED, Figure, best_value, digits, mean_sd, number, signed, verdict

if TYPE_CHECKING:
    from clm_dl.run import Run

CUTOFFS = 4  # side by side in 100 columns

WIDTH = len(".857 .849–.865")  # of a figure with its interval: no title makes a column wider


def comparison_table(metrics: Mapping[str, Any], *, split: str = "test", part: str = "overall") -> Group:
    """What `print_comparison` shows: a table of 100 columns and its notes, for `split` and one of its parts (see
    Family).
    """
    shown, models = family(metrics), metrics["split"][split][part]
    rows = {name: [models[name].get(m, UNDEFINED) for m in shown.columns] for name in shown.ordered(models)}
    table = _table(f"{metrics['task']}: {split} split, {shown.parts[part]}", list(shown.columns.items()), rows)
    return Group(table, *(Text(line) for line in notes(metrics, split, part)))


def parts_table(metrics: Mapping[str, Any], *, split: str = "test") -> Table:
    """The main metric of every model in each part of `split` that holds models."""
    shown, found = family(metrics), metrics["split"][split]
    parts = shown.filled(found)
    rows = {
        name: [found[part].get(name, {}).get(shown.main, UNDEFINED) for part in parts]
        for name in shown.ordered(found["overall"])
    }
    table = _table(
        f"{metrics['task']}: {split} split, {shown.title} by part",
        [(shown.main, title) for title in parts.values()],
        rows,
    )
    table.collapse_padding = True  # so that five parts fit beside long names
    return table


def print_comparison(metrics: Mapping[str, Any], console: Console | None = None) -> None:
    """Print the test comparison in 100 columns, or as many as the longest name needs: the whole, its parts, paired
    differences.

    Of a multi-task run that of every question.
    """
    for found in by_question(metrics):
        longest = max(map(len, found["split"]["test"]["overall"]), default=0)
        _print_question(found, console or Console(width=max(Console().width, 100, 84 + longest)))


def _print_question(metrics: Mapping[str, Any], console: Console) -> None:
    shown, test = family(metrics), metrics["split"]["test"]
    console.print(comparison_table(metrics))
    others = [part for part in shown.filled(test) if part != "overall" and test[part] != test["overall"]]
    for table in (
        [parts_table(metrics)] * bool(others)
        if shown.side_by_side
        else [comparison_table(metrics, part=part) for part in others]
    ):
        console.print(table)
    for line in difference_lines(metrics):
        console.print(Text(line, style="bold"))


def print_cutoffs(metrics: Mapping[str, Any], console: Console | None = None) -> None:
    """Print the main metric of every model at each test cutoff, where there are several: CUTOFFS a table."""
    console = console or Console(width=max(Console().width, 100))
    for found in by_question(metrics):
        _print_dates(found, console)


def _print_dates(metrics: Mapping[str, Any], console: Console) -> None:
    shown, found = family(metrics), metrics["split"]["test"].get("per_cutoff", {})
    dates = list(found) if len(found) > 1 else []
    for few in [dates[start : start + CUTOFFS] for start in range(0, len(dates), CUTOFFS)]:
        models = shown.ordered(metrics["split"]["test"]["overall"])
        rows = {name: [found[date].get(name, {}).get(shown.main, UNDEFINED) for date in few] for name in models}
        console.print(
            _table(
                f"{metrics['task']}: test split, {shown.title} by cutoff", [(shown.main, date) for date in few], rows
            )
        )


def notes(metrics: Mapping[str, Any], split: str, part: str) -> list[str]:
    """The lines under the table: how much was scored, and what the brackets mean."""
    if not metrics["reference"][split]["snapshots"]:
        return [f"no {split} snapshots with a label"]
    count = [family(metrics).count(metrics, split)] if part == "overall" else []
    return [
        *count,
        f"Ranges: 95 % intervals from {metrics['resamples']:,} bootstrap resamples of customers; bold: best in its "
        "column.",
    ]


def difference_lines(metrics: Mapping[str, Any], split: str = "test") -> list[str]:
    """Paired differences with their verdicts: the network to the best baseline; of ranked runs the best model to it and
    to `repeat` too.
    """
    best, shown, found = metrics["best_baseline"], family(metrics), metrics["difference"].get(split, {})
    where = "validation" if best["chosen_on"] == "val" else best["chosen_on"]
    leader = metrics.get("best_model", {"name": NETWORK})["name"]
    chosen = f" (best baseline on {where})"
    pairs = {(leader, "repeat"): "", (leader, best["name"]): chosen, (NETWORK, best["name"]): chosen}
    lines = []
    for (one, other), remark in reversed(pairs.items()):
        if difference := found.get(f"{one} - {other}"):
            parts = [f"{shown.columns[m]} {signed(difference[m])}, {verdict(difference[m], m)}" for m in shown.headline]
            lines += [f"{one} − {other}{remark}, paired:", "  " + "; ".join(parts)]
    return lines


def print_runs(runs: Sequence[Run], console: Console | None = None) -> None:
    """One line a configuration: test metrics (mean ± sd over its seeds) and the paired difference in the main metric to
    the first.

    Runs of several families make a table each.
    """
    console = console or Console(width=max(Console().width, 130))
    for shown, members in by_family(runs):
        groups = group_runs(members)
        table = Table(box=SIMPLE_HEAD, pad_edge=False)
        for title in ("run", "model", "seeds"):
            table.add_column(title, overflow="fold")
        for title in (*shown.columns.values(), f"{shown.title} − first's"):
            table.add_column(title, justify="right", no_wrap=True)
        for group in groups:
            cells = [mean_sd(group.mean(metric), digits(metric)) for metric in shown.columns]
            found = paired_difference(group, groups[0], resamples=400) if group is not groups[0] else None
            last = signed(found[shown.main], 3) if found else "–" if group is groups[0] else "other snapshots"
            table.add_row(group.name, group.model, str(len(group.runs)), *cells, last)
        console.print(table)


def _table(title: str, columns: Sequence[tuple[str, str]], rows: Mapping[str, Sequence[Figure]]) -> Table:
    """A row a model, a column a (metric, title); the best of each column is bold."""
    table = Table(box=SIMPLE_HEAD, pad_edge=False, title=title, title_justify="left", title_style="bold")
    table.add_column("model", no_wrap=True)
    for _, column in columns:
        table.add_column(textwrap.fill(column, WIDTH), justify="right", no_wrap=True)
    best = [best_value(metric, [row[i]["value"] for row in rows.values()]) for i, (metric, _) in enumerate(columns)]
    for name, row in rows.items():
        cells = [
            _cell(found, digits(metric), best[i])
            for i, ((metric, _), found) in enumerate(zip(columns, row, strict=True))
        ]
        table.add_row(Text(name, style="bold cyan" if name == NETWORK else ""), *cells)
    return table


def _cell(found: Figure, digits: int, best: float | None) -> Text:
    """.857 .849–.865: the value, bold where it is the best, and its interval in dim."""
    text = Text(number(found["value"], digits), style="bold" if best is not None and found["value"] == best else "")
    if found["low"] is not None:
        text.append(f" {number(found['low'], digits)}–{number(found['high'], digits)}", style="not bold dim")
    return text
