"""Speed and memory of prepare: a simulated Parquet log (text ids, amounts, times) becomes a store; prints one JSON
line.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import re
import tempfile
import threading
import time
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from clm_dl.data.log.prepare import prepare_store

CHUNK = 2_000_000


def write_log(folder: Path, num_events: int, seed: int = 0) -> None:
    """Parquet files of `CHUNK` events in order of time: customers are skewed (log-normal activity), items follow a
    power law.
    """
    rng = np.random.default_rng(seed)
    num_customers, num_items = max(num_events // 80, 1), 50_000
    share = np.cumsum(rng.lognormal(0.0, 1.0, num_customers))
    customers = np.char.add("C", np.char.zfill(rng.permutation(num_customers).astype(str), 9))
    customers_arrow, items_arrow = pa.array(customers), pa.array([f"item-{code:06d}" for code in range(num_items)])
    first = np.datetime64("2020-01-01", "us").astype(np.int64)
    for start in range(0, num_events, CHUNK):
        rows = min(CHUNK, num_events - start)
        buyer = np.searchsorted(share, rng.random(rows) * share[-1]).clip(max=num_customers - 1)
        item = (num_items * rng.random(rows) ** 3).astype(np.int64)
        moment = first + ((start + np.sort(rng.random(rows)) * rows) / num_events * 730 * 86_400e6).astype(np.int64)
        amount = np.round(rng.lognormal(2.0, 1.0, rows), 2)
        columns = {
            "customer": customers_arrow.take(pa.array(buyer)),
            "item": items_arrow.take(pa.array(item)),
            "amount": amount,
        }
        table = pa.table({**columns, "time": pa.array(moment, pa.timestamp("us"))})
        pq.write_table(table, folder / f"part-{start // CHUNK:04d}.parquet")


class PeakMemory(threading.Thread):
    """Samples this process's anonymous memory until stopped."""

    def __init__(self) -> None:
        super().__init__(daemon=True)
        self.peak_mib, self.stopped = 0.0, threading.Event()

    def run(self) -> None:
        while not self.stopped.wait(0.02):
            found = re.search(r"RssAnon:\s+(\d+)", Path("/proc/self/status").read_text())
            self.peak_mib = max(self.peak_mib, int(found.group(1)) / 1024 if found else 0.0)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--events", type=int, default=2_000_000)
    parser.add_argument("--memory-limit", default="2.5GB")
    parser.add_argument("--folder", default=None, help="where to put the temporary log and store")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory(dir=args.folder) as name:
        folder = Path(name)
        (folder / "log").mkdir()
        write_log(folder / "log", args.events)
        data = {
            "path": str(folder / "log"),
            "roles": {"customer": "customer", "time": "time", "item": "item", "amount": "amount"},
            "memory_limit": args.memory_limit,
        }
        memory = PeakMemory()
        memory.start()
        begin, cpu = time.perf_counter(), time.process_time()
        store = prepare_store(data, folder / "store")
        seconds, cpu_seconds = time.perf_counter() - begin, time.process_time() - cpu
        memory.stopped.set()
        memory.join()
        result = {
            "what": "prepare",
            "events": store.num_events,
            "customers": store.num_customers,
            "seconds": round(seconds, 2),
            "cpu_seconds": round(cpu_seconds, 2),
            "events_per_second": round(store.num_events / seconds),
            "events_per_cpu_second": round(store.num_events / cpu_seconds),
            "peak_anon_mib": round(memory.peak_mib),
            "machine": f"{os.cpu_count()} cores, {platform.machine()}, {platform.system()}",
        }
        print(json.dumps(result))


if __name__ == "__main__":
    main()
