"""A run that would repeat another says so and goes on; what is damaged, unfinished or different is no such other."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from clm_dl.experiment import before
from clm_dl.experiment.before import same_run
from clm_dl.experiment.run_files import read_trained, write_status
from clm_dl.run import Run

Look = Callable[..., str | None]


@pytest.fixture
def look(run: Run, tmp_path: Path) -> Look:
    """What is said of a run like `run`, a copy of which is `tmp_path / "old"`, in a new folder beside it."""
    shutil.copytree(run.path, tmp_path / "old")
    config, task, fingerprint = run.config, read_trained(run.path).task, run.metrics["fingerprint"]

    def found(fingerprint: str = fingerprint, folder: str = "new", **settings: object) -> str | None:
        return same_run(tmp_path / folder, {**config, **settings}, task, lambda: fingerprint)

    return found


def test_a_run_with_the_same_settings_and_snapshots_is_named(look: Look, run: Run, tmp_path: Path) -> None:
    said = look(paths={"output_dir": "elsewhere"}, overwrite=True, logger="csv")
    auc = run.metrics["split"]["test"]["overall"]["network"]["auroc"]["value"]
    assert said is not None
    assert said.startswith(f"{tmp_path / 'old'} (finished 20")
    assert said.endswith(f", AUC {auc:.3f})".replace("0.", "."))


def test_other_settings_other_snapshots_and_the_run_itself_are_not(look: Look) -> None:
    assert look(seed=1) is None
    assert look(fingerprint="another") is None
    assert look(folder="old") is None


@pytest.mark.parametrize("name", ["status.json", "config.yaml", "metrics.json"])
def test_what_cannot_be_read_is_passed_over(look: Look, tmp_path: Path, name: str) -> None:
    (tmp_path / "old" / name).write_text("{")
    assert look() is None


def test_one_that_did_not_finish_is_no_result(look: Look, tmp_path: Path) -> None:
    write_status(tmp_path / "old", "interrupted")
    assert look() is None


def test_looking_ends_in_time(look: Look, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(before, "LIMIT", -1.0)
    assert look() is None
