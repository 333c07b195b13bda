"""A run on disk: load_run(path) gives back its configuration, metrics, scores, history and network."""

from __future__ import annotations

import shutil
from collections.abc import Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pandas as pd

from clm_dl.errors import UserError
from clm_dl.experiment.history import read_history
from clm_dl.experiment.run_files import (
    existing,
    read_checkpoint,
    read_config,
    read_json,
    read_scores,
    read_status,
    read_trained,
)

if TYPE_CHECKING:
    from clm_dl.data.ranking.catalogue import Catalogue
    from clm_dl.data.sequences.vocabulary import Vocabulary
    from clm_dl.tasks.network import SequenceNetwork
    from clm_dl.tasks.trained import Trained


class Run:
    """The files of one run directory, read when they are asked for.

    Attributes:
        config: the resolved configuration as plain dicts.
        status: {"version", "state": running | finished | interrupted | failed, "reason"}.
    """

    def __init__(self, path: str | Path, trusted: Sequence[str] = ()):
        self.path = Path(path)
        self.config: dict[str, Any] = read_config(self.path, trusted)
        self.status: dict[str, Any] = read_status(self.path)

    def __repr__(self) -> str:
        return f"Run({str(self.path)!r}, {self.status['state']})"

    @cached_property
    def metrics(self) -> dict[str, Any]:
        """metrics.json."""
        loaded: dict[str, Any] = read_json(existing(self.path, "metrics.json"), "task")
        return loaded

    @cached_property
    def scores(self) -> pd.DataFrame:
        """scores.parquet: one row a snapshot and model."""
        return read_scores(self.path)

    @cached_property
    def history(self) -> pd.DataFrame:
        """Training curve from the TensorBoard events: columns step, name, value."""
        return read_history(self.path)

    @cached_property
    def checkpoint(self) -> dict[str, Any]:
        """The scoring checkpoint: version, task, hyper_parameters, state_dict, vocabulary, schema, calibration."""
        return read_checkpoint(self.path, self.config)

    @cached_property
    def trained(self) -> Trained:
        """What predicting needs: task, network, vocabulary, schema, calibrations."""
        return read_trained(self.path, self.config["trusted"])

    @property
    def task(self) -> SequenceNetwork:
        """The trained network, in eval mode on the CPU."""
        from clm_dl.experiment.inference import network_of

        network: SequenceNetwork = network_of(self.trained)
        return network

    @property
    def vocabulary(self) -> Vocabulary:
        return self._of_network("vocabulary")

    @property
    def schema(self) -> Mapping[str, Any]:
        return self._of_network("schema")

    @property
    def calibration(self) -> Any:
        """The calibration of the network's answers; of a run with several questions `{question: calibration}`."""
        found = self._of_network("calibrations")
        return found if self.trained.task.holds_tasks else next(iter(found.values()))

    @property
    def catalogue(self) -> Catalogue:
        """The items that a run recommends from (items.parquet)."""
        if self.trained.task.catalogue is None:
            raise UserError(f"run {self.path} ranks no items, so it has no catalogue: give one that recommends")
        return self.trained.task.catalogue

    def _of_network(self, name: str) -> Any:
        assert self.task is not None  # says so where there is none
        return getattr(self.trained, name)

    def predict(self, events: Any = None, **options: Any) -> pd.DataFrame:
        """Calibrated scores of every customer with an event before `cutoff` (see `inference.predict`)."""
        from clm_dl.experiment.inference import predict

        return predict(self.trained, events, **options)

    def recommend(self, events: Any = None, **options: Any) -> pd.DataFrame:
        """Ranked lists of items with their reasons (see `inference.recommend`)."""
        from clm_dl.experiment.inference import recommend

        return recommend(self.trained, events, **options)

    def embed(self, events: Any = None, **options: Any) -> pd.DataFrame:
        """Customer vectors as of `cutoff` (see `inference.embed`)."""
        from clm_dl.experiment.inference import embed

        return embed(self.trained, events, **options)

    def save(self, path: str | Path) -> Run:
        """Copy the run directory to `path`, which must not exist or be empty; one with links is refused, since what
        they lead to is no part of it, and a copy is made to be passed on.
        """
        target = Path(path)
        if target.exists() and (not target.is_dir() or any(target.iterdir())):
            raise UserError(f"{target} is not an empty folder: choose another one to save the run to")
        if links := sorted(path for path in self.path.rglob("*") if path.is_symlink()):
            raise UserError(f"{links[0]} leads elsewhere, and what it leads to is no part of the run: remove the link")
        shutil.copytree(self.path, target, dirs_exist_ok=True)
        return Run(target, self.config["trusted"])


def load_run(path: str | Path, trusted: Sequence[str] = ()) -> Run:
    """Open a run directory; `trusted`: packages or classes beside clm_dl's own that its configuration may name.

    Raises:
        FileNotFoundError: `path` is no run directory.
        ValueError: it was written by another version of the format.
    """
    return Run(path, trusted)
