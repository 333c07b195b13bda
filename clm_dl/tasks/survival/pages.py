"""What a survival run shows: whom it scored, what leaving means, metrics by horizon, and where its figures stop."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from clm_dl.evaluation.metric import Metrics
from clm_dl.tasks.survival.figures import survival_figures
from clm_dl.tasks.survival.scores import CurveScores
from clm_dl.visual.facts import FIXED_MODELS, Lines, data_lines, dates_text, noise_line, scored_line
from clm_dl.visual.pages import Figures, Pages, Summary, whole
from clm_dl.visual.tables import models_table

BY_HORIZON = {"ece": "ECE", "auroc": "AUC", "brier": "Brier", "log_loss": "log loss"}


class SurvivalPages(Pages):
    """Of survival curves with these horizons."""

    def __init__(self, known: Callable[[Summary | None], Metrics], horizons_days: Sequence[float]) -> None:
        super().__init__(known)
        self.horizons_days = horizons_days

    def count(self, metrics: Summary, split: str) -> str:
        reference = metrics["reference"][split]
        active = ", ".join(
            f"{days} days {'–' if share is None else f'{share:.1%}'}" for days, share in reference["active"].items()
        )
        sizes = f"{reference['snapshots']:,} snapshots of {reference['customers']:,} customers"
        return f"{sizes}; active through {active}."

    def setup(self, metrics: Summary, config: Mapping[str, Any]) -> Lines:
        silence = config["snapshots"]["horizon_days"]
        leaving = {
            "no_event": f"the last event before a silence of {silence:g} days, which may begin at the cutoff or later",
            "churn_event": "the churn event",
        }
        return {
            "Data": data_lines(metrics, config),
            "Population and event": [
                scored_line(config),
                f"- A customer leaves at {leaving[config['labels']['name']]}. Active through a horizon: has not left "
                "before cutoff + horizon.",
                "- A snapshot is censored at horizons that it was not followed for, never counted as left.",
            ],
            "Split": [f"- {split}: {self._split(metrics, split)}" for split in ("val", "test")],
        }

    def _split(self, metrics: Summary, split: str) -> str:
        """Cutoffs, sizes and censoring."""
        reference = metrics["reference"][split]
        censored = ", ".join(f"{num:,} at {days} days" for days, num in reference["censored"].items() if num) or "none"
        sizes = f"{reference['snapshots']:,} snapshots of {reference['customers']:,} customers"
        return f"{dates_text(metrics, split)}; {sizes}; censored: {censored}."

    def limits(self, metrics: Summary) -> Lines:
        return {
            "Limits": [
                "- The expected remaining lifetime counts days up to the last horizon only.",
                "- C-index and integrated Brier weigh snapshots by the inverse of the chance to be followed so far; "
                "customers that left in the same interval between horizons are not compared.",
                f"- Intervals hold the trained models fixed: {FIXED_MODELS}",
                noise_line("ECE", "bins"),
                "- Probabilities are calibrated on the newest validation cutoff that was followed for the horizon; "
                "the longer the horizon, the older that is.",
            ]
        }

    def note(self, metrics: Summary) -> str:
        return f"{self.count(metrics, 'test')} ECE is that of the worst horizon, log loss the mean over horizons."

    def tables(self, metrics: Summary) -> list[dict[str, Any]]:
        overall = metrics["split"]["test"]["overall"]
        return [*super().tables(metrics), *(self.by_horizon(metrics, overall, metric) for metric in ("ece", "auroc"))]

    def details(self, metrics: Summary) -> list[dict[str, Any]]:
        test = metrics["split"]["test"]
        [before] = self.before(metrics)
        before["tables"].append(self.by_horizon(metrics, whole(test["raw"]), "ece"))
        further = [self.by_horizon(metrics, test["overall"], metric) for metric in ("brier", "log_loss")]
        more = {"title": "More metrics by horizon", "tables": further, "note": ""}
        return [more, before, self.validation(metrics), *self.cutoffs(metrics)]

    def by_horizon(self, metrics: Summary, models: Mapping[str, Any], metric: str) -> dict[str, Any]:
        """One metric with a column a horizon."""
        known = self.known(metrics)
        columns = [known[f"{metric}@{days:g}"] for days in self.horizons_days]
        table = models_table(known, models, columns, title=f"{BY_HORIZON[metric]} by horizon")
        return {**table, "columns": [column.title.rsplit(", ", 1)[1] for column in columns]}

    def figures(self, metrics: Summary, table: CurveScores, names: Sequence[str]) -> Figures:
        return survival_figures(table, metrics, names)
