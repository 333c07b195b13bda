"""TensorBoard: callbacks while training (gradient norm, weights, throughput) and what is written once at the end.

Scalars are named `split/metric`. Callbacks do nothing for a logger that is not TensorBoard's.
"""

from __future__ import annotations

import contextlib
import dataclasses
import io
import operator
import time
import warnings
from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd
import torch
from pytorch_lightning import Callback, LightningModule, Trainer
from pytorch_lightning.loggers import TensorBoardLogger
from torch import Tensor, nn
from torch.utils.tensorboard import SummaryWriter
from torch.utils.tensorboard.summary import hparams as hparams_summaries

from clm_dl.evaluation.splits import NETWORK
from clm_dl.tasks.churn.figures import gain_figure, histogram_figure, precision_recall_figure, reliability_figure
from clm_dl.tasks.churn.summary import score_table
from clm_dl.visual.families import CHURN

FINAL = ("auroc", "auprc", "log_loss", "brier", "ece", "lift@10")
MAX_POINTS = 5_000  # embeddings the projector shows without stalling a browser


class GradientNorm(Callback):
    """Logs `train/gradient_norm`, the total norm before clipping, at the steps that the trainer writes."""

    def on_before_optimizer_step(
        self, trainer: Trainer, pl_module: LightningModule, optimizer: torch.optim.Optimizer
    ) -> None:
        every: int = trainer.log_every_n_steps  # type: ignore[attr-defined]
        if every and (trainer.global_step + 1) % every == 0:
            gradients = [p.grad for p in pl_module.parameters() if p.grad is not None]
            pl_module.log("train/gradient_norm", torch.nn.utils.get_total_norm(gradients))


class WeightHistograms(Callback):
    """Writes a histogram of every parameter at the end of each training epoch, as `weight/<name>`."""

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        for writer in writers(trainer):
            for name, parameter in pl_module.named_parameters():
                writer.add_histogram(f"weight/{name}", parameter.detach().float().cpu(), trainer.global_step)


class Throughput(Callback):
    """Logs `train/events_per_second` and `train/padding_ratio` (padded over real tokens, 1 is none) once an epoch."""

    def on_train_epoch_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self.start, self.events, self.padded = time.perf_counter(), 0, 0
        self.real: Tensor | int = 0  # stays on the device: reading it every batch would make the host wait

    def on_train_batch_start(self, trainer: Trainer, pl_module: LightningModule, batch: Any, batch_idx: int) -> None:
        self.events += batch.num_events
        self.padded += batch.mask_BT.numel()
        self.real = self.real + batch.length_B.sum()

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        pl_module.log("train/events_per_second", self.events / (time.perf_counter() - self.start))
        pl_module.log("train/padding_ratio", self.padded / max(int(self.real), 1))


class ModelGraph(Callback):
    """Writes the graph of the network once, traced on the first training batch; silently nothing where it cannot be
    traced.
    """

    def on_train_batch_start(self, trainer: Trainer, pl_module: LightningModule, batch: Any, batch_idx: int) -> None:
        if trainer.global_step == 0 and batch_idx == 0:
            for writer in writers(trainer):
                write_graph(writer, pl_module, batch)


def writers(trainer: Trainer) -> list[SummaryWriter]:
    """The TensorBoard writers among the trainer's loggers."""
    return [logger.experiment for logger in trainer.loggers if isinstance(logger, TensorBoardLogger)]


def write_graph(writer: SummaryWriter, network: nn.Module, batch: Any) -> bool:
    """Write the graph of `network(batch)`, traced on the tensors inside the batch; False where it cannot be traced."""
    tensors, rebuild = _tensors(batch)
    was_training = network.training
    try:
        # add_graph prints its errors
        with warnings.catch_warnings(), torch.no_grad(), contextlib.redirect_stdout(io.StringIO()):
            warnings.simplefilter("ignore")  # the tracer warns about every shape it reads
            writer.add_graph(_OnTensors(network.eval(), rebuild), tensors, use_strict_trace=False)
    except (RuntimeError, TypeError, ValueError, AttributeError):
        return False
    finally:
        network.train(was_training)
    return True


def write_final(
    writer: SummaryWriter,
    scores: pd.DataFrame,
    metrics: Mapping[str, Any],
    hparams: Mapping[str, Any],
    embeddings: np.ndarray | None = None,
    metadata: pd.DataFrame | None = None,
) -> None:
    """Write what only a finished run has: final scalars, PR curves, figures, hparams with the final metric, the
    projector.

    `scores` is the Scores table, `hparams` any nested dict of plain values, `embeddings` [N, D] with one row of
    `metadata` each. Call it once a run: TensorBoard shows one hparams entry a writer.
    """
    overall = metrics["split"]["test"]["overall"]
    table = score_table(scores, "test")
    shown = {name: table.score[name] for name in CHURN.ordered(overall)[:5]}
    for name, score_N in shown.items():
        if len(table.label):
            writer.add_pr_curve(f"test/pr_curve_{name}", table.label, np.clip(score_N, 0, 1))
    writer.add_figure("test/reliability", reliability_figure(table.label, shown))
    writer.add_figure("test/precision_recall", precision_recall_figure(table.label, shown))
    writer.add_figure("test/gain", gain_figure(table.label, shown))
    if shown:
        name = next(iter(shown))
        writer.add_figure("test/score_histogram", histogram_figure(table.label, shown[name], name))
        final = {f"test/{m}": overall[name][m]["value"] for m in FINAL if overall[name][m]["value"] is not None}
        write_hparams(writer, hparams, final)
    for baseline in (model for model in overall if model != NETWORK):
        for m in FINAL:
            if (value := overall[baseline][m]["value"]) is not None:
                writer.add_scalar(f"test_{baseline}/{m}", value)
    if embeddings is not None and len(embeddings):
        write_projector(writer, embeddings, metadata, tag="customers")
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
    """Hparams into the writer's own file, so that no second run appears beside it (as SummaryWriter.add_hparams would
    do).
    """
    assert writer.file_writer is not None
    for summary in hparams_summaries(flatten(hparams), dict(final)):
        writer.file_writer.add_summary(summary)
    for tag, value in final.items():
        writer.add_scalar(tag, value)


def write_projector(writer: SummaryWriter, embeddings: np.ndarray, metadata: pd.DataFrame | None, *, tag: str) -> None:
    """Embeddings [N, D] with a row of metadata each into the projector; `MAX_POINTS` of them, drawn at random, where
    there are more.
    """
    rows = np.arange(len(embeddings))
    if len(rows) > MAX_POINTS:
        rows = np.sort(np.random.default_rng(0).choice(rows, MAX_POINTS, replace=False))
    labels, header = None, None
    if metadata is not None:
        text = metadata.iloc[rows].astype(str)
        labels, header = text.to_numpy().tolist(), [str(column) for column in text.columns]
        if len(header) == 1:  # one column: a plain list without a header, as the projector wants it
            labels, header = [row[0] for row in labels], None
    writer.add_embedding(
        torch.as_tensor(embeddings[rows], dtype=torch.float32), metadata=labels, metadata_header=header, tag=tag
    )


class _OnTensors(nn.Module):
    """A network on a flat tuple of tensors, which is all that the tracer understands."""

    def __init__(self, network: nn.Module, rebuild: Any) -> None:
        super().__init__()
        self.network = network
        self.rebuild = rebuild

    def forward(self, *tensors: Tensor) -> Any:
        return self.network(self.rebuild(tensors))


def _tensors(batch: Any) -> tuple[tuple[Tensor, ...], Any]:
    """The tensors in a batch (a dataclass, dict or tuple of them, nested) and the function that puts them back."""
    found: list[Tensor] = []

    def pick(part: Any) -> Any:
        if isinstance(part, Tensor):
            found.append(part)
            return operator.itemgetter(len(found) - 1)
        if dataclasses.is_dataclass(part) and not isinstance(part, type):
            made = {field.name: pick(getattr(part, field.name)) for field in dataclasses.fields(part)}
            return lambda tensors: dataclasses.replace(part, **{name: make(tensors) for name, make in made.items()})
        if isinstance(part, dict):
            parts = {key: pick(value) for key, value in part.items()}
            return lambda tensors: {key: make(tensors) for key, make in parts.items()}
        if isinstance(part, tuple):
            items = [pick(value) for value in part]
            return lambda tensors: tuple(make(tensors) for make in items)
        return lambda tensors: part

    rebuild = pick(batch)
    return tuple(found), rebuild
