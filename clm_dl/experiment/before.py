"""Runs before this one: the newest with the same settings on the same snapshots, which it would repeat."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Mapping
from datetime import datetime
from pathlib import Path
from typing import Any

from clm_dl.evaluation.metric import NETWORK
from clm_dl.experiment.identity import saved_settings, settings_of
from clm_dl.experiment.run_home import state_of
from clm_dl.tasks.base import Task
from clm_dl.visual.text import number

LIMIT = 1.0  # seconds that are spent looking
RUNS = Path("runs")  # where runs and sweeps are made unless something else is said


def same_run(folder: Path, config: Mapping[str, Any], task: Task, fingerprint: Callable[[], str]) -> str | None:
    """runs/… (finished 2026-11-27, AUC .856): the newest finished run beside `folder` or below runs that this one would
    repeat; what cannot be read is passed over.

    Args:
        config: as it will be saved. fingerprint: that of the snapshots, worked out where it is needed.
    """
    until, settings = time.monotonic() + LIMIT, settings_of(config)
    files = {*folder.parent.glob("*/status.json"), *RUNS.glob("*/status.json"), *RUNS.glob("*/*/status.json")}
    aged = {file: file.stat().st_mtime for file in files if file.parent.resolve() != folder.resolve()}
    for file in sorted(aged, key=lambda file: -aged[file]):
        if time.monotonic() > until:
            break
        if state_of(file.parent) != "finished" or saved_settings(file.parent) != settings:
            continue
        try:
            metrics = json.loads((file.parent / "metrics.json").read_text(encoding="utf-8"))
            if metrics["fingerprint"] == fingerprint():
                day = datetime.fromtimestamp(aged[file]).date()
                return f"{file.parent} (finished {day}, {_figure(task, metrics)})"
        except (OSError, ValueError, KeyError, TypeError):
            continue
    return None


def _figure(task: Task, metrics: Mapping[str, Any]) -> str:
    metric, overall = task.questions[0].metrics(metrics).main, metrics["split"]["test"]["overall"]
    model = NETWORK if NETWORK in overall else metrics["best_baseline"]["name"]
    return f"{metric.title} {number(overall[model][metric.name]['value'], metric.digits)}"
