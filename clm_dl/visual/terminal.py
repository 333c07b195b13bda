"""The comparison on the terminal: network first, then the baselines, figures with intervals, and paired differences."""

from __future__ import annotations

import textwrap
from collections.abc import Mapping, Sequence
from dataclasses import replace

from rich.box import SIMPLE_HEAD
from rich.console import Console, Group
from rich.table import Table
from rich.text import Text

from clm_dl.evaluation.comparison import group_runs, paired_difference
from clm_dl.evaluation.metric import NETWORK, ONE_SEED, UNDEFINED, Figure, Metric
from clm_dl.visual.facts import ONE_SEED_LINE
from clm_dl.visual.results import Results
from clm_dl.visual.text import mean_sd, number, signed

CUTOFFS = 4  # side by side in 100 columns
WIDTH = len(".857 .849–.865")  # of a figure with its interval: no title makes a column wider


def comparison_table(results: Results, *, split: str = "test", part: str = "overall") -> Group:
    """A table of 100 columns and its notes, for `split` and one of its parts (see Pages)."""
    known, models = results.known, results.metrics["split"][split][part]
    rows = {
        name: [models[name].get(metric.name, UNDEFINED) for metric in known.table] for name in known.ordered(models)
    }
    title = f"{results.metrics['task']}: {split} split, {results.pages.parts[part]}"
    return Group(_table(title, known.table, rows), *(Text(line) for line in notes(results, split, part)))


def parts_table(results: Results, *, split: str = "test") -> Table:
    """The main metric of every model in each part of `split` that holds models."""
    main, found = results.known.main, results.metrics["split"][split]
    parts = results.pages.filled(found)
    rows = {
        name: [found[part].get(name, {}).get(main.name, UNDEFINED) for part in parts]
        for name in results.known.ordered(found["overall"])
    }
    columns = [replace(main, title=title) for title in parts.values()]
    table = _table(f"{results.metrics['task']}: {split} split, {main.title} by part", columns, rows)
    table.collapse_padding = True  # so that five parts fit beside long names
    return table


def print_comparison(questions: Sequence[Results], console: Console | None = None) -> None:
    """The test comparison of every question in 100 columns, or as the longest name needs: whole, parts, differences."""
    for results in questions:
        longest = max(map(len, results.overall), default=0)
        out, test = console or Console(width=max(Console().width, 100, 84 + longest)), results.metrics["split"]["test"]
        out.print(comparison_table(results))
        filled = results.pages.filled(test)
        others = [part for part in filled if part != "overall" and test[part] != test["overall"]]
        if results.pages.side_by_side and others:
            out.print(parts_table(results))
        elif not results.pages.side_by_side:
            for part in others:
                out.print(comparison_table(results, part=part))
        for line in difference_lines(results):
            out.print(Text(line, style="bold"))


def print_cutoffs(questions: Sequence[Results], console: Console | None = None) -> None:
    """The main metric of every model at each test cutoff, where there are several: CUTOFFS a table."""
    console = console or Console(width=max(Console().width, 100))
    for results in questions:
        main, found = results.known.main, results.metrics["split"]["test"].get("per_cutoff", {})
        dates = list(found) if len(found) > 1 else []
        for few in [dates[start : start + CUTOFFS] for start in range(0, len(dates), CUTOFFS)]:
            rows = {
                name: [found[date].get(name, {}).get(main.name, UNDEFINED) for date in few] for name in results.names
            }
            title = f"{results.metrics['task']}: test split, {main.title} by cutoff"
            console.print(_table(title, [replace(main, title=date) for date in few], rows))


def notes(results: Results, split: str, part: str) -> list[str]:
    """The lines under the table: how much was scored, and what the brackets mean."""
    metrics = results.metrics
    if not metrics["reference"][split]["snapshots"]:
        return [f"no {split} snapshots with a label"]
    return [
        *[results.pages.count(metrics, split)] * (part == "overall"),
        f"Ranges: 95 % intervals from {metrics['resamples']:,} bootstrap resamples of customers; bold: best in its "
        "column.",
    ]


def difference_lines(results: Results, split: str = "test") -> list[str]:
    """Paired differences with verdicts: the network to the best baseline; a best model to it and to `repeat`; and what
    an interval of one seed does not cover.
    """
    best, found = results.metrics["best_baseline"], results.metrics["difference"].get(split, {})
    where = "validation" if best["chosen_on"] == "val" else best["chosen_on"]
    chosen = f" (best baseline on {where})"
    pairs = {(results.leader, "repeat"): "", (results.leader, best["name"]): chosen, (NETWORK, best["name"]): chosen}
    lines = []
    for (one, other), remark in reversed(pairs.items()):
        if difference := found.get(f"{one} - {other}"):
            parts = [
                f"{metric.title} {signed(difference[metric.name])}, {metric.told(difference[metric.name])}"
                for metric in results.known.tiles[:2]
            ]
            lines += [f"{one} − {other}{remark}, paired:", "  " + "; ".join(parts)]
    return [*lines, *[ONE_SEED_LINE] * any(ONE_SEED in line for line in lines)]


def print_runs(questions: Sequence[Results], console: Console | None = None) -> None:
    """One line a configuration: test metrics (mean ± sd over its seeds) and the paired difference in the main metric to
    the first. Results that have no figures in common make a table each.
    """
    console = console or Console(width=max(Console().width, 130))
    for members in alike(questions):
        known, groups = members[0].known, group_runs(members)
        table = Table(box=SIMPLE_HEAD, pad_edge=False)
        for title in ("run", "model", "seeds"):
            table.add_column(title, overflow="fold")
        for title in (*(metric.title for metric in known.table), f"{known.main.title} − first's"):
            table.add_column(title, justify="right", no_wrap=True)
        for group in groups:
            cells = [mean_sd(group.mean(metric.name), metric.digits) for metric in known.table]
            found = paired_difference(group, groups[0], resamples=400) if group is not groups[0] else None
            same = "–" if group is groups[0] else "other snapshots"
            last = signed(found[known.main.name], 3) if found else same
            table.add_row(group.name, group.model, str(len(group.runs)), *cells, last)
        console.print(table)


def alike(questions: Sequence[Results]) -> list[list[Results]]:
    """Results with the same main metric together, in the order given: only they have figures in common."""
    found: dict[str, list[Results]] = {}
    for results in questions:
        found.setdefault(results.known.main.name, []).append(results)
    return list(found.values())


def _table(title: str, columns: Sequence[Metric], rows: Mapping[str, Sequence[Figure]]) -> Table:
    """A row a model, a column a metric; the best of each column is bold."""
    table = Table(box=SIMPLE_HEAD, pad_edge=False, title=title, title_justify="left", title_style="bold")
    table.add_column("model", no_wrap=True)
    for metric in columns:
        table.add_column(textwrap.fill(metric.title, WIDTH), justify="right", no_wrap=True)
    best = [metric.best(row[i]["value"] for row in rows.values()) for i, metric in enumerate(columns)]
    for name, row in rows.items():
        cells = [_cell(found, metric.digits, top) for metric, found, top in zip(columns, row, best, strict=True)]
        table.add_row(Text(name, style="bold cyan" if name == NETWORK else ""), *cells)
    return table


def _cell(found: Figure, digits: int, best: float | None) -> Text:
    """.857 .849–.865: the value, bold where it is the best, and its interval in dim."""
    text = Text(number(found["value"], digits), style="bold" if best is not None and found["value"] == best else "")
    if found["low"] is not None:
        text.append(f" {number(found['low'], digits)}–{number(found['high'], digits)}", style="not bold dim")
    return text
