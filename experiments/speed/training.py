"""Speed of training: an LSTM classifier on a skewed event table, Lightning and its callbacks included; prints one JSON
line.

python experiments/speed/training.py [--events events.npz] [--batch-size 128] [--threads 1]

events.npz holds off [C+1], cat [N] (1…), amount [N], t [N] (days), y [C]; without it the same kind of table is made
here. Every fifth customer is held out. To compare with another package, run both one after the other on the same file
and compare per CPU second.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import resource
import tempfile
from pathlib import Path

import numpy as np
import pytorch_lightning as pl
import torch
from sklearn.metrics import roc_auc_score

from clm_dl.config import compose, plain
from clm_dl.data.snapshots.cutoffs import DAY
from clm_dl.data.snapshots.snapshots import Snapshots
from clm_dl.data.store.files import write_store
from clm_dl.data.store.store import EventStore, Field
from clm_dl.experiment.settings import read_task
from clm_dl.tasks.base import Cases
from clm_dl.training.datamodule import SequenceDataModule
from clm_dl.training.memory import kept_memory


def skewed_events(num_customers: int, seed: int = 0) -> dict[str, np.ndarray]:
    """Lognormal lengths (mean about 80, 5 to 400), Zipf-like categories; those whose gaps stretch are the positives."""
    rng = np.random.default_rng(seed)
    length = np.clip(np.round(rng.lognormal(np.log(80) - 0.32, 0.8, num_customers)), 5, 400).astype(np.int64)
    off = np.r_[0, np.cumsum(length)]
    customer = np.repeat(np.arange(num_customers), length)
    place = (np.arange(off[-1]) - off[:-1][customer]) / np.maximum(length[customer] - 1, 1)
    slow = rng.normal(0, 1, num_customers)
    t = np.cumsum(rng.exponential(1.0, off[-1]) * np.exp(slow[customer] * place))
    weight = 1 / np.arange(1, 201) ** 0.9
    return {
        "off": off,
        "cat": 1 + rng.choice(200, off[-1], p=weight / weight.sum()),
        "amount": np.exp(rng.normal(3, 1, off[-1]) - 0.3 * slow[customer] * place).astype(np.float32),
        "t": t - t[off[:-1]][customer],
        "y": (slow + rng.normal(0, 0.7, num_customers) > 0.8).astype(np.int64),
    }


def as_store(table: dict[str, np.ndarray], folder: Path) -> tuple[EventStore, Snapshots]:
    """The table as a store of line tokens, and one snapshot a customer after its last event."""
    off = table["off"].astype(np.int64)
    num = len(off) - 1
    time = (table["t"].astype(np.float64) * DAY).astype(np.int64)
    values = np.unique(table["cat"])
    store = write_store(
        folder / "store",
        customer_ids=np.arange(num),
        offsets=off,
        time=time,
        columns={"cat": np.searchsorted(values, table["cat"]), "amount": table["amount"]},
        fields=[Field("cat", "categorical"), Field("amount", "numeric", "amount")],
        dictionaries={"cat": values},
        end=int(time.max()) + 1,
        fingerprint="speed",
    )
    snapshots = Snapshots(
        customer=np.arange(num),
        cutoff=time[off[1:] - 1] + 1,
        split=np.where(np.arange(num) % 5 == 0, "val", "train"),
        label=table["y"].astype(np.float64),
        start=off[:-1],
        stop=off[1:],
        recent=np.ones(num, bool),
        horizon_days=1.0,
        gap_days=0.0,
    )
    return store, snapshots


class Clock(pl.Callback):
    """CPU seconds, of all threads, of each training epoch."""

    def __init__(self) -> None:
        self.epochs: list[float] = []

    def on_train_epoch_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        self.started = cpu_seconds()

    def on_train_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        self.epochs.append(cpu_seconds() - self.started)


def cpu_seconds() -> float:
    usage = resource.getrusage(resource.RUSAGE_SELF)
    return usage.ru_utime + usage.ru_stime


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--events", type=Path)
    parser.add_argument("--encoder", default="lstm")
    parser.add_argument("--hidden-size", type=int, default=64)
    parser.add_argument("--batch-size", type=int, default=128)
    parser.add_argument("--max-tokens", type=int, default=200)
    parser.add_argument("--epochs", type=int, default=4, help="the first warms up and is not counted")
    parser.add_argument("--threads", type=int, default=1)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    pl.seed_everything(0, verbose=False)
    table = dict(np.load(options.events)) if options.events else skewed_events(20_000)
    # inputs and sizes of the plainest classifier: one categorical of 16, amount and gap, no calendar, no dropout, a
    # linear head
    sizes = ["task.embedding.max_size=16", "task.embedding.numeric_size=8", "task.embedding.calendar=[]"]
    sizes += [f"encoder={options.encoder}", f"encoder.hidden_size={options.hidden_size}", "task.head_size=0"]
    batches = [f"task.batch_size={options.batch_size}", "task.max_tokens_per_batch=null"]
    batches += ["sequence=line", f"sequence.max_tokens={options.max_tokens}", "sequence.features=false"]
    further = ["encoder.dropout=0", "task.dropout=0", "baselines=none", "sequence.exclude=[]"]
    task = read_task(plain(compose("train", [*sizes, *batches, *further])))
    with tempfile.TemporaryDirectory() as folder:
        store, snapshots = as_store(table, Path(folder))
        inputs = task.inputs(Cases(store, snapshots))
        network = task.network(inputs.schema)
        clock = Clock()
        trainer = pl.Trainer(
            accelerator="cpu",
            max_epochs=options.epochs,
            limit_val_batches=0,
            num_sanity_val_steps=0,
            logger=False,
            barebones=False,
            enable_checkpointing=False,
            enable_model_summary=False,
            enable_progress_bar=False,
            gradient_clip_val=1.0,
            callbacks=[clock],
        )
        with kept_memory():  # as in clm_dl.training.fit
            trainer.fit(task.module(network, inputs), SequenceDataModule(inputs))
        held_out = np.flatnonzero(snapshots.split == "val")
        auroc = roc_auc_score(snapshots.label[held_out], task.answers(network, inputs, held_out))
    num = int(snapshots.training.sum())
    rates = sorted(num / seconds for seconds in clock.epochs[1:])
    print(
        json.dumps(
            {
                "what": "training",
                "encoder": options.encoder,
                "sequences": num,
                "parameters": sum(parameter.numel() for parameter in network.parameters()),
                "sequences_per_cpu_second": {
                    "min": round(rates[0]),
                    "median": round(rates[len(rates) // 2]),
                    "max": round(rates[-1]),
                },
                "padded_over_real": round(inputs.train_sampler().padding_ratio(), 3),
                "auroc_held_out": round(float(auroc), 4),
                "threads": options.threads,
                "torch": torch.__version__,
                "machine": f"{platform.machine()}, {os.cpu_count()} cores",
            }
        )
    )


if __name__ == "__main__":
    main()
