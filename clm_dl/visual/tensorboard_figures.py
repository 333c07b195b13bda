"""TensorBoard at the end of a survival or value run: figures, final scalars with hparams, customers in the projector."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.figure import Figure
from torch.utils.tensorboard import SummaryWriter

from clm_dl.evaluation.splits import NETWORK
from clm_dl.tasks.survival.figures import survival_figures
from clm_dl.tasks.survival.summary import curve_scores
from clm_dl.tasks.value.figures import value_figures
from clm_dl.tasks.value.summary import value_scores
from clm_dl.visual.families import family
from clm_dl.visual.tensorboard import write_hparams, write_projector

DRAW: dict[str, tuple[Callable[..., Any], Callable[..., dict[str, Figure]]]] = {
    "survival": (curve_scores, survival_figures),
    "value": (value_scores, value_figures),
}


def write_final_figures(
    writer: SummaryWriter,
    scores: pd.DataFrame,
    metrics: Mapping[str, Any],
    hparams: Mapping[str, Any],
    *,
    embeddings: np.ndarray,
    metadata: pd.DataFrame,
) -> None:
    """Write what only a finished run has; `embeddings` [N, D] with one row of `metadata` each. Call it once a run."""
    shown, overall = family(metrics), metrics["split"]["test"]["overall"]
    names = shown.ordered(overall)
    table, draw = DRAW[metrics["task"]]
    for caption, figure in draw(table(scores, "test"), metrics, names).items():
        writer.add_figure(f"test/{caption.lower().replace(' ', '_')}", figure)
    for name in names:
        final = {
            m: overall[name][m]["value"] for m in (*shown.columns, *shown.more) if overall[name][m]["value"] is not None
        }
        if name == NETWORK:
            write_hparams(writer, hparams, {f"test/{m}": value for m, value in final.items()})
        else:
            for m, value in final.items():
                writer.add_scalar(f"test_{name}/{m}", value)
    write_projector(writer, embeddings, metadata, tag="customers")
    writer.flush()
