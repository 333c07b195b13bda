"""SequenceTask: what every task shares (optimiser, schedule, guard against NaN); SnapshotTask: a head on a customer
vector.

Shapes: B snapshots, T events (tokens), D width, E head features.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import pytorch_lightning as pl
import torch
from pytorch_lightning.utilities.types import OptimizerLRSchedulerConfig
from torch import Tensor, nn
from torch.optim.lr_scheduler import LambdaLR

from clm_dl.data.sequences.batch import EventBatch
from clm_dl.errors import UserError
from clm_dl.nn import EventEmbedding, HeadFeatures, build_encoder, build_pooling
from clm_dl.tasks.question import Question

# batches between two looks for a loss that is not finite; each look makes the host wait for the device
CHECK_EVERY = 20


def width(part: nn.Module) -> int:
    """Output width of a part of a network."""
    assert isinstance(part.output_size, int)
    return part.output_size


def learning_rate_factor(step: int, *, num_steps: int, name: str, warmup: float) -> float:
    """Share of the peak learning rate at `step`: linear warm-up, then constant, cosine to 0, or one-cycle's cosine to
    1e-4.
    """
    if name not in ("constant", "cosine", "one_cycle"):
        raise UserError(f"task.schedule.name must be constant, cosine or one_cycle, got {name!r}")
    num_warmup = max(1, round(warmup * num_steps))
    if step < num_warmup:
        start = 0.04 if name == "one_cycle" else 0.0  # Smith & Topin 2018 start at peak / 25
        return start + (1 - start) * (step + 1) / num_warmup
    if name == "constant":
        return 1.0
    progress = min(1.0, (step - num_warmup) / max(1, num_steps - num_warmup))
    floor = 1e-4 if name == "one_cycle" else 0.0
    return floor + (1 - floor) * 0.5 * (1 + math.cos(math.pi * progress))


class SequenceTask(pl.LightningModule):
    """One question asked of a customer's sequence; subclasses build the network and give the loss and the validation
    metrics.

    Args:
        schema: what the batches hold and how to scale it (`SequenceDataModule.schema`), a plain dict.
        encoder: `{"name": "lstm", …}`, see `configs/encoder`.
        task: the group `configs/task`: widths, dropout, pooling, loss, optimiser and schedule.
        seed: of the dropout noise; it depends on seed and epoch alone, so that a resumed run equals the uninterrupted
            one.

    All arguments are plain data: the checkpoint loads with `weights_only=True`, without any configuration.

    Attributes:
        monitor, mode: the logged validation metric that picks the best epoch, and whether it is to be "min" or "max".
    """

    name: str
    monitor: str
    mode: str
    encoder: nn.Module
    first_bad_batch: Tensor

    def __init__(
        self, *, schema: Mapping[str, Any], encoder: Mapping[str, Any], task: Mapping[str, Any], seed: int = 0
    ):
        super().__init__()
        self.save_hyperparameters()
        self.task = dict(task)
        # an unknown schedule is refused before anything else is done
        learning_rate_factor(0, num_steps=1, **task["schedule"])
        self.seed = seed
        self.build(schema, encoder)
        self.register_buffer("first_bad_batch", torch.tensor(-1), persistent=False)

    # --- what a subclass says

    def build(self, schema: Mapping[str, Any], encoder: Mapping[str, Any]) -> None:
        """Make the network's parts."""
        raise TypeError(f"{type(self).__name__} must define build")

    def embed(self, batch: EventBatch) -> Tensor:
        """Customer vectors `z_BD` as of each snapshot's cutoff."""
        raise TypeError(f"{type(self).__name__} must define embed")

    def batch_loss(self, batch: EventBatch) -> Tensor:
        """The training loss of a batch, a scalar."""
        raise TypeError(f"{type(self).__name__} must define batch_loss")

    def undecayed(self) -> list[nn.Parameter]:
        """Matrices that weight decay leaves alone: tables of embeddings."""
        raise TypeError(f"{type(self).__name__} must define undecayed")

    # --- training

    def on_train_epoch_start(self) -> None:
        torch.manual_seed(hash((self.seed, self.current_epoch, self.global_rank)) % 2**63)

    def training_step(self, batch: EventBatch, batch_idx: int) -> Tensor:
        loss = self.batch_loss(batch)
        is_first = (self.first_bad_batch < 0) & ~torch.isfinite(loss.detach())
        self.first_bad_batch = torch.where(is_first, batch_idx, self.first_bad_batch)  # on the device: no sync here
        if (batch_idx + 1) % CHECK_EVERY == 0:
            self._stop_if_not_finite()
        every: int = self.trainer.log_every_n_steps  # type: ignore[attr-defined]
        # only when it is written: each call costs a per cent of a small network's step
        if every and (self.global_step + 1) % every == 0:
            self.log("train/loss", loss, on_step=True, on_epoch=False, batch_size=len(batch))
        return loss

    def on_train_epoch_end(self) -> None:
        self._stop_if_not_finite()

    def _stop_if_not_finite(self) -> None:
        bad = int(self.first_bad_batch)
        if bad >= 0:
            raise UserError(
                f"the training loss is not finite since batch {bad} of epoch {self.current_epoch}: lower "
                "task.optimizer.lr or look for extreme values in the numeric columns"
            )

    def configure_optimizers(self) -> OptimizerLRSchedulerConfig:
        """AdamW without weight decay on biases, norms and embedding tables; the schedule moves every step."""
        embeddings = {id(p) for p in self.undecayed()}
        decayed = [p for p in self.parameters() if p.ndim >= 2 and id(p) not in embeddings]
        rest = [p for p in self.parameters() if p.ndim < 2 or id(p) in embeddings]
        options = self.task["optimizer"]
        optimizer = torch.optim.AdamW(
            [{"params": decayed, "weight_decay": options["weight_decay"]}, {"params": rest, "weight_decay": 0.0}],
            lr=options["lr"],
            # Lightning clips no gradients of a fused optimiser in mixed precision
            fused="mixed" not in str(self.trainer.precision),
        )
        num_steps = int(self.trainer.estimated_stepping_batches)
        schedule = LambdaLR(
            optimizer, lambda step: learning_rate_factor(step, num_steps=num_steps, **self.task["schedule"])
        )
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": schedule, "interval": "step"}}


class PooledTask(SequenceTask):
    """The parts that make a customer's vector, and that `init` hands on: embedding → encoder → pooling."""

    pretrained = ("embedding", "encoder", "pooling")

    def build_vector(self, schema: Mapping[str, Any], encoder: Mapping[str, Any]) -> None:
        """Make the parts; `encoder["frozen"]` keeps them as they are, random or pretrained."""
        self.embedding = EventEmbedding(schema, dropout=self.task["dropout"], **self.task["embedding"])
        self.encoder = build_encoder(encoder, self.embedding.output_size)
        self.pooling = build_pooling(self.task["pooling"], size=width(self.encoder))
        if encoder.get("frozen"):
            for name in self.pretrained:
                self.get_submodule(name).requires_grad_(False)

    def undecayed(self) -> list[nn.Parameter]:
        return list(self.embedding.tables)

    def states(self, batch: EventBatch) -> Tensor:
        """`h_BTD`: what the encoder knows after each token."""
        h_BTD: Tensor = self.encoder(self.embedding(batch), batch.mask_BT, batch.time_BT)
        return h_BTD

    def embed(self, batch: EventBatch) -> Tensor:
        z_BD: Tensor = self.pooling(self.states(batch), batch.mask_BT)
        return z_BD


class SnapshotTask(PooledTask):
    """A head on the pooled sequence and the facts known at the cutoff: one answer a snapshot to the one question of the
    task.
    """

    question_type: type[Question]

    def build(self, schema: Mapping[str, Any], encoder: Mapping[str, Any]) -> None:
        self.question = self.question_type(self.task, schema)
        self.validation_outputs: list[tuple[Tensor, Tensor]] = []
        self.build_vector(schema, encoder)
        self.head_features = HeadFeatures(schema, bounded_recency=self.question.bounded_recency)
        self.head = self.question.head(width(self.pooling), width(self.head_features))

    def loss(self, output: Tensor, batch: EventBatch) -> Tensor:
        return self.question.loss(output, self.question.truth(batch))

    def batch_loss(self, batch: EventBatch) -> Tensor:
        return self.loss(self(batch), batch)

    def forward(self, batch: EventBatch) -> Tensor:
        output: Tensor = self.head(self.embed(batch), self.head_features(batch))
        return output

    def validation_step(self, batch: EventBatch, batch_idx: int) -> None:
        self.validation_outputs.append((self(batch).float(), self.question.truth(batch)))

    def on_validation_epoch_end(self) -> None:
        output, truth = (torch.cat(part) for part in zip(*self.validation_outputs, strict=True))
        self.validation_outputs.clear()
        # of the whole epoch, never a mean of batches; every rank of a distributed run evaluates all of it
        for name, value in self.question.metrics(output, truth).items():
            self.log(f"val/{name}", value, prog_bar=True)
