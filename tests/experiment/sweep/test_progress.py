"""How far a sweep is: what its journal says of this start, in one line."""

from __future__ import annotations

import json
import re
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from clm_dl.experiment.sweep.journal import JOURNAL, START
from clm_dl.experiment.sweep.progress import NUM_TRIALS, progress


def write(sweep: Path, *steps: tuple[str, str, float], start: str = "now") -> None:
    """Lines of the journal: (trial, step, minutes ago)."""
    with (sweep / JOURNAL).open("a") as file:
        for trial, step, ago in steps:
            time = (datetime.now(UTC) - timedelta(minutes=ago)).isoformat(timespec="seconds")
            file.write(json.dumps({"start": start, "time": time, "trial": trial, "step": step, "sentence": ""}) + "\n")


@pytest.fixture(autouse=True)
def start(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(START, "now")
    monkeypatch.setenv(NUM_TRIALS, "8")


def test_trials_are_counted_by_their_last_step(tmp_path: Path) -> None:
    write(tmp_path, ("9", "begins", 90), ("9", "failed", 80), start="before")
    write(tmp_path, ("0", "kept", 10), ("1", "begins", 10), ("2", "begins", 9), ("1", "finished", 4))
    write(tmp_path, ("3", "goes on", 4), ("2", "failed", 2))
    assert progress(tmp_path) == "2 of 8 finished, 1 failed, 1 running, about 25 min left"  # two in ten minutes


@pytest.mark.parametrize(("ago", "left"), [(0.2, "1[2-9] s"), (2, "2 min"), (200, "3 h")])
def test_what_is_left_is_told_in_a_unit_of_its_size(tmp_path: Path, ago: float, left: str) -> None:
    write(tmp_path, *((str(number), "kept", 0) for number in range(6)), ("6", "begins", ago), ("6", "finished", 0))
    assert re.fullmatch(f"7 of 8 finished, about {left} left", progress(tmp_path))


def test_nothing_is_left_at_the_end_and_unknown_where_trials_are_chosen_on_the_way(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for number in range(8):
        write(tmp_path, (str(number), "begins", 5), (str(number), "finished", 1))
    assert progress(tmp_path) == "8 of 8 finished"
    monkeypatch.delenv(NUM_TRIALS)
    write(tmp_path, ("8", "begins", 1))
    assert progress(tmp_path) == "8 finished, 1 running"
