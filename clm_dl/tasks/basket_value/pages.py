"""What a basket value run shows: whose next order, its amount, and where its figures stop."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from clm_dl.tasks.basket_value.scores import BasketScores
from clm_dl.tasks.value.figures import decile_figure, spend_gain_figure
from clm_dl.visual.facts import FIXED_MODELS, Lines, data_lines, dates_text, noise_line, scored_line, snapshots_text
from clm_dl.visual.figures import CURVES, interval_figure
from clm_dl.visual.pages import Figures, Pages, Summary
from clm_dl.visual.text import number


class BasketPages(Pages):
    """Of basket values."""

    rate = "mean amount"

    def count(self, metrics: Summary, split: str) -> str:
        amount = metrics["reference"][split]["amount"]
        return f"{snapshots_text(metrics, split)}; the next order is worth {number(amount, 2)} on average."

    def setup(self, metrics: Summary, config: Mapping[str, Any]) -> Lines:
        gap = config["snapshots"].get("gap_days") or 0
        return {
            "Data": data_lines(metrics, config),
            "Population and forecast": [
                scored_line(config),
                f"- Forecast: the amount of the first order from cutoff + {gap:g} days on, whenever it comes, in the "
                "log's unit.",
                "- Who has no further order above 0 in the log is censored; training knows none from behind the first "
                "validation cutoff, so its late orders are missing more often than its early ones.",
            ],
            "Split": [
                f"- {split}: {dates_text(metrics, split)}; {self.count(metrics, split)}" for split in ("val", "test")
            ],
        }

    def limits(self, metrics: Summary) -> Lines:
        return {
            "Limits": [
                "- It says what an order is worth, not whether or when it comes.",
                "- Near the end of the log only those who order again soon have a known next order.",
                noise_line("Decile MAPE", "deciles"),
                "- MAE of the log amount judges the median, Gini the order of the customers, decile MAPE and bias "
                "the expected amounts.",
                f"- Intervals hold the trained models fixed: {FIXED_MODELS}",
            ]
        }

    def figures(self, metrics: Summary, table: BasketScores, names: Sequence[str]) -> Figures:
        few, overall = list(names)[:CURVES], metrics["split"]["test"]["overall"]
        if len(table) < 10 or not few:
            return {}
        intervals = interval_figure({name: overall[name] for name in names}, "log_mae", "MAE of log amount")
        return {
            "log_mae_interval": ("MAE of the log amount and its 95 % interval", intervals),
            "deciles": ("Expected and actual amount by decile", decile_figure(table.values, few[0])),
            "gain": ("Cumulative gain of the amounts", spend_gain_figure(table.values, few)),
        }
