"""Speed of the intervals: 18,000 snapshots × 14 models × 1,000 resamples of customers on one thread; one JSON line.

python experiments/speed/bootstrap.py [--snapshots 18000] [--models 14] [--resamples 1000]

The first call compiles, or reads what an earlier one compiled, and is not counted but told.
"""

from __future__ import annotations

import argparse
import json
import time

import numpy as np
import pandas as pd

from clm_dl.evaluation.bootstrap import bootstrap
from clm_dl.evaluation.metric import NETWORK
from clm_dl.tasks.churn.metrics import binary_measure
from clm_dl.tasks.churn.scores import ScoreTable


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--snapshots", type=int, default=18_000)
    parser.add_argument("--models", type=int, default=14)
    parser.add_argument("--resamples", type=int, default=1_000)
    options = parser.parse_args()
    rng = np.random.default_rng(0)
    label = (rng.random(options.snapshots) < 0.3).astype(float)
    names = [NETWORK, *(f"baseline_{number}" for number in range(1, options.models))]
    scores = {name: 0.6 * rng.random(options.snapshots) + 0.4 * label * rng.random() for name in names}
    customer, cutoff = rng.integers(0, options.snapshots // 7, options.snapshots), pd.DatetimeIndex([])
    table = ScoreTable(customer, cutoff, label, np.ones(options.snapshots, dtype=bool), scores, scores, 0)
    measure = binary_measure(table, scores, threshold=0.5)
    started = time.process_time()
    bootstrap(measure, resamples=1)
    compiled = time.process_time()
    bootstrap(measure, resamples=options.resamples)
    seconds = {"cpu_seconds": time.process_time() - compiled, "first_call_cpu_seconds": compiled - started}
    print(json.dumps({"name": "bootstrap", **vars(options), **{key: round(one, 2) for key, one in seconds.items()}}))


if __name__ == "__main__":
    main()
