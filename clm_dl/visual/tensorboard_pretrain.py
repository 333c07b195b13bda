"""TensorBoard at the end of a pretraining run: final losses with hparams, customers in the projector."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd
from torch.utils.tensorboard import SummaryWriter

from clm_dl.evaluation.splits import NETWORK
from clm_dl.tasks.pretrain.metrics import MARGINAL
from clm_dl.visual.tensorboard import write_hparams, write_projector


def write_final_pretrain(
    writer: SummaryWriter,
    scores: pd.DataFrame,
    metrics: Mapping[str, Any],
    hparams: Mapping[str, Any],
    *,
    embeddings: np.ndarray,
    metadata: pd.DataFrame,
) -> None:
    """Write what only a finished run has; `embeddings` [N, D] with one row of `metadata` each. Call it once a run."""
    final = {
        name: {metric: figure["value"] for metric, figure in found.items() if figure["value"] is not None}
        for name, found in metrics["split"]["test"]["overall"].items()
    }
    for metric, value in final[MARGINAL].items():
        writer.add_scalar(f"test_{MARGINAL}/{metric}", value)
    write_hparams(writer, hparams, {f"test/{metric}": value for metric, value in final[NETWORK].items()})
    write_projector(writer, embeddings, metadata, tag="customers")
    writer.flush()
