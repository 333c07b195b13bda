"""Time and peak memory of one fit to simulated customers; prints one JSON line.

python experiments/buy_till_you_die/speed.py pareto_nbd [--customers 200000]
"""

from __future__ import annotations

import argparse
import json
import re
import time
from pathlib import Path
from typing import Any

import numpy as np

from clm_dl.baselines.buy_till_you_die.estimators import MODELS


def simulate(kind: str, num: int, seed: int = 0) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Frequency, recency and t of `num` customers in continuous time, with CDNOW's parameters, so that hardly two rows
    are equal.
    """
    rng = np.random.default_rng(seed)
    t, rate = rng.uniform(27, 39, num), rng.gamma(0.55, 1 / 10.6, num)
    leave = np.zeros(num) if kind == "pareto_nbd" else rng.beta(0.79, 2.43, num)
    until = np.minimum(t, rng.exponential(1 / rng.gamma(0.61, 1 / 11.7, num))) if kind == "pareto_nbd" else t
    now, x, t_x = np.zeros((3, num))
    alive = rng.random(num) >= leave if kind == "mbg_nbd" else np.ones(num, bool)
    while alive.any():
        now += rng.exponential(1 / rate)
        alive = alive & (now <= until)
        x, t_x = x + alive, np.where(alive, now, t_x)
        alive &= rng.random(num) >= leave
    return x, t_x, t


def measure(kind: str, num: int) -> dict[str, Any]:
    """Seconds to fit, and this process's peak memory: imports, simulation and fit."""
    data = simulate(kind, num)
    started, cpu_started = time.perf_counter(), time.process_time()
    model = MODELS[kind]().fit(*data)
    seconds, cpu = time.perf_counter() - started, time.process_time() - cpu_started
    found = ", ".join(f"{key} {getattr(model, f'{key}_'):.4f}" for key in model.names)
    peak = int(re.search(r"VmHWM:\s+(\d+)", Path("/proc/self/status").read_text()).group(1)) / 1024
    figures = {"seconds": round(seconds, 2), "cpu_seconds": round(cpu, 2), "peak_mib": round(peak)}
    return {"part": "speed", "model": kind, "customers": num, **figures, "parameters": found}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("model", choices=list(MODELS))
    parser.add_argument("--customers", type=int, default=200_000)
    arguments = parser.parse_args()
    print(json.dumps(measure(arguments.model, arguments.customers)))


if __name__ == "__main__":
    main()
