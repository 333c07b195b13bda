"""MultiTaskFold: one split by time of a multi-task experiment; each question's targets, scores and summary are those of
its own fold.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import pandas as pd

from clm_dl.data.sequences.datamodule import SequenceDataModule
from clm_dl.errors import UserError
from clm_dl.evaluation.calibration import PartCalibrators
from clm_dl.experiment.fold import Fold
from clm_dl.experiment.pretrain_fold import training_sample
from clm_dl.experiment.settings import baseline_settings, of_question
from clm_dl.experiment.survival_fold import SurvivalFold
from clm_dl.experiment.value_fold import ValueFold
from clm_dl.tasks.module import SequenceTask
from clm_dl.tasks.multitask.module import MultiTask, questions
from clm_dl.visual.tensorboard_multitask import write_final_multitask

Log = Callable[[str], None]
PARTS: dict[str, type[Fold]] = {"churn": Fold, "survival": SurvivalFold, "value": ValueFold}


class MultiTaskFold(Fold):
    """As Fold; the rows of the Scores table are those of every question, one below the other, and the column `task`
    says which.
    """

    write: Callable[..., None] = staticmethod(write_final_multitask)

    def targets(self) -> np.ndarray | None:
        """Those of every question side by side."""
        self.parts = {name: self._part(name) for name in questions(self.settings["task"])}
        found = [part.target_NK for part in self.parts.values() if part.target_NK is not None]
        return np.column_stack(found) if found else None

    def _part(self, name: str) -> Fold:
        settings = of_question(self.settings, name)
        try:
            return PARTS[name](
                settings, self.store, 0, self.folder, self.clock, network=False, snapshots=self.snapshots
            )
        except ValueError as error:
            raise UserError(f"{error}, or leave the question out with task.weights.{name}=0") from error

    def head_schema(self) -> dict[str, Any]:
        return {key: value for part in self.parts.values() for key, value in part.head_schema().items()}

    @property
    def fingerprint(self) -> str:
        """Of several questions those of each, joined by +."""
        return "+".join(part.fingerprint for part in self.parts.values())

    def fit(self, log: Log) -> None:
        if self.network and self.network.checkpoint is None:
            assert isinstance(self.network.task, MultiTask)
            self.clock("network", self.network.task.fit_floor, training_sample(self.network))
        super().fit(log)

    def baseline_scores(self, X: pd.DataFrame, **options: Any) -> pd.DataFrame:
        """Rows of the baselines that answer each question."""
        found, log = [], options["log"]
        for name, part in self.parts.items():
            chosen = baseline_settings(part.settings)
            if chosen["baselines"]:
                log(f"baselines of {name}")
                part.init = self.init
                found.append(part.baseline_scores(X, log=log, **chosen))
        return pd.concat(found, ignore_index=True)

    def network_scores(
        self, task: SequenceTask, datamodule: SequenceDataModule, calibration: Mapping[str, Any] | None = None
    ) -> tuple[pd.DataFrame, PartCalibrators]:
        """The network's rows of every question; calibrators are given, or fitted, by the name of the question."""
        tables, calibrators = {}, {}
        for name, part in self.parts.items():
            given = None if calibration is None else calibration[name]
            tables[name], calibrators[name] = part.network_scores(task, datamodule, given)
        return pd.concat(list(tables.values()), ignore_index=True), PartCalibrators(calibrators)

    def summarise(self, scores: pd.DataFrame, fingerprint: str, counts: Mapping[str, Any]) -> dict[str, Any]:
        """`tasks` holds what a run of each question alone would have; beside it stands all that the first question has."""
        fingerprints = zip(*(fold.split("+") for fold in fingerprint.split("-")), strict=True)
        found = {
            name: part.summarise(scores[scores["task"] == name], "-".join(own), counts)
            for (name, part), own in zip(self.parts.items(), fingerprints, strict=True)
        }
        first = next(iter(found.values()))
        return {**first, "task": MultiTask.name, "fingerprint": fingerprint, "tasks": found}
