"""clm-train: store → fit → evaluate → run directory; returns the one number that a sweep optimises."""

from __future__ import annotations

import math
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hydra.core.hydra_config import HydraConfig
from hydra.types import RunMode

from clm_dl.config import command, plain
from clm_dl.errors import UserError
from clm_dl.evaluation.metric import NETWORK, Metrics
from clm_dl.masking import masked

if TYPE_CHECKING:
    from omegaconf import DictConfig

RUN_FOLDER = "CLM_RUN_FOLDER"  # tells the further processes of a distributed run where it lives


@command("train")
def main(config: DictConfig) -> float:
    """Train and evaluate; prints the comparison and where everything is."""
    from clm_dl.experiment.experiment import run_experiment
    from clm_dl.experiment.run_files import helper_process, read_results
    from clm_dl.visual.terminal import print_comparison

    hydra = HydraConfig.get()
    has_folder = any(text.startswith("paths.output_dir=") for text in hydra.overrides.task)
    if hydra.mode == RunMode.MULTIRUN:
        if has_folder:
            raise UserError(
                "paths.output_dir together with -m would overwrite every trial with the next: leave it out, or set "
                "hydra.sweep.dir"
            )
        if config.trainer.devices not in (1, "1"):
            raise UserError(
                f"a sweep runs one device a job, got trainer.devices={config.trainer.devices}: set trainer.devices=1"
            )
        config.paths.output_dir = hydra.runtime.output_dir
        overview = Path(hydra.sweep.dir) / "multirun.yaml"  # Hydra writes the command line there, with its passwords
        if overview.is_file():
            overview.write_text(masked(overview.read_text()))
    elif config.ckpt and not has_folder:
        config.paths.output_dir = str(Path(config.ckpt).parent.parent)  # resume where it was
    if helper_process():  # the launching process has fixed the folder, which is named after the time
        config.paths.output_dir = os.environ.get(RUN_FOLDER, config.paths.output_dir)
    os.environ[RUN_FOLDER] = config.paths.output_dir
    print(f"recipe:      experiment={hydra.runtime.choices['experiment']}")
    folder = run_experiment(config)
    questions = read_results(folder, plain(config.trusted))
    print_comparison(questions)
    logdir = folder.parent if hydra.mode == RunMode.MULTIRUN else folder
    print(f"run:         {folder}\nreport:      {folder / 'report.html'}\ntensorboard: tensorboard --logdir {logdir}")
    first = questions[0]
    return objective(first.metrics, first.known, first.config["objective"])


def objective(metrics: Mapping[str, Any], known: Metrics, name: str) -> float:
    """The validation figure `name` of the network, or of the best baseline when there is no network."""
    # a table has no validation split
    overall = metrics["split"]["val"]["overall"] or metrics["split"]["test"]["overall"]
    models: Sequence[Any] = [overall[NETWORK]] if NETWORK in overall else list(overall.values())
    best = known[name].best([model[name]["value"] for model in models])
    return math.nan if best is None else best


if __name__ == "__main__":
    main()
