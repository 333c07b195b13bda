"""SequenceTask: the Lightning module that trains any network: optimiser, schedule, guard against NaN, validation."""

from __future__ import annotations

import math
from functools import partial
from typing import Any

import pytorch_lightning as pl
import torch
from pytorch_lightning.plugins.precision import Precision
from pytorch_lightning.utilities import GradClipAlgorithmType
from pytorch_lightning.utilities.types import OptimizerLRSchedulerConfig
from torch import Tensor
from torch.optim.lr_scheduler import LambdaLR

from clm_dl.data.sequences.batch import EventBatch
from clm_dl.errors import UserError
from clm_dl.tasks.network import SequenceNetwork
from clm_dl.tasks.processes import gathered, together

CHECK_EVERY = 20  # batches between two looks for a loss that is not finite


def learning_rate_factor(step: int, *, num_steps: int, name: str, warmup: float) -> float:
    """Share of the peak learning rate: linear warm-up, then constant, cosine to 0, or one-cycle's cosine to 1e-4."""
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
    """Trains `network`; optimiser and schedule are those of its options.

    Dropout noise depends on seed and epoch alone, so that a resumed run equals the uninterrupted one.

    Args:
        monitor, mode: the logged validation metric that picks the best epoch, and whether it is to be "min" or "max".
    """

    first_bad_batch: Tensor

    def __init__(self, network: SequenceNetwork, *, monitor: str, mode: str = "min") -> None:
        super().__init__()
        self.network, self.monitor, self.mode = network, monitor, mode
        self.save_hyperparameters(network.hyper_parameters)  # plain data: the checkpoint loads with weights_only
        self.asked: dict[str, Any] = {}  # what is learnt, plain data: a checkpoint of something else is not resumed
        self.validated: list[Any] = []
        self.register_buffer("first_bad_batch", torch.tensor(-1), persistent=False)

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        checkpoint["asked"] = self.asked

    def on_train_epoch_start(self) -> None:
        self._reported = torch.tensor(-1, pin_memory=self.device.type == "cuda")  # on the host
        torch.manual_seed(hash((self.network.seed, self.current_epoch, self.global_rank)) % 2**63)

    def training_step(self, batch: EventBatch, batch_idx: int) -> Tensor:
        loss = self.network.batch_loss(batch)
        is_first = (self.first_bad_batch < 0) & ~torch.isfinite(loss.detach())
        self.first_bad_batch = torch.where(is_first, batch_idx, self.first_bad_batch)  # on the device: no sync here
        if (batch_idx + 1) % CHECK_EVERY == 0:  # what a device says comes later than asked: then the next look sees it
            self._reported.copy_(self.first_bad_batch, non_blocking=True)
            self._stop_if_not_finite(int(self._reported))
        every: int = self.trainer.log_every_n_steps  # type: ignore[attr-defined]
        # only when it is written: each call costs a per cent of a small network's step
        if every and (self.global_step + 1) % every == 0:
            self.log("train/loss", loss, on_step=True, on_epoch=False, batch_size=len(batch), sync_dist=True)
        return loss

    def on_train_epoch_end(self) -> None:
        self._stop_if_not_finite(int(self.first_bad_batch))

    def _stop_if_not_finite(self, bad: int) -> None:
        if bad >= 0:
            raise UserError(
                f"the training loss is not finite since batch {bad} of epoch {self.current_epoch}: lower "
                "task.optimizer.lr or look for extreme values in the numeric columns"
            )

    def validation_step(self, batch: EventBatch, batch_idx: int) -> None:
        self.validated.append(self.network.validate(batch))

    def on_validation_epoch_end(self) -> None:
        with together():  # each process has validated its share; all judge the whole, so that all stop at once
            shares = gathered(self.digest(self.validated), self.device)
        for name, value in self.judge([part for one in shares for part in one]).items():
            self.log(f"val/{name}", value, prog_bar=f"val/{name}" == self.monitor)
        self.validated.clear()
        for tag, value in self.network.scalars().items():
            self.log(tag, value)

    def digest(self, found: list[Any]) -> list[Any]:
        """What `judge` needs of the validation batches of this process."""
        return found

    def judge(self, found: list[Any]) -> dict[str, Tensor | float]:
        """Validation metrics of the epoch, from what all processes digested."""
        return self.network.judge(found)

    @property
    def scaled(self) -> bool:
        """Whether the loss is scaled up, as fp16 needs and bf16 does not."""
        return getattr(self.trainer.precision_plugin, "scaler", None) is not None

    def configure_gradient_clipping(
        self,
        optimizer: torch.optim.Optimizer,
        gradient_clip_val: float | None = None,
        gradient_clip_algorithm: str | None = None,
    ) -> None:
        """As Lightning does, which refuses a fused optimiser in every mixed precision, though only fp16's scaler is in
        the way.
        """
        plugin = self.trainer.precision_plugin
        clip = plugin.clip_gradients if self.scaled else partial(Precision.clip_gradients, plugin)
        clip(optimizer, gradient_clip_val or 0.0, GradClipAlgorithmType(gradient_clip_algorithm or "norm"))

    def configure_optimizers(self) -> OptimizerLRSchedulerConfig:
        """AdamW without weight decay on biases, norms and embedding tables; the schedule moves every step."""
        embeddings = {id(p) for p in self.network.undecayed()}
        decayed = [p for p in self.parameters() if p.ndim >= 2 and id(p) not in embeddings]
        rest = [p for p in self.parameters() if p.ndim < 2 or id(p) in embeddings]
        options, schedule = self.network.options.optimizer, self.network.options.schedule
        # a fused optimiser scales fp16's gradients back in its step, which is after they are clipped
        fused = not (self.scaled and self.trainer.gradient_clip_val)
        optimizer = torch.optim.AdamW(
            [{"params": decayed, "weight_decay": options.weight_decay}, {"params": rest, "weight_decay": 0.0}],
            lr=options.lr,
            fused=fused,
            foreach=not fused,
        )
        num_steps = int(self.trainer.estimated_stepping_batches)

        def factor(step: int) -> float:
            return learning_rate_factor(step, num_steps=num_steps, name=schedule.name, warmup=schedule.warmup)

        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": LambdaLR(optimizer, factor), "interval": "step"}}
