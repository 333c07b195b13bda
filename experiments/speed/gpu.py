"""Speed of training on a GPU: the churn network on 60,000 simulated customers, Lightning and loader against a bare loop
on batches that already lie on the device; prints one JSON line a figure, measured or not.

python experiments/speed/gpu.py [--device cuda] [--customers 60000] [--steps 200]

Without a GPU every line says so. `--device cpu --customers 500 --steps 5` tries the same code with networks and batches
that are smaller, and compiles nothing.
"""

from __future__ import annotations

import argparse
import itertools
import json
import os
import platform
import tempfile
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytorch_lightning as pl
import torch
from torch.autograd import DeviceType
from torch.profiler import ProfilerActivity, profile
from training import as_store, skewed_events

from clm_dl.config import compose, plain
from clm_dl.data.sequences import loading
from clm_dl.data.sequences.batch import EventBatch
from clm_dl.experiment.settings import read_plan
from clm_dl.tasks.cases import Cases
from clm_dl.tasks.network import SequenceNetwork
from clm_dl.training.fit import fit, prepare_training

WARM_UP = 20  # steps that are not timed: kernels are chosen, memory is found, the encoder is compiled; 2 on a CPU
PROFILED = 20  # steps in which kernels are timed
UNITS = {
    "pipeline": "sequences/s",  # Lightning's fit with the run's own loader and callbacks
    "bare": "sequences/s",  # the same loss, clipping and optimiser, batches on the device
    "pipeline/bare": "ratio",
    "kernel share": "ratio",  # time in kernels over wall of the bare loop
    "compile": "s",  # what the first steps of the pipeline take beyond as many later ones
    "peak memory": "GiB",  # of the pipeline
}


@dataclass(frozen=True)
class Row:
    """What is trained: words of the command line, width, padded tokens a batch; the share of the free memory that
    histories may take.
    """

    name: str
    encoder: tuple[str, ...]
    width: int
    tokens: int
    further: tuple[str, ...] = ()
    share: float = loading.SHARE

    @property
    def words(self) -> list[str]:
        sizes = [
            f"encoder.hidden_size={self.width}",
            f"task.max_tokens_per_batch={self.tokens}",
            "task.batch_size=null",
        ]
        return [*self.encoder, *sizes, *self.further]


LSTM, TRANSFORMER = ("encoder=lstm",), ("encoder=transformer", "encoder.num_layers=4")
ROWS = (
    Row("LSTM 64", LSTM, 64, 8_192),
    Row("LSTM 256", LSTM, 256, 65_536),
    Row("LSTM 256, histories on the host", LSTM, 256, 65_536, share=0.0),
    Row("Transformer 64 × 2", ("encoder=transformer",), 64, 8_192),
    Row("Transformer 256 × 4", TRANSFORMER, 256, 65_536),
    Row("Transformer 256 × 4, compiled", TRANSFORMER, 256, 65_536, ("trainer.compile=true",)),
)


class StepClock(pl.Callback):
    """Seconds of the first steps, and seconds and sequences of the others; the device is waited for twice."""

    def __init__(self, *, warm_up: int, steps: int) -> None:
        self.first, self.steps, self.sequences, self.warm_up, self.seconds = warm_up, steps, torch.tensor(0), 0.0, 0.0

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        self.started = now(pl_module.device)

    def on_train_batch_end(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, outputs: Any, batch: EventBatch, batch_idx: int
    ) -> None:
        if batch_idx + 1 > self.first:
            self.sequences = self.sequences + sequences_in(batch)
        if batch_idx + 1 == self.first:
            self.warm_up = now(pl_module.device) - self.started
            self.started += self.warm_up
        if batch_idx + 1 == self.first + self.steps:
            self.seconds = now(pl_module.device) - self.started


def sequences_in(batch: EventBatch) -> torch.Tensor:
    """How many rows are no fillers, on the device."""
    return (batch.length_B > 0).sum()


def now(device: torch.device) -> float:
    """The time when everything asked of `device` is done."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    return time.perf_counter()


def bare_steps(
    network: SequenceNetwork, batches: Sequence[EventBatch], *, dtype: torch.dtype
) -> Iterator[torch.Tensor]:
    """The loss of step after step on these batches, round and round, as Lightning would do them."""
    device = network.device
    optimizer = torch.optim.AdamW([p for p in network.parameters() if p.requires_grad], lr=1e-3, fused=True)
    network.train()
    for batch in itertools.cycle(batches):
        optimizer.zero_grad()
        with torch.autocast(device.type, dtype, enabled=dtype != torch.float32, cache_enabled=False):
            loss = network.batch_loss(batch)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(network.parameters(), 1.0)
        optimizer.step()
        yield loss.detach()


def bare_speed(
    network: SequenceNetwork, batches: Sequence[EventBatch], *, warm_up: int, steps: int
) -> dict[str, float | None]:
    """Sequences a second of the bare loop in bf16, and the share of its wall time in kernels (None on a CPU)."""
    loop, device = bare_steps(network, batches, dtype=torch.bfloat16), network.device
    for _ in itertools.islice(loop, warm_up):
        pass
    started = now(device)
    for _ in itertools.islice(loop, steps):
        pass
    step = (now(device) - started) / steps
    # the batches go round: those of the timed steps
    sequences = sum(int(sequences_in(batches[place % len(batches)])) for place in range(warm_up, warm_up + steps))
    share = kernel_seconds(loop, PROFILED) / PROFILED / step if device.type == "cuda" else None
    return {"bare": sequences / (step * steps), "kernel share": share}


def kernel_seconds(loop: Iterator[Any], steps: int) -> float:
    """Seconds that a CUDA device spends in kernels and copies during these steps."""
    torch.cuda.synchronize()
    with profile(activities=[ProfilerActivity.CPU, ProfilerActivity.CUDA]) as found:
        for _ in itertools.islice(loop, steps):
            pass
        torch.cuda.synchronize()
    kernels = [one for one in found.events() or () if one.device_type == DeviceType.CUDA and not one.is_user_annotation]
    return sum(one.self_device_time_total for one in kernels) / 1e6


def measure(row: Row, table: dict[str, Any], folder: Path, *, device: str, steps: int) -> dict[str, float | None]:
    """The figures of one row."""
    warm_up = WARM_UP if device == "cuda" else 2
    words = ["sequence=line", "sequence.max_tokens=400", "sequence.features=false", "sequence.exclude=[]"]
    words += [f"trainer={'gpu' if device == 'cuda' else 'default'}", "trainer.precision=bf16-mixed", "baselines=none"]
    words += ["trainer.compile=false", "trainer.enable_progress_bar=false", "trainer.max_epochs=1"]
    words += [f"trainer.accelerator={'gpu' if device == 'cuda' else 'cpu'}", f"paths.output_dir={folder / 'run'}"]
    words += [f"task.steps_per_epoch={warm_up + steps}", *row.words]
    plan = read_plan(plain(compose("train", words)))
    loading.SHARE = row.share
    store, snapshots = as_store(table, folder)
    cases, clock = Cases(store, snapshots), StepClock(warm_up=warm_up, steps=steps)
    inputs = plan.task.inputs(cases)
    training = prepare_training(
        plan.task, inputs, replace(plan.training, loggers={}), folder / "run", fingerprint="speed"
    )
    training.trainer.callbacks.append(clock)  # type: ignore[attr-defined]
    if device == "cuda":
        torch.cuda.reset_peak_memory_stats()
    fit(training, folder / "run", lambda line: None)
    peak = torch.cuda.max_memory_allocated() / 2**30 if device == "cuda" else None
    network = training.network
    loader = itertools.islice(inputs.train_loader(), warm_up + steps)
    batches = [batch.to(network.device) for batch in loader]
    bare = bare_speed(network, batches, warm_up=warm_up, steps=steps)
    pipeline = int(clock.sequences) / clock.seconds
    assert bare["bare"]
    later = clock.warm_up - warm_up * clock.seconds / steps
    compiled = later if "trainer.compile=true" in row.further and device == "cuda" else None
    return {
        "pipeline": pipeline,
        **bare,
        "pipeline/bare": pipeline / bare["bare"],
        "compile": compiled,
        "peak memory": peak,
    }


def machine(device: str) -> dict[str, Any]:
    """The card, or the processor, and versions."""
    card = torch.cuda.get_device_name() if device == "cuda" else f"{platform.machine()}, {os.cpu_count()} cores"
    return {"device": card, "torch": torch.__version__, "cuda": torch.version.cuda, "lightning": pl.__version__}


def main(words: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--device", choices=["cuda", "cpu"], default="cuda")
    parser.add_argument("--customers", type=int, default=60_000)
    parser.add_argument("--steps", type=int, default=200, help="that are timed")
    options = parser.parse_args(words)
    device, rows = options.device, ROWS
    if device == "cuda" and not torch.cuda.is_available():
        for row, (figure, unit) in itertools.product(rows, UNITS.items()):
            line = {"figure": figure, "row": row.name, "unit": unit, "measured": False, "why": "no GPU"}
            print(json.dumps(line, ensure_ascii=False))
        return
    if device == "cpu":
        torch.compiler.set_stance("force_eager")
        rows = tuple(replace(row, width=row.width // 8, tokens=row.tokens // 64) for row in rows)
    table = skewed_events(options.customers)
    size = {"customers": options.customers, "tokens": int(table["off"][-1]), "steps": options.steps}
    for row in rows:
        pl.seed_everything(0, verbose=False)
        with tempfile.TemporaryDirectory() as folder:
            found = measure(row, table, Path(folder), device=device, steps=options.steps)
        for figure, unit in UNITS.items():
            value = found[figure]
            line = {"figure": figure, "row": row.name, "unit": unit, "measured": value is not None}
            line |= {"value": None if value is None else float(f"{value:.4g}")}
            line |= {"width": row.width, "tokens_per_batch": row.tokens, **size, **machine(device)}
            print(json.dumps(line, ensure_ascii=False), flush=True)


if __name__ == "__main__":
    main()
