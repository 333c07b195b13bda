"""The comparison on the terminal: network first, then the baselines, each figure with its interval, and the paired difference."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from rich.box import SIMPLE_HEAD
from rich.console import Console, Group
from rich.table import Table
from rich.text import Text

from clm_dl.metrics.compare import group_runs, paired_difference
from clm_dl.metrics.summary import NETWORK

if TYPE_CHECKING:
    from clm_dl.run import Run

COLUMNS = {"auroc": "AUC", "auprc": "PR-AUC", "log_loss": "log loss", "ece": "ECE", "lift@10": "lift@10 %"}
LOWER_IS_BETTER = {"log_loss", "brier", "ece"}


def comparison_table(metrics: Mapping[str, Any], *, split: str = "test", part: str = "overall") -> Group:
    """What `print_comparison` shows: a table of 100 columns and its notes, for `split` and `part` (overall or recent)."""
    models, reference = metrics["split"][split][part], metrics["reference"][split]
    what = "all snapshots" if part == "overall" else "recently active only"
    table = Table(box=SIMPLE_HEAD, pad_edge=False, title_justify="left", title_style="bold")
    table.title = f"{metrics['task']}: {split} split, {what}"
    table.add_column("model", no_wrap=True)
    for title in COLUMNS.values():
        table.add_column(title, justify="right", no_wrap=True)
    best = {metric: _best(models, metric) for metric in COLUMNS}
    for name in ordered(models):
        cells = [_cell(models[name][m], 2 if m == "lift@10" else 3, name == best[m]) for m in COLUMNS]
        table.add_row(Text(name, style="bold cyan" if name == NETWORK else ""), *cells)
    return Group(table, *(Text(line) for line in notes(metrics, reference, split, part)))


def print_comparison(metrics: Mapping[str, Any], console: Console | None = None) -> None:
    """Print the test comparison, all and recently active, in at most 100 columns."""
    console = console or Console(width=max(Console().width, 100))
    console.print(comparison_table(metrics))
    if metrics["split"]["test"]["recent"] not in ({}, metrics["split"]["test"]["overall"]):
        console.print(comparison_table(metrics, part="recent"))
    for line in difference_lines(metrics):
        console.print(Text(line, style="bold"))


def notes(metrics: Mapping[str, Any], reference: Mapping[str, Any], split: str, part: str) -> list[str]:
    """The lines under the table: how many, how common, how far up lift can go, and what the brackets mean."""
    if reference["prevalence"] is None:
        return [f"no {split} snapshots with a label"]
    lines = []
    if part == "overall":
        censored = f", {reference['censored']:,} censored left out" if reference["censored"] else ""
        lines.append(
            f"{reference['snapshots']:,} snapshots of {reference['customers']:,} customers{censored}; "
            f"{reference['prevalence']:.1%} positive; lift@10 % at most {number(reference['ceiling']['lift@10'], 2)}."
        )
    lines.append(f"Ranges: 95 % intervals from {metrics['resamples']:,} bootstrap resamples of customers; bold: best in its column.")
    return lines


def difference_lines(metrics: Mapping[str, Any], split: str = "test") -> list[str]:
    """The paired differences of the network to the best baseline with their verdicts; [] without a network or a baseline."""
    best = metrics["best_baseline"]
    found = metrics["difference"].get(split, {}).get(f"{NETWORK} - {best['name']}")
    if not found:
        return []
    parts = [f"{COLUMNS[m]} {signed(found[m])}, {verdict(found[m], m)}" for m in ("auroc", "log_loss")]
    where = "validation" if best["chosen_on"] == "val" else best["chosen_on"]
    return [f"{NETWORK} − {best['name']} (best baseline on {where}), paired:", "  " + "; ".join(parts)]


def verdict(difference: Mapping[str, float | None], metric: str) -> str:
    """better, worse or a tie: whether the interval of a difference excludes 0."""
    low, high = difference["low"], difference["high"]
    if low is None or high is None:
        return "undefined"
    if low <= 0 <= high:
        return "a tie"
    return "better" if (low > 0) != (metric in LOWER_IS_BETTER) else "worse"


def ordered(models: Mapping[str, Any]) -> list[str]:
    """The network, then the baselines from the highest AUC down."""
    return sorted(models, key=lambda name: (name != NETWORK, -(models[name]["auroc"]["value"] or 0.0), name))


def number(value: float | None, digits: int = 3) -> str:
    """.857, 1.22, −.004, and – where undefined."""
    if value is None:
        return "–"
    text = f"{abs(value):.{digits}f}"
    sign = "−" if value < 0 and float(text) else ""
    return sign + (text[1:] if text.startswith("0.") else text)


def with_interval(found: Mapping[str, float | None], digits: int = 3) -> str:
    """.857 [.849, .865]"""
    if found["value"] is None:
        return "–"
    return f"{number(found['value'], digits)} [{number(found['low'], digits)}, {number(found['high'], digits)}]"


def signed(found: Mapping[str, float | None], digits: int = 4) -> str:
    """+.0042 [−.0010, +.0094]"""
    value, low, high = (
        ("+" if part is not None and part > 0 else "") + number(part, digits) for part in (found["value"], found["low"], found["high"])
    )
    return f"{value} [{low}, {high}]"


def _cell(found: Mapping[str, float | None], digits: int, is_best: bool) -> Text:
    """.857 .849–.865: the value, bold where it is the best, and its interval in dim."""
    text = Text(number(found["value"], digits), style="bold" if is_best else "")
    if found["low"] is not None:
        text.append(f" {number(found['low'], digits)}–{number(found['high'], digits)}", style="not bold dim")
    return text


def _best(models: Mapping[str, Any], metric: str) -> str | None:
    known = {name: found[metric]["value"] for name, found in models.items() if found[metric]["value"] is not None}
    choose = min if metric in LOWER_IS_BETTER else max
    return choose(known, key=lambda name: known[name]) if known else None


def print_runs(runs: Sequence[Run], console: Console | None = None) -> None:
    """One line a configuration: test metrics (mean ± sd over its seeds) and the paired difference in AUC to the first."""
    groups = group_runs(runs)
    if not groups:
        return
    table = Table(box=SIMPLE_HEAD, pad_edge=False)
    for title in ("run", "model", "seeds"):
        table.add_column(title, overflow="fold")
    for title in (*COLUMNS.values(), "AUC − first's"):
        table.add_column(title, justify="right", no_wrap=True)
    for group in groups:
        cells = [mean_sd(group.mean(metric), 2 if metric == "lift@10" else 3) for metric in COLUMNS]
        found = paired_difference(group, groups[0], resamples=400) if group is not groups[0] else None
        last = signed(found["auroc"], 3) if found else "–" if group is groups[0] else "other snapshots"
        table.add_row(group.name, group.model, str(len(group.runs)), *cells, last)
    (console or Console(width=max(Console().width, 130))).print(table)


def mean_sd(found: tuple[float, float], digits: int = 3) -> str:
    """.857 ± .002, or .857 for one seed."""
    mean, deviation = (None if math.isnan(part) else part for part in found)
    return number(mean, digits) + (f" ± {number(deviation, digits)}" if deviation is not None else "")
