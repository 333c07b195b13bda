"""The journal of a sweep: a line a step of a trial, in whichever process and start of the sweep it was taken."""

from __future__ import annotations

import json
import os
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Literal

JOURNAL = "journal.jsonl"
START = "CLM_SWEEP_START"  # in the environment of a job: the start of the sweep that it belongs to
Step = Literal["begins", "goes on", "finished", "pruned", "kept", "failed", "refused", "left", "interrupted"]


@dataclass(frozen=True)
class Entry:
    """`trial`: its folder. `sentence`: why it failed, was refused or left."""

    start: str
    time: str
    trial: str
    step: Step
    sentence: str = ""


def note(sweep: Path, trial: str, step: Step, sentence: str = "") -> None:
    """Append a line; lines of processes that write at the same time do not mix."""
    now = datetime.now(UTC).isoformat(timespec="seconds")
    entry = Entry(os.environ.get(START, ""), now, trial, step, sentence)
    line = json.dumps(asdict(entry), ensure_ascii=False) + "\n"
    file = os.open(sweep / JOURNAL, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o644)
    try:
        os.write(file, line.encode())
    finally:
        os.close(file)


def entries(sweep: Path, start: str | None = None) -> list[Entry]:
    """The lines of one start, or of all; one that was cut off is no line."""
    path, found = sweep / JOURNAL, []
    for line in path.read_text(encoding="utf-8").splitlines() if path.is_file() else ():
        try:
            found.append(Entry(**json.loads(line)))
        except (ValueError, TypeError):
            continue
    return [entry for entry in found if start is None or entry.start == start]
