"""What a churn run shows: whom it scored, what counts as positive, curves, profit, and where its figures stop."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from clm_dl.tasks.churn.figures import churn_figures
from clm_dl.tasks.churn.scores import ScoreTable
from clm_dl.visual.facts import (
    CENSORED,
    FIXED_MODELS,
    Lines,
    data_lines,
    dates_text,
    noise_line,
    scored_line,
    smallest_lines,
    snapshots_text,
    window_text,
)
from clm_dl.visual.figures import CURVES
from clm_dl.visual.pages import Figures, Pages, Summary
from clm_dl.visual.text import number

PROFIT = {
    "fraction": "share contacted (chosen on validation)",
    "profit": "profit a snapshot",
    "best_fraction": "best share in hindsight",
    "best_profit": "its profit",
}


class ChurnPages(Pages):
    """Of churn and propensity."""

    def count(self, metrics: Summary, split: str) -> str:
        reference = metrics["reference"][split]
        return (
            f"{snapshots_text(metrics, split)}; {reference['prevalence']:.1%} positive; lift@10 % at most "
            f"{number(reference['ceiling']['lift@10'], 2)}."
        )

    def setup(self, metrics: Summary, config: Mapping[str, Any]) -> Lines:
        return {
            "Data": data_lines(metrics, config),
            "Population and label": population_lines(config),
            "Split": split_lines(metrics),
        }

    def limits(self, metrics: Summary) -> Lines:
        return {
            "The smallest difference this test set could show": smallest_lines(metrics, self.known(metrics).main),
            "Limits": limit_lines(metrics),
        }

    def note(self, metrics: Summary) -> str:
        return f"Lift@10 % cannot exceed {number(metrics['reference']['test']['ceiling']['lift@10'], 2)}."

    def details(self, metrics: Summary) -> list[dict[str, Any]]:
        floor = number(metrics["reference"]["test"]["floor"]["accuracy"])
        note = f"Accuracy and F1 at the threshold {metrics['threshold']}; naming the larger class is right in {floor}."
        return [
            self.more(metrics, note),
            *self.before(metrics),
            self.validation(metrics),
            *self.cutoffs(metrics),
            self.profit(metrics),
        ]

    def profit(self, metrics: Summary) -> dict[str, Any]:
        """What contacting the highest scored would have earned."""
        found, nothing = metrics["profit"], {"low": "–", "high": "–", "best": False}
        rows = [
            (name, [{"value": number(found["models"][name].get(key)), **nothing} for key in PROFIT])
            for name in self.known(metrics).ordered(metrics["split"]["test"]["overall"])
        ]
        note = f"{found['benefit']} for each positive reached, {found['cost']} for each contact."
        table = {"title": "", "columns": list(PROFIT.values()), "rows": rows, "floor": None}
        return {"title": "Profit", "tables": [table], "note": note}

    def figures(self, metrics: Summary, table: ScoreTable, names: Sequence[str]) -> Figures:
        return churn_figures(table, metrics, names)

    def write(self, writer: Any, metrics: Summary, table: ScoreTable, cards: Sequence[Mapping[str, Any]]) -> None:
        for name in self.known(metrics).ordered(metrics["split"]["test"]["overall"])[:CURVES]:
            if len(table):
                writer.add_pr_curve(f"test/pr_curve_{name}", table.label, np.clip(table.score[name], 0, 1))


def population_lines(config: Mapping[str, Any]) -> list[str]:
    """Who is scored and what counts as positive, in words."""
    snapshots = config.get("snapshots") or {}
    labels = (config.get("labels") or {}).get("name")
    if not snapshots.get("horizon_days") or config.get("data", {}).get("name") == "table":
        return ["- Every row of the table; the label is given."]
    window = window_text(config)
    meaning = {
        "no_event": f"no event of the chosen types in {window}",
        "contractual": "no renewal within the grace days after an expiry in the window",
        "churn_event": f"a churn event in {window}",
        "given": "given in a file",
        "event": f"{chosen_event(config)} in {window}",
    }
    recent = snapshots.get("recent_days") or snapshots["horizon_days"]
    share = snapshots.get("label_share", 1.0)
    few = (
        f"- Training saw the labels of {share:.0%} of the customers, drawn with the seed {snapshots.get('label_seed')}."
    )
    return [
        *[few] * (share < 1),
        scored_line(config),
        f"- Positive: {meaning.get(str(labels), str(labels))}. {CENSORED.removeprefix('- ')}",
        f'- "Recently active": an event in the {recent:g} days before the cutoff.',
    ]


def chosen_event(config: Mapping[str, Any]) -> str:
    """What labels=event asks for, and of whom."""
    labels = config.get("labels") or {}
    chosen = f"{labels['field']} {' or '.join(map(str, labels['values']))}" if labels.get("field") else ""
    event = f"an event with {chosen}" if chosen else "any event"
    who = "; scored are only customers who never had one" * bool(labels.get("first"))
    dormant = labels.get("dormant_days")
    return event + who + (f"; scored are only customers without an event for {dormant:g} days" if dormant else "")


def split_lines(metrics: Summary) -> list[str]:
    """Cutoffs, sizes and prevalence of validation and test."""
    lines = []
    for split in ("val", "test"):
        reference = metrics["reference"][split]
        rate = "no labels" if reference["prevalence"] is None else f"{reference['prevalence']:.1%} positive"
        lines.append(
            f"- {split}: {dates_text(metrics, split)}; {reference['snapshots']:,} snapshots of "
            f"{reference['customers']:,} customers, {rate}, {reference['censored']:,} censored and left out."
        )
    if len(metrics["split"]["val"]["per_cutoff"]) == 1:
        lines.append("- A single validation cutoff served both early stopping and calibration.")
    return lines


def limit_lines(metrics: Summary) -> list[str]:
    """What the figures do not say."""
    reference = metrics["reference"]["test"]
    lines = [
        f"- Accuracy, F1, precision and recall are at the threshold {metrics['threshold']:g}; always naming the "
        f"larger class is right in {number(reference['floor']['accuracy'])} of the snapshots.",
        f"- lift@10 % cannot exceed {number(reference['ceiling']['lift@10'], 2)} at this prevalence.",
        f"- Intervals hold the trained models fixed: {FIXED_MODELS}",
        noise_line("ECE", "bins"),
        "- Probabilities are calibrated on the newest validation cutoff; after a change of season or range, check "
        "the reliability again.",
        "- Scores say what is likely to happen, not whom a contact would change.",
    ]
    if reference["censored"]:
        lines.append(f"- {reference['censored']:,} test snapshots are censored: their window ends after the data.")
    return lines
