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

from clm_dl.metrics.compare import Group, group_runs, paired_difference
from clm_dl.metrics.summary import NETWORK, score_table
from clm_dl.run import Run, load_run
from clm_dl.visual import plots
from clm_dl.visual.card import data_lines, limit_lines, population_lines, smallest_lines, split_lines
from clm_dl.visual.terminal import COLUMNS, LOWER_IS_BETTER, mean_sd, number, ordered, signed, verdict, with_interval

ALL_COLUMNS = COLUMNS | {
    "auprc_stay": "PR-AUC of staying",
    "brier": "Brier",
    "recall@10": "recall@10 %",
    "accuracy": "accuracy",
    "f1": "F1",
}
CURVES = 5  # models drawn in the figures; the table has them all


def render_report(folders: Sequence[Path]) -> str:
    """The report of the finished runs in `folders`, as one HTML text; several runs are compared first.

    Figures are drawn for a single run; among many, each run's own report has them. Paired differences are given between
    runs with the same fingerprint only; where it differs, the report says so.
    """
    runs = [load_run(folder) for folder in folders]
    finished = [run for run in runs if (run.path / "metrics.json").is_file()]
    if not finished:
        raise ValueError("no run with metrics among " + ", ".join(str(folder) for folder in folders) + ": train one first")
    page = Environment(
        loader=PackageLoader("clm_dl.visual"), autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    page.filters |= {"interval": with_interval, "signed": signed, "number": number}
    groups = group_runs(finished)
    return page.get_template("report.html.jinja").render(
        title=finished[0].metrics["task"] if len(finished) == 1 else f"{len(finished)} runs",
        comparison=_comparison(groups) if len(finished) > 1 else None,
        runs=[_run(run, draw=len(finished) == 1) for run in finished],
        left_out=[f"{run.path.name} ({run.status['state']})" for run in runs if run not in finished],
        columns=COLUMNS,
        all_columns=ALL_COLUMNS,
    )


def _comparison(groups: Sequence[Group]) -> dict[str, Any]:
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
                "cells": [mean_sd(group.mean(metric), _digits(metric)) for metric in COLUMNS],
                "baseline": baseline,
                "own": _judged(own),
                "first": _judged(first),
                "same": group.fingerprint == groups[0].fingerprint,
            }
        )
    return {"rows": rows, "same": all(row["same"] for row in rows), "first": groups[0].name}


def _judged(difference: Mapping[str, Mapping[str, float]] | None) -> dict[str, str] | None:
    if not difference or "auroc" not in difference:
        return None
    return {"text": signed(difference["auroc"]), "verdict": verdict(difference["auroc"], "auroc")}


def _run(run: Run, *, draw: bool) -> dict[str, Any]:
    metrics = run.metrics
    test = metrics["split"]["test"]
    names = ordered(test["overall"])
    main = names[0] if names else None
    timing = json.loads((run.path / "timing.json").read_text()) if (run.path / "timing.json").is_file() else {}
    return {
        "name": run.path.name,
        "path": str(run.path),
        "metrics": metrics,
        "status": run.status,
        "main": main,
        "tiles": _tiles(metrics, main) if main else [],
        "tables": [
            (title, _rows(test[part], COLUMNS))
            for part, title in (("overall", "All snapshots"), ("recent", "Recently active only"))
            if test[part]
        ],
        "more": _rows(test["overall"], {key: title for key, title in ALL_COLUMNS.items() if key not in COLUMNS}),
        "more_columns": [title for key, title in ALL_COLUMNS.items() if key not in COLUMNS],
        "val": _rows(metrics["split"]["val"]["overall"], COLUMNS),
        "raw": [(name, [number(test["raw"][name][m]["value"], _digits(m)) for m in COLUMNS]) for name in names],
        "per_cutoff": {date: _rows(models, COLUMNS) for date, models in test["per_cutoff"].items()},
        "floor": [number(metrics["reference"]["test"]["floor"].get(m), _digits(m)) for m in COLUMNS],
        "differences": _differences(metrics),
        "figures": _figures(run, names) if draw else [],
        "facts": [
            ("Data", data_lines(metrics, run.config)),
            ("Population and label", population_lines(run.config)),
            ("Split", split_lines(metrics)),
            ("Smallest difference this test set could show", smallest_lines(metrics)),
            ("Limits", limit_lines(metrics)),
        ],
        "profit": [(name, metrics["profit"]["models"][name]) for name in names],
        "timing": [(name, seconds) for name, seconds in timing.items() if isinstance(seconds, (int, float))],
        "config": yaml.safe_dump(run.config, sort_keys=False, allow_unicode=True),
    }


def _tiles(metrics: Mapping[str, Any], main: str) -> list[tuple[str, str, str]]:
    """(name, value, small print) of the four figures on top."""
    found = metrics["split"]["test"]["overall"][main]
    tiles = [
        (
            f"{title} of {main}",
            number(found[m]["value"], _digits(m)),
            f"95 %: {number(found[m]['low'], _digits(m))} to {number(found[m]['high'], _digits(m))}",
        )
        for m, title in (("auroc", "AUC"), ("log_loss", "Log loss"), ("lift@10", "Lift@10 %"))
    ]
    best = metrics["best_baseline"]["name"]
    difference = metrics["difference"].get("test", {}).get(f"{NETWORK} - {best}")
    if difference:
        text = verdict(difference["auroc"], "auroc")
        tiles.append((f"AUC against {best}", text, signed(difference["auroc"])))
    return tiles


def _rows(models: Mapping[str, Any], columns: Mapping[str, str]) -> list[tuple[str, list[dict[str, Any]]]]:
    """One row a model: for each column its value, its interval and whether it is the best."""
    values = {m: [found[m]["value"] for found in models.values() if found[m]["value"] is not None] for m in columns}
    best = {m: (min if m in LOWER_IS_BETTER else max)(known) for m, known in values.items() if known}
    return [
        (
            name,
            [
                {
                    "value": number(models[name][m]["value"], _digits(m)),
                    "low": number(models[name][m]["low"], _digits(m)),
                    "high": number(models[name][m]["high"], _digits(m)),
                    "best": m in best and models[name][m]["value"] == best[m],
                }
                for m in columns
            ],
        )
        for name in ordered(models)
    ]


def _differences(metrics: Mapping[str, Any]) -> list[tuple[str, list[tuple[str, str]]]]:
    shown = ("auroc", "auprc", "log_loss", "lift@10")
    return [
        (name.replace(" - ", " − "), [(signed(found[m], _digits(m)), verdict(found[m], m)) for m in shown])
        for name, found in metrics["difference"].get("test", {}).items()
    ]


def _figures(run: Run, names: Sequence[str]) -> list[tuple[str, str]]:
    """(caption, data URI) of each figure."""
    table = score_table(run.scores, "test")
    if not names or not len(table.label):
        return []
    shown = {name: table.score[name] for name in names[:CURVES]}
    profit = run.metrics["profit"]
    figures = {
        "AUC and its 95 % interval": plots.interval_figure({n: run.metrics["split"]["test"]["overall"][n] for n in names}, "auroc", "AUC"),
        "Calibrated scores in 15 bins of equal mass": plots.reliability_figure(table.label, shown),
        "Precision against recall": plots.precision_recall_figure(table.label, shown),
        "ROC": plots.roc_figure(table.label, shown),
        "Cumulative gain": plots.gain_figure(table.label, shown),
        "Scores by outcome": plots.histogram_figure(table.label, table.score[names[0]], names[0]),
        "Profit by share contacted": plots.profit_figure(table.label, shown, benefit=profit["benefit"], cost=profit["cost"]),
    }
    return [(caption, _data_uri(figure)) for caption, figure in figures.items()]


def _data_uri(figure: Figure) -> str:
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=130)
    return "data:image/png;base64," + base64.b64encode(buffer.getvalue()).decode()


def _digits(metric: str) -> int:
    return 2 if metric == "lift@10" else 3
