"""clm-train: store → fit → evaluate → run directory, or with -m a sweep; returns the number that it optimises."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from hydra.core.hydra_config import HydraConfig

from clm_dl.command import command
from clm_dl.config import plain
from clm_dl.errors import UserError
from clm_dl.overrides import check_new_folder

if TYPE_CHECKING:
    from omegaconf import DictConfig

ONE_BY_ONE = "hydra._internal.core_plugins.basic_launcher.BasicLauncher"
RUN_FOLDER = "CLM_RUN_FOLDER"  # tells the further processes of a distributed run where it lives


def trial(config: DictConfig) -> float:
    """One job of a sweep."""
    from clm_dl.experiment.sweep.launch import mask_overview
    from clm_dl.experiment.sweep.lines import prefixed
    from clm_dl.experiment.sweep.search import SWEEPERS
    from clm_dl.experiment.sweep.trial import run_trial

    hydra, watch = HydraConfig.get(), None
    folder, sweep_folder = Path(hydra.runtime.output_dir), Path(hydra.sweep.dir)
    mask_overview(sweep_folder)
    if SWEEPERS.get(hydra.sweeper._target_) == "optuna":
        from clm_dl.experiment.sweep.study import Watch  # needs the extra optuna

        watch = Watch(sweep_folder, hydra.job.num, prune=config.study.prune)
    if hydra.launcher._target_ == ONE_BY_ONE:
        return run_trial(config, folder, sweep_folder, watch=watch)
    config.trainer.enable_progress_bar = False  # bars of several trials would overwrite each other
    with prefixed(hydra.job.num):
        return run_trial(config, folder, sweep_folder, watch=watch)


@contextmanager
def sweep(overrides: list[str], own: Path | None) -> Iterator[list[str]]:
    """Around all jobs of a sweep."""
    from clm_dl.experiment.sweep.launch import sweeping

    with sweeping(overrides, own, ["clm-train", *sys.argv[1:]]) as further:
        yield further


@command("train", trial=trial, sweep=sweep)
def main(config: DictConfig) -> float:
    """Train and evaluate; prints the comparison and where everything is."""
    from clm_dl.experiment.experiment import run_experiment
    from clm_dl.experiment.run_files import helper_process, read_results
    from clm_dl.experiment.sweep.objective import objective
    from clm_dl.visual.terminal import print_comparison

    hydra = HydraConfig.get()
    if config.sweep is not None:
        raise UserError(f"sweep={config.sweep} names a sweep, which is started with -m: clm-train -m sweep=… seed=0,1")
    if config.study.trials is not None:
        raise UserError("study.trials is the number of trials of a sweep, which is started with -m: clm-train -m …")
    has_folder = any(text.lstrip("+").startswith("paths.output_dir=") for text in hydra.overrides.task)
    if config.ckpt and not has_folder:
        config.paths.output_dir = str(Path(config.ckpt).parent.parent)  # resume where it was
    elif not helper_process():
        check_new_folder(config, hydra.overrides.task)
    if helper_process():  # the launching process has fixed the folder, which is named after the time
        config.paths.output_dir = os.environ.get(RUN_FOLDER, config.paths.output_dir)
    os.environ[RUN_FOLDER] = config.paths.output_dir
    print(f"recipe:      experiment={hydra.runtime.choices['experiment']}")
    folder = run_experiment(config)
    questions = read_results(folder, plain(config.trusted))
    print_comparison(questions)
    print(f"run:         {folder}\nreport:      {folder / 'report.html'}\ntensorboard: tensorboard --logdir {folder}")
    first = questions[0]
    return objective(first.metrics, first.known, first.config["objective"])


if __name__ == "__main__":
    main()
