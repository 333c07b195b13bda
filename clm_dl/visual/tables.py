"""Tables of report.html: a row a model, a column a metric, a cell its value, interval and whether it is the best."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from clm_dl.evaluation.metric import UNDEFINED, Figure, Metric, Metrics
from clm_dl.visual.text import number

Models = Mapping[str, Mapping[str, Figure]]  # model -> metric -> figure


def models_table(
    known: Metrics,
    models: Models,
    columns: Sequence[Metric],
    *,
    title: str = "",
    floor: Mapping[str, float] | None = None,
) -> dict[str, Any]:
    """Table of `models` with those of the `columns` that any of them has; `floor` adds a last row."""
    shown = present(columns, models)
    rows = {name: [models[name].get(metric.name, UNDEFINED) for metric in shown] for name in known.ordered(models)}
    last = [number(floor.get(metric.name), metric.digits) for metric in shown] if floor else None
    return {"title": title, "columns": [metric.title for metric in shown], "rows": _cells(shown, rows), "floor": last}


def parts_table(
    known: Metrics, split: Mapping[str, Models], parts: Mapping[str, str], metric: Metric, *, title: str
) -> dict[str, Any]:
    """Table of one metric with a column for each of `parts` (part -> title)."""
    rows = {
        name: [split[part].get(name, {}).get(metric.name, UNDEFINED) for part in parts]
        for name in known.ordered(split["overall"])
    }
    columns = [replace(metric, title=text) for text in parts.values()]
    return {"title": title, "columns": list(parts.values()), "rows": _cells(columns, rows), "floor": None}


def present(columns: Sequence[Metric], models: Models) -> list[Metric]:
    """The columns that any of the models has."""
    return [metric for metric in columns if any(metric.name in found for found in models.values())]


def _cells(columns: Sequence[Metric], rows: Mapping[str, Sequence[Figure]]) -> list[tuple[str, list[dict[str, Any]]]]:
    best = [metric.best(row[i]["value"] for row in rows.values()) for i, metric in enumerate(columns)]

    def cell(found: Figure, metric: Metric, top: float | None) -> dict[str, Any]:
        ends = {end: number(found[end], metric.digits) for end in ("value", "low", "high")}
        return {**ends, "best": top is not None and found["value"] == top}

    return [
        (name, [cell(found, metric, top) for found, metric, top in zip(row, columns, best, strict=True)])
        for name, row in rows.items()
    ]
