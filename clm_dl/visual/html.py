"""report.html: one or many run directories as a page that needs no other file and no network."""

from __future__ import annotations

import base64
import io
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml
from jinja2 import Environment, PackageLoader, StrictUndefined
from matplotlib.figure import Figure

from clm_dl.errors import UserError
from clm_dl.evaluation.comparison import Group, group_runs, paired_difference
from clm_dl.evaluation.splits import NETWORK
from clm_dl.experiment.parts import Part
from clm_dl.experiment.run_files import BACKTEST
from clm_dl.run import Run, load_run
from clm_dl.tasks.churn import pages as html_churn
from clm_dl.tasks.pretrain import pages as html_pretrain
from clm_dl.tasks.recommend import pages as html_ranked
from clm_dl.tasks.survival import pages as html_survival
from clm_dl.tasks.value import pages as html_value
from clm_dl.visual.drift import drift_figure, section
from clm_dl.visual.families import Family, by_family, family
from clm_dl.visual.text import digits, mean_sd, number, signed, verdict

PAGES = {
    "churn": html_churn,
    "survival": html_survival,
    "value": html_value,
    "ranked": html_ranked,
    "pretrain": html_pretrain,
}  # what each family's runs are shown with
CARDS = "cards.json"  # of recommendations.sample_cards


def render_report(folders: Sequence[Path]) -> str:
    """The report of the finished runs in `folders`, as one HTML text; several runs are compared first, by family of
    tasks.

    Figures are drawn for a single run; among many, each run's own report has them. Paired differences are given between
    runs with the same fingerprint only; where it differs, the report says so.
    """
    runs = [load_run(folder) for folder in folders]
    finished = [run for run in runs if (run.path / "metrics.json").is_file()]
    if not finished:
        raise UserError(
            "no run with metrics among " + ", ".join(str(folder) for folder in folders) + ": train one first"
        )
    page = Environment(
        loader=PackageLoader("clm_dl.visual"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    return page.get_template("report.html.jinja").render(
        title=finished[0].metrics["task"] if len(finished) == 1 else f"{len(finished)} runs",
        comparisons=[_comparison(shown, group_runs(members)) for shown, members in by_family(finished)]
        if len(finished) > 1
        else [],
        runs=[_run(run, draw=len(finished) == 1) for whole in finished for run in whole.questions],
        left_out=[f"{run.path.name} ({run.status['state']})" for run in runs if run not in finished],
    )


def _comparison(shown: Family, groups: Sequence[Group]) -> dict[str, Any]:
    rows = []
    for group in groups:
        baseline = group.runs[0].metrics["best_baseline"]["name"]
        own = paired_difference(group, group, other_model=baseline) if group.model == NETWORK and baseline else None
        first = paired_difference(group, groups[0]) if group is not groups[0] else None
        rows.append(
            {
                "name": group.name,
                "model": group.model,
                "seeds": len(group.runs),
                "cells": [mean_sd(group.mean(metric), digits(metric)) for metric in shown.columns],
                "baseline": baseline,
                "own": _judged(own, shown.main),
                "first": _judged(first, shown.main),
                "same": group.fingerprint == groups[0].fingerprint,
            }
        )
    return {
        "rows": rows,
        "same": all(row["same"] for row in rows),
        "first": groups[0].name,
        "columns": list(shown.columns.values()),
        "title": shown.title,
    }


def _judged(difference: dict[str, dict[str, float]] | None, metric: str) -> dict[str, str] | None:
    if not difference or metric not in difference:
        return None
    return {"text": signed(difference[metric]), "verdict": verdict(difference[metric], metric)}


def _run(run: Run, *, draw: bool) -> dict[str, Any]:
    metrics, shown = run.metrics, family(run.metrics)
    page, names = PAGES[shown.name], shown.ordered(metrics["split"]["test"]["overall"])
    found = json.loads((run.path / BACKTEST).read_text()) if (run.path / BACKTEST).is_file() else None
    timing = json.loads((run.path / "timing.json").read_text()) if (run.path / "timing.json").is_file() else {}
    return {
        "name": _name(run.path) + (f": {run.question}" if isinstance(run, Part) else ""),
        "encoder": f"encoder {run.config['encoder']['name']}" if run.config["data"]["name"] != "table" else "table",
        "path": str(run.path),
        "metrics": metrics,
        "status": run.status,
        "tiles": _tiles(metrics, names[0]) if names else [],
        "tables": page.tables(metrics),
        "note": page.note(metrics),
        "differences": _differences(metrics),
        "difference_titles": [shown.columns[m] for m in shown.differences],
        "chosen": _chosen(metrics),
        "figures": [(caption, _data_uri(figure)) for caption, figure in page.figures(run, names).items()]
        if draw and names
        else [],
        "cards": json.loads((run.path / CARDS).read_text()) if draw and (run.path / CARDS).is_file() else [],
        "drift": {**section(found), "figure": _data_uri(drift_figure(found))} if found else None,
        "facts": [
            (title, [line.replace("`", "") for line in lines])  # Markdown's code marks
            for title, lines in {**shown.setup(metrics, run.config), **shown.limits(metrics)}.items()
        ],
        "details": page.details(metrics),
        "timing": [(name, seconds) for name, seconds in timing.items() if isinstance(seconds, (int, float))],
        "config": yaml.safe_dump(run.config, sort_keys=False, allow_unicode=True),
    }


def _name(path: Path) -> str:
    """The run's folder; of a trial of a sweep, which is a number, with the folder above it."""
    return f"{path.parent.name}/{path.name}" if path.name.isdigit() else path.name


def _tiles(metrics: Mapping[str, Any], main: str) -> list[tuple[str, str, str]]:
    """(name, value, small print) of the figures on top."""
    shown, found = family(metrics), metrics["split"]["test"]["overall"][main]
    tiles = []
    for m in shown.tiles:
        low, high = (number(found[m][end], digits(m)) for end in ("low", "high"))
        range_ = "no interval" if found[m]["low"] is None else f"95 %: {low} to {high}"
        title = shown.columns[m][0].upper() + shown.columns[m][1:]
        tiles.append((f"{title} of {main}", number(found[m]["value"], digits(m)), range_))
    best = metrics["best_baseline"]["name"]
    difference = metrics["difference"].get("test", {}).get(f"{NETWORK} - {best}")
    if difference:
        tiles.append(
            (
                f"{shown.title} against {best}",
                verdict(difference[shown.main], shown.main),
                signed(difference[shown.main]),
            )
        )
    return tiles


def _differences(metrics: Mapping[str, Any]) -> list[tuple[str, list[tuple[str, str]]]]:
    """A row a pair of models, each pair once."""
    rows: dict[frozenset[str], tuple[str, list[tuple[str, str]]]] = {}
    for name, found in metrics["difference"].get("test", {}).items():
        cells = [(signed(found[m], digits(m)), verdict(found[m], m)) for m in family(metrics).differences]
        rows.setdefault(frozenset(name.split(" - ")), (name.replace(" - ", " − "), cells))
    return list(rows.values())


def _chosen(metrics: Mapping[str, Any]) -> str:
    """Where the best baseline, and of a ranked run the best model, were chosen."""
    where = {"val": "validation", "test": f"test, because validation has no {family(metrics).title}", None: "nothing"}
    found = {"best baseline": metrics["best_baseline"]} | (
        {"best model": metrics["best_model"]} if "best_model" in metrics else {}
    )
    return " ".join(
        f"The {what}, {best['name']}, was chosen on {where[best['chosen_on']]}." for what, best in found.items()
    )


def _data_uri(figure: Figure) -> str:
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=130)
    return "data:image/png;base64," + base64.b64encode(buffer.getvalue()).decode()
