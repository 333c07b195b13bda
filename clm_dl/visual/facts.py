"""Facts that every task tells of a run, in Markdown: what was read, whom it scored, what its test set could show."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from clm_dl.evaluation.leakage import leakage_lines
from clm_dl.evaluation.metric import Metric
from clm_dl.visual.text import number

Lines = dict[str, list[str]]  # title -> lines
COUNTS = {
    "rows_in": "rows read",
    "kept": "kept",
    "quarantined": "quarantined",
    "duplicates": "exact duplicates dropped",
    "customers": "customers",
    "events": "events",
}
CENSORED = "- A window that the data does not cover is censored, never 0."
FIXED_MODELS = "they cover the draw of customers, not the seed of training. A claim needs five seeds."
ONE_SEED_LINE = f"One seed: intervals hold the trained models fixed; {FIXED_MODELS}"


def noise_line(title: str, groups: str) -> str:
    """Of a metric that is a distance, see `Metric`."""
    return (
        f"- {title} is above 0 for a perfect model, too, by the noise of its {groups}; its interval is corrected for "
        "that and may lie mostly below the figure."
    )


def data_lines(metrics: Mapping[str, Any], config: Mapping[str, Any]) -> list[str]:
    """What was read, kept and left out."""
    data = metrics["data"]
    counts = [f"{data[key]:,} {text}" for key, text in COUNTS.items() if data.get(key) is not None]
    source = config.get("data", {})
    path = f" from `{source['path']}`" if isinstance(source.get("path"), str) else ""
    lines = [f"Source: `{source.get('name')}`{path}", ", ".join(counts) or "No counts.", *log_lines(data)]
    lines += [metrics["imbalance"]] if "imbalance" in metrics else []
    return [f"- {line}" for line in (*lines, *leakage_lines(data.get("leakage")))]


def log_lines(data: Mapping[str, Any]) -> list[str]:
    """What a reader of figures must know of the log, from `data` of metrics.json."""
    lines = []
    if zone := data.get("timezone"):
        lines.append(f"Cutoffs, days, hours and windows are those of {zone}; a date is its day's midnight there.")
    if ties := data.get("ties"):
        order = {"file": "they stay in the order of the file", "seeded": "their order is drawn"}[ties["order"]]
        lines.append(f"Equal times: {ties['share']:.1%} of the lines share customer and time with another; {order}.")
        if ties["by_item"]:
            lines.append(
                "Warning: items sort the lines of one time, so models learn that order in place of what customers do: "
                "set data.tie=seeded."
            )
    if dated := data.get("known_as_of"):
        lines.append(f"As of each cutoff, from what was known before it: {', '.join(dated)}.")
    if always := data.get("known_at_all_times"):
        lines.append(
            f"Taken as known at all times, because their tables have no dates (valid_from): {', '.join(always)}."
        )
    if left := data.get("left_out"):
        lines.append(f"Left out, because it tells of times after its row's date: {', '.join(left)}.")
    if later := data.get("tells_later"):
        lines.append(
            f"Warning: {', '.join(later)} may tell of times after its row's date, and so of the future of a cutoff; it "
            "is taken because data.joins[].columns names it."
        )
    return lines


def calibration_lines(metrics: Mapping[str, Any]) -> Lines:
    """How every model was calibrated; nothing for a run that does not say."""
    found = metrics.get("calibration")
    return {"Calibration": [f"- {model}: {told}." for model, told in found.items()]} if found else {}


def scored_line(config: Mapping[str, Any]) -> str:
    """Who is in the population."""
    active = config["snapshots"].get("active_days")
    who = f"an event in the {active:g} days before the cutoff" if active else "at least one event before the cutoff"
    return f"- Scored: customers with {who}; the same rule in training, validation and test."


def window_text(config: Mapping[str, Any]) -> str:
    """The label window of a snapshot."""
    snapshots = config["snapshots"]
    gap = snapshots.get("gap_days") or 0
    return f"[cutoff + {gap:g} days, cutoff + {gap + snapshots['horizon_days']:g} days)"


def dates_text(metrics: Mapping[str, Any], split: str) -> str:
    """The cutoffs of a split."""
    return ", ".join(metrics["split"][split]["per_cutoff"]) or "no cutoffs"


def snapshots_text(metrics: Mapping[str, Any], split: str) -> str:
    """How much was scored."""
    reference = metrics["reference"][split]
    censored = f", {reference['censored']:,} censored left out" if reference.get("censored") else ""
    return f"{reference['snapshots']:,} snapshots of {reference['customers']:,} customers{censored}"


def smallest_lines(metrics: Mapping[str, Any], main: Metric) -> list[str]:
    """The difference in the main metric that this many customers can tell from chance."""
    smallest = metrics["smallest_detectable_difference"]
    if smallest[main.name] is None:
        return [f"Undefined: fewer than two models with an {main.title}."]
    return [
        f"{number(smallest[main.name], 4)} in {main.title} between {smallest['between'].replace(' - ', ' and ')}: 2.8 "
        "standard errors of the paired difference (80 % power at the 5 % level, resampled by customer). Take smaller "
        "gaps on this test set for ties."
    ]
