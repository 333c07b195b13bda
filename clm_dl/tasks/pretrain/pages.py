"""What a pretraining run shows: its objective, its losses beside the floor, and where its figures stop."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from clm_dl.tasks.pretrain.metrics import LossTable
from clm_dl.visual.facts import Lines, data_lines
from clm_dl.visual.figures import interval_figure
from clm_dl.visual.pages import Figures, Pages, Summary

OBJECTIVES = {
    "next_event": "each position predicts the next token: its categorical values (−ln p in nats, of an order the mean "
    "over its lines), the gap before it and its numbers (Huber's loss on robustly scaled logs)",
    "masked_event": "a fifth of the tokens is hidden and told from what stands on both sides of them, judged as "
    "next_event but for the gap",
    "coles": "slices of one history lie closer together than slices of different histories (half squared distances, "
    "margin; see CoLES)",
}


class PretrainPages(Pages):
    """Of pretraining."""

    parts: Mapping[str, str] = {"overall": "customers kept out"}

    def count(self, metrics: Summary, split: str) -> str:
        reference = metrics["reference"][split]
        most = max(reference["predictions"].values(), default=0)
        return f"{reference['customers']:,} customers that training did not see, up to {most:,} predictions a field."

    def setup(self, metrics: Summary, config: Mapping[str, Any]) -> Lines:
        return {
            "Data": data_lines(metrics, config),
            "Objective": [f"- {metrics['objective']}: {OBJECTIVES[metrics['objective']]}."],
            "Split": [
                "- One history a customer, up to the last training cutoff of the snapshots; nothing later is read, "
                "no label is used.",
                f"- Training: {metrics['data']['snapshots']['train']:,} customers.",
                *(f"- {split}: {self.count(metrics, split)}" for split in ("val", "test")),
            ],
        }

    def limits(self, metrics: Summary) -> Lines:
        return {
            "Limits": [
                "- A lower loss here need not mean a better start elsewhere: judge by the runs that begin from it "
                "(init=RUN).",
                "- loss is the mean over the fields of the loss relative to `marginal`, which says the same of "
                "everyone; 1 is nothing learnt.",
                "- Intervals hold the trained network fixed: they cover the draw of customers, not the seed.",
            ]
        }

    def note(self, metrics: Summary) -> str:
        return f"{self.count(metrics, 'test')} Lower is better."

    def details(self, metrics: Summary) -> list[dict[str, Any]]:
        return [self.more(metrics, "Losses of the further fields."), self.validation(metrics)]

    def figures(self, metrics: Summary, table: LossTable, names: Sequence[str]) -> Figures:
        overall = metrics["split"]["test"]["overall"]
        found = {name: overall[name] for name in names}
        return {
            "loss_interval": ("Loss, relative to the same guess for everyone", interval_figure(found, "loss", "loss"))
        }
