"""The files of a sweep that lie beside its trials: what is there already and is not a sweep's is not touched."""

from __future__ import annotations

import csv
import json
import os
from collections.abc import Callable
from pathlib import Path

from clm_dl.errors import UserError
from clm_dl.experiment.output import is_ours
from clm_dl.experiment.sweep.journal import JOURNAL, Entry

TRIALS, REPORT, OVERVIEW, STUDIES = "trials.csv", "report.html", "multirun.yaml", "optuna.journal"
HEAD, TAIL = ["rank", "trial"], ["verdict", "cheapest", "seconds", "resumed", "reason"]  # of the columns of trials.csv


def check_place(sweep: Path, names: tuple[str, ...] = (), *, overwrite: bool = False) -> None:
    """Raise UserError where the folder of a sweep holds a file that would be replaced and that no sweep wrote.

    Args:
        names: of the files that are to be written; () are all.
    """
    for name in names or tuple(OURS):
        path = sweep / name
        if path.is_dir() or (os.path.lexists(path) and not overwrite and not _is_of_a_sweep(path)):
            raise UserError(
                f"{path} is none that a sweep of clm_dl wrote, and would be replaced: move it, choose another folder "
                "for the sweep, or set overwrite=true"
            )


def _is_of_a_sweep(path: Path) -> bool:
    try:
        return path.stat().st_size == 0 or OURS[path.name](path)
    except (OSError, ValueError, TypeError, csv.Error):  # a link to nowhere, or another content
        return False


def _is_table(path: Path) -> bool:
    with path.open(encoding="utf-8", newline="") as file:
        columns = next(csv.reader(file))
    return columns[: len(HEAD)] == HEAD and columns[-len(TAIL) :] == TAIL


def _is_overview(path: Path) -> bool:
    """As Hydra begins it; another start of the sweep may be about to write it."""
    start = "hydra:\n  run:\n    dir: "
    return path.read_text(encoding="utf-8")[: len(start)] == start


def _is_journal(path: Path) -> bool:
    with path.open(encoding="utf-8") as file:
        return bool(Entry(**json.loads(next(file))))


def _is_of_studies(path: Path) -> bool:
    with path.open(encoding="utf-8") as file:
        return "op_code" in json.loads(next(file))


OURS: dict[str, Callable[[Path], bool]] = {
    TRIALS: _is_table,
    REPORT: is_ours,
    OVERVIEW: _is_overview,
    JOURNAL: _is_journal,
    STUDIES: _is_of_studies,
}
