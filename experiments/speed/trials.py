"""What a trial of a sweep costs beside its network: Complete Journey's recipe with a tiny network, alone, and with the
baselines and resamples of the trial before it; one JSON line.

python experiments/speed/trials.py [experiment=churn_completejourney …]
"""

from __future__ import annotations

import json
import sys
import tempfile
import time
from pathlib import Path

from clm_dl.config import compose
from clm_dl.experiment.experiment import run_experiment

TINY = ["encoder.hidden_size=8", "trainer.max_epochs=1", "task.steps_per_epoch=20", "trainer.enable_progress_bar=false"]


def main() -> None:
    seconds: dict[str, float] = {}
    with tempfile.TemporaryDirectory() as folder:
        for name in ("store", "alone", "first", "next"):  # the first prepares the log, or finds it prepared
            words = [*sys.argv[1:], *TINY, f"paths.output_dir={folder}/{name}"]
            words += ["baselines=none", "bootstrap=0"] if name == "store" else []
            started = time.process_time()
            shared = Path(folder, "shared") if name in ("first", "next") else None
            run_experiment(compose("train", words), log=lambda line: None, shared=shared)
            seconds[f"{name}_cpu_seconds"] = round(time.process_time() - started, 1)
        files = [Path(folder, name, "metrics.json").read_bytes() for name in ("alone", "next")]
    seconds.pop("store_cpu_seconds")
    print(json.dumps({"name": "trials", **seconds, "equal": files[0] == files[1]}))


if __name__ == "__main__":
    main()
