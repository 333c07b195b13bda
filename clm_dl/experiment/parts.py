"""Part: one question of a multi-task run, so that whatever reads runs can read it alone."""

from __future__ import annotations

from functools import cached_property
from typing import Any

import pandas as pd

from clm_dl.run import Run, read_calibrator
from clm_dl.tasks.module import SequenceTask


class Part(Run):
    """One question of a multi-task run, as the run of a task of its own: its metrics, scores and calibration, and the
    shared network.
    """

    def __init__(self, whole: Run, question: str):
        self.whole, self._question = whole, question
        self.path, self.status, self.config = whole.path, whole.status, whole.config

    @property
    def question(self) -> str:
        return self._question

    @property
    def questions(self) -> list[Run]:
        return [self]

    @cached_property
    def metrics(self) -> dict[str, Any]:
        part: dict[str, Any] = self.whole.metrics["tasks"][self.question]
        return part

    @cached_property
    def scores(self) -> pd.DataFrame:
        whole = self.whole.scores
        return whole[whole["task"] == self.question].reset_index(drop=True)

    @property
    def calibration(self) -> Any:
        return read_calibrator(self.question, self.whole.checkpoint["calibration"][self.question])

    @cached_property
    def task(self) -> SequenceTask:
        return self.whole.task
