"""A sweep on disk: load_sweep(path) gives back its trials, curves and scores as tables."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property
from pathlib import Path

import pandas as pd

from clm_dl.errors import UserError
from clm_dl.experiment.sweep.summary import curves
from clm_dl.experiment.sweep.trials import rank, read_trials, seeds
from clm_dl.run import Run


class Sweep:
    """The trials in one folder, read when they are asked for.

    Attributes:
        path: the folder, as clm-train -m printed it.
    """

    def __init__(self, path: str | Path, trusted: Sequence[str] = ()):
        self.path, self._trusted = Path(path), tuple(trusted)
        self._trials = read_trials(self.path, self._trusted)

    def __repr__(self) -> str:
        finished = sum(trial.state == "finished" for trial in self._trials)
        return f"Sweep({str(self.path)!r}, {finished} of {len(self._trials)} trials finished)"

    @cached_property
    def trials(self) -> pd.DataFrame:
        """One row a trial, the best on validation first: rank, trial, the settings that differ, state, model, split,
        objective, value, low, high, difference, difference_low, difference_high (to the best, paired), verdict (best,
        tie, behind), cheapest, seconds, resumed, reason.
        """
        return rank(self._trials)

    @cached_property
    def seeds(self) -> pd.DataFrame:
        """Trials that differ by their seed alone, together: settings, objective, trials, mean, sd."""
        return seeds(self.trials)

    @cached_property
    def curves(self) -> pd.DataFrame:
        """What was watched in training, epoch by epoch: trial, epoch, name, value."""
        return curves(self._trials)

    @cached_property
    def scores(self) -> pd.DataFrame:
        """scores.parquet of all finished trials below each other, with the column trial in front."""
        found = [trial.results.scores.assign(trial=trial.name) for trial in self._trials if trial.results is not None]
        if not found:
            raise UserError(f"sweep {self.path} has no finished trial: start it again with its own line")
        table = pd.concat(found, ignore_index=True)
        return table[["trial", *table.columns.drop("trial")]]

    def run(self, trial: str | None = None) -> Run:
        """The run of a trial, by the name of its folder; without one the best on validation."""
        if trial is None:
            best = self.trials.loc[self.trials["verdict"] == "best", "trial"]
            if not len(best):
                raise UserError(f"sweep {self.path} has no finished trial: start it again with its own line")
            trial = best.iloc[0]
        return Run(self.path / trial, self._trusted)


def load_sweep(path: str | Path, trusted: Sequence[str] = ()) -> Sweep:
    """Open the folder of a sweep; `trusted`: packages or classes beside clm_dl's own that its configurations may name.

    Raises:
        FileNotFoundError: there is no run in it.
    """
    return Sweep(path, trusted)
