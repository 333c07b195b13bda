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
from clm_dl.data.sequences.datamodule import SequenceDataModule

from clm_dl.config import compose, plain
from clm_dl.data.open import open_store
from clm_dl.data.snapshots.snapshots import Snapshots, build_snapshots
from clm_dl.data.store.store import EventStore

EPOCHS = 5


def measure(store: EventStore, snapshots: Snapshots, *, token: str) -> dict[str, Any]:
    """Best of five epochs, by the wall clock and by this thread's own CPU time, which neighbours on the machine do not
    slow as much.

    Events are the lines gathered (in order tokens: those in the bags).
    """
    started = time.perf_counter()
    data = SequenceDataModule(
        store, snapshots, token=token, max_tokens=128, max_tokens_per_batch=8192, exclude=["item"]
    )
    setup = time.perf_counter() - started
    loader, seconds, cpu = data.train_dataloader(), [], []
    for epoch in range(EPOCHS):
        loader.sampler.set_epoch(epoch)  # type: ignore[attr-defined]
        events = tokens = padded = 0
        started, cpu_started = time.perf_counter(), time.thread_time()
        for batch in loader:
            events += batch.num_events
            tokens += int(batch.length_B.sum())
            padded += batch.mask_BT.numel()
        seconds.append(time.perf_counter() - started)
        cpu.append(time.thread_time() - cpu_started)
    return {
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
    config = plain(compose("train", ["data=completejourney", "snapshots=completejourney"]))
    store = open_store(config["data"], config["paths"], print)
    rule = {key: config["snapshots"][key] for key in ("horizon_days", "active_days", "train", "val", "test")}
    snapshots = build_snapshots(store, **rule)
    record = {
        "snapshots": int(snapshots.training.sum()),
        **{token: measure(store, snapshots, token=token) for token in ("order", "line")},
    }
    print(json.dumps(record))


if __name__ == "__main__":
    main()
