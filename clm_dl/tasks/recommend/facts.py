"""How a ranked run was split, what it may recommend, what its test set could show and where it stops, as lines of
Markdown.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from clm_dl.tasks.churn.facts import data_lines
from clm_dl.visual.text import number

Lines = dict[str, list[str]]
UNITS = {"next_item": "line", "next_order": "order"}
TARGETS = {
    "all": "every item bought in the window is to be found",
    "first": "the first {unit} in the window is to be found",
    "last": "the last {unit} in the window is to be found, and the history reaches up to it",
}
LEFT_OUT = {
    "few_events": "Customers with too few events, who only train",
    "no_history": "Left out, without a history at the cutoff",
    "no_target": "Left out, with nothing to be found",
    "inactive": "Left out, not active before the cutoff",
}


def setup(metrics: Mapping[str, Any], settings: Mapping[str, Any]) -> Lines:
    """How the run was made: title -> lines."""
    return {
        "Data": data_lines(metrics, settings),
        "Protocol": protocol_lines(metrics),
        "Policy": policy_lines(metrics, settings),
        "Split": split_lines(metrics),
    }


def limits(metrics: Mapping[str, Any]) -> Lines:
    """What its figures can and cannot say: title -> lines."""
    return {"The smallest difference this test set could show": smallest_lines(metrics), "Limits": limit_lines(metrics)}


def count(metrics: Mapping[str, Any], split: str) -> str:
    """How much was scored in `split`, and what was to be found."""
    reference = metrics["reference"][split]
    if "targets" not in reference:
        return "nothing to be found."
    missed = f", {reference['unreachable']:,} out of reach under the policy" if reference["unreachable"] else ""
    return (
        f"{reference['snapshots']:,} snapshots of {reference['customers']:,} customers; {reference['targets']:,} items "
        f"to be found ({reference['repeats']:,} repeats, {reference['cold']:,} cold{missed})."
    )


def protocol_lines(metrics: Mapping[str, Any]) -> list[str]:
    """Which events train, which are history and which are to be found, in words."""
    protocol, unit = metrics["protocol"], UNITS[metrics["task"]]
    if protocol["name"] == "leave_one_out":
        return [
            f"- Leave one out: each customer's last {unit} is test, the one before it validation, the rest is "
            "training.",
            f"- Customers with fewer than {protocol['min_events']} {unit}s only train.",
            "- Training holds events that are later than other customers' targets: the figures are not those of a "
            "forecast.",
        ]
    if protocol["name"] == "global_time":
        return [
            "- Global time split: training ends before validation starts, validation before test, for all customers "
            "at once.",
            f"- {TARGETS[protocol['target']].format(unit=unit).capitalize()}.",
        ]
    return [
        "- Rolling cutoffs: at each, every item bought in the window that follows is to be found; training ends "
        "before the first."
    ]


def policy_lines(metrics: Mapping[str, Any], settings: Mapping[str, Any]) -> list[str]:
    """What counts as seen, whether it may be recommended, and how ties are settled."""
    allowed = metrics["policy"]["repeats"] == "allow"
    file_order = settings.get("data", {}).get("tie") == "file"
    return [
        "- Seen: every item in the snapshot's history, up to its cutoff.",
        "- Repeats are allowed: seen items may be recommended and found."
        if allowed
        else "- Repeats are removed: seen items are never listed, and one that is bought again counts as missed.",
        "- Ranked over the whole catalogue, for every model alike; no sampled candidates.",
        f"- Equal times: in the order of {'the file' if file_order else 'the store, whose columns settle them'}.",
        "- Equal scores: by expectation over all their orders.",
    ]


def split_lines(metrics: Mapping[str, Any]) -> list[str]:
    """Sizes of validation and test, who was left out, and the fingerprint."""
    lines = [f"- {split}: {count(metrics, split)}" for split in ("val", "test")]
    lines += [
        f"- {LEFT_OUT[reason]}: {number_:,}"
        for reason, number_ in metrics["counts"].items()
        if reason in LEFT_OUT and number_
    ]
    return [
        *lines,
        f"- Fingerprint of customers, cutoffs and targets: `{metrics['fingerprint']}`. Only runs that share it can be "
        "paired.",
    ]


def smallest_lines(metrics: Mapping[str, Any]) -> list[str]:
    """The difference in NDCG that this many customers can tell from chance."""
    smallest, main = metrics["smallest_detectable_difference"], f"ndcg@{metrics['k']}"
    if smallest[main] is None:
        return [f"Undefined: fewer than two models with an {main.upper()}."]
    return [
        f"{number(smallest[main], 4)} in {main.upper()} between {smallest['between'].replace(' - ', ' and ')}: 2.8 "
        "standard errors of the paired difference (80 % power at the 5 % level, resampled by customer). Take smaller "
        "gaps on this test set for ties."
    ]


def limit_lines(metrics: Mapping[str, Any]) -> list[str]:
    """What the figures do not say."""
    return [
        '- "Repeats" ranks the items of the history alone, "new to the customer" all others alone: easier than the '
        "whole catalogue.",
        '- "Cold items" are those without a line in training; "few events" are histories of one or two.',
        "- Accuracy favours what is popular: read it beside coverage.",
        "- Intervals hold the trained models fixed: they cover the draw of customers, not the seed of training. A "
        "claim needs five seeds.",
        "- What was bought says nothing of what would have been bought had it been recommended.",
    ]
