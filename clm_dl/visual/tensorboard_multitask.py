"""TensorBoard at the end of a multi-task run: what a run of each question writes, the question in the tags; hparams and
projector once.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import pandas as pd
from torch.utils.tensorboard import SummaryWriter

from clm_dl.visual.tensorboard import write_final, write_hparams, write_projector
from clm_dl.visual.tensorboard_figures import write_final_figures

WRITE: dict[str, Callable[..., None]] = {
    "churn": write_final,
    "survival": write_final_figures,
    "value": write_final_figures,
}


class PartWriter:
    """A SummaryWriter for one question: test/auroc becomes test/churn_auroc; hparams and projector are left to the
    whole run.

    Attributes:
        final: the scalars of the network on test, by tag.
    """

    def __init__(self, writer: SummaryWriter, question: str) -> None:
        self.writer, self.question, self.file_writer = writer, question, self
        self.final: dict[str, float] = {}

    def _tag(self, tag: str) -> str:
        split, _, rest = tag.partition("/")
        return f"{split}/{self.question}_{rest}"

    def add_scalar(self, tag: str, value: float) -> None:
        if tag.startswith("test/"):
            self.final[self._tag(tag)] = value
        else:
            self.writer.add_scalar(self._tag(tag), value)

    def add_figure(self, tag: str, figure: Any) -> None:
        self.writer.add_figure(self._tag(tag), figure)

    def add_pr_curve(self, tag: str, labels: np.ndarray, predictions: np.ndarray) -> None:
        self.writer.add_pr_curve(self._tag(tag), labels, predictions)

    def add_summary(self, summary: Any) -> None:
        """Of the hparams: nothing."""

    def add_embedding(self, *args: Any, **kwargs: Any) -> None:
        """Of the projector: nothing."""

    def flush(self) -> None:
        """Left to the whole run."""


def write_final_multitask(
    writer: SummaryWriter,
    scores: pd.DataFrame,
    metrics: Mapping[str, Any],
    hparams: Mapping[str, Any],
    *,
    embeddings: np.ndarray,
    metadata: pd.DataFrame,
) -> None:
    """Write what only a finished run has; `embeddings` [N, D] with one row of `metadata` each. Call it once a run."""
    final: dict[str, float] = {}
    for question, found in metrics["tasks"].items():
        part = PartWriter(writer, question)
        rows = scores[scores["task"] == question]
        WRITE[question](part, rows, found, hparams, embeddings=embeddings, metadata=metadata)
        final |= part.final
    write_hparams(writer, hparams, final)
    write_projector(writer, embeddings, metadata, tag="customers")
    writer.flush()
