"""Trained: what predicting needs of a run; fitted baselines are read when they are asked for (experiment.fitted)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from clm_dl.data.sequences.vocabulary import Vocabulary
from clm_dl.tasks.base import Task
from clm_dl.tasks.network import SequenceNetwork


@dataclass(frozen=True, eq=False)
class Trained:
    """What predicting needs of a run.

    Attributes:
        path: of the run, for sentences. config: its configuration as plain dicts.
        network, vocabulary, schema: None of a run without a network.
        calibrations: question -> calibration of the network's answers.
    """

    path: Path
    config: Mapping[str, Any]
    task: Task
    network: SequenceNetwork | None = None
    vocabulary: Vocabulary | None = None
    schema: Mapping[str, Any] | None = None
    calibrations: Mapping[str, Any] = field(default_factory=dict)
