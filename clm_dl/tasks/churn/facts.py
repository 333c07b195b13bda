"""What a churn run was trained on, whom it scored, what its test set could show and where it stops, as lines of
Markdown.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from clm_dl.visual.text import number

Lines = dict[str, list[str]]


def setup(metrics: Mapping[str, Any], settings: Mapping[str, Any]) -> Lines:
    """How the run was made: title -> lines."""
    return {
        "Data": data_lines(metrics, settings),
        "Population and label": population_lines(settings),
        "Split": split_lines(metrics),
    }


def limits(metrics: Mapping[str, Any]) -> Lines:
    """What its figures can and cannot say: title -> lines."""
    return {"The smallest difference this test set could show": smallest_lines(metrics), "Limits": limit_lines(metrics)}


def count(metrics: Mapping[str, Any], split: str) -> str:
    """How much was scored in `split`, how common churn is there, and how far up lift can go."""
    reference = metrics["reference"][split]
    censored = f", {reference['censored']:,} censored left out" if reference["censored"] else ""
    return (
        f"{reference['snapshots']:,} snapshots of {reference['customers']:,} customers{censored}; "
        f"{reference['prevalence']:.1%} positive; lift@10 % at most {number(reference['ceiling']['lift@10'], 2)}."
    )


def data_lines(metrics: Mapping[str, Any], settings: Mapping[str, Any]) -> list[str]:
    """What was read, kept and left out."""
    data = metrics["data"]
    counts = [f"{data[key]:,} {text}" for key, text in _COUNTS.items() if data.get(key) is not None]
    source = settings.get("data", {})
    name = f"`{source.get('name')}`" + (f" from `{source['path']}`" if isinstance(source.get("path"), str) else "")
    return [f"- Source: {name}", f"- {', '.join(counts)}" if counts else "- No counts."]


_COUNTS = {
    "rows_in": "rows read",
    "kept": "kept",
    "quarantined": "quarantined",
    "duplicates": "exact duplicates dropped",
    "customers": "customers",
    "events": "events",
}


def population_lines(settings: Mapping[str, Any]) -> list[str]:
    """Who is scored and what counts as positive, in words."""
    snapshots = settings.get("snapshots") or {}
    labels = (settings.get("labels") or {}).get("name")
    if not snapshots.get("horizon_days") or settings.get("data", {}).get("name") == "table":
        return ["- Every row of the table; the label is given."]
    active, gap = snapshots.get("active_days"), snapshots.get("gap_days") or 0
    window = f"[cutoff + {gap:g} days, cutoff + {gap + snapshots['horizon_days']:g} days)"
    meaning = {
        "no_event": f"no event of the chosen types in {window}",
        "contractual": "no renewal within the grace days after an expiry in the window",
        "churn_event": f"a churn event in {window}",
        "given": "given in a file",
        "event": f"{chosen_event(settings)} in {window}",
    }
    who = (
        f"with an event in the {active:g} days before the cutoff"
        if active
        else "with at least one event before the cutoff"
    )
    recent = snapshots.get("recent_days") or snapshots["horizon_days"]
    share = snapshots.get("label_share", 1.0)
    few = (
        [f"- Training saw the labels of {share:.0%} of the customers, drawn with the seed {snapshots['label_seed']}."]
        if share < 1
        else []
    )
    return [
        *few,
        f"- Scored: customers {who}; the same rule in training, validation and test.",
        f"- Positive: {meaning.get(str(labels), str(labels))}. A window that the data does not cover is censored, "
        "never 0.",
        f'- "Recently active": an event in the {recent:g} days before the cutoff.',
    ]


def chosen_event(settings: Mapping[str, Any]) -> str:
    """What labels=event asks for, and of whom."""
    labels = settings.get("labels") or {}
    event = (
        f"an event with {labels['field']} {' or '.join(map(str, labels['values']))}"
        if labels.get("field")
        else "any event"
    )
    who = "; scored are only customers who never had one" * bool(labels.get("first"))
    dormant = labels.get("dormant_days")
    return event + who + (f"; scored are only customers without an event for {dormant:g} days" if dormant else "")


def split_lines(metrics: Mapping[str, Any]) -> list[str]:
    """Cutoffs, sizes and prevalence of validation and test."""
    lines = []
    for split in ("val", "test"):
        reference = metrics["reference"][split]
        dates = ", ".join(metrics["split"][split]["per_cutoff"]) or "no cutoffs"
        rate = "no labels" if reference["prevalence"] is None else f"{reference['prevalence']:.1%} positive"
        lines.append(
            f"- {split}: {dates}; {reference['snapshots']:,} snapshots of {reference['customers']:,} customers, "
            f"{rate}, {reference['censored']:,} censored and left out."
        )
    if len(metrics["split"]["val"]["per_cutoff"]) == 1:
        lines.append("- A single validation cutoff served both early stopping and calibration.")
    return lines


def smallest_lines(metrics: Mapping[str, Any]) -> list[str]:
    """The difference in AUC that this many customers can tell from chance."""
    smallest = metrics["smallest_detectable_difference"]
    if smallest["auroc"] is None:
        return ["Undefined: fewer than two models with an AUC."]
    return [
        f"{number(smallest['auroc'], 4)} in AUC between {smallest['between'].replace(' - ', ' and ')}: 2.8 standard "
        "errors of the paired difference (80 % power at the 5 % level, resampled by customer). Take smaller gaps on "
        "this test set for ties."
    ]


def limit_lines(metrics: Mapping[str, Any]) -> list[str]:
    """What the figures do not say."""
    reference = metrics["reference"]["test"]
    lines = [
        f"- Accuracy, F1, precision and recall are at the threshold {metrics['threshold']:g}; always naming the "
        f"larger class is right in {number(reference['floor']['accuracy'])} of the snapshots.",
        f"- lift@10 % cannot exceed {number(reference['ceiling']['lift@10'], 2)} at this prevalence.",
        "- Intervals hold the trained models fixed: they cover the draw of customers, not the seed of training. A "
        "claim needs five seeds.",
        "- The interval of the ECE leans upwards, because resampling adds noise to every bin.",
        "- Probabilities are calibrated on the newest validation cutoff; after a change of season or range, check "
        "the reliability again.",
        "- Scores say what is likely to happen, not whom a contact would change.",
    ]
    if reference["censored"]:
        lines.append(f"- {reference['censored']:,} test snapshots are censored: their window ends after the data.")
    return lines
