"""What a value run shows: whom it scored, the order of customers, the amounts, and where its figures stop."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from clm_dl.tasks.value.figures import value_figures
from clm_dl.tasks.value.scores import ValueScores
from clm_dl.visual.facts import (
    CENSORED,
    Lines,
    data_lines,
    dates_text,
    noise_line,
    scored_line,
    snapshots_text,
    window_text,
)
from clm_dl.visual.pages import Figures, Pages, Summary
from clm_dl.visual.text import number


class ValuePages(Pages):
    """Of value."""

    rate = "mean label"

    def count(self, metrics: Summary, split: str) -> str:
        reference = metrics["reference"][split]
        return (
            f"{snapshots_text(metrics, split)}; {reference['spending']:.1%} spend, {number(reference['spend'], 2)} and "
            f"{number(reference['orders'], 2)} orders on average."
        )

    def setup(self, metrics: Summary, config: Mapping[str, Any]) -> Lines:
        returns = " Amounts below 0 count as 0." if config["task"].get("returns") == "ignore" else ""
        splits = []
        for split in ("val", "test"):
            some = metrics["reference"][split]["snapshots"]
            sizes = self.count(metrics, split) if some else "nothing to score"
            splits.append(f"- {split}: {dates_text(metrics, split)}; {sizes}")
        return {
            "Data": data_lines(metrics, config),
            "Population and forecast": [
                scored_line(config),
                f"- Forecast: money spent in {window_text(config)}, in the unit of the log.{returns}",
                CENSORED,
            ],
            "Split": splits,
        }

    def limits(self, metrics: Summary) -> Lines:
        return {
            "Limits": [
                "- Gini and Spearman judge the order of the customers alone, decile MAPE and bias the amounts; a "
                "forecast needs both.",
                noise_line("Decile MAPE", "deciles"),
                "- MAE favours the median, which is 0 for most customers: a model that expects nothing of anyone can "
                "have the lowest.",
                "- Bias is (expected − spent) / spent in total. It moves with season and age of the cohort: run "
                "clm-evaluate cutoffs=rolling.",
                f"- Intervals around a customer's spend were made to hold for {metrics['interval']:.0%} of the "
                "calibration snapshots; coverage says for how many they hold on test.",
                "- Intervals of the metrics hold the trained models fixed: they cover the draw of customers, not the "
                "seed.",
            ]
        }

    def note(self, metrics: Summary) -> str:
        return f"{self.count(metrics, 'test')} Bias is the total expected over the total spent, less 1."

    def more(self, metrics: Summary, note: str = "") -> dict[str, Any]:
        share = f"{metrics['interval']:.0%}"
        return super().more(
            metrics, f"Coverage and width are of the {share} interval around a customer's spend, where a model has one."
        )

    def figures(self, metrics: Summary, table: ValueScores, names: Sequence[str]) -> Figures:
        return value_figures(table, metrics, names)
