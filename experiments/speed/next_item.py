"""Speed of training a next-item network: what clm-train does between preparing the log and the baselines; prints one
JSON line.

python experiments/speed/next_item.py [--encoder sasrec] [--batch-size 128] [--max-tokens 50] [--feedforward-size 48]
[--threads 1]

SASRec on ml-100k by leave-one-out, softmax over the whole catalogue, with the shipped trainer, callbacks and
TensorBoard logger. A target is an event that a position of the network predicts; an epoch has each training event but a
customer's first once. CPU seconds are of all threads of this process. `steps` counts them from the start of an epoch to
the end of its last batch, as one does for packages that are run without validation; `epoch` adds exact validation over
the catalogue, two checkpoints and the histograms of all weights.

Another package: run both alternately on one machine, with equal threads, and compare per CPU second. Parameters at
width 64, depth 2 and length 50: RecTools 0.19 150,592 (feed-forward width 64; its catalogue is the 1,512 items among a
customer's last 51), RecBole 1.2 211,008 (width 256); here 157,408 at a feed-forward width of 48, 161,536 at 64 and
211,072 at 256, over all 1,682 items.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import resource
import tempfile
from typing import Any

import numpy as np
import pytorch_lightning as pl
import torch

from clm_dl.config import compose, plain
from clm_dl.data.open import open_store
from clm_dl.experiment.experiment import prepare_fold, train_fold
from clm_dl.experiment.settings import read_plan
from clm_dl.experiment.timing import Clock


class Epochs(pl.Callback):
    """CPU seconds of all threads of each epoch: of its training batches, and of all of it."""

    def __init__(self) -> None:
        self.steps: list[float] = []
        self.whole: list[float] = []
        self.started = 0.0

    def on_train_epoch_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        if self.steps:
            self.whole.append(cpu_seconds() - self.started)
        self.started = cpu_seconds()

    def on_train_batch_end(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        if batch_idx + 1 == trainer.num_training_batches:
            self.steps.append(cpu_seconds() - self.started)

    def on_train_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        self.whole.append(cpu_seconds() - self.started)


def cpu_seconds() -> float:
    usage = resource.getrusage(resource.RUSAGE_SELF)
    return usage.ru_utime + usage.ru_stime


def rate(number: int, seconds: list[float]) -> dict[str, int]:
    """Smallest, median and largest of `number` a CPU second."""
    rates = number / np.array(seconds)
    return {"min": round(rates.min()), "median": round(float(np.median(rates))), "max": round(rates.max())}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--encoder", default="sasrec")
    parser.add_argument("--batch-size", type=int, default=128)
    parser.add_argument("--max-tokens", type=int, default=50)
    parser.add_argument("--hidden-size", type=int, default=64)
    parser.add_argument("--num-heads", type=int, default=2)
    parser.add_argument(
        "--feedforward-size",
        type=int,
        default=48,
        help="makes the number of parameters that of the package compared with",
    )
    parser.add_argument("--epochs", type=int, default=4, help="the first warms up and is not counted")
    parser.add_argument("--threads", type=int, default=1)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    overrides = [
        "experiment=next_item_ml100k",
        f"encoder={options.encoder}",
        f"encoder.hidden_size={options.hidden_size}",
        f"encoder.num_heads={options.num_heads}",
        f"encoder.feedforward_size={options.feedforward_size}",
        f"task.size={options.hidden_size}",
        f"task.batch_size={options.batch_size}",
        "task.max_tokens_per_batch=null",
        f"sequence.max_tokens={options.max_tokens}",
        "encoder.dropout=0.2",
        "task.dropout=0.0",
        "task.residual=false",
        f"trainer.max_epochs={options.epochs}",
        f"callbacks.patience={options.epochs}",
        "trainer.accelerator=cpu",
        "baselines=none",
    ]
    with tempfile.TemporaryDirectory() as folder:
        plan, epochs = read_plan(plain(compose("train", [*overrides, f"paths.output_dir={folder}"]))), Epochs()
        fold = prepare_fold(plan, open_store(plan.data, plan.paths), 0, Clock())
        training = fold.training
        assert training is not None
        training.trainer.callbacks.append(epochs)  # type: ignore[attr-defined]
        train_fold(fold, plan.task, Clock(), lambda _: None)
        inputs = training.inputs
        targets = int((inputs.dataset.lengths[inputs.rows("train")] - 1).sum())
        print(
            json.dumps(
                {
                    "what": "next_item",
                    "encoder": options.encoder,
                    "parameters": sum(parameter.numel() for parameter in training.network.parameters()),
                    "sequences": inputs.num_training,
                    "targets": targets,
                    "batches": training.trainer.num_training_batches,
                    "targets_per_cpu_second": {
                        "steps": rate(targets, epochs.steps[1:]),
                        "epoch": rate(targets, epochs.whole[1:]),
                    },
                    "padded_over_real": round(inputs.train_sampler().padding_ratio(), 3),
                    "ndcg@10_validation": round(float(training.trainer.callback_metrics["val/ndcg@10"]), 4),
                    "threads": options.threads,
                    "torch": torch.__version__,
                    "machine": f"{platform.machine()}, {os.cpu_count()} cores",
                }
            )
        )


if __name__ == "__main__":
    main()
