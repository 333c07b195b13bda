"""Speed of the loader: one epoch of Complete Journey's training batches on one thread, order and line tokens; prints
one JSON line.

python experiments/speed/loader.py
"""

from __future__ import annotations

import argparse
import json
import time
from typing import Any

import torch

from clm_dl.config import compose, plain
from clm_dl.data.open import open_store
from clm_dl.experiment.settings import read_task

EPOCHS = 5
SETTINGS = [
    "experiment=churn_completejourney",
    "baselines=none",
    "sequence.features=false",
    "sequence.max_tokens=128",
    "sequence.exclude=[item]",
    "task.batch_size=null",
    "task.max_tokens_per_batch=8192",
]


def measure(token: str) -> dict[str, Any]:
    """Best of five epochs, by the wall clock and by this thread's own CPU time, which neighbours on the machine do not
    slow as much.

    Events are the lines gathered (in order tokens: those in the bags).
    """
    config = plain(compose("train", [*SETTINGS, f"sequence={token}"]))
    task = read_task(config)
    cases = task.cases(open_store(config["data"], config["paths"]))
    started = time.perf_counter()
    inputs = task.inputs(cases)
    setup, seconds, cpu = time.perf_counter() - started, [], []
    for epoch in range(EPOCHS):
        loader = inputs.train_loader(epoch=epoch)
        events = tokens = padded = 0
        started, cpu_started = time.perf_counter(), time.thread_time()
        for batch in loader:
            events += int(batch.num_events)
            tokens += int(batch.length_B.sum())
            padded += batch.mask_BT.numel()
        seconds.append(time.perf_counter() - started)
        cpu.append(time.thread_time() - cpu_started)
    return {
        "snapshots": inputs.num_training,
        "events_per_second": round(events / min(seconds)),
        "events_per_cpu_second": round(events / min(cpu)),
        "tokens_per_second": round(tokens / min(seconds)),
        "worst_events_per_second": round(events / max(seconds)),
        "padded_over_real": round(padded / tokens, 4),
        "events": events,
        "tokens": tokens,
        "batches": len(loader),
        "setup_seconds": round(setup, 2),
    }


def main() -> None:
    argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter).parse_args()
    torch.set_num_threads(1)
    print(json.dumps({token: measure(token) for token in ("order", "line")}))


if __name__ == "__main__":
    main()
