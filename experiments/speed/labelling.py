"""Speed of labelling: seconds for 1 million snapshots of a synthetic store on disk, best of five, one JSON line.

python experiments/speed/labelling.py
"""

from __future__ import annotations

import argparse
import json
import tempfile
import time
from pathlib import Path

import numpy as np

from clm_dl.config import compose, plain
from clm_dl.data.snapshots.labels import build_labeller
from clm_dl.data.snapshots.rule import SnapshotRule
from clm_dl.data.snapshots.snapshots import build_snapshots
from clm_dl.data.store.files import write_store
from clm_dl.data.store.store import EventStore
from clm_dl.data.zone import DAY, UTC
from clm_dl.options import parse

NUM_CUSTOMERS, NUM_DAYS, MEAN_EVENTS = 100_000, 730, 60


def synthetic_store(path: Path, *, seed: int = 0) -> EventStore:
    """About 6 million events of 100,000 customers over two years, with skewed activity and times to the microsecond."""
    rng = np.random.default_rng(seed)
    lengths = 1 + rng.geometric(1 / MEAN_EVENTS, NUM_CUSTOMERS)
    offsets = np.concatenate([[0], np.cumsum(lengths)])
    customer = np.repeat(np.arange(NUM_CUSTOMERS), lengths)
    event_time = rng.integers(0, NUM_DAYS * DAY, offsets[-1])
    event_time = event_time[np.lexsort((event_time, customer))]
    ids = np.arange(NUM_CUSTOMERS)
    end = NUM_DAYS * DAY
    return write_store(
        path,
        customer_ids=ids,
        offsets=offsets,
        time=event_time,
        columns={},
        fields=[],
        dictionaries={},
        end=end,
        fingerprint="synthetic",
    )


def main() -> None:
    argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter).parse_args()
    with tempfile.TemporaryDirectory() as folder:
        store = synthetic_store(Path(folder) / "store")
        days = {"train": range(400, 540, 28), "val": range(570, 600, 14), "test": range(630, 690, 20)}
        lists = {name: [UTC.iso(day * DAY) for day in chosen] for name, chosen in days.items()}
        config = plain(compose("train", ["data=events", "snapshots.horizon_days=28", "snapshots.active_days=null"]))
        rule, whole, labels = parse(SnapshotRule, config["snapshots"] | lists, "snapshots"), [], []
        for _ in range(5):
            started = time.perf_counter()
            snapshots = build_snapshots(store, rule)
            whole.append(time.perf_counter() - started)
            labeller = build_labeller(store, {"name": "no_event"}, horizon=28 * DAY, gap=0)
            started = time.perf_counter()
            labeller(snapshots.customer, snapshots.cutoff, snapshots.stop)
            labels.append(time.perf_counter() - started)
    million = len(snapshots) / 1e6
    record = {
        "snapshots": len(snapshots),
        "events": store.num_events,
        "seconds_per_million": round(min(whole) / million, 3),
        "seconds_per_million_labels_only": round(min(labels) / million, 3),
        "worst_of_5": round(max(whole) / million, 3),
    }
    print(json.dumps(record))


if __name__ == "__main__":
    main()
