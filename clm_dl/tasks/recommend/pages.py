"""What a run that recommends shows: protocol and policy, parts side by side, accuracy against coverage, cards."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from clm_dl.evaluation.metric import Metrics
from clm_dl.tasks.recommend.cards import card_text
from clm_dl.tasks.recommend.figures import ranked_figures
from clm_dl.tasks.recommend.table import RankedTable
from clm_dl.visual.facts import FIXED_MODELS, Lines, data_lines, smallest_lines
from clm_dl.visual.pages import Figures, Pages, Summary
from clm_dl.visual.tables import models_table, parts_table
from clm_dl.visual.text import number

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
LISTS = (
    "Of the lists, whoever buys: novelty is the mean −log2 of an item's share of the training lines, diversity 1 − "
    "the mean similarity of two items, popularity the share of the catalogue sold less often (.5 is a random list), "
    "repeats the share in the history. ECE@1: the calibration error of the first item's probability."
)


class RankedPages(Pages):
    """Of ranked lists; `unit` is what is predicted at a time, a line or an order."""

    parts: Mapping[str, str] = {
        "overall": "all items",
        "repeats": "repeats",
        "new": "new to the customer",
        "cold_items": "cold items",
        "few_events": "few events",
    }
    side_by_side = True

    def __init__(self, known: Callable[[Summary | None], Metrics], unit: str) -> None:
        super().__init__(known)
        self.unit = unit

    def count(self, metrics: Summary, split: str) -> str:
        reference = metrics["reference"][split]
        if "targets" not in reference:
            return "nothing to be found."
        missed = f", {reference['unreachable']:,} out of reach under the policy" if reference["unreachable"] else ""
        return (
            f"{reference['snapshots']:,} snapshots of {reference['customers']:,} customers; {reference['targets']:,} "
            f"items to be found ({reference['repeats']:,} repeats, {reference['cold']:,} cold{missed})."
        )

    def setup(self, metrics: Summary, config: Mapping[str, Any]) -> Lines:
        return {
            "Data": data_lines(metrics, config),
            "Protocol": self._protocol(metrics["protocol"]),
            "Policy": self._policy(metrics, config),
            "Split": self._split(metrics),
        }

    def _protocol(self, protocol: Mapping[str, Any]) -> list[str]:
        """Which events train, which are history and which are to be found, in words."""
        unit = self.unit
        if protocol["name"] == "leave_one_out":
            return [
                f"- Leave one out: each customer's last {unit} is test, the one before it validation, the rest is "
                "training.",
                f"- Customers with fewer than {protocol['min_events']} {unit}s only train.",
                "- Training holds events that are later than other customers' targets: the figures are not those of "
                "a forecast.",
            ]
        if protocol["name"] == "global_time":
            return [
                "- Global time split: training ends before validation starts, validation before test, for all "
                "customers at once.",
                f"- {TARGETS[protocol['target']].format(unit=unit).capitalize()}.",
            ]
        return [
            "- Rolling cutoffs: at each, every item bought in the window that follows is to be found; training ends "
            "before the first."
        ]

    def _policy(self, metrics: Summary, config: Mapping[str, Any]) -> list[str]:
        """What counts as seen, whether it may be recommended, and how ties are settled."""
        allowed = metrics["policy"]["repeats"] == "allow"
        return [
            "- Seen: every item in the snapshot's history, up to its cutoff.",
            "- Repeats are allowed: seen items may be recommended and found."
            if allowed
            else "- Repeats are removed: seen items are never listed, and one that is bought again counts as missed.",
            "- Ranked over the whole catalogue, for every model alike; no sampled candidates.",
            "- Equal scores: by expectation over all their orders.",
        ]

    def _split(self, metrics: Summary) -> list[str]:
        """Sizes of validation and test, who was left out, and the fingerprint."""
        left_out = [
            f"- {LEFT_OUT[reason]}: {count:,}"
            for reason, count in metrics["counts"].items()
            if reason in LEFT_OUT and count
        ]
        return [
            *(f"- {split}: {self.count(metrics, split)}" for split in ("val", "test")),
            *left_out,
            f"- Fingerprint of customers, cutoffs and targets: `{metrics['fingerprint']}`. Only runs that share it "
            "can be paired.",
        ]

    def limits(self, metrics: Summary) -> Lines:
        return {
            "The smallest difference this test set could show": smallest_lines(metrics, self.known(metrics).main),
            "Limits": [
                '- "Repeats" ranks the items of the history alone, "new to the customer" all others alone: easier than '
                "the whole catalogue.",
                '- "Cold items" are those without a line in training; "few events" are histories of one or two.',
                "- Accuracy favours what is popular: read it beside coverage.",
                f"- Intervals hold the trained models fixed: {FIXED_MODELS}",
                "- What was bought says nothing of what would have been bought had it been recommended.",
            ],
        }

    def note(self, metrics: Summary) -> str:
        reference, main = metrics["reference"]["test"], self.known(metrics).main
        if "targets" not in reference:
            return "Nothing was to be found."
        return (
            f"{self.count(metrics, 'test')} {main.title} cannot exceed {number(reference['ceiling'][main.name])} under "
            "the policy. AUC: a target above a random other item, .5 is chance. Coverage is the share of the "
            "catalogue in any list, so it has no interval."
        )

    def tables(self, metrics: Summary) -> list[dict[str, Any]]:
        """All items with what a constant score reaches, then NDCG and the AUC (.5 is chance) in every part."""
        known, test, floor = self.known(metrics), metrics["split"]["test"], metrics["reference"]["test"].get("floor")
        overall = models_table(known, test["overall"], known.table, title="Test: all items", floor=floor)
        parts = self.filled(test)
        return [
            overall,
            *(
                parts_table(known, test, parts, metric, title=f"Test: {metric.title} by part")
                for metric in (known.main, known["auc"])
            ),
        ]

    def details(self, metrics: Summary) -> list[dict[str, Any]]:
        test, known = metrics["split"]["test"], self.known(metrics)
        columns = [*known.table, *known.more]
        parts = [
            models_table(known, test[part], columns, title=title.capitalize())
            for part, title in self.filled(test).items()
            if part != "overall"
        ]
        return [
            self.more(metrics, LISTS),
            {"title": "Every part of the test split", "tables": parts, "note": ""},
            self.validation(metrics),
            *self.cutoffs(metrics),
        ]

    def figures(self, metrics: Summary, table: RankedTable, names: Sequence[str]) -> Figures:
        everything = table.select(table.history >= 0)
        return ranked_figures(everything, metrics, self.known(metrics), names)

    def write(self, writer: Any, metrics: Summary, table: RankedTable, cards: Sequence[Mapping[str, Any]]) -> None:
        for place, card in enumerate(cards):
            writer.add_text("recommendations", card_text(card), place)
