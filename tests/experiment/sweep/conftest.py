"""A sweep whose trials are not trained: every file that matters to a sweep, in no time."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from omegaconf import DictConfig, OmegaConf

from clm_dl.config import as_saved, plain
from clm_dl.errors import Pruned
from clm_dl.experiment.run_files import read_json, run_status
from clm_dl.experiment.settings import read_plan
from clm_dl.experiment.sweep import trial


@pytest.fixture
def trained(monkeypatch: pytest.MonkeyPatch) -> list[dict[str, Any]]:
    """Stands for training; the configurations that it was called with. A seed of 13 fails, one of 130 stops, one of 26
    is pruned by whoever watches.
    """
    calls: list[dict[str, Any]] = []

    def run_experiment(
        config: DictConfig, *, log: Callable[[str], None], is_locked: bool, shared: Path, watcher: Any
    ) -> Path:
        assert is_locked
        resolved, folder = plain(config), Path(config.paths.output_dir)
        calls.append(resolved)
        with run_status(folder):
            OmegaConf.save(OmegaConf.create(as_saved(config, read_plan(resolved).config)), folder / "config.yaml")
            if config.seed == 13:
                raise ZeroDivisionError("login postgres://me:hunter2@host/db")
            if config.seed == 26 and watcher and watcher.prunes:
                raise Pruned("behind the others")
            if config.seed == 130:
                raise KeyboardInterrupt
            (folder / "metrics.json").write_text(json.dumps({"seed": config.seed}))
        return folder

    monkeypatch.setattr(trial, "run_experiment", run_experiment)
    monkeypatch.setattr(trial, "print_comparison", lambda results: None)
    monkeypatch.setattr(trial, "read_results", lambda path, trusted: [])
    monkeypatch.setattr(trial, "_value", lambda place, config: read_json(place / "metrics.json")["seed"])
    return calls
