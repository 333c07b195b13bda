"""What a value run was trained on, whom it scored, what it forecasts and where its figures stop, as lines of Markdown."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from clm_dl.tasks.churn.facts import Lines, data_lines
from clm_dl.visual.text import number


def setup(metrics: Mapping[str, Any], settings: Mapping[str, Any]) -> Lines:
    """How the run was made: title -> lines."""
    return {
        "Data": data_lines(metrics, settings),
        "Population and forecast": population_lines(settings),
        "Split": split_lines(metrics),
    }


def count(metrics: Mapping[str, Any], split: str) -> str:
    """How much was scored in `split`, how many spend, and how much."""
    reference = metrics["reference"][split]
    censored = f", {reference['censored']:,} censored left out" if reference["censored"] else ""
    return (
        f"{reference['snapshots']:,} snapshots of {reference['customers']:,} customers{censored}; "
        f"{reference['spending']:.1%} spend, {number(reference['spend'], 2)} and {number(reference['orders'], 2)} "
        "orders on average."
    )


def population_lines(settings: Mapping[str, Any]) -> list[str]:
    """Who is scored, and what is forecast."""
    snapshots = settings["snapshots"]
    active, gap = snapshots.get("active_days"), snapshots.get("gap_days") or 0
    who = (
        f"with an event in the {active:g} days before the cutoff"
        if active
        else "with at least one event before the cutoff"
    )
    returns = " Amounts below 0 count as 0." if settings["task"].get("returns") == "ignore" else ""
    return [
        f"- Scored: customers {who}; the same rule in training, validation and test.",
        f"- Forecast: money spent in [cutoff + {gap:g} days, cutoff + {gap + snapshots['horizon_days']:g} days), in "
        "the unit of the log." + returns,
        "- A window that the data does not cover is censored, never 0.",
    ]


def split_lines(metrics: Mapping[str, Any]) -> list[str]:
    """Cutoffs and sizes of validation and test."""
    lines = []
    for split in ("val", "test"):
        dates = ", ".join(metrics["split"][split]["per_cutoff"]) or "no cutoffs"
        lines.append(
            f"- {split}: {dates}; "
            f"{count(metrics, split) if metrics['reference'][split]['snapshots'] else 'nothing to score'}"
        )
    return lines


def limits(metrics: Mapping[str, Any]) -> Lines:
    """What its figures can and cannot say: title -> lines."""
    return {
        "Limits": [
            "- Gini and Spearman judge the order of the customers alone, decile MAPE and bias the amounts; a "
            "forecast needs both.",
            "- MAE favours the median, which is 0 for most customers: a model that expects nothing of anyone can "
            "have the lowest.",
            "- Bias is (expected − spent) / spent in total. It moves with season and age of the cohort: run "
            "clm-evaluate cutoffs=rolling.",
            f"- Intervals around a customer's spend were made to hold for {metrics['interval']:.0%} of the "
            "calibration snapshots; coverage says for how many they hold on test.",
            "- Intervals of the metrics hold the trained models fixed: they cover the draw of customers, not the seed.",
        ]
    }
