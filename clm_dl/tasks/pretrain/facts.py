"""What a pretraining run was trained on, how it is judged and where its figures stop, as lines of Markdown."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from clm_dl.tasks.churn.facts import Lines, data_lines

OBJECTIVES = {
    "next_event": "each position predicts the next token: its categorical values (−ln p in nats, of an order the mean "
    "over its lines), the gap before it and its numbers (Huber's loss on robustly scaled logs)",
    "masked_event": "a fifth of the tokens is hidden and told from what stands on both sides of them, judged as "
    "next_event but for the gap",
    "coles": "slices of one history lie closer together than slices of different histories (half squared distances, "
    "margin; see CoLES)",
}


def setup(metrics: Mapping[str, Any], settings: Mapping[str, Any]) -> Lines:
    """How the run was made: title -> lines."""
    return {
        "Data": data_lines(metrics, settings),
        "Objective": [f"- {metrics['objective']}: {OBJECTIVES[metrics['objective']]}."],
        "Split": [
            "- One history a customer, up to the last training cutoff of the snapshots; nothing later is read, no "
            "label is used.",
            f"- Training: {metrics['data']['snapshots']['train']:,} customers.",
            *(f"- {split}: {count(metrics, split)}" for split in ("val", "test")),
        ],
    }


def count(metrics: Mapping[str, Any], split: str) -> str:
    """How much was predicted in `split`."""
    reference = metrics["reference"][split]
    most = max(reference["predictions"].values(), default=0)
    return f"{reference['customers']:,} customers that training did not see, up to {most:,} predictions a field."


def limits(metrics: Mapping[str, Any]) -> Lines:
    """What its figures can and cannot say: title -> lines."""
    return {
        "Limits": [
            "- A lower loss here need not mean a better start elsewhere: judge by the runs that begin from it "
            "(init=RUN).",
            "- loss is the mean over the fields of the loss relative to `marginal`, which says the same of everyone; "
            "1 is nothing learnt.",
            "- Intervals hold the trained network fixed: they cover the draw of customers, not the seed.",
        ]
    }
