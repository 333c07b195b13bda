"""report.html: one or many runs as a page that needs no other file and no network."""

from __future__ import annotations

import base64
import io
from collections.abc import Mapping, Sequence
from typing import Any

import yaml
from jinja2 import Environment, PackageLoader, StrictUndefined
from matplotlib.figure import Figure as Drawing

from clm_dl.evaluation.comparison import Group, group_runs, paired_difference
from clm_dl.evaluation.metric import NETWORK, Figure, Metric
from clm_dl.visual.drift import drift_figure, section
from clm_dl.visual.facts import ONE_SEED_LINE, calibration_lines
from clm_dl.visual.results import Results
from clm_dl.visual.terminal import alike
from clm_dl.visual.text import mean_sd, number, signed

DRAWN = 1  # runs whose figures are drawn; among more, each run's own report has them


def render_report(runs: Sequence[Sequence[Results]], *, title: str = "", left_out: Sequence[str] = ()) -> str:
    """The report of finished runs, each given as the results of its questions, as one HTML text; several are compared
    first. Paired differences are given between runs with the same fingerprint only; where it differs, the report says
    so.

    Args:
        title: of the page. left_out: what is said of runs without metrics.
    """
    questions = [results for run in runs for results in run]
    compared = alike(questions) if len(runs) > 1 else []
    return (
        environment()
        .get_template("report.html.jinja")
        .render(
            title=title or f"{len(runs)} runs",
            comparisons=[_comparison(members) for members in compared],
            runs=[_run(results, draw=len(runs) <= DRAWN) for results in questions],
            left_out=list(left_out),
        )
    )


def environment() -> Environment:
    """Where templates come from."""
    return Environment(
        loader=PackageLoader("clm_dl.visual"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )


def _comparison(members: Sequence[Results]) -> dict[str, Any]:
    known, groups = members[0].known, group_runs(members)
    rows = [_row(group, groups[0], known.table, known.main) for group in groups]
    return {
        "rows": rows,
        "same": all(row["same"] for row in rows),
        "first": groups[0].name,
        "columns": [metric.title for metric in known.table],
        "title": known.main.title,
    }


def _row(group: Group, first: Group, columns: Sequence[Metric], main: Metric) -> dict[str, Any]:
    baseline = group.runs[0].metrics["best_baseline"]["name"]
    to_baseline = group.model == NETWORK and baseline
    own = paired_difference(group, group, other_model=baseline) if to_baseline else None
    return {
        "name": group.name,
        "model": group.model,
        "seeds": len(group.runs),
        "cells": [mean_sd(group.mean(metric.name), metric.digits) for metric in columns],
        "baseline": baseline,
        "own": _judged(own, main, seeds=len(group.runs)),
        "first": _judged(
            paired_difference(group, first) if group is not first else None,
            main,
            seeds=min(len(group.runs), len(first.runs)),
        ),
        "same": group.fingerprint == first.fingerprint,
    }


def _judged(
    difference: Mapping[str, Figure] | None, metric: Metric, *, seeds: int = 1, digits: int = 4
) -> dict[str, str] | None:
    if not difference or metric.name not in difference:
        return None
    found = difference[metric.name]
    told = metric.told(found, seeds=seeds)
    return {"text": signed(found, digits), "verdict": metric.verdict(found), "told": told}


def _run(results: Results, *, draw: bool) -> dict[str, Any]:
    metrics, pages, names, config = results.metrics, results.pages, results.names, results.config
    figures = pages.figures(metrics, results.test, names) if draw and names else {}
    facts = {**pages.setup(metrics, config), **calibration_lines(metrics), **pages.limits(metrics)}
    return {
        "name": _name(results),
        "encoder": f"encoder {config['encoder']['name']}" if config["data"]["name"] != "table" else "table",
        "path": str(results.path),
        "metrics": metrics,
        "status": results.status,
        "tiles": _tiles(results, names[0]) if names else [],
        "tables": pages.tables(metrics),
        "note": pages.note(metrics),
        "differences": _differences(results),
        "difference_titles": [metric.title for metric in results.known.paired],
        "chosen": f"{_chosen(results)} {ONE_SEED_LINE}",
        "figures": [(caption, data_uri(figure)) for caption, figure in figures.values()],
        "cards": results.cards if draw else [],
        "drift": {**section(results), "figure": data_uri(drift_figure(results))} if results.backtest else None,
        # without Markdown's code marks
        "facts": [(title, [line.replace("`", "") for line in lines]) for title, lines in facts.items()],
        "details": pages.details(metrics),
        "timing": [(name, value) for name, value in results.timing.items() if isinstance(value, (int, float))],
        "config": yaml.safe_dump(dict(config), sort_keys=False, allow_unicode=True),
    }


def _name(results: Results) -> str:
    """The run's folder; of a trial of a sweep, which is a number, with the folder above it; its question of several."""
    path = results.path
    name = f"{path.parent.name}/{path.name}" if path.name.partition("_")[0].isdigit() else path.name
    return f"{name}: {results.task.name}" if results.several else name


def _tiles(results: Results, model: str) -> list[tuple[str, str, str]]:
    """(name, value, small print) of the figures on top."""
    found, main, tiles = results.overall[model], results.known.main, []
    for metric in results.known.tiles:
        one = found[metric.name]
        low, high = (number(one[end], metric.digits) for end in ("low", "high"))
        range_ = "no interval" if one["low"] is None else f"95 %: {low} to {high}"
        title = metric.title[0].upper() + metric.title[1:]
        tiles.append((f"{title} of {model}", number(one["value"], metric.digits), range_))
    best = results.metrics["best_baseline"]["name"]
    if difference := results.metrics["difference"].get("test", {}).get(f"{NETWORK} - {best}"):
        judged = difference[main.name]
        tiles.append((f"{main.title} against {best}", main.told(judged), signed(judged)))
    return tiles


def _differences(results: Results) -> list[tuple[str, list[dict[str, str] | None]]]:
    """A row a pair of models, each pair once."""
    rows: dict[frozenset[str], tuple[str, list[dict[str, str] | None]]] = {}
    for name, found in results.metrics["difference"].get("test", {}).items():
        cells = [_judged(found, metric, digits=metric.digits) for metric in results.known.paired]
        rows.setdefault(frozenset(name.split(" - ")), (name.replace(" - ", " − "), cells))
    return list(rows.values())


def _chosen(results: Results) -> str:
    """Where the best baseline, and where it was looked for the best model, were chosen."""
    flattering = f"test, because validation has no {results.known.main.title}"
    where = {"val": "validation", "test": flattering, None: "nothing"}
    found: dict[str, Mapping[str, Any]] = {"best baseline": results.metrics["best_baseline"]}
    if "best_model" in results.metrics:
        found["best model"] = results.metrics["best_model"]
    return " ".join(
        f"The {what}, {best['name']}, was chosen on {where[best['chosen_on']]}." for what, best in found.items()
    )


def data_uri(figure: Drawing) -> str:
    """A figure inside a page."""
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=130)
    return "data:image/png;base64," + base64.b64encode(buffer.getvalue()).decode()
