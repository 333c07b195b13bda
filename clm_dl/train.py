"""clm-train: store → fit → evaluate → run directory; returns the one number that a sweep optimises."""

from __future__ import annotations

import math
import os
from pathlib import Path

from hydra.core.hydra_config import HydraConfig
from hydra.types import RunMode
from omegaconf import DictConfig

from clm_dl.config import command
from clm_dl.errors import UserError
from clm_dl.experiment.experiment import run_experiment
from clm_dl.experiment.run_files import helper_process
from clm_dl.visual.terminal import print_comparison
from clm_dl.visual.text import lower_is_better

RUN_FOLDER = "CLM_RUN_FOLDER"  # tells the further processes of a distributed run where it lives


@command("train")
def main(config: DictConfig) -> float:
    """Train and evaluate; prints the comparison and where everything is."""
    hydra = HydraConfig.get()
    if hydra.mode == RunMode.MULTIRUN:
        if any(text.startswith("paths.output_dir=") for text in hydra.overrides.task):
            raise UserError(
                "paths.output_dir together with -m would overwrite every trial with the next: leave it out, or set "
                "hydra.sweep.dir"
            )
        if config.trainer.devices not in (1, "1"):
            raise UserError(
                f"a sweep runs one device a job, got trainer.devices={config.trainer.devices}: set trainer.devices=1"
            )
        config.paths.output_dir = hydra.runtime.output_dir
    elif config.ckpt and not any(text.startswith("paths.output_dir=") for text in hydra.overrides.task):
        config.paths.output_dir = str(Path(config.ckpt).parent.parent)  # resume where it was
    if helper_process():  # the launching process has fixed the folder, which is named after the time
        config.paths.output_dir = os.environ.get(RUN_FOLDER, config.paths.output_dir)
    os.environ[RUN_FOLDER] = config.paths.output_dir
    run = run_experiment(config)
    print_comparison(run.metrics)
    logdir = run.path.parent if hydra.mode == RunMode.MULTIRUN else run.path
    print(
        f"run:         {run.path}\nreport:      {run.path / 'report.html'}\ntensorboard: tensorboard --logdir {logdir}"
    )
    return objective(run.metrics, run.config["objective"])


def objective(metrics: dict, name: str) -> float:
    """The validation figure `name` of the network, or of the best baseline when there is no network."""
    # a table has no validation split
    overall = metrics["split"]["val"]["overall"] or metrics["split"]["test"]["overall"]
    models = [overall["network"]] if "network" in overall else list(overall.values())
    if name not in models[0]:
        raise UserError(f"objective must be one of {', '.join(models[0])}, got {name!r}")
    values = [math.nan if model[name]["value"] is None else model[name]["value"] for model in models]
    return min(values) if lower_is_better(name) else max(values)


if __name__ == "__main__":
    main()
