"""What a GPU must do as a CPU does: every encoder and every task learns the same in bf16 and compiled, no step waits
for the device, a checkpoint goes from one to the other, a shortage of memory is a sentence; one JSON line a check.

python tests/gpu_check.py

Without a GPU it says "not measured: no GPU" and does the same with a CPU's bf16 in the GPU's place, nothing compiled
(that takes minutes, for a compiler that no user of a CPU calls). Exit code 1 where a check fails.
"""

from __future__ import annotations

import itertools
import json
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any
from unittest import mock

import numpy as np
import pandas as pd
import pytorch_lightning as pl
import torch
from support import OWN

from clm_dl.config import compose, plain
from clm_dl.data.open import open_store
from clm_dl.errors import UserError
from clm_dl.experiment.experiment import run_experiment
from clm_dl.experiment.rescoring import rescored
from clm_dl.experiment.run_files import read_trained
from clm_dl.experiment.settings import read_plan
from clm_dl.nn import ENCODERS
from clm_dl.run import load_run
from clm_dl.tasks.network import SnapshotNetwork
from clm_dl.tasks.registry import TASKS
from clm_dl.training.fit import Training, fit, prepare_training

sys.path.insert(0, str(Path(__file__).parent.parent / "experiments" / "speed"))
from gpu import bare_speed, machine, now

STEPS, WARM_UP = 50, 25  # of training; of these, before no step may wait: by then everything was logged once
LAST = 10  # losses that are compared
LIMITS = {"loss": 0.02, "scores": 1e-4}
ROLES = {"customer": "cust", "time": "ts", "item": "sku", "amount": "spend"}
WORDS = ["experiment=churn_events", *(f"data.roles.{role}={column}" for role, column in ROLES.items())]
WORDS += ["data.categorical=[dept]", "snapshots.active_days=56", "baselines=none", "bootstrap=10"]
WORDS += ["trainer.enable_progress_bar=false", "trainer.max_epochs=1", f"task.steps_per_epoch={STEPS}"]
STILL = ["task.dropout=0", "encoder.dropout=0"]  # devices draw other random numbers
CHECKED = {f"encoder={name}": [f"encoder={name}"] for name in ENCODERS}
CHECKED |= {f"task={name}": [f"task={name}", "encoder=lstm", *OWN.get(name, [])] for name in TASKS if name != "churn"}


def shop(num_customers: int) -> pd.DataFrame:
    """Lines of customers over 300 days of 2021, each of whom buys every few days until a day on which it stops."""
    rng = np.random.default_rng(0)
    gap, stop = rng.uniform(2, 14, num_customers), rng.uniform(60, 500, num_customers)
    day = rng.uniform(0, 30, (num_customers, 1)) + np.cumsum(rng.exponential(gap[:, None], (num_customers, 150)), 1)
    customer, place = np.nonzero(day < np.minimum(stop, 300)[:, None])
    item = rng.zipf(1.5, len(customer)).clip(max=30)
    time = pd.Timestamp("2021-01-01") + pd.to_timedelta(day[customer, place], unit="D").round("s")
    frame = pd.DataFrame(
        {"cust": customer, "ts": time, "sku": item, "dept": np.array(["food", "toys", "garden"])[item % 3]}
    )
    return frame.assign(
        cust="c" + frame["cust"].astype(str),
        sku="i" + frame["sku"].astype(str),
        spend=np.round(rng.gamma(2.0, 8.0, len(frame)), 2),
    )


@dataclass(frozen=True)
class Bench:
    """A folder with the log in it, and what is to stand the test: "cuda", or the "cpu" in its place."""

    folder: Path
    device: str
    sizes: tuple[str, ...]
    failed: list[str] = field(default_factory=list)

    def words(self, *words: str, tested: bool) -> list[str]:
        """Of a run of the CPU in fp32, or of what is tested in bf16."""
        trainer = (
            ["trainer=gpu"] if self.device == "cuda" and tested else ["trainer=default", "trainer.accelerator=cpu"]
        )
        trainer += [f"trainer.precision={'bf16-mixed' if tested else '32-true'}"]
        paths = [f"data.path={self.folder / 'shop.csv'}", f"paths.data_dir={self.folder / 'data'}"]
        return [*WORDS, *self.sizes, *trainer, *paths, *words]

    def tell(self, check: str, of: str, value: float | None, *, ok: bool = True, **more: Any) -> None:
        line = {"check": check, "of": of, "measured": value is not None, "value": value, "ok": ok}
        print(json.dumps(line | more | machine(self.device), ensure_ascii=False), flush=True)
        if not ok:
            self.failed.append(f"{check} of {of}")


class Watch(pl.Callback):
    """The loss of every step; from WARM_UP on the clock runs, and whatever waits for a CUDA device raises."""

    def __init__(self, *, strict: bool) -> None:
        self.strict, self.losses, self.events, self.seconds = strict, list[torch.Tensor](), list[Any](), 0.0

    def on_train_batch_end(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        self.losses.append(outputs["loss"].detach())
        if batch_idx + 1 > WARM_UP:
            self.events.append(batch.num_events)
        if batch_idx + 1 == WARM_UP:
            self.started = now(pl_module.device)
            if self.strict:
                torch.cuda.set_sync_debug_mode("error")
        if batch_idx + 1 == STEPS:
            torch.cuda.set_sync_debug_mode("default") if self.strict else None
            self.seconds = now(pl_module.device) - self.started

    @property
    def loss(self) -> float:
        """The mean of the last steps."""
        return torch.stack(self.losses[-LAST:]).float().mean().item()


def trained(bench: Bench, *words: str, tested: bool, strict: bool = False) -> tuple[Training, Watch]:
    """A network after STEPS steps."""
    with tempfile.TemporaryDirectory(dir=bench.folder) as folder:
        plan = read_plan(plain(compose("train", bench.words(*words, f"paths.output_dir={folder}/run", tested=tested))))
        cases = plan.task.cases(open_store(plan.data, plan.paths, lambda line: None))
        watch = Watch(strict=strict)
        options, key = replace(plan.training, loggers={}), plan.task.fingerprint(cases)
        training = prepare_training(plan.task, plan.task.inputs(cases), options, plan.folder, fingerprint=key)
        training.trainer.callbacks.append(watch)  # type: ignore[attr-defined]
        plan.task.prepare(training.network, training.inputs)
        try:
            fit(training, plan.folder, lambda line: None)
        finally:
            if strict:
                torch.cuda.set_sync_debug_mode("default")
    return training, watch


def check_learning(bench: Bench, name: str, words: Sequence[str]) -> None:
    """The same loss as a CPU in fp32, and how fast."""
    cuda = bench.device == "cuda"
    expected = trained(bench, *words, *STILL, tested=False)[1].loss
    if cuda:
        torch.cuda.reset_peak_memory_stats()
    training, watch = trained(bench, *words, *STILL, tested=True)
    off = abs(watch.loss - expected) / abs(expected)
    bench.tell("loss", name, off, ok=off <= LIMITS["loss"], loss=watch.loss, cpu_fp32=expected, limit=LIMITS["loss"])
    events = sum(int(number) for number in watch.events)
    bench.tell("events/s", name, round(events / watch.seconds))
    bench.tell("peak memory, GiB", name, round(torch.cuda.max_memory_allocated() / 2**30, 3) if cuda else None)
    share = None
    if cuda:
        loader = itertools.islice(training.inputs.train_loader(), STEPS)
        batches = [batch.to(training.network.device) for batch in loader]
        share = bare_speed(training.network, batches, warm_up=5, steps=STEPS)["kernel share"]
    bench.tell("kernel share", name, share)
    try:
        if cuda:
            trained(bench, *words, tested=True, strict=True)
        bench.tell("steps that wait", name, 0 if cuda else None)
    except RuntimeError as error:
        bench.tell("steps that wait", name, 1, ok=False, said=str(error)[:300])


def check_moving(bench: Bench, name: str, words: Sequence[str]) -> None:
    """A run's scores are those of its checkpoint on a CPU, and either goes on from the other's last epoch."""

    def run(folder: str, *more: str, tested: bool) -> Path:
        given = [*words, f"paths.output_dir={bench.folder / folder}", *more]
        return run_experiment(compose("train", bench.words(*given, tested=tested)), log=lambda line: None)

    with mock.patch("clm_dl.experiment.experiment.show"):  # nobody looks at the reports
        first = {tested: run(f"{name} {tested}", tested=tested) for tested in (True, False)}
        config = load_run(first[True]).config
        again, _ = rescored(read_trained(first[True]), open_store(config["data"], config["paths"]), resamples=2)
        found = pd.read_parquet(first[True] / "scores.parquet")
        off = float((found["score"] - again["score"]).abs().max())
        same = found["customer_id"].equals(again["customer_id"])
        bench.tell("scores on the CPU", name, off, ok=same and off <= LIMITS["scores"], limit=LIMITS["scores"])
        for tested in (True, False):
            last = f"ckpt={first[not tested] / 'checkpoints' / 'last.ckpt'}"
            on = run(f"{name} on {tested}", last, "trainer.max_epochs=2", tested=tested)
            steps = int(load_run(on).history["step"].max()) + 1
            where = "what is tested" if tested else "the CPU"
            bench.tell(f"goes on with {where}", name, steps, ok=steps >= 2 * STEPS, began_at=STEPS)


def check_shortage(bench: Bench) -> None:
    """A device without memory is one sentence."""

    def too_much(network: SnapshotNetwork, batch: Any) -> torch.Tensor:
        if bench.device == "cuda":
            return torch.empty(2**50, device=network.device)
        raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 4.00 PiB. GPU 0 has a total capacity of 0.")

    said = ""
    with mock.patch.object(SnapshotNetwork, "batch_loss", too_much):
        try:
            config = compose("train", bench.words(f"paths.output_dir={bench.folder / 'short'}", tested=True))
            run_experiment(config, log=lambda line: None)
        except UserError as error:
            said = str(error)
    ok = said.startswith("out of memory with task.max_tokens_per_batch=") and "set task.max_tokens_per_batch=" in said
    bench.tell("out of memory", "churn", float(ok), ok=ok, said=said)


def main(checked: dict[str, list[str]] = CHECKED) -> int:
    device = "cuda" if torch.cuda.is_available() else "cpu"
    if device == "cpu":
        print("not measured: no GPU; its part of the checks runs on the CPU")
    sizes = ("encoder.hidden_size=16", "task.batch_size=16", "task.optimizer.lr=0.003")
    with tempfile.TemporaryDirectory() as folder:
        bench = Bench(Path(folder), device, sizes)
        shop(200 if device == "cpu" else 2_000).to_csv(bench.folder / "shop.csv", index=False)
        for name, words in checked.items():
            check_learning(bench, name, words)
        check_moving(bench, "churn", ["encoder=lstm"])
        check_shortage(bench)
    for one in bench.failed:
        print(f"failed: {one}")
    return int(bool(bench.failed))


if __name__ == "__main__":
    sys.exit(main())
