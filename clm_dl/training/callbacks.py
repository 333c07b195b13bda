"""Callbacks of training: what TensorBoard shows of every epoch; they do nothing for any other logger."""

from __future__ import annotations

import contextlib
import dataclasses
import io
import operator
import time
import warnings
from typing import Any

import torch
from pytorch_lightning import Callback, LightningModule, Trainer
from pytorch_lightning.loggers import TensorBoardLogger
from torch import Tensor, nn
from torch.utils.tensorboard import SummaryWriter

from clm_dl.tasks.module import SequenceTask


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
            assert isinstance(pl_module, SequenceTask)
            for name, parameter in pl_module.network.named_parameters():
                writer.add_histogram(f"weight/{name}", parameter.detach().float().cpu(), trainer.global_step)


class Throughput(Callback):
    """Logs `train/events_per_second` and `train/padding_ratio` (padded over real tokens, 1 is none) once an epoch."""

    def on_train_epoch_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self.start, self.padded = time.perf_counter(), 0
        # stay on the device: reading them every batch would make the host wait
        self.events: Tensor | int = 0
        self.real: Tensor | int = 0

    def on_train_batch_start(self, trainer: Trainer, pl_module: LightningModule, batch: Any, batch_idx: int) -> None:
        self.events = self.events + batch.num_events
        self.padded += batch.mask_BT.numel()
        self.real = self.real + batch.length_B.sum()

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        rate = int(self.events) / (time.perf_counter() - self.start)
        pl_module.log("train/events_per_second", rate, sync_dist=True, reduce_fx="sum")  # of all processes
        pl_module.log("train/padding_ratio", self.padded / max(int(self.real), 1))


class ModelGraph(Callback):
    """Writes the graph of the network once, traced on the first training batch; nothing where it cannot be traced."""

    def on_train_batch_start(self, trainer: Trainer, pl_module: LightningModule, batch: Any, batch_idx: int) -> None:
        if trainer.global_step == 0 and batch_idx == 0:
            assert isinstance(pl_module, SequenceTask)
            for writer in writers(trainer):
                write_graph(writer, pl_module.network, batch)


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
