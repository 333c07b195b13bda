"""How far a sweep is, in a line: counted in its journal by whichever trial has just ended."""

from __future__ import annotations

import os
from datetime import UTC, datetime
from pathlib import Path

from clm_dl.experiment.sweep.journal import START, entries

NUM_TRIALS = "CLM_SWEEP_TRIALS"  # in the environment of a job: how many trials the sweep has


def progress(sweep: Path) -> str:
    """3 of 24 finished, 1 failed, 2 running, about 12 min left; of this start, by its pace so far."""
    found = entries(sweep, os.environ.get(START, ""))
    steps = [entry.step for entry in {entry.trial: entry for entry in found}.values()]
    finished, pruned, failed, running = (
        sum(step in those for step in steps)
        for those in (("finished", "kept"), ("pruned",), ("failed", "refused"), ("begins", "goes on"))
    )
    total = int(os.environ.get(NUM_TRIALS, 0))
    parts = [f"{finished} of {total} finished" if total else f"{finished} finished"]
    others = {"pruned": pruned, "failed": failed, "running": running}
    parts += [f"{number} {what}" for what, number in others.items() if number]
    begun = [datetime.fromisoformat(entry.time) for entry in found if entry.step in ("begins", "goes on")]
    ended, left = sum(step in ("finished", "pruned", "failed") for step in steps), total - len(steps) + running
    if begun and ended and left > 0:
        seconds = (datetime.now(UTC) - begun[0]).total_seconds() / ended * left
        parts.append(f"about {_told(seconds)} left")
    return ", ".join(parts)


def _told(seconds: float) -> str:
    for size, unit in ((3600, "h"), (60, "min")):
        if seconds >= 1.5 * size:
            return f"{seconds / size:.0f} {unit}"
    return f"{seconds:.0f} s"
