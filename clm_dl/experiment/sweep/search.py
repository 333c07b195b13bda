"""A search: so many trials of which axes, found to be right before anything runs; and the Sobol sequence's."""

from __future__ import annotations

import os
from collections.abc import Iterable
from dataclasses import dataclass
from importlib.util import find_spec
from typing import Annotated, Any, Literal

import numpy as np
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Override
from omegaconf import DictConfig, OmegaConf
from scipy.stats import qmc

from clm_dl.config import plain
from clm_dl.errors import MissingExtra, UserError
from clm_dl.experiment.sweep.space import Space, read_space
from clm_dl.options import Within, parse

SWEEPERS: dict[str, Literal["sobol", "optuna"]] = {
    "hydra_plugins.clm_dl_search.Sobol": "sobol",
    "hydra_plugins.clm_dl_search.Optuna": "optuna",
}
DECIDES = ("experiment", "data", "task", "objective")  # which figure a trial is judged by


@dataclass(frozen=True)
class StudyOptions:
    """trials: of all points of the grid together. seed: of the draws. prune: Optuna stops trials that fall behind."""

    trials: Annotated[int, Within(1, 2**20)] | None
    seed: Annotated[int, Within(0, 2**32 - 1)]
    prune: bool


@dataclass(frozen=True)
class Search:
    """How the trials of a sweep come about: `by` None enumerates them, as Hydra's own sweeper does."""

    by: Literal["sobol", "optuna"] | None
    space: Space
    trials: int
    seed: int
    prune: bool

    @property
    def told(self) -> str:
        """What is searched, in a line."""
        points, more = divmod(self.trials, len(self.space.points))
        draws = f"{points} to {points + 1}" if more else str(points)
        of_each = f" for each of {len(self.space.points)} × {', '.join(self.space.grid)}" if self.space.grid else ""
        return f"{self.trials} trials by {self.by}, {draws} draws of {', '.join(self.space.drawn)}{of_each}"


def read_search(config: DictConfig, overrides: Iterable[Override]) -> Search:
    """The search that the groups `study` and `hydra` of a configuration and the overrides of a command line describe.

    Args:
        config: with Hydra's group, as it is but for what is swept.

    Raises:
        UserError: a number of trials that cannot be, an axis that cannot be, or Optuna is not installed.
    """
    study = parse(StudyOptions, plain(config.study), "study")
    by = SWEEPERS.get(str(config.hydra.sweeper._target_))
    of_file = OverridesParser.create().parse_overrides(params_of(config))
    space = read_space([*of_file, *overrides], draws=by is not None)
    num_points = len(space.points)
    if by is None:
        if study.trials not in (None, num_points):
            raise UserError(
                f"study.trials={study.trials}, but the grid has {num_points} trials: leave it out, or draw with "
                "hparams_search=sobol or hparams_search=optuna"
            )
        return Search(None, space, num_points, study.seed, study.prune)
    if by == "optuna" and find_spec("optuna") is None:
        raise MissingExtra("hparams_search=optuna needs an extra: pip install 'clm-dl[optuna]'")
    if not space.drawn:
        raise UserError(
            f"hparams_search={by} has nothing to draw: give a key interval(…), range(…) or choice(…), on the command "
            "line or in hydra.sweeper.params of the option"
        )
    if by == "optuna" and (decides := [key for key in space.drawn if key in DECIDES]):
        raise UserError(f"{decides[0]} decides what Optuna optimises and cannot be drawn: give its values with commas")
    if study.trials is None:
        raise UserError(f"study.trials is not set, the number of trials of hparams_search={by}: write study.trials=…")
    if study.trials < num_points:
        raise UserError(
            f"study.trials={study.trials} is less than the {num_points} combinations of {', '.join(space.grid)}, and "
            "each needs a trial: set more trials, or give fewer values"
        )
    return Search(by, space, study.trials, study.seed, study.prune)


def params_of(config: DictConfig) -> list[str]:
    """The overrides that stand in hydra.sweeper.params."""
    return [f"{key}={value}" for key, value in (config.hydra.sweeper.get("params") or {}).items()]


def sobol_jobs(search: Search) -> list[list[str]]:
    """The overrides of every trial: each point of the grid gets the same draws, which do not depend on their number."""
    axes, num_points = search.space.drawn, len(search.space.points)
    num_draws = -(-search.trials // num_points)
    sequence = qmc.Sobol(len(axes), rng=np.random.default_rng(search.seed))
    shares_ND = sequence.random_base2((num_draws - 1).bit_length())
    drawn = [{key: axis.at(share) for (key, axis), share in zip(axes.items(), row, strict=True)} for row in shares_ND]
    return [search.space.job(number, drawn[number // num_points]) for number in range(search.trials)]


def at_once(launcher: Any) -> int | None:
    """How many trials a launcher runs side by side; None of one that runs them one after another."""
    jobs = launcher.get("n_jobs") or OmegaConf.select(launcher, "ray.init.num_cpus")
    return None if not jobs else int(jobs) if jobs > 0 else max(1, cores() + 1 + jobs)


def cores() -> int:
    """Cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
