"""Tables of report.html: a row a model, a column a metric, each cell its value, its interval and whether it is the
best.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from clm_dl.visual.families import family
from clm_dl.visual.text import UNDEFINED, Figure, best_value, digits, number

Metrics = Mapping[str, Any]


def figures_table(
    metrics: Metrics,
    models: Mapping[str, Any],
    columns: Mapping[str, str],
    *,
    title: str = "",
    floor: Mapping[str, float] | None = None,
) -> dict[str, Any]:
    """Table of `models` (model -> metric -> figure) with the metrics of `columns` that any of them has; `floor` adds a
    last row.
    """
    shown = family(metrics)
    present = shown.present(columns, models)
    rows = {name: [models[name].get(m, UNDEFINED) for m in present] for name in shown.ordered(models)}
    last = [number(floor.get(m), digits(m)) for m in present] if floor else None
    return {"title": title, "columns": list(present.values()), "rows": _cells(list(present), rows), "floor": last}


def parts_table(metrics: Metrics, split: str, metric: str) -> dict[str, Any]:
    """Table of one metric with a column for each part of `split` that holds models."""
    shown, found = family(metrics), metrics["split"][split]
    parts = shown.filled(found)
    rows = {
        name: [found[part].get(name, {}).get(metric, UNDEFINED) for part in parts]
        for name in shown.ordered(found["overall"])
    }
    title = f"{split.capitalize()}: {(shown.columns | shown.more)[metric]} by part"
    return {"title": title, "columns": list(parts.values()), "rows": _cells([metric] * len(parts), rows), "floor": None}


def more(metrics: Metrics, note: str) -> dict[str, Any]:
    """The further metrics of the test split, to be opened."""
    return {
        "title": "More metrics on test",
        "tables": [figures_table(metrics, metrics["split"]["test"]["overall"], family(metrics).more)],
        "note": note,
    }


def validation(metrics: Metrics) -> dict[str, Any]:
    """The validation split, to be opened."""
    return {
        "title": "Validation",
        "tables": [figures_table(metrics, metrics["split"]["val"]["overall"], family(metrics).columns)],
        "note": "",
    }


def per_cutoff(metrics: Metrics) -> list[dict[str, Any]]:
    """The test cutoffs one by one, to be opened; nothing for a run without."""
    dates = metrics["split"]["test"]["per_cutoff"]
    tables = [figures_table(metrics, models, family(metrics).columns, title=date) for date, models in dates.items()]
    return [{"title": "Per cutoff", "tables": tables, "note": ""}] if tables else []


def _cells(columns: Sequence[str], rows: Mapping[str, Sequence[Figure]]) -> list[tuple[str, list[dict[str, Any]]]]:
    best = [best_value(metric, [row[i]["value"] for row in rows.values()]) for i, metric in enumerate(columns)]
    return [
        (
            name,
            [
                {
                    "value": number(found["value"], digits(metric)),
                    "low": number(found["low"], digits(metric)),
                    "high": number(found["high"], digits(metric)),
                    "best": top is not None and found["value"] == top,
                }
                for metric, found, top in zip(columns, row, best, strict=True)
            ],
        )
        for name, row in rows.items()
    ]
