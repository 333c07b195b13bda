"""A run on disk: load_run(path) gives back its configuration, metrics, scores, history and network."""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping
from functools import cached_property
from pathlib import Path
from typing import Any

import pandas as pd
import torch
from omegaconf import OmegaConf

from clm_dl.data.ranking.catalogue import Catalogue
from clm_dl.data.sequences.vocabulary import Vocabulary
from clm_dl.errors import MissingFile, UserError
from clm_dl.evaluation.calibration import CurveCalibrator, PlattCalibrator
from clm_dl.experiment.run_files import ITEMS, MODEL, RUN_VERSION
from clm_dl.tasks.module import SequenceTask
from clm_dl.tasks.multitask.module import MultiTask, questions
from clm_dl.tasks.registry import TASKS
from clm_dl.tasks.value.calibration import ValueCalibrator


class Run:
    """The files of one run directory, read when they are asked for.

    Attributes:
        config: the resolved configuration as plain dicts.
        status: {"version", "state": running | finished | interrupted | failed, "reason"}.
    """

    def __init__(self, path: str | Path):
        self.path = Path(path)
        if not (self.path / "config.yaml").is_file():
            raise MissingFile(
                f"{self.path} is no run directory (it has no config.yaml): give the folder that clm-train printed"
            )
        self.status: dict[str, Any] = json.loads((self.path / "status.json").read_text())
        if self.status["version"] != RUN_VERSION:
            raise UserError(
                f"run {self.path} has version {self.status['version']}, this clm_dl reads version {RUN_VERSION}: train "
                "it again"
            )
        self.config: dict[str, Any] = OmegaConf.to_container(OmegaConf.load(self.path / "config.yaml"))  # type: ignore[assignment]

    def __repr__(self) -> str:
        return f"Run({str(self.path)!r}, {self.status['state']})"

    def _file(self, name: str) -> Path:
        if not (self.path / name).is_file():
            raise MissingFile(f"run {self.path} ({self.status['state']}) has no {name}: only a finished run has one")
        return self.path / name

    @cached_property
    def metrics(self) -> dict[str, Any]:
        """metrics.json."""
        loaded: dict[str, Any] = json.loads(self._file("metrics.json").read_text())
        return loaded

    @cached_property
    def scores(self) -> pd.DataFrame:
        """scores.parquet: one row a snapshot and model."""
        return pd.read_parquet(self._file("scores.parquet"))

    @cached_property
    def history(self) -> pd.DataFrame:
        """Training curve from the TensorBoard events: columns step, name, value."""
        from tensorboard.backend.event_processing.event_accumulator import EventAccumulator  # slow to import

        events = EventAccumulator(str(self.path), size_guidance={"scalars": 0})
        events.Reload()
        rows = [(item.step, name, item.value) for name in events.Tags()["scalars"] for item in events.Scalars(name)]
        return pd.DataFrame(rows, columns=["step", "name", "value"])

    @cached_property
    def checkpoint(self) -> dict[str, Any]:
        """The scoring checkpoint: version, task, hyper_parameters, state_dict, vocabulary, schema, calibration."""
        if self.config["encoder"]["name"] == "none":
            raise UserError(
                f"run {self.path} was made with encoder=none, so there is no network to use: train one with another "
                "encoder"
            )
        checkpoint = load_checkpoint(self._file(str(MODEL)))
        if checkpoint.get("version") != RUN_VERSION:
            raise UserError(
                f"{self.path / MODEL} has version {checkpoint.get('version')}, this clm_dl reads version "
                f"{RUN_VERSION}: train it again"
            )
        return checkpoint

    @cached_property
    def vocabulary(self) -> Vocabulary:
        return Vocabulary.from_json(self.checkpoint["vocabulary"])

    @property
    def schema(self) -> dict[str, Any]:
        schema: dict[str, Any] = self.checkpoint["schema"]
        return schema

    @property
    def question(self) -> str:
        """What the run was asked: the name of its task."""
        return str(self.config["task"]["name"])

    @property
    def questions(self) -> list[Run]:
        """A run for each question: of a multi-task run its parts, else the run itself."""
        from clm_dl.experiment.parts import Part  # parts are runs

        if self.question != MultiTask.name:
            return [self]
        return [Part(self, name) for name in questions(self.config["task"])]

    @property
    def calibration(self) -> Any:
        """The calibrator of the run's scores; of a multi-task run `{question: calibrator}`."""
        if self.question == MultiTask.name:
            return {part.question: part.calibration for part in self.questions}
        return read_calibrator(self.question, self.checkpoint["calibration"])

    @cached_property
    def catalogue(self) -> Catalogue:
        """The items that a ranked run recommends from (items.parquet)."""
        return Catalogue.from_frame(pd.read_parquet(self._file(ITEMS)))

    @cached_property
    def task(self) -> SequenceTask:
        """The trained network, in eval mode on the CPU."""
        task = TASKS[self.checkpoint["task"]](**self.checkpoint["hyper_parameters"])
        try:
            task.load_state_dict(self.checkpoint["state_dict"])
        except RuntimeError as error:
            raise UserError(
                f"checkpoint {self.path / MODEL} is corrupt: its weights do not fit its own schema; train again"
            ) from error
        return task.eval()

    def predict(self, events: Any = None, *, cutoff: Any = None, recalibrate: bool = False) -> pd.DataFrame:
        """Calibrated scores of every customer with an event before `cutoff` (see `scoring.predict`)."""
        from clm_dl.experiment.inference import predict  # scoring builds on Run

        return predict(self, events, cutoff=cutoff, recalibrate=recalibrate)

    def recommend(self, events: Any = None, **options: Any) -> pd.DataFrame:
        """Ranked lists of items with their reasons (see `recommending.recommend`)."""
        from clm_dl.recommending import recommend

        return recommend(self, events, **options)

    def embed(self, events: Any = None, *, cutoff: Any = None) -> pd.DataFrame:
        """Customer vectors as of `cutoff` (see `scoring.embed`)."""
        from clm_dl.experiment.inference import embed

        return embed(self, events, cutoff=cutoff)

    def save(self, path: str | Path) -> Run:
        """Copy the run directory to `path`, which must not exist or be empty."""
        target = Path(path)
        if target.exists() and any(target.iterdir()):
            raise UserError(f"{target} is not empty: choose another folder to save the run to")
        shutil.copytree(self.path, target, dirs_exist_ok=True)
        return Run(target)


def load_run(path: str | Path) -> Run:
    """Open a run directory.

    Raises:
        FileNotFoundError: `path` is no run directory.
        ValueError: it was written by another version of the format.
    """
    return Run(path)


def read_calibrator(question: str, state: Mapping[str, Any]) -> Any:
    """The calibrator of a question's scores, from what the checkpoint holds of it."""
    kinds: dict[str, Any] = {"survival": CurveCalibrator, "value": ValueCalibrator}
    return kinds.get(question, PlattCalibrator).from_dict(state)


def load_checkpoint(path: Path) -> dict[str, Any]:
    """A checkpoint as data: nothing in it is executed (`weights_only=True`)."""
    if not path.is_file():
        raise MissingFile(f"no checkpoint at {path}: give runs/…/checkpoints/last.ckpt of a run that was trained")
    try:
        checkpoint: dict[str, Any] = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # torch raises RuntimeError, UnpicklingError, EOFError, OSError, …
        raise UserError(
            f"checkpoint {path} is corrupt or holds more than data ({type(error).__name__}): train it again"
        ) from error
    if not isinstance(checkpoint, dict):
        raise UserError(f"{path} is no checkpoint of clm_dl: give runs/…/checkpoints/last.ckpt")
    return checkpoint
