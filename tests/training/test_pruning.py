"""Pruning: training stops before the epoch that is not worth it, with a checkpoint to go on from."""

import json
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from omegaconf import OmegaConf

from clm_dl.errors import Pruned
from clm_dl.experiment.experiment import run_experiment
from clm_dl.run import Run


@dataclass
class Watcher:
    """Stops training behind so many points of the curve, which it keeps."""

    most: int
    curve: list[tuple[int, float, bool]] = field(default_factory=list)

    def report(self, epoch: int, value: float, *, lower_is_better: bool) -> None:
        self.curve.append((epoch, value, lower_is_better))

    def behind(self) -> str | None:
        return "behind the others" if len(self.curve) >= self.most else None


@pytest.mark.slow
def test_training_stops_between_two_epochs_and_its_status_says_so(run: Run, tmp_path: Path) -> None:
    config = OmegaConf.create(run.config)
    config.paths.output_dir, config.trainer.max_epochs = str(tmp_path / "pruned"), 4
    watcher = Watcher(most=2)
    with pytest.raises(Pruned, match="behind the others"):
        run_experiment(config, log=lambda text: None, watcher=watcher)
    status = json.loads((tmp_path / "pruned" / "status.json").read_text())
    assert (status["state"], status["reason"]) == ("pruned", "behind the others")
    assert [(epoch, lower) for epoch, _, lower in watcher.curve] == [(0, True), (1, True)]
    assert not (tmp_path / "pruned" / "scores.parquet").exists()
    config.ckpt = str(tmp_path / "pruned" / "checkpoints" / "last.ckpt")
    rest = Watcher(most=9)
    run_experiment(config, log=lambda text: None, watcher=rest)
    assert [epoch for epoch, *_ in rest.curve] == [2, 3]


@pytest.mark.slow
def test_training_that_is_over_is_not_pruned(run: Run, tmp_path: Path) -> None:
    config = OmegaConf.create(run.config)
    config.paths.output_dir, config.trainer.max_epochs = str(tmp_path / "whole"), 1
    run_experiment(config, log=lambda text: None, watcher=Watcher(most=1))
    assert json.loads((tmp_path / "whole" / "status.json").read_text())["state"] == "finished"
