"""What a survival run was trained on, whom it scored, what leaving means and where its figures stop, as lines of
Markdown.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from clm_dl.tasks.churn.facts import Lines, data_lines


def setup(metrics: Mapping[str, Any], settings: Mapping[str, Any]) -> Lines:
    """How the run was made: title -> lines."""
    return {
        "Data": data_lines(metrics, settings),
        "Population and event": population_lines(settings),
        "Split": split_lines(metrics),
    }


def count(metrics: Mapping[str, Any], split: str) -> str:
    """How much was scored in `split`, and how many are active through each horizon."""
    reference = metrics["reference"][split]
    active = ", ".join(
        f"{days} days {'–' if share is None else f'{share:.1%}'}" for days, share in reference["active"].items()
    )
    return f"{reference['snapshots']:,} snapshots of {reference['customers']:,} customers; active through {active}."


def population_lines(settings: Mapping[str, Any]) -> list[str]:
    """Who is scored, and what leaving is."""
    snapshots = settings["snapshots"]
    active, silence = snapshots.get("active_days"), snapshots["horizon_days"]
    who = (
        f"with an event in the {active:g} days before the cutoff"
        if active
        else "with at least one event before the cutoff"
    )
    leaving = {
        "no_event": f"the last event before a silence of {silence:g} days, which may begin at the cutoff or later",
        "churn_event": "the churn event",
    }
    return [
        f"- Scored: customers {who}; the same rule in training, validation and test.",
        f"- A customer leaves at {leaving[settings['labels']['name']]}. Active through a horizon: has not left before "
        "cutoff + horizon.",
        "- A snapshot is censored at horizons that it was not followed for, never counted as left.",
    ]


def split_lines(metrics: Mapping[str, Any]) -> list[str]:
    """Cutoffs, sizes and censoring of validation and test."""
    lines = []
    for split in ("val", "test"):
        reference, dates = metrics["reference"][split], ", ".join(metrics["split"][split]["per_cutoff"]) or "no cutoffs"
        censored = ", ".join(f"{num:,} at {days} days" for days, num in reference["censored"].items() if num) or "none"
        lines.append(
            f"- {split}: {dates}; {reference['snapshots']:,} snapshots of {reference['customers']:,} customers; "
            f"censored: {censored}."
        )
    return lines


def limits(metrics: Mapping[str, Any]) -> Lines:
    """What its figures can and cannot say: title -> lines."""
    return {
        "Limits": [
            "- The expected remaining lifetime counts days up to the last horizon only.",
            "- C-index and integrated Brier weigh snapshots by the inverse of the chance to be followed so far; "
            "customers that left in the same interval between horizons are not compared.",
            "- Intervals hold the trained models fixed: they cover the draw of customers, not the seed. A claim "
            "needs five seeds.",
            "- The interval of the ECE leans upwards, because resampling adds noise to every bin.",
            "- Probabilities are calibrated on the newest validation cutoff that was followed for the horizon; the "
            "longer the horizon, the older that is.",
        ]
    }
