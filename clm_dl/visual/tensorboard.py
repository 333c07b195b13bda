"""TensorBoard of a finished run: figures, final scalars with hparams, and vectors in the projector.

Scalars are named `split/metric`; of a run with several questions, `split/question_metric`.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd
import torch
from torch.utils.tensorboard import SummaryWriter
from torch.utils.tensorboard.summary import hparams as hparams_summaries

from clm_dl.evaluation.metric import NETWORK
from clm_dl.visual.results import Results

BREAKS = r"[\t\n\v\f\r\x1c-\x1e\x85\u2028\u2029]+"  # end a line or a column of the projector's table
MAX_POINTS = 5_000  # embeddings the projector shows without stalling a browser


def write_results(
    writer: SummaryWriter,
    questions: Sequence[Results],
    hparams: Mapping[str, Any],
    projected: tuple[str, np.ndarray, pd.DataFrame] | None = None,
) -> None:
    """Write what only a finished run has. Call it once a run: TensorBoard shows one hparams entry a writer.

    Args:
        hparams: any nested dict of plain values. projected: (tag, vectors [N, D], a row of metadata each).
    """
    final: dict[str, float] = {}
    for results in questions:
        prefix = f"{results.task.name}_" if results.several else ""
        figures = results.pages.figures(results.metrics, results.test, results.names)
        for name, (_, figure) in figures.items():
            writer.add_figure(f"test/{prefix}{name}", figure)
        results.pages.write(writer, results.metrics, results.test, results.cards)
        for model in results.names:
            values = {
                f"{prefix}{metric.name}": results.overall[model][metric.name]["value"]
                for metric in (*results.known.table, *results.known.more)
                if results.overall[model].get(metric.name, {}).get("value") is not None
            }
            if model == NETWORK:
                final |= {f"test/{name}": value for name, value in values.items()}
            else:
                for name, value in values.items():
                    writer.add_scalar(f"test_{model}/{name}", value)
    write_hparams(writer, hparams, final)
    if projected is not None and len(projected[1]):
        tag, vectors, metadata = projected
        write_projector(writer, vectors, metadata, tag=tag)
    writer.flush()


def flatten(value: Mapping[str, Any], prefix: str = "") -> dict[str, bool | int | float | str]:
    """A nested dict as dotted keys and the plain values that hparams can hold; lists and None as text."""
    flat: dict[str, bool | int | float | str] = {}
    for key, part in value.items():
        if isinstance(part, Mapping):
            flat |= flatten(part, f"{prefix}{key}.")
        else:
            flat[f"{prefix}{key}"] = part if isinstance(part, (bool, int, float, str)) else str(part)
    return flat


def write_hparams(writer: SummaryWriter, hparams: Mapping[str, Any], final: Mapping[str, float]) -> None:
    """Hparams into the writer's own file, so that no second run appears beside it, as by SummaryWriter.add_hparams."""
    assert writer.file_writer is not None
    for summary in hparams_summaries(flatten(hparams), dict(final)):
        writer.file_writer.add_summary(summary)
    for tag, value in final.items():
        writer.add_scalar(tag, value)


def write_projector(writer: SummaryWriter, embeddings: np.ndarray, metadata: pd.DataFrame | None, *, tag: str) -> None:
    """Embeddings [N, D] with a row of metadata each into the projector; of more than MAX_POINTS a random draw."""
    rows = np.arange(len(embeddings))
    if len(rows) > MAX_POINTS:
        rows = np.sort(np.random.default_rng(0).choice(rows, MAX_POINTS, replace=False))
    labels, header = None, None
    if metadata is not None:
        text = metadata.iloc[rows].astype(str).rename(columns=str)
        text = text.replace(BREAKS, " ", regex=True).rename(columns=lambda name: re.sub(BREAKS, " ", name))
        labels, header = text.to_numpy().tolist(), list(text.columns)
        if len(header) == 1:  # one column: a plain list without a header, as the projector wants it
            labels, header = [row[0] for row in labels], None
    writer.add_embedding(
        torch.as_tensor(embeddings[rows], dtype=torch.float32), metadata=labels, metadata_header=header, tag=tag
    )
