"""Pages: what report, card, terminal and TensorBoard show of a run; a task says what differs from this.

A `metrics` argument is a run's metrics.json (of a run with several questions, one question's part).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from clm_dl.evaluation.metric import UNDEFINED, Metrics
from clm_dl.visual.facts import Lines, data_lines, snapshots_text
from clm_dl.visual.tables import models_table

if TYPE_CHECKING:
    from matplotlib.figure import Figure

Summary = Mapping[str, Any]
Figures = dict[str, tuple[str, "Figure"]]  # short name -> caption and figure


class Pages:
    """Of one task; `known` gives its metrics.

    Attributes:
        parts: part of a split in metrics.json -> what it holds, the whole first.
        side_by_side: whether the parts are columns of one table of the main metric, or a table each.
        rate: what the mean label of a cutoff is called.
    """

    parts: Mapping[str, str] = {"overall": "all snapshots", "recent": "recently active only"}
    side_by_side = False
    rate = "rate"

    def __init__(self, known: Callable[[Summary | None], Metrics]) -> None:
        self.known = known

    def filled(self, split: Mapping[str, Any]) -> dict[str, str]:
        """The parts of metrics["split"][…] that hold models, with their titles."""
        return {part: title for part, title in self.parts.items() if split.get(part)}

    # --- sentences

    def count(self, metrics: Summary, split: str) -> str:
        """How much was scored in `split`."""
        return f"{snapshots_text(metrics, split)}."

    def setup(self, metrics: Summary, config: Mapping[str, Any]) -> Lines:
        """How the run was made."""
        return {"Data": data_lines(metrics, config)}

    def limits(self, metrics: Summary) -> Lines:
        """What its figures can and cannot say."""
        return {}

    def note(self, metrics: Summary) -> str:
        """Under the tables."""
        return self.count(metrics, "test")

    # --- tables

    def tables(self, metrics: Summary) -> list[dict[str, Any]]:
        """A table a part, the first with what a constant answer reaches."""
        known, test, floor = self.known(metrics), metrics["split"]["test"], metrics["reference"]["test"].get("floor")
        return [
            models_table(
                known, test[part], known.table, title=f"Test: {title}", floor=floor if part == "overall" else None
            )
            for part, title in self.filled(test).items()
        ]

    def details(self, metrics: Summary) -> list[dict[str, Any]]:
        """What is a click away: further metrics, scores before calibration, validation, cutoffs one by one."""
        return [self.more(metrics), *self.before(metrics), self.validation(metrics), *self.cutoffs(metrics)]

    def more(self, metrics: Summary, note: str = "") -> dict[str, Any]:
        """The further metrics of the test split."""
        known = self.known(metrics)
        table = models_table(known, metrics["split"]["test"]["overall"], known.more)
        return {"title": "More metrics on test", "tables": [table], "note": note}

    def before(self, metrics: Summary) -> list[dict[str, Any]]:
        """Figures before calibration and after, side by side, of a task that calibrates: those that it moves."""
        test, known = metrics["split"]["test"], self.known(metrics)
        if test.get("raw") is None:
            return []
        raw, calibrated = whole(test["raw"]), test["overall"]
        moved = [
            metric
            for metric in known.table
            if any(raw[name][metric.name]["value"] != calibrated[name][metric.name]["value"] for name in raw)
        ]
        both = {
            name: {**calibrated[name], **{f"raw {metric}": found for metric, found in part.items()}}
            for name, part in raw.items()
        }
        columns = [
            column
            for metric in moved
            for column in (replace(metric, name=f"raw {metric.name}", title=f"{metric.title}, raw"), metric)
        ]
        note = "" if columns else "Calibration changes no figure."
        return [{"title": "Before calibration and after", "tables": [models_table(known, both, columns)], "note": note}]

    def validation(self, metrics: Summary) -> dict[str, Any]:
        """The validation split."""
        known = self.known(metrics)
        table = models_table(known, metrics["split"]["val"]["overall"], known.table)
        return {"title": "Validation", "tables": [table], "note": ""}

    def cutoffs(self, metrics: Summary) -> list[dict[str, Any]]:
        """The test cutoffs one by one; nothing for a run without."""
        dates, known = metrics["split"]["test"]["per_cutoff"], self.known(metrics)
        tables = [models_table(known, models, known.table, title=date) for date, models in dates.items()]
        return [{"title": "Per cutoff", "tables": tables, "note": ""}] if tables else []

    # --- figures

    def figures(self, metrics: Summary, table: Any, names: Sequence[str]) -> Figures:
        """Of the test split read as the task's `table`; `names` are the models, the first ones are drawn."""
        return {}

    def write(self, writer: Any, metrics: Summary, table: Any, cards: Sequence[Mapping[str, Any]]) -> None:
        """What TensorBoard gets beside figures and scalars; `writer` is a SummaryWriter."""


def whole(raw: Mapping[str, Any]) -> dict[str, Any]:
    """Figures without an interval as those with one."""
    return {name: {metric: {**UNDEFINED, **found} for metric, found in part.items()} for name, part in raw.items()}
