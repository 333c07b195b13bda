"""Speed and memory of the exact ranker: 10,000 customers × 50,000 items on one thread, end to end; prints one JSON
line.

python experiments/speed/ranking.py [--customers 10000] [--items 50000] [--width 64] [--threads 1]

Scores by a product of vectors, removal of the seen items, the rank of every target, the first ten, the metrics: all of
it is timed.
"""

from __future__ import annotations

import argparse
import json
import re
import threading
import time
from pathlib import Path

import numpy as np
import torch

from clm_dl.tasks.recommend.accuracy import snapshot_metrics
from clm_dl.tasks.recommend.ranks import Ranks, rank, seen_items

MEAN_LINES = 100


class PeakMemory(threading.Thread):
    """Samples this process's anonymous memory until stopped."""

    def __init__(self) -> None:
        super().__init__(daemon=True)
        self.peak_mib, self.stopped = 0.0, threading.Event()
        self.start_mib = self.now()

    def now(self) -> float:
        found = re.search(r"RssAnon:\s+(\d+)", Path("/proc/self/status").read_text())
        return int(found.group(1)) / 1024 if found else 0.0

    def run(self) -> None:
        while not self.stopped.wait(0.01):
            self.peak_mib = max(self.peak_mib, self.now())


def measure(num_customers: int, num_items: int, width: int, seed: int = 0) -> tuple[Ranks, dict[str, float]]:
    rng = np.random.default_rng(seed)
    z_ND = torch.from_numpy(rng.standard_normal((num_customers, width), dtype=np.float32))
    vectors_VD = torch.from_numpy(rng.standard_normal((num_items, width), dtype=np.float32))
    length = rng.geometric(1 / MEAN_LINES, num_customers)
    stop_N = np.cumsum(length)
    item = (num_items * rng.random(stop_N[-1]) ** 3).astype(np.int32)
    targets = np.arange(num_customers + 1), rng.integers(num_items, size=num_customers)
    index_N = np.arange(num_customers)
    memory = PeakMemory()
    memory.start()
    started, cpu_started = time.perf_counter(), time.process_time()
    seen = seen_items(item, stop_N - length, stop_N)
    ranks = rank(lambda index_B: z_ND[index_B] @ vectors_VD.T, index_N, targets=targets, seen=seen, num_items=num_items)
    snapshot_metrics(ranks.target_offsets, ranks.above, ranks.ties, ranks.candidates, num_items=num_items)
    seconds, cpu = time.perf_counter() - started, time.process_time() - cpu_started
    memory.stopped.set()
    memory.join()
    return ranks, {
        "seconds": round(seconds, 2),
        "cpu_seconds": round(cpu, 2),
        "extra_peak_mib": round(memory.peak_mib - memory.start_mib),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--customers", type=int, default=10_000)
    parser.add_argument("--items", type=int, default=50_000)
    parser.add_argument("--width", type=int, default=64)
    parser.add_argument("--threads", type=int, default=1)
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    ranks, figures = measure(arguments.customers, arguments.items, arguments.width)
    size = {
        "customers": len(ranks.index),
        "items": ranks.num_items,
        "width": arguments.width,
        "threads": arguments.threads,
    }
    print(json.dumps(size | figures))


if __name__ == "__main__":
    main()
