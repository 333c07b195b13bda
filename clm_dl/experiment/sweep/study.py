"""The studies of an Optuna search, kept in a journal in the sweep's folder: asked for trials, told how they ended."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import optuna
from optuna.distributions import BaseDistribution, CategoricalDistribution, FloatDistribution, IntDistribution
from optuna.storages import JournalStorage
from optuna.storages.journal import JournalFileBackend
from optuna.trial import FrozenTrial, TrialState

from clm_dl.composing import composed
from clm_dl.config import plain
from clm_dl.errors import UserError
from clm_dl.evaluation.metric import Metric
from clm_dl.experiment.settings import read_plan
from clm_dl.experiment.sweep.place import STUDIES
from clm_dl.experiment.sweep.search import Search
from clm_dl.experiment.sweep.space import Axis, Interval
from clm_dl.locks import seize
from clm_dl.masking import masked

SPACE, JOB = "space", "job"  # attributes of a study and of a trial: the axes and the objective; number and values
STARTUP = 10  # trials of a study that are drawn at random, before TPE has anything to go by; a third of a small study
CURVES = 5  # whole trials of a study before one is pruned
WARMUP = 1  # epochs that are never judged

optuna.logging.set_verbosity(optuna.logging.WARNING)


@contextmanager
def studies_opened(sweep: Path, search: Search, words: Sequence[str], own: Path | None) -> Iterator[None]:
    """Begin or find the studies of a search, one a point of its grid, and keep other starts of the sweep out.

    Args:
        words: overrides of all trials. own: the folder of one's own options.

    Raises:
        UserError: another start is at it; the studies are of other axes; the configuration cannot be run.
    """
    judged = _objectives(search, words, own)
    sweep.mkdir(parents=True, exist_ok=True)
    with (sweep / STUDIES).open("ab") as file:
        if not seize(file.fileno()):
            raise UserError(
                f"{sweep} is in use by another start of the sweep: wait for it, or choose another sweep=NAME"
            )
        try:
            storage = _storage(sweep)
            known = storage.get_all_studies()
        except Exception as error:  # Optuna asserts what it reads
            raise UserError(
                f"{sweep / STUDIES} is damaged ({type(error).__name__}): delete it, which keeps the finished trials, "
                "or choose another sweep=NAME"
            ) from error
        asked = _described(search, [metric.name if metric else None for metric in judged])
        if any(study.user_attrs.get(SPACE, asked) != asked for study in known):
            raise UserError(
                f"{sweep / STUDIES} is of a search with other axes or another objective: choose another sweep=NAME"
            )
        for name, metric in zip(_names(search), judged, strict=True):
            higher = metric and metric.better == "high"
            direction = optuna.study.StudyDirection.MAXIMIZE if higher else optuna.study.StudyDirection.MINIMIZE
            study = optuna.create_study(storage=storage, study_name=name, direction=direction, load_if_exists=True)
            study.set_user_attr(SPACE, asked)
        yield


def _objectives(search: Search, words: Sequence[str], own: Path | None) -> list[Metric | None]:
    """What the trials of each point are judged by; None where they cannot run, which is then said of each of them."""
    found, wrong = list[Metric | None](), list[UserError]()
    for point in search.space.points:
        try:
            plan = read_plan(plain(composed("train", [*words, *_written(point)], own)))
            found.append(plan.task.questions[0].metrics()[plan.config["objective"]])
        except UserError as error:
            found.append(None)
            wrong.append(error)
    if len(wrong) == len(found):
        raise wrong[0]
    return found


class Asking:
    """The jobs of a search, batch by batch: first those that the journal has, each with the values that it had, then
    new ones, as many as run at once, until there are as many as were to be.
    """

    def __init__(self, sweep: Path, search: Search, *, at_once: int = 1) -> None:
        self._sweep, self._search, self._at_once, storage = sweep, search, at_once, _storage(sweep)
        self._studies = [optuna.load_study(study_name=name, storage=storage) for name in _names(search)]
        self._num_launched = 0

    @property
    def over(self) -> bool:
        """Whether every trial was given out."""
        return self._num_launched >= self._search.trials

    def batch(self) -> list[list[str]]:
        """The overrides of the next jobs."""
        if self._num_launched == 0 and (known := self._known()):
            numbers = range(min(len(known), self._search.trials))
            jobs = [self._search.space.job(number, self._again(number, known[number])) for number in numbers]
        else:
            numbers = range(self._num_launched, min(self._num_launched + self._at_once, self._search.trials))
            jobs = [self._search.space.job(number, self._ask(number)) for number in numbers]
        self._num_launched += len(jobs)
        return jobs

    def _study(self, number: int) -> optuna.Study:
        return self._studies[number % len(self._studies)]

    def _known(self) -> dict[int, FrozenTrial]:
        """The trials of the journal by the number of the job; one that was cut off while it was asked for is none."""
        found: dict[int, FrozenTrial] = {}
        for study in self._studies:
            for trial in study.get_trials(deepcopy=False):
                if JOB in trial.user_attrs:
                    found[trial.user_attrs[JOB]["number"]] = trial
                elif not trial.state.is_finished():
                    study.tell(trial.number, state=TrialState.FAIL)
        if found.keys() != set(range(len(found))) or not all(map(self._is_ours, found.values())):
            raise UserError(
                f"{self._sweep / STUDIES} holds a trial that this search cannot have asked for: choose another "
                "sweep=NAME, or delete it"
            )
        return found

    def _is_ours(self, trial: FrozenTrial) -> bool:
        """Whether what a trial is run with are values of the axes: the journal may be a stranger's."""
        values, axes = trial.user_attrs[JOB].get("values"), self._search.space.drawn
        return (
            isinstance(values, dict)
            and values.keys() == axes.keys()
            and all(axes[key].holds(value) for key, value in values.items())
        )

    def _again(self, number: int, trial: FrozenTrial) -> dict[str, str]:
        """The values of a trial, which is asked for once more where it has failed or is to be pruned no longer."""
        over = (TrialState.COMPLETE, TrialState.RUNNING, *([TrialState.PRUNED] if self._search.prune else []))
        if trial.state not in over:
            known: Any = {name: getattr(trial, name) for name in ("params", "distributions", "user_attrs")}
            self._study(number).add_trial(optuna.create_trial(state=TrialState.RUNNING, **known))
        return dict(trial.user_attrs[JOB]["values"])

    def _ask(self, number: int) -> dict[str, str]:
        """Values that TPE proposes; they depend on the seed, the number and what is known, not on the start."""
        study, axes = self._study(number), self._search.space.drawn
        startup = min(STARTUP, math.ceil(self._search.trials / len(self._studies) / 3))
        [seed] = np.random.SeedSequence([self._search.seed, number]).generate_state(1)
        study.sampler = optuna.samplers.TPESampler(n_startup_trials=startup, seed=int(seed))
        trial = study.ask({key: _distribution(axis) for key, axis in axes.items()})
        values = {key: _text(axis, trial.params[key]) for key, axis in axes.items()}
        trial.set_user_attr(JOB, {"number": number, "values": values})
        return values


class Watch:
    """The trial of a study that a job runs: it is told of the validation curve, and how the job ended."""

    def __init__(self, sweep: Path, number: int, *, prune: bool) -> None:
        storage, found = _storage(sweep), []
        pruner = optuna.pruners.MedianPruner(CURVES, WARMUP) if prune else optuna.pruners.NopPruner()
        options: Any = {"storage": storage, "pruner": pruner, "sampler": optuna.samplers.RandomSampler()}
        for known in storage.get_all_studies():
            study = optuna.load_study(study_name=known.study_name, **options)
            trials = [trial for trial in study.get_trials(deepcopy=False) if JOB in trial.user_attrs]
            found += [(study, trial) for trial in trials if trial.user_attrs[JOB]["number"] == number]
        self.prunes = prune
        self._study, self._frozen = found[-1]  # one that failed stands before the one that tries again
        self._trial = optuna.Trial(self._study, self._frozen._trial_id)

    def report(self, epoch: int, value: float, *, lower_is_better: bool) -> None:
        """A point of the curve, turned over where the objective improves the other way."""
        if epoch in self._reported:  # before the trial was cut off
            return
        same = lower_is_better == (self._study.direction == optuna.study.StudyDirection.MINIMIZE)
        self._trial.report(value if same else -value, epoch)

    def behind(self) -> str | None:
        """Why the trial is to stop; None where it is to go on."""
        if not self._reported or not self._trial.should_prune():
            return None
        return f"after epoch {max(self._reported)} its validation curve was behind the median of the trials before"

    def tell(self, value: float, *, pruned: bool) -> None:
        """How the job ended: with a value, pruned, or (NaN) without either."""
        ended = TrialState.PRUNED if pruned else TrialState.FAIL if math.isnan(value) else TrialState.COMPLETE
        values = value if ended == TrialState.COMPLETE else None
        self._study.tell(self._frozen.number, values, ended, skip_if_finished=True)

    @property
    def _reported(self) -> dict[int, float]:
        frozen: FrozenTrial = self._trial.storage.get_trial(self._trial._trial_id)
        return frozen.intermediate_values


def _storage(sweep: Path) -> JournalStorage:
    # whole, for Optuna's lock is a link to it, which a process that was killed leaves, and which is only then let go
    return JournalStorage(JournalFileBackend(str((sweep / STUDIES).absolute())))


def _names(search: Search) -> list[str]:
    """A study a point of the grid."""
    return [masked(",".join(_written(point))) or "all" for point in search.space.points]


def _written(values: dict[str, str]) -> list[str]:
    return [f"{key}={value}" for key, value in values.items()]


def _described(search: Search, objectives: Sequence[str | None]) -> Any:
    """What must stay the same for a study to be gone on with, as JSON has it."""
    drawn = {key: asdict(axis) for key, axis in search.space.drawn.items()}
    return json.loads(masked(json.dumps([list(search.space.grid.items()), drawn, objectives])))


def _distribution(axis: Axis) -> BaseDistribution:
    """The axis for Optuna; of ordered values their place."""
    if isinstance(axis, Interval):
        if axis.whole:
            return IntDistribution(int(axis.low), int(axis.high), log=axis.log)
        return FloatDistribution(axis.low, axis.high, log=axis.log)
    return IntDistribution(0, len(axis.texts) - 1) if axis.ordered else CategoricalDistribution(axis.texts)


def _text(axis: Axis, value: Any) -> str:
    if isinstance(axis, Interval):
        return axis.text(value)
    return axis.texts[value] if axis.ordered else str(value)
