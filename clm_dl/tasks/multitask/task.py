"""MultiTask, a task that holds tasks: churn, survival, value and the next event asked of one encoder."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, fields, replace
from typing import Any

import numpy as np
import pandas as pd

from clm_dl.data.sequences.inputs import SequenceInputs
from clm_dl.data.snapshots.scoring import scoring_snapshots
from clm_dl.data.snapshots.snapshots import build_snapshots
from clm_dl.data.store.store import EventStore
from clm_dl.errors import UserError
from clm_dl.tasks.base import ScoredTask, Task
from clm_dl.tasks.cases import Cases
from clm_dl.tasks.churn.task import ChurnTask
from clm_dl.tasks.multitask.network import MultiTaskNetwork
from clm_dl.tasks.multitask.options import MultiTaskOptions, part_weights
from clm_dl.tasks.network import SequenceNetwork
from clm_dl.tasks.pretrain.network import training_sample
from clm_dl.tasks.settings import Settings
from clm_dl.tasks.snapshots import SnapshotTask
from clm_dl.tasks.survival.task import SurvivalTask
from clm_dl.tasks.value.task import ValueTask

QUESTIONS: dict[str, type[SnapshotTask]] = {task.name: task for task in (ChurnTask, SurvivalTask, ValueTask)}


@dataclass(frozen=True, eq=False)
class SeveralCases(Cases):
    """The same snapshots for every question; parts: its outcome and targets by question."""

    parts: Mapping[str, Cases] = field(default_factory=dict)


class MultiTask(Task):
    """The questions that `task.weights` gives a weight; the targets of a batch are theirs side by side."""

    name = "multitask"
    monitor = "val/loss"
    options: MultiTaskOptions
    options_type = MultiTaskOptions
    starts_from_vectors = True
    balances = ("class_weight",)

    @classmethod
    def asked(cls, task: Mapping[str, Any]) -> tuple[str, ...]:
        return tuple(name for name in part_weights(task["weights"], tuple(QUESTIONS)) if name in QUESTIONS)

    def __init__(self, settings: Settings) -> None:
        super().__init__(settings)
        self.weights = part_weights(self.options.weights, tuple(QUESTIONS))
        self._questions = {
            name: task(_settings_of(settings, name, task)) for name, task in QUESTIONS.items() if name in self.weights
        }

    @property
    def questions(self) -> tuple[ScoredTask, ...]:
        return tuple(self._questions.values())

    def cases_of(self, question: ScoredTask, cases: Cases) -> Cases:
        assert isinstance(cases, SeveralCases)
        return cases.parts[question.name]

    def start_from(self, vectors: Callable[[Cases], pd.DataFrame]) -> None:
        for question in self._questions.values():
            question.start_from(vectors)

    def check(self) -> None:
        for question in self.questions:
            question.check()

    def cases(self, store: EventStore, *, fold: int = 0) -> SeveralCases:
        settings = self.settings
        assert settings.rule is not None
        follow_days = max(question.follow_days for question in self._questions.values())
        snapshots = build_snapshots(store, settings.rule, fold=fold, labels=settings.labels, follow_days=follow_days)
        memo: dict[str, Any] = {}
        parts = {}
        for name, question in self._questions.items():
            try:
                parts[name] = replace(question.of_snapshots(store, snapshots), memo=memo)
            except UserError as error:
                raise UserError(f"{error}, or leave the question out with task.weights.{name}=0") from error
        targets = [part.target_NK for part in parts.values() if part.target_NK is not None]
        target_NK = np.column_stack(targets) if targets else None
        return SeveralCases(store, snapshots, target_NK=target_NK, memo=memo, parts=parts)

    def cases_at(self, store: EventStore, cutoff: int) -> SeveralCases:
        assert self.settings.rule is not None
        snapshots, in_population = scoring_snapshots(store, cutoff, self.settings.rule, labels=self.settings.labels)
        one = Cases(store, snapshots, in_population=in_population)
        parts = dict.fromkeys(self._questions, one)
        return SeveralCases(store, snapshots, in_population=in_population, memo=one.memo, parts=parts)

    def fingerprint(self, cases: Cases) -> str:
        """Of several questions those of each, joined by +."""
        return "+".join(question.fingerprint(self.cases_of(question, cases)) for question in self.questions)

    def head_schema(self, cases: Cases) -> dict[str, Any]:
        found: dict[str, Any] = {}
        for question in self.questions:
            found |= question.head_schema(self.cases_of(question, cases))
        return found

    def blank_schema(self) -> dict[str, Any]:
        return {name: part for one in self.questions for name, part in one.blank_schema().items()}

    def network(self, schema: Mapping[str, Any]) -> MultiTaskNetwork:
        settings, asked, first = self.settings, {}, 0
        for name, question in self._questions.items():
            stop = first + question.num_targets
            asked[name] = question.question(schema, columns=slice(first, stop))
            first = stop
        options: Any = {"encoder": settings.encoder, "options": self.options, "seed": settings.seed}
        return MultiTaskNetwork(asked, self.weights, schema, **options)

    def prepare(self, network: SequenceNetwork, inputs: SequenceInputs) -> None:
        assert isinstance(network, MultiTaskNetwork)
        if network.predicts_next:
            network.fit_floor(training_sample(inputs))


def _settings_of(settings: Settings, name: str, task: type[SnapshotTask]) -> Settings:
    """The settings of one question alone, with those of its baselines that answer it."""
    keys = {one.name for one in fields(task.options_type)}
    own = {key: value for key, value in settings.task.items() if key in keys} | {"name": name}
    specs = tuple(spec for spec in settings.specs if name in spec.answers)
    return replace(settings, task=own, specs=specs)
